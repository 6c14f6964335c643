//! The anti-replay window and the inference of ESNs together, as an SA uses them, against a slow obvious model.

use std::collections::BTreeSet;

use espwire_transform::{Integrity, SaKey, Suite};

use crate::{InboundSa, MAX_WINDOW, Replay, Verified};

const SUITE: Suite = Suite::Null(Integrity::HmacSha1_96);
/// All that a packet needs before its ICV is looked at.
const PACKET_LEN: usize = 8 + 4 + 12;
const SUBSPACE: i128 = 1 << 32;
/// Steps of one SA, and how many SAs there are of each kind.
const STEPS: usize = 4_000;
const SAS: u64 = 22;
/// Of the first SAs of a kind one begins at each.
const STARTS: [u64; 5] = [0, 30, (1 << 32) - 500, (7 << 32) + (1 << 31), u64::MAX - 3_000];

/// Numbers without a pattern, the same in each run (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut n = self.0;
        n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        n ^ (n >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// The number of a packet that arrives where `top` is the highest so far: in the window or about its edges,
    /// next, a little ahead, at the wrap, or far off.
    fn arrival(&mut self, top: u64, window: u64) -> u64 {
        match self.below(32) {
            0..12 => top.saturating_sub(self.below(window + 3)),
            12..20 => top.saturating_add(1),
            20..26 => top.saturating_add(self.below(window + 70)),
            26..28 => (top | u64::from(u32::MAX)).saturating_add(self.below(9)).saturating_sub(4),
            28 => top.saturating_add(self.below(1 << 32)),
            29 => top.saturating_add((1 << 32) - window.saturating_sub(self.below(window + 3))),
            30 => top.saturating_sub(self.below(1 << 33)),
            _ => top.saturating_add(self.below(1 << 34)),
        }
    }
}

/// All numbers that were accepted, and no thought given to anything else.
struct Model {
    esn: bool,
    window: u64,
    top: u64,
    seen: BTreeSet<u64>,
}

impl Model {
    /// The window's left edge; with anti-replay off, how late a packet may be.
    fn edge(&self) -> i128 {
        let width = if self.window == 0 { MAX_WINDOW.into() } else { self.window };
        i128::from(self.top) - i128::from(width) + 1
    }

    /// The one number with this low half that is neither left of the window nor 2^32 or more beyond its left edge.
    /// Not all of them are numbers.
    fn read(&self, low: u32) -> i128 {
        if !self.esn {
            return low.into();
        }
        let edge = self.edge();
        edge + (i128::from(low) - edge).rem_euclid(SUBSPACE)
    }

    fn replay(&self, sequence: u64) -> Replay {
        match sequence {
            _ if self.window == 0 || sequence > self.top => Replay::Fresh,
            0 => Replay::Zero,
            _ if i128::from(sequence) < self.edge() => Replay::Old,
            _ if self.seen.contains(&sequence) => Replay::Duplicate,
            _ => Replay::Fresh,
        }
    }

    fn accept(&mut self, sequence: u64) {
        self.seen.insert(sequence);
        self.top = self.top.max(sequence);
        // Of use no more; the window says so anyway.
        while self.seen.first().is_some_and(|&first| i128::from(first) < self.edge()) {
            self.seen.pop_first();
        }
    }
}

/// How often each case came: a test of none proves nothing.
#[derive(Default, Debug)]
struct Seen {
    steps: u64,
    fresh: u64,
    duplicates: u64,
    old: u64,
    zeros: u64,
    failed: u64,
    wraps: u64,
    late_over_a_wrap: u64,
    no_number: u64,
}

fn run(esn: bool, window: u32, start: u64, numbers: &mut Numbers, seen: &mut Seen) {
    let start = if esn { start } else { start & u64::from(u32::MAX) };
    let key = SaKey::new(SUITE, &[], &[1; 20]).unwrap();
    let mut sa = InboundSa::resumed(key, esn, window, start, []);
    let mut model = Model { esn, window: window.into(), top: start, seen: BTreeSet::from([start]) };
    let mut packet = [0; PACKET_LEN];
    for _ in 0..STEPS {
        let sent = numbers.arrival(model.top, model.window);
        let sent = if esn { sent } else { sent & u64::from(u32::MAX) };
        packet[4..8].copy_from_slice(&(sent as u32).to_be_bytes());
        let prepared = sa.prepare(&packet).unwrap();
        seen.steps += 1;
        let read = model.read(sent as u32);
        // Modulo 2^64, as RFC 4303 Appendix A2 has it. Before 0 and after the end there is no number.
        assert_eq!(prepared.sequence, read as u64, "top {:#x}, window {window}", model.top);
        let Ok(read) = u64::try_from(read) else {
            seen.no_number += 1;
            continue;
        };
        assert_eq!(prepared.replay, model.replay(read), "{read:#x}, top {:#x}, window {window}", model.top);
        if read != sent {
            // Its ICV is over another number.
            seen.failed += 1;
            continue;
        }
        match prepared.replay {
            Replay::Fresh => seen.fresh += 1,
            Replay::Duplicate => seen.duplicates += 1,
            Replay::Old => seen.old += 1,
            Replay::Zero => seen.zeros += 1,
        }
        if prepared.replay == Replay::Fresh {
            seen.wraps += u64::from(read >> 32 > model.top >> 32);
            seen.late_over_a_wrap += u64::from(read >> 32 < model.top >> 32);
            let accepted = sa.accept(Verified::invented(&sa, read, &packet), &packet).unwrap();
            assert_eq!(accepted.replay, Replay::Fresh);
            model.accept(read);
        }
        assert_eq!(sa.window().top(), model.top);
    }
}

#[test]
fn window_and_inference_equal_a_slow_obvious_model() {
    let mut numbers = Numbers(1);
    let mut seen = Seen::default();
    for window in [0, 1, 2, 31, 32, 63, 64, 65, 100, 128, 1000, 4096, MAX_WINDOW] {
        for esn in [false, true] {
            for n in 0..SAS {
                let start =
                    STARTS.get(n as usize).copied().unwrap_or_else(|| numbers.next() >> numbers.below(40));
                run(esn, window, start, &mut numbers, &mut seen);
            }
        }
    }
    println!("{seen:?}");
    assert_eq!(seen.steps, 13 * 2 * SAS * STEPS as u64);
    for (what, count, least) in [
        ("fresh", seen.fresh, 500_000),
        ("duplicates", seen.duplicates, 100_000),
        ("old", seen.old, 10_000),
        ("zeros", seen.zeros, 10),
        ("failed", seen.failed, 50_000),
        ("wraps", seen.wraps, 50_000),
        ("late over a wrap", seen.late_over_a_wrap, 1000),
        ("no number", seen.no_number, 100),
    ] {
        assert!(count >= least, "{what}: only {count} of {} steps", seen.steps);
    }
}
