//! The device side of a split virtqueue: take chains, copy out of and into them, return them.

use std::sync::atomic::{Ordering, fence};

use crate::ahead::Ready;
use crate::burst::Burst;
use crate::cache::prefetch_to_read;
use crate::chain::{Direction, MAX_CHAIN, Segment, Taken, single, walk};
use crate::layout::{RING_F_NO_NOTIFICATION, RingLayout, crosses_event};
use crate::reservation::Reservation;

/// The most chains in one burst.
pub const MAX_BURST: usize = 64;

/// A burst or a reservation takes no further chain once it has looked at this many chains and descriptors,
/// or holds this many segments: the bound on its work is this plus [`MAX_CHAIN`]. Counted are also the
/// descriptors that leave no segment, those of length 0 and those of chains that can't be used; not counted are a
/// burst's chains of one buffer, at most [`MAX_BURST`].
const BURST_WORK: usize = 4096;

/// What makes a whole ring unusable until its driver sets it up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RingFault {
    /// The available index moved by more than the ring's size, or backwards.
    #[error("available index {idx} with {next} due: more than the ring holds")]
    AvailableIndex {
        /// What the driver wrote.
        idx: u16,
        /// The index that the device takes next.
        next: u16,
    },
    /// The available ring names a head that is not below the ring's size.
    #[error("head {0} is not in the descriptor table")]
    Head(u16),
}

/// Why no buffers could be had for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReserveError {
    /// The driver has not made enough buffers available; it may do so later. Also after so many unusable
    /// chains in a row that looking for a usable one is put off to the next call.
    #[error("not enough buffers available")]
    Empty,
    /// The buffers at the ring's head can't hold the frame, however long one waits.
    #[error("frame longer than the buffers")]
    TooSmall,
    /// The ring is unusable.
    #[error(transparent)]
    Ring(#[from] RingFault),
}

/// The device's end of a split virtqueue.
///
/// It returns chains in the order in which it takes them, so that one cursor is the next available and the
/// next used index. Chains are taken by [`pop_burst`](Self::pop_burst) (device-readable),
/// [`reserve`](Self::reserve), or [`look_ahead`](Self::look_ahead) and [`put_chain`](Self::put_chain)
/// (device-writable), and are the driver's again only after [`publish`](Self::publish). Chains taken but not
/// completed stay in the available ring: nothing is lost when a `Burst` or a `Reservation` is dropped.
#[derive(Debug)]
pub struct DeviceRing {
    pub(crate) layout: RingLayout,
    /// Index of the next chain to take, and of its used entry. Those of the chains before it are written or due.
    next: u16,
    /// The used index that the driver sees.
    published: u16,
    /// The driver's available index as last read.
    available: u16,
    /// The used index at the last decision about a call; `None` until the first.
    signalled: Option<u16>,
    fault: Option<RingFault>,
    rejected: u64,
    /// Chains and descriptors looked at for the burst or reservation under way.
    work: usize,
    /// The chains of the burst or the reservation under way.
    pub(crate) taken: Vec<Taken>,
    /// Their buffers.
    pub(crate) segments: Vec<Segment>,
    /// Chains from `next` on that were read already.
    pub(crate) ready: Ready,
    /// Used entries, head and length, of completed chains that are not in the ring yet.
    due: Vec<(u16, u32)>,
}

impl DeviceRing {
    /// Starts where the driver's used index stands: right for a fresh ring and after this process, or the
    /// one before it, was killed at any point, since an in-order device has used = available for all it
    /// completed.
    #[must_use]
    pub fn start(layout: RingLayout) -> Self {
        let next = u16::from_le(layout.used_idx().load(Ordering::Acquire));
        Self::resume(layout, next)
    }

    /// Starts at index `next`: for a ring that was running, had [published](Self::publish) all it had completed, and
    /// only got another layout or memory table.
    #[must_use]
    pub fn resume(layout: RingLayout, next: u16) -> Self {
        Self {
            layout,
            next,
            published: next,
            available: next,
            signalled: None,
            fault: None,
            rejected: 0,
            work: 0,
            taken: Vec::with_capacity(MAX_BURST),
            segments: Vec::with_capacity(MAX_BURST + MAX_CHAIN),
            ready: Ready::new(),
            due: Vec::with_capacity(MAX_BURST),
        }
    }

    /// Index of the next chain to take: after [`publish`](Self::publish), what GET_VRING_BASE answers.
    #[must_use]
    pub fn next(&self) -> u16 {
        self.next
    }

    /// Where the ring lies.
    #[must_use]
    pub fn layout(&self) -> &RingLayout {
        &self.layout
    }

    /// The fault that stopped the ring, if one did. A stopped ring stays stopped.
    #[must_use]
    pub fn fault(&self) -> Option<RingFault> {
        self.fault
    }

    /// How many unusable chains [`reserve`](Self::reserve) has returned to the driver.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Chains waiting from `next` on, at most `wanted` counted anew: the shared index is read only when the
    /// copy of it shows fewer.
    #[inline]
    pub(crate) fn pending(&mut self, wanted: u16) -> Result<u16, RingFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let known = self.available.wrapping_sub(self.next);
        if known >= wanted {
            return Ok(known);
        }
        let idx = u16::from_le(self.layout.avail_idx().load(Ordering::Acquire));
        let pending = idx.wrapping_sub(self.next);
        if pending > self.layout.config().size || pending < known {
            return Err(self.stop(RingFault::AvailableIndex { idx, next: self.next }));
        }
        self.available = idx;
        Ok(pending)
    }

    #[cold]
    fn stop(&mut self, fault: RingFault) -> RingFault {
        self.fault = Some(fault);
        self.ready.clear();
        fault
    }

    /// Completes the next chain and moves on. Its used entry is written with `publish`: the entries' cache lines are
    /// on the driver's CPU, and come together when they are written together, where one between two frames would
    /// hold up the stores behind it.
    #[inline]
    pub(crate) fn put_used(&mut self, head: u16, len: u32) {
        if self.due.len() == MAX_BURST {
            self.write_due();
        }
        self.due.push((head, len));
        self.next = self.next.wrapping_add(1);
    }

    /// Completes the first `count` of the taken chains with length 0, and writes their used entries.
    #[inline]
    pub(crate) fn return_taken(&mut self, count: usize) {
        self.write_due();
        for taken in &self.taken[..count] {
            self.layout.set_used_entry(self.next, taken.head, 0);
            self.next = self.next.wrapping_add(1);
        }
    }

    /// Writes the used entries that are due into the ring.
    #[inline]
    fn write_due(&mut self) {
        let first = self.next.wrapping_sub(self.due.len() as u16);
        for (i, (head, len)) in self.due.drain(..).enumerate() {
            self.layout.set_used_entry(first.wrapping_add(i as u16), head, len);
        }
    }

    /// Takes up to `max` device-readable chains, at most [`MAX_BURST`].
    ///
    /// A chain that can't be used is in the burst too, with its [`ChainFault`](crate::ChainFault), since it must
    /// be returned.
    ///
    /// # Errors
    ///
    /// The [`RingFault`] that stopped the ring, now or earlier. Good chains before a bad head still come in
    /// a burst; the error comes with the next call.
    #[inline]
    pub fn pop_burst(&mut self, max: usize) -> Result<Burst<'_>, RingFault> {
        self.taken.clear();
        self.segments.clear();
        self.ready.clear();
        self.work = 0;
        let max = max.min(MAX_BURST) as u16;
        let count = self.pending(max)?.min(max);
        let parts = self.layout.parts();
        let mut resolver = self.layout.table().resolver();
        for ahead in 0..count {
            let head = match parts.head(self.next.wrapping_add(ahead)) {
                Ok(head) => head,
                Err(fault) => {
                    let fault = self.stop(fault);
                    if ahead == 0 {
                        return Err(fault);
                    }
                    break;
                }
            };
            if let Some(only) = single(&parts, head, Direction::Readable, &mut resolver) {
                prefetch_to_read(only.host, only.len as usize);
                self.taken.push(Taken { head, len: Ok(only.len), only, first: 0, end: 0 });
                continue;
            }
            self.work += 1;
            self.taken.push(walk(
                &self.layout,
                head,
                Direction::Readable,
                &mut self.segments,
                &mut resolver,
                &mut self.work,
            ));
            if self.work.max(self.segments.len()) >= BURST_WORK {
                break;
            }
        }
        Ok(Burst::new(self))
    }

    /// Takes device-writable chains that together hold `len` octets, at most `max_chains` of them
    /// (1 without VIRTIO_NET_F_MRG_RXBUF).
    ///
    /// All or nothing: on an error every usable chain stays where it was. Chains that can't be used are
    /// returned to the driver with length 0 and counted by [`rejected`](Self::rejected); usable ones before
    /// them, which the frame needed too, go back with them, since used entries can't leave a gap.
    ///
    /// # Errors
    ///
    /// See [`ReserveError`].
    #[inline]
    pub fn reserve(&mut self, len: usize, max_chains: usize) -> Result<Reservation<'_>, ReserveError> {
        self.ready.clear();
        self.taken.clear();
        self.segments.clear();
        self.work = 0;
        let rejected = self.rejected;
        let mut capacity = 0;
        while capacity < len {
            let ahead = self.taken.len();
            if ahead >= max_chains || self.segments.len() >= MAX_CHAIN {
                return Err(ReserveError::TooSmall);
            }
            if self.work >= BURST_WORK {
                // A driver that makes unusable chains available as fast as we return them must not hold
                // us here. The next call goes on behind the returned ones.
                let again = self.rejected != rejected;
                return Err(if again { ReserveError::Empty } else { ReserveError::TooSmall });
            }
            let ahead = ahead as u16;
            if self.pending(ahead + 1)? <= ahead {
                // With every buffer of a full ring in hand, waiting brings no more.
                let all = ahead >= self.layout.config().size;
                return Err(if all { ReserveError::TooSmall } else { ReserveError::Empty });
            }
            let head = self.layout.parts().head(self.next.wrapping_add(ahead));
            let head = head.map_err(|fault| self.stop(fault))?;
            self.work += 1;
            let mut resolver = self.layout.table().resolver();
            let taken = walk(
                &self.layout,
                head,
                Direction::Writable,
                &mut self.segments,
                &mut resolver,
                &mut self.work,
            );
            self.taken.push(taken);
            match taken.len {
                Ok(len) => capacity += len as usize,
                Err(_) => {
                    self.reject();
                    capacity = 0;
                }
            }
        }
        Ok(Reservation::new(self, len))
    }

    /// Returns all that `reserve` holds, unused.
    #[cold]
    fn reject(&mut self) {
        for i in 0..self.taken.len() {
            self.put_used(self.taken[i].head, 0);
        }
        self.rejected += 1;
        self.taken.clear();
        self.segments.clear();
    }

    /// Makes all completed chains visible to the driver, by one store of the used index.
    #[inline]
    pub fn publish(&mut self) {
        if self.published != self.next {
            self.write_due();
            self.layout.used_idx().store(self.next.to_le(), Ordering::Release);
            self.published = self.next;
        }
    }

    /// Whether the driver wants a call for what was published since the last time this was asked
    /// (virtio 1.x §2.7.7). Ask once per burst, after [`publish`](Self::publish).
    #[inline]
    pub fn needs_call(&mut self) -> bool {
        if self.signalled == Some(self.published) {
            return false;
        }
        let old = self.signalled.replace(self.published);
        // The used index must be visible before we read what the driver wants: it writes used_event, then
        // looks at the used index.
        fence(Ordering::SeqCst);
        if self.layout.config().event_idx {
            let event = u16::from_le(self.layout.used_event().load(Ordering::Relaxed));
            old.is_none_or(|old| crosses_event(event, self.published, old))
        } else {
            u16::from_le(self.layout.avail_flags().load(Ordering::Relaxed)) & RING_F_NO_NOTIFICATION == 0
        }
    }

    /// Asks the driver for a kick at the next chain it makes available, and looks again (virtio 1.x §2.7.10).
    ///
    /// Returns true if chains are there already: then no kick may come, and the caller must go on serving.
    /// `beyond` is how many waiting chains the caller has seen and can't use yet: 0 for a ring that was
    /// drained; for an RX ring whose buffers did not suffice, what [`seen`](Self::seen) tells.
    #[must_use]
    pub fn arm(&mut self, beyond: u16) -> bool {
        if self.fault.is_some() {
            return false;
        }
        let from = self.next.wrapping_add(beyond);
        if self.layout.config().event_idx {
            self.layout.avail_event().store(from.to_le(), Ordering::Relaxed);
        } else {
            self.layout.used_flags().store(0, Ordering::Relaxed);
        }
        // Our wish must be visible before we look: the driver writes the available index, then reads it.
        fence(Ordering::SeqCst);
        self.layout.avail_idx().load(Ordering::Acquire) != from.to_le()
    }

    /// Tells the driver that kicks are not needed while we serve. With EVENT_IDX nothing needs to be said:
    /// the old avail_event is behind, and kicks come only when it is crossed.
    pub fn disarm(&mut self) {
        if !self.layout.config().event_idx {
            self.layout.used_flags().store(RING_F_NO_NOTIFICATION.to_le(), Ordering::Relaxed);
        }
    }

    /// How many chains waited when the shared index was last read: if that was by [`reserve`](Self::reserve) when it
    /// found too few, and nothing was asked of the ring since, what it knew. A fresh look would count chains that
    /// came after it as seen, and [`arm`](Self::arm) would then sleep on them.
    #[inline]
    #[must_use]
    pub fn seen(&self) -> u16 {
        self.available.wrapping_sub(self.next)
    }

    /// How many chains wait now, by a fresh look at the shared index; 0 for a stopped ring.
    pub fn available(&mut self) -> u16 {
        self.pending(u16::MAX).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FIRST, GAP, Guest, INDIRECT, NEXT, SECOND, THIRD, WRITE, pattern};
    use crate::{ChainFault, RegionTable, RingConfig, testing};
    use std::sync::Arc;

    /// A guest whose descriptors 0 to 7 are chains of one buffer, `len` octets each, in a row from FIRST on.
    fn guest(config: RingConfig, len: u32, flags: u16) -> Guest {
        let guest = Guest::with(config);
        for i in 0..8 {
            guest.descriptor(i, (FIRST + u64::from(len) * u64::from(i), len, flags, 0));
        }
        guest
    }

    fn tx(len: u32) -> Guest {
        guest(testing::config(8), len, 0)
    }

    fn rx(len: u32) -> Guest {
        guest(testing::config(8), len, WRITE)
    }

    /// A descriptor that no chain can use.
    fn spoil(guest: &Guest, index: u16) {
        guest.descriptor(index, (GAP, 1, WRITE, 0));
    }

    fn lens(burst: &Burst<'_>) -> Vec<Result<u32, ChainFault>> {
        (0..burst.len()).map(|i| burst.chain(i).len()).collect()
    }

    // G3
    #[test]
    fn rejects_a_head_that_is_not_in_the_table() {
        for head in [8, 9, 0x7fff, 0xffff] {
            let guest = tx(10);
            let mut device = guest.device();
            guest.offer(&[head]);
            assert_eq!(device.pop_burst(64).unwrap_err(), RingFault::Head(head));
            assert_eq!(device.fault(), Some(RingFault::Head(head)));
            let mut device = guest.device();
            assert_eq!(device.reserve(1, 1).unwrap_err(), ReserveError::Ring(RingFault::Head(head)));
            device.publish();
            assert_eq!(guest.used_idx(), 0);
        }
    }

    // G3
    #[test]
    fn good_chains_before_a_bad_head_still_come() {
        let guest = tx(10);
        let mut device = guest.device();
        guest.offer(&[0, 1, 8, 2]);
        let burst = device.pop_burst(64).unwrap();
        assert_eq!(lens(&burst), [Ok(10), Ok(10)]);
        burst.complete(2);
        device.publish();
        assert_eq!(guest.used_since(0), [(0, 0), (1, 0)]);
        assert_eq!(device.pop_burst(64).unwrap_err(), RingFault::Head(8));
    }

    // G5
    #[test]
    fn rejects_an_available_index_that_jumps() {
        for base in [0u16, 5, 65_530] {
            for jump in [9, 10, 0x7fff, 0x8000, 65_535] {
                let guest = tx(10);
                guest.set_indices(base);
                let mut device = guest.device();
                let idx = base.wrapping_add(jump);
                guest.set_avail_idx(idx);
                let fault = RingFault::AvailableIndex { idx, next: base };
                assert_eq!(device.pop_burst(64).unwrap_err(), fault);
                assert_eq!(device.available(), 0);
                let mut device = guest.device();
                assert_eq!(device.reserve(1, 1).unwrap_err(), fault.into());
            }
            let guest = tx(10);
            guest.set_indices(base);
            let mut device = guest.device();
            guest.offer(&[0, 1, 2, 3, 4, 5, 6, 7]);
            assert_eq!(device.pop_burst(64).unwrap().len(), 8, "by the ring's size is fine");
        }
    }

    // G5
    #[test]
    fn rejects_an_available_index_that_moves_backwards() {
        let guest = tx(10);
        let mut device = guest.device();
        guest.offer(&[0, 1, 2, 3]);
        assert_eq!(device.pop_burst(64).unwrap().len(), 4);
        guest.set_avail_idx(3);
        assert_eq!(device.pop_burst(64).unwrap_err(), RingFault::AvailableIndex { idx: 3, next: 0 });
    }

    // G5
    #[test]
    fn a_stopped_ring_stays_stopped() {
        let guest = tx(10);
        let mut device = guest.device();
        guest.set_avail_idx(100);
        let fault = device.pop_burst(64).unwrap_err();
        guest.set_avail_idx(0);
        guest.offer(&[0]);
        assert_eq!(device.pop_burst(64).unwrap_err(), fault);
        assert_eq!(device.reserve(1, 1).unwrap_err(), fault.into());
        assert_eq!(device.available(), 0);
        assert!(!device.arm(0), "and there is nothing to go on serving");
        assert_eq!(device.fault(), Some(fault));
    }

    // G4
    #[test]
    fn the_same_head_twice_in_flight_is_two_chains() {
        let guest = tx(10);
        let mut device = guest.device();
        guest.offer(&[3, 3, 3]);
        let burst = device.pop_burst(64).unwrap();
        assert_eq!(lens(&burst), [Ok(10), Ok(10), Ok(10)]);
        burst.complete(3);
        device.publish();
        assert_eq!(guest.used_since(0), [(3, 0), (3, 0), (3, 0)]);
    }

    // G1, G13
    #[test]
    fn a_bad_chain_is_in_the_burst_with_its_fault_and_reads_as_empty() {
        let guest = tx(10);
        guest.descriptor(1, (FIRST, 10, WRITE, 0));
        guest.descriptor(2, (FIRST, 10, NEXT, 2));
        let mut device = guest.device();
        guest.offer(&[0, 1, 2, 3]);
        let burst = device.pop_burst(64).unwrap();
        assert_eq!(lens(&burst), [Ok(10), Err(ChainFault::Direction), Err(ChainFault::TooMany), Ok(10)]);
        assert!(!burst.is_empty());
        for bad in [1, 2] {
            assert!(burst.chain(bad).is_empty());
            assert_eq!(burst.chain(bad).copy_to(0, &mut [0; 10]), 0);
        }
        burst.complete(4);
        device.publish();
        assert_eq!(guest.used_since(0), [(0, 0), (1, 0), (2, 0), (3, 0)], "all go back");
        assert_eq!(device.rejected(), 0, "that counts reserve's");
    }

    #[test]
    fn a_burst_takes_at_most_max_and_max_burst() {
        let guest = Guest::new(256);
        for i in 0..256 {
            guest.descriptor(i, (FIRST, 1, 0, 0));
        }
        let mut device = guest.device();
        guest.offer(&(0..256).collect::<Vec<_>>());
        assert!(device.pop_burst(0).unwrap().is_empty());
        assert_eq!(device.pop_burst(1).unwrap().len(), 1);
        assert_eq!(device.pop_burst(63).unwrap().len(), 63);
        assert_eq!(device.pop_burst(64).unwrap().len(), 64);
        assert_eq!(device.pop_burst(usize::MAX).unwrap().len(), MAX_BURST);
        assert_eq!(device.available(), 256);
    }

    // G18, G29
    #[test]
    fn the_work_of_a_burst_is_bounded() {
        let chain = |len| {
            let guest = Guest::new(2048);
            guest.linked(guest.config.descriptors, 1024, FIRST, len, 0);
            guest.offer(&[0; 64]);
            guest
        };
        for len in [1, 0] {
            let guest = chain(len);
            let mut device = guest.device();
            assert_eq!(device.pop_burst(64).unwrap().len(), 4, "of 1024 descriptors, {len} octets each");
        }
        let guest = chain(1);
        guest.descriptor(1023, (FIRST, 1, WRITE, 0));
        let mut device = guest.device();
        assert_eq!(device.pop_burst(64).unwrap().len(), 4, "bad ones count");
    }

    #[test]
    fn what_is_not_completed_comes_again() {
        let guest = tx(10);
        let mut device = guest.device();
        guest.offer(&[0, 1, 2, 3]);
        assert_eq!(device.pop_burst(64).unwrap().len(), 4);
        assert_eq!(device.next(), 0);
        let burst = device.pop_burst(64).unwrap();
        assert_eq!(burst.len(), 4);
        burst.complete(0);
        device.pop_burst(64).unwrap().complete(3);
        device.publish();
        assert_eq!(device.next(), 3);
        assert_eq!(guest.used_since(0), [(0, 0), (1, 0), (2, 0)]);
        guest.offer(&[4]);
        let burst = device.pop_burst(64).unwrap();
        assert_eq!(burst.len(), 2);
        burst.complete(99);
        device.publish();
        assert_eq!(guest.used_since(3), [(3, 0), (4, 0)], "no more than there were");
    }

    #[test]
    fn publish_shows_exactly_the_completed_chains() {
        let guest = tx(10);
        guest.set_indices(65_534);
        let mut device = guest.device();
        guest.offer(&[0, 1, 2, 3]);
        device.pop_burst(2).unwrap().complete(2);
        assert_eq!(guest.used_idx(), 65_534, "not before publish");
        device.pop_burst(2).unwrap().complete(1);
        device.publish();
        assert_eq!(guest.used_idx(), 1);
        assert_eq!(guest.used_since(65_534), [(0, 0), (1, 0), (2, 0)]);
        device.publish();
        assert_eq!(guest.used_idx(), 1);
    }

    // G9, G16
    #[test]
    fn copies_out_across_many_segments() {
        let guest = Guest::new(64);
        let octets = pattern(200);
        let lens = [1u32, 0, 2, 12, 1, 1, 0, 60, 3, 120];
        let mut at = 0;
        for (i, len) in lens.into_iter().enumerate() {
            // Scattered backwards, the one before last across two regions.
            let addr = if i == 8 { SECOND - 1 } else { THIRD + 0x1000 * (12 - i as u64) };
            let part = &octets[at..at + len as usize];
            if i == 8 {
                guest.table.write(SECOND - 1, &part[..1]).unwrap();
                guest.table.write(SECOND, &part[1..]).unwrap();
            } else {
                guest.table.write(addr, part).unwrap();
            }
            let next = if i + 1 < lens.len() { NEXT } else { 0 };
            guest.descriptor(i as u16, (addr, len, next, i as u16 + 1));
            at += len as usize;
        }
        let mut device = guest.device();
        guest.offer(&[0]);
        let burst = device.pop_burst(1).unwrap();
        let chain = burst.chain(0);
        assert_eq!(chain.len(), Ok(200));
        for skip in 0..=202 {
            for room in [0, 1, 2, 3, 12, 13, 14, 61, 199, 200, 201] {
                let mut to = vec![0xaa; room];
                let n = chain.copy_to(skip, &mut to);
                assert_eq!(n, room.min(200usize.saturating_sub(skip)), "{room} from {skip}");
                assert_eq!(to[..n], octets[skip.min(200)..][..n]);
                assert!(to[n..].iter().all(|o| *o == 0xaa), "no octet past the chain");
            }
        }
    }

    #[test]
    fn reserve_takes_one_chain_that_is_long_enough() {
        let guest = rx(100);
        let mut device = guest.device();
        guest.offer(&[5, 6]);
        for len in [1, 99, 100] {
            assert_eq!(device.reserve(len, 1).unwrap().chains(), 1);
        }
        let mut reservation = device.reserve(70, 1).unwrap();
        assert_eq!(reservation.write(&pattern(70)), 70);
        assert!(reservation.commit());
        assert_eq!(guest.used_idx(), 0, "not before publish");
        device.publish();
        assert_eq!(guest.used_since(0), [(5, 70)]);
        assert_eq!(guest.octets(FIRST + 500, 100), [pattern(70), vec![0; 30]].concat(), "and no octet more");
    }

    #[test]
    fn reserve_of_nothing_takes_nothing() {
        let guest = rx(100);
        let mut device = guest.device();
        let reservation = device.reserve(0, 1).unwrap();
        assert_eq!(reservation.chains(), 0);
        assert!(reservation.commit());
        device.publish();
        assert_eq!((device.next(), guest.used_idx()), (0, 0));
    }

    // G20
    #[test]
    fn reserve_tells_too_small_from_empty() {
        let guest = rx(100);
        let mut device = guest.device();
        assert_eq!(device.reserve(1, 1).unwrap_err(), ReserveError::Empty);
        assert_eq!(device.reserve(1, 99).unwrap_err(), ReserveError::Empty);
        guest.offer(&[0, 1]);
        assert_eq!(device.reserve(101, 1).unwrap_err(), ReserveError::TooSmall);
        assert_eq!(device.reserve(1, 0).unwrap_err(), ReserveError::TooSmall);
        assert_eq!(device.reserve(201, 2).unwrap_err(), ReserveError::TooSmall);
        assert_eq!(device.reserve(201, 3).unwrap_err(), ReserveError::Empty);
        guest.offer(&[2, 3, 4, 5, 6, 7]);
        assert_eq!(device.reserve(800, 99).unwrap().chains(), 8);
        assert_eq!(
            device.reserve(801, 99).unwrap_err(),
            ReserveError::TooSmall,
            "with all the ring in hand, waiting brings no more"
        );
    }

    // G20
    #[test]
    fn a_failed_reserve_consumes_nothing() {
        let guest = rx(100);
        let mut device = guest.device();
        guest.offer(&[0, 1, 2]);
        assert_eq!(device.reserve(301, 8).unwrap_err(), ReserveError::Empty);
        assert_eq!(device.reserve(301, 3).unwrap_err(), ReserveError::TooSmall);
        assert_eq!(device.reserve(101, 1).unwrap_err(), ReserveError::TooSmall);
        device.publish();
        assert_eq!((device.next(), guest.used_idx(), device.available()), (0, 0, 3));
        let mut reservation = device.reserve(300, 3).unwrap();
        reservation.write(&pattern(300));
        assert!(reservation.commit());
        device.publish();
        assert_eq!(guest.used_since(0), [(0, 100), (1, 100), (2, 100)]);
    }

    // §5.1.6.4: all but the last buffer are full.
    #[test]
    fn a_merged_frame_fills_each_chain_but_the_last() {
        let guest = rx(100);
        guest.descriptor(1, (FIRST + 100, 7, WRITE | NEXT, 7));
        guest.descriptor(7, (FIRST + 700, 3, WRITE, 0));
        guest.descriptor(2, (GAP, 0, WRITE, 0));
        let mut device = guest.device();
        guest.offer(&[0, 1, 2, 3, 4]);
        let mut reservation = device.reserve(150, 4).unwrap();
        assert_eq!(reservation.chains(), 4);
        let octets = pattern(150);
        for part in octets.chunks(11) {
            assert_eq!(reservation.write(part), part.len());
        }
        assert!(reservation.commit());
        device.publish();
        assert_eq!(guest.used_since(0), [(0, 100), (1, 10), (2, 0), (3, 40)]);
        assert_eq!(guest.octets(FIRST, 107), octets[..107]);
        assert_eq!(guest.octets(FIRST + 700, 3), octets[107..110]);
        assert_eq!(guest.octets(FIRST + 300, 100), [&octets[110..], &[0; 60]].concat());
        assert_eq!(device.next(), 4);
        assert_eq!(device.reserve(100, 1).unwrap().chains(), 1, "the next frame starts with the next chain");
    }

    // G14
    #[test]
    fn reserve_returns_bad_chains_unused_and_counts_them() {
        let guest = rx(100);
        spoil(&guest, 0);
        guest.descriptor(1, (FIRST, 100, 0, 0));
        let mut device = guest.device();
        guest.offer(&[0, 1, 2]);
        let mut reservation = device.reserve(50, 1).unwrap();
        assert_eq!(reservation.chains(), 1);
        reservation.write(&pattern(50));
        assert!(reservation.commit());
        assert_eq!(device.rejected(), 2);
        device.publish();
        assert_eq!(guest.used_since(0), [(0, 0), (1, 0), (2, 50)]);
        assert_eq!(guest.octets(FIRST, 100), [0; 100], "a readable buffer is never written");
    }

    #[test]
    fn a_bad_chain_takes_the_good_ones_before_it_along() {
        let guest = rx(100);
        spoil(&guest, 2);
        let mut device = guest.device();
        guest.offer(&[0, 1, 2, 3, 4, 5]);
        let mut reservation = device.reserve(250, 3).unwrap();
        assert_eq!(reservation.chains(), 3);
        assert_eq!(reservation.write(&pattern(250)), 250);
        assert!(reservation.commit());
        device.publish();
        assert_eq!(guest.used_since(0), [(0, 0), (1, 0), (2, 0), (3, 100), (4, 100), (5, 50)]);
        assert_eq!(device.rejected(), 1);
        assert_eq!(guest.octets(FIRST + 300, 250), pattern(250));
        assert_eq!(guest.octets(FIRST, 300), [0; 300], "and nothing was written into them");
    }

    #[test]
    fn bad_chains_go_back_also_when_reserve_fails() {
        let guest = rx(100);
        spoil(&guest, 0);
        let mut device = guest.device();
        guest.offer(&[0]);
        assert_eq!(device.reserve(50, 1).unwrap_err(), ReserveError::Empty);
        device.publish();
        assert_eq!(guest.used_since(0), [(0, 0)]);
        guest.offer(&[1, 0, 2]);
        assert_eq!(device.reserve(101, 2).unwrap_err(), ReserveError::Empty);
        device.publish();
        assert_eq!(guest.used_since(0), [(0, 0), (1, 0), (0, 0)], "the good one behind stays");
        assert_eq!(device.rejected(), 2);
        assert_eq!(device.available(), 1);
    }

    // G5, G29
    #[test]
    fn the_work_of_a_reservation_is_bounded() {
        let guest = Guest::new(2048);
        guest.linked(guest.config.descriptors, 1025, FIRST, 1, WRITE);
        let mut device = guest.device();
        guest.offer(&[0; 64]);
        guest.offer(&[1]);
        let mut calls = 0;
        while device.reserve(1, 1).is_err() {
            calls += 1;
            assert!(device.rejected() <= 4 * calls, "after {calls} calls");
        }
        assert_eq!((calls, device.rejected()), (16, 64));
        device.publish();
        assert_eq!(guest.used_idx(), 64, "a usable chain behind them is found in the end");
        // A pile of chains without an octet, good in themselves.
        let guest = Guest::new(2048);
        guest.linked(guest.config.descriptors, 1024, FIRST, 0, WRITE);
        let mut device = guest.device();
        guest.offer(&[0; 64]);
        assert_eq!(device.reserve(1, 64).unwrap_err(), ReserveError::TooSmall);
        assert!(device.work <= BURST_WORK + MAX_CHAIN + 1, "{}", device.work);
    }

    // G20
    #[test]
    fn commit_refuses_if_not_everything_was_written() {
        let guest = rx(100);
        let mut device = guest.device();
        guest.offer(&[0]);
        let mut reservation = device.reserve(50, 1).unwrap();
        assert_eq!(reservation.write(&pattern(49)), 49);
        assert!(!reservation.commit());
        device.publish();
        assert_eq!((device.next(), guest.used_idx()), (0, 0));
        let mut reservation = device.reserve(50, 1).unwrap();
        assert_eq!(reservation.write(&pattern(60)), 50, "no more than was reserved");
        assert_eq!(reservation.write(&[1]), 0);
        assert!(reservation.commit());
        device.publish();
        assert_eq!(guest.used_since(0), [(0, 50)]);
        assert_eq!(guest.octets(FIRST + 50, 50), [0; 50]);
    }

    // G30
    #[test]
    fn a_dropped_reservation_leaves_the_chains() {
        let guest = rx(100);
        let mut device = guest.device();
        guest.offer(&[0]);
        device.reserve(50, 1).unwrap().write(&pattern(50));
        assert_eq!(device.next(), 0);
        let mut reservation = device.reserve(20, 1).unwrap();
        reservation.write(&[9; 20]);
        assert!(reservation.commit());
        device.publish();
        assert_eq!(guest.used_since(0), [(0, 20)]);
    }

    // G8, G16
    #[test]
    fn writes_across_many_segments_and_nothing_beside_them() {
        let guest = Guest::new(64);
        let lens = [1u32, 2, 0, 9, 1, 30, 200];
        for (i, len) in lens.into_iter().enumerate() {
            let next = if i + 1 < lens.len() { NEXT } else { 0 };
            let addr = if i == 5 { SECOND - 10 } else { THIRD + 0x200 * i as u64 };
            guest.descriptor(i as u16, (addr, len, WRITE | next, i as u16 + 1));
        }
        let octets = pattern(243);
        for step in [1, 2, 3, 12, 13, 100, 243] {
            for (start, len) in [(FIRST, 0x2_0000), (THIRD, 0x1_0000)] {
                guest.table.write(start, &vec![0x55; len / 2]).unwrap();
                guest.table.write(start + len as u64 / 2, &vec![0x55; len / 2]).unwrap();
            }
            let mut device = guest.device();
            guest.offer(&[0]);
            let mut reservation = device.reserve(243, 1).unwrap();
            for part in octets.chunks(step) {
                assert_eq!(reservation.write(part), part.len());
            }
            assert!(reservation.commit());
            device.publish();
            let mut at = 0;
            for (i, len) in lens.into_iter().enumerate() {
                let len = len as usize;
                if i != 5 {
                    let there = guest.octets(THIRD + 0x200 * i as u64, 0x200);
                    assert_eq!(there[..len], octets[at..at + len], "descriptor {i} in steps of {step}");
                    assert!(there[len..].iter().all(|o| *o == 0x55));
                }
                at += len;
            }
            assert_eq!(guest.octets(SECOND - 11, 11), [&[0x55], &octets[13..23]].concat());
            assert_eq!(guest.octets(SECOND, 21), [&octets[23..43], &[0x55]].concat());
        }
    }

    #[test]
    fn copies_a_chain_from_one_guest_straight_into_the_other() {
        let from = Guest::new(64);
        let octets = pattern(300);
        let lens = [12u32, 1, 0, 87, 200];
        let mut at = 0;
        for (i, len) in lens.into_iter().enumerate() {
            let next = if i + 1 < lens.len() { NEXT } else { 0 };
            let addr = FIRST + 0x400 * i as u64;
            from.table.write(addr, &octets[at..at + len as usize]).unwrap();
            from.descriptor(i as u16, (addr, len, next, i as u16 + 1));
            at += len as usize;
        }
        let mut source = from.device();
        from.offer(&[0]);
        let burst = source.pop_burst(1).unwrap();
        let chain = burst.chain(0);
        for skip in [0, 1, 11, 12, 13, 14, 99, 100, 299, 300, 301] {
            let to = rx(70);
            let mut device = to.device();
            to.offer(&[0, 1, 2, 3, 4, 5]);
            let frame = 300usize.saturating_sub(skip);
            let mut reservation = device.reserve(12 + frame, 5).unwrap();
            assert_eq!(reservation.write(&[0xee; 12]), 12);
            assert_eq!(reservation.write_chain(&chain, skip), frame);
            assert!(reservation.commit());
            assert_eq!(to.octets(FIRST, 12 + frame), [&[0xee; 12], &octets[300 - frame..]].concat());
            let mut reservation = device.reserve(5, 1).unwrap();
            let n = reservation.write_chain(&chain, skip);
            assert_eq!(n, frame.min(5), "no more than was reserved");
            assert_eq!(reservation.commit(), n == 5);
        }
    }

    // G21: payload over payload in one guest.
    #[test]
    fn copies_overlapping_buffers_of_one_guest_as_memmove_does() {
        let guest = Guest::new(8);
        guest.table.write(FIRST, &pattern(100)).unwrap();
        guest.descriptor(0, (FIRST, 100, 0, 0));
        let mut source = guest.device();
        guest.offer(&[0]);
        let burst = source.pop_burst(1).unwrap();
        let to = Guest {
            table: Arc::clone(&guest.table),
            config: RingConfig {
                descriptors: testing::RING + 0x1000,
                available: testing::RING + 0x2000,
                used: testing::RING + 0x3000,
                ..guest.config
            },
        };
        to.descriptor(0, (FIRST + 7, 100, WRITE, 0));
        let mut device = to.device();
        to.offer(&[0]);
        let mut reservation = device.reserve(100, 1).unwrap();
        assert_eq!(reservation.write_chain(&burst.chain(0), 0), 100);
        assert!(reservation.commit());
        assert_eq!(guest.octets(FIRST + 7, 100), pattern(100));
    }

    // G26
    #[test]
    fn needs_call_honours_the_flag() {
        let guest = tx(10);
        let mut device = guest.device();
        let mut round = || {
            guest.offer(&[0]);
            device.pop_burst(64).unwrap().complete(1);
            device.publish();
            device.needs_call()
        };
        assert!(round());
        assert!(round());
        guest.set_avail_flags(1);
        assert!(!round());
        assert!(!round());
        guest.set_avail_flags(0xfffe);
        assert!(round(), "only bit 0 counts");
        guest.set_avail_flags(1);
        guest.set_used_event(guest.used_idx());
        assert!(!round(), "and used_event does not");
    }

    #[test]
    fn needs_call_only_for_something_new() {
        for guest in [tx(10), guest(RingConfig { event_idx: true, ..testing::config(8) }, 10, 0)] {
            let mut device = guest.device();
            assert!(device.needs_call(), "a call at the start is never wrong, and a lost one would be");
            assert!(!device.needs_call());
            guest.offer(&[0]);
            device.pop_burst(64).unwrap().complete(1);
            assert!(!device.needs_call(), "not published");
            device.publish();
            assert!(device.needs_call());
            assert!(!device.needs_call());
        }
    }

    // G25
    #[test]
    fn needs_call_when_used_event_is_crossed_also_at_the_wrap() {
        for base in [0u16, 100, 65_530, 65_531, 65_532, 65_533, 65_534, 65_535] {
            for count in 1..=5u16 {
                for off in -2i32..8 {
                    let guest = guest(RingConfig { event_idx: true, ..testing::config(8) }, 10, 0);
                    guest.set_indices(base);
                    let mut device = guest.device();
                    assert!(device.needs_call(), "the first");
                    guest.offer(&[0, 1, 2, 3, 4]);
                    let event = base.wrapping_add(off as u16);
                    guest.set_used_event(event);
                    device.pop_burst(usize::from(count)).unwrap().complete(usize::from(count));
                    device.publish();
                    let expected = off >= 0 && off < i32::from(count);
                    assert_eq!(device.needs_call(), expected, "event {event}, {base} + {count}");
                }
            }
        }
    }

    // G25: several bursts between two questions.
    #[test]
    fn needs_call_looks_at_all_since_the_last_question() {
        let guest = guest(RingConfig { event_idx: true, ..testing::config(8) }, 10, 0);
        let mut device = guest.device();
        assert!(device.needs_call());
        guest.offer(&[0, 1, 2, 3]);
        guest.set_used_event(1);
        for _ in 0..4 {
            device.pop_burst(1).unwrap().complete(1);
            device.publish();
        }
        assert!(device.needs_call());
    }

    #[test]
    fn arm_and_disarm_by_flag() {
        let guest = tx(10);
        let mut device = guest.device();
        device.disarm();
        assert_eq!(guest.used_flags(), 1);
        assert!(!device.arm(0));
        assert_eq!(guest.used_flags(), 0);
        device.disarm();
        guest.offer(&[0, 1]);
        assert!(device.arm(0), "chains slipped in");
        assert_eq!(guest.used_flags(), 0);
        assert!(!device.arm(2), "seen already");
        assert!(device.arm(1), "another one slipped in");
        assert_eq!(guest.avail_event(), 0, "unused without EVENT_IDX");
    }

    #[test]
    fn arm_and_disarm_by_event() {
        for base in [0u16, 65_534, 65_535] {
            let guest = guest(RingConfig { event_idx: true, ..testing::config(8) }, 10, 0);
            guest.set_indices(base);
            let mut device = guest.device();
            assert!(!device.arm(0));
            assert_eq!(guest.avail_event(), base);
            guest.offer(&[0, 1, 2]);
            assert!(device.arm(0), "chains slipped in");
            assert!(device.arm(2), "one more than seen");
            assert_eq!(guest.avail_event(), base.wrapping_add(2));
            let seen = device.available();
            assert_eq!(seen, 3);
            assert!(!device.arm(seen));
            assert_eq!(guest.avail_event(), base.wrapping_add(3));
            device.pop_burst(64).unwrap().complete(3);
            device.disarm();
            assert_eq!(guest.avail_event(), base.wrapping_add(3), "nothing to say");
            assert!(!device.arm(0));
            assert_eq!(guest.avail_event(), base.wrapping_add(3));
            assert_eq!(guest.used_flags(), 0, "unused with EVENT_IDX");
        }
    }

    #[test]
    fn buffers_that_come_after_a_failed_reserve_are_not_seen() {
        for guest in [rx(100), guest(RingConfig { event_idx: true, ..testing::config(8) }, 100, WRITE)] {
            let mut device = guest.device();
            guest.offer(&[0]);
            assert_eq!(device.reserve(150, 8).unwrap_err(), ReserveError::Empty);
            assert_eq!(device.seen(), 1);
            guest.offer(&[1]);
            assert!(device.arm(device.seen()), "the frame has room now");
            assert_eq!(device.seen(), 1);
            assert!(device.reserve(150, 8).is_ok());
            assert_eq!(device.seen(), 2);
            assert!(!device.arm(device.seen()));
        }
    }

    // S1: after a crash the used index tells where to go on.
    #[test]
    fn start_goes_on_at_the_used_index() {
        let guest = tx(10);
        guest.set_indices(65_534);
        let mut device = guest.device();
        assert_eq!(device.next(), 65_534);
        guest.offer(&[0, 1, 2, 3]);
        device.pop_burst(64).unwrap().complete(3);
        device.publish();
        // Taken and completed, but never published: the driver does not know.
        device.pop_burst(64).unwrap().complete(1);
        drop(device);
        let mut device = guest.device();
        assert_eq!(device.next(), 1);
        let burst = device.pop_burst(64).unwrap();
        assert_eq!(burst.len(), 1);
        burst.complete(1);
        device.publish();
        assert_eq!(guest.used_since(65_534), [(0, 0), (1, 0), (2, 0), (3, 0)]);
    }

    #[test]
    fn resume_goes_on_where_it_is_told() {
        let guest = tx(10);
        guest.set_indices(0);
        guest.offer(&[0, 1, 2, 3]);
        let mut device = DeviceRing::resume(guest.layout(), 2);
        assert_eq!((device.next(), device.available(), device.fault()), (2, 2, None));
        let burst = device.pop_burst(64).unwrap();
        assert_eq!(burst.len(), 2);
        burst.complete(2);
        device.publish();
        assert_eq!(guest.used_idx(), 4);
        assert_eq!([guest.used_entry(2), guest.used_entry(3)], [(2, 0), (3, 0)]);
    }

    #[test]
    fn indices_wrap_many_times() {
        let guest = rx(100);
        let mut device = guest.device();
        for i in 0..200_000u32 {
            guest.offer(&[(i % 8) as u16]);
            let mut reservation = device.reserve(4, 1).unwrap();
            reservation.write(&i.to_le_bytes());
            assert!(reservation.commit());
            device.publish();
            assert_eq!(guest.used_entry(i as u16), (i % 8, 4));
            assert_eq!(guest.used_idx(), (i + 1) as u16);
        }
        assert_eq!(device.rejected(), 0);
    }

    // G12
    #[test]
    fn takes_indirect_chains_like_direct_ones() {
        let guest = Guest::new(2);
        guest.linked(SECOND, 20, FIRST, 5, 0);
        guest.descriptor(1, (SECOND, 320, INDIRECT, 0));
        let mut device = guest.device();
        guest.offer(&[1]);
        let burst = device.pop_burst(64).unwrap();
        assert_eq!(lens(&burst), [Ok(100)]);
        burst.complete(1);
        device.publish();
        assert_eq!(guest.used_since(0), [(1, 0)]);
    }

    #[test]
    fn a_ring_keeps_its_memory() {
        let guest = tx(10);
        let memory: std::sync::Weak<RegionTable> = Arc::downgrade(&guest.table);
        guest.offer(&[0]);
        let mut device = guest.device();
        drop(guest);
        assert_eq!(device.pop_burst(64).unwrap().chain(0).copy_to(0, &mut [0; 10]), 10);
        assert!(Arc::ptr_eq(device.layout().table(), &memory.upgrade().unwrap()));
        drop(device);
        assert!(memory.upgrade().is_none());
    }
}
