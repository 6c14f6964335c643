//! The messages of a session, in the order of a real frontend.

use std::os::fd::{AsFd, BorrowedFd};

use espwire_virtnet::Features;
use espwire_vring::RingConfig;

use crate::notification::RingFds;
use crate::{Connection, Error, GuestMemory, NO_FD, Order, ProtocolFeatures, Request, body};

/// virtio 1.x §2.1: ACKNOWLEDGE, DRIVER.
const STATUS_DRIVER: u64 = 1 | 2;
/// virtio 1.x §2.1: DRIVER_OK.
const STATUS_DRIVER_OK: u64 = 4;
/// virtio 1.x §2.1: FEATURES_OK.
const STATUS_FEATURES_OK: u64 = 8;
/// Octets of configuration space that are asked for: mac, status, max_virtqueue_pairs, mtu.
const CONFIG_LEN: u32 = 12;

/// What a session agreed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Negotiated {
    /// The virtio features that the backend offers.
    pub offered: Features,
    /// Those that SET_FEATURES carries: offered and wanted.
    pub features: Features,
    /// The protocol features that the backend offers.
    pub protocol_offered: ProtocolFeatures,
    /// Those acknowledged.
    pub protocol: ProtocolFeatures,
    /// The answer to GET_QUEUE_NUM, where it was asked: queue pairs or virtqueues, backends differ.
    pub queue_num: Option<u64>,
    /// The answer to GET_MAX_MEM_SLOTS, where it was asked.
    pub memory_slots: Option<u64>,
    /// The configuration space, where it was asked for (cloud-hypervisor's order).
    pub config: Option<Vec<u8>>,
}

/// What a frontend wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) order: Order,
    pub(crate) features: Features,
    pub(crate) protocol: ProtocolFeatures,
    /// NET_SET_MTU, if the backend acknowledged MTU (QEMU's `host_mtu`).
    pub(crate) mtu: Option<u16>,
    /// Ask for an acknowledgement of everything, whatever the order's habit.
    pub(crate) reply_to_all: bool,
}

/// A ring to be started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingStart<'a> {
    pub(crate) config: RingConfig,
    /// Index in the available ring from which the backend is to go on.
    pub(crate) base: u16,
    pub(crate) fds: &'a RingFds,
}

/// A connection with what was negotiated on it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: Connection,
    pub(crate) negotiated: Negotiated,
    wish: Wish,
    /// Regions have been added one by one: they stay when rings stop.
    memory_added: bool,
}

impl Session {
    /// Negotiates, as far as a frontend goes before its guest's driver starts.
    pub(crate) fn open(connection: Connection, wish: Wish, rings: &[&RingFds]) -> Result<Self, Error> {
        let mut session = Self { connection, negotiated: Negotiated::default(), wish, memory_added: false };
        match wish.order {
            Order::Qemu => session.open_as_qemu(rings)?,
            Order::CloudHypervisor => session.open_as_cloud_hypervisor()?,
            Order::VirtioUser => {
                // virtio_user_dev.c, virtio_user_dev_init; no further message before the driver starts.
                session.tell(Request::SET_OWNER, &[], &[])?;
                session.ask_features()?;
                session.agree_on_protocol()?;
            }
        }
        Ok(session)
    }

    /// Seen live:
    ///
    /// 1. GET_FEATURES, GET and SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, GET_MAX_MEM_SLOTS, SET_OWNER.
    /// 2. GET_FEATURES again, then CALL and ERR per ring.
    /// 3. SET_VRING_ENABLE for each ring, twice, long before SET_FEATURES.
    /// 4. NET_SET_MTU with `host_mtu`.
    fn open_as_qemu(&mut self, rings: &[&RingFds]) -> Result<(), Error> {
        self.ask_features()?;
        self.agree_on_protocol()?;
        if self.has(ProtocolFeatures::CONFIGURE_MEM_SLOTS) {
            self.negotiated.memory_slots = Some(self.ask_number(Request::GET_MAX_MEM_SLOTS)?);
        }
        self.tell(Request::SET_OWNER, &[], &[])?;
        self.ask_features()?;
        for (index, fds) in (0..).zip(rings) {
            self.set_fd(Request::SET_VRING_CALL, index, Some(fds.masked.as_fd()))?;
            self.set_fd(Request::SET_VRING_ERR, index, Some(fds.err.as_fd()))?;
        }
        for _ in 0..2 {
            self.set_all_enabled(rings.len(), true)?;
        }
        if let Some(mtu) = self.wish.mtu.filter(|_| self.has(ProtocolFeatures::MTU)) {
            self.tell(Request::NET_SET_MTU, &body::number(mtu.into()), &[])?;
        }
        Ok(())
    }

    /// vu_common_ctrl.rs, negotiate_features_vhost_user; net.rs, new. Seen live up to GET_QUEUE_NUM, the
    /// rest from source. The vhost crate reads the configuration with all its protocol features set.
    fn open_as_cloud_hypervisor(&mut self) -> Result<(), Error> {
        self.tell(Request::SET_OWNER, &[], &[])?;
        self.ask_features()?;
        self.agree_on_protocol()?;
        if self.has(ProtocolFeatures::CONFIG) {
            let reply = self.ask(Request::GET_CONFIG, &body::config_space(0, CONFIG_LEN))?;
            self.negotiated.config = reply.body.get(12..).map(<[u8]>::to_vec);
        }
        Ok(())
    }

    fn ask_features(&mut self) -> Result<(), Error> {
        self.negotiated.offered = Features(self.ask_number(Request::GET_FEATURES)?);
        self.negotiated.features = self.wish.features & self.negotiated.offered;
        Ok(())
    }

    fn agree_on_protocol(&mut self) -> Result<(), Error> {
        if !self.negotiated.features.has(Features::PROTOCOL_FEATURES) {
            return Ok(());
        }
        let offered = self.ask_number(Request::GET_PROTOCOL_FEATURES)?;
        self.negotiated.protocol_offered = ProtocolFeatures(offered);
        let protocol = ProtocolFeatures(offered & self.wish.protocol.0);
        self.tell(Request::SET_PROTOCOL_FEATURES, &body::number(protocol.0), &[])?;
        self.negotiated.protocol = protocol;
        if self.wish.order != Order::VirtioUser && self.has(ProtocolFeatures::MQ) {
            self.negotiated.queue_num = Some(self.ask_number(Request::GET_QUEUE_NUM)?);
        }
        Ok(())
    }

    /// Hands over memory and rings, as when the guest's driver sets DRIVER_OK.
    pub(crate) fn start(&mut self, memory: &GuestMemory, rings: &[RingStart<'_>]) -> Result<(), Error> {
        match self.wish.order {
            Order::Qemu => self.start_as_qemu(memory, rings),
            Order::CloudHypervisor => self.start_as_cloud_hypervisor(memory, rings),
            Order::VirtioUser => self.start_as_virtio_user(memory, rings),
        }
    }

    /// Seen live, with the first step from source (vhost_net_start):
    ///
    /// 1. SET_VRING_ENABLE per ring, before all the rest.
    /// 2. SET_FEATURES, GET_STATUS, SET_STATUS (FEATURES_OK).
    /// 3. SET_MEM_TABLE, or ADD_MEM_REG per region.
    /// 4. Per ring NUM, BASE, ADDR, KICK, CALL; the call descriptor comes a second time when the guest has
    ///    unmasked its interrupt.
    /// 5. GET_STATUS, SET_STATUS (DRIVER_OK).
    fn start_as_qemu(&mut self, memory: &GuestMemory, rings: &[RingStart<'_>]) -> Result<(), Error> {
        self.set_all_enabled(rings.len(), true)?;
        self.set_features()?;
        self.add_status(STATUS_FEATURES_OK)?;
        self.set_memory(memory)?;
        for (index, ring) in (0..).zip(rings) {
            self.set_num(index, ring)?;
            self.set_base(index, ring)?;
            self.set_addr(index, ring, memory)?;
            self.set_fd(Request::SET_VRING_KICK, index, Some(ring.fds.kick.as_fd()))?;
            self.set_fd(Request::SET_VRING_CALL, index, Some(ring.fds.masked.as_fd()))?;
        }
        self.add_status(STATUS_DRIVER | STATUS_DRIVER_OK)?;
        for (index, ring) in (0..).zip(rings) {
            self.set_fd(Request::SET_VRING_CALL, index, Some(ring.fds.call.as_fd()))?;
        }
        Ok(())
    }

    /// vu_common_ctrl.rs, setup_vhost_user: from source.
    fn start_as_cloud_hypervisor(
        &mut self,
        memory: &GuestMemory,
        rings: &[RingStart<'_>],
    ) -> Result<(), Error> {
        self.set_features()?;
        self.set_memory_table(memory)?;
        for (index, ring) in (0..).zip(rings) {
            self.set_num(index, ring)?;
        }
        for (index, ring) in (0..).zip(rings) {
            self.set_addr(index, ring, memory)?;
            self.set_base(index, ring)?;
            self.set_fd(Request::SET_VRING_CALL, index, Some(ring.fds.call.as_fd()))?;
            self.set_fd(Request::SET_VRING_KICK, index, Some(ring.fds.kick.as_fd()))?;
        }
        self.set_all_enabled(rings.len(), true)
    }

    /// virtio_user_dev.c, virtio_user_dev_set_features and virtio_user_start_device: from source. RX rings
    /// first, then TX rings.
    fn start_as_virtio_user(&mut self, memory: &GuestMemory, rings: &[RingStart<'_>]) -> Result<(), Error> {
        let rx_first = || (0..).zip(rings).step_by(2).chain((0..).zip(rings).skip(1).step_by(2));
        for (index, ring) in rx_first() {
            self.set_fd(Request::SET_VRING_CALL, index, Some(ring.fds.call.as_fd()))?;
        }
        self.set_features()?;
        self.set_status(STATUS_DRIVER | STATUS_FEATURES_OK)?;
        self.set_memory_table(memory)?;
        for (index, ring) in rx_first() {
            self.set_num(index, ring)?;
            self.set_base(index, ring)?;
            self.set_addr(index, ring, memory)?;
            self.set_fd(Request::SET_VRING_KICK, index, Some(ring.fds.kick.as_fd()))?;
        }
        self.set_all_enabled(rings.len(), true)?;
        self.set_status(STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK)
    }

    /// Stops all rings; returns each one's base, as the backend tells it.
    pub(crate) fn stop(&mut self, rings: usize) -> Result<Vec<u32>, Error> {
        if self.wish.order != Order::Qemu {
            // cloud-hypervisor reset_vhost_user, DPDK virtio_user_stop_device: from source.
            self.set_all_enabled(rings, false)?;
        }
        let mut bases = Vec::with_capacity(rings);
        for index in 0..rings as u32 {
            let reply = self.ask(Request::GET_VRING_BASE, &body::vring_state(index, 0))?;
            let state = reply.u64()?;
            bases.push((state >> 32) as u32);
        }
        if self.wish.order == Order::Qemu {
            // Messages seen live; that they enable the rings of the first pair is from source
            // (virtio_net_set_queue_pairs): the next driver finds one pair on.
            self.set_all_enabled(rings, true)?;
        }
        Ok(bases)
    }

    /// The features that SET_FEATURES will carry from now on: what of `features` the backend offers.
    pub(crate) fn choose_features(&mut self, features: Features) {
        self.wish.features = features;
        self.negotiated.features = features & self.negotiated.offered;
    }

    /// Switches one ring on or off, where there is a message for it.
    pub(crate) fn set_enabled(&mut self, index: u32, enabled: bool) -> Result<(), Error> {
        if !self.negotiated.features.has(Features::PROTOCOL_FEATURES) {
            return Ok(());
        }
        self.tell(Request::SET_VRING_ENABLE, &body::vring_state(index, enabled.into()), &[])
    }

    fn set_all_enabled(&mut self, rings: usize, enabled: bool) -> Result<(), Error> {
        (0..rings as u32).try_for_each(|index| self.set_enabled(index, enabled))
    }

    /// Hands over a ring's kick, call or error descriptor, or takes it back.
    pub(crate) fn set_fd(
        &mut self,
        request: Request,
        index: u32,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), Error> {
        let number = u64::from(index) | if fd.is_none() { NO_FD } else { 0 };
        self.tell(request, &body::number(number), fd.as_slice())
    }

    /// SET_FEATURES with what was negotiated.
    pub(crate) fn set_features(&mut self) -> Result<(), Error> {
        self.tell(Request::SET_FEATURES, &body::number(self.negotiated.features.0), &[])
    }

    /// Memory, the way that was negotiated; regions that were added are there already.
    fn set_memory(&mut self, memory: &GuestMemory) -> Result<(), Error> {
        if !self.has(ProtocolFeatures::CONFIGURE_MEM_SLOTS) {
            return self.set_memory_table(memory);
        }
        if !self.memory_added {
            for region in memory.regions() {
                self.tell(Request::ADD_MEM_REG, &body::single_region(region), &[memory.as_fd()])?;
            }
            self.memory_added = true;
        }
        Ok(())
    }

    /// SET_MEM_TABLE with all regions.
    pub(crate) fn set_memory_table(&mut self, memory: &GuestMemory) -> Result<(), Error> {
        let fds: Vec<_> = memory.regions().iter().map(|_| memory.as_fd()).collect();
        self.tell(Request::SET_MEM_TABLE, &body::memory_table(memory.regions()), &fds)
    }

    fn set_num(&mut self, index: u32, ring: &RingStart<'_>) -> Result<(), Error> {
        self.tell(Request::SET_VRING_NUM, &body::vring_state(index, ring.config.size.into()), &[])
    }

    fn set_base(&mut self, index: u32, ring: &RingStart<'_>) -> Result<(), Error> {
        self.tell(Request::SET_VRING_BASE, &body::vring_state(index, ring.base.into()), &[])
    }

    fn set_addr(&mut self, index: u32, ring: &RingStart<'_>, memory: &GuestMemory) -> Result<(), Error> {
        self.tell(Request::SET_VRING_ADDR, &body::ring_place(index, &ring.config, memory), &[])
    }

    /// QEMU's vhost_user_add_status: reads, then writes with the new bits.
    fn add_status(&mut self, bits: u64) -> Result<(), Error> {
        if self.has(ProtocolFeatures::STATUS) {
            let status = self.ask_number(Request::GET_STATUS)?;
            self.set_status(status | bits)?;
        }
        Ok(())
    }

    fn set_status(&mut self, status: u64) -> Result<(), Error> {
        if self.has(ProtocolFeatures::STATUS) {
            self.tell(Request::SET_STATUS, &body::number(status), &[])?;
        }
        Ok(())
    }

    fn has(&self, feature: ProtocolFeatures) -> bool {
        self.negotiated.protocol.has(feature)
    }

    fn need_reply(&self, request: Request) -> bool {
        self.has(ProtocolFeatures::REPLY_ACK)
            && (self.wish.reply_to_all || self.wish.order.wants_reply(request))
    }

    /// Sends a request without an answer of its own.
    pub(crate) fn tell(
        &mut self,
        request: Request,
        octets: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), Error> {
        self.connection.tell(request, self.need_reply(request), octets, fds)
    }

    fn ask(&mut self, request: Request, octets: &[u8]) -> Result<crate::Reply, Error> {
        // A request with an answer needs no acknowledgement; only the crate that cloud-hypervisor uses sets
        // the flag there too.
        let need_reply = self.wish.order == Order::CloudHypervisor && self.need_reply(request);
        self.connection.ask(request, need_reply, octets)
    }

    fn ask_number(&mut self, request: Request) -> Result<u64, Error> {
        self.ask(request, &[])?.u64()
    }
}
