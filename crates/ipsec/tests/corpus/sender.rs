//! What a sender is for: the kind `tx`, and received packets that are right, made again with their number and IV.

use std::net::IpAddr;
use std::time::Duration;

use espwire_ipsec::{
    Df, DropReason, Event, Outgoing, SaPlace, Sad, Sender, Sent, TunnelHeaders, danger, xfrm,
};
use serde_json::Value;

use crate::lines::{number, octets, text};
use crate::sa::state;
use crate::score::Score;

/// A sender with this SA, which has sent the number `last`. The corpus has DF clear in all outer
/// headers.
fn sender(sa: &Value, last: u64) -> Sender {
    let numbers = if sa["esn"] == true {
        format!("replay-oseq {:#x} replay-oseq-hi {:#x}", last as u32, last >> 32)
    } else {
        format!("replay-oseq {last:#x}")
    };
    let line = state(sa, &numbers);
    let states = xfrm::parse("corpus", &line).unwrap_or_else(|error| panic!("{error}\n{line}"));
    let sad = Sad::sending([&states], Duration::ZERO, || [7; 32].into());
    let mut sender = Sender::new(sad.unwrap_or_else(|error| panic!("{error}\n{line}")));
    let place = place(&sender, sa);
    assert!(sender.set_headers(place, TunnelHeaders { df: Df::Clear, ..TunnelHeaders::default() }));
    sender
}

fn place(sender: &Sender, sa: &Value) -> SaPlace {
    let dst = text(sa, "dst").parse().expect("an address");
    sender.find(number(sa, "spi") as u32, dst).expect("the SA")
}

/// What a packet becomes, and what is told, with this IV or one of the SA's own.
fn send(
    score: &mut Score,
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
    let outgoing = [Outgoing::Packet { sa: place(sender, sa), packet: plain }];
    sender.send_burst(Duration::ZERO, &outgoing, &mut sent, &mut events);
    assert_eq!(sent.len(), 1);
    let result = match sent.remove(0) {
        Sent::Packet(at) => Ok(score.carry_one(&sender.octets()[at])),
        unsent => Err(unsent),
    };
    (result, events)
}

/// An outer header without what a sender constructs: identification and checksum of IPv4, and the checksum that it
/// writes into UDP over IPv6. In transport mode without UDP nothing is constructed.
fn given(sa: &Value, packet: &[u8], esp_at: usize) -> Vec<u8> {
    let mut headers = packet[..esp_at].to_vec();
    if text(sa, "mode") == "transport" && !sa["encap"].is_object() {
        return headers;
    }
    if headers[0] >> 4 == 4 {
        headers[4..6].fill(0);
        headers[10..12].fill(0);
    }
    headers
}

/// A packet of a case with `iv` and `esp_off`, whose plaintext is `plain`, made again.
pub(crate) fn again(score: &mut Score, sa: &Value, case: &Value, plain: &[u8]) {
    let expected = octets(text(case, "esp"));
    let esp_at = number(case, "esp_off") as usize;
    let mut sender = sender(sa, number(case, "seq") - 1);
    match send(score, &mut sender, sa, plain, Some(text(case, "iv"))) {
        (Ok(packet), events) => {
            score.check(events.is_empty(), events);
            score.check(packet.get(esp_at..) == Some(&expected[esp_at..]), "another packet when made again");
            score.check(given(sa, &packet, esp_at) == given(sa, &expected, esp_at), "another outer header");
        }
        unsent => score.check(false, unsent),
    }
}

/// A sender from one number on.
pub(crate) fn steps(score: &mut Score, sa: &Value, case: &Value) {
    let mut sender = sender(sa, number(case, "first_seq") - 1);
    for step in case["steps"].as_array().expect("steps") {
        let iv = step.get("iv").and_then(Value::as_str);
        let (result, events) = send(score, &mut sender, sa, &octets(text(step, "plain")), iv);
        if text(step, "verdict") == "ok" {
            let is_right = result.as_ref().is_ok_and(|packet| packet[20..] == octets(text(step, "esp")));
            score.check(is_right && events.is_empty(), (result.err(), events));
        } else {
            let reason = DropReason::SeqOverflow;
            let is_audited = matches!(&events[..], [Event::Audit(audit)] if audit.reason == reason && audit.sequence.is_some());
            let is_right = text(step, "reason") == reason.name() && result == Err(Sent::Drop(reason));
            score.check(is_right && is_audited, (result, events));
        }
    }
}
