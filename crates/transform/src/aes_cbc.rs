//! AES-CBC in ESP (RFC 3602).

use crate::separate::Cipher;
use aes::cipher::array::Array;
use aes::cipher::consts::U16;
use aes::cipher::{
    BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, BlockSizeUser, InnerIvInit,
    KeyInit,
};

const IV_LEN: usize = 16;

/// AES-CBC under one key.
pub(crate) struct AesCbc<C> {
    aes: C,
}

impl<C: KeyInit> AesCbc<C> {
    /// `None` if the key's length is not the cipher's.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        Some(Self { aes: C::new_from_slice(key).ok()? })
    }
}

impl<C> Cipher for AesCbc<C>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
{
    #[inline]
    fn encrypt(&self, iv_and_text: &mut [u8]) -> Option<()> {
        let (iv, blocks) = split(iv_and_text)?;
        cbc::Encryptor::inner_iv_init(&self.aes, iv).encrypt_blocks(blocks);
        Some(())
    }

    #[inline]
    fn decrypt(&self, iv_and_text: &mut [u8]) -> Option<()> {
        let (iv, blocks) = split(iv_and_text)?;
        cbc::Decryptor::inner_iv_init(&self.aes, iv).decrypt_blocks(blocks);
        Some(())
    }
}

type Block = Array<u8, U16>;

/// The IV, and the blocks of text if they are whole.
#[inline]
fn split(iv_and_text: &mut [u8]) -> Option<(&Block, &mut [Block])> {
    let (iv, text) = iv_and_text.split_first_chunk_mut::<IV_LEN>()?;
    let (blocks, rest) = Array::slice_as_chunks_mut(text);
    rest.is_empty().then_some(((&*iv).into(), blocks))
}
