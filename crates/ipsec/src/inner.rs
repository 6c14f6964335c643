//! The packet inside an ESP packet.

use std::net::IpAddr;

use crate::beet::Beet;
use crate::ip::{self, Fragment, Ip, protocol};
use crate::outer::Outer;
use crate::sa::{Mode, Sa};

/// The inner packet.
#[derive(Clone, Debug)]
pub struct Inner<'a> {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Its protocol, after extension headers.
    pub protocol: u8,
    /// Source and destination port, for protocols that have them.
    pub ports: Option<(u16, u16)>,
    /// Octets of the inner packet by its own header; in transport mode and mode beet, of the payload.
    pub len: usize,
    /// What its transport protocol carries, for TCP and UDP; empty for others.
    pub data: &'a [u8],
}

impl<'a> Inner<'a> {
    /// The packet in a payload: an IP packet in tunnel mode, the outer packet's own payload in transport mode, and one
    /// between the SA's addresses in mode beet. `None` if there is none, or its header can't be right.
    pub(crate) fn read(sa: &Sa, next_header: u8, payload: &'a [u8], outer: &Outer) -> Option<Self> {
        if next_header == protocol::NONE {
            return None;
        }
        if sa.mode == Mode::Transport {
            return Some(Self::of_payload((outer.src, outer.dst), next_header, payload));
        }
        if let Some(addresses) = sa.bound_addresses() {
            let beet = Beet::read(addresses.0.is_ipv4(), next_header, payload)?;
            return Some(Self::of_payload(addresses, beet.protocol, &payload[beet.payload_at..]));
        }
        let version = match next_header {
            protocol::IPV4 => 4,
            protocol::IPV6 => 6,
            _ => return None,
        };
        // TFC padding may follow the packet (RFC 4303 §2.7).
        let ip = Ip::read(version, payload, payload.len()).ok()?;
        if ip.checksum.is_some_and(|checksum| !checksum.is_right()) {
            return None;
        }
        let upper = &payload[ip.payload.clone()];
        let has_header = ip.fragment != Some(Fragment::Later);
        Some(Self {
            src: ip.src,
            dst: ip.dst,
            protocol: ip.protocol,
            ports: ip::ports(ip.protocol, upper).filter(|_| has_header),
            len: ip.len,
            data: if has_header { data(ip.protocol, upper) } else { &[] },
        })
    }

    fn of_payload((src, dst): (IpAddr, IpAddr), protocol: u8, payload: &'a [u8]) -> Self {
        let ports = ip::ports(protocol, payload);
        Self { src, dst, protocol, ports, len: payload.len(), data: data(protocol, payload) }
    }
}

/// What a TCP segment or UDP datagram carries.
fn data(protocol: u8, upper: &[u8]) -> &[u8] {
    let header_len = match protocol {
        protocol::TCP => upper.get(12).map(|offset| usize::from(offset >> 4) * 4).filter(|&len| len >= 20),
        protocol::UDP => Some(8),
        _ => None,
    };
    header_len.and_then(|len| upper.get(len..)).unwrap_or_default()
}
