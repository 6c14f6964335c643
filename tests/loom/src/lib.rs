//! Model of the hand-over between control and path: backend/src/handover.rs itself, compiled against loom's
//! atomics and locks, run through every interleaving that loom can tell apart.
//!
//! The rule under test: once control has been told that the path took over a generation, the path uses
//! nothing of an older one. Here "using" a mapping is reading a loom cell, which loom reports if it happens
//! together with control's write: control overwrites the cell after the acknowledgement, as munmap would.

#![forbid(unsafe_code)]
#![cfg(test)]
#![allow(dead_code, reason = "the model needs part of the file only")]

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
    pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
}

#[path = "../../../backend/src/handover.rs"]
mod handover;

use std::time::Duration;

use handover::Handover;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

/// loom's clock does not run out, and neither must this: a wait that never ends is a deadlock loom reports.
const LONG: Duration = Duration::from_secs(3600);

/// What a path runs on: a mapping, or nothing while it is paused.
type State = Option<Arc<Mapping>>;

/// Memory that control takes away: loom's cell notices an access that races with another.
struct Mapping(UnsafeCell<bool>);

impl Mapping {
    fn new() -> Arc<Self> {
        Arc::new(Self(UnsafeCell::new(true)))
    }

    /// The path uses the mapping.
    fn is_mapped(&self) -> bool {
        // Only the read itself is of interest; loom checks that no write is concurrent.
        self.0.with(|_| true)
    }

    /// Control takes it away.
    fn unmap(&self) {
        self.0.with_mut(|_| ());
    }
}

/// A path: `bursts` bursts, looking at the generation before each, and at the end once more as if woken.
fn path(handover: &Handover<State>, bursts: usize, stop: &AtomicBool) {
    let mut seen = 0;
    let (_, mut state) = handover.take();
    let mut look = |state: &mut _| {
        if handover.generation() != seen {
            let (generation, newest) = handover.take();
            *state = newest;
            seen = generation;
            handover.acknowledge(generation);
        }
    };
    for _ in 0..bursts {
        look(&mut state);
        if let Some(mapping) = &*state {
            assert!(mapping.is_mapped());
        }
    }
    while !stop.load(Ordering::Acquire) {
        look(&mut state);
        thread::yield_now();
    }
}

/// GET_VRING_BASE, a new memory table or a hang-up in the middle of traffic.
#[test]
fn after_a_pause_the_path_uses_nothing_of_before() {
    loom::model(|| {
        let mapping = Mapping::new();
        let handover = Arc::new(Handover::new(Some(Arc::clone(&mapping))));
        let stop = Arc::new(AtomicBool::new(false));
        let running = {
            let (handover, stop) = (Arc::clone(&handover), Arc::clone(&stop));
            thread::spawn(move || path(&handover, 2, &stop))
        };
        let (generation, _) = handover.update(|state| *state = None);
        assert!(handover.wait(generation, LONG));
        mapping.unmap();
        stop.store(true, Ordering::Release);
        running.join().unwrap();
    });
}

/// Control changes the state twice before it waits: one look may take over both.
#[test]
fn an_acknowledged_generation_covers_the_ones_before() {
    loom::model(|| {
        let (first, second) = (Mapping::new(), Mapping::new());
        let handover = Arc::new(Handover::new(Some(Arc::clone(&first))));
        let stop = Arc::new(AtomicBool::new(false));
        let running = {
            let (handover, stop) = (Arc::clone(&handover), Arc::clone(&stop));
            thread::spawn(move || path(&handover, 1, &stop))
        };
        // A new call descriptor, say: the mapping stays.
        handover.update(|_| ());
        let (generation, _) = handover.update(|state| *state = Some(Arc::clone(&second)));
        assert!(handover.wait(generation, LONG));
        first.unmap();
        stop.store(true, Ordering::Release);
        running.join().unwrap();
        assert!(second.is_mapped());
    });
}

/// Two sessions' threads at one pair can't lose each other's change (a port's handler and its gate's end).
#[test]
fn concurrent_updates_are_all_taken_over() {
    loom::model(|| {
        let handover = Arc::new(Handover::new(0u64));
        let other = {
            let handover = Arc::clone(&handover);
            thread::spawn(move || handover.update(|bits| *bits |= 1))
        };
        handover.update(|bits| *bits |= 2);
        other.join().unwrap();
        let (generation, bits) = handover.take();
        assert_eq!((generation, *bits), (2, 3));
    });
}

/// A sleeping path: control publishes, then writes its wake-up; the path arms, then looks, then sleeps on it.
#[test]
fn a_path_that_goes_to_sleep_misses_no_generation() {
    loom::model(|| {
        let handover = Arc::new(Handover::new(0u64));
        // The eventfd: set by control, and what the path may sleep on.
        let wake = Arc::new((loom::sync::Mutex::new(false), loom::sync::Condvar::new()));
        let control = {
            let (handover, wake) = (Arc::clone(&handover), Arc::clone(&wake));
            thread::spawn(move || {
                let (generation, _) = handover.update(|value| *value = 1);
                *wake.0.lock().unwrap() = true;
                wake.1.notify_one();
                assert!(handover.wait(generation, LONG));
            })
        };
        let mut value = 0;
        while value == 0 {
            if handover.generation() == 0 {
                let mut woken = wake.0.lock().unwrap();
                while !*woken {
                    woken = wake.1.wait(woken).unwrap();
                }
                *woken = false;
            }
            let (generation, newest) = handover.take();
            value = *newest;
            handover.acknowledge(generation);
        }
        control.join().unwrap();
    });
}
