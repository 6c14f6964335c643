//! The driver side of a split virtqueue: what a guest does. For tests, benches and playing a guest.

use std::sync::atomic::{Ordering, fence};

use crate::layout::{
    DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, RING_F_NO_NOTIFICATION, RingLayout, crosses_event,
};

/// A buffer as the driver describes it; nothing about it is checked on this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Guest-physical address.
    pub addr: u64,
    /// Octets.
    pub len: u32,
    /// Device-writable instead of device-readable.
    pub writable: bool,
}

/// A used entry that no correct device writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UsedFault {
    /// The id is not the head of a chain that the device has.
    #[error("used entry for {0}, which is no chain in flight")]
    NotInFlight(u32),
    /// The used index moved by more than was in flight.
    #[error("used index {0} is ahead of the available index")]
    Index(u16),
}

/// The driver's end of a split virtqueue: free descriptors, chains in flight, notifications.
#[derive(Debug)]
pub struct DriverRing {
    layout: RingLayout,
    /// Free descriptors, taken from the end.
    free: Vec<u16>,
    /// For each head in flight how many descriptors it has (of the ring, not of an indirect table); 0 for
    /// all others.
    in_flight: Box<[u16]>,
    /// For each descriptor in flight the one after it in its chain.
    link: Box<[u16]>,
    /// An indirect table being made.
    octets: Vec<u8>,
    /// Available index of the next chain.
    next: u16,
    /// The available index that the device sees.
    published: u16,
    /// Used index of the next entry to take.
    used: u16,
    /// The device's used index as last read: the shared one is read only when all up to this is taken.
    seen: u16,
}

impl DriverRing {
    /// Sets the ring up: indices 0, no chain in flight, calls wanted.
    #[must_use]
    pub fn new(layout: RingLayout) -> Self {
        layout.avail_flags().store(0, Ordering::Relaxed);
        layout.used_event().store(0, Ordering::Relaxed);
        layout.used_flags().store(0, Ordering::Relaxed);
        layout.avail_event().store(0, Ordering::Relaxed);
        layout.used_idx().store(0, Ordering::Relaxed);
        layout.avail_idx().store(0, Ordering::Release);
        let size = layout.config().size;
        let free = (0..size).rev().collect();
        let zeros: Box<[u16]> = vec![0; usize::from(size)].into();
        let (in_flight, link) = (zeros.clone(), zeros);
        Self { layout, free, in_flight, link, octets: Vec::new(), next: 0, published: 0, used: 0, seen: 0 }
    }

    /// Where the ring lies.
    #[must_use]
    pub fn layout(&self) -> &RingLayout {
        &self.layout
    }

    /// Free descriptors.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Chains that the device has not returned yet.
    #[must_use]
    pub fn in_flight(&self) -> u16 {
        self.next.wrapping_sub(self.used)
    }

    /// Puts a chain of `buffers` into the ring and returns its head; the device sees it after
    /// [`publish`](Self::publish). `None` if there are not enough free descriptors, or no buffer.
    pub fn push(&mut self, buffers: &[Buffer]) -> Option<u16> {
        let rest = self.free.len().checked_sub(buffers.len())?;
        let mut next = None;
        // From the chain's end, so that each descriptor knows the one after it.
        for (&descriptor, buffer) in self.free[rest..].iter().zip(buffers.iter().rev()) {
            self.layout.set_descriptor(descriptor, buffer.addr, descriptor_word(buffer, next));
            self.link[usize::from(descriptor)] = next.unwrap_or(0);
            next = Some(descriptor);
        }
        let head = next?;
        self.free.truncate(rest);
        self.make_available(head, buffers.len() as u16);
        Some(head)
    }

    /// Puts `buffers` into an indirect table at guest-physical address `table`, which must hold 16 octets for
    /// each, and a descriptor that refers to it into the ring. `None` if no descriptor is free, there is no
    /// buffer, or the table is not in the mapped memory.
    pub fn push_indirect(&mut self, table: u64, buffers: &[Buffer]) -> Option<u16> {
        let octets = &mut self.octets;
        octets.clear();
        for (i, buffer) in buffers.iter().enumerate() {
            let next = (i + 1 < buffers.len()).then_some((i + 1) as u16);
            octets.extend_from_slice(&buffer.addr.to_le_bytes());
            octets.extend_from_slice(&descriptor_word(buffer, next).to_le_bytes());
        }
        if octets.is_empty() {
            return None;
        }
        self.layout.table().write(table, octets).ok()?;
        let head = self.free.pop()?;
        let rest = octets.len() as u64 | u64::from(DESC_F_INDIRECT) << 32;
        self.layout.set_descriptor(head, table, rest);
        self.make_available(head, 1);
        Some(head)
    }

    /// Puts the chain at `head`, of `count` descriptors, into the available ring.
    fn make_available(&mut self, head: u16, count: u16) {
        self.in_flight[usize::from(head)] = count;
        self.layout.avail_entry(self.next).store(head.to_le(), Ordering::Relaxed);
        self.next = self.next.wrapping_add(1);
    }

    /// Makes all pushed chains visible to the device, and tells whether it wants a kick for them.
    pub fn publish(&mut self) -> bool {
        let old = std::mem::replace(&mut self.published, self.next);
        if old == self.next {
            return false;
        }
        self.layout.avail_idx().store(self.next.to_le(), Ordering::Release);
        // The available index must be visible before we read what the device wants: it writes avail_event,
        // then looks at the available index.
        fence(Ordering::SeqCst);
        if self.layout.config().event_idx {
            crosses_event(u16::from_le(self.layout.avail_event().load(Ordering::Relaxed)), self.next, old)
        } else {
            u16::from_le(self.layout.used_flags().load(Ordering::Relaxed)) & RING_F_NO_NOTIFICATION == 0
        }
    }

    /// Takes the next used entry: head and octets written. `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`UsedFault`] if the device broke the rules; the driver then can't go on with this ring.
    pub fn pop_used(&mut self) -> Result<Option<(u16, u32)>, UsedFault> {
        if self.seen == self.used {
            let idx = u16::from_le(self.layout.used_idx().load(Ordering::Acquire));
            if idx == self.used {
                return Ok(None);
            }
            if idx.wrapping_sub(self.used) > self.published.wrapping_sub(self.used) {
                return Err(UsedFault::Index(idx));
            }
            self.seen = idx;
        }
        let [id, len] = self.layout.used_entry(self.used).map(|f| u32::from_le(f.load(Ordering::Relaxed)));
        let slot = self.in_flight.get_mut(id as usize).ok_or(UsedFault::NotInFlight(id))?;
        let count = std::mem::take(slot);
        if count == 0 {
            return Err(UsedFault::NotInFlight(id));
        }
        let first = self.free.len();
        let mut descriptor = id as u16;
        for _ in 0..count {
            self.free.push(descriptor);
            descriptor = self.link[usize::from(descriptor)];
        }
        self.free[first..].reverse();
        self.used = self.used.wrapping_add(1);
        Ok(Some((id as u16, len)))
    }

    /// Asks the device for a call at the next used entry, and looks again. Returns true if entries are there
    /// already: then no call may come.
    #[must_use]
    pub fn arm(&mut self) -> bool {
        if self.layout.config().event_idx {
            self.layout.used_event().store(self.used.to_le(), Ordering::Relaxed);
        } else {
            self.layout.avail_flags().store(0, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
        self.layout.used_idx().load(Ordering::Acquire) != self.used.to_le()
    }

    /// Tells the device that calls are not needed: by flag, or with EVENT_IDX by an event far away.
    pub fn disarm(&mut self) {
        if self.layout.config().event_idx {
            let far = self.used.wrapping_sub(1);
            self.layout.used_event().store(far.to_le(), Ordering::Relaxed);
        } else {
            self.layout.avail_flags().store(RING_F_NO_NOTIFICATION.to_le(), Ordering::Relaxed);
        }
    }
}

/// Second word of a descriptor: length, flags, next.
fn descriptor_word(buffer: &Buffer, next: Option<u16>) -> u64 {
    let write = if buffer.writable { DESC_F_WRITE } else { 0 };
    let flags = write | next.map_or(0, |_| DESC_F_NEXT);
    u64::from(buffer.len) | u64::from(flags) << 32 | u64::from(next.unwrap_or(0)) << 48
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeviceRing;
    use crate::testing::{FIRST, Guest, SECOND};

    fn buffer(len: u32) -> Buffer {
        Buffer { addr: FIRST, len, writable: false }
    }

    fn pair(guest: &Guest) -> (DriverRing, DeviceRing) {
        (DriverRing::new(guest.layout()), guest.device())
    }

    /// The device takes and returns everything.
    fn serve(device: &mut DeviceRing) -> usize {
        let burst = device.pop_burst(64).unwrap();
        let count = burst.len();
        burst.complete(count);
        device.publish();
        count
    }

    #[test]
    fn a_chain_holds_its_descriptors_until_it_is_used() {
        let guest = Guest::new(4);
        let (mut driver, mut device) = pair(&guest);
        assert_eq!(driver.push(&[]), None);
        assert_eq!(driver.push(&[buffer(1); 5]), None, "more than the ring has");
        let head = driver.push(&[buffer(1), buffer(2), buffer(3)]).unwrap();
        assert_eq!((driver.free(), driver.in_flight()), (1, 1));
        assert_eq!(driver.push(&[buffer(1); 2]), None);
        let second = driver.push(&[buffer(4)]).unwrap();
        assert_ne!(head, second);
        assert_eq!(driver.push(&[buffer(1)]), None);
        assert_eq!(driver.push_indirect(SECOND, &[buffer(1)]), None);
        assert_eq!(device.available(), 0, "nothing is visible before publish");
        assert!(driver.publish());
        let burst = device.pop_burst(64).unwrap();
        assert_eq!((0..burst.len()).map(|i| burst.chain(i).len().unwrap()).collect::<Vec<_>>(), [6, 4]);
        burst.complete(2);
        assert_eq!(driver.pop_used(), Ok(None), "nothing is used before the device's publish");
        device.publish();
        assert_eq!(driver.pop_used(), Ok(Some((head, 0))));
        assert_eq!((driver.free(), driver.in_flight()), (3, 1));
        assert_eq!(driver.pop_used(), Ok(Some((second, 0))));
        assert_eq!(driver.pop_used(), Ok(None));
        assert_eq!((driver.free(), driver.in_flight()), (4, 0));
    }

    #[test]
    fn an_indirect_chain_takes_one_descriptor() {
        let guest = Guest::new(2);
        let (mut driver, mut device) = pair(&guest);
        assert_eq!(driver.push_indirect(SECOND, &[]), None);
        assert_eq!(driver.push_indirect(0, &[buffer(1)]), None, "a table outside the memory");
        assert_eq!(driver.free(), 2, "and no descriptor was lost");
        let head = driver.push_indirect(SECOND, &[buffer(5); 10]).unwrap();
        assert_eq!(driver.free(), 1);
        driver.publish();
        assert_eq!(device.pop_burst(64).unwrap().chain(0).len(), Ok(50));
        assert_eq!(serve(&mut device), 1);
        assert_eq!(driver.pop_used(), Ok(Some((head, 0))));
    }

    #[test]
    fn rejects_a_used_entry_for_a_chain_that_is_not_in_flight() {
        let guest = Guest::new(4);
        for id in [1u32, 3, 4, 0xffff, 0x1_0000, u32::MAX] {
            let (mut driver, _) = pair(&guest);
            let head = driver.push(&[buffer(1)]).unwrap();
            assert_eq!(head, 0);
            driver.publish();
            guest.table.write(guest.config.used + 4, &id.to_le_bytes()).unwrap();
            guest.set_u16(guest.config.used + 2, 1);
            assert_eq!(driver.pop_used(), Err(UsedFault::NotInFlight(id)));
        }
    }

    #[test]
    fn rejects_a_used_index_beyond_what_is_in_flight() {
        let guest = Guest::new(4);
        for idx in [2, 5, 0x8000, 0xffff] {
            let (mut driver, _) = pair(&guest);
            driver.push(&[buffer(1)]).unwrap();
            driver.publish();
            guest.set_u16(guest.config.used + 2, idx);
            assert_eq!(driver.pop_used(), Err(UsedFault::Index(idx)));
        }
    }

    #[test]
    fn rejects_use_of_a_chain_that_is_not_published() {
        let guest = Guest::new(4);
        let (mut driver, _) = pair(&guest);
        driver.push(&[buffer(1)]).unwrap();
        guest.set_u16(guest.config.used + 2, 1);
        assert_eq!(driver.pop_used(), Err(UsedFault::Index(1)));
    }

    #[test]
    fn publish_asks_for_a_kick_unless_the_flag_says_no() {
        let guest = Guest::new(4);
        let (mut driver, mut device) = pair(&guest);
        assert!(!driver.publish(), "nothing to publish");
        device.disarm();
        driver.push(&[buffer(1)]).unwrap();
        assert!(!driver.publish());
        assert!(device.arm(0), "the chain slipped in");
        driver.push(&[buffer(1)]).unwrap();
        assert!(driver.publish());
    }

    #[test]
    fn publish_asks_for_a_kick_when_avail_event_is_crossed() {
        let guest = Guest::event_idx(8);
        let (mut driver, mut device) = pair(&guest);
        driver.push(&[buffer(1)]).unwrap();
        assert!(driver.publish(), "a fresh ring wants the first");
        driver.push(&[buffer(1)]).unwrap();
        assert!(!driver.publish(), "no further wish");
        assert_eq!(serve(&mut device), 2);
        assert!(!device.arm(0));
        driver.push(&[buffer(1)]).unwrap();
        driver.push(&[buffer(1)]).unwrap();
        assert!(driver.publish(), "crossed by two at once");
    }

    #[test]
    fn arm_tells_of_used_entries_that_slipped_in() {
        for guest in [Guest::new(4), Guest::event_idx(4)] {
            let (mut driver, mut device) = pair(&guest);
            assert!(!driver.arm());
            driver.push(&[buffer(1)]).unwrap();
            driver.publish();
            assert!(!driver.arm());
            serve(&mut device);
            assert!(device.needs_call());
            assert!(driver.arm());
            driver.pop_used().unwrap().unwrap();
            assert!(!driver.arm());
        }
    }

    #[test]
    fn disarm_keeps_calls_away_until_arm() {
        for guest in [Guest::new(8), Guest::event_idx(8)] {
            let (mut driver, mut device) = pair(&guest);
            let mut round = |driver: &mut DriverRing| {
                driver.push(&[buffer(1)]).unwrap();
                driver.publish();
                serve(&mut device);
                let call = device.needs_call();
                driver.pop_used().unwrap().unwrap();
                call
            };
            assert!(round(&mut driver));
            driver.disarm();
            assert!(!round(&mut driver));
            assert!(!round(&mut driver));
            assert!(!driver.arm());
            assert!(round(&mut driver));
        }
    }
}
