//! A sender, rule by rule.
//!
//! Most tests have an SA with NULL encryption, so that what ESP holds can be read.

#[path = "../../../tests/harness/esp.rs"]
mod esp;

use std::net::IpAddr;
use std::num::NonZeroU8;
use std::time::Duration;

use espwire_ipsec::{
    Audit, Df, DropReason, Dscp, Event, Flow, FlowLabel, KEEPALIVE_INTERVAL, LimitKind, Mode, Outgoing,
    Received, Receiver, SaId, SaPlace, Sad, Sender, Sending, Sent, Suite, Template, TunnelHeaders, xfrm,
};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);
/// HMAC-SHA-256-128 and NULL encryption.
const NULL: &str = "auth-trunc 'hmac(sha256)' 0x0102030405060708091011121314151617181920212223242526272829303132 \
                    128 enc 'ecb(cipher_null)' ''";
const ICV_LEN: usize = 16;
const GCM: &str = "aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128";

/// Source and destination.
type Ends = (&'static str, &'static str);
const V4: Ends = ("10.9.0.1", "10.9.0.2");
const V6: Ends = ("fd09::1", "fd09::2");
const INNER_V4: Ends = ("10.1.0.1", "10.2.0.2");
const INNER_V6: Ends = ("fd01::1", "fd02::2");
const ENDS: [(Ends, Ends); 4] = [(V4, INNER_V4), (V4, INNER_V6), (V6, INNER_V4), (V6, INNER_V6)];

// Making senders, packets, and reading what comes out.

/// A sender of these states, each with its own secret.
fn sender_of(text: &str) -> Sender {
    let states = xfrm::parse("test", text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut secret = 0;
    let sad = Sad::sending([&states], Duration::ZERO, || {
        secret += 1;
        [secret; _].into()
    });
    Sender::new(sad.unwrap_or_else(|error| panic!("{error}\n{text}")))
}

fn state(spi: u32, ends: Ends, rest: &str) -> String {
    format!("ip xfrm state add src {} dst {} proto esp spi {spi} {rest}\n", ends.0, ends.1)
}

/// One SA with SPI 256.
fn sender(ends: Ends, rest: &str) -> Sender {
    sender_of(&state(256, ends, rest))
}

fn tunnel(ends: Ends, rest: &str) -> Sender {
    sender(ends, &format!("mode tunnel {NULL} {rest}"))
}

fn transport(ends: Ends, rest: &str) -> Sender {
    sender(ends, &format!("mode transport {NULL} {rest}"))
}

fn beet(ends: Ends, inner: Ends, rest: &str) -> Sender {
    sender(ends, &format!("mode beet {NULL} {rest} sel src {} dst {}", inner.0, inner.1))
}

fn burst(sender: &mut Sender, now: Duration, packets: &[Outgoing<'_>]) -> (Vec<Sent>, Vec<Event>) {
    let (mut sent, mut events) = (Vec::new(), Vec::new());
    sender.send_burst(now, packets, &mut sent, &mut events);
    assert_eq!(sent.len(), packets.len());
    (sent, events)
}

/// The place of the SA that stands so far on in [`Sad::iter`].
fn place(sender: &Sender, number: usize) -> SaPlace {
    let (sa, _) = sender.sad().iter().nth(number).unwrap();
    sender.find(sa.spi, sa.dst).unwrap()
}

fn octets(sender: &Sender, sent: Sent) -> Result<Vec<u8>, Sent> {
    match sent {
        Sent::Packet(at) | Sent::ToFragment(at) => Ok(sender.octets()[at].to_vec()),
        unsent => Err(unsent),
    }
}

/// Sends one packet through the first SA, at time 0.
fn try_send(sender: &mut Sender, packet: &[u8]) -> Result<Vec<u8>, Sent> {
    let sa = place(sender, 0);
    let (mut sent, _) = burst(sender, Duration::ZERO, &[Outgoing::Packet { sa, packet }]);
    octets(sender, sent.remove(0))
}

fn send(sender: &mut Sender, packet: &[u8]) -> Vec<u8> {
    try_send(sender, packet).unwrap_or_else(|unsent| panic!("{unsent:?}"))
}

fn try_dummy(sender: &mut Sender, payload_len: usize) -> Result<Vec<u8>, Sent> {
    let sa = place(sender, 0);
    let (mut sent, _) = burst(sender, Duration::ZERO, &[Outgoing::Dummy { sa, payload_len }]);
    octets(sender, sent.remove(0))
}

fn address(text: &str) -> Vec<u8> {
    match text.parse().unwrap() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The Internet checksum, the slow way.
fn sum(parts: &[&[u8]]) -> u16 {
    let octets = parts.concat();
    let mut sum = 0_u32;
    for pair in octets.chunks(2) {
        sum += u32::from(pair[0]) * 256 + u32::from(*pair.get(1).unwrap_or(&0));
        if sum > 0xffff {
            sum -= 0xffff;
        }
    }
    sum as u16
}

/// An IPv4 packet with these options (a multiple of 4 octets).
fn v4_with(ends: Ends, options: &[u8], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + options.len();
    let len = (header_len + payload.len()) as u16;
    let mut packet = vec![0x40 | (header_len / 4) as u8, 0, (len >> 8) as u8, len as u8, 0xab, 0xcd, 0, 0];
    packet.extend([33, protocol, 0, 0]);
    packet.extend(address(ends.0));
    packet.extend(address(ends.1));
    packet.extend(options);
    packet.extend(payload);
    fix(packet)
}

/// Writes the checksum of an IPv4 header.
fn fix(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[0] >> 4 == 4 {
        packet[10..12].fill(0);
        let header_len = usize::from(packet[0] & 15) * 4;
        let sum = !sum(&[&packet[..header_len]]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

fn v6_with(ends: Ends, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let len = payload.len() as u16;
    let mut packet = vec![0x60, 0, 0, 0, (len >> 8) as u8, len as u8, next_header, 33];
    packet.extend(address(ends.0));
    packet.extend(address(ends.1));
    packet.extend(payload);
    packet
}

/// A UDP datagram of `len` octets.
fn udp(len: usize) -> Vec<u8> {
    let mut datagram = vec![0x9c, 0x40, 0x14, 0x51, (len >> 8) as u8, len as u8, 0, 0];
    datagram.extend((8..len).map(|at| at as u8));
    datagram
}

/// A packet of either version with a UDP datagram, of `len` octets in all.
fn packet(ends: Ends, len: usize) -> Vec<u8> {
    if ends.0.contains(':') {
        v6_with(ends, 17, &udp(len - 40))
    } else {
        v4_with(ends, &[], 17, &udp(len - 20))
    }
}

/// Sets the traffic class and, of IPv4, DF.
fn marked(mut packet: Vec<u8>, class: u8, df: bool) -> Vec<u8> {
    if packet[0] >> 4 == 4 {
        packet[1] = class;
        packet[6] = if df { 0x40 } else { 0 };
    } else {
        packet[0] = 0x60 | class >> 4;
        packet[1] = class << 4 | packet[1] & 15;
    }
    fix(packet)
}

fn class(packet: &[u8]) -> u8 {
    if packet[0] >> 4 == 4 { packet[1] } else { packet[0] << 4 | packet[1] >> 4 }
}

fn label(packet: &[u8]) -> u32 {
    u32::from_be_bytes([0, packet[1] & 15, packet[2], packet[3]])
}

fn id(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[4], packet[5]])
}

/// What an ESP packet of NULL encryption holds.
#[derive(Debug, PartialEq, Eq)]
struct Plain {
    spi: u32,
    sequence: u32,
    payload: Vec<u8>,
    pad_len: usize,
    next_header: u8,
}

fn plain(esp: &[u8]) -> Plain {
    let word = |at: usize| u32::from_be_bytes([esp[at], esp[at + 1], esp[at + 2], esp[at + 3]]);
    let text = &esp[8..esp.len() - ICV_LEN];
    let (pad_len, next_header) = (usize::from(text[text.len() - 2]), text[text.len() - 1]);
    let (payload, padding) = text[..text.len() - 2].split_at(text.len() - 2 - pad_len);
    assert!(padding.iter().copied().eq(1..=pad_len as u8), "{padding:?}");
    assert_eq!(text.len() % 4, 0);
    Plain { spi: word(0), sequence: word(4), payload: payload.to_vec(), pad_len, next_header }
}

/// The outer header's length, its lengths and checksum checked, and ESP.
fn split(packet: &[u8]) -> (&[u8], &[u8]) {
    let len = if packet[0] >> 4 == 4 {
        assert_eq!(usize::from(packet[2]) << 8 | usize::from(packet[3]), packet.len());
        assert_eq!(sum(&[&packet[..usize::from(packet[0] & 15) * 4]]), 0xffff);
        usize::from(packet[0] & 15) * 4
    } else {
        assert_eq!(usize::from(packet[4]) << 8 | usize::from(packet[5]), packet.len() - 40);
        40
    };
    packet.split_at(len)
}

fn headers(sender: &mut Sender, headers: TunnelHeaders) {
    assert!(sender.set_headers(place(sender, 0), headers));
}

// Tunnel mode.

#[test]
fn a_tunnel_has_a_header_of_its_own_and_the_packet_unchanged_inside() {
    for (outer, inner) in ENDS {
        let mut sender = tunnel(outer, "");
        for len in [60, 61, 62, 63, 64, 1400] {
            let packet = packet(inner, len);
            let sent = send(&mut sender, &packet);
            let (header, esp) = split(&sent);
            let is_v4 = !outer.0.contains(':');
            let ends = [address(outer.0), address(outer.1)].concat();
            if is_v4 {
                assert_eq!((header[0], header[1], header[8], header[9]), (0x45, 0, 64, 50));
                assert_eq!(header[12..], ends);
            } else {
                assert_eq!((&header[..4], header[6], header[7]), (&[0x60, 0, 0, 0][..], 50, 64));
                assert_eq!(header[8..], ends);
            }
            let plain = plain(esp);
            assert_eq!(plain.spi, 256);
            assert_eq!(plain.payload, packet, "TTL and all");
            assert_eq!(plain.next_header, if inner == INNER_V4 { 4 } else { 41 });
            assert!(plain.pad_len < 4);
        }
        assert_eq!(sender.sad().iter().next().unwrap().1.packets, 6);
    }
}

#[test]
fn numbers_begin_with_one() {
    let mut sender = tunnel(V4, "");
    for expected in 1..4 {
        assert_eq!(plain(split(&send(&mut sender, &packet(INNER_V4, 60))).1).sequence, expected);
    }
    let mut sender = tunnel(V4, "replay-oseq 0x10");
    assert_eq!(plain(split(&send(&mut sender, &packet(INNER_V4, 60))).1).sequence, 0x11);
}

#[test]
fn dscp_and_ecn_are_copied_or_not() {
    for (outer, inner) in ENDS {
        for dscp in [0, 1, 46, 63] {
            for ecn in 0..4 {
                let packet = marked(packet(inner, 60), dscp << 2 | ecn, false);
                for (flags, expected) in [
                    ("", dscp << 2 | ecn),
                    ("flag noecn", dscp << 2),
                    ("extra-flag dont-encap-dscp", ecn),
                    ("flag noecn extra-flag dont-encap-dscp", 0),
                ] {
                    let sent = send(&mut tunnel(outer, flags), &packet);
                    assert_eq!(class(&sent), expected, "{dscp} {ecn} {flags}");
                    assert_eq!(plain(split(&sent).1).payload, packet);
                }
                let mut sender = tunnel(outer, "");
                headers(&mut sender, TunnelHeaders { dscp: Dscp::Fixed(10), ..TunnelHeaders::default() });
                assert_eq!(class(&send(&mut sender, &packet)), 10 << 2 | ecn);
                headers(&mut sender, TunnelHeaders { dscp: Dscp::Fixed(0xff), ..TunnelHeaders::default() });
                assert_eq!(class(&send(&mut sender, &packet)), 63 << 2 | ecn);
            }
        }
    }
}

#[test]
fn df_is_copied_cleared_or_set() {
    let df = |sent: &[u8]| {
        assert_eq!((sent[6] & 0xbf, sent[7]), (0, 0), "no other flag, no offset");
        sent[6] == 0x40
    };
    let cases = [
        (marked(packet(INNER_V4, 60), 0, false), false),
        (marked(packet(INNER_V4, 60), 0, true), true),
        (packet(INNER_V6, 1280), false),
        (packet(INNER_V6, 1281), true),
    ];
    for (packet, copied) in cases {
        assert_eq!(df(&send(&mut tunnel(V4, ""), &packet)), copied);
        assert!(!df(&send(&mut tunnel(V4, "flag nopmtudisc"), &packet)));
        for (choice, expected) in [(Df::Copy, copied), (Df::Clear, false), (Df::Set, true)] {
            let mut sender = tunnel(V4, "");
            headers(&mut sender, TunnelHeaders { df: choice, ..TunnelHeaders::default() });
            assert_eq!(df(&send(&mut sender, &packet)), expected);
        }
    }
}

#[test]
fn identifications_differ_where_df_is_clear() {
    let mut sender = tunnel(V4, "");
    let (clear, set) = (marked(packet(INNER_V4, 60), 0, false), marked(packet(INNER_V4, 60), 0, true));
    let mut ids = Vec::new();
    for _ in 0..100 {
        assert_eq!(id(&send(&mut sender, &set)), 0);
        ids.push(id(&send(&mut sender, &clear)));
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 100);
    // After the last one comes the first again.
    for _ in 0..70_000 {
        send(&mut sender, &clear);
    }
}

#[test]
fn hop_limits_are_the_sas_own() {
    for (outer, inner) in ENDS {
        let at = if outer == V4 { 8 } else { 7 };
        let mut sender = tunnel(outer, "");
        assert_eq!(send(&mut sender, &packet(inner, 60))[at], 64);
        let hop_limit = NonZeroU8::new(7).unwrap();
        headers(&mut sender, TunnelHeaders { hop_limit, ..TunnelHeaders::default() });
        assert_eq!(send(&mut sender, &packet(inner, 60))[at], 7);
    }
}

#[test]
fn flow_labels_are_zero_fixed_or_copied() {
    let mut labelled = packet(INNER_V6, 60);
    labelled[1..4].copy_from_slice(&[0x0a, 0xbc, 0xde]);
    let mut sender = tunnel(V6, "");
    for (flow_label, of_v6, of_v4) in [
        (FlowLabel::Fixed(0), 0, 0),
        (FlowLabel::Fixed(0x12345), 0x12345, 0x12345),
        (FlowLabel::Fixed(u32::MAX), 0xf_ffff, 0xf_ffff),
        (FlowLabel::Copy, 0xabcde, 0),
    ] {
        if flow_label != FlowLabel::Fixed(0) {
            headers(&mut sender, TunnelHeaders { flow_label, ..TunnelHeaders::default() });
        }
        for (packet, expected) in [(labelled.clone(), of_v6), (packet(INNER_V4, 60), of_v4)] {
            let packet = marked(packet, 0xb9, false);
            let sent = send(&mut sender, &packet);
            assert_eq!((label(&sent), class(&sent)), (expected, 0xb9));
        }
    }
}

#[test]
fn options_and_extension_headers_are_never_copied_to_a_tunnels_header() {
    for outer in [V4, V6] {
        let header_len = if outer == V4 { 20 } else { 40 };
        let with_options = v4_with(INNER_V4, &[1; 40], 17, &udp(30));
        let with_extension = v6_with(INNER_V6, 0, &[&[17, 0, 1, 4, 0, 0, 0, 0][..], &udp(30)].concat());
        for packet in [with_options, with_extension] {
            let sent = send(&mut tunnel(outer, ""), &packet);
            assert_eq!(plain(&sent[header_len..]).payload, packet);
        }
    }
}

#[test]
fn a_tunnel_carries_fragments() {
    let mut first = packet(INNER_V4, 60);
    first[6] = 0x20;
    let mut later = packet(INNER_V4, 60);
    later[7] = 9;
    let v6 = v6_with(INNER_V6, 44, &[&[17, 0, 0, 1, 0, 0, 0, 9][..], &udp(32)].concat());
    for packet in [fix(first), fix(later), v6] {
        assert_eq!(plain(split(&send(&mut tunnel(V4, ""), &packet)).1).payload, packet);
    }
}

#[test]
fn what_follows_a_packet_is_not_sent() {
    for (outer, inner) in ENDS {
        let packet = packet(inner, 60);
        let longer = [&packet[..], &[0; 13]].concat();
        assert_eq!(plain(split(&send(&mut tunnel(outer, ""), &longer)).1).payload, packet);
    }
    let packet = packet(V4, 60);
    let sent = send(&mut transport(V4, ""), &[&packet[..], &[0; 13]].concat());
    assert_eq!(plain(split(&sent).1).payload, packet[20..]);
}

// Transport mode.

#[test]
fn transport_mode_keeps_the_ipv4_header_with_its_options() {
    for options in [&[][..], &[7, 7, 4, 0, 0, 0, 0, 0], &[1; 40]] {
        let packet = marked(v4_with(V4, options, 6, &[9; 41]), 0xb9, true);
        let sent = send(&mut transport(V4, ""), &packet);
        let (header, esp) = split(&sent);
        let header_len = 20 + options.len();
        let plain = plain(esp);
        assert_eq!((&plain.payload[..], plain.next_header), (&packet[header_len..], 6));
        let mut expected = packet[..header_len].to_vec();
        expected[2..4].copy_from_slice(&header[2..4]);
        expected[9] = 50;
        assert_eq!(header, fix(expected), "TTL, DSCP, ECN, identification and DF stay");
    }
}

/// An extension header of 8 octets, or of a routing header 24.
fn extension(kind: u8, next: u8) -> Vec<u8> {
    match kind {
        43 => [&[next, 2, 4, 1, 0, 0, 0, 0][..], &address(V6.1)].concat(),
        44 => vec![next, 0, 0, 0, 1, 2, 3, 4],
        _ => vec![next, 0, 1, 4, kind, kind, 0, 0],
    }
}

#[test]
fn esp_stands_behind_hop_by_hop_routing_and_fragment_headers_and_before_destination_options() {
    let (hop, routing, fragment, options, udp_) = (0, 43, 44, 60, 17);
    // How many of these headers stand before ESP.
    let cases: [(&[u8], usize); 11] = [
        (&[], 0),
        (&[hop], 1),
        (&[routing], 1),
        (&[fragment], 1),
        (&[options], 0),
        (&[hop, options], 1),
        (&[hop, options, routing, options], 3),
        (&[options, routing], 2),
        (&[hop, routing, fragment, options], 3),
        (&[hop, options, routing, fragment, options], 4),
        (&[options, options, options], 0),
    ];
    for (chain, before) in cases {
        let kinds = [chain, &[udp_]].concat();
        let mut parts: Vec<_> = kinds.windows(2).map(|pair| extension(pair[0], pair[1])).collect();
        parts.push(udp(33));
        let packet = v6_with(V6, kinds[0], &parts.concat());
        let sent = send(&mut transport(V6, ""), &packet);
        let headers_len = 40 + parts[..before].concat().len();
        let (headers, esp) = sent.split_at(headers_len);
        let plain = plain(esp);
        assert_eq!(plain.payload, packet[headers_len..], "{chain:?}");
        assert_eq!(plain.next_header, kinds[before], "{chain:?}");
        // One octet names ESP, and one pair the length; all others stay.
        let names = if before == 0 { 6 } else { 40 + parts[..before - 1].concat().len() };
        let mut expected = packet[..headers_len].to_vec();
        expected[4..6].copy_from_slice(&((sent.len() - 40) as u16).to_be_bytes());
        expected[names] = 50;
        assert_eq!(headers, expected, "{chain:?}");
    }
}

#[test]
fn transport_mode_and_beet_refuse_fragments() {
    let fragment = Err(Sent::Drop(DropReason::OutFragment));
    for (high, low, is_refused) in [(0x20, 0, true), (0, 1, true), (0x3f, 0xff, true), (0x40, 0, false)] {
        let mut packet = packet(V4, 60);
        packet[6..8].copy_from_slice(&[high, low]);
        let packet = fix(packet);
        assert_eq!(try_send(&mut transport(V4, ""), &packet) == fragment, is_refused);
        assert_eq!(try_send(&mut beet(V6, V4, ""), &packet) == fragment, is_refused);
    }
    for (high, low, is_refused) in [(0, 1, true), (0, 8, true), (1, 1, true), (0, 0, false), (0, 6, false)] {
        let packet = v6_with(V6, 44, &[&[17, 0, high, low, 0, 0, 0, 9][..], &udp(32)].concat());
        assert_eq!(try_send(&mut transport(V6, ""), &packet) == fragment, is_refused);
        assert_eq!(try_send(&mut beet(V4, V6, ""), &packet) == fragment, is_refused);
    }
}

#[test]
fn transport_mode_is_for_the_sas_addresses() {
    let address = Err(Sent::Drop(DropReason::OutAddress));
    for (ends, other) in [(V4, INNER_V4), (V6, INNER_V6)] {
        assert_eq!(try_send(&mut transport(ends, ""), &packet((ends.0, other.1), 60)), address);
        assert_eq!(try_send(&mut transport(ends, ""), &packet((other.0, ends.1), 60)), address);
        let any = (if ends == V4 { "0.0.0.0" } else { "::" }, ends.1);
        assert!(try_send(&mut transport(any, ""), &packet((other.0, ends.1), 60)).is_ok());
        assert_eq!(try_send(&mut tunnel(any, ""), &packet(other, 60)), address, "no source");
    }
    let not_routed = v6_with(("fd09::1", "fd09::77"), 60, &[extension(60, 17), udp(30)].concat());
    assert_eq!(try_send(&mut transport(V6, ""), &not_routed), address);
}

#[test]
fn under_a_routing_header_the_sa_is_the_last_destinations() {
    let (own, other, hop) = (V6.1, "fd09::bad", "fd09::77");
    // Destination, type, segments left, addresses, and whether the packet is for the SA.
    let cases: [(&str, u8, u8, &[&str], bool); 14] = [
        (hop, 0, 1, &[own], true),
        (hop, 0, 1, &[other], false),
        (hop, 0, 2, &[other, own], true),
        (hop, 0, 2, &[own, other], false),
        (hop, 2, 1, &[own], true),
        (hop, 2, 1, &[other], false),
        (hop, 4, 1, &[own, other], true),
        (hop, 4, 1, &[other, own], false),
        // It goes through the SA's host, and on.
        (own, 0, 1, &[other], false),
        // All have been visited.
        (own, 0, 0, &[other], true),
        (hop, 0, 0, &[own], false),
        // No address, and a kind that isn't known.
        (own, 0, 1, &[], false),
        (own, 3, 1, &[own], false),
        (own, 3, 0, &[own], true),
    ];
    for (dst, kind, left, addresses, is_right) in cases {
        let mut routing = vec![17, 2 * addresses.len() as u8, kind, left, 0, 0, 0, 0];
        routing.extend(addresses.iter().flat_map(|text| address(text)));
        let packet = v6_with((V6.0, dst), 43, &[routing, udp(30)].concat());
        let sent = try_send(&mut transport(V6, ""), &packet);
        let refused = Err(Sent::Drop(DropReason::OutAddress));
        assert_eq!(sent != refused, is_right, "{dst} {kind} {left} {addresses:?}");
    }
    // It ends with the SA's address, but half of one is left over.
    for kind in [0, 2] {
        let routing = [&[17, 3, kind, 1, 0, 0, 0, 0][..], &[0; 8], &address(own)].concat();
        let packet = v6_with((V6.0, hop), 43, &[routing, udp(30)].concat());
        assert_eq!(try_send(&mut transport(V6, ""), &packet), Err(Sent::Drop(DropReason::OutAddress)));
    }
}

// Mode beet.

#[test]
fn beet_keeps_a_header_but_for_its_addresses() {
    for (outer, inner) in ENDS {
        let mut packet = marked(packet(inner, 60), 0xb9, true);
        if inner == INNER_V6 {
            packet[2..4].copy_from_slice(&[0xbc, 0xde]);
        }
        let mut sender = beet(outer, inner, "");
        let sent = send(&mut sender, &packet);
        let (header, esp) = split(&sent);
        let plain = plain(esp);
        let inner_len = if inner == INNER_V4 { 20 } else { 40 };
        assert_eq!((&plain.payload[..], plain.next_header), (&packet[inner_len..], 17));
        assert_eq!(class(header), 0xb9);
        let ends = [address(outer.0), address(outer.1)].concat();
        if outer == V4 {
            assert_eq!((header[0], header[6], header[7], header[8], header[9]), (0x45, 0x40, 0, 33, 50));
            assert_eq!(id(header), if inner == INNER_V4 { 0xabcd } else { 0 });
            assert_eq!(header[12..], ends);
        } else {
            assert_eq!((header[6], header[7]), (50, 33));
            assert_eq!(label(header), if inner == INNER_V4 { 0 } else { 0xbcde });
            assert_eq!(header[8..], ends);
        }
    }
    let clear = marked(packet(INNER_V4, 60), 0, false);
    assert_eq!(send(&mut beet(V4, INNER_V4, ""), &clear)[4..8], [0xab, 0xcd, 0, 0]);
}

#[test]
fn beet_puts_options_behind_a_pseudo_header() {
    for outer in [V4, V6] {
        for options_len in (4..=40).step_by(4) {
            let options: Vec<u8> =
                vec![7, options_len as u8].into_iter().chain(2..options_len as u8).collect();
            let packet = v4_with(INNER_V4, &options, 6, &[9; 31]);
            let sent = send(&mut beet(outer, INNER_V4, ""), &packet);
            if outer == V4 {
                assert_eq!(sent[0], 0x45);
            }
            let plain = plain(split(&sent).1);
            assert_eq!(plain.next_header, 94);
            let payload = &plain.payload;
            let pad_len = if options_len % 8 == 0 { 4 } else { 0 };
            assert_eq!(payload[..4], [6, payload[1], pad_len as u8, 0]);
            assert_eq!((usize::from(payload[1]) + 1) * 8, 4 + pad_len + options_len);
            assert_eq!(payload[4..4 + pad_len], [1; 4][..pad_len]);
            assert_eq!(payload[4 + pad_len..], packet[20..]);
        }
    }
}

#[test]
fn in_beet_a_packet_of_protocol_94_is_not_taken_for_a_pseudo_header() {
    // Its payload looks like a pseudo header in front of TCP.
    let looks_like = [&[6, 0, 4, 0, 1, 1, 1, 1][..], &[0x12, 0x34, 0, 22], &[0; 16]].concat();
    for outer in [V4, V6] {
        let line = state(256, outer, &format!("mode beet {NULL} sel src {} dst {}", INNER_V4.0, INNER_V4.1));
        for options in [&[][..], &[1; 4], &[1; 8]] {
            let packet = marked(v4_with(INNER_V4, options, 94, &looks_like), 0, true);
            let sent = send(&mut sender_of(&line), &packet);
            let payload = plain(split(&sent).1).payload;
            assert_eq!(payload[0], 94);
            assert_eq!(payload.len(), 8 * (usize::from(payload[1]) + 1) + looks_like.len());
            let received = receive(&mut receiver_of(&line), &sent).unwrap();
            assert_eq!((received[9], &received[20 + options.len()..]), (94, &looks_like[..]));
        }
        // In IPv6 it is a protocol as any other.
        let packet = v6_with(INNER_V6, 94, &looks_like);
        assert_eq!(plain(split(&send(&mut beet(outer, INNER_V6, ""), &packet)).1).payload, looks_like);
    }
}

#[test]
fn beet_puts_extension_headers_inside() {
    let packet = v6_with(INNER_V6, 0, &[extension(0, 60), extension(60, 17), udp(20)].concat());
    for outer in [V4, V6] {
        let plain = plain(split(&send(&mut beet(outer, INNER_V6, ""), &packet)).1);
        assert_eq!((&plain.payload[..], plain.next_header), (&packet[40..], 0));
    }
}

#[test]
fn beet_is_for_its_selectors_addresses() {
    let address = Err(Sent::Drop(DropReason::OutAddress));
    for (ends, other) in [(INNER_V4, V4), (INNER_V6, V6)] {
        assert!(try_send(&mut beet(V4, ends, ""), &packet(ends, 60)).is_ok());
        assert_eq!(try_send(&mut beet(V4, ends, ""), &packet((ends.0, other.1), 60)), address);
        assert_eq!(try_send(&mut beet(V4, ends, ""), &packet((other.0, ends.1), 60)), address);
    }
    let line = state(1, V4, &format!("mode beet {NULL} sel src 10.1.0.0/16 dst 10.2.0.2"));
    let states = xfrm::parse("test", &line).unwrap();
    let error = Sad::sending([&states], Duration::ZERO, || [0; _].into()).unwrap_err();
    assert!(error.to_string().contains("two host addresses"), "{error}");
}

// UDP encapsulation.

#[test]
fn udp_has_the_sas_ports_and_a_checksum_over_ipv6_alone() {
    for (outer, inner) in ENDS {
        let mut sender = tunnel(outer, "encap espinudp 4501 4502 0.0.0.0");
        for len in 60..68 {
            let sent = send(&mut sender, &packet(inner, len));
            let (header, datagram) = split(&sent);
            assert_eq!(header[if outer == V4 { 9 } else { 6 }], 17);
            assert_eq!(datagram[..4], [0x11, 0x95, 0x11, 0x96]);
            assert_eq!(usize::from(datagram[4]) << 8 | usize::from(datagram[5]), datagram.len());
            assert_eq!(plain(&datagram[8..]).payload, packet(inner, len));
            if outer == V4 {
                assert_eq!(datagram[6..8], [0, 0]);
            } else {
                let len = (datagram.len() as u32).to_be_bytes();
                assert_ne!(datagram[6..8], [0, 0]);
                assert_eq!(sum(&[&header[8..], &len, &[0, 0, 0, 17], datagram]), 0xffff);
            }
        }
    }
}

#[test]
fn udp_stands_where_esp_would_in_transport_mode() {
    let with_options = v4_with(V4, &[1; 4], 6, &[9; 41]);
    let sent = send(&mut transport(V4, "encap espinudp 4500 4500 0.0.0.0"), &with_options);
    let (header, datagram) = split(&sent);
    assert_eq!((header.len(), header[9]), (24, 17));
    assert_eq!(plain(&datagram[8..]).payload, with_options[24..]);
    // The checksum is over the last destination of a routing header, which is the SA's.
    let next_hop = (V6.0, "fd09::77");
    let routed = v6_with(next_hop, 0, &[extension(0, 43), extension(43, 17), udp(30)].concat());
    let sent = send(&mut transport(V6, "encap espinudp 4500 4500 0.0.0.0"), &routed);
    assert_eq!((sent[6], sent[48]), (0, 17), "the last header names UDP");
    let len = ((sent.len() - 72) as u32).to_be_bytes();
    let ends = [address(V6.0), address(V6.1)].concat();
    assert_eq!(sum(&[&ends, &len, &[0, 0, 0, 17], &sent[72..]]), 0xffff);
    // And over the packet's own source, where the SA is for any.
    let mut sender = transport(("::", V6.1), "encap espinudp 4500 4500 0.0.0.0");
    let sent = send(&mut sender, &packet(V6, 90));
    let len = ((sent.len() - 40) as u32).to_be_bytes();
    assert_eq!(sum(&[&ends, &len, &[0, 0, 0, 17], &sent[40..]]), 0xffff);
}

#[test]
fn a_checksum_of_zero_is_sent_as_ones() {
    // One in 65,536 has it: the last octets of the packet steer the sum, and the ICV with it.
    let mut sender = sender(V6, &format!("mode tunnel {GCM} encap espinudp 4500 4500 0.0.0.0"));
    let packet = packet(INNER_V6, 60);
    let ones = (0..400_000).filter(|_| {
        let sent = send(&mut sender, &packet);
        assert_ne!(sent[46..48], [0, 0]);
        sent[46..48] == [0xff, 0xff]
    });
    assert!(ones.count() > 0);
}

#[test]
fn keepalives_go_to_peers_that_heard_nothing() {
    let encap = "encap espinudp 4500 4500 0.0.0.0";
    let mut text = state(1, V4, &format!("mode tunnel {NULL} {encap}"));
    text += &state(2, V4, &format!("mode tunnel {NULL} {encap}"));
    text += &state(3, V6, &format!("mode tunnel {NULL} {encap}"));
    text += &state(4, ("10.9.0.1", "10.9.0.9"), &format!("mode tunnel {NULL}"));
    text += &state(5, ("0.0.0.0", "10.9.0.9"), &format!("mode tunnel {NULL} {encap}"));
    let mut sender = sender_of(&text);
    let at = |sender: &mut Sender, seconds: u64| {
        let mut sent = Vec::new();
        sender.keepalives(SECOND * seconds as u32, KEEPALIVE_INTERVAL, &mut sent);
        sent.into_iter().map(|sent| octets(sender, sent).unwrap()).collect::<Vec<_>>()
    };
    assert!(at(&mut sender, 19).is_empty());
    let sent = at(&mut sender, 20);
    assert_eq!(sent.len(), 2, "one for two SAs of a peer, none without encapsulation or source");
    let (header, datagram) = split(&sent[0]);
    assert_eq!((header[9], &header[12..]), (17, &[10, 9, 0, 1, 10, 9, 0, 2][..]));
    assert_eq!(datagram, [0x11, 0x94, 0x11, 0x94, 0, 9, 0, 0, 0xff]);
    let (header, datagram) = split(&sent[1]);
    assert_eq!((header[6], datagram.len(), datagram[8]), (17, 9, 0xff));
    assert_eq!(sum(&[&header[8..], &[0, 0, 0, 9, 0, 0, 0, 17], datagram]), 0xffff);
    assert!(at(&mut sender, 39).is_empty(), "they count themselves");
    // A packet of either SA counts, a dropped one does not.
    let packet = packet(INNER_V4, 60);
    let [second, third] = [1, 2].map(|number| place(&sender, number));
    burst(&mut sender, SECOND * 39, &[Outgoing::Packet { sa: second, packet: &packet }]);
    burst(&mut sender, SECOND * 39, &[Outgoing::Packet { sa: third, packet: &packet[..50] }]);
    let sent = at(&mut sender, 40);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0][0] >> 4, 6);
    assert_eq!(at(&mut sender, 59).len(), 1);
}

// TFC: padding and dummies.

#[test]
fn tfc_pads_a_payload_to_its_length() {
    for (outer, inner) in ENDS {
        for tfcpad in [0, 1, 60, 61, 500, 1400] {
            let mut sender = tunnel(outer, &format!("tfcpad {tfcpad}"));
            for len in [60, 61, 499, 500, 501] {
                let packet = packet(inner, len);
                let payload = plain(split(&send(&mut sender, &packet)).1).payload;
                assert_eq!(payload.len(), len.max(tfcpad));
                assert_eq!(payload[..len], packet);
                assert!(payload[len..].iter().all(|&octet| octet == 0));
            }
        }
    }
}

#[test]
fn tfc_stops_at_the_mtu() {
    for (outer, inner) in ENDS {
        for mtu in 1400..1420 {
            let mut sender = tunnel(outer, "tfcpad 65535");
            sender.set_mtu(Some(mtu));
            let lens: Vec<_> =
                [60, 61, 1000, 1300].map(|len| send(&mut sender, &packet(inner, len)).len()).into();
            assert!(lens.iter().all(|&len| len == lens[0]), "all look alike: {lens:?}");
            assert!(lens[0] <= mtu && lens[0] + 4 > mtu, "{mtu} {lens:?}");
        }
        // Without one, at what an IP header can say.
        let sent = send(&mut tunnel(outer, "tfcpad 4294967295"), &packet(inner, 60));
        let most = if outer == V4 { 65_535 } else { 65_575 };
        assert!(sent.len() <= most && sent.len() + 4 > most, "{}", sent.len());
    }
}

#[test]
fn tfc_is_not_for_a_payload_that_does_not_tell_its_length() {
    let payload_len = |sender: &mut Sender, packet: &[u8]| {
        let sent = send(sender, packet);
        plain(split(&sent).1).payload.len()
    };
    let tcp = v4_with(V4, &[], 6, &[0x50; 40]);
    let mut shorter = udp(40);
    shorter[5] = 39;
    let mut sender = transport(V4, "tfcpad 100");
    assert_eq!(payload_len(&mut sender, &v4_with(V4, &[], 17, &udp(40))), 100);
    assert_eq!(payload_len(&mut sender, &tcp), 40);
    assert_eq!(payload_len(&mut sender, &v4_with(V4, &[], 17, &shorter)), 40);
    for udp_len in [0, 7] {
        let less_than_a_header = v4_with(V4, &[], 17, &[0, 0, 0, 0, 0, udp_len, 0]);
        assert_eq!(payload_len(&mut sender, &less_than_a_header), 7);
    }
    let mut sender = beet(V6, V4, "tfcpad 100");
    assert_eq!(payload_len(&mut sender, &v4_with(V4, &[], 17, &udp(40))), 100);
    assert_eq!(payload_len(&mut sender, &tcp), 40);
    assert_eq!(payload_len(&mut sender, &v4_with(V4, &[1; 4], 17, &udp(40))), 100);
    assert_eq!(payload_len(&mut sender, &v4_with(V4, &[1; 4], 6, &[0; 40])), 48);
}

#[test]
fn dummies_are_packets_for_nobody_in_every_mode() {
    for outer in [V4, V6] {
        for mut sender in [tunnel(outer, ""), transport(outer, ""), beet(outer, INNER_V4, "")] {
            for (number, len) in [(1, 0), (2, 1), (3, 100), (4, 1400)] {
                let sent = try_dummy(&mut sender, len).unwrap();
                let (header, esp) = split(&sent);
                let plain = plain(esp);
                assert_eq!((plain.next_header, plain.sequence), (59, number));
                assert_eq!(plain.payload, vec![0; len]);
                let ends = [address(outer.0), address(outer.1)].concat();
                assert_eq!(header[if outer == V4 { 12 } else { 8 }..], ends);
            }
            let (_, counts) = sender.sad().iter().next().unwrap();
            assert_eq!(counts.packets, 4);
        }
    }
    // They look like the others.
    let mut sender = transport(V4, "tfcpad 500");
    assert_eq!(plain(split(&try_dummy(&mut sender, 7).unwrap()).1).payload.len(), 500);
    sender.set_mtu(Some(400));
    assert!(try_dummy(&mut sender, 7).unwrap().len() <= 400);
    assert_eq!(try_dummy(&mut sender, 500), Err(Sent::Drop(DropReason::OutTooLong)));
    sender.set_mtu(None);
    assert_eq!(try_dummy(&mut sender, usize::MAX), Err(Sent::Drop(DropReason::OutTooLong)));
}

#[test]
fn what_a_printed_state_was_used_for_counts_to_its_limits() {
    let text = state(256, V4, &format!("mode tunnel {NULL} limit packet-hard 9"));
    let mut states = xfrm::parse("test", &text).unwrap().states;
    states[0].used = xfrm::Used { bytes: 512, packets: 8 };
    let mut sender = sender_of(&states[0].listing(xfrm::Keys::Shown).with_statistics().to_string());
    assert!(try_dummy(&mut sender, 1).is_ok());
    assert_eq!(try_dummy(&mut sender, 1), Err(Sent::Drop(DropReason::OutExpired)));
}

#[test]
fn dummies_count_to_the_lifetime() {
    let mut sender = tunnel(V4, "limit packet-hard 1");
    assert!(try_dummy(&mut sender, 1).is_ok());
    assert_eq!(try_dummy(&mut sender, 1), Err(Sent::Drop(DropReason::OutExpired)));
}

// Lengths.

/// Every kind of header that takes from an MTU.
fn senders_for_mtu() -> Vec<(Sender, Ends)> {
    let mut all = Vec::new();
    let cbc = "auth-trunc 'hmac(sha1)' 0x0102030405060708091011121314151617181920 96 \
               enc 'cbc(aes)' 0x00112233445566778899aabbccddeeff";
    for suite in [NULL, GCM, cbc] {
        for encap in ["", "encap espinudp 4500 4500 0.0.0.0"] {
            for (outer, inner) in ENDS {
                all.push((sender(outer, &format!("mode tunnel {suite} {encap}")), inner));
                let sel = format!("sel src {} dst {}", inner.0, inner.1);
                all.push((sender(outer, &format!("mode beet {suite} {encap} {sel}")), inner));
            }
            for ends in [V4, V6] {
                all.push((sender(ends, &format!("mode transport {suite} {encap}")), ends));
            }
        }
    }
    all
}

#[test]
fn a_packet_is_too_big_when_it_is_longer_than_the_mtu_and_the_mtu_told_is_the_longest_that_fits() {
    for (mut sender, ends) in senders_for_mtu() {
        for mtu in 1400..1432 {
            sender.set_mtu(Some(mtu));
            let packet = |len| marked(packet(ends, len), 0, true);
            let Err(Sent::TooBig { mtu: told }) = try_send(&mut sender, &packet(1432)) else {
                panic!("fits {mtu}")
            };
            assert!(send(&mut sender, &packet(told)).len() <= mtu, "{told} fits {mtu}");
            assert_eq!(try_send(&mut sender, &packet(told + 1)), Err(Sent::TooBig { mtu: told }));
            sender.set_mtu(None);
            assert!(send(&mut sender, &packet(told + 1)).len() > mtu);
        }
    }
}

#[test]
fn too_big_counts_headers_options_and_pseudo_headers() {
    for options_len in [0, 4, 8, 40] {
        let with = |len: usize| {
            marked(v4_with(V4, &vec![1; options_len], 17, &udp(len - 20 - options_len)), 0, true)
        };
        for mut sender in [transport(V4, ""), beet(V4, V4, ""), beet(V6, V4, "")] {
            sender.set_mtu(Some(1000));
            let Err(Sent::TooBig { mtu }) = try_send(&mut sender, &with(1000)) else { panic!("fits") };
            assert!(send(&mut sender, &with(mtu)).len() <= 1000);
            assert_eq!(try_send(&mut sender, &with(mtu + 1)), Err(Sent::TooBig { mtu }));
        }
    }
}

#[test]
fn what_has_to_go_though_it_is_too_long_is_to_be_fragmented() {
    let sent = |sender: &mut Sender, packet: &[u8]| {
        sender.set_mtu(Some(1300));
        let sa = place(sender, 0);
        burst(sender, Duration::ZERO, &[Outgoing::Packet { sa, packet }]).0.remove(0)
    };
    // Whole packets that may be fragmented, where no fragment is taken.
    for (make, ends) in [
        (transport as fn(Ends, &str) -> Sender, V4),
        (|ends, rest| beet(V4, ends, rest), INNER_V4),
        (|ends, rest| beet(V6, ends, rest), INNER_V4),
    ] {
        for (len, is_longer) in [(1000, false), (1290, true), (1500, true)] {
            let packet = marked(packet(ends, len), 0, false);
            let mut sender = make(ends, "");
            match sent(&mut sender, &packet) {
                Sent::Packet(at) => assert!(!is_longer && at.len() <= 1300),
                Sent::ToFragment(at) => {
                    assert!(is_longer && at.len() > 1300);
                    assert_eq!(plain(split(&sender.octets()[at]).1).payload, packet[20..]);
                }
                other => panic!("{other:?}"),
            }
            let whole = marked(packet, 0, true);
            let is_too_big = matches!(sent(&mut sender, &whole), Sent::TooBig { .. });
            assert_eq!(is_too_big, is_longer, "with DF set");
        }
    }
    // In a tunnel a fragment can come.
    assert!(matches!(sent(&mut tunnel(V4, ""), &packet(INNER_V4, 1290)), Sent::TooBig { .. }));
    // What must be carried.
    assert!(matches!(sent(&mut tunnel(V4, ""), &packet(INNER_V6, 1280)), Sent::ToFragment(_)));
    assert!(matches!(sent(&mut transport(V6, ""), &packet(V6, 1280)), Sent::ToFragment(_)));
    assert!(matches!(sent(&mut transport(V6, ""), &packet(V6, 1290)), Sent::TooBig { .. }));
    // As long as the MTU is not too long.
    let mut sender = transport(V4, "");
    let packet = marked(packet(V4, 1000), 0, false);
    let len = send(&mut sender, &packet).len();
    let sa = place(&sender, 0);
    for (mtu, expected) in [(len, Sent::Packet(0..len)), (len - 1, Sent::ToFragment(0..len))] {
        sender.set_mtu(Some(mtu));
        let (sent, _) = burst(&mut sender, Duration::ZERO, &[Outgoing::Packet { sa, packet: &packet }]);
        assert_eq!(sent, [expected]);
    }
}

#[test]
fn too_big_uses_no_number_and_is_said_with_df_clear_too() {
    let mut sender = tunnel(V4, "limit packet-hard 1");
    sender.set_mtu(Some(100));
    for df in [false, true] {
        let big = marked(packet(INNER_V4, 100), 0, df);
        assert!(matches!(try_send(&mut sender, &big), Err(Sent::TooBig { mtu: 44..100 })));
    }
    assert_eq!(plain(split(&send(&mut sender, &packet(INNER_V4, 48))).1).sequence, 1);
}

#[test]
fn the_mtu_told_is_never_below_what_ip_must_carry() {
    for (outer, inner) in ENDS {
        let least = if inner == INNER_V4 { 68 } else { 1280 };
        let mut sender = tunnel(outer, "");
        for mtu in [0, 1, 60, 110, least, least + 10] {
            sender.set_mtu(Some(mtu));
            assert_eq!(try_send(&mut sender, &packet(inner, least + 300)), Err(Sent::TooBig { mtu: least }));
            assert_eq!(try_send(&mut sender, &packet(inner, least + 1)), Err(Sent::TooBig { mtu: least }));
            assert!(send(&mut sender, &packet(inner, least)).len() > mtu, "it can't be asked to be shorter");
        }
    }
}

#[test]
fn the_smaller_of_two_mtus_counts() {
    let mut sender = tunnel(V4, "");
    let mut fits = |link, sa| {
        sender.set_mtu(link);
        assert!(sender.set_sa_mtu(place(&sender, 0), sa));
        try_send(&mut sender, &packet(INNER_V4, 1000)).is_ok()
    };
    assert!(fits(None, None) && fits(Some(1500), Some(1500)));
    assert!(!fits(Some(900), None) && !fits(None, Some(900)));
    assert!(!fits(Some(900), Some(1500)) && !fits(Some(1500), Some(900)));
}

#[test]
fn a_packet_that_no_ip_header_can_hold_is_refused_by_name() {
    let too_long = Err(Sent::Drop(DropReason::OutTooLong));
    for (outer, inner) in ENDS {
        for encap in ["", "encap espinudp 4500 4500 0.0.0.0"] {
            let mut sender = tunnel(outer, encap);
            let most = if outer == V4 { 65_535 } else { 65_575 };
            let inner_most = if inner == INNER_V4 { 65_535 } else { 65_575 };
            let udp_len = if encap.is_empty() { 0 } else { 8 };
            let overhead = if outer == V4 { 20 } else { 40 } + udp_len + 8 + ICV_LEN;
            // The longest text is a multiple of 4 octets, with 2 of trailer.
            let longest = ((most - overhead) / 4 * 4 - 2).min(inner_most);
            let sent = send(&mut sender, &packet(inner, longest));
            assert!(sent.len() <= most);
            split(&sent);
            if longest < inner_most {
                assert_eq!(try_send(&mut sender, &packet(inner, longest + 1)), too_long);
                assert_eq!(try_send(&mut sender, &packet(inner, inner_most)), too_long);
            }
        }
    }
    let mut sender = transport(V4, "");
    assert_eq!(try_send(&mut sender, &packet(V4, 65_535)), too_long);
    assert!(send(&mut sender, &packet(V4, 65_500)).len() <= 65_535);
    assert_eq!(sender.sad().iter().next().unwrap().1.failures[DropReason::OutTooLong], 1);
}

// Numbers and lifetimes.

#[test]
fn the_last_number_is_the_last() {
    let gcm_last = "replay-oseq 0xfffffffe";
    let mut labelled = marked(packet(INNER_V6, 60), 0, false);
    labelled[1..4].copy_from_slice(&[1, 2, 3]);
    for (rest, last) in [
        (gcm_last, 0xffff_ffff),
        ("flag esn replay-window 32 replay-oseq 0xfffffffe replay-oseq-hi 0xffffffff", u64::MAX),
    ] {
        let mut sender = sender(V4, &format!("mode tunnel {GCM} {rest}"));
        assert!(try_send(&mut sender, &labelled).is_ok());
        for _ in 0..3 {
            let at = SECOND * 5;
            let sa = place(&sender, 0);
            let (sent, events) = burst(&mut sender, at, &[Outgoing::Packet { sa, packet: &labelled }]);
            assert_eq!(sent, [Sent::Drop(DropReason::SeqOverflow)]);
            let audit = Audit {
                reason: DropReason::SeqOverflow,
                time: at,
                spi: Some(256),
                sequence: Some(last),
                src: Some("fd01::1".parse().unwrap()),
                dst: Some("fd02::2".parse().unwrap()),
                flow_label: Some(0x1_0203),
                flow: Flow::of_packet(&labelled),
            };
            assert_eq!(events, [Event::Audit(audit)]);
            assert!(sender.octets().is_empty(), "nothing of it is left");
        }
        let (_, counts) = sender.sad().iter().next().unwrap();
        assert_eq!((counts.packets, counts.failures[DropReason::SeqOverflow]), (1, 3));
    }
}

#[test]
fn numbers_come_round_where_the_sa_lets_them() {
    let mut sender = tunnel(V4, "replay-oseq 0xfffffffe extra-flag oseq-may-wrap");
    for number in [u32::MAX, 0, 1] {
        assert_eq!(plain(split(&send(&mut sender, &packet(INNER_V4, 60))).1).sequence, number);
    }
    let mut sender =
        self::sender(V4, &format!("mode tunnel {GCM} replay-oseq 0xffffffff extra-flag oseq-may-wrap"));
    let refused = try_send(&mut sender, &packet(INNER_V4, 60));
    assert_eq!(refused, Err(Sent::Drop(DropReason::SeqOverflow)), "its IVs would");
    let refused = try_send(&mut tunnel(V4, "replay-oseq 0xffffffff"), &packet(INNER_V4, 60));
    assert_eq!(refused, Err(Sent::Drop(DropReason::SeqOverflow)), "it was not allowed to");
}

fn expire(limit: LimitKind, is_hard: bool) -> Event {
    Event::Expire { sa: SaId { spi: 256, dst: V4.1.parse().unwrap() }, is_hard, limit }
}

#[test]
fn a_lifetime_warns_and_ends() {
    let packet = packet(INNER_V4, 60);
    let mut sender = tunnel(V4, "limit packet-soft 1 limit packet-hard 2");
    let three = [Outgoing::Packet { sa: place(&sender, 0), packet: &packet }; 3];
    let (sent, events) = burst(&mut sender, Duration::ZERO, &three);
    assert!(matches!(&sent[..], [Sent::Packet(_), Sent::Packet(_), Sent::Drop(DropReason::OutExpired)]));
    assert_eq!(events, [expire(LimitKind::Packets, false), expire(LimitKind::Packets, true)]);
    let (_, counts) = sender.sad().iter().next().unwrap();
    assert_eq!((counts.packets, counts.failures[DropReason::OutExpired]), (2, 1));
    assert_eq!(counts.bytes, 2 * (8 + 64 + 16));
}

#[test]
fn bytes_are_those_that_are_encrypted() {
    // 60 octets of packet, 2 of padding, pad length, next header.
    for (limit, is_dropped) in [(128, true), (129, false)] {
        let mut sender = tunnel(V4, &format!("limit byte-hard {limit}"));
        for _ in 0..2 {
            send(&mut sender, &packet(INNER_V4, 60));
        }
        assert_eq!(try_send(&mut sender, &packet(INNER_V4, 60)).is_err(), is_dropped);
    }
}

#[test]
fn time_ends_an_sa_without_traffic() {
    let mut sender = tunnel(V4, "limit time-soft 5 limit time-hard 10 limit time-use-hard 3");
    let told = |sender: &mut Sender, seconds| {
        let mut events = Vec::new();
        sender.expire(SECOND * seconds, &mut events);
        events
    };
    assert_eq!(told(&mut sender, 4), []);
    assert_eq!(told(&mut sender, 5), [expire(LimitKind::SinceAdded, false)]);
    assert_eq!(told(&mut sender, 6), []);
    assert_eq!(told(&mut sender, 10), [expire(LimitKind::SinceAdded, true)]);
    assert_eq!(told(&mut sender, 11), []);
    assert_eq!(try_send(&mut sender, &packet(INNER_V4, 60)), Err(Sent::Drop(DropReason::OutExpired)));
    let mut sender = tunnel(V4, "limit time-use-hard 3");
    assert_eq!(told(&mut sender, 100), []);
    let sa = place(&sender, 0);
    burst(&mut sender, SECOND * 100, &[Outgoing::Packet { sa, packet: &packet(INNER_V4, 60) }]);
    assert_eq!(told(&mut sender, 103), [expire(LimitKind::SinceUsed, true)]);
}

// Which SAs can be used.

/// What is wrong with a state added to a SAD, if anything is.
fn refusal(sad: &mut Sad<Sending>, line: &str, secret: u8) -> Option<String> {
    let states = xfrm::parse("test", line).unwrap();
    let added = sad.add(&states.states[0], Duration::ZERO, [secret; 32].into());
    added.err().map(|error| error.to_string())
}

#[test]
fn a_number_that_needs_esn_is_refused_without_it() {
    let mut sad = Sad::default();
    // Behind a window of up to 32, `ip` would not send the high half.
    let numbers = "replay-oseq 5 replay-oseq-hi 1 replay-window 64";
    let error = refusal(&mut sad, &state(1, V4, &format!("mode tunnel {GCM} {numbers}")), 1).unwrap();
    assert!(error.contains("needs `flag esn`"), "{error}");
    let with_esn = state(1, V4, &format!("mode tunnel {GCM} {numbers} flag esn"));
    assert_eq!(refusal(&mut sad, &with_esn, 1), None);
}

#[test]
fn one_key_with_implicit_ivs_is_one_sas_for_ever() {
    let key = "0x000102030405060708090a0b0c0d0e0f10111213";
    let line = |spi, aead: &str| state(spi, V4, &format!("mode tunnel aead '{aead}' {key} 128"));
    let (implicit, explicit) = ("rfc8750(gcm(aes))", "rfc4106(gcm(aes))");
    let mut sad = Sad::default();
    assert_eq!(refusal(&mut sad, &line(1, explicit), 1), None);
    assert_eq!(refusal(&mut sad, &line(2, implicit), 2), None);
    for _ in 0..2 {
        let error = refusal(&mut sad, &line(3, implicit), 3).unwrap();
        assert!(error.contains("both have implicit IVs"), "{error}");
        // Also when the other one is gone.
        sad.remove(2, V4.1.parse().unwrap());
    }
    let other = line(3, implicit).replace(key, "0x100102030405060708090a0b0c0d0e0f10111213");
    assert_eq!(refusal(&mut sad, &other, 3), None);
}

#[test]
fn no_two_sas_have_one_secret() {
    let line = |spi| state(spi, V4, &format!("mode tunnel {GCM}"));
    let mut sad = Sad::default();
    assert_eq!(refusal(&mut sad, &line(1), 1), None);
    let error = refusal(&mut sad, &line(2), 1).unwrap();
    assert!(error.contains("secret"), "{error}");
    assert_eq!(refusal(&mut sad, &line(2), 2), None);
    // With its key a removed SA would send its IVs again.
    sad.remove(1, V4.1.parse().unwrap());
    assert!(refusal(&mut sad, &line(1), 1).is_some());
    assert_eq!(sad.len(), 1);
    let two = xfrm::parse("test", &(line(1) + &line(2))).unwrap();
    assert!(Sad::sending([&two], Duration::ZERO, || [3; 32].into()).is_err());
}

#[test]
fn a_state_that_was_refused_leaves_its_secret_to_the_mended_one() {
    let line = |rest: &str| state(1, V4, &format!("mode tunnel {GCM} {rest}"));
    let mut sad = Sad::default();
    assert!(refusal(&mut sad, &line("replay-oseq-hi 1 replay-window 64"), 1).is_some());
    assert_eq!(refusal(&mut sad, &line(""), 1), None);
}

// Finding SAs.

#[test]
fn the_newest_sa_that_fits_is_found() {
    let mut text = String::new();
    for (spi, rest) in [
        (1, "mode tunnel reqid 7"),
        (2, "mode tunnel reqid 7"),
        (3, "mode tunnel reqid 7 limit packet-soft 1"),
        (4, "mode tunnel reqid 7 limit time-hard 10"),
        (5, "mode transport reqid 7"),
        (6, "mode tunnel reqid 8"),
        (7, "mode tunnel"),
    ] {
        text += &state(spi, V4, &format!("{rest} {NULL}"));
    }
    text += &state(8, ("10.9.0.3", V4.1), &format!("mode tunnel reqid 9 {NULL}"));
    text += &state(9, ("0.0.0.0", V4.1), &format!("mode tunnel reqid 10 {NULL}"));
    text += &state(10, V4, &format!("mode tunnel reqid 11 limit time-soft 1 {NULL}"));
    let selector = format!("sel src {} dst {}", INNER_V4.0, INNER_V4.1);
    text += &state(11, V4, &format!("mode tunnel reqid 12 {NULL} {selector}"));
    let mut sender = sender_of(&text);
    let (src, dst) = (V4.0.parse().unwrap(), V4.1.parse().unwrap());
    let wanted = Template {
        mode: xfrm::Mode::Tunnel,
        src: Some(src),
        dst: Some(dst),
        spi: 0,
        reqid: 7,
        is_required: true,
    };
    let flow = Flow::of_packet(&packet(INNER_V4, 60)).unwrap();
    let spi = |sender: &mut Sender, seconds: u32, wanted: Template| {
        let found = sender.find_for(SECOND * seconds, &wanted, &flow)?;
        let is_found = |spi: &u32| [src, dst].iter().any(|dst| sender.find(*spi, *dst) == Some(found));
        (1..=11).find(is_found)
    };
    assert_eq!(spi(&mut sender, 0, wanted), Some(4));
    assert_eq!(spi(&mut sender, 10, wanted), Some(3), "the newest has expired");
    let place = sender.find(3, dst).unwrap();
    burst(&mut sender, Duration::ZERO, &[Outgoing::Dummy { sa: place, payload_len: 0 }]);
    assert_eq!(spi(&mut sender, 10, wanted), Some(2), "the next is to be replaced");
    assert_eq!(spi(&mut sender, 10, Template { spi: 3, ..wanted }), Some(3), "but there is no other");
    assert_eq!(spi(&mut sender, 0, Template { spi: 1, ..wanted }), Some(1));
    assert_eq!(spi(&mut sender, 0, Template { spi: 99, ..wanted }), None);
    assert_eq!(spi(&mut sender, 10, Template { spi: 4, ..wanted }), None);
    assert_eq!(spi(&mut sender, 0, Template { mode: xfrm::Mode::Beet, ..wanted }), None);
    let transport = Template { mode: xfrm::Mode::Transport, src: None, dst: None, ..wanted };
    assert_eq!(spi(&mut sender, 0, transport), None, "transport mode goes to the flow's own destination");
    let own = Flow::of_packet(&packet(V4, 60)).unwrap();
    assert_eq!(sender.find_for(Duration::ZERO, &transport, &own), sender.find(5, dst));
    let others = Flow::of_packet(&packet((INNER_V4.0, V4.1), 60)).unwrap();
    assert_eq!(sender.find_for(Duration::ZERO, &transport, &others), None, "another's packet");
    let elsewhere = Some("10.9.9.9".parse().unwrap());
    let named = Template { src: elsewhere, dst: elsewhere, ..transport };
    assert_eq!(sender.find_for(Duration::ZERO, &named, &own), sender.find(5, dst), "whatever it names");
    assert_eq!(spi(&mut sender, 0, Template { reqid: 8, ..wanted }), Some(6));
    assert_eq!(spi(&mut sender, 0, Template { reqid: 0, ..wanted }), Some(7), "without is not any");
    assert_eq!(spi(&mut sender, 0, Template { reqid: 9, ..wanted }), None, "another source");
    assert_eq!(spi(&mut sender, 0, Template { reqid: 9, src: None, ..wanted }), Some(8));
    assert_eq!(spi(&mut sender, 0, Template { reqid: 10, ..wanted }), Some(9));
    assert_eq!(spi(&mut sender, 0, Template { dst: None, ..wanted }), None, "to the flow's own destination");
    assert_eq!(sender.find(2, src), None);
    let selective = Template { reqid: 12, ..wanted };
    assert_eq!(spi(&mut sender, 0, selective), Some(11));
    assert_eq!(sender.find_for(Duration::ZERO, &selective, &own), None, "its selector is for others");
}

#[test]
fn of_sas_that_are_all_to_be_replaced_the_newest_is_found() {
    let rest = format!("mode tunnel limit packet-soft 1 {NULL}");
    let mut sender = sender_of(&(1..4).map(|spi| state(spi, V4, &rest)).collect::<String>());
    for number in 0..3 {
        let dummy = Outgoing::Dummy { sa: place(&sender, number), payload_len: 0 };
        assert_eq!(burst(&mut sender, Duration::ZERO, &[dummy]).1.len(), 1, "its soft limit is reached");
    }
    let dst = V4.1.parse().unwrap();
    let mode = xfrm::Mode::Tunnel;
    let wanted = Template { mode, src: None, dst: Some(dst), spi: 0, reqid: 0, is_required: true };
    let flow = Flow::of_packet(&packet(INNER_V4, 60)).unwrap();
    assert_eq!(sender.find_for(Duration::ZERO, &wanted, &flow), sender.find(3, dst));
}

#[test]
fn a_removed_sa_is_found_no_more_and_keeps_no_mapping_alive() {
    let rest = format!("mode tunnel reqid 1 {NULL} encap espinudp 4500 4500 0.0.0.0");
    let mut sender = sender_of(&(state(1, V4, &rest) + &state(2, V4, &rest)));
    let dst = V4.1.parse().unwrap();
    let (mode, reqid) = (xfrm::Mode::Tunnel, 1);
    let wanted = Template { mode, src: None, dst: Some(dst), spi: 0, reqid, is_required: true };
    let flow = Flow::of_packet(&packet(INNER_V4, 60)).unwrap();
    let keepalives = |sender: &mut Sender, seconds| {
        let mut sent = Vec::new();
        sender.keepalives(SECOND * seconds, KEEPALIVE_INTERVAL, &mut sent);
        sent.len()
    };
    assert!(sender.remove(1, dst) && !sender.remove(1, dst));
    assert_eq!(keepalives(&mut sender, 20), 1, "the mapping is the other one's too");
    let other = xfrm::parse("test", &state(3, V4, &format!("mode tunnel reqid 2 {NULL}"))).unwrap();
    sender.add(&other.states[0], SECOND * 20, [9; _].into()).unwrap();
    assert_eq!(sender.find_for(SECOND * 20, &wanted, &flow), sender.find(2, dst));
    assert!(sender.remove(2, dst));
    let searches = sender.searches();
    assert_eq!(sender.find_for(SECOND * 20, &wanted, &flow), None, "another SA stands in its place");
    assert_eq!(sender.searches(), searches, "nothing is left of them to look at");
    assert_eq!(keepalives(&mut sender, 40), 0);
}

#[test]
fn an_sa_is_found_for_what_its_selector_is_for() {
    let any = state(1, V4, &format!("mode tunnel {NULL}"));
    let only =
        state(2, V4, &format!("mode tunnel {NULL} sel src 10.1.0.0/16 dst 10.2.0.0/16 proto udp dport 5201"));
    let mut sender = sender_of(&(any + &only));
    let dst = V4.1.parse().unwrap();
    let wanted =
        Template { mode: xfrm::Mode::Tunnel, src: None, dst: Some(dst), spi: 0, reqid: 0, is_required: true };
    let mut later = packet(INNER_V4, 60);
    later[7] = 1;
    let mut other_port = packet(INNER_V4, 60);
    other_port[23] ^= 1;
    for (packet, spi) in [
        (packet(INNER_V4, 60), 2),
        (packet(V4, 60), 1),
        (packet(INNER_V6, 60), 1),
        (other_port, 1),
        // It shows no port.
        (later, 1),
    ] {
        let flow = Flow::of_packet(&packet).unwrap();
        assert_eq!(sender.find_for(Duration::ZERO, &wanted, &flow), sender.find(spi, dst), "{flow:?}");
        let of_that_sa = sender.find_for(Duration::ZERO, &Template { spi: 2, ..wanted }, &flow);
        assert_eq!(of_that_sa.is_some(), spi == 2, "and there is no other");
    }
}

#[test]
fn the_place_of_an_sa_that_was_removed_is_no_other_sas() {
    let other = state(257, ("10.9.0.1", "10.9.0.9"), &format!("mode tunnel {NULL}"));
    let other = xfrm::parse("test", &other).unwrap();
    let mut sender = tunnel(V4, "");
    let packet = packet(INNER_V4, 60);
    let stale = place(&sender, 0);
    assert!(sender.remove(256, V4.1.parse().unwrap()));
    let nothing_goes = |sender: &mut Sender| {
        let outgoing =
            [Outgoing::Packet { sa: stale, packet: &packet }, Outgoing::Dummy { sa: stale, payload_len: 0 }];
        let (sent, _) = burst(sender, Duration::ZERO, &outgoing);
        assert_eq!(sent, [Sent::Drop(DropReason::OutNoSa), Sent::Drop(DropReason::OutNoSa)]);
        assert!(!sender.set_sa_mtu(stale, None) && !sender.set_headers(stale, TunnelHeaders::default()));
    };
    nothing_goes(&mut sender);
    // The next one stands where it did.
    let new = sender.add(&other.states[0], Duration::ZERO, [9; 32].into()).unwrap();
    assert_eq!(new, place(&sender, 0));
    nothing_goes(&mut sender);
    let (_, counts) = sender.sad().iter().next().unwrap();
    assert_eq!((counts.packets, counts.failures.total()), (0, 0));
    assert!(try_send(&mut sender, &packet).is_ok());
}

#[test]
fn the_newest_sa_is_the_one_added_last_wherever_it_stands() {
    let text: String = (1..4).map(|spi| state(spi, V4, &format!("mode tunnel {NULL}"))).collect();
    let states = xfrm::parse("test", &text).unwrap().states;
    let mut sad = Sad::<Sending>::default();
    let dst = V4.1.parse().unwrap();
    for (number, state) in (0..).zip(&states[..2]) {
        sad.add(state, Duration::ZERO, [number; 32].into()).unwrap();
    }
    // The last one stands in the first one's place.
    sad.remove(1, dst);
    sad.add(&states[2], Duration::ZERO, [2; 32].into()).unwrap();
    let mut sender = Sender::new(sad);
    let template =
        Template { mode: xfrm::Mode::Tunnel, src: None, dst: Some(dst), spi: 0, reqid: 0, is_required: true };
    let flow = Flow::of_packet(&packet(INNER_V4, 60)).unwrap();
    assert_eq!(sender.find_for(Duration::ZERO, &template, &flow), sender.find(3, dst));
}

#[test]
fn a_sender_tells_how_far_its_numbers_have_come() {
    let mut sender = tunnel(V4, "flag esn replay-window 64 replay-oseq 0xffffffff replay-oseq-hi 4");
    let place = sender.find(256, V4.1.parse().unwrap()).unwrap();
    assert_eq!(sender.last_sequence(place), Some((5 << 32) - 1));
    send(&mut sender, &packet(INNER_V4, 60));
    assert_eq!(sender.last_sequence(place), Some(5 << 32));
    sender.remove(256, V4.1.parse().unwrap());
    assert_eq!(sender.last_sequence(place), None);
}

// Packets that are none.

#[test]
fn a_packet_that_lies_is_not_sent() {
    let good = packet(INNER_V4, 60);
    let mut wrong: Vec<Vec<u8>> = (0..60).map(|len| good[..len].to_vec()).collect();
    for (at, value) in [(0, 0x44), (0, 0x55), (0, 0x05), (3, 19), (3, 61)] {
        let mut packet = good.clone();
        packet[at] = value;
        wrong.push(packet);
    }
    let v6 = packet(INNER_V6, 60);
    wrong.extend((0..60).map(|len| v6[..len].to_vec()));
    wrong.push(v6_with(INNER_V6, 0, &[17, 1, 0, 0, 0, 0, 0, 0]));
    for version in [0, 5, 7] {
        let mut packet = v6.clone();
        packet[0] = version << 4;
        wrong.push(packet);
    }
    for packet in wrong {
        for mut sender in [tunnel(V4, ""), transport(V4, ""), beet(V4, INNER_V4, "")] {
            assert_eq!(try_send(&mut sender, &packet), Err(Sent::Drop(DropReason::Malformed)), "{packet:?}");
            assert_eq!(sender.sad().iter().next().unwrap().1.failures[DropReason::Malformed], 1);
        }
    }
    let mut sum = good;
    sum[8] ^= 1;
    for mut sender in [tunnel(V4, ""), transport(INNER_V4, ""), beet(V4, INNER_V4, "")] {
        assert_eq!(try_send(&mut sender, &sum), Err(Sent::Drop(DropReason::BadIpChecksum)));
    }
}

fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    let ends = prop_oneof![Just(V4), Just(V6), Just(INNER_V4), Just(INNER_V6)];
    let kinds = prop_oneof![Just(0_u8), Just(43), Just(44), Just(60), Just(17), Just(6), any::<u8>()];
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    let rest = prop::collection::vec(any::<u8>(), 0..120);
    (ends, kinds, rest, damage, any::<bool>()).prop_map(|(ends, kind, rest, damage, is_fixed)| {
        let mut packet = if ends.0.contains(':') {
            v6_with(ends, kind, &rest)
        } else {
            v4_with(ends, &rest[..rest.len() / 4 * 4 % 44], kind, &rest)
        };
        for (at, value) in damage {
            let at = at.index(packet.len());
            packet[at] = value;
        }
        let can_be_fixed =
            packet[0] >> 4 == 4 && packet.len() >= usize::from(packet[0] & 15) * 4 && packet[0] & 15 > 4;
        if is_fixed && can_be_fixed { fix(packet) } else { packet }
    })
}

/// SAs of every kind.
fn many() -> Sender {
    let encap = "encap espinudp 4500 4500 0.0.0.0";
    let (sel_v4, sel_v6) = (
        format!("sel src {} dst {}", INNER_V4.0, INNER_V4.1),
        format!("sel src {} dst {}", INNER_V6.0, INNER_V6.1),
    );
    let lines = [
        (V4, format!("mode tunnel {GCM}")),
        (V6, format!("mode tunnel {NULL} {encap} limit packet-soft 2 limit packet-hard 4")),
        (V4, format!("mode transport {GCM} tfcpad 90")),
        (V6, format!("mode transport {GCM} {encap}")),
        (V4, format!("mode beet {GCM} {sel_v4}")),
        (V6, format!("mode beet {GCM} {sel_v4} tfcpad 200")),
        (V4, format!("mode beet {NULL} {sel_v6} {encap}")),
        (V6, format!("mode beet {GCM} {sel_v6}")),
        (V4, format!("mode tunnel {GCM} replay-oseq 0xfffffffd")),
    ];
    let lines = (1..).zip(&lines).map(|(spi, (ends, rest))| state(spi, *ends, rest));
    let mut sender = sender_of(&lines.collect::<String>());
    sender.set_mtu(Some(150));
    sender
}

/// The places of its SAs, and that of one which is not there.
fn places(sender: &mut Sender) -> Vec<SaPlace> {
    let line = state(99, V4, &format!("mode tunnel {GCM}"));
    let added =
        sender.add(&xfrm::parse("test", &line).unwrap().states[0], Duration::ZERO, [99; 32].into()).unwrap();
    sender.remove(99, V4.1.parse().unwrap());
    (0..sender.sad().len()).map(|number| place(sender, number)).chain([added]).collect()
}

proptest! {
    /// Whatever the packets: a burst is its packets one by one.
    #[test]
    fn a_burst_is_its_packets_one_by_one(
        packets in prop::collection::vec((0_usize..10, any_packet(), 0_u8..8), 1..40),
    ) {
        let (mut whole, mut single) = (many(), many());
        let places = places(&mut whole);
        prop_assert_eq!(&places, &self::places(&mut single));
        let outgoing: Vec<_> = packets.iter().map(|(number, packet, kind)| match kind {
            0 => Outgoing::Dummy { sa: places[*number], payload_len: packet.len() },
            _ => Outgoing::Packet { sa: places[*number], packet },
        }).collect();
        let (sent, events) = burst(&mut whole, SECOND, &outgoing);
        let mut single_events = Vec::new();
        for (sent, outgoing) in sent.into_iter().zip(outgoing) {
            let (mut one, mut events) = burst(&mut single, SECOND, &[outgoing]);
            single_events.append(&mut events);
            prop_assert_eq!(octets(&whole, sent), octets(&single, one.remove(0)));
        }
        prop_assert_eq!(events, single_events);
        prop_assert!(whole.sad().iter().eq(single.sad().iter()));
        let keepalives = |sender: &mut Sender| {
            let mut sent = Vec::new();
            sender.keepalives(SECOND * 20, KEEPALIVE_INTERVAL, &mut sent);
            sent.into_iter().map(|sent| octets(sender, sent)).collect::<Vec<_>>()
        };
        prop_assert_eq!(keepalives(&mut whole), keepalives(&mut single));
    }

    /// Whatever is sent has right lengths, and is not longer than the MTU unless nobody can help it.
    #[test]
    fn what_is_sent_is_a_packet(number in 0_usize..9, packet in any_packet()) {
        let mut sender = many();
        let sa = place(&sender, number);
        let (mut sent, _) = burst(&mut sender, SECOND, &[Outgoing::Packet { sa, packet: &packet }]);
        let is_to_fragment = matches!(sent[0], Sent::ToFragment(_));
        if let Ok(sent) = octets(&sender, sent.remove(0)) {
            split(&sent);
            prop_assert_eq!(is_to_fragment, sent.len() > 150);
            let is_v4 = packet[0] >> 4 == 4;
            let takes_fragments = sender.sad().iter().nth(number).unwrap().0.mode == Mode::Tunnel;
            let has_to_go = packet.len() <= if is_v4 { 68 } else { 1280 }
                || is_v4 && packet[6] & 0x40 == 0 && !takes_fragments;
            prop_assert!(!is_to_fragment || has_to_go);
        }
    }
}

// There and back.

/// What a receiver makes of a packet.
fn receive(receiver: &mut Receiver, packet: &[u8]) -> Result<Vec<u8>, Received> {
    let mut received = Vec::new();
    receiver.receive_burst(Duration::ZERO, &[packet], &mut received, &mut Vec::new());
    match received.remove(0) {
        Received::Packet(delivered) => Ok(receiver.packet(delivered).to_vec()),
        other => Err(other),
    }
}

fn receiver_of(text: &str) -> Receiver {
    let states = xfrm::parse("test", text).unwrap();
    Receiver::new(Sad::receiving([&states], Duration::ZERO).unwrap())
}

#[test]
fn what_is_sent_is_received_with_every_suite_mode_family_numbering_and_encapsulation() {
    let mut round_trips = 0;
    for suite in Suite::all().filter(|suite| !format!("{suite:?}").contains("Iiv")) {
        for (is_transport, over_ipv6, esn, is_encapsulated) in
            (0..16).map(|n| (n & 1 > 0, n & 2 > 0, n & 4 > 0, n & 8 > 0))
        {
            let mut peer = esp::Sender::new(0x1000, suite);
            if over_ipv6 {
                peer = peer.over_ipv6();
            }
            peer.transport = is_transport;
            peer.esn = esn;
            peer.encap = is_encapsulated.then_some((4500, 4500));
            let line = peer.xfrm();
            let (mut sender, mut receiver) = (sender_of(&line), receiver_of(&line));
            let outer = if over_ipv6 { V6 } else { V4 };
            let inners = if is_transport { [outer; 2] } else { [INNER_V4, INNER_V6] };
            for inner in inners {
                for len in [60, 61, 75, 76, 77, 78] {
                    let packet = marked(packet(inner, len), 0xba, true);
                    let sent = send(&mut sender, &packet);
                    assert_eq!(receive(&mut receiver, &sent), Ok(packet), "{line}");
                    if esn {
                        let again = receive(&mut receiver, &sent);
                        assert_eq!(again, Err(Received::Drop(DropReason::ReplayDup)), "{line}");
                    }
                    round_trips += 1;
                }
            }
            let dummy = try_dummy(&mut sender, 33).unwrap();
            assert_eq!(receive(&mut receiver, &dummy), Err(Received::Drop(DropReason::Dummy)), "{line}");
        }
    }
    // Suites, the four choices, two inner packets of six lengths.
    assert_eq!(round_trips, 57 * 16 * 2 * 6);
}

#[test]
fn tfc_padding_ends_at_the_receiver_of_a_tunnel() {
    for (outer, inner) in ENDS {
        let line = state(256, outer, &format!("mode tunnel {GCM} tfcpad 300"));
        let (mut sender, mut receiver) = (sender_of(&line), receiver_of(&line));
        let sent = send(&mut sender, &packet(inner, 60));
        assert!(sent.len() > 300);
        assert_eq!(receive(&mut receiver, &sent), Ok(packet(inner, 60)));
    }
}

#[test]
fn esn_goes_on_over_the_low_halfs_end() {
    let line = state(
        256,
        V4,
        &format!("mode tunnel {GCM} flag esn replay-window 32 replay-seq 0xfffffff0 replay-oseq 0xfffffff8"),
    );
    let (mut sender, mut receiver) = (sender_of(&line), receiver_of(&line));
    for _ in 0..16 {
        let sent = send(&mut sender, &packet(INNER_V4, 60));
        assert_eq!(receive(&mut receiver, &sent), Ok(packet(INNER_V4, 60)));
    }
}

#[test]
fn many_sas_share_a_burst() {
    let lines: String = (1..=64)
        .map(|spi| state(spi, V4, &format!("mode tunnel {} ", if spi % 2 == 0 { GCM } else { NULL })))
        .collect();
    let (mut sender, mut receiver) = (sender_of(&lines), receiver_of(&lines));
    let packets: Vec<_> = (0..64).map(|n| packet(INNER_V4, 60 + n)).collect();
    let outgoing: Vec<_> = packets
        .iter()
        .enumerate()
        .map(|(number, packet)| Outgoing::Packet { sa: place(&sender, number), packet })
        .collect();
    let (sent, _) = burst(&mut sender, Duration::ZERO, &outgoing);
    for (sent, packet) in sent.into_iter().zip(packets) {
        let sent = octets(&sender, sent).unwrap();
        assert_eq!(receive(&mut receiver, &sent), Ok(packet));
    }
}
