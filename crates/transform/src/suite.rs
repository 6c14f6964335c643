use std::fmt;
use std::ops::Range;

/// Octets of the SPI and the sequence number, which stand before the IV (RFC 4303 §2).
pub(crate) const HEADER_LEN: usize = 8;
/// Octets of pad length and next header: the least that is encrypted.
pub(crate) const TRAILER_LEN: usize = 2;

/// Octets of salt after the AES-GCM key (RFC 4106 §8.1).
pub(crate) const SALT_LEN: usize = 4;

/// The length of an AES key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AesKeyLen {
    /// 16 octets, 10 rounds.
    Aes128,
    /// 24 octets, 12 rounds.
    Aes192,
    /// 32 octets, 14 rounds.
    Aes256,
}

impl AesKeyLen {
    /// The length in octets: 16, 24 or 32.
    #[must_use]
    pub const fn octets(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::Aes192 => 24,
            Self::Aes256 => 32,
        }
    }

    /// The length in bits: 128, 192 or 256.
    #[must_use]
    pub const fn bits(self) -> u16 {
        match self {
            Self::Aes128 => 128,
            Self::Aes192 => 192,
            Self::Aes256 => 256,
        }
    }
}

/// The algorithms that protect an SA. RFC 8221 §5 and §6 say which of them an implementation MUST have; these
/// are the MUSTs with confidentiality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Suite {
    /// AES-CBC (RFC 3602) with HMAC-SHA-256-128 (RFC 4868).
    AesCbcHmacSha256(AesKeyLen),
    /// AES-GCM with an ICV of 16 octets (RFC 4106).
    AesGcm(AesKeyLen),
}

impl Suite {
    /// Octets of IV in front of the ciphertext.
    #[must_use]
    pub const fn iv_len(self) -> usize {
        match self {
            //= https://www.rfc-editor.org/rfc/rfc3602#section-3
            //# The IV field MUST be the same size as the block size of the cipher
            //# algorithm being used.
            Self::AesCbcHmacSha256(_) => 16,
            //= https://www.rfc-editor.org/rfc/rfc4106#section-3.1
            //# The AES-GCM-ESP IV field MUST be eight octets.
            Self::AesGcm(_) => 8,
        }
    }

    /// Octets of ICV at the packet's end.
    #[must_use]
    pub const fn icv_len(self) -> usize {
        match self {
            // HMAC-SHA-256-128 keeps half of the hash (RFC 4868 §2.6). The 96 bits of old Linux kernels are
            // another algorithm.
            Self::AesCbcHmacSha256(_) => 16,
            //= https://www.rfc-editor.org/rfc/rfc4106#section-6
            //# Implementations MUST support a full-length 16-octet ICV
            Self::AesGcm(_) => 16,
        }
    }

    /// The ciphertext (payload, padding, pad length and next header) is a multiple of this many octets: the
    /// cipher's block. That it is one of 4 octets too (RFC 4303 §2.4) is for ESP to see to, after the ICV.
    #[must_use]
    pub const fn block_len(self) -> usize {
        match self {
            Self::AesCbcHmacSha256(_) => 16,
            Self::AesGcm(_) => 1,
        }
    }

    /// Octets of encryption key; of AES-GCM with the 4 octets of salt at the end, as RFC 4106 §8.1 and
    /// `ip xfrm` give it.
    #[must_use]
    pub const fn encryption_key_len(self) -> usize {
        match self {
            Self::AesCbcHmacSha256(aes) => aes.octets(),
            //= https://www.rfc-editor.org/rfc/rfc4106#section-8.1
            //# The size of the KEYMAT for the AES-GCM-ESP MUST be four octets longer
            //# than is needed for the associated AES key.
            Self::AesGcm(aes) => aes.octets() + SALT_LEN,
        }
    }

    /// The encryption algorithm's name, with the length of its key in bits.
    #[must_use]
    pub const fn encryption(self) -> &'static str {
        match self {
            Self::AesCbcHmacSha256(AesKeyLen::Aes128) => "AES-CBC-128",
            Self::AesCbcHmacSha256(AesKeyLen::Aes192) => "AES-CBC-192",
            Self::AesCbcHmacSha256(AesKeyLen::Aes256) => "AES-CBC-256",
            Self::AesGcm(AesKeyLen::Aes128) => "AES-GCM-128",
            Self::AesGcm(AesKeyLen::Aes192) => "AES-GCM-192",
            Self::AesGcm(AesKeyLen::Aes256) => "AES-GCM-256",
        }
    }

    /// The integrity algorithm's name. `None` of a combined mode algorithm, whose ICV is the cipher's own.
    #[must_use]
    pub const fn integrity(self) -> Option<&'static str> {
        match self {
            Self::AesCbcHmacSha256(_) => Some("HMAC-SHA-256-128"),
            Self::AesGcm(_) => None,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.integrity() {
            Some(integrity) => write!(f, "{} with {integrity}", self.encryption()),
            None => write!(f, "{} with a {}-octet ICV", self.encryption(), self.icv_len()),
        }
    }
}

/// Where the ciphertext stands in a packet of `packet_len` octets, from the SPI to the end of the ICV.
///
/// `None` if the length can't be right: too short for the pad length and the next header, or a ciphertext that is
/// no multiple of [`Suite::block_len`].
#[inline]
#[must_use]
pub fn ciphertext_range(suite: Suite, packet_len: usize) -> Option<Range<usize>> {
    let start = HEADER_LEN + suite.iv_len();
    let end = packet_len.checked_sub(suite.icv_len())?;
    let ciphertext_len = end.checked_sub(start)?;
    (ciphertext_len >= TRAILER_LEN && ciphertext_len.is_multiple_of(suite.block_len())).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: [AesKeyLen; 3] = [AesKeyLen::Aes128, AesKeyLen::Aes192, AesKeyLen::Aes256];

    #[test]
    fn names_say_the_key_length() {
        for aes in LENGTHS {
            assert_eq!(aes.octets() * 8, usize::from(aes.bits()));
            assert_eq!(Suite::AesCbcHmacSha256(aes).encryption(), format!("AES-CBC-{}", aes.bits()));
            assert_eq!(Suite::AesGcm(aes).encryption(), format!("AES-GCM-{}", aes.bits()));
        }
        assert_eq!(
            Suite::AesCbcHmacSha256(AesKeyLen::Aes256).to_string(),
            "AES-CBC-256 with HMAC-SHA-256-128"
        );
        assert_eq!(Suite::AesGcm(AesKeyLen::Aes128).to_string(), "AES-GCM-128 with a 16-octet ICV");
    }

    #[test]
    fn the_gcm_key_has_four_octets_of_salt() {
        for aes in LENGTHS {
            assert_eq!(Suite::AesGcm(aes).encryption_key_len(), aes.octets() + 4);
            assert_eq!(Suite::AesCbcHmacSha256(aes).encryption_key_len(), aes.octets());
        }
    }

    #[test]
    fn the_ciphertext_is_at_least_one_block_and_whole_blocks() {
        let gcm = Suite::AesGcm(AesKeyLen::Aes256);
        let cbc = Suite::AesCbcHmacSha256(AesKeyLen::Aes128);
        assert_eq!(ciphertext_range(gcm, 33), None);
        assert_eq!(ciphertext_range(gcm, 32), None);
        assert_eq!(ciphertext_range(gcm, 36), Some(16..20));
        assert_eq!(ciphertext_range(gcm, 34), Some(16..18));
        assert_eq!(ciphertext_range(gcm, 37), Some(16..21));
        assert_eq!(ciphertext_range(cbc, 40), None);
        assert_eq!(ciphertext_range(cbc, 55), None);
        assert_eq!(ciphertext_range(cbc, 56), Some(24..40));
        assert_eq!(ciphertext_range(cbc, 60), None);
        assert_eq!(ciphertext_range(cbc, usize::MAX), None);
    }
}
