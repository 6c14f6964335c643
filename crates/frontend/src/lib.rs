//! The other side of a vhost-user-net backend: the VMM that connects to it and the guest's virtio-net driver,
//! in one process, over a memfd.
//!
//! ```text
//!        Nic                                                      backend
//!  ┌─────────────────────────┐   Connection: vhost-user messages  ┌──────────────────┐
//!  │ Order: QEMU's, cloud-   │ ─────────────────────────────────► │ any: espwire,    │
//!  │ hypervisor's, DPDK's    │   descriptors: memory, kick, call  │ DPDK, OVS, passt │
//!  ├─────────────────────────┤                                    │                  │
//!  │ TX ring  send, reap_tx  │   kick ►                    ◄ call │                  │
//!  │ RX ring  receive        │ ══════════ GuestMemory ═══════════ │                  │
//!  └─────────────────────────┘                                    └──────────────────┘
//! ```
//!
//! Messages come in the order of a real frontend, chosen by [`Order`]. Every answer and every frame is checked
//! as a guest's driver would trip over it ([`DeviceFault`]), and nothing waits without a deadline. Bodies of
//! messages ([`body`]), raw octets ([`Connection::send_octets`]), memory that goes away
//! ([`GuestMemory::truncate`]) and the rings themselves ([`Nic::ring`]) are within reach, for tests that
//! misbehave on purpose.
//!
//! # Example
//!
//! Two NICs on a backend that connects them:
//!
//! ```no_run
//! use std::time::Duration;
//! use espwire_frontend::{Nic, Order};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut a = Nic::builder().retry(true).connect("a.sock")?;
//! let mut b = Nic::builder().order(Order::CloudHypervisor).rx_buffer_len(256).connect("b.sock")?;
//! let frame = [0x5a; 1500];
//! a.send(&frame)?;
//! assert_eq!(b.wait_receive(Duration::from_secs(10))?, frame);
//! a.wait_tx_idle(Duration::from_secs(10))?;
//! b.disconnect()?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it does not do
//!
//! - Packed rings; offloads: a header that asks for one can be sent ([`Nic::push_with`]), a received one is a
//!   fault unless its feature was negotiated.
//! - The batched form of IN_ORDER, in which a device writes one used entry for many chains: no backend known
//!   does it.
//! - Dirty logging, messages that the backend starts, the control queue: it belongs to the VMM, and no message
//!   tells of it.
//! - More than one thread per NIC.

#![forbid(unsafe_code)]

pub mod body;
mod builder;
mod error;
mod handshake;
mod memory;
mod message;
mod nic;
mod notification;
mod order;
mod poll;
mod ring;
mod traffic;

pub use builder::NicBuilder;
pub use error::{DeviceFault, Error, SendError};
pub use handshake::Negotiated;
pub use memory::{GuestMemory, MemoryKind, MemoryRegion};
pub use message::{
    Connection, DEFAULT_TIMEOUT, FLAG_NEED_REPLY, FLAG_REPLY, HEADER_LEN, MAX_BODY_LEN, MAX_FDS,
    MessageHeader, NO_FD, Reply, Request, VERSION,
};
pub use nic::{Nic, Side};
pub use order::{Order, ProtocolFeatures};
pub use ring::Placement;
