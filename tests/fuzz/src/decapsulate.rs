//! `Receiver::receive_burst` against a slow, obvious decapsulator (decapsulate/slow.rs).
//!
//! The octets say packets, one after the other, for a receiver that has all SAs of decapsulate/sa.rs. As no fuzzer finds
//! an ICV, most packets are made here: the octets say number, payload, padding, next header and outer headers, it is
//! sealed rightly, and then, if the octets say so, damaged. Others are the octets as they are, or earlier packets again.
//!
//! The packets come one by one to one receiver, and in one burst to another. Each must make of each packet what the
//! slow one does, and deliver the same octets.
//!
//! What is left out: mode beet, lifetimes, checksums behind a NAT, and re-synchronization of ESN, for which there are too
//! few packets.

mod sa;
mod slow;

use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use espwire_ipsec::xfrm::{self, Database};
use espwire_ipsec::{Received, Receiver, Sad};

use sa::{ALL, Sa};
use slow::{Outcome, Slow};

/// Fewer than the failures that make a receiver look for a lost sender.
const MAX_PACKETS: usize = 40;
const NOW: Duration = Duration::from_secs(100);

/// Runs the target.
///
/// # Panics
///
/// The two sides differ.
pub fn run(octets: &[u8]) {
    check(&made(octets));
}

/// The packets that the octets say.
fn made(octets: &[u8]) -> Vec<Vec<u8>> {
    let mut maker = Maker { u: Unstructured::new(octets), tops: ALL.map(|sa| sa.top), packets: Vec::new() };
    while maker.packets.len() < MAX_PACKETS && !maker.u.is_empty() {
        let Ok(packet) = maker.packet() else { break };
        maker.packets.push(packet);
    }
    maker.packets
}

fn check(packets: &[Vec<u8>]) {
    let mut slow = Slow::new();
    let expected: Vec<Outcome> = packets.iter().map(|packet| slow.receive(packet)).collect();
    let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    let (mut alone, mut together) = (receiver(), receiver());
    let burst = receive(&mut together, &packets);
    for (at, packet) in packets.iter().enumerate() {
        let found = &receive(&mut alone, &[packet])[0];
        assert!(
            is_right(found, &expected[at]),
            "packet {at}: {found:02x?}\nexpected {:02x?}\nof {packet:02x?}",
            expected[at]
        );
        assert!(
            is_same(found, &burst[at]),
            "packet {at}: {found:02x?}\nin the burst {:02x?}\nof {packet:02x?}",
            burst[at]
        );
    }
}

/// The text is read once: that is the longer part.
fn receiver() -> Receiver {
    static DATABASE: OnceLock<Database> = OnceLock::new();
    let database = DATABASE.get_or_init(|| {
        let text: String = ALL.iter().enumerate().map(|(place, sa)| sa.command(place)).collect();
        xfrm::parse("all", &text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    });
    Receiver::new(Sad::receiving([database], NOW).unwrap_or_else(|error| panic!("{error}")))
}

/// What became of a packet, and what is delivered.
type Found = (Received, Vec<u8>);

fn receive(receiver: &mut Receiver, packets: &[&[u8]]) -> Vec<Found> {
    let (mut received, mut events) = (Vec::new(), Vec::new());
    receiver.receive_burst(NOW, packets, &mut received, &mut events);
    assert_eq!(received.len(), packets.len());
    let octets = |received: &Received| match received {
        Received::Packet(delivered) => receiver.packet(*delivered).to_vec(),
        _ => Vec::new(),
    };
    received.iter().map(|received| (*received, octets(received))).collect()
}

fn is_right((received, octets): &Found, expected: &Outcome) -> bool {
    match (expected, received) {
        (Outcome::Deliver(packet) | Outcome::DeliverOrDrop(packet), Received::Packet(_)) => packet == octets,
        (Outcome::Pass(expected), Received::Pass(found)) => expected == found,
        (Outcome::DropOrPass, Received::Pass(_)) => true,
        (Outcome::Drop | Outcome::DropOrPass | Outcome::DeliverOrDrop(_), Received::Drop(_)) => true,
        _ => false,
    }
}

/// With the reason as well.
fn is_same((one, octets): &Found, (other, other_octets): &Found) -> bool {
    let is_same = match (one, other) {
        (Received::Packet(one), Received::Packet(other)) => one.sa == other.sa,
        (Received::Pass(one), Received::Pass(other)) => one == other,
        (Received::Drop(one), Received::Drop(other)) => one == other,
        _ => false,
    };
    is_same && octets == other_octets
}

/// Makes packets of octets.
struct Maker<'a> {
    u: Unstructured<'a>,
    /// The highest number that each SA's packets have had.
    tops: [u64; ALL.len()],
    packets: Vec<Vec<u8>>,
}

impl Maker<'_> {
    fn octet(&mut self) -> Result<u8> {
        self.u.arbitrary()
    }

    fn octets(&mut self, len: u8) -> Result<Vec<u8>> {
        let len = usize::from(len).min(self.u.len());
        Ok(self.u.bytes(len)?.to_vec())
    }

    fn packet(&mut self) -> Result<Vec<u8>> {
        match self.octet()? % 8 {
            0 => {
                let len = self.octet()?;
                self.octets(len)
            }
            kind @ (1 | 2) if !self.packets.is_empty() => {
                let at = usize::from(self.octet()?) % self.packets.len();
                let mut packet = self.packets[at].clone();
                if kind == 2 {
                    self.damage(&mut packet)?;
                }
                Ok(packet)
            }
            _ => self.made(),
        }
    }

    fn made(&mut self) -> Result<Vec<u8>> {
        let place = usize::from(self.octet()?) % ALL.len();
        let sa = ALL[place];
        let sequence = self.sequence(&sa, place)?;
        let (next_header, payload) = self.payload(&sa)?;
        let plaintext = self.plaintext(&sa, next_header, payload)?;
        let iv: Vec<u8> = (0..sa.iv_len()).map(|at| (sequence >> (8 * (at % 8))) as u8 ^ at as u8).collect();
        let esp = sa.seal(sa::spi(place), sequence, &iv, &plaintext);
        self.outer(&sa, esp)
    }

    /// The next number, one near, or any.
    fn sequence(&mut self, sa: &Sa, place: usize) -> Result<u64> {
        let top = self.tops[place];
        let number = match self.octet()? % 16 {
            0..=9 => top.wrapping_add(1),
            // About the left edge of the window.
            10 | 11 => top.wrapping_sub(sa.window).wrapping_add(u64::from(self.octet()? % 4)).wrapping_sub(1),
            12 => top.wrapping_add(2 + u64::from(self.octet()?)),
            13 => top.wrapping_sub(u64::from(self.octet()?)),
            14 => top >> 32 << 32 | u64::from(self.u.arbitrary::<u32>()?),
            _ => top.wrapping_add(u64::from(self.octet()?) << 28),
        };
        // Far beyond what any sender has come to, Appendix A counts modulo 2^64, and the slow one doesn't.
        let number = if sa.esn { number & 0xff_ffff_ffff } else { number & 0xffff_ffff };
        self.tops[place] = top.max(number);
        Ok(number)
    }

    /// Next header and payload: mostly a packet that the SA may be for.
    fn payload(&mut self, sa: &Sa) -> Result<(u8, Vec<u8>)> {
        let bits = self.octet()?;
        let (mut next_header, mut payload) = match bits & 7 {
            0 => (59, Vec::new()),
            1 | 2 => {
                let len = self.octet()?;
                (if bits & 8 == 0 { 4 } else { 41 }, self.octets(len)?)
            }
            _ => {
                let is_v6 = (bits & 8 != 0) ^ sa.over_v6;
                let (protocol, upper) = self.upper(is_v6)?;
                if sa.is_tunnel {
                    (if is_v6 { 41 } else { 4 }, self.inner(is_v6, protocol, &upper)?)
                } else {
                    (protocol, upper)
                }
            }
        };
        if bits & 0x30 == 0x30 {
            next_header = self.octet()?;
        }
        // TFC padding (RFC 4303 §2.7).
        if bits & 0xc0 == 0xc0 {
            let len = self.octet()?;
            payload.extend(vec![len; usize::from(len % 64)]);
        }
        Ok((next_header, payload))
    }

    /// What is behind an IP header: UDP, TCP, ICMP, or anything.
    fn upper(&mut self, is_v6: bool) -> Result<(u8, Vec<u8>)> {
        let bits = self.octet()?;
        let protocol = match bits & 3 {
            0 => 17,
            1 => 6,
            2 => [1, 58][usize::from(is_v6)],
            _ => self.octet()?,
        };
        let dport = [53, 5353][usize::from(bits >> 2 & 1)];
        let len = (bits >> 3) % 16;
        let body = self.octets(len)?;
        Ok((protocol, [&[0xc0, 1, 0, dport as u8], &body[..]].concat()))
    }

    fn inner(&mut self, is_v6: bool, protocol: u8, upper: &[u8]) -> Result<Vec<u8>> {
        let (class, bits) = (self.octet()?, self.octet()?);
        let (src, dst) = if is_v6 {
            ([0xfd01, 0, 0, 0, 0, 0, 0, 7].into(), [0xfd02, 0, 0, 0, 0, 0, 0, 9].into())
        } else {
            ([10, 1, 0, 7].into(), [10, 2, 0, 9].into())
        };
        let mut packet = self.header(src, dst, class, protocol, upper.len(), bits)?;
        packet.extend(upper);
        if bits & 0x80 != 0 {
            self.make_fragment(&mut packet)?;
        }
        let has_right_checksum = bits & 0x40 == 0;
        for _ in 0..bits & 3 {
            let [at, octet] = self.u.arbitrary::<[u8; 2]>()?;
            let len = packet.len();
            packet[usize::from(at) % len] = octet;
        }
        if has_right_checksum {
            fix_checksum(&mut packet);
        }
        Ok(packet)
    }

    /// An IP header with options or extension headers if `bits` say so, for a payload of `len` octets.
    fn header(
        &mut self,
        src: IpAddr,
        dst: IpAddr,
        class: u8,
        protocol: u8,
        len: usize,
        bits: u8,
    ) -> Result<Vec<u8>> {
        let options = usize::from(if bits & 0x30 == 0x30 { self.octet()? & 3 } else { 0 });
        let mut header = Vec::new();
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let header_len = 20 + 4 * options;
                header.extend([0x40 | (header_len / 4) as u8, class]);
                header.extend(((header_len + len) as u16).to_be_bytes());
                header.extend([0, 1, 0, 0, 64, protocol, 0, 0]);
                header.extend(src.octets());
                header.extend(dst.octets());
                header.resize(header_len, 1);
                fix_checksum(&mut header);
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let mut kinds = Vec::new();
                for _ in 0..options {
                    let octet = self.octet()?;
                    // Now and then one that is a next layer protocol, behind which no ESP is looked for.
                    let of = if octet >= 0xf0 { [51, 135, 139, 140] } else { [0, 43, 60, 44] };
                    kinds.push((of[usize::from(octet & 3)], usize::from(octet >> 2 & 1)));
                }
                let mut extensions = Vec::new();
                for (at, (kind, longer)) in kinds.iter().enumerate() {
                    let next = kinds.get(at + 1).map_or(protocol, |(kind, _)| *kind);
                    if *kind == 44 {
                        // Of a packet that is in one piece (RFC 6946).
                        extensions.extend([next, 0, 0, 0, 0, 0, 0, 9]);
                    } else {
                        extensions.extend([next, *longer as u8]);
                        extensions.resize(extensions.len() + 6 + 8 * longer, 0);
                    }
                }
                header.extend([0x60 | class >> 4, class << 4, 0, 0]);
                header.extend(((extensions.len() + len) as u16).to_be_bytes());
                header.extend([kinds.first().map_or(protocol, |(kind, _)| *kind), 64]);
                header.extend(src.octets());
                header.extend(dst.octets());
                header.extend(extensions);
            }
            _ => {}
        }
        Ok(header)
    }

    /// Payload, padding, pad length, next header. Not all of it is right.
    fn plaintext(&mut self, sa: &Sa, next_header: u8, payload: Vec<u8>) -> Result<Vec<u8>> {
        let bits = self.octet()?;
        let block_len = sa.block_len();
        let mut plaintext = payload;
        let least = (block_len - (plaintext.len() + 2) % block_len) % block_len;
        let more = if bits & 3 == 3 { usize::from(self.octet()?) } else { 0 };
        let pad_len = least + more / block_len * block_len;
        let pad_len = if pad_len > 255 { least } else { pad_len };
        if bits & 0xe0 == 0xe0 && block_len < 16 {
            // Not aligned, which these ciphers do not mind.
            plaintext.extend([0; 3]);
            plaintext.truncate(plaintext.len() - usize::from(self.octet()? % 3));
        }
        plaintext.extend((1..=pad_len).map(|octet| octet as u8));
        plaintext.extend([pad_len as u8, next_header]);
        let len = plaintext.len();
        if bits & 0x1c == 0x1c {
            // A padding octet is another, or what is before.
            let at = usize::from(self.octet()?) % (pad_len + 3).min(len);
            plaintext[len - 1 - at] ^= 1 << (bits >> 5);
        }
        Ok(plaintext)
    }

    fn outer(&mut self, sa: &Sa, mut esp: Vec<u8>) -> Result<Vec<u8>> {
        let (class, bits) = (self.octet()?, self.octet()?);
        if bits & 0x0c == 0x0c {
            self.damage(&mut esp)?;
        }
        // Also the other encapsulation than the SA has.
        let is_other = bits & 0x43 == 0x43;
        let (protocol, body) = match (sa.encap, is_other) {
            (Some(port), false) => (17, udp(port, &esp)),
            (None, true) => (17, udp(4500, &esp)),
            _ => (50, esp),
        };
        let mut packet = self.header(sa.src(), sa.dst(), class, protocol, body.len(), bits)?;
        let header_len = packet.len();
        packet.extend(body);
        // Mostly of the headers, and then the checksum is right again or not.
        if bits & 0x80 != 0 {
            let changes = self.octet()?;
            for _ in 0..changes & 3 {
                let [at, octet] = self.u.arbitrary::<[u8; 2]>()?;
                let reach = (header_len + 12).min(packet.len());
                packet[usize::from(at) % reach] = octet;
            }
            if changes & 8 != 0 {
                self.make_fragment(&mut packet)?;
            }
            if changes & 4 == 0 {
                fix_checksum(&mut packet);
            }
            match changes >> 4 {
                // Something follows the packet.
                0 => packet.extend([changes; 5]),
                1 => packet.truncate(packet.len() - 1),
                _ => {}
            }
        }
        Ok(packet)
    }

    /// Of IPv4; the fragment header of IPv6 is a change of one octet away.
    fn make_fragment(&mut self, packet: &mut [u8]) -> Result<()> {
        let bits = self.octet()?;
        if packet.first().is_some_and(|first| first >> 4 == 4) {
            packet[6..8].copy_from_slice(&[bits & 0x60, bits & 3]);
        }
        Ok(())
    }

    fn damage(&mut self, octets: &mut Vec<u8>) -> Result<()> {
        let bits = self.octet()?;
        for _ in 0..bits & 3 {
            let (at, octet) = (self.u.arbitrary::<u16>()?, self.octet()?);
            let len = octets.len().max(1);
            if let Some(damaged) = octets.get_mut(usize::from(at) % len) {
                *damaged ^= octet;
            }
        }
        if bits & 0x1c == 0x1c {
            let len = self.octet()?;
            octets.truncate(len.into());
        }
        if bits & 0xe0 == 0xe0 {
            octets.push(bits);
        }
        Ok(())
    }
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() + 8) as u16;
    [&4500_u16.to_be_bytes()[..], &port.to_be_bytes(), &len.to_be_bytes(), &[0, 0], payload].concat()
}

/// Of an IPv4 header that is there; what is none stays as it is.
fn fix_checksum(packet: &mut [u8]) {
    let header_len = packet.first().map_or(0, |first| usize::from(first & 15) * 4);
    if packet.first().is_none_or(|first| first >> 4 != 4) || header_len < 20 || packet.len() < header_len {
        return;
    }
    if let Ok((mut header, _)) = etherparse::Ipv4Header::from_slice(packet) {
        header.header_checksum = header.calc_header_checksum();
        packet[10..12].copy_from_slice(&header.header_checksum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a sender would send is delivered, and the same packet again is not: else there would be nothing to compare.
    #[test]
    fn each_sa_has_packets_that_are_delivered() {
        for (place, sa) in ALL.iter().enumerate() {
            // ICMPv6 for the SA that is for that alone, else UDP to port 53; TCP where that is asked for.
            let kind = match sa.selector.and_then(|selected| selected.protocol) {
                Some(58) => 2,
                Some(6) => 1,
                _ => 0,
            };
            // An inner packet of IPv4 over IPv6 and the other way round is as good; here selectors say which.
            let payload = if sa.over_v6 && sa.selector.is_some_and(|selected| selected.src.0.contains('.')) {
                11
            } else {
                3
            };
            let mut octets = vec![3, place as u8, 0, payload, kind];
            if sa.is_tunnel {
                octets.extend([0, 0]);
            }
            octets.extend([0, 0, 0, 1, 0]);
            run(&octets);
            let packets = made(&octets);
            assert_eq!(packets.len(), 2, "SA {place}");
            let mut slow = Slow::new();
            let first = slow.receive(&packets[0]);
            assert!(matches!(first, Outcome::Deliver(_)), "SA {place}: {first:?}");
            let is_replayed = slow.receive(&packets[1]) == Outcome::Drop;
            assert_eq!(is_replayed, sa.window > 0, "SA {place}");
        }
    }
}
