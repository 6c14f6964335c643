//! What an SA's mode makes of a packet: which header stands in front of ESP, and what goes inside.

use std::net::IpAddr;

use espwire_esp::OutboundSa;

use super::{Sent, udp};
use crate::ip::{Fragment, IPV4_MIN_LEN, IPV6_LEN, Ip, UDP_LEN, flow_label, protocol};
use crate::sa::{Mode, Sa};
use crate::tunnel::{IPV6_MIN_MTU, OuterHeader, TunnelHeaders, has_df};
use crate::verdict::DropReason;

/// The most octets of an IPv4 packet, and of what follows the fixed header of an IPv6 one.
const MAX_LEN: usize = u16::MAX as usize;
/// What every link carries of IPv4 (RFC 791 §3.2).
const IPV4_MIN_MTU: usize = 68;
/// Octets of a BEET pseudo header without padding.
const BEET_LEN: usize = 4;
/// IPv4's option of one octet without meaning (RFC 791 §3.1).
const NO_OPERATION: u8 = 1;

/// A packet taken apart for one SA. Its payload is `prefix` and `payload`, one after the other.
pub(super) struct Encapsulation<'a> {
    header: Header<'a>,
    pub(super) prefix: Prefix,
    pub(super) payload: [&'a [u8]; 2],
    pub(super) next_header: u8,
    /// The payload says how long it is, so that TFC padding may follow it (RFC 4303 §2.7).
    tells_len: bool,
    /// The packet's length, and up to which length it can't be asked to be shorter; none for a dummy.
    lens: Option<(usize, usize)>,
}

/// What stands in front of ESP, or of UDP.
enum Header<'a> {
    /// A new IP header.
    Built(OuterHeader),
    /// The packet's own headers, of which the octet at `protocol_at` names what follows.
    Kept { headers: &'a [u8], protocol_at: usize },
}

impl Header<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Built(header) => header.len(),
            Self::Kept { headers, .. } => headers.len(),
        }
    }

    fn is_ipv4(&self) -> bool {
        match self {
            Self::Built(header) => header.dst.is_ipv4(),
            Self::Kept { headers, .. } => headers.first().is_some_and(|first| first >> 4 == 4),
        }
    }
}

/// A BEET pseudo header, or nothing.
#[derive(Default)]
pub(super) struct Prefix {
    octets: [u8; 2 * BEET_LEN],
    len: usize,
}

impl Prefix {
    pub(super) fn octets(&self) -> &[u8] {
        &self.octets[..self.len]
    }

    /// The pseudo header in front of `options_len` octets of IPv4 options, a multiple of 4: next header, how many 8
    /// octets both have beyond the first, padding, and none of the latter or one to 8 octets.
    fn beet(options_len: usize, next_header: u8) -> Self {
        let pad_len = BEET_LEN - options_len % 8;
        let mut octets = [NO_OPERATION; 2 * BEET_LEN];
        // Options have up to 40 octets.
        octets[..BEET_LEN].copy_from_slice(&[next_header, (options_len / 8) as u8, pad_len as u8, 0]);
        Self { octets, len: BEET_LEN + pad_len }
    }
}

/// Source, destination and flow label of a packet, for an audit.
#[derive(Clone, Copy, Default)]
pub(super) struct Ends {
    pub(super) src: Option<IpAddr>,
    pub(super) dst: Option<IpAddr>,
    pub(super) flow_label: Option<u32>,
}

impl<'a> Encapsulation<'a> {
    /// Takes apart a packet as the mode of `sa` wants it, and says whose it is.
    pub(super) fn of_packet(
        sa: &Sa,
        headers: &TunnelHeaders,
        packet: &'a [u8],
    ) -> Result<(Self, Ends), DropReason> {
        let version = packet.first().map_or(0, |first| first >> 4);
        if !matches!(version, 4 | 6) {
            return Err(DropReason::Malformed);
        }
        let ip = Ip::read(version, packet, packet.len()).map_err(|_| DropReason::Malformed)?;
        if ip.checksum.is_some_and(|checksum| !checksum.is_right()) {
            return Err(DropReason::BadIpChecksum);
        }
        let packet = &packet[..ip.len];
        let encapsulation = match sa.mode {
            Mode::Tunnel => Self::tunnel(sa, headers, packet, &ip),
            Mode::Transport => Self::transport(sa, packet, &ip),
            Mode::Beet => Self::beet(sa, packet, &ip),
        }?;
        let ends = Ends { src: Some(ip.src), dst: Some(ip.dst), flow_label: flow_label(packet) };
        Ok((encapsulation, ends))
    }

    /// A dummy packet (RFC 4303 §2.6), from the SA's addresses in every mode. Its payload, all of it TFC padding, is
    /// none of anybody's.
    pub(super) fn dummy(sa: &Sa, headers: &TunnelHeaders) -> Result<Self, DropReason> {
        let header = OuterHeader::plain(source(sa)?, sa.dst, headers);
        Ok(Self {
            header: Header::Built(header),
            prefix: Prefix::default(),
            payload: [&[], &[]],
            next_header: protocol::NONE,
            tells_len: true,
            lens: None,
        })
    }

    fn payload_len(&self) -> usize {
        self.prefix.len + self.payload[0].len() + self.payload[1].len()
    }

    /// Octets of payload with TFC padding, or why the packet is too long: of `dummy_len` at least, for an outer packet
    /// of up to `mtu` octets.
    pub(super) fn padded_len(
        &self,
        sa: &Sa,
        outbound: &OutboundSa,
        mtu: Option<usize>,
        dummy_len: usize,
    ) -> Result<usize, Sent> {
        let headers_len = self.header.len() + if sa.encap.is_some() { UDP_LEN } else { 0 };
        let longest = if self.header.is_ipv4() { MAX_LEN } else { IPV6_LEN + MAX_LEN };
        let most = |len: usize| len.checked_sub(headers_len).and_then(|len| outbound.payload_len(len));
        let payload_len = self.payload_len().max(dummy_len);
        let most_of_mtu = mtu.map(|mtu| most(mtu.min(longest)).unwrap_or(0));
        if let Some(most) = most_of_mtu.filter(|&most| payload_len > most) {
            if let Some(mtu) = self.inner_mtu(most) {
                return Err(Sent::TooBig { mtu });
            }
            if self.lens.is_none() {
                return Err(Sent::Drop(DropReason::OutTooLong));
            }
        }
        let most = most(longest).filter(|&most| payload_len <= most);
        let most = most.ok_or(Sent::Drop(DropReason::OutTooLong))?;
        let tfcpad = match sa.tfcpad {
            Some(tfcpad) if self.tells_len => usize::try_from(tfcpad).unwrap_or(usize::MAX),
            _ => 0,
        };
        Ok(tfcpad.min(most_of_mtu.unwrap_or(most)).max(payload_len))
    }

    /// Appends the headers in front of an ESP packet of `esp_len` octets; lengths and checksum of IP are for
    /// [`ip::fix_len`](crate::ip::fix_len). `last_id` is the last identification that was given.
    pub(super) fn write_headers(&self, octets: &mut Vec<u8>, sa: &Sa, esp_len: usize, last_id: &mut u16) {
        let protocol = if sa.encap.is_some() { protocol::UDP } else { protocol::ESP };
        match self.header {
            Header::Built(header) => header.write(octets, protocol, last_id),
            Header::Kept { headers, protocol_at } => {
                let start = octets.len();
                octets.extend_from_slice(headers);
                octets[start + protocol_at] = protocol;
            }
        }
        if let Some(ports) = sa.encap {
            udp::write_header(octets, ports, esp_len);
        }
    }

    /// The longest packet that fits where a payload of `most` octets does: for a packet that is too big.
    fn inner_mtu(&self, most: usize) -> Option<usize> {
        let (len, least) = self.lens?;
        let mtu = (len + most).saturating_sub(self.payload_len());
        (len > least).then_some(mtu.max(least))
    }

    fn tunnel(sa: &Sa, headers: &TunnelHeaders, packet: &'a [u8], ip: &Ip) -> Result<Self, DropReason> {
        let header = OuterHeader::tunnel(source(sa)?, sa.dst, headers, packet, ip);
        Ok(Self {
            header: Header::Built(header),
            prefix: Prefix::default(),
            payload: [packet, &[]],
            next_header: if ip.src.is_ipv4() { protocol::IPV4 } else { protocol::IPV6 },
            tells_len: true,
            lens: Some(lens(ip)),
        })
    }

    /// ESP goes behind the options of IPv4, and behind all hop-by-hop, routing and fragment headers of IPv6: what
    /// stands behind the last of these is inside. So destination options in front of a routing header, which are for
    /// each of its hops, stay in clear, and those behind it are protected.
    //
    //= https://www.rfc-editor.org/rfc/rfc4303#section-3.1.1
    //# However, because ESP protects only fields
    //# after the ESP header, it generally will be desirable to place the
    //# destination options header(s) after the ESP header.
    fn transport(sa: &Sa, packet: &'a [u8], ip: &Ip) -> Result<Self, DropReason> {
        whole(ip)?;
        let place = if ip.src.is_ipv4() {
            Place { at: header_len(packet), protocol_at: 9, last: Some(ip.dst) }
        } else {
            Place::in_ipv6(packet, ip.dst)
        };
        if place.last != Some(sa.dst) || !sa.src.is_unspecified() && ip.src != sa.src {
            return Err(DropReason::OutAddress);
        }
        let (headers, payload) = packet.split_at(place.at);
        let next_header = headers[place.protocol_at];
        Ok(Self {
            header: Header::Kept { headers, protocol_at: place.protocol_at },
            prefix: Prefix::default(),
            payload: [payload, &[]],
            next_header,
            tells_len: is_whole_udp(next_header, payload),
            lens: Some(whole_lens(ip, packet)),
        })
    }

    /// The fixed header stays outside with other addresses; extension headers of IPv6 go inside, options of IPv4 too,
    /// behind a pseudo header. What an IPv4 packet of the pseudo header's own protocol begins with would be taken for
    /// one, so that it gets one without options.
    fn beet(sa: &Sa, packet: &'a [u8], ip: &Ip) -> Result<Self, DropReason> {
        whole(ip)?;
        if sa.bound_addresses() != Some((ip.src, ip.dst)) {
            return Err(DropReason::OutAddress);
        }
        let header = Header::Built(OuterHeader::beet(source(sa)?, sa.dst, packet));
        let lens = Some(whole_lens(ip, packet));
        let (fixed, rest) = packet.split_at(if ip.src.is_ipv4() { IPV4_MIN_LEN } else { IPV6_LEN });
        let next_header = fixed[if ip.src.is_ipv4() { 9 } else { 6 }];
        let options_len = if ip.src.is_ipv4() { header_len(packet) - IPV4_MIN_LEN } else { 0 };
        if options_len == 0 && !(ip.src.is_ipv4() && next_header == protocol::BEET) {
            let tells_len = is_whole_udp(next_header, rest);
            let prefix = Prefix::default();
            return Ok(Self { header, prefix, payload: [rest, &[]], next_header, tells_len, lens });
        }
        let (options, data) = rest.split_at(options_len);
        Ok(Self {
            header,
            prefix: Prefix::beet(options_len, next_header),
            payload: [options, data],
            next_header: protocol::BEET,
            tells_len: is_whole_udp(next_header, data),
            lens,
        })
    }
}

/// Refuses a fragment.
//
//= https://www.rfc-editor.org/rfc/rfc4303#section-3.3.4
//# Thus, transport mode ESP is applied only to
//# whole IP datagrams (not to IP fragments).
fn whole(ip: &Ip) -> Result<(), DropReason> {
    match ip.fragment {
        None => Ok(()),
        Some(Fragment::First | Fragment::Later) => Err(DropReason::OutFragment),
    }
}

/// The SA's source address, if it has one.
fn source(sa: &Sa) -> Result<IpAddr, DropReason> {
    if sa.src.is_unspecified() { Err(DropReason::OutAddress) } else { Ok(sa.src) }
}

/// A packet's length, and the length up to which it is never too big: it may be that nobody can make it shorter.
fn lens(ip: &Ip) -> (usize, usize) {
    (ip.len, if ip.src.is_ipv4() { IPV4_MIN_MTU } else { IPV6_MIN_MTU })
}

/// The same where fragments are refused. An IPv4 packet that may be fragmented goes whole, to be fragmented then.
fn whole_lens(ip: &Ip, packet: &[u8]) -> (usize, usize) {
    let (len, least) = lens(ip);
    let may_be_fragmented = ip.src.is_ipv4() && !has_df(packet);
    (len, if may_be_fragmented { len } else { least })
}

/// Octets of an IPv4 header with its options.
fn header_len(ipv4: &[u8]) -> usize {
    usize::from(ipv4[0] & 0xf) * 4
}

/// Whether a payload is a UDP datagram and nothing else.
fn is_whole_udp(next_header: u8, payload: &[u8]) -> bool {
    let len = match payload {
        [_, _, _, _, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    };
    next_header == protocol::UDP && len >= UDP_LEN && len == payload.len()
}

/// Where ESP goes among the headers of a packet.
struct Place {
    /// Where ESP is put.
    at: usize,
    /// Where the octet stands that will name it.
    protocol_at: usize,
    /// Who the packet is for in the end, if that can be told.
    last: Option<IpAddr>,
}

impl Place {
    /// That in an IPv6 packet whose extension headers have been read; `dst` is its header's destination.
    fn in_ipv6(packet: &[u8], dst: IpAddr) -> Self {
        let mut place = Self { at: IPV6_LEN, protocol_at: 6, last: Some(dst) };
        let (mut at, mut next) = (IPV6_LEN, packet[6]);
        // Each step goes on, and all of them stay inside a packet that was read.
        while let Some(&[named, units]) = packet.get(at..at + 2) {
            let len = match next {
                protocol::FRAGMENT => 8,
                protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {
                    8 * (usize::from(units) + 1)
                }
                _ => break,
            };
            if next != protocol::DESTINATION_OPTIONS
                && let Some(header) = packet.get(at..at + len)
            {
                place = Self { at: at + len, protocol_at: at, ..place };
                if next == protocol::ROUTING {
                    place.last = last_destination(header, place.last);
                }
            }
            at += len;
            next = named;
        }
        place
    }
}

/// Who a packet with this routing header and the destination `dst` is for in the end (RFC 8200 §4.4). `None` of a kind
/// that isn't known here.
fn last_destination(routing: &[u8], dst: Option<IpAddr>) -> Option<IpAddr> {
    // Behind next header, length, type, segments left and four octets more.
    let (fixed, addresses) = routing.split_first_chunk::<8>()?;

    let last = match fixed[2..4] {
        [_, 0] => return dst,
        // RFC 2460's, and that of Mobile IPv6 (RFC 6275 §6.4).
        [0 | 2, _] if addresses.len().is_multiple_of(16) => addresses.last_chunk::<16>(),
        // Segment routing has the last one first, and objects behind the addresses (RFC 8754 §2).
        [4, _] => addresses.first_chunk::<16>(),
        _ => None,
    };
    last.map(|&address| address.into())
}
