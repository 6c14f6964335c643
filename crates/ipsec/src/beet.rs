//! Bound end-to-end tunnel mode (RFC 7402 Appendix B): the inner addresses are the SA's, and the inner IP header, which
//! is not on the wire, is made again of the outer one.
//!
//! As in Linux: DSCP, ECN, TTL or hop limit come from the outer header; so do identification and DF, or the flow label,
//! if it is of the same version. From IPv6 to IPv4 the identification is 0 and DF is set, so that nobody fragments a
//! packet whose fragments could not be told apart. IPv4 options stand in a pseudo header of the payload, protocol 94.

use std::net::IpAddr;
use std::ops::Range;

use crate::ip::{self, IPV4_MIN_LEN, IPV6_LEN, protocol};

/// Longest options of an IPv4 header.
const MAX_OPTIONS_LEN: usize = 40;
/// Next header, length, pad length, reserved.
const PSEUDO_HEADER_LEN: usize = 4;
const DF: u8 = 0x40;
const IPV4_TTL_AT: usize = 8;
const IPV6_HOP_LIMIT_AT: usize = 7;

/// What the payload of an ESP packet in mode beet begins with.
pub(crate) struct Beet {
    /// The inner packet's protocol.
    pub(crate) protocol: u8,
    /// Options of the inner IPv4 header.
    options: Range<usize>,
    /// Where in the payload the inner packet's own begins.
    pub(crate) payload_at: usize,
}

impl Beet {
    /// Reads the pseudo header, if there is one. `None`: it can't be right.
    ///
    /// ```text
    ///  | next header | length | pad length | 0 | padding: 0 or 4 octets | options |
    /// ```
    ///
    /// Its length counts units of 8 octets beyond the first 8.
    pub(crate) fn read(is_ipv4: bool, next_header: u8, payload: &[u8]) -> Option<Self> {
        if !is_ipv4 || next_header != protocol::BEET {
            return Some(Self { protocol: next_header, options: 0..0, payload_at: 0 });
        }
        let &[protocol, len, pad_len, _, ..] = payload else { return None };
        let end = 8 * (usize::from(len) + 1);
        let options = PSEUDO_HEADER_LEN + usize::from(pad_len)..end;
        let is_right = end <= payload.len() && matches!(pad_len, 0 | 4) && options.len() <= MAX_OPTIONS_LEN;
        is_right.then_some(Self { protocol, options, payload_at: end })
    }

    /// Appends the inner packet, from `src` to `dst`, to `built`. `outer` is the packet that came, from its IP header
    /// on; `payload` is what this was read from. Returns where the packet stands; `None` if it would be too long for
    /// an IP packet, or the addresses are of two families.
    pub(crate) fn restore(
        &self,
        (src, dst): (IpAddr, IpAddr),
        outer: &[u8],
        payload: &[u8],
        built: &mut Vec<u8>,
    ) -> Option<Range<usize>> {
        let start = built.len();
        let class = ip::traffic_class(outer);
        let outer_is_ipv4 = outer[0] >> 4 == 4;
        let ttl = outer[if outer_is_ipv4 { IPV4_TTL_AT } else { IPV6_HOP_LIMIT_AT }];
        let own = &payload[self.payload_at..];
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let header_len = IPV4_MIN_LEN + self.options.len();
                u16::try_from(header_len + own.len()).ok()?;
                let (id, flags) =
                    if outer_is_ipv4 { ([outer[4], outer[5]], outer[6] & DF) } else { ([0, 0], DF) };
                built.extend([0x40 | (header_len / 4) as u8, class, 0, 0, id[0], id[1], flags, 0]);
                built.extend([ttl, self.protocol, 0, 0]);
                built.extend(src.octets());
                built.extend(dst.octets());
                built.extend_from_slice(&payload[self.options.clone()]);
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                u16::try_from(own.len()).ok()?;
                let mut first = [0x60, 0, 0, 0];
                if !outer_is_ipv4 {
                    first.copy_from_slice(&outer[..4]);
                }
                built.extend(first);
                built.extend([0, 0, self.protocol, ttl]);
                built.extend(src.octets());
                built.extend(dst.octets());
                debug_assert_eq!(built.len() - start, IPV6_LEN);
            }
            _ => return None,
        }
        built.extend_from_slice(own);
        let packet = &mut built[start..];
        ip::set_traffic_class(packet, class);
        ip::fix_len(packet);
        Some(start..built.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 2));

    #[test]
    fn a_pseudo_header_holds_options_of_every_length() {
        for options_len in (0..=40).step_by(4) {
            let pad_len = if options_len % 8 == 0 { 4 } else { 0 };
            let mut payload = vec![17, (options_len / 8) as u8, pad_len, 0];
            payload.extend(vec![1; usize::from(pad_len)]);
            payload.extend(vec![7; options_len]);
            payload.extend([9; 5]);
            let beet = Beet::read(true, protocol::BEET, &payload).unwrap();
            assert_eq!((beet.protocol, beet.options.len()), (17, options_len));
            assert_eq!(payload[beet.payload_at..], [9; 5]);
            for len in 0..payload.len() - 5 {
                assert!(Beet::read(true, protocol::BEET, &payload[..len]).is_none(), "{options_len} {len}");
            }
        }
    }

    #[test]
    fn a_pseudo_header_that_lies_is_refused() {
        for (len, pad_len) in [(0, 1), (0, 3), (0, 5), (0, 8), (5, 0), (6, 0), (6, 4), (255, 0)] {
            let mut payload = vec![1; 4096];
            payload[..4].copy_from_slice(&[17, len, pad_len, 0]);
            assert!(Beet::read(true, protocol::BEET, &payload).is_none(), "{len} {pad_len}");
        }
        // It is of IPv4; in IPv6 94 is a protocol like any other.
        assert_eq!(Beet::read(false, protocol::BEET, &[]).unwrap().protocol, protocol::BEET);
    }

    #[test]
    fn what_would_be_too_long_is_not_made() {
        let mut outer = [0; 40];
        outer[0] = 0x60;
        let beet = Beet::read(true, 17, &[]).unwrap();
        let restore = |len: usize| beet.restore((A, B), &outer, &vec![0; len], &mut Vec::new());
        assert_eq!(restore(65_515), Some(0..65_535));
        assert_eq!(restore(65_516), None);
    }
}
