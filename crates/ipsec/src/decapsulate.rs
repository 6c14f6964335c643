//! From the plaintext of a verified packet to the packet that it protects (RFC 4301 §5.2).

use std::net::IpAddr;
use std::ops::Range;

use espwire_esp::Trailer;

use crate::beet::Beet;
use crate::ecn;
use crate::event::Event;
use crate::flow::Flow;
use crate::ip::{self, Ip, protocol};
use crate::outer::Outer;
use crate::sa::{Mode, Sa};
use crate::sad::Receiving;
use crate::verdict::{DropReason, Refusal};

/// Where the packet inside stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    /// In the opened ESP packet: tunnel mode.
    Opened(Range<usize>),
    /// In the octets that were appended: transport mode and mode beet.
    Built(Range<usize>),
}

/// A verified packet, to be decapsulated.
pub(crate) struct Decapsulation<'a> {
    pub(crate) sa: &'a Sa,
    pub(crate) state: &'a Receiving,
    /// As it came, from the outer IP header on, of which `outer` was read.
    pub(crate) received: &'a [u8],
    pub(crate) outer: &'a Outer,
    /// From the SPI to the ICV, decrypted.
    pub(crate) esp: &'a mut [u8],
    pub(crate) trailer: Trailer,
    /// Where the payload stands in `esp`, TFC padding included.
    pub(crate) payload: Range<usize>,
}

impl Decapsulation<'_> {
    /// Checks what is inside and makes it the packet that it was before ESP: by itself in tunnel mode, else in `built`.
    ///
    /// 1. A dummy packet ends here (RFC 4303 §2.6), whatever its payload is.
    /// 2. Next header and inner header can be right.
    /// 3. The SA is for this packet.
    /// 4. ECN and DSCP, in tunnel mode; the rest of the inner header stays.
    ///
    /// The flow that the SA has to be for is that of the packet as it is delivered, with the headers before ESP that
    /// transport mode keeps. A packet that has no flow is none (RFC 4301 §4.4.1.1).
    ///
    /// In tunnel mode the packet is cut to its own length, so that TFC padding goes. In transport mode TFC padding
    /// stays: only UDP says its own length, and what comes after that may be UDP options as well (RFC 9868), which are
    /// the sender's. The guest's stack goes by UDP's length.
    pub(crate) fn run(self, built: &mut Vec<u8>, events: &mut Vec<Event>) -> Result<Inside, Refusal> {
        //= https://www.rfc-editor.org/rfc/rfc4303#section-2.6
        //# A transmitter MUST
        //# be capable of generating dummy packets marked with this value in the
        //# next protocol field, and a receiver MUST be prepared to discard such
        //# packets, without indicating an error.
        if self.trailer.next_header == protocol::NONE {
            return Err(DropReason::Dummy.into());
        }
        match (self.sa.mode, self.sa.bound_addresses()) {
            (Mode::Tunnel, _) => self.leave_tunnel(events),
            (Mode::Beet, Some(addresses)) => self.restore_beet(addresses, built),
            (Mode::Transport | Mode::Beet, _) => self.restore_transport(built),
        }
    }

    fn leave_tunnel(self, events: &mut Vec<Event>) -> Result<Inside, Refusal> {
        let version = match self.trailer.next_header {
            protocol::IPV4 => 4,
            protocol::IPV6 => 6,
            _ => return Err(DropReason::BadNextHeader.into()),
        };
        let payload = &self.esp[self.payload.clone()];
        if payload.first().is_none_or(|first| first >> 4 != version) {
            return Err(DropReason::InnerMalformed.into());
        }
        let ip = Ip::read_next_layer(payload).map_err(|_| DropReason::InnerMalformed)?;
        if ip.checksum.is_some_and(|checksum| !checksum.is_right()) {
            return Err(DropReason::InnerMalformed.into());
        }
        self.select(payload)?;
        let inside = self.payload.start..self.payload.start + ip.len;
        let (outer, inner) = (ip::traffic_class(self.received), ip::traffic_class(payload));
        let class = self.merge(outer, inner, events)?;
        if class != inner {
            ip::set_traffic_class(&mut self.esp[inside.clone()], class);
        }
        Ok(Inside::Opened(inside))
    }

    /// The inner packet's traffic class.
    fn merge(&self, outer: u8, inner: u8, events: &mut Vec<Event>) -> Result<u8, DropReason> {
        let (outer_ecn, inner_ecn) = (ecn::field(outer), ecn::field(inner));
        let dscp = if self.state.copies_dscp { outer - outer_ecn } else { inner - inner_ecn };
        if self.state.keeps_ecn {
            return Ok(dscp | inner_ecn);
        }
        if ecn::is_anomaly(outer_ecn, inner_ecn) {
            events.push(Event::EcnAnomaly { sa: self.sa.id(), inner: inner_ecn, outer: outer_ecn });
        }
        Ok(dscp | ecn::decapsulate(outer_ecn, inner_ecn)?)
    }

    /// The packet's own headers, with the payload's protocol and the right length and checksum, and the payload.
    fn restore_transport(self, built: &mut Vec<u8>) -> Result<Inside, Refusal> {
        let (outer, next_header) = (self.outer, self.trailer.next_header);
        let payload = &self.esp[self.payload.clone()];
        let udp_len = if outer.udp.is_some() { ip::UDP_LEN } else { 0 };
        let headers_len = outer.esp.start - outer.ip_at - udp_len;
        let start = built.len();
        built.extend_from_slice(&self.received[..headers_len]);
        built.extend_from_slice(payload);
        let packet = &mut built[start..];
        packet[outer.protocol_at - outer.ip_at] = next_header;
        ip::fix_len(packet);
        self.select(packet)?;
        if let Some(original) = self.state.original_src {
            ip::replace_address_in_checksum(next_header, &mut packet[headers_len..], original, outer.src);
        }
        Ok(Inside::Built(start..built.len()))
    }

    fn restore_beet(self, addresses: (IpAddr, IpAddr), built: &mut Vec<u8>) -> Result<Inside, Refusal> {
        let payload = &self.esp[self.payload.clone()];
        let beet = Beet::read(addresses.0.is_ipv4(), self.trailer.next_header, payload)
            .ok_or(DropReason::InnerMalformed)?;
        let at = beet.restore(addresses, self.received, payload, built).ok_or(DropReason::InnerMalformed)?;
        self.select(&built[at.clone()])?;
        Ok(Inside::Built(at))
    }

    /// Whether the SA is for the packet inside.
    ///
    //= https://www.rfc-editor.org/rfc/rfc4301#section-5.2
    //# If an IPsec system receives an inbound packet on an SA and the
    //# packet's header fields are not consistent with the selectors for
    //# the SA, it MUST discard the packet.
    fn select(&self, packet: &[u8]) -> Result<(), Refusal> {
        let flow = Flow::of_packet(packet).ok_or(DropReason::InnerMalformed)?;
        if self.state.selectors.select(&flow) {
            Ok(())
        } else {
            Err(Refusal::of_flow(DropReason::Selector, flow))
        }
    }
}
