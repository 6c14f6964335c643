//! AES-GCM in ESP (RFC 4106), with an ICV of 16 octets.

use crate::Icv;
use crate::job::Status;
use crate::suite::{HEADER_LEN, SALT_LEN, TRAILER_LEN};
use aes::cipher::consts::{U12, U16};
use aes::cipher::{BlockCipherEncrypt, BlockSizeUser, KeyInit};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{AesGcm, Nonce};
use ghash::GHash;
use ghash::universal_hash::UniversalHash;
use zeroize::{Zeroize, Zeroizing};

const IV_LEN: usize = 8;
const ICV_LEN: usize = 16;

/// AES-GCM over the block cipher `C`, with its salt.
pub(crate) struct Gcm<C> {
    cipher: AesGcm<C, U12>,
    /// GHASH keyed with H, for [`Self::icv`]: `cipher` computes a tag only while it encrypts.
    ghash: GHash,
    salt: Zeroizing<[u8; SALT_LEN]>,
}

impl<C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit> Gcm<C> {
    /// `None` if the key's length is not the cipher's.
    pub(crate) fn new(key: &[u8], salt: [u8; SALT_LEN]) -> Option<Self> {
        let aes = C::new_from_slice(key).ok()?;
        let mut h = ghash::Key::default();
        aes.encrypt_block(&mut h);
        let ghash = GHash::new(&h);
        h.zeroize();
        Some(Self { cipher: AesGcm::from(aes), ghash, salt: Zeroizing::new(salt) })
    }

    #[inline]
    pub(crate) fn open(&self, esn_high: Option<u32>, packet: &mut [u8]) -> Status {
        let Some((header, iv, ciphertext, icv)) = split(packet) else { return Status::Malformed };
        let aad = Aad::new(header, esn_high);
        // aes-gcm compares the tag, in constant time, before it touches the buffer.
        match self.cipher.decrypt_inout_detached(
            &self.nonce(iv),
            aad.as_ref(),
            ciphertext.into(),
            (&*icv).into(),
        ) {
            Ok(()) => Status::Done,
            Err(_) => Status::AuthFailed,
        }
    }

    #[inline]
    pub(crate) fn seal(&self, esn_high: Option<u32>, packet: &mut [u8]) -> Status {
        let Some((header, iv, plaintext, icv)) = split(packet) else { return Status::Malformed };
        let aad = Aad::new(header, esn_high);
        match self.cipher.encrypt_inout_detached(&self.nonce(iv), aad.as_ref(), plaintext.into()) {
            Ok(tag) => {
                *icv = tag.into();
                Status::Done
            }
            // 64 GiB or more: nothing was encrypted.
            Err(_) => Status::Malformed,
        }
    }

    pub(crate) fn icv(&self, esn_high: Option<u32>, packet: &[u8]) -> Option<Icv> {
        let (header, rest) = packet.split_first_chunk()?;
        let (iv, rest) = rest.split_first_chunk()?;
        let (ciphertext, _) = rest.split_last_chunk::<ICV_LEN>()?;
        if ciphertext.len() < TRAILER_LEN {
            return None;
        }
        let aad = Aad::new(header, esn_high);

        // The tag is GHASH(AAD, ciphertext, both lengths) XOR E(K, J0). Of an empty message without AAD GHASH
        // is zero, so that its tag is E(K, J0).
        let mask = self.cipher.encrypt_inout_detached(&self.nonce(iv), &[], (&mut [][..]).into()).ok()?;
        let mut lengths = ghash::Block::default();
        lengths[..8].copy_from_slice(&(aad.as_ref().len() as u64 * 8).to_be_bytes());
        lengths[8..].copy_from_slice(&(ciphertext.len() as u64 * 8).to_be_bytes());
        let mut ghash = self.ghash.clone();
        ghash.update_padded(aad.as_ref());
        ghash.update_padded(ciphertext);
        ghash.update(&[lengths]);
        let mut tag: [u8; ICV_LEN] = ghash.finalize().into();
        for (octet, mask) in tag.iter_mut().zip(mask) {
            *octet ^= mask;
        }
        Some(Icv::new(&tag))
    }

    /// The salt, then the IV (RFC 4106 §4).
    #[inline]
    fn nonce(&self, iv: &[u8; IV_LEN]) -> Nonce<U12> {
        let mut nonce = Nonce::default();
        nonce[..SALT_LEN].copy_from_slice(&*self.salt);
        nonce[SALT_LEN..].copy_from_slice(iv);
        nonce
    }
}

/// SPI, the high half of an ESN if there is one, and the sequence number's low half (RFC 4106 §5).
struct Aad {
    octets: [u8; HEADER_LEN + 4],
    len: usize,
}

impl Aad {
    #[inline]
    fn new(header: &[u8; HEADER_LEN], esn_high: Option<u32>) -> Self {
        let mut octets = [0; HEADER_LEN + 4];
        octets[..4].copy_from_slice(&header[..4]);
        let low = match esn_high {
            Some(high) => {
                octets[4..8].copy_from_slice(&high.to_be_bytes());
                8
            }
            None => 4,
        };
        octets[low..low + 4].copy_from_slice(&header[4..]);
        Self { octets, len: low + 4 }
    }
}

impl AsRef<[u8]> for Aad {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}

/// SPI and sequence number, IV, ciphertext, ICV.
type Parts<'a> = (&'a [u8; HEADER_LEN], &'a [u8; IV_LEN], &'a mut [u8], &'a mut [u8; ICV_LEN]);

#[inline]
fn split(packet: &mut [u8]) -> Option<Parts<'_>> {
    let (header, rest) = packet.split_first_chunk_mut()?;
    let (iv, rest) = rest.split_first_chunk_mut()?;
    let (ciphertext, icv) = rest.split_last_chunk_mut()?;
    (ciphertext.len() >= TRAILER_LEN).then_some((header, iv, ciphertext, icv))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_half_of_an_esn_stands_between_spi_and_low_half() {
        let header = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(Aad::new(&header, None).as_ref(), header);
        assert_eq!(
            Aad::new(&header, Some(0x0a0b_0c0d)).as_ref(),
            [1, 2, 3, 4, 0xa, 0xb, 0xc, 0xd, 5, 6, 7, 8]
        );
    }

    #[test]
    fn the_lengths_are_the_suites() {
        let suite = crate::Suite::AesGcm(crate::AesKeyLen::Aes128);
        assert_eq!((suite.iv_len(), suite.icv_len(), suite.block_len()), (IV_LEN, ICV_LEN, 1));
    }
}
