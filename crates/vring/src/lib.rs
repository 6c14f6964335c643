//! A split virtqueue over memory that somebody else can write to at every instant.
//!
//! Both ends are here: [`DeviceRing`] is what a vhost-user backend runs, [`DriverRing`] what a guest's
//! driver runs (espwire's tests, benches and `espwire-frontend` play the guest with it). The layout is
//! that of virtio 1.x §2.7:
//!
//! ```text
//!   descriptor table          available ring               used ring
//!   16 octets each            flags idx ring[] used_event  flags idx ring[] avail_event
//!  ┌──────────────────────┐  ┌─────────────────────────┐  ┌──────────────────────────┐
//!  │ addr len flags next ─┼┐ │ driver writes: heads of │  │ device writes: {id, len} │
//!  │ addr len flags next ◄┼┘ │ chains for the device   │  │ of chains it is done with│
//!  └──────────────────────┘  └─────────────────────────┘  └──────────────────────────┘
//!        each addr/len is an allegation: looked up in a `RegionTable`, once, then used
//! ```
//!
//! What the other side can write is read by atomic loads into a local copy; the copy is checked, and the copy is
//! used. A chain that is looked at again is judged anew, by what is read then alone. Guest addresses become host
//! pointers through a [`RegionTable`], a snapshot that keeps the mapping alive as long as any ring uses it. If the
//! memory behind the mapping is taken away (the frontend truncates its file), the fault is contained by
//! [`sigbus`]: zero pages appear in the hole and the table says that it [is broken](RegionTable::is_broken).
//! A driver is called through an eventfd that the frontend shares; a [`Signaller`] does it without ever blocking.
//!
//! # Example
//!
//! A driver sends eight octets, the device takes them and returns the chain:
//!
//! ```
//! use std::sync::Arc;
//! use espwire_vring::{Buffer, DeviceRing, DriverRing, RegionTable, RingConfig, RingLayout};
//! use vm_memory::{GuestAddress, GuestMemoryMmap};
//!
//! let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap();
//! let table = RegionTable::new(Arc::new(memory)).unwrap();
//! let config = RingConfig { size: 256, descriptors: 0, available: 0x1000, used: 0x2000, event_idx: true, indirect: true };
//! let mut driver = DriverRing::new(RingLayout::new(&table, &config).unwrap());
//! let mut device = DeviceRing::start(RingLayout::new(&table, &config).unwrap());
//!
//! table.write(0x4000, b"a packet").unwrap();
//! let head = driver.push(&[Buffer { addr: 0x4000, len: 8, writable: false }]).unwrap();
//! driver.publish();
//!
//! let burst = device.pop_burst(64).unwrap();
//! let mut octets = [0; 8];
//! assert_eq!(burst.chain(0).copy_to(0, &mut octets), 8);
//! assert_eq!(&octets, b"a packet");
//! burst.complete(1);
//! device.publish();
//! assert_eq!(driver.pop_used().unwrap(), Some((head, 0)));
//! ```
//!
//! # What it does not do
//!
//! - Packed rings. Chains that mix device-readable and device-writable descriptors (no network queue has
//!   them): such a chain is a [`ChainFault`].
//! - Out-of-order completion: a device ring returns chains in the order in which it took them, which is
//!   what `VIRTIO_F_IN_ORDER` asks for and lets one cursor serve as available and used index.
//! - Reset of one queue, dirty logging.
//!
//! This crate and `espwire-transform` are the only ones in espwire with `unsafe` code.

mod ahead;
mod burst;
mod cache;
mod chain;
mod device;
mod driver;
mod layout;
mod region;
mod reservation;
pub mod sigbus;
mod signal;
#[cfg(test)]
mod testing;

pub use burst::{Burst, Chain};
pub use chain::{ChainFault, MAX_CHAIN};
pub use device::{DeviceRing, MAX_BURST, ReserveError, RingFault};
pub use driver::{Buffer, DriverRing, UsedFault};
pub use layout::{RingConfig, RingError, RingLayout};
pub use region::{RegionError, RegionTable};
pub use reservation::Reservation;
pub use signal::{Signaller, is_eventfd};
