//! Whole packets that others put together (tests/vectors/README.md): mode beet, and AES-CCM and implicit IVs in tunnel
//! and transport mode. Each is received, made again, inspected and damaged.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use espwire_ipsec::xfrm::{self, Database};
use espwire_ipsec::{
    DropReason, Explanation, Frame, Inspector, Observer, Outgoing, Passed, Received, Receiver, Reencryption,
    Replay, Sad, Sender, Sent, Verdict, danger,
};
use serde_json::Value;

/// Packets of each mode, without and with implicit IVs.
const COUNTS: [(&str, [usize; 2]); 3] = [("beet", [207, 16]), ("transport", [18, 14]), ("tunnel", [45, 35])];
const PACKETS: usize = 335;
/// Of those in mode beet, the ones whose pseudo header lies.
const LIES: usize = 12;
/// Those that no sender makes: the lies, and a pseudo header without need.
const NEVER_SENT: usize = LIES + 1;
/// Copies with one bit wrong, or cut.
const DAMAGED: usize = 54_190;

/// A line of packets.jsonl.
struct Case(Value);

impl Case {
    fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_else(|| panic!("no {key} in {}", self.0))
    }

    fn number(&self, key: &str) -> u64 {
        self.0[key].as_u64().unwrap_or_else(|| panic!("no {key} in {}", self.0))
    }

    /// Octets, or none where there is null or nothing.
    fn octets(&self, key: &str) -> Option<Vec<u8>> {
        let hex = self.0[key].as_str()?;
        let octet = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
        Some((0..hex.len()).step_by(2).map(octet).collect())
    }

    fn packet(&self) -> Vec<u8> {
        self.octets("packet").expect("a packet")
    }

    fn esp_at(&self) -> usize {
        self.number("esp_at") as usize
    }

    /// As it came to the receiver.
    fn arrived(&self) -> Vec<u8> {
        self.octets("arrived").unwrap_or_else(|| self.packet())
    }

    /// What is to become of it.
    fn due(&self) -> Outcome {
        match self.0["verdict"].as_str() {
            Some(reason) => Err(reason.to_owned()),
            None => Ok(self.octets("delivered").or_else(|| self.octets("inner")).expect("a packet inside")),
        }
    }

    fn states(&self) -> Database {
        xfrm::parse(self.text("id"), self.text("xfrm")).unwrap_or_else(|error| panic!("{error}"))
    }

    fn receiver(&self) -> Receiver {
        let sad = Sad::receiving([&self.states()], Duration::ZERO);
        Receiver::new(sad.unwrap_or_else(|error| panic!("{error}")))
    }

    fn inspector(&self) -> Inspector {
        Inspector::new(Sad::new([&self.states()]).unwrap_or_else(|error| panic!("{error}")))
    }
}

/// A packet delivered, or why not.
type Outcome = Result<Vec<u8>, String>;

fn cases() -> Vec<Case> {
    let lines = include_str!("vectors/packets.jsonl").lines();
    lines.map(|line| Case(serde_json::from_str(line).expect("JSON"))).collect()
}

fn receive(receiver: &mut Receiver, packet: &[u8]) -> Outcome {
    let mut received = Vec::new();
    receiver.receive_burst(Duration::ZERO, &[packet], &mut received, &mut Vec::new());
    match received[..] {
        [Received::Packet(delivered)] => Ok(receiver.packet(delivered).to_vec()),
        [Received::Drop(reason)] => Err(reason.name().to_owned()),
        ref other => Err(format!("{other:?}")),
    }
}

/// An Ethernet frame with an IP packet.
fn frame(packet: &[u8]) -> Vec<u8> {
    let ether_type = if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    [&[2; 12][..], &ether_type, packet].concat()
}

fn inspect(inspector: &mut Inspector, packet: &[u8], observer: &mut impl Observer) -> Verdict {
    let mut verdicts = Vec::new();
    inspector.inspect_burst(&[Frame::whole(&frame(packet))], &mut verdicts, observer);
    assert_eq!(verdicts.len(), 1);
    verdicts[0]
}

#[test]
fn there_are_packets_of_all_that_was_to_be_covered() {
    let mut counts = BTreeMap::<_, [usize; 2]>::new();
    let (mut suites, mut options, mut ends) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for case in &cases() {
        let mode = case.text("mode").to_owned();
        counts.entry(mode.clone()).or_default()[usize::from(case.text("suite").ends_with("-iiv"))] += 1;
        *suites.entry((mode.clone(), case.text("suite").to_owned())).or_insert(0) += 1;
        let (packet, Some(inner)) = (case.packet(), case.octets("inner")) else { continue };
        *ends.entry((mode.clone(), inner[0] >> 4, packet[0] >> 4)).or_insert(0) += 1;
        if mode == "beet" && inner[0] >> 4 == 4 {
            *options.entry((packet[0] >> 4, (inner[0] & 0xf) * 4 - 20)).or_insert(0) += 1;
        }
    }
    println!("packets by mode, without and with implicit IVs: {counts:?}");
    println!("by mode and versions of IP, inside and outside: {ends:?}");
    assert_eq!(cases().len(), PACKETS);
    assert_eq!(counts, COUNTS.map(|(mode, count)| (mode.to_owned(), count)).into());
    let of = |mode: &str| suites.keys().filter(|(of, _)| of == mode).count();
    // All 9 of AES-CCM and all 7 with implicit IVs in tunnel and transport mode.
    assert_eq!((of("tunnel"), of("transport"), of("beet")), (16, 16, 10));
    let every_len = [4, 6].into_iter().flat_map(|outer| (0..=40).step_by(4).map(move |len| (outer, len)));
    assert!(options.keys().copied().eq(every_len), "{options:?}");
    for inner in [4, 6] {
        for outer in [4, 6] {
            for mode in ["beet", "tunnel"] {
                assert!(ends[&(mode.to_owned(), inner, outer)] >= 16);
            }
        }
    }
}

#[test]
fn each_is_received() {
    let (mut delivered, mut lies) = (0, 0);
    for case in &cases() {
        let due = case.due();
        let mut receiver = case.receiver();
        assert_eq!(receive(&mut receiver, &case.arrived()), due, "{}", case.text("id"));
        // It was taken: not a second time.
        assert_eq!(receive(&mut receiver, &case.arrived()), Err("replay_dup".to_owned()));
        *(if due.is_ok() { &mut delivered } else { &mut lies }) += 1;
    }
    println!("received: {delivered} delivered, {lies} dropped for what is inside");
    assert_eq!((delivered, lies), (PACKETS - LIES, LIES));
}

#[test]
fn each_is_made_again() {
    let (mut made, mut skipped) = (0, 0);
    for case in &cases() {
        let Some(inner) = case.octets("inner") else {
            skipped += 1;
            continue;
        };
        let id = case.text("id");
        let states = case.states();
        let (spi, dst): (u32, IpAddr) = (states.states[0].spi, states.states[0].dst);
        let sad = Sad::sending([&states], Duration::ZERO, || [7; 32].into());
        let mut sender = Sender::new(sad.unwrap_or_else(|error| panic!("{error}")));
        assert!(danger::force_iv(&mut sender, spi, dst, &case.octets("iv").expect("an IV")), "{id}");
        let (mut sent, mut events) = (Vec::new(), Vec::new());
        let sa = sender.find(spi, dst).expect("the SA");
        let outgoing = Outgoing::Packet { sa, packet: &inner };
        sender.send_burst(Duration::ZERO, &[outgoing], &mut sent, &mut events);
        let [Sent::Packet(at)] = &sent[..] else { panic!("{id}: {sent:?}") };
        let again = &sender.octets()[at.clone()];
        let (mut expected, esp_at) = (case.packet(), case.esp_at());
        assert_eq!(again[esp_at..], expected[esp_at..], "{id}: from the SPI on");
        for octet in case.0["free"].as_array().expect("a list") {
            let at = octet.as_u64().expect("a place") as usize;
            expected[at] = again[at];
        }
        assert_eq!(again[..esp_at], expected[..esp_at], "{id}: the header");
        assert!(events.is_empty(), "{id}: {events:?}");
        // What is free is right all the same.
        let mut receiver = case.receiver();
        assert!(receive(&mut receiver, again).is_ok(), "{id}");
        made += 1;
    }
    println!("made again: {made}, of no sender: {skipped}");
    assert_eq!(skipped, NEVER_SENT);
    assert_eq!(made, PACKETS - NEVER_SENT);
}

/// What an explanation says that is checked here.
#[derive(Clone, Copy)]
struct Seen {
    sequence: Option<u64>,
    replay: Option<Replay>,
    /// Sealed again to the same octets.
    is_same: bool,
    /// Source, destination and protocol of the packet inside.
    inner: Option<(IpAddr, IpAddr, u8)>,
}

/// Keeps what it is told.
#[derive(Default)]
struct Listener(Vec<Seen>);

impl Observer for Listener {
    fn wants(&mut self, _: Verdict) -> bool {
        true
    }

    fn observe(&mut self, explanation: &Explanation<'_>) {
        let decrypted = explanation.decrypted.as_ref();
        let inner = decrypted.and_then(|found| found.inner.as_ref());
        self.0.push(Seen {
            sequence: explanation.sequence,
            replay: explanation.replay,
            is_same: decrypted.and_then(|found| found.reencryption).is_some_and(Reencryption::matches),
            inner: inner.map(|inner| (inner.src, inner.dst, inner.protocol)),
        });
    }
}

/// Source, destination and protocol of an IP packet: of IPv6 the next header of the fixed one.
fn ends(packet: &[u8]) -> (IpAddr, IpAddr, u8) {
    let v4 = |at: usize| <[u8; 4]>::try_from(&packet[at..at + 4]).expect("4 octets").into();
    let v6 = |at: usize| <[u8; 16]>::try_from(&packet[at..at + 16]).expect("16 octets").into();
    if packet[0] >> 4 == 4 { (v4(12), v4(16), packet[9]) } else { (v6(8), v6(24), packet[6]) }
}

#[test]
fn each_is_inspected() {
    let (mut passed, mut dropped) = (0, 0);
    for case in &cases() {
        let id = case.text("id");
        let (mut inspector, mut listener) = (case.inspector(), Listener::default());
        let verdict = inspect(&mut inspector, &case.arrived(), &mut listener);
        let Seen { sequence, replay, is_same, inner } = listener.0[0];
        assert_eq!((sequence, replay), (Some(case.number("sequence")), Some(Replay::Fresh)), "{id}");
        // What it holds is sealed rightly, whatever it is.
        assert!(is_same, "{id}");
        match case.due() {
            Ok(delivered) => {
                assert_eq!(verdict, Verdict::Pass(Passed::Verified), "{id}");
                let (found, due) = (inner.unwrap_or_else(|| panic!("{id}")), ends(&delivered));
                assert_eq!((found.0, found.1), (due.0, due.1), "{id}");
                // Behind extension headers it is another's.
                assert!(found.2 == due.2 || matches!(due.2, 0 | 60), "{id}: {found:?}");
                passed += 1;
            }
            Err(reason) => {
                assert_eq!(verdict, Verdict::Drop(DropReason::InnerMalformed), "{id}");
                assert_eq!(reason, DropReason::InnerMalformed.name());
                dropped += 1;
            }
        }
    }
    println!("inspected: {passed} verified, {dropped} dropped for what is inside");
    assert_eq!((passed, dropped), (PACKETS - LIES, LIES));
}

/// Copies of a packet with one bit wrong in each octet from the SPI on, in turn, and copies that end at every fourth.
fn damaged(packet: &[u8], esp_at: usize, cut: impl Fn(&[u8], usize) -> Vec<u8>) -> Vec<Vec<u8>> {
    let mut copies = Vec::new();
    for at in esp_at..packet.len() {
        let mut copy = packet.to_vec();
        copy[at] ^= 1 << (at % 8);
        copies.push(copy);
        if (at - esp_at).is_multiple_of(4) {
            copies.push(cut(packet, at));
        }
    }
    copies
}

/// The first `len` octets, with an IP header that says so. The UDP length, if there is one, still says more.
fn cut_short(packet: &[u8], len: usize) -> Vec<u8> {
    let mut copy = packet[..len].to_vec();
    if copy[0] >> 4 == 4 {
        copy[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        copy[10..12].fill(0);
        let header = &copy[..usize::from(copy[0] & 0xf) * 4];
        let mut sum: u32 =
            header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        copy[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    } else {
        copy[4..6].copy_from_slice(&(len as u16 - 40).to_be_bytes());
    }
    copy
}

#[test]
fn damaged_copies_are_refused_and_leave_no_trace() {
    let mut count = 0;
    for case in &cases() {
        let id = case.text("id");
        let (mut receiver, mut inspector) = (case.receiver(), case.inspector());
        let packet = case.arrived();
        for (number, copy) in damaged(&packet, case.esp_at(), cut_short).iter().enumerate() {
            let outcome = receive(&mut receiver, copy);
            assert!(outcome.is_err(), "{id}: {number} was taken");
            let verdict = inspect(&mut inspector, copy, &mut ());
            assert!(matches!(verdict, Verdict::Drop(_)), "{id}: {number} is {verdict:?}");
            count += 1;
        }
        // The packet itself is the first one still.
        assert_eq!(receive(&mut receiver, &packet), case.due(), "{id}");
    }
    println!("damaged: {count} copies refused");
    assert_eq!(count, DAMAGED);
}
