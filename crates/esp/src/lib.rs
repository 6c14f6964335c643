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
//! A packet goes through three steps on either side, so that a burst over many SAs is one call in the middle:
//!
//! 1. *prepare*. [`OutboundSa::prepare`]: the next sequence number, padding. [`InboundSa::prepare`]: lengths, the
//!    64-bit sequence number, the replay check.
//! 2. *transform*. [`SealBurst`], [`OpenBurst`]: each packet under its own SA's key.
//! 3. *accept*. [`InboundSa::accept`]: of what has verified, and nothing else, the number is marked; the trailer is
//!    read and checked.
//!
//! ```
//! use espwire_esp::{
//!     AesKeyLen, IcvLen, InboundSa, IvSecret, Numbering, OpenBurst, OutboundSa, Replay, SaKey, SealBurst, Suite,
//! };
//!
//! let suite = Suite::AesGcm(AesKeyLen::Aes128, IcvLen::Icv16);
//! let key = || SaKey::new(suite, &[7; 20], &[]).unwrap(); // 16 octets of key, 4 of salt
//!
//! // The secret is to come from a cryptographic generator.
//! let numbering = Numbering { esn: true, may_cycle: false, last: 0 };
//! let mut sender = OutboundSa::new(key(), 0x1001, numbering, IvSecret::from([9; 32]));
//! let payload = b"an IP packet";
//! let mut packet = vec![0; sender.packet_len(payload.len())];
//! packet[sender.payload_at()..][..payload.len()].copy_from_slice(payload);
//! let unsealed = sender.prepare(&mut packet, payload.len(), 4).unwrap();
//! assert_eq!(unsealed.sequence(), 1);
//! let mut burst = SealBurst::with_capacity(1);
//! burst.push(&sender, unsealed, &mut packet);
//! burst.seal().unwrap();
//!
//! let mut receiver = InboundSa::new(key(), true, 64);
//! let replayed = packet.clone();
//! let prepared = receiver.prepare(&packet).unwrap();
//! assert_eq!(prepared.replay, Replay::Fresh);
//! let mut burst = OpenBurst::with_capacity(1);
//! burst.push(&receiver, prepared, &mut packet);
//! for outcome in burst.open() {
//!     let verified = outcome.unwrap();
//!     let accepted = receiver.accept(verified, &packet).unwrap();
//!     assert_eq!(accepted.replay, Replay::Fresh);
//!     let trailer = accepted.trailer.unwrap();
//!     let plaintext = receiver.plaintext(&packet);
//!     let padding = trailer.padding(plaintext).unwrap();
//!     assert_eq!(plaintext[..padding.start], *payload);
//!     assert_eq!(trailer.next_header, 4);
//! }
//! assert_eq!(receiver.prepare(&replayed).unwrap().replay, Replay::Duplicate);
//! ```
//!
//! # What it does not do
//!
//! IP, UDP encapsulation, policies, lifetimes: that is `espwire-ipsec`. No I/O, clock, randomness: the time
//! ([`InboundSa::failed`]) and secrets ([`OutboundSa::new`]) are handed in. No SA of several senders: nothing brings
//! their numbers together.

#![forbid(unsafe_code)]

pub mod danger;
mod header;
mod inbound;
mod outbound;
mod owner;
mod resync;
mod sequence;
#[cfg(test)]
mod tests;
mod trailer;
mod verified;
mod window;

pub use espwire_transform::{
    AesKeyLen, HEADER_LEN, IV_SECRET_LEN, Icv, IcvLen, Integrity, IvSecret, Job, KeyError, SaKey, Status,
    Suite, open_burst,
};
pub use header::Header;
pub use inbound::{Accepted, InboundSa, Malformed, Prepared, Unaccepted};
pub use outbound::{NotSealed, Numbering, OutboundSa, SealBurst, Unprepared, Unsealed};
pub use resync::Resynchronization;
pub use sequence::infer_high;
pub use trailer::{MIN_TRAILER_LEN, Trailer, TrailerFault};
pub use verified::{OpenBurst, Unverified, Verified};
pub use window::{MAX_WINDOW, Replay, ReplayWindow};
