//! When an SA ends (RFC 4301 §4.4.2.1): limits in octets, packets and time, each soft and hard.
//!
//! Octets are those that go through the cipher: payload, TFC padding, padding, pad length and next header
//! (RFC 4301 §4.4.2.1). Linux counts the payload alone, so an SA ends a little earlier here. Packets are those that
//! were sealed, dummies too, or that verified. An SA has ended once it has *reached* a hard limit, as in Linux: the
//! packet that reaches one of octets or packets is still processed.

use std::time::Duration;

use crate::event::{Event, LimitKind, SaId};
use crate::xfrm::{Limit, Limits, Used};

/// A limit that was reached, told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Which.
    pub limit: LimitKind,
    /// The hard one: the SA has ended.
    pub is_hard: bool,
}

impl Reached {
    /// The event that says so.
    #[must_use]
    pub fn event(self, sa: SaId) -> Event {
        Event::Expire { sa, is_hard: self.is_hard, limit: self.limit }
    }
}

/// The SA has ended: nothing goes through it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired;

/// What an SA has been used for, and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifetime {
    limits: Limits,
    added: Duration,
    used: Option<Duration>,
    bytes: u64,
    packets: u64,
    /// Of the soft limits, those that were told: a bit each.
    told: u8,
    ended: Option<LimitKind>,
}

const KINDS: [LimitKind; 4] =
    [LimitKind::Bytes, LimitKind::Packets, LimitKind::SinceAdded, LimitKind::SinceUsed];

impl Lifetime {
    /// That of an SA which is there since `now`, and was never used.
    #[must_use]
    pub fn new(limits: Limits, now: Duration) -> Self {
        Self { limits, added: now, used: None, bytes: 0, packets: 0, told: 0, ended: None }
    }

    /// That of an SA which is there since `now`, and had been used for so much before. Its octets and packets go on from
    /// that, so that a limit which was reached is still reached. Its times begin at `now`: those of its first life are
    /// not known, and no limit comes earlier than it should. A soft limit that was told is told again, once.
    ///
    /// [`Used::bytes`] may be Linux's count, which leaves out padding.
    #[must_use]
    pub fn resumed(limits: Limits, now: Duration, used: Used) -> Self {
        let Used { bytes, packets } = used;
        let since = (packets > 0).then_some(now);
        Self { used: since, bytes, packets, ..Self::new(limits, now) }
    }

    /// Since when it is there.
    #[must_use]
    pub fn added(&self) -> Duration {
        self.added
    }

    /// When its first packet was counted; of one that had been used before, when it was added.
    #[must_use]
    pub fn used(&self) -> Option<Duration> {
        self.used
    }

    /// Octets counted.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Packets counted.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// The limit that ended it, if it was seen to have ended.
    #[must_use]
    pub fn ended(&self) -> Option<LimitKind> {
        self.ended
    }

    /// Whether its SA may not be used at `now`. Unlike [`check`](Self::check) this tells and changes nothing.
    #[must_use]
    pub fn is_over(&self, now: Duration) -> bool {
        self.ended.is_some() || KINDS.into_iter().any(|kind| self.is_reached(&self.limits.hard, kind, now))
    }

    /// Whether a soft limit has been told: its SA is to be replaced.
    #[must_use]
    pub fn is_dying(&self) -> bool {
        self.told != 0
    }

    /// Whether its SA may still be used at `now`. Tells the limits that have been reached since the last call: the
    /// hard one that ended it, or else the soft ones. Of several hard limits at once, the first in the order of
    /// [`LimitKind`].
    ///
    /// `now` goes on from the time at which it was made, on the same clock. A `now` before that is taken as that.
    ///
    /// # Errors
    ///
    /// [`Expired`]: it may not.
    //
    //= https://www.rfc-editor.org/rfc/rfc4301#section-4.4.2.1
    //# This may be expressed as a
    //# time or byte count, or a simultaneous use of both with the
    //# first lifetime to expire taking precedence.
    pub fn check(&mut self, now: Duration, mut tell: impl FnMut(Reached)) -> Result<(), Expired> {
        if self.ended.is_some() {
            return Err(Expired);
        }
        let is_reached = |limit: &Limit, kind| self.is_reached(limit, kind, now);
        if let Some(kind) = KINDS.into_iter().find(|&kind| is_reached(&self.limits.hard, kind)) {
            self.ended = Some(kind);
            tell(Reached { limit: kind, is_hard: true });
            return Err(Expired);
        }
        for kind in KINDS {
            let bit = 1 << kind as u8;
            if self.told & bit == 0 && self.is_reached(&self.limits.soft, kind, now) {
                self.told |= bit;
                tell(Reached { limit: kind, is_hard: false });
            }
        }
        Ok(())
    }

    /// Counts a packet of `octets`, unless the SA has ended: first [`check`](Self::check), then the packet, then
    /// what it has reached.
    ///
    /// # Errors
    ///
    /// [`Expired`]: the packet is not to be processed, and was not counted.
    pub fn on_packet(
        &mut self,
        now: Duration,
        octets: u64,
        mut tell: impl FnMut(Reached),
    ) -> Result<(), Expired> {
        self.check(now, &mut tell)?;
        self.used.get_or_insert(now);
        self.bytes = self.bytes.saturating_add(octets);
        self.packets = self.packets.saturating_add(1);
        // That it has ended now is for the next packet.
        let _ = self.check(now, tell);
        Ok(())
    }

    fn is_reached(&self, limit: &Limit, kind: LimitKind, now: Duration) -> bool {
        let since = |start: Option<Duration>| start.map(|start| now.saturating_sub(start).as_secs());
        let (limit, count) = match kind {
            LimitKind::Bytes => (limit.bytes, Some(self.bytes)),
            LimitKind::Packets => (limit.packets, Some(self.packets)),
            LimitKind::SinceAdded => (limit.since_added, since(Some(self.added))),
            LimitKind::SinceUsed => (limit.since_used, since(self.used)),
        };
        limit.zip(count).is_some_and(|(limit, count)| count >= limit)
    }
}

#[cfg(test)]
mod tests {
    use LimitKind::{Bytes, Packets, SinceAdded, SinceUsed};
    use proptest::prelude::*;

    use super::*;

    const NONE: Limit = Limit { bytes: None, packets: None, since_added: None, since_used: None };

    fn lifetime(soft: Limit, hard: Limit) -> Lifetime {
        Lifetime::new(Limits { soft, hard }, Duration::from_secs(1000))
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1000 + seconds)
    }

    /// What a packet comes to, and what is told: hard limits with an exclamation mark.
    fn packet(lifetime: &mut Lifetime, seconds: u64, octets: u64) -> (bool, String) {
        let mut told = String::new();
        let result = lifetime.on_packet(at(seconds), octets, |reached| {
            told += &format!("{:?}{} ", reached.limit, if reached.is_hard { "!" } else { "" });
        });
        (result.is_ok(), told)
    }

    fn said(is_ok: bool, told: &str) -> (bool, String) {
        (is_ok, told.to_owned())
    }

    #[test]
    fn without_limits_nothing_ends() {
        let mut lifetime = lifetime(NONE, NONE);
        assert_eq!(packet(&mut lifetime, 0, u64::MAX), said(true, ""));
        assert_eq!(packet(&mut lifetime, u64::MAX / 2, u64::MAX), said(true, ""));
        assert_eq!((lifetime.bytes(), lifetime.packets()), (u64::MAX, 2));
        assert_eq!((lifetime.added(), lifetime.used()), (at(0), Some(at(0))));
    }

    #[test]
    fn the_packet_that_reaches_a_limit_is_the_last() {
        let mut life = lifetime(Limit { packets: Some(1), ..NONE }, Limit { packets: Some(2), ..NONE });
        assert!(!life.is_dying());
        assert_eq!(packet(&mut life, 0, 9), said(true, "Packets "));
        assert!(life.is_dying());
        assert_eq!(packet(&mut life, 0, 9), said(true, "Packets! "));
        assert_eq!(packet(&mut life, 0, 9), said(false, ""));
        assert_eq!((life.bytes(), life.packets(), life.ended()), (18, 2, Some(Packets)));

        let mut life = lifetime(Limit { bytes: Some(10), ..NONE }, Limit { bytes: Some(20), ..NONE });
        assert_eq!(packet(&mut life, 0, 9), said(true, ""));
        assert_eq!(packet(&mut life, 0, 1), said(true, "Bytes "));
        assert_eq!(packet(&mut life, 0, 9), said(true, ""));
        assert_eq!(packet(&mut life, 0, 9), said(true, "Bytes! "));
        assert_eq!(packet(&mut life, 0, 0), said(false, ""));
        assert_eq!(life.ended(), Some(Bytes));
    }

    #[test]
    fn what_was_used_before_counts() {
        let used = Used { bytes: 90, packets: 3 };
        let resumed = |soft, hard| Lifetime::resumed(Limits { soft, hard }, at(0), used);
        let mut life = resumed(Limit { packets: Some(2), ..NONE }, Limit { bytes: Some(100), ..NONE });
        assert_eq!((life.bytes(), life.packets(), life.added(), life.used()), (90, 3, at(0), Some(at(0))));
        assert_eq!(packet(&mut life, 0, 9), said(true, "Packets "));
        assert_eq!(packet(&mut life, 0, 1), said(true, "Bytes! "));
        assert_eq!((life.bytes(), life.packets()), (100, 5));
        for hard in [Limit { bytes: Some(90), ..NONE }, Limit { packets: Some(3), ..NONE }] {
            assert!(resumed(NONE, hard).is_over(at(0)));
        }
        assert!(!resumed(NONE, Limit { since_used: Some(5), ..NONE }).is_over(at(4)));
        assert!(resumed(NONE, Limit { since_used: Some(5), ..NONE }).is_over(at(5)));
        assert_eq!(Lifetime::resumed(Limits::default(), at(0), Used::default()), lifetime(NONE, NONE));
    }

    #[test]
    fn time_counts_from_adding_and_from_the_first_packet() {
        let added = |seconds| Limit { since_added: Some(seconds), ..NONE };
        let mut life = lifetime(added(5), added(10));
        assert_eq!(life.check(at(4), |_| panic!()), Ok(()));
        assert_eq!(packet(&mut life, 5, 1), said(true, "SinceAdded "));
        assert_eq!(packet(&mut life, 9, 1), said(true, ""));
        assert_eq!((life.is_over(at(9)), life.is_over(at(10)), life.ended()), (false, true, None));
        assert_eq!(packet(&mut life, 10, 1), said(false, "SinceAdded! "));
        assert!(life.is_over(at(0)), "for good");
        assert_eq!(packet(&mut life, 11, 1), said(false, ""));
        assert_eq!((life.packets(), life.ended()), (2, Some(SinceAdded)));

        let used = |seconds| Limit { since_used: Some(seconds), ..NONE };
        let mut life = lifetime(used(5), used(10));
        assert_eq!(life.check(at(100), |_| panic!()), Ok(()));
        assert_eq!(packet(&mut life, 100, 1), said(true, ""));
        assert_eq!(packet(&mut life, 105, 1), said(true, "SinceUsed "));
        assert_eq!(packet(&mut life, 110, 1), said(false, "SinceUsed! "));
        assert_eq!(life.ended(), Some(SinceUsed));
    }

    #[test]
    fn a_part_of_a_second_is_none() {
        let mut life = lifetime(NONE, Limit { since_added: Some(1), ..NONE });
        assert_eq!(life.check(at(1) - Duration::from_nanos(1), |_| panic!()), Ok(()));
        assert_eq!(life.check(at(1), |_| ()), Err(Expired));
    }

    #[test]
    fn each_soft_limit_is_told_once() {
        let soft = Limit { bytes: Some(1), packets: Some(1), since_added: Some(1), since_used: Some(1) };
        let mut life = lifetime(soft, NONE);
        assert_eq!(packet(&mut life, 0, 1), said(true, "Bytes Packets "));
        assert_eq!(packet(&mut life, 1, 1), said(true, "SinceAdded SinceUsed "));
        assert_eq!(packet(&mut life, 2, 1), said(true, ""));
    }

    #[test]
    fn the_first_hard_limit_takes_precedence_and_is_told_alone() {
        let hard = Limit { packets: Some(1), since_added: Some(3), ..NONE };
        let mut life = lifetime(Limit { since_added: Some(3), ..NONE }, hard);
        assert_eq!(packet(&mut life, 2, 1), said(true, "Packets! "));
        assert_eq!(packet(&mut life, 3, 1), said(false, ""));
        assert_eq!(life.ended(), Some(Packets));
    }

    #[test]
    fn a_limit_of_nothing_ends_it_at_once() {
        let mut life = lifetime(NONE, Limit { bytes: Some(0), ..NONE });
        assert_eq!(packet(&mut life, 0, 1), said(false, "Bytes! "));
        assert_eq!(life.packets(), 0);
    }

    #[test]
    fn a_clock_that_goes_back_ends_nothing() {
        let mut life = lifetime(NONE, Limit { since_added: Some(1), since_used: Some(1), ..NONE });
        assert_eq!(life.on_packet(Duration::ZERO, 1, |_| panic!()), Ok(()));
        assert_eq!(life.used(), Some(Duration::ZERO));
    }

    #[test]
    fn an_event_names_the_sa() {
        let sa = SaId { spi: 7, dst: [10, 0, 0, 1].into() };
        let event = Reached { limit: SinceUsed, is_hard: true }.event(sa);
        assert_eq!(event, Event::Expire { sa, is_hard: true, limit: SinceUsed });
    }

    proptest! {
        /// Whatever the limits: what is told is told once, in the order of time, and nothing after the end.
        #[test]
        fn tells_each_limit_at_most_once(
            limits in prop::array::uniform8(prop::option::of(0_u64..40)),
            packets in prop::collection::vec((0_u64..4, 0_u64..20), 0..30),
        ) {
            let [a, b, c, d, e, f, g, h] = limits;
            let soft = Limit { bytes: a, packets: b, since_added: c, since_used: d };
            let hard = Limit { bytes: e, packets: f, since_added: g, since_used: h };
            let mut life = lifetime(soft, hard);
            let (mut seconds, mut told, mut passed) = (0, Vec::new(), 0);
            for (pause, octets) in packets {
                seconds += pause;
                let before = told.last().is_some_and(|reached: &Reached| reached.is_hard);
                let result = life.on_packet(at(seconds), octets, |reached| told.push(reached));
                prop_assert!(!before || result.is_err());
                passed += u64::from(result.is_ok());
            }
            prop_assert_eq!(life.packets(), passed);
            prop_assert!(hard.packets.is_none_or(|most| passed <= most));
            for (at, reached) in told.iter().enumerate() {
                prop_assert!(!told[..at].contains(reached));
                prop_assert!(!reached.is_hard || at + 1 == told.len());
                let limits = if reached.is_hard { &hard } else { &soft };
                let limit = [limits.bytes, limits.packets, limits.since_added, limits.since_used];
                prop_assert!(limit[reached.limit as usize].is_some());
            }
        }
    }
}
