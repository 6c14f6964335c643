//! What a NIC is to be, before it is plugged in.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use espwire_virtnet::{Features, MAX_HEADER_LEN};
use rustix::event::{PollFd, PollFlags};

use crate::handshake::Wish;
use crate::ring::Slots;
use crate::{
    Connection, DEFAULT_TIMEOUT, Error, GuestMemory, MemoryKind, Nic, Order, Placement, ProtocolFeatures,
    poll,
};

/// A NIC to be made: every setting has a default, and nothing happens before [`connect`](Self::connect),
/// [`accept`](Self::accept) or [`from_stream`](Self::from_stream).
#[derive(Debug)]
#[must_use]
pub struct NicBuilder {
    pub(crate) wish: Wish,
    pub(crate) timeout: Duration,
    pub(crate) retry: bool,
    pub(crate) stopped: bool,
    pub(crate) use_indirect: bool,
    pub(crate) lenient: bool,
    pub(crate) queue_pairs: u16,
    ring_size: u16,
    rx_buffers: Option<u16>,
    rx_buffer_len: u32,
    frame_len: u32,
    tx_placement: Placement,
    rx_placement: Placement,
    memory_kind: MemoryKind,
    memory: Option<GuestMemory>,
}

impl Default for NicBuilder {
    fn default() -> Self {
        let order = Order::default();
        let wish = Wish {
            order,
            features: order.features(),
            protocol: order.protocol_features(),
            mtu: None,
            reply_to_all: false,
        };
        Self {
            wish,
            timeout: DEFAULT_TIMEOUT,
            retry: false,
            stopped: false,
            use_indirect: false,
            lenient: false,
            queue_pairs: 1,
            ring_size: 256,
            rx_buffers: None,
            rx_buffer_len: 2048,
            frame_len: 2036,
            tx_placement: Placement::JOINED,
            rx_placement: Placement::JOINED,
            memory_kind: MemoryKind::default(),
            memory: None,
        }
    }
}

impl NicBuilder {
    /// Whose order of messages to follow; sets the features wanted to that frontend's. Default: QEMU's.
    pub fn order(mut self, order: Order) -> Self {
        self.wish.order = order;
        self.wish.features = order.features();
        self.wish.protocol = order.protocol_features();
        self
    }

    /// The virtio features wanted, after [`order`](Self::order): those offered of them are negotiated.
    pub fn features(mut self, features: Features) -> Self {
        self.wish.features = features;
        self
    }

    /// Leaves out some of the features wanted: `.without(Features::EVENT_IDX)`.
    pub fn without(mut self, features: Features) -> Self {
        self.wish.features = Features(self.wish.features.0 & !features.0);
        self
    }

    /// The protocol features wanted, after [`order`](Self::order).
    pub fn protocol_features(mut self, protocol: ProtocolFeatures) -> Self {
        self.wish.protocol = protocol;
        self
    }

    /// QEMU's order: tell the backend this MTU, in octets, if it acknowledged VHOST_USER_PROTOCOL_F_MTU.
    pub fn mtu(mut self, mtu: u16) -> Self {
        self.wish.mtu = Some(mtu);
        self
    }

    /// Ask for an acknowledgement of every message, once REPLY_ACK is negotiated.
    pub fn reply_to_all(mut self, reply_to_all: bool) -> Self {
        self.wish.reply_to_all = reply_to_all;
        self
    }

    /// Descriptors per ring: a power of two, at most 32768. Default 256.
    pub fn ring_size(mut self, size: u16) -> Self {
        self.ring_size = size;
        self
    }

    /// How many RX buffers to make available. Default, and at most: as many as the ring holds.
    pub fn rx_buffers(mut self, count: u16) -> Self {
        self.rx_buffers = Some(count);
        self
    }

    /// Octets of an RX buffer, header included. Default 2048; make it small to have frames merged.
    pub fn rx_buffer_len(mut self, len: u32) -> Self {
        self.rx_buffer_len = len;
        self
    }

    /// Octets of the longest frame to send. Default 2036.
    pub fn frame_len(mut self, len: u32) -> Self {
        self.frame_len = len;
        self
    }

    /// How frames to send lie in descriptors. Default: one.
    pub fn tx_placement(mut self, placement: Placement) -> Self {
        self.tx_placement = placement;
        self
    }

    /// How RX buffers lie in descriptors. Default: one.
    pub fn rx_placement(mut self, placement: Placement) -> Self {
        self.rx_placement = placement;
        self
    }

    /// Put all chains into indirect tables, if VIRTIO_F_INDIRECT_DESC is negotiated. Default: no.
    pub fn use_indirect(mut self, indirect: bool) -> Self {
        self.use_indirect = indirect;
        self
    }

    /// Accept `num_buffers` 0 without VIRTIO_NET_F_MRG_RXBUF, where it must be 1 (virtio 1.x §5.1.6.4.1): drivers
    /// don't look at it then, and DPDK 22.11 leaves it 0. Default: no.
    pub fn lenient(mut self, lenient: bool) -> Self {
        self.lenient = lenient;
        self
    }

    /// Queue pairs. Default 1.
    pub fn queue_pairs(mut self, pairs: u16) -> Self {
        self.queue_pairs = pairs.max(1);
        self
    }

    /// What kind of memory to make.
    pub fn memory_kind(mut self, kind: MemoryKind) -> Self {
        self.memory_kind = kind;
        self
    }

    /// Use this memory, which must have room: rings go into its first region, buffers into its last.
    pub fn memory(mut self, memory: GuestMemory) -> Self {
        self.memory = Some(memory);
        self
    }

    /// How long each answer of the backend, and the connection itself, is waited for. Default 120 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Keep trying to connect while nobody listens.
    pub fn retry(mut self, retry: bool) -> Self {
        self.retry = retry;
        self
    }

    /// Negotiate only: the guest's driver starts with [`Nic::start`].
    pub fn stopped(mut self, stopped: bool) -> Self {
        self.stopped = stopped;
        self
    }

    /// Connects to a backend that listens at `path`, negotiates, and starts the driver.
    ///
    /// # Errors
    ///
    /// Any [`Error`] of connection, negotiation or memory.
    pub fn connect(self, path: impl AsRef<Path>) -> Result<Nic, Error> {
        let connection = Connection::connect(path.as_ref(), self.retry, self.timeout)?;
        Nic::open(self, connection)
    }

    /// Waits for a backend that connects to `listener` (which becomes nonblocking), then as `connect`.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn accept(self, listener: &UnixListener) -> Result<Nic, Error> {
        let connection = accept(listener, self.timeout)?;
        Nic::open(self, connection)
    }

    /// Takes a stream that is connected to a backend, then as `connect`.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn from_stream(self, stream: UnixStream) -> Result<Nic, Error> {
        Nic::open(self, Connection::new(stream)?)
    }

    /// Buffers of the RX and of the TX ring.
    pub(crate) fn slots(&self) -> [Slots; 2] {
        let fitting = |placement: Placement| {
            let per_chain = if self.use_indirect { 1 } else { placement.descriptors() };
            self.ring_size / per_chain
        };
        let slots = |capacity, placement, count| Slots { size: self.ring_size, count, capacity, placement };
        let rx = fitting(self.rx_placement);
        let rx = self.rx_buffers.map_or(rx, |wanted| wanted.min(rx));
        [
            slots(self.rx_buffer_len.max(MAX_HEADER_LEN as u32), self.rx_placement, rx),
            slots(self.frame_len + MAX_HEADER_LEN as u32, self.tx_placement, fitting(self.tx_placement)),
        ]
    }

    /// The memory given, or memory that is large enough.
    pub(crate) fn take_memory(&mut self) -> Result<GuestMemory, Error> {
        if let Some(memory) = self.memory.take() {
            return Ok(memory);
        }
        let [rx, tx] = self.slots().map(|slots| slots.octets());
        let pairs = u64::from(self.queue_pairs);
        GuestMemory::new(pairs * (rx.0 + tx.0), pairs * (rx.1 + tx.1), self.memory_kind)
    }
}

/// Accepts a connection on `listener`, at most `timeout` from now.
pub(crate) fn accept(listener: &UnixListener, timeout: Duration) -> Result<Connection, Error> {
    let deadline = Instant::now() + timeout;
    listener.set_nonblocking(true).map_err(Error::io("making the listener nonblocking"))?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => return Connection::new(stream),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let mut fds = [PollFd::new(listener, PollFlags::IN)];
                if !poll::ready(&mut fds, deadline)? {
                    return Err(Error::Deadline("no backend connects"));
                }
            }
            Err(error) => return Err(Error::io("accept")(error)),
        }
    }
}
