//! The anti-replay window (RFC 4303 §3.4.3), laid out as RFC 6479 does.

/// Widest window, in packets.
pub const MAX_WINDOW: u32 = 65_536;

const BLOCK_BITS: u64 = u64::BITS as u64;

/// What a window knows of a sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Not seen: right of the window, or unmarked in it. Also every number when anti-replay is off.
    Fresh,
    /// Number 0, which nobody sends whose numbers may not come round (RFC 4303 §2.2, §3.3.3).
    Zero,
    /// Left of the window.
    Old,
    /// Marked in the window.
    Duplicate,
}

/// Which of the last sequence numbers were seen: exactly `size` numbers, the highest of them [`top`](Self::top).
///
/// A ring of blocks of 64 marks, one more than the window needs: moving on clears whole blocks and shifts nothing.
/// [`check`](Self::check) before the ICV is verified, [`accept`](Self::accept) after.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    size: u32,
    top: u64,
    blocks: Box<[u64]>,
}

impl ReplayWindow {
    /// An empty window of `size` packets, at most [`MAX_WINDOW`] (larger ones are cut to that). 0 is anti-replay off.
    #[must_use]
    pub fn new(size: u32) -> Self {
        let size = size.min(MAX_WINDOW);
        let blocks = size.div_ceil(u64::BITS) as usize + 1;
        Self { size, top: 0, blocks: vec![0; blocks.next_power_of_two()].into() }
    }

    /// Width in packets; 0: anti-replay is off.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The highest number accepted; 0 before the first.
    #[must_use]
    pub fn top(&self) -> u64 {
        self.top
    }

    /// What is known of `sequence`. Changes nothing.
    #[inline]
    #[must_use]
    pub fn check(&self, sequence: u64) -> Replay {
        if self.size == 0 || sequence > self.top {
            Replay::Fresh
        } else if sequence == 0 {
            Replay::Zero
        } else if self.top - sequence >= u64::from(self.size) {
            Replay::Old
        } else if self.blocks[self.block(sequence)] & mark(sequence) != 0 {
            Replay::Duplicate
        } else {
            Replay::Fresh
        }
    }

    /// Marks `sequence`, whose ICV has verified, and moves the window on if it lies to the right.
    #[inline]
    pub fn accept(&mut self, sequence: u64) {
        if sequence > self.top {
            let (old, new) = (self.top / BLOCK_BITS, sequence / BLOCK_BITS);
            let cleared = (new - old).min(self.blocks.len() as u64);
            for block in (new - cleared + 1)..=new {
                let index = self.index(block);
                self.blocks[index] = 0;
            }
            self.top = sequence;
        } else if self.top - sequence >= u64::from(self.size) {
            return;
        }
        let block = self.block(sequence);
        self.blocks[block] |= mark(sequence);
    }

    fn block(&self, sequence: u64) -> usize {
        self.index(sequence / BLOCK_BITS)
    }

    /// The number of blocks is a power of two.
    fn index(&self, block: u64) -> usize {
        (block & (self.blocks.len() as u64 - 1)) as usize
    }
}

fn mark(sequence: u64) -> u64 {
    1 << (sequence % BLOCK_BITS)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn is_exactly_as_wide_as_asked() {
        for size in [1, 32, 63, 64, 65, 100, 128, 4096, MAX_WINDOW] {
            let mut window = ReplayWindow::new(size);
            let top = 1_000_000;
            window.accept(top);
            assert_eq!(window.check(top), Replay::Duplicate);
            assert_eq!(window.check(top - u64::from(size)), Replay::Old, "{size}");
            if size > 1 {
                assert_eq!(window.check(top - u64::from(size) + 1), Replay::Fresh, "{size}");
            }
        }
    }

    #[test]
    fn zero_is_never_a_number_and_size_zero_checks_nothing() {
        assert_eq!(ReplayWindow::new(64).check(0), Replay::Zero);
        let mut off = ReplayWindow::new(0);
        off.accept(9);
        assert_eq!((off.check(9), off.check(1)), (Replay::Fresh, Replay::Fresh));
        assert_eq!(off.top(), 9);
    }

    #[test]
    fn the_last_number_is_a_number() {
        let mut window = ReplayWindow::new(64);
        window.accept(u64::MAX);
        assert_eq!(window.check(u64::MAX), Replay::Duplicate);
        assert_eq!(window.check(u64::MAX - 63), Replay::Fresh);
        assert_eq!(window.check(u64::MAX - 64), Replay::Old);
    }

    proptest! {
        #[test]
        fn equals_a_set_of_numbers(
            size in prop_oneof![1_u32..130, Just(1024)],
            steps in prop::collection::vec((-150_i64..150, prop_oneof![8 => Just(0_u64), 1 => 1_u64..5_000]), 1..400),
        ) {
            let mut window = ReplayWindow::new(size);
            let (mut seen, mut top) = (HashSet::new(), 0_u64);
            for (step, leap) in steps {
                let sequence = (top + leap).saturating_add_signed(step);
                let expected = match sequence {
                    0 => Replay::Zero,
                    n if n > top => Replay::Fresh,
                    n if top - n >= u64::from(size) => Replay::Old,
                    n if seen.contains(&n) => Replay::Duplicate,
                    _ => Replay::Fresh,
                };
                prop_assert_eq!(window.check(sequence), expected);
                if expected == Replay::Fresh {
                    window.accept(sequence);
                    seen.insert(sequence);
                    top = top.max(sequence);
                }
                prop_assert_eq!(window.top(), top);
            }
        }
    }
}
