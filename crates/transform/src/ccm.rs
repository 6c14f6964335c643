//! AES-CCM (RFC 4309, RFC 3610) of CBC-MAC and counter mode.
//!
//! The tag is of the plaintext. The `ccm` crate therefore decrypts in place first, and overwrites with zeros what
//! turns out to be forged. Here the plaintext of [`Ccm::tag`] never leaves a buffer on the stack, where the CBC-MAC
//! overwrites it, and the packet stays as it was.

use crate::aead::{Aead, Tag};
use crate::aes_ctr::{Aes, Block, apply_keystream};
use aes::cipher::array::Array;
use aes::cipher::consts::U16;
use aes::cipher::{BlockModeEncrypt, InnerIvInit, StreamCipher, StreamCipherCoreWrapper};
use ctr::CtrCore;
use ctr::flavors::Ctr32BE;

/// Octets of nonce in ESP: 3 of salt, 8 of IV (RFC 4309 §4).
pub(crate) const ESP_NONCE_LEN: usize = 11;

const BLOCK_LEN: usize = 16;
/// Octets of plaintext on the stack at a time.
const CHUNK_LEN: usize = 16 * BLOCK_LEN;

/// AES-CCM under one key, with a nonce of 7 to 13 octets and a tag of `tag_len`, 4 to 16 octets, even.
pub(crate) struct Ccm<C, const NONCE_LEN: usize> {
    aes: C,
    tag_len: u8,
}

impl<C: Aes, const NONCE_LEN: usize> Ccm<C, NONCE_LEN> {
    /// Octets of the message's length, and of the counter: what the nonce leaves of a block.
    const L: usize = BLOCK_LEN - 1 - NONCE_LEN;

    /// `None` if the key's length is not the cipher's.
    pub(crate) fn new(key: &[u8], tag_len: u8) -> Option<Self> {
        const { assert!(NONCE_LEN >= 7 && NONCE_LEN <= 13) };
        Some(Self { aes: C::new_from_slice(key).ok()?, tag_len })
    }

    /// A_i: flags, nonce, counter (RFC 3610 §2.3). 0 encrypts the tag, 1 the first block of text.
    #[inline]
    fn counter(nonce: &[u8; NONCE_LEN], count: u8) -> Block {
        let mut block = [0; BLOCK_LEN];
        block[0] = Self::L as u8 - 1;
        block[1..=NONCE_LEN].copy_from_slice(nonce);
        block[BLOCK_LEN - 1] = count;
        block
    }

    /// B_0: flags, nonce, length of the text (RFC 3610 §2.2).
    #[inline]
    fn first_block(&self, nonce: &[u8; NONCE_LEN], has_aad: bool, text_len: usize) -> Block {
        let mut block = Self::counter(nonce, 0);
        block[0] += 64 * u8::from(has_aad) + 8 * ((self.tag_len - 2) / 2);
        // The length of what fits an IP packet has 4 octets at most.
        let len = (text_len as u32).to_be_bytes();
        let used = Self::L.min(len.len());
        block[BLOCK_LEN - used..].copy_from_slice(&len[len.len() - used..]);
        block
    }

    /// The tag of `text`, which is plaintext, or ciphertext that `decrypt` decrypts piece by piece.
    #[inline]
    fn tag_of(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        text: &[u8],
        decrypt: impl FnMut(&mut [u8]),
    ) -> Tag {
        let mut mac = CbcMac { aes: &self.aes, state: Array::default() };
        mac.update(&self.first_block(nonce, !aad.is_empty(), text.len()), |_| ());
        if !aad.is_empty() {
            // Its length in two octets: it has fewer than 65,280 (RFC 3610 §2.2).
            let (start, rest) = aad.split_at(aad.len().min(BLOCK_LEN - 2));
            let mut block = [0; BLOCK_LEN];
            block[..2].copy_from_slice(&(aad.len() as u16).to_be_bytes());
            block[2..2 + start.len()].copy_from_slice(start);
            mac.update(&block, |_| ());
            mac.update(rest, |_| ());
        }
        mac.update(text, decrypt);
        let mut tag: Tag = mac.state.into();
        apply_keystream(&self.aes, &Self::counter(nonce, 0), &mut tag);
        tag
    }
}

impl<C: Aes, const NONCE_LEN: usize> Aead for Ccm<C, NONCE_LEN> {
    type Nonce = [u8; NONCE_LEN];
    const ZERO_NONCE: Self::Nonce = [0; NONCE_LEN];

    #[inline]
    fn tag(&self, nonce: &Self::Nonce, aad: &[u8], ciphertext: &[u8]) -> Tag {
        let counter = Self::counter(nonce, 1);
        let core = CtrCore::<&C, Ctr32BE>::inner_iv_init(&self.aes, (&counter).into());
        let mut keystream = StreamCipherCoreWrapper::from_core(core);
        self.tag_of(nonce, aad, ciphertext, |piece| keystream.apply_keystream(piece))
    }

    #[inline]
    fn apply_keystream(&self, nonce: &Self::Nonce, text: &mut [u8]) {
        apply_keystream(&self.aes, &Self::counter(nonce, 1), text);
    }

    #[inline]
    fn seal(&self, nonce: &Self::Nonce, aad: &[u8], text: &mut [u8]) -> Tag {
        let tag = self.tag_of(nonce, aad, text, |_| ());
        self.apply_keystream(nonce, text);
        tag
    }
}

/// CBC-MAC: the last block of AES-CBC under an IV of zeros.
struct CbcMac<'a, C> {
    aes: &'a C,
    state: Array<u8, U16>,
}

impl<C: Aes> CbcMac<'_, C> {
    /// Adds `octets`, filled up with zeros to whole blocks, after `decrypt` has had each piece of them in turn.
    #[inline]
    fn update(&mut self, octets: &[u8], mut decrypt: impl FnMut(&mut [u8])) {
        let mut buffer = [0; CHUNK_LEN];
        for chunk in octets.chunks(CHUNK_LEN) {
            let padded = &mut buffer[..chunk.len().next_multiple_of(BLOCK_LEN)];
            let (text, padding) = padded.split_at_mut(chunk.len());
            text.copy_from_slice(chunk);
            padding.fill(0);
            decrypt(text);
            let (blocks, _) = Array::slice_as_chunks_mut(padded);
            cbc::Encryptor::inner_iv_init(self.aes, &self.state).encrypt_blocks(blocks);
            if let Some(last) = blocks.last() {
                self.state = *last;
            }
        }
    }
}
