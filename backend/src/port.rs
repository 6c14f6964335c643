//! A port: what one VM's frontend has set up, as its sessions write it and its paths read it.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use espwire_virtnet::{ConfigSpace, Features};
use espwire_vring::{RegionTable, RingConfig};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::counters::PortCounts;
use crate::handover::Handover;

/// How long control waits for a path to let go of a ring.
pub(crate) const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(1);

/// Which end of the cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortName {
    /// `--socket-path`.
    A,
    /// `--peer-socket-path`.
    B,
}

impl PortName {
    /// `a` or `b`, as in options and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

impl std::fmt::Display for PortName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Index of a queue pair's RX ring in [`PairState::rings`]: virtio-net has it first (virtio 1.x §5.1.2).
pub(crate) const RX: usize = 0;
/// Index of a queue pair's TX ring.
pub(crate) const TX: usize = 1;

/// A ring as the frontend described it. Nothing here is checked yet: the path does, when it starts it.
#[derive(Clone, Debug, Default)]
pub(crate) struct RingState {
    /// SET_VRING_NUM.
    pub(crate) size: u16,
    /// SET_VRING_ADDR as guest-physical addresses: descriptor table, available ring, used ring.
    pub(crate) addresses: Option<[u64; 3]>,
    /// How often the ring was started, over all sessions; it is stopped while `running` is false.
    pub(crate) starts: u64,
    /// Between SET_VRING_KICK and GET_VRING_BASE.
    pub(crate) running: bool,
    /// SET_VRING_ENABLE.
    pub(crate) enabled: bool,
    /// Where the driver's kicks arrive; `None`: the ring must be polled.
    pub(crate) kick: Option<Arc<OwnedFd>>,
    /// Where the driver's calls go.
    pub(crate) call: Option<Arc<OwnedFd>>,
    /// Where the frontend hears that the ring is broken.
    pub(crate) err: Option<Arc<OwnedFd>>,
}

/// What the path of one queue pair needs to know of a port.
#[derive(Clone, Debug, Default)]
pub(crate) struct PairState {
    pub(crate) memory: Option<Arc<RegionTable>>,
    pub(crate) features: Features,
    pub(crate) rings: [RingState; 2],
}

impl PairState {
    /// Back to nothing set up, for the next session. The starts count on: a path tells a ring's lives apart
    /// by them.
    fn clear(&mut self) {
        let rings = self.rings.each_ref().map(|ring| RingState { starts: ring.starts, ..Default::default() });
        *self = Self { rings, ..Self::default() };
    }

    /// The ring's place, if the frontend has told enough to run it.
    pub(crate) fn ring_config(&self, ring: usize) -> Option<RingConfig> {
        let state = &self.rings[ring];
        let [descriptors, available, used] = state.addresses.filter(|_| state.running)?;
        Some(RingConfig {
            size: state.size,
            descriptors,
            available,
            used,
            event_idx: self.features.has(Features::EVENT_IDX),
            indirect: self.features.has(Features::INDIRECT_DESC),
        })
    }
}

/// A path did not let go of a ring within [`ACKNOWLEDGE_WITHIN`].
#[derive(Debug, thiserror::Error)]
#[error("the data path did not answer within {} s", ACKNOWLEDGE_WITHIN.as_secs())]
pub(crate) struct NotAcknowledged;

/// One queue pair of a port, between its sessions and its path.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) handover: Handover<PairState>,
    /// Where each ring stood when the path let go of it: what GET_VRING_BASE answers.
    next: [AtomicU16; 2],
    /// States that the path may still hold, each with the generation that replaced it.
    retired: Mutex<Vec<(u64, Arc<PairState>)>>,
    /// Wakes the path out of its sleep. Shared by the two pairs that one path serves.
    wake: Arc<EventFd>,
}

impl Pair {
    pub(crate) fn new(wake: Arc<EventFd>) -> Self {
        Self {
            handover: Handover::new(PairState::default()),
            next: Default::default(),
            retired: Mutex::default(),
            wake,
        }
    }

    /// Changes the state; the path takes it over before its next burst.
    pub(crate) fn update(&self, change: impl FnOnce(&mut PairState)) -> u64 {
        let (generation, old) = self.handover.update(change);
        self.retire(generation, old);
        // Fails only if the counter is full, and then the path has not slept for 2^64 wake-ups.
        let _ = self.wake.write(1);
        generation
    }

    /// Changes the state and waits until the path has let go of the old one.
    pub(crate) fn update_and_wait(&self, change: impl FnOnce(&mut PairState)) -> Result<(), NotAcknowledged> {
        let generation = self.update(change);
        if !self.handover.wait(generation, ACKNOWLEDGE_WITHIN) {
            return Err(NotAcknowledged);
        }
        self.drop_retired();
        Ok(())
    }

    /// Keeps `old` until the path has taken over `generation`.
    fn retire(&self, generation: u64, old: Arc<PairState>) {
        self.drop_retired();
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).push((generation, old));
    }

    /// Drops, on this thread, what the path has let go of: closing a descriptor or unmapping memory may take as
    /// long as whoever is behind it likes.
    fn drop_retired(&self) {
        let acknowledged = self.handover.acknowledged();
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        let (gone, kept): (Vec<_>, _) = retired.drain(..).partition(|(by, _)| *by <= acknowledged);
        *retired = kept;
        drop(retired);
        drop(gone);
    }

    /// Control: index of the next chain of `ring`, as the path left it.
    pub(crate) fn next(&self, ring: usize) -> u16 {
        self.next[ring].load(Ordering::Acquire)
    }

    /// Leaves `ring` at `next`: the path where it stopped, control where the frontend says it stands.
    pub(crate) fn leave(&self, ring: usize, next: u16) {
        self.next[ring].store(next, Ordering::Release);
    }
}

/// What a port is told at start.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// Which end.
    pub name: PortName,
    /// MTU offered to the guest, in octets, if any.
    pub mtu: Option<u16>,
}

/// One end of the cable.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) name: PortName,
    pub(crate) config_space: ConfigSpace,
    /// One per queue pair.
    pub(crate) pairs: Vec<Arc<Pair>>,
    pub(crate) counts: PortCounts,
}

impl Port {
    pub(crate) fn new(config: &PortConfig, pairs: Vec<Arc<Pair>>) -> Self {
        let queue_pairs = u16::try_from(pairs.len()).unwrap_or(u16::MAX);
        Self {
            name: config.name,
            config_space: ConfigSpace { mac: None, mtu: config.mtu, queue_pairs },
            pairs,
            counts: PortCounts::default(),
        }
    }

    /// The features offered: the same after each restart.
    pub(crate) fn features(&self) -> Features {
        Features::OFFERED | self.config_space.features()
    }

    /// How many rings a frontend may set up.
    pub(crate) fn rings(&self) -> usize {
        2 * self.pairs.len()
    }

    /// The frontend is gone: every ring is stopped, every mapping let go.
    pub(crate) fn disconnect(&self) -> Result<(), NotAcknowledged> {
        let stopped: Vec<_> = self.pairs.iter().map(|pair| pair.update_and_wait(PairState::clear)).collect();
        for pair in &self.pairs {
            [RX, TX].iter().for_each(|&ring| pair.leave(ring, 0));
        }
        stopped.into_iter().collect()
    }
}

/// An eventfd that wakes a path.
pub(crate) fn wake_event() -> std::io::Result<Arc<EventFd>> {
    EventFd::new(EFD_NONBLOCK).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_waits_for_the_path_and_gives_up_in_time() {
        let handover = Handover::new(1);
        let (generation, old) = handover.update(|value| *value += 1);
        assert_eq!(*old, 1);
        assert!(!handover.wait(generation, Duration::from_millis(1)));
        let (taken, value) = handover.take();
        assert_eq!((taken, *value), (generation, 2));
        handover.acknowledge(taken);
        assert!(handover.wait(generation, Duration::ZERO));
    }
}
