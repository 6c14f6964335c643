//! What a port answers to vhost-user-backend's request handler: features, configuration space, memory.

use std::io;
use std::sync::Arc;

use espwire_virtnet::Features;
use espwire_vring::RegionTable;
use vhost::vhost_user::message::VhostUserProtocolFeatures;
use vhost_user_backend::VhostUserBackend;
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;

use crate::port::{NotAcknowledged, PairState, Port, RingState};
use crate::ring::ControlRing;

/// The largest ring that virtio allows (virtio 1.x §2.7).
pub(crate) const MAX_RING_SIZE: usize = 32_768;

/// A port as one session's daemon knows it.
pub(crate) struct Device {
    port: Arc<Port>,
}

impl Device {
    pub(crate) fn new(port: Arc<Port>) -> Self {
        Self { port }
    }

    /// Changes every queue pair's state and waits for all paths.
    fn update_and_wait(&self, change: impl Fn(&mut PairState)) -> Result<(), NotAcknowledged> {
        self.port.pairs.iter().try_for_each(|pair| pair.update_and_wait(&change))
    }
}

impl VhostUserBackend for Device {
    type Bitmap = ();
    type Vring = ControlRing;

    fn num_queues(&self) -> usize {
        self.port.rings()
    }

    fn max_queue_size(&self) -> usize {
        MAX_RING_SIZE
    }

    fn features(&self) -> u64 {
        self.port.features().0
    }

    fn acked_features(&self, features: u64) {
        if let Err(error) = self.update_and_wait(|state| state.features = Features(features)) {
            tracing::error!(port = %self.port.name, %error, "features not changed");
        }
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::RESET_DEVICE
    }

    fn reset_device(&self) {
        let stop = |state: &mut PairState| {
            state.features = Features::default();
            state.rings.iter_mut().for_each(|ring: &mut RingState| ring.running = false);
        };
        if let Err(error) = self.update_and_wait(stop) {
            tracing::error!(port = %self.port.name, %error, "device not reset");
        }
    }

    fn set_event_idx(&self, _enabled: bool) {}

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        self.port.config_space.read(offset, size).unwrap_or_default()
    }

    /// MAC, status and MTU are the device's; a driver has nothing to write (virtio 1.x §5.1.4).
    fn set_config(&self, _offset: u32, _octets: &[u8]) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "the configuration space is read-only"))
    }

    fn update_memory(&self, memory: GuestMemoryAtomic<GuestMemoryMmap>) -> io::Result<()> {
        let table = RegionTable::new(memory.memory().into_inner()).map_err(io::Error::other)?;
        if table.is_shrinkable() {
            tracing::info!(port = %self.port.name, "guest memory is not sealed against shrinking (F_SEAL_SHRINK)");
        }
        self.update_and_wait(|state| state.memory = Some(Arc::clone(&table))).map_err(io::Error::other)
    }

    /// No worker thread: kicks go to the paths (docs/adr/0001).
    fn queues_per_thread(&self) -> Vec<u64> {
        Vec::new()
    }

    fn stop_vring(&self, index: u32) -> io::Result<()> {
        let pair = self.port.pairs.get(index as usize / 2).ok_or(io::ErrorKind::InvalidInput)?;
        pair.update_and_wait(|state| state.rings[index as usize % 2].running = false)
            .map_err(io::Error::other)
    }

    fn handle_event(
        &self,
        _device_event: u16,
        _events: EventSet,
        _rings: &[ControlRing],
        _thread: usize,
    ) -> io::Result<()> {
        Ok(())
    }
}
