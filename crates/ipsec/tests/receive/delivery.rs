//! What is delivered, and what not: encapsulation, refused octets, ECN, DSCP, dummies.

use super::*;

#[test]
fn encapsulation_is_the_sas() {
    let plain = Sender::gcm(0x100);
    let encapsulated = Sender { encap: Some((4500, 4501)), ..plain.clone() };
    let other_port = Sender { encap: Some((4500, 4500)), ..plain.clone() };
    let other_source = Sender { encap: Some((9, 4501)), ..plain.clone() };
    for (own, by, is_right) in [
        (&plain, &plain, true),
        (&plain, &other_port, false),
        (&encapsulated, &encapsulated, true),
        (&encapsulated, &plain, false),
        (&encapsulated, &other_port, false),
        // A NAT may have changed it.
        (&encapsulated, &other_source, true),
    ] {
        let outcome = receive(&mut receiver_of(own, ""), &next(&mut by.clone(), b"x"));
        match is_right {
            true => assert_eq!(outcome.packet(), esp::inner(6, b"x")),
            false => assert_eq!(outcome, dropped(DropReason::Mismatch), "{:?} {:?}", own.encap, by.encap),
        }
    }
    assert_eq!(DropReason::Mismatch.xfrm_stat(), Some("XfrmInStateMismatch"));
}

#[test]
fn an_spi_that_begins_like_a_keepalive_is_an_spi() {
    let mut sender = Sender { encap: Some((4500, 4500)), ..Sender::gcm(0xff00_0001) };
    let mut receiver = receiver_of(&sender, "");
    assert_eq!(receive(&mut receiver, &next(&mut sender, b"x")).packet(), esp::inner(6, b"x"));
}

#[test]
fn what_is_too_short_for_esp_is_malformed() {
    let sender = Sender::gcm(0x100);
    let whole = next(&mut sender.clone(), b"x")[20..].to_vec();
    for len in [0, 4, 7, 8, 16, 33] {
        let short = esp::ip(sender.src, sender.dst, 50, 0, &whole[..len]);
        assert_eq!(
            told(&mut receiver_of(&sender, ""), &short),
            (dropped(DropReason::Malformed), vec![]),
            "{len}"
        );
    }
}

#[test]
fn trailers_are_checked_under_a_right_icv_and_their_packets_were_received() {
    let inner = esp::inner(6, b"x");
    for (padding, pad_len, reason) in [
        (vec![], 0, DropReason::BadAlign),
        (vec![9], 1, DropReason::BadPadding),
        (vec![1], 200, DropReason::BadPadLen),
    ] {
        let mut sender = Sender::gcm(0x100);
        let mut receiver = receiver_of(&sender, "");
        let bad = packet(sender.frame_ending(&inner, &Ending { padding, pad_len, next_header: 4 }));
        assert_eq!(told(&mut receiver, &bad), (dropped(reason), vec![]));
        assert_eq!(receive(&mut receiver, &bad), dropped(DropReason::ReplayDup));
    }
}

#[test]
fn the_source_address_is_not_the_sas_matter() {
    let mut sender = Sender::gcm(0x100);
    let mut receiver = receiver_of(&sender, "");
    sender.src = [203, 0, 113, 9].into();
    assert_eq!(receive(&mut receiver, &next(&mut sender, b"x")).packet(), esp::inner(6, b"x"));
}

#[test]
fn of_what_is_refused_no_octet_is_to_be_had() {
    let mut sender = Sender::gcm(0x100);
    let mut receiver = receiver_of(&sender, "sel src 192.168.7.1/32 dst 192.168.7.2/32 proto udp");
    let refused = next(&mut sender, b"no udp");
    let good = tunnelled(&mut sender, &esp::inner_udp(1, 2, b"udp"));
    let (mut received, mut events) = (Vec::new(), Vec::new());
    receiver.receive_burst(at(0), &[&refused[..], &good], &mut received, &mut events);
    assert_eq!(received[0], Received::Drop(DropReason::Selector));
    let Received::Packet(delivered) = received[1] else { panic!("{:?}", received[1]) };
    assert_eq!(receiver.packet(delivered), esp::inner_udp(1, 2, b"udp"));
    assert_eq!(delivered.sa, id(&sender));
    // What the last burst delivered is gone with the next one.
    receiver.receive_burst(at(0), &[&refused[..], &good], &mut received, &mut events);
    assert_eq!(receiver.packet(delivered), b"");
    // Also where that one delivered another packet in its place.
    let other = tunnelled(&mut sender, &esp::inner_udp(1, 2, b"another"));
    receiver.receive_burst(at(0), &[&other], &mut received, &mut events);
    let Some(&Received::Packet(newer)) = received.last() else { panic!("{received:?}") };
    assert_eq!(receiver.packet(newer), esp::inner_udp(1, 2, b"another"));
    assert_eq!(receiver.packet(delivered), b"");
}

#[test]
fn ecn_is_merged_as_rfc_6040_says_and_the_odd_is_told() {
    let mut sender = Sender::gcm(0x100);
    let mut receiver = receiver_of(&sender, "");
    // Inner and outer field, what is delivered, whether figure 4 has a mark there.
    for (inner, outer, merged, is_odd) in [
        (0, 0, Some(0), false),
        (0, 1, Some(0), true),
        (0, 2, Some(0), true),
        (0, 3, None, true),
        (1, 2, Some(1), true),
        (1, 3, Some(3), false),
        (2, 0, Some(2), false),
        (2, 1, Some(1), false),
        (2, 3, Some(3), false),
        (3, 1, Some(3), true),
        (3, 2, Some(3), false),
    ] {
        for over_ipv6 in [false, true] {
            let mut inside = if over_ipv6 {
                esp::ip("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap(), 6, 0, b"x")
            } else {
                esp::inner(6, b"x")
            };
            set_class(&mut inside, 0xb8 | inner);
            let mut packet = tunnelled(&mut sender, &inside);
            set_class(&mut packet, 0x28 | outer);
            let (outcome, events) = told(&mut receiver, &packet);
            match merged {
                Some(merged) => {
                    set_class(&mut inside, 0xb8 | merged);
                    assert_eq!(outcome.packet(), inside, "inner {inner}, outer {outer}");
                }
                None => assert_eq!(outcome, dropped(DropReason::EcnCeOnNotEct)),
            }
            let odd = Event::EcnAnomaly { sa: id(&sender), inner, outer };
            assert_eq!(events, if is_odd { vec![odd] } else { vec![] }, "inner {inner}, outer {outer}");
        }
    }
}

#[test]
fn with_noecn_the_inner_field_stays() {
    let mut sender = Sender::gcm(0x100);
    let mut receiver = receiver_of(&sender, "flag noecn");
    for (inner, outer) in [(0, 3), (2, 3), (2, 1), (0, 0)] {
        let mut inside = esp::inner(6, b"x");
        set_class(&mut inside, 0xb8 | inner);
        let mut packet = tunnelled(&mut sender, &inside);
        set_class(&mut packet, 0x28 | outer);
        assert_eq!(told(&mut receiver, &packet), (Outcome::Packet(inside), vec![]));
    }
}

#[test]
fn with_decap_dscp_the_inner_packet_gets_the_outer_dscp() {
    for (words, inner, outer, expected) in [
        ("flag decap-dscp", 0xb8 | 2, 0x28, 0x28 | 2),
        ("flag decap-dscp", 0xb8 | 2, 0x28 | 3, 0x28 | 3),
        ("flag decap-dscp noecn", 0xb8 | 2, 0x28 | 3, 0x28 | 2),
        ("", 0xb8 | 2, 0x28, 0xb8 | 2),
    ] {
        for over_ipv6 in [false, true] {
            let sender = Sender::gcm(0x100);
            let mut sender = if over_ipv6 { sender.over_ipv6() } else { sender };
            let mut inside = esp::inner(6, b"x");
            set_class(&mut inside, inner);
            let mut packet = tunnelled(&mut sender, &inside);
            set_class(&mut packet, outer);
            let received = receive(&mut receiver_of(&sender, words), &packet).packet();
            set_class(&mut inside, expected);
            assert_eq!(received, inside, "{words}");
        }
    }
}

#[test]
fn a_dummy_packet_is_taken_without_a_word() {
    for transport in [false, true] {
        let mut sender = Sender::gcm(0x100);
        sender.transport = transport;
        let mut receiver = receiver_of(&sender, "limit packet-hard 1");
        let dummy = dummy(&mut sender);
        let (outcome, events) = told(&mut receiver, &dummy);
        assert_eq!(outcome, dropped(DropReason::Dummy));
        // It counts to the lifetime.
        let ended = espwire_ipsec::LimitKind::Packets;
        assert_eq!(events, [Event::Expire { sa: id(&sender), is_hard: true, limit: ended }]);
    }
    // And it marks the window.
    let mut sender = Sender::gcm(0x100);
    let mut receiver = receiver_of(&sender, "");
    let dummy = dummy(&mut sender);
    assert_eq!(told(&mut receiver, &dummy), (dropped(DropReason::Dummy), vec![]));
    assert_eq!(receive(&mut receiver, &dummy), dropped(DropReason::ReplayDup));
}

#[test]
fn an_inner_packet_that_cannot_be_right_is_dropped() {
    let good = esp::inner(17, &[0; 12]);
    let mut checksum = good.clone();
    checksum[10] ^= 1;
    let mut longer = good.clone();
    longer[3] += 1;
    fix_ipv4_checksum(&mut longer);
    for wrong in [&checksum[..], &longer, &good[..10], b""] {
        let mut sender = Sender::gcm(0x100);
        let packet = packet(sender.frame(4, wrong));
        assert_eq!(receive(&mut receiver_of(&sender, ""), &packet), dropped(DropReason::InnerMalformed));
    }
    // The next header says which version; nothing else is in a tunnel.
    for (next_header, reason) in [(41, DropReason::InnerMalformed), (6, DropReason::BadNextHeader)] {
        let mut sender = Sender::gcm(0x100);
        let packet = packet(sender.frame(next_header, &good));
        assert_eq!(receive(&mut receiver_of(&sender, ""), &packet), dropped(reason));
    }
    // Behind AH, HIP or a mobility header nothing is read: they are not ours.
    for protocol in [51, 135, 139] {
        let (src, dst) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
        let inside = esp::ip(src, dst, protocol, 0, &[6, 255, 0, 0, 0, 0, 0, 0]);
        let mut sender = Sender::gcm(0x100);
        let packet = tunnelled(&mut sender, &inside);
        assert_eq!(receive(&mut receiver_of(&sender, ""), &packet).packet(), inside);
    }
}

#[test]
fn tfc_padding_goes_in_tunnel_mode_and_stays_in_transport_mode() {
    let inner = esp::inner_udp(1, 2, b"data");
    let mut sender = Sender::gcm(0x100);
    let padded = packet(sender.frame(4, &[&inner[..], &[0; 50]].concat()));
    assert_eq!(receive(&mut receiver_of(&sender, ""), &padded).packet(), inner);

    sender.transport = true;
    // What follows the datagram may be UDP options.
    let payload = [&inner[20..], &[0; 50]].concat();
    let padded = packet(sender.frame(17, &payload));
    let expected = esp::ip(sender.src, sender.dst, 17, 0, &payload);
    assert_eq!(receive(&mut receiver_of(&sender, ""), &padded).packet(), expected);
}
