//! Packets of other implementations, made again by an outbound SA, octet for octet.
//!
//! tests/data/corpus/README.md says what the cases are. Of `tx` every step is sent. Of `pkt` every packet that is to be
//! delivered is opened, and sealed again as a sender with that number would: same IV, padding, TFC padding, next
//! header.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Range;

use espwire_esp::{
    AesKeyLen, IcvLen, InboundSa, Integrity, Numbering, OutboundSa, SaKey, SealBurst, Suite, Unprepared,
    danger,
};
use serde_json::Value;

fn lines() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/corpus/corpus.jsonl.gz");
    let lines = BufReader::new(flate2::read::GzDecoder::new(File::open(path).expect(path))).lines();
    lines.map(|line| serde_json::from_str(&line.expect("text")).expect("JSON")).collect()
}

fn sas(lines: &[Value]) -> HashMap<&str, &Value> {
    lines.iter().filter(|line| line["kind"] == "sa").map(|sa| (text(sa, "id"), sa)).collect()
}

fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_else(|| panic!("no {key} in {case}"))
}

fn number(case: &Value, key: &str) -> u64 {
    case[key].as_u64().unwrap_or_else(|| panic!("no {key} in {case}"))
}

fn octets(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

fn key(sa: &Value) -> SaKey {
    let encryption_key = octets(text(sa, "enc_key"));
    let icv_len = number(sa, "icv_len") as usize;
    let aes = AesKeyLen::ALL.into_iter().find(|aes| aes.octets() == encryption_key.len());
    let aes = || aes.expect("an AES key");
    let icv = || IcvLen::ALL.into_iter().find(|icv| icv.octets() == icv_len).expect("a length of ICV");
    let integrity = || match text(sa, "auth") {
        "hmac-sha1-96" => Integrity::HmacSha1_96,
        "hmac-sha256-96" => Integrity::HmacSha256_96,
        "hmac-sha256-128" => Integrity::HmacSha256_128,
        "hmac-sha384-192" => Integrity::HmacSha384_192,
        "hmac-sha512-256" => Integrity::HmacSha512_256,
        other => panic!("{other}"),
    };
    let suite = match text(sa, "enc") {
        "null" => Suite::Null(integrity()),
        "aes-cbc" => Suite::AesCbc(aes(), integrity()),
        "aes-ctr" => Suite::AesCtr(aes(), integrity()),
        "aes-gcm" => Suite::AesGcm(aes(), icv()),
        "aes-gmac" => Suite::AesGmac(aes()),
        "chacha20-poly1305" => Suite::ChaCha20Poly1305,
        other => panic!("{other}"),
    };
    assert_eq!(suite.icv_len(), icv_len);
    let encryption_key = [encryption_key, octets(text(sa, "salt"))].concat();
    SaKey::new(suite, &encryption_key, &octets(text(sa, "auth_key"))).expect("a right key")
}

fn sender(sa: &Value, last: u64) -> OutboundSa {
    let numbering = Numbering { esn: sa["esn"] == true, may_cycle: false, last };
    OutboundSa::new(key(sa), number(sa, "spi") as u32, numbering, [1; _].into())
}

/// The next packet, of `packet_len` octets, under `iv`.
fn send(
    sender: &mut OutboundSa,
    payload: &[u8],
    packet_len: usize,
    next_header: u8,
    iv: &[u8],
) -> Result<Vec<u8>, Unprepared> {
    let mut packet = vec![0; packet_len];
    packet[sender.payload_at()..][..payload.len()].copy_from_slice(payload);
    assert!(danger::force_iv(sender, iv));
    let unsealed = sender.prepare(&mut packet, payload.len(), next_header)?;
    let mut burst = SealBurst::default();
    burst.push(sender, unsealed, &mut packet);
    burst.seal().expect("sealed");
    Ok(packet)
}

/// Where ESP stands in an IP packet; `None` behind extension headers.
fn esp_range(ip: &[u8]) -> Option<Range<usize>> {
    let field = |at| usize::from(u16::from_be_bytes([ip[at], ip[at + 1]]));
    let (protocol, at, len) = match ip[0] >> 4 {
        4 => (ip[9], usize::from(ip[0] & 15) * 4, field(2)),
        _ => (ip[6], 40, 40 + field(4)),
    };
    match protocol {
        50 => Some(at..len),
        17 => Some(at + 8..at + field(at + 4)),
        _ => None,
    }
}

#[test]
fn every_sender_of_the_corpus() {
    let lines = lines();
    let sas = sas(&lines);
    let mut steps = 0;
    for case in lines.iter().filter(|line| line["kind"] == "tx") {
        let mut sender = sender(sas[text(case, "sa")], number(case, "first_seq") - 1);
        for step in case["steps"].as_array().expect("steps") {
            steps += 1;
            let plain = octets(text(step, "plain"));
            let packet_len = sender.packet_len(plain.len());
            let iv = step["iv"].as_str().map_or(vec![0; sender.suite().iv_len()], octets);
            let packet = send(&mut sender, &plain, packet_len, 4, &iv);
            if step["verdict"] == "ok" {
                assert_eq!(sender.last(), number(step, "seq"));
                assert_eq!(packet, Ok(octets(text(step, "esp"))), "{}", text(case, "id"));
            } else {
                assert_eq!(packet, Err(Unprepared::SequenceOverflow), "{}", text(case, "id"));
            }
        }
    }
    assert_eq!(steps, 27);
}

#[test]
fn every_delivered_packet_of_the_corpus_sealed_again() {
    let lines = lines();
    let sas = sas(&lines);
    let (mut packets, mut others) = (0, Vec::new());
    for case in lines.iter().filter(|line| line["kind"] == "pkt" && line["verdict"] == "ok") {
        let (id, sa) = (text(case, "id"), sas[text(case, "sa")]);
        let ip = octets(text(case, "esp"));
        let Some(range) = esp_range(&ip) else {
            // Extension headers: for who reads IP.
            others.push(id);
            continue;
        };
        let received = &ip[range];
        let mut opened = received.to_vec();
        let window = number(sa, "window") as u32;
        let mut receiver = InboundSa::resumed(key(sa), sa["esn"] == true, window, number(case, "top"), []);
        let prepared = receiver.prepare(&opened).expect(id);
        let verified = receiver.open(prepared, &mut opened).expect(id);
        let sequence = verified.sequence();
        let trailer = receiver.accept(verified, &opened).expect(id).trailer.expect(id);
        let Some(last) = sequence.checked_sub(1) else {
            // Taken with anti-replay off, but not sent by anybody whose numbers don't come round.
            others.push(id);
            continue;
        };
        let plaintext = receiver.plaintext(&opened);
        let payload = &plaintext[..trailer.padding(plaintext).expect(id).start];
        let mut sender = sender(sa, last);
        let iv = &received[8..sender.payload_at()];
        let packet = send(&mut sender, payload, received.len(), trailer.next_header, iv);
        assert!(packet.as_deref() == Ok(received), "{id}");
        packets += 1;
    }
    println!("{packets} packets sealed again; left out: {others:?}");
    assert!(packets > 800 && others.len() < 30);
}
