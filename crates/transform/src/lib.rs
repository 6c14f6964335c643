//! The cipher suites of ESP over bursts of packets: keys go in, octets change in place.
//!
//! ```text
//!                                 ╭───────── ciphertext: whole blocks ─────────╮
//!  ┌─────┬─────────────────┬─────┬─────────┬─────────┬────────────┬─────────────┬─────┐
//!  │ SPI │ sequence number │  IV │ payload │ padding │ pad length │ next header │ ICV │  octets:
//!  │  4  │        4        │  8  │         │         │     1      │      1      │ 16  │  AES-GCM, AES-CCM: ICV 8, 12 too
//!  │  4  │        4        │  8  │         │         │     1      │      1      │ 16  │  ChaCha20-Poly1305, AES-GMAC
//!  │  4  │        4        │  0  │         │         │     1      │      1      │ 16  │  with an implicit IV
//!  │  4  │        4        │  16 │         │         │     1      │      1      │ 12… │  AES-CBC with an HMAC: ICV 12 to 32
//!  │  4  │        4        │  8  │         │         │     1      │      1      │ 12… │  AES-CTR with an HMAC
//!  │  4  │        4        │  0  │         │         │     1      │      1      │ 12… │  NULL with an HMAC
//!  └─────┴─────────────────┴─────┴─────────┴─────────┴────────────┴─────────────┴─────┘
//! ```
//!
//! AES-GMAC and NULL leave in clear what the figure calls ciphertext.
//! The ICV is over everything before it and, of an SA with ESN, over the high-order 32 bits of the sequence
//! number, which are not transmitted (RFC 4303 §2.2.1).
//!
//! ```
//! use espwire_transform::{AesKeyLen, IcvLen, Job, SaKey, Status, Suite, ciphertext_range, danger, open_burst};
//!
//! # fn main() -> Result<(), espwire_transform::KeyError> {
//! let suite = Suite::AesGcm(AesKeyLen::Aes128, IcvLen::Icv16);
//! let key = SaKey::new(suite, &[7; 20], &[])?; // 16 octets of key, 4 of salt
//!
//! // SPI 0x1001, sequence number 1, an IV; then a payload of one octet, 1 octet of padding, and room for the ICV.
//! let mut packet = [0, 0, 0x10, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1].to_vec();
//! packet.extend([0xab, 1, 1, 4]);
//! packet.extend([0; 16]);
//! let range = ciphertext_range(suite, packet.len()).unwrap();
//! assert_eq!(range, 16..20);
//!
//! danger::seal_burst(&mut [Job::new(&key, None, &mut packet)]);
//! assert_ne!(packet[range.clone()], [0xab, 1, 1, 4]);
//!
//! // A forged packet stays as it is.
//! packet[3] ^= 1;
//! let mut burst = [Job::new(&key, None, &mut packet)];
//! open_burst(&mut burst);
//! assert_eq!(burst[0].status, Status::AuthFailed);
//!
//! packet[3] ^= 1;
//! let mut burst = [Job::new(&key, None, &mut packet)];
//! open_burst(&mut burst);
//! assert_eq!(burst[0].status, Status::Done);
//! assert_eq!(packet[range], [0xab, 1, 1, 4]);
//! # Ok(())
//! # }
//! ```
//!
//! # What it does not do
//!
//! - No I/O, clock, thread, log or randomness.
//! - No SAD, sequence number, anti-replay window, padding or next header: `espwire-esp` owns them. A
//!   [`Job`]'s key is right because its owner looked it up.
//! - No IV is chosen here: see [`danger`].
//! - No encryption without integrity, and nothing that RFC 8221 gives up (DES, 3DES, Blowfish, HMAC-MD5): there is
//!   no [`Suite`] for them. Nor for AES-CMAC and Camellia, which it leaves optional, and AES-XCBC-MAC, for which it has
//!   a SHOULD for small devices and a MAY otherwise.
//! - Packets are processed one after the other: there are no lanes yet. All the AES, GHASH, ChaCha20, Poly1305 and
//!   SHA code is RustCrypto's, which finds AES-NI, PCLMULQDQ, AVX2 and SHA-NI at run time; without AES-NI and
//!   PCLMULQDQ it is slower and still constant in time.

#![forbid(unsafe_code)]

mod aead;
mod aes_cbc;
mod aes_ctr;
mod ccm;
mod chacha20_poly1305;
pub mod danger;
mod gcm;
mod icv;
mod iv;
mod job;
mod key;
mod schedule;
mod separate;
mod suite;
#[cfg(test)]
mod tests;

pub use icv::Icv;
pub use iv::{IV_SECRET_LEN, IvSecret, IvSource};
pub use job::{Job, Status, open_burst};
pub use key::{KeyError, MAX_INTEGRITY_KEY_LEN, SaKey};
pub use suite::{AesKeyLen, HEADER_LEN, IcvLen, Integrity, Suite, ciphertext_range};
