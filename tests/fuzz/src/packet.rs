//! IP packets as etherparse reads them, header by header.

use std::net::IpAddr;

use espwire_ipsec::Upper;
use etherparse::{
    Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice, NetSlice, SlicedPacket,
    TransportSlice,
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
    /// Its headers can't be right.
    Malformed,
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
    /// What that protocol is in charge of.
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
        payload: octets.get(header_len..len)?,
        fragment: fragment(header.fragments_offset().value(), header.more_fragments()),
    })
}

fn read_v6(octets: &[u8]) -> Reading<'_> {
    let Ok(header) = Ipv6HeaderSlice::from_slice(octets) else { return Reading::Malformed };
    let len = 40 + usize::from(header.payload_length());
    let Some(mut rest) = octets.get(40..len) else { return Reading::Malformed };
    let first_protocol = header.next_header().0;
    let mut protocol = first_protocol;
    let mut part = None;
    let mut extensions = 0;
    while matches!(protocol, 0 | 43 | 44 | 60) && part != Some(Fragment::Later) {
        let (next, header_len) = if protocol == 44 {
            let Ok(header) = Ipv6FragmentHeaderSlice::from_slice(rest) else { return Reading::Malformed };
            part = fragment(header.fragment_offset().value(), header.more_fragments());
            (header.next_header().0, header.slice().len())
        } else {
            let Ok(header) = Ipv6RawExtHeaderSlice::from_slice(rest) else { return Reading::Malformed };
            (header.next_header().0, header.slice().len())
        };
        protocol = next;
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
/// header to it, and an IPv6 payload of length 0 a jumbogram: then this is None.
pub(crate) fn ports_as_sliced(octets: &[u8]) -> Option<Upper> {
    let sliced = SlicedPacket::from_ip(octets).ok()?;
    let is_comparable = match sliced.net? {
        NetSlice::Ipv4(ip) => ip.header().protocol().0 != 51,
        NetSlice::Ipv6(ip) => {
            let has_ah = ip
                .extensions()
                .clone()
                .into_iter()
                .any(|extension| matches!(extension, etherparse::Ipv6ExtensionSlice::Authentication(_)));
            !has_ah && ip.header().payload_length() != 0
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
