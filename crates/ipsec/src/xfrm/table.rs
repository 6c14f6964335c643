//! What is there while a text is read: additions, look-ups by key, and deletions, in near-linear time.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::error::{Fault, Parsed};
use super::{Dir, Mark, Policy, PolicyType, Position, Selector, State};

/// What the kernel finds something by.
pub(super) trait Keyed {
    type Key: Ord + Clone;
    fn key(&self) -> Self::Key;
}

/// Where, the destination, the SPI and the mark: the source does not count, nor may there be two of them.
impl Keyed for State {
    type Key = (Option<String>, IpAddr, u32, Option<Mark>);

    fn key(&self) -> Self::Key {
        (self.origin.clone(), self.dst, self.spi, self.mark)
    }
}

impl Keyed for Policy {
    type Key = (Option<String>, Dir, PolicyType, Selector, Option<Mark>, Option<u32>);

    fn key(&self) -> Self::Key {
        (self.origin.clone(), self.direction, self.ptype, self.selector.clone(), self.mark, self.if_id)
    }
}

/// States or policies in the order in which they were added.
#[derive(Debug)]
pub(super) struct Table<V: Keyed> {
    slots: Vec<Option<V>>,
    /// The slots that are in use, by key.
    index: BTreeSet<(V::Key, usize)>,
    /// How many slots were looked at one by one.
    work: usize,
}

/// How many entries all of a text's `deleteall`s and `flush`es may look at: less than a second.
const MAX_WORK: usize = 50_000_000;

impl<V: Keyed> Table<V> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), index: BTreeSet::new(), work: 0 }
    }

    /// Adds another one, also under a key that is taken.
    pub(super) fn push(&mut self, value: V) {
        self.index.insert((value.key(), self.slots.len()));
        self.slots.push(Some(value));
    }

    /// The first slot under this key.
    fn slot(&self, key: &V::Key) -> Option<usize> {
        let (found, slot) = self.index.range((key.clone(), 0)..).next()?;
        (found == key).then_some(*slot)
    }

    /// The one that was added first under this key.
    pub(super) fn find(&mut self, key: &V::Key) -> Option<&mut V> {
        let slot = self.slot(key)?;
        self.slots.get_mut(slot)?.as_mut()
    }

    /// Removes what is under this key.
    pub(super) fn remove(&mut self, key: &V::Key) {
        while let Some(slot) = self.slot(key) {
            self.index.remove(&(key.clone(), slot));
            self.slots[slot] = None;
        }
    }

    /// Removes all that `keep` is false for, on behalf of the command at `position`.
    pub(super) fn retain(&mut self, position: Position, keep: impl Fn(&V) -> bool) -> Parsed<()> {
        self.worked(self.slots.len(), position)?;
        for (number, slot) in self.slots.iter_mut().enumerate() {
            if let Some(value) = slot.take_if(|value| !keep(value)) {
                self.index.remove(&(value.key(), number));
            }
        }
        // Empty slots cost the next one time, so they go once they are the most.
        if self.index.len() < self.slots.len() / 2 {
            self.slots.retain(Option::is_some);
            let keys = self.slots.iter().flatten().map(Keyed::key).enumerate();
            self.index = keys.map(|(slot, key)| (key, slot)).collect();
        }
        Ok(())
    }

    /// Counts what a command looks at, so that no text takes long.
    fn worked(&mut self, entries: usize, position: Position) -> Parsed<()> {
        self.work = self.work.saturating_add(entries);
        if self.work > MAX_WORK {
            let reason = "too many commands that look at everything, on too many entries";
            return Err(Fault::limit(position, reason));
        }
        Ok(())
    }

    pub(super) fn into_vec(self) -> Vec<V> {
        self.slots.into_iter().flatten().collect()
    }
}

impl Table<State> {
    /// Removes what Linux finds at a place, by destination, SPI and a packet's mark, on behalf of the command at
    /// `position`.
    pub(super) fn remove_found(
        &mut self,
        position: Position,
        id: &(Option<String>, IpAddr, u32),
        mark: u32,
    ) -> Parsed<()> {
        let (origin, dst, spi) = id;
        let from = (origin.clone(), *dst, *spi, None);
        let here = self.index.range((from, 0)..);
        let here: Vec<_> =
            here.take_while(|((o, d, s, _), _)| (o, d, s) == (origin, dst, spi)).cloned().collect();
        self.worked(here.len(), position)?;
        for (key, slot) in here {
            if key.3.is_none_or(|is| mark & is.mask == is.value) {
                self.slots[slot] = None;
                self.index.remove(&(key, slot));
            }
        }
        Ok(())
    }
}
