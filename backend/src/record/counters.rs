//! Records of type `counters`.

use std::fmt;
use std::sync::atomic::Ordering;

use espwire_ipsec::Sa;
use serde::Serialize;

use super::sa::SaRecord;
use super::{Number, VERSION};
use crate::counters::{DirectionCounts, DropReason, SaTotals};
use crate::port::Port;

/// All counters of a cable at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct CounterRecord {
    v: u32,
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
    ports: [PortRecord; 2],
}

#[derive(Clone, Debug, Serialize)]
struct PortRecord {
    port: &'static str,
    tx: TxRecord,
    rx: RxRecord,
    connects: Number,
    disconnects: Number,
    memory_faults: Number,
    ring_faults: Number,
}

/// What the port's guest sent.
#[derive(Clone, Debug, Serialize)]
struct TxRecord {
    frames: Number,
    bytes: Number,
    kicks: Number,
    calls: Number,
    drops: Drops,
    /// In mode `inspect`: the SAs that the NIC knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    sas: Option<Vec<SaRecord>>,
}

/// What the port's guest received.
#[derive(Clone, Debug, Serialize)]
struct RxRecord {
    frames: Number,
    bytes: Number,
    kicks: Number,
    calls: Number,
    bad_chains: Number,
}

/// Frames dropped, by reason: every reason is there, also at zero.
#[derive(Clone, Debug)]
struct Drops(DirectionCounts);

impl Serialize for Drops {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(DropReason::all().map(|r| (r.name(), Number(self.0.drops(r)))))
    }
}

impl CounterRecord {
    /// `directions` are A → B and B → A; `sas` those that the NICs of a and b know, in mode `inspect`.
    pub(crate) fn new(
        name: &str,
        ports: [&Port; 2],
        directions: [DirectionCounts; 2],
        sas: [Option<Vec<(Sa, SaTotals)>>; 2],
    ) -> Self {
        let mut sas = sas.map(|sas| {
            sas.map(|sas| sas.iter().map(|(sa, totals)| SaRecord::new(sa, *totals)).collect::<Vec<_>>())
        });
        let mut port = |index: usize| {
            let (sent, received, port) = (directions[index], directions[1 - index], ports[index]);
            let count = |counter: &std::sync::atomic::AtomicU64| Number(counter.load(Ordering::Relaxed));
            PortRecord {
                port: port.name.as_str(),
                tx: TxRecord {
                    frames: Number(sent.frames_in),
                    bytes: Number(sent.bytes_in),
                    kicks: Number(sent.tx_kicks),
                    calls: Number(sent.tx_calls),
                    drops: Drops(sent),
                    sas: sas[index].take(),
                },
                rx: RxRecord {
                    frames: Number(received.frames_out),
                    bytes: Number(received.bytes_out),
                    kicks: Number(received.rx_kicks),
                    calls: Number(received.rx_calls),
                    bad_chains: Number(received.rx_bad_chains),
                },
                connects: count(&port.counts.connects),
                disconnects: count(&port.counts.disconnects),
                memory_faults: count(&port.counts.memory_faults),
                ring_faults: count(&port.counts.ring_faults),
            }
        };
        Self { v: VERSION, kind: "counters", name: name.to_owned(), ports: [port(0), port(1)] }
    }

    /// The record as one line of JSON, without a newline.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings and numbers only: nothing here can fail to serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl fmt::Display for CounterRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "counters of {}", self.name)?;
        for port in &self.ports {
            let PortRecord { port: name, tx, rx, .. } = port;
            writeln!(
                f,
                "port {name}  sent      {:>12} frames {:>15} bytes {:>10} kicks {:>10} calls",
                tx.frames, tx.bytes, tx.kicks, tx.calls
            )?;
            writeln!(
                f,
                "        received  {:>12} frames {:>15} bytes {:>10} kicks {:>10} calls",
                rx.frames, rx.bytes, rx.kicks, rx.calls
            )?;
            let drops = DropReason::all().map(|reason| (tx.drops.0.drops(reason), reason.name()));
            writeln!(f, "        dropped   {}", list(drops))?;
            for sa in tx.sas.iter().flatten() {
                sa.fmt(f)?;
            }
            let faults = [
                (port.memory_faults, "memory faults"),
                (port.ring_faults, "ring faults"),
                (rx.bad_chains, "bad RX chains"),
            ];
            for (count, what) in faults.into_iter().filter(|(count, _)| count.0 > 0) {
                writeln!(f, "        faults    {count} {what}")?;
            }
            writeln!(f, "        frontends {} connected, {} gone", port.connects, port.disconnects)?;
        }
        Ok(())
    }
}

impl fmt::Display for SaRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { spi, src, dst, suite, mode, packets, bytes, replays, .. } = self;
        writeln!(f, "        SA        spi {spi}  {src} > {dst}  {mode}  {suite}")?;
        let failures = self.failures.0.iter().map(|(reason, count)| (count, reason.name()));
        write!(f, "                  {packets} packets  {bytes} bytes  failed {}", list(failures))?;
        if replays.0 > 0 { writeln!(f, "  {replays} replays noted") } else { writeln!(f) }
    }
}

/// Counts that are not zero, each with its name; `none` if all are.
fn list(counts: impl Iterator<Item = (u64, &'static str)>) -> String {
    let counts: Vec<_> =
        counts.filter(|(count, _)| *count > 0).map(|(count, name)| format!("{count} {name}")).collect();
    if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
}
