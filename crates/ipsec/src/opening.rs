//! ESP packets of a burst on their way from ciphertext to plaintext: the half that inspection and receiving share.
//!
//! Packets are copied one after the other; all that is prepared is opened in one call. A packet whose sequence number
//! turned out another once the burst's earlier packets had moved its window on is opened alone.

use std::ops::Range;
use std::time::Duration;

use espwire_esp::{InboundSa, OpenBurst, Prepared, Unverified, Verified};

use crate::sad::{Observing, Receiving, Sad};

/// A side whose SAs open packets.
pub(crate) trait Opens {
    fn inbound(&self) -> &InboundSa;
}

impl Opens for Observing {
    fn inbound(&self) -> &InboundSa {
        &self.inbound
    }
}

impl Opens for Receiving {
    fn inbound(&self) -> &InboundSa {
        &self.inbound
    }
}

/// How far a packet has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It waits: its octets are as received, and no number was tried.
    Held,
    /// To be verified in the burst's call.
    Prepared(Prepared),
    /// Its ICV was wrong, at last under this number. Its octets are as received.
    Failed(Prepared),
    /// Verified and decrypted.
    Opened(Prepared),
}

impl Stage {
    /// The number under which it was verified, or last tried.
    #[inline]
    pub(crate) fn prepared(&self) -> Option<&Prepared> {
        match self {
            Self::Held => None,
            Self::Prepared(prepared) | Self::Failed(prepared) | Self::Opened(prepared) => Some(prepared),
        }
    }
}

/// The packets of a burst, from the SPI to the ICV.
#[derive(Default)]
pub(crate) struct Opening {
    octets: Vec<u8>,
    packets: Vec<Packet>,
}

struct Packet {
    sa: usize,
    at: Range<usize>,
    stage: Stage,
    /// Of an opened packet, until its SA takes note of it.
    verified: Option<Verified>,
}

impl Packet {
    #[inline]
    fn settle(&mut self, prepared: Prepared, outcome: Result<Verified, Unverified>) {
        self.stage = if outcome.is_ok() { Stage::Opened(prepared) } else { Stage::Failed(prepared) };
        self.verified = outcome.ok();
    }
}

impl Opening {
    /// Begins a new burst.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.octets.clear();
        self.packets.clear();
    }

    /// Copies a packet of the SA at place `sa`, and returns its own place.
    #[inline]
    pub(crate) fn push(&mut self, sa: usize, esp: &[u8], stage: Stage) -> usize {
        let at = self.octets.len()..self.octets.len() + esp.len();
        self.octets.extend_from_slice(esp);
        self.packets.push(Packet { sa, at, stage, verified: None });
        self.packets.len() - 1
    }

    /// Verifies and decrypts what is prepared, all SAs in one call.
    pub(crate) fn open<S: Opens>(&mut self, sad: &Sad<S>) {
        let mut burst = OpenBurst::with_capacity(self.packets.len());
        let mut owners = Vec::with_capacity(self.packets.len());
        let mut rest = &mut self.octets[..];
        for packet in &mut self.packets {
            let (octets, after) = rest.split_at_mut(packet.at.len());
            rest = after;
            if let (Stage::Prepared(prepared), Some(entry)) = (packet.stage, sad.entry(packet.sa)) {
                burst.push(entry.state.inbound(), prepared, octets);
                owners.push((packet, prepared));
            }
        }
        for (outcome, (packet, prepared)) in burst.open().into_iter().zip(owners) {
            packet.settle(prepared, outcome);
        }
    }

    /// Verifies and decrypts one packet that has not been opened, under the number that `prepared` says.
    pub(crate) fn open_alone(&mut self, place: usize, inbound: &InboundSa, prepared: Prepared) -> Stage {
        let packet = &mut self.packets[place];
        let outcome = inbound.open(prepared, &mut self.octets[packet.at.clone()]);
        packet.settle(prepared, outcome);
        packet.stage
    }

    /// Takes back that a packet verified: by now its number is another, under which it would not have. `received` is
    /// the packet as it came.
    pub(crate) fn take_back(&mut self, place: usize, prepared: Prepared, received: &[u8]) -> Stage {
        let packet = &mut self.packets[place];
        packet.stage = Stage::Failed(prepared);
        packet.verified = None;
        self.octets[packet.at.clone()].copy_from_slice(received);
        packet.stage
    }

    /// Looks for the sender of a packet that failed: see [`InboundSa::failed`].
    pub(crate) fn resynchronize(
        &mut self,
        place: usize,
        inbound: &mut InboundSa,
        now: Duration,
    ) -> Option<Verified> {
        inbound.failed(self.octets_mut(place), now)
    }

    /// What an opened packet's SA takes note of it by, once.
    #[inline]
    pub(crate) fn take_verified(&mut self, place: usize) -> Option<Verified> {
        self.packets[place].verified.take()
    }

    #[inline]
    pub(crate) fn stage(&self, place: usize) -> Stage {
        self.packets[place].stage
    }

    /// Where a packet stands in [`all`](Self::all).
    #[inline]
    pub(crate) fn range(&self, place: usize) -> Range<usize> {
        self.packets[place].at.clone()
    }

    /// The octets of all packets, one after the other.
    #[inline]
    pub(crate) fn all(&self) -> &[u8] {
        &self.octets
    }

    #[inline]
    pub(crate) fn octets(&self, place: usize) -> &[u8] {
        &self.octets[self.range(place)]
    }

    #[inline]
    pub(crate) fn octets_mut(&mut self, place: usize) -> &mut [u8] {
        &mut self.octets[self.packets[place].at.clone()]
    }
}
