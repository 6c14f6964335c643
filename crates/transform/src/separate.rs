//! Encryption and integrity by two algorithms: encrypt, then authenticate (RFC 4303 §3.3.2.1).

use crate::schedule::Schedule;
use crate::suite::HEADER_LEN;
use crate::{Icv, Status};
use hmac::{EagerHash, Hmac, KeyInit, Mac};

/// An encryption algorithm under one key.
pub(crate) trait Cipher: Send + Sync {
    /// Encrypts the text under the IV in front of it. `None` if there is no IV, or no whole blocks after it; then
    /// nothing has changed.
    fn encrypt(&self, iv_and_text: &mut [u8]) -> Option<()>;

    /// Decrypts likewise.
    fn decrypt(&self, iv_and_text: &mut [u8]) -> Option<()>;
}

/// NULL (RFC 2410).
pub(crate) struct Null;

impl Cipher for Null {
    #[inline]
    fn encrypt(&self, _: &mut [u8]) -> Option<()> {
        Some(())
    }

    #[inline]
    fn decrypt(&self, _: &mut [u8]) -> Option<()> {
        Some(())
    }
}

/// A [`Cipher`] with an HMAC over the hash `D`, at work on ESP packets.
pub(crate) struct Separate<C, D: EagerHash> {
    cipher: C,
    /// Keyed, and cloned for each packet: the two blocks of the key are hashed once.
    hmac: Hmac<D>,
    icv_len: usize,
}

impl<C, D: EagerHash> Separate<C, D> {
    /// `None` if the HMAC won't have the key.
    pub(crate) fn new(cipher: C, integrity_key: &[u8], icv_len: usize) -> Option<Self> {
        Some(Self { cipher, hmac: Hmac::new_from_slice(integrity_key).ok()?, icv_len })
    }

    /// HMAC over SPI to ciphertext, and then over the high half of an ESN (RFC 4303 §3.3.2.1).
    #[inline]
    pub(crate) fn mac(&self, esn_high: Option<u32>, authenticated: &[u8]) -> Hmac<D> {
        let mut mac = self.hmac.clone();
        mac.update(authenticated);
        if let Some(high) = esn_high {
            mac.update(&high.to_be_bytes());
        }
        mac
    }
}

impl<C: Cipher, D: EagerHash<Core: Send + Sync>> Schedule for Separate<C, D> {
    fn open(&self, esn_high: Option<u32>, authenticated: &mut [u8], icv: &[u8]) -> Option<Status> {
        if self.mac(esn_high, authenticated).verify_truncated_left(icv).is_err() {
            return Some(Status::AuthFailed);
        }
        self.cipher.decrypt(authenticated.get_mut(HEADER_LEN..)?)?;
        Some(Status::Done)
    }

    fn seal(&self, esn_high: Option<u32>, authenticated: &mut [u8], icv: &mut [u8]) -> Option<Status> {
        self.cipher.encrypt(authenticated.get_mut(HEADER_LEN..)?)?;
        let mac = self.mac(esn_high, authenticated).finalize().into_bytes();
        icv.copy_from_slice(mac.get(..icv.len())?);
        Some(Status::Done)
    }

    fn icv(&self, esn_high: Option<u32>, authenticated: &[u8]) -> Option<Icv> {
        let mac = self.mac(esn_high, authenticated).finalize().into_bytes();
        Icv::start_of(&mac, self.icv_len)
    }
}
