//! Records of type `inspect_summary`.

use std::fmt;

use espwire_ipsec::{Passed, Sad, Verdict};
use serde::Serialize;

use super::sa::{Failures, SaRecord};
use super::{Number, VERSION};

/// What was found in a capture.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct InspectSummary {
    v: u32,
    #[serde(rename = "type")]
    kind: &'static str,
    /// As on the command line.
    capture: String,
    /// Whether the capture could be read to its end.
    complete: bool,
    frames: Number,
    esp_packets: Number,
    verified: Number,
    failed: Number,
    failures: Failures,
    /// Packets without an SA that were not to count as failures.
    ignored: Number,
    replays: Number,
    others: Others,
    sas: Vec<SaRecord>,
    /// Whether all was as it should be.
    ok: bool,
}

/// Frames that are not ESP packets.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Others {
    not_esp: Number,
    natt_ike: Number,
    natt_keepalive: Number,
}

impl InspectSummary {
    /// Of nothing so far.
    pub(crate) fn new(capture: String) -> Self {
        Self {
            v: VERSION,
            kind: "inspect_summary",
            capture,
            complete: false,
            frames: Number(0),
            esp_packets: Number(0),
            verified: Number(0),
            failed: Number(0),
            failures: Failures::default(),
            ignored: Number(0),
            replays: Number(0),
            others: Others::default(),
            sas: Vec::new(),
            ok: false,
        }
    }

    /// Counts a frame; one that `is_ignored` is no failure.
    pub(crate) fn count(&mut self, verdict: Verdict, is_ignored: bool) {
        self.frames.0 += 1;
        let count = match verdict {
            Verdict::Pass(Passed::NattIke) => &mut self.others.natt_ike,
            Verdict::Pass(Passed::NattKeepalive) => &mut self.others.natt_keepalive,
            Verdict::Pass(Passed::Verified) => &mut self.verified,
            Verdict::Pass(_) => &mut self.others.not_esp,
            Verdict::Drop(_) if is_ignored => &mut self.ignored,
            Verdict::Drop(reason) => {
                self.failures.0[reason] += 1;
                &mut self.failed
            }
        };
        count.0 += 1;
        self.esp_packets.0 = self.verified.0 + self.failed.0 + self.ignored.0;
    }

    /// Counts a packet whose number the anti-replay window had a word on.
    pub(crate) fn count_replay(&mut self) {
        self.replays.0 += 1;
    }

    /// Ends it; `complete` if the capture was read to its end. Returns whether all was as it should be.
    pub(crate) fn finish(&mut self, sad: &Sad, complete: bool) -> bool {
        self.sas = sad.iter().map(SaRecord::of).collect();
        self.complete = complete;
        self.ok = complete && self.verified.0 > 0 && self.failed.0 == 0;
        self.ok
    }

    /// The record as one line of JSON, without a newline.
    pub(crate) fn to_json(&self) -> String {
        // Strings and numbers only: nothing here can fail to serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl fmt::Display for InspectSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frames, esp_packets, verified, failed, ignored, replays, others, .. } = self;
        let others = others.not_esp.0 + others.natt_ike.0 + others.natt_keepalive.0;
        // A name is an octet string: it may hold what a terminal obeys.
        let capture = self.capture.escape_debug();
        writeln!(f, "{capture}: {frames} frames, {esp_packets} ESP packets, {others} others")?;
        writeln!(f, "  verified  {verified}")?;
        write!(f, "  failed    {failed}")?;
        let failures = self.failures.0.iter().filter(|&(_, count)| count > 0);
        for (place, (reason, count)) in failures.enumerate() {
            write!(f, "{}{count} {}", if place == 0 { ": " } else { ", " }, reason.name())?;
        }
        f.write_str("\n")?;
        if ignored.0 > 0 {
            writeln!(f, "  ignored   {ignored} without an SA")?;
        }
        if replays.0 > 0 {
            writeln!(f, "  replays   {replays} noted")?;
        }
        for sa in &self.sas {
            write!(f, "  SA        spi {}  dst {}  {}  ", sa.spi, sa.dst, sa.suite)?;
            match &sa.integrity_key {
                Some(integrity_key) => write!(f, "keys {} and {integrity_key}", sa.encryption_key)?,
                None => write!(f, "key {}", sa.encryption_key)?,
            }
            writeln!(f, "  {} packets, {} failed", sa.packets, sa.failures.0.total())?;
        }
        let with_sa = if ignored.0 > 0 { " with an SA" } else { "" };
        match (self.complete, failed.0, verified.0) {
            (false, ..) => writeln!(f, "  result    INCOMPLETE: the capture could not be read to its end"),
            (true, 0, 0) => writeln!(f, "  result    FAIL: there is no ESP packet{with_sa}"),
            (true, 0, _) => writeln!(
                f,
                "  result    PASS: every ESP packet{with_sa} verified, decrypted, re-encrypted to the same octets"
            ),
            (true, ..) => writeln!(f, "  result    FAIL: {failed} of {esp_packets} ESP packets"),
        }
    }
}
