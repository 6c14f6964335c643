//! AES-GCM (RFC 4106), and AES-GMAC (RFC 4543) of its parts.

use crate::aead::{Aead, Tag, is_start};
use crate::aes_ctr::{Aes, apply_keystream};
use crate::schedule::Schedule;
use crate::suite::HEADER_LEN;
use crate::{Icv, Status};
use aes_gcm::aead::consts::U12;
use aes_gcm::{AeadInOut, AesGcm, KeyInit};
use ghash::GHash;
use ghash::universal_hash::UniversalHash;
use zeroize::{Zeroize, Zeroizing};

const NONCE_LEN: usize = 12;
const SALT_LEN: usize = 4;
const IV_LEN: usize = 8;
const ICV_LEN: usize = 16;

/// AES-GCM under one key: as a whole, and in its parts for what the whole can't do.
pub(crate) struct Gcm<C> {
    whole: AesGcm<C, U12>,
    aes: C,
    /// Keyed with H, and cloned for each packet.
    ghash: GHash,
}

impl<C: Aes> Gcm<C> {
    /// `None` if the key's length is not the cipher's.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        let aes = C::new_from_slice(key).ok()?;
        let mut h = ghash::Key::default();
        aes.encrypt_block(&mut h);
        let ghash = GHash::new(&h);
        h.zeroize();
        Some(Self { whole: AesGcm::new_from_slice(key).ok()?, aes, ghash })
    }

    /// The tag of `ciphertext` and of an AAD in two parts, of which the first is whole blocks.
    #[inline]
    pub(crate) fn tag_of_parts(
        &self,
        nonce: &[u8; NONCE_LEN],
        [blocks, aad]: [&[u8]; 2],
        ciphertext: &[u8],
    ) -> Tag {
        let mut lengths = ghash::Block::default();
        lengths[..8].copy_from_slice(&((blocks.len() + aad.len()) as u64 * 8).to_be_bytes());
        lengths[8..].copy_from_slice(&(ciphertext.len() as u64 * 8).to_be_bytes());
        let mut ghash = self.ghash.clone();
        ghash.update_padded(blocks);
        ghash.update_padded(aad);
        ghash.update_padded(ciphertext);
        ghash.update(&[lengths]);
        let mut tag: Tag = ghash.finalize().into();
        apply_keystream(&self.aes, &counter(nonce, 1), &mut tag);
        tag
    }
}

impl<C: Aes> Aead for Gcm<C> {
    type Nonce = [u8; NONCE_LEN];
    const ZERO_NONCE: Self::Nonce = [0; NONCE_LEN];

    #[inline]
    fn tag(&self, nonce: &Self::Nonce, aad: &[u8], ciphertext: &[u8]) -> Tag {
        self.tag_of_parts(nonce, [&[], aad], ciphertext)
    }

    #[inline]
    fn apply_keystream(&self, nonce: &Self::Nonce, text: &mut [u8]) {
        apply_keystream(&self.aes, &counter(nonce, 2), text);
    }

    #[inline]
    fn seal(&self, nonce: &Self::Nonce, aad: &[u8], text: &mut [u8]) -> Tag {
        match self.whole.encrypt_inout_detached(nonce.into(), aad, text.into()) {
            Ok(tag) => tag.into(),
            // 64 GiB or more: nothing was encrypted. `ciphertext_range` lets no such packet pass.
            Err(_) => {
                self.apply_keystream(nonce, text);
                self.tag(nonce, aad, text)
            }
        }
    }

    #[inline]
    fn open(&self, nonce: &Self::Nonce, aad: &[u8], text: &mut [u8], icv: &[u8]) -> bool {
        match <&Tag>::try_from(icv) {
            // The crate compares before it decrypts.
            Ok(tag) => self.whole.decrypt_inout_detached(nonce.into(), aad, text.into(), tag.into()).is_ok(),
            Err(_) => self.open_by_parts(nonce, aad, text, icv),
        }
    }
}

/// The nonce, then 32 bits that count: 1 encrypts the tag, 2 the first block of text (SP 800-38D §7).
#[inline]
fn counter(nonce: &[u8; NONCE_LEN], count: u8) -> [u8; 16] {
    let mut block = [0; 16];
    block[..NONCE_LEN].copy_from_slice(nonce);
    block[15] = count;
    block
}

/// AES-GMAC at work on ESP packets: all that AES-GCM would encrypt is AAD.
pub(crate) struct Gmac<C> {
    gcm: Gcm<C>,
    salt: Zeroizing<[u8; SALT_LEN]>,
}

impl<C: Aes> Gmac<C> {
    /// `None` if a length is wrong.
    pub(crate) fn new(key: &[u8], salt: &[u8]) -> Option<Self> {
        Some(Self { gcm: Gcm::new(key)?, salt: Zeroizing::new(salt.try_into().ok()?) })
    }

    /// The tag over SPI, sequence number, IV, payload and trailer (RFC 4543 §3.3). The IV is in it by figure 4 of
    /// §3.5, and in Linux's packets; §7 leaves it out.
    #[inline]
    fn tag(&self, esn_high: Option<u32>, authenticated: &[u8]) -> Option<Tag> {
        let (header, rest) = authenticated.split_first_chunk::<HEADER_LEN>()?;
        let iv = rest.first_chunk::<IV_LEN>()?;
        let mut nonce = [0; NONCE_LEN];
        nonce[..SALT_LEN].copy_from_slice(&*self.salt);
        nonce[SALT_LEN..].copy_from_slice(iv);
        let Some(high) = esn_high else {
            return Some(self.gcm.tag_of_parts(&nonce, [&[], authenticated], &[]));
        };
        // SPI, high half, low half and half of the IV are a block; after it nothing has to move.
        let mut block = [0; 16];
        block[..4].copy_from_slice(&header[..4]);
        block[4..8].copy_from_slice(&high.to_be_bytes());
        let (low_and_half_iv, rest) = authenticated[4..].split_first_chunk::<8>()?;
        block[8..].copy_from_slice(low_and_half_iv);
        Some(self.gcm.tag_of_parts(&nonce, [&block, rest], &[]))
    }
}

impl<C: Aes> Schedule for Gmac<C> {
    fn open(&self, esn_high: Option<u32>, authenticated: &mut [u8], icv: &[u8]) -> Option<Status> {
        let is_right = is_start(icv, &self.tag(esn_high, authenticated)?);
        Some(if is_right { Status::Done } else { Status::AuthFailed })
    }

    fn seal(&self, esn_high: Option<u32>, authenticated: &mut [u8], icv: &mut [u8]) -> Option<Status> {
        *icv.as_mut_array::<ICV_LEN>()? = self.tag(esn_high, authenticated)?;
        Some(Status::Done)
    }

    fn icv(&self, esn_high: Option<u32>, authenticated: &[u8]) -> Option<Icv> {
        Icv::start_of(&self.tag(esn_high, authenticated)?, ICV_LEN)
    }
}
