//! Round trips with Scapy's ESP: what it makes is opened here, and the reverse, for every suite that both have.
//!
//! Scapy runs beside the test, as tests/interop/scapy_esp.py, under the interpreter that `ESPWIRE_SCAPY_PYTHON` names;
//! `tests/run scapy` sets one up. What is left out is printed by name, with the reason.

#[path = "../../../../tests/harness/esp.rs"]
mod esp;

mod case;
mod espwire;
mod left_out;
mod process;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use espwire_esp::{AesKeyLen, IcvLen, Suite};
use espwire_ipsec::DropReason;
use serde_json::{Value, json};

use case::{Case, DESTINATION_OPTIONS, HOP_BY_HOP, Layout, NAT_T, PROTOCOL, cases};
use espwire::{received_by_espwire, sent_by_espwire};
use left_out::{
    EXTENSION_DROPPED, SHORT_GCM_ICV, UDP_NAMED_ESP, WRONG_NEXT_HEADER, names, not_opened, not_sealed,
};
use process::{Scapy, Trouble, hex};

/// Of the suites that both have, how many go by each of Scapy's names: key lengths × ICV lengths or integrity
/// algorithms.
const SUITES: [(&str, usize); 7] = [
    ("AES-CBC", 3 * 4),
    ("AES-CCM", 3 * 3),
    ("AES-CTR", 3 * 4),
    ("AES-GCM", 3),
    ("AES-NULL-GMAC", 3),
    ("CHACHA20-POLY1305", 1),
    ("NULL", 4),
];
/// Algorithms of Scapy's that are in no suite here.
const ONLY_IN_SCAPY: [&str; 6] = ["3DES", "AES-CMAC-96", "Blowfish", "CAST", "DES", "HMAC-MD5-96"];

#[test]
fn what_scapy_seals_is_opened_here() {
    let Some(mut scapy) = Scapy::start() else { return };
    let mut score = Score::default();
    let mut turn = 0;
    for case in cases_but(not_sealed, "sealing") {
        let name = case.name();
        let sealed = scapy.transform("seal", &case, &case.packets);
        let sealed: Vec<_> =
            sealed.into_iter().map(|sealed| sealed.expect("sealing refuses nothing")).collect();
        let mut receiver = espwire::receiver(&case);

        let damaged: Vec<_> =
            sealed.iter().enumerate().map(|(i, packet)| case.damaged(packet, turn + i)).collect();
        turn += damaged.len();
        let (damaged, places): (Vec<_>, Vec<_>) = damaged.into_iter().unzip();
        for (at, outcome) in places.into_iter().zip(received_by_espwire(&mut receiver, &damaged)) {
            // Another number may be left of the window.
            let is_right = if at < 8 { outcome.is_err() } else { outcome == Err(DropReason::AuthFail) };
            assert!(is_right, "{name}: octet {at} damaged, and {outcome:x?}");
        }
        for (i, outcome) in received_by_espwire(&mut receiver, &sealed).into_iter().enumerate() {
            let (packet, sealed) = (hex(&case.packets[i]), hex(&sealed[i]));
            let outcome = outcome.map(|packet| hex(&packet));
            assert_eq!(outcome.as_ref(), Ok(&packet), "{name}: {sealed} by Scapy\n{}", case.xfrm());
        }
        for outcome in received_by_espwire(&mut receiver, &sealed) {
            assert_eq!(outcome, Err(DropReason::ReplayDup), "{name}");
        }
        if let Some(later) = case.an_epoch_later() {
            for outcome in received_by_espwire(&mut espwire::receiver(&later), &sealed) {
                assert_eq!(outcome, Err(DropReason::AuthFail), "{name}: another high half, and {outcome:x?}");
            }
        }
        score.note(&case, &sealed);
    }
    score.finish("scapy to espwire");
}

#[test]
fn what_is_sealed_here_scapy_opens() {
    let Some(mut scapy) = Scapy::start() else { return };
    let mut score = Score::default();
    let mut turn = 0;
    for case in cases_but(not_opened, "opening") {
        let name = case.name();
        let sealed = sent_by_espwire(&case);
        for (i, outcome) in scapy.transform("open", &case, &sealed).into_iter().enumerate() {
            let (packet, sealed) = (hex(&case.packets[i]), hex(&sealed[i]));
            let outcome = outcome.map(|packet| hex(&packet));
            assert_eq!(outcome.as_ref(), Ok(&packet), "{name}: {sealed} by espwire\n{}", case.xfrm());
        }
        let damaged: Vec<_> =
            sealed.iter().enumerate().map(|(i, packet)| case.damaged(packet, turn + i).0).collect();
        turn += damaged.len();
        for outcome in scapy.transform("open", &case, &damaged) {
            assert!(matches!(outcome, Err(Trouble::Refused(_))), "{name}: damaged, and {outcome:x?}");
        }
        if let Some(later) = case.an_epoch_later() {
            for outcome in scapy.transform("open", &later, &sealed[..1]) {
                let is_right = matches!(outcome, Err(Trouble::Refused(_)));
                assert!(is_right, "{name}: another high half, and {outcome:x?}");
            }
        }
        score.note(&case, &sealed);
    }
    score.finish("espwire to scapy");
}

#[test]
fn each_suite_is_scapys_or_left_out_for_a_reason() {
    let Some(mut scapy) = Scapy::start() else { return };
    let mut known = BTreeSet::from(ONLY_IN_SCAPY);
    for suite in Suite::all() {
        match names(suite) {
            Ok((encryption, integrity)) => known.extend([encryption, integrity]),
            Err(why) => println!("not in scapy: {suite}: {why}"),
        }
    }
    println!("only in scapy: {}", ONLY_IN_SCAPY.join(", "));
    let algorithms = scapy.ask(&json!({ "op": "algorithms" }));
    let lists = ["encryption", "integrity"].map(|kind| algorithms[kind].as_array().expect("names"));
    let scapys: BTreeSet<_> = lists.into_iter().flatten().filter_map(Value::as_str).collect();
    assert_eq!(scapys, known);
}

/// A Scapy that has mended a fault fails this: then what was left out for it can join.
#[test]
fn what_is_left_out_is_scapys_fault() {
    let Some(mut scapy) = Scapy::start() else { return };
    let gcm = Suite::AesGcm(AesKeyLen::Aes256, IcvLen::Icv16);

    // Told of 8 or 12 octets, it seals with 16.
    for icv_len in [8, 12] {
        let case = Case::new(gcm, Layout::Tunnel(4, 4), false, false);
        let mut sa = case.for_scapy();
        sa["icv_len"] = icv_len.into();
        let sealed = scapy.transform_as("seal", &sa, &case, &case.packets);
        let sealed: Vec<_> = sealed.into_iter().map(Result::unwrap).collect();
        let opened = received_by_espwire(&mut espwire::receiver(&case), &sealed);
        assert_eq!(opened, case.packets.iter().cloned().map(Ok).collect::<Vec<_>>(), "{SHORT_GCM_ICV}");
    }

    for header in [HOP_BY_HOP, DESTINATION_OPTIONS] {
        let case = Case::new(gcm, Layout::TransportWithExtension(header), false, true);
        assert_eq!(not_sealed(&case), Some(UDP_NAMED_ESP));
        for sealed in scapy.transform("seal", &case, &case.packets) {
            let sealed = sealed.expect("sealing refuses nothing");
            assert_eq!((sealed[6], sealed[40]), (header, 50), "{UDP_NAMED_ESP}");
            assert_eq!(sealed[48..50], NAT_T.0.to_be_bytes(), "{UDP_NAMED_ESP}");
        }
    }

    for (nat_t, fault) in [(false, WRONG_NEXT_HEADER), (true, EXTENSION_DROPPED)] {
        let case = Case::new(gcm, Layout::TransportWithExtension(HOP_BY_HOP), false, nat_t);
        assert_eq!(not_opened(&case), Some(fault));
        let sealed = sent_by_espwire(&case);
        let opened = scapy.transform("open", &case, &sealed);
        if nat_t {
            let next_header = |opened: &Result<Vec<u8>, _>| opened.as_ref().unwrap()[6];
            assert!(opened.iter().all(|opened| next_header(opened) == PROTOCOL), "{fault}: {opened:x?}");
        } else {
            // No payload becomes 8 octets of options, and one octet is too short for options.
            assert_eq!(opened[0].as_ref().map(Vec::len), Ok(case.packets[0].len() + 8), "{fault}");
            assert!(matches!(opened[1], Err(Trouble::Exception(_))), "{fault}: {opened:x?}");
        }
        let opened = received_by_espwire(&mut espwire::receiver(&case), &sealed);
        assert_eq!(opened, case.packets.iter().cloned().map(Ok).collect::<Vec<_>>());
    }
}

/// The cases that are not left out; the others are printed.
fn cases_but(left_out: fn(&Case) -> Option<&'static str>, whose: &'static str) -> impl Iterator<Item = Case> {
    cases().filter(move |case| match left_out(case) {
        None => true,
        Some(why) => {
            println!("not in scapy: {whose} {}: {why}", case.name());
            false
        }
    })
}

/// What made the trip: of each suite how many packets, and in which cases.
#[derive(Default)]
struct Score(HashMap<Suite, (usize, BTreeSet<String>)>);

impl Score {
    /// Notes that `wrapped` opened to the packets of `case`. They had all pad lengths, and no longer ones.
    fn note(&mut self, case: &Case, wrapped: &[Vec<u8>]) {
        let both = case.packets.iter().zip(wrapped);
        let pad_lens: BTreeSet<_> = both.map(|(packet, wrapped)| case.pad_len(packet, wrapped)).collect();
        let expected = 0..case.sa.suite.block_len().max(4);
        assert!(pad_lens.iter().copied().eq(expected), "{}: {pad_lens:?}", case.name());
        let (packets, cases) = self.0.entry(case.sa.suite).or_default();
        *packets += wrapped.len();
        cases.insert(case.name());
    }

    /// Prints the counts, and checks that nothing is missing.
    fn finish(mut self, trip: &str) {
        let mut suites = BTreeMap::new();
        for suite in Suite::all() {
            let Ok((encryption, _)) = names(suite) else { continue };
            let (packets, cases) = self.0.remove(&suite).unwrap_or_default();
            println!("{trip}: {packets:4} packets of {suite}");
            // Each layout, with and without ESN, with and without NAT-T; there each pad length, and a long packet.
            let least = Layout::ALL.len() * 4;
            assert!(cases.len() >= least, "{suite}: {cases:?}");
            let least = least * (suite.block_len().max(4) + 1);
            assert!(packets >= least, "{packets} packets of {suite}, not {least}");
            *suites.entry(encryption).or_insert(0) += 1;
        }
        assert_eq!(suites, BTreeMap::from(SUITES));
    }
}
