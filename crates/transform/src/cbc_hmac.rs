//! AES-CBC in ESP (RFC 3602) with HMAC-SHA-256-128 (RFC 4868): encrypt, then authenticate.

use crate::Icv;
use crate::job::Status;
use crate::suite::HEADER_LEN;
use aes::cipher::array::Array;
use aes::cipher::consts::U16;
use aes::cipher::{
    BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, BlockSizeUser, InnerIvInit,
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const IV_LEN: usize = 16;
const ICV_LEN: usize = 16;
const BLOCK_LEN: usize = 16;

/// AES-CBC over the block cipher `C`, and HMAC-SHA-256-128.
pub(crate) struct CbcHmac<C> {
    cipher: C,
    /// Keyed, and cloned for each packet: the two blocks of the key are hashed once.
    hmac: Hmac<Sha256>,
}

impl<C> CbcHmac<C>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + KeyInit,
{
    /// `None` if the encryption key's length is not the cipher's.
    pub(crate) fn new(encryption_key: &[u8], integrity_key: &[u8]) -> Option<Self> {
        Some(Self {
            cipher: C::new_from_slice(encryption_key).ok()?,
            hmac: Hmac::new_from_slice(integrity_key).ok()?,
        })
    }

    #[inline]
    pub(crate) fn open(&self, esn_high: Option<u32>, packet: &mut [u8]) -> Status {
        let Some((authenticated, icv)) = packet.split_last_chunk_mut::<ICV_LEN>() else {
            return Status::Malformed;
        };
        if !is_whole(authenticated) {
            return Status::Malformed;
        }
        if self.mac(esn_high, authenticated).verify_truncated_left(icv).is_err() {
            return Status::AuthFailed;
        }
        let Some((iv, blocks)) = split(authenticated) else { return Status::Malformed };
        cbc::Decryptor::inner_iv_init(&self.cipher, iv).decrypt_blocks(blocks);
        Status::Done
    }

    #[inline]
    pub(crate) fn seal(&self, esn_high: Option<u32>, packet: &mut [u8]) -> Status {
        let Some((authenticated, icv)) = packet.split_last_chunk_mut::<ICV_LEN>() else {
            return Status::Malformed;
        };
        let Some((iv, blocks)) = split(authenticated) else { return Status::Malformed };
        cbc::Encryptor::inner_iv_init(&self.cipher, iv).encrypt_blocks(blocks);
        *icv = self.truncated(esn_high, authenticated);
        Status::Done
    }

    pub(crate) fn icv(&self, esn_high: Option<u32>, packet: &[u8]) -> Option<Icv> {
        let (authenticated, _) = packet.split_last_chunk::<ICV_LEN>()?;
        is_whole(authenticated).then(|| Icv::new(&self.truncated(esn_high, authenticated)))
    }

    /// HMAC over SPI to ciphertext, and then over the high half of an ESN (RFC 4303 §2.2.1).
    #[inline]
    fn mac(&self, esn_high: Option<u32>, authenticated: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.hmac.clone();
        mac.update(authenticated);
        if let Some(high) = esn_high {
            mac.update(&high.to_be_bytes());
        }
        mac
    }

    /// The first half of the HMAC (RFC 4868 §2.1).
    #[inline]
    fn truncated(&self, esn_high: Option<u32>, authenticated: &[u8]) -> [u8; ICV_LEN] {
        let hmac: [u8; 2 * ICV_LEN] = self.mac(esn_high, authenticated).finalize().into_bytes().into();
        let (icv, _) = hmac.split_first_chunk().expect("half of 32 octets");
        *icv
    }
}

type Block = Array<u8, U16>;

/// IV and ciphertext of the octets from SPI to ciphertext; `None` if the ciphertext is not whole.
#[inline]
fn split(authenticated: &mut [u8]) -> Option<(&Block, &mut [Block])> {
    if !is_whole(authenticated) {
        return None;
    }
    let (_, rest) = authenticated.split_first_chunk_mut::<HEADER_LEN>()?;
    let (iv, ciphertext) = rest.split_first_chunk_mut::<IV_LEN>()?;
    let (blocks, _) = Array::slice_as_chunks_mut(ciphertext);
    Some(((&*iv).into(), blocks))
}

/// Of the octets from SPI to ciphertext: is the ciphertext whole blocks, and one at least?
#[inline]
fn is_whole(authenticated: &[u8]) -> bool {
    match authenticated.len().checked_sub(HEADER_LEN + IV_LEN) {
        Some(ciphertext_len) => ciphertext_len > 0 && ciphertext_len.is_multiple_of(BLOCK_LEN),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aes::Aes128;

    #[test]
    fn the_lengths_are_the_suites() {
        let suite = crate::Suite::AesCbcHmacSha256(crate::AesKeyLen::Aes128);
        assert_eq!((suite.iv_len(), suite.icv_len(), suite.block_len()), (IV_LEN, ICV_LEN, BLOCK_LEN));
    }

    /// RFC 4231 §4.2, §4.3, §4.4, §4.6 and §4.7, the first 16 octets; §4.6 publishes no more.
    #[test]
    fn truncates_the_hmacs_of_rfc_4231() {
        let cases: [(&[u8], &[u8], u128); 5] = [
            (&[0x0b; 20], b"Hi There", 0xb034_4c61_d8db_3853_5ca8_afce_af0b_f12b),
            (b"Jefe", b"what do ya want for nothing?", 0x5bdc_c146_bf60_754e_6a04_2426_0895_75c7),
            (&[0xaa; 20], &[0xdd; 50], 0x773e_a91e_3680_0e46_854d_b8eb_d091_81a7),
            (&[0x0c; 20], b"Test With Truncation", 0xa3b6_1674_7310_0ee0_6e0c_796c_2955_552b),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                0x60e4_3159_1ee0_b67f_0d8a_26aa_cbf5_b77f,
            ),
        ];
        for (key, message, want) in cases {
            let key = CbcHmac::<Aes128>::new(&[0; 16], key).expect("16 octets");
            assert_eq!(key.truncated(None, message), want.to_be_bytes());
            // The high half of an ESN counts as the message's last four octets.
            let (message, last) = message.split_last_chunk::<4>().expect("longer than 4 octets");
            assert_eq!(key.truncated(Some(u32::from_be_bytes(*last)), message), want.to_be_bytes());
        }
    }

    /// RFC 3602 §4, cases 1 and 2.
    #[test]
    fn encrypts_the_blocks_of_rfc_3602() {
        let mut counting = [0; 32];
        counting.iter_mut().zip(0..).for_each(|(octet, n)| *octet = n);
        let cases: [(u128, u128, &[u8], &[u128]); 2] = [
            (
                0x06a9_2140_36b8_a15b_512e_03d5_3412_0006,
                0x3daf_ba42_9d9e_b430_b422_da80_2c9f_ac41,
                b"Single block msg",
                &[0xe353_779c_1079_aeb8_2708_942d_be77_181a],
            ),
            (
                0xc286_696d_887c_9aa0_611b_bb3e_2025_a45a,
                0x562e_1799_6d09_3d28_ddb3_ba69_5a2e_6f58,
                &counting,
                &[0xd296_cd94_c2cc_cf8a_3a86_3028_b5e1_dc0a, 0x7586_602d_253c_fff9_1b82_66be_a6d6_1ab1],
            ),
        ];
        for (key, iv, plaintext, ciphertext) in cases {
            let key = CbcHmac::<Aes128>::new(&key.to_be_bytes(), &[1]).expect("16 octets");
            let header_and_iv = [&[0; HEADER_LEN][..], &iv.to_be_bytes()].concat();
            let mut packet = [&header_and_iv, plaintext, &[0; ICV_LEN]].concat();
            assert_eq!(key.seal(None, &mut packet), Status::Done);
            let octets = ciphertext.iter().flat_map(|block| block.to_be_bytes()).collect::<Vec<_>>();
            assert_eq!(packet[HEADER_LEN + IV_LEN..packet.len() - ICV_LEN], octets);
            assert_eq!(key.open(None, &mut packet), Status::Done);
            assert_eq!(packet[HEADER_LEN + IV_LEN..packet.len() - ICV_LEN], *plaintext);
        }
    }
}
