//! The kind `kat`: a published vector, sealed and opened by the transform.

use espwire_esp::{AesKeyLen, IcvLen, Integrity, Job, SaKey, Status, Suite, danger, open_burst};
use serde_json::Value;

use crate::lines::{number, octets, text};
use crate::score::Score;

fn suite(sa: &Value) -> Option<Suite> {
    let key_len = octets(text(sa, "enc_key")).len();
    let aes = || AesKeyLen::ALL.into_iter().find(|aes| aes.octets() == key_len);
    let icv_len = || match number(sa, "icv_len") {
        8 => Some(IcvLen::Icv8),
        12 => Some(IcvLen::Icv12),
        16 => Some(IcvLen::Icv16),
        _ => None,
    };
    let integrity = || match sa["auth"].as_str()? {
        "hmac-sha1-96" => Some(Integrity::HmacSha1_96),
        "hmac-sha256-128" => Some(Integrity::HmacSha256_128),
        "hmac-sha384-192" => Some(Integrity::HmacSha384_192),
        "hmac-sha512-256" => Some(Integrity::HmacSha512_256),
        _ => None,
    };
    Some(match text(sa, "enc") {
        "null" => Suite::Null(integrity()?),
        "aes-cbc" => Suite::AesCbc(aes()?, integrity()?),
        "aes-ctr" => Suite::AesCtr(aes()?, integrity()?),
        "aes-gcm" => Suite::AesGcm(aes()?, icv_len()?),
        "aes-gmac" => Suite::AesGmac(aes()?),
        "chacha20-poly1305" => Suite::ChaCha20Poly1305,
        _ => return None,
    })
}

pub(crate) fn vector(score: &mut Score, case: &Value) {
    let sa = &case["sa"];
    let Some(suite) = suite(sa) else { return score.check(false, "the suite is not known") };
    let encryption_key = [octets(text(sa, "enc_key")), octets(text(sa, "salt"))].concat();
    let key =
        SaKey::new(suite, &encryption_key, &octets(text(sa, "auth_key"))).expect("keys of the right length");
    let (sequence, text_of) = (number(case, "seq"), |key| octets(text(case, key)));
    let esn_high = (sa["esn"] == true).then_some((sequence >> 32) as u32);
    let (iv, plaintext, sealed) = (text_of("iv"), text_of("pt"), text_of("esp"));

    let mut packet = (number(sa, "spi") as u32).to_be_bytes().to_vec();
    packet.extend((sequence as u32).to_be_bytes());
    packet.extend(&iv);
    packet.extend(&plaintext);
    packet.extend(vec![0; suite.icv_len()]);
    let mut jobs = [Job::new(&key, esn_high, &mut packet)];
    danger::seal_burst(&mut jobs);
    let is_sealed = jobs[0].status == Status::Done;
    score.check(is_sealed && packet == sealed, "sealed to something else");

    let mut packet = sealed;
    let mut jobs = [Job::new(&key, esn_high, &mut packet)];
    open_burst(&mut jobs);
    let is_open = jobs[0].status == Status::Done;
    let at = 8 + iv.len();
    let opened = packet.get(at..at + plaintext.len());
    score.check(is_open && opened == Some(&plaintext[..]), "opened to something else");
}
