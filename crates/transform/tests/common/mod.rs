//! What the tests share: vectors, suites, and octets that differ from each other.

#![allow(dead_code, reason = "each test uses a part")]

use espwire_transform::danger::seal_burst;
use espwire_transform::{AesKeyLen, IcvLen, Integrity, Job, SaKey, Status, Suite, open_burst};
use serde::Deserialize;

/// A packet with its keys, as someone else made it.
#[derive(Clone, Deserialize)]
pub(crate) struct Vector {
    pub(crate) id: String,
    #[serde(deserialize_with = "suite")]
    pub(crate) suite: Suite,
    #[serde(deserialize_with = "hex")]
    pub(crate) encryption_key: Vec<u8>,
    #[serde(deserialize_with = "hex")]
    pub(crate) integrity_key: Vec<u8>,
    pub(crate) esn_high: Option<u32>,
    #[serde(deserialize_with = "hex")]
    pub(crate) payload: Vec<u8>,
    #[serde(deserialize_with = "hex")]
    pub(crate) esp: Vec<u8>,
}

impl Vector {
    pub(crate) fn key(&self) -> SaKey {
        SaKey::new(self.suite, &self.encryption_key, &self.integrity_key)
            .unwrap_or_else(|error| panic!("{}: {error}", self.id))
    }
}

/// draft-mcgrew-gcm-test-01 and RFC 7634 Appendix A.
pub(crate) fn published() -> Vec<Vector> {
    parse(include_str!("../vectors/published.jsonl"))
}

/// The corpus's.
pub(crate) fn positive() -> Vec<Vector> {
    parse(include_str!("../vectors/esp-positive.jsonl"))
}

/// Those of the suites that the corpus lacks.
pub(crate) fn composed() -> Vec<Vector> {
    parse(include_str!("../vectors/esp-composed.jsonl"))
}

fn parse(lines: &str) -> Vec<Vector> {
    lines.lines().map(|line| serde_json::from_str(line).expect("a vector")).collect()
}

fn suite<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Suite, D::Error> {
    let name = String::deserialize(deserializer)?;
    named(&name).ok_or_else(|| serde::de::Error::custom(format!("unknown suite {name}")))
}

/// The suite of a name such as `aes-gcm-128-icv8`, `aes-ccm-192-iiv` or `aes-cbc-256+hmac-sha1-96`.
fn named(name: &str) -> Option<Suite> {
    if let Some((cipher, integrity)) = name.split_once('+') {
        let integrity = match integrity {
            "hmac-sha1-96" => Integrity::HmacSha1_96,
            "hmac-sha256-96" => Integrity::HmacSha256_96,
            "hmac-sha256-128" => Integrity::HmacSha256_128,
            "hmac-sha384-192" => Integrity::HmacSha384_192,
            "hmac-sha512-256" => Integrity::HmacSha512_256,
            _ => return None,
        };
        return Some(match cipher.rsplit_once('-') {
            Some(("aes-cbc", bits)) => Suite::AesCbc(key_len(bits)?, integrity),
            Some(("aes-ctr", bits)) => Suite::AesCtr(key_len(bits)?, integrity),
            _ => (cipher == "null").then_some(Suite::Null(integrity))?,
        });
    }
    match name {
        "chacha20-poly1305" => return Some(Suite::ChaCha20Poly1305),
        "chacha20-poly1305-iiv" => return Some(Suite::ChaCha20Poly1305Iiv),
        _ => {}
    }
    if let Some(bits) = name.strip_prefix("aes-gmac-") {
        return Some(Suite::AesGmac(key_len(bits)?));
    }
    let (cipher, ending) = name.rsplit_once('-')?;
    let (cipher, bits) = cipher.rsplit_once('-')?;
    let icv_len = IcvLen::ALL.into_iter().find(|len| ending == format!("icv{}", len.octets()));
    Some(match (cipher, icv_len) {
        ("aes-gcm", Some(len)) => Suite::AesGcm(key_len(bits)?, len),
        ("aes-ccm", Some(len)) => Suite::AesCcm(key_len(bits)?, len),
        ("aes-gcm", None) if ending == "iiv" => Suite::AesGcmIiv(key_len(bits)?),
        ("aes-ccm", None) if ending == "iiv" => Suite::AesCcmIiv(key_len(bits)?),
        _ => return None,
    })
}

fn key_len(bits: &str) -> Option<AesKeyLen> {
    AesKeyLen::ALL.into_iter().find(|len| bits == len.bits().to_string())
}

fn hex<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let octet = |at| u8::from_str_radix(&text[at..at + 2], 16).map_err(serde::de::Error::custom);
    (0..text.len()).step_by(2).map(octet).collect()
}

/// `len` octets that no other `seed` gives (splitmix64).
pub(crate) fn octets(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x0065_7370_7769_7265;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// A key of its own for each `seed`.
pub(crate) fn key(suite: Suite, seed: u64) -> SaKey {
    SaKey::new(suite, &octets(seed, suite.encryption_key_len()), &octets(!seed, integrity_key_len(suite)))
        .expect("lengths that the suite names")
}

/// Octets of integrity key that the suite's RFC fixes; 0 for a combined mode algorithm.
pub(crate) fn integrity_key_len(suite: Suite) -> usize {
    suite.integrity_algorithm().map_or(0, Integrity::key_len)
}

/// Octets of a packet with `blocks` blocks of ciphertext, of 4 octets at least.
pub(crate) fn packet_len(suite: Suite, blocks: usize) -> usize {
    8 + suite.iv_len() + blocks * suite.block_len().max(4) + suite.icv_len()
}

/// A burst of one.
pub(crate) fn seal(key: &SaKey, esn_high: Option<u32>, packet: &mut [u8]) -> Status {
    let mut jobs = [Job::new(key, esn_high, packet)];
    seal_burst(&mut jobs);
    jobs[0].status
}

/// A burst of one.
pub(crate) fn open(key: &SaKey, esn_high: Option<u32>, packet: &mut [u8]) -> Status {
    let mut jobs = [Job::new(key, esn_high, packet)];
    open_burst(&mut jobs);
    jobs[0].status
}

/// Prints a line that the test harness does not swallow.
pub(crate) fn count(line: std::fmt::Arguments<'_>) {
    use std::io::Write;
    writeln!(std::io::stdout().lock(), "{line}").expect("stdout");
}
