//! What the tests share: vectors, suites, and octets that differ from each other.

#![allow(dead_code, reason = "each test uses a part")]

use espwire_transform::danger::seal_burst;
use espwire_transform::{AesKeyLen, Job, SaKey, Status, Suite, open_burst};
use serde::Deserialize;

pub(crate) const SUITES: [Suite; 6] = [
    Suite::AesCbcHmacSha256(AesKeyLen::Aes128),
    Suite::AesCbcHmacSha256(AesKeyLen::Aes192),
    Suite::AesCbcHmacSha256(AesKeyLen::Aes256),
    Suite::AesGcm(AesKeyLen::Aes128),
    Suite::AesGcm(AesKeyLen::Aes192),
    Suite::AesGcm(AesKeyLen::Aes256),
];

/// A packet with its keys, as someone else made it.
#[derive(Deserialize)]
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

/// draft-mcgrew-gcm-test-01.
pub(crate) fn published() -> Vec<Vector> {
    parse(include_str!("../vectors/gcm-draft.jsonl"))
}

/// The corpus's.
pub(crate) fn positive() -> Vec<Vector> {
    parse(include_str!("../vectors/esp-positive.jsonl"))
}

fn parse(lines: &str) -> Vec<Vector> {
    lines.lines().map(|line| serde_json::from_str(line).expect("a vector")).collect()
}

fn suite<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Suite, D::Error> {
    use AesKeyLen::{Aes128, Aes192, Aes256};
    Ok(match String::deserialize(deserializer)?.as_str() {
        "aes-gcm-128-icv16" => Suite::AesGcm(Aes128),
        "aes-gcm-192-icv16" => Suite::AesGcm(Aes192),
        "aes-gcm-256-icv16" => Suite::AesGcm(Aes256),
        "aes-cbc-128+hmac-sha256-128" => Suite::AesCbcHmacSha256(Aes128),
        "aes-cbc-192+hmac-sha256-128" => Suite::AesCbcHmacSha256(Aes192),
        "aes-cbc-256+hmac-sha256-128" => Suite::AesCbcHmacSha256(Aes256),
        other => return Err(serde::de::Error::custom(format!("unknown suite {other}"))),
    })
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
    let integrity_key_len = if suite.integrity().is_some() { 32 } else { 0 };
    SaKey::new(suite, &octets(seed, suite.encryption_key_len()), &octets(!seed, integrity_key_len))
        .expect("lengths that the suite names")
}

/// Octets of a packet with `blocks` blocks of ciphertext.
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
