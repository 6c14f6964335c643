//! Which SA a packet belongs to, and SAs that come and go.

use std::net::{IpAddr, Ipv4Addr};

use super::*;

fn to(sender: &Sender, dst: &str) -> Vec<u8> {
    next(&mut Sender { dst: dst.parse().unwrap(), ..sender.clone() }, b"x")
}

#[test]
fn an_sa_is_found_by_spi_and_destination() {
    let sender = Sender::gcm(0x100);
    let mut receiver = receiver_of(&sender, "");
    assert_eq!(receive(&mut receiver, &to(&sender, "10.9.0.3")), dropped(DropReason::NoSa));
    assert_eq!(receive(&mut receiver, &to(&sender, "10.9.0.2")).packet(), esp::inner(6, b"x"));
}

#[test]
fn with_wildrecv_an_sa_is_found_by_spi_alone() {
    let sender = Sender::gcm(0x100);
    let mut wild = receiver_of(&sender, "flag wildrecv");
    assert_eq!(receive(&mut wild, &to(&sender, "224.0.0.9")), dropped(DropReason::NoSa));
    let v6 = Sender { spi: 0x100, ..sender.clone().over_ipv6() };
    assert_eq!(receive(&mut wild, &next(&mut v6.clone(), b"x")), dropped(DropReason::NoSa));
    let other_spi = Sender { spi: 0x101, ..sender.clone() };
    assert_eq!(receive(&mut wild, &to(&other_spi, "10.9.0.2")), dropped(DropReason::NoSa));
    assert_eq!(receive(&mut wild, &to(&sender, "10.9.0.3")).packet(), esp::inner(6, b"x"));

    // The SA with the very destination comes first.
    let exact = Sender { encryption_key: vec![9; 36], dst: "10.9.0.7".parse().unwrap(), ..sender.clone() };
    let mut both = receiver(&(state(&sender, "flag wildrecv") + &state(&exact, "")));
    assert_eq!(receive(&mut both, &to(&sender, "10.9.0.7")), dropped(DropReason::AuthFail));
    assert_eq!(receive(&mut both, &next(&mut exact.clone(), b"x")).packet(), esp::inner(6, b"x"));
    assert_eq!(receive(&mut both, &to(&sender, "10.9.0.3")).packet(), esp::inner(6, b"x"));

    // Two of them can't be told apart.
    let error = sad(&(state(&sender, "flag wildrecv") + &state(&exact, "flag wildrecv")));
    assert!(error.unwrap_err().to_string().starts_with("test:2:1: another SA with `flag wildrecv`"));
}

#[test]
fn spi_0_is_no_sa() {
    let mut sender = Sender::gcm(0x100);
    let mut database = xfrm::parse("test", &state(&sender, "")).unwrap();
    database.states[0].spi = 0;
    let error = Sad::receiving([&database], at(0)).unwrap_err().to_string();
    assert!(error.starts_with("test:1:1: SPI 0"), "{error}");
    sender.spi = 0;
    let mut receiver = receiver_of(&Sender { spi: 0x100, ..sender.clone() }, "flag wildrecv");
    assert_eq!(receive(&mut receiver, &next(&mut sender, b"x")), dropped(DropReason::NoSa));
}

#[test]
fn what_makes_no_sense_on_this_side_is_refused_by_place() {
    let plain = Sender::gcm(0x100);
    let refused = |text: &str| sad(text).unwrap_err().to_string();
    let error = refused(&state(&plain, "replay-seq-hi 1"));
    assert!(error.starts_with("test:1:1: ") && error.contains("needs `flag esn`"), "{error}");
    let error = refused(&state(&plain, "sel src 10.0.0.0/8 dst 10.0.0.0/8 dev eth0"));
    assert!(error.starts_with("test:1:1: its selector can't be used"), "{error}");
    // `ip` refuses it in a command, so it is a printed state's, or a program's.
    let esn = Sender { esn: true, ..plain };
    let mut database = xfrm::parse("test", &state(&esn, "")).unwrap();
    database.states[0].replay_window = 0;
    let error = Sad::receiving([&database], at(0)).unwrap_err().to_string();
    assert!(error.contains("`flag esn` needs a `replay-window`"), "{error}");
}

#[test]
fn the_same_state_twice_is_one_and_must_be_the_same() {
    let sender = Sender { encap: Some((4500, 4500)), ..Sender::gcm(0x100) };
    let line = state(&sender, "");
    assert_eq!(sad(&(line.clone() + &line)).unwrap().len(), 1);
    let original_address = line.replace("0.0.0.0", "192.168.1.7");
    let window = line.replace("replay-window 64", "replay-window 32");
    let more = ["reqid 7", "limit packet-hard 1", "replay-seq 7", "flag noecn", "sel src 10.0.0.0/8"];
    for other in more.map(|words| state(&sender, words)).into_iter().chain([original_address, window]) {
        let error = sad(&(line.clone() + &other)).unwrap_err().to_string();
        assert!(error.starts_with("test:2: the SA with SPI 0x00000100 to 10.9.0.2 differs"), "{error}");
    }
}

#[test]
fn an_sa_goes_on_where_its_state_is() {
    let mut sender = Sender::gcm(0x100);
    let mut receiver = receiver_of(&sender, "replay-seq 100");
    for (sequence, reason) in [(36, DropReason::ReplayOld), (100, DropReason::ReplayDup)] {
        sender.sequence = sequence;
        assert_eq!(receive(&mut receiver, &next(&mut sender, b"x")), dropped(reason));
    }
    sender.sequence = 37;
    assert!(matches!(receive(&mut receiver, &next(&mut sender, b"x")), Outcome::Packet(_)));
}

/// The state as `ip -s xfrm state` prints it, with other words here and there.
fn printed(sender: &Sender, words: &str, others: &[(&str, &str)]) -> String {
    let state = xfrm::parse("test", &state(sender, words)).unwrap().states.remove(0);
    let mut text = state.listing(xfrm::Keys::Shown).with_statistics().to_string();
    for (here, other) in others {
        assert!(text.contains(here), "{here} is not in\n{text}");
        text = text.replace(here, other);
    }
    text
}

#[test]
fn what_a_printed_state_has_marked_is_a_replay() {
    // As Linux printed them: of a state with ESN after the numbers 2^32 - 5 to 2^32 + 10, where the word with
    // number 1 is the last; and of one with a window of 32 after the numbers 1, 3 and 4.
    let esn = Sender { esn: true, ..Sender::gcm(0x100) };
    let esn_words = "replay-window 64 replay-seq 0xa replay-seq-hi 1";
    let esn_marks = [("00000000 00000000", "fc000000 000003ff")];
    let plain = Sender::gcm(0x100);
    let plain_marks = [("seq 0x4, oseq 0x0, bitmap 0x00000000", "seq 0x4, oseq 0x0, bitmap 0x0000000b")];
    let full = 1_u64 << 32;
    for (mut sender, words, marks, numbers, seen) in [
        (esn, esn_words, esn_marks, full - 53..full + 14, full - 5..full + 11),
        (plain.clone(), "replay-window 32 replay-seq 4", plain_marks, 1..8, 3..5),
    ] {
        let mut receiver = receiver(&printed(&sender, words, &marks));
        for number in numbers {
            sender.sequence = number;
            let is_seen = seen.contains(&number) || (!sender.esn && number == 1);
            let outcome = receive(&mut receiver, &next(&mut sender, b"x"));
            assert_eq!(outcome == dropped(DropReason::ReplayDup), is_seen, "{number:#x}: {outcome:?}");
            assert_eq!(matches!(outcome, Outcome::Packet(_)), !is_seen, "{number:#x}: {outcome:?}");
        }
    }
}

#[test]
fn what_a_printed_state_was_used_for_counts_to_its_limits() {
    let used = [("0(bytes), 0(packets)", "512(bytes), 8(packets)")];
    for (words, count) in [
        ("limit packet-hard 8", 0),
        ("limit packet-hard 10", 2),
        ("limit byte-hard 512", 0),
        ("limit byte-hard 513", 1),
    ] {
        let mut sender = Sender::gcm(0x100);
        let mut receiver = receiver(&printed(&sender, words, &used));
        for _ in 0..count {
            assert!(
                matches!(receive(&mut receiver, &next(&mut sender, b"x")), Outcome::Packet(_)),
                "{words}"
            );
        }
        assert_eq!(receive(&mut receiver, &next(&mut sender, b"x")), dropped(DropReason::Expired), "{words}");
    }
}

#[test]
fn states_that_differ_in_what_was_seen_or_used_are_two() {
    let sender = Sender::gcm(0x100);
    let words = "replay-window 32 replay-seq 4";
    let line = printed(&sender, words, &[]);
    assert_eq!(sad(&(line.clone() + &line)).unwrap().len(), 1);
    for other in [("bitmap 0x00000000", "bitmap 0x00000002"), ("0(packets)", "1(packets)")] {
        let other = printed(&sender, words, &[other]);
        assert!(matches!(sad(&(line.clone() + &other)), Err(SadError::Conflict { .. })), "{other}");
    }
}

#[test]
fn sas_are_added_and_removed_one_by_one() {
    let mut a = Sender { encap: Some((4500, 4501)), ..Sender::gcm(0x100) };
    let mut b = Sender { encap: Some((4500, 4501)), ..Sender::cbc(0x101) };
    let mut c = Sender::gcm(0x102);
    let states: Vec<_> =
        [&a, &b, &c].map(|sender| xfrm::parse("test", &state(sender, "")).unwrap().states.remove(0)).into();
    let mut receiver = Receiver::new(Sad::default());
    let not_esp = Outcome::Pass(Passed::NotEsp);
    assert_eq!(receive(&mut receiver, &next(&mut a, b"x")), not_esp);
    for state in &states {
        receiver.sad_mut().add(state, at(0)).unwrap();
        let error = receiver.sad_mut().add(state, at(0)).unwrap_err();
        assert!(matches!(error, SadError::Conflict { .. }), "{error}");
    }
    assert_eq!(receiver.sad().len(), 3);
    let is_taken = |outcome| matches!(outcome, Outcome::Packet(_));
    assert!(is_taken(receive(&mut receiver, &next(&mut a, b"x"))));
    assert!(is_taken(receive(&mut receiver, &next(&mut c, b"x"))));

    assert!(receiver.sad_mut().remove(a.spi, a.dst));
    assert!(!receiver.sad_mut().remove(a.spi, a.dst));
    assert_eq!((receiver.sad().len(), receiver.sad().get(id(&a))), (2, None));
    // The port is still the other one's.
    assert_eq!(receive(&mut receiver, &next(&mut a, b"x")), dropped(DropReason::NoSa));
    assert!(is_taken(receive(&mut receiver, &next(&mut b, b"x"))));
    assert!(receiver.sad_mut().remove(b.spi, b.dst));
    assert_eq!(receive(&mut receiver, &next(&mut b, b"x")), not_esp);

    // Another's place, a new window and new counts.
    receiver.sad_mut().add(&states[0], at(0)).unwrap();
    let places: Vec<_> = receiver.sad().iter().map(|(sa, counts)| (sa.spi, counts.packets)).collect();
    assert_eq!(places.len(), 2);
    assert!(places.contains(&(0x100, 0)) && places.contains(&(0x102, 1)), "{places:?}");
    a.sequence = 1;
    assert!(is_taken(receive(&mut receiver, &next(&mut a, b"x"))));
    assert!(is_taken(receive(&mut receiver, &next(&mut c, b"x"))));
    // Port 4500 is there without any SA.
    let natt = Sender { encap: Some((4500, 4500)), ..c };
    assert_eq!(receive(&mut receiver, &packet(natt.wrap(&[0; 8]))), Outcome::Pass(Passed::NattIke));
}

#[test]
fn a_removed_wildrecv_sa_is_found_no_more() {
    let sender = Sender::gcm(0x100);
    let mut receiver = receiver_of(&sender, "flag wildrecv");
    assert!(receiver.sad_mut().remove(sender.spi, sender.dst));
    assert_eq!(receive(&mut receiver, &to(&sender, "10.9.0.3")), dropped(DropReason::NoSa));
    let state = xfrm::parse("test", &state(&sender, "flag wildrecv")).unwrap().states.remove(0);
    receiver.sad_mut().add(&state, at(0)).unwrap();
    assert!(matches!(receive(&mut receiver, &to(&sender, "10.9.0.3")), Outcome::Packet(_)));
}

#[test]
fn the_other_sides_add_and_remove_too() {
    let sender = Sender::gcm(0x100);
    let state = xfrm::parse("test", &state(&sender, "")).unwrap().states.remove(0);
    let mut observed = Sad::<espwire_ipsec::Observing>::default();
    observed.add(&state).unwrap();
    assert!(observed.add(&state).is_err() && observed.remove(sender.spi, sender.dst) && observed.is_empty());
    let mut sent = Sad::<espwire_ipsec::Sending>::default();
    sent.add(&state, at(0), [1; _].into()).unwrap();
    assert!(
        sent.add(&state, at(0), [1; _].into()).is_err()
            && sent.remove(sender.spi, sender.dst)
            && sent.is_empty()
    );
}

#[test]
fn of_100_000_sas_each_is_found() {
    const COUNT: u32 = 100_000;
    let sender = Sender::gcm(0x100);
    let mut model = xfrm::parse("test", &state(&sender, "")).unwrap().states.remove(0);
    let mut receiver = Receiver::new(Sad::default());
    let dst = |n: u32| IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + n / 7));
    for n in 0..COUNT {
        (model.spi, model.dst) = (0x1000 + n % 7, dst(n));
        receiver.sad_mut().add(&model, at(0)).unwrap();
    }
    assert_eq!(receiver.sad().len(), COUNT as usize);
    for first in (0..COUNT).step_by(1000) {
        let packets: Vec<_> = (first..first + 1000)
            .map(|n| next(&mut Sender { spi: 0x1000 + n % 7, dst: dst(n), ..sender.clone() }, b"x"))
            .collect();
        let outcomes = burst(&mut receiver, at(0), &packets).0;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Packet(_))));
    }
    assert!(receiver.sad().iter().all(|(_, counts)| counts.packets == 1));
}
