//! The kinds that a receiver is for: `pkt`, `flip`, `trunc`, `seq`.

use std::time::Duration;

use espwire_ipsec::{Received, Receiver, Sad, xfrm};
use serde_json::Value;

use crate::esp::fix_ipv4_checksum;
use crate::lines::{list, number, octets, text};
use crate::sa::state;
use crate::score::Score;
use crate::sender;

/// The SA as the line that adds it to a kernel, and the highest number that it has received.
fn xfrm(sa: &Value, top: u64) -> String {
    let numbers = if sa["esn"] == true {
        format!("replay-seq {:#x} replay-seq-hi {:#x}", top as u32, top >> 32)
    } else {
        format!("replay-seq {top:#x}")
    };
    let selector = sa
        .get("sel")
        .filter(|sel| sel.is_object())
        .map_or_else(String::new, |sel| format!("sel src {} dst {}", text(sel, "src"), text(sel, "dst")));
    state(sa, &format!("{numbers} {selector}"))
}

fn receiver(sa: &Value, top: u64) -> Receiver {
    let line = xfrm(sa, top);
    let states = xfrm::parse("corpus", &line).unwrap_or_else(|error| panic!("{error}\n{line}"));
    let sad = Sad::receiving([&states], Duration::ZERO);
    Receiver::new(sad.unwrap_or_else(|error| panic!("{error}\n{line}")))
}

/// What became of a packet: the verdict, the reason, and what is delivered.
type Outcome = (&'static str, &'static str, Vec<u8>);

/// What became of a burst's packets.
fn receive(score: &mut Score, receiver: &mut Receiver, packets: &[&[u8]]) -> Vec<Outcome> {
    let mut received = Vec::new();
    let arrived = score.carry(packets);
    let arrived: Vec<&[u8]> = arrived.iter().map(Vec::as_slice).collect();
    receiver.receive_burst(Duration::ZERO, &arrived, &mut received, &mut Vec::new());
    let outcomes = received.into_iter().map(|received| match received {
        Received::Packet(delivered) => ("ok", "", score.carry_one(receiver.packet(delivered))),
        Received::Pass(passed) => ("pass", passed.name(), Vec::new()),
        Received::Drop(reason) => ("drop", reason.name(), Vec::new()),
    });
    outcomes.collect()
}

fn receive_one(score: &mut Score, receiver: &mut Receiver, packet: &[u8]) -> Outcome {
    receive(score, receiver, &[packet]).remove(0)
}

/// Whether two reasons count as one: with ESN a number left of the window is read as the next epoch's.
fn same_reason(sa: &Value, a: &str, b: &str) -> bool {
    a == b || sa["esn"] == true && [a, b].iter().all(|reason| ["auth_fail", "replay_old"].contains(reason))
}

/// One packet against a fresh receiver.
pub(crate) fn packet(score: &mut Score, sa: &Value, case: &Value) {
    let (verdict, reason, plain) =
        receive_one(score, &mut receiver(sa, number(case, "top")), &octets(text(case, "esp")));
    if verdict != text(case, "verdict") {
        let is_alternative = list(case, "alt").iter().any(|&alt| match alt {
            // Deliver `plain` if there is one, else what the packet holds.
            "ok" => verdict == "ok" && case["plain"].as_str().is_none_or(|hex| octets(hex) == plain),
            alt => alt == verdict,
        });
        score.check(is_alternative, (verdict, reason));
    } else if verdict == "ok" {
        // Of the jumbo cases only a hash is there.
        let right = match (case["plain"].as_str(), case["plain_sha256"].as_str()) {
            (Some(hex), _) => octets(hex) == plain,
            (None, Some(hash)) => sha256(&plain) == hash,
            (None, None) => false,
        };
        score.check(right, "another plaintext");
        if case["iv"].is_string() {
            sender::again(score, sa, case, &plain);
        }
    } else {
        let expected = case["reason"].as_str().unwrap_or_default();
        let right = same_reason(sa, expected, reason)
            || list(case, "alt_reason").contains(&reason)
            || case.get("lvl").is_some_and(|level| level != "MUST");
        score.check(right, (expected, reason));
    }
}

fn sha256(octets: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(octets).iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Damaged copies of one packet: each against a fresh receiver, and each dropped.
pub(crate) fn damaged(score: &mut Score, sa: &Value, base: &Value, case: &Value) {
    let good = octets(text(base, "esp"));
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
        let (verdict, reason, _) = receive_one(score, &mut receiver(sa, number(base, "top")), &copy);
        let right = verdict == "drop" && same_reason(sa, expected.expect("a reason"), reason);
        score.check(right, (op, verdict, reason));
    }
}

/// Makes the IP header say what is there.
fn fix_len(packet: &mut [u8]) {
    if packet[0] >> 4 == 4 {
        let len = packet.len() as u16;
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        fix_ipv4_checksum(packet);
    } else {
        let len = packet.len() as u16 - 40;
        packet[4..6].copy_from_slice(&len.to_be_bytes());
    }
}

/// One receiver, packets in order: one by one, and with the same outcome in bursts of every length.
pub(crate) fn sequence(score: &mut Score, sa: &Value, case: &Value) {
    let entries = case["pkts"].as_array().expect("packets");
    let mut packets = Vec::<Vec<u8>>::new();
    for entry in entries {
        let packet = match &entry[1] {
            Value::String(hex) => octets(hex),
            earlier => packets[earlier.as_u64().expect("an index") as usize].clone(),
        };
        packets.push(packet);
    }
    let may_drop_zero = list(case, "alt").contains(&"drop-seq0");
    let mut receiver_of_one = receiver(sa, 0);
    let mut one_by_one = Vec::new();
    for (at, (entry, packet)) in entries.iter().zip(&packets).enumerate() {
        let outcome = receive_one(score, &mut receiver_of_one, packet);
        let (verdict, reason, _) = outcome;
        let is_accepted = entry[2] == 1;
        let right = if is_accepted {
            verdict == "ok"
        } else {
            verdict == "drop" && same_reason(sa, entry[3].as_str().unwrap_or(reason), reason)
        };
        let is_alternative = may_drop_zero && (verdict, reason) == ("drop", "replay_zero");
        score.check(right || is_alternative, (at, is_accepted, verdict, reason));
        one_by_one.push(outcome);
    }
    let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    for len in [2, 7, 64, packets.len().max(1)] {
        let mut receiver = receiver(sa, 0);
        let in_bursts: Vec<_> =
            packets.chunks(len).flat_map(|burst| receive(score, &mut receiver, burst)).collect();
        let difference = one_by_one.iter().zip(&in_bursts).position(|(a, b)| a != b);
        let right = difference.is_none() && one_by_one.len() == in_bursts.len();
        score.check(right, ("in bursts of", len, "another outcome of", difference));
    }
}
