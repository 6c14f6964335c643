//! UDP encapsulation of ESP, and what keeps NAT mappings alive (RFC 3948).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::ip::{UDP_LEN, protocol};
use crate::outer::UdpPorts;

/// What a keepalive holds (RFC 3948 §2.3).
pub(super) const KEEPALIVE: u8 = 0xff;

/// Appends a UDP header in front of `payload_len` octets, without a checksum.
//
//= https://www.rfc-editor.org/rfc/rfc3948#section-2.1
//# o  the IPv4 UDP Checksum SHOULD be transmitted as a zero value, and
pub(super) fn write_header(octets: &mut Vec<u8>, ports: UdpPorts, payload_len: usize) {
    octets.extend(ports.src.to_be_bytes());
    octets.extend(ports.dst.to_be_bytes());
    // No packet is longer than its IP header can say.
    octets.extend(((UDP_LEN + payload_len) as u16).to_be_bytes());
    octets.extend([0, 0]);
}

/// Writes the checksum of a UDP datagram that has none over IPv6 (RFC 8200 §8.1), from `src` to `dst`, which under a routing header is
/// the last hop.
pub(super) fn write_checksum(src: IpAddr, dst: IpAddr, datagram: &mut [u8]) {
    let addresses = [src, dst].map(|address| match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    });
    let words = |octets: &[u8]| -> u64 {
        let pairs = octets.chunks(2);
        pairs.map(|pair| u64::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u64::from)).sum()
    };
    let mut sum = words(&addresses[0]) + words(&addresses[1]) + words(datagram);
    sum += datagram.len() as u64 + u64::from(protocol::UDP);
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    // Zero would mean that there is none.
    let checksum = match !(sum as u16) {
        0 => 0xffff,
        checksum => checksum,
    };
    datagram[6..UDP_LEN].copy_from_slice(&checksum.to_be_bytes());
}

/// The other end of a NAT's mapping.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) ports: UdpPorts,
}

/// The peers of all SAs with UDP encapsulation, and when something was last sent to each.
#[derive(Default)]
pub(super) struct Peers {
    places: HashMap<Peer, usize>,
    peers: Vec<Option<Mapping>>,
    /// Places in `peers` without one.
    holes: Vec<usize>,
}

/// What keeps a mapping alive.
struct Mapping {
    peer: Peer,
    /// When something was last sent.
    last: Duration,
    /// SAs that it is for.
    sas: usize,
}

impl Peers {
    /// The place of an SA's peer, known since `now` if it was not before.
    pub(super) fn join(&mut self, peer: Peer, now: Duration) -> usize {
        if let Some(&place) = self.places.get(&peer)
            && let Some(mapping) = &mut self.peers[place]
        {
            mapping.sas += 1;
            return place;
        }
        let mapping = Some(Mapping { peer, last: now, sas: 1 });
        let place = match self.holes.pop() {
            Some(place) => {
                self.peers[place] = mapping;
                place
            }
            None => {
                self.peers.push(mapping);
                self.peers.len() - 1
            }
        };
        self.places.insert(peer, place);
        place
    }

    /// An SA of the peer at `place` is gone.
    pub(super) fn leave(&mut self, place: usize) {
        if let Some(mapping) = self.peers.get_mut(place).and_then(Option::as_mut) {
            mapping.sas -= 1;
            if mapping.sas == 0 {
                self.places.remove(&mapping.peer);
                self.peers[place] = None;
                self.holes.push(place);
            }
        }
    }

    /// Something is sent to it.
    pub(super) fn sent(&mut self, place: usize, now: Duration) {
        if let Some(mapping) = self.peers.get_mut(place).and_then(Option::as_mut) {
            mapping.last = now;
        }
    }

    /// Those to which nothing was sent for `interval`; now something is.
    pub(super) fn silent(&mut self, now: Duration, interval: Duration) -> impl Iterator<Item = Peer> {
        self.peers.iter_mut().flatten().filter_map(move |Mapping { peer, last, .. }| {
            let is_silent = now.saturating_sub(*last) >= interval && !peer.src.is_unspecified();
            is_silent.then(|| {
                *last = now;
                *peer
            })
        })
    }
}
