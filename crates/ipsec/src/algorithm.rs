//! From the algorithms of `ip xfrm` to a suite.
//!
//! Taken is what Linux has and RFC 8221 does not give up, and implicit IVs, which Linux has not. The rest is refused by
//! name, with the reason.

use espwire_esp::{AesKeyLen, IcvLen, Integrity, Suite};

use crate::xfrm::{Algorithm, Position, State};

/// A state's algorithms that make a suite.
pub(crate) struct Algorithms<'a> {
    pub(crate) suite: Suite,
    /// The one with the cipher's key: `aead` or `enc`.
    pub(crate) encryption: &'a Algorithm,
    /// `auth` or `auth-trunc`.
    pub(crate) integrity: Option<&'a Algorithm>,
}

/// Why there is no suite, and where in the state's text.
pub(crate) struct Refusal {
    pub(crate) position: Position,
    pub(crate) reason: String,
}

impl Refusal {
    fn of(algorithm: &Algorithm, reason: impl Into<String>) -> Self {
        Self { position: algorithm.position, reason: reason.into() }
    }
}

/// The suite that a state's algorithms make.
pub(crate) fn algorithms(state: &State) -> Result<Algorithms<'_>, Refusal> {
    match (&state.aead, &state.encryption, &state.integrity) {
        (Some(aead), None, None) => {
            Ok(Algorithms { suite: combined(aead)?, encryption: aead, integrity: None })
        }
        (None, Some(encryption), Some(integrity)) => {
            let suite = separate(encryption, self::integrity(integrity)?)?;
            Ok(Algorithms { suite, encryption, integrity: Some(integrity) })
        }
        (None, Some(encryption), None) => Err(Refusal::of(
            encryption,
            "encryption without integrity is not supported: RFC 8221 section 4 has it a MUST NOT",
        )),
        _ => Err(Refusal {
            position: state.position,
            reason: "the state has neither `aead` nor `enc` with `auth` or `auth-trunc`".to_owned(),
        }),
    }
}

/// The suite of an `aead`.
fn combined(aead: &Algorithm) -> Result<Suite, Refusal> {
    let icv_len = || match aead.effective_icv_bits() {
        Some(64) => Ok(IcvLen::Icv8),
        Some(96) => Ok(IcvLen::Icv12),
        Some(128) => Ok(IcvLen::Icv16),
        bits => Err(wrong_icv(aead, bits, &[64, 96, 128])),
    };
    let full_icv = || match aead.effective_icv_bits() {
        Some(128) => Ok(()),
        bits => Err(wrong_icv(aead, bits, &[128])),
    };
    match aead.kernel_name() {
        "rfc4106(gcm(aes))" => Ok(Suite::AesGcm(aes_key_len(aead, 4)?, icv_len()?)),
        "rfc4309(ccm(aes))" => Ok(Suite::AesCcm(aes_key_len(aead, 3)?, icv_len()?)),
        // RFC 8750, in names of our own: Linux has none. Of AES-CCM its ICV has 8 octets.
        "rfc8750(gcm(aes))" => full_icv().and_then(|()| Ok(Suite::AesGcmIiv(aes_key_len(aead, 4)?))),
        "rfc8750(ccm(aes))" => match aead.effective_icv_bits() {
            Some(64) => Ok(Suite::AesCcmIiv(aes_key_len(aead, 3)?)),
            bits => Err(wrong_icv(aead, bits, &[64])),
        },
        "rfc8750(chacha20,poly1305)" => full_icv().map(|()| Suite::ChaCha20Poly1305Iiv),
        "rfc4543(gcm(aes))" => full_icv().and_then(|()| Ok(Suite::AesGmac(aes_key_len(aead, 4)?))),
        "rfc7539esp(chacha20,poly1305)" => full_icv().map(|()| Suite::ChaCha20Poly1305),
        _ => Err(unsupported(aead)),
    }
}

/// The suite of an `enc` with an integrity algorithm.
fn separate(encryption: &Algorithm, integrity: Integrity) -> Result<Suite, Refusal> {
    match encryption.kernel_name() {
        "cbc(aes)" => Ok(Suite::AesCbc(aes_key_len(encryption, 0)?, integrity)),
        "rfc3686(ctr(aes))" => Ok(Suite::AesCtr(aes_key_len(encryption, 4)?, integrity)),
        "ecb(cipher_null)" => Ok(Suite::Null(integrity)),
        _ => Err(unsupported(encryption)),
    }
}

/// What an `auth` or `auth-trunc` can be: its name, the ICV's length in bits.
const INTEGRITY: [(&str, u32, Integrity); 5] = [
    ("hmac(sha1)", 96, Integrity::HmacSha1_96),
    ("hmac(sha256)", 96, Integrity::HmacSha256_96),
    ("hmac(sha256)", 128, Integrity::HmacSha256_128),
    ("hmac(sha384)", 192, Integrity::HmacSha384_192),
    ("hmac(sha512)", 256, Integrity::HmacSha512_256),
];

fn integrity(algorithm: &Algorithm) -> Result<Integrity, Refusal> {
    let bits = algorithm.effective_icv_bits();
    let known = INTEGRITY.iter().filter(|(name, ..)| *name == algorithm.kernel_name());
    if let Some((.., integrity)) = known.clone().find(|(_, known, _)| bits == Some(*known)) {
        return Ok(*integrity);
    }
    let lens = known.map(|(_, bits, _)| *bits).collect::<Vec<_>>();
    Err(if lens.is_empty() { unsupported(algorithm) } else { wrong_icv(algorithm, bits, &lens) })
}

/// The length of an AES key with `salt_len` octets after it.
fn aes_key_len(algorithm: &Algorithm, salt_len: usize) -> Result<AesKeyLen, Refusal> {
    let len = algorithm.key.len();
    AesKeyLen::ALL.into_iter().find(|aes| aes.octets() + salt_len == len).ok_or_else(|| {
        let lens = AesKeyLen::ALL.map(|aes| (aes.octets() + salt_len).to_string()).join(", ");
        let reason = format!("the key of {} has {len} octets, not one of {lens}", algorithm.name);
        Refusal { position: algorithm.key_position, reason }
    })
}

fn wrong_icv(algorithm: &Algorithm, bits: Option<u32>, supported: &[u32]) -> Refusal {
    let bits = bits.unwrap_or_default();
    let supported = supported.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let reason = format!("an ICV of {bits} bits is not supported for {}: {supported}", algorithm.name);
    Refusal::of(algorithm, reason)
}

/// Why an algorithm that Linux has is none of ours.
fn unsupported(algorithm: &Algorithm) -> Refusal {
    let why = match algorithm.kernel_name() {
        "cbc(des)" | "cbc(blowfish)" => ": RFC 8221 section 5 has it a MUST NOT",
        "cbc(des3_ede)" => ": RFC 8221 section 5 has it a SHOULD NOT",
        "hmac(md5)" => ": RFC 8221 section 6 has it a MUST NOT",
        "digest_null" => ": encryption without integrity is a MUST NOT (RFC 8221 section 4)",
        name if is_not_implemented(name) => ": espwire does not implement it",
        _ => "",
    };
    Refusal::of(algorithm, format!("algorithm {} is not supported{why}", algorithm.name))
}

/// Of the algorithms that Linux has for ESP, those that RFC 8221 leaves open and espwire leaves out.
fn is_not_implemented(name: &str) -> bool {
    [
        "cbc(camellia)",
        "cbc(cast5)",
        "cbc(serpent)",
        "cbc(sm4)",
        "cbc(twofish)",
        "cmac(aes)",
        "hmac(rmd160)",
        "hmac(sm3)",
        "rfc3686(ctr(sm4))",
        "xcbc(aes)",
    ]
    .contains(&name)
}
