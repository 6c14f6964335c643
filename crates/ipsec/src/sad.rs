//! The SAD (RFC 4301 §4.4.2): SAs with what changes of them, found by SPI and destination.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use espwire_esp::{IV_SECRET_LEN, InboundSa, Numbering, OutboundSa, SaKey};

use crate::event::{Event, SaId};
use crate::lifetime::Lifetime;
use crate::outer::NATT_PORT;
use crate::sa::{Sa, SaCounts};
use crate::tunnel::TunnelHeaders;
use crate::xfrm::{self, Database, State};

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

/// Of an SA whose packets are received (RFC 4301 §5.2).
pub struct Receiving {
    pub(crate) inbound: InboundSa,
}

/// Of an SA whose packets are sent (RFC 4301 §5.1).
pub struct Sending {
    pub(crate) outbound: OutboundSa,
    pub(crate) lifetime: Lifetime,
    pub(crate) headers: TunnelHeaders,
    /// The longest outer packet in octets, if one is set.
    pub(crate) mtu: Option<usize>,
    /// Place of its peer among the sender's, with UDP encapsulation.
    pub(crate) peer: Option<usize>,
}

/// One SA with what changes.
pub(crate) struct Entry<S> {
    pub(crate) sa: Sa,
    pub(crate) state: S,
    pub(crate) counts: SaCounts,
    /// Since when it is there.
    pub(crate) added: Duration,
}

/// The SAs of one side, found by SPI and destination address: an observer's, a receiver's or a sender's.
pub struct Sad<S = Observing> {
    entries: Vec<Entry<S>>,
    index: HashMap<(u32, IpAddr), usize>,
    /// In ascending order.
    natt_ports: Vec<u16>,
}

impl Sad<Observing> {
    /// The union of the states in `databases`, whatever namespace they were added in. The same SA twice is one.
    ///
    /// # Errors
    ///
    /// A state whose mode, algorithm or key can't be used, with its place; two states with one SPI and
    /// destination that are not the same SA, with both places.
    pub fn new<'a>(databases: impl IntoIterator<Item = &'a Database>) -> Result<Self, SadError> {
        Self::of_states(databases, State::same_sa, Duration::ZERO, |state, sa, key| {
            let noted_window = if sa.replay_window == 0 { NOTED_WINDOW } else { sa.replay_window };
            // Which end's counter this was depends on whose state it is: the other one stands still at 0.
            let high = state.sequence.seq_hi.max(state.sequence.oseq_hi);
            let inbound = if sa.esn {
                InboundSa::joined(key, noted_window, high)
            } else {
                InboundSa::new(key, false, noted_window)
            };
            Ok(Observing { inbound })
        })
    }
}

impl Sad<Receiving> {
    /// The SAs of a receiver, which judges replay, there since `now`: an SA goes on from the state's `replay-seq`
    /// and `replay-seq-hi`, with its `replay-window`, 0 for none. The same state twice is one.
    ///
    /// # Errors
    ///
    /// As [`new`](Sad::new); states of one SPI and destination must also agree in selector, window, numbers, flags
    /// and limits.
    pub fn receiving<'a>(
        databases: impl IntoIterator<Item = &'a Database>,
        now: Duration,
    ) -> Result<Self, SadError> {
        Self::of_states(databases, same_use, now, |state, sa, key| {
            let top = u64::from(state.sequence.seq_hi) << 32 | u64::from(state.sequence.seq);
            Ok(Receiving { inbound: InboundSa::resumed(key, sa.esn, sa.replay_window, top) })
        })
    }
}

impl Sad<Sending> {
    /// The SAs of a sender, there since `now`: an SA goes on after the state's `replay-oseq` and `replay-oseq-hi`.
    ///
    /// `secret` is asked once per SA for octets of a cryptographic generator, from which IVs are made. Two SAs may
    /// share a key: of a counter mode their IVs count from places that a secret of 64 bits sets apart.
    ///
    /// # Errors
    ///
    /// As [`receiving`](Sad::receiving); and two SAs with one key and implicit IVs, which would come twice
    /// (RFC 8750 §4).
    pub fn sending<'a>(
        databases: impl IntoIterator<Item = &'a Database>,
        now: Duration,
        mut secret: impl FnMut() -> [u8; IV_SECRET_LEN],
    ) -> Result<Self, SadError> {
        let mut implicit = HashSet::new();
        Self::of_states(databases, same_use, now, |state, sa, key| {
            let has_implicit_iv = sa.suite.is_counter_mode() && sa.suite.iv_len() == 0;
            if has_implicit_iv && !implicit.insert(sa.encryption_fingerprint) {
                let reason = "another SA has this key, and both have implicit IVs: they would come twice";
                return Err(SadError::unusable(state, state.position, reason));
            }
            let numbering = Numbering {
                esn: sa.esn,
                may_cycle: sa.extra_flags.has(xfrm::ExtraFlags::OSEQ_MAY_WRAP),
                last: u64::from(state.sequence.oseq_hi) << 32 | u64::from(state.sequence.oseq),
            };
            Ok(Sending {
                outbound: OutboundSa::new(key, sa.spi, numbering, &secret()),
                lifetime: Lifetime::new(sa.limits, now),
                headers: TunnelHeaders::of_flags(sa.flags, sa.extra_flags),
                mtu: None,
                peer: None,
            })
        })
    }

    /// Tells the limits of time that SAs have reached by `now` without a packet. Called every second or so, it makes
    /// rekeying independent of traffic.
    pub fn expire(&mut self, now: Duration, events: &mut Vec<Event>) {
        for Entry { sa, state, .. } in &mut self.entries {
            let id = SaId { spi: sa.spi, dst: sa.dst };
            // Whether it has ended is found again with its next packet.
            let _ = state.lifetime.check(now, |reached| events.push(reached.event(id)));
        }
    }
}

/// Whether two states are the same to those who use them.
fn same_use(a: &State, b: &State) -> bool {
    a.same_sa(b)
        && (a.replay_window, a.sequence, a.flags, a.extra_flags, a.tfcpad, a.limits, a.reqid)
            == (b.replay_window, b.sequence, b.flags, b.extra_flags, b.tfcpad, b.limits, b.reqid)
        && a.selector == b.selector
}

impl<S> Sad<S> {
    fn of_states<'a>(
        databases: impl IntoIterator<Item = &'a Database>,
        is_same: impl Fn(&State, &State) -> bool,
        now: Duration,
        mut side: impl FnMut(&State, &Sa, SaKey) -> Result<S, SadError>,
    ) -> Result<Self, SadError> {
        let mut sad = Self { entries: Vec::new(), index: HashMap::new(), natt_ports: vec![NATT_PORT] };
        let mut states = Vec::<&State>::new();
        for state in databases.into_iter().flat_map(|database| &database.states) {
            match sad.index.get(&(state.spi, state.dst)) {
                Some(&at) if is_same(states[at], state) => {
                    let origins = &mut sad.entries[at].sa.origins;
                    if !origins.contains(&state.origin) {
                        origins.push(state.origin.clone());
                    }
                }
                Some(&at) => {
                    return Err(SadError::Conflict {
                        first: place(states[at]),
                        second: place(state),
                        spi: state.spi,
                        dst: state.dst,
                    });
                }
                None => {
                    let (sa, key) = Sa::of_state(state)?;
                    let state_of_sa = side(state, &sa, key)?;
                    sad.index.insert((sa.spi, sa.dst), sad.entries.len());
                    sad.entries.push(Entry {
                        sa,
                        state: state_of_sa,
                        counts: SaCounts::default(),
                        added: now,
                    });
                    states.push(state);
                }
            }
        }
        sad.natt_ports.extend(sad.entries.iter().filter_map(|entry| Some(entry.sa.encap?.dst)));
        sad.natt_ports.sort_unstable();
        sad.natt_ports.dedup();
        Ok(sad)
    }
    /// How many SAs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The SAs in the order in which they were read, each with its counts.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Sa, &SaCounts)> {
        self.entries.iter().map(|entry| (&entry.sa, &entry.counts))
    }

    /// The place of the SA with this SPI and destination.
    #[inline]
    pub(crate) fn find(&self, spi: u32, dst: IpAddr) -> Option<usize> {
        self.index.get(&(spi, dst)).copied()
    }

    /// Whether ESP may come in UDP to this port.
    #[inline]
    pub(crate) fn is_natt(&self, port: u16) -> bool {
        self.natt_ports.binary_search(&port).is_ok()
    }

    #[inline]
    pub(crate) fn entry(&self, at: usize) -> &Entry<S> {
        &self.entries[at]
    }

    #[inline]
    pub(crate) fn entry_mut(&mut self, at: usize) -> &mut Entry<S> {
        &mut self.entries[at]
    }
}

/// What may be shown of its SAs.
impl<S> fmt::Debug for Sad<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(sa, _)| sa)).finish()
    }
}

fn place(state: &State) -> String {
    format!("{}:{}", state.source_name, state.position.line)
}
