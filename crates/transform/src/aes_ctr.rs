//! AES in counter mode: in ESP (RFC 3686), and within AES-GCM and AES-CCM.

use crate::separate::Cipher;
use aes::cipher::consts::U16;
use aes::cipher::{BlockCipherEncrypt, BlockSizeUser, InnerIvInit, KeyInit, StreamCipherCore};
use ctr::CtrCore;
use ctr::flavors::Ctr32BE;
use zeroize::Zeroizing;

/// The block cipher: AES of one key length.
pub(crate) trait Aes:
    BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit + Send + Sync
{
}

impl<C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit + Send + Sync> Aes for C {}

/// One block of AES.
pub(crate) type Block = [u8; 16];

/// Encrypts or decrypts `text` with the keystream that begins with the encryption of `counter`, of which the last
/// 32 bits count.
#[inline]
pub(crate) fn apply_keystream<C: Aes>(aes: &C, counter: &Block, text: &mut [u8]) {
    CtrCore::<&C, Ctr32BE>::inner_iv_init(aes, counter.into()).apply_keystream_partial(text.into());
}

const NONCE_LEN: usize = 4;
const IV_LEN: usize = 8;

/// AES-CTR of RFC 3686, with its nonce.
pub(crate) struct AesCtr<C> {
    aes: C,
    nonce: Zeroizing<[u8; NONCE_LEN]>,
}

impl<C: Aes> AesCtr<C> {
    /// `None` if a length is wrong.
    pub(crate) fn new(key: &[u8], nonce: &[u8]) -> Option<Self> {
        Some(Self { aes: C::new_from_slice(key).ok()?, nonce: Zeroizing::new(nonce.try_into().ok()?) })
    }
}

impl<C: Aes> Cipher for AesCtr<C> {
    #[inline]
    fn encrypt(&self, iv_and_text: &mut [u8]) -> Option<()> {
        let (iv, text) = iv_and_text.split_first_chunk_mut::<IV_LEN>()?;
        // RFC 3686 §4: the nonce, the IV, and a counter that begins with one.
        let mut counter = [0; 16];
        counter[..NONCE_LEN].copy_from_slice(&*self.nonce);
        counter[NONCE_LEN..NONCE_LEN + IV_LEN].copy_from_slice(iv);
        counter[15] = 1;
        apply_keystream(&self.aes, &counter, text);
        Some(())
    }

    #[inline]
    fn decrypt(&self, iv_and_text: &mut [u8]) -> Option<()> {
        self.encrypt(iv_and_text)
    }
}
