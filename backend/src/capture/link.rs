//! Link types, and Ethernet headers in their place.

use super::CapturedFrame;

const ETHERNET_LEN: usize = 14;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];

/// A link type: what stands in front of the IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// An Ethernet header.
    Ethernet,
    /// Nothing.
    Ip,
    /// Nothing, and it is IPv4.
    Ipv4,
    /// Nothing, and it is IPv6.
    Ipv6,
    /// A header of 16 octets that ends with the EtherType (LINKTYPE_LINUX_SLL).
    Cooked,
    /// A header of 20 octets that starts with the EtherType (LINKTYPE_LINUX_SLL2).
    CookedV2,
}

impl Link {
    /// By number (<https://www.tcpdump.org/linktypes.html>).
    pub(super) fn of(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Ethernet),
            // 12 and 14 are what some systems call 101 themselves.
            12 | 14 | 101 => Some(Self::Ip),
            113 => Some(Self::Cooked),
            228 => Some(Self::Ipv4),
            229 => Some(Self::Ipv6),
            276 => Some(Self::CookedV2),
            _ => None,
        }
    }

    fn header_len(self) -> usize {
        match self {
            Self::Ethernet => ETHERNET_LEN,
            Self::Ip | Self::Ipv4 | Self::Ipv6 => 0,
            Self::Cooked => 16,
            Self::CookedV2 => 20,
        }
    }
}

impl CapturedFrame<'_> {
    /// Appends the frame to `frames` as an Ethernet frame, and returns that one's octets on the wire. Another link
    /// type's header is exchanged for one with no addresses.
    pub(crate) fn append_ethernet(&self, frames: &mut Vec<u8>) -> usize {
        if self.link == Link::Ethernet {
            frames.extend_from_slice(self.octets);
            return self.wire_len;
        }
        let header_len = self.link.header_len();
        let Some((header, packet)) = self.octets.split_at_checked(header_len) else {
            // A frame without a type, and cut if this one was.
            return if self.octets.len() < self.wire_len { self.wire_len } else { 0 };
        };
        let version = packet.first().map(|first| first >> 4);
        let ethertype = match (self.link, version) {
            (Link::Cooked, _) => [header[14], header[15]],
            (Link::CookedV2, _) => [header[0], header[1]],
            (Link::Ipv6, _) | (Link::Ip, Some(6)) => ETHERTYPE_IPV6,
            _ => ETHERTYPE_IPV4,
        };
        frames.extend_from_slice(&[0; ETHERNET_LEN - 2]);
        frames.extend_from_slice(&ethertype);
        frames.extend_from_slice(packet);
        self.wire_len - header_len + ETHERNET_LEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ethernet(link: u16, octets: &[u8], wire_len: usize) -> (Vec<u8>, usize) {
        let link = Link::of(link).unwrap();
        let frame = CapturedFrame { number: 1, time: None, link, octets, wire_len };
        let mut frames = Vec::new();
        let wire_len = frame.append_ethernet(&mut frames);
        (frames, wire_len)
    }

    #[test]
    fn each_link_type_becomes_ethernet() {
        let (v4, v6) = ([0x45, 1, 2, 3], [0x60, 1, 2, 3]);
        let made = |ethertype: [u8; 2], packet: &[u8]| [&[0; 12][..], &ethertype, packet].concat();
        for link in [12, 14, 101, 228] {
            assert_eq!(ethernet(link, &v4, 4), (made([8, 0], &v4), 18), "{link}");
        }
        for link in [12, 14, 101, 229] {
            assert_eq!(ethernet(link, &v6, 9), (made([0x86, 0xdd], &v6), 23), "{link}");
        }
        let cooked = [&[0; 14][..], &[0x86, 0xdd], &v6].concat();
        assert_eq!(ethernet(113, &cooked, 20), (made([0x86, 0xdd], &v6), 18));
        let cooked_v2 = [&[8, 0][..], &[0xff; 18], &v4].concat();
        assert_eq!(ethernet(276, &cooked_v2, 24), (made([8, 0], &v4), 18));
        assert_eq!(ethernet(1, &cooked, 99), (cooked.clone(), 99));
    }

    #[test]
    fn a_header_that_is_cut_or_short_hides_nothing() {
        assert_eq!(ethernet(113, &[8; 15], 60), (vec![], 60));
        assert_eq!(ethernet(113, &[8; 15], 15), (vec![], 0));
        assert_eq!(ethernet(276, &[8; 19], 60), (vec![], 60));
        assert_eq!(ethernet(101, &[], 60).1, 74);
    }
}
