//! One direction of a path: a burst off one guest's TX ring, into the other guest's RX ring.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use espwire_virtnet::{
    ETHERNET_HEADER_LEN, Features, Header, LEGACY_HEADER_LEN, MAX_FRAME_LEN, MAX_HEADER_LEN,
};
use espwire_vring::{
    Chain, DeviceRing, MAX_BURST, MAX_CHAIN, RegionTable, ReserveError, RingConfig, RingFault, Signaller,
    sigbus,
};

use crate::counters::{DirectionCounts, DropReason};

/// How long a frame may wait for an RX buffer of its receiver. A guest's driver refills its ring within
/// microseconds when it runs; on a busy host its virtual CPU may have to wait for tens of milliseconds first.
/// A guest that is stopped costs its peer this once: see [`Patience`].
const RX_WAIT: Duration = Duration::from_millis(100);

/// How many frames ahead an RX buffer is fetched into the cache, to be there when its frame is copied.
const AHEAD: u16 = 4;

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
    /// Not enough RX chains yet: there are this many.
    Wait(u16),
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
        // While the receiver has given nothing new, the frames that wait for it need not be looked at again.
        if let (Patience::Until(until, seen), Some(to), true) = (self.patience, &mut to, from.enabled)
            && to.ring.available() <= seen
            && to.ring.fault().is_none()
            && Instant::now() < until
        {
            return Turn::Waiting(until);
        }
        let header_len = from.features.header_len();
        let burst = match from.ring.pop_burst(MAX_BURST) {
            Ok(burst) if burst.is_empty() => return Turn::Idle,
            Ok(burst) => burst,
            Err(fault) => return Turn::Broken(fault),
        };
        if (to.is_none() || !from.enabled) && is_stale() {
            return Turn::Moved;
        }
        if to.is_none() {
            self.patience = Patience::Fresh;
        }
        let mut done = 0;
        let mut waiting = None;
        let faults = sigbus::faults();
        while done < burst.len() {
            if let Some(to) = &mut to {
                to.ring.prefetch_writable(AHEAD);
            }
            let fate = if from.enabled {
                forward(&burst.chain(done), header_len, to.as_deref_mut())
            } else {
                Fate::Dropped(DropReason::TxDisabled, frame_len(&burst.chain(done), header_len))
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
            self.counts.rx_calls += u64::from(to.publish(signaller));
            let rejected = to.ring.rejected();
            self.counts.rx_bad_chains += rejected - std::mem::replace(&mut to.rejected, rejected);
        }
        self.counts.tx_calls += u64::from(from.publish(signaller));
        match waiting {
            Some(until) if done == 0 => Turn::Waiting(until),
            _ => Turn::Moved,
        }
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
            Fate::Wait(seen) => match self.wait(seen) {
                Some(until) => return Some(until),
                None => (0, Some(DropReason::NoRxBuffer)),
            },
        };
        self.counts.frames_in += 1;
        self.counts.bytes_in += len as u64;
        if let Some(reason) = dropped {
            self.counts.count_drop(reason);
        }
        None
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

/// Octets of a chain's frame; 0 if it can't be read or is no longer than a header.
fn frame_len(chain: &Chain<'_>, header_len: usize) -> usize {
    chain.len().map_or(0, |len| (len as usize).saturating_sub(header_len))
}

/// Mode `off`: the frame goes from the sender's buffers straight into the receiver's, by one copy.
#[inline]
fn forward(chain: &Chain<'_>, header_len: usize, to: Option<&mut RingView>) -> Fate {
    let Ok(chain_len) = chain.len() else {
        return Fate::Dropped(DropReason::BadChain, 0);
    };
    let len = (chain_len as usize).saturating_sub(header_len);
    if len < ETHERNET_HEADER_LEN {
        return Fate::Dropped(DropReason::Runt, len);
    }
    if len > MAX_FRAME_LEN {
        return Fate::Dropped(DropReason::TooLong, len);
    }
    // In the legacy header's place of num_buffers stand two octets of the frame: a driver's num_buffers has no
    // meaning anyway.
    let Some(header) = chain.first_octets::<MAX_HEADER_LEN>() else {
        return Fate::Dropped(DropReason::Runt, len);
    };
    if Header::from_octets(&header).check().is_err() {
        return Fate::Dropped(DropReason::BadHeader, len);
    }
    let Some(to) = to else {
        return Fate::Dropped(DropReason::PeerDown, len);
    };
    let to_header_len = to.features.header_len();
    let most_chains = if to.features.has(Features::MRG_RXBUF) { MAX_CHAIN } else { 1 };
    match to.ring.reserve(to_header_len + len, most_chains) {
        Ok(mut room) => {
            let header = Header::plain(room.chains()).to_octets();
            // The length is known in each branch: a store or two instead of a call.
            if to_header_len == MAX_HEADER_LEN {
                room.write(&header);
            } else {
                room.write(&header[..LEGACY_HEADER_LEN]);
            }
            room.write_chain(chain, header_len);
            // The chain's length was fixed when it was walked: what it holds is what was reserved.
            if room.commit() { Fate::Delivered(len) } else { Fate::Dropped(DropReason::BadChain, len) }
        }
        Err(ReserveError::TooSmall) => Fate::Dropped(DropReason::RxTooSmall, len),
        Err(ReserveError::Empty) => Fate::Wait(to.ring.seen()),
        // The path sees the fault after this burst and takes the ring down.
        Err(ReserveError::Ring(_)) => Fate::Dropped(DropReason::PeerDown, len),
        Err(_) => Fate::Dropped(DropReason::NoRxBuffer, len),
    }
}
