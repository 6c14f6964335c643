//! The SPD with both sides of an IPsec implementation: what crosses the boundary in clear, through an SA, or not.

#[path = "../../../tests/harness/esp.rs"]
mod esp;

use std::time::Duration;

use espwire_ipsec::{
    Audit, Departed, DropReason, Event, Flow, Inbound, Outbound, Passed, Received, Receiver, Sad, Sender,
    Spd, Unmatched, xfrm,
};
use proptest::prelude::*;

const A: &str = "10.0.0.1";
const B: &str = "10.0.0.2";
const NOW: Duration = Duration::from_secs(1);

/// An SA of GCM in tunnel mode from A to B.
fn state(spi: u32, words: &str) -> String {
    format!(
        "ip xfrm state add src {A} dst {B} proto esp spi {spi} mode tunnel replay-window 64 {words} \
         aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128\n"
    )
}

/// A policy for UDP to `port` in `direction`; `rest` is its templates, or an action.
fn policy(direction: &str, port: u16, rest: &str) -> String {
    format!("ip xfrm policy add src 0.0.0.0/0 dst 0.0.0.0/0 proto udp dport {port} dir {direction} {rest}\n")
}

fn template(words: &str) -> String {
    format!("tmpl src {A} dst {B} proto esp mode tunnel {words}")
}

fn outbound(text: &str, unmatched: Unmatched) -> Outbound {
    let text = xfrm::parse("test", text).expect("text");
    let mut secret = 0;
    let sad = Sad::sending([&text], NOW, || {
        secret += 1;
        [secret; _].into()
    });
    let sad = sad.expect("SAs");
    Outbound::new(Spd::new([&text], unmatched).expect("policies"), Sender::new(sad))
}

fn inbound(text: &str, unmatched: Unmatched) -> Inbound {
    let text = xfrm::parse("test", text).expect("text");
    let sad = Sad::receiving([&text], NOW).expect("SAs");
    Inbound::new(Spd::new([&text], unmatched).expect("policies"), Receiver::new(sad))
}

/// A UDP packet to `port`.
fn packet(port: u16) -> Vec<u8> {
    esp::inner_udp(9, port, b"data")
}

/// What becomes of each packet on its way out, and the reasons that are audited.
fn send(outbound: &mut Outbound, packets: &[Vec<u8>]) -> (Vec<Departed>, Vec<DropReason>) {
    let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    let (mut departed, mut events) = (Vec::new(), Vec::new());
    outbound.send_burst(NOW, &packets, &mut departed, &mut events);
    assert_eq!(departed.len(), packets.len());
    (departed, reasons(&events))
}

fn receive(inbound: &mut Inbound, packets: &[Vec<u8>]) -> (Vec<Received>, Vec<DropReason>) {
    let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    let (mut received, mut events) = (Vec::new(), Vec::new());
    inbound.receive_burst(NOW, &packets, &mut received, &mut events);
    assert_eq!(received.len(), packets.len());
    (received, reasons(&events))
}

fn reasons(events: &[Event]) -> Vec<DropReason> {
    let reason = |event: &Event| match event {
        Event::Audit(audit) => {
            assert_eq!((audit.time, audit.src.is_some(), audit.dst.is_some()), (NOW, true, true));
            assert!(audit.reason.is_auditable(), "{:?}", audit.reason);
            Some(audit.reason)
        }
        _ => None,
    };
    events.iter().filter_map(reason).collect()
}

/// The ESP packet that becomes of a packet.
fn protect(outbound: &mut Outbound, packet: Vec<u8>) -> Vec<u8> {
    match send(outbound, &[packet]).0.remove(0) {
        Departed::Protected(at) => outbound.sender().octets()[at].to_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_policy_protects_bypasses_and_discards_in_one_burst() {
    let text = state(0x100, "reqid 1")
        + &policy("out", 1, &template("reqid 1"))
        + &policy("out", 2, "")
        + &policy("out", 3, "action block")
        + &policy("out", 4, &template("reqid 2"))
        + &policy("out", 5, &template("reqid 2 level use"));
    let mut sender = outbound(&text, Unmatched::Discard);
    let packets: Vec<_> = [3, 1, 2, 4, 1, 5, 6].map(packet).into();
    let (mut departed, audited) = send(&mut sender, &packets);
    let dropped = [DropReason::OutPolicyBlock, DropReason::OutNoSa, DropReason::OutNoPolicy];
    assert_eq!(audited, dropped);
    let drop = Departed::Drop;
    let protected: Vec<_> = [4, 1].map(|at| departed.remove(at)).into();
    assert_eq!(
        departed,
        [drop(dropped[0]), Departed::Clear, drop(dropped[1]), Departed::Clear, drop(dropped[2])]
    );
    let mut receiver =
        inbound(&(state(0x100, "reqid 1") + &policy("in", 1, &template("reqid 1"))), Unmatched::Discard);
    for departed in protected.into_iter().rev() {
        let Departed::Protected(at) = departed else { panic!("{departed:?}") };
        let esp = sender.sender().octets()[at].to_vec();
        let Received::Packet(delivered) = receive(&mut receiver, &[esp]).0[0] else { panic!() };
        assert_eq!(receiver.receiver().packet(delivered), packets[1]);
    }
}

#[test]
fn what_no_policy_is_for_goes_in_clear_only_if_that_is_said() {
    let mut sender = outbound(&policy("out", 1, ""), Unmatched::Bypass);
    assert_eq!(send(&mut sender, &[packet(9)]), (vec![Departed::Clear], vec![]));
    let mut receiver = inbound(&policy("in", 1, ""), Unmatched::Bypass);
    assert_eq!(receive(&mut receiver, &[packet(9)]), (vec![Received::Pass(Passed::NotEsp)], vec![]));
}

#[test]
fn what_should_have_been_protected_does_not_come_in_clear() {
    let text = state(0x100, "reqid 1")
        + &policy("in", 1, &template("reqid 1"))
        + &policy("in", 2, "")
        + &policy("in", 3, "action block");
    let mut receiver = inbound(&text, Unmatched::Discard);
    let (received, audited) = receive(&mut receiver, &[1, 2, 3, 4].map(packet));
    let dropped = [DropReason::Unprotected, DropReason::PolicyBlock, DropReason::NoPolicy];
    let expected = [
        Received::Drop(dropped[0]),
        Received::Pass(Passed::NotEsp),
        Received::Drop(dropped[1]),
        Received::Drop(dropped[2]),
    ];
    assert_eq!((received, audited), (expected.into(), dropped.into()));
}

#[test]
fn what_came_through_an_sa_came_through_the_one_that_the_policy_asks_for() {
    let sas = state(0x100, "reqid 1") + &state(0x101, "reqid 2");
    let out = |reqid: u32, port: u16| {
        let text = format!("{sas}{}", policy("out", port, &template(&format!("reqid {reqid}"))));
        protect(&mut outbound(&text, Unmatched::Discard), packet(port))
    };
    let text = sas.clone()
        + &policy("in", 1, &template("reqid 1"))
        + &policy("in", 2, "")
        + &policy("in", 3, "action block");
    let mut receiver = inbound(&text, Unmatched::Discard);
    for (reqid, port, expected) in [
        (1, 1, None),
        (2, 1, Some(DropReason::TemplateMismatch)),
        (1, 2, Some(DropReason::TemplateMismatch)),
        (1, 3, Some(DropReason::PolicyBlock)),
        (2, 4, Some(DropReason::NoPolicy)),
    ] {
        // Another receiver each time: they all have number 1.
        let mut receiver = inbound(&text, Unmatched::Discard);
        let (received, audited) = receive(&mut receiver, &[out(reqid, port)]);
        match expected {
            None => assert!(matches!(received[..], [Received::Packet(_)]), "{received:?}"),
            Some(reason) => {
                assert_eq!((&received[..], &audited[..]), (&[Received::Drop(reason)][..], &[reason][..]));
            }
        }
    }
    // What the receiver itself drops is audited once, by it.
    let esp = out(1, 1);
    let (received, audited) = receive(&mut receiver, &[esp.clone(), esp]);
    assert!(matches!(received[..], [Received::Packet(_), Received::Drop(DropReason::ReplayDup)]));
    assert_eq!(audited, [DropReason::ReplayDup]);
}

#[test]
fn an_audit_of_a_policy_has_the_packets_addresses_flow_label_and_spi() {
    let block = "src ::/0 dst ::/0 action block";
    let text = state(0x100, "reqid 1")
        + &policy("out", 1, &template("reqid 1"))
        + &policy("in", 1, "action block")
        + &format!("ip xfrm policy add {block} dir out\nip xfrm policy add {block} dir in\n");
    let (mut sender, mut receiver) =
        (outbound(&text, Unmatched::Discard), inbound(&text, Unmatched::Discard));
    let (src, dst) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
    let mut labelled = esp::ip(src, dst, 17, 0, &packet(1)[20..]);
    labelled[1..4].copy_from_slice(&[0xfa, 0xbc, 0xde]);
    let of = |reason, packet: &[u8], flow_label| {
        let flow = Flow::of_packet(packet);
        let audit = Audit {
            reason,
            time: NOW,
            spi: None,
            sequence: None,
            src: Some(src),
            dst: Some(dst),
            flow_label,
            flow,
        };
        vec![Event::Audit(audit)]
    };
    let mut events = Vec::new();
    sender.send_burst(NOW, &[&labelled], &mut Vec::new(), &mut events);
    assert_eq!(events, of(DropReason::OutPolicyBlock, &labelled, Some(0xa_bcde)));
    events.clear();
    receiver.receive_burst(NOW, &[&labelled], &mut Vec::new(), &mut events);
    assert_eq!(events, of(DropReason::PolicyBlock, &labelled, Some(0xa_bcde)));
    events.clear();
    // Out of an SA: the addresses are the outer ones, the flow is the inner packet's.
    let esp = protect(&mut sender, packet(1));
    receiver.receive_burst(NOW, &[&esp], &mut Vec::new(), &mut events);
    let [Event::Audit(audit)] = events[..] else { panic!("{events:?}") };
    assert_eq!((audit.spi, audit.sequence, audit.flow), (Some(0x100), Some(1), Flow::of_packet(&packet(1))));
    assert_eq!((audit.src, audit.dst), (Some(A.parse().unwrap()), Some(B.parse().unwrap())));
}

#[test]
fn a_later_fragment_that_may_be_of_protected_packets_does_not_cross_in_clear() {
    let mut later = packet(1);
    later[7] = 5;
    esp::fix_ipv4_checksum(&mut later);
    let text = |direction| {
        let rest = format!("ip xfrm policy add src 0.0.0.0/0 dst 0.0.0.0/0 dir {direction} priority 9\n");
        policy(direction, 1, &template("reqid 1")) + &rest
    };
    let (obscured, packets) = (DropReason::Obscured, [later, packet(2)]);
    let (departed, audited) = send(&mut outbound(&text("out"), Unmatched::Discard), &packets);
    assert_eq!(
        (&departed[..], &audited[..]),
        (&[Departed::Drop(obscured), Departed::Clear][..], &[obscured][..])
    );
    let (received, audited) = receive(&mut inbound(&text("in"), Unmatched::Discard), &packets);
    let expected = [Received::Drop(obscured), Received::Pass(Passed::NotEsp)];
    assert_eq!((&received[..], &audited[..]), (&expected[..], &[obscured][..]));
}

#[test]
fn what_becomes_of_a_burst_stands_behind_what_became_of_others() {
    let text = state(0x100, "") + &policy("out", 1, &template("")) + &policy("in", 1, &template(""));
    let (mut departed, mut received) = (vec![Departed::Clear], vec![Received::Pass(Passed::NotEsp)]);
    let packet = packet(1);
    outbound(&text, Unmatched::Discard).send_burst(NOW, &[&packet], &mut departed, &mut Vec::new());
    assert!(matches!(departed[..], [Departed::Clear, Departed::Protected(_)]), "{departed:?}");
    inbound(&text, Unmatched::Discard).receive_burst(NOW, &[&packet], &mut received, &mut Vec::new());
    assert_eq!(received, [Received::Pass(Passed::NotEsp), Received::Drop(DropReason::Unprotected)]);
}

#[test]
fn what_is_of_no_flow_does_not_come_in() {
    let mut longer = esp::inner(6, &[0; 20]);
    longer[3] += 1;
    esp::fix_ipv4_checksum(&mut longer);
    let mut receiver = inbound(&policy("in", 1, ""), Unmatched::Bypass);
    assert_eq!(receive(&mut receiver, &[longer]), (vec![Received::Drop(DropReason::Malformed)], vec![]));
}

#[test]
fn of_what_the_policy_refuses_no_octet_is_to_be_had_and_the_sa_counts_a_failure() {
    let text = state(0x100, "reqid 1")
        + &policy("in", 1, &template("reqid 1"))
        + &policy("in", 2, "action block")
        + &policy("out", 1, &template("reqid 1"))
        + &policy("out", 2, &template("reqid 1"));
    let mut sender = outbound(&text, Unmatched::Discard);
    let [first, refused, last] = [1, 2, 1].map(|port| protect(&mut sender, packet(port)));
    let mut receiver = inbound(&text, Unmatched::Discard);
    let Received::Packet(earlier) = receive(&mut receiver, std::slice::from_ref(&first)).0[0] else {
        panic!()
    };
    let (received, audited) = receive(&mut receiver, &[refused]);
    assert_eq!(
        (&received[..], &audited[..]),
        (&[Received::Drop(DropReason::PolicyBlock)][..], &[DropReason::PolicyBlock][..])
    );
    assert_eq!(receiver.receiver().packet(earlier), b"");
    let counts = receiver.receiver().sad().iter().next().unwrap().1;
    assert_eq!((counts.packets, counts.bytes, counts.failures.total()), (1, first.len() as u64 - 20, 1));
    assert_eq!(counts.failures[DropReason::PolicyBlock], 1);
    let Received::Packet(delivered) = receive(&mut receiver, &[last]).0[0] else { panic!() };
    assert_eq!(receiver.receiver().packet(delivered), packet(1));
}

#[test]
fn what_is_told_of_packets_that_came_is_in_their_order() {
    let text = state(0x100, "reqid 1") + &policy("in", 1, &template("reqid 1"));
    let out = state(0x100, "reqid 1") + &policy("out", 2, &template("reqid 1"));
    let esp = protect(&mut outbound(&out, Unmatched::Discard), packet(2));
    let mut unknown = esp.clone();
    unknown[23] ^= 1;
    let mut receiver = inbound(&text, Unmatched::Discard);
    let packets = [packet(1), unknown, packet(2), esp.clone(), esp, packet(1)];
    let expected = [
        DropReason::Unprotected,
        DropReason::NoSa,
        DropReason::NoPolicy,
        DropReason::NoPolicy,
        DropReason::ReplayDup,
        DropReason::Unprotected,
    ];
    assert_eq!(receive(&mut receiver, &packets).1, expected);
}

#[test]
fn an_audit_of_the_policy_has_the_selector_values_and_the_sa() {
    let text = state(0x100, "reqid 1") + &policy("in", 1, &template("reqid 1"));
    let out = state(0x100, "reqid 1") + &policy("out", 2, &template("reqid 1"));
    let esp = protect(&mut outbound(&out, Unmatched::Discard), packet(2));
    let mut receiver = inbound(&text, Unmatched::Discard);
    let mut events = Vec::new();
    receiver.receive_burst(NOW, &[&esp, &packet(1)], &mut Vec::new(), &mut events);
    let [Event::Audit(through), Event::Audit(clear)] = events[..] else { panic!("{events:?}") };
    let (a, b) = (Some(A.parse().unwrap()), Some(B.parse().unwrap()));
    assert_eq!((through.spi, through.sequence, through.src, through.dst), (Some(0x100), Some(1), a, b));
    assert_eq!(through.flow, Flow::of_packet(&packet(2)));
    let flow = Flow::of_packet(&packet(1)).unwrap();
    assert_eq!((clear.spi, clear.sequence, clear.flow), (None, None, Some(flow)));
    assert_eq!((clear.src, clear.dst), (Some(flow.src), Some(flow.dst)));
}

#[test]
fn what_is_no_ip_packet_does_not_leave() {
    let mut sender = outbound(&policy("out", 1, ""), Unmatched::Bypass);
    for garbage in [vec![], vec![0x45], vec![0; 40], packet(1)[..25].to_vec()] {
        assert_eq!(send(&mut sender, &[garbage]), (vec![Departed::Drop(DropReason::Malformed)], vec![]));
    }
}

#[test]
fn a_packet_that_gets_too_long_is_said_to() {
    let text = state(0x100, "") + &policy("out", 1, &template(""));
    let mut sender = outbound(&text, Unmatched::Discard);
    let long = esp::inner_udp(9, 1, &[0; 1400]);
    sender.sender_mut().set_mtu(Some(1400));
    let (departed, _) = send(&mut sender, &[packet(1), long]);
    let [Departed::Protected(_), Departed::TooBig { mtu }] = departed[..] else { panic!("{departed:?}") };
    // 20 of outer header, 8 of SPI and number, 8 of IV, 16 of ICV, 2 of trailer: 1346 are left, 1342 and 2 of them whole words.
    assert_eq!(mtu, 1346);
    assert_eq!(sender.spd().iter().next().unwrap().1.packets, 2);
    // What has to be carried goes, in fragments.
    sender.sender_mut().set_mtu(Some(80));
    let (departed, _) = send(&mut sender, &[packet(1)]);
    let [Departed::ToFragment(at)] = &departed[..] else { panic!("{departed:?}") };
    assert_eq!(at.len(), 20 + 8 + 8 + 36 + 16, "32 octets with their trailer, and what stands around them");
}

#[test]
fn in_one_burst_packets_go_on_through_the_next_sa() {
    let text = |rest: &str, level: &str| {
        state(0x200, "reqid 1 limit packet-hard 3")
            + &state(0x100, &format!("reqid 1 {rest}"))
            + &policy("out", 1, &template(&format!("reqid 1 {level}")))
    };
    let spis = |text: &str| {
        let mut sender = outbound(text, Unmatched::Discard);
        let (departed, _) = send(&mut sender, &vec![packet(1); 6]);
        let spi = |departed| match departed {
            Departed::Protected(at) => Ok(u32::from(sender.sender().octets()[at][22])),
            other => Err(other),
        };
        departed.into_iter().map(spi).collect::<Vec<_>>()
    };
    let (old, new) = (Ok(2), Ok(1));
    let no_sa = Err(Departed::Drop(DropReason::OutNoSa));
    let [hard, soft] = ["limit packet-hard 2", "limit packet-soft 2"];
    assert_eq!(
        spis(&text(hard, "")),
        [new.clone(), new.clone(), old.clone(), old.clone(), old.clone(), no_sa]
    );
    // After the old one has ended, the one that is to be replaced is better than none.
    assert_eq!(
        spis(&text(soft, "")),
        [new.clone(), new.clone(), old.clone(), old.clone(), old.clone(), new.clone()]
    );
    let clear = Err(Departed::Clear);
    assert_eq!(spis(&text(hard, "level use")), [new.clone(), new, old.clone(), old.clone(), old, clear]);
}

fn any_outbound() -> impl Strategy<Value = String> {
    let limit = prop_oneof![
        Just(String::new()),
        (1..5_u32).prop_map(|packets| format!("limit packet-soft {packets}")),
        (1..5_u32).prop_map(|packets| format!("limit packet-hard {packets}")),
        (30..300_u32).prop_map(|bytes| format!("limit byte-soft {bytes}")),
        (30..300_u32).prop_map(|bytes| format!("limit byte-hard {bytes}")),
    ];
    let number = prop_oneof![3 => Just("0"), 1 => Just("0xfffffffd"), 1 => Just("0xffffffff")];
    let sa = (1..3_u32, limit.clone(), limit, number)
        .prop_map(|(reqid, a, b, number)| format!("reqid {reqid} {a} {b} replay-oseq {number}"));
    let rest = prop_oneof![
        1 => Just(String::new()),
        1 => Just("action block".to_owned()),
        4 => (1..4_u32, any::<bool>()).prop_map(|(reqid, is_required)| {
            template(&format!("reqid {reqid} level {}", if is_required { "required" } else { "use" }))
        }),
    ];
    (prop::collection::vec(sa, 1..7), prop::collection::vec(rest, 4)).prop_map(|(sas, rests)| {
        let sas = (0x100..).zip(sas).map(|(spi, words)| state(spi, &words));
        let policies = (1..).zip(rests).map(|(port, rest)| policy("out", port, &rest));
        sas.chain(policies).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the policies, SAs and limits: a burst is its packets one by one.
    #[test]
    fn a_burst_is_its_packets_one_by_one(
        text in any_outbound(),
        packets in prop::collection::vec((1..6_u16, 0..90_usize), 1..40),
    ) {
        let packets: Vec<_> =
            packets.into_iter().map(|(port, len)| esp::inner_udp(9, port, &vec![0; len])).collect();
        let (mut whole, mut single) =
            (outbound(&text, Unmatched::Discard), outbound(&text, Unmatched::Discard));
        for outbound in [&mut whole, &mut single] {
            outbound.sender_mut().set_mtu(Some(150));
        }
        let burst = |outbound: &mut Outbound, packets: &[&[u8]]| {
            let (mut departed, mut events) = (Vec::new(), Vec::new());
            outbound.send_burst(NOW, packets, &mut departed, &mut events);
            let octets = |departed| match departed {
                Departed::Protected(at) => Ok(outbound.sender().octets()[at].to_vec()),
                other => Err(other),
            };
            (departed.into_iter().map(octets).collect::<Vec<_>>(), events)
        };
        let together = burst(&mut whole, &packets.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let (mut departed, mut events) = (Vec::new(), Vec::new());
        for packet in &packets {
            let (mut one, mut told) = burst(&mut single, &[packet]);
            departed.append(&mut one);
            events.append(&mut told);
        }
        prop_assert_eq!(together, (departed, events));
        prop_assert!(whole.sender().sad().iter().eq(single.sender().sad().iter()));
        prop_assert!(whole.spd().iter().eq(single.spd().iter()));
    }
}
