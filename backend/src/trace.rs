//! The trace: explanations of packets on their way from the paths to stdout.
//!
//! ```text
//!   path ── Tracer ──(bounded queue, never waits)──► writer thread ──► stdout
//! ```
//!
//! A path asks its tracer before a packet is explained: over the limit it costs a number, nothing more. What the
//! limit or a full queue kept back is counted, and the count is printed before the next record.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use espwire_ipsec::{Explanation, Observer};

use crate::port::PortName;
use crate::record::{EspRecord, Place, Seen, SuppressedRecord};

/// Records that may wait for stdout.
const QUEUE_LEN: usize = 16_384;
/// Octets that are gathered for one write while more records wait.
const BATCH_LEN: usize = 8192;

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TraceFormat {
    /// Some lines for people.
    Human,
    /// One line of JSON each.
    Json,
}

/// What is traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceConfig {
    /// How.
    pub format: TraceFormat,
    /// Most records a second, for each port and path; 0: no limit.
    pub limit: u32,
    /// Inner ports whose payload is shown.
    pub show_payload: Vec<u16>,
}

enum Entry {
    Packet(Box<EspRecord>),
    /// So many records were kept back.
    Suppressed(PortName, u64),
}

/// Records of each port that were kept back and had not been told when its paths ended.
type Untold = Arc<[AtomicU64; 2]>;

/// The thread that writes records to stdout.
pub(crate) struct TraceWriter {
    sender: SyncSender<Entry>,
    untold: Untold,
    thread: JoinHandle<()>,
}

impl TraceWriter {
    pub(crate) fn start(format: TraceFormat) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE_LEN);
        let untold = Untold::default();
        let untold_too = Arc::clone(&untold);
        let thread = thread::Builder::new().name("trace".to_owned()).spawn(move || {
            // A closed stdout is no reason to end the cable: records go nowhere then.
            let _ = write_all(&receiver, &untold_too, format);
        })?;
        Ok(Self { sender, untold, thread })
    }

    /// Waits until all records are written. All tracers must be gone.
    pub(crate) fn finish(self) {
        drop(self.sender);
        // It panicked only if a record can't be written, which costs the trace and nothing else.
        let _ = self.thread.join();
    }
}

fn write_all(receiver: &Receiver<Entry>, untold: &Untold, format: TraceFormat) -> io::Result<()> {
    let mut text = String::new();
    loop {
        let entry = match receiver.try_recv() {
            Ok(entry) => entry,
            Err(_) => {
                flush(&mut text)?;
                match receiver.recv() {
                    Ok(entry) => entry,
                    Err(_) => break,
                }
            }
        };
        text += &record(entry, format);
        if text.len() >= BATCH_LEN {
            flush(&mut text)?;
        }
    }
    for port in [PortName::A, PortName::B] {
        let count = untold[port as usize].load(Ordering::Acquire);
        if count > 0 {
            text += &record(Entry::Suppressed(port, count), format);
        }
    }
    flush(&mut text)
}

/// The entry's lines.
fn record(entry: Entry, format: TraceFormat) -> String {
    let mut text = match (entry, format) {
        (Entry::Packet(record), TraceFormat::Human) => record.to_string(),
        (Entry::Packet(record), TraceFormat::Json) => record.to_json(),
        (Entry::Suppressed(port, count), TraceFormat::Human) => {
            SuppressedRecord::new(port, count).to_string()
        }
        (Entry::Suppressed(port, count), TraceFormat::Json) => SuppressedRecord::new(port, count).to_json(),
    };
    text.push('\n');
    text
}

/// Writes whole records under one lock of stdout: the counters, which another thread prints, stand between two.
fn flush(text: &mut String) -> io::Result<()> {
    io::stdout().write_all(text.as_bytes())?;
    text.clear();
    Ok(())
}

/// A port's end of the trace on one path: decides which packets are explained, and hands them over.
pub(crate) struct Tracer {
    port: PortName,
    /// `None`: nothing is traced.
    trace: Option<Trace>,
}

struct Trace {
    sender: SyncSender<Entry>,
    untold: Untold,
    show_payload: Vec<u16>,
    limit: Limit,
    /// Records that were kept back since the last one.
    suppressed: u64,
}

impl Tracer {
    /// A tracer of `port` that writes to `writer` what `config` says.
    pub(crate) fn new(port: PortName, config: Option<&TraceConfig>, writer: Option<&TraceWriter>) -> Self {
        let trace = config.zip(writer).map(|(config, writer)| Trace {
            sender: writer.sender.clone(),
            untold: Arc::clone(&writer.untold),
            show_payload: config.show_payload.clone(),
            limit: Limit::new(config.limit),
            suppressed: 0,
        });
        Self { port, trace }
    }

    /// A burst begins: the limit's clock is read.
    #[inline]
    pub(crate) fn begin_burst(&mut self) {
        if let Some(trace) = &mut self.trace
            && trace.limit.per_second > 0
        {
            trace.limit.refill(Instant::now());
        }
    }
}

impl Observer for Tracer {
    #[inline]
    fn wants(&mut self) -> bool {
        let Some(trace) = &mut self.trace else { return false };
        let wants = trace.limit.take();
        trace.suppressed += u64::from(!wants);
        wants
    }

    fn observe(&mut self, explanation: &Explanation<'_>) {
        let Some(trace) = &mut self.trace else { return };
        trace.tell_suppressed(self.port);
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok();
        let seen = Seen { place: Place::Port(self.port), time };
        let record = EspRecord::new(explanation, seen, &trace.show_payload);
        if trace.sender.try_send(Entry::Packet(Box::new(record))).is_err() {
            trace.suppressed += 1;
        }
    }
}

impl Trace {
    fn tell_suppressed(&mut self, port: PortName) {
        if self.suppressed > 0 && self.sender.try_send(Entry::Suppressed(port, self.suppressed)).is_ok() {
            self.suppressed = 0;
        }
    }
}

impl Drop for Tracer {
    /// Leaves the last count, if records were kept back since the last one that was written. A path that ends does
    /// not wait for who reads stdout.
    fn drop(&mut self) {
        if let Some(trace) = &mut self.trace {
            trace.untold[self.port as usize].fetch_add(trace.suppressed, Ordering::AcqRel);
        }
    }
}

/// A token bucket: so many records a second, and as many at once.
struct Limit {
    per_second: u32,
    tokens: f64,
    refilled: Option<Instant>,
}

impl Limit {
    fn new(per_second: u32) -> Self {
        Self { per_second, tokens: f64::from(per_second), refilled: None }
    }

    fn refill(&mut self, now: Instant) {
        let passed = self.refilled.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        let rate = f64::from(self.per_second);
        self.tokens = (self.tokens + passed.as_secs_f64() * rate).min(rate);
        self.refilled = Some(now);
    }

    #[inline]
    fn take(&mut self) -> bool {
        if self.per_second == 0 {
            return true;
        }
        let taken = self.tokens >= 1.0;
        self.tokens -= f64::from(u8::from(taken));
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_rate_with_a_burst_of_a_second() {
        let mut limit = Limit::new(10);
        let start = Instant::now();
        let taken = |limit: &mut Limit| (0..100).filter(|_| limit.take()).count();
        limit.refill(start);
        assert_eq!(taken(&mut limit), 10);
        limit.refill(start + Duration::from_millis(300));
        assert_eq!(taken(&mut limit), 3);
        limit.refill(start + Duration::from_secs(60));
        assert_eq!(taken(&mut limit), 10);
    }

    #[test]
    fn no_limit_is_none() {
        let mut limit = Limit::new(0);
        assert!((0..100_000).all(|_| limit.take()));
    }
}
