//! The SAD (RFC 4301 §4.4.2): SAs with what changes of them, found by SPI and destination.
//!
//! RFC 4301 §4.1 lets a unicast SA be found by its SPI alone. Here it is found by SPI and destination, as in Linux: an
//! observer sees the packets of many receivers, who choose their SPIs without asking one another. A state with
//! `flag wildrecv` is found by its SPI alone as well, whatever unicast address of its family the packet went to: that
//! is our reading of the flag, for a receiver with many addresses. An SA with the very destination comes first. The
//! source address never counts. SPI 0 is no SA's (RFC 4303 §2.1).

mod receiving;
mod sending;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use espwire_esp::{InboundSa, SaKey};

use crate::event::SaId;
use crate::outer::NATT_PORT;
use crate::sa::{Fingerprint, Sa, SaCounts};
use crate::xfrm::{self, Database, State};

pub use receiving::Receiving;
pub use sending::{SaPlace, Sending};

/// Width of the window in which replay is noted for an SA whose state asks for no anti-replay.
const NOTED_WINDOW: u32 = 64;

/// A state that can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SadError {
    /// Something in a state that espwire has no use for yet.
    #[error("{file}:{line}:{column}: {reason}")]
    Unusable {
        /// The text's name.
        file: String,
        /// Line, from 1.
        line: u32,
        /// Column, from 1.
        column: u32,
        /// What is wrong.
        reason: String,
    },
    /// The same SPI and destination twice, but not the same SA.
    #[error("{second}: the SA with SPI {spi:#010x} to {dst} differs from the one at {first}")]
    Conflict {
        /// Where it stands first, `file:line`.
        first: String,
        /// Where it stands again, `file:line`.
        second: String,
        /// SPI of both.
        spi: u32,
        /// Destination of both.
        dst: IpAddr,
    },
}

impl SadError {
    /// An error at `position` of the state's text.
    pub(crate) fn unusable(state: &State, position: xfrm::Position, reason: impl Into<String>) -> Self {
        Self::Unusable {
            file: state.source_name.to_string(),
            line: position.line,
            column: position.column,
            reason: reason.into(),
        }
    }
}

/// Of an SA whose traffic is looked into: it may have begun long before, and replay is noted, not judged.
pub struct Observing {
    pub(crate) inbound: InboundSa,
}

/// One SA with what changes.
pub(crate) struct Entry<S> {
    pub(crate) sa: Sa,
    pub(crate) state: S,
    pub(crate) counts: SaCounts,
    /// Of no other entry, not even of one that was here before: what [`SaPlace`] knows it by.
    generation: u64,
    /// Where its state stands: the text's name, and the line.
    origin: (Arc<str>, u32),
}

/// The SAs of one side, found by SPI and destination address: an observer's, a receiver's or a sender's.
///
/// Of a sender's, each SA has a place that names it: [`SaPlace`].
pub struct Sad<S = Observing> {
    entries: Vec<Option<Entry<S>>>,
    /// Places in `entries` without an SA.
    holes: Vec<usize>,
    /// How many SAs were added and removed since it was made.
    changes: u64,
    index: HashMap<(u32, IpAddr), usize>,
    /// By SPI alone, and whether the destination is of IPv4.
    wild: HashMap<(u32, bool), usize>,
    /// In ascending order, each with the number of SAs that have it. Port 4500 stays.
    natt_ports: Vec<(u16, usize)>,
    /// Of a sender: keys that had an SA with implicit IVs. They stay, so that no IV comes twice.
    implicit: HashSet<Fingerprint>,
    /// Of a sender: what stands for the secrets that SAs had, likewise.
    secrets: HashSet<[u8; 32]>,
}

/// No SAs.
impl<S> Default for Sad<S> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            holes: Vec::new(),
            changes: 0,
            index: HashMap::new(),
            wild: HashMap::new(),
            natt_ports: vec![(NATT_PORT, 1)],
            implicit: HashSet::new(),
            secrets: HashSet::new(),
        }
    }
}

impl Sad<Observing> {
    /// The union of the states in `databases`, whatever namespace they were added in. The same SA twice is one.
    ///
    /// # Errors
    ///
    /// A state whose mode, algorithm or key can't be used, with its place; two states with one SPI and
    /// destination that are not the same SA, with both places.
    pub fn new<'a>(databases: impl IntoIterator<Item = &'a Database>) -> Result<Self, SadError> {
        let mut sad = Self::default();
        sad.add_all(databases, State::same_sa, |sad, state| sad.insert(state, observing))?;
        Ok(sad)
    }

    /// Adds one SA.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); and its SPI and destination are those of another SA here, even of the same: to replace
    /// that, [`remove`](Self::remove) it first.
    pub fn add(&mut self, state: &State) -> Result<(), SadError> {
        self.insert(state, observing).map(drop)
    }
}

fn observing(_: &Sad, state: &State, sa: &Sa, key: SaKey) -> Result<Observing, SadError> {
    let noted_window = if sa.replay_window == 0 { NOTED_WINDOW } else { sa.replay_window };
    // Which end's counter this was depends on whose state it is: the other one stands still at 0.
    let high = state.sequence.seq_hi.max(state.sequence.oseq_hi);
    let inbound = if sa.esn {
        InboundSa::joined(key, noted_window, high)
    } else {
        InboundSa::new(key, false, noted_window)
    };
    Ok(Observing { inbound })
}

/// Whether two states are the same to those who use them.
fn same_use(a: &State, b: &State) -> bool {
    a.same_sa(b)
        && (a.replay_window, a.sequence, a.flags, a.extra_flags, a.tfcpad, a.limits, a.reqid)
            == (b.replay_window, b.sequence, b.flags, b.extra_flags, b.tfcpad, b.limits, b.reqid)
        && (&a.selector, a.encap) == (&b.selector, b.encap)
        && (&a.replay_bitmap, a.used) == (&b.replay_bitmap, b.used)
}

impl<S> Sad<S> {
    /// Adds all states of `databases` with `insert`, each once. There are no SAs yet.
    fn add_all<'a>(
        &mut self,
        databases: impl IntoIterator<Item = &'a Database>,
        is_same: impl Fn(&State, &State) -> bool,
        mut insert: impl FnMut(&mut Self, &'a State) -> Result<usize, SadError>,
    ) -> Result<(), SadError> {
        // By place: without holes they are in order.
        let mut states = Vec::<&State>::new();
        for state in databases.into_iter().flat_map(|database| &database.states) {
            let known = self.index.get(&(state.spi, state.dst)).copied();
            if let Some(place) = known
                && is_same(states[place], state)
                && let Some(entry) = self.entry_mut(place)
            {
                if !entry.sa.origins.contains(&state.origin) {
                    entry.sa.origins.push(state.origin.clone());
                }
            } else {
                insert(self, state)?;
                states.push(state);
            }
        }
        Ok(())
    }

    /// Adds the SA of `state`, with what `side` makes of it, and returns its place.
    fn insert(
        &mut self,
        state: &State,
        side: impl FnOnce(&Self, &State, &Sa, SaKey) -> Result<S, SadError>,
    ) -> Result<usize, SadError> {
        let refuse = |reason: &str| Err(SadError::unusable(state, state.position, reason));
        if state.spi == 0 {
            return refuse("SPI 0 is no SA's (RFC 4303 section 2.1)");
        }
        let origin = (Arc::clone(&state.source_name), state.position.line);
        if let Some(first) = self.find_exactly(state.spi, state.dst).and_then(|place| self.entry(place)) {
            let text = |(name, line): &(Arc<str>, u32)| format!("{name}:{line}");
            return Err(SadError::Conflict {
                first: text(&first.origin),
                second: text(&origin),
                spi: state.spi,
                dst: state.dst,
            });
        }
        let wild = wild_key(state);
        if wild.is_some_and(|key| self.wild.contains_key(&key)) {
            return refuse(
                "another SA with `flag wildrecv` has this SPI, which alone does not tell them apart",
            );
        }
        let (sa, key) = Sa::of_state(state)?;
        let side = side(self, state, &sa, key)?;
        if let Some(ports) = sa.encap {
            match self.natt_ports.binary_search_by_key(&ports.dst, |(port, _)| *port) {
                Ok(at) => self.natt_ports[at].1 += 1,
                Err(at) => self.natt_ports.insert(at, (ports.dst, 1)),
            }
        }
        self.changes += 1;
        let (counts, generation) = (SaCounts::default(), self.changes);
        let entry = Some(Entry { sa, state: side, counts, generation, origin });
        let place = match self.holes.pop() {
            Some(place) => {
                self.entries[place] = entry;
                place
            }
            None => {
                self.entries.push(entry);
                self.entries.len() - 1
            }
        };
        self.index.insert((state.spi, state.dst), place);
        if let Some(key) = wild {
            self.wild.insert(key, place);
        }
        Ok(place)
    }

    /// Removes the SA with this SPI and destination, and its keys and counts. Whether there was one.
    pub fn remove(&mut self, spi: u32, dst: IpAddr) -> bool {
        let Some(place) = self.index.remove(&(spi, dst)) else { return false };
        let Some(entry) = self.entries[place].take() else { return false };
        self.holes.push(place);
        self.changes += 1;
        let wild = (spi, dst.is_ipv4());
        if self.wild.get(&wild) == Some(&place) {
            self.wild.remove(&wild);
        }
        if let Some(ports) = entry.sa.encap
            && let Ok(at) = self.natt_ports.binary_search_by_key(&ports.dst, |(port, _)| *port)
        {
            self.natt_ports[at].1 -= 1;
            if self.natt_ports[at].1 == 0 {
                self.natt_ports.remove(at);
            }
        }
        true
    }

    /// How many SAs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The SA with this SPI and destination, with its counts.
    #[must_use]
    pub fn get(&self, id: SaId) -> Option<(&Sa, &SaCounts)> {
        let entry = self.entry(self.find_exactly(id.spi, id.dst)?)?;
        Some((&entry.sa, &entry.counts))
    }

    /// The SAs, each with its counts, in the order in which they were added; one that was added after another was
    /// removed may stand in that one's place.
    pub fn iter(&self) -> impl Iterator<Item = (&Sa, &SaCounts)> {
        self.entries.iter().flatten().map(|entry| (&entry.sa, &entry.counts))
    }

    /// The place of the SA that a packet with this SPI to `dst` belongs to.
    #[inline]
    pub(crate) fn find(&self, spi: u32, dst: IpAddr) -> Option<usize> {
        let exact = self.find_exactly(spi, dst);
        if exact.is_some() || self.wild.is_empty() || dst.is_multicast() {
            return exact;
        }
        self.wild.get(&(spi, dst.is_ipv4())).copied()
    }

    #[inline]
    pub(crate) fn find_exactly(&self, spi: u32, dst: IpAddr) -> Option<usize> {
        self.index.get(&(spi, dst)).copied()
    }

    /// Whether ESP may come in UDP to this port.
    #[inline]
    pub(crate) fn is_natt(&self, port: u16) -> bool {
        self.natt_ports.binary_search_by_key(&port, |(port, _)| *port).is_ok()
    }

    /// The SA at this place, if there is one.
    #[inline]
    pub(crate) fn entry(&self, place: usize) -> Option<&Entry<S>> {
        self.entries.get(place)?.as_ref()
    }

    /// The SA at this place, if there is one.
    #[inline]
    pub(crate) fn entry_mut(&mut self, place: usize) -> Option<&mut Entry<S>> {
        self.entries.get_mut(place)?.as_mut()
    }

    /// All SAs.
    pub(crate) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry<S>> {
        self.entries.iter_mut().flatten()
    }
}

/// Under what a state with `flag wildrecv` is found by its SPI alone.
fn wild_key(state: &State) -> Option<(u32, bool)> {
    state.flags.has(xfrm::Flags::WILDRECV).then_some((state.spi, state.dst.is_ipv4()))
}

/// What may be shown of its SAs.
impl<S> fmt::Debug for Sad<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(sa, _)| sa)).finish()
    }
}
