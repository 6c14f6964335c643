use crate::aead::{Aead, Combined};
use crate::aes_cbc::AesCbc;
use crate::aes_ctr::AesCtr;
use crate::ccm::{self, Ccm};
use crate::chacha20_poly1305::ChaCha20Poly1305;
use crate::gcm::{Gcm, Gmac};
use crate::schedule::Schedule;
use crate::separate::{Cipher, Null, Separate};
use crate::{AesKeyLen, Icv, Integrity, Status, Suite, ciphertext_range};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

/// The longest integrity key that is taken, in octets: what iproute2 takes.
pub const MAX_INTEGRITY_KEY_LEN: usize = 512;

/// An SA's keys, prepared once: round keys, H and its powers, the HMAC's two states.
///
/// They are wiped on drop. Copies that a move leaves on the stack are not; prepare a key where little runs after.
/// There is no `Debug` and no `Clone`.
pub struct SaKey {
    suite: Suite,
    /// In a box of its own: an SA's owner moves, and prepared keys are of very different size.
    schedule: Box<dyn Schedule>,
}

/// Why keys are refused. No message contains an octet of a key.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The encryption key's length is not [`Suite::encryption_key_len`].
    #[error("{suite} takes an encryption key of {want} octets, not {got}")]
    EncryptionKeyLen {
        /// The suite asked for.
        suite: Suite,
        /// Octets given.
        got: usize,
        /// Octets needed, with the salt.
        want: usize,
    },
    /// The HMAC's key is empty or longer than [`MAX_INTEGRITY_KEY_LEN`].
    #[error("{suite} takes an integrity key of 1 to {MAX_INTEGRITY_KEY_LEN} octets, not {got}")]
    IntegrityKeyLen {
        /// The suite asked for.
        suite: Suite,
        /// Octets given.
        got: usize,
    },
    /// A combined mode algorithm was given an integrity key.
    #[error("{suite} takes no integrity key, but one of {got} octets was given")]
    IntegrityKeyUnused {
        /// The suite asked for.
        suite: Suite,
        /// Octets given.
        got: usize,
    },
}

impl SaKey {
    /// Prepares the keys of an SA.
    ///
    /// `encryption_key` is the cipher's key with the salt after it, of [`Suite::encryption_key_len`] octets: none
    /// for NULL. `integrity_key` is the HMAC's, and empty for a combined mode algorithm.
    ///
    /// RFC 2404 and RFC 4868 fix an HMAC's key at [`Integrity::key_len`] octets. Any from 1 to
    /// [`MAX_INTEGRITY_KEY_LEN`] octets is taken here, as Linux takes it; who wants the RFC's checks for them.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if a length is wrong.
    pub fn new(suite: Suite, encryption_key: &[u8], integrity_key: &[u8]) -> Result<Self, KeyError> {
        let got = integrity_key.len();
        match suite.integrity_algorithm() {
            Some(_) if got == 0 || got > MAX_INTEGRITY_KEY_LEN => {
                return Err(KeyError::IntegrityKeyLen { suite, got });
            }
            None if got != 0 => return Err(KeyError::IntegrityKeyUnused { suite, got }),
            _ => {}
        }
        let schedule = schedule(suite, encryption_key, integrity_key).ok_or_else(|| {
            KeyError::EncryptionKeyLen { suite, got: encryption_key.len(), want: suite.encryption_key_len() }
        })?;
        Ok(Self { suite, schedule })
    }

    /// The algorithms that these keys are for.
    #[inline]
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The ICV that `packet`, from the SPI to the ICV, should carry over the ciphertext as it stands, to be
    /// shown beside one that is wrong. `None` if the packet is malformed.
    ///
    /// For diagnosis alone. Whoever reads the right ICV of a forged packet can send that packet: show it to
    /// those who may see the keys.
    #[must_use]
    pub fn icv(&self, esn_high: Option<u32>, packet: &[u8]) -> Option<Icv> {
        let (authenticated, _) = packet.split_at(ciphertext_range(self.suite, packet.len())?.end);
        self.schedule.icv(esn_high, authenticated)
    }

    /// Verifies and decrypts one packet. Unless `Done` comes back, its octets are as they were.
    #[inline]
    pub(crate) fn open(&self, esn_high: Option<u32>, packet: &mut [u8]) -> Status {
        self.split(packet)
            .and_then(|(authenticated, icv)| self.schedule.open(esn_high, authenticated, icv))
            .unwrap_or(Status::Malformed)
    }

    /// Encrypts one packet under the IV in it and writes its ICV.
    #[inline]
    pub(crate) fn seal(&self, esn_high: Option<u32>, packet: &mut [u8]) -> Status {
        self.split(packet)
            .and_then(|(authenticated, icv)| self.schedule.seal(esn_high, authenticated, icv))
            .unwrap_or(Status::Malformed)
    }

    /// The packet up to the end of the ciphertext, and its ICV. `None` if its length can't be right.
    #[inline]
    fn split<'a>(&self, packet: &'a mut [u8]) -> Option<(&'a mut [u8], &'a mut [u8])> {
        let ciphertext = ciphertext_range(self.suite, packet.len())?;
        Some(packet.split_at_mut(ciphertext.end))
    }
}

/// `$make` with `$aes` as the block cipher of a key length.
macro_rules! with_aes {
    ($key_len:expr, $aes:ident => $make:expr) => {
        match $key_len {
            AesKeyLen::Aes128 => {
                type $aes = aes::Aes128;
                $make
            }
            AesKeyLen::Aes192 => {
                type $aes = aes::Aes192;
                $make
            }
            AesKeyLen::Aes256 => {
                type $aes = aes::Aes256;
                $make
            }
        }
    };
}

/// `None` if the encryption key's length is wrong.
fn schedule(suite: Suite, encryption_key: &[u8], integrity_key: &[u8]) -> Option<Box<dyn Schedule>> {
    let (key, salt) = encryption_key.split_at_checked(encryption_key.len().checked_sub(suite.salt_len())?)?;
    match suite {
        Suite::AesGcm(len, _) | Suite::AesGcmIiv(len) => {
            with_aes!(len, Aes => combined(Gcm::<Aes>::new(key)?, salt, suite))
        }
        Suite::AesCcm(len, _) | Suite::AesCcmIiv(len) => {
            let tag_len = suite.icv_len() as u8;
            with_aes!(len, Aes => combined(Ccm::<Aes, { ccm::ESP_NONCE_LEN }>::new(key, tag_len)?, salt, suite))
        }
        Suite::ChaCha20Poly1305 | Suite::ChaCha20Poly1305Iiv => {
            combined(ChaCha20Poly1305::new(key)?, salt, suite)
        }
        Suite::AesGmac(len) => with_aes!(len, Aes => Some(Box::new(Gmac::<Aes>::new(key, salt)?))),
        Suite::AesCbc(len, integrity) => {
            with_aes!(len, Aes => separate(AesCbc::<Aes>::new(key)?, integrity, integrity_key))
        }
        Suite::AesCtr(len, integrity) => {
            with_aes!(len, Aes => separate(AesCtr::<Aes>::new(key, salt)?, integrity, integrity_key))
        }
        Suite::Null(integrity) => {
            if key.is_empty() {
                separate(Null, integrity, integrity_key)
            } else {
                None
            }
        }
    }
}

fn combined<A: Aead + 'static>(aead: A, salt: &[u8], suite: Suite) -> Option<Box<dyn Schedule>> {
    Some(Box::new(Combined::new(aead, salt, suite.icv_len(), suite.iv_len() == 0)?))
}

fn separate<C: Cipher + 'static>(cipher: C, integrity: Integrity, key: &[u8]) -> Option<Box<dyn Schedule>> {
    let icv_len = integrity.icv_len();
    Some(match integrity {
        Integrity::HmacSha1_96 => Box::new(Separate::<C, Sha1>::new(cipher, key, icv_len)?),
        Integrity::HmacSha256_96 | Integrity::HmacSha256_128 => {
            Box::new(Separate::<C, Sha256>::new(cipher, key, icv_len)?)
        }
        Integrity::HmacSha384_192 => Box::new(Separate::<C, Sha384>::new(cipher, key, icv_len)?),
        Integrity::HmacSha512_256 => Box::new(Separate::<C, Sha512>::new(cipher, key, icv_len)?),
    })
}

#[cfg(test)]
mod tests {
    use aes::cipher::consts::{U64, U128};
    use hmac::digest::block_buffer::EagerBuffer;
    use sha1::block_api::Sha1Core;
    use sha2::block_api::{Sha256VarCore, Sha512VarCore};
    use zeroize::ZeroizeOnDrop;

    /// Fails to compile if a crate's `zeroize` feature is lost.
    #[test]
    fn what_a_key_is_made_of_is_wiped_on_drop() {
        fn wiped<T: ZeroizeOnDrop>() {}
        wiped::<aes::Aes128>();
        wiped::<aes::Aes192>();
        wiped::<aes::Aes256>();
        wiped::<chacha20::ChaCha20>();
        // `Hmac`, `GHash` and `Poly1305` wipe their fields too, without saying so by this trait.
        wiped::<Sha1Core>();
        wiped::<Sha256VarCore>();
        wiped::<Sha512VarCore>();
        wiped::<EagerBuffer<U64>>();
        wiped::<EagerBuffer<U128>>();
    }
}
