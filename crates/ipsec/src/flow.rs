//! What selectors see of a packet: addresses, next layer protocol, and what that protocol's header says.

use std::net::IpAddr;

use crate::ip::{self, Fragment, Ip, protocol};

/// The selector fields of a packet (RFC 4301 §4.4.1.1): packets that agree in them are one flow, and are treated
/// alike by an SPD.
///
/// ```
/// use espwire_ipsec::{Flow, Upper};
///
/// let dns = [0xc0, 0, 0, 53, 0, 8, 0, 0];
/// let flow = Flow::of_payload([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 17, &dns).unwrap();
/// assert_eq!(flow.protocol, Some(17));
/// assert_eq!(flow.upper, Upper::Ports { src: 49152, dst: 53 });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Source address.
    pub src: IpAddr,
    /// Destination address, of the same family.
    pub dst: IpAddr,
    /// The next layer protocol. `None`, OPAQUE in RFC 4301: a later fragment of IPv6 that begins with an extension
    /// header, so that its protocol stands in the first one.
    pub protocol: Option<u8>,
    /// What the next layer protocol's header says.
    pub upper: Upper,
}

/// The fields of a next layer protocol that selectors know (RFC 4301 §4.4.1.1, §4.4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Upper {
    /// The protocol has no such fields; or it is GRE without a key.
    None,
    /// The protocol has them, or may have, but this packet does not show them: a later fragment, or a packet that
    /// ends before them. OPAQUE in RFC 4301.
    Opaque,
    /// TCP, UDP, DCCP, SCTP, UDP-Lite.
    Ports {
        /// Source port.
        src: u16,
        /// Destination port.
        dst: u16,
    },
    /// ICMP, ICMPv6.
    Icmp {
        /// Message type.
        kind: u8,
        /// Message code.
        code: u8,
    },
    /// Mobility header: its message type.
    Mobility(u8),
    /// GRE with this key (RFC 2890).
    GreKey(u32),
}

/// Which fields a protocol has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fields {
    None,
    Ports,
    Icmp,
    Mobility,
    GreKey,
}

impl Fields {
    pub(crate) const fn of(protocol: u8) -> Self {
        match protocol {
            protocol::TCP | protocol::UDP | protocol::DCCP | protocol::SCTP | protocol::UDP_LITE => {
                Self::Ports
            }
            protocol::ICMP | protocol::ICMPV6 => Self::Icmp,
            protocol::MOBILITY => Self::Mobility,
            protocol::GRE => Self::GreKey,
            _ => Self::None,
        }
    }
}

impl Flow {
    /// The flow of a whole IP packet, as it would be without ESP around it. Octets beyond the length in its header
    /// are no part of it.
    ///
    /// IPv6 extension headers are skipped: hop-by-hop options, routing, fragment, destination options. AH, ESP,
    /// mobility header, HIP and Shim6 are next layer protocols.
    ///
    /// `None`: it is no IP packet, or its lengths or those of its extension headers can't be right; such a packet
    /// belongs to no flow and is to be dropped. The checksum of an IPv4 header is not looked at.
    #[must_use]
    pub fn of_packet(packet: &[u8]) -> Option<Self> {
        Self::of_ip(&Ip::read_next_layer(packet).ok()?, packet)
    }

    /// The flow of a packet from `src` to `dst` whose payload this is, from the header on that `next_header` names:
    /// what an ESP packet in transport mode protects. With IPv6 that may be an extension header, skipped as in
    /// [`of_packet`](Self::of_packet).
    ///
    /// `None`: the addresses are of two families, or the length of an extension header can't be right.
    #[must_use]
    pub fn of_payload(src: IpAddr, dst: IpAddr, next_header: u8, payload: &[u8]) -> Option<Self> {
        if src.is_ipv4() != dst.is_ipv4() {
            return None;
        }
        Self::of_ip(&Ip::of_payload(src, dst, next_header, payload).ok()?, payload)
    }

    /// Whether it lacks what a selector may ask for.
    pub(crate) fn is_opaque(&self) -> bool {
        self.upper == Upper::Opaque
    }

    fn of_ip(ip: &Ip, octets: &[u8]) -> Option<Self> {
        let is_later = ip.fragment == Some(Fragment::Later);
        // In IPv4 the number of an extension header is one like any other.
        let is_hidden = is_later && ip.src.is_ipv6() && ip::is_extension(ip.protocol);
        let upper = if is_hidden {
            Upper::Opaque
        } else {
            upper(ip.protocol, octets.get(ip.payload.clone())?, is_later)
        };
        Some(Self { src: ip.src, dst: ip.dst, protocol: (!is_hidden).then_some(ip.protocol), upper })
    }
}

/// Reads a protocol's fields at the start of its header, which a later fragment does not have.
fn upper(protocol: u8, header: &[u8], is_later: bool) -> Upper {
    let header = if is_later { &[] } else { header };
    match (Fields::of(protocol), header) {
        (Fields::None, _) => Upper::None,
        (Fields::Ports, &[a, b, c, d, ..]) => {
            Upper::Ports { src: u16::from_be_bytes([a, b]), dst: u16::from_be_bytes([c, d]) }
        }
        (Fields::Icmp, &[kind, code, ..]) => Upper::Icmp { kind, code },
        (Fields::Mobility, &[_, _, kind, ..]) => Upper::Mobility(kind),
        (Fields::GreKey, header) => gre_key(header),
        _ => Upper::Opaque,
    }
}

/// The key of a GRE header (RFC 2890 §2). Version 1 is PPTP's, which has something else there.
fn gre_key(header: &[u8]) -> Upper {
    const HAS_CHECKSUM: u8 = 0x80;
    const HAS_ROUTING: u8 = 0x40;
    const HAS_KEY: u8 = 0x20;
    let &[flags, version, ..] = header else { return Upper::Opaque };
    if flags & HAS_KEY == 0 || version & 7 != 0 {
        return Upper::None;
    }
    let at = if flags & (HAS_CHECKSUM | HAS_ROUTING) == 0 { 4 } else { 8 };
    match header.get(at..at + 4) {
        Some(&[a, b, c, d]) => Upper::GreKey(u32::from_be_bytes([a, b, c, d])),
        _ => Upper::Opaque,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v4(flags: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet[2..4].copy_from_slice(&((20 + payload.len()) as u16).to_be_bytes());
        packet[6..8].copy_from_slice(&flags.to_be_bytes());
        packet.extend_from_slice(payload);
        packet
    }

    fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x60;
        packet[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
        (packet[6], packet[23], packet[39]) = (next, 1, 2);
        packet.extend_from_slice(payload);
        packet
    }

    fn upper_of(packet: &[u8]) -> (Option<u8>, Upper) {
        let flow = Flow::of_packet(packet).unwrap();
        (flow.protocol, flow.upper)
    }

    #[test]
    fn each_protocol_shows_its_fields() {
        let octets = [0x12, 0x34, 0x56, 0x78, 1, 2, 3, 4, 5, 6, 7, 8];
        let ports = Upper::Ports { src: 0x1234, dst: 0x5678 };
        let icmp = Upper::Icmp { kind: 0x12, code: 0x34 };
        let all = [
            (6, ports),
            (17, ports),
            (33, ports),
            (132, ports),
            (136, ports),
            (1, icmp),
            (58, icmp),
            (135, Upper::Mobility(0x56)),
            (50, Upper::None),
            (51, Upper::None),
            (139, Upper::None),
            (140, Upper::None),
            (4, Upper::None),
            (89, Upper::None),
        ];
        for (protocol, upper) in all {
            assert_eq!(upper_of(&v4(0, protocol, &octets)), (Some(protocol), upper));
            assert_eq!(upper_of(&v6(protocol, &octets)), (Some(protocol), upper));
        }
    }

    #[test]
    fn the_gre_key_stands_behind_the_checksum() {
        let gre = |flags, version| v4(0, 47, &[flags, version, 8, 0, 0, 0, 0, 1, 0, 0, 0, 2]);
        assert_eq!(upper_of(&gre(0x20, 0)).1, Upper::GreKey(1));
        assert_eq!(upper_of(&gre(0xa0, 0)).1, Upper::GreKey(2));
        assert_eq!(upper_of(&gre(0x60, 0)).1, Upper::GreKey(2));
        assert_eq!(upper_of(&gre(0x80, 0)).1, Upper::None);
        assert_eq!(upper_of(&gre(0x20, 1)).1, Upper::None);
    }

    #[test]
    fn fields_that_are_not_there_are_opaque() {
        for (protocol, len) in [(6, 4), (17, 4), (1, 2), (58, 2), (135, 3), (47, 8)] {
            let payload = [0x20, 0, 0, 0, 0, 0, 0, 0];
            assert_ne!(upper_of(&v4(0, protocol, &payload[..len])).1, Upper::Opaque, "{protocol}");
            for len in 0..len {
                assert_eq!(upper_of(&v4(0, protocol, &payload[..len])).1, Upper::Opaque, "{protocol} {len}");
            }
            // The first fragment, and a later one.
            assert_ne!(upper_of(&v4(0x2000, protocol, &payload)).1, Upper::Opaque, "{protocol}");
            assert_eq!(upper_of(&v4(0x2001, protocol, &payload)), (Some(protocol), Upper::Opaque));
            assert_eq!(upper_of(&v4(7, protocol, &payload)), (Some(protocol), Upper::Opaque));
        }
        assert_eq!(upper_of(&v4(7, 89, &[0; 8])), (Some(89), Upper::None));
    }

    #[test]
    fn extension_headers_are_skipped_and_next_layer_protocols_are_not() {
        let udp = [0, 7, 0, 9, 0, 8, 0, 0];
        let ports = Upper::Ports { src: 7, dst: 9 };
        for extension in [0, 43, 60] {
            let packet = v6(extension, &[&[17, 0, 0, 0, 0, 0, 0, 0], &udp[..]].concat());
            assert_eq!(upper_of(&packet), (Some(17), ports), "{extension}");
        }
        for next_layer in [51, 139, 140] {
            let packet = v6(next_layer, &[&[17, 0, 0, 0, 0, 0, 0, 0], &udp[..]].concat());
            assert_eq!(upper_of(&packet), (Some(next_layer), Upper::None), "{next_layer}");
        }
        // AH of IPv4, and its length that lies.
        assert_eq!(upper_of(&v4(0, 51, &[17, 255, 0, 0])), (Some(51), Upper::None));
        // Numbers of extension headers are nothing special in IPv4.
        assert_eq!(upper_of(&v4(0, 60, &[17, 0, 0, 0, 0, 0, 0, 0])), (Some(60), Upper::None));
        assert_eq!(upper_of(&v4(9, 60, &[17, 0, 0, 0, 0, 0, 0, 0])), (Some(60), Upper::None));
    }

    #[test]
    fn a_later_fragment_of_ipv6_may_hide_its_protocol() {
        let fragment =
            |next, offset, rest: &[u8]| v6(44, &[&[next, 0, 0, offset, 0, 0, 0, 1], rest].concat());
        let udp = [0, 7, 0, 9, 0, 8, 0, 0];
        assert_eq!(upper_of(&fragment(17, 1, &udp)), (Some(17), Upper::Ports { src: 7, dst: 9 }));
        assert_eq!(upper_of(&fragment(17, 8, &udp)), (Some(17), Upper::Opaque));
        assert_eq!(upper_of(&fragment(89, 8, &udp)), (Some(89), Upper::None));
        for extension in [0, 43, 44, 60] {
            assert_eq!(upper_of(&fragment(extension, 8, &udp)), (None, Upper::Opaque), "{extension}");
        }
    }

    #[test]
    fn a_payload_is_read_as_the_packet_it_was_in() {
        let destination_options = [17, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 9];
        let packet = v6(60, &destination_options);
        let whole = Flow::of_packet(&packet).unwrap();
        assert_eq!(whole.upper, Upper::Ports { src: 7, dst: 9 });
        assert_eq!(Flow::of_payload(whole.src, whole.dst, 60, &destination_options), Some(whole));
        assert_eq!(Flow::of_payload(whole.src, whole.dst, 60, &[17, 9, 0, 0, 0, 0, 0, 0]), None);
        let v4 = [10, 0, 0, 1].into();
        assert_eq!(Flow::of_payload(whole.src, v4, 17, &[0; 8]), None);
        let flow = Flow::of_payload(v4, v4, 60, &destination_options).unwrap();
        assert_eq!((flow.protocol, flow.upper), (Some(60), Upper::None));
    }

    #[test]
    fn what_is_no_ip_packet_has_no_flow() {
        let good = v4(0, 17, &[0; 8]);
        for len in 0..good.len() {
            assert_eq!(Flow::of_packet(&good[..len]), None, "{len}");
        }
        for first in [0x00, 0x55, 0x44, 0xff] {
            let mut packet = good.clone();
            packet[0] = first;
            assert_eq!(Flow::of_packet(&packet), None, "{first}");
        }
        assert_eq!(Flow::of_packet(&v6(0, &[17, 1, 0, 0, 0, 0, 0, 0])), None);
        assert_eq!(Flow::of_packet(&v6(0, &[0; 8 * 40])), None);
        // What follows the packet is no part of it.
        let mut padded = v4(0, 17, &[0; 2]);
        padded.extend_from_slice(&[0; 20]);
        assert_eq!(upper_of(&padded).1, Upper::Opaque);
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(
            octets in prop::collection::vec(any::<u8>(), 0..120),
            version in prop_oneof![Just(0x45_u8), Just(0x60), any::<u8>()],
            next in prop_oneof![Just(0_u8), Just(44), Just(47), Just(60), any::<u8>()],
        ) {
            let mut octets = octets;
            let src = [10, 0, 0, 1].into();
            let _ = Flow::of_payload(src, src, next, &octets);
            let src = std::net::Ipv6Addr::LOCALHOST.into();
            let _ = Flow::of_payload(src, src, next, &octets);
            if octets.len() > 39 {
                let len = octets.len() as u8;
                (octets[0], octets[6], octets[9]) = (version, next, next);
                (octets[2], octets[3]) = (0, len);
                if version == 0x60 {
                    (octets[4], octets[5]) = (0, len - 40);
                }
            }
            let flow = Flow::of_packet(&octets);
            prop_assert!(flow.is_none_or(|flow| flow.protocol.is_some() || flow.is_opaque()));
        }
    }
}
