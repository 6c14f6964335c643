//! Sealing, under an IV that stands in the packet.
//!
//! This is dangerous because nothing here can know whether an IV is fresh. Two packets of one key of a counter mode
//! ([`Suite::is_counter_mode`](crate::Suite::is_counter_mode)) under one IV give away the XOR of their plaintexts,
//! and those of AES-GCM, AES-GMAC and ChaCha20-Poly1305 the key of the authentication: whoever sees both can forge.
//! With an implicit IV it is the sequence number that may not come twice (RFC 8750 §4, §7). And the IV of AES-CBC must
//! be unpredictable to whoever chooses the plaintext. So who calls this answers for the IVs. Within the workspace that
//! is `espwire-ipsec`'s inspection, which seals again what it has opened, under the IV that it came with, only to
//! compare: the outcome is either what was received, or never leaves.

use crate::{Job, Status};

/// Encrypts each job's plaintext, which stands between IV and ICV, in place under the IV in the packet, and
/// writes the ICV.
///
/// For each job that is [`Status::Pending`]:
///
/// 1. Check the length.
/// 2. Encrypt.
/// 3. Compute the ICV over SPI, sequence number, IV, ciphertext and the high half of an ESN, and write it.
///
/// Padding, pad length and next header are plaintext and the caller's. Jobs may differ in suite, key and length.
/// They are done one after the other today; a caller may not rely on the order.
//
//= https://www.rfc-editor.org/rfc/rfc4106#section-3.1
//# For a given key, the IV MUST NOT repeat.
//
//= https://www.rfc-editor.org/rfc/rfc3602#section-3
//# The IV MUST be chosen at random, and MUST be unpredictable.
pub fn seal_burst(jobs: &mut [Job<'_>]) {
    for job in jobs.iter_mut().filter(|job| job.status == Status::Pending) {
        job.status = job.key.seal(job.esn_high, job.packet);
    }
}
