//! Walking a descriptor chain: each descriptor is read once, checked, and turned into host pointers.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::layout::{DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, DESC_LEN, Parts, RingLayout};
use crate::region::Resolver;

/// The most descriptors that one chain may have, direct and indirect together, also when the ring or an
/// indirect table is longer; and the most pieces that its buffers may lie in where they cross regions.
///
/// It bounds the work that one head can cause. Linux drivers use at most 19 per packet, DPDK 256.
pub const MAX_CHAIN: usize = 1024;

/// Why a chain can't be used (virtio 1.x §2.7.5). The device returns it with length 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainFault {
    /// A buffer is not wholly inside the mapped regions.
    #[error("buffer outside the mapped regions")]
    Outside,
    /// `next` is not below the size of the table.
    #[error("next descriptor outside the table")]
    Next,
    /// More descriptors than the table has (a loop), or more than [`MAX_CHAIN`].
    #[error("too many descriptors, or a loop")]
    TooMany,
    /// A device-writable descriptor where readable ones were due, or the reverse.
    #[error("descriptor of the wrong direction")]
    Direction,
    /// An indirect descriptor without the feature, nested, with NEXT, or of a length that is zero or no
    /// multiple of 16; or its table is not inside one region.
    #[error("bad indirect descriptor")]
    Indirect,
    /// The lengths add up to more than 2^32 − 1 octets.
    #[error("chain longer than 2^32 octets")]
    TooLong,
}

/// Which way a chain's buffers must point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Readable,
    Writable,
}

impl Direction {
    /// The flags of a chain's only descriptor.
    #[inline]
    const fn flags(self) -> u16 {
        match self {
            Self::Readable => 0,
            Self::Writable => DESC_F_WRITE,
        }
    }
}

/// A contiguous piece of a buffer, inside a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) host: NonNull<u8>,
    /// Octets, at least 1.
    pub(crate) len: u32,
}

impl Segment {
    /// Stands for no segment: no segment of a chain is empty.
    pub(crate) const NONE: Self = Self { host: NonNull::dangling(), len: 0 };
}

// SAFETY: a segment is only used by the ring that made it, which holds the mapping behind `host` and is
// itself owned by one thread at a time.
// JUSTIFICATION: rings keep their segments' storage between bursts, and are made on one thread, run on another.
unsafe impl Send for Segment {}

/// A chain in a burst or a reservation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) head: u16,
    /// Octets, or why it can't be used.
    pub(crate) len: Result<u32, ChainFault>,
    /// Its only segment; [`Segment::NONE`] if it has none or several.
    pub(crate) only: Segment,
    /// Otherwise, the range of its segments in `DeviceRing::segments`.
    pub(crate) first: u32,
    pub(crate) end: u32,
}

impl Taken {
    /// Its segments, where `more` are those of the ring.
    #[inline]
    pub(crate) fn segments<'a>(&'a self, more: &'a [Segment]) -> &'a [Segment] {
        if self.only.len > 0 {
            std::slice::from_ref(&self.only)
        } else {
            &more[self.first as usize..self.end as usize]
        }
    }
}

#[derive(Clone, Copy)]
struct Descriptor {
    addr: u64,
    len: u32,
    flags: u16,
    next: u16,
}

impl Descriptor {
    #[inline]
    fn from_words((addr, rest): (u64, u64)) -> Self {
        Self { addr, len: rest as u32, flags: (rest >> 32) as u16, next: (rest >> 48) as u16 }
    }
}

/// An indirect descriptor table, copied from by index.
struct IndirectTable {
    host: NonNull<u8>,
    /// Entries, 1 to [`MAX_CHAIN`].
    count: u16,
}

impl IndirectTable {
    /// Reads entry `index`, which is below `count`.
    fn entry(&self, index: u16) -> Descriptor {
        let offset = DESC_LEN * usize::from(index);
        // SAFETY: `count` entries from `host` were resolved as one range of the region table, which
        // outlives the walk, and `index` is below `count`.
        // JUSTIFICATION: the table lies in shared memory.
        let entry = unsafe { self.host.add(offset) };
        if entry.addr().get() % align_of::<AtomicU64>() == 0 {
            // SAFETY: as above; aligned, and both words are inside the entry's 16 octets.
            // JUSTIFICATION: one atomic load per word, so that no later change is seen.
            let word = |i| unsafe { AtomicU64::from_ptr(entry.as_ptr().cast::<u64>().add(i)) };
            let load = |i| u64::from_le(word(i).load(Ordering::Relaxed));
            return Descriptor::from_words((load(0), load(1)));
        }
        // virtio gives an indirect table no alignment: octet by octet then.
        let octets: [u8; DESC_LEN] = std::array::from_fn(|i| {
            // SAFETY: inside the entry's 16 octets.
            // JUSTIFICATION: as above.
            unsafe { AtomicU8::from_ptr(entry.as_ptr().add(i)) }.load(Ordering::Relaxed)
        });
        let word = |i: usize| u64::from_le_bytes(std::array::from_fn(|k| octets[i + k]));
        Descriptor::from_words((word(0), word(8)))
    }
}

/// Walks the chain that starts at `head`, which is below the ring's size, and appends its segments.
///
/// 1. Read the descriptor, once.
/// 2. Indirect: allowed? alone at the end of its chain? a whole number of entries? Then go on in its table.
/// 3. Count it, against the table's length and [`MAX_CHAIN`].
/// 4. Check the direction, look the buffer up, add its length.
/// 5. Follow `next`, if it is inside the table.
///
/// On a fault `segments` is as long as before. `work` grows by the descriptors looked at, also on a fault.
#[inline(never)]
pub(crate) fn walk(
    layout: &RingLayout,
    head: u16,
    direction: Direction,
    segments: &mut Vec<Segment>,
    resolver: &mut Resolver<'_>,
    work: &mut usize,
) -> Taken {
    let first = segments.len();
    let descriptor = Descriptor::from_words(layout.descriptor(head));
    let len = walk_from(layout, descriptor, direction, segments, resolver, work);
    if len.is_err() {
        segments.truncate(first);
    }
    Taken { head, len, only: Segment::NONE, first: first as u32, end: segments.len() as u32 }
}

/// The segment of the chain that starts at `head`, which is below the ring's size, if the chain is one buffer
/// in one region and not empty, as nearly every chain is: what [`walk`] would find, without the walk. What it is
/// else, `walk` decides by what it reads itself.
#[inline]
pub(crate) fn single(
    ring: &Parts<'_>,
    head: u16,
    direction: Direction,
    resolver: &mut Resolver<'_>,
) -> Option<Segment> {
    let descriptor = Descriptor::from_words(ring.descriptor(head));
    if descriptor.flags != direction.flags() || descriptor.len == 0 {
        return None;
    }
    let (host, there) = resolver.resolve(descriptor.addr, descriptor.len as usize)?;
    (there == descriptor.len as usize).then_some(Segment { host, len: descriptor.len })
}

fn walk_from(
    layout: &RingLayout,
    mut descriptor: Descriptor,
    direction: Direction,
    segments: &mut Vec<Segment>,
    resolver: &mut Resolver<'_>,
    work: &mut usize,
) -> Result<u32, ChainFault> {
    let (first_segment, first_work) = (segments.len(), *work);
    let mut table: Option<IndirectTable> = None;
    let mut limit = layout.config().size;
    let mut count = 0;
    let mut total = 0u32;
    loop {
        if descriptor.flags & DESC_F_INDIRECT != 0 {
            if table.is_some() || !layout.config().indirect || descriptor.flags & DESC_F_NEXT != 0 {
                return Err(ChainFault::Indirect);
            }
            let found = indirect_table(&descriptor, resolver)?;
            limit = found.count;
            count = 0;
            descriptor = found.entry(0);
            table = Some(found);
            continue;
        }
        count += 1;
        *work += 1;
        if count > limit || *work - first_work > MAX_CHAIN {
            return Err(ChainFault::TooMany);
        }
        if descriptor.flags & DESC_F_WRITE != direction.flags() {
            return Err(ChainFault::Direction);
        }
        total = total.checked_add(descriptor.len).ok_or(ChainFault::TooLong)?;
        append(descriptor.addr, descriptor.len, segments, resolver)?;
        if segments.len() - first_segment > MAX_CHAIN {
            return Err(ChainFault::TooMany);
        }
        if descriptor.flags & DESC_F_NEXT == 0 {
            return Ok(total);
        }
        if descriptor.next >= limit {
            return Err(ChainFault::Next);
        }
        descriptor = match &table {
            Some(table) => table.entry(descriptor.next),
            None => Descriptor::from_words(layout.descriptor(descriptor.next)),
        };
    }
}

/// Looks up the table that an indirect descriptor refers to (virtio 1.x §2.7.5.3). WRITE on it is ignored,
/// as §2.7.5.3.2 asks.
fn indirect_table(descriptor: &Descriptor, resolver: &mut Resolver<'_>) -> Result<IndirectTable, ChainFault> {
    let len = descriptor.len as usize;
    if len == 0 || !len.is_multiple_of(DESC_LEN) {
        return Err(ChainFault::Indirect);
    }
    if len / DESC_LEN > MAX_CHAIN {
        return Err(ChainFault::TooMany);
    }
    let host = resolver.resolve_whole(descriptor.addr, len).ok_or(ChainFault::Indirect)?;
    Ok(IndirectTable { host, count: (len / DESC_LEN) as u16 })
}

/// Appends a buffer's pieces: one, or one per region where it crosses into an adjacent region.
/// An empty buffer has none, and its address does not matter.
#[inline]
fn append(
    addr: u64,
    len: u32,
    segments: &mut Vec<Segment>,
    resolver: &mut Resolver<'_>,
) -> Result<(), ChainFault> {
    let (mut addr, mut len) = (addr, len);
    while len > 0 {
        let (host, there) = resolver.resolve(addr, len as usize).ok_or(ChainFault::Outside)?;
        let there = there as u32;
        segments.push(Segment { host, len: there });
        len -= there;
        // At most the end of a region, which vm-memory keeps below 2^64.
        addr += u64::from(there);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FIRST, GAP, Guest, INDIRECT, NEXT, REGION_LEN, RING, SECOND, THIRD, WRITE, table};
    use crate::{RingConfig, testing};

    /// Where the tests put indirect tables.
    const TABLE: u64 = SECOND + 0x1000;

    #[test]
    fn accepts_one_descriptor_and_tells_its_length() {
        let guest = Guest::new(4);
        guest.descriptor(2, (FIRST, 60, 0, 77));
        assert_eq!(guest.readable(2), Ok((60, vec![60])), "next without NEXT has no meaning");
        guest.descriptor(2, (FIRST, 60, WRITE, 0));
        assert_eq!(guest.writable(2), Ok((60, vec![60])));
    }

    // G1
    #[test]
    fn rejects_a_loop() {
        let guest = Guest::new(8);
        guest.descriptor(0, (FIRST, 1, NEXT, 0));
        assert_eq!(guest.readable(0), Err(ChainFault::TooMany), "A to A");
        guest.descriptor(1, (FIRST, 1, NEXT, 2));
        guest.descriptor(2, (FIRST, 1, NEXT, 1));
        assert_eq!(guest.readable(1), Err(ChainFault::TooMany), "A to B to A");
        guest.descriptor(3, (FIRST, 0, NEXT, 3));
        assert_eq!(guest.readable(3), Err(ChainFault::TooMany), "of empty descriptors");
        guest.entry(TABLE, 0, (FIRST, 1, NEXT, 1));
        guest.entry(TABLE, 1, (FIRST, 1, NEXT, 0));
        guest.descriptor(4, (TABLE, 32, INDIRECT, 0));
        assert_eq!(guest.readable(4), Err(ChainFault::TooMany), "in an indirect table");
    }

    // G2
    #[test]
    fn rejects_next_outside_the_table() {
        let guest = Guest::new(8);
        for next in [8, 9, 16, 0x7fff, 0xffff] {
            guest.descriptor(0, (FIRST, 1, NEXT, next));
            assert_eq!(guest.readable(0), Err(ChainFault::Next), "{next}");
        }
        guest.descriptor(7, (FIRST, 1, 0, 0));
        guest.descriptor(0, (FIRST, 1, NEXT, 7));
        assert_eq!(guest.readable(0), Ok((2, vec![1, 1])));
    }

    // G2, G12
    #[test]
    fn rejects_next_outside_an_indirect_table() {
        let guest = Guest::new(8);
        guest.descriptor(0, (TABLE, 32, INDIRECT, 0));
        guest.linked(TABLE, 4, FIRST, 1, 0);
        for next in [2, 3, 0xffff] {
            guest.entry(TABLE, 1, (FIRST, 1, NEXT, next));
            assert_eq!(guest.readable(0), Err(ChainFault::Next), "{next}, good in the ring's own table");
        }
        guest.entry(TABLE, 1, (FIRST, 1, 0, 0));
        assert_eq!(guest.readable(0), Ok((2, vec![1, 1])));
    }

    // G11
    #[test]
    fn accepts_a_chain_as_long_as_the_ring() {
        for size in [1, 2, 256] {
            let guest = Guest::new(size);
            guest.linked(guest.config.descriptors, size, FIRST, 2, 0);
            assert_eq!(guest.readable(0).unwrap().0, 2 * u32::from(size));
            guest.descriptor(size - 1, (FIRST, 2, NEXT, 0));
            assert_eq!(guest.readable(0), Err(ChainFault::TooMany), "one more");
        }
    }

    // G18
    #[test]
    fn rejects_more_than_max_chain_descriptors_in_a_long_ring() {
        let guest = Guest::new(4096);
        guest.linked(guest.config.descriptors, 1024, FIRST, 1, 0);
        assert_eq!(guest.readable(0), Ok((1024, vec![1; 1024])));
        guest.linked(guest.config.descriptors, 1025, FIRST, 1, 0);
        assert_eq!(guest.readable(0), Err(ChainFault::TooMany));
        assert_eq!(guest.readable(1), Ok((1024, vec![1; 1024])));
        guest.linked(guest.config.descriptors, 1024, FIRST, 0, 0);
        assert_eq!(guest.readable(0), Ok((0, vec![])));
        guest.linked(guest.config.descriptors, 1025, FIRST, 0, 0);
        assert_eq!(guest.readable(0), Err(ChainFault::TooMany), "of empty ones, too");
    }

    // G1
    #[test]
    fn a_loop_costs_no_more_than_the_table_has_descriptors() {
        let guest = Guest::new(8);
        guest.descriptor(0, (FIRST, 1, NEXT, 0));
        guest.descriptor(1, (TABLE, 64, INDIRECT, 0));
        guest.entry(TABLE, 0, (FIRST, 1, NEXT, 0));
        for (head, expected) in [(0, 8 + 1), (1, 4 + 1)] {
            let mut work = 0;
            let mut resolver = guest.table.resolver();
            let taken =
                walk(&guest.layout(), head, Direction::Readable, &mut Vec::new(), &mut resolver, &mut work);
            assert_eq!((taken.len, work), (Err(ChainFault::TooMany), expected));
        }
    }

    // G12, G18
    #[test]
    fn rejects_more_than_max_chain_descriptors_in_an_indirect_table() {
        let guest = Guest::new(2);
        guest.linked(TABLE, 1025, FIRST, 1, 0);
        for (entries, expected) in [
            (1024, ChainFault::Next),
            (1025, ChainFault::TooMany),
            (1026, ChainFault::TooMany),
            (2048, ChainFault::TooMany),
        ] {
            guest.descriptor(0, (TABLE, 16 * entries, INDIRECT, 0));
            assert_eq!(guest.readable(0), Err(expected), "{entries} entries");
        }
        guest.descriptor(0, (TABLE, 16 * 1024, INDIRECT, 0));
        guest.linked(TABLE, 1024, FIRST, 1, 0);
        assert_eq!(guest.readable(0).unwrap().0, 1024);
    }

    // G12: 65,535 entries, and as many as a u32 can tell.
    #[test]
    fn rejects_a_huge_indirect_table() {
        let memory = table(&[(FIRST, 0x20_0000), (0x100_0000, 0x1_0000)]);
        let (descriptors, available, used) = (0x100_0000, 0x100_1000, 0x100_2000);
        let config = RingConfig { descriptors, available, used, ..testing::config(4) };
        let guest = Guest { table: memory, config };
        guest.entry(FIRST, 0, (FIRST, 1, 0, 0));
        for len in [16 * 1025, 16 * 65_535, 16 * 65_536, 16 * 65_537, 0xffff_fff0] {
            guest.descriptor(0, (FIRST, len, INDIRECT, 0));
            assert_eq!(guest.readable(0), Err(ChainFault::TooMany), "{len}");
        }
    }

    #[test]
    fn counts_direct_and_indirect_descriptors_of_one_chain_together() {
        let guest = Guest::new(2048);
        guest.linked(TABLE, 512, FIRST, 1, 0);
        for (direct, expected) in [(512, Ok(1024)), (513, Err(ChainFault::TooMany))] {
            guest.linked(guest.config.descriptors, direct + 1, FIRST, 1, 0);
            guest.descriptor(direct, (TABLE, 16 * 512, INDIRECT, 0));
            assert_eq!(guest.readable(0).map(|(len, _)| len), expected, "{direct} before");
        }
    }

    #[test]
    fn rejects_more_than_max_chain_pieces_in_many_small_regions() {
        let mut ranges: Vec<_> = (0..200).map(|i| (FIRST + 0x1000 * i, 0x1000)).collect();
        ranges.push((RING, 0x10_0000));
        let guest = Guest { table: table(&ranges), config: testing::config(16) };
        // 200 pieces each.
        guest.linked(guest.config.descriptors, 5, FIRST, 200 * 0x1000, 0);
        assert_eq!(guest.readable(0).unwrap().1.len(), 1000);
        guest.linked(guest.config.descriptors, 6, FIRST, 200 * 0x1000, 0);
        assert_eq!(guest.readable(0), Err(ChainFault::TooMany));
    }

    // G13
    #[test]
    fn rejects_a_writable_descriptor_where_readable_ones_are_due() {
        let guest = Guest::new(8);
        for wrong in 0..3 {
            guest.linked(guest.config.descriptors, 3, FIRST, 4, 0);
            let next = if wrong < 2 { NEXT } else { 0 };
            guest.descriptor(wrong, (FIRST, 4, WRITE | next, wrong + 1));
            assert_eq!(guest.readable(0), Err(ChainFault::Direction), "descriptor {wrong}");
            guest.descriptor(wrong, (FIRST, 0, WRITE | next, wrong + 1));
            assert_eq!(guest.readable(0), Err(ChainFault::Direction), "empty descriptor {wrong}");
        }
    }

    // G14, G15
    #[test]
    fn rejects_a_readable_descriptor_where_writable_ones_are_due() {
        let guest = Guest::new(8);
        for wrong in 0..3 {
            guest.linked(guest.config.descriptors, 3, FIRST, 4, WRITE);
            let next = if wrong < 2 { NEXT } else { 0 };
            guest.descriptor(wrong, (FIRST, 4, next, wrong + 1));
            assert_eq!(guest.writable(0), Err(ChainFault::Direction), "descriptor {wrong}");
        }
        guest.descriptor(4, (TABLE, 32, INDIRECT, 0));
        guest.entry(TABLE, 0, (FIRST, 4, WRITE | NEXT, 1));
        guest.entry(TABLE, 1, (FIRST, 4, 0, 0));
        assert_eq!(guest.writable(4), Err(ChainFault::Direction), "in an indirect table");
    }

    // G7
    #[test]
    fn rejects_a_buffer_outside_the_regions() {
        let guest = Guest::new(8);
        let end = THIRD + REGION_LEN as u64;
        for (addr, len) in [
            (0, 1),
            (FIRST - 1, 1),
            (FIRST - 1, 2),
            (FIRST - 1, 0xffff_ffff),
            (GAP, 1),
            (THIRD - 1, 1),
            (THIRD - 1, 2),
            (end, 1),
            (end - 1, 2),
            (RING + 0x10_0000, 1),
            (1 << 63, 1),
            (u64::MAX, 1),
            (u64::MAX, 0xffff_ffff),
            (u64::MAX - 4095, 4096),
            (FIRST, 0xffff_ffff),
        ] {
            guest.descriptor(0, (addr, len, 0, 0));
            assert_eq!(guest.readable(0), Err(ChainFault::Outside), "{addr:#x}+{len:#x}");
            guest.descriptor(0, (addr, len, WRITE, 0));
            assert_eq!(guest.writable(0), Err(ChainFault::Outside), "{addr:#x}+{len:#x}");
        }
        guest.descriptor(0, (end - 1, 1, 0, 0));
        assert_eq!(guest.readable(0), Ok((1, vec![1])), "the last octet");
    }

    // G8
    #[test]
    fn splits_a_buffer_across_adjacent_regions_and_rejects_one_across_a_gap() {
        let guest = Guest::new(8);
        guest.descriptor(0, (SECOND - 3, 10, 0, 0));
        assert_eq!(guest.readable(0), Ok((10, vec![3, 7])));
        guest.descriptor(0, (FIRST, 2 * REGION_LEN as u32, 0, 0));
        assert_eq!(guest.readable(0), Ok((0x2_0000, vec![0x1_0000, 0x1_0000])));
        guest.descriptor(0, (FIRST, 2 * REGION_LEN as u32 + 1, 0, 0));
        assert_eq!(guest.readable(0), Err(ChainFault::Outside));
        guest.descriptor(0, (GAP - 3, 3, 0, 0));
        assert_eq!(guest.readable(0), Ok((3, vec![3])));
        guest.descriptor(0, (GAP - 3, 4, 0, 0));
        assert_eq!(guest.readable(0), Err(ChainFault::Outside));
        guest.descriptor(0, (GAP - 3, 0x1_0010, 0, 0));
        assert_eq!(guest.readable(0), Err(ChainFault::Outside), "from region to region over the gap");
    }

    #[test]
    fn a_bad_buffer_after_good_ones_spoils_the_chain_and_leaves_no_segment() {
        let guest = Guest::new(8);
        let mut segments = Vec::new();
        guest.descriptor(0, (FIRST, 4, 0, 0));
        let layout = guest.layout();
        let mut resolver = layout.table().resolver();
        let mut walk =
            |head| walk(&layout, head, Direction::Readable, &mut segments, &mut resolver, &mut 0).len;
        assert_eq!(walk(0), Ok(4));
        guest.descriptor(1, (SECOND - 1, 2, NEXT, 2));
        guest.descriptor(2, (GAP, 1, 0, 0));
        assert_eq!(walk(1), Err(ChainFault::Outside));
        assert_eq!(segments.len(), 1, "only the good chain's");
    }

    // G9
    #[test]
    fn an_empty_descriptor_counts_nothing_and_its_address_does_not_matter() {
        let guest = Guest::new(8);
        for addr in [0, FIRST, GAP, u64::MAX] {
            guest.descriptor(0, (addr, 0, 0, 0));
            assert_eq!(guest.readable(0), Ok((0, vec![])), "only");
            for empty in 0..3 {
                guest.linked(guest.config.descriptors, 3, FIRST, 5, WRITE);
                let next = if empty < 2 { NEXT } else { 0 };
                guest.descriptor(empty, (addr, 0, WRITE | next, empty + 1));
                assert_eq!(guest.writable(0), Ok((10, vec![5, 5])), "descriptor {empty} at {addr:#x}");
            }
        }
    }

    // G10
    #[test]
    fn rejects_lengths_that_add_up_to_more_than_fits() {
        let memory = table(&[(RING, 0x10_0000), (1 << 32, (1 << 32) + 0x1000)]);
        let guest = Guest { table: memory, config: testing::config(8) };
        guest.descriptor(0, (1 << 32, 0xffff_ffff, 0, 0));
        assert_eq!(guest.readable(0), Ok((0xffff_ffff, vec![0xffff_ffff])));
        for (second, expected) in [(0, Ok(0xffff_ffff)), (1, Err(ChainFault::TooLong))] {
            guest.descriptor(0, (1 << 32, 0xffff_ffff, NEXT, 1));
            guest.descriptor(1, (1 << 32, second, 0, 0));
            assert_eq!(guest.readable(0).map(|(len, _)| len), expected);
        }
        guest.linked(guest.config.descriptors, 4, 1 << 32, 1 << 30, 0);
        assert_eq!(guest.readable(0), Err(ChainFault::TooLong), "2^32 by four");
        guest.descriptor(3, (1 << 32, (1 << 30) - 1, 0, 0));
        assert_eq!(guest.readable(0).unwrap().0, 0xffff_ffff);
    }

    // G12
    #[test]
    fn accepts_an_indirect_table_alone_and_after_direct_descriptors() {
        let guest = Guest::new(8);
        guest.linked(TABLE, 3, FIRST, 7, 0);
        guest.descriptor(0, (TABLE, 48, INDIRECT, 0));
        assert_eq!(guest.readable(0), Ok((21, vec![7; 3])));
        guest.descriptor(1, (FIRST, 1, NEXT, 2));
        guest.descriptor(2, (FIRST, 2, NEXT, 0));
        assert_eq!(guest.readable(1), Ok((24, vec![1, 2, 7, 7, 7])));
    }

    // G12: a table may be longer than the ring.
    #[test]
    fn accepts_an_indirect_table_longer_than_the_ring() {
        let guest = Guest::new(1);
        guest.linked(TABLE, 20, FIRST, 7, WRITE);
        guest.descriptor(0, (TABLE, 320, INDIRECT, 0));
        assert_eq!(guest.writable(0), Ok((140, vec![7; 20])));
    }

    // G12
    #[test]
    fn rejects_an_indirect_descriptor_without_the_feature() {
        let guest = Guest::with(RingConfig { indirect: false, ..testing::config(8) });
        guest.linked(TABLE, 1, FIRST, 7, 0);
        guest.descriptor(0, (TABLE, 16, INDIRECT, 0));
        assert_eq!(guest.readable(0), Err(ChainFault::Indirect));
    }

    // G12
    #[test]
    fn rejects_a_nested_indirect_descriptor() {
        let guest = Guest::new(8);
        guest.linked(TABLE + 0x100, 1, FIRST, 7, 0);
        guest.descriptor(0, (TABLE, 32, INDIRECT, 0));
        guest.entry(TABLE, 0, (TABLE + 0x100, 16, INDIRECT, 0));
        assert_eq!(guest.readable(0), Err(ChainFault::Indirect), "as the first entry");
        guest.entry(TABLE, 0, (FIRST, 4, NEXT, 1));
        guest.entry(TABLE, 1, (TABLE + 0x100, 16, INDIRECT, 0));
        assert_eq!(guest.readable(0), Err(ChainFault::Indirect), "as the second");
        guest.entry(TABLE, 0, (TABLE, 32, INDIRECT, 0));
        assert_eq!(guest.readable(0), Err(ChainFault::Indirect), "of itself");
    }

    // G12
    #[test]
    fn rejects_an_indirect_descriptor_with_next() {
        let guest = Guest::new(8);
        guest.linked(TABLE, 1, FIRST, 7, 0);
        guest.descriptor(0, (TABLE, 16, INDIRECT | NEXT, 1));
        guest.descriptor(1, (FIRST, 1, 0, 0));
        assert_eq!(guest.readable(0), Err(ChainFault::Indirect));
    }

    // G12
    #[test]
    fn rejects_an_indirect_table_of_no_whole_number_of_entries() {
        let guest = Guest::new(8);
        guest.linked(TABLE, 1, FIRST, 7, 0);
        for len in [0, 1, 8, 15, 17, 31, 33, 0xffff_ffff] {
            guest.descriptor(0, (TABLE, len, INDIRECT, 0));
            assert_eq!(guest.readable(0), Err(ChainFault::Indirect), "{len}");
        }
    }

    // G12
    #[test]
    fn rejects_an_indirect_table_that_is_not_inside_one_region() {
        let guest = Guest::new(8);
        for addr in [SECOND - 16, GAP - 16] {
            guest.entry(addr, 0, (FIRST, 7, 0, 0));
            guest.descriptor(0, (addr, 16, INDIRECT, 0));
            assert_eq!(guest.readable(0), Ok((7, vec![7])), "ends with the region, {addr:#x}");
            guest.descriptor(0, (addr, 32, INDIRECT, 0));
            assert_eq!(guest.readable(0), Err(ChainFault::Indirect), "crosses, {addr:#x}");
        }
        for addr in [0, GAP, THIRD - 16, u64::MAX, u64::MAX - 15] {
            guest.descriptor(0, (addr, 16, INDIRECT, 0));
            assert_eq!(guest.readable(0), Err(ChainFault::Indirect), "outside, {addr:#x}");
        }
    }

    // G12, G22: virtio gives the table no alignment.
    #[test]
    fn accepts_a_misaligned_indirect_table() {
        let guest = Guest::new(8);
        for misalignment in 1..16 {
            let at = TABLE + misalignment;
            guest.entry(at, 0, (FIRST, 3, NEXT, 2));
            guest.entry(at, 1, (GAP, 5, NEXT, 9));
            guest.entry(at, 2, (SECOND - 1, 0x102, 0, 0));
            guest.descriptor(0, (at, 48, INDIRECT, 0));
            assert_eq!(guest.readable(0), Ok((0x105, vec![3, 1, 0x101])), "{misalignment}");
        }
    }

    // G12: §2.7.5.3.2, the device must ignore WRITE on the descriptor that refers to a table.
    #[test]
    fn ignores_write_on_the_indirect_descriptor_itself() {
        let guest = Guest::new(8);
        guest.linked(TABLE, 2, FIRST, 7, 0);
        guest.descriptor(0, (TABLE, 32, INDIRECT | WRITE, 0));
        assert_eq!(guest.readable(0), Ok((14, vec![7, 7])));
        assert_eq!(guest.writable(0), Err(ChainFault::Direction));
        guest.linked(TABLE, 2, FIRST, 7, WRITE);
        assert_eq!(guest.writable(0), Ok((14, vec![7, 7])));
        guest.descriptor(0, (TABLE, 32, INDIRECT, 0));
        assert_eq!(guest.writable(0), Ok((14, vec![7, 7])));
    }

    // G12: the ring's own table as indirect table is only memory.
    #[test]
    fn survives_an_indirect_table_on_the_ring_itself() {
        let guest = Guest::new(8);
        guest.linked(RING, 8, FIRST, 7, 0);
        guest.descriptor(0, (RING + 16, 16 * 7, INDIRECT, 0));
        // Its entries' `next` count from the ring's second descriptor, so that they skip every other one.
        assert_eq!(guest.readable(0), Ok((28, vec![7; 4])));
        guest.descriptor(0, (RING, 16 * 8, INDIRECT, 0));
        assert_eq!(guest.readable(0), Err(ChainFault::Indirect), "it finds itself in the table");
    }
}
