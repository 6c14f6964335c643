//! The trace: which packets are explained, and their records on the way to stdout.
//!
//! A path asks its tracer before a packet is explained: over the limit it costs a number, nothing more. What the
//! limit or a full queue kept back is counted, and the count is printed before the next record. Packets that are
//! dropped have a limit of their own: good ones never hide a bad one.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant, SystemTime};

use espwire_ipsec::{Explanation, Observer, Verdict};

use crate::output::{Entry, Output, TraceFormat, Untold};
use crate::port::PortName;
use crate::record::{EspRecord, Place, Seen};

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
    /// For packets that pass, and for those that are dropped.
    limits: [Limit; 2],
    /// When the burst came, since the Unix epoch.
    time: Option<Duration>,
    /// Records that were kept back since the last one.
    suppressed: u64,
}

impl Tracer {
    /// A tracer of `port` that writes to `output` what `config` says.
    pub(crate) fn new(port: PortName, config: Option<&TraceConfig>, output: &Output) -> Self {
        let trace = config.map(|config| Trace {
            sender: output.sender(),
            untold: output.untold(),
            show_payload: config.show_payload.clone(),
            limits: [Limit::new(config.limit), Limit::new(config.limit)],
            time: None,
            suppressed: 0,
        });
        Self { port, trace }
    }

    /// A burst begins: the clocks are read.
    #[inline]
    pub(crate) fn begin_burst(&mut self) {
        if let Some(trace) = &mut self.trace {
            let now = Instant::now();
            trace.limits.iter_mut().for_each(|limit| limit.refill(now));
            trace.time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok();
        }
    }
}

impl Observer for Tracer {
    #[inline]
    fn wants(&mut self, verdict: Verdict) -> bool {
        let Some(trace) = &mut self.trace else { return false };
        let wants = trace.limits[usize::from(matches!(verdict, Verdict::Drop(_)))].take();
        trace.suppressed += u64::from(!wants);
        wants
    }

    fn observe(&mut self, explanation: &Explanation<'_>) {
        let Some(trace) = &mut self.trace else { return };
        trace.tell_suppressed(self.port);
        let seen = Seen { place: Place::Port(self.port), time: trace.time };
        let record = EspRecord::new(explanation, seen, &trace.show_payload);
        match trace.sender.try_send(Entry::Packet(Box::new(record))) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => trace.suppressed += 1,
            // Stdout can't be written to any more.
            Err(TrySendError::Disconnected(_)) => self.trace = None,
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
