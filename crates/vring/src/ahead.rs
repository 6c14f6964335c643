//! Device-writable chains read ahead of their turn, and filled in one go: the way of nearly every frame.
//!
//! [`DeviceRing::reserve`] can do all that is done here and more, chain by chain. What is gained is time: the cache
//! lines of a burst's descriptors and buffers come from the driver's CPU together instead of one by one, and a
//! frame is put into its buffer by one header, one copy and one used entry.

use std::ptr::NonNull;

use crate::burst::Chain;
use crate::cache::{hand_over, prefetch_to_write};
use crate::chain::{Direction, Segment, single};
use crate::device::{DeviceRing, MAX_BURST};

/// How many chains ahead of the one that is filled a buffer's first lines are fetched: enough to be there in time,
/// few enough for the CPU to fetch at once.
const FETCHED: usize = 16;

/// The chains that were read ahead: each one buffer.
#[derive(Debug)]
pub(crate) struct Ready {
    chains: Vec<(u16, Segment)>,
    /// How many of them are used: the one after them is the ring's next.
    used: usize,
}

impl Ready {
    pub(crate) fn new() -> Self {
        Self { chains: Vec::with_capacity(MAX_BURST), used: 0 }
    }

    /// The head and the place of the next chain, if there is one that holds `total` octets; and the one that is
    /// [`FETCHED`] chains later is fetched.
    #[inline]
    fn next(&self, total: usize) -> Option<(u16, NonNull<u8>)> {
        let &(head, buffer) = self.chains.get(self.used)?;
        if total > buffer.len as usize {
            return None;
        }
        if let Some((_, later)) = self.chains.get(self.used + FETCHED) {
            prefetch_to_write(later.host);
        }
        Some((head, buffer.host))
    }

    /// Forgets them: they are read again when their turn comes. Whoever moves the ring on in another way than
    /// [`DeviceRing::put_chain`] and [`DeviceRing::put_octets`] calls this first.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.chains.clear();
        self.used = 0;
    }
}

impl DeviceRing {
    /// Reads up to `count` waiting device-writable chains, at most [`MAX_BURST`], for
    /// [`put_chain`](Self::put_chain) and [`put_octets`](Self::put_octets) to fill.
    ///
    /// Only chains of one buffer in one region are read ahead, up to the first other one: that one is left for
    /// [`reserve`](Self::reserve), which also tells a fault of the ring. Calling this again, `reserve` and
    /// [`pop_burst`](Self::pop_burst) forget what was read and not filled; it stays available.
    #[inline]
    pub fn look_ahead(&mut self, count: usize) {
        self.ready.clear();
        let count = count.min(MAX_BURST) as u16;
        let waiting = self.pending(count).unwrap_or(0);
        let next = self.next();
        let ring = self.layout.parts();
        let mut resolver = self.layout.table().resolver();
        for ahead in 0..waiting.min(count) {
            let Ok(head) = ring.head(next.wrapping_add(ahead)) else { break };
            let Some(buffer) = single(&ring, head, Direction::Writable, &mut resolver) else { break };
            if usize::from(ahead) < FETCHED {
                prefetch_to_write(buffer.host);
            }
            self.ready.chains.push((head, buffer));
        }
    }

    /// Fills the next chain with `header` and the octets of `chain` from position `skip` on, and completes it.
    ///
    /// Returns whether it did. If not, nothing has happened: `chain` can't be used or is shorter than `skip`; or this
    /// ring's next chain was not [read ahead](Self::look_ahead), or can't hold as much. Then the frame is one for
    /// [`reserve`](Self::reserve).
    #[inline]
    pub fn put_chain<const N: usize>(&mut self, header: &[u8; N], chain: &Chain<'_>, skip: usize) -> bool {
        let [from] = chain.segments else { return self.put_pieces(header, chain, skip) };
        let Some(len) = (from.len as usize).checked_sub(skip) else { return false };
        // SAFETY: the segment is `skip` plus `len` octets inside a mapping that the chain's ring keeps alive.
        // JUSTIFICATION: from one guest's buffer straight into the other's.
        unsafe { self.put(header, from.host.add(skip).as_ptr(), len) }
    }

    /// [`put_chain`](Self::put_chain) of a chain of several buffers.
    #[inline(never)]
    fn put_pieces(&mut self, header: &[u8], chain: &Chain<'_>, mut skip: usize) -> bool {
        let Ok(chain_len) = chain.len() else { return false };
        let Some(len) = (chain_len as usize).checked_sub(skip) else { return false };
        let total = header.len() + len;
        let Some((head, to)) = self.ready.next(total) else { return false };
        // SAFETY: `to` holds `total` octets inside a mapping that this ring keeps alive.
        // JUSTIFICATION: as in `put`.
        let mut at = unsafe {
            std::ptr::copy_nonoverlapping(header.as_ptr(), to.as_ptr(), header.len());
            to.add(header.len())
        };
        for from in chain.segments {
            let before = skip.min(from.len as usize);
            let len = from.len as usize - before;
            skip -= before;
            // SAFETY: the segment is `before` plus `len` octets inside a mapping that the chain's ring keeps alive;
            // all segments together, less what is skipped, are what `to` has room for behind the header.
            // JUSTIFICATION: as in `put`.
            unsafe {
                std::ptr::copy(from.host.add(before).as_ptr(), at.as_ptr(), len);
                at = at.add(len);
            }
        }
        self.put_done(head, to, total);
        true
    }

    /// Fills the next chain with `header` and `octets`, and completes it. Returns whether it did, as
    /// [`put_chain`](Self::put_chain) does.
    #[inline]
    pub fn put_octets<const N: usize>(&mut self, header: &[u8; N], octets: &[u8]) -> bool {
        // SAFETY: a slice is readable.
        // JUSTIFICATION: `put` serves slices and segments alike.
        unsafe { self.put(header, octets.as_ptr(), octets.len()) }
    }

    /// Fills the next chain with `header` and the `len` octets at `from`, if it was read ahead and holds them.
    ///
    /// # Safety
    ///
    /// `from` must be readable for `len` octets.
    #[inline]
    unsafe fn put<const N: usize>(&mut self, header: &[u8; N], from: *const u8, len: usize) -> bool {
        let total = N + len;
        let Some((head, to)) = self.ready.next(total) else { return false };
        // SAFETY: `to` holds `N` plus `len` octets inside a mapping that this ring keeps alive; the caller vouches
        // for `from`. Both may be one guest's memory, named by two buffers that overlap: hence `copy`.
        // JUSTIFICATION: the one copy of the plain cable.
        unsafe {
            std::ptr::copy_nonoverlapping(header.as_ptr(), to.as_ptr(), N);
            std::ptr::copy(from, to.add(N).as_ptr(), len);
        }
        self.put_done(head, to, total);
        true
    }

    /// Completes the next chain, which was read ahead and got `total` octets at `to`.
    #[inline]
    fn put_done(&mut self, head: u16, to: NonNull<u8>, total: usize) {
        hand_over(to, total);
        self.ready.used += 1;
        self.put_used(head, total as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, FIRST, GAP, Guest, NEXT, SECOND, WRITE, pattern};
    use crate::{ReserveError, RingFault};

    /// A guest whose descriptors 0 to 7 are buffers of 100 octets, in a row from FIRST on.
    fn guest(flags: u16) -> Guest {
        let guest = Guest::with(testing::config(8));
        for i in 0..8 {
            guest.descriptor(i, (FIRST + 100 * u64::from(i), 100, flags, 0));
        }
        guest
    }

    fn put(device: &mut DeviceRing, frame: &[u8]) -> bool {
        device.put_octets(b"head", frame)
    }

    #[test]
    fn puts_frames_into_the_chains_that_were_read_ahead() {
        for base in [0u16, 65_534] {
            let guest = guest(WRITE);
            guest.set_indices(base);
            let mut device = guest.device();
            guest.offer(&[3, 5, 1]);
            device.look_ahead(2);
            assert!(put(&mut device, b"one") && put(&mut device, &pattern(96)));
            assert!(!put(&mut device, b"three"), "only two were asked for");
            assert_eq!(guest.used_idx(), base, "not published");
            device.publish();
            assert_eq!(guest.used_since(base), [(3, 7), (5, 100)]);
            assert_eq!(guest.octets(FIRST + 300, 8), b"headone\0");
            assert_eq!(guest.octets(FIRST + 500, 100), [b"head", &pattern(96)[..]].concat());
            assert_eq!(device.next(), base.wrapping_add(2));
        }
    }

    #[test]
    fn copies_a_chain_from_a_position_on() {
        let (from, to) = (guest(0), guest(WRITE));
        from.table.write(FIRST + 100, &pattern(100)).unwrap();
        let (mut tx, mut rx) = (from.device(), to.device());
        from.offer(&[1, 1, 1, 1]);
        to.offer(&[0, 1, 2, 3]);
        let burst = tx.pop_burst(64).unwrap();
        rx.look_ahead(4);
        for (skip, header) in [(12, [1; 2]), (99, [2; 2]), (100, [3; 2])] {
            assert!(rx.put_chain(&header, &burst.chain(0), skip));
        }
        assert!(!rx.put_chain(&[4; 2], &burst.chain(0), 101), "the chain is shorter");
        assert!(!rx.put_chain(&[4; 13], &burst.chain(0), 12), "the buffer is too short");
        assert!(rx.put_chain(&[5; 12], &burst.chain(0), 12));
        rx.publish();
        assert_eq!(to.used_since(0), [(0, 90), (1, 3), (2, 2), (3, 100)]);
        assert_eq!(to.octets(FIRST, 90), [&[1, 1], &pattern(100)[12..]].concat());
        assert_eq!(to.octets(FIRST + 300, 100), [&[5; 12], &pattern(100)[12..]].concat());
    }

    #[test]
    fn copies_a_chain_of_several_buffers() {
        let (from, to) = (guest(0), guest(WRITE));
        from.table.write(FIRST, &pattern(100)).unwrap();
        from.descriptor(0, (FIRST + 60, 20, NEXT, 1));
        from.descriptor(1, (FIRST, 0, NEXT, 2));
        from.descriptor(2, (FIRST + 10, 30, NEXT, 3));
        from.descriptor(3, (FIRST + 50, 5, 0, 0));
        from.descriptor(4, (FIRST, 1, NEXT, 5));
        from.descriptor(5, (GAP, 1, 0, 0));
        let octets = [&pattern(100)[60..80], &pattern(100)[10..40], &pattern(100)[50..55]].concat();
        let (mut tx, mut rx) = (from.device(), to.device());
        from.offer(&[0, 4]);
        to.offer(&[0, 1, 2, 3, 4, 5, 6]);
        let burst = tx.pop_burst(64).unwrap();
        rx.look_ahead(7);
        for (skip, header) in
            [(0, [7; 45]), (1, [7; 45]), (20, [7; 45]), (31, [7; 45]), (50, [7; 45]), (55, [7; 45])]
        {
            assert!(rx.put_chain(&header, &burst.chain(0), skip), "{skip}");
        }
        assert!(!rx.put_chain(&[7; 45], &burst.chain(0), 56), "the chain is shorter");
        assert!(!rx.put_chain(&[7; 46], &burst.chain(0), 0), "the buffer is too short");
        assert!(!rx.put_chain(&[7; 45], &burst.chain(1), 0), "the chain can't be used");
        rx.publish();
        for (i, skip) in [0, 1, 20, 31, 50, 55].into_iter().enumerate() {
            assert_eq!(to.used_entry(i as u16), (i as u32, 100 - skip as u32));
            let expected = [&[7; 45], &octets[skip..]].concat();
            assert_eq!(to.octets(FIRST + 100 * i as u64, 100 - skip), expected);
        }
        assert_eq!(to.octets(FIRST + 600, 100), [0; 100], "the next buffer is untouched");
    }

    // G7, G8, G9, G14: what is not one whole buffer is left for reserve, which judges it.
    #[test]
    fn reads_up_to_the_first_chain_of_another_kind() {
        for other in [
            (FIRST, 100, WRITE | NEXT, 3),
            (FIRST, 100, 0, 0),
            (FIRST, 0, WRITE, 0),
            (GAP, 100, WRITE, 0),
            (GAP - 50, 100, WRITE, 0),
            (SECOND - 50, 100, WRITE, 0),
        ] {
            let guest = guest(WRITE);
            guest.descriptor(2, other);
            let mut device = guest.device();
            guest.offer(&[1, 2, 3]);
            device.look_ahead(3);
            assert!(put(&mut device, b"one"));
            assert!(!put(&mut device, b"two"), "{other:x?}");
            device.publish();
            assert_eq!(guest.used_since(0), [(1, 7)]);
        }
    }

    // G3: the fault is reserve's to tell, after the good chains before it.
    #[test]
    fn a_bad_head_is_left_for_reserve() {
        let guest = guest(WRITE);
        let mut device = guest.device();
        guest.offer(&[1, 8]);
        device.look_ahead(2);
        assert!(put(&mut device, b"one") && !put(&mut device, b"two"));
        assert_eq!(device.fault(), None);
        assert_eq!(device.reserve(5, 1).unwrap_err(), ReserveError::Ring(RingFault::Head(8)));
        device.publish();
        assert_eq!(guest.used_since(0), [(1, 7)]);
    }

    // G5
    #[test]
    fn a_bad_index_stops_the_ring_and_reserve_tells() {
        let guest = guest(WRITE);
        let mut device = guest.device();
        guest.offer(&[0, 1]);
        device.look_ahead(1);
        guest.set_avail_idx(9);
        assert_eq!(device.available(), 0);
        assert!(!put(&mut device, b"one"), "what was read ahead is forgotten");
        device.look_ahead(1);
        assert!(!put(&mut device, b"one"));
        let fault = RingFault::AvailableIndex { idx: 9, next: 0 };
        assert_eq!(device.reserve(5, 1).unwrap_err(), ReserveError::Ring(fault));
    }

    #[test]
    fn reserve_takes_over_where_a_frame_does_not_fit() {
        let guest = guest(WRITE);
        let mut device = guest.device();
        guest.offer(&[0, 1, 2, 3]);
        device.look_ahead(4);
        assert!(put(&mut device, b"one"));
        assert!(!put(&mut device, &pattern(97)), "too long");
        let mut room = device.reserve(150, 8).unwrap();
        room.write(&pattern(150));
        assert!(room.commit());
        assert!(!put(&mut device, b"two"), "what was read ahead is forgotten");
        device.look_ahead(4);
        assert!(put(&mut device, b"two"));
        device.look_ahead(4);
        assert!(!put(&mut device, b"three"), "no more is available");
        device.publish();
        assert_eq!(guest.used_since(0), [(0, 7), (1, 100), (2, 50), (3, 7)]);
    }

    #[test]
    fn what_was_read_ahead_and_not_filled_stays_available() {
        let guest = guest(WRITE);
        let mut device = guest.device();
        guest.offer(&[0, 1]);
        device.look_ahead(2);
        assert!(put(&mut device, b"one"));
        device.publish();
        guest.descriptor(1, (FIRST + 100, 5, WRITE, 0));
        assert_eq!(device.available(), 1);
        device.look_ahead(2);
        assert!(!put(&mut device, b"two"), "read again: it is shorter now");
        let burst = device.pop_burst(64).unwrap();
        assert_eq!(burst.chain(0).len(), Err(crate::ChainFault::Direction));
        burst.complete(1);
        device.publish();
        assert_eq!(guest.used_since(0), [(0, 7), (1, 0)]);
        assert!(!put(&mut device, b"3"), "a burst forgets what was read ahead");
    }

    #[test]
    fn reads_at_most_a_burst_and_writes_every_used_entry() {
        let guest = Guest::new(256);
        let heads: Vec<u16> = (0..256).collect();
        for &i in &heads {
            guest.descriptor(i, (FIRST + 100 * u64::from(i), 100, WRITE, 0));
        }
        let mut device = guest.device();
        guest.offer(&heads);
        for _ in 0..3 {
            device.look_ahead(usize::MAX);
            (0..MAX_BURST).for_each(|_| assert!(put(&mut device, b"frame")));
            assert!(!put(&mut device, b"frame"));
        }
        // No more than a burst's entries wait for their publication.
        assert_eq!((guest.used_entry(127), guest.used_entry(128)), ((127, 9), (0, 0)));
        device.publish();
        let expected: Vec<_> = (0..3 * MAX_BURST as u32).map(|i| (i, 9)).collect();
        assert_eq!(guest.used_since(0), expected);
    }

    #[test]
    fn entries_of_both_ways_are_in_the_order_of_their_chains() {
        let guest = guest(WRITE);
        guest.descriptor(5, (FIRST, 100, 0, 0));
        let mut device = guest.device();
        guest.offer(&[3, 5]);
        device.look_ahead(1);
        assert!(put(&mut device, b"one"));
        device.pop_burst(64).unwrap().complete(1);
        device.publish();
        assert_eq!(guest.used_since(0), [(3, 7), (5, 0)]);
    }

    #[test]
    fn two_names_of_one_buffer_are_copied_as_memmove_does() {
        let guest = guest(WRITE);
        guest.descriptor(7, (FIRST + 4, 50, 0, 0));
        guest.table.write(FIRST, &pattern(100)).unwrap();
        let (mut tx, mut rx) = (guest.device(), guest.device());
        guest.offer(&[7]);
        let burst = tx.pop_burst(64).unwrap();
        guest.set_u16(guest.config.available + 4, 0);
        rx.look_ahead(1);
        assert!(rx.put_chain(&[9; 12], &burst.chain(0), 0));
        let frame = [&[9; 8], &pattern(100)[12..54]].concat();
        assert_eq!(
            guest.octets(FIRST, 62),
            [&[9; 12], &frame[..]].concat(),
            "behind the header, what it left"
        );
    }
}
