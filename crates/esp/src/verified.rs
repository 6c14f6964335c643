//! Packets whose ICV was right.

use espwire_transform::{Job, Status, open_burst};

use crate::header::Header;
use crate::inbound::{InboundSa, Prepared};
use crate::owner::Mark;

/// As many octets as the shortest ICV has.
const ICV_OCTETS: usize = 8;

/// A packet whose ICV was right, now decrypted: the only thing by which an SA's window moves
/// ([`InboundSa::accept`]). Only the transform makes one, and it serves once, for the packet and the SA that it is of.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Verified {
    sequence: u64,
    packet_len: usize,
    /// The last octets of the ICV, which the transform leaves as they are.
    icv: Option<[u8; ICV_OCTETS]>,
    owner: Mark,
}

/// Why a packet was not opened. Its octets are as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unverified {
    /// The ICV is wrong (RFC 4303 §3.4.4).
    AuthFailed,
    /// The packet's length can't be right for its SA's suite: not that of the packet that was prepared.
    Malformed,
}

impl Verified {
    /// Its sequence number, all 64 bits with ESN: what the ICV was over.
    #[inline]
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    #[inline]
    pub(crate) fn owner(&self) -> Mark {
        self.owner
    }

    /// Whether it is this packet that has verified, by its length and ICV.
    #[inline]
    pub(crate) fn is_of(&self, packet: &[u8]) -> bool {
        // Both are the packet's own and no secret: the ICV has been compared.
        self.packet_len == packet.len() && self.icv == packet.last_chunk().copied()
    }

    /// What `packet` is once its job is done. The low half is the packet's own: `prepared` may be anybody's.
    #[inline]
    fn alleged(sa: &InboundSa, prepared: &Prepared, packet: &[u8]) -> Self {
        let high = u64::from(sa.esn_high(prepared).unwrap_or(0)) << 32;
        // A packet without a number has no ICV either.
        let low = Header::read(packet).map_or(0, |header| header.sequence_low);
        Self::of(sa, high | u64::from(low), packet)
    }

    #[inline]
    fn of(sa: &InboundSa, sequence: u64, packet: &[u8]) -> Self {
        let icv = packet.last_chunk().copied();
        Self { sequence, packet_len: packet.len(), icv, owner: sa.owner().mark() }
    }

    /// What no packet stands behind.
    #[cfg(test)]
    pub(crate) fn invented(sa: &InboundSa, sequence: u64, packet: &[u8]) -> Self {
        Self::of(sa, sequence, packet)
    }
}

/// Packets of any SAs, verified and decrypted in one call.
#[derive(Default)]
pub struct OpenBurst<'a> {
    jobs: Vec<Job<'a>>,
    /// Of each job. Nothing has verified yet, and nobody sees them before.
    outcomes: Vec<Result<Verified, Unverified>>,
}

impl<'a> OpenBurst<'a> {
    /// An empty one, with room for `capacity` packets.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { jobs: Vec::with_capacity(capacity), outcomes: Vec::with_capacity(capacity) }
    }

    /// Adds a packet that `sa` has prepared, from the SPI to the ICV. The memory must be the caller's alone.
    #[inline]
    pub fn push(&mut self, sa: &'a InboundSa, prepared: Prepared, packet: &'a mut [u8]) {
        self.outcomes.push(Ok(Verified::alleged(sa, &prepared, packet)));
        self.jobs.push(sa.job(&prepared, packet));
    }

    /// Verifies the packets, and decrypts those whose ICV is right. Returns what became of each, in the order in
    /// which they were pushed.
    #[must_use]
    pub fn open(mut self) -> Vec<Result<Verified, Unverified>> {
        open_burst(&mut self.jobs);
        for (outcome, job) in self.outcomes.iter_mut().zip(&self.jobs) {
            if let Err(unverified) = judged(job.status) {
                *outcome = Err(unverified);
            }
        }
        self.outcomes
    }
}

impl InboundSa {
    /// Verifies one packet that this SA has prepared, from the SPI to the ICV, and decrypts it if its ICV is right.
    ///
    /// # Errors
    ///
    /// [`Unverified`]; the packet's octets are as they were.
    pub fn open(&self, prepared: Prepared, packet: &mut [u8]) -> Result<Verified, Unverified> {
        let alleged = Verified::alleged(self, &prepared, packet);
        let mut jobs = [self.job(&prepared, packet)];
        open_burst(&mut jobs);
        judged(jobs[0].status).map(|()| alleged)
    }
}

#[inline]
fn judged(status: Status) -> Result<(), Unverified> {
    match status {
        Status::Done => Ok(()),
        Status::Malformed => Err(Unverified::Malformed),
        Status::AuthFailed | Status::Pending => Err(Unverified::AuthFailed),
    }
}
