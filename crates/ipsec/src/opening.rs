//! ESP packets of a burst on their way from ciphertext to plaintext: the half that inspection and receiving share.
//!
//! Packets are copied one after the other; all that is prepared is opened in one call. A packet whose sequence number
//! turned out another once the burst's earlier packets had moved its window on is opened alone.

use std::ops::Range;

use espwire_esp::{InboundSa, Prepared, Status, open_burst};

use crate::receiving::Receiving;
use crate::sad::{Observing, Sad};

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
        self.packets.push(Packet { sa, at, stage });
        self.packets.len() - 1
    }

    /// Verifies and decrypts what is prepared, all SAs in one call.
    pub(crate) fn open<S: Opens>(&mut self, sad: &Sad<S>) {
        let mut jobs = Vec::with_capacity(self.packets.len());
        let mut owners = Vec::with_capacity(self.packets.len());
        let mut rest = &mut self.octets[..];
        for packet in &mut self.packets {
            let (octets, after) = rest.split_at_mut(packet.at.len());
            rest = after;
            if let (Stage::Prepared(prepared), Some(entry)) = (packet.stage, sad.entry(packet.sa)) {
                jobs.push(entry.state.inbound().job(&prepared, octets));
                owners.push((&mut packet.stage, prepared));
            }
        }
        open_burst(&mut jobs);
        for (job, (stage, prepared)) in jobs.iter().zip(owners) {
            *stage = settled(job.status, prepared);
        }
    }

    /// Verifies and decrypts one packet that has not been opened, under the number that `prepared` says.
    pub(crate) fn open_alone(&mut self, place: usize, inbound: &InboundSa, prepared: Prepared) -> Stage {
        let packet = &mut self.packets[place];
        let mut jobs = [inbound.job(&prepared, &mut self.octets[packet.at.clone()])];
        open_burst(&mut jobs);
        packet.stage = settled(jobs[0].status, prepared);
        packet.stage
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

fn settled(status: Status, prepared: Prepared) -> Stage {
    if status == Status::Done { Stage::Opened(prepared) } else { Stage::Failed(prepared) }
}
