//! A policy: an entry of the SPD (RFC 4301 §4.4.1.2), and the SA that it asks for.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::selector::Selector;
use crate::xfrm::{Dir, Mode, Offload, Position};

/// What is done with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// PROTECT: they go through an SA that fits.
    Protect(Template),
    /// BYPASS: they go in clear.
    Bypass,
    /// DISCARD.
    Discard,
}

/// What SA a policy asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Template {
    /// How it encapsulates: tunnel, transport or BEET.
    pub mode: Mode,
    /// Outer source address; `None` for any. Without effect in transport mode, whose packets keep their own.
    pub src: Option<IpAddr>,
    /// Outer destination address, likewise.
    pub dst: Option<IpAddr>,
    /// SPI; 0 for any.
    pub spi: u32,
    /// `reqid` of the SA. 0: outbound, that of an SA without one ([`Sender::find_for`](crate::Sender::find_for));
    /// inbound, any.
    pub reqid: u32,
    /// Whether there must be such an SA. If not (`level use`), packets go in clear while there is none, and may come
    /// in clear.
    pub is_required: bool,
}

/// The SA through which a packet came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtectedBy {
    /// How it encapsulates.
    pub mode: Mode,
    /// Its SPI.
    pub spi: u32,
    /// Its `reqid`.
    pub reqid: u32,
    /// Its outer source address.
    pub src: IpAddr,
    /// Its outer destination address.
    pub dst: IpAddr,
}

impl Template {
    /// Whether an SA is one that it asks for.
    #[must_use]
    pub fn fits(&self, sa: &ProtectedBy) -> bool {
        let has_addresses =
            self.src.is_none_or(|src| src == sa.src) && self.dst.is_none_or(|dst| dst == sa.dst);
        self.mode == sa.mode
            && (self.spi == 0 || self.spi == sa.spi)
            && (self.reqid == 0 || self.reqid == sa.reqid)
            && (self.mode == Mode::Transport || has_addresses)
    }
}

/// Where a policy stands in a text. Displayed as `FILE:LINE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The text's name.
    pub file: Arc<str>,
    /// Where the policy begins.
    pub position: Position,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.position.line)
    }
}

/// An entry of the SPD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What flows it is for.
    pub selector: Selector,
    /// The direction of their packets.
    pub direction: Dir,
    /// What is done with them.
    pub action: Action,
    /// The lower, the earlier it is looked at.
    pub priority: u32,
    /// `offload`, as the text has it; without effect here.
    pub offload: Option<Offload>,
    /// Where it stands, if it is from a text.
    pub place: Option<Place>,
}

impl Policy {
    /// A policy of priority 0.
    #[must_use]
    pub const fn new(direction: Dir, selector: Selector, action: Action) -> Self {
        Self { selector, direction, action, priority: 0, offload: None, place: None }
    }

    /// Whether both do the same, wherever they are from.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.key() == other.key()
    }

    pub(super) fn key(&self) -> (Dir, u32, Selector, Action) {
        (self.direction, self.priority, self.selector, self.action)
    }
}

/// What was counted of a policy's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyCounts {
    /// Packets that matched it, whatever became of them then.
    pub packets: u64,
    /// Their octets.
    pub bytes: u64,
}
