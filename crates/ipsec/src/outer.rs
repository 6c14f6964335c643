//! What stands in front of ESP in a frame: Ethernet, VLAN tags, IP, and UDP where it encapsulates (RFC 3948).

use std::net::IpAddr;
use std::ops::Range;

use crate::ip::{Checksum, Fragment, Ip, UDP_LEN, Unreadable, flow_label, protocol};
use crate::verdict::{DropReason, Passed};

/// The port that RFC 3948 gives to UDP-encapsulated ESP, always looked at.
pub(crate) const NATT_PORT: u16 = 4500;

const ETHERNET_LEN: usize = 14;
const VLAN_TAG_LEN: usize = 4;
/// A service tag and a customer tag (IEEE 802.1Q).
const MAX_VLAN_TAGS: usize = 2;

mod ethertype {
    pub(super) const IPV4: [u8; 2] = [0x08, 0x00];
    pub(super) const VLAN: [u8; 2] = [0x81, 0x00];
    pub(super) const IPV6: [u8; 2] = [0x86, 0xdd];
    pub(super) const SERVICE_VLAN: [u8; 2] = [0x88, 0xa8];
}

/// Ports of the UDP header that encapsulates ESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UdpPorts {
    /// Source port.
    pub src: u16,
    /// Destination port.
    pub dst: u16,
}

/// What stands in front of an ESP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outer {
    /// Source address of the outer IP header.
    pub src: IpAddr,
    /// Destination address of the outer IP header.
    pub dst: IpAddr,
    /// UDP encapsulation, if there is any.
    pub udp: Option<UdpPorts>,
    /// Checksum of the outer IPv4 header; `None` for IPv6.
    pub checksum: Option<Checksum>,
    /// Flow label of the outer IPv6 header; `None` for IPv4.
    pub flow_label: Option<u32>,
    /// Where the IP header stands in the frame.
    pub ip_at: usize,
    /// Where the octet stands that names ESP, or UDP, as the IP packet's protocol.
    pub protocol_at: usize,
    /// Where ESP stands in the frame, from the SPI to the ICV. Padding of the frame is no part of it.
    pub esp: Range<usize>,
}

/// What a frame holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing to inspect.
    Other(Passed),
    /// ESP.
    Esp(Outer),
    /// ESP, or possibly ESP, that can't be processed. With what is known of it, if its IP header could be read.
    Faulty(DropReason, Option<Outer>),
}

/// Finds ESP in `frame`, of which `wire_len` octets were on the wire. `is_natt` tells the destination ports on
/// which ESP comes in UDP.
///
/// An IP packet whose headers do not let it be told from ESP is faulty, not something else. What lies deeper than
/// two VLAN tags, or in another tunnel, is something else.
#[inline]
pub(crate) fn find_esp(frame: &[u8], wire_len: usize, is_natt: impl Fn(u16) -> bool) -> Content {
    let mut at = ETHERNET_LEN;
    for _ in 0..=MAX_VLAN_TAGS {
        let Some(&[high, low]) = frame.get(at - 2..at) else {
            // A frame without a type is not IP; one that was cut before it may have been anything.
            return if wire_len > frame.len() {
                Content::Faulty(DropReason::Truncated, None)
            } else {
                Content::Other(Passed::NotEsp)
            };
        };
        match [high, low] {
            ethertype::IPV4 | ethertype::IPV6 => {
                let version = if [high, low] == ethertype::IPV4 { 4 } else { 6 };
                let ip = Ip::read(version, &frame[at..], wire_len - at);
                return find_in_ip(ip, frame, at, is_natt);
            }
            ethertype::VLAN | ethertype::SERVICE_VLAN => at += VLAN_TAG_LEN,
            _ => break,
        }
    }
    Content::Other(Passed::NotEsp)
}

/// Finds ESP in an IP packet for its receiver, who keeps to what selectors call the next layer protocol: ESP stands
/// behind options of IPv4, and behind those extension headers of IPv6 that RFC 4301 §4.4.1.1 has skipped. Those are the
/// ones that RFC 4303 §3.1.1 lets stand before ESP. AH, a mobility header, HIP and Shim6 are next layer protocols, and
/// what has one is something else: nothing verifies them, and transport mode would deliver them as protected.
#[inline]
pub(crate) fn find_esp_in_packet(packet: &[u8], is_natt: impl Fn(u16) -> bool) -> Content {
    find_in_ip(Ip::read_next_layer(packet), packet, 0, is_natt)
}

/// [`find_esp`] from the IP header on, which stands at `at`.
fn find_in_ip(ip: Result<Ip, Unreadable>, frame: &[u8], at: usize, is_natt: impl Fn(u16) -> bool) -> Content {
    let packet = &frame[at..];
    let ip = match ip {
        Ok(ip) => ip,
        Err(unreadable) if may_be_esp(packet, unreadable, is_natt) => {
            let reason = if unreadable.is_cut { DropReason::Truncated } else { DropReason::Malformed };
            return Content::Faulty(reason, None);
        }
        Err(_) => return Content::Other(Passed::NotEsp),
    };
    let mut outer = Outer {
        src: ip.src,
        dst: ip.dst,
        udp: None,
        checksum: ip.checksum,
        flow_label: flow_label(packet),
        ip_at: at,
        protocol_at: at + ip.protocol_at,
        esp: at + ip.payload.start..at + ip.payload.end,
    };
    let mut fault = None;
    if ip.protocol == protocol::UDP && ip.fragment != Some(Fragment::Later) {
        let payload = &packet[ip.payload.clone()];
        let Some(ports) = crate::ip::ports(ip.protocol, payload).filter(|&(_, dst)| is_natt(dst)) else {
            return Content::Other(Passed::NotEsp);
        };
        outer.udp = Some(UdpPorts { src: ports.0, dst: ports.1 });
        let len = match payload {
            [_, _, _, _, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
            _ => 0,
        };
        let udp_at = outer.esp.start;
        outer.esp.start = outer.esp.end.min(udp_at + UDP_LEN);
        if ip.fragment.is_none() {
            if len < UDP_LEN || len > payload.len() {
                fault = Some(DropReason::Malformed);
            } else {
                outer.esp.end = udp_at + len;
            }
        }
        match &frame[outer.esp.clone()] {
            _ if fault.is_some() => {}
            [0xff] if ip.fragment.is_none() => return Content::Other(Passed::NattKeepalive),
            // Also where a fragment begins: a long IKE message comes in several.
            [0, 0, 0, 0, ..] => return Content::Other(Passed::NattIke),
            [_, _, _, _, ..] => {}
            _ => fault = Some(DropReason::Malformed),
        }
    } else if ip.protocol != protocol::ESP {
        return Content::Other(Passed::NotEsp);
    }
    if outer.checksum.is_some_and(|checksum| !checksum.is_right()) {
        return Content::Faulty(DropReason::BadIpChecksum, Some(outer));
    }
    if ip.fragment.is_some() {
        fault = Some(DropReason::Fragment);
    }
    match fault {
        Some(reason) => Content::Faulty(reason, Some(outer)),
        None => Content::Esp(outer),
    }
}

/// Whether headers that broke off may have hidden ESP: at ESP, at an extension header, at UDP to a port of UDP
/// encapsulation, or before the protocol was known.
fn may_be_esp(packet: &[u8], unreadable: Unreadable, is_natt: impl Fn(u16) -> bool) -> bool {
    let Some(protocol) = unreadable.protocol else { return true };
    match protocol {
        protocol::UDP => {
            let ports = unreadable.payload.and_then(|at| crate::ip::ports(protocol, packet.get(at..)?));
            ports.is_none_or(|(_, dst)| is_natt(dst))
        }
        protocol::ESP
        | protocol::AH
        | protocol::HOP_BY_HOP
        | protocol::ROUTING
        | protocol::FRAGMENT
        | protocol::DESTINATION_OPTIONS
        | protocol::MOBILITY
        | protocol::HIP
        | protocol::SHIM6 => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An Ethernet frame with IPv4 from 10.0.0.1 to 10.0.0.2.
    fn frame(tags: &[[u8; 2]], protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        for tag in tags {
            frame.extend([tag[0], tag[1], 0, 5]);
        }
        frame.extend(ethertype::IPV4);
        let len = (20 + payload.len()) as u16;
        let at = frame.len();
        frame.extend([0x45, 0, (len >> 8) as u8, len as u8, 0, 0, 0, 0, 64, protocol, 0, 0]);
        frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        fix_checksum(&mut frame, at);
        frame.extend(payload);
        frame
    }

    fn fix_checksum(frame: &mut [u8], at: usize) {
        let sum = crate::ip::checksum(&frame[at..at + 20]).computed;
        frame[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
    }

    fn find(frame: &[u8]) -> Content {
        find_esp(frame, frame.len(), |port| port == NATT_PORT)
    }

    fn udp(dst: u16, len: u16, payload: &[u8]) -> Vec<u8> {
        let mut datagram = vec![0x99, 0x99];
        datagram.extend(dst.to_be_bytes());
        datagram.extend(len.to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(payload);
        datagram
    }

    fn esp_range(content: Content) -> Range<usize> {
        match content {
            Content::Esp(outer) => outer.esp,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn padding_of_the_frame_is_not_esp() {
        let mut short = frame(&[], 50, &[1; 12]);
        short.resize(60, 0);
        assert_eq!(esp_range(find(&short)), 34..46);
    }

    #[test]
    fn vlan_tags_are_skipped() {
        assert_eq!(esp_range(find(&frame(&[ethertype::VLAN], 50, &[1; 12]))), 38..50);
        let tags = [ethertype::SERVICE_VLAN, ethertype::VLAN];
        assert_eq!(esp_range(find(&frame(&tags, 50, &[1; 12]))), 42..54);
        assert_eq!(find(&frame(&[ethertype::VLAN; 3], 50, &[1; 12])), Content::Other(Passed::NotEsp));
    }

    #[test]
    fn the_ethertype_decides() {
        let mut arp = frame(&[], 50, &[1; 12]);
        arp[12..14].copy_from_slice(&[8, 6]);
        assert_eq!(find(&arp), Content::Other(Passed::NotEsp));
        let mut other_version = frame(&[], 50, &[1; 60]);
        other_version[12..14].copy_from_slice(&ethertype::IPV6);
        other_version[20] = 50;
        assert_eq!(find(&other_version), Content::Faulty(DropReason::Malformed, None));
        assert_eq!(find(&frame(&[], 6, &[1; 12])), Content::Other(Passed::NotEsp));
        for len in 0..14 {
            assert_eq!(find(&vec![0; len]), Content::Other(Passed::NotEsp));
        }
    }

    #[test]
    fn udp_encapsulation_is_told_from_ike_and_keepalives() {
        let natt = |len, payload: &[u8]| find(&frame(&[], 17, &udp(NATT_PORT, len, payload)));
        assert_eq!(esp_range(natt(8 + 12, &[1; 12])), 42..54);
        // The datagram ends where UDP says.
        assert_eq!(esp_range(natt(8 + 11, &[1; 12])), 42..53);
        assert_eq!(natt(9, &[0xff]), Content::Other(Passed::NattKeepalive));
        assert_eq!(natt(12, &[0; 4]), Content::Other(Passed::NattIke));
        assert_eq!(natt(20, &[0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]), Content::Other(Passed::NattIke));
        for (len, payload) in [(8, &[][..]), (9, &[1]), (11, &[0; 3]), (7, &[1; 12]), (21, &[1; 12])] {
            let Content::Faulty(DropReason::Malformed, Some(outer)) = natt(len, payload) else {
                panic!("{len}")
            };
            // The UDP header is no part of it, so that no port is taken for an SPI.
            assert_eq!(outer.esp.start, 42, "{len}");
        }
        assert_eq!(find(&frame(&[], 17, &udp(500, 20, &[1; 12]))), Content::Other(Passed::NotEsp));
    }

    #[test]
    fn a_wrong_checksum_is_named() {
        let mut wrong = frame(&[], 50, &[1; 12]);
        wrong[22] ^= 1;
        assert!(matches!(find(&wrong), Content::Faulty(DropReason::BadIpChecksum, Some(_))));
    }

    #[test]
    fn fragments_of_esp_are_named_and_others_pass() {
        let fragment = |flags: [u8; 2], protocol, payload: &[u8]| {
            let mut frame = frame(&[], protocol, payload);
            frame[20..22].copy_from_slice(&flags);
            fix_checksum(&mut frame, 14);
            find(&frame)
        };
        for flags in [[0x20, 0], [0x20, 1], [0, 9]] {
            assert!(matches!(fragment(flags, 50, &[1; 12]), Content::Faulty(DropReason::Fragment, _)));
        }
        // The marker stands in a long IKE message's first fragment.
        let ike = udp(NATT_PORT, 2000, &[0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(fragment([0x20, 0], 17, &ike), Content::Other(Passed::NattIke));
        let datagram = udp(NATT_PORT, 2000, &[1; 12]);
        assert!(matches!(fragment([0x20, 0], 17, &datagram), Content::Faulty(DropReason::Fragment, _)));
        assert_eq!(fragment([0, 9], 17, &datagram), Content::Other(Passed::NotEsp));
        assert_eq!(fragment([0x20, 0], 6, &[1; 12]), Content::Other(Passed::NotEsp));
    }

    #[test]
    fn what_was_cut_is_told_from_what_lies() {
        let whole = frame(&[], 50, &[1; 40]);
        for captured in 0..whole.len() {
            let content = find_esp(&whole[..captured], whole.len(), |port| port == NATT_PORT);
            assert_eq!(content, Content::Faulty(DropReason::Truncated, None), "{captured}");
        }
        for captured in 14..whole.len() {
            assert_eq!(find(&whole[..captured]), Content::Faulty(DropReason::Malformed, None), "{captured}");
        }
        let natt = frame(&[], 17, &udp(NATT_PORT, 48, &[1; 40]));
        let other = frame(&[], 17, &udp(500, 48, &[1; 40]));
        let cut = |frame: &[u8]| find_esp(&frame[..50], frame.len(), |port| port == NATT_PORT);
        assert_eq!(cut(&natt), Content::Faulty(DropReason::Truncated, None));
        assert_eq!(cut(&other), Content::Other(Passed::NotEsp));
        assert_eq!(cut(&frame(&[], 6, &[1; 40])), Content::Other(Passed::NotEsp));
    }
}
