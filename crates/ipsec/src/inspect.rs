//! Mode `inspect`: each ESP packet verified, decrypted, explained, encrypted again and compared.

use espwire_esp::{Header, InboundSa, Malformed, Replay, Trailer, danger};

use crate::explanation::{Decrypted, Explanation, Observer, Reencryption};
use crate::inner::Inner;
use crate::ip::protocol;
use crate::opening::{Opening, Stage};
use crate::outer::{Content, Outer, find_esp};
use crate::sa::{Mode, SaCounts};
use crate::sad::Sad;
use crate::verdict::{DropReason, Passed, Verdict};

/// Most frames in a burst.
pub const MAX_BURST: usize = 64;

/// A frame as it was received: in private memory, which nobody changes while it is inspected.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    octets: &'a [u8],
    wire_len: usize,
}

impl<'a> Frame<'a> {
    /// A whole frame, from the destination address on, without FCS.
    #[inline]
    #[must_use]
    pub fn whole(octets: &'a [u8]) -> Self {
        Self { octets, wire_len: octets.len() }
    }

    /// What a capture kept of a frame of `wire_len` octets.
    #[must_use]
    pub fn captured(octets: &'a [u8], wire_len: usize) -> Self {
        Self { octets, wire_len: wire_len.max(octets.len()) }
    }
}

/// A NIC that looks into what its guest sends.
pub struct Inspector {
    sad: Sad,
    opening: Opening,
    /// The packets of `opening`, encrypted again.
    again: Vec<u8>,
    packets: Vec<Packet>,
}

/// One ESP packet of a burst on its way.
struct Packet {
    frame: usize,
    outer: Option<Outer>,
    header: Option<Header>,
    /// Its SA's place.
    sa: Option<usize>,
    /// Its place in `opening`, if it has an SA and could be verified.
    place: Option<usize>,
    /// The transform's outcome was taken: at once for a packet whose SA guesses.
    is_accepted: bool,
    replay: Option<Replay>,
    trailer: Option<Trailer>,
    reencryption: Option<Reencryption>,
    fault: Option<DropReason>,
}

impl Inspector {
    /// An inspector that knows the SAs of `sad`.
    #[must_use]
    pub fn new(sad: Sad) -> Self {
        Self { sad, opening: Opening::default(), again: Vec::new(), packets: Vec::with_capacity(MAX_BURST) }
    }

    /// Its SAs, with what was counted.
    #[must_use]
    pub fn sad(&self) -> &Sad {
        &self.sad
    }

    /// Its SAs, to be added and removed.
    pub fn sad_mut(&mut self) -> &mut Sad {
        // Their places may be those of others after this.
        self.packets.clear();
        &mut self.sad
    }

    /// The places in the [`Sad`] of the SAs that the last burst had packets of, with their counts; an SA may come
    /// more than once.
    pub fn last_burst(&self) -> impl Iterator<Item = (usize, &SaCounts)> {
        let mut places = self.packets.iter().filter_map(|packet| packet.sa);
        let mut last = None;
        std::iter::from_fn(move || {
            let place = places.find(|&place| last != Some(place))?;
            last = Some(place);
            Some((place, &self.sad.entry(place)?.counts))
        })
    }

    /// Inspects a burst of frames, in order, and appends a verdict for each to `verdicts`.
    ///
    /// 1. Find ESP: Ethernet, IP, UDP; what is not ESP passes.
    /// 2. Find the SA by SPI and destination; copy the packet; the received octets stay as they are.
    /// 3. Verify and decrypt the copies, all SAs in one call.
    /// 4. Note replay; check padding, next header, the inner packet's header.
    /// 5. Encrypt again with the same IV and number and regular padding, all SAs in one call; compare all of it.
    /// 6. Count, and explain to `observer` if it wants that, in the order of the frames.
    ///
    /// The frames themselves go on unchanged. A packet that was seen before is noted, not dropped: whether its
    /// receiver minds is the receiver's affair.
    pub fn inspect_burst(
        &mut self,
        frames: &[Frame<'_>],
        verdicts: &mut Vec<Verdict>,
        observer: &mut impl Observer,
    ) {
        self.opening.clear();
        self.packets.clear();
        let first = verdicts.len();
        for (index, frame) in frames.iter().enumerate() {
            let content = find_esp(frame.octets, frame.wire_len, |port| self.sad.is_natt(port));
            verdicts.push(match content {
                Content::Other(passed) => Verdict::Pass(passed),
                // Settled below.
                Content::Esp(outer) => {
                    self.admit(index, outer, frame.octets);
                    Verdict::Pass(Passed::Verified)
                }
                Content::Faulty(reason, outer) => {
                    self.packets.push(Packet::refused(index, outer, frame.octets, reason));
                    Verdict::Drop(reason)
                }
            });
        }
        self.opening.open(&self.sad);
        for index in 0..self.packets.len() {
            self.finish(index, frames);
        }
        self.reseal(frames);
        for index in 0..self.packets.len() {
            let verdict = self.settle(index);
            let packet = &self.packets[index];
            verdicts[first + packet.frame] = verdict;
            if observer.wants(verdict) {
                observer.observe(&self.explain(packet, &frames[packet.frame], verdict));
            }
        }
    }

    /// Finds the packet's SA, copies the packet, and prepares it. An SA that still guesses takes it to the end
    /// at once: what comes after it in the burst rests on it.
    #[inline]
    fn admit(&mut self, frame: usize, outer: Outer, octets: &[u8]) {
        let esp = &octets[outer.esp.clone()];
        let mut packet = Packet::refused(frame, Some(outer), octets, DropReason::NoSa);
        let found = packet
            .header
            .zip(packet.outer.as_ref())
            .and_then(|(header, outer)| self.sad.find(header.spi, outer.dst));
        if packet.header.is_none() {
            packet.fault = Some(DropReason::Malformed);
        } else if let Some((sa, entry)) = found.and_then(|sa| Some((sa, self.sad.entry_mut(sa)?))) {
            packet.sa = Some(sa);
            let inbound = &mut entry.state.inbound;
            match inbound.prepare(esp) {
                Err(Malformed) => packet.fault = Some(DropReason::Malformed),
                Ok(_) if inbound.is_guessing() => {
                    packet.fault = None;
                    let place = self.opening.push(sa, esp, Stage::Held);
                    packet.place = Some(place);
                    open_guessing(inbound, &mut self.opening, place);
                    packet.accept(place, inbound, &mut self.opening);
                }
                Ok(prepared) => {
                    packet.fault = None;
                    packet.place = Some(self.opening.push(sa, esp, Stage::Prepared(prepared)));
                }
            }
        }
        self.packets.push(packet);
    }

    /// Accepts an opened packet's number and checks what it holds.
    #[inline]
    fn finish(&mut self, index: usize, frames: &[Frame<'_>]) {
        let packet = &mut self.packets[index];
        let Some((sa, place)) = packet.sa.zip(packet.place) else { return };
        let Some(entry) = self.sad.entry_mut(sa) else { return };
        let inbound = &mut entry.state.inbound;
        if !packet.is_accepted {
            let stage = self.opening.stage(place);
            let now = inbound.prepare(self.opening.octets(place)).ok();
            if let Some((foreseen, now)) = stage.prepared().zip(now)
                && foreseen.sequence != now.sequence
            {
                // A packet before it in this burst has moved the window on: its number is another now.
                if let (Stage::Opened(_), Some(outer)) = (stage, &packet.outer) {
                    let received = &frames[packet.frame].octets[outer.esp.clone()];
                    self.opening.take_back(place, now, received);
                } else {
                    open_guessing(inbound, &mut self.opening, place);
                }
            }
            packet.accept(place, inbound, &mut self.opening);
        }
        if packet.fault.is_some() || !matches!(self.opening.stage(place), Stage::Opened(_)) {
            return;
        }
        let plaintext = inbound.plaintext(self.opening.octets(place));
        let (Some(trailer), Some(outer)) = (packet.trailer, &packet.outer) else { return };
        let payload_len = trailer.padding(plaintext).map_or(0, |padding| padding.start);
        packet.fault = match (entry.sa.mode, trailer.next_header) {
            (_, protocol::NONE) | (Mode::Transport, _) => None,
            (Mode::Tunnel, protocol::IPV4 | protocol::IPV6) | (Mode::Beet, _) => {
                let inner = Inner::read(&entry.sa, trailer.next_header, &plaintext[..payload_len], outer);
                inner.is_none().then_some(DropReason::InnerMalformed)
            }
            (Mode::Tunnel, _) => Some(DropReason::BadNextHeader),
        };
    }

    /// Encrypts what was opened again, in one call, and compares it with what was received.
    fn reseal(&mut self, frames: &[Frame<'_>]) {
        self.again.clear();
        self.again.extend_from_slice(self.opening.all());
        let mut jobs = Vec::with_capacity(self.packets.len());
        let mut owners = Vec::with_capacity(self.packets.len());
        let mut rest = &mut self.again[..];
        for packet in &mut self.packets {
            let Some(place) = packet.place else { continue };
            let (octets, after) = rest.split_at_mut(self.opening.range(place).len());
            rest = after;
            let entry = packet.sa.and_then(|sa| self.sad.entry(sa));
            let (Stage::Opened(prepared), Some(entry), Some(trailer), Some(outer)) =
                (self.opening.stage(place), entry, packet.trailer, &packet.outer)
            else {
                continue;
            };
            let inbound = &entry.state.inbound;
            let plaintext = inbound.plaintext_range(octets.len());
            let Some(padding) = trailer.padding(&octets[plaintext.clone()]) else { continue };
            // Padding as this end would write it: an odd one shows as a difference.
            for (octet, regular) in octets[plaintext][padding].iter_mut().zip(1..=u8::MAX) {
                *octet = regular;
            }
            jobs.push(inbound.job(&prepared, octets));
            let received = &frames[packet.frame].octets[outer.esp.clone()];
            owners.push((&mut packet.reencryption, received, entry.sa.suite.icv_len()));
        }
        danger::seal_burst(&mut jobs);
        for (job, (reencryption, received, icv_len)) in jobs.iter().zip(owners) {
            *reencryption = Some(Reencryption::compare(received, job.packet, icv_len));
        }
    }

    /// The packet's verdict, counted under its SA.
    #[inline]
    fn settle(&mut self, index: usize) -> Verdict {
        let packet = &mut self.packets[index];
        if packet.fault.is_none() && !packet.reencryption.is_some_and(Reencryption::matches) {
            packet.fault = Some(DropReason::ReencryptMismatch);
        }
        let octets = packet.place.map_or(0, |place| self.opening.range(place).len());
        if let Some(entry) = packet.sa.and_then(|sa| self.sad.entry_mut(sa)) {
            let counts = &mut entry.counts;
            match packet.fault {
                Some(reason) => counts.failures[reason] += 1,
                None => {
                    counts.packets += 1;
                    counts.bytes += octets as u64;
                    counts.replays += u64::from(packet.replay.is_some_and(|replay| replay != Replay::Fresh));
                }
            }
        }
        packet.fault.map_or(Verdict::Pass(Passed::Verified), Verdict::Drop)
    }

    /// Everything that was found in a packet.
    fn explain<'a>(&'a self, packet: &'a Packet, frame: &Frame<'a>, verdict: Verdict) -> Explanation<'a> {
        let esp = packet.outer.as_ref().map_or(&[][..], |outer| &frame.octets[outer.esp.clone()]);
        let entry = packet.sa.and_then(|sa| self.sad.entry(sa));
        let parts = entry.map_or(0..0, |entry| entry.state.inbound.plaintext_range(esp.len()));
        let stage = packet.place.map(|place| self.opening.stage(place));
        let prepared = stage.as_ref().and_then(Stage::prepared);
        let opened = packet.place.map_or(&[][..], |place| self.opening.octets(place));
        let decrypted =
            entry.zip(packet.trailer).zip(packet.outer.as_ref()).map(|((entry, trailer), outer)| {
                let plaintext = entry.state.inbound.plaintext(opened);
                let padding = trailer.padding(plaintext);
                let payload = &plaintext[..padding.as_ref().map_or(0, |padding| padding.start)];
                Decrypted {
                    payload,
                    padding: padding.map_or(&[], |padding| &plaintext[padding]),
                    pad_len: trailer.pad_len,
                    next_header: trailer.next_header,
                    inner: Inner::read(&entry.sa, trailer.next_header, payload, outer),
                    reencryption: packet.reencryption,
                }
            });
        Explanation {
            index: packet.frame,
            frame: frame.octets,
            wire_len: frame.wire_len,
            outer: packet.outer.as_ref(),
            esp,
            spi: packet.header.map(|header| header.spi),
            sequence_low: packet.header.map(|header| header.sequence_low),
            sa: entry.map(|entry| &entry.sa),
            iv: if parts.is_empty() { &[] } else { &esp[espwire_esp::HEADER_LEN..parts.start] },
            icv_received: if parts.is_empty() { &[] } else { &esp[parts.end..] },
            icv_computed: entry
                .zip(prepared)
                .and_then(|(entry, prepared)| entry.state.inbound.icv(prepared, esp)),
            sequence: prepared.map(|prepared| prepared.sequence),
            verified: prepared.map(|_| matches!(stage, Some(Stage::Opened(_)))),
            replay: packet.replay,
            decrypted,
            verdict,
        }
    }
}

impl Packet {
    /// A packet that ends here unless it gets further.
    fn refused(frame: usize, outer: Option<Outer>, octets: &[u8], reason: DropReason) -> Self {
        let header = outer.as_ref().filter(|_| reason != DropReason::Fragment);
        Self {
            frame,
            header: header.and_then(|outer| Header::read(&octets[outer.esp.clone()])),
            outer,
            sa: None,
            place: None,
            is_accepted: false,
            replay: None,
            trailer: None,
            reencryption: None,
            fault: Some(reason),
        }
    }

    /// Takes the outcome of the transform: of an opened packet the number is accepted and the trailer checked.
    #[inline]
    fn accept(&mut self, place: usize, inbound: &mut InboundSa, opening: &mut Opening) {
        self.is_accepted = true;
        let verified = opening.take_verified(place);
        let octets = opening.octets(place);
        // It was this SA that verified it.
        let Some(Ok(accepted)) = verified.map(|verified| inbound.accept(verified, octets)) else {
            self.fault = self.fault.or(Some(DropReason::AuthFail));
            return;
        };
        self.replay = Some(accepted.replay);
        self.trailer = Trailer::read(inbound.plaintext(octets));
        self.fault = accepted.trailer.err().map(DropReason::from);
    }
}

/// Takes one packet through all its attempts.
fn open_guessing(inbound: &InboundSa, opening: &mut Opening, place: usize) {
    for attempt in 0.. {
        let Ok(Some(prepared)) = inbound.attempt(opening.octets(place), attempt) else { break };
        if matches!(opening.open_alone(place, inbound, prepared), Stage::Opened(_)) {
            break;
        }
    }
}
