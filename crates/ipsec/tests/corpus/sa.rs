//! The corpus's SAs.

use serde_json::Value;

use crate::lines::{number, text};

/// The SA as the line that adds it to a kernel, with more `words`, which come last.
pub(crate) fn state(sa: &Value, words: &str) -> String {
    let (key, salt, auth_key) = (text(sa, "enc_key"), text(sa, "salt"), text(sa, "auth_key"));
    let icv_bits = number(sa, "icv_len") * 8;
    let separate = |name: &str| {
        let auth = text(sa, "auth").split('-').nth(1).expect("hmac-HASH-BITS");
        let key = if key.is_empty() { "\"\"".to_owned() } else { format!("0x{key}{salt}") };
        format!("auth-trunc 'hmac({auth})' 0x{auth_key} {icv_bits} enc '{name}' {key}")
    };
    let combined = |name: &str| format!("aead '{name}' 0x{key}{salt} {icv_bits}");
    let algorithms = match text(sa, "enc") {
        "null" => separate("ecb(cipher_null)"),
        "aes-cbc" => separate("cbc(aes)"),
        "aes-ctr" => separate("rfc3686(ctr(aes))"),
        "aes-gcm" => combined("rfc4106(gcm(aes))"),
        "aes-gmac" => combined("rfc4543(gcm(aes))"),
        "chacha20-poly1305" => combined("rfc7539esp(chacha20,poly1305)"),
        other => panic!("suite {other}"),
    };
    let esn = if sa["esn"] == true { "flag esn" } else { "" };
    let encap = sa["encap"].as_object().map_or_else(String::new, |encap| {
        format!("encap espinudp {} {} 0.0.0.0", encap["sport"], encap["dport"])
    });
    format!(
        "ip xfrm state add src {} dst {} proto esp spi {:#x} mode {} replay-window {} {esn} {algorithms} {encap} {words}",
        text(sa, "src"),
        text(sa, "dst"),
        number(sa, "spi"),
        text(sa, "mode"),
        number(sa, "window"),
    )
}
