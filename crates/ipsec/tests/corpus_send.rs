//! The ESP corpus for a sender: packets of other implementations, made again with their sequence numbers and IVs.
//!
//! tests/data/corpus/README.md says what the cases are. `ESPWIRE_CORPUS=FILE` runs another corpus of the same form.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;
use std::time::Duration;

use espwire_ipsec::{Df, DropReason, Event, Outgoing, Sad, Sender, Sent, TunnelHeaders, danger, xfrm};
use serde_json::Value;

/// The lines of the corpus.
fn lines() -> Vec<Value> {
    let path = std::env::var("ESPWIRE_CORPUS").unwrap_or_else(|_| {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/corpus/corpus.jsonl.gz").to_owned()
    });
    let file = File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let file: Box<dyn Read> =
        if path.ends_with(".gz") { Box::new(flate2::read::GzDecoder::new(file)) } else { Box::new(file) };
    let lines = BufReader::new(file).lines().map(|line| line.expect("text"));
    lines.map(|line| serde_json::from_str(&line).expect("JSON")).collect()
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

/// The SA as the line that adds it to a kernel which has sent the number `last`.
fn xfrm_out(sa: &Value, last: u64) -> String {
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
    let sequence = if sa["esn"] == true {
        format!("flag esn replay-oseq {:#x} replay-oseq-hi {:#x}", last as u32, last >> 32)
    } else {
        format!("replay-oseq {last:#x}")
    };
    let encap = sa["encap"].as_object().map_or_else(String::new, |encap| {
        format!("encap espinudp {} {} 0.0.0.0", encap["sport"], encap["dport"])
    });
    format!(
        "ip xfrm state add src {} dst {} proto esp spi {:#x} mode {} replay-window {} {sequence} {algorithms} {encap}",
        text(sa, "src"),
        text(sa, "dst"),
        number(sa, "spi"),
        text(sa, "mode"),
        number(sa, "window"),
    )
}

/// A sender with this SA, whose place is 0. The corpus has DF clear in all outer headers.
fn sender(sa: &Value, last: u64) -> Sender {
    let line = xfrm_out(sa, last);
    let states = xfrm::parse("corpus", &line).unwrap_or_else(|error| panic!("{error}\n{line}"));
    let sad = Sad::sending([&states], Duration::ZERO, || [7; 32]);
    let mut sender = Sender::new(sad.unwrap_or_else(|error| panic!("{error}\n{line}")));
    sender.set_headers(0, TunnelHeaders { df: Df::Clear, ..TunnelHeaders::default() });
    sender
}

/// What a packet becomes, and what is told, with this IV or one of the SA's own.
fn send(
    sender: &mut Sender,
    sa: &Value,
    plain: &[u8],
    iv: Option<&str>,
) -> (Result<Vec<u8>, Sent>, Vec<Event>) {
    if let Some(iv) = iv {
        let dst: IpAddr = text(sa, "dst").parse().expect("an address");
        assert!(danger::force_iv(sender, number(sa, "spi") as u32, dst, &octets(iv)), "{iv} fits no IV");
    }
    let (mut sent, mut events) = (Vec::new(), Vec::new());
    sender.send_burst(Duration::ZERO, &[Outgoing::Packet { sa: 0, packet: plain }], &mut sent, &mut events);
    assert_eq!(sent.len(), 1);
    let result = match sent.remove(0) {
        Sent::Packet(at) => Ok(sender.octets()[at].to_vec()),
        unsent => Err(unsent),
    };
    (result, events)
}

/// An outer header without what a sender constructs: identification and checksum of IPv4, and the checksum that it
/// writes into UDP over IPv6.
fn without_constructed(packet: &[u8], esp_at: usize) -> Vec<u8> {
    let mut headers = packet[..esp_at].to_vec();
    if headers[0] >> 4 == 4 {
        headers[4..6].fill(0);
        headers[10..12].fill(0);
    }
    let is_udp = headers[if headers[0] >> 4 == 4 { 9 } else { 6 }] == 17;
    if is_udp {
        headers[esp_at - 2..].fill(0);
    }
    headers
}

/// What was checked.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    packets: usize,
    /// Of those, packets in transport mode, whose headers are equal to the octet.
    transport: usize,
    senders: usize,
    steps: usize,
    overflows: usize,
}

/// A received packet of the corpus that is right, made again.
fn send_packet(count: &mut Count, sa: &Value, case: &Value) {
    let (id, esp_at) = (text(case, "id"), number(case, "esp_off") as usize);
    let expected = octets(text(case, "esp"));
    let plain = octets(text(case, "plain"));
    let mut sender = sender(sa, number(case, "seq") - 1);
    let (result, events) = send(&mut sender, sa, &plain, Some(text(case, "iv")));
    let packet = result.unwrap_or_else(|unsent| panic!("{id}: {unsent:?}"));
    assert_eq!(events, [], "{id}");
    assert!(packet[esp_at..] == expected[esp_at..], "{id}: another ESP packet");
    assert_eq!(without_constructed(&packet, esp_at), without_constructed(&expected, esp_at), "{id}");
    if text(sa, "mode") == "transport" && !sa["encap"].is_object() {
        assert_eq!(packet[..esp_at], expected[..esp_at], "{id}");
        count.transport += 1;
    }
    count.packets += 1;
}

/// A sender from one number on.
fn send_steps(count: &mut Count, sa: &Value, case: &Value) {
    let id = text(case, "id");
    let mut sender = sender(sa, number(case, "first_seq") - 1);
    for step in case["steps"].as_array().expect("steps") {
        let iv = step.get("iv").and_then(Value::as_str);
        let (result, events) = send(&mut sender, sa, &octets(text(step, "plain")), iv);
        if text(step, "verdict") == "ok" {
            let packet = result.unwrap_or_else(|unsent| panic!("{id}: {unsent:?}"));
            assert_eq!(packet[20..], octets(text(step, "esp")), "{id}");
            assert_eq!(events, [], "{id}");
        } else {
            assert_eq!(text(step, "reason"), DropReason::SeqOverflow.name());
            assert_eq!(result, Err(Sent::Drop(DropReason::SeqOverflow)), "{id}");
            assert!(matches!(&events[..], [Event::Audit(audit)] if audit.reason == DropReason::SeqOverflow));
            count.overflows += 1;
        }
        count.steps += 1;
    }
    count.senders += 1;
}

#[test]
fn every_sent_case_of_the_corpus() {
    let lines = lines();
    let of_kind = |kind: &'static str| lines.iter().filter(move |line| line["kind"] == kind);
    let sas: HashMap<_, _> = of_kind("sa").map(|sa| (text(sa, "id"), sa)).collect();
    let mut count = Count::default();
    // Of two jumbo packets the plaintext is not there.
    for case in of_kind("pkt").filter(|case| case.get("iv").is_some() && case.get("plain").is_some()) {
        send_packet(&mut count, sas[text(case, "sa")], case);
    }
    for case in of_kind("tx") {
        send_steps(&mut count, sas[text(case, "sa")], case);
    }
    println!("{count:?}");
    if std::env::var_os("ESPWIRE_CORPUS").is_none() {
        let expected = Count { packets: 649, transport: 61, senders: 9, steps: 27, overflows: 4 };
        assert_eq!(count, expected);
    }
    assert!(count.packets > 0 && count.senders > 0);
}
