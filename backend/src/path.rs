//! A path: the thread that runs both directions of one queue pair of the cable.
//!
//! ```text
//!                 ┌────────────── path k ──────────────┐
//!   A's TX ring ──┼─► direction A → B ──► B's RX ring ─┼─► B's driver
//!   A's RX ring ◄─┼── direction B → A ◄── B's TX ring ─┼── B's driver
//!                 └────────────────────────────────────┘
//!   between two bursts: has a port's generation changed? has memory been lost?
//! ```
//!
//! Architecture invariant: a path alone owns its four rings; no lock is taken per frame or per burst.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use espwire_vring::{DeviceRing, RingLayout, Signaller, sigbus};
use vmm_sys_util::eventfd::EventFd;

use crate::counters::PublishedCounts;
use crate::direction::{Direction, RingView, Turn};
use crate::nic::Nic;
use crate::port::{Pair, PairState, Port, RX, RingState, TX};
use crate::wakeup::Wakeups;

/// How a path waits for work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Wait {
    /// Ask the drivers for kicks and sleep until one comes: no CPU while idle.
    Event,
    /// Look at the rings without end: lowest latency, a whole CPU.
    Poll,
}

/// After how many turns with frames, one after the other, counts are published; before that when frames pause.
const PUBLISH_EVERY: u32 = 32;

/// How often a ring is looked at whose frontend gave no kick descriptor (vhost-user, SET_VRING_KICK).
const UNKICKED_EVERY: Duration = Duration::from_millis(1);

/// What a path shares with the rest of the process.
#[derive(Debug)]
pub(crate) struct PathShared {
    /// Written to wake the path when there is something new for it.
    pub(crate) wake: Arc<EventFd>,
    pub(crate) stop: AtomicBool,
    /// A → B, B → A.
    pub(crate) counts: [PublishedCounts; 2],
}

impl PathShared {
    pub(crate) fn new(wake: Arc<EventFd>) -> Self {
        Self { wake, stop: AtomicBool::new(false), counts: Default::default() }
    }

    /// Asks the path to end.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.wake.write(1);
    }
}

/// One end of a path.
struct End {
    port: Arc<Port>,
    pair: Arc<Pair>,
    /// The generation of `state`.
    generation: u64,
    state: Arc<PairState>,
    /// [`RX`] and [`TX`], if running.
    rings: [Option<RingView>; 2],
    /// The memory went away under us: nothing runs on it again.
    memory_lost: bool,
    /// For each ring the start (they count from 1) at which it broke a rule: it does not run again under it.
    broken_starts: [u64; 2],
    /// For each ring the start whose fault was reported last.
    reported_starts: [u64; 2],
}

/// The path of one queue pair. See the module's text.
pub(crate) struct Path {
    ends: [End; 2],
    directions: [Direction; 2],
    /// Of the ports in mode `inspect`.
    nics: [Option<Nic>; 2],
    shared: Arc<PathShared>,
    wait: Wait,
    wakeups: Wakeups,
    signaller: Signaller,
    /// [`sigbus::faults`] when it was last looked at.
    faults: u64,
    /// Turns since counts were published.
    unpublished: u32,
}

impl Path {
    /// The path of queue pair `index` of both ports.
    pub(crate) fn new(
        ports: &[Arc<Port>; 2],
        index: usize,
        shared: Arc<PathShared>,
        nics: [Option<Nic>; 2],
        wait: Wait,
        signaller: Signaller,
    ) -> Result<Self, event_manager::Error> {
        let end = |port: &Arc<Port>| End {
            port: Arc::clone(port),
            pair: Arc::clone(&port.pairs[index]),
            generation: 0,
            state: Arc::default(),
            rings: [None, None],
            memory_lost: false,
            broken_starts: [0; 2],
            reported_starts: [0; 2],
        };
        Ok(Self {
            ends: [end(&ports[0]), end(&ports[1])],
            directions: Default::default(),
            nics,
            wakeups: Wakeups::new(Arc::clone(&shared.wake))?,
            shared,
            wait,
            signaller,
            faults: sigbus::faults(),
            unpublished: 0,
        })
    }

    /// Runs until [`PathShared::stop`], then lets go of all rings.
    pub(crate) fn run(mut self) -> Result<(), event_manager::Error> {
        // The counts of a burst's SAs are published with the burst; those of the frames keep step with them.
        let inspects = self.nics.iter().any(Option::is_some);
        while !self.shared.stop.load(Ordering::Acquire) {
            let turns = self.turn();
            if turns.contains(&Turn::Moved) {
                self.unpublished += 1;
                if inspects || self.unpublished == PUBLISH_EVERY {
                    self.publish_counts();
                }
                continue;
            }
            match self.wait {
                Wait::Poll if self.unpublished > 0 => self.publish_counts(),
                Wait::Poll => std::hint::spin_loop(),
                Wait::Event => self.sleep(turns)?,
            }
        }
        for end in 0..2 {
            self.stop_rings(end);
        }
        for (direction, nic) in self.directions.iter_mut().zip(&mut self.nics) {
            if let Some(nic) = nic {
                direction.abandon(nic);
            }
        }
        self.publish_counts();
        Ok(())
    }

    /// One look at everything: control, lost memory, a burst in each direction.
    fn turn(&mut self) -> [Turn; 2] {
        for end in 0..2 {
            if self.ends[end].is_stale() {
                self.take_over(end);
            }
        }
        let turns = [self.run_direction(0), self.run_direction(1)];
        let faults = sigbus::faults();
        if faults != self.faults {
            self.faults = faults;
            (0..2).for_each(|end| self.check_memory(end));
        }
        turns
    }

    /// A burst from end `from` to the other.
    fn run_direction(&mut self, from: usize) -> Turn {
        let [a, b] = &mut self.ends;
        let (sender, receiver) = if from == 0 { (a, b) } else { (b, a) };
        let ([_, tx], [rx, _]) = (&mut sender.rings, &mut receiver.rings);
        let (sent_by, sent_to) = ((&sender.pair, sender.generation), (&receiver.pair, receiver.generation));
        let is_stale = || [sent_by, sent_to].iter().any(|(pair, seen)| pair.handover.generation() != *seen);
        let rx = rx.as_mut().filter(|rx| rx.enabled);
        let (direction, signaller) = (&mut self.directions[from], &mut self.signaller);
        let turn = match (&mut self.nics[from], tx) {
            (None, Some(tx)) => direction.run_burst(tx, rx, is_stale, signaller),
            (Some(nic), Some(tx)) => direction.run_inspected(nic, tx, rx, is_stale, signaller),
            // The sender has gone: what its NIC took before still goes its way.
            (Some(nic), None) if nic.has_frames() => direction.deliver(nic, rx, is_stale, signaller),
            (_, None) => Turn::Idle,
        };
        if let Turn::Broken(fault) = turn {
            self.break_ring(from, TX, &fault);
            return Turn::Idle;
        }
        if turn == Turn::Moved
            && let Some(rx) = &receiver.rings[RX]
            && let Some(fault) = rx.ring.fault()
        {
            self.break_ring(1 - from, RX, &fault);
        }
        turn
    }

    /// Takes over what control has set up, and tells it so.
    ///
    /// 1. Take the newest state.
    /// 2. Start, keep, move or stop each ring accordingly; a stopped ring leaves its index for GET_VRING_BASE.
    /// 3. Acknowledge: no view of an older state is left.
    fn take_over(&mut self, index: usize) {
        let end = &mut self.ends[index];
        let (generation, state) = end.pair.handover.take();
        if !same(end.state.memory.as_ref(), state.memory.as_ref()) {
            end.memory_lost = false;
        }
        end.state = Arc::clone(&state);
        end.generation = generation;
        for ring in [RX, TX] {
            let old = end.rings[ring].take();
            if let Some(old) = &old {
                end.pair.leave(ring, old.ring.next());
            }
            end.rings[ring] = end.view(ring, old, &mut self.signaller);
        }
        if let [Some(rx), Some(tx)] = &end.rings
            && rx.ring.layout().overlaps(tx.ring.layout())
        {
            end.report_fault(TX, &"it overlaps the RX ring", &mut self.signaller);
            end.rings[TX] = None;
        }
        for (ring, view) in end.rings.iter_mut().enumerate() {
            match self.wait {
                Wait::Event => {
                    let kick = view.as_ref().and_then(|_| state.rings[ring].kick.clone());
                    let kicked = self.wakeups.watch(2 * index + ring, kick);
                    if let Some(view) = view {
                        view.kicked = kicked;
                    }
                }
                Wait::Poll => view.iter_mut().for_each(|view| view.ring.disarm()),
            }
        }
        end.pair.handover.acknowledge(generation);
    }

    /// Stops everything on an end whose memory has gone.
    fn check_memory(&mut self, index: usize) {
        let end = &mut self.ends[index];
        if end.memory_lost || !end.state.memory.as_ref().is_some_and(|memory| memory.is_broken()) {
            return;
        }
        end.memory_lost = true;
        end.port.counts.memory_faults.fetch_add(1, Ordering::Relaxed);
        tracing::error!(port = %end.port.name, "guest memory was taken away: port broken until its frontend gives new memory");
        self.stop_rings(index);
    }

    fn stop_rings(&mut self, index: usize) {
        for ring in [RX, TX] {
            self.stop_ring(index, ring);
        }
    }

    /// Lets go of a ring.
    fn stop_ring(&mut self, index: usize, ring: usize) {
        let end = &mut self.ends[index];
        if let Some(view) = end.rings[ring].take() {
            end.pair.leave(ring, view.ring.next());
            self.wakeups.watch(2 * index + ring, None);
        }
    }

    /// A ring broke a rule: it stands still until its driver sets it up again.
    fn break_ring(&mut self, index: usize, ring: usize, fault: &dyn std::fmt::Display) {
        let end = &mut self.ends[index];
        end.report_fault(ring, fault, &mut self.signaller);
        end.broken_starts[ring] = end.state.rings[ring].starts;
        self.stop_ring(index, ring);
    }

    fn publish_counts(&mut self) {
        self.unpublished = 0;
        for (from, direction) in self.directions.iter_mut().enumerate() {
            direction.counts.tx_kicks = self.wakeups.kicks(2 * from + TX);
            direction.counts.rx_kicks = self.wakeups.kicks(2 * (1 - from) + RX);
            self.shared.counts[from].publish(&direction.counts);
            if let Some(nic) = &mut self.nics[from] {
                nic.publish_counts();
            }
        }
    }

    /// Sleeps until there is work: asks for kicks, looks once more, and waits.
    ///
    /// Of a direction that waits for RX buffers only the RX ring is asked for a kick: its TX ring is known to
    /// have work.
    fn sleep(&mut self, turns: [Turn; 2]) -> Result<(), event_manager::Error> {
        let mut until: Option<Instant> = None;
        let mut more = false;
        for (from, turn) in turns.into_iter().enumerate() {
            if let Turn::Waiting(deadline) = turn {
                until = Some(until.map_or(deadline, |until| until.min(deadline)));
                if let Some(rx) = &mut self.ends[1 - from].rings[RX] {
                    let seen = rx.ring.seen();
                    more |= rx.ring.arm(seen);
                }
            } else if let Some(tx) = &mut self.ends[from].rings[TX] {
                more |= tx.ring.arm(0);
            }
        }
        if more {
            return Ok(());
        }
        self.publish_counts();
        let views = || self.ends.iter().flat_map(|end| end.rings.iter().flatten());
        if views().any(|view| !view.kicked) {
            let soon = Instant::now() + UNKICKED_EVERY;
            until = Some(until.map_or(soon, |until| until.min(soon)));
        }
        self.wakeups.wait(until)?;
        for view in self.ends.iter_mut().flat_map(|end| end.rings.iter_mut().flatten()) {
            view.ring.disarm();
        }
        Ok(())
    }
}

impl End {
    /// Whether control has something newer.
    fn is_stale(&self) -> bool {
        self.pair.handover.generation() != self.generation
    }

    /// The view of a ring under the state taken over: the old one where it only got other notifications, `None`
    /// where it does not run.
    fn view(&mut self, ring: usize, old: Option<RingView>, signaller: &mut Signaller) -> Option<RingView> {
        let state = Arc::clone(&self.state);
        let RingState { starts, enabled, ref call, .. } = state.rings[ring];
        let config =
            state.ring_config(ring).filter(|_| !self.memory_lost && self.broken_starts[ring] != starts)?;
        let memory = state.memory.as_ref()?;
        let old = old.filter(|old| old.start == starts);
        let renotified = old.as_ref().is_none_or(|old| !same(old.call.as_ref(), call.as_ref()));
        let (rejected, ring) = match old {
            Some(old) if old.runs_on(memory, &config) => (old.rejected, old.ring),
            old => match RingLayout::new(memory, &config) {
                Ok(layout) => match old {
                    Some(old) => (0, DeviceRing::resume(layout, old.ring.next())),
                    None => (0, DeviceRing::start(layout)),
                },
                Err(fault) => {
                    self.report_fault(ring, &fault, signaller);
                    return None;
                }
            },
        };
        let call = call.clone();
        let view = RingView {
            ring,
            enabled,
            features: state.features,
            kicked: false,
            call,
            start: starts,
            rejected,
        };
        if renotified {
            // Whoever served the ring before may have died between publishing and calling.
            view.call(signaller);
        }
        Some(view)
    }

    /// Counts a ring's fault, logs it, and tells the frontend (SET_VRING_ERR): once for each start of the ring,
    /// however often control looks at it.
    fn report_fault(&mut self, ring: usize, fault: &dyn std::fmt::Display, signaller: &mut Signaller) {
        let starts = self.state.rings[ring].starts;
        if std::mem::replace(&mut self.reported_starts[ring], starts) == starts {
            return;
        }
        self.port.counts.ring_faults.fetch_add(1, Ordering::Relaxed);
        let name = if ring == RX { "RX" } else { "TX" };
        tracing::warn!(port = %self.port.name, "{name} ring stopped: {fault}");
        if let Some(err) = &self.state.rings[ring].err {
            // An error descriptor that is none is the frontend's own loss.
            let _ = signaller.signal(err);
        }
    }
}

fn same<T>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    a.map(Arc::as_ptr) == b.map(Arc::as_ptr)
}
