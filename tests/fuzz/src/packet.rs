//! IP packets as etherparse reads them, header by header.

use std::net::IpAddr;

use espwire_ipsec::Upper;
use etherparse::{
    Ipv4HeaderSlice, Ipv6ExtensionSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice,
    NetSlice, SlicedPacket, TransportSlice,
};

/// Where the reader in espwire gives up. A packet of just so many may be read or not.
const MANY_EXTENSIONS: usize = 32;

/// Which part of a packet a fragment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fragment {
    First,
    Later,
}

/// What a packet is.
pub(crate) enum Reading<'a> {
    /// Its IP header can't be right, or there is none.
    Malformed,
    /// Its IP header of version 6 can be right, and an extension header can't: what is behind that is not known.
    BrokenOff,
    /// This, or too many extension headers: it could be either.
    Unclear(Packet<'a>),
    /// This.
    Packet(Packet<'a>),
}

/// A packet, up to what selectors call the next layer protocol (RFC 4301 §4.4.1.1).
pub(crate) struct Packet<'a> {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    /// IPv4 header with options, or IPv6 header without extension headers.
    pub(crate) header_len: usize,
    /// All of it.
    pub(crate) len: usize,
    /// As the IP header has it.
    pub(crate) first_protocol: u8,
    /// After extension headers; None if a later fragment hides it.
    pub(crate) protocol: Option<u8>,
    /// Where the octet stands that names it.
    pub(crate) protocol_at: usize,
    /// Where what it is in charge of begins.
    pub(crate) payload_at: usize,
    /// What it is in charge of.
    pub(crate) payload: &'a [u8],
    pub(crate) fragment: Option<Fragment>,
}

impl Packet<'_> {
    pub(crate) fn is_later_fragment(&self) -> bool {
        self.fragment == Some(Fragment::Later)
    }
}

fn fragment(offset: u16, has_more: bool) -> Option<Fragment> {
    match (offset, has_more) {
        (0, false) => None,
        (0, true) => Some(Fragment::First),
        _ => Some(Fragment::Later),
    }
}

/// Reads the packet at the start of `octets`.
pub(crate) fn read(octets: &[u8]) -> Reading<'_> {
    match octets.first().map(|first| first >> 4) {
        Some(4) => read_v4(octets).map_or(Reading::Malformed, Reading::Packet),
        Some(6) => read_v6(octets),
        _ => Reading::Malformed,
    }
}

fn read_v4(octets: &[u8]) -> Option<Packet<'_>> {
    let header = Ipv4HeaderSlice::from_slice(octets).ok()?;
    let (header_len, len) = (header.slice().len(), usize::from(header.total_len()));
    let protocol = header.protocol().0;
    Some(Packet {
        src: header.source_addr().into(),
        dst: header.destination_addr().into(),
        header_len,
        len,
        first_protocol: protocol,
        protocol: Some(protocol),
        protocol_at: 9,
        payload_at: header_len,
        payload: octets.get(header_len..len)?,
        fragment: fragment(header.fragments_offset().value(), header.more_fragments()),
    })
}

fn read_v6(octets: &[u8]) -> Reading<'_> {
    let Ok(header) = Ipv6HeaderSlice::from_slice(octets) else { return Reading::Malformed };
    let len = 40 + usize::from(header.payload_length());
    let Some(mut rest) = octets.get(40..len) else { return Reading::Malformed };
    let first_protocol = header.next_header().0;
    let (mut protocol, mut protocol_at) = (first_protocol, 6);
    let mut part = None;
    let (mut extensions, mut fragment_headers) = (0, 0);
    while matches!(protocol, 0 | 43 | 44 | 60) && part != Some(Fragment::Later) {
        let (next, header_len) = if protocol == 44 {
            let Ok(header) = Ipv6FragmentHeaderSlice::from_slice(rest) else { return Reading::BrokenOff };
            fragment_headers += 1;
            part = fragment(header.fragment_offset().value(), header.more_fragments());
            (header.next_header().0, header.slice().len())
        } else {
            let Ok(header) = Ipv6RawExtHeaderSlice::from_slice(rest) else { return Reading::BrokenOff };
            (header.next_header().0, header.slice().len())
        };
        // RFC 8200 §4.1: each should occur once at most, but for destination options. A node is to take more all the same;
        // of the others that changes nothing here. A second one of these says again which part of a packet this is, and
        // espwire refuses it.
        if fragment_headers > 1 {
            return Reading::BrokenOff;
        }
        protocol = next;
        protocol_at = len - rest.len();
        rest = &rest[header_len..];
        extensions += 1;
    }
    let is_hidden = part == Some(Fragment::Later) && matches!(protocol, 0 | 43 | 44 | 60);
    let packet = Packet {
        src: header.source_addr().into(),
        dst: header.destination_addr().into(),
        header_len: 40,
        len,
        first_protocol,
        protocol: (!is_hidden).then_some(protocol),
        protocol_at,
        payload_at: len - rest.len(),
        payload: rest,
        fragment: part,
    };
    match extensions {
        0..MANY_EXTENSIONS => Reading::Packet(packet),
        MANY_EXTENSIONS => Reading::Unclear(packet),
        _ => Reading::Malformed,
    }
}

/// The ports, or type and code, where etherparse finds TCP, UDP or ICMP in the whole packet by itself. AH is an extension
/// header to it, any number of fragment headers is as good as one, and an IPv6 payload of length 0 a jumbogram: then this
/// is None.
pub(crate) fn ports_as_sliced(octets: &[u8]) -> Option<Upper> {
    let sliced = SlicedPacket::from_ip(octets).ok()?;
    let is_comparable = match sliced.net? {
        NetSlice::Ipv4(ip) => ip.header().protocol().0 != 51,
        NetSlice::Ipv6(ip) => {
            let (mut ahs, mut fragment_headers) = (0, 0);
            for extension in ip.extensions().clone() {
                match extension {
                    Ipv6ExtensionSlice::Authentication(_) => ahs += 1,
                    Ipv6ExtensionSlice::Fragment(_) => fragment_headers += 1,
                    _ => {}
                }
            }
            ahs == 0 && fragment_headers < 2 && ip.header().payload_length() != 0
        }
        NetSlice::Arp(_) => false,
    };
    if !is_comparable {
        return None;
    }
    Some(match sliced.transport? {
        TransportSlice::Tcp(tcp) => Upper::Ports { src: tcp.source_port(), dst: tcp.destination_port() },
        TransportSlice::Udp(udp) => Upper::Ports { src: udp.source_port(), dst: udp.destination_port() },
        TransportSlice::Icmpv4(icmp) => Upper::Icmp { kind: icmp.type_u8(), code: icmp.code_u8() },
        TransportSlice::Icmpv6(icmp) => Upper::Icmp { kind: icmp.type_u8(), code: icmp.code_u8() },
    })
}
