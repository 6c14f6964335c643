//! Inbound processing (RFC 4301 §5.2, RFC 4303 §3.4): ESP packets in, the packets that they protect out.
//!
//! A burst comes to exactly what its packets come to one by one. Two passes see to that:
//!
//! 1. All packets are read, and what then seems worth it is opened in one call. Nothing is decided here.
//! 2. Each packet is judged in its turn, with the windows and lifetimes that those before it left. Where the first pass
//!    foresaw wrongly (a packet before it has moved the window on, so that its number is another, or it is new after
//!    all), the packet is opened then.
//!
//! Left to others: that a packet which was not protected needn't have been (RFC 4301 §5.2 step 3b), that the SA is one
//! which the policy asks for, and AH: a packet with AH before ESP is none of ESP's. In tunnel mode the source
//! address of the outer header is no matter of the SA's; in transport mode its selector sees it.

use std::ops::Range;
use std::time::Duration;

use espwire_esp::{Header, Malformed, Prepared, Replay, Verified};

use crate::decapsulate::{Decapsulation, Inside};
use crate::event::{Audit, Event, SaId};
use crate::ip::{Fragment, Ip, flow_label};
use crate::lifetime::Expired;
use crate::opening::{Opening, Stage};
use crate::outer::{Content, Outer, find_esp_in_packet};
use crate::sa::Sa;
use crate::sad::{Entry, Receiving, Sad};
use crate::verdict::{DropReason, Passed, Refusal};

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// It was ESP, and held this packet.
    Packet(Delivered),
    /// It is none of ESP's, and goes on as it came.
    Pass(Passed),
    /// It ends here.
    Drop(DropReason),
}

/// A packet to be delivered, which [`Receiver::packet`] has until the next burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The receiver's burst in which it came.
    burst: u64,
    place: usize,
    /// The SA that protected it.
    pub sa: SaId,
}

/// The receiving side of an IPsec implementation: SAs with their anti-replay windows, and a place for what comes out.
#[derive(Default)]
pub struct Receiver {
    sad: Sad<Receiving>,
    opening: Opening,
    /// Packets that were put together again.
    built: Vec<u8>,
    /// Where the packets to be delivered stand. Of all others no octet is to be had.
    delivered: Vec<Place>,
    /// Counts bursts, so that what an earlier one delivered is not taken for what this one did.
    burst: u64,
    steps: Vec<Step>,
}

/// Where a packet to be delivered stands.
enum Place {
    /// In `opening`.
    Opened(Range<usize>),
    /// In `built`.
    Built(Range<usize>),
}

/// What the first pass says of a packet.
enum Step {
    Pass(Passed),
    /// No SA is found for it: what can't be read, and what none is for.
    Faulty(DropReason, Option<Outer>),
    Esp(EspPacket),
}

/// An ESP packet with its SA.
struct EspPacket {
    outer: Outer,
    header: Header,
    sa: usize,
    /// In `opening`.
    place: usize,
}

impl Receiver {
    /// A receiver with these SAs ([`Sad::receiving`]).
    #[must_use]
    pub fn new(sad: Sad<Receiving>) -> Self {
        Self { sad, ..Self::default() }
    }

    /// Its SAs, with what was counted.
    #[must_use]
    pub fn sad(&self) -> &Sad<Receiving> {
        &self.sad
    }

    /// Its SAs, to be added and removed.
    pub fn sad_mut(&mut self) -> &mut Sad<Receiving> {
        &mut self.sad
    }

    /// A packet that the last burst delivered. Empty for one of an earlier burst. Whose it is, the caller knows: that of
    /// another receiver is taken for this one's.
    #[must_use]
    pub fn packet(&self, delivered: Delivered) -> &[u8] {
        let place = self.delivered.get(delivered.place).filter(|_| delivered.burst == self.burst);
        match place {
            Some(Place::Opened(range)) => &self.opening.all()[range.clone()],
            Some(Place::Built(range)) => &self.built[range.clone()],
            None => &[],
        }
    }

    /// Tells the limits of time that SAs have reached by `now`, without waiting for a packet. Called every second or
    /// so, it makes rekeying independent of traffic.
    pub fn expire(&mut self, now: Duration, events: &mut Vec<Event>) {
        for entry in self.sad.entries_mut() {
            // Its next packet is dropped; until then there is nothing to do.
            let _ = check_lifetime(entry, now, events);
        }
    }

    /// Receives a burst of IP packets at `now`, in order. Appends what became of each to `received`, and what else is
    /// to be told to `events`. `now` is a monotonic clock's, the one with which the SAs were added.
    ///
    /// 1. Lengths and headers; the SA.
    /// 2. The SA's lifetime; its encapsulation; the packet's length.
    /// 3. The anti-replay window is asked.
    /// 4. The ICV, then decryption.
    /// 5. The window is told, the packet counts to the lifetime.
    /// 6. Padding, next header, inner header, the SA's selector, ECN.
    ///
    /// A packet's octets beyond the length in its IP header are no part of it.
    pub fn receive_burst(
        &mut self,
        now: Duration,
        packets: &[&[u8]],
        received: &mut Vec<Received>,
        events: &mut Vec<Event>,
    ) {
        self.receive_permitted(now, packets, |_, _| Ok(()), received, events);
    }

    /// [`receive_burst`](Self::receive_burst) under a policy: what would be delivered through an SA, and what would
    /// pass without one, has to be `permitted`. It is asked in the packet's turn, with the packet as it would go on:
    /// what it refuses counts as a failure of the SA, is audited among the burst's other events, and none of its
    /// octets is to be had.
    pub(crate) fn receive_permitted(
        &mut self,
        now: Duration,
        packets: &[&[u8]],
        mut permitted: impl FnMut(&[u8], Option<&Sa>) -> Result<(), Refusal>,
        received: &mut Vec<Received>,
        events: &mut Vec<Event>,
    ) {
        self.opening.clear();
        self.built.clear();
        self.delivered.clear();
        self.burst = self.burst.wrapping_add(1);
        let mut steps = std::mem::take(&mut self.steps);
        steps.extend(packets.iter().map(|packet| self.read(packet)));
        self.opening.open(&self.sad);
        for (step, packet) in steps.drain(..).zip(packets) {
            received.push(match step {
                Step::Pass(passed) => match permitted(packet, None) {
                    Ok(()) => Received::Pass(passed),
                    Err(refusal) => {
                        audit_clear(refusal, packet, now, events);
                        Received::Drop(refusal.reason)
                    }
                },
                Step::Faulty(reason, outer) => {
                    audit_unassigned(reason, outer.as_ref(), packet, now, events);
                    Received::Drop(reason)
                }
                Step::Esp(esp) => self.receive(now, &esp, packet, &mut permitted, events),
            });
        }
        self.steps = steps;
    }

    /// The first pass: finds a packet's SA, and copies what is to be opened.
    fn read(&mut self, packet: &[u8]) -> Step {
        let outer = match find_esp_in_packet(packet, |port| self.sad.is_natt(port)) {
            Content::Other(Passed::NattKeepalive) => {
                return Step::Faulty(DropReason::NattKeepalive, None);
            }
            Content::Other(passed) => return Step::Pass(passed),
            Content::Faulty(reason, outer) => return Step::Faulty(reason, outer),
            Content::Esp(outer) => outer,
        };
        let esp = &packet[outer.esp.clone()];
        let Some(header) = Header::read(esp) else { return Step::Faulty(DropReason::Malformed, Some(outer)) };
        let found = self.sad.find(header.spi, outer.dst);
        let Some((sa, entry)) = found.and_then(|sa| Some((sa, self.sad.entry(sa)?))) else {
            return Step::Faulty(DropReason::NoSa, Some(outer));
        };
        let stage = match entry.state.inbound.prepare(esp) {
            Ok(prepared) if prepared.replay == Replay::Fresh && encapsulation_is_right(entry, &outer) => {
                Stage::Prepared(prepared)
            }
            _ => Stage::Held,
        };
        Step::Esp(EspPacket { place: self.opening.push(sa, esp, stage), outer, header, sa })
    }

    /// The second pass: judges a packet, and counts it.
    fn receive(
        &mut self,
        now: Duration,
        esp: &EspPacket,
        packet: &[u8],
        permitted: &mut impl FnMut(&[u8], Option<&Sa>) -> Result<(), Refusal>,
        events: &mut Vec<Event>,
    ) -> Received {
        let Some(entry) = self.sad.entry_mut(esp.sa) else { return Received::Drop(DropReason::NoSa) };
        let (opening, built) = (&mut self.opening, &mut self.built);
        let octets = opening.octets(esp.place);
        let bytes = octets.len() as u64;
        // Of an opened packet as of one that is not: the header stays, and so does the length.
        let prepared = entry.state.inbound.prepare(octets);
        let mut turn = Turn { now, esp, packet, entry, opening, built, events };
        let verified = turn.verify(prepared).map_err(Refusal::from);
        let place = verified.and_then(|verified| turn.finish(verified)).and_then(|inside| {
            let start = self.opening.range(esp.place).start;
            let (place, inside) = match inside {
                Inside::Opened(range) => {
                    let range = start + range.start..start + range.end;
                    (Place::Opened(range.clone()), &self.opening.all()[range])
                }
                Inside::Built(range) => (Place::Built(range.clone()), &self.built[range]),
            };
            permitted(inside, Some(&entry.sa)).map(|()| place)
        });
        let counts = &mut entry.counts;
        match place {
            Ok(place) => {
                counts.packets += 1;
                counts.bytes += bytes;
                self.delivered.push(place);
                let place = self.delivered.len() - 1;
                Received::Packet(Delivered { burst: self.burst, place, sa: entry.sa.id() })
            }
            Err(Refusal { reason, flow }) => {
                counts.failures[reason] += 1;
                counts.replays += u64::from(is_replay(reason));
                if reason.is_auditable() {
                    let low = u64::from(esp.header.sequence_low);
                    let sequence = prepared.map_or(low, |prepared| prepared.sequence);
                    let header = Some((esp.header.spi, sequence));
                    let audit = audit(reason, header, Some(&esp.outer), now);
                    events.push(Event::Audit(Audit { flow, ..audit }));
                }
                Received::Drop(reason)
            }
        }
    }
}

/// One packet's turn in the second pass.
struct Turn<'a> {
    now: Duration,
    esp: &'a EspPacket,
    packet: &'a [u8],
    entry: &'a mut Entry<Receiving>,
    opening: &'a mut Opening,
    built: &'a mut Vec<u8>,
    events: &'a mut Vec<Event>,
}

impl Turn<'_> {
    /// Whether the packet is the SA's, new, and verified; then it is open. `prepared` is what it is by now.
    fn verify(&mut self, prepared: Result<Prepared, Malformed>) -> Result<Verified, DropReason> {
        let (opening, place) = (&mut *self.opening, self.esp.place);
        check_lifetime(self.entry, self.now, self.events).map_err(|Expired| DropReason::Expired)?;
        if !encapsulation_is_right(self.entry, &self.esp.outer) {
            return Err(DropReason::Mismatch);
        }
        let prepared = prepared.map_err(|Malformed| DropReason::Malformed)?;
        match prepared.replay {
            Replay::Fresh => {}
            Replay::Zero => return Err(DropReason::ReplayZero),
            Replay::Old => return Err(DropReason::ReplayOld),
            Replay::Duplicate => return Err(DropReason::ReplayDup),
        }
        let inbound = &mut self.entry.state.inbound;
        let foreseen = opening.stage(place);
        let is_same = foreseen.prepared().is_some_and(|foreseen| foreseen.sequence == prepared.sequence);
        let stage = match foreseen {
            Stage::Opened(_) | Stage::Failed(_) if is_same => foreseen,
            // Under the number that it has by now it would not have verified.
            Stage::Opened(_) => opening.take_back(place, prepared, &self.packet[self.esp.outer.esp.clone()]),
            _ => opening.open_alone(place, inbound, prepared),
        };
        if let Stage::Opened(_) = stage {
            return opening.take_verified(place).ok_or(DropReason::AuthFail);
        }
        let from = inbound.window().top();
        let verified = opening.resynchronize(place, inbound, self.now).ok_or(DropReason::AuthFail)?;
        let (sa, to) = (self.entry.sa.id(), verified.sequence());
        self.events.push(Event::Resynchronized { sa, from, to });
        Ok(verified)
    }

    /// From a verified packet to the one inside.
    fn finish(&mut self, verified: Verified) -> Result<Inside, Refusal> {
        let Entry { sa, state, .. } = &mut *self.entry;
        let events = &mut *self.events;
        let octets = self.opening.octets_mut(self.esp.place);
        let is_newest = verified.sequence() > state.inbound.window().top();
        // It was this SA that verified it; and its number was asked for just before.
        let accepted = state.inbound.accept(verified, octets).map_err(|_| DropReason::AuthFail)?;
        let plaintext = state.inbound.plaintext_range(octets.len());
        // That it had not ended was found at this very time.
        let _ = state.lifetime.on_packet(self.now, plaintext.len() as u64, |reached| {
            events.push(reached.event(sa.id()));
        });
        if is_newest && let Some(ports) = self.esp.outer.udp {
            // Of the newest packet alone: one that was late came by the old mapping.
            let new = (self.esp.outer.src, ports);
            if let Some(old) = state.peer.replace(new).filter(|old| *old != new) {
                events.push(Event::PeerMoved { sa: sa.id(), old, new });
            }
        }
        let trailer = accepted.trailer.map_err(DropReason::from)?;
        let padding = trailer.padding(&octets[plaintext.clone()]).ok_or(DropReason::BadPadLen)?;
        let payload = plaintext.start..plaintext.start + padding.start;
        let (outer, received) = (&self.esp.outer, &self.packet[self.esp.outer.ip_at..]);
        Decapsulation { sa, state, received, outer, esp: octets, trailer, payload }.run(self.built, events)
    }
}

fn check_lifetime(
    entry: &mut Entry<Receiving>,
    now: Duration,
    events: &mut Vec<Event>,
) -> Result<(), Expired> {
    let Entry { sa, state, .. } = entry;
    state.lifetime.check(now, |reached| events.push(reached.event(sa.id())))
}

/// Whether the packet came as the SA's packets come: plain, or in UDP to the SA's port. A NAT may change the source
/// port at any time (RFC 3948 §4).
fn encapsulation_is_right(entry: &Entry<Receiving>, outer: &Outer) -> bool {
    match (entry.sa.encap, outer.udp) {
        (None, None) => true,
        (Some(own), Some(ports)) => own.dst == ports.dst,
        _ => false,
    }
}

fn is_replay(reason: DropReason) -> bool {
    matches!(reason, DropReason::ReplayZero | DropReason::ReplayOld | DropReason::ReplayDup)
}

/// Tells of a packet in clear that was refused.
fn audit_clear(refusal: Refusal, packet: &[u8], time: Duration, events: &mut Vec<Event>) {
    let Refusal { reason, flow } = refusal;
    if reason.is_auditable() {
        events.push(Event::Audit(Audit {
            src: flow.map(|flow| flow.src),
            dst: flow.map(|flow| flow.dst),
            flow_label: flow_label(packet),
            flow,
            ..audit(reason, None, None, time)
        }));
    }
}

/// Tells of a packet without an SA that was dropped.
fn audit_unassigned(
    reason: DropReason,
    outer: Option<&Outer>,
    packet: &[u8],
    now: Duration,
    events: &mut Vec<Event>,
) {
    if !reason.is_auditable() {
        return;
    }
    // In a later fragment stands no header.
    let is_later = reason == DropReason::Fragment
        && Ip::read_next_layer(packet).is_ok_and(|ip| ip.fragment == Some(Fragment::Later));
    let header = outer
        .filter(|_| !is_later)
        .and_then(|outer| Header::read(&packet[outer.esp.clone()]))
        .map(|header| (header.spi, header.sequence_low.into()));
    events.push(Event::Audit(audit(reason, header, outer, now)));
}

fn audit(reason: DropReason, header: Option<(u32, u64)>, outer: Option<&Outer>, time: Duration) -> Audit {
    Audit {
        reason,
        time,
        spi: header.map(|(spi, _)| spi),
        sequence: header.map(|(_, sequence)| sequence),
        src: outer.map(|outer| outer.src),
        dst: outer.map(|outer| outer.dst),
        flow_label: outer.and_then(|outer| outer.flow_label),
        flow: None,
    }
}
