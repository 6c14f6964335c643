use std::fmt;
use std::ops::Range;

/// Octets of the SPI and the sequence number, which stand before the IV (RFC 4303 §2).
pub const HEADER_LEN: usize = 8;
/// Octets of pad length and next header: the least that is encrypted.
const TRAILER_LEN: usize = 2;
/// The most octets of payload that an IP packet can have: those of a jumbogram (RFC 2675 §2).
const MAX_PACKET_LEN: u64 = u32::MAX as u64;

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
    /// All of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::Aes128, Self::Aes192, Self::Aes256];

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
        self.octets() as u16 * 8
    }

    /// The name of these three that is its own.
    const fn of(self, names: [&'static str; 3]) -> &'static str {
        names[self as usize]
    }
}

/// The length of the ICV of AES-GCM or AES-CCM.
///
/// An attacker has a packet taken by guessing that many octets, and of AES-GCM each success makes the next one
/// easier. RFC 8221 §5 has a MUST for AES-GCM with 16 octets, and a SHOULD for small devices' AES-CCM with 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IcvLen {
    /// 8 octets.
    Icv8,
    /// 12 octets.
    Icv12,
    /// 16 octets.
    Icv16,
}

impl IcvLen {
    /// All of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::Icv8, Self::Icv12, Self::Icv16];

    /// The length in octets: 8, 12 or 16.
    #[must_use]
    pub const fn octets(self) -> usize {
        match self {
            Self::Icv8 => 8,
            Self::Icv12 => 12,
            Self::Icv16 => 16,
        }
    }
}

/// An integrity algorithm: an HMAC, of which a packet carries the first octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Integrity {
    /// HMAC-SHA-1-96 (RFC 2404): 12 of 20 octets. RFC 8221 §6 keeps it as a MUST-.
    HmacSha1_96,
    /// HMAC-SHA-256 cut to 96 bits: 12 of 32 octets. No RFC's; it is what Linux takes for `auth hmac(sha256)`
    /// without a length, after an early draft of RFC 4868.
    HmacSha256_96,
    /// HMAC-SHA-256-128 (RFC 4868): 16 of 32 octets.
    HmacSha256_128,
    /// HMAC-SHA-384-192 (RFC 4868): 24 of 48 octets.
    HmacSha384_192,
    /// HMAC-SHA-512-256 (RFC 4868): 32 of 64 octets.
    HmacSha512_256,
}

impl Integrity {
    /// All of them, the shortest hash first.
    pub const ALL: [Self; 5] = [
        Self::HmacSha1_96,
        Self::HmacSha256_96,
        Self::HmacSha256_128,
        Self::HmacSha384_192,
        Self::HmacSha512_256,
    ];

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HmacSha1_96 => "HMAC-SHA-1-96",
            Self::HmacSha256_96 => "HMAC-SHA-256-96",
            Self::HmacSha256_128 => "HMAC-SHA-256-128",
            Self::HmacSha384_192 => "HMAC-SHA-384-192",
            Self::HmacSha512_256 => "HMAC-SHA-512-256",
        }
    }

    /// Octets of ICV at the packet's end.
    #[must_use]
    pub const fn icv_len(self) -> usize {
        match self {
            Self::HmacSha1_96 | Self::HmacSha256_96 => 12,
            Self::HmacSha256_128 => 16,
            Self::HmacSha384_192 => 24,
            Self::HmacSha512_256 => 32,
        }
    }

    /// Octets of key that its RFC fixes: the hash's (RFC 2404 §3, RFC 4868 §2.1.1).
    /// [`SaKey::new`](crate::SaKey::new) takes others too.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::HmacSha1_96 => 20,
            Self::HmacSha256_96 | Self::HmacSha256_128 => 32,
            Self::HmacSha384_192 => 48,
            Self::HmacSha512_256 => 64,
        }
    }
}

/// The algorithms that protect an SA: a combined mode algorithm, or an encryption with an integrity algorithm.
///
/// There is no value for encryption without integrity, which RFC 8221 §4 forbids, nor for an algorithm that it
/// gives up: DES, 3DES, Blowfish, HMAC-MD5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Suite {
    /// AES-GCM (RFC 4106).
    AesGcm(AesKeyLen, IcvLen),
    /// AES-GCM with an ICV of 16 octets and an implicit IV (RFC 8750).
    AesGcmIiv(AesKeyLen),
    /// AES-CCM (RFC 4309).
    AesCcm(AesKeyLen, IcvLen),
    /// AES-CCM with an ICV of 8 octets and an implicit IV (RFC 8750: ENCR_AES_CCM_8_IIV).
    AesCcmIiv(AesKeyLen),
    /// ChaCha20-Poly1305 (RFC 7634).
    ChaCha20Poly1305,
    /// ChaCha20-Poly1305 with an implicit IV (RFC 8750).
    ChaCha20Poly1305Iiv,
    /// AES-GMAC (RFC 4543): ENCR_NULL_AUTH_AES_GMAC, which authenticates and leaves the payload in clear.
    AesGmac(AesKeyLen),
    /// AES-CBC (RFC 3602) with an HMAC.
    AesCbc(AesKeyLen, Integrity),
    /// AES-CTR (RFC 3686) with an HMAC.
    AesCtr(AesKeyLen, Integrity),
    /// NULL (RFC 2410) with an HMAC: the payload stays in clear.
    Null(Integrity),
}

impl Suite {
    /// Every suite there is.
    pub fn all() -> impl Iterator<Item = Self> {
        let with_icv = |suite: fn(AesKeyLen, IcvLen) -> Self| {
            AesKeyLen::ALL.into_iter().flat_map(move |aes| IcvLen::ALL.map(|icv| suite(aes, icv)))
        };
        let with_integrity = |suite: fn(AesKeyLen, Integrity) -> Self| {
            AesKeyLen::ALL
                .into_iter()
                .flat_map(move |aes| Integrity::ALL.map(|integrity| suite(aes, integrity)))
        };
        with_icv(Self::AesGcm)
            .chain(AesKeyLen::ALL.map(Self::AesGcmIiv))
            .chain(with_icv(Self::AesCcm))
            .chain(AesKeyLen::ALL.map(Self::AesCcmIiv))
            .chain([Self::ChaCha20Poly1305, Self::ChaCha20Poly1305Iiv])
            .chain(AesKeyLen::ALL.map(Self::AesGmac))
            .chain(with_integrity(Self::AesCbc))
            .chain(with_integrity(Self::AesCtr))
            .chain(Integrity::ALL.map(Self::Null))
    }

    /// Octets of IV in front of the ciphertext.
    #[must_use]
    pub const fn iv_len(self) -> usize {
        match self {
            //= https://www.rfc-editor.org/rfc/rfc3602#section-3
            //# The IV field MUST be the same size as the block size of the cipher
            //# algorithm being used.
            Self::AesCbc(..) => 16,
            //= https://www.rfc-editor.org/rfc/rfc4106#section-3.1
            //# The AES-GCM-ESP IV field MUST be eight octets.
            Self::AesGcm(..) => 8,
            // RFC 4309 §3.1, RFC 7634 §2, RFC 4543 §3.1, RFC 3686 §3.1.
            Self::AesCcm(..) | Self::ChaCha20Poly1305 | Self::AesGmac(_) | Self::AesCtr(..) => 8,
            Self::AesGcmIiv(_) | Self::AesCcmIiv(_) | Self::ChaCha20Poly1305Iiv | Self::Null(_) => 0,
        }
    }

    /// Octets of ICV at the packet's end.
    #[must_use]
    pub const fn icv_len(self) -> usize {
        match self {
            //= https://www.rfc-editor.org/rfc/rfc4106#section-6
            //# Implementations MUST support a full-length 16-octet ICV
            Self::AesGcm(_, icv) | Self::AesCcm(_, icv) => icv.octets(),
            // Of AES-CCM the transform with implicit IV is ENCR_AES_CCM_8_IIV, of AES-GCM ENCR_AES_GCM_16_IIV
            // (IANA's registry of IKEv2 transforms); RFC 4543 §3.4 and RFC 7634 §2 know no other than 16.
            Self::AesCcmIiv(_) => 8,
            Self::AesGcmIiv(_) | Self::ChaCha20Poly1305 | Self::ChaCha20Poly1305Iiv | Self::AesGmac(_) => 16,
            Self::AesCbc(_, integrity) | Self::AesCtr(_, integrity) | Self::Null(integrity) => {
                integrity.icv_len()
            }
        }
    }

    /// The ciphertext (payload, padding, pad length and next header) is a multiple of this many octets: the
    /// cipher's block. That it is one of 4 octets too (RFC 4303 §2.4) is for ESP to see to, after the ICV.
    #[must_use]
    pub const fn block_len(self) -> usize {
        match self {
            Self::AesCbc(..) => 16,
            _ => 1,
        }
    }

    /// Octets at the end of the encryption key that are not the cipher's: salt, which RFC 3686 calls a nonce.
    #[must_use]
    pub const fn salt_len(self) -> usize {
        match self {
            Self::AesCcm(..) | Self::AesCcmIiv(_) => 3,
            Self::AesGcm(..)
            | Self::AesGcmIiv(_)
            | Self::ChaCha20Poly1305
            | Self::ChaCha20Poly1305Iiv
            | Self::AesGmac(_)
            | Self::AesCtr(..) => 4,
            Self::AesCbc(..) | Self::Null(_) => 0,
        }
    }

    /// Octets of encryption key with the salt at its end, as the RFCs and `ip xfrm` give it.
    #[must_use]
    pub const fn encryption_key_len(self) -> usize {
        let cipher = match self {
            Self::AesGcm(aes, _)
            | Self::AesGcmIiv(aes)
            | Self::AesCcm(aes, _)
            | Self::AesCcmIiv(aes)
            | Self::AesGmac(aes)
            | Self::AesCbc(aes, _)
            | Self::AesCtr(aes, _) => aes.octets(),
            Self::ChaCha20Poly1305 | Self::ChaCha20Poly1305Iiv => 32,
            Self::Null(_) => 0,
        };
        //= https://www.rfc-editor.org/rfc/rfc4106#section-8.1
        //# The size of the KEYMAT for the AES-GCM-ESP MUST be four octets longer
        //# than is needed for the associated AES key.
        cipher + self.salt_len()
    }

    /// Whether two packets under one IV betray their plaintexts, or the key of the authentication. The sequence
    /// number of such an SA must never come round, whatever its flags say.
    #[must_use]
    pub const fn is_counter_mode(self) -> bool {
        !matches!(self, Self::AesCbc(..) | Self::Null(_))
    }

    /// The encryption algorithm's name, with the length of its key in bits if that can vary. `-IIV` as in RFC 8750.
    #[must_use]
    pub const fn encryption(self) -> &'static str {
        match self {
            Self::AesGcm(aes, _) => aes.of(["AES-GCM-128", "AES-GCM-192", "AES-GCM-256"]),
            Self::AesGcmIiv(aes) => aes.of(["AES-GCM-128-IIV", "AES-GCM-192-IIV", "AES-GCM-256-IIV"]),
            Self::AesCcm(aes, _) => aes.of(["AES-CCM-128", "AES-CCM-192", "AES-CCM-256"]),
            Self::AesCcmIiv(aes) => aes.of(["AES-CCM-128-IIV", "AES-CCM-192-IIV", "AES-CCM-256-IIV"]),
            Self::ChaCha20Poly1305 => "ChaCha20-Poly1305",
            Self::ChaCha20Poly1305Iiv => "ChaCha20-Poly1305-IIV",
            Self::AesGmac(aes) => aes.of(["AES-GMAC-128", "AES-GMAC-192", "AES-GMAC-256"]),
            Self::AesCbc(aes, _) => aes.of(["AES-CBC-128", "AES-CBC-192", "AES-CBC-256"]),
            Self::AesCtr(aes, _) => aes.of(["AES-CTR-128", "AES-CTR-192", "AES-CTR-256"]),
            Self::Null(_) => "NULL",
        }
    }

    /// The integrity algorithm. `None` of a combined mode algorithm, whose ICV is the cipher's own.
    #[must_use]
    pub const fn integrity_algorithm(self) -> Option<Integrity> {
        match self {
            Self::AesCbc(_, integrity) | Self::AesCtr(_, integrity) | Self::Null(integrity) => {
                Some(integrity)
            }
            _ => None,
        }
    }

    /// The integrity algorithm's name. `None` of a combined mode algorithm.
    #[must_use]
    pub const fn integrity(self) -> Option<&'static str> {
        match self.integrity_algorithm() {
            Some(integrity) => Some(integrity.name()),
            None => None,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.integrity() {
            Some(integrity) => write!(f, "{} with {integrity}", self.encryption()),
            None => {
                let article = if self.icv_len() == 8 { "an" } else { "a" };
                write!(f, "{} with {article} {}-octet ICV", self.encryption(), self.icv_len())
            }
        }
    }
}

/// Where the ciphertext stands in a packet of `packet_len` octets, from the SPI to the end of the ICV.
///
/// `None` if the length can't be right: too short for the pad length and the next header, longer than IP can
/// carry, or a ciphertext that is no multiple of [`Suite::block_len`].
#[inline]
#[must_use]
pub fn ciphertext_range(suite: Suite, packet_len: usize) -> Option<Range<usize>> {
    let start = HEADER_LEN + suite.iv_len();
    let end = packet_len.checked_sub(suite.icv_len())?;
    let ciphertext_len = end.checked_sub(start)?;
    let is_possible = ciphertext_len >= TRAILER_LEN && packet_len as u64 <= MAX_PACKET_LEN;
    (is_possible && ciphertext_len.is_multiple_of(suite.block_len())).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_suite_is_there_once_with_a_name_of_its_own() {
        let suites = Suite::all().collect::<Vec<_>>();
        assert_eq!(suites.len(), 9 + 3 + 9 + 3 + 2 + 3 + 15 + 15 + 5);
        assert_eq!(suites.iter().collect::<HashSet<_>>().len(), suites.len());
        assert_eq!(suites.iter().map(Suite::to_string).collect::<HashSet<_>>().len(), suites.len());
    }

    #[test]
    fn names_say_the_key_length() {
        for aes in AesKeyLen::ALL {
            assert_eq!(aes.octets() * 8, usize::from(aes.bits()));
            let bits = aes.bits();
            let icv = IcvLen::Icv16;
            assert_eq!(Suite::AesGcm(aes, icv).encryption(), format!("AES-GCM-{bits}"));
            assert_eq!(Suite::AesGcmIiv(aes).encryption(), format!("AES-GCM-{bits}-IIV"));
            assert_eq!(Suite::AesCcm(aes, icv).encryption(), format!("AES-CCM-{bits}"));
            assert_eq!(Suite::AesCcmIiv(aes).encryption(), format!("AES-CCM-{bits}-IIV"));
            assert_eq!(Suite::AesGmac(aes).encryption(), format!("AES-GMAC-{bits}"));
            assert_eq!(Suite::AesCbc(aes, Integrity::HmacSha1_96).encryption(), format!("AES-CBC-{bits}"));
            assert_eq!(Suite::AesCtr(aes, Integrity::HmacSha1_96).encryption(), format!("AES-CTR-{bits}"));
        }
        for (suite, name) in [
            (
                Suite::AesCbc(AesKeyLen::Aes256, Integrity::HmacSha256_128),
                "AES-CBC-256 with HMAC-SHA-256-128",
            ),
            (Suite::AesGcm(AesKeyLen::Aes128, IcvLen::Icv16), "AES-GCM-128 with a 16-octet ICV"),
            (Suite::AesCcm(AesKeyLen::Aes192, IcvLen::Icv8), "AES-CCM-192 with an 8-octet ICV"),
            (Suite::Null(Integrity::HmacSha512_256), "NULL with HMAC-SHA-512-256"),
            (Suite::ChaCha20Poly1305, "ChaCha20-Poly1305 with a 16-octet ICV"),
        ] {
            assert_eq!(suite.to_string(), name);
        }
    }

    #[test]
    fn lengths_are_those_of_the_rfcs() {
        use AesKeyLen::{Aes128, Aes256};
        let sha1 = Integrity::HmacSha1_96;
        for (suite, lens) in [
            // IV, ICV, encryption key with salt.
            (Suite::AesGcm(Aes128, IcvLen::Icv12), [8, 12, 20]),
            (Suite::AesGcmIiv(Aes256), [0, 16, 36]),
            (Suite::AesCcm(Aes128, IcvLen::Icv8), [8, 8, 19]),
            (Suite::AesCcmIiv(Aes256), [0, 8, 35]),
            (Suite::ChaCha20Poly1305, [8, 16, 36]),
            (Suite::ChaCha20Poly1305Iiv, [0, 16, 36]),
            (Suite::AesGmac(Aes128), [8, 16, 20]),
            (Suite::AesCbc(Aes128, sha1), [16, 12, 16]),
            (Suite::AesCtr(Aes256, Integrity::HmacSha384_192), [8, 24, 36]),
            (Suite::Null(Integrity::HmacSha512_256), [0, 32, 0]),
        ] {
            assert_eq!([suite.iv_len(), suite.icv_len(), suite.encryption_key_len()], lens, "{suite}");
        }
        for integrity in Integrity::ALL {
            // RFC 4868: half of the hash, under a key as long as the hash.
            if integrity.icv_len() != 12 {
                assert_eq!(integrity.key_len(), 2 * integrity.icv_len());
            }
        }
    }

    #[test]
    fn counter_modes_are_those_with_a_salt() {
        for suite in Suite::all() {
            assert_eq!(suite.is_counter_mode(), suite.salt_len() > 0, "{suite}");
        }
    }

    #[test]
    fn the_ciphertext_is_at_least_one_block_and_whole_blocks() {
        let gcm = Suite::AesGcm(AesKeyLen::Aes256, IcvLen::Icv16);
        let cbc = Suite::AesCbc(AesKeyLen::Aes128, Integrity::HmacSha256_128);
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
        let null = Suite::Null(Integrity::HmacSha1_96);
        assert_eq!(ciphertext_range(null, 21), None);
        assert_eq!(ciphertext_range(null, 22), Some(8..10));
        assert_eq!(ciphertext_range(null, u32::MAX as usize), Some(8..u32::MAX as usize - 12));
        assert_eq!(ciphertext_range(null, u32::MAX as usize + 1), None);
    }
}
