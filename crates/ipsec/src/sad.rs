//! The SAs that a NIC knows: the SAD (RFC 4301 §4.4.2), filled from `ip xfrm` text.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use espwire_esp::{InboundSa, KeyError, SaKey, Suite};
use sha2::{Digest, Sha256};

use crate::algorithm::{Algorithms, algorithms};
use crate::outer::{NATT_PORT, UdpPorts};
use crate::verdict::DropReason;
use crate::xfrm::{self, Database, State};

/// Width of the window in which replay is noted for an SA whose state asks for no anti-replay.
const NOTED_WINDOW: u32 = 64;

/// How an SA encapsulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A whole IP packet inside.
    Tunnel,
    /// The outer packet's own payload inside.
    Transport,
}

impl Mode {
    /// The name in records and in `ip xfrm`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tunnel => "tunnel",
            Self::Transport => "transport",
        }
    }
}

/// What is shown in place of a key: the first 8 octets of SHA-256 over the algorithm's name, as the
/// kernel has it, and the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 8]);

impl Fingerprint {
    fn of(algorithm: &xfrm::Algorithm) -> Self {
        let digest = Sha256::new()
            .chain_update(algorithm.kernel_name())
            .chain_update(algorithm.key.as_octets())
            .finalize();
        let mut octets = [0; 8];
        octets.copy_from_slice(&digest[..8]);
        Self(octets)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// What may be shown of an SA: everything but its keys and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sa {
    /// Security parameters index.
    pub spi: u32,
    /// Outer source address.
    pub src: IpAddr,
    /// Outer destination address.
    pub dst: IpAddr,
    /// Tunnel or transport mode.
    pub mode: Mode,
    /// Its algorithms.
    pub suite: Suite,
    /// Extended sequence numbers.
    pub esn: bool,
    /// The anti-replay window's width in packets as the state has it; 0: none.
    pub replay_window: u32,
    /// Ports of UDP encapsulation.
    pub encap: Option<UdpPorts>,
    /// `reqid` of the state.
    pub reqid: u32,
    /// Which inner packets it is for; `None` for all.
    pub selector: Option<xfrm::Selector>,
    /// Network namespaces in which it was added; `None` is the one that the text was written for.
    pub origins: Vec<Option<String>>,
    /// Stands for the encryption key.
    pub encryption_fingerprint: Fingerprint,
    /// Stands for the integrity key of a suite that has one.
    pub integrity_fingerprint: Option<Fingerprint>,
}

/// What was counted of an SA's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SaCounts {
    /// Packets that verified and were re-encrypted equal.
    pub packets: u64,
    /// Their octets from the SPI to the ICV.
    pub bytes: u64,
    /// Packets of those whose number was seen already, was zero, or lay left of the anti-replay window.
    pub replays: u64,
    failures: [u64; DropReason::ALL.len()],
}

impl SaCounts {
    /// Packets of this SA that failed for `reason`.
    #[must_use]
    pub fn failures(&self, reason: DropReason) -> u64 {
        self.failures[reason as usize]
    }

    pub(crate) fn count_failure(&mut self, reason: DropReason) {
        self.failures[reason as usize] += 1;
    }
}

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

/// One SA with what changes.
pub(crate) struct Entry {
    pub(crate) sa: Sa,
    pub(crate) inbound: InboundSa,
    pub(crate) counts: SaCounts,
}

/// The SAs of a NIC, found by SPI and destination address.
pub struct Sad {
    entries: Vec<Entry>,
    index: HashMap<(u32, IpAddr), usize>,
    /// In ascending order.
    natt_ports: Vec<u16>,
}

/// What the SAs are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// To look into traffic that may have begun before.
    Observer,
    /// To receive it.
    Receiver,
}

impl Sad {
    /// The union of the states in `databases`, whatever namespace they were added in. The same SA twice is one.
    ///
    /// # Errors
    ///
    /// A state whose mode, algorithm or key can't be used, with its place; two states with one SPI and
    /// destination that are not the same SA, with both places.
    pub fn new<'a>(databases: impl IntoIterator<Item = &'a Database>) -> Result<Self, SadError> {
        Self::with_role(databases, Role::Observer)
    }

    /// The same for a receiver, which judges replay: an SA goes on from the state's `replay-seq` and
    /// `replay-seq-hi`, with its `replay-window`, 0 for none.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn receiving<'a>(databases: impl IntoIterator<Item = &'a Database>) -> Result<Self, SadError> {
        Self::with_role(databases, Role::Receiver)
    }

    fn with_role<'a>(
        databases: impl IntoIterator<Item = &'a Database>,
        role: Role,
    ) -> Result<Self, SadError> {
        let mut sad = Self { entries: Vec::new(), index: HashMap::new(), natt_ports: vec![NATT_PORT] };
        let mut states = Vec::<&State>::new();
        for state in databases.into_iter().flat_map(|database| &database.states) {
            match sad.index.get(&(state.spi, state.dst)) {
                Some(&at) if states[at].same_sa(state) => {
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
                    sad.index.insert((state.spi, state.dst), sad.entries.len());
                    sad.entries.push(entry(state, role)?);
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
    pub(crate) fn entry(&self, at: usize) -> &Entry {
        &self.entries[at]
    }

    #[inline]
    pub(crate) fn entry_mut(&mut self, at: usize) -> &mut Entry {
        &mut self.entries[at]
    }
}

/// What may be shown of its SAs.
impl fmt::Debug for Sad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(sa, _)| sa)).finish()
    }
}

fn place(state: &State) -> String {
    format!("{}:{}", state.source_name, state.position.line)
}

/// An error at `position` of the state's text.
fn unusable(state: &State, position: xfrm::Position, reason: impl Into<String>) -> SadError {
    SadError::Unusable {
        file: state.source_name.to_string(),
        line: position.line,
        column: position.column,
        reason: reason.into(),
    }
}

/// What a state becomes, if its mode, algorithms and keys can be used.
fn entry(state: &State, role: Role) -> Result<Entry, SadError> {
    let mode = match state.mode {
        xfrm::Mode::Tunnel => Mode::Tunnel,
        xfrm::Mode::Transport => Mode::Transport,
        mode => return Err(unusable(state, state.position, format!("mode {mode} is not supported"))),
    };
    let encap = match &state.encap {
        None => None,
        Some(encap) if encap.kind == xfrm::EncapKind::EspInUdp => {
            Some(UdpPorts { src: encap.sport, dst: encap.dport })
        }
        Some(encap) => {
            let reason = format!("encapsulation {} is not supported", encap.kind.as_str());
            return Err(unusable(state, state.position, reason));
        }
    };
    let Algorithms { suite, encryption, integrity } =
        algorithms(state).map_err(|refusal| unusable(state, refusal.position, refusal.reason))?;
    let integrity_key = integrity.map_or(&[][..], |algorithm| algorithm.key.as_octets());
    let key = SaKey::new(suite, encryption.key.as_octets(), integrity_key).map_err(|error| {
        let algorithm = match (&error, integrity) {
            (KeyError::IntegrityKeyLen { .. }, Some(integrity)) => integrity,
            _ => encryption,
        };
        unusable(state, algorithm.key_position, error.to_string())
    })?;
    let esn = state.flags.has(xfrm::Flags::ESN);
    let noted_window = if state.replay_window == 0 { NOTED_WINDOW } else { state.replay_window };
    let inbound = match role {
        Role::Receiver => {
            let top = u64::from(state.sequence.seq_hi) << 32 | u64::from(state.sequence.seq);
            InboundSa::resumed(key, esn, state.replay_window, top)
        }
        Role::Observer if esn => {
            // Which end's counter this was depends on whose state it is: the other one stands still at 0.
            let high = state.sequence.seq_hi.max(state.sequence.oseq_hi);
            InboundSa::joined(key, noted_window, high)
        }
        Role::Observer => InboundSa::new(key, false, noted_window),
    };
    let sa = Sa {
        spi: state.spi,
        src: state.src,
        dst: state.dst,
        mode,
        suite,
        esn,
        replay_window: state.replay_window,
        encap,
        reqid: state.reqid,
        selector: state.selector.clone(),
        origins: vec![state.origin.clone()],
        encryption_fingerprint: Fingerprint::of(encryption),
        integrity_fingerprint: integrity.map(Fingerprint::of),
    };
    Ok(Entry { sa, inbound, counts: SaCounts::default() })
}
