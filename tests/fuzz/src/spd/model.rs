//! The SPD as a list that is looked through from its beginning, with every rule spelled out.

use std::net::IpAddr;

use espwire_ipsec::xfrm::{Dir, Mode, Prefix};
use espwire_ipsec::{
    Action, AddressRange, Flow, Policy, PolicyCounts, PolicyFault, ProtectedBy, Rule, Selector, Template,
    Unmatched, Upper, UpperSelector, ValueRange,
};

use crate::packet::Packet;

/// Addresses, as they were said.
#[derive(Clone, Debug)]
pub(super) enum Range {
    /// This one.
    One(IpAddr),
    /// From the first to the last, of one family.
    Between(IpAddr, IpAddr),
    /// Those that agree in so many bits.
    Prefix(IpAddr, u8),
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn bit(octets: &[u8], at: usize) -> bool {
    octets[at / 8] >> (7 - at % 8) & 1 == 1
}

impl Range {
    /// Between two addresses of one family, whichever is first.
    pub(super) fn between(a: IpAddr, b: IpAddr) -> Self {
        if octets(a) <= octets(b) {
            // The wrong way round it is no range.
            assert!(a == b || AddressRange::new(b, a).is_none());
            Self::Between(a, b)
        } else {
            Self::Between(b, a)
        }
    }

    pub(super) fn is_ipv4(&self) -> bool {
        let (Self::One(address) | Self::Between(address, _) | Self::Prefix(address, _)) = self;
        address.is_ipv4()
    }

    fn contains(&self, address: IpAddr) -> bool {
        if self.is_ipv4() != address.is_ipv4() {
            return false;
        }
        let looked_for = octets(address);
        match *self {
            Self::One(one) => octets(one) == looked_for,
            Self::Between(first, last) => octets(first) <= looked_for && looked_for <= octets(last),
            Self::Prefix(prefix, len) => {
                let prefix = octets(prefix);
                let bits = usize::from(len).min(prefix.len() * 8);
                (0..bits).all(|at| bit(&prefix, at) == bit(&looked_for, at))
            }
        }
    }

    fn range(&self) -> AddressRange {
        match *self {
            Self::One(one) => one.into(),
            Self::Between(first, last) => AddressRange::new(first, last).expect("first is not after last"),
            Self::Prefix(addr, len) => Prefix { addr, len }.into(),
        }
    }
}

/// What a policy asks of the next layer protocol's header. Pairs are first and last.
#[derive(Clone, Debug)]
pub(super) enum Fields {
    Any,
    Opaque,
    Ports((u16, u16), (u16, u16)),
    Icmp { types: (u8, u8), codes: (u8, u8) },
    IcmpCode(u8),
    Mobility((u8, u8)),
    GreKey(u32),
}

/// What fields a protocol has (RFC 4301 §4.4.1.1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    None,
    Ports,
    Icmp,
    Mobility,
    Gre,
}

pub(super) fn kind(protocol: u8) -> Kind {
    match protocol {
        6 | 17 | 33 | 132 | 136 => Kind::Ports,
        1 | 58 => Kind::Icmp,
        135 => Kind::Mobility,
        47 => Kind::Gre,
        _ => Kind::None,
    }
}

fn is_in<T: PartialOrd>(value: T, (first, last): (T, T)) -> bool {
    value >= first && value <= last
}

impl Fields {
    fn kind(&self) -> Option<Kind> {
        match self {
            Self::Any | Self::Opaque => None,
            Self::Ports(..) => Some(Kind::Ports),
            Self::Icmp { .. } | Self::IcmpCode(_) => Some(Kind::Icmp),
            Self::Mobility(_) => Some(Kind::Mobility),
            Self::GreKey(_) => Some(Kind::Gre),
        }
    }

    fn match_shown(&self, upper: Upper) -> bool {
        match *self {
            Self::Any => true,
            Self::Opaque => matches!(upper, Upper::Opaque | Upper::None),
            Self::Ports(wanted_src, wanted_dst) => match upper {
                Upper::Ports { src, dst } => is_in(src, wanted_src) && is_in(dst, wanted_dst),
                _ => false,
            },
            Self::Icmp { types, codes } => match upper {
                Upper::Icmp { kind, code } => {
                    let number = u32::from(kind) * 256 + u32::from(code);
                    let first = u32::from(types.0) * 256 + u32::from(codes.0);
                    let last = u32::from(types.1) * 256 + u32::from(codes.1);
                    is_in(number, (first, last))
                }
                _ => false,
            },
            Self::IcmpCode(wanted) => matches!(upper, Upper::Icmp { code, .. } if code == wanted),
            Self::Mobility(wanted) => matches!(upper, Upper::Mobility(kind) if is_in(kind, wanted)),
            Self::GreKey(wanted) => matches!(upper, Upper::GreKey(key) if key == wanted),
        }
    }

    fn selector(&self) -> UpperSelector {
        let ports = |(first, last)| ValueRange::<u16>::new(first..=last).expect("first is not after last");
        let octets = |(first, last)| ValueRange::<u8>::new(first..=last).expect("first is not after last");
        match *self {
            Self::Any => UpperSelector::Any,
            Self::Opaque => UpperSelector::Opaque,
            Self::Ports(src, dst) => UpperSelector::Ports { src: ports(src), dst: ports(dst) },
            Self::Icmp { types, codes } => UpperSelector::icmp(octets(types), octets(codes)),
            Self::IcmpCode(code) => UpperSelector::IcmpCode(code),
            Self::Mobility(kinds) => UpperSelector::Mobility(octets(kinds)),
            Self::GreKey(key) => UpperSelector::GreKey(key),
        }
    }
}

/// A policy.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) direction: Dir,
    pub(super) priority: u32,
    pub(super) src: Range,
    pub(super) dst: Range,
    pub(super) protocol: Option<u8>,
    pub(super) fields: Fields,
    pub(super) action: Action,
}

impl Entry {
    /// No packet can match: of two families, or fields that the protocol has not.
    pub(super) fn is_faulty(&self) -> bool {
        let has_other_fields = match (self.protocol, self.fields.kind()) {
            (Some(protocol), Some(wanted)) => kind(protocol) != wanted,
            _ => false,
        };
        self.src.is_ipv4() != self.dst.is_ipv4() || has_other_fields
    }

    pub(super) fn policy(&self) -> Policy {
        let selector = Selector {
            src: self.src.range(),
            dst: self.dst.range(),
            protocol: self.protocol,
            upper: self.fields.selector(),
        };
        Policy { priority: self.priority, ..Policy::new(self.direction, selector, self.action) }
    }

    fn matches(&self, flow: &Flow) -> bool {
        let is_protocol = match self.protocol {
            None => true,
            Some(wanted) => flow.protocol == Some(wanted),
        };
        self.src.contains(flow.src)
            && self.dst.contains(flow.dst)
            && is_protocol
            && self.fields.match_shown(flow.upper)
    }

    /// Whether the flow may be of a packet that this is for, as far as it does not show what it is: tried with every
    /// protocol that it may have. Of what fields the protocol has, some are what the policy asks for.
    fn may_match_hidden(&self, flow: &Flow) -> bool {
        let may_be = |protocol: u8| {
            flow.protocol.is_none_or(|shown| shown == protocol)
                && self.protocol.is_none_or(|wanted| wanted == protocol)
                && self.fields.kind().is_none_or(|wanted| wanted == kind(protocol))
        };
        self.src.contains(flow.src) && self.dst.contains(flow.dst) && (0..=255).any(may_be)
    }
}

/// All policies in order, with what was counted.
pub(super) struct Spd {
    entries: Vec<(Entry, PolicyCounts)>,
    unmatched: Unmatched,
}

impl Spd {
    /// The lower priority number first, of one priority the first one given.
    pub(super) fn new(entries: Vec<Entry>, unmatched: Unmatched) -> Self {
        let mut ordered = Vec::<(Entry, PolicyCounts)>::new();
        for entry in entries {
            let before = ordered.iter().filter(|(other, _)| other.priority <= entry.priority).count();
            ordered.insert(before, (entry, PolicyCounts::default()));
        }
        Self { entries: ordered, unmatched }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().map(|(entry, _)| entry)
    }

    pub(super) fn counted(&self) -> impl Iterator<Item = (Policy, PolicyCounts)> {
        self.entries.iter().map(|(entry, counts)| (entry.policy(), *counts))
    }

    pub(super) fn has_policies(&self, direction: Dir) -> bool {
        self.entries().any(|entry| entry.direction == direction)
    }

    /// The first that matches decides. What it lets cross in clear must not be of a policy before that would have let
    /// it cross less readily, as far as the packet shows, unless it is for such packets by name (OPAQUE).
    pub(super) fn decide(&self, direction: Dir, flow: &Flow) -> (Action, Rule) {
        let mut may_be = Vec::new();
        for (number, entry) in self.entries().enumerate() {
            if entry.direction != direction {
                continue;
            }
            if entry.matches(flow) {
                let decision = (entry.action, Rule::Policy(number));
                let by_name = matches!(entry.fields, Fields::Opaque);
                return if by_name { decision } else { unless_obscured(decision, &may_be) };
            }
            if flow.upper == Upper::Opaque && entry.may_match_hidden(flow) {
                may_be.push((number, entry.action));
            }
        }
        let action = if self.unmatched == Unmatched::Bypass { Action::Bypass } else { Action::Discard };
        unless_obscured((action, Rule::Unmatched), &may_be)
    }

    pub(super) fn count(&mut self, rule: Rule, len: usize) {
        if let Rule::Policy(number) = rule {
            let counts = &mut self.entries[number].1;
            counts.packets += 1;
            counts.bytes += len as u64;
        }
    }

    /// A policy that was there goes on counting. Of two that are the same in everything the first is the first.
    pub(super) fn replace(&mut self, mut next: Self) {
        let mut before: Vec<_> = self.counted().collect();
        for (entry, counts) in &mut next.entries {
            let policy = entry.policy();
            if let Some(at) = before.iter().position(|(old, _)| *old == policy) {
                *counts = before.remove(at).1;
            }
        }
        *self = next;
    }
}

/// How readily packets cross in clear: always (2), as long as there is no SA for them (1), never (0).
fn clearness(action: Action) -> u8 {
    match action {
        Action::Bypass => 2,
        Action::Protect(Template { is_required: false, .. }) => 1,
        Action::Protect(Template { is_required: true, .. }) | Action::Discard => 0,
    }
}

/// The decision, unless one of the policies before that the packet may be of is stricter: the first such is named.
fn unless_obscured(decision: (Action, Rule), may_be: &[(usize, Action)]) -> (Action, Rule) {
    let stricter = may_be.iter().find(|(_, action)| clearness(*action) < clearness(decision.0));
    stricter.map_or(decision, |(number, _)| (Action::Discard, Rule::Obscured(*number)))
}

/// What `Spd::permits_inbound` says it does, case by case.
pub(super) fn permits(
    action: Action,
    rule: Rule,
    unmatched: Unmatched,
    sa: Option<&ProtectedBy>,
) -> Result<(), PolicyFault> {
    if let Rule::Obscured(_) = rule {
        return Err(PolicyFault::Obscured);
    }
    if rule == Rule::Unmatched {
        let is_let_through = unmatched == Unmatched::Bypass && sa.is_none();
        return if is_let_through { Ok(()) } else { Err(PolicyFault::NoPolicy) };
    }
    match action {
        Action::Discard => Err(PolicyFault::Discard),
        Action::Bypass if sa.is_none() => Ok(()),
        Action::Bypass => Err(PolicyFault::Mismatch),
        Action::Protect(template) => match sa {
            None if template.is_required => Err(PolicyFault::Unprotected),
            None => Ok(()),
            Some(sa) if fits(&template, sa) => Ok(()),
            Some(_) => Err(PolicyFault::Mismatch),
        },
    }
}

fn fits(template: &Template, sa: &ProtectedBy) -> bool {
    if template.mode != sa.mode {
        return false;
    }
    if template.spi != 0 && template.spi != sa.spi {
        return false;
    }
    if template.reqid != 0 && template.reqid != sa.reqid {
        return false;
    }
    if template.mode == Mode::Transport {
        return true;
    }
    template.src.is_none_or(|src| src == sa.src) && template.dst.is_none_or(|dst| dst == sa.dst)
}

/// The flow of a packet that etherparse has read.
pub(super) fn flow_of(packet: &Packet<'_>) -> Flow {
    let Packet { src, dst, protocol, .. } = *packet;
    let Some(protocol) = protocol else { return Flow { src, dst, protocol: None, upper: Upper::Opaque } };
    let flow = |upper| Flow { src, dst, protocol: Some(protocol), upper };
    // A later fragment begins somewhere in the middle.
    let header = if packet.is_later_fragment() { &[] } else { packet.payload };
    let word = |at: usize| Some(u16::from_be_bytes([*header.get(at)?, *header.get(at + 1)?]));
    let octet = |at: usize| header.get(at).copied();
    let read = || {
        Some(match kind(protocol) {
            Kind::None => Upper::None,
            Kind::Ports => Upper::Ports { src: word(0)?, dst: word(2)? },
            Kind::Icmp => Upper::Icmp { kind: octet(0)?, code: octet(1)? },
            Kind::Mobility => Upper::Mobility(octet(2)?),
            Kind::Gre => {
                let flags = word(0)?;
                let (version, has_key) = (flags & 7, flags & 0x2000 != 0);
                if version != 0 || !has_key {
                    Upper::None
                } else {
                    // Checksum and offset are there if one of them is (RFC 1701, RFC 2784, RFC 2890).
                    let at = if flags & 0xc000 != 0 { 8 } else { 4 };
                    Upper::GreKey(u32::from(word(at)?) << 16 | u32::from(word(at + 2)?))
                }
            }
        })
    };
    flow(read().unwrap_or(Upper::Opaque))
}
