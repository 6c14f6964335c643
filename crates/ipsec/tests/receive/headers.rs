//! What may stand between the IP header and ESP.

use super::*;

/// A TCP segment of no data.
const TCP: [u8; 20] = [0x12, 0x34, 0, 22, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0];

/// Puts a header of the next layer protocol `number` between the IP header and what follows, which nobody verifies.
fn insert(packet: &[u8], number: u8, header: &[u8]) -> Vec<u8> {
    let ip_len = if packet[0] >> 4 == 4 { 20 } else { 40 };
    let mut packet = [&packet[..ip_len], header, &packet[ip_len..]].concat();
    let len = packet.len() as u16;
    if ip_len == 20 {
        packet[9] = number;
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        fix_ipv4_checksum(&mut packet);
    } else {
        packet[6] = number;
        packet[4..6].copy_from_slice(&(len - 40).to_be_bytes());
    }
    packet
}

/// As long as it says, before ESP.
fn header(number: u8) -> Vec<u8> {
    let len = if number == 51 { 1 } else { 0 };
    let mut header = vec![50, len, 0, 0, 0xde, 0xad, 0xbe, 0xef];
    if number == 51 {
        header.extend([0, 0, 0, 9]);
    }
    if number == 44 {
        header[..4].fill(0);
        header[0] = 50;
    }
    header
}

#[test]
fn esp_behind_another_next_layer_protocol_is_not_the_receivers() {
    for transport in [true, false] {
        let v4 = Sender { transport, ..Sender::gcm(0x100) };
        let v6 = v4.clone().over_ipv6();
        for (sender, numbers) in [(&v4, &[51][..]), (&v6, &[51, 135, 139, 140])] {
            let mut receiver = receiver_of(sender, "");
            let sent = match transport {
                true => packet(sender.clone().frame(6, &TCP)),
                false => next(&mut sender.clone(), &TCP),
            };
            for &number in numbers {
                let forged = insert(&sent, number, &header(number));
                let passed = Outcome::Pass(Passed::NotEsp);
                assert_eq!(told(&mut receiver, &forged), (passed, vec![]), "{number}");
            }
            // Behind AH, another of them.
            let two = insert(&insert(&sent, 60, &header(60)), 51, &[&[60][..], &header(51)[1..]].concat());
            assert_eq!(receive(&mut receiver, &two), Outcome::Pass(Passed::NotEsp));
            // Nothing was taken of it: the packet itself is still new.
            assert!(matches!(receive(&mut receiver, &sent), Outcome::Packet(_)));
        }
    }
}

/// RFC 4303 §3.1.1: hop-by-hop options, routing, fragment (an atomic one), destination options.
#[test]
fn esp_behind_the_extension_headers_that_may_stand_there_is_found_and_transport_mode_keeps_them() {
    for number in [0, 43, 44, 60] {
        let mut sender = Sender { transport: true, ..Sender::gcm(0x100).over_ipv6() };
        let sel = "sel src fd09::1/128 dst fd09::2/128 proto tcp dport 22";
        let mut receiver = receiver_of(&sender, sel);
        let sent = insert(&packet(sender.frame(6, &TCP)), number, &header(number));
        let mut expected = insert(&esp::ip(sender.src, sender.dst, 6, 0, &TCP), number, &header(number));
        expected[40] = 6;
        assert_eq!(receive(&mut receiver, &sent).packet(), expected, "{number}");
    }
}

#[test]
fn a_second_fragment_header_before_or_behind_esp_is_not_taken() {
    let mut sender = Sender { transport: true, ..Sender::gcm(0x100).over_ipv6() };
    let mut receiver = receiver_of(&sender, "");
    let sent = packet(sender.frame(6, &TCP));
    // A first fragment, which the second header would say is whole.
    let first = insert(&insert(&sent, 44, &header(44)), 44, &[44, 0, 0, 1, 0, 0, 0, 7]);
    assert_eq!(receive(&mut receiver, &first), dropped(DropReason::Malformed));
    // An atomic fragment by the header before ESP, and a first one by that inside: what would be delivered has both.
    let inside = packet(sender.frame(44, &[&[6, 0, 0, 1, 0, 0, 0, 7][..], &TCP].concat()));
    let both = insert(&inside, 44, &header(44));
    assert_eq!(receive(&mut receiver, &both), dropped(DropReason::InnerMalformed));
}
