//! virtio-net without I/O: which features a port offers, the header before each frame, and the
//! configuration space (virtio 1.x §5.1).
//!
//! ```text
//!   virtio_net_hdr, little-endian                                     frame
//!  ┌───────┬──────────┬─────────┬──────────┬────────────┬─────────────┬─────────────┐  ┌──────────┐
//!  │ flags │ gso_type │ hdr_len │ gso_size │ csum_start │ csum_offset │ num_buffers │  │ Ethernet │
//!  │   1   │    1     │    2    │    2     │     2      │      2      │      2      │  │ 14 …     │
//!  └───────┴──────────┴─────────┴──────────┴────────────┴─────────────┴─────────────┘  └──────────┘
//!                                          num_buffers only with VERSION_1 or MRG_RXBUF
//! ```
//!
//! ```
//! use espwire_virtnet::{Features, Header};
//!
//! let negotiated = Features::VERSION_1 | Features::MRG_RXBUF;
//! assert_eq!(negotiated.header_len(), 12);
//! let header = Header::plain(2);
//! assert_eq!(header.to_octets()[10..], [2, 0]);
//! assert_eq!(Header::from_octets(&header.to_octets()).check(), Ok(()));
//! ```
//!
//! # What it does not do
//!
//! No checksum or segmentation offload is offered yet, so [`Header::check`] takes plain frames only. The
//! control queue belongs to the frontend. Rings are `espwire-vring`'s.

#![forbid(unsafe_code)]

mod config;
mod features;
mod header;

pub use config::{ConfigSpace, MAX_MTU, MIN_MTU};
pub use features::Features;
pub use header::{Header, HeaderFault, LEGACY_HEADER_LEN, MAX_HEADER_LEN};

/// Octets of an Ethernet header: the shortest frame that has an address and a type.
pub const ETHERNET_HEADER_LEN: usize = 14;

/// The longest frame a port takes or gives, in octets without FCS: a maximal IP packet, an Ethernet header
/// and one VLAN tag.
pub const MAX_FRAME_LEN: usize = 65_535 + ETHERNET_HEADER_LEN + 4;
