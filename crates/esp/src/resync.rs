//! Re-synchronization of an ESN (RFC 4303 Appendix A3).

use std::time::Duration;

/// Least time between two trials of one SA.
pub(crate) const TRIAL_INTERVAL: Duration = Duration::from_secs(1);

/// When an SA with ESN looks for a sender that has got 2^32 numbers or more ahead (RFC 4303 Appendix A3).
///
/// Each trial costs at most [`retries`](Self::retries) ICVs, and an SA has one a second at most: that is all that
/// forged packets can make it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resynchronization {
    /// How many packets in a row must fail before one of them is tried again: 0 is as 1.
    pub failures: u32,
    /// How many higher values of the upper half of its number are tried, one after the other.
    pub retries: u8,
}

impl Default for Resynchronization {
    /// 64 failures in a row, as many as a burst or the usual window has packets: line noise does not come to that.
    /// 8 retries: 2^35 packets, an hour of loss at ten million a second.
    fn default() -> Self {
        Self { failures: 64, retries: 8 }
    }
}

/// The failures of one SA.
#[derive(Debug)]
pub(crate) struct Failures {
    config: Resynchronization,
    in_a_row: u32,
    last_trial: Option<Duration>,
}

impl Failures {
    pub(crate) fn new(config: Resynchronization) -> Self {
        Self { config, in_a_row: 0, last_trial: None }
    }

    /// Counts one more at the time `now`. Returns how many retries its packet is due: mostly none.
    pub(crate) fn count(&mut self, now: Duration) -> u8 {
        self.in_a_row = self.in_a_row.saturating_add(1);
        let is_time = self
            .last_trial
            .is_none_or(|last| now.checked_sub(last).is_some_and(|since| since >= TRIAL_INTERVAL));
        if self.in_a_row < self.config.failures || !is_time {
            return 0;
        }
        self.last_trial = Some(now);
        self.config.retries
    }

    /// A packet has verified.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: Resynchronization = Resynchronization { failures: 3, retries: 5 };

    #[test]
    fn a_trial_is_due_after_so_many_failures_in_a_row() {
        let now = Duration::from_secs(100);
        let mut failures = Failures::new(CONFIG);
        assert_eq!([failures.count(now), failures.count(now)], [0, 0]);
        failures.clear();
        assert_eq!([0; 3].map(|_: u8| failures.count(now)), [0, 0, 5]);
        let mut at_once = Failures::new(Resynchronization { failures: 0, ..CONFIG });
        assert_eq!(at_once.count(now), 5);
    }

    #[test]
    fn trials_are_a_second_apart_whatever_fails_and_verifies() {
        let mut failures = Failures::new(CONFIG);
        let mut trials = Vec::new();
        for ms in 0..10_000 {
            if ms % 7 == 0 {
                failures.clear();
            }
            if failures.count(Duration::from_millis(ms)) > 0 {
                trials.push(ms);
            }
        }
        assert_eq!(trials.len(), 10);
        assert!(trials.is_sorted_by(|a, b| b - a >= 1000), "{trials:?}");
    }

    #[test]
    fn a_clock_that_goes_back_gives_no_trial() {
        let mut failures = Failures::new(Resynchronization { failures: 1, ..CONFIG });
        assert_eq!(failures.count(Duration::from_secs(100)), 5);
        assert_eq!(failures.count(Duration::from_secs(50)), 0);
        assert_eq!(failures.count(Duration::from_millis(100_999)), 0);
        assert_eq!(failures.count(Duration::from_secs(101)), 5);
    }

    #[test]
    fn failures_without_end_are_counted_without_overflow() {
        let mut failures = Failures::new(CONFIG);
        failures.in_a_row = u32::MAX;
        assert_eq!(failures.count(Duration::ZERO), 5);
        assert_eq!(failures.in_a_row, u32::MAX);
    }
}
