//! A burst comes to what its packets come to one by one.

use proptest::prelude::*;

use super::*;

/// A packet before the burst's leap has another number after it.
#[test]
fn a_number_that_is_old_by_the_window_before_the_burst_may_be_new_in_it() {
    let mut sender = Sender::gcm(0x100);
    sender.esn = true;
    let mut number = |sequence| {
        sender.sequence = sequence;
        next(&mut sender, b"x")
    };
    let before = [number(100)];
    // By the window before the burst: new, marked, old enough to be the next epoch's, marked.
    let leap = 1 << 32;
    let packets = [number(leap + 30), number(leap + 100), number(leap + 101), number(leap + 100)];
    let mut receiver = receiver_of(&sender, "");
    burst(&mut receiver, at(0), &before);
    let outcomes = burst(&mut receiver, at(0), &packets).0;
    assert!(outcomes[..3].iter().all(|outcome| matches!(outcome, Outcome::Packet(_))), "{outcomes:?}");
    assert_eq!(outcomes[3], dropped(DropReason::ReplayDup));
}

#[test]
fn a_number_that_is_right_by_the_window_before_the_burst_may_be_wrong_in_it() {
    let mut sender = Sender::gcm(0x100);
    sender.esn = true;
    let mut number = |sequence| {
        sender.sequence = sequence;
        next(&mut sender, b"x")
    };
    let packets = [number(100), number((1 << 32) + 30), number(101)];
    let mut receiver = receiver_of(&sender, "");
    let outcomes = burst(&mut receiver, at(0), &packets).0;
    assert!(matches!(outcomes[1], Outcome::Packet(_)));
    assert_eq!(outcomes[2], dropped(DropReason::AuthFail));
}

#[test]
fn a_number_twice_in_a_burst_is_delivered_once() {
    let mut sender = Sender::cbc(0x100);
    let good = next(&mut sender, b"x");
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    let mut receiver = receiver_of(&sender, "");
    // A forged packet marks nothing.
    let outcomes = burst(&mut receiver, at(0), &[forged, good.clone(), good]).0;
    assert_eq!(outcomes[0], dropped(DropReason::AuthFail));
    assert!(matches!(outcomes[1], Outcome::Packet(_)));
    assert_eq!(outcomes[2], dropped(DropReason::ReplayDup));
}

/// The SAs of the random mix: ESN and not, tunnel and transport, encapsulated, ending soon.
fn senders() -> Vec<(Sender, &'static str)> {
    let mut esn = Sender::gcm(0x100);
    esn.esn = true;
    let mut transport = Sender::cbc(0x101).over_ipv6();
    transport.transport = true;
    let mut encapsulated = Sender::gcm(0x102);
    encapsulated.encap = Some((4500, 4500));
    encapsulated.esn = true;
    let mut ending = Sender::cbc(0x103);
    ending.options = 8;
    let selective = Sender::gcm(0x104);
    vec![
        (esn, ""),
        (transport, ""),
        (encapsulated, ""),
        (ending, "limit packet-soft 5 limit packet-hard 9"),
        (selective, "sel src 192.168.7.1/32 dst 192.168.7.2/32 proto tcp"),
    ]
}

/// One packet of the mix: what is done, and how much.
fn make(sender: &mut Sender, earlier: &[Vec<u8>], what: u8, much: u16) -> Vec<u8> {
    let data = vec![what; usize::from(much % 90) + 20];
    let send = |sender: &mut Sender| match sender.transport {
        true => packet(sender.frame(6, &data)),
        false => next(sender, &data),
    };
    let pick = |earlier: &[Vec<u8>]| earlier[usize::from(much) % earlier.len()].clone();
    match what {
        0..=7 => send(sender),
        8 => {
            sender.sequence += u64::from(much % 200);
            send(sender)
        }
        // Close to 2^32, and to half of it.
        9 | 10 if sender.esn => {
            sender.sequence += ((1 << 32) >> (what - 9)) - u64::from(much % 300);
            send(sender)
        }
        // Too far: not one of its packets is right any more, until somebody looks for it.
        11 if sender.esn && much.is_multiple_of(4) => {
            sender.sequence += 2 << 32;
            send(sender)
        }
        12 => {
            let last = sender.sequence;
            sender.sequence = last.saturating_sub(u64::from(much % 100)).max(1);
            let late = send(sender);
            sender.sequence = last;
            late
        }
        13 => dummy(sender),
        14 => packet(sender.frame_ending(&data, &Ending { padding: vec![9; 3], pad_len: 3, next_header: 4 })),
        15 => {
            let mut unusual = send(sender);
            set_class(&mut unusual, much as u8);
            unusual
        }
        16 => {
            let encap = sender.encap;
            sender.encap = if encap.is_some() { None } else { Some((much | 1, 4500)) };
            let other = send(sender);
            sender.encap = encap;
            other
        }
        17 => {
            sender.encap = sender.encap.map(|(_, dst)| (much | 1, dst));
            send(sender)
        }
        18 => data,
        _ if earlier.is_empty() => send(sender),
        19..=22 => pick(earlier),
        _ => {
            let mut damaged = pick(earlier);
            let at = usize::from(much) % damaged.len();
            damaged[at] ^= what;
            damaged
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_burst_comes_to_what_its_packets_come_to(
        mix in prop::collection::vec((0..5_usize, 0..32_u8, any::<u16>()), 1..160),
        lens in prop::collection::vec(1..80_usize, 1..12),
    ) {
        let mut all = senders();
        let text: String = all.iter().map(|(sender, words)| state(sender, words)).collect();
        let mut packets = Vec::<Vec<u8>>::new();
        for (which, what, much) in mix {
            let made = make(&mut all[which].0, &packets, what, much);
            packets.push(made);
        }
        let (mut single, mut bursts) = (receiver(&text), receiver(&text));
        let (mut outcomes, mut events) = (Vec::new(), Vec::new());
        for one in &packets {
            let (mut outcome, mut told) = burst(&mut single, at(1), std::slice::from_ref(one));
            let audited: Vec<_> = audits(&told).iter().map(|audit| audit.reason).collect();
            match outcome[0] {
                Outcome::Drop(reason) if reason.is_auditable() => prop_assert_eq!(audited, [reason]),
                _ => prop_assert_eq!(audited, []),
            }
            outcomes.append(&mut outcome);
            events.append(&mut told);
        }
        let (mut in_bursts, mut told_in_bursts, mut rest) = (Vec::new(), Vec::new(), &packets[..]);
        for len in lens.iter().cycle() {
            let (chunk, after) = rest.split_at(rest.len().min(*len));
            rest = after;
            let (mut outcome, mut told) = burst(&mut bursts, at(1), chunk);
            in_bursts.append(&mut outcome);
            told_in_bursts.append(&mut told);
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(outcomes, in_bursts);
        prop_assert_eq!(events, told_in_bursts);
        let counts = |receiver: &Receiver| receiver.sad().iter().map(|(_, counts)| *counts).collect::<Vec<_>>();
        prop_assert_eq!(counts(&single), counts(&bursts));
    }
}
