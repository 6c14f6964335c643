//! Which packets an SA is for (RFC 4301 §4.4.1.1, §5.2).

use super::*;

/// Whether an SA with this selector takes the inner packet.
fn takes(sel: &str, inner: &[u8]) -> bool {
    let mut sender = Sender::gcm(0x100);
    match receive(&mut receiver_of(&sender, &format!("sel {sel}")), &tunnelled(&mut sender, inner)) {
        Outcome::Packet(octets) => octets == inner,
        Outcome::Drop(DropReason::Selector) => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn addresses_protocols_and_ports_count() {
    let udp = esp::inner_udp(7, 9, b"x");
    for (sel, expected) in [
        ("src 192.168.7.0/24 dst 192.168.7.0/24", true),
        ("src 192.168.8.0/24 dst 192.168.7.0/24", false),
        ("src 192.168.7.0/24 dst 192.168.8.0/24", false),
        ("src 192.168.7.1/32 dst 192.168.7.2/32 proto udp", true),
        ("src 192.168.7.1/32 dst 192.168.7.2/32 proto tcp", false),
        ("src 192.168.7.1/32 dst 192.168.7.2/32 proto udp sport 7", true),
        ("src 192.168.7.1/32 dst 192.168.7.2/32 proto udp sport 8", false),
        ("src 192.168.7.1/32 dst 192.168.7.2/32 proto udp dport 9", true),
        ("src 192.168.7.1/32 dst 192.168.7.2/32 proto udp dport 7", false),
    ] {
        assert_eq!(takes(sel, &udp), expected, "{sel}");
    }
}

#[test]
fn icmp_mobility_and_gre_fields_count() {
    let (src, dst) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
    let echo = esp::inner(1, &[8, 3, 0, 0, 0, 0, 0, 0]);
    let mobility = esp::ip(src, dst, 135, 0, &[59, 0, 5, 0, 0, 0, 0, 0]);
    let gre = esp::inner(47, &[0x20, 0, 8, 0, 0, 0, 0, 77]);
    let hip = esp::ip(src, dst, 139, 0, &[59, 0, 1, 1, 0, 0, 0, 0]);
    let ah = esp::inner(51, &[6, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let v4 = "src 192.168.7.1/32 dst 192.168.7.2/32";
    let v6 = "src fd00::/64 dst fd00::/64";
    for (addresses, rest, inner, expected) in [
        (v4, "proto icmp type 8", &echo, true),
        (v4, "proto icmp type 0", &echo, false),
        (v4, "proto icmp type 8 code 3", &echo, true),
        (v4, "proto icmp type 8 code 4", &echo, false),
        (v6, "proto 135 type 5", &mobility, true),
        (v6, "proto 135 type 6", &mobility, false),
        (v4, "proto gre key 77", &gre, true),
        (v4, "proto gre key 78", &gre, false),
        (v6, "proto 139", &hip, true),
        (v6, "proto 59", &hip, false),
        (v4, "proto 51", &ah, true),
        (v4, "proto tcp", &ah, false),
    ] {
        assert_eq!(takes(&format!("{addresses} {rest}"), inner), expected, "{rest}");
    }
}

#[test]
fn a_later_fragment_is_no_packet_of_a_port() {
    let fragment = |offset: [u8; 2]| {
        let mut inner = esp::inner_udp(7, 9, &[0; 16]);
        inner[6..8].copy_from_slice(&offset);
        fix_ipv4_checksum(&mut inner);
        inner
    };
    let addresses = "src 192.168.7.1/32 dst 192.168.7.2/32";
    for (offset, with_port) in [([0x20, 0], true), ([0x20, 1], false), ([0, 1], false)] {
        assert_eq!(takes(&format!("{addresses} proto udp sport 7"), &fragment(offset)), with_port);
        assert!(takes(&format!("{addresses} proto udp"), &fragment(offset)));
    }
}

#[test]
fn in_transport_mode_the_packets_own_addresses_count() {
    let sender = Sender { transport: true, ..Sender::gcm(0x100) };
    for (sel, src, expected) in [
        ("sel src 10.9.0.1/32 dst 10.9.0.2/32 proto udp dport 9", "10.9.0.1", true),
        ("sel src 10.9.0.1/32 dst 10.9.0.2/32 proto udp dport 9", "10.9.0.7", false),
        ("sel src 10.9.0.1/32 dst 10.9.0.2/32 proto udp dport 8", "10.9.0.1", false),
    ] {
        let mut receiver = receiver_of(&sender, sel);
        let mut by = Sender { src: src.parse().unwrap(), ..sender.clone() };
        let datagram = &esp::inner_udp(7, 9, b"x")[20..];
        let outcome = receive(&mut receiver, &packet(by.frame(17, datagram)));
        match expected {
            true => assert_eq!(outcome.packet(), esp::ip(by.src, by.dst, 17, 0, datagram)),
            false => assert_eq!(outcome, dropped(DropReason::Selector)),
        }
    }
}

/// Whether an SA in transport mode takes a packet from `src`, with UDP in it.
fn takes_from(sender: &Sender, words: &str, src: &str) -> bool {
    let by = Sender { transport: true, ..sender.clone() };
    let mut other = Sender { src: src.parse().unwrap(), ..by.clone() };
    match receive(&mut receiver_of(&by, words), &packet(other.frame(17, &[0; 8]))) {
        Outcome::Packet(_) => true,
        Outcome::Drop(DropReason::Selector) => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn in_transport_mode_an_sa_without_addresses_in_its_selector_is_for_its_own_peer() {
    for (sender, own, other, any, both) in [
        (Sender::gcm(0x100), "10.9.0.1", "10.9.0.3", "0.0.0.0/0", "10.9.0.0/30"),
        (Sender::gcm(0x100).over_ipv6(), "fd09::1", "fd09::3", "::/0", "fd09::/126"),
    ] {
        // Where it has some, it is for these.
        for sel in [format!("sel src {both} dst {any}"), format!("sel src {any} dst {both}")] {
            assert!(takes_from(&sender, &sel, own) && takes_from(&sender, &sel, other), "{sel}");
        }
        for sel in
            ["".to_owned(), format!("sel src {any} dst {any}"), format!("sel src {any} dst {any} proto udp")]
        {
            assert!(takes_from(&sender, &sel, own), "{sel}");
            assert!(!takes_from(&sender, &sel, other), "{sel}");
        }
        // The rest of the selector still counts.
        assert!(!takes_from(&sender, &format!("sel src {any} dst {any} proto tcp"), own));
        // Behind a NAT the peer has any address.
        let natted = Sender { encap: Some((4500, 4500)), ..sender.clone() };
        assert!(takes_from(&natted, "", other));
    }
    // And so it may by its state.
    let unknown = Sender { src: [0, 0, 0, 0].into(), ..Sender::gcm(0x100) };
    assert!(takes_from(&unknown, "", "10.9.0.3"));
    // Who is found by the SPI alone is so at each of its addresses.
    let mut sender = Sender { transport: true, ..Sender::gcm(0x100) };
    let mut receiver = receiver_of(&sender, "flag wildrecv");
    sender.dst = [10, 9, 0, 77].into();
    assert!(matches!(receive(&mut receiver, &packet(sender.frame(17, &[0; 8]))), Outcome::Packet(_)));
}

#[test]
fn a_selector_of_any_address_is_for_both_families() {
    let v4 = esp::inner_udp(7, 9, b"x");
    let v6 = esp::ip("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap(), 17, 0, &v4[20..]);
    for inner in [&v4, &v6] {
        assert!(takes("src 0.0.0.0/0 dst 0.0.0.0/0", inner));
        assert!(takes("src ::/0 dst ::/0", inner));
        assert!(takes("src 0.0.0.0/0 dst 0.0.0.0/0 proto udp", inner));
        assert!(!takes("src 0.0.0.0/0 dst 0.0.0.0/0 proto tcp", inner));
    }
    assert!(!takes("src 0.0.0.0/0 dst 192.168.0.0/16", &v6));
}

#[test]
fn a_packet_that_has_no_flow_is_not_delivered_whatever_is_asked_for() {
    let mut sender = Sender { transport: true, ..Sender::gcm(0x100).over_ipv6() };
    // An extension header that lies about its length.
    let sent = packet(sender.frame(60, &[17, 200, 0, 0, 0, 0, 0, 0]));
    for words in ["", "sel src ::/0 dst ::/0", "sel src ::/0 dst ::/0 proto udp"] {
        assert_eq!(receive(&mut receiver_of(&sender, words), &sent), dropped(DropReason::InnerMalformed));
    }
}
