//! ChaCha20-Poly1305 (RFC 7634, RFC 8439).
//!
//! Slow as it is built by default, and from its source that is the poly1305 crate's (0.9.1) AVX2 code: much of it uses
//! intrinsics in functions without `#[target_feature]`, into which they are not inlined unless the whole build has
//! `-C target-feature=+avx2`. A packet of 64 octets took 1710 ns, and 412 ns with `--cfg poly1305_backend="soft"`; 1420
//! octets 3140 and 2230 (Xeon with AVX-512, rustc 1.95, `cargo bench -p espwire-transform -- chacha x64`).

use crate::aead::{Aead, Tag};
use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use poly1305::Poly1305;
use poly1305::universal_hash::{KeyInit, UniversalHash};
use zeroize::{Zeroize, Zeroizing};

const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 12;
/// Octets of keystream in a block, of which the first makes the one-time key.
const BLOCK_LEN: u32 = 64;

/// ChaCha20-Poly1305 under one key.
pub(crate) struct ChaCha20Poly1305 {
    key: Zeroizing<[u8; KEY_LEN]>,
}

impl ChaCha20Poly1305 {
    /// `None` if the key has not 32 octets.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        Some(Self { key: Zeroizing::new(key.try_into().ok()?) })
    }
}

impl Aead for ChaCha20Poly1305 {
    type Nonce = [u8; NONCE_LEN];
    const ZERO_NONCE: Self::Nonce = [0; NONCE_LEN];

    #[inline]
    fn tag(&self, nonce: &Self::Nonce, aad: &[u8], ciphertext: &[u8]) -> Tag {
        let mut one_time_key = poly1305::Key::default();
        ChaCha20::new((&*self.key).into(), nonce.into()).apply_keystream(&mut one_time_key);
        let mut poly1305 = Poly1305::new(&one_time_key);
        one_time_key.zeroize();
        let mut lengths = poly1305::Block::default();
        lengths[..8].copy_from_slice(&(aad.len() as u64).to_le_bytes());
        lengths[8..].copy_from_slice(&(ciphertext.len() as u64).to_le_bytes());
        poly1305.update_padded(aad);
        poly1305.update_padded(ciphertext);
        poly1305.update(&[lengths]);
        poly1305.finalize().into()
    }

    #[inline]
    fn apply_keystream(&self, nonce: &Self::Nonce, text: &mut [u8]) {
        let mut keystream = ChaCha20::new((&*self.key).into(), nonce.into());
        keystream.seek(BLOCK_LEN);
        keystream.apply_keystream(text);
    }
}
