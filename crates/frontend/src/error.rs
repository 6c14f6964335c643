//! What can go wrong between a frontend and a backend.

use std::io;

use espwire_vring::{RegionError, RingError, UsedFault};

use crate::Request;

/// Why a frontend can't go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("{what} failed")]
    Io {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The backend did not do something before the deadline.
    #[error("deadline passed: {0}")]
    Deadline(&'static str),
    /// The backend closed the connection.
    #[error("the backend closed the connection")]
    Disconnected,
    /// There is no connection, or the rings are in the wrong state for what was asked.
    #[error("{0}")]
    State(&'static str),
    /// A reply answers another request than the one that was sent, or lacks version 1 or the reply flag.
    #[error("reply to {expected} has request {request} and flags {flags:#x}")]
    Reply {
        /// What was asked.
        expected: Request,
        /// What the reply says it answers.
        request: Request,
        /// The reply's flags.
        flags: u32,
    },
    /// A message's body is not as long as its request asks, or longer than this side takes.
    #[error("body of {request} has {len} octets")]
    Body {
        /// Which message.
        request: Request,
        /// Octets in its body.
        len: usize,
    },
    /// The backend acknowledged a request with something else than 0.
    #[error("the backend refused {request} with {code}")]
    Refused {
        /// What was asked.
        request: Request,
        /// The acknowledgement.
        code: u64,
    },
    /// After a reconnect the backend no longer offers features that the driver negotiated.
    #[error("negotiated features {0:#x} are no longer offered")]
    FeaturesGone(u64),
    /// Guest memory could not be made.
    #[error("can't make guest memory")]
    Memory(#[source] vm_memory::mmap::FromRangesError),
    /// The guest memory given is too small for the rings and buffers.
    #[error("guest memory is full: {0} octets wanted")]
    NoRoom(u64),
    /// A region of guest memory can't be used.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// A ring can't be where it was put.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The device broke a rule of virtio.
    #[error(transparent)]
    Device(#[from] DeviceFault),
}

impl Error {
    /// A failed system call, to be used in `map_err`.
    pub(crate) fn io<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { what, source: source.into() }
    }
}

/// A rule that the device broke: what a guest's driver would trip over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceFault {
    /// The used ring itself is wrong.
    #[error(transparent)]
    Used(#[from] UsedFault),
    /// VIRTIO_F_IN_ORDER was negotiated, and chains come back in another order (virtio 1.x §2.7.9).
    #[error("chain {got} came back where {due} was due")]
    Order {
        /// Head of the chain that was made available first.
        due: u16,
        /// Head of the chain that came back.
        got: u16,
    },
    /// More octets used than the chain has, or, in RX, fewer than the header.
    #[error("{used} octets used of a chain of {capacity}")]
    Len {
        /// What the used entry says.
        used: u32,
        /// Octets of the chain's device-writable buffers.
        capacity: u32,
    },
    /// The header asks for checksum work that was not negotiated (virtio 1.x §5.1.6.4.1).
    #[error("header flags {0:#x} without VIRTIO_NET_F_GUEST_CSUM")]
    Flags(u8),
    /// The header marks a frame as one to be segmented, which was not negotiated.
    #[error("gso_type {0} without a VIRTIO_NET_F_GUEST_* feature")]
    Gso(u8),
    /// `num_buffers` is 0, or not 1 without VIRTIO_NET_F_MRG_RXBUF.
    #[error("num_buffers is {0}")]
    NumBuffers(u16),
    /// Not all `num_buffers` chains of a frame became used together (virtio 1.x §5.1.6.4.1).
    #[error("only {there} of the frame's {num_buffers} buffers are used")]
    Partial {
        /// How many chains the header announces.
        num_buffers: u16,
        /// How many were used.
        there: u16,
    },
    /// A buffer of a merged frame that is not the last is not full.
    #[error("{used} of {capacity} octets used in a buffer before the frame's last")]
    Gap {
        /// What the used entry says.
        used: u32,
        /// Octets of the chain.
        capacity: u32,
    },
}

/// Why a frame could not be put into the TX ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// All chains are in flight: the device has not returned any.
    #[error("TX ring is full")]
    Full,
    /// The frame is longer than the buffers that the NIC was built with.
    #[error("frame of {len} octets, buffers for {max}")]
    TooLong {
        /// Octets of the frame.
        len: usize,
        /// Octets that fit.
        max: usize,
    },
    /// The rings are not set up: `start` was not called, or failed.
    #[error("the NIC is stopped")]
    Stopped,
    /// The device broke a rule of the used ring.
    #[error(transparent)]
    Device(#[from] DeviceFault),
}
