//! A ring as vhost-user-backend's request handler sees it: every control call ends in the port's state.
//!
//! The crate's own queue and workers are not used (docs/adr/0001): it is given no worker thread, and this
//! type is the only thing that its handler talks to about rings.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard};

use espwire_vring::is_eventfd;
use rustix::fs::OFlags;
use vhost_user_backend::{VringMutex, VringState, VringStateGuard, VringStateMutGuard, VringT};
use virtio_queue::Error as QueueError;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

use crate::port::{Pair, Port, RingState};

type Memory = GuestMemoryAtomic<GuestMemoryMmap>;

thread_local! {
    /// The rings still to be made for the daemon that this thread is making.
    static TO_MAKE: RefCell<Vec<(Arc<Pair>, usize)>> = const { RefCell::new(Vec::new()) };
}

/// Runs `make`, which makes a daemon: the rings it asks for are `port`'s, in their order.
///
/// `VringT::new` is told neither port nor index; the crate calls it on the calling thread, once per ring in
/// the order of their indices.
pub(crate) fn with_rings_of<R>(port: &Port, make: impl FnOnce() -> R) -> R {
    let rings = port.pairs.iter().flat_map(|pair| [0, 1].map(|ring| (Arc::clone(pair), ring)));
    TO_MAKE.with_borrow_mut(|to_make| *to_make = rings.rev().collect());
    let made = make();
    TO_MAKE.with_borrow_mut(Vec::clear);
    made
}

/// One ring of one session.
#[derive(Clone)]
pub(crate) struct ControlRing {
    pair: Arc<Pair>,
    /// [`RX`](crate::port::RX) or [`TX`](crate::port::TX).
    ring: usize,
    /// GET_VRING_BASE is being answered: the `set_kick(None)` that follows in it is no SET_VRING_KICK.
    stopping: Arc<AtomicBool>,
    /// What the trait wants to see; stays as it was made.
    unused: VringMutex<Memory>,
}

impl ControlRing {
    fn update(&self, change: impl FnOnce(&mut RingState)) {
        self.pair.update(|state| change(&mut state.rings[self.ring]));
    }

    /// Changes the ring and waits until the path has let go of the old state. That it did not in time is
    /// logged here and becomes an error where the trait has room for one (`stop_vring`).
    fn update_and_wait(&self, change: impl FnOnce(&mut RingState)) {
        if let Err(error) = self.pair.update_and_wait(|state| change(&mut state.rings[self.ring])) {
            tracing::error!(%error, "ring not paused");
        }
    }
}

/// Takes a descriptor for notifications over: an eventfd, since anything else could make whoever polls, writes
/// or closes it wait for the one behind it (a FUSE file, a socket that lingers).
fn event(file: Option<File>) -> Option<Arc<OwnedFd>> {
    let fd = OwnedFd::from(file?);
    if !is_eventfd(fd.as_fd()) {
        tracing::warn!("a notification descriptor that is no eventfd was refused");
        return None;
    }
    // For `Signaller`'s fallback, which writes.
    let set =
        rustix::fs::fcntl_getfl(&fd).and_then(|flags| rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK));
    set.ok().map(|()| Arc::new(fd))
}

impl<'a> VringStateGuard<'a, Memory> for ControlRing {
    type G = MutexGuard<'a, VringState<Memory>>;
}

impl<'a> VringStateMutGuard<'a, Memory> for ControlRing {
    type G = MutexGuard<'a, VringState<Memory>>;
}

impl VringT<Memory> for ControlRing {
    fn new(mem: Memory, max_queue_size: u16) -> Result<Self, QueueError> {
        let next = TO_MAKE.with_borrow_mut(Vec::pop);
        let (pair, ring) = next.ok_or(QueueError::InvalidMaxSize)?;
        let unused = VringMutex::new(mem, max_queue_size)?;
        Ok(Self { pair, ring, stopping: Arc::default(), unused })
    }

    fn get_ref(&self) -> MutexGuard<'_, VringState<Memory>> {
        self.unused.get_ref()
    }

    fn get_mut(&self) -> MutexGuard<'_, VringState<Memory>> {
        self.unused.get_mut()
    }

    // The data path is the path's: nobody calls these five.

    fn add_used(&self, _desc_index: u16, _len: u32) -> Result<(), QueueError> {
        Err(QueueError::QueueNotReady)
    }

    fn signal_used_queue(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn enable_notification(&self) -> Result<bool, QueueError> {
        Err(QueueError::QueueNotReady)
    }

    fn disable_notification(&self) -> Result<(), QueueError> {
        Err(QueueError::QueueNotReady)
    }

    fn needs_notification(&self) -> Result<bool, QueueError> {
        Err(QueueError::QueueNotReady)
    }

    fn read_kick(&self) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn set_enabled(&self, enabled: bool) {
        if enabled {
            self.update(|ring| ring.enabled = true);
        } else {
            self.update_and_wait(|ring| ring.enabled = false);
        }
    }

    fn set_queue_info(&self, descriptors: u64, available: u64, used: u64) -> Result<(), QueueError> {
        self.update(|ring| ring.addresses = Some([descriptors, available, used]));
        Ok(())
    }

    fn queue_next_avail(&self) -> u16 {
        self.pair.next(self.ring)
    }

    /// SET_VRING_BASE: only what GET_VRING_BASE answers for a ring that never runs. A ring starts where its used
    /// index stands, which is the same after an orderly stop and right after a crash as well.
    fn set_queue_next_avail(&self, base: u16) {
        self.pair.leave(self.ring, base);
    }

    fn set_queue_next_used(&self, _idx: u16) {}

    /// Asked by SET_VRING_ADDR only to be given to `set_queue_next_used`: guest memory need not be read.
    fn queue_used_idx(&self) -> Result<u16, QueueError> {
        Ok(0)
    }

    fn set_queue_size(&self, num: u16) {
        self.update(|ring| ring.size = num);
    }

    /// Comes with all features through `VhostUserBackend::acked_features`.
    fn set_queue_event_idx(&self, _enabled: bool) {}

    /// The handler's `ready` follows its own queue, which we don't use. False comes with GET_VRING_BASE alone,
    /// right before `stop_vring`, which stops the ring: it can return an error.
    fn set_queue_ready(&self, ready: bool) {
        if !ready {
            self.stopping.store(true, Ordering::Relaxed);
        }
    }

    fn set_kick(&self, file: Option<File>) {
        if file.is_none() && self.stopping.swap(false, Ordering::Relaxed) {
            return self.update(|ring| ring.kick = None);
        }
        let kick = event(file);
        self.update(|ring| {
            ring.kick = kick;
            if !ring.running {
                ring.running = true;
                ring.starts += 1;
            }
        });
    }

    fn set_call(&self, file: Option<File>) {
        let call = event(file);
        self.update(|ring| ring.call = call);
    }

    fn set_err(&self, file: Option<File>) {
        let err = event(file);
        self.update(|ring| ring.err = err);
    }
}
