//! What a printed state says of its anti-replay window.

use std::iter;

use super::MAX_REPLAY_WINDOW;

const WORD_BITS: u32 = u32::BITS;

/// Which numbers of the anti-replay window have been received: each as its distance from the highest one, which is
/// [`SequenceContext::seq`](super::SequenceContext::seq) with its high half. Empty where no text says it.
///
/// Linux prints bits in two forms; both are read as this, and printed again in the form that goes with the state. A
/// bit of a ring beyond the window is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayBitmap {
    /// Bit n of the words one after another: the number n below the highest. The last word is never 0.
    words: Vec<u32>,
}

impl ReplayBitmap {
    /// Whether no number is marked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether the number that is `distance` less than the highest is marked.
    #[must_use]
    pub fn has(&self, distance: u32) -> bool {
        let word = self.words.get((distance / WORD_BITS) as usize);
        word.is_some_and(|word| word & bit(distance) != 0)
    }

    /// The distances of all numbers marked, in ascending order, each less than
    /// [`MAX_REPLAY_WINDOW`].
    pub fn distances(&self) -> impl Iterator<Item = u32> {
        (0_u32..).step_by(WORD_BITS as usize).zip(&self.words).flat_map(|(start, &word)| {
            let mut remaining = word;
            iter::from_fn(move || {
                let place = (remaining != 0).then(|| remaining.trailing_zeros())?;
                remaining &= remaining - 1;
                Some(start + place)
            })
        })
    }

    /// Of `bitmap 0x…` in an `anti-replay context`: bit n is the number n below the highest.
    pub(super) fn of_plain(word: u32) -> Self {
        Self { words: Vec::from_iter((word != 0).then_some(word)) }
    }

    /// That bitmap.
    pub(super) fn plain(&self) -> u32 {
        self.words.first().copied().unwrap_or(0)
    }

    /// Of an `anti-replay esn context`, lowest word first: a ring of `window` bits, for the highest number with this
    /// low half. `window` is at most [`MAX_REPLAY_WINDOW`].
    pub(super) fn of_ring(ring: &[u32], window: u32, seq: u32) -> Self {
        let has =
            |place: u32| ring.get((place / WORD_BITS) as usize).is_some_and(|word| word & bit(place) != 0);
        (0..window).filter(|&distance| has(place(distance, window, seq))).collect()
    }

    /// That ring, of as many words as `window` needs.
    pub(super) fn ring(&self, window: u32, seq: u32) -> Vec<u32> {
        let mut ring = vec![0; window.div_ceil(WORD_BITS) as usize];
        for place in
            self.distances().take_while(|&distance| distance < window).map(|at| place(at, window, seq))
        {
            ring[(place / WORD_BITS) as usize] |= bit(place);
        }
        ring
    }
}

/// Marks the numbers at these distances below the highest. Those of
/// [`MAX_REPLAY_WINDOW`] or more are left of every window, and dropped.
impl FromIterator<u32> for ReplayBitmap {
    fn from_iter<T: IntoIterator<Item = u32>>(distances: T) -> Self {
        let mut words = Vec::new();
        for distance in distances.into_iter().filter(|&distance| distance < MAX_REPLAY_WINDOW) {
            let word = (distance / WORD_BITS) as usize;
            if word >= words.len() {
                words.resize(word + 1, 0);
            }
            words[word] |= bit(distance);
        }
        Self { words }
    }
}

fn bit(place: u32) -> u32 {
    1 << (place % WORD_BITS)
}

/// Where the number that is `distance` less than the highest stands in a ring of `window` bits, as Linux looks it up:
/// the number s at s − 1 modulo the window, where s is the low half of the highest number; from there downwards
/// around the ring. `distance` is less than `window`.
fn place(distance: u32, window: u32, seq: u32) -> u32 {
    (seq.wrapping_sub(1) % window + window - distance) % window
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distances(bitmap: &ReplayBitmap) -> Vec<u32> {
        bitmap.distances().collect()
    }

    #[test]
    fn a_plain_bitmap_counts_down_from_the_highest_number() {
        let bitmap = ReplayBitmap::of_plain(0x8000_0025);
        assert_eq!(distances(&bitmap), [0, 2, 5, 31]);
        assert_eq!(bitmap.plain(), 0x8000_0025);
        assert_eq!(
            [0, 1, 31, 32, u32::MAX].map(|distance| bitmap.has(distance)),
            [true, false, true, false, false]
        );
        assert!(ReplayBitmap::of_plain(0).is_empty() && !bitmap.is_empty());
    }

    #[test]
    fn a_ring_has_each_number_at_itself_less_1() {
        // Numbers 1 to 12, as Linux had them.
        let bitmap = ReplayBitmap::of_ring(&[0xfff, 0], 64, 12);
        assert_eq!(distances(&bitmap), (0..12).collect::<Vec<_>>());
        // From 2^32 − 5 to 2^32 + 10, as Linux had them.
        let bitmap = ReplayBitmap::of_ring(&[0x3ff, 0xfc00_0000], 64, 10);
        assert_eq!(distances(&bitmap), (0..16).collect::<Vec<_>>());
        assert_eq!(bitmap.ring(64, 10), [0x3ff, 0xfc00_0000]);
        // The number 2^32 itself.
        assert_eq!(distances(&ReplayBitmap::of_ring(&[0, 0x8000_0000], 64, 0)), [0]);
    }

    #[test]
    fn every_bit_of_a_ring_comes_back_and_none_beyond_it() {
        for (window, seq) in
            [(1, 9), (33, 7), (64, 0), (100, 0xffff_ffff), (300, 5), (MAX_REPLAY_WINDOW, 70_000)]
        {
            let words = window.div_ceil(32);
            for place in (0..words * 32).filter(|place| words < 20 || place % 97 == 0) {
                let mut ring = vec![0; words as usize];
                ring[(place / 32) as usize] |= bit(place);
                let bitmap = ReplayBitmap::of_ring(&ring, window, seq);
                assert_eq!(bitmap.distances().count(), usize::from(place < window), "{window}, {place}");
                if place < window {
                    assert_eq!(bitmap.ring(window, seq), ring, "{window}, {place}");
                }
            }
        }
        assert!(ReplayBitmap::of_ring(&[], 0, 5).is_empty());
        assert_eq!(ReplayBitmap::of_plain(5).ring(0, 5), []);
    }

    #[test]
    fn what_is_left_of_every_window_is_dropped() {
        let bitmap: ReplayBitmap = [u32::MAX, MAX_REPLAY_WINDOW, MAX_REPLAY_WINDOW - 1].into_iter().collect();
        assert_eq!(distances(&bitmap), [MAX_REPLAY_WINDOW - 1]);
        // What a window does not reach is not printed.
        assert_eq!(bitmap.ring(64, 1), [0, 0]);
    }
}
