use crate::cbc_hmac::CbcHmac;
use crate::gcm::Gcm;
use crate::job::Status;
use crate::suite::SALT_LEN;
use crate::{AesKeyLen, Icv, Suite};
use aes::{Aes128, Aes192, Aes256};

/// The longest integrity key that is taken, in octets: what iproute2 takes.
pub const MAX_INTEGRITY_KEY_LEN: usize = 512;

/// An SA's keys, prepared once: round keys, H, the HMAC's two states.
///
/// They are wiped on drop. Copies that a move leaves on the stack are not; prepare a key where little runs after.
/// There is no `Debug` and no `Clone`.
pub struct SaKey {
    suite: Suite,
    schedule: Schedule,
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
    /// `encryption_key` is the cipher's key; of AES-GCM the salt follows it (RFC 4106 §8.1). `integrity_key` is
    /// the HMAC's, and empty for AES-GCM.
    ///
    /// RFC 4868 §2.1.1 fixes the key of HMAC-SHA-256-128 at 32 octets. Any from 1 to
    /// [`MAX_INTEGRITY_KEY_LEN`] octets is taken here, as Linux takes it; who wants the 32 checks for them.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if a length is wrong.
    pub fn new(suite: Suite, encryption_key: &[u8], integrity_key: &[u8]) -> Result<Self, KeyError> {
        let got = integrity_key.len();
        match suite {
            Suite::AesCbcHmacSha256(_) if got == 0 || got > MAX_INTEGRITY_KEY_LEN => {
                return Err(KeyError::IntegrityKeyLen { suite, got });
            }
            Suite::AesGcm(_) if got != 0 => return Err(KeyError::IntegrityKeyUnused { suite, got }),
            _ => {}
        }
        let schedule = Schedule::new(suite, encryption_key, integrity_key).ok_or_else(|| {
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
        dispatch!(&self.schedule, key => key.icv(esn_high, packet))
    }

    /// Verifies and decrypts one packet. Unless `Done` comes back, its octets are as they were.
    #[inline]
    pub(crate) fn open(&self, esn_high: Option<u32>, packet: &mut [u8]) -> Status {
        dispatch!(&self.schedule, key => key.open(esn_high, packet))
    }

    /// Encrypts one packet under the IV in it and writes its ICV.
    #[inline]
    pub(crate) fn seal(&self, esn_high: Option<u32>, packet: &mut [u8]) -> Status {
        dispatch!(&self.schedule, key => key.seal(esn_high, packet))
    }
}

/// One prepared key per cipher, boxed: they are of very different size, and an SA's owner moves.
enum Schedule {
    Cbc128(Box<CbcHmac<Aes128>>),
    Cbc192(Box<CbcHmac<Aes192>>),
    Cbc256(Box<CbcHmac<Aes256>>),
    Gcm128(Box<Gcm<Aes128>>),
    Gcm192(Box<Gcm<Aes192>>),
    Gcm256(Box<Gcm<Aes256>>),
}

impl Schedule {
    /// `None` if the encryption key's length is wrong.
    fn new(suite: Suite, encryption_key: &[u8], integrity_key: &[u8]) -> Option<Self> {
        Some(match suite {
            Suite::AesCbcHmacSha256(aes) => match aes {
                AesKeyLen::Aes128 => Self::Cbc128(Box::new(CbcHmac::new(encryption_key, integrity_key)?)),
                AesKeyLen::Aes192 => Self::Cbc192(Box::new(CbcHmac::new(encryption_key, integrity_key)?)),
                AesKeyLen::Aes256 => Self::Cbc256(Box::new(CbcHmac::new(encryption_key, integrity_key)?)),
            },
            Suite::AesGcm(aes) => {
                let (key, salt) = encryption_key.split_last_chunk::<SALT_LEN>()?;
                match aes {
                    AesKeyLen::Aes128 => Self::Gcm128(Box::new(Gcm::new(key, *salt)?)),
                    AesKeyLen::Aes192 => Self::Gcm192(Box::new(Gcm::new(key, *salt)?)),
                    AesKeyLen::Aes256 => Self::Gcm256(Box::new(Gcm::new(key, *salt)?)),
                }
            }
        })
    }
}

macro_rules! dispatch {
    ($schedule:expr, $key:ident => $call:expr) => {
        match $schedule {
            Schedule::Cbc128($key) => $call,
            Schedule::Cbc192($key) => $call,
            Schedule::Cbc256($key) => $call,
            Schedule::Gcm128($key) => $call,
            Schedule::Gcm192($key) => $call,
            Schedule::Gcm256($key) => $call,
        }
    };
}
use dispatch;

#[cfg(test)]
mod tests {
    use super::*;
    use aes::cipher::consts::{U12, U64};
    use aes_gcm::AesGcm;
    use hmac::digest;
    use sha2::block_api::Sha256VarCore;
    use zeroize::ZeroizeOnDrop;

    /// Fails to compile if a crate's `zeroize` feature is lost.
    #[test]
    fn what_a_key_is_made_of_is_wiped_on_drop() {
        fn wiped<T: ZeroizeOnDrop>() {}
        wiped::<Aes128>();
        wiped::<Aes192>();
        wiped::<Aes256>();
        wiped::<AesGcm<Aes256, U12>>();
        // `Hmac` and `GHash` wipe their fields too, without saying so by this trait.
        wiped::<Sha256VarCore>();
        wiped::<digest::block_buffer::EagerBuffer<U64>>();
    }
}
