//! The ESP corpus: packets of other implementations, and what a receiver is to make of them.
//!
//! tests/data/corpus/README.md says what the cases are. `ESPWIRE_CORPUS=FILE` runs another corpus of the same form.
//! The kinds `tx` and `kat` are for a sender, which is not here yet: they are counted and said to be so.

#[path = "../../../tests/harness/esp.rs"]
mod esp;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use espwire_ipsec::{DropReason, Passed, Received, Receiver, Sad, xfrm};
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

/// The SA as the line that adds it to a kernel, and the highest number that it has received.
fn xfrm(sa: &Value, top: u64) -> String {
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
    let esn = sa["esn"] == true;
    let sequence = if esn {
        format!("flag esn replay-seq {:#x} replay-seq-hi {:#x}", top as u32, top >> 32)
    } else {
        format!("replay-seq {top:#x}")
    };
    let encap = sa["encap"].as_object().map_or_else(String::new, |encap| {
        format!("encap espinudp {} {} 0.0.0.0", encap["sport"], encap["dport"])
    });
    let selector = sa
        .get("sel")
        .filter(|sel| sel.is_object())
        .map_or_else(String::new, |sel| format!("sel src {} dst {}", text(sel, "src"), text(sel, "dst")));
    format!(
        "ip xfrm state add src {} dst {} proto esp spi {:#x} mode {} replay-window {} {sequence} {algorithms} {encap} {selector}",
        text(sa, "src"),
        text(sa, "dst"),
        number(sa, "spi"),
        text(sa, "mode"),
        number(sa, "window"),
    )
}

fn receiver(sa: &Value, top: u64) -> Receiver {
    let line = xfrm(sa, top);
    let states = xfrm::parse("corpus", &line).unwrap_or_else(|error| panic!("{error}\n{line}"));
    Receiver::new(
        Sad::receiving([&states], std::time::Duration::ZERO)
            .unwrap_or_else(|error| panic!("{error}\n{line}")),
    )
}

/// What became of a packet: the verdict, the reason, and what is delivered.
fn receive(receiver: &mut Receiver, packet: &[u8]) -> (&'static str, &'static str, Vec<u8>) {
    let mut received = Vec::new();
    receiver.receive_burst(&[packet], &mut received);
    match received.remove(0) {
        Received::Packet(range) => ("ok", "", receiver.octets()[range].to_vec()),
        Received::Pass(passed) => ("pass", passed.name(), Vec::new()),
        Received::Drop(reason) => ("drop", reason.name(), Vec::new()),
    }
}

/// Whether two reasons count as one: with ESN a number left of the window is read as the next epoch's.
fn same_reason(esn: bool, a: &str, b: &str) -> bool {
    a == b || esn && [a, b].iter().all(|reason| ["auth_fail", "replay_old"].contains(reason))
}

#[derive(Default)]
struct Score {
    cases: BTreeMap<&'static str, usize>,
    checks: usize,
    wrong: Vec<String>,
}

impl Score {
    fn check(&mut self, id: &str, right: bool, found: impl std::fmt::Debug) {
        self.checks += 1;
        if !right {
            self.wrong.push(format!("{id}: {found:?}"));
        }
    }
}

/// One packet against a fresh receiver.
fn packet(score: &mut Score, sa: &Value, case: &Value) {
    let id = text(case, "id");
    let (verdict, reason, plain) =
        receive(&mut receiver(sa, number(case, "top")), &octets(text(case, "esp")));
    let alternatives = case.get("alt").and_then(Value::as_array).into_iter().flatten();
    let alternative = alternatives
        .filter_map(Value::as_str)
        .find(|&alt| alt == verdict || alt == "ok-unchanged" && verdict == "ok");
    if verdict != text(case, "verdict") {
        score.check(id, alternative.is_some(), (verdict, reason));
        return;
    }
    if verdict == "ok" {
        // Of the jumbo cases only a hash is there.
        let right = case.get("plain").is_none_or(|hex| octets(hex.as_str().expect("hex")) == plain);
        let hash = case.get("plain_sha256").and_then(Value::as_str);
        let right = right && hash.is_none_or(|hash| sha256(&plain) == hash);
        score.check(id, right || alternative.is_some(), "another plaintext");
        return;
    }
    let expected = case["reason"].as_str().unwrap_or_default();
    let others = case.get("alt_reason").and_then(Value::as_array).into_iter().flatten();
    let right = same_reason(sa["esn"] == true, expected, reason)
        || others.filter_map(Value::as_str).any(|other| other == reason)
        || case.get("lvl").is_some_and(|level| level != "MUST");
    score.check(id, right, (expected, reason));
}

fn sha256(octets: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(octets).iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Damaged copies of one packet: each against a fresh receiver, and each dropped.
fn damaged(score: &mut Score, sa: &Value, base: &Value, case: &Value) {
    let (id, good) = (text(case, "id"), octets(text(base, "esp")));
    for op in case["ops"].as_array().expect("ops") {
        let at = op[0].as_u64().expect("a number") as usize;
        let mut copy = good.clone();
        let expected = if case["kind"] == "flip" {
            copy[at] ^= op[1].as_u64().expect("a number") as u8;
            op[2].as_str()
        } else {
            copy.truncate(at);
            if case["fix"] == true {
                fix_len(&mut copy);
            }
            op[1].as_str()
        };
        let (verdict, reason, _) = receive(&mut receiver(sa, number(base, "top")), &copy);
        let right = verdict == "drop" && same_reason(sa["esn"] == true, expected.expect("a reason"), reason);
        score.check(&format!("{id} {op}"), right, (verdict, reason));
    }
}

/// Makes the IP header say what is there.
fn fix_len(packet: &mut [u8]) {
    if packet[0] >> 4 == 4 {
        let len = packet.len() as u16;
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        esp::fix_ipv4_checksum(packet);
    } else {
        let len = packet.len() as u16 - 40;
        packet[4..6].copy_from_slice(&len.to_be_bytes());
    }
}

/// One receiver, packets in order, one by one.
fn sequence(score: &mut Score, sa: &Value, case: &Value) {
    let id = text(case, "id");
    let entries = case["pkts"].as_array().expect("packets");
    let mut packets = Vec::<Vec<u8>>::new();
    for entry in entries {
        let packet = match &entry[1] {
            Value::String(hex) => octets(hex),
            earlier => packets[earlier.as_u64().expect("an index") as usize].clone(),
        };
        packets.push(packet);
    }
    let alternative = |verdict: &str, reason: &str| {
        case.get("alt").is_some_and(|alt| {
            alt == "drop-seq0" || alt.as_array().is_some_and(|a| a.iter().any(|x| x == "drop-seq0"))
        }) && verdict == "drop"
            && reason == "replay_zero"
    };
    let mut one_by_one = receiver(sa, 0);
    for (at, (entry, packet)) in entries.iter().zip(&packets).enumerate() {
        let (verdict, reason, _) = receive(&mut one_by_one, packet);
        let accepted = entry[2] == 1;
        let right = if accepted {
            verdict == "ok"
        } else {
            verdict == "drop" && same_reason(sa["esn"] == true, entry[3].as_str().unwrap_or(reason), reason)
        };
        score.check(
            &format!("{id} #{at}"),
            right || alternative(verdict, reason),
            (accepted, verdict, reason),
        );
    }
}

#[test]
fn every_received_case_of_the_corpus() {
    let lines = lines();
    let of_kind = |kind: &'static str| lines.iter().filter(move |line| line["kind"] == kind);
    let sas: HashMap<_, _> = of_kind("sa").map(|sa| (text(sa, "id"), sa)).collect();
    let packets: HashMap<_, _> = of_kind("pkt").map(|case| (text(case, "id"), case)).collect();
    let mut score = Score::default();
    for case in &lines {
        let sa = case.get("sa").and_then(Value::as_str).map(|id| sas[id]);
        let kind = match (text(case, "kind"), sa) {
            ("pkt", Some(sa)) => {
                packet(&mut score, sa, case);
                "pkt"
            }
            (kind @ ("flip" | "trunc"), Some(sa)) => {
                damaged(&mut score, sa, packets[text(case, "base")], case);
                if kind == "flip" { "flip" } else { "trunc" }
            }
            ("seq", Some(sa)) => {
                sequence(&mut score, sa, case);
                "seq"
            }
            ("tx", _) => "tx (not run: there is no sender yet)",
            ("kat", _) => "kat (run by espwire-transform)",
            ("sa", _) => "sa",
            (kind, _) => panic!("kind {kind}"),
        };
        *score.cases.entry(kind).or_default() += 1;
    }
    for (kind, count) in &score.cases {
        println!("{kind}: {count}");
    }
    let wrong = score.wrong.len();
    for line in score.wrong.iter().take(60) {
        println!("WRONG {line}");
    }
    println!("corpus: {} checks, {wrong} wrong", score.checks);
    assert_eq!(score.cases.values().sum::<usize>(), lines.len());
    assert!(score.checks > 0 && wrong == 0, "{wrong} wrong");
    // Names that the corpus has and we have.
    assert_eq!(DropReason::AuthFail.name(), "auth_fail");
    assert_eq!(Passed::NattIke.name(), "natt_ike");
}
