//! Transport mode behind a NAT, and mode beet.

use std::net::IpAddr;

use super::*;

fn sum(octets: &[u8]) -> u32 {
    octets.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum()
}

/// The checksum of a TCP segment or UDP datagram, whose own field is zero (RFC 9293 §3.1, RFC 768).
fn checksum(src: IpAddr, dst: IpAddr, protocol: u8, upper: &[u8]) -> u16 {
    let octets = |address| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let mut sum =
        sum(&octets(src)) + sum(&octets(dst)) + u32::from(protocol) + upper.len() as u32 + sum(upper);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    match !(sum as u16) {
        0 if protocol == 17 => 0xffff,
        sum => sum,
    }
}

/// A segment or datagram from `src`, its checksum right.
fn upper(src: IpAddr, dst: IpAddr, protocol: u8, data: u16) -> Vec<u8> {
    let (len, at) = if protocol == 6 { (20, 16) } else { (8, 6) };
    let mut upper = vec![0; len];
    upper[3] = 9;
    upper.extend(data.to_be_bytes());
    if protocol == 17 {
        upper[5] = upper.len() as u8;
    }
    let sum = checksum(src, dst, protocol, &upper);
    upper[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    upper
}

#[test]
fn behind_a_nat_checksums_are_made_right_by_the_original_address() {
    for (original, over_ipv6) in [("192.168.1.7", false), ("fd00:1:2:3::9", true)] {
        let base = if over_ipv6 { Sender::gcm(0x100).over_ipv6() } else { Sender::gcm(0x100) };
        let sender = Sender { transport: true, encap: Some((4500, 4500)), ..base };
        let address: IpAddr = original.parse().unwrap();
        let line = state(&sender, "").replace(" 4500 0.0.0.0", &format!(" 4500 {original}"));
        for protocol in [6, 17] {
            let mut sender = sender.clone();
            let mut receiver = receiver(&line);
            // Every carry, and the sums that come to 0 and 0xffff.
            for data in (0..=u16::MAX).step_by(97).chain([0, 1, 0xfffe, 0xffff]) {
                let sent = packet(sender.frame(protocol, &upper(address, sender.dst, protocol, data)));
                let right = upper(sender.src, sender.dst, protocol, data);
                let expected = esp::ip(sender.src, sender.dst, protocol, 0, &right);
                assert_eq!(receive(&mut receiver, &sent).packet(), expected, "{protocol} {data}");
            }
        }
    }
}

#[test]
fn a_datagram_without_a_checksum_stays_without_and_others_stay_as_they_are() {
    let mut sender = Sender { transport: true, encap: Some((4500, 4500)), ..Sender::gcm(0x100) };
    let original = "192.168.1.7".parse().unwrap();
    let with = state(&sender, "").replace(" 4500 0.0.0.0", " 4500 192.168.1.7");
    let unsummed = [0, 7, 0, 9, 0, 9, 0, 0, 1];
    // Too short for the field; of a protocol without one.
    for (protocol, payload) in [(17, &unsummed[..]), (17, &unsummed[..7]), (6, &[1; 17]), (1, &[1; 20])] {
        let sent = packet(sender.frame(protocol, payload));
        let expected = esp::ip(sender.src, sender.dst, protocol, 0, payload);
        assert_eq!(receive(&mut receiver(&with), &sent).packet(), expected);
    }
    // Without the original address it is the caller's.
    let datagram = upper(original, sender.dst, 17, 5);
    let sent = packet(sender.frame(17, &datagram));
    let expected = esp::ip(sender.src, sender.dst, 17, 0, &datagram);
    assert_eq!(receive(&mut receiver_of(&sender, ""), &sent).packet(), expected);
}

/// A receiver in mode beet whose inner addresses are these.
fn beet(sender: &Sender, src: &str, dst: &str, more: &str) -> Receiver {
    let line = state(sender, &format!("sel src {src} dst {dst} {more}"));
    receiver(&line.replace("mode tunnel", "mode beet"))
}

const UDP: [u8; 12] = [0, 7, 0, 9, 0, 12, 0, 0, 1, 2, 3, 4];

fn v4_header(class: u8, len: u8, id: [u8; 2], flags: u8, ttl: u8) -> Vec<u8> {
    vec![0x45, class, 0, len, id[0], id[1], flags, 0, ttl, 17, 0, 0, 10, 1, 0, 1, 10, 1, 0, 2]
}

#[test]
fn in_mode_beet_the_inner_header_is_made_of_the_outer_one() {
    // IPv4 in IPv4: DSCP and ECN, identification, DF and TTL are the outer header's.
    let mut sender = Sender::gcm(0x100);
    let mut sent = packet(sender.frame(17, &UDP));
    (sent[1], sent[4], sent[5], sent[8]) = (0xbb, 0x12, 0x34, 33);
    // Beside DF the flag that has no meaning, which stays outside.
    sent[6] = 0xc0;
    fix_ipv4_checksum(&mut sent);
    let mut expected = [v4_header(0xbb, 32, [0x12, 0x34], 0x40, 33), UDP.to_vec()].concat();
    fix_ipv4_checksum(&mut expected);
    assert_eq!(receive(&mut beet(&sender, "10.1.0.1", "10.1.0.2", ""), &sent).packet(), expected);

    // IPv6 in IPv4.
    let v6 = |first: [u8; 4], hop_limit| {
        let mut packet = esp::ip("fd01::1".parse().unwrap(), "fd01::2".parse().unwrap(), 17, 0, &UDP);
        packet[..4].copy_from_slice(&first);
        packet[7] = hop_limit;
        packet
    };
    let received = receive(&mut beet(&sender, "fd01::1", "fd01::2", ""), &sent).packet();
    assert_eq!(received, v6([0x6b, 0xb0, 0, 0], 33));

    // IPv6 in IPv6: the flow label as well.
    let mut sender = Sender::gcm(0x100).over_ipv6();
    let mut sent = packet(sender.frame(17, &UDP));
    sent[..4].copy_from_slice(&[0x6b, 0xb1, 0x23, 0x45]);
    sent[7] = 44;
    let received = receive(&mut beet(&sender, "fd01::1", "fd01::2", ""), &sent).packet();
    assert_eq!(received, v6([0x6b, 0xb1, 0x23, 0x45], 44));

    // IPv4 in IPv6.
    let mut expected = [v4_header(0xbb, 32, [0, 0], 0x40, 44), UDP.to_vec()].concat();
    fix_ipv4_checksum(&mut expected);
    assert_eq!(receive(&mut beet(&sender, "10.1.0.1", "10.1.0.2", ""), &sent).packet(), expected);
}

#[test]
fn in_mode_beet_options_come_back_from_the_pseudo_header() {
    let mut sender = Sender::gcm(0x100);
    for (pseudo, options) in [
        ([&[17, 0, 0, 0][..], &[1, 1, 1, 0]].concat(), vec![1, 1, 1, 0]),
        ([&[17, 1, 4, 0, 1, 1, 1, 1][..], &[7; 8]].concat(), vec![7; 8]),
    ] {
        let sent = packet(sender.frame(94, &[&pseudo[..], &UDP].concat()));
        let mut expected = v4_header(0, 32 + options.len() as u8, [0, 7], 0x40, 64);
        expected[0] += options.len() as u8 / 4;
        expected.extend(&options);
        expected.extend(UDP);
        fix_ipv4_checksum(&mut expected);
        assert_eq!(receive(&mut beet(&sender, "10.1.0.1", "10.1.0.2", ""), &sent).packet(), expected);
    }
    let sent = packet(sender.frame(94, &[17, 9, 0, 0, 1, 1, 1, 0]));
    let received = receive(&mut beet(&sender, "10.1.0.1", "10.1.0.2", ""), &sent);
    assert_eq!(received, dropped(DropReason::InnerMalformed));
}

#[test]
fn in_mode_beet_the_selectors_upper_half_counts_too() {
    let mut sender = Sender::gcm(0x100);
    for (more, expected) in [("proto udp dport 9", true), ("proto udp dport 8", false), ("proto tcp", false)]
    {
        let received =
            receive(&mut beet(&sender, "10.1.0.1", "10.1.0.2", more), &packet(sender.frame(17, &UDP)));
        assert_eq!(matches!(received, Outcome::Packet(_)), expected, "{more}");
        assert!(expected || received == dropped(DropReason::Selector));
    }
}

#[test]
fn mode_beet_needs_two_hosts() {
    let sender = Sender::gcm(0x100);
    for sel in [
        "",
        "sel src 10.1.0.0/24 dst 10.1.0.2/32",
        "sel src 10.1.0.1/32 dst 0.0.0.0/0",
        "sel src fd01::/64 dst fd01::2",
    ] {
        let line = state(&sender, sel).replace("mode tunnel", "mode beet");
        let error = sad(&line).err().unwrap_or_else(|| panic!("{sel}")).to_string();
        assert!(error.starts_with("test:1:1: mode beet needs a selector of two host addresses"), "{error}");
    }
}
