//! IP headers, outer and inner: lengths, extension headers, fragments, the IPv4 header checksum.
//!
//! One reader for both: what stands in front of ESP and what comes out of it is walked by the same rules. It is
//! our own because it must tell, of a packet that is wrong, whether it would have been ESP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// Protocol numbers (IANA), also as IPv6 extension headers and ESP next headers.
pub(crate) mod protocol {
    pub(crate) const HOP_BY_HOP: u8 = 0;
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const IPV4: u8 = 4;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const DCCP: u8 = 33;
    pub(crate) const IPV6: u8 = 41;
    pub(crate) const ROUTING: u8 = 43;
    pub(crate) const FRAGMENT: u8 = 44;
    pub(crate) const GRE: u8 = 47;
    pub(crate) const ESP: u8 = 50;
    pub(crate) const AH: u8 = 51;
    pub(crate) const ICMPV6: u8 = 58;
    pub(crate) const NONE: u8 = 59;
    pub(crate) const DESTINATION_OPTIONS: u8 = 60;
    /// The pseudo header of mode beet (RFC 7402 Appendix B).
    pub(crate) const BEET: u8 = 94;
    pub(crate) const SCTP: u8 = 132;
    pub(crate) const MOBILITY: u8 = 135;
    pub(crate) const UDP_LITE: u8 = 136;
    pub(crate) const HIP: u8 = 139;
    pub(crate) const SHIM6: u8 = 140;
}

/// Shortest IPv4 header in octets.
pub(crate) const IPV4_MIN_LEN: usize = 20;
/// IPv6 header in octets.
pub(crate) const IPV6_LEN: usize = 40;
/// UDP header in octets.
pub(crate) const UDP_LEN: usize = 8;
/// Extension headers that a packet may have before it counts as malformed. Each costs a step, and a packet of
/// 64 KiB has room for thousands.
const MAX_EXTENSIONS: usize = 32;

/// The checksum of an IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// As it stands in the header.
    pub received: u16,
    /// As it should stand there.
    pub computed: u16,
}

impl Checksum {
    /// Whether the header adds up (RFC 1071). Of zero the other form does, too: 0xffff, which a router that only
    /// corrects the sum may write (RFC 1624 §3).
    #[inline]
    #[must_use]
    pub fn is_right(self) -> bool {
        self.received == self.computed || (self.received, self.computed) == (0xffff, 0)
    }
}

/// Which part of a fragmented packet this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fragment {
    /// The first: the upper-layer header is here.
    First,
    /// A later one.
    Later,
}

/// How far headers are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UpTo {
    /// Past everything that ESP may stand behind.
    Esp,
    /// To what selectors call the next layer protocol: past [`is_extension`] alone.
    NextLayer,
}

/// An IP packet's headers, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ip {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    /// Octets of the packet by its own header: what lies beyond is no part of it.
    pub(crate) len: usize,
    /// Protocol after all extension headers.
    pub(crate) protocol: u8,
    /// Where the octet stands that names it.
    pub(crate) protocol_at: usize,
    /// What that protocol's header starts.
    pub(crate) payload: Range<usize>,
    pub(crate) fragment: Option<Fragment>,
    /// IPv4 only.
    pub(crate) checksum: Option<Checksum>,
}

/// Headers that can't be right, or that are cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// The protocol as far as it was found.
    pub(crate) protocol: Option<u8>,
    /// Where that protocol's header starts, if that much is certain.
    pub(crate) payload: Option<usize>,
    /// There would have been enough octets in `wire_len`.
    pub(crate) is_cut: bool,
}

impl Ip {
    /// Reads the packet of `version`, 4 or 6, at the start of `octets`, of which `wire_len` were on the wire (at
    /// least those that are here).
    ///
    /// # Errors
    ///
    /// [`Unreadable`]: version, header length, total length or an extension header's length are wrong.
    #[inline]
    pub(crate) fn read(version: u8, octets: &[u8], wire_len: usize) -> Result<Self, Unreadable> {
        match octets.first() {
            Some(first) if first >> 4 != version => {
                let protocol = octets.get(if version == 4 { 9 } else { 6 }).copied();
                Err(Unreadable { protocol, payload: None, is_cut: false })
            }
            _ if version == 4 => read_v4(octets, wire_len, UpTo::Esp),
            _ => read_v6(octets, wire_len, UpTo::Esp),
        }
    }

    /// Reads a whole packet of either version as selectors see it: up to its next layer protocol, of which AH and
    /// ESP are two (RFC 4301 §4.4.1.1). Of a later fragment of IPv6 an extension header may be all that is known.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub(crate) fn read_next_layer(packet: &[u8]) -> Result<Self, Unreadable> {
        match packet.first().map(|first| first >> 4) {
            Some(4) => read_v4(packet, packet.len(), UpTo::NextLayer),
            Some(6) => read_v6(packet, packet.len(), UpTo::NextLayer),
            _ => Err(Unreadable { protocol: None, payload: None, is_cut: false }),
        }
    }

    /// The same of a packet whose IP header is not here: of `payload`, which `next_header` begins.
    ///
    /// # Errors
    ///
    /// [`Unreadable`]: an extension header's length is wrong.
    pub(crate) fn of_payload(
        src: IpAddr,
        dst: IpAddr,
        next_header: u8,
        payload: &[u8],
    ) -> Result<Self, Unreadable> {
        let len = payload.len();
        let ip = Self {
            src,
            dst,
            len,
            protocol: next_header,
            protocol_at: 0,
            payload: 0..len,
            fragment: None,
            checksum: None,
        };
        if src.is_ipv6() { skip_extensions(payload, ip, UpTo::NextLayer) } else { Ok(ip) }
    }
}

fn word(octets: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([octets[at], octets[at + 1]])
}

fn read_v4(octets: &[u8], wire_len: usize, up_to: UpTo) -> Result<Ip, Unreadable> {
    let protocol = octets.get(9).copied();
    let short = |needed, payload| Unreadable { protocol, payload, is_cut: needed <= wire_len };
    let Some((header, _)) = octets.split_first_chunk::<IPV4_MIN_LEN>() else {
        return Err(short(IPV4_MIN_LEN, None));
    };
    let header_len = usize::from(header[0] & 0xf) * 4;
    let len = usize::from(word(header, 2));
    if header_len < IPV4_MIN_LEN || len < header_len {
        return Err(Unreadable { protocol, payload: None, is_cut: false });
    }
    if len > octets.len() {
        return Err(short(len, Some(header_len)));
    }
    let flags = word(header, 6);
    let fragment = match (flags & 0x1fff, flags & 0x2000 != 0) {
        (0, false) => None,
        (0, true) => Some(Fragment::First),
        _ => Some(Fragment::Later),
    };
    let ip = Ip {
        src: Ipv4Addr::new(header[12], header[13], header[14], header[15]).into(),
        dst: Ipv4Addr::new(header[16], header[17], header[18], header[19]).into(),
        len,
        protocol: header[9],
        protocol_at: 9,
        payload: header_len..len,
        fragment,
        checksum: Some(checksum(&octets[..header_len])),
    };
    // In a later fragment stands no header.
    if ip.protocol == protocol::AH && ip.fragment != Some(Fragment::Later) {
        skip_extensions(octets, ip, up_to)
    } else {
        Ok(ip)
    }
}

/// RFC 1071 over an IPv4 header, its own checksum field taken as zero.
pub(crate) fn checksum(header: &[u8]) -> Checksum {
    let received = word(header, 10);
    let sum: u32 = header.chunks_exact(2).map(|pair| u32::from(word(pair, 0))).sum();
    let sum = sum - u32::from(received);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    Checksum { received, computed: !(sum as u16) }
}

fn read_v6(octets: &[u8], wire_len: usize, up_to: UpTo) -> Result<Ip, Unreadable> {
    let protocol = octets.get(6).copied();
    let short = |needed, payload| Unreadable { protocol, payload, is_cut: needed <= wire_len };
    let Some((header, _)) = octets.split_first_chunk::<IPV6_LEN>() else {
        return Err(short(IPV6_LEN, None));
    };
    let len = IPV6_LEN + usize::from(word(header, 4));
    if len > octets.len() {
        return Err(short(len, Some(IPV6_LEN)));
    }
    let address = |at: usize| -> IpAddr {
        let octets: [u8; 16] = std::array::from_fn(|i| header[at + i]);
        Ipv6Addr::from(octets).into()
    };
    let ip = Ip {
        src: address(8),
        dst: address(24),
        len,
        protocol: header[6],
        protocol_at: 6,
        payload: IPV6_LEN..len,
        fragment: None,
        checksum: None,
    };
    skip_extensions(octets, ip, up_to)
}

/// Whether selectors skip this header of IPv6: RFC 4301 §4.4.1.1 has a list of them.
pub(crate) fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        protocol::HOP_BY_HOP | protocol::ROUTING | protocol::FRAGMENT | protocol::DESTINATION_OPTIONS
    )
}

/// Follows extension headers (RFC 8200 §4) and AH to the upper layer, or what `up_to` says.
///
/// A second fragment header is unreadable, also after that of an atomic fragment: a source should write one at most
/// (RFC 8200 §4.1), and of two each would say of the other that the packet is whole, or isn't. That section would have a
/// node try to go on all the same: here what can't be told from a fragment is none of a whole packet's.
fn skip_extensions(octets: &[u8], mut ip: Ip, up_to: UpTo) -> Result<Ip, Unreadable> {
    let mut has_fragment_header = false;
    for _ in 0..MAX_EXTENSIONS {
        if up_to == UpTo::NextLayer && !is_extension(ip.protocol) {
            return Ok(ip);
        }
        let unreadable = Unreadable { protocol: Some(ip.protocol), payload: None, is_cut: false };
        let header = &octets[ip.payload.clone()];
        let len = match ip.protocol {
            protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::DESTINATION_OPTIONS
            | protocol::MOBILITY
            | protocol::HIP
            | protocol::SHIM6 => 8 * (usize::from(*header.get(1).ok_or(unreadable)?) + 1),
            protocol::AH => 4 * (usize::from(*header.get(1).ok_or(unreadable)?) + 2),
            protocol::FRAGMENT => 8,
            _ => return Ok(ip),
        };
        if len > header.len() {
            return Err(unreadable);
        }
        if ip.protocol == protocol::FRAGMENT {
            if std::mem::replace(&mut has_fragment_header, true) {
                return Err(unreadable);
            }
            // An atomic fragment is a whole packet (RFC 6946).
            ip.fragment = match word(header, 2) & 0xfff9 {
                0 => None,
                1 => Some(Fragment::First),
                _ => Some(Fragment::Later),
            };
        }
        ip.protocol = header[0];
        ip.protocol_at = ip.payload.start;
        ip.payload.start += len;
        if ip.fragment == Some(Fragment::Later) {
            return Ok(ip);
        }
    }
    Err(Unreadable { protocol: Some(ip.protocol), payload: None, is_cut: false })
}

/// The traffic class of a whole IP header, in IPv4 the octet that was TOS: DSCP, and ECN in the two low bits.
pub(crate) fn traffic_class(header: &[u8]) -> u8 {
    if header[0] >> 4 == 4 { header[1] } else { header[0] << 4 | header[1] >> 4 }
}

/// The bits of a flow label in the first four octets of an IPv6 header.
pub(crate) const FLOW_LABEL: u32 = 0xf_ffff;

/// The flow label of an IPv6 packet; `None` of anything else.
pub(crate) fn flow_label(packet: &[u8]) -> Option<u32> {
    let word = packet.first_chunk().map(|word| u32::from_be_bytes(*word))?;
    (word >> 28 == 6).then_some(word & FLOW_LABEL)
}

/// Sets the traffic class, and the checksum of an IPv4 header.
pub(crate) fn set_traffic_class(packet: &mut [u8], class: u8) {
    if packet[0] >> 4 == 4 {
        packet[1] = class;
        fix_checksum(packet);
    } else {
        packet[0] = packet[0] & 0xf0 | class >> 4;
        packet[1] = packet[1] & 0x0f | class << 4;
    }
}

/// Writes the packet's length into its IP header, and the checksum of an IPv4 header.
pub(crate) fn fix_len(packet: &mut [u8]) {
    if packet[0] >> 4 == 4 {
        let len = packet.len() as u16;
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        fix_checksum(packet);
    } else {
        let len = (packet.len() - IPV6_LEN) as u16;
        packet[4..6].copy_from_slice(&len.to_be_bytes());
    }
}

fn fix_checksum(packet: &mut [u8]) {
    let header_len = usize::from(packet[0] & 0xf) * 4;
    let sum = checksum(&packet[..header_len]).computed;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Corrects the checksum of the TCP segment or UDP datagram whose pseudo-header had the address `old` and has `new` now
/// (RFC 1624). UDP over IPv4 may have none.
pub(crate) fn replace_address_in_checksum(protocol: u8, upper: &mut [u8], old: IpAddr, new: IpAddr) {
    let at = match protocol {
        protocol::TCP => 16,
        protocol::UDP => 6,
        _ => return,
    };
    let Some(field) = upper.get_mut(at..at + 2) else { return };
    let received = word(field, 0);
    if protocol == protocol::UDP && received == 0 || old.is_ipv4() != new.is_ipv4() {
        return;
    }
    let sum = |address: IpAddr, mask: u16| -> u32 {
        let words = |octets: &[u8]| octets.chunks_exact(2).map(|pair| u32::from(word(pair, 0) ^ mask)).sum();
        match address {
            IpAddr::V4(address) => words(&address.octets()),
            IpAddr::V6(address) => words(&address.octets()),
        }
    };
    // At most 17 words: the second fold carries at most once more.
    let sum = u32::from(!received) + sum(old, 0xffff) + sum(new, 0);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let corrected = match !(sum as u16) {
        // No checksum, in UDP.
        0 if protocol == protocol::UDP => 0xffff,
        corrected => corrected,
    };
    field.copy_from_slice(&corrected.to_be_bytes());
}

/// Source and destination port at the start of an upper-layer header that has them.
pub(crate) fn ports(protocol: u8, payload: &[u8]) -> Option<(u16, u16)> {
    let has_ports = matches!(
        protocol,
        protocol::TCP | protocol::UDP | protocol::DCCP | protocol::SCTP | protocol::UDP_LITE
    );
    (has_ports && payload.len() >= 4).then(|| (word(payload, 0), word(payload, 2)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v4(header_len: usize, protocol: u8, payload: usize) -> Vec<u8> {
        let mut packet = vec![0; header_len + payload];
        packet[0] = 0x40 | (header_len / 4) as u8;
        packet[2..4].copy_from_slice(&((header_len + payload) as u16).to_be_bytes());
        packet[9] = protocol;
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        let sum = checksum(&packet[..header_len]).computed;
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; IPV6_LEN];
        packet[0] = 0x60;
        packet[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
        packet[6] = next;
        packet[39] = 2;
        packet.extend_from_slice(payload);
        packet
    }

    fn read(packet: &[u8]) -> Result<Ip, Unreadable> {
        Ip::read(packet.first().map_or(4, |first| if first >> 4 == 6 { 6 } else { 4 }), packet, packet.len())
    }

    #[test]
    fn options_count_to_the_header() {
        for header_len in [20, 24, 60] {
            let ip = read(&v4(header_len, 50, 33)).unwrap();
            assert_eq!(ip.payload, header_len..header_len + 33);
            let Checksum { received, computed } = ip.checksum.unwrap();
            assert_eq!(received, computed);
        }
    }

    #[test]
    fn a_checksum_is_compared_not_trusted() {
        // The example of RFC 1071's sum over a header as many textbooks have it.
        let mut packet = v4(20, 17, 0);
        packet[8] ^= 0x40;
        let Checksum { received, computed } = read(&packet).unwrap().checksum.unwrap();
        assert_ne!(received, computed);
        packet[10..12].copy_from_slice(&computed.to_be_bytes());
        let again = read(&packet).unwrap().checksum.unwrap();
        assert!(again.is_right());
        assert_eq!(again, Checksum { received: computed, computed });
    }

    /// Of a TCP segment or UDP datagram over IPv4, with the checksum of all else.
    fn checksum_over(src: [u8; 4], protocol: u8, upper: &[u8]) -> u16 {
        let mut octets = vec![0, protocol, 0, upper.len() as u8];
        octets.extend(src);
        octets.extend([10, 0, 0, 2]);
        octets.extend_from_slice(upper);
        let sum: u32 = octets.chunks(2).map(|pair| u32::from(word(pair, 0))).sum();
        let sum = (sum >> 16) + (sum & 0xffff);
        match !((sum >> 16) as u16 + sum as u16) {
            0 if protocol == protocol::UDP => 0xffff,
            sum => sum,
        }
    }

    #[test]
    fn a_checksum_follows_the_address_for_every_sum() {
        for (protocol, len, at) in [(protocol::UDP, 10, 6), (protocol::TCP, 22, 16)] {
            for (old, new) in [([10, 0, 0, 1], [203, 0, 113, 9]), ([0, 1, 0, 1], [255, 255, 255, 254])] {
                for data in 0..=u16::MAX {
                    let mut upper = vec![0; len];
                    upper[len - 2..].copy_from_slice(&data.to_be_bytes());
                    let right = checksum_over(new, protocol, &upper);
                    let sum = checksum_over(old, protocol, &upper);
                    upper[at..at + 2].copy_from_slice(&sum.to_be_bytes());
                    replace_address_in_checksum(protocol, &mut upper, old.into(), new.into());
                    assert_eq!(word(&upper, at), right, "{protocol} {data}");
                }
            }
        }
    }

    #[test]
    fn a_checksum_of_zero_may_stand_as_ones() {
        let mut packet = v4(20, 17, 0);
        let sum = checksum(&packet[..20]).computed;
        // Makes the rest add up to ones.
        packet[4..6].copy_from_slice(&sum.to_be_bytes());
        for (received, is_right) in [(0, true), (0xffff, true), (1, false), (0xfffe, false), (0x8000, false)]
        {
            packet[10..12].copy_from_slice(&u16::to_be_bytes(received));
            let checksum = read(&packet).unwrap().checksum.unwrap();
            assert_eq!((checksum.computed, checksum.is_right()), (0, is_right), "{received:#06x}");
        }
        packet[4] ^= 1;
        packet[10..12].copy_from_slice(&[0xff, 0xff]);
        assert!(!read(&packet).unwrap().checksum.unwrap().is_right(), "ones where it is not zero");
    }

    #[test]
    fn what_follows_the_packet_is_no_part_of_it() {
        let mut packet = v4(20, 50, 30);
        packet.extend_from_slice(&[0; 18]);
        assert_eq!(read(&packet).unwrap().payload, 20..50);
        let mut packet = v6(50, &[0; 30]);
        packet.extend_from_slice(&[0; 18]);
        assert_eq!(read(&packet).unwrap().payload, 40..70);
    }

    #[test]
    fn lengths_that_lie_are_unreadable_and_name_the_protocol() {
        let good = v4(24, 50, 30);
        let mut wrong = Vec::new();
        for (at, value) in [(0, 0x44), (0, 0x4f), (0, 0x56), (3, 55), (3, 23), (3, 0)] {
            let mut packet = good.clone();
            packet[at] = value;
            wrong.push(packet);
        }
        wrong.extend((10..24).map(|len| good[..len].to_vec()));
        for packet in wrong {
            let Err(Unreadable { protocol, is_cut, .. }) = read(&packet) else { panic!("{packet:?}") };
            assert_eq!((protocol, is_cut), (Some(50), false), "{packet:?}");
        }
    }

    #[test]
    fn a_packet_longer_than_what_was_captured_is_cut() {
        let packet = v4(20, 50, 80);
        let cut = |captured: usize, wire_len| Ip::read(4, &packet[..captured], wire_len).unwrap_err();
        let (protocol, payload) = (Some(50), Some(20));
        assert_eq!(cut(60, 100), Unreadable { protocol, payload, is_cut: true });
        assert_eq!(cut(60, 99), Unreadable { protocol, payload, is_cut: false });
        assert_eq!(cut(12, 100), Unreadable { protocol, payload: None, is_cut: true });
        assert_eq!(cut(0, 100), Unreadable { protocol: None, payload: None, is_cut: true });
    }

    #[test]
    fn extension_headers_are_followed() {
        let mut payload = vec![60, 0, 0, 0, 0, 0, 0, 0];
        payload.extend([51, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        payload.extend([50, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        payload.extend([9; 10]);
        let ip = read(&v6(0, &payload)).unwrap();
        assert_eq!((ip.protocol, ip.payload), (50, 76..86));
        let ip = read(&v6(59, &[])).unwrap();
        assert_eq!((ip.protocol, ip.payload), (59, 40..40));
    }

    #[test]
    fn extension_headers_that_overrun_are_unreadable() {
        for payload in [vec![50], vec![50, 1, 0, 0, 0, 0, 0, 0], vec![]] {
            assert_eq!(
                read(&v6(0, &payload)),
                Err(Unreadable { protocol: Some(0), payload: None, is_cut: false })
            );
        }
    }

    #[test]
    fn more_extension_headers_than_are_followed_are_unreadable() {
        let headers = |count| {
            let mut headers = vec![0; 8 * count];
            headers[8 * (count - 1)] = 50;
            headers
        };
        let ip = read(&v6(0, &headers(MAX_EXTENSIONS - 1))).unwrap();
        assert_eq!((ip.protocol, ip.payload.is_empty()), (50, true));
        assert_eq!(
            read(&v6(0, &headers(MAX_EXTENSIONS + 1))),
            Err(Unreadable { protocol: Some(0), payload: None, is_cut: false })
        );
    }

    #[test]
    fn fragments_are_told() {
        for (offset, fragment) in [
            (0x4000, None),
            (0x2000, Some(Fragment::First)),
            (0x2001, Some(Fragment::Later)),
            (3, Some(Fragment::Later)),
        ] {
            let mut packet = v4(20, 50, 30);
            packet[6..8].copy_from_slice(&u16::to_be_bytes(offset));
            assert_eq!(read(&packet).unwrap().fragment, fragment);
        }
        for (offset, fragment) in [
            (0_u16, None),
            (1, Some(Fragment::First)),
            (9, Some(Fragment::Later)),
            (8, Some(Fragment::Later)),
            (6, None),
        ] {
            let [high, low] = offset.to_be_bytes();
            let ip = read(&v6(44, &[50, 0, high, low, 0, 0, 0, 1, 7, 7])).unwrap();
            assert_eq!((ip.protocol, ip.fragment, ip.payload), (50, fragment, 48..50));
        }
    }

    #[test]
    fn a_second_fragment_header_is_unreadable() {
        // Atomic, first; what stands between them does not matter.
        for one in [0, 1] {
            for two in [0, 1, 9] {
                let fragments = |next, between: &[u8]| {
                    let first = [next, 0, 0, one, 0, 0, 0, 1];
                    v6(44, &[&first, between, &[50, 0, 0, two, 0, 0, 0, 1], &[7; 16]].concat())
                };
                for packet in [fragments(44, &[]), fragments(60, &[44, 0, 1, 4, 0, 0, 0, 0])] {
                    let unreadable = Unreadable { protocol: Some(44), payload: None, is_cut: false };
                    assert_eq!(read(&packet), Err(unreadable), "{one} {two}");
                    assert_eq!(Ip::read_next_layer(&packet), Err(unreadable), "{one} {two}");
                }
            }
        }
        // In a later fragment what follows is data.
        let later = v6(44, &[44, 0, 0, 9, 0, 0, 0, 1, 50, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(read(&later).unwrap().fragment, Some(Fragment::Later));
    }

    #[test]
    fn a_later_fragment_has_no_headers_to_follow() {
        let mut packet = v4(20, 51, 30);
        // What would be an AH longer than the packet.
        (packet[20], packet[21], packet[7]) = (50, 200, 9);
        let ip = read(&packet).unwrap();
        assert_eq!((ip.protocol, ip.fragment, ip.payload), (51, Some(Fragment::Later), 20..50));
    }

    proptest! {
        #[test]
        fn reads_nothing_outside(
            octets in prop::collection::vec(any::<u8>(), 0..200),
            version in prop_oneof![Just(0x45_u8), Just(0x60), Just(0x4f), any::<u8>()],
            next in prop_oneof![Just(0_u8), Just(43), Just(44), Just(51), any::<u8>()],
        ) {
            let mut octets = octets;
            if octets.len() > 9 {
                octets[0] = version;
                (octets[6], octets[9]) = (next, next);
                (octets[4], octets[2]) = (0, 0);
            }
            if let Ok(ip) = read(&octets) {
                prop_assert!(ip.len <= octets.len());
                prop_assert!(ip.payload.start <= ip.payload.end && ip.payload.end == ip.len);
            }
        }
    }
}
