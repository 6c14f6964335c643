//! A guest for the unit tests: memory of four regions, one ring in the last, and raw access to all of it.

use std::sync::Arc;

use vm_memory::{GuestAddress, GuestMemoryMmap};

use crate::chain::{Direction, Segment, single, walk};
use crate::layout::{DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, DESC_LEN};
use crate::{ChainFault, DeviceRing, RegionTable, RingConfig, RingLayout};

pub(crate) const NEXT: u16 = DESC_F_NEXT;
pub(crate) const WRITE: u16 = DESC_F_WRITE;
pub(crate) const INDIRECT: u16 = DESC_F_INDIRECT;

/// Start of the first region; the second one is adjacent.
pub(crate) const FIRST: u64 = 0x1_0000;
pub(crate) const SECOND: u64 = 0x2_0000;
/// End of the second region: a gap begins.
pub(crate) const GAP: u64 = 0x3_0000;
pub(crate) const THIRD: u64 = 0x4_0000;
/// Length of each of these three.
pub(crate) const REGION_LEN: usize = 0x1_0000;
/// Start of the region with the ring's parts, long enough for 32768 descriptors.
pub(crate) const RING: u64 = 0x10_0000;

pub(crate) fn table(ranges: &[(u64, usize)]) -> Arc<RegionTable> {
    let ranges: Vec<_> = ranges.iter().map(|&(start, len)| (GuestAddress(start), len)).collect();
    RegionTable::new(Arc::new(GuestMemoryMmap::<()>::from_ranges(&ranges).unwrap())).unwrap()
}

pub(crate) fn config(size: u16) -> RingConfig {
    RingConfig {
        size,
        descriptors: RING,
        available: RING + 0x8_0000,
        used: RING + 0xa_0000,
        event_idx: false,
        indirect: true,
    }
}

/// A descriptor as the tests write it: address, length, flags, next.
pub(crate) type Raw = (u64, u32, u16, u16);

pub(crate) struct Guest {
    pub(crate) table: Arc<RegionTable>,
    pub(crate) config: RingConfig,
}

impl Guest {
    pub(crate) fn new(size: u16) -> Self {
        Self::with(config(size))
    }

    pub(crate) fn with(config: RingConfig) -> Self {
        let data = [FIRST, SECOND, THIRD].map(|start| (start, REGION_LEN));
        let table = table(&[data[0], data[1], data[2], (RING, 0x10_0000)]);
        Self { table, config }
    }

    pub(crate) fn event_idx(size: u16) -> Self {
        Self::with(RingConfig { event_idx: true, ..config(size) })
    }

    pub(crate) fn layout(&self) -> RingLayout {
        RingLayout::new(&self.table, &self.config).unwrap()
    }

    pub(crate) fn device(&self) -> DeviceRing {
        DeviceRing::start(self.layout())
    }

    /// Writes descriptor `index` of the table at `table`.
    pub(crate) fn entry(&self, table: u64, index: u16, (addr, len, flags, next): Raw) {
        let rest = u64::from(len) | u64::from(flags) << 32 | u64::from(next) << 48;
        let mut octets = [0; DESC_LEN];
        octets[..8].copy_from_slice(&addr.to_le_bytes());
        octets[8..].copy_from_slice(&rest.to_le_bytes());
        self.table.write(table + 16 * u64::from(index), &octets).unwrap();
    }

    /// Writes descriptor `index` of the ring.
    pub(crate) fn descriptor(&self, index: u16, raw: Raw) {
        self.entry(self.config.descriptors, index, raw);
    }

    /// Writes `count` linked descriptors into the table at `table`, each of `len` octets at `addr`.
    pub(crate) fn linked(&self, table: u64, count: u16, addr: u64, len: u32, flags: u16) {
        for i in 0..count {
            let next = if i + 1 < count { NEXT } else { 0 };
            self.entry(table, i, (addr, len, flags | next, i + 1));
        }
    }

    /// Puts heads into the available ring and makes them visible.
    pub(crate) fn offer(&self, heads: &[u16]) {
        let idx = self.avail_idx();
        for (i, head) in heads.iter().enumerate() {
            let at = idx.wrapping_add(i as u16) % self.config.size;
            self.set_u16(self.config.available + 4 + 2 * u64::from(at), *head);
        }
        self.set_avail_idx(idx.wrapping_add(heads.len() as u16));
    }

    pub(crate) fn u16(&self, addr: u64) -> u16 {
        let mut octets = [0; 2];
        self.table.read(addr, &mut octets).unwrap();
        u16::from_le_bytes(octets)
    }

    pub(crate) fn set_u16(&self, addr: u64, value: u16) {
        self.table.write(addr, &value.to_le_bytes()).unwrap();
    }

    pub(crate) fn avail_idx(&self) -> u16 {
        self.u16(self.config.available + 2)
    }

    pub(crate) fn set_avail_idx(&self, idx: u16) {
        self.set_u16(self.config.available + 2, idx);
    }

    pub(crate) fn set_avail_flags(&self, flags: u16) {
        self.set_u16(self.config.available, flags);
    }

    pub(crate) fn set_used_event(&self, event: u16) {
        self.set_u16(self.config.available + 4 + 2 * u64::from(self.config.size), event);
    }

    pub(crate) fn used_flags(&self) -> u16 {
        self.u16(self.config.used)
    }

    pub(crate) fn used_idx(&self) -> u16 {
        self.u16(self.config.used + 2)
    }

    /// Sets both indices, as if the ring had been running.
    pub(crate) fn set_indices(&self, idx: u16) {
        self.set_avail_idx(idx);
        self.set_u16(self.config.used + 2, idx);
    }

    pub(crate) fn avail_event(&self) -> u16 {
        self.u16(self.config.used + 4 + 8 * u64::from(self.config.size))
    }

    /// Used entry at index `idx`: id and length.
    pub(crate) fn used_entry(&self, idx: u16) -> (u32, u32) {
        let mut octets = [0; 8];
        let at = u64::from(idx % self.config.size);
        self.table.read(self.config.used + 4 + 8 * at, &mut octets).unwrap();
        let word = |i: usize| u32::from_le_bytes(octets[i..i + 4].try_into().unwrap());
        (word(0), word(4))
    }

    /// The entries that the driver sees from index `from` on.
    pub(crate) fn used_since(&self, from: u16) -> Vec<(u32, u32)> {
        let count = self.used_idx().wrapping_sub(from);
        (0..count).map(|i| self.used_entry(from.wrapping_add(i))).collect()
    }

    pub(crate) fn octets(&self, addr: u64, len: usize) -> Vec<u8> {
        let mut octets = vec![0; len];
        self.table.read(addr, &mut octets).unwrap();
        octets
    }

    /// Walks one chain: its octets and the lengths of its segments.
    pub(crate) fn walk(&self, head: u16, direction: Direction) -> Result<(u32, Vec<u32>), ChainFault> {
        let mut segments: Vec<Segment> = Vec::new();
        let (layout, mut resolver) = (self.layout(), self.table.resolver());
        let taken = walk(&layout, head, direction, &mut segments, &mut resolver, &mut 0);
        if taken.len.is_err() {
            assert!(segments.is_empty(), "a bad chain left segments");
        }
        if let Some(only) = single(&layout.parts(), head, direction, &mut resolver) {
            assert_eq!((taken.len, &segments[..]), (Ok(only.len), &[only][..]), "the short way");
        }
        taken.len.map(|len| (len, segments.iter().map(|s| s.len).collect()))
    }

    pub(crate) fn readable(&self, head: u16) -> Result<(u32, Vec<u32>), ChainFault> {
        self.walk(head, Direction::Readable)
    }

    pub(crate) fn writable(&self, head: u16) -> Result<(u32, Vec<u32>), ChainFault> {
        self.walk(head, Direction::Writable)
    }
}

/// `len` octets that differ from place to place.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}
