//! SAs in records.

use std::net::IpAddr;

use espwire_ipsec::{DropCounts, Fingerprint, Sa, SaCounts, Suite};
use serde::{Serialize, Serializer};

use super::Number;
use super::esp_json::{Spi, Text};
use crate::counters::SaTotals;

/// An SA, and what was counted of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SaRecord {
    pub(super) spi: Spi,
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) mode: &'static str,
    pub(super) suite: Text<Suite>,
    pub(super) esn: bool,
    pub(super) encryption_key: Text<Fingerprint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) integrity_key: Option<Text<Fingerprint>>,
    pub(super) packets: Number,
    pub(super) bytes: Number,
    pub(super) replays: Number,
    pub(super) failures: Failures,
}

/// Packets that failed, by reason: every reason is there, also at zero.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Failures(pub(super) DropCounts);

impl Serialize for Failures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(reason, count)| (reason.name(), Number(count))))
    }
}

impl SaRecord {
    pub(super) fn new(sa: &Sa, totals: SaTotals) -> Self {
        Self {
            spi: Spi(sa.spi),
            src: sa.src,
            dst: sa.dst,
            mode: sa.mode.name(),
            suite: Text(sa.suite),
            esn: sa.esn,
            encryption_key: Text(sa.encryption_fingerprint),
            integrity_key: sa.integrity_fingerprint.map(Text),
            packets: Number(totals.packets),
            bytes: Number(totals.bytes),
            replays: Number(totals.replays),
            failures: Failures(totals.failures),
        }
    }

    /// Of a NIC that no other thread reads.
    pub(super) fn of((sa, counts): (&Sa, &SaCounts)) -> Self {
        let SaCounts { packets, bytes, replays, failures } = *counts;
        Self::new(sa, SaTotals { packets, bytes, replays, failures })
    }
}
