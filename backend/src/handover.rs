//! How control hands a new state to a path, and learns that the path has let go of the old one.
//!
//! ```text
//!   control (a session's thread)                path (the data plane's thread), between two bursts
//!   ────────────────────────────                ──────────────────────────────────────────────────
//!   update: new state, generation + 1  ───────► generation changed? take the new state,
//!   wake the path                               drop what belongs to the old one,
//!   wait (at most a second)            ◄─────── acknowledge the generation
//! ```
//!
//! The path pays one `Acquire` load per burst; it takes the lock only when there is something new, so it
//! never fights control for it. A pause is a generation whose state has nothing to run: once it is
//! acknowledged, the path holds no ring view and no mapping of the older state.
//!
//! Model: tests/loom runs this file under loom.

use std::time::{Duration, Instant};

use crate::sync::{Arc, AtomicU64, Condvar, Mutex, MutexGuard, Ordering};

/// A state of type `T` on its way from control to one path.
#[derive(Debug)]
pub(crate) struct Handover<T> {
    /// Counts the updates. Written under the lock of `current`, read without it.
    generation: AtomicU64,
    current: Mutex<Arc<T>>,
    /// The newest generation that the path has taken over.
    acknowledged: Mutex<u64>,
    changed: Condvar,
}

impl<T: Clone> Handover<T> {
    /// Generation 0 is `first`, which counts as acknowledged.
    pub(crate) fn new(first: T) -> Self {
        Self {
            generation: AtomicU64::new(0),
            current: Mutex::new(Arc::new(first)),
            acknowledged: Mutex::new(0),
            changed: Condvar::new(),
        }
    }

    /// Control: replaces the state by a changed copy. Returns its generation, and the old state: whoever drops
    /// the last reference to that closes and unmaps what it holds, which the path must not be kept waiting for.
    pub(crate) fn update(&self, change: impl FnOnce(&mut T)) -> (u64, Arc<T>) {
        let mut current = lock(&self.current);
        let mut next = T::clone(&current);
        change(&mut next);
        let old = std::mem::replace(&mut *current, Arc::new(next));
        let generation = self.generation.load(Ordering::Relaxed) + 1;
        self.generation.store(generation, Ordering::Release);
        (generation, old)
    }

    /// Control: waits until the path has taken over `generation` or a newer one. False if it has not within
    /// `timeout`.
    pub(crate) fn wait(&self, generation: u64, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut acknowledged = lock(&self.acknowledged);
        while *acknowledged < generation {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            acknowledged = match self.changed.wait_timeout(acknowledged, left) {
                Ok((guard, _)) => guard,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }

    /// Control: the newest generation that the path has taken over.
    pub(crate) fn acknowledged(&self) -> u64 {
        *lock(&self.acknowledged)
    }

    /// Path: the newest generation. Ask between bursts; if it differs from the one served, `take` it.
    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Path: the newest state and its generation.
    pub(crate) fn take(&self) -> (u64, Arc<T>) {
        let current = lock(&self.current);
        (self.generation.load(Ordering::Relaxed), Arc::clone(&current))
    }

    /// Path: all that belonged to generations before `generation` has been dropped.
    pub(crate) fn acknowledge(&self, generation: u64) {
        *lock(&self.acknowledged) = generation;
        self.changed.notify_all();
    }
}

/// A panic elsewhere can't leave these values half-written: each is stored in one assignment.
fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
