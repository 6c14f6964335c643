//! Inbound processing (RFC 4301 §5.2, RFC 4303 §3.4): ESP packets in, the packets that they protect out.

use std::ops::Range;

use espwire_esp::{InboundSa, Malformed, Prepared, Replay, Status, Trailer, TrailerFault, open_burst};

use crate::ecn;
use crate::inner::Inner;
use crate::ip::{self, protocol};
use crate::outer::{Content, Outer, find_esp_in_packet};
use crate::sa::Mode;
use crate::sad::{Receiving, Sad};
use crate::verdict::{DropReason, Passed};
use crate::xfrm::Selector;

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// It was ESP, and held this packet: octets of [`Receiver::octets`].
    Packet(Range<usize>),
    /// It is none of ESP's, and goes on as it came.
    Pass(Passed),
    /// It ends here.
    Drop(DropReason),
}

/// The receiving side of an IPsec implementation: SAs with their anti-replay windows, and a place for what comes out.
pub struct Receiver {
    sad: Sad<Receiving>,
    /// The burst's ESP packets, then the packets that were in them.
    octets: Vec<u8>,
    packets: Vec<Packet>,
}

/// One ESP packet of a burst on its way.
struct Packet {
    index: usize,
    outer: Outer,
    sa: usize,
    prepared: Prepared,
    /// Where it stands in `octets`.
    at: Range<usize>,
    is_open: bool,
}

impl Receiver {
    /// A receiver with these SAs ([`Sad::receiving`]).
    #[must_use]
    pub fn new(sad: Sad<Receiving>) -> Self {
        Self { sad, octets: Vec::new(), packets: Vec::new() }
    }

    /// Its SAs.
    #[must_use]
    pub fn sad(&self) -> &Sad<Receiving> {
        &self.sad
    }

    /// The packets of the last burst that are to be delivered, and whatever stands between them.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Receives a burst of IP packets, in order, and appends what became of each to `received`.
    ///
    /// 1. Lengths and headers; the SA by SPI and destination.
    /// 2. The anti-replay window is asked.
    /// 3. The ICV, then decryption, all SAs in one call.
    /// 4. The window is asked again, since a packet of the same burst may have borne the number, and told.
    /// 5. Padding, next header, inner header, the SA's selector, ECN.
    ///
    /// A packet's octets beyond the length in its IP header are no part of it.
    ///
    /// Not judged yet: that encapsulation and source address are the SA's, and a selector's ICMP type and code.
    pub fn receive_burst(&mut self, packets: &[&[u8]], received: &mut Vec<Received>) {
        self.octets.clear();
        self.packets.clear();
        let first = received.len();
        for (index, packet) in packets.iter().enumerate() {
            received.push(match find_esp_in_packet(packet, |port| self.sad.is_natt(port)) {
                Content::Other(Passed::NattKeepalive) => Received::Drop(DropReason::NattKeepalive),
                Content::Other(passed) => Received::Pass(passed),
                Content::Faulty(reason, _) => Received::Drop(reason),
                // Settled below, if it is admitted.
                Content::Esp(outer) => match self.admit(index, outer, packet) {
                    Ok(()) => Received::Drop(DropReason::AuthFail),
                    Err(reason) => Received::Drop(reason),
                },
            });
        }
        self.open();
        for at in 0..self.packets.len() {
            let index = self.packets[at].index;
            received[first + index] = match self.finish(at, packets[index]) {
                Ok(range) => Received::Packet(range),
                Err(reason) => Received::Drop(reason),
            };
        }
    }

    /// Finds the packet's SA, asks its window, and copies the packet.
    fn admit(&mut self, index: usize, outer: Outer, packet: &[u8]) -> Result<(), DropReason> {
        let esp = &packet[outer.esp.clone()];
        let header = espwire_esp::Header::read(esp).ok_or(DropReason::Malformed)?;
        let sa = self.sad.find(header.spi, outer.dst).ok_or(DropReason::NoSa)?;
        let inbound = &self.sad.entry(sa).state.inbound;
        let prepared = inbound.prepare(esp).map_err(|Malformed| DropReason::Malformed)?;
        judge(prepared.replay)?;
        let at = self.octets.len()..self.octets.len() + esp.len();
        self.octets.extend_from_slice(esp);
        self.packets.push(Packet { index, outer, sa, prepared, at, is_open: false });
        Ok(())
    }

    /// Verifies and decrypts what was admitted, in one call.
    fn open(&mut self) {
        let mut jobs = Vec::with_capacity(self.packets.len());
        let mut rest = &mut self.octets[..];
        for packet in &self.packets {
            let (octets, after) = rest.split_at_mut(packet.at.len());
            rest = after;
            jobs.push(self.sad.entry(packet.sa).state.inbound.job(&packet.prepared, octets));
        }
        open_burst(&mut jobs);
        let is_open: Vec<_> = jobs.iter().map(|job| job.status == Status::Done).collect();
        for (packet, is_open) in self.packets.iter_mut().zip(is_open) {
            packet.is_open = is_open;
        }
    }

    /// From a verified packet to what it protects.
    fn finish(&mut self, at: usize, received: &[u8]) -> Result<Range<usize>, DropReason> {
        let packet = &mut self.packets[at];
        let entry = self.sad.entry_mut(packet.sa);
        let octets = &mut self.octets[packet.at.clone()];
        if !packet.is_open {
            retry(&entry.state.inbound, packet, octets)?;
        }
        judge(entry.state.inbound.window().check(packet.prepared.sequence))?;
        let trailer = entry.state.inbound.finish(&packet.prepared, octets).map_err(|fault| match fault {
            TrailerFault::Alignment => DropReason::BadAlign,
            TrailerFault::PadLength => DropReason::BadPadLen,
            TrailerFault::Padding => DropReason::BadPadding,
        })?;
        let plaintext = entry.state.inbound.plaintext_range(octets.len());
        let padding = trailer.padding(&octets[plaintext.clone()]).ok_or(DropReason::BadPadLen)?;
        let payload = plaintext.start..plaintext.start + padding.start;
        if trailer.next_header == protocol::NONE {
            return Err(DropReason::Dummy);
        }
        let inner_is_ip = matches!(trailer.next_header, protocol::IPV4 | protocol::IPV6);
        if entry.sa.mode == Mode::Tunnel && !inner_is_ip {
            return Err(DropReason::BadNextHeader);
        }
        let inner = Inner::read(entry.sa.mode, trailer.next_header, &octets[payload.clone()], &packet.outer)
            .ok_or(DropReason::InnerMalformed)?;
        if entry.sa.selector.as_ref().is_some_and(|selector| !selects(selector, &inner)) {
            return Err(DropReason::Selector);
        }
        match entry.sa.mode {
            Mode::Tunnel => {
                let inner = payload.start..payload.start + inner.len;
                ecn::decapsulate(&received[packet.outer.ip_at..], &mut octets[inner.clone()])?;
                let start = packet.at.start;
                Ok(start + inner.start..start + inner.end)
            }
            Mode::Beet => Err(DropReason::InnerMalformed),
            Mode::Transport => {
                let payload = packet.at.start + payload.start..packet.at.start + payload.end;
                let outer = packet.outer.clone();
                Ok(self.restore(received, &outer, trailer, payload))
            }
        }
    }

    /// The packet as it was before ESP in transport mode: its headers, with the payload's protocol and the right
    /// length and checksum, and the payload.
    fn restore(
        &mut self,
        received: &[u8],
        outer: &Outer,
        trailer: Trailer,
        payload: Range<usize>,
    ) -> Range<usize> {
        let udp_len = if outer.udp.is_some() { ip::UDP_LEN } else { 0 };
        let headers = &received[outer.ip_at..outer.esp.start - udp_len];
        let start = self.octets.len();
        self.octets.extend_from_slice(headers);
        self.octets.extend_from_within(payload);
        let packet = &mut self.octets[start..];
        packet[outer.protocol_at - outer.ip_at] = trailer.next_header;
        ip::fix_len(packet);
        start..self.octets.len()
    }
}

/// A packet that failed, whose number is another now that the burst's earlier packets have moved the window on.
fn retry(inbound: &InboundSa, packet: &mut Packet, octets: &mut [u8]) -> Result<(), DropReason> {
    let prepared = inbound.prepare(octets).map_err(|Malformed| DropReason::Malformed)?;
    if prepared.sequence == packet.prepared.sequence {
        return Err(DropReason::AuthFail);
    }
    judge(prepared.replay)?;
    let mut jobs = [inbound.job(&prepared, octets)];
    open_burst(&mut jobs);
    packet.prepared = prepared;
    if jobs[0].status == Status::Done { Ok(()) } else { Err(DropReason::AuthFail) }
}

fn judge(replay: Replay) -> Result<(), DropReason> {
    match replay {
        Replay::Fresh => Ok(()),
        Replay::Zero => Err(DropReason::ReplayZero),
        Replay::Old => Err(DropReason::ReplayOld),
        Replay::Duplicate => Err(DropReason::ReplayDup),
    }
}

/// Whether an inner packet is one of the selector's (RFC 4301 §4.4.1.1).
fn selects(selector: &Selector, inner: &Inner<'_>) -> bool {
    let (sport, dport) = inner.ports.map_or((None, None), |(src, dst)| (Some(src), Some(dst)));
    selector.src.contains(inner.src)
        && selector.dst.contains(inner.dst)
        && selector.proto.is_none_or(|proto| proto == inner.protocol)
        && selector.sport.is_none_or(|port| Some(port) == sport)
        && selector.dport.is_none_or(|port| Some(port) == dport)
}
