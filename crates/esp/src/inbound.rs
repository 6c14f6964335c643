//! An SA whose packets are opened.

use std::iter;
use std::ops::Range;
use std::time::Duration;

use espwire_transform::{Icv, Job, SaKey, Suite, ciphertext_range};

use crate::header::Header;
use crate::owner::Owner;
use crate::resync::{Failures, Resynchronization};
use crate::sequence::infer_high;
use crate::trailer::{Trailer, TrailerFault};
use crate::verified::Verified;
use crate::window::{MAX_WINDOW, Replay, ReplayWindow};

/// A packet whose length can't be right for its SA's suite: too short, or its ciphertext no multiple of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A packet that is ready for the transform: the outcome of [`InboundSa::prepare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The sequence number, all 64 bits with ESN. An allegation until the ICV has verified.
    pub sequence: u64,
    /// What the anti-replay window says of it. Who calls decides what follows from that.
    pub replay: Replay,
}

/// A verified packet that its SA has taken note of: the outcome of [`InboundSa::accept`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Accepted {
    /// What the anti-replay window said of the number just before it was accepted: another than at
    /// [`prepare`](InboundSa::prepare) if a packet of the same burst bore it too. A receiver drops what is not
    /// [`Replay::Fresh`].
    pub replay: Replay,
    /// The trailer, checked.
    pub trailer: Result<Trailer, TrailerFault>,
}

/// Why a packet was not accepted: a fault of who calls. The SA is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unaccepted {
    /// Another SA has verified it, perhaps one that is no more.
    AnotherSa,
    /// It is not the packet that has verified: its length or ICV is another.
    AnotherPacket,
}

/// How the high-order half of a sequence number is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    /// No ESN.
    None,
    /// ESN, from the window's top.
    Known,
    /// ESN of an SA whose traffic is joined in the middle: no packet has verified yet, and this half is a guess.
    Guessed(u32),
}

/// An SA whose packets are opened: key, anti-replay window, ESN (RFC 4303 §3.4).
pub struct InboundSa {
    key: SaKey,
    extension: Extension,
    window: ReplayWindow,
    failures: Option<Failures>,
    owner: Owner,
}

impl InboundSa {
    /// An SA from its first packet on. `window` is the anti-replay window's width in packets, 0 for none.
    ///
    /// ESN should not go without anti-replay (RFC 4303 §3.3.3; Linux refuses it). If it does, numbers are read as if
    /// the window had [`MAX_WINDOW`]: a packet may be that late.
    #[must_use]
    pub fn new(key: SaKey, esn: bool, window: u32) -> Self {
        Self::with(key, if esn { Extension::Known } else { Extension::None }, window)
    }

    /// An SA that goes on where another left off, with `top` the highest number received, 0 for none.
    ///
    /// `seen` are the numbers received besides `top`, in any order: each is refused from now on. Those not in the
    /// window, 0 and those above `top` do nothing. A replay of any other number in the window is taken: who does not
    /// know what was received gives the whole window, `top - window..top`, and so takes none that is late.
    #[must_use]
    pub fn resumed(
        key: SaKey,
        esn: bool,
        window: u32,
        top: u64,
        seen: impl IntoIterator<Item = u64>,
    ) -> Self {
        let mut sa = Self::new(key, esn, window);
        for sequence in iter::once(top).chain(seen) {
            if (1..=top).contains(&sequence) {
                sa.window.accept(sequence);
            }
        }
        sa
    }

    /// An SA with ESN whose traffic is joined at an unknown number: an observer's. `high` is the best guess at
    /// the high-order 32 bits; see [`prepare`](Self::prepare).
    #[must_use]
    pub fn joined(key: SaKey, window: u32, high: u32) -> Self {
        Self::with(key, Extension::Guessed(high), window)
    }

    fn with(key: SaKey, extension: Extension, window: u32) -> Self {
        Self { key, extension, window: ReplayWindow::new(window), failures: None, owner: Owner::new() }
    }

    /// The SA, from now on with re-synchronization: see [`failed`](Self::failed). Of no effect without ESN.
    #[must_use]
    pub fn resynchronizing(mut self, config: Resynchronization) -> Self {
        self.set_resynchronization(Some(config));
        self
    }

    /// Has the SA re-synchronize from now on, or not any more: see [`failed`](Self::failed). Of no effect without ESN.
    pub fn set_resynchronization(&mut self, config: Option<Resynchronization>) {
        self.failures = config.filter(|_| self.has_esn()).map(Failures::new);
    }

    /// Its suite.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.key.suite()
    }

    /// Whether it has ESN.
    #[must_use]
    pub fn has_esn(&self) -> bool {
        self.extension != Extension::None
    }

    /// Whether the high-order half of its sequence numbers is still a guess. Packets of such an SA are to be
    /// taken one by one, each to its finish, until one has verified.
    #[inline]
    #[must_use]
    pub fn is_guessing(&self) -> bool {
        matches!(self.extension, Extension::Guessed(_))
    }

    /// The anti-replay window.
    #[must_use]
    pub fn window(&self) -> &ReplayWindow {
        &self.window
    }

    /// Prepares `packet`, from the SPI to the ICV, for the transform:
    ///
    /// 1. its lengths fit the suite;
    /// 2. its sequence number: with ESN the high-order half by RFC 4303 Appendix A2.2 from the highest number that
    ///    has verified, nothing else. While none has, by guesses: `attempt` 0 is the first guess, the one before
    ///    it is 1, the one after it 2, and zero 3 (each distinct guess once);
    /// 3. the anti-replay window is asked.
    ///
    /// Returns `None` if there is no such attempt. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`Malformed`], whatever the attempt.
    #[inline]
    pub fn attempt(&self, packet: &[u8], attempt: usize) -> Result<Option<Prepared>, Malformed> {
        let header = Header::read(packet).ok_or(Malformed)?;
        ciphertext_range(self.suite(), packet.len()).ok_or(Malformed)?;
        let high = match self.extension {
            Extension::Guessed(guess) => guesses(guess).nth(attempt),
            _ if attempt > 0 => None,
            Extension::None => Some(0),
            Extension::Known => Some(self.inferred_high(header.sequence_low)),
        };
        Ok(high.map(|high| self.prepared(high, header.sequence_low)))
    }

    /// The first [`attempt`](Self::attempt), which for all but a joined SA is the only one.
    ///
    /// # Errors
    ///
    /// [`Malformed`].
    pub fn prepare(&self, packet: &[u8]) -> Result<Prepared, Malformed> {
        Ok(self.attempt(packet, 0)?.expect("every SA has a first attempt"))
    }

    /// The transform's job for `packet`.
    #[inline]
    #[must_use]
    pub fn job<'a>(&'a self, prepared: &Prepared, packet: &'a mut [u8]) -> Job<'a> {
        Job::new(&self.key, self.esn_high(prepared), packet)
    }

    /// The ICV that `packet` should carry over its ciphertext as it stands: to show beside one that is wrong.
    #[must_use]
    pub fn icv(&self, prepared: &Prepared, packet: &[u8]) -> Option<Icv> {
        self.key.icv(self.esn_high(prepared), packet)
    }

    /// Takes note of a packet that has verified, now decrypted in `packet`:
    ///
    /// 1. the anti-replay window is asked once more, since a packet of the same burst may have borne the number;
    /// 2. the number is accepted, a guess confirmed, the count of failures cleared;
    /// 3. the trailer is read and checked. Its fault changes nothing of the above: the ICV was right.
    ///
    /// # Errors
    ///
    /// [`Unaccepted`]: then nothing changes. The packet is known by its length and its ICV; that what was decrypted is
    /// as the transform left it is for who calls.
    #[inline]
    pub fn accept(&mut self, verified: Verified, packet: &[u8]) -> Result<Accepted, Unaccepted> {
        if verified.owner() != self.owner.mark() {
            return Err(Unaccepted::AnotherSa);
        }
        if !verified.is_of(packet) {
            return Err(Unaccepted::AnotherPacket);
        }
        let replay = self.window.check(verified.sequence());
        self.note(verified.sequence());
        Ok(Accepted { replay, trailer: self.trailer(packet) })
    }

    /// Notes that the ICV of `packet` was wrong, at the time `now` since whatever start, which must not go back.
    /// Looks for the sender if it is time to (RFC 4303 Appendix A3):
    ///
    /// 1. so many packets in a row have failed as [`Resynchronization::failures`] says, this one the last;
    /// 2. no packet of this SA was tried in the last second;
    /// 3. then it is opened under the next higher values of the upper half of its number, never a lower one, at
    ///    most [`Resynchronization::retries`] of them.
    ///
    /// Returns the packet verified and decrypted, if one was right; [`accept`](Self::accept) brings the window there.
    /// Else its octets are as they were. Does nothing for an SA that is not
    /// [`resynchronizing`](Self::resynchronizing), nor while the upper half is a guess.
    ///
    /// To be called for every packet whose ICV was wrong under the number that [`prepare`](Self::prepare) now gives
    /// it, and for no other: neither for a duplicate, nor for one that is malformed.
    pub fn failed(&mut self, packet: &mut [u8], now: Duration) -> Option<Verified> {
        if self.extension != Extension::Known {
            return None;
        }
        let retries = self.failures.as_mut()?.count(now);
        for retry in 1..=retries {
            let prepared = self.trial(packet, retry)?;
            if let Ok(verified) = self.open(prepared, packet) {
                return Some(verified);
            }
        }
        None
    }

    /// `packet` under the number that is `retry` times 2^32 beyond the one it was read as; `None` if there is none
    /// right of the window.
    fn trial(&self, packet: &[u8], retry: u8) -> Option<Prepared> {
        let low = Header::read(packet)?.sequence_low;
        //= https://www.rfc-editor.org/rfc/rfc4303#appendix-A3.2
        //# These values are
        //# generated by incrementing by one for each retry.
        let prepared = self.prepared(self.inferred_high(low).wrapping_add(retry.into()), low);
        // The sum has come round where it is less.
        (prepared.sequence > self.window.top()).then_some(prepared)
    }

    /// The part of `packet` that is encrypted, between IV and ICV; empty if the packet is malformed.
    #[inline]
    #[must_use]
    pub fn plaintext<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        &packet[self.plaintext_range(packet.len())]
    }

    /// Where [`plaintext`](Self::plaintext) stands in a packet of `packet_len` octets; empty if it is malformed.
    #[inline]
    #[must_use]
    pub fn plaintext_range(&self, packet_len: usize) -> Range<usize> {
        ciphertext_range(self.suite(), packet_len).unwrap_or(0..0)
    }

    /// The high-order half of `prepared`'s number, if it is part of the ICV.
    #[inline]
    pub(crate) fn esn_high(&self, prepared: &Prepared) -> Option<u32> {
        self.has_esn().then_some((prepared.sequence >> 32) as u32)
    }

    #[inline]
    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Accepts the number of a packet that has verified.
    #[inline]
    fn note(&mut self, sequence: u64) {
        self.window.accept(sequence);
        if self.is_guessing() {
            self.extension = Extension::Known;
        }
        if let Some(failures) = &mut self.failures {
            failures.clear();
        }
    }

    #[inline]
    fn trailer(&self, packet: &[u8]) -> Result<Trailer, TrailerFault> {
        let plaintext = self.plaintext(packet);
        let trailer = Trailer::read(plaintext).ok_or(TrailerFault::PadLength)?;
        trailer.check(plaintext).map(|_| trailer)
    }

    #[inline]
    fn prepared(&self, high: u32, low: u32) -> Prepared {
        let sequence = u64::from(high) << 32 | u64::from(low);
        Prepared { sequence, replay: self.window.check(sequence) }
    }

    #[inline]
    fn inferred_high(&self, low: u32) -> u32 {
        let width = match self.window.size() {
            // Anti-replay is off: nothing says how late a packet may be.
            0 => MAX_WINDOW,
            size => size,
        };
        infer_high(self.window.top(), width, low)
    }
}

/// The guess, the one before, the one after, and zero; each once.
fn guesses(guess: u32) -> impl Iterator<Item = u32> {
    let zero = (guess > 1).then_some(0);
    [Some(guess), guess.checked_sub(1), guess.checked_add(1), zero].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use espwire_transform::{AesKeyLen, IcvLen, Integrity, danger};

    use super::*;
    use crate::{OpenBurst, Unverified};

    const SUITE: Suite = Suite::AesGcm(AesKeyLen::Aes256, IcvLen::Icv16);

    fn key() -> SaKey {
        SaKey::new(SUITE, &[3; 36], &[]).unwrap()
    }

    /// A sealed packet of `sequence`, a dummy with no payload.
    fn sealed(sequence: u64, esn: bool) -> Vec<u8> {
        let mut packet = vec![0; 8 + 8 + 4 + 16];
        packet[3] = 1;
        packet[4..8].copy_from_slice(&(sequence as u32).to_be_bytes());
        packet[16..20].copy_from_slice(&[1, 2, 2, 59]);
        let key = key();
        let high = esn.then_some((sequence >> 32) as u32);
        danger::seal_burst(&mut [Job::new(&key, high, &mut packet)]);
        packet
    }

    /// Takes a packet through all attempts; the number that verified.
    fn open(sa: &mut InboundSa, mut packet: Vec<u8>) -> Option<u64> {
        for attempt in 0.. {
            let prepared = sa.attempt(&packet, attempt).unwrap()?;
            if let Ok(verified) = sa.open(prepared, &mut packet) {
                assert_eq!(verified.sequence(), prepared.sequence);
                assert!(sa.accept(verified, &packet).unwrap().trailer.is_ok());
                return Some(prepared.sequence);
            }
        }
        None
    }

    #[test]
    fn guesses_are_at_most_four_and_distinct() {
        let of = |guess| guesses(guess).collect::<Vec<_>>();
        assert_eq!(of(0), [0, 1]);
        assert_eq!(of(1), [1, 0, 2]);
        assert_eq!(of(7), [7, 6, 8, 0]);
        assert_eq!(of(u32::MAX), [u32::MAX, u32::MAX - 1, 0]);
    }

    #[test]
    fn a_joined_sa_guesses_until_a_packet_has_verified() {
        for (hint, sequence, found) in
            [(5, 5, true), (5, 4, true), (5, 6, true), (5, 0, true), (5, 3, false), (5, 7, false)]
        {
            let mut sa = InboundSa::joined(key(), 64, hint);
            let sequence = (sequence << 32) + 1000;
            assert_eq!(open(&mut sa, sealed(sequence, true)), found.then_some(sequence));
            assert_eq!(sa.is_guessing(), !found);
        }
    }

    #[test]
    fn once_a_packet_has_verified_nothing_is_guessed() {
        let mut sa = InboundSa::joined(key(), 64, 5);
        let first = (5 << 32) + 1000;
        assert_eq!(open(&mut sa, sealed(first, true)), Some(first));
        for sequence in [(6 << 32) + 2000, (4 << 32) + 2000, 2000] {
            assert_eq!(open(&mut sa, sealed(sequence, true)), None);
        }
        assert_eq!(open(&mut sa, sealed(first + 1, true)), Some(first + 1));
        // Less than what was seen last: the next epoch, by Appendix A2.
        assert_eq!(open(&mut sa, sealed((6 << 32) + 1, true)), Some((6 << 32) + 1));
    }

    #[test]
    fn a_forged_packet_moves_nothing() {
        let mut sa = InboundSa::new(key(), false, 64);
        let mut forged = sealed(9, false);
        forged[20] ^= 1;
        assert_eq!(open(&mut sa, forged), None);
        assert_eq!(sa.window().top(), 0);
    }

    #[test]
    fn replay_is_reported_with_the_number() {
        let mut sa = InboundSa::new(key(), false, 64);
        open(&mut sa, sealed(100, false)).unwrap();
        let replay = |sequence| sa.prepare(&sealed(sequence, false)).unwrap().replay;
        assert_eq!(
            [replay(100), replay(36), replay(99), replay(0)],
            [Replay::Duplicate, Replay::Old, Replay::Fresh, Replay::Zero]
        );
    }

    #[test]
    fn what_was_seen_before_is_a_duplicate() {
        for (esn, top) in [(false, 1000), (true, (5 << 32) + 10)] {
            let seen = [top - 3, top - 63, top - 64, 0, top + 1, top - 20, u64::MAX];
            let sa = InboundSa::resumed(key(), esn, 64, top, seen);
            assert_eq!(sa.window().top(), top);
            let distances = (0..64).filter(|distance| sa.window().check(top - distance) != Replay::Fresh);
            assert_eq!(distances.collect::<Vec<_>>(), [0, 3, 20, 63]);
            assert_eq!(sa.window().check(top - 64), Replay::Old);
            let sa = InboundSa::resumed(key(), esn, 64, top, top - 100..top);
            assert!((0..64).all(|distance| sa.window().check(top - distance) == Replay::Duplicate));
        }
        let sa = InboundSa::resumed(key(), false, 64, 0, [0, 1, 2]);
        assert_eq!((sa.window().top(), sa.window().check(1)), (0, Replay::Fresh));
    }

    #[test]
    fn short_packets_are_malformed() {
        let sa = InboundSa::new(key(), false, 64);
        let packet = sealed(1, false);
        for len in 0..packet.len() - 2 {
            assert_eq!(sa.prepare(&packet[..len]), Err(Malformed), "{len}");
        }
    }

    #[test]
    fn a_burst_says_what_became_of_each_packet() {
        let mut sas = [InboundSa::new(key(), false, 64), InboundSa::new(key(), true, 64)];
        let mut packets = [
            sealed(1, false),
            sealed(1, true),
            sealed(2, false),
            sealed(2, true),
            sealed(3, false),
            sealed(3, true),
        ];
        let prepared: Vec<_> =
            packets.iter().enumerate().map(|(n, packet)| sas[n % 2].prepare(packet).unwrap()).collect();
        packets[2][20] ^= 1;
        packets[5].truncate(30);
        let before = packets.clone();
        let mut burst = OpenBurst::default();
        for (n, packet) in packets.iter_mut().enumerate() {
            burst.push(&sas[n % 2], prepared[n], packet);
        }
        let outcomes = burst.open();
        assert_eq!(outcomes.len(), 6);
        for (n, outcome) in outcomes.into_iter().enumerate() {
            match n {
                2 => assert_eq!(outcome, Err(Unverified::AuthFailed)),
                5 => assert_eq!(outcome, Err(Unverified::Malformed)),
                _ => {
                    let accepted = sas[n % 2].accept(outcome.unwrap(), &packets[n]).unwrap();
                    assert_eq!(accepted.replay, Replay::Fresh);
                    assert_eq!(accepted.trailer, Ok(Trailer { pad_len: 2, next_header: 59 }));
                }
            }
            assert_eq!(packets[n] == before[n], [2, 5].contains(&n), "{n}");
        }
        assert_eq!([sas[0].window().top(), sas[1].window().top()], [3, 2]);
    }

    #[test]
    fn a_burst_with_a_number_twice_tells_it_of_the_second() {
        let mut sa = InboundSa::new(key(), false, 64);
        let (mut a, mut b) = (sealed(7, false), sealed(7, false));
        let prepared = sa.prepare(&a).unwrap();
        assert_eq!((sa.prepare(&b), prepared.replay), (Ok(prepared), Replay::Fresh));
        let mut burst = OpenBurst::with_capacity(2);
        burst.push(&sa, prepared, &mut a);
        burst.push(&sa, prepared, &mut b);
        let replays = burst.open().into_iter().map(|outcome| sa.accept(outcome.unwrap(), &a).unwrap().replay);
        assert_eq!(replays.collect::<Vec<_>>(), [Replay::Fresh, Replay::Duplicate]);
    }

    #[test]
    fn what_verified_is_the_number_in_the_packet_whoever_prepared_it() {
        for esn in [false, true] {
            let sa = InboundSa::new(key(), esn, 64);
            let mut packet = sealed(5, esn);
            let high = u64::from(!esn) << 40;
            let forged = Prepared { sequence: high + 1000, replay: Replay::Fresh };
            assert_eq!(sa.open(forged, &mut packet).unwrap().sequence(), 5);
        }
    }

    #[test]
    fn what_another_sa_has_verified_is_not_accepted() {
        let (a, mut b) = (InboundSa::new(key(), false, 64), InboundSa::new(key(), false, 64));
        let mut packet = sealed(5, false);
        let verified = a.open(a.prepare(&packet).unwrap(), &mut packet).unwrap();
        assert_eq!(b.accept(verified, &packet), Err(Unaccepted::AnotherSa));
        assert_eq!(b.window().top(), 0);
    }

    #[test]
    fn what_an_sa_that_is_gone_has_verified_is_not_accepted() {
        // An SA that is made right after often gets the memory of the one before.
        for _ in 0..100 {
            let a = InboundSa::new(key(), false, 64);
            let mut packet = sealed(5, false);
            let verified = a.open(a.prepare(&packet).unwrap(), &mut packet).unwrap();
            drop(a);
            let mut b = InboundSa::new(key(), false, 64);
            assert_eq!(b.accept(verified, &packet), Err(Unaccepted::AnotherSa));
            assert_eq!(b.window().top(), 0);
        }
    }

    #[test]
    fn only_the_packet_that_has_verified_is_accepted() {
        let mut sa = InboundSa::new(key(), false, 64);
        let open = |sa: &InboundSa, sequence| {
            let mut packet = sealed(sequence, false);
            (sa.open(sa.prepare(&packet).unwrap(), &mut packet).unwrap(), packet)
        };
        let (other, packet) = (open(&sa, 6).1, open(&sa, 5).1);
        let longer = [&[0; 4], &packet[..]].concat();
        for wrong in [&other, &longer, &packet[..packet.len() - 1], &packet[..7], &[]] {
            let verified = open(&sa, 5).0;
            assert_eq!(sa.accept(verified, wrong), Err(Unaccepted::AnotherPacket));
            assert_eq!(sa.window().top(), 0);
        }
        let verified = open(&sa, 5).0;
        assert!(sa.accept(verified, &packet).is_ok());
    }

    #[test]
    fn a_bad_trailer_under_a_right_icv_moves_the_window() {
        let mut sa = InboundSa::new(key(), false, 64);
        let mut packet = vec![0; 8 + 8 + 4 + 16];
        packet[7] = 9;
        packet[16..20].copy_from_slice(&[1, 1, 2, 59]);
        danger::seal_burst(&mut [Job::new(&key(), None, &mut packet)]);
        let verified = sa.open(sa.prepare(&packet).unwrap(), &mut packet).unwrap();
        assert_eq!(sa.accept(verified, &packet).unwrap().trailer, Err(TrailerFault::Padding));
        assert_eq!(sa.window().top(), 9);
    }

    #[test]
    fn with_esn_and_no_window_a_packet_may_be_late() {
        let mut sa = InboundSa::resumed(key(), true, 0, (3 << 32) + 70_000, []);
        for sequence in [(3 << 32) + 69_999, (3 << 32) + 70_000 - 65_535, (3 << 32) + 70_001, (4 << 32) + 5] {
            assert_eq!(open(&mut sa, sealed(sequence, true)), Some(sequence));
        }
        // Late over the wrap, and once more: nothing is a replay.
        for _ in 0..2 {
            assert_eq!(open(&mut sa, sealed((4 << 32) - 1, true)), Some((4 << 32) - 1));
        }
        assert_eq!(sa.window().top(), (4 << 32) + 5);
    }

    const LOST: Resynchronization = Resynchronization { failures: 3, retries: 4 };

    fn seconds(now: u64) -> Duration {
        Duration::from_secs(now)
    }

    /// What a receiver does with one packet at a time: the number that verified.
    fn receive(sa: &mut InboundSa, packet: &[u8], now: Duration) -> Option<u64> {
        let mut packet = packet.to_vec();
        let before = packet.clone();
        let prepared = sa.prepare(&packet).unwrap();
        let opened = sa.open(prepared, &mut packet).ok();
        let Some(verified) = opened.or_else(|| sa.failed(&mut packet, now)) else {
            assert_eq!(packet, before, "octets stay as they were");
            return None;
        };
        let sequence = verified.sequence();
        let accepted = sa.accept(verified, &packet).unwrap();
        assert_eq!((accepted.replay, accepted.trailer.is_ok()), (Replay::Fresh, true));
        Some(sequence)
    }

    #[test]
    fn a_sender_that_has_got_ahead_is_found() {
        for (window, top) in [(64, 1 << 20), (64, 5), (64, 0), (0, 1 << 20), (64, 9 << 32 | 0xffff_fff0)] {
            for epochs in 1..=7 {
                // The number that A2.2 reads, so many times 2^32 on.
                for low in [0_u64, 10, 1 << 31, 0xffff_ffff] {
                    let mut sa = InboundSa::resumed(key(), true, window, top, []).resynchronizing(LOST);
                    let read = sa.prepare(&sealed(low, true)).unwrap().sequence;
                    let Some(sequence) = read.checked_add(epochs << 32) else { continue };
                    let packet = sealed(sequence, true);
                    let found = [(); 3].map(|()| receive(&mut sa, &packet, seconds(9)));
                    let expected = (epochs <= 4).then_some(sequence);
                    assert_eq!(found, [None, None, expected], "{top:#x}, {low:#x} + {epochs}");
                    if epochs <= 4 {
                        assert_eq!(sa.window().top(), sequence);
                        assert_eq!(sa.prepare(&packet).unwrap().sequence, sequence);
                        let next = sequence + 1;
                        assert_eq!(receive(&mut sa, &sealed(next, true), seconds(9)), Some(next));
                    }
                }
            }
        }
    }

    #[test]
    fn the_last_2_32_numbers_before_the_first_window_are_found() {
        // Appendix A2.2 reads the top of subspace 0 as one before it, as long as the window reaches back.
        let mut sa = InboundSa::new(key(), true, 64).resynchronizing(LOST);
        let sequence = 0xffff_fff0;
        let found = [(); 3].map(|()| receive(&mut sa, &sealed(sequence, true), seconds(1)));
        assert_eq!(found, [None, None, Some(sequence)]);
    }

    #[test]
    fn the_search_goes_upwards_only() {
        for top in [(9 << 32) + 500, u64::MAX - 500] {
            let mut sa = InboundSa::resumed(key(), true, 64, top, [])
                .resynchronizing(Resynchronization { failures: 1, retries: 255 });
            for (n, older) in (1..=8).enumerate() {
                let packet = sealed(top - (older << 32), true);
                assert_eq!(receive(&mut sa, &packet, seconds(10 * n as u64)), None);
            }
            for retry in 1..=255 {
                let low = (top as u32).wrapping_add(9);
                let mut packet = sealed(0, true);
                packet[4..8].copy_from_slice(&low.to_be_bytes());
                if let Some(trial) = sa.trial(&packet, retry) {
                    assert!(trial.sequence > top, "{retry}");
                    assert_eq!(trial.sequence, top + 9 + (u64::from(retry) << 32));
                } else {
                    assert!(top + 9 > u64::MAX - (u64::from(retry) << 32), "{retry}");
                }
            }
            assert_eq!(sa.window().top(), top);
        }
    }

    #[test]
    fn forged_packets_cause_one_trial_a_second() {
        let mut sa = InboundSa::resumed(key(), true, 64, 500, []).resynchronizing(LOST);
        let mut forged = sealed(600, true);
        forged[20] ^= 1;
        let ahead = (1 << 32) + 600;
        // The sender's packets always come when a forged one has just used the second's trial up.
        for ms in (1000..5000).step_by(10) {
            assert_eq!(receive(&mut sa, &forged, Duration::from_millis(ms)), None);
            assert_eq!(receive(&mut sa, &sealed(ahead, true), Duration::from_millis(ms + 5)), None, "{ms}");
        }
        assert_eq!(receive(&mut sa, &sealed(ahead, true), seconds(60)), Some(ahead));
    }

    #[test]
    fn a_verified_packet_clears_the_count() {
        let mut sa = InboundSa::resumed(key(), true, 64, 500, []).resynchronizing(LOST);
        let ahead = sealed((1 << 32) + 900, true);
        for n in 0..10 {
            assert_eq!(receive(&mut sa, &ahead, seconds(n)), None);
            assert_eq!(receive(&mut sa, &ahead, seconds(n)), None);
            assert_eq!(receive(&mut sa, &sealed(501 + n, true), seconds(n)), Some(501 + n));
        }
    }

    #[test]
    fn nothing_is_searched_unless_it_was_asked_for_with_esn_and_known() {
        let ahead = sealed((1 << 32) + 900, true);
        let sas = [
            InboundSa::resumed(key(), true, 64, 500, []),
            InboundSa::resumed(key(), false, 64, 500, []).resynchronizing(LOST),
            InboundSa::joined(key(), 64, 77).resynchronizing(LOST),
        ];
        for mut sa in sas {
            for now in 0..10 {
                let mut packet = ahead.clone();
                assert_eq!(sa.failed(&mut packet, seconds(now)), None);
            }
            assert_eq!(sa.window().top(), if sa.is_guessing() { 0 } else { 500 });
        }
    }

    #[test]
    fn a_search_in_a_packet_too_short_for_a_number_finds_nothing() {
        let mut sa = InboundSa::new(key(), true, 64).resynchronizing(LOST);
        for now in 0..10 {
            assert_eq!(sa.failed(&mut [0; 7], seconds(now)), None);
            assert_eq!(sa.failed(&mut [0; 20], seconds(now)), None);
        }
    }

    #[test]
    fn a_search_is_for_every_kind_of_suite() {
        for suite in Suite::all() {
            let integrity = vec![2; suite.integrity_algorithm().map_or(0, Integrity::key_len)];
            let key = || SaKey::new(suite, &vec![1; suite.encryption_key_len()], &integrity).unwrap();
            let sequence = (2_u64 << 32) + 77;
            let text_len = suite.block_len().max(4);
            let mut packet = vec![0; 8 + suite.iv_len() + text_len + suite.icv_len()];
            packet[4..8].copy_from_slice(&77_u32.to_be_bytes());
            danger::seal_burst(&mut [Job::new(&key(), Some(2), &mut packet)]);
            let mut sa = InboundSa::resumed(key(), true, 64, 70, [])
                .resynchronizing(Resynchronization { failures: 1, retries: 2 });
            let verified = sa.failed(&mut packet, seconds(0)).unwrap();
            assert_eq!(verified.sequence(), sequence, "{suite}");
        }
    }
}
