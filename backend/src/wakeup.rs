//! What wakes a sleeping path: the kicks of its rings, and control.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use event_manager::{EventManager, EventOps, Events, MutEventSubscriber, SubscriberId, SubscriberOps};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::eventfd::EventFd;

/// Rings of a path: RX and TX of two ports.
const RINGS: usize = 4;
/// The event data of control's wake-up; rings have their index.
const CONTROL: u32 = RINGS as u32;

/// Counts kicks; that one came is all a path needs to know, since it looks at every ring when it wakes.
struct Kicks {
    control: Arc<EventFd>,
    counts: [u64; RINGS],
}

/// Descriptors are watched edge-triggered and never read: that a kick came is all there is to know, and whoever
/// shares the eventfd could make a read block.
fn edges(fd: &impl std::os::fd::AsRawFd, data: u32) -> Events {
    Events::with_data(fd, data, EventSet::IN | EventSet::EDGE_TRIGGERED)
}

impl MutEventSubscriber for Kicks {
    fn process(&mut self, events: Events, _ops: &mut EventOps<'_>) {
        if let Some(count) = self.counts.get_mut(events.data() as usize) {
            *count += 1;
        }
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        if let Err(error) = ops.add(edges(&*self.control, CONTROL)) {
            tracing::error!(%error, "a path can't be woken by control");
        }
    }
}

/// The event loop of one path.
pub(crate) struct Wakeups {
    manager: EventManager<Kicks>,
    id: SubscriberId,
    watched: [Option<Arc<OwnedFd>>; RINGS],
}

impl Wakeups {
    pub(crate) fn new(control: Arc<EventFd>) -> Result<Self, event_manager::Error> {
        let mut manager = EventManager::new_with_capacity(RINGS + 1)?;
        let id = manager.add_subscriber(Kicks { control, counts: [0; RINGS] });
        Ok(Self { manager, id, watched: Default::default() })
    }

    /// Watches `kick` as the kick of ring `ring`, in place of the one before. Returns whether kicks will be
    /// seen: if not, the ring must be polled.
    pub(crate) fn watch(&mut self, ring: usize, kick: Option<Arc<OwnedFd>>) -> bool {
        if self.watched[ring].as_ref().map(Arc::as_ptr) != kick.as_ref().map(Arc::as_ptr) {
            let Ok(mut ops) = self.manager.event_ops(self.id) else { return false };
            if let Some(old) = self.watched[ring].take()
                && let Err(error) = ops.remove(edges(&*old, ring as u32))
            {
                tracing::error!(%error, "a kick descriptor can't be let go of");
            }
            self.watched[ring] = kick.filter(|kick| ops.add(edges(&**kick, ring as u32)).is_ok());
        }
        self.watched[ring].is_some()
    }

    /// How often ring `ring` was kicked while the path slept or served.
    pub(crate) fn kicks(&mut self, ring: usize) -> u64 {
        self.manager.subscriber_mut(self.id).map_or(0, |kicks| kicks.counts[ring])
    }

    /// Sleeps until a kick, a word of control, or `until`.
    pub(crate) fn wait(&mut self, until: Option<Instant>) -> Result<(), event_manager::Error> {
        let milliseconds = match until {
            None => -1,
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                // Rounded up: waking early would only mean to wait again.
                i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
            }
        };
        self.manager.run_with_timeout(milliseconds).map(|_| ())
    }
}
