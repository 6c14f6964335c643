//! Outbound processing (RFC 4301 §5.1, RFC 4303 §3.3): packets in, the ESP packets that protect them out.

mod choice;
mod encapsulation;
mod udp;

use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use espwire_esp::{IvSecret, OutboundSa, SealBurst, Unprepared, Unsealed};

use crate::event::{Audit, Event, SaId};
use crate::flow::Flow;
use crate::ip::{self, UDP_LEN, protocol};
use crate::lifetime::Expired;
use crate::sa::Sa;
use crate::sad::{Entry, SaPlace, Sad, SadError, Sending};
use crate::spd::Template;
use crate::tunnel::{OuterHeader, TunnelHeaders};
use crate::verdict::DropReason;
use crate::xfrm::State;
use choice::Choices;
use encapsulation::{Encapsulation, Ends};
use udp::{Peer, Peers};

/// After how long a silence RFC 3948 §4 has a keepalive sent.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// A packet to be sent through an SA, which is named by its place: see [`Sender::find`] and [`Sender::find_for`].
#[derive(Clone, Copy, Debug)]
pub enum Outgoing<'a> {
    /// A whole IP packet. Octets beyond the length in its header are no part of it.
    Packet {
        /// Place of the SA.
        sa: SaPlace,
        /// The packet.
        packet: &'a [u8],
    },
    /// A dummy packet: next header 59, which its receiver drops (RFC 4303 §2.6). It takes a number and counts to the
    /// lifetime as any other. Its payload is zeros.
    Dummy {
        /// Place of the SA.
        sa: SaPlace,
        /// Octets of payload; `tfcpad` may add to it.
        payload_len: usize,
    },
}

/// What became of a packet to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is this packet: octets of [`Sender::octets`], from the IP header on.
    Packet(Range<usize>),
    /// As [`Packet`](Self::Packet), but longer than the MTU of its SA: to be fragmented by the caller, as its own host
    /// would. It is what has to go all the same: an IPv6 packet of up to 1280 octets or an IPv4 one of up to 68, which
    /// its sender need not be able to make shorter (RFC 8200 §5), and an IPv4 one with DF clear in transport mode or
    /// BEET, which take no fragments.
    //
    //= https://www.rfc-editor.org/rfc/rfc4303#section-3.3.4
    //# If necessary, fragmentation is performed after ESP
    //# processing within an IPsec implementation.
    ToFragment(Range<usize>),
    /// Encapsulated, it would be longer than the MTU of its SA. Nothing was sent, and no number used up.
    ///
    /// With DF set, or of IPv6, it is for the caller to drop it and to tell its sender (RFC 4303 §3.3.4, RFC 4301
    /// §8.2.1); with DF clear, which is only said in tunnel mode, to fragment it and to come again.
    TooBig {
        /// The longest packet to this SA that would fit, in octets: an ICMP message's MTU. Never below 1280 for IPv6
        /// and 68 for IPv4.
        mtu: usize,
    },
    /// It ends here.
    Drop(DropReason),
}

/// The sending side of an IPsec implementation: SAs with their sequence numbers, and a place for what goes out.
///
/// It fragments nothing, and asks no policy: which packet goes through which SA is the caller's to say.
pub struct Sender {
    sad: Sad<Sending>,
    choices: Choices,
    peers: Peers,
    mtu: Option<usize>,
    /// The last IPv4 identification of a packet that may be fragmented.
    id: u16,
    /// The burst's packets, one after the other.
    octets: Vec<u8>,
    packets: Vec<Packet>,
}

/// A packet of a burst on its way.
struct Packet {
    sa: SaPlace,
    unsealed: Option<Unsealed>,
    /// Where it stands in `octets`.
    at: Range<usize>,
    /// Where its ESP packet does.
    esp: Range<usize>,
}

impl Sender {
    /// A sender with these SAs ([`Sad::sending`]).
    #[must_use]
    pub fn new(sad: Sad<Sending>) -> Self {
        let places = sad.places();
        let mut sender = Self {
            sad,
            choices: Choices::default(),
            peers: Peers::default(),
            mtu: None,
            id: 0,
            octets: Vec::new(),
            packets: Vec::new(),
        };
        for place in places {
            sender.join(place);
        }
        sender
    }

    /// Adds one SA, there since `now`, and returns its place. `secret` is fresh from a cryptographic generator.
    ///
    /// # Errors
    ///
    /// As [`Sad::sending`]; and its SPI and destination are those of another SA here: [`remove`](Self::remove) it first.
    pub fn add(&mut self, state: &State, now: Duration, secret: IvSecret) -> Result<SaPlace, SadError> {
        let place = self.sad.add(state, now, secret)?;
        self.join(place);
        Ok(place)
    }

    /// Removes the SA with this SPI and destination, and its keys and counts. Whether there was one.
    pub fn remove(&mut self, spi: u32, dst: IpAddr) -> bool {
        let Some(place) = self.find(spi, dst) else { return false };
        if let Some(Entry { sa, state, .. }) = self.sad.at(place) {
            if let Some(peer) = state.peer {
                self.peers.leave(peer);
            }
            self.choices.leave(sa, place);
        }
        self.sad.remove(spi, dst)
    }

    /// Makes the SA at `place` known as the newest one.
    fn join(&mut self, place: SaPlace) {
        let Some(Entry { sa, state, .. }) = self.sad.at_mut(place) else { return };
        self.choices.join(sa, place);
        let (src, dst) = (sa.src, sa.dst);
        let added = state.lifetime.added();
        state.peer = sa.encap.map(|ports| self.peers.join(Peer { src, dst, ports }, added));
    }

    /// Its SAs.
    #[must_use]
    pub fn sad(&self) -> &Sad<Sending> {
        &self.sad
    }

    /// The packets of the last call, one after the other.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The place of the SA with this SPI and destination.
    #[must_use]
    pub fn find(&self, spi: u32, dst: IpAddr) -> Option<SaPlace> {
        self.sad.place(SaId { spi, dst })
    }

    /// The place of the best SA that a policy's template asks for and whose selector the flow matches: not expired at
    /// `now`, which never goes back; of those, rather one that has numbers left, and has reached no soft limit; of
    /// those, the one that was added last, as in Linux. One that has no number left is found if there is no other, and
    /// says so once something is sent through it ([`DropReason::SeqOverflow`]).
    ///
    /// The template's `reqid` must be the SA's exactly: as in Linux, a policy without one finds SAs without one. Where
    /// it names no address, and in transport mode, the flow's counts. An SA without a source address fits any.
    ///
    /// It looks through the SAs with one destination and `reqid`, from the last one on. If they are more than a few,
    /// what was found, or that nothing was, is remembered for the flows seen last, about 4000, until an SA is added or
    /// removed, or that one gets worse: the look costs time in proportion to their number for a new flow, for each flow
    /// again after such a change, and for each packet where there are more flows than that.
    #[must_use]
    pub fn find_for(&mut self, now: Duration, template: &Template, flow: &Flow) -> Option<SaPlace> {
        self.choices.find(&self.sad, now, template, flow)
    }

    /// How often [`find_for`](Self::find_for) had to search, and did not remember.
    #[must_use]
    pub fn searches(&self) -> u64 {
        self.choices.searches()
    }

    /// The sequence number that an SA has sent last, all 64 bits with ESN; 0 before the first. `None` if there is no
    /// such SA. Who has keys outlive a restart writes it down ahead, for `replay-oseq` (RFC 4303 §3.3.3).
    #[must_use]
    pub fn last_sequence(&self, sa: SaPlace) -> Option<u64> {
        self.sad.at(sa).map(|entry| entry.state.outbound.last())
    }

    /// Sets what the outer headers of an SA say, in tunnel mode, and those of its dummy packets. Returns whether there
    /// is such an SA.
    pub fn set_headers(&mut self, sa: SaPlace, headers: TunnelHeaders) -> bool {
        self.sad.at_mut(sa).map(|entry| entry.state.headers = headers).is_some()
    }

    /// Sets the longest outer packet of an SA in octets, its path MTU (RFC 4301 §8.2); `None` for none of its own.
    /// Returns whether there is such an SA.
    pub fn set_sa_mtu(&mut self, sa: SaPlace, mtu: Option<usize>) -> bool {
        self.sad.at_mut(sa).map(|entry| entry.state.mtu = mtu).is_some()
    }

    /// Sets the longest outer packet of any SA in octets: the MTU of the link; `None` for none. The smaller of an SA's
    /// own and this counts.
    pub fn set_mtu(&mut self, mtu: Option<usize>) {
        self.mtu = mtu;
    }

    /// Tells the limits of time that SAs have reached by `now`, without waiting for a packet. Called every second or
    /// so, it makes rekeying independent of traffic.
    pub fn expire(&mut self, now: Duration, events: &mut Vec<Event>) {
        self.sad.expire(now, events);
    }

    /// Sends a burst of packets, in order, and appends what became of each to `sent`, and to `events` what is to be
    /// told. `now` is the time of a clock that never goes back, the one of [`Sad::sending`].
    ///
    /// 1. The packet's headers; its SA's lifetime.
    /// 2. By the SA's mode: the header in front of ESP, and the payload.
    /// 3. Length: the MTU, and what an IP header can say; TFC padding up to `tfcpad`.
    /// 4. Sequence number and IV, padding, next header; from here on a number is used up. The lifetime counts.
    /// 5. Encryption and ICV, all SAs in one call.
    /// 6. The UDP checksum over IPv6.
    ///
    /// The packet inside is not changed: its TTL or hop limit is not decremented, for this is its own host's IPsec
    /// (RFC 4301 §5.1.2.1 note 2).
    ///
    /// What can't be made shorter is sent even where it gets longer than the MTU: [`Sent::ToFragment`].
    pub fn send_burst(
        &mut self,
        now: Duration,
        packets: &[Outgoing<'_>],
        sent: &mut Vec<Sent>,
        events: &mut Vec<Event>,
    ) {
        self.begin();
        let first = sent.len();
        for outgoing in packets {
            sent.push(self.admit(now, outgoing, events));
        }
        let unsealed = self.seal(now);
        for sent in &mut sent[first..] {
            if matches!(sent, Sent::Packet(at) | Sent::ToFragment(at) if unsealed.contains(at)) {
                *sent = Sent::Drop(DropReason::Malformed);
            }
        }
    }

    /// Appends a NAT-keepalive to `sent` for each peer of an SA with UDP encapsulation to which nothing was sent for
    /// `interval` ([`KEEPALIVE_INTERVAL`]), by any of its SAs (RFC 3948 §4). To be called every second or so; an SA
    /// that has ended counts as long as it is there.
    pub fn keepalives(&mut self, now: Duration, interval: Duration, sent: &mut Vec<Sent>) {
        self.begin();
        for Peer { src, dst, ports } in self.peers.silent(now, interval) {
            let start = self.octets.len();
            let header = OuterHeader::plain(src, dst, &TunnelHeaders::default());
            header.write(&mut self.octets, protocol::UDP, &mut self.id);
            let udp_at = self.octets.len();
            udp::write_header(&mut self.octets, ports, 1);
            self.octets.push(udp::KEEPALIVE);
            if dst.is_ipv6() {
                udp::write_checksum(src, dst, &mut self.octets[udp_at..]);
            }
            ip::fix_len(&mut self.octets[start..]);
            sent.push(Sent::Packet(start..self.octets.len()));
        }
    }

    /// See [`danger::force_iv`](crate::danger::force_iv).
    pub(crate) fn force_iv(&mut self, spi: u32, dst: IpAddr, iv: &[u8]) -> bool {
        let entry = self.find(spi, dst).and_then(|place| self.sad.at_mut(place));
        entry.is_some_and(|entry| espwire_esp::danger::force_iv(&mut entry.state.outbound, iv))
    }

    /// Begins a burst: the last one's octets go.
    pub(crate) fn begin(&mut self) {
        self.octets.clear();
        self.packets.clear();
    }

    /// Takes one packet more into the burst: all that [`send_burst`](Self::send_burst) does with it before it is
    /// encrypted. What it says holds once [`seal`](Self::seal) was called.
    pub(crate) fn admit(&mut self, now: Duration, outgoing: &Outgoing<'_>, events: &mut Vec<Event>) -> Sent {
        let (Outgoing::Packet { sa: place, .. } | Outgoing::Dummy { sa: place, .. }) = *outgoing;
        self.encapsulate(place, now, outgoing, events).unwrap_or_else(|unsent| {
            if let Sent::Drop(reason) = unsent
                && let Some(entry) = self.sad.at_mut(place)
            {
                entry.counts.failures[reason] += 1;
            }
            unsent
        })
    }

    /// Encrypts what was admitted and writes the ICVs, in one call, and what comes after the ICV. Returns where those
    /// stand that are zeros now instead, and must not go out. It can't be, of what `prepare` gave.
    pub(crate) fn seal(&mut self, now: Duration) -> Vec<Range<usize>> {
        let unsealed = self.encrypt();
        for at in (0..self.packets.len()).filter(|at| !unsealed.contains(at)) {
            self.finish(at, now);
        }
        unsealed.into_iter().map(|at| self.packets[at].at.clone()).collect()
    }

    /// Encapsulates a packet but for encryption.
    fn encapsulate(
        &mut self,
        place: SaPlace,
        now: Duration,
        outgoing: &Outgoing<'_>,
        events: &mut Vec<Event>,
    ) -> Result<Sent, Sent> {
        let Some(Entry { sa, state, .. }) = self.sad.at_mut(place) else {
            return Err(Sent::Drop(DropReason::OutNoSa));
        };
        let (sa, id) = (&*sa, sa.id());
        let check = state.lifetime.check(now, |reached| events.push(reached.event(id)));
        check.map_err(|Expired| Sent::Drop(DropReason::OutExpired))?;
        let (encapsulation, ends, dummy_len) = match *outgoing {
            Outgoing::Packet { packet, .. } => {
                let (encapsulation, ends) =
                    Encapsulation::of_packet(sa, &state.headers, packet).map_err(Sent::Drop)?;
                (encapsulation, ends, 0)
            }
            Outgoing::Dummy { payload_len, .. } => {
                let dummy = Encapsulation::dummy(sa, &state.headers).map_err(Sent::Drop)?;
                (dummy, Ends::default(), payload_len)
            }
        };
        let mtu = [self.mtu, state.mtu].into_iter().flatten().min();
        let payload_len = encapsulation.padded_len(sa, &state.outbound, mtu, dummy_len)?;

        let start = self.octets.len();
        let esp_len = state.outbound.packet_len(payload_len);
        encapsulation.write_headers(&mut self.octets, sa, esp_len, &mut self.id);
        let esp_at = self.octets.len();
        self.octets.resize(esp_at + esp_len, 0);
        let esp = &mut self.octets[esp_at..];
        let mut at = state.outbound.payload_at();
        for part in [encapsulation.prefix.octets(), encapsulation.payload[0], encapsulation.payload[1]] {
            esp[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        let unsealed = match state.outbound.prepare(esp, payload_len, encapsulation.next_header) {
            Ok(unsealed) => unsealed,
            Err(unprepared) => {
                self.octets.truncate(start);
                let reason = match unprepared {
                    Unprepared::Malformed => DropReason::Malformed,
                    Unprepared::SequenceOverflow => DropReason::SeqOverflow,
                };
                if reason == DropReason::SeqOverflow {
                    let flow = match *outgoing {
                        Outgoing::Packet { packet, .. } => Flow::of_packet(packet),
                        Outgoing::Dummy { .. } => None,
                    };
                    events.push(audit(reason, now, sa, &state.outbound, ends, flow));
                }
                return Err(Sent::Drop(reason));
            }
        };
        ip::fix_len(&mut self.octets[start..]);
        let text_len = esp_len - state.outbound.payload_at() - state.outbound.suite().icv_len();
        // It is not over: that was asked above.
        let _ = state.lifetime.on_packet(now, text_len as u64, |reached| events.push(reached.event(id)));
        let (at, esp) = (start..self.octets.len(), esp_at..self.octets.len());
        self.packets.push(Packet { sa: place, unsealed: Some(unsealed), at: at.clone(), esp });
        let is_too_long = mtu.is_some_and(|mtu| at.len() > mtu);
        Ok(if is_too_long { Sent::ToFragment(at) } else { Sent::Packet(at) })
    }

    /// Encrypts what was prepared and writes the ICVs. Returns the places in `packets` of those that are zeros now.
    fn encrypt(&mut self) -> Vec<usize> {
        let mut burst = SealBurst::with_capacity(self.packets.len());
        let mut rest = &mut self.octets[..];
        let mut done = 0;
        for packet in &mut self.packets {
            let (octets, after) = rest.split_at_mut(packet.esp.end - done);
            rest = after;
            if let (Some(unsealed), Some(entry)) = (packet.unsealed.take(), self.sad.at(packet.sa)) {
                burst.push(&entry.state.outbound, unsealed, &mut octets[packet.esp.start - done..]);
            }
            done = packet.esp.end;
        }
        burst.seal().map_or_else(|not_sealed| not_sealed.places().to_vec(), |()| Vec::new())
    }

    /// What comes after the ICV.
    fn finish(&mut self, at: usize, now: Duration) {
        let Packet { sa, ref at, ref esp, .. } = self.packets[at];
        let Some(entry) = self.sad.at_mut(sa) else { return };
        if let Some(peer) = entry.state.peer {
            self.peers.sent(peer, now);
            if self.octets[at.start] >> 4 == 6 {
                let udp_at = esp.start - UDP_LEN;
                // An SA may be for any source, the packet has one. Its destination may be a next hop's.
                let (headers, datagram) = self.octets[at.start..esp.end].split_at_mut(udp_at - at.start);
                let mut src = [0; 16];
                src.copy_from_slice(&headers[8..24]);
                udp::write_checksum(src.into(), entry.sa.dst, datagram);
            }
        }
        entry.counts.packets += 1;
        entry.counts.bytes += esp.len() as u64;
    }
}

fn audit(
    reason: DropReason,
    now: Duration,
    sa: &Sa,
    outbound: &OutboundSa,
    ends: Ends,
    flow: Option<Flow>,
) -> Event {
    Event::Audit(Audit {
        reason,
        time: now,
        spi: Some(sa.spi),
        sequence: Some(outbound.last()),
        src: ends.src,
        dst: ends.dst,
        flow_label: ends.flow_label,
        flow,
    })
}
