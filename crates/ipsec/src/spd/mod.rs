//! The SPD (RFC 4301 §4.4.1): which packets are protected, bypassed or discarded.
//!
//! ```text
//!   packet ──► Flow ──► cache ──► Lookup: PROTECT with a template, BYPASS or DISCARD
//!                         │ miss     ▲
//!                         └► search ─┘ the first policy that matches, by priority
//! ```
//!
//! # Order
//!
//! As in Linux: a policy of lower `priority` is before one of higher; of two with the same, the one that was added first
//! is. Two things are not as in Linux: a policy that the text `update`d counts as added then, and does not keep the
//! place it had in its priority; and policies with packet offload are not before all others.
//!
//! # What a packet does not show
//!
//! A later fragment has no ports, so that no policy with ports matches it, and it goes on to a policy without: as
//! RFC 4301 §4.4.1.1 and §7 say. It goes to one with PROTECT or DISCARD. It does not go to a policy under which it may
//! cross in clear if it may belong to a packet that a stricter policy before is for (§7.4): then it is discarded, and
//! [`Rule::Obscured`] says why. So is a packet that ends before its ports. The strictest are DISCARD and PROTECT; less
//! strict is PROTECT whose SA is not required (`level use`), the least is BYPASS. There is no state of fragments (§7.3);
//! to let later fragments pass in clear all the same, put a BYPASS for [`OPAQUE`](crate::UpperSelector::Opaque) before
//! BYPASS for the rest.
//!
//! # What it does not do
//!
//! Names, PFP flags, one SPD per interface, multicast (RFC 4301 §4.4.1): selectors are the packet's own fields. A list of
//! ranges is several policies. `uid`, `share`, `flag localok` and soft limits are without effect; sockets' policies
//! are left out. Policies of direction `fwd` are kept and can be looked up; a NIC does not forward.

pub(crate) mod cache;
mod index;
mod policy;
mod text;

use std::collections::BTreeMap;
use std::fmt;

use cache::Cache;
use index::Index;
pub use policy::{Action, Place, Policy, PolicyCounts, ProtectedBy, Template};

use crate::flow::Flow;
use crate::selector::{SelectorError, UpperSelector};
use crate::xfrm::{Database, Dir};

/// The most policies of an SPD.
pub const MAX_POLICIES: usize = 1 << 20;

/// What is done with packets that no policy matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmatched {
    /// They go in clear, as in Linux.
    Bypass,
    /// They are discarded, as RFC 4301 §5 says.
    Discard,
}

/// What decided about a packet. Policies are named by their place in [`Spd::iter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The first policy that matches.
    Policy(usize),
    /// No policy matches.
    Unmatched,
    /// The packet may go in clear, but does not show what tells it from this stricter policy's packets: it is discarded.
    Obscured(usize),
}

/// What an SPD says about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// What is to be done with it.
    pub action: Action,
    /// What decided so.
    pub rule: Rule,
}

/// Why a packet that came in is not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PolicyFault {
    /// No policy matches: such packets are discarded, or it came through an SA that is for other packets.
    NoPolicy,
    /// The policy is DISCARD.
    Discard,
    /// The policy is PROTECT, and the packet came in clear.
    Unprotected,
    /// The packet came through an SA, and the policy asks for another, or is BYPASS.
    Mismatch,
    /// [`Rule::Obscured`].
    Obscured,
}

impl PolicyFault {
    /// The counter of `/proc/net/xfrm_stat` in which Linux counts such a packet, where it has one.
    #[must_use]
    pub const fn xfrm_stat(self) -> Option<&'static str> {
        match self {
            Self::NoPolicy => Some("XfrmInNoPols"),
            Self::Discard => Some("XfrmInPolBlock"),
            Self::Unprotected | Self::Mismatch => Some("XfrmInTmplMismatch"),
            Self::Obscured => None,
        }
    }
}

/// Policies that can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpdError {
    /// Something in a policy's text that means nothing here, and without which the policy would be another.
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
    /// Two policies of one direction and selector that differ. Linux refuses the second.
    #[error("{second}: this policy has direction and selector of the one at {first}, and differs from it")]
    Conflict {
        /// Where it stands first, `file:line`.
        first: String,
        /// Where it stands again, `file:line`.
        second: String,
    },
    /// Policies of two network namespaces: one SPD would let pass what neither of theirs does.
    #[error("{second}: this policy is of another network namespace than the one at {first}")]
    Namespaces {
        /// The first policy, `file:line`.
        first: String,
        /// One of another namespace, `file:line`.
        second: String,
    },
    /// A policy that no packet can match.
    #[error("policy {number}: {source}")]
    Selector {
        /// Its place among those given, from 0.
        number: usize,
        /// Why not.
        source: SelectorError,
    },
    /// More than [`MAX_POLICIES`].
    #[error("there are more than {MAX_POLICIES} policies")]
    TooMany,
}

/// Policies in order, with a cache of the flows seen last.
///
/// ```
/// use espwire_ipsec::xfrm::{self, Dir};
/// use espwire_ipsec::{Action, Flow, Rule, Spd, Unmatched};
///
/// let text = "ip xfrm policy add src 10.0.0.1 dst 10.0.0.2 proto tcp dport 22 dir out priority 1\n\
///             ip xfrm policy add src 10.0.0.1 dst 10.0.0.2 dir out priority 2 tmpl proto esp mode tunnel reqid 7";
/// let mut spd = Spd::new([&xfrm::parse("example", text).unwrap()], Unmatched::Discard).unwrap();
///
/// let (src, dst) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
/// let ssh = Flow::of_payload(src, dst, 6, &[0xc0, 0, 0, 22]).unwrap();
/// assert_eq!(spd.lookup(Dir::Out, &ssh, 40).action, Action::Bypass);
/// let dns = Flow::of_payload(src, dst, 17, &[0xc0, 0, 0, 53]).unwrap();
/// let found = spd.lookup(Dir::Out, &dns, 60);
/// assert!(matches!(found.action, Action::Protect(template) if template.reqid == 7));
/// assert_eq!(found.rule, Rule::Policy(1));
/// let back = Flow::of_payload(dst, src, 17, &[0, 53, 0xc0, 0]).unwrap();
/// assert_eq!(spd.lookup(Dir::Out, &back, 60).rule, Rule::Unmatched);
/// ```
pub struct Spd {
    /// In the order in which they are looked at.
    policies: Vec<Policy>,
    counts: Vec<PolicyCounts>,
    /// One for each [`Dir`].
    tables: [Table; 3],
    unmatched: Unmatched,
    cache_misses: u64,
}

/// What finds the policies of one direction.
#[derive(Default)]
struct Table {
    v4: Index,
    v6: Index,
    /// Empty if there are no policies.
    cache: Cache<Rule>,
}

impl Spd {
    /// How many flows are cached for each direction that has policies. The cache takes about 70 octets for each.
    pub const CACHED_FLOWS: usize = cache::CAPACITY;

    /// An SPD of the policies in `databases`, in their order; `unmatched` says what is done with the rest. The same
    /// policy twice is one. A database that has policies of several network namespaces has to be reduced to those of
    /// one first.
    ///
    /// # Errors
    ///
    /// A policy that can't be kept as it is, with its place: more than one template, a protocol other than ESP, a
    /// mode other than tunnel, transport and BEET; `dev`, `mark`, `if_id`, `ctx`, `ptype sub`, `flag icmp`, a hard
    /// limit; ports of a protocol that has none. Two policies with one direction and selector that differ.
    pub fn new<'a>(
        databases: impl IntoIterator<Item = &'a Database>,
        unmatched: Unmatched,
    ) -> Result<Self, SpdError> {
        Self::from_policies(text::policies(databases)?, unmatched)
    }

    /// An SPD of these policies, the first added first.
    ///
    /// # Errors
    ///
    /// A policy whose selector no packet can match ([`Selector::check`](crate::Selector::check)); more than [`MAX_POLICIES`].
    pub fn from_policies(mut policies: Vec<Policy>, unmatched: Unmatched) -> Result<Self, SpdError> {
        if policies.len() > MAX_POLICIES {
            return Err(SpdError::TooMany);
        }
        for (number, policy) in policies.iter().enumerate() {
            policy.selector.check().map_err(|source| SpdError::Selector { number, source })?;
        }
        // A stable sort: those of one priority stay in order.
        policies.sort_by_key(|policy| policy.priority);
        let tables = [Dir::In, Dir::Out, Dir::Fwd].map(|direction| Table::new(&policies, direction));
        let counts = vec![PolicyCounts::default(); policies.len()];
        Ok(Self { policies, counts, tables, unmatched, cache_misses: 0 })
    }

    /// Takes the policies of `next` in place of its own, and what it does with unmatched packets. The counts of a
    /// policy that is in both go on; cached is nothing.
    pub fn replace(&mut self, next: Self) {
        // From the last to the first: of policies that are the same only the first is ever matched.
        let mut before: BTreeMap<_, _> =
            self.policies.iter().map(Policy::key).zip(&self.counts).rev().collect();
        let counts = next
            .policies
            .iter()
            .zip(&next.counts)
            .map(|(policy, counts)| *before.remove(&policy.key()).unwrap_or(counts));
        let counts = counts.collect();
        *self = Self { counts, ..next };
    }

    /// What is to be done with a packet of `flow` in this direction. Its `len` octets are counted for the policy.
    ///
    /// Costs a look at eight flows of the cache at most; on a miss also a search, which is logarithmic in the number
    /// of policies, and linear in how many of them hold the packet's source address, or its destination address.
    #[inline]
    pub fn lookup(&mut self, direction: Dir, flow: &Flow, len: usize) -> Lookup {
        let table = &mut self.tables[direction as usize];
        let rule = match table.cache.find(flow) {
            Some(rule) => rule,
            None => {
                let rule = table.search(&self.policies, self.unmatched, flow);
                table.cache.insert(flow, rule);
                self.cache_misses += 1;
                rule
            }
        };
        let action = match rule {
            Rule::Policy(number) => {
                let counts = &mut self.counts[number];
                counts.packets += 1;
                counts.bytes = counts.bytes.saturating_add(len as u64);
                self.policies[number].action
            }
            Rule::Unmatched if self.unmatched == Unmatched::Bypass => Action::Bypass,
            Rule::Unmatched | Rule::Obscured(_) => Action::Discard,
        };
        Lookup { action, rule }
    }

    /// Whether a packet that came in, in clear or through `sa`, is to be let through (RFC 4301 §5.2). `flow` and
    /// `len` are those of the packet without ESP. That `sa` is for this flow by its own selectors is checked elsewhere.
    ///
    /// 1. In clear: the policy must be BYPASS, or PROTECT with an SA that is not required, or there is none and
    ///    unmatched packets are bypassed.
    /// 2. Through an SA: the policy must be PROTECT, and the SA fit the template.
    ///
    /// Linux lets more through: what came through SAs in transport mode alone, where the policy is BYPASS, or there is
    /// none, or the template is not required.
    ///
    /// # Errors
    ///
    /// [`PolicyFault`]: the packet is to be dropped.
    pub fn permits_inbound(
        &mut self,
        flow: &Flow,
        len: usize,
        sa: Option<&ProtectedBy>,
    ) -> Result<(), PolicyFault> {
        let Lookup { action, rule } = self.lookup(Dir::In, flow, len);
        match (rule, action, sa) {
            (Rule::Obscured(_), ..) => Err(PolicyFault::Obscured),
            (Rule::Unmatched, _, Some(_)) | (Rule::Unmatched, Action::Discard, None) => {
                Err(PolicyFault::NoPolicy)
            }
            (_, Action::Discard, _) => Err(PolicyFault::Discard),
            (_, Action::Bypass, None) => Ok(()),
            (_, Action::Protect(template), None) if !template.is_required => Ok(()),
            (_, Action::Protect(_), None) => Err(PolicyFault::Unprotected),
            (_, Action::Protect(template), Some(sa)) if template.fits(sa) => Ok(()),
            (_, Action::Protect(_) | Action::Bypass, Some(_)) => Err(PolicyFault::Mismatch),
        }
    }

    /// The policies in the order in which they are looked at, each with its counts.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Policy, &PolicyCounts)> {
        self.policies.iter().zip(&self.counts)
    }

    /// What is done with packets that no policy matches.
    #[must_use]
    pub fn unmatched(&self) -> Unmatched {
        self.unmatched
    }

    /// How many look-ups did not find their flow in the cache.
    #[must_use]
    pub fn cache_misses(&self) -> u64 {
        self.cache_misses
    }
}

/// Its policies.
impl fmt::Debug for Spd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.policies).finish()
    }
}

impl Table {
    fn new(policies: &[Policy], direction: Dir) -> Self {
        let of = |is_v4: bool| -> Vec<_> {
            policies
                .iter()
                .enumerate()
                .filter(|(_, policy)| policy.direction == direction)
                .filter(|(_, policy)| policy.selector.src.first().is_ipv4() == is_v4)
                .map(|(number, policy)| (number, policy.selector))
                .collect()
        };
        let (v4, v6) = (of(true), of(false));
        let cache = if v4.is_empty() && v6.is_empty() { Cache::default() } else { Cache::new() };
        Self { v4: Index::new(&v4), v6: Index::new(&v6), cache }
    }

    /// What decides about a flow that is not cached.
    fn search(&self, policies: &[Policy], unmatched: Unmatched, flow: &Flow) -> Rule {
        let index = if flow.src.is_ipv4() { &self.v4 } else { &self.v6 };
        let found = index.first(flow, |number| policies[number].selector.matches(flow));
        let strictness = match found.map(|number| &policies[number]) {
            None if unmatched == Unmatched::Bypass => Strictness::Clear,
            None => Strictness::Never,
            // Made for such packets.
            Some(policy) if policy.selector.upper == UpperSelector::Opaque => Strictness::Never,
            Some(policy) => Strictness::of(policy.action),
        };
        if strictness < Strictness::Never && flow.is_opaque() {
            let before = |number: usize| found.is_none_or(|found| number < found);
            let hidden = index.first(flow, |number| {
                let policy = &policies[number];
                before(number)
                    && Strictness::of(policy.action) > strictness
                    && policy.selector.may_match(flow)
            });
            if let Some(hidden) = hidden {
                return Rule::Obscured(hidden);
            }
        }
        found.map_or(Rule::Unmatched, Rule::Policy)
    }
}

/// When a packet crosses in clear.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Strictness {
    Clear,
    /// While there is no SA: outbound none that fits, inbound whatever comes.
    UnlessProtected,
    Never,
}

impl Strictness {
    fn of(action: Action) -> Self {
        match action {
            Action::Bypass => Self::Clear,
            Action::Protect(template) if !template.is_required => Self::UnlessProtected,
            Action::Protect(_) | Action::Discard => Self::Never,
        }
    }
}
