//! One direction of a path: a burst off one guest's TX ring, into the other guest's RX ring.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use espwire_virtnet::{
    ETHERNET_HEADER_LEN, Features, Header, LEGACY_HEADER_LEN, MAX_FRAME_LEN, MAX_HEADER_LEN,
};
use espwire_vring::{
    Burst, Chain, DeviceRing, MAX_BURST, MAX_CHAIN, RegionTable, ReserveError, RingConfig, RingFault,
    Signaller, sigbus,
};

use espwire_ipsec::Verdict;

use crate::counters::{DirectionCounts, DropReason};
use crate::nic::Nic;

/// How long a frame may wait for an RX buffer of its receiver. A guest's driver refills its ring within
/// microseconds when it runs; on a busy host its virtual CPU may have to wait for tens of milliseconds first.
/// A guest that is stopped costs its peer this once: see [`Patience`].
const RX_WAIT: Duration = Duration::from_millis(100);

/// How many RX chains are read ahead anew behind a frame that did not fit one: a bound on what such frames cost.
const AFTERWARDS: usize = 8;

/// How many octets of frames a NIC takes at once, or a frame more: the other direction waits while they are
/// inspected. 64 of the longest frames would take milliseconds.
const INSPECTED_LEN: usize = 128 << 10;

/// A running ring, as a path holds it.
#[derive(Debug)]
pub(crate) struct RingView {
    pub(crate) ring: DeviceRing,
    /// Frames may pass: SET_VRING_ENABLE 1.
    pub(crate) enabled: bool,
    pub(crate) features: Features,
    /// Kicks of the driver wake the path; if not, the ring must be polled.
    pub(crate) kicked: bool,
    pub(crate) call: Option<Arc<OwnedFd>>,
    /// Which start of the ring this view belongs to.
    pub(crate) start: u64,
    /// [`DeviceRing::rejected`] as far as it is counted.
    pub(crate) rejected: u64,
}

impl RingView {
    /// Publishes what was completed and calls the driver if it wants that. Returns whether it was called.
    #[inline]
    fn publish(&mut self, signaller: &mut Signaller) -> bool {
        self.ring.publish();
        self.ring.needs_call() && self.call(signaller)
    }

    /// Calls the driver. A full counter has woken it already.
    pub(crate) fn call(&self, signaller: &mut Signaller) -> bool {
        self.call.as_ref().is_some_and(|call| signaller.signal(call).is_ok())
    }

    /// Whether the ring lies where `config` says, in `memory`.
    pub(crate) fn runs_on(&self, memory: &Arc<RegionTable>, config: &RingConfig) -> bool {
        self.ring.layout().config() == config && Arc::ptr_eq(self.ring.layout().table(), memory)
    }
}

/// What a turn of a direction came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// There was nothing to do.
    Idle,
    /// Frames were taken off the TX ring.
    Moved,
    /// A frame waits for an RX buffer, until then at the longest.
    Waiting(Instant),
    /// The TX ring broke a rule and stands still until its driver sets it up again.
    Broken(RingFault),
}

/// Patience with a receiver without RX buffers.
#[derive(Clone, Copy, Debug, Default)]
enum Patience {
    #[default]
    Fresh,
    /// A frame waits, until then, for more than this many RX chains.
    Until(Instant, u16),
    /// It waited in vain: frames are dropped at once until a buffer appears.
    Exhausted,
}

/// What became of one frame.
enum Fate {
    Delivered(usize),
    Dropped(DropReason, usize),
    /// Not enough RX chains yet for a frame of so many octets: `seen` are there.
    Wait {
        len: usize,
        seen: u16,
    },
}

/// One direction of a path.
#[derive(Debug, Default)]
pub(crate) struct Direction {
    pub(crate) counts: DirectionCounts,
    patience: Patience,
}

impl Direction {
    /// Moves up to [`MAX_BURST`] frames from `from`, the sender's TX ring, to `to`, the receiver's RX ring.
    ///
    /// 1. Take chains off the TX ring.
    /// 2. Each frame: delivered, dropped and counted, or left to wait for an RX buffer with all behind it.
    /// 3. Publish the RX ring and call the receiver at most once; then return the chains to the sender, and
    ///    call it at most once.
    ///
    /// Without a receiver every frame is drained and counted. Frames in = frames out + drops afterwards.
    ///
    /// `is_stale` tells whether control has something newer than what these views were made from. It is asked
    /// between taking frames and dropping them for the rings' state: a frame that was sent after control had
    /// enabled a ring must find it enabled.
    pub(crate) fn run_burst(
        &mut self,
        from: &mut RingView,
        mut to: Option<&mut RingView>,
        is_stale: impl Fn() -> bool,
        signaller: &mut Signaller,
    ) -> Turn {
        if from.enabled
            && let Some(until) = self.waits_for(to.as_deref_mut())
        {
            return Turn::Waiting(until);
        }
        let header_len = from.features.header_len();
        let burst = match take_burst(&mut from.ring) {
            Ok(burst) => burst,
            Err(turn) => return turn,
        };
        if (to.is_none() || !from.enabled) && is_stale() {
            return Turn::Moved;
        }
        if to.is_none() {
            self.patience = Patience::Fresh;
        }
        if let Some(to) = &mut to {
            to.ring.look_ahead(burst.len());
        }
        let mut done = 0;
        let mut waiting = None;
        let faults = sigbus::faults();
        while done < burst.len() {
            let fate = if from.enabled {
                forward(&burst.chain(done), header_len, to.as_deref_mut())
            } else {
                Fate::Dropped(DropReason::TxDisabled, frame_len(&burst.chain(done), header_len).0)
            };
            match self.settle(fate) {
                // Memory has gone: every further page of it would be a fault, and a mapping of its own.
                None if sigbus::faults() != faults => {
                    done += 1;
                    break;
                }
                None => done += 1,
                Some(until) => {
                    waiting = Some(until);
                    break;
                }
            }
        }
        burst.complete(done);
        if let Some(to) = to {
            self.publish_rx(to, signaller);
        }
        self.counts.tx_calls += u64::from(from.publish(signaller));
        match waiting {
            Some(until) if done == 0 => Turn::Waiting(until),
            _ => Turn::Moved,
        }
    }

    /// [`run_burst`](Self::run_burst) of a port in mode `inspect`: the frames go through `nic`.
    ///
    /// 1. Settle what `nic` still has of the last burst.
    /// 2. Take chains off the TX ring, and copy their frames.
    /// 3. Return the chains, publish them, and call the sender at most once.
    /// 4. Inspect the burst, and [deliver](Self::deliver) what passes.
    pub(crate) fn run_inspected(
        &mut self,
        nic: &mut Nic,
        from: &mut RingView,
        to: Option<&mut RingView>,
        is_stale: impl Fn() -> bool,
        signaller: &mut Signaller,
    ) -> Turn {
        if nic.has_frames() {
            return self.deliver(nic, to, is_stale, signaller);
        }
        let header_len = from.features.header_len();
        let burst = match take_burst(&mut from.ring) {
            Ok(burst) => burst,
            Err(turn) => return turn,
        };
        if (to.is_none() || !from.enabled) && is_stale() {
            return Turn::Moved;
        }
        nic.begin();
        let mut done = 0;
        let faults = sigbus::faults();
        while done < burst.len() && nic.octets() < INSPECTED_LEN && sigbus::faults() == faults {
            let chain = burst.chain(done);
            done += 1;
            match frame_len(&chain, header_len) {
                (len, _) if !from.enabled => self.count(len, Some(DropReason::TxDisabled)),
                (len, Err(reason)) => self.count(len, Some(reason)),
                (len, Ok(())) => nic.take(len, |octets| {
                    chain.copy_to(header_len, octets);
                }),
            }
        }
        burst.complete(done);
        self.counts.tx_calls += u64::from(from.publish(signaller));
        nic.inspect();
        self.deliver(nic, to, is_stale, signaller);
        Turn::Moved
    }

    /// Settles the frames that `nic` has inspected: those that pass go to `to`, the receiver's RX ring; the
    /// others are counted. Publishes the RX ring and calls the receiver at most once.
    pub(crate) fn deliver(
        &mut self,
        nic: &mut Nic,
        mut to: Option<&mut RingView>,
        is_stale: impl Fn() -> bool,
        signaller: &mut Signaller,
    ) -> Turn {
        if to.is_none() {
            if is_stale() {
                return Turn::Moved;
            }
            self.patience = Patience::Fresh;
        }
        if let Some(until) = self.waits_for(to.as_deref_mut()) {
            return Turn::Waiting(until);
        }
        if let Some(to) = &mut to {
            to.ring.look_ahead(nic.frames());
        }
        let mut turn = Turn::Moved;
        let mut settled = 0;
        let faults = sigbus::faults();
        while let Some((frame, verdict)) = nic.next_frame()
            && sigbus::faults() == faults
        {
            let fate = match verdict {
                Verdict::Drop(reason) => Fate::Dropped(DropReason::Esp(reason), frame.len()),
                Verdict::Pass(_) => put(to.as_deref_mut(), frame.len(), Frame::Octets(frame)),
            };
            if let Some(until) = self.settle(fate) {
                if settled == 0 {
                    turn = Turn::Waiting(until);
                }
                break;
            }
            nic.advance();
            settled += 1;
        }
        if let Some(to) = to {
            self.publish_rx(to, signaller);
        }
        turn
    }

    /// Counts the frames that `nic` still has as lost: there will be no receiver any more.
    pub(crate) fn abandon(&mut self, nic: &mut Nic) {
        while let Some((frame, verdict)) = nic.next_frame() {
            let reason = match verdict {
                Verdict::Drop(reason) => DropReason::Esp(reason),
                Verdict::Pass(_) => DropReason::PeerDown,
            };
            self.count(frame.len(), Some(reason));
            nic.advance();
        }
    }

    /// Until when frames wait for RX buffers of `to`, if it has given nothing new since they began to: then they
    /// need not be looked at again.
    #[inline]
    fn waits_for(&self, to: Option<&mut RingView>) -> Option<Instant> {
        let (Patience::Until(until, seen), Some(to)) = (self.patience, to) else { return None };
        let waits = to.ring.available() <= seen && to.ring.fault().is_none() && Instant::now() < until;
        waits.then_some(until)
    }

    /// Publishes what the receiver got, and calls it if it wants that.
    #[inline]
    fn publish_rx(&mut self, to: &mut RingView, signaller: &mut Signaller) {
        self.counts.rx_calls += u64::from(to.publish(signaller));
        let rejected = to.ring.rejected();
        self.counts.rx_bad_chains += rejected - std::mem::replace(&mut to.rejected, rejected);
    }

    /// Counts a frame's fate; for one that must wait returns until when.
    #[inline]
    fn settle(&mut self, fate: Fate) -> Option<Instant> {
        let (len, dropped) = match fate {
            Fate::Delivered(len) => {
                self.counts.frames_out += 1;
                self.counts.bytes_out += len as u64;
                self.patience = Patience::Fresh;
                (len, None)
            }
            Fate::Dropped(reason, len) => (len, Some(reason)),
            Fate::Wait { len, seen } => match self.wait(seen) {
                Some(until) => return Some(until),
                None => (len, Some(DropReason::NoRxBuffer)),
            },
        };
        self.count(len, dropped);
        None
    }

    /// Counts a frame of `len` octets as taken, and as dropped if there is a reason.
    #[inline]
    fn count(&mut self, len: usize, dropped: Option<DropReason>) {
        self.counts.frames_in += 1;
        self.counts.bytes_in += len as u64;
        if let Some(reason) = dropped {
            self.counts.count_drop(reason);
        }
    }

    /// Until when a frame may still wait; `None` once patience is exhausted.
    fn wait(&mut self, seen: u16) -> Option<Instant> {
        let until = match self.patience {
            Patience::Fresh => Instant::now() + RX_WAIT,
            Patience::Until(until, _) if Instant::now() < until => until,
            Patience::Until(..) | Patience::Exhausted => {
                self.patience = Patience::Exhausted;
                return None;
            }
        };
        self.patience = Patience::Until(until, seen);
        Some(until)
    }
}

/// Takes chains off a TX ring; if there are none, or the ring breaks a rule, what the turn comes to.
#[inline]
fn take_burst(ring: &mut DeviceRing) -> Result<Burst<'_>, Turn> {
    match ring.pop_burst(MAX_BURST) {
        Ok(burst) if burst.is_empty() => Err(Turn::Idle),
        Ok(burst) => Ok(burst),
        Err(fault) => Err(Turn::Broken(fault)),
    }
}

/// Octets of a chain's frame, 0 if the chain can't be read or is no longer than a header; and whether the frame
/// may go on, by its length and its virtio_net_hdr.
#[inline]
fn frame_len(chain: &Chain<'_>, header_len: usize) -> (usize, Result<(), DropReason>) {
    let Ok(chain_len) = chain.len() else {
        return (0, Err(DropReason::BadChain));
    };
    let len = (chain_len as usize).saturating_sub(header_len);
    if len < ETHERNET_HEADER_LEN {
        return (len, Err(DropReason::Runt));
    }
    if len > MAX_FRAME_LEN {
        return (len, Err(DropReason::TooLong));
    }
    // In the legacy header's place of num_buffers stand two octets of the frame: a driver's num_buffers has no
    // meaning anyway.
    let Some(header) = chain.first_octets::<MAX_HEADER_LEN>() else {
        return (len, Err(DropReason::Runt));
    };
    (len, Header::from_octets(&header).check().map_err(|_| DropReason::BadHeader))
}

/// Mode `off`: the frame goes from the sender's buffers straight into the receiver's, by one copy.
#[inline]
fn forward(chain: &Chain<'_>, header_len: usize, to: Option<&mut RingView>) -> Fate {
    match frame_len(chain, header_len) {
        (len, Ok(())) => put(to, len, Frame::In(chain, header_len)),
        (len, Err(reason)) => Fate::Dropped(reason, len),
    }
}

/// Where a frame's octets are.
#[derive(Clone, Copy)]
enum Frame<'f> {
    /// In a chain, from a position on.
    In(&'f Chain<'f>, usize),
    /// In private memory.
    Octets(&'f [u8]),
}

/// Puts a frame of `len` octets into the receiver's buffers behind a new header.
#[inline]
fn put(to: Option<&mut RingView>, len: usize, frame: Frame<'_>) -> Fate {
    let Some(to) = to else {
        return Fate::Dropped(DropReason::PeerDown, len);
    };
    let header_len = to.features.header_len();
    let header = Header::plain(1).to_octets();
    let (legacy, _) = header.split_first_chunk::<LEGACY_HEADER_LEN>().expect("the shorter header");
    // Each way for itself: a header's copy of known length is a store or two instead of a call.
    let done = match (frame, header_len) {
        (Frame::In(chain, skip), MAX_HEADER_LEN) => to.ring.put_chain(&header, chain, skip),
        (Frame::In(chain, skip), _) => to.ring.put_chain(legacy, chain, skip),
        (Frame::Octets(octets), MAX_HEADER_LEN) => to.ring.put_octets(&header, octets),
        (Frame::Octets(octets), _) => to.ring.put_octets(legacy, octets),
    };
    if done { Fate::Delivered(len) } else { put_anywhere(to, len, frame) }
}

/// [`put`] into whatever buffers there are: several of them, or in pieces.
#[inline(never)]
fn put_anywhere(to: &mut RingView, len: usize, frame: Frame<'_>) -> Fate {
    let header_len = to.features.header_len();
    let most_chains = if to.features.has(Features::MRG_RXBUF) { MAX_CHAIN } else { 1 };
    match to.ring.reserve(header_len + len, most_chains) {
        Ok(mut room) => {
            room.write(&Header::plain(room.chains()).to_octets()[..header_len]);
            match frame {
                Frame::In(chain, skip) => room.write_chain(chain, skip),
                Frame::Octets(octets) => room.write(octets),
            };
            // The frame's length was fixed when its chain was walked: what it holds is what was reserved.
            if !room.commit() {
                return Fate::Dropped(DropReason::BadChain, len);
            }
            // The frames behind it may fit one buffer again.
            to.ring.look_ahead(AFTERWARDS);
            Fate::Delivered(len)
        }
        Err(ReserveError::TooSmall) => Fate::Dropped(DropReason::RxTooSmall, len),
        Err(ReserveError::Empty) => Fate::Wait { len, seen: to.ring.seen() },
        // The path sees the fault after this burst and takes the ring down.
        Err(ReserveError::Ring(_)) => Fate::Dropped(DropReason::PeerDown, len),
        Err(_) => Fate::Dropped(DropReason::NoRxBuffer, len),
    }
}
