//! A decapsulator that is slow and obvious: RFC 4303 §3.4, RFC 4301 §5.2, RFC 3948 and RFC 6040, step by step.

use std::collections::BTreeSet;
use std::net::IpAddr;

use espwire_ipsec::Passed;

use super::sa::{self, Sa, Selected};
use crate::packet::{self, Fragment, Packet, Reading};

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was ESP with this packet inside.
    Deliver(Vec<u8>),
    /// It is not ESP.
    Pass(Passed),
    /// It ends here.
    Drop,
    /// It ends here or goes on as it came: headers that can't be right and may or may not have been ESP's.
    DropOrPass,
    /// Either this packet or nothing.
    DeliverOrDrop(Vec<u8>),
}

/// An SA with the numbers that it has received.
struct Entry {
    sa: Sa,
    spi: u32,
    top: u64,
    /// All of them, however old.
    seen: BTreeSet<u64>,
}

/// All SAs.
pub(super) struct Slow {
    entries: Vec<Entry>,
}

/// ESP in a packet.
struct Found<'a> {
    packet: &'a [u8],
    dst: IpAddr,
    /// UDP destination port of encapsulation.
    udp: Option<u16>,
    /// Headers that stay in transport mode: all before ESP, or before UDP.
    headers_len: usize,
    /// The octet that names ESP, or UDP.
    protocol_at: usize,
    esp: &'a [u8],
}

impl Slow {
    pub(super) fn new() -> Self {
        let entry = |(place, sa): (usize, &Sa)| {
            let seen = if sa.top > 0 { BTreeSet::from([sa.top]) } else { BTreeSet::new() };
            Entry { sa: *sa, spi: sa::spi(place), top: sa.top, seen }
        };
        Self { entries: sa::ALL.iter().enumerate().map(entry).collect() }
    }

    pub(super) fn receive(&mut self, packet: &[u8]) -> Outcome {
        let outer = match packet::read(packet) {
            Reading::Packet(outer) => outer,
            // Perhaps ESP was meant.
            Reading::BrokenOff => return Outcome::Drop,
            Reading::Malformed if !matches!(packet.first().map(|first| first >> 4), Some(4 | 6)) => {
                return Outcome::Drop;
            }
            Reading::Malformed | Reading::Unclear(_) => return Outcome::DropOrPass,
        };
        let found = match find(packet, &outer) {
            Ok(found) => found,
            Err(outcome) => return outcome,
        };
        if found.esp.len() < 8 {
            return Outcome::Drop;
        }
        let spi = u32::from_be_bytes([found.esp[0], found.esp[1], found.esp[2], found.esp[3]]);
        let entry = self.entries.iter_mut().find(|entry| entry.spi == spi && entry.sa.dst() == found.dst);
        match entry {
            Some(entry) => entry.receive(&found).unwrap_or(Outcome::Drop),
            None => Outcome::Drop,
        }
    }
}

impl Entry {
    /// RFC 4303 §3.4.2 on. None: it is dropped.
    fn receive(&mut self, found: &Found<'_>) -> Option<Outcome> {
        let Sa { esn, window, .. } = self.sa;
        if self.sa.encap != found.udp {
            return None;
        }
        let rest = found.esp.len().checked_sub(8 + self.sa.iv_len() + self.sa.icv_len())?;
        let is_whole_blocks = self.sa.transform != sa::Transform::Cbc || rest % 16 == 0;
        if rest < 2 || !is_whole_blocks {
            return None;
        }
        let low = u32::from_be_bytes([found.esp[4], found.esp[5], found.esp[6], found.esp[7]]);
        let number = if esn { self.whole_number(low)? } else { u64::from(low) };
        if window > 0 {
            let is_old = number + window <= self.top;
            // 0 is never sent.
            if is_old || number == 0 || self.seen.contains(&number) {
                return None;
            }
        }
        let plaintext = self.sa.open(number, found.esp)?;
        self.seen.insert(number);
        self.top = self.top.max(number);
        self.leave(found, &plaintext)
    }

    /// The number that ends in `low`, not left of the window and less than 2^32 from its left edge (RFC 4303 §A2.2).
    fn whole_number(&self, low: u32) -> Option<u64> {
        let edge = i128::from(self.top) - i128::from(self.sa.window) + 1;
        let mut number = i128::from(low) - (1 << 32);
        while number < edge {
            number += 1 << 32;
        }
        u64::try_from(number).ok()
    }

    /// The plaintext is right: what is in it?
    fn leave(&self, found: &Found<'_>, plaintext: &[u8]) -> Option<Outcome> {
        // RFC 4303 §2.4: pad length and next header are right aligned in a word of 4 octets.
        if !plaintext.len().is_multiple_of(4) {
            return None;
        }
        let (before, [pad_len, next_header]) = plaintext.split_last_chunk::<2>()?;
        let payload_len = before.len().checked_sub(usize::from(*pad_len))?;
        let (payload, padding) = before.split_at(payload_len);
        if padding.iter().enumerate().any(|(at, octet)| usize::from(*octet) != at + 1) {
            return None;
        }
        // A dummy packet (RFC 4303 §2.6).
        if *next_header == 59 {
            return None;
        }
        if self.sa.is_tunnel {
            self.leave_tunnel(found, *next_header, payload)
        } else {
            self.leave_transport(found, *next_header, payload)
        }
    }

    fn leave_tunnel(&self, found: &Found<'_>, next_header: u8, payload: &[u8]) -> Option<Outcome> {
        let version = payload.first()? >> 4;
        if (version, next_header) != (4, 4) && (version, next_header) != (6, 41) {
            return None;
        }
        let (packet, is_clear) = match packet::read(payload) {
            Reading::Malformed | Reading::BrokenOff => return None,
            Reading::Unclear(packet) => (packet, false),
            Reading::Packet(packet) => (packet, true),
        };
        if version == 4 && !ipv4_checksum_is_right(&payload[..packet.header_len]) {
            return None;
        }
        if !self.is_selected(&packet) {
            return None;
        }
        let mut inner = payload[..packet.len].to_vec();
        let outer_class = traffic_class(found.packet);
        let inner_class = traffic_class(&inner);
        let (outer_ecn, inner_ecn) = (outer_class & 3, inner_class & 3);
        let ecn = if self.sa.noecn { inner_ecn } else { merge_ecn(inner_ecn, outer_ecn)? };
        let dscp = if self.sa.decap_dscp { outer_class >> 2 } else { inner_class >> 2 };
        let class = dscp << 2 | ecn;
        if class != inner_class {
            if version == 4 {
                inner[1] = class;
                write_ipv4_checksum(&mut inner, packet.header_len);
            } else {
                inner[0] = 0x60 | class >> 4;
                inner[1] = class << 4 | inner[1] & 0xf;
            }
        }
        Some(if is_clear { Outcome::Deliver(inner) } else { Outcome::DeliverOrDrop(inner) })
    }

    fn leave_transport(&self, found: &Found<'_>, next_header: u8, payload: &[u8]) -> Option<Outcome> {
        let mut packet = found.packet[..found.headers_len].to_vec();
        packet[found.protocol_at] = next_header;
        packet.extend(payload);
        if found.dst.is_ipv4() {
            let len = packet.len() as u16;
            packet[2..4].copy_from_slice(&len.to_be_bytes());
            let header_len = usize::from(packet[0] & 15) * 4;
            write_ipv4_checksum(&mut packet, header_len);
        } else {
            let len = packet.len() as u16 - 40;
            packet[4..6].copy_from_slice(&len.to_be_bytes());
        }
        // What is no packet has no selectors' values, and is consistent with none.
        let (read, is_clear) = match packet::read(&packet) {
            Reading::Malformed | Reading::BrokenOff => return None,
            Reading::Unclear(read) => (read, false),
            Reading::Packet(read) => (read, true),
        };
        if !self.is_selected(&read) || !self.is_from_peer(&read) {
            return None;
        }
        Some(if is_clear { Outcome::Deliver(packet) } else { Outcome::DeliverOrDrop(packet) })
    }

    /// An inbound SA has selectors (RFC 4301 §4.4.2): one in transport mode for which no addresses are said is for its
    /// peer's packets. A NAT gives those another source.
    fn is_from_peer(&self, packet: &Packet<'_>) -> bool {
        let has_addresses = self.sa.selector.is_some_and(|selected| selected.names_addresses());
        has_addresses || self.sa.encap.is_some() || packet.src == self.sa.src()
    }

    /// RFC 4301 §5.2 step 4: the packet is one that the SA is for.
    fn is_selected(&self, packet: &Packet<'_>) -> bool {
        let Some(Selected { src, dst, protocol, dport }) = self.sa.selector else { return true };
        let shown_port = || {
            let octets = packet.payload.get(2..4).filter(|_| !packet.is_later_fragment())?;
            Some(u16::from_be_bytes([octets[0], octets[1]]))
        };
        is_in_prefix(packet.src, src)
            && is_in_prefix(packet.dst, dst)
            && (protocol.is_none() || packet.protocol == protocol)
            // A source port, too, has to be there for ports to be compared: it stands before.
            && (dport.is_none() || shown_port() == dport)
    }
}

fn is_in_prefix(address: IpAddr, (prefix, len): (&str, u8)) -> bool {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let (address, prefix) = (octets(address), octets(prefix.parse().expect("an address")));
    let bit = |octets: &[u8], at: usize| octets[at / 8] >> (7 - at % 8) & 1;
    address.len() == prefix.len() && (0..usize::from(len)).all(|at| bit(&address, at) == bit(&prefix, at))
}

fn traffic_class(packet: &[u8]) -> u8 {
    if packet[0] >> 4 == 4 { packet[1] } else { packet[0] << 4 | packet[1] >> 4 }
}

/// RFC 6040 §4.2, figure 4: columns are Not-ECT, ECT(0), ECT(1), CE of the outer header. None: dropped.
fn merge_ecn(inner: u8, outer: u8) -> Option<u8> {
    const NOT_ECT: u8 = 0b00;
    const ECT_1: u8 = 0b01;
    const ECT_0: u8 = 0b10;
    const CE: u8 = 0b11;
    let column = match outer {
        NOT_ECT => 0,
        ECT_0 => 1,
        ECT_1 => 2,
        _ => 3,
    };
    let row = match inner {
        NOT_ECT => [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None],
        ECT_0 => [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)],
        ECT_1 => [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)],
        _ => [Some(CE); 4],
    };
    row[column]
}

/// RFC 1071: with its checksum the header adds up to ones. Of 0x0000 and 0xffff each will do.
fn ipv4_checksum_is_right(header: &[u8]) -> bool {
    ones_complement_sum(header) == 0xffff
}

fn ones_complement_sum(octets: &[u8]) -> u16 {
    let mut sum = 0_u16;
    for pair in octets.chunks(2) {
        let (wrapped, carry) = sum.overflowing_add(u16::from_be_bytes([pair[0], pair[1]]));
        sum = wrapped + u16::from(carry);
    }
    sum
}

fn write_ipv4_checksum(packet: &mut [u8], header_len: usize) {
    packet[10..12].fill(0);
    let sum = !ones_complement_sum(&packet[..header_len]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// ESP by itself, or in UDP (RFC 3948 §2).
fn find<'a>(packet: &'a [u8], outer: &Packet<'a>) -> Result<Found<'a>, Outcome> {
    let found = |udp, esp| Found {
        packet,
        dst: outer.dst,
        udp,
        headers_len: outer.payload_at,
        protocol_at: outer.protocol_at,
        esp,
    };
    let checksum_is_right = outer.dst.is_ipv6() || ipv4_checksum_is_right(&packet[..outer.header_len]);
    match outer.protocol {
        Some(50) if outer.fragment.is_some() || !checksum_is_right => Err(Outcome::Drop),
        Some(50) => Ok(found(None, outer.payload)),
        Some(17) if !outer.is_later_fragment() => {
            let Some(ports) = outer.payload.get(..4) else { return Err(Outcome::DropOrPass) };
            let port = u16::from_be_bytes([ports[2], ports[3]]);
            if !sa::is_encap_port(port) {
                return Err(Outcome::Pass(Passed::NotEsp));
            }
            let Some((header, rest)) = outer.payload.split_at_checked(8) else { return Err(Outcome::Drop) };
            let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
            let is_ike = |octets: &[u8]| octets.starts_with(&[0; 4]);
            if outer.fragment == Some(Fragment::First) {
                return Err(if is_ike(rest) { Outcome::Pass(Passed::NattIke) } else { Outcome::Drop });
            }
            let Some(datagram) = len.checked_sub(8).and_then(|len| rest.get(..len)) else {
                return Err(Outcome::Drop);
            };
            if is_ike(datagram) {
                return Err(Outcome::Pass(Passed::NattIke));
            }
            // Too short for an SPI: a keepalive, or nothing.
            if datagram.len() < 4 || !checksum_is_right {
                return Err(Outcome::Drop);
            }
            Ok(found(Some(port), datagram))
        }
        // AH, a mobility header, HIP and Shim6 as well: they are next layer protocols.
        _ => Err(Outcome::Pass(Passed::NotEsp)),
    }
}
