//! One ring of the driver's, with a buffer for each chain that can be in flight.

use std::collections::VecDeque;

use espwire_virtnet::{Features, Header, MAX_HEADER_LEN};
use espwire_vring::{Buffer, DriverRing, RegionError, RingConfig, RingLayout};

use crate::{DeviceFault, Error, GuestMemory};

/// Octets left free behind each piece of a buffer, never named by a descriptor: a device that takes two
/// pieces for neighbours in memory is found out.
const GAP_LEN: u64 = 64;
/// Octets of a descriptor.
const DESC_LEN: u64 = 16;

/// How a header and its frame lie in a chain's descriptors.
///
/// ```text
///   joined, 1 piece      │ header + frame │
///   own header, 1 piece  │ header │   │ frame │
///   joined, 3 pieces     │ header + fra │   │ m │   │ e │       pieces of equal length, gaps between
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The header has a descriptor of its own, as legacy drivers without VIRTIO_F_ANY_LAYOUT must.
    pub own_header: bool,
    /// Into how many pieces the rest is split, at least 1; fewer if it has fewer octets.
    pub pieces: u16,
}

impl Placement {
    /// Header and frame in one descriptor.
    pub const JOINED: Self = Self { own_header: false, pieces: 1 };
    /// Header and frame in a descriptor each.
    pub const OWN_HEADER: Self = Self { own_header: true, pieces: 1 };

    /// The most descriptors of one chain.
    pub(crate) fn descriptors(self) -> u16 {
        self.pieces.max(1) + u16::from(self.own_header)
    }

    /// The lengths of the pieces of `total` octets.
    fn split(self, header_len: u32, total: u32) -> Pieces {
        let first = if self.own_header { header_len.min(total) } else { 0 };
        let chunk = (total - first).div_ceil(self.pieces.max(1).into());
        Pieces { first, chunk, left: total - first }
    }
}

/// The lengths of a chain's pieces, in order.
struct Pieces {
    first: u32,
    chunk: u32,
    left: u32,
}

impl Iterator for Pieces {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        let len = match std::mem::take(&mut self.first) {
            0 => {
                let len = self.chunk.min(self.left);
                self.left -= len;
                len
            }
            first => first,
        };
        (len > 0).then_some(len)
    }
}

/// Where a ring and its buffers lie; it outlives the ring.
#[derive(Clone, Debug)]
pub(crate) struct RingPlace {
    pub(crate) config: RingConfig,
    /// Guest-physical address of the first slot.
    slots: u64,
    /// Octets from slot to slot, and from piece to piece in it.
    stride: u64,
    piece_stride: u64,
    /// Slots: chains that can be in flight at once.
    count: u16,
    /// Octets of one slot's buffer, header included.
    capacity: u32,
    placement: Placement,
}

/// What the buffers of a ring are to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots {
    pub(crate) size: u16,
    pub(crate) count: u16,
    pub(crate) capacity: u32,
    pub(crate) placement: Placement,
}

impl Slots {
    fn piece_stride(&self) -> u64 {
        let longest = self.capacity.div_ceil(self.placement.pieces.max(1).into()).max(MAX_HEADER_LEN as u32);
        (u64::from(longest) + GAP_LEN).next_multiple_of(64)
    }

    fn stride(&self) -> u64 {
        let descriptors = u64::from(self.placement.descriptors());
        (descriptors * (self.piece_stride() + DESC_LEN)).next_multiple_of(64)
    }

    /// Octets of ring and of buffers that these need, alignment included.
    pub(crate) fn octets(&self) -> (u64, u64) {
        let size = u64::from(self.size);
        (26 * size + 12 + 3 * 4096, self.stride() * u64::from(self.count) + 4096)
    }

    /// Finds room: the ring in the first region, the buffers in the last.
    pub(crate) fn place(&self, memory: &mut GuestMemory) -> Result<RingPlace, Error> {
        let size = u64::from(self.size);
        // Each part on a page of its own, as legacy drivers have the used ring.
        let config = RingConfig {
            size: self.size,
            descriptors: memory.allocate(0, 16 * size, 4096)?,
            available: memory.allocate(0, 6 + 2 * size, 64)?,
            used: memory.allocate(0, 6 + 8 * size, 4096)?,
            event_idx: false,
            indirect: false,
        };
        let last = memory.regions().len().saturating_sub(1);
        Ok(RingPlace {
            config,
            slots: memory.allocate(last, self.stride() * u64::from(self.count), 64)?,
            stride: self.stride(),
            piece_stride: self.piece_stride(),
            count: self.count,
            capacity: self.capacity,
            placement: self.placement,
        })
    }
}

impl RingPlace {
    /// Index in the used ring as it stands in memory now: where the backend goes on.
    pub(crate) fn used_idx(&self, memory: &GuestMemory) -> Result<u16, RegionError> {
        read_u16(memory, self.config.used + 2)
    }

    /// Index in the available ring as it stands in memory now.
    pub(crate) fn avail_idx(&self, memory: &GuestMemory) -> Result<u16, RegionError> {
        read_u16(memory, self.config.available + 2)
    }
}

fn read_u16(memory: &GuestMemory, addr: u64) -> Result<u16, RegionError> {
    let mut octets = [0; 2];
    memory.table().read(addr, &mut octets)?;
    Ok(u16::from_le_bytes(octets))
}

/// A running ring.
#[derive(Debug)]
pub(crate) struct Ring {
    pub(crate) driver: DriverRing,
    place: RingPlace,
    header_len: u32,
    /// Chains go through indirect tables.
    indirect: bool,
    /// Slots not in flight, taken from the end.
    free: Vec<u16>,
    /// For each head in flight its slot.
    slot_of: Box<[u16]>,
    /// With IN_ORDER: heads in flight, oldest first.
    order: Option<VecDeque<u16>>,
    /// Header and frame on their way into a slot.
    octets: Vec<u8>,
    /// Descriptors of the chain being made.
    buffers: Vec<Buffer>,
    /// Chains pushed that the device has not been shown.
    pub(crate) unpublished: u16,
}

impl Ring {
    /// Sets up an empty ring, indices 0.
    pub(crate) fn new(
        place: &RingPlace,
        memory: &GuestMemory,
        features: Features,
        use_indirect: bool,
    ) -> Result<Self, Error> {
        let config = RingConfig {
            event_idx: features.has(Features::EVENT_IDX),
            indirect: features.has(Features::INDIRECT_DESC),
            ..place.config
        };
        let layout = RingLayout::new(memory.table(), &config)?;
        let size = usize::from(config.size);
        Ok(Self {
            driver: DriverRing::new(layout),
            place: place.clone(),
            header_len: features.header_len() as u32,
            indirect: use_indirect && config.indirect,
            free: (0..place.count).rev().collect(),
            slot_of: vec![0; size].into(),
            order: features.has(Features::IN_ORDER).then(|| VecDeque::with_capacity(size)),
            octets: Vec::with_capacity(place.capacity as usize),
            buffers: Vec::with_capacity(place.placement.descriptors().into()),
            unpublished: 0,
        })
    }

    /// Octets of one slot's buffer, header included.
    pub(crate) fn capacity(&self) -> u32 {
        self.place.capacity
    }

    /// Puts an empty buffer, as large as a slot, into the ring; false if no slot or descriptor is free.
    #[inline]
    pub(crate) fn push_empty(&mut self) -> bool {
        let Some(slot) = self.free.pop() else { return false };
        self.push_slot(slot, self.place.capacity, true)
    }

    /// Puts a header and a frame, together at most [`capacity`](Self::capacity) octets, into the ring; false
    /// if no slot or descriptor is free.
    #[inline]
    pub(crate) fn push_frame(&mut self, header: &Header, frame: &[u8]) -> Result<bool, RegionError> {
        let Some(&slot) = self.free.last() else { return Ok(false) };
        let mut octets = std::mem::take(&mut self.octets);
        octets.clear();
        octets.extend_from_slice(&header.to_octets()[..self.header_len as usize]);
        octets.extend_from_slice(frame);
        let written = self.write(slot, &octets);
        let total = octets.len() as u32;
        self.octets = octets;
        written?;
        self.free.pop();
        Ok(self.push_slot(slot, total, false))
    }

    fn write(&self, slot: u16, octets: &[u8]) -> Result<(), RegionError> {
        let table = self.driver.layout().table();
        let mut addr = self.start(slot);
        let mut done = 0;
        for len in self.place.placement.split(self.header_len, octets.len() as u32) {
            let end = done + len as usize;
            table.write(addr, &octets[done..end])?;
            done = end;
            addr += self.place.piece_stride;
        }
        Ok(())
    }

    #[inline]
    fn push_slot(&mut self, slot: u16, total: u32, writable: bool) -> bool {
        let mut addr = self.start(slot);
        self.buffers.clear();
        for len in self.place.placement.split(self.header_len, total) {
            self.buffers.push(Buffer { addr, len, writable });
            addr += self.place.piece_stride;
        }
        let head = if self.indirect {
            let table =
                self.start(slot) + u64::from(self.place.placement.descriptors()) * self.place.piece_stride;
            self.driver.push_indirect(table, &self.buffers)
        } else {
            self.driver.push(&self.buffers)
        };
        let Some(head) = head else {
            self.free.push(slot);
            return false;
        };
        self.slot_of[usize::from(head)] = slot;
        if let Some(order) = &mut self.order {
            order.push_back(head);
        }
        self.unpublished += 1;
        true
    }

    fn start(&self, slot: u16) -> u64 {
        self.place.slots + u64::from(slot) * self.place.stride
    }

    /// Takes the next used chain: its slot and the octets used. The slot must be pushed again or
    /// [given back](Self::give_back).
    #[inline]
    pub(crate) fn pop_used(&mut self) -> Result<Option<(u16, u32)>, DeviceFault> {
        let Some((head, used)) = self.driver.pop_used()? else { return Ok(None) };
        if let Some(due) = self.order.as_mut().and_then(VecDeque::pop_front)
            && due != head
        {
            return Err(DeviceFault::Order { due, got: head });
        }
        Ok(Some((self.slot_of[usize::from(head)], used)))
    }

    /// Makes a slot free.
    #[inline]
    pub(crate) fn give_back(&mut self, slot: u16) {
        self.free.push(slot);
    }

    /// Copies octets from position `skip` of a slot's buffer on.
    #[inline]
    pub(crate) fn read(&self, slot: u16, skip: usize, to: &mut [u8]) -> Result<(), RegionError> {
        let table = self.driver.layout().table();
        let mut addr = self.start(slot);
        let (mut skip, mut done) = (skip, 0);
        for len in self.place.placement.split(self.header_len, self.place.capacity) {
            let len = len as usize;
            if skip < len {
                let n = (len - skip).min(to.len() - done);
                table.read(addr + skip as u64, &mut to[done..done + n])?;
                done += n;
                skip = 0;
                if done == to.len() {
                    break;
                }
            } else {
                skip -= len;
            }
            addr += self.place.piece_stride;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_equal_and_hold_everything() {
        let lens = |own_header, pieces, total| -> Vec<u32> {
            Placement { own_header, pieces }.split(12, total).collect()
        };
        assert_eq!(lens(false, 1, 76), [76]);
        assert_eq!(lens(true, 1, 76), [12, 64]);
        assert_eq!(lens(false, 3, 76), [26, 26, 24]);
        assert_eq!(lens(true, 3, 76), [12, 22, 22, 20]);
        assert_eq!(lens(true, 3, 12), [12]);
        assert_eq!(lens(true, 3, 13), [12, 1]);
        assert_eq!(lens(false, 4, 2), [1, 1]);
        assert_eq!(lens(false, 0, 5), [5]);
    }
}
