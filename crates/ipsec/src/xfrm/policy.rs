//! A policy: an entry of the SPD (RFC 4301 §4.4.1), and the selectors that states have too.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Limits, Mark, Mode, Offload, Position, Proto};

/// One policy.
///
/// Read and checked but not kept: lifetime used, times; `share`, with which Linux does nothing; and the algorithm
/// masks of templates. Only `-s` prints them, and [`listing`](Self::listing) then as `ip` sets them.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What the text is called: the `name` given to [`parse`](super::parse).
    pub source_name: Arc<str>,
    /// Where its first word stands: `ip` (or `sudo`) of a command, `src` of a printed policy.
    pub position: Position,
    /// The network namespace it was added in by `ip netns exec NAME` or `ip -n NAME`. None: where the script
    /// runs; always so for a printed policy.
    pub origin: Option<String>,
    /// What traffic it is for.
    pub selector: Selector,
    /// The direction.
    pub direction: Dir,
    /// Whether it belongs to one socket (printed as `socket in`, `socket out`) instead of to the SPD.
    pub socket: bool,
    /// What happens to that traffic.
    pub action: Action,
    /// The lower, the earlier it is looked at.
    pub priority: u32,
    /// Its number in the kernel, if said; never `Some(0)`, by which `ip` lets the kernel choose.
    pub index: Option<u32>,
    /// `ptype`.
    pub ptype: PolicyType,
    /// `flag localok`: a user may override it for a socket.
    pub localok: bool,
    /// `flag icmp`: it is for the packet that an ICMP error is about, too.
    pub icmp: bool,
    /// `mark`.
    pub mark: Option<Mark>,
    /// `if_id`: the xfrm interface it belongs to. Never `Some(0)`: for Linux that is none.
    pub if_id: Option<u32>,
    /// `ctx`: the security context.
    pub context: Option<String>,
    /// `offload`.
    pub offload: Option<Offload>,
    /// `limit`: when it ends.
    pub limits: Limits,
    /// The SAs a packet must go through, in order. With none, [`Action::Allow`] is BYPASS of RFC 4301.
    pub templates: Vec<Template>,
}

/// The direction of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dir {
    /// `in`: to this host.
    In,
    /// `out`: from this host.
    Out,
    /// `fwd`: through this host.
    Fwd,
}

impl Dir {
    pub(super) const NAMES: [(&'static str, Self); 3] =
        [("in", Self::In), ("out", Self::Out), ("fwd", Self::Fwd)];
}

/// What happens to a policy's traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `allow`: PROTECT with templates, BYPASS without (RFC 4301 §4.4.1).
    Allow,
    /// `block`: DISCARD.
    Block,
}

/// The kind of a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyType {
    /// `main`.
    #[default]
    Main,
    /// `sub`: looked at before the main ones.
    Sub,
}

/// What SA a policy asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Where its first word after `tmpl` stands.
    pub position: Position,
    /// Outer source address; unspecified for any.
    pub src: IpAddr,
    /// Outer destination address; unspecified for any.
    pub dst: IpAddr,
    /// The protocol.
    pub proto: Proto,
    /// SPI; 0 for any.
    pub spi: u32,
    /// The reqid of the states that fit; 0 for any.
    pub reqid: u32,
    /// The mode.
    pub mode: Mode,
    /// Whether there must be such an SA.
    pub level: Level,
}

/// Whether a template must be fulfilled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// `required`.
    #[default]
    Required,
    /// `use`: if there is such an SA.
    Use,
}

/// Which packets something is for (RFC 4301 §4.4.1.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Selector {
    /// Source addresses.
    pub src: Prefix,
    /// Destination addresses, of the same family.
    pub dst: Prefix,
    /// Protocol number; None for any.
    pub proto: Option<u8>,
    /// Source port; None for any.
    pub sport: Option<u16>,
    /// Destination port; None for any.
    pub dport: Option<u16>,
    /// ICMP, ICMPv6 or mobility header type; None for any.
    pub icmp_type: Option<u8>,
    /// ICMP or ICMPv6 code; None for any.
    pub icmp_code: Option<u8>,
    /// GRE key; None for any.
    pub gre_key: Option<u32>,
    /// Device; None for any.
    pub dev: Option<String>,
    /// `uid`: the user whose packets these are; None if not said, or 0. Linux ignores it.
    pub uid: Option<u32>,
}

/// An address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    /// The address as written: its host bits may be set.
    pub addr: IpAddr,
    /// 0 to 32, or to 128 for IPv6.
    pub len: u8,
}

impl Prefix {
    /// Whether `address` is of its family and agrees in the first `len` bits.
    pub fn contains(&self, address: IpAddr) -> bool {
        let differing = match (self.addr, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(a.to_bits() ^ b.to_bits()) << 96,
            (IpAddr::V6(a), IpAddr::V6(b)) => a.to_bits() ^ b.to_bits(),
            _ => return false,
        };
        differing.leading_zeros() >= u32::from(self.len)
    }
}
