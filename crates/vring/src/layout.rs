//! Where the three parts of a split virtqueue lie, checked once; and the only accesses to them.

use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use crate::{RegionTable, RingFault};

/// VIRTQ_DESC_F_NEXT (virtio 1.x §2.7.5).
pub(crate) const DESC_F_NEXT: u16 = 1;
/// VIRTQ_DESC_F_WRITE.
pub(crate) const DESC_F_WRITE: u16 = 2;
/// VIRTQ_DESC_F_INDIRECT.
pub(crate) const DESC_F_INDIRECT: u16 = 4;
/// VIRTQ_AVAIL_F_NO_INTERRUPT (§2.7.6) and VIRTQ_USED_F_NO_NOTIFY (§2.7.8): the same bit.
pub(crate) const RING_F_NO_NOTIFICATION: u16 = 1;
/// Octets of one descriptor.
pub(crate) const DESC_LEN: usize = 16;

/// Where a driver says its ring lies, and which features of the ring were negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingConfig {
    /// Descriptors in the ring: a power of two from 1 to 32768.
    pub size: u16,
    /// Guest-physical address of the descriptor table, a multiple of 16.
    pub descriptors: u64,
    /// Guest-physical address of the available ring ("driver area"), a multiple of 2.
    pub available: u64,
    /// Guest-physical address of the used ring ("device area"), a multiple of 4.
    pub used: u64,
    /// VIRTIO_F_EVENT_IDX was negotiated.
    pub event_idx: bool,
    /// VIRTIO_F_INDIRECT_DESC was negotiated.
    pub indirect: bool,
}

impl RingConfig {
    /// The three parts as octet ranges of guest-physical memory; `None` if one runs past 2^64.
    ///
    /// Sizes are those of virtio 1.x §2.7: 16·size, 6 + 2·size and 6 + 8·size octets.
    fn ranges(&self) -> Option<[Range<u64>; 3]> {
        let size = u64::from(self.size);
        let range = |start: u64, len: u64| Some(start..start.checked_add(len)?);
        Some([
            range(self.descriptors, 16 * size)?,
            range(self.available, 6 + 2 * size)?,
            range(self.used, 6 + 8 * size)?,
        ])
    }
}

/// Why a ring can't be used where its driver says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The size is not a power of two from 1 to 32768.
    #[error("ring size {0} is not a power of two from 1 to 32768")]
    Size(u16),
    /// A part is not aligned as virtio 1.x §2.7 asks: 16, 2 and 4 octets.
    #[error("{part} at {addr:#x} is misaligned")]
    Alignment {
        /// Which part.
        part: &'static str,
        /// Its guest-physical address.
        addr: u64,
    },
    /// A part is not wholly inside one memory region.
    #[error("{part} at {addr:#x} is not inside one memory region")]
    Outside {
        /// Which part.
        part: &'static str,
        /// Its guest-physical address.
        addr: u64,
    },
    /// Two parts of the ring share octets.
    #[error("parts of the ring overlap")]
    Overlap,
}

/// A split virtqueue's place in memory, checked: every access below stays inside the mapping.
///
/// It holds its [`RegionTable`], so the mapping outlives it.
#[derive(Debug)]
pub struct RingLayout {
    descriptors: NonNull<u8>,
    available: NonNull<u8>,
    used: NonNull<u8>,
    config: RingConfig,
    table: Arc<RegionTable>,
}

// SAFETY: the pointers are into memory that `table` keeps mapped, and every access to it is atomic.
// JUSTIFICATION: a ring is set up on one thread and run on another.
unsafe impl Send for RingLayout {}

impl RingLayout {
    /// Checks size, alignment, place and overlap of the ring's three parts.
    ///
    /// # Errors
    ///
    /// The first rule that is broken, as a [`RingError`].
    pub fn new(table: &Arc<RegionTable>, config: &RingConfig) -> Result<Self, RingError> {
        if !config.size.is_power_of_two() {
            return Err(RingError::Size(config.size));
        }
        let parts = [
            ("descriptor table", config.descriptors, 16),
            ("available ring", config.available, 2),
            ("used ring", config.used, 4),
        ];
        for (part, addr, alignment) in parts {
            if addr % alignment != 0 {
                return Err(RingError::Alignment { part, addr });
            }
        }
        let ranges = config.ranges();
        let mut host = [NonNull::dangling(); 3];
        for (i, (part, addr, alignment)) in parts.into_iter().enumerate() {
            let outside = RingError::Outside { part, addr };
            let range = ranges.as_ref().map(|ranges| ranges[i].clone()).ok_or(outside)?;
            let len = (range.end - range.start) as usize;
            host[i] = table.resolve_whole(addr, len).ok_or(outside)?;
            // A region may be mapped from an odd file offset: the host's address decides what we may do.
            if host[i].addr().get() % alignment as usize != 0 {
                return Err(RingError::Alignment { part, addr });
            }
        }
        let layout = Self {
            descriptors: host[0],
            available: host[1],
            used: host[2],
            config: *config,
            table: Arc::clone(table),
        };
        let [descriptors, available, used] = layout.ranges();
        if shares(&descriptors, &available) || shares(&descriptors, &used) || shares(&available, &used) {
            return Err(RingError::Overlap);
        }
        Ok(layout)
    }

    /// Whether any part of this ring shares octets with any part of `other`, by guest-physical addresses.
    ///
    /// Rings of one driver must not; rings of two drivers are in two memories and may.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.ranges().iter().any(|a| other.ranges().iter().any(|b| shares(a, b)))
    }

    /// What the layout was made from.
    #[must_use]
    pub fn config(&self) -> &RingConfig {
        &self.config
    }

    /// The memory the ring and its buffers lie in.
    #[must_use]
    pub fn table(&self) -> &Arc<RegionTable> {
        &self.table
    }

    /// Octet ranges: they exist, `new` has checked it.
    fn ranges(&self) -> [Range<u64>; 3] {
        self.config.ranges().unwrap_or([0..0, 0..0, 0..0])
    }

    /// What a loop over many chains reads.
    #[inline]
    pub(crate) fn parts(&self) -> Parts<'_> {
        Parts {
            descriptors: self.descriptors,
            available: self.available,
            mask: self.mask(),
            _ring: PhantomData,
        }
    }

    /// Ring size minus one: indices are taken modulo the size.
    #[inline]
    pub(crate) fn mask(&self) -> u16 {
        self.config.size - 1
    }

    #[inline]
    fn u16_at(&self, part: NonNull<u8>, offset: usize) -> &AtomicU16 {
        // SAFETY: callers give one of this ring's parts and an even offset inside it; `new` has checked
        // that the part is mapped and 2-aligned. Other processes access it by atomic or plain machine
        // accesses, which atomics of the same size tolerate.
        // JUSTIFICATION: ring fields live in shared memory.
        unsafe { AtomicU16::from_ptr(part.as_ptr().add(offset).cast()) }
    }

    #[inline]
    fn u32_at(&self, part: NonNull<u8>, offset: usize) -> &AtomicU32 {
        // SAFETY: as in `u16_at`, for a 4-aligned part and offset.
        // JUSTIFICATION: as in `u16_at`.
        unsafe { AtomicU32::from_ptr(part.as_ptr().add(offset).cast()) }
    }

    #[inline]
    fn u64_at(&self, part: NonNull<u8>, offset: usize) -> &AtomicU64 {
        // SAFETY: as in `u16_at`, for an 8-aligned part and offset.
        // JUSTIFICATION: as in `u16_at`.
        unsafe { AtomicU64::from_ptr(part.as_ptr().add(offset).cast()) }
    }

    /// The two words of descriptor `index`, which is taken modulo the ring's size.
    #[inline]
    pub(crate) fn descriptor(&self, index: u16) -> (u64, u64) {
        self.parts().descriptor(index)
    }

    #[inline]
    pub(crate) fn set_descriptor(&self, index: u16, addr: u64, rest: u64) {
        let offset = DESC_LEN * usize::from(index & self.mask());
        self.u64_at(self.descriptors, offset).store(addr.to_le(), Ordering::Relaxed);
        self.u64_at(self.descriptors, offset + 8).store(rest.to_le(), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn avail_flags(&self) -> &AtomicU16 {
        self.u16_at(self.available, 0)
    }

    #[inline]
    pub(crate) fn avail_idx(&self) -> &AtomicU16 {
        self.u16_at(self.available, 2)
    }

    /// Entry `index` (modulo the size) of the available ring.
    #[inline]
    pub(crate) fn avail_entry(&self, index: u16) -> &AtomicU16 {
        self.u16_at(self.available, 4 + 2 * usize::from(index & self.mask()))
    }

    #[inline]
    pub(crate) fn used_event(&self) -> &AtomicU16 {
        self.u16_at(self.available, 4 + 2 * usize::from(self.config.size))
    }

    #[inline]
    pub(crate) fn used_flags(&self) -> &AtomicU16 {
        self.u16_at(self.used, 0)
    }

    #[inline]
    pub(crate) fn used_idx(&self) -> &AtomicU16 {
        self.u16_at(self.used, 2)
    }

    /// Entry `index` (modulo the size) of the used ring: `id`, `len`.
    #[inline]
    pub(crate) fn used_entry(&self, index: u16) -> [&AtomicU32; 2] {
        let offset = 4 + 8 * usize::from(index & self.mask());
        [self.u32_at(self.used, offset), self.u32_at(self.used, offset + 4)]
    }

    /// Writes entry `index` (modulo the size) of the used ring.
    #[inline]
    pub(crate) fn set_used_entry(&self, index: u16, head: u16, len: u32) {
        let [id_field, len_field] = self.used_entry(index);
        id_field.store(u32::from(head).to_le(), Ordering::Relaxed);
        len_field.store(len.to_le(), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn avail_event(&self) -> &AtomicU16 {
        self.u16_at(self.used, 4 + 8 * usize::from(self.config.size))
    }
}

/// The parts of a ring that its driver writes, by themselves: a loop over many chains keeps them in registers, where
/// it would read a [`RingLayout`] anew for each.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'r> {
    descriptors: NonNull<u8>,
    available: NonNull<u8>,
    mask: u16,
    _ring: PhantomData<&'r RingLayout>,
}

impl Parts<'_> {
    /// The head at `index` (modulo the size) of the available ring.
    #[inline]
    pub(crate) fn head(&self, index: u16) -> Result<u16, RingFault> {
        let offset = 4 + 2 * usize::from(index & self.mask);
        // SAFETY: as in `RingLayout::u16_at`.
        // JUSTIFICATION: as in `RingLayout::u16_at`.
        let entry = unsafe { AtomicU16::from_ptr(self.available.as_ptr().add(offset).cast()) };
        let head = u16::from_le(entry.load(Ordering::Relaxed));
        if head <= self.mask { Ok(head) } else { Err(RingFault::Head(head)) }
    }

    /// The two words of descriptor `index`, which is taken modulo the ring's size.
    #[inline]
    pub(crate) fn descriptor(&self, index: u16) -> (u64, u64) {
        let offset = DESC_LEN * usize::from(index & self.mask);
        // SAFETY: as in `RingLayout::u64_at`, for both words.
        // JUSTIFICATION: as in `RingLayout::u64_at`.
        let word = |i| unsafe { AtomicU64::from_ptr(self.descriptors.as_ptr().add(offset + i).cast()) };
        (u64::from_le(word(0).load(Ordering::Relaxed)), u64::from_le(word(8).load(Ordering::Relaxed)))
    }
}

fn shares(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Whether moving an index from `old` to `new` crosses what the other side asked to be told of:
/// `vring_need_event` of virtio 1.x §2.7.10. All wrap at 2^16.
#[inline]
pub(crate) fn crosses_event(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Guest, RING, pattern, table};

    /// A ring of 4: 64, 14 and 38 octets.
    const SMALL: RingConfig = RingConfig {
        size: 4,
        descriptors: 0x1_0000,
        available: 0x1_1000,
        used: 0x1_2000,
        event_idx: false,
        indirect: false,
    };

    fn check(ranges: &[(u64, usize)], config: &RingConfig) -> Result<(), RingError> {
        RingLayout::new(&table(ranges), config).map(|_| ())
    }

    // F11
    #[test]
    fn rejects_a_size_that_is_no_power_of_two() {
        let guest = Guest::new(1);
        for size in [0, 3, 5, 6, 7, 24, 255, 257, 1000, 32_767, 32_769, 49_152, 65_535] {
            let config = RingConfig { size, ..guest.config };
            assert_eq!(RingLayout::new(&guest.table, &config).unwrap_err(), RingError::Size(size));
        }
        for size in (0..16).map(|bit| 1 << bit) {
            let config = RingConfig { size, ..guest.config };
            assert!(RingLayout::new(&guest.table, &config).is_ok(), "{size}");
        }
    }

    // F12, G22
    #[test]
    fn rejects_a_misaligned_descriptor_table() {
        for off in 1..16 {
            let config = RingConfig { descriptors: SMALL.descriptors + off, ..SMALL };
            let error = RingError::Alignment { part: "descriptor table", addr: config.descriptors };
            assert_eq!(check(&[(0x1_0000, 0x4000)], &config), Err(error));
        }
        let config = RingConfig { descriptors: SMALL.descriptors + 16, ..SMALL };
        assert_eq!(check(&[(0x1_0000, 0x4000)], &config), Ok(()));
    }

    // F12, G22
    #[test]
    fn rejects_a_misaligned_available_ring() {
        let config = RingConfig { available: SMALL.available + 1, ..SMALL };
        let error = RingError::Alignment { part: "available ring", addr: config.available };
        assert_eq!(check(&[(0x1_0000, 0x4000)], &config), Err(error));
        let config = RingConfig { available: SMALL.available + 2, ..SMALL };
        assert_eq!(check(&[(0x1_0000, 0x4000)], &config), Ok(()));
    }

    // F12, G22
    #[test]
    fn rejects_a_misaligned_used_ring() {
        for off in 1..4 {
            let config = RingConfig { used: SMALL.used + off, ..SMALL };
            let error = RingError::Alignment { part: "used ring", addr: config.used };
            assert_eq!(check(&[(0x1_0000, 0x4000)], &config), Err(error));
        }
        let config = RingConfig { used: SMALL.used + 4, ..SMALL };
        assert_eq!(check(&[(0x1_0000, 0x4000)], &config), Ok(()));
    }

    // F7, G22: guest addresses are aligned, but the region starts at an odd one.
    #[test]
    fn rejects_a_part_that_is_misaligned_in_the_host() {
        let at = |start: u64| [(start, 0x200), (0x1_1000, 0x1000), (0x1_2000, 0x1000)];
        let config = RingConfig { descriptors: 0x1_0010, ..SMALL };
        assert_eq!(check(&at(0x1_0000), &config), Ok(()));
        let error = RingError::Alignment { part: "descriptor table", addr: 0x1_0010 };
        assert_eq!(check(&at(0x1_0008), &config), Err(error));
        let ranges = [(0x1_0000, 0x1000), (0x1_1001, 0x100), (0x1_2000, 0x1000)];
        let config = RingConfig { available: 0x1_1002, ..SMALL };
        let error = RingError::Alignment { part: "available ring", addr: 0x1_1002 };
        assert_eq!(check(&ranges, &config), Err(error));
        let ranges = [(0x1_0000, 0x1000), (0x1_1000, 0x1000), (0x1_2002, 0x100)];
        let config = RingConfig { used: 0x1_2004, ..SMALL };
        let error = RingError::Alignment { part: "used ring", addr: 0x1_2004 };
        assert_eq!(check(&ranges, &config), Err(error));
    }

    // F7, G22: and the other way round, aligned in the host only.
    #[test]
    fn rejects_a_part_that_is_misaligned_in_the_guest() {
        let ranges = [(0x1_0008, 0x200), (0x1_1001, 0x100), (0x1_2002, 0x100)];
        for (i, part) in ["descriptor table", "available ring", "used ring"].into_iter().enumerate() {
            let mut config =
                RingConfig { descriptors: 0x1_3000, available: 0x1_4000, used: 0x1_5000, ..SMALL };
            let addr = ranges[i].0;
            *[&mut config.descriptors, &mut config.available, &mut config.used][i] = addr;
            let ranges = [ranges[i], (0x1_3000, 0x3000)];
            assert_eq!(check(&ranges, &config), Err(RingError::Alignment { part, addr }));
        }
    }

    // F12, G22
    #[test]
    fn rejects_a_part_that_leaves_its_region_by_one_octet() {
        for size in [1, 4, 256, 32_768] {
            let config =
                RingConfig { size, descriptors: 0x10_0000, available: 0x20_0000, used: 0x30_0000, ..SMALL };
            let ranges = config.ranges().unwrap().map(|part| (part.start, (part.end - part.start) as usize));
            assert_eq!(check(&ranges, &config), Ok(()), "each part fills a region");
            for (i, part) in ["descriptor table", "available ring", "used ring"].into_iter().enumerate() {
                let error = Err(RingError::Outside { part, addr: ranges[i].0 });
                let mut short = ranges;
                short[i].1 -= 1;
                assert_eq!(check(&short, &config), error, "{part} ends one octet after it");
                let mut late = ranges;
                late[i].0 += 1;
                assert_eq!(check(&late, &config), error, "{part} starts one octet before it");
                let (start, len) = ranges[i];
                let mut split = Vec::from(ranges);
                split[i] = (start, len - 2);
                split.insert(i + 1, (start + len as u64 - 2, 2));
                assert_eq!(check(&split, &config), error, "{part} crosses into the adjacent region");
                let mut without = Vec::from(ranges);
                without.remove(i);
                assert_eq!(check(&without, &config), error, "{part} is in no region");
            }
        }
    }

    // F12, G7
    #[test]
    fn rejects_a_part_that_runs_past_the_last_address() {
        for addr in [!15, 1 << 63, 0] {
            let outside = |part| Err(RingError::Outside { part, addr });
            let config = RingConfig { descriptors: addr, ..SMALL };
            assert_eq!(check(&[(0x1_0000, 0x4000)], &config), outside("descriptor table"));
        }
        for addr in [!15, 1 << 63, 0] {
            let config = RingConfig { used: addr, ..SMALL };
            // A part past 2^64 makes the whole ring unusable; which part is named does not matter.
            let result = check(&[(0x1_0000, 0x4000)], &config);
            assert!(matches!(result, Err(RingError::Outside { .. })), "{addr:#x}: {result:?}");
        }
    }

    // G21
    #[test]
    fn rejects_an_available_ring_that_overlaps_the_descriptor_table() {
        let d = 0x1_0100;
        for (available, ok) in [(d, false), (d + 62, false), (d + 64, true), (d - 12, false), (d - 14, true)]
        {
            let config = RingConfig { descriptors: d, available, ..SMALL };
            let result = check(&[(0x1_0000, 0x4000)], &config);
            assert_eq!(result, if ok { Ok(()) } else { Err(RingError::Overlap) }, "{available:#x}");
        }
    }

    // G21
    #[test]
    fn rejects_a_used_ring_that_overlaps_the_descriptor_table() {
        let d = 0x1_0100;
        for (used, ok) in [(d, false), (d + 60, false), (d + 64, true), (d - 36, false), (d - 40, true)] {
            let config = RingConfig { descriptors: d, used, ..SMALL };
            let result = check(&[(0x1_0000, 0x4000)], &config);
            assert_eq!(result, if ok { Ok(()) } else { Err(RingError::Overlap) }, "{used:#x}");
        }
    }

    // G21
    #[test]
    fn rejects_a_used_ring_that_overlaps_the_available_ring() {
        let u = 0x1_2000;
        for (available, ok) in [(u, false), (u + 36, false), (u + 38, true), (u - 12, false), (u - 14, true)]
        {
            let config = RingConfig { used: u, available, ..SMALL };
            let result = check(&[(0x1_0000, 0x4000)], &config);
            assert_eq!(result, if ok { Ok(()) } else { Err(RingError::Overlap) }, "{available:#x}");
        }
    }

    // G21: one driver's TX and RX ring.
    #[test]
    fn tells_whether_two_rings_overlap() {
        let memory = table(&[(0x1_0000, 0x1_0000)]);
        let layout = |config: &RingConfig| RingLayout::new(&memory, config).unwrap();
        let tx = layout(&SMALL);
        let base = RingConfig { descriptors: 0x1_5000, available: 0x1_6000, used: 0x1_7000, ..SMALL };
        assert!(!tx.overlaps(&layout(&base)));
        assert!(tx.overlaps(&tx));
        for (start, len) in [(SMALL.descriptors, 64), (SMALL.available, 14), (SMALL.used, 38)] {
            for place in [start, start + (len - 1) / 16 * 16] {
                for config in [
                    RingConfig { descriptors: place, ..base },
                    RingConfig { available: place, ..base },
                    RingConfig { used: place, ..base },
                ] {
                    assert!(tx.overlaps(&layout(&config)), "{config:x?}");
                    assert!(layout(&config).overlaps(&tx), "{config:x?}");
                }
            }
            let behind = RingConfig { descriptors: start + 64, ..base };
            assert!(!tx.overlaps(&layout(&behind)), "{start:#x}: next to it is not on it");
        }
    }

    #[test]
    fn fields_are_where_virtio_puts_them() {
        for size in [1, 2, 256, 32_768] {
            let guest = Guest::new(size);
            let layout = guest.layout();
            let (n, available, used) = (u64::from(size), guest.config.available, guest.config.used);
            for (i, (addr, field)) in [
                (available, layout.avail_flags()),
                (available + 2, layout.avail_idx()),
                (available + 4, layout.avail_entry(0)),
                (available + 4 + 2 * (n - 1), layout.avail_entry(0u16.wrapping_sub(1))),
                (available + 4 + 2 * n, layout.used_event()),
                (used, layout.used_flags()),
                (used + 2, layout.used_idx()),
                (used + 4 + 8 * n, layout.avail_event()),
            ]
            .into_iter()
            .enumerate()
            {
                let value = 0x1234 + i as u16;
                guest.set_u16(addr, value);
                assert_eq!(u16::from_le(field.load(Ordering::Relaxed)), value, "{i} with {size}");
            }
            let last = size - 1;
            guest.table.write(used + 4 + 8 * u64::from(last), &pattern(8)).unwrap();
            let words = layout.used_entry(last).map(|f| f.load(Ordering::Relaxed).to_ne_bytes());
            assert_eq!(words.concat(), pattern(8));
            guest.descriptor(last, (0x0102_0304_0506_0708, 0x090a_0b0c, 0x0d0e, 0x0f10));
            let word = 0x0f10_0d0e_090a_0b0c;
            assert_eq!(layout.descriptor(last), (0x0102_0304_0506_0708, word));
            layout.set_descriptor(last, 7, word);
            assert_eq!(layout.descriptor(last.wrapping_add(size)), (7, word), "modulo the size");
        }
    }

    #[test]
    fn keeps_the_table_mapped() {
        let guest = Guest::new(4);
        let memory = Arc::downgrade(&guest.table);
        let layout = guest.layout();
        drop(guest);
        assert!(memory.upgrade().is_some());
        layout.set_descriptor(0, RING, 1);
        assert_eq!(layout.descriptor(0), (RING, 1));
        assert_eq!(layout.config(), &testing::config(4));
        drop(layout);
        assert!(memory.upgrade().is_none());
    }

    // G25: the formula, against counting one by one.
    #[test]
    fn an_event_is_crossed_when_an_index_steps_over_it() {
        for old in [0u16, 1, 0x7fff, 0x8000, 65_534, 65_535] {
            for steps in [0u16, 1, 2, 64, 256, 32_768] {
                let new = old.wrapping_add(steps);
                for off in -3i32..=300 {
                    let event = old.wrapping_add(off as u16);
                    let slow = (0..steps).any(|i| old.wrapping_add(i) == event);
                    assert_eq!(crosses_event(event, new, old), slow, "{event} in {old}..{new}");
                }
            }
        }
    }
}
