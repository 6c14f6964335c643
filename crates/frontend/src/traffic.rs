//! Sending and receiving on a NIC's rings.

use std::time::{Duration, Instant};

use espwire_virtnet::{Features, Header, MAX_HEADER_LEN};
use espwire_vring::DriverRing;
use rustix::event::{PollFd, PollFlags};

use crate::ring::Ring;
use crate::{DeviceFault, Error, Nic, SendError, Side, poll};

/// RX buffers given back to the ring are shown to the device at this many, or when nothing is received.
const RX_BATCH: u16 = 32;

impl Nic {
    /// Puts a frame into the TX ring; the device sees it after [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// [`SendError::Full`] if all chains are in flight, also after looking for returned ones.
    #[inline]
    pub fn push(&mut self, frame: &[u8]) -> Result<(), SendError> {
        self.push_with(&Header::plain(0), frame)
    }

    /// As [`push`](Self::push), with a header of the caller's: any values.
    ///
    /// # Errors
    ///
    /// As there.
    #[inline]
    pub fn push_with(&mut self, header: &Header, frame: &[u8]) -> Result<(), SendError> {
        let index = self.index(Side::Tx);
        let ring = self.rings.get_mut(index).ok_or(SendError::Stopped)?;
        let max = ring.capacity() as usize - MAX_HEADER_LEN;
        if frame.len() > max {
            return Err(SendError::TooLong { len: frame.len(), max });
        }
        // The slot is in the NIC's own memory: only a truncated file makes a write fail, and it does not.
        if ring.push_frame(header, frame).map_err(|_| SendError::Stopped)? {
            return Ok(());
        }
        if reap(ring, &mut self.completed)? == 0 {
            return Err(SendError::Full);
        }
        let pushed = ring.push_frame(header, frame).map_err(|_| SendError::Stopped)?;
        if pushed { Ok(()) } else { Err(SendError::Full) }
    }

    /// Shows the device all frames pushed, and kicks it if it wants that.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if the driver was never started, [`Error::Io`] if the kick fails.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.publish(self.index(Side::Tx))
    }

    /// Sends one frame: push and flush.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn send(&mut self, frame: &[u8]) -> Result<(), SendError> {
        self.push(frame)?;
        self.flush().map_err(|_| SendError::Stopped)
    }

    /// Sends as many of `frames` as the ring takes, with one flush; returns how many. No allocation.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push), except that a full ring is none; frames before the one that fails are sent.
    pub fn send_burst<F: AsRef<[u8]>>(&mut self, frames: &[F]) -> Result<usize, SendError> {
        let mut sent = 0;
        let mut result = Ok(());
        for frame in frames {
            match self.push(frame.as_ref()) {
                Ok(()) => sent += 1,
                Err(SendError::Full) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.flush().map_err(|_| SendError::Stopped)?;
        result.map(|()| sent)
    }

    /// Takes the TX chains that the device has returned; returns how many.
    ///
    /// # Errors
    ///
    /// The rule that the device broke, if it did: the ring can't go on then.
    pub fn reap_tx(&mut self) -> Result<usize, DeviceFault> {
        let index = self.index(Side::Tx);
        self.rings.get_mut(index).map_or(Ok(0), |ring| reap(ring, &mut self.completed))
    }

    /// Frames sent whose chains have been taken back since the NIC was made, on all pairs.
    #[must_use]
    pub fn tx_completed(&self) -> u64 {
        self.completed
    }

    /// Frames sent whose chains the device still has.
    #[must_use]
    pub fn tx_in_flight(&self) -> u16 {
        self.rings.get(self.index(Side::Tx)).map_or(0, |ring| ring.driver.in_flight())
    }

    /// Sleeps until the device has returned all TX chains.
    ///
    /// # Errors
    ///
    /// [`Error::Deadline`] after `timeout`, [`Error::Disconnected`] if there is no backend, or not any more.
    pub fn wait_tx_idle(&mut self, timeout: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + timeout;
        loop {
            self.reap_tx()?;
            if self.tx_in_flight() == 0 {
                return Ok(());
            }
            self.sleep(Side::Tx, deadline, "chains in flight in the TX ring")?;
        }
    }

    /// Receives a frame, if one is there.
    ///
    /// # Errors
    ///
    /// As [`receive_into`](Self::receive_into).
    pub fn receive(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut frame = Vec::new();
        Ok(self.receive_into(&mut frame)?.then_some(frame))
    }

    /// Receives a frame into `frame`, whose former contents it replaces; false if none is there. No allocation
    /// where `frame` has the room. The buffers go back to the device, in batches.
    ///
    /// 1. Take a used chain; it holds at least a header.
    /// 2. Check the header: nothing that was not negotiated, `num_buffers` right.
    /// 3. Take the other chains of the frame: all there, all but the last full.
    /// 4. Copy out, and give the buffers back.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] with the rule that the device broke: the ring can't go on then. [`Error::Io`] if a
    /// kick for the buffers fails.
    #[inline]
    pub fn receive_into(&mut self, frame: &mut Vec<u8>) -> Result<bool, Error> {
        Ok(self.receive_with_header(frame)?.is_some())
    }

    /// As [`receive_into`](Self::receive_into), with the frame's header.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn receive_with_header(&mut self, frame: &mut Vec<u8>) -> Result<Option<Header>, Error> {
        let index = self.index(Side::Rx);
        let Some(ring) = self.rings.get_mut(index) else { return Ok(None) };
        let Some((slot, used)) = ring.pop_used()? else {
            if ring.unpublished > 0 {
                self.publish(index)?;
            }
            return Ok(None);
        };
        let header = gather(ring, slot, used, self.agreed, self.builder.lenient, frame)?;
        if ring.unpublished >= RX_BATCH {
            self.publish(index)?;
        }
        Ok(Some(header))
    }

    /// Receives a frame, sleeping until one comes.
    ///
    /// # Errors
    ///
    /// [`Error::Deadline`] after `timeout`, [`Error::Disconnected`] if there is no backend, or not any more,
    /// otherwise as [`receive_into`](Self::receive_into).
    pub fn wait_receive(&mut self, timeout: Duration) -> Result<Vec<u8>, Error> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(frame) = self.receive()? {
                return Ok(frame);
            }
            self.sleep(Side::Rx, deadline, "no frame received")?;
        }
    }

    /// Receives what comes until `timeout` has passed without a frame: for tests that nothing comes.
    ///
    /// # Errors
    ///
    /// As [`wait_receive`](Self::wait_receive), except for the deadline.
    pub fn drain(&mut self, timeout: Duration) -> Result<Vec<Vec<u8>>, Error> {
        let mut frames = Vec::new();
        loop {
            match self.wait_receive(timeout) {
                Ok(frame) => frames.push(frame),
                Err(Error::Deadline(_)) => return Ok(frames),
                Err(error) => return Err(error),
            }
        }
    }

    /// Kicks a ring, whether the device wants it or not.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the kick fails.
    pub fn kick(&mut self, side: Side) -> Result<(), Error> {
        let index = self.index(side);
        self.notifications[index].kick()
    }

    /// Asks for a call at the next used chain; true if chains are used already.
    pub fn arm_calls(&mut self, side: Side) -> bool {
        self.ring(side).is_some_and(DriverRing::arm)
    }

    /// Asks for no calls, as a driver that polls does.
    pub fn disarm_calls(&mut self, side: Side) {
        if let Some(ring) = self.ring(side) {
            ring.disarm();
        }
    }

    /// Kicks given to a ring so far.
    #[must_use]
    pub fn kick_count(&self, side: Side) -> u64 {
        self.notifications[self.index(side)].kicks()
    }

    /// Calls that came for a ring so far.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if its descriptor can't be read.
    pub fn call_count(&mut self, side: Side) -> Result<u64, Error> {
        let index = self.index(side);
        self.notifications[index].calls()
    }

    /// Times the backend has signalled an error of a ring over SET_VRING_ERR's descriptor.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if its descriptor can't be read.
    pub fn error_count(&mut self, side: Side) -> Result<u64, Error> {
        let index = self.index(side);
        self.notifications[index].errors()
    }

    /// Shows the device what was pushed into ring `index`, and kicks it if it wants that.
    pub(crate) fn publish(&mut self, index: usize) -> Result<(), Error> {
        let ring = self.rings.get_mut(index).ok_or(Error::State("the driver has not started"))?;
        ring.unpublished = 0;
        if ring.driver.publish() {
            self.notifications[index].kick()?;
        }
        Ok(())
    }

    /// Asks for a call, looks again, and sleeps until one comes.
    fn sleep(&mut self, side: Side, deadline: Instant, what: &'static str) -> Result<(), Error> {
        if self.arm_calls(side) {
            return Ok(());
        }
        let Some(connection) = self.connection_ref().filter(|c| !c.is_closed()) else {
            return Err(Error::Disconnected);
        };
        let index = self.index(side);
        let hang_up = PollFd::new(connection, PollFlags::RDHUP);
        let mut fds: Vec<_> = self.notifications[index].poll_fds().chain([hang_up]).collect();
        if !poll::ready(&mut fds, deadline)? {
            return Err(Error::Deadline(what));
        }
        drop(fds);
        self.notifications[index].calls()?;
        Ok(())
    }
}

/// Takes returned TX chains.
#[inline]
fn reap(ring: &mut Ring, completed: &mut u64) -> Result<usize, DeviceFault> {
    let mut count = 0;
    while let Some((slot, _)) = ring.pop_used()? {
        ring.give_back(slot);
        count += 1;
    }
    *completed += count as u64;
    Ok(count)
}

/// Copies a frame out of its buffers, of which the first is `slot` with `used` octets, and gives them back.
#[inline]
fn gather(
    ring: &mut Ring,
    slot: u16,
    used: u32,
    features: Features,
    lenient: bool,
    frame: &mut Vec<u8>,
) -> Result<Header, Error> {
    let capacity = ring.capacity();
    let header_len = features.header_len();
    if used > capacity || (used as usize) < header_len {
        return Err(DeviceFault::Len { used, capacity }.into());
    }
    let mut octets = [0; MAX_HEADER_LEN];
    ring.read(slot, 0, &mut octets[..header_len])?;
    let header = Header::from_octets(&octets);
    let num_buffers = check(&header, features, lenient)?;
    let len = used as usize - header_len;
    frame.resize(len, 0);
    ring.read(slot, header_len, frame)?;
    recycle(ring, slot);
    let mut before = used;
    for there in 1..num_buffers {
        if before != capacity {
            return Err(DeviceFault::Gap { used: before, capacity }.into());
        }
        let (slot, used) = ring.pop_used()?.ok_or(DeviceFault::Partial { num_buffers, there })?;
        if used == 0 || used > capacity {
            return Err(DeviceFault::Len { used, capacity }.into());
        }
        let start = frame.len();
        frame.resize(start + used as usize, 0);
        ring.read(slot, 0, &mut frame[start..])?;
        recycle(ring, slot);
        before = used;
    }
    Ok(header)
}

/// Gives an RX buffer back to the ring: its chain has just come out, so it fits.
#[inline]
fn recycle(ring: &mut Ring, slot: u16) {
    ring.give_back(slot);
    ring.push_empty();
}

/// Checks an RX header (virtio 1.x §5.1.6.4.1); returns over how many buffers the frame is spread.
#[inline]
fn check(header: &Header, features: Features, lenient: bool) -> Result<u16, DeviceFault> {
    const GUEST_CSUM: Features = Features(1 << 1);
    /// GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_UFO, and the newer GUEST_USO4 and GUEST_USO6.
    const GUEST_GSO: u64 = 0xf << 7 | 1 << 54 | 1 << 55;
    if header.flags != 0 && !features.has(GUEST_CSUM) {
        return Err(DeviceFault::Flags(header.flags));
    }
    if header.gso_type != 0 && features.0 & GUEST_GSO == 0 {
        return Err(DeviceFault::Gso(header.gso_type));
    }
    if features.header_len() < MAX_HEADER_LEN {
        return Ok(1);
    }
    match header.num_buffers {
        0 if lenient && !features.has(Features::MRG_RXBUF) => Ok(1),
        0 => Err(DeviceFault::NumBuffers(0)),
        many @ 2.. if !features.has(Features::MRG_RXBUF) => Err(DeviceFault::NumBuffers(many)),
        num_buffers => Ok(num_buffers),
    }
}

#[cfg(test)]
mod tests {
    use espwire_vring::{DeviceRing, RingConfig, RingLayout, UsedFault};

    use super::*;
    use crate::ring::Slots;
    use crate::{GuestMemory, MemoryKind, Placement};

    const MRG: Features = Features(Features::VERSION_1.0 | Features::MRG_RXBUF.0);

    /// An RX ring of 8 buffers of 64 octets, in two pieces, and the device's end of it.
    fn rings(features: Features) -> (Ring, DeviceRing) {
        let placement = Placement { own_header: true, pieces: 1 };
        let slots = Slots { size: 16, count: 8, capacity: 64, placement };
        let (ring, buffers) = slots.octets();
        let mut memory = GuestMemory::new(ring, buffers, MemoryKind::default()).unwrap();
        let place = slots.place(&mut memory).unwrap();
        let mut ring = Ring::new(&place, &memory, features, false).unwrap();
        while ring.push_empty() {}
        ring.driver.publish();
        ring.unpublished = 0;
        let config = RingConfig { ..*ring.driver.layout().config() };
        let device = DeviceRing::start(RingLayout::new(memory.table(), &config).unwrap());
        (ring, device)
    }

    /// The device puts `octets` into as many buffers as they need, header included.
    fn put(device: &mut DeviceRing, octets: &[u8]) {
        let mut room = device.reserve(octets.len(), 8).unwrap();
        assert_eq!(room.write(octets), octets.len());
        assert!(room.commit());
    }

    fn take(ring: &mut Ring, features: Features, lenient: bool) -> Result<Vec<u8>, DeviceFault> {
        let (slot, used) = ring.pop_used()?.expect("a used chain");
        let mut frame = vec![0xee; 3];
        match gather(ring, slot, used, features, lenient, &mut frame) {
            Ok(_) => Ok(frame),
            Err(Error::Device(fault)) => Err(fault),
            Err(error) => panic!("{error}"),
        }
    }

    fn octets(header: Header, frame_len: usize) -> Vec<u8> {
        let mut octets = header.to_octets().to_vec();
        octets.extend((0..frame_len).map(|i| i as u8));
        octets
    }

    #[test]
    fn gathers_a_frame_from_its_buffers() {
        let (mut ring, mut device) = rings(MRG);
        for (num_buffers, len) in [(1, 0), (1, 52), (2, 53), (3, 180), (8, 500)] {
            let octets = octets(Header::plain(num_buffers), len);
            put(&mut device, &octets);
            device.publish();
            assert_eq!(take(&mut ring, MRG, false).unwrap(), octets[12..], "{num_buffers} buffers");
            assert_eq!(ring.unpublished, num_buffers);
            ring.unpublished = 0;
            ring.driver.publish();
        }
    }

    #[test]
    fn names_the_rule_that_a_header_breaks() {
        let plain = Header::plain(1);
        let cases = [
            (MRG, Header { flags: 1, ..plain }, Err(DeviceFault::Flags(1))),
            (Features(MRG.0 | 2), Header { flags: 1, ..plain }, Ok(40)),
            (MRG, Header { gso_type: 1, ..plain }, Err(DeviceFault::Gso(1))),
            (MRG, Header::plain(0), Err(DeviceFault::NumBuffers(0))),
            (Features::VERSION_1, Header::plain(2), Err(DeviceFault::NumBuffers(2))),
            (Features::VERSION_1, Header::plain(0), Err(DeviceFault::NumBuffers(0))),
            (MRG, Header::plain(2), Err(DeviceFault::Gap { used: 52, capacity: 64 })),
            // Without num_buffers its octets are the frame's.
            (Features::default(), Header::plain(0x3333), Ok(42)),
        ];
        for (features, header, due) in cases {
            let (mut ring, mut device) = rings(features);
            put(&mut device, &octets(header, 40));
            device.publish();
            assert_eq!(take(&mut ring, features, false).map(|f| f.len()), due, "{header:?}");
        }
        let (mut ring, mut device) = rings(Features::VERSION_1);
        put(&mut device, &octets(Header::plain(0), 40));
        device.publish();
        assert_eq!(take(&mut ring, Features::VERSION_1, true).map(|f| f.len()), Ok(40));
    }

    #[test]
    fn names_used_lengths_that_cannot_be() {
        let (mut ring, mut device) = rings(MRG);
        put(&mut device, &[0; 11]);
        put(&mut device, &octets(Header::plain(2), 52));
        device.publish();
        assert_eq!(take(&mut ring, MRG, false), Err(DeviceFault::Len { used: 11, capacity: 64 }));
        assert_eq!(take(&mut ring, MRG, false), Err(DeviceFault::Partial { num_buffers: 2, there: 1 }));
    }

    #[test]
    fn chains_out_of_order_are_a_fault_only_with_in_order() {
        for features in [MRG, MRG | Features::IN_ORDER] {
            let (mut ring, _) = rings(features);
            let layout = *ring.driver.layout().config();
            let heads = [2u32, 0];
            let table = ring.driver.layout().table().clone();
            for (i, head) in (0..).zip(heads) {
                table.write(layout.used + 4 + 8 * i, &head.to_le_bytes()).unwrap();
                table.write(layout.used + 8 + 8 * i, &20u32.to_le_bytes()).unwrap();
            }
            table.write(layout.used + 2, &2u16.to_le_bytes()).unwrap();
            let due = if features.has(Features::IN_ORDER) {
                Err(DeviceFault::Order { due: 0, got: 2 })
            } else {
                Ok(true)
            };
            assert_eq!(ring.pop_used().map(|used| used.is_some()), due);
        }
    }

    #[test]
    fn an_unknown_id_is_a_fault() {
        let (mut ring, _) = rings(MRG);
        let layout = *ring.driver.layout().config();
        let table = ring.driver.layout().table().clone();
        table.write(layout.used + 4, &1u32.to_le_bytes()).unwrap();
        table.write(layout.used + 2, &1u16.to_le_bytes()).unwrap();
        assert_eq!(ring.pop_used(), Err(DeviceFault::Used(UsedFault::NotInFlight(1))));
    }
}
