//! What is told beside verdicts, and what is counted.

use std::net::IpAddr;

use espwire_ipsec::{LimitKind, Resynchronization, UdpPorts, Upper};

use super::*;

#[test]
fn each_auditable_drop_is_told_with_what_the_packet_says() {
    let mut sender = Sender::gcm(0x100);
    let mut receiver = receiver_of(&sender, "");
    let good = next(&mut sender, b"x");
    receive(&mut receiver, &good);
    let mut forged = next(&mut sender, b"x");
    *forged.last_mut().unwrap() ^= 1;
    let zero = next(&mut Sender { sequence: 0, ..sender.clone() }, b"x");
    let ahead = next(&mut Sender { sequence: 200, ..sender.clone() }, b"x");
    receive(&mut receiver, &ahead);
    let old = next(&mut Sender { sequence: 3, ..sender.clone() }, b"x");
    let unknown = next(&mut Sender { spi: 0x999, ..sender.clone() }, b"x");
    let fragment = |offset: [u8; 2]| {
        let mut fragment = good.clone();
        fragment[6..8].copy_from_slice(&offset);
        fix_ipv4_checksum(&mut fragment);
        fragment
    };
    for (packet, reason, spi, sequence) in [
        (ahead.clone(), DropReason::ReplayDup, Some(0x100), Some(200)),
        (zero, DropReason::ReplayZero, Some(0x100), Some(0)),
        (old, DropReason::ReplayOld, Some(0x100), Some(3)),
        (
            next(&mut Sender { sequence: 201, ..sender.clone() }, b"x"),
            DropReason::AuthFail,
            Some(0x100),
            Some(201),
        ),
        (unknown, DropReason::NoSa, Some(0x999), Some(3)),
        (fragment([0x20, 0]), DropReason::Fragment, Some(0x100), Some(1)),
        // In a later fragment stands no header.
        (fragment([0x20, 1]), DropReason::Fragment, None, None),
        (fragment([0, 1]), DropReason::Fragment, None, None),
    ] {
        let mut packet = packet;
        if reason == DropReason::AuthFail {
            *packet.last_mut().unwrap() ^= 1;
        }
        let (outcomes, events) = burst(&mut receiver, at(7), &[packet]);
        assert_eq!(outcomes, [dropped(reason)]);
        let (src, dst) = (Some(sender.src), Some(sender.dst));
        let audit = Audit { reason, time: at(7), spi, sequence, src, dst, flow_label: None, flow: None };
        assert_eq!(events, [Event::Audit(audit)]);
        assert!(reason.is_auditable());
    }
    assert_eq!(receive(&mut receiver, &forged), dropped(DropReason::ReplayOld));
}

#[test]
fn the_audit_of_a_packet_that_the_sa_is_not_for_has_its_selector_values() {
    let mut sender = Sender::gcm(0x100);
    let mut receiver = receiver_of(&sender, "sel src 192.168.7.1/32 dst 192.168.7.2/32 proto udp dport 9");
    let inner = esp::inner_udp(7, 8, b"x");
    let [audit] = audits(&told(&mut receiver, &tunnelled(&mut sender, &inner)).1)[..] else { panic!() };
    assert_eq!((audit.reason, audit.spi, audit.sequence), (DropReason::Selector, Some(0x100), Some(1)));
    // The addresses are the outer ones, and the flow is that inside.
    assert_eq!((audit.src, audit.dst), (Some(sender.src), Some(sender.dst)));
    let flow = audit.flow.expect("a flow");
    assert_eq!((flow.src, flow.protocol), ([192, 168, 7, 1].into(), Some(17)));
    assert_eq!(flow.upper, Upper::Ports { src: 7, dst: 8 });
}

#[test]
fn an_audit_has_the_flow_label_and_all_of_an_esn() {
    let mut sender = Sender::gcm(0x100).over_ipv6();
    sender.esn = true;
    sender.sequence = 5 << 32 | 6;
    let mut receiver = receiver_of(&sender, "replay-seq 1 replay-seq-hi 5");
    let mut packet = next(&mut sender, b"x");
    packet[..4].copy_from_slice(&[0x60, 0x0a, 0xbc, 0xde]);
    *packet.last_mut().unwrap() ^= 1;
    let audits = audits(&told(&mut receiver, &packet).1);
    assert_eq!(audits.len(), 1);
    assert_eq!((audits[0].sequence, audits[0].flow_label), (Some(5 << 32 | 6), Some(0xa_bcde)));
}

#[test]
fn a_packet_that_the_sa_is_not_for_is_audited() {
    let mut sender = Sender::gcm(0x100);
    let mut receiver = receiver_of(&sender, "sel src 10.0.0.0/8 dst 10.0.0.0/8");
    let (outcome, events) = told(&mut receiver, &next(&mut sender, b"x"));
    assert_eq!((outcome, audits(&events)[0].reason), (dropped(DropReason::Selector), DropReason::Selector));
}

#[test]
fn what_is_no_fault_is_not_audited() {
    let mut sender = Sender { encap: Some((4500, 4500)), ..Sender::gcm(0x100) };
    let mut receiver = receiver_of(&sender, "");
    let dummy = dummy(&mut sender);
    let keepalive = packet(sender.wrap(&[0xff]));
    let ike = packet(sender.wrap(&[0; 20]));
    let other = esp::inner(6, b"x");
    let (outcomes, events) = burst(&mut receiver, at(0), &[dummy, keepalive, ike, other]);
    let expected = [
        dropped(DropReason::Dummy),
        dropped(DropReason::NattKeepalive),
        Outcome::Pass(Passed::NattIke),
        Outcome::Pass(Passed::NotEsp),
    ];
    assert_eq!((outcomes, events), (expected.to_vec(), vec![]));
}

#[test]
fn counts_are_the_sas() {
    let (mut a, mut b) = (Sender::gcm(0x100), Sender::cbc(0x101));
    let mut receiver = receiver(&(state(&a, "") + &state(&b, "")));
    let first = next(&mut a, b"x");
    let mut forged = next(&mut a, b"x");
    *forged.last_mut().unwrap() ^= 1;
    let third = next(&mut a, b"longer");
    let other = next(&mut b, b"x");
    let esp_len = (first.len() + third.len() - 2 * 20) as u64;
    burst(&mut receiver, at(0), &[first.clone(), forged, third, first, other, dummy(&mut a)]);
    let counts = *receiver.sad().get(id(&a)).unwrap().1;
    assert_eq!((counts.packets, counts.bytes, counts.replays), (2, esp_len, 1));
    for &reason in DropReason::ALL {
        let expected = [DropReason::AuthFail, DropReason::ReplayDup, DropReason::Dummy].contains(&reason);
        assert_eq!(counts.failures[reason], u64::from(expected), "{reason:?}");
    }
    let counts = *receiver.sad().get(id(&b)).unwrap().1;
    assert_eq!((counts.packets, counts.replays), (1, 0));
}

fn expire(sender: &Sender, is_hard: bool, limit: LimitKind) -> Event {
    Event::Expire { sa: id(sender), is_hard, limit }
}

#[test]
fn after_a_hard_limit_nothing_comes_through() {
    let mut sender = Sender::gcm(0x100);
    let mut receiver = receiver_of(&sender, "limit packet-soft 1 limit packet-hard 2");
    let packets: Vec<_> = (0..4).map(|_| next(&mut sender, b"x")).collect();
    let (outcomes, events) = burst(&mut receiver, at(0), &packets);
    assert!(outcomes[..2].iter().all(|outcome| matches!(outcome, Outcome::Packet(_))));
    assert_eq!(outcomes[2..], [dropped(DropReason::Expired), dropped(DropReason::Expired)]);
    assert_eq!(
        events,
        [expire(&sender, false, LimitKind::Packets), expire(&sender, true, LimitKind::Packets)]
    );
    assert_eq!(DropReason::Expired.xfrm_stat(), Some("XfrmInStateExpired"));
}

#[test]
fn octets_are_those_of_the_cipher_and_forged_ones_do_not_count() {
    let mut sender = Sender::gcm(0x100);
    let one = next(&mut sender, b"x");
    let cipher_octets = one.len() - 20 - 8 - 8 - 16;
    let mut receiver = receiver_of(&sender, &format!("limit byte-hard {}", 2 * cipher_octets));
    let mut forged = next(&mut sender, b"x");
    *forged.last_mut().unwrap() ^= 1;
    let events = burst(&mut receiver, at(0), &[one, forged.clone(), forged]).1;
    assert_eq!(events.len(), audits(&events).len());
    let (outcome, events) = told(&mut receiver, &next(&mut sender, b"x"));
    assert_eq!(outcome.packet(), esp::inner(6, b"x"));
    assert_eq!(events, [expire(&sender, true, LimitKind::Bytes)]);
}

#[test]
fn time_ends_an_sa_with_or_without_packets() {
    let mut sender = Sender::gcm(0x100);
    let mut receiver = receiver_of(&sender, "limit time-soft 5 limit time-hard 10 limit time-use-hard 3");
    let mut events = Vec::new();
    receiver.expire(at(4), &mut events);
    assert_eq!(events, []);
    receiver.expire(at(5), &mut events);
    receiver.expire(at(6), &mut events);
    assert_eq!(events, [expire(&sender, false, LimitKind::SinceAdded)]);
    let mut at_time = |seconds, sender: &mut Sender| burst(&mut receiver, at(seconds), &[next(sender, b"x")]);
    assert!(matches!(at_time(6, &mut sender).0[0], Outcome::Packet(_)));
    let (outcomes, events) = at_time(9, &mut sender);
    assert_eq!(outcomes, [dropped(DropReason::Expired)]);
    assert_eq!(events, [expire(&sender, true, LimitKind::SinceUsed)]);
    assert_eq!(at_time(9, &mut sender).1, []);
}

#[test]
fn a_peer_that_moved_is_told_once_and_only_by_the_newest_packet() {
    let own = Sender { encap: Some((4500, 4500)), ..Sender::gcm(0x100) };
    let mut receiver = receiver_of(&own, "");
    let from = |src: IpAddr, port, sequence| {
        let mut sender = Sender { src, encap: Some((port, 4500)), sequence, ..own.clone() };
        next(&mut sender, b"x")
    };
    let other: IpAddr = [203, 0, 113, 9].into();
    let ports = |src| UdpPorts { src, dst: 4500 };
    let moved = |old, new| vec![Event::PeerMoved { sa: id(&own), old, new }];
    assert_eq!(told(&mut receiver, &from(own.src, 4500, 10)).1, []);
    let mut forged = from(own.src, 7, 11);
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(audits(&told(&mut receiver, &forged).1).len(), 1);
    let expected = moved((own.src, ports(4500)), (own.src, ports(7)));
    assert_eq!(told(&mut receiver, &from(own.src, 7, 12)).1, expected);
    assert_eq!(told(&mut receiver, &from(own.src, 7, 13)).1, []);
    // A packet that was late came by the old mapping.
    assert!(
        matches!(told(&mut receiver, &from(own.src, 4500, 11)), (Outcome::Packet(_), told) if told.is_empty())
    );
    let expected = moved((own.src, ports(7)), (other, ports(7)));
    assert_eq!(told(&mut receiver, &from(other, 7, 14)).1, expected);
    // Without encapsulation no NAT is between.
    let plain = Sender::gcm(0x101);
    let mut receiver = receiver_of(&plain, "");
    let packet = next(&mut Sender { src: other, ..plain }, b"x");
    assert!(matches!(told(&mut receiver, &packet), (Outcome::Packet(_), told) if told.is_empty()));
}

#[test]
fn a_sender_that_got_too_far_ahead_is_found_again_by_a_receiver_that_was_told_to() {
    let mut sender = Sender::gcm(0x100);
    sender.esn = true;
    let mut deaf = receiver_of(&sender, "");
    let mut receiver = receiver_of(&sender, "");
    let sad = receiver.sad_mut();
    assert!(sad.set_resynchronization(id(&sender), Some(Resynchronization::default())));
    assert!(!sad.set_resynchronization(SaId { spi: 1, ..id(&sender) }, None), "no such SA");
    receive(&mut receiver, &next(&mut sender, b"x"));
    let (from, lost) = (1, 3 << 32 | 500);
    sender.sequence = lost;
    let packets: Vec<_> = (0..100).map(|_| next(&mut sender, b"x")).collect();
    let (outcomes, events) = burst(&mut receiver, at(0), &packets);
    let found = outcomes.iter().position(|outcome| matches!(outcome, Outcome::Packet(_))).unwrap();
    assert!(outcomes[..found].iter().all(|outcome| *outcome == dropped(DropReason::AuthFail)));
    assert!(outcomes[found..].iter().all(|outcome| matches!(outcome, Outcome::Packet(_))));
    let told: Vec<_> = events.iter().filter(|event| !matches!(event, Event::Audit(_))).collect();
    let to = lost + found as u64;
    assert_eq!(told, [&Event::Resynchronized { sa: id(&sender), from, to }]);
    let (outcomes, _) = burst(&mut deaf, at(0), &packets);
    assert!(outcomes.iter().all(|outcome| *outcome == dropped(DropReason::AuthFail)), "off at first");
}
