//! The Encapsulating Security Payload (RFC 4303) on one slice of octets, from the SPI to the ICV.
//!
//! ```text
//!   0      4      8           8+IV                                    -ICV
//!   ┌──────┬──────┬───────────┬─────────────────────────────────────────┬─────┐
//!   │ SPI  │ seq. │ IV        │ payload      │ padding │ pad len │ next │ ICV │
//!   └──────┴──────┴───────────┴─────────────────────────────────────────┴─────┘
//!   Header        of the suite  Trailer::read: what the ciphertext ends with
//! ```
//!
//! A packet goes through three steps, so that a burst over many SAs is one call in the middle:
//!
//! 1. *prepare* ([`InboundSa::prepare`]): lengths, the 64-bit sequence number, the replay check;
//! 2. *transform* ([`open_burst`]): each [`Job`] carries its own SA's key;
//! 3. *finish* ([`InboundSa::finish`]): the sequence number is accepted, the trailer read and checked.
//!
//! ```
//! use espwire_esp::{AesKeyLen, IcvLen, InboundSa, SaKey, Status, Suite, danger, open_burst};
//!
//! let key = SaKey::new(Suite::AesGcm(AesKeyLen::Aes128, IcvLen::Icv16), &[7; 20], &[]).unwrap();
//! let mut sa = InboundSa::new(key, false, 64);
//! // SPI 1, sequence number 5, an IV, 4 octets of payload, padding 1 2, pad length 2, next header 59, an ICV.
//! let mut packet = [0; 8 + 8 + 8 + 16];
//! packet[3] = 1;
//! packet[7] = 5;
//! packet[20..24].copy_from_slice(&[1, 2, 2, 59]);
//! let prepared = sa.prepare(&packet).unwrap();
//! danger::seal_burst(&mut [sa.job(&prepared, &mut packet)]);
//!
//! let mut jobs = [sa.job(&prepared, &mut packet)];
//! open_burst(&mut jobs);
//! assert_eq!(jobs[0].status, Status::Done);
//! let trailer = sa.finish(&prepared, &packet).unwrap();
//! assert_eq!((trailer.pad_len, trailer.next_header), (2, 59));
//! assert_eq!(sa.window().top(), 5);
//! ```
//!
//! # What it does not do
//!
//! IP, UDP encapsulation, policies: that is `espwire-ipsec`. No I/O, clock, randomness. The sending side
//! is not here yet.

#![forbid(unsafe_code)]

pub mod danger;
mod header;
mod inbound;
mod outbound;
mod sequence;
mod trailer;
mod window;

pub use espwire_transform::{
    AesKeyLen, HEADER_LEN, IV_SECRET_LEN, Icv, IcvLen, Integrity, Job, KeyError, SaKey, Status, Suite,
    open_burst,
};
pub use header::Header;
pub use inbound::{InboundSa, Malformed, Prepared};
pub use outbound::{Numbering, OutboundSa, SealBurst, SequenceOverflow, Unprepared, Unsealed};
pub use sequence::infer_high;
pub use trailer::{MIN_TRAILER_LEN, Trailer, TrailerFault};
pub use window::{MAX_WINDOW, Replay, ReplayWindow};
