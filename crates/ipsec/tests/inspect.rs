//! The rules of inspection, one by one, on frames that a sender of our own makes.

#[path = "../../../tests/harness/esp.rs"]
mod esp;

use std::net::IpAddr;

use esp::{Ending, Sender, ethernet, fix_ipv4_checksum, inner, inner_udp, ip};
use espwire_esp::Suite;
use espwire_ipsec::{
    DropReason, Explanation, Frame, Inspector, MAX_BURST, Observer, Passed, Reencryption, Replay, Sad,
    SadError, Verdict, xfrm,
};
use proptest::prelude::*;

const VERIFIED: Verdict = Verdict::Pass(Passed::Verified);
const NOT_ESP: Verdict = Verdict::Pass(Passed::NotEsp);

fn dropped(reason: DropReason) -> Verdict {
    Verdict::Drop(reason)
}

fn sad(text: &str) -> Result<Sad, SadError> {
    Sad::new([&xfrm::parse("test", text).expect("text")])
}

/// An inspector that knows these senders' SAs.
fn inspector(senders: &[&Sender]) -> Inspector {
    let text: String = senders.iter().map(|sender| sender.xfrm()).collect();
    Inspector::new(sad(&text).expect("SAs"))
}

fn inspect(inspector: &mut Inspector, frames: &[Vec<u8>]) -> Vec<Verdict> {
    inspect_seen(inspector, frames).0
}

fn one(inspector: &mut Inspector, frame: &[u8]) -> Verdict {
    inspect(inspector, &[frame.to_vec()])[0]
}

/// Source, destination, protocol, ports, length, data.
type SeenInner = (IpAddr, IpAddr, u8, Option<(u16, u16)>, usize, Vec<u8>);

/// What an observer keeps of an explanation.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    index: usize,
    spi: Option<u32>,
    sequence: Option<u64>,
    verified: Option<bool>,
    replay: Option<Replay>,
    icv_received: Vec<u8>,
    icv_computed: Option<Vec<u8>>,
    padding: Vec<u8>,
    payload: Vec<u8>,
    inner: Option<SeenInner>,
    reencryption: Option<Reencryption>,
    verdict: Verdict,
}

#[derive(Default)]
struct Notebook(Vec<Seen>);

impl Observer for Notebook {
    fn wants(&mut self, _: Verdict) -> bool {
        true
    }

    fn observe(&mut self, e: &Explanation<'_>) {
        let decrypted = e.decrypted.as_ref();
        self.0.push(Seen {
            index: e.index,
            spi: e.spi,
            sequence: e.sequence,
            verified: e.verified,
            replay: e.replay,
            icv_received: e.icv_received.to_vec(),
            icv_computed: e.icv_computed.map(|icv| icv.as_ref().to_vec()),
            padding: decrypted.map_or(Vec::new(), |d| d.padding.to_vec()),
            payload: decrypted.map_or(Vec::new(), |d| d.payload.to_vec()),
            inner: decrypted
                .and_then(|d| d.inner.as_ref())
                .map(|i| (i.src, i.dst, i.protocol, i.ports, i.len, i.data.to_vec())),
            reencryption: decrypted.and_then(|d| d.reencryption),
            verdict: e.verdict,
        });
    }
}

fn inspect_seen(inspector: &mut Inspector, frames: &[Vec<u8>]) -> (Vec<Verdict>, Vec<Seen>) {
    let before = frames.to_vec();
    let mut verdicts = Vec::new();
    let mut notebook = Notebook::default();
    let burst: Vec<_> = frames.iter().map(|frame| Frame::whole(frame)).collect();
    inspector.inspect_burst(&burst, &mut verdicts, &mut notebook);
    assert_eq!(verdicts.len(), frames.len());
    assert_eq!(before, frames);
    (verdicts, notebook.0)
}

/// SAs of every suite that Linux has, two of each, and of every kind.
fn all_kinds() -> Vec<Sender> {
    let is_iiv = |suite: &Suite| suite.iv_len() == 0 && suite.is_counter_mode();
    let twice = Suite::all().filter(|suite| !is_iiv(suite)).flat_map(|suite| [suite, suite]);
    let mut kinds = Vec::new();
    for (kind, suite) in (0..).zip(twice) {
        let mut sender = Sender::new(0x100 + kind, suite);
        if kind & 1 != 0 {
            sender = sender.over_ipv6();
        }
        sender.transport = kind & 2 != 0;
        sender.esn = kind & 4 != 0;
        sender.encap = (kind & 8 != 0).then_some((4500, 4500));
        sender.options = if kind % 3 == 0 { 8 } else { 0 };
        kinds.push(sender);
    }
    kinds
}

fn next_frame(sender: &mut Sender, data: &[u8]) -> Vec<u8> {
    if sender.transport { sender.frame(6, data) } else { sender.frame(4, &inner(6, data)) }
}

#[test]
fn every_kind_of_sa_is_followed_in_bursts_over_many() {
    let mut senders = all_kinds();
    let mut inspector = inspector(&senders.iter().collect::<Vec<_>>());
    for round in 0..6_usize {
        for senders in senders.chunks_mut(MAX_BURST / 2) {
            let mut frames = Vec::new();
            for (at, sender) in senders.iter_mut().enumerate() {
                frames.push(next_frame(sender, &vec![at as u8; 23 * round + at]));
                frames.push(next_frame(sender, &vec![at as u8; 7 + at]));
            }
            assert_eq!(inspect(&mut inspector, &frames), vec![VERIFIED; frames.len()], "round {round}");
        }
    }
    for (sa, counts) in inspector.sad().iter() {
        assert_eq!((counts.packets, counts.replays), (12, 0), "{sa:?}");
        assert!(DropReason::ALL.iter().all(|&reason| counts.failures[reason] == 0));
    }
}

#[test]
fn every_octet_from_spi_to_icv_counts() {
    for mut sender in all_kinds() {
        let mut inspector = inspector(&[&sender]);
        let good = next_frame(&mut sender, b"some payload");
        let esp_at = sender.esp_at();
        for at in esp_at..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x80;
            let expected = if at < esp_at + 4 { DropReason::NoSa } else { DropReason::AuthFail };
            assert_eq!(one(&mut inspector, &bad), dropped(expected), "octet {at} of {}", sender.suite);
        }
        assert_eq!(one(&mut inspector, &good), VERIFIED);
        let (_, counts) = inspector.sad().iter().next().unwrap();
        assert_eq!(counts.failures[DropReason::AuthFail], (good.len() - esp_at - 4) as u64);
        assert_eq!((counts.packets, counts.bytes), (1, (good.len() - esp_at) as u64));
    }
}

#[test]
fn a_tampered_packet_in_a_burst_costs_its_neighbours_nothing() {
    let (mut gcm, mut cbc) = (Sender::gcm(1), Sender::cbc(2));
    let mut inspector = inspector(&[&gcm, &cbc]);
    let mut frames: Vec<_> = (0..MAX_BURST)
        .map(|n| next_frame(if n % 3 == 0 { &mut gcm } else { &mut cbc }, &vec![n as u8; n * 11]))
        .collect();
    let bad = |n: usize| n % 5 == 2;
    for (n, frame) in frames.iter_mut().enumerate().filter(|(n, _)| bad(*n)) {
        let at = frame.len() - 1 - n % 16;
        frame[at] ^= 1;
    }
    let verdicts = inspect(&mut inspector, &frames);
    for (n, verdict) in verdicts.into_iter().enumerate() {
        assert_eq!(verdict, if bad(n) { dropped(DropReason::AuthFail) } else { VERIFIED }, "{n}");
    }
}

#[test]
fn other_traffic_passes() {
    let mut sender = Sender::gcm(1);
    sender.encap = Some((4500, 4501));
    let mut inspector = inspector(&[&sender]);
    let udp = |dst: u16, data: &[u8]| inner_udp(9, dst, data);
    let mut arp = ethernet(&inner(1, &[1; 40]));
    arp[12..14].copy_from_slice(&[8, 6]);
    let (frames, expected): (Vec<_>, Vec<_>) = [
        (arp, NOT_ESP),
        (ethernet(&inner(6, &[1; 40])), NOT_ESP),
        (ethernet(&udp(53, &[0; 40])), NOT_ESP),
        (ethernet(&udp(4500, &[0; 40])), Verdict::Pass(Passed::NattIke)),
        (ethernet(&udp(4501, &[0; 4])), Verdict::Pass(Passed::NattIke)),
        (ethernet(&udp(4500, &[0xff])), Verdict::Pass(Passed::NattKeepalive)),
        (ethernet(&udp(4500, &[7; 40])), dropped(DropReason::NoSa)),
        (ethernet(&ip("fd09::1".parse().unwrap(), "fd09::2".parse().unwrap(), 58, 0, &[135; 32])), NOT_ESP),
        (vec![0; 14], NOT_ESP),
        (next_frame(&mut sender, b"between them"), VERIFIED),
        (vec![], NOT_ESP),
    ]
    .into_iter()
    .unzip();
    let (verdicts, seen) = inspect_seen(&mut inspector, &frames);
    assert_eq!(verdicts, expected);
    // Records are of ESP only.
    assert_eq!(seen.iter().map(|seen| seen.index).collect::<Vec<_>>(), [6, 9]);
}

#[test]
fn the_sa_is_found_by_the_packets_own_spi_and_destination() {
    let mut sender = Sender::gcm(0x0100_0000);
    let mut inspector = inspector(&[&sender]);
    let mut elsewhere = Sender { dst: [10, 9, 0, 3].into(), ..sender.clone() };
    let mut unknown = Sender { spi: 0x0200_0000, ..sender.clone() };
    let mut zero = Sender { spi: 0, ..sender.clone() };
    for other in [&mut elsewhere, &mut unknown, &mut zero] {
        assert_eq!(one(&mut inspector, &next_frame(other, b"x")), dropped(DropReason::NoSa));
    }
    assert_eq!(one(&mut inspector, &next_frame(&mut sender, b"x")), VERIFIED);
}

#[test]
fn a_wrong_pad_octet_under_a_right_icv_is_named() {
    for mut sender in [Sender::gcm(1), Sender::cbc(2)] {
        let mut inspector = inspector(&[&sender]);
        let payload = inner(6, &[5; 28]);
        let regular = sender.clone().frame(4, &payload);
        let pad_len = {
            let (_, seen) = inspect_seen(&mut inspector, std::slice::from_ref(&regular));
            seen[0].padding.len()
        };
        assert!(pad_len >= 2, "the case needs padding");
        let mut padding: Vec<u8> = (1..=pad_len as u8).collect();
        padding[1] = 77;
        sender.sequence += 1;
        let ending = Ending { padding: padding.clone(), pad_len: pad_len as u8, next_header: 4 };
        let frame = sender.frame_ending(&payload, &ending);
        let (verdicts, seen) = inspect_seen(&mut inspector, &[frame]);
        assert_eq!(verdicts, [dropped(DropReason::BadPadding)]);
        let seen = &seen[0];
        assert_eq!((seen.verified, &seen.padding), (Some(true), &padding));
        assert_eq!(Some(&seen.icv_received), seen.icv_computed.as_ref());
        let mismatch = seen.reencryption.expect("encrypted again");
        assert!(!mismatch.ciphertext_matches && !mismatch.icv_matches);
        // GCM differs in that octet, CBC from the start of its block on.
        let wrong_octet = 8 + sender.suite.iv_len() + payload.len() + 1;
        let first = wrong_octet - payload.len() % sender.suite.block_len() - 1;
        let first = if sender.suite.block_len() == 1 { wrong_octet } else { first };
        assert_eq!(mismatch.first_difference, Some(first));
    }
}

#[test]
fn a_wrong_icv_is_shown_beside_the_right_one() {
    for mut sender in [Sender::gcm(1), Sender::cbc(2)] {
        let mut inspector = inspector(&[&sender]);
        let mut frame = next_frame(&mut sender, b"payload");
        let icv_at = frame.len() - 16;
        let right = frame[icv_at..].to_vec();
        frame[icv_at] ^= 1;
        let (_, seen) = inspect_seen(&mut inspector, &[frame]);
        assert_eq!(seen[0].verified, Some(false));
        assert_eq!(seen[0].icv_computed.as_ref(), Some(&right));
        assert_ne!(seen[0].icv_received, right);
        assert_eq!((seen[0].payload.len(), &seen[0].inner), (0, &None));
    }
}

#[test]
fn trailers_are_checked_under_a_right_icv() {
    let payload = inner(6, &[5; 22]);
    let cases = [
        // (padding, pad length, next header, verdict): the payload has 42 octets.
        (vec![], 0, 4, VERIFIED),
        (vec![1, 2, 3, 4], 4, 4, VERIFIED),
        (vec![1, 2, 3], 3, 4, dropped(DropReason::BadAlign)),
        (vec![0], 1, 4, dropped(DropReason::BadAlign)),
        (vec![], 43, 4, dropped(DropReason::BadPadLen)),
        (vec![], 255, 4, dropped(DropReason::BadPadLen)),
        (vec![0, 0, 0, 0], 4, 4, dropped(DropReason::BadPadding)),
        (vec![1, 2, 3, 5], 4, 4, dropped(DropReason::BadPadding)),
        (vec![], 0, 6, dropped(DropReason::BadNextHeader)),
        (vec![], 0, 41, dropped(DropReason::InnerMalformed)),
        (vec![], 0, 59, VERIFIED),
        ((1..=252).collect(), 252, 4, VERIFIED),
    ];
    let mut sender = Sender::gcm(1);
    let mut inspector = inspector(&[&sender]);
    for (padding, pad_len, next_header, expected) in cases {
        let frame = sender.frame_ending(&payload, &Ending { padding, pad_len, next_header });
        assert_eq!(one(&mut inspector, &frame), expected, "pad length {pad_len}, next header {next_header}");
    }
}

#[test]
fn the_inner_packet_is_checked_and_described() {
    let mut sender = Sender::cbc(1);
    let mut inspector = inspector(&[&sender]);
    let good = inner_udp(1000, 9999, b"helloxfrm!!!!");
    let check = |inspector: &mut Inspector, packet: &[u8], sender: &mut Sender| {
        let frame = sender.frame(4, packet);
        let (verdicts, mut seen) = inspect_seen(inspector, &[frame]);
        (verdicts[0], seen.remove(0).inner)
    };
    let (verdict, described) = check(&mut inspector, &good, &mut sender);
    assert_eq!(verdict, VERIFIED);
    let (src, dst) = ([192, 168, 7, 1].into(), [192, 168, 7, 2].into());
    let expected = (src, dst, 17, Some((1000, 9999)), good.len(), b"helloxfrm!!!!".to_vec());
    assert_eq!(described, Some(expected.clone()));
    // TFC padding after the inner packet is no fault, and no part of it.
    let mut padded = good.clone();
    padded.extend([0; 100]);
    assert_eq!(check(&mut inspector, &padded, &mut sender), (VERIFIED, Some(expected)));
    // In a later fragment stands no UDP header.
    let mut fragment = good.clone();
    fragment[7] = 1;
    fix_ipv4_checksum(&mut fragment);
    let (verdict, described) = check(&mut inspector, &fragment, &mut sender);
    assert_eq!((verdict, described), (VERIFIED, Some((src, dst, 17, None, good.len(), vec![]))));
    // ICMP and anything else is handled like TCP.
    for protocol in [1, 47, 50, 89, 255] {
        let (verdict, described) = check(&mut inspector, &inner(protocol, &[1; 20]), &mut sender);
        assert_eq!((verdict, described.unwrap().2), (VERIFIED, protocol));
    }
    let faults: [fn(&mut Vec<u8>); 6] = [
        |packet| packet[0] = 0x65,
        |packet| packet[0] = 0x44,
        |packet| packet[0] = 0x4f,
        |packet| packet[3] += 1,
        |packet| packet[8] ^= 1,
        |packet| packet.truncate(19),
    ];
    for (n, fault) in faults.into_iter().enumerate() {
        let mut packet = good.clone();
        fault(&mut packet);
        let (verdict, described) = check(&mut inspector, &packet, &mut sender);
        assert_eq!((verdict, described), (dropped(DropReason::InnerMalformed), None), "fault {n}");
    }
}

#[test]
fn replay_is_noted_and_nothing_more() {
    let mut sender = Sender::gcm(1);
    let mut inspector = inspector(&[&sender]);
    let frames: Vec<_> = (0..100).map(|n| next_frame(&mut sender, &[n])).collect();
    let mut zero = Sender { sequence: 0, ..sender.clone() };
    assert_eq!(inspect(&mut inspector, &frames[..60]), [VERIFIED; 60]);
    assert_eq!(inspect(&mut inspector, &frames[60..]), [VERIFIED; 40]);
    let again = [frames[99].clone(), frames[99].clone(), frames[0].clone(), next_frame(&mut zero, b"")];
    let (verdicts, seen) = inspect_seen(&mut inspector, &again);
    assert_eq!(verdicts, [VERIFIED; 4]);
    let replays: Vec<_> = seen.iter().map(|seen| seen.replay.unwrap()).collect();
    assert_eq!(replays, [Replay::Duplicate, Replay::Duplicate, Replay::Old, Replay::Zero]);
    assert_eq!(inspector.sad().iter().next().unwrap().1.replays, 4);
}

#[test]
fn replay_within_a_burst_is_noted() {
    let mut sender = Sender::gcm(1);
    let mut inspector = inspector(&[&sender]);
    let (first, second) = (next_frame(&mut sender, b"1"), next_frame(&mut sender, b"2"));
    let (_, seen) = inspect_seen(&mut inspector, &[first.clone(), first, second.clone(), second]);
    let replays: Vec<_> = seen.iter().map(|seen| seen.replay.unwrap()).collect();
    assert_eq!(replays, [Replay::Fresh, Replay::Duplicate, Replay::Fresh, Replay::Duplicate]);
}

#[test]
fn a_forged_number_moves_no_window() {
    let mut sender = Sender::gcm(1);
    let mut inspector = inspector(&[&sender]);
    let mut far = Sender { sequence: 1 << 30, ..sender.clone() };
    let mut forged = next_frame(&mut far, b"x");
    *forged.last_mut().unwrap() ^= 1;
    let (verdicts, seen) = inspect_seen(&mut inspector, &[forged, next_frame(&mut sender, b"x")]);
    assert_eq!(verdicts, [dropped(DropReason::AuthFail), VERIFIED]);
    assert_eq!(seen[1].replay, Some(Replay::Fresh));
}

/// A sender with ESN whose state text says that its high half stands at `high`.
fn esn_inspector(sender: &Sender, high: u32) -> Inspector {
    let text = sender.xfrm().trim_end().to_owned() + &format!(" replay-oseq-hi {high:#x} replay-oseq 0x10\n");
    Inspector::new(sad(&text).expect("an SA"))
}

#[test]
fn the_esn_high_half_is_looked_for_around_the_states() {
    for (distance, expected) in [
        (0, VERIFIED),
        (-1, VERIFIED),
        (1, VERIFIED),
        (-7, VERIFIED),
        (2, dropped(DropReason::AuthFail)),
        (-2, dropped(DropReason::AuthFail)),
    ] {
        let mut sender = Sender::gcm(1);
        sender.esn = true;
        let mut inspector = esn_inspector(&sender, 7);
        let high = 7_u64.checked_add_signed(distance).unwrap();
        sender.sequence = (high << 32) + 5;
        let frames = [next_frame(&mut sender, b"1"), next_frame(&mut sender, b"2")];
        let (verdicts, seen) = inspect_seen(&mut inspector, &frames);
        assert_eq!(verdicts, [expected; 2], "{distance}");
        if expected == VERIFIED {
            assert_eq!(seen[1].sequence, Some((high << 32) + 6));
        }
    }
}

#[test]
fn esn_is_followed_across_2_to_the_32_within_a_burst() {
    for mut sender in [Sender::gcm(1), Sender::cbc(2)] {
        sender.esn = true;
        let mut inspector = inspector(&[&sender]);
        sender.sequence = (1 << 32) - 20;
        let frames: Vec<_> = (0..40).map(|n| next_frame(&mut sender, &[n; 50])).collect();
        let (verdicts, seen) = inspect_seen(&mut inspector, &frames);
        assert_eq!(verdicts, [VERIFIED; 40]);
        assert_eq!(seen[39].sequence, Some((1 << 32) + 19));
    }
}

#[test]
fn once_synchronised_nothing_is_guessed() {
    let mut sender = Sender::gcm(1);
    sender.esn = true;
    let mut inspector = esn_inspector(&sender, 7);
    sender.sequence = 7 << 32 | 1000;
    assert_eq!(one(&mut inspector, &next_frame(&mut sender, b"")), VERIFIED);
    // The state's neighbours would have been tried before.
    for high in [6_u64, 8, 0] {
        sender.sequence = high << 32 | 2000;
        assert_eq!(
            one(&mut inspector, &next_frame(&mut sender, b"")),
            dropped(DropReason::AuthFail),
            "{high}"
        );
    }
}

#[test]
fn a_number_that_a_burst_itself_moves_on_is_read_by_the_new_window() {
    // The first packet leaps so far that the second's high half is another than before it.
    let mut sender = Sender::gcm(1);
    sender.esn = true;
    let mut inspector = inspector(&[&sender]);
    assert_eq!(one(&mut inspector, &next_frame(&mut sender, b"")), VERIFIED);
    sender.sequence = 0xffff_ff00;
    let first = next_frame(&mut sender, b"");
    sender.sequence = 0x1_0000_0001;
    let second = next_frame(&mut sender, b"");
    let (verdicts, seen) = inspect_seen(&mut inspector, &[first, second]);
    assert_eq!(verdicts, [VERIFIED; 2]);
    assert_eq!(seen[1].sequence, Some(0x1_0000_0001));
}

#[test]
fn a_number_that_was_right_before_the_burst_may_be_wrong_in_it() {
    let mut sender = Sender::gcm(1);
    sender.esn = true;
    let mut frame = |sequence| {
        sender.sequence = sequence;
        next_frame(&mut sender, b"x")
    };
    let (first, rest) = (frame(100), [frame((1 << 32) + 30), frame(101)]);
    let mut inspector = inspector(&[&sender]);
    assert_eq!(one(&mut inspector, &first), VERIFIED);
    let (verdicts, seen) = inspect_seen(&mut inspector, &rest);
    assert_eq!(verdicts, [VERIFIED, dropped(DropReason::AuthFail)]);
    assert_eq!((seen[1].sequence, seen[1].verified), (Some((1 << 32) + 101), Some(false)));
    assert!(seen[1].payload.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_burst_comes_to_what_its_frames_come_to(
        steps in prop::collection::vec((0..10_u8, any::<u16>()), 1..80),
        lens in prop::collection::vec(1..MAX_BURST, 1..8),
        high in 0..2_u32,
    ) {
        let mut sender = Sender::gcm(1);
        sender.esn = true;
        let mut frames = Vec::<Vec<u8>>::new();
        let mut last = u64::from(high) << 32 | 100;
        for (what, much) in steps {
            let earlier = |frames: &[Vec<u8>]| frames[usize::from(much) % frames.len()].clone();
            match what {
                0 | 1 if !frames.is_empty() => {
                    let mut again = earlier(&frames);
                    *again.last_mut().unwrap() ^= what;
                    frames.push(again);
                    continue;
                }
                // To where the low half comes round, or past half of it.
                2 => last += (1 << 32) - u64::from(much % 200),
                3 => last += (1 << 31) - u64::from(much % 200),
                // A late one.
                4 | 5 => {
                    sender.sequence = last.saturating_sub(u64::from(much % 200));
                    frames.push(next_frame(&mut sender, b"late"));
                    continue;
                }
                _ => last += 1,
            }
            sender.sequence = last;
            frames.push(next_frame(&mut sender, b"x"));
        }
        let (mut single, mut bursts) = (esn_inspector(&sender, high), esn_inspector(&sender, high));
        let mut one_by_one = (Vec::new(), Vec::new());
        for frame in &frames {
            let (verdicts, seen) = inspect_seen(&mut single, std::slice::from_ref(frame));
            one_by_one.0.extend(verdicts);
            one_by_one.1.extend(seen);
        }
        let (mut in_bursts, mut rest) = ((Vec::new(), Vec::new()), &frames[..]);
        for len in lens.iter().cycle() {
            let (burst, after) = rest.split_at(rest.len().min(*len));
            rest = after;
            let (verdicts, seen) = inspect_seen(&mut bursts, burst);
            in_bursts.0.extend(verdicts);
            in_bursts.1.extend(seen.into_iter().map(|seen| Seen { index: 0, ..seen }));
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(one_by_one, in_bursts);
        let counts = |inspector: &Inspector| inspector.sad().iter().map(|(_, counts)| *counts).collect::<Vec<_>>();
        prop_assert_eq!(counts(&single), counts(&bursts));
    }
}

#[test]
fn a_second_fragment_header_does_not_make_a_fragment_whole() {
    let sender = Sender::gcm(1).over_ipv6();
    let mut inspector = inspector(&[&sender]);
    let good = next_frame(&mut sender.clone(), &[3; 100]);
    for more in [0, 1] {
        let headers = [44, 0, 0, more, 0, 0, 0, 7, 50, 0, 0, 0, 0, 0, 0, 8];
        let frame = ethernet(&ip(sender.src, sender.dst, 44, 0, &[&headers, &good[54..]].concat()));
        assert_eq!(one(&mut inspector, &frame), dropped(DropReason::Malformed));
    }
}

#[test]
fn what_a_header_that_overruns_hides_may_be_esp() {
    let (v4, v6) = (Sender::gcm(1), Sender::gcm(2).over_ipv6());
    let mut inspector = inspector(&[&v4, &v6]);
    let mut frame = |sender: &Sender, number| {
        // It says that it goes on for 1020 octets or more.
        let header = [50, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        one(&mut inspector, &ethernet(&ip(sender.src, sender.dst, number, 0, &header)))
    };
    assert_eq!(frame(&v4, 51), dropped(DropReason::Malformed));
    for number in [51, 0, 43, 60, 135, 139, 140] {
        assert_eq!(frame(&v6, number), dropped(DropReason::Malformed), "{number}");
    }
}

#[test]
fn fragments_lies_and_cut_frames_are_dropped_by_name() {
    let mut sender = Sender::gcm(1);
    let mut inspector = inspector(&[&sender]);
    let good = next_frame(&mut sender, &[3; 100]);
    let changed = |change: fn(&mut [u8])| {
        let mut frame = good.clone();
        change(&mut frame[14..]);
        frame
    };
    let cases = [
        (
            changed(|ip| {
                ip[6] |= 0x20;
                fix_ipv4_checksum(ip);
            }),
            DropReason::Fragment,
        ),
        (
            changed(|ip| {
                ip[7] = 3;
                fix_ipv4_checksum(ip);
            }),
            DropReason::Fragment,
        ),
        (changed(|ip| ip[8] ^= 1), DropReason::BadIpChecksum),
        (
            changed(|ip| {
                ip[3] -= 1;
                fix_ipv4_checksum(ip);
            }),
            DropReason::AuthFail,
        ),
        (
            changed(|ip| {
                ip[3] += 1;
                fix_ipv4_checksum(ip);
            }),
            DropReason::Malformed,
        ),
        (changed(|ip| ip[0] = 0x44), DropReason::Malformed),
        (sender.wrap(&[0, 0, 0, 1, 0, 0, 0, 9]), DropReason::Malformed),
        (sender.wrap(&[0, 0, 0, 1, 0, 0, 0]), DropReason::Malformed),
        (sender.wrap(&[]), DropReason::Malformed),
    ];
    for (n, (frame, reason)) in cases.into_iter().enumerate() {
        assert_eq!(one(&mut inspector, &frame), dropped(reason), "case {n}");
    }
    let mut verdicts = Vec::new();
    inspector.inspect_burst(&[Frame::captured(&good[..96], good.len())], &mut verdicts, &mut ());
    assert_eq!(verdicts, [dropped(DropReason::Truncated)]);
    assert_eq!(one(&mut inspector, &good), VERIFIED);
}

#[test]
fn padding_of_the_frame_is_not_taken_for_esp() {
    let mut sender = Sender::gcm(1);
    sender.transport = true;
    let mut inspector = inspector(&[&sender]);
    let mut frame = sender.frame(59, b"");
    let len = frame.len();
    frame.resize(len.max(60) + 7, 0xee);
    assert_eq!(one(&mut inspector, &frame), VERIFIED);
    assert_eq!(inspector.sad().iter().next().unwrap().1.bytes, (len - 34) as u64);
}

#[test]
fn the_union_of_all_origins_is_taken() {
    let sender = Sender::gcm(1);
    let twice = sender.xfrm() + "ip netns exec vnet " + &sender.xfrm() + &Sender::gcm(2).xfrm();
    let sad = sad(&twice).unwrap();
    let origins: Vec<_> = sad.iter().map(|(sa, _)| sa.origins.clone()).collect();
    assert_eq!(origins, [vec![None, Some("vnet".to_owned())], vec![None]]);
}

#[test]
fn the_same_sa_twice_must_be_the_same() {
    let one = Sender::gcm(1);
    let mut other = one.clone();
    other.encryption_key[0] ^= 1;
    // Two files: the same place in both.
    let parse = |name, sender: &Sender| xfrm::parse(name, &("\n".to_owned() + &sender.xfrm())).unwrap();
    let error = Sad::new([&parse("first", &one), &parse("second", &other)]).unwrap_err().to_string();
    assert!(
        error.contains("first:2") && error.contains("second:2") && error.contains("0x00000001"),
        "{error}"
    );
    assert!(Sad::new([&parse("first", &one), &parse("second", &one)]).is_ok());
}

#[test]
fn linux_words_name_the_suites() {
    for (algorithms, suite) in [
        ("aead rfc4106(gcm(aes)) KEY20 64", "AES-GCM-128 with an 8-octet ICV"),
        ("aead rfc4309(ccm(aes)) KEY27 96", "AES-CCM-192 with a 12-octet ICV"),
        ("aead rfc4543(gcm(aes)) KEY36 128", "AES-GMAC-256 with a 16-octet ICV"),
        ("aead rfc7539esp(chacha20,poly1305) KEY36 128", "ChaCha20-Poly1305 with a 16-octet ICV"),
        ("auth sha1 KEY20 enc aes KEY16", "AES-CBC-128 with HMAC-SHA-1-96"),
        ("auth sha256 KEY32 enc aes KEY24", "AES-CBC-192 with HMAC-SHA-256-96"),
        ("auth-trunc hmac(sha256) KEY32 128 enc aes KEY32", "AES-CBC-256 with HMAC-SHA-256-128"),
        ("auth hmac(sha384) KEY48 enc rfc3686(ctr(aes)) KEY20", "AES-CTR-128 with HMAC-SHA-384-192"),
        ("auth hmac(sha512) KEY64 enc cipher_null ''", "NULL with HMAC-SHA-512-256"),
    ] {
        let words = algorithms.split(' ').map(|word| match word.strip_prefix("KEY") {
            Some(len) => format!("0x{}", "ab".repeat(len.parse().unwrap())),
            None => word.replace('(', "\\(").replace(')', "\\)"),
        });
        let algorithms = words.collect::<Vec<_>>().join(" ");
        let line =
            format!("ip xfrm state add src 1.1.1.1 dst 1.1.1.2 proto esp spi 1 mode tunnel {algorithms}");
        let sad = sad(&line).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(sad.iter().next().unwrap().0.suite.to_string(), suite);
    }
}

#[test]
fn mode_beet_shows_the_addresses_that_are_not_on_the_wire() {
    let mut sender = Sender::gcm(0x100);
    let line = sender.xfrm().replace("mode tunnel", "mode beet");
    let sad = sad(&format!("{} sel src 10.1.0.1 dst 10.1.0.2", line.trim_end())).unwrap();
    let mut inspector = Inspector::new(sad);
    let datagram = &inner_udp(7, 9, b"data")[20..];
    let with_options = [&[17, 0, 0, 0, 1, 1, 1, 0], datagram].concat();
    let frames =
        [sender.frame(17, datagram), sender.frame(94, &with_options), sender.frame(94, &[17, 9, 0, 0])];
    let (verdicts, seen) = inspect_seen(&mut inspector, &frames);
    assert_eq!(verdicts, [VERIFIED, VERIFIED, dropped(DropReason::InnerMalformed)]);
    let (src, dst) = ([10, 1, 0, 1].into(), [10, 1, 0, 2].into());
    let expected = Some((src, dst, 17, Some((7, 9)), datagram.len(), b"data".to_vec()));
    assert_eq!([&seen[0].inner, &seen[1].inner, &seen[2].inner], [&expected, &expected, &None]);
}

#[test]
fn what_cannot_be_used_is_refused_by_line_and_column() {
    let line =
        |algorithms: &str| format!("ip xfrm state add src 1.1.1.1 dst 1.1.1.2 proto esp spi 1 {algorithms}");
    let key = |len: usize| format!("0x{}", "ab".repeat(len));
    for (algorithms, reason) in [
        (
            format!("mode beet aead 'rfc4106(gcm(aes))' {} 128", key(36)),
            "needs a selector of two host addresses",
        ),
        (format!("aead 'rfc4106(gcm(aes))' {} 32", key(36)), "an ICV of 32 bits is not supported"),
        (format!("aead 'rfc4543(gcm(aes))' {} 96", key(36)), "an ICV of 96 bits is not supported"),
        (format!("aead 'rfc4106(gcm(aes))' {} 128", key(32)), "32 octets, not one of 20, 28, 36"),
        (format!("aead 'rfc4309(ccm(aes))' {} 128", key(36)), "36 octets, not one of 19, 27, 35"),
        (format!("aead 'rfc7539esp(chacha20,poly1305)' {} 128", key(32)), "of 36 octets, not 32"),
        (format!("aead 'seqiv(rfc4106(gcm(aes)))' {} 128", key(36)), "is not supported"),
        (format!("auth-trunc 'hmac(sha1)' {} 160 enc 'cbc(aes)' {}", key(20), key(32)), "160 bits"),
        (format!("auth 'hmac(md5)' {} enc 'cbc(aes)' {}", key(16), key(32)), "6 has it a MUST NOT"),
        (format!("auth 'xcbc(aes)' {} enc 'cbc(aes)' {}", key(16), key(32)), "espwire does not implement it"),
        (format!("auth digest_null '' enc 'cbc(aes)' {}", key(32)), "encryption without integrity"),
        (format!("auth sha1 {} enc des {}", key(20), key(8)), "5 has it a MUST NOT"),
        (format!("auth sha1 {} enc des3_ede {}", key(20), key(24)), "a SHOULD NOT"),
        (format!("auth sha1 {} enc blowfish {}", key(20), key(16)), "a MUST NOT"),
        (format!("auth sha1 {} enc camellia {}", key(20), key(16)), "does not implement it"),
        (format!("auth sha1 {} enc 'ctr(aes)' {}", key(20), key(16)), "ctr(aes) is not supported"),
        (format!("enc 'cbc(aes)' {}", key(32)), "encryption without integrity"),
        (format!("auth-trunc 'hmac(sha256)' {} 128 enc 'cbc(aes)' {}", key(32), key(17)), "17 octets"),
    ] {
        let error = sad(&line(&algorithms)).err().unwrap_or_else(|| panic!("{algorithms}")).to_string();
        assert!(error.starts_with("test:1:") && error.contains(reason), "{error}");
        assert!(!error.contains("abab"), "{error}");
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// Good frames of a few kinds, to be damaged.
    fn good() -> Vec<Vec<u8>> {
        let mut kinds = all_kinds();
        kinds.iter_mut().step_by(5).map(|sender| next_frame(sender, &[9; 40])).collect()
    }

    proptest! {
        #[test]
        fn damaged_frames_never_pass_as_verified_nor_panic(
            picks in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u16>(), any::<u8>(), any::<bool>()), 1..=MAX_BURST),
        ) {
            let senders = all_kinds();
            let mut inspector = inspector(&senders.iter().collect::<Vec<_>>());
            let good = good();
            let mut frames = Vec::new();
            let mut wire_lens = Vec::new();
            for (pick, damage, at, value, cut) in picks {
                let mut frame = pick.get(&good).clone();
                let whole = frame.len();
                let at = usize::from(at) % whole;
                match damage {
                    0 => frame.truncate(at),
                    1 => frame[at] ^= value,
                    2 => { frame.insert(at, value); }
                    _ => { frame.remove(at); }
                }
                wire_lens.push(if cut { whole } else { frame.len() });
                frames.push(frame);
            }
            let burst: Vec<_> =
                frames.iter().zip(&wire_lens).map(|(frame, &len)| Frame::captured(frame, len)).collect();
            let mut verdicts = Vec::new();
            let mut notebook = Notebook::default();
            inspector.inspect_burst(&burst, &mut verdicts, &mut notebook);
            prop_assert_eq!(verdicts.len(), frames.len());
            for seen in notebook.0 {
                prop_assert_eq!(seen.verdict, verdicts[seen.index]);
                // Nothing that was decrypted is shown without a right ICV.
                prop_assert!(seen.verified == Some(true) || seen.payload.is_empty() && seen.inner.is_none());
                if seen.verdict == VERIFIED {
                    prop_assert_eq!(seen.verified, Some(true));
                    prop_assert!(seen.reencryption.is_some_and(Reencryption::matches));
                }
            }
        }

        #[test]
        fn any_octets_get_a_verdict(
            octets in prop::collection::vec(any::<u8>(), 0..300),
            kind in prop_oneof![Just([8_u8, 0, 0x45]), Just([0x86, 0xdd, 0x60]), Just([0x81, 0, 0]), any::<[u8; 3]>()],
            protocol in prop_oneof![Just(50_u8), Just(17), Just(44), any::<u8>()],
        ) {
            let mut frame = octets;
            if frame.len() > 24 {
                frame[12..15].copy_from_slice(&kind);
                (frame[20], frame[23]) = (protocol, protocol);
            }
            let mut inspector = inspector(&[&Sender::gcm(1), &Sender::cbc(2)]);
            prop_assert_ne!(one(&mut inspector, &frame), VERIFIED);
        }
    }
}
