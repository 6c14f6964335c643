//! A port's NIC in mode `inspect`: what it does with the frames that its guest sends.
//!
//! Frames are copied once into private memory; what is verified there is what is delivered, whatever the guest
//! writes into its buffers meanwhile.

use std::sync::Arc;

use espwire_ipsec::{Frame, Inspector, MAX_BURST, Sa, Sad, Verdict};

use crate::counters::PublishedSa;
use crate::trace::Tracer;

/// The SAs of a port on one path, with their counts, for who reports them.
#[derive(Debug)]
pub(crate) struct SaTable {
    pub(crate) sas: Vec<Sa>,
    pub(crate) counts: Vec<PublishedSa>,
}

/// A NIC in mode `inspect`, on one path.
pub(crate) struct Nic {
    inspector: Inspector,
    tracer: Tracer,
    /// The burst's frames, one after the other. It only grows, to the longest burst there was.
    octets: Vec<u8>,
    /// Where each ends in `octets`.
    ends: Vec<usize>,
    verdicts: Vec<Verdict>,
    /// The first frame that is not settled yet.
    next: usize,
    table: Arc<SaTable>,
    /// There are counts that were not published.
    counted: bool,
}

impl Nic {
    /// A NIC that knows the SAs of `sad`, and explains its packets to `tracer`.
    pub(crate) fn new(sad: Sad, tracer: Tracer) -> Self {
        let sas: Vec<_> = sad.iter().map(|(sa, _)| sa.clone()).collect();
        let counts = sas.iter().map(|_| PublishedSa::default()).collect();
        Self {
            inspector: Inspector::new(sad),
            tracer,
            octets: Vec::new(),
            ends: Vec::with_capacity(MAX_BURST),
            verdicts: Vec::with_capacity(MAX_BURST),
            next: 0,
            table: Arc::new(SaTable { sas, counts }),
            counted: false,
        }
    }

    /// Its SAs and their published counts.
    pub(crate) fn table(&self) -> &Arc<SaTable> {
        &self.table
    }

    /// How many frames were inspected and are not settled.
    #[inline]
    pub(crate) fn frames(&self) -> usize {
        self.verdicts.len() - self.next
    }

    /// Whether there are frames that were inspected and not settled.
    #[inline]
    pub(crate) fn has_frames(&self) -> bool {
        self.frames() > 0
    }

    /// Begins a new burst. All frames of the last one must have been settled.
    pub(crate) fn begin(&mut self) {
        debug_assert!(!self.has_frames());
        self.ends.clear();
        self.verdicts.clear();
        self.next = 0;
    }

    /// Octets of the frames that were taken.
    #[inline]
    pub(crate) fn octets(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Takes a frame of `len` octets into the burst, which `copy` writes.
    #[inline]
    pub(crate) fn take(&mut self, len: usize, copy: impl FnOnce(&mut [u8])) {
        let start = self.octets();
        let end = start + len;
        if self.octets.len() < end {
            self.octets.resize(end, 0);
        }
        copy(&mut self.octets[start..end]);
        self.ends.push(end);
    }

    /// Inspects the frames that were taken.
    pub(crate) fn inspect(&mut self) {
        if self.ends.is_empty() {
            return;
        }
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let frames: Vec<_> =
            starts.zip(&self.ends).map(|(start, &end)| Frame::whole(&self.octets[start..end])).collect();
        self.tracer.begin_burst();
        self.inspector.inspect_burst(&frames, &mut self.verdicts, &mut self.tracer);
        self.counted = true;
    }

    /// The next frame that is to be settled, with its verdict.
    #[inline]
    pub(crate) fn next_frame(&self) -> Option<(&[u8], Verdict)> {
        let verdict = *self.verdicts.get(self.next)?;
        let start = self.next.checked_sub(1).map_or(0, |last| self.ends[last]);
        Some((&self.octets[start..self.ends[self.next]], verdict))
    }

    /// The next frame is settled.
    #[inline]
    pub(crate) fn advance(&mut self) {
        self.next += 1;
    }

    /// Publishes the counts of the SAs that the last burst had to do with.
    #[inline]
    pub(crate) fn publish_counts(&mut self) {
        if std::mem::take(&mut self.counted) {
            for (at, counts) in self.inspector.last_burst() {
                self.table.counts[at].publish(counts);
            }
        }
    }
}
