//! `Spd::lookup`, `Spd::permits_inbound` and `Spd::replace` against a linear search (RFC 4301 §4.4.1, §5.2), `Flow` against etherparse.
//!
//! The octets say policies, then steps: flows to look up, packets to read, policies to replace. Addresses and ports are
//! mostly of a small pool, so that policies overlap and flows match.

mod model;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arbitrary::{Result, Unstructured};
use espwire_ipsec::xfrm::{Dir, Mode};
use espwire_ipsec::{
    Action, Flow, Policy, PolicyCounts, ProtectedBy, Spd, SpdError, Template, Unmatched, Upper,
};

use crate::packet;
use model::{Entry, Fields, Range};

const MAX_POLICIES: u8 = 31;
const MAX_STEPS: usize = 64;
/// An SPD has a cache of some hundred KiB, which takes its time.
const MAX_REPLACEMENTS: usize = 3;
const DIRECTIONS: [Dir; 3] = [Dir::In, Dir::Out, Dir::Fwd];
const MODES: [Mode; 3] = [Mode::Tunnel, Mode::Transport, Mode::Beet];

/// Runs the target.
///
/// # Panics
///
/// The two sides differ.
pub fn run(octets: &[u8]) {
    // Nothing more in the octets ends it, and is no finding.
    let _ = steps(&mut Unstructured::new(octets));
}

/// An SPD and what it should say.
struct Both {
    spd: Spd,
    model: model::Spd,
}

fn steps(u: &mut Unstructured<'_>) -> Result<()> {
    let count = u.arbitrary::<u8>()? % (MAX_POLICIES + 1);
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(entry(u)?);
    }
    let unmatched = unmatched(u)?;
    check_faults(&entries, unmatched);
    entries.retain(|entry| !entry.is_faulty());
    let mut both = Both::new(entries, unmatched);
    let mut replacements = 0;
    for _ in 0..MAX_STEPS {
        if u.is_empty() {
            break;
        }
        match u.arbitrary::<u8>()? % 8 {
            0..=2 => {
                let (direction, flow) = (direction(u)?, flow(u)?);
                both.look_up(direction, &flow, u.arbitrary::<u16>()?.into());
            }
            3 | 4 => {
                let (flow, sa) = (flow(u)?, protected_by(u)?);
                both.permit(&flow, u.arbitrary::<u16>()?.into(), sa.as_ref());
            }
            5 => {
                let packet = packet(u)?;
                if let Some(flow) = check_packet(&packet) {
                    both.look_up(direction(u)?, &flow, packet.len());
                    both.permit(&flow, packet.len(), protected_by(u)?.as_ref());
                }
            }
            // Many flows at once, for the cache.
            6 => {
                let (direction, mut flow) = (direction(u)?, flow(u)?);
                for _ in 0..u.arbitrary::<u8>()? % 64 {
                    both.look_up(direction, &flow, 1);
                    flow.src = next(flow.src);
                }
            }
            _ => {
                let kept: u32 = u.arbitrary()?;
                let next_unmatched = unmatched_of(u.arbitrary()?);
                if replacements < MAX_REPLACEMENTS {
                    both.replace(kept, next_unmatched);
                    replacements += 1;
                }
            }
        }
    }
    both.check_counts();
    Ok(())
}

/// The first policy that no packet matches is named, if there is one.
fn check_faults(entries: &[Entry], unmatched: Unmatched) {
    let expected = entries.iter().position(Entry::is_faulty);
    if expected.is_none() {
        return;
    }
    let policies = entries.iter().map(Entry::policy).collect();
    let found = match Spd::from_policies(policies, unmatched) {
        Ok(_) => None,
        Err(SpdError::Selector { number, .. }) => Some(number),
        Err(other) => panic!("{other}"),
    };
    assert_eq!(found, expected, "{entries:?}");
}

impl Both {
    fn new(entries: Vec<Entry>, unmatched: Unmatched) -> Self {
        let policies: Vec<Policy> = entries.iter().map(Entry::policy).collect();
        let spd = Spd::from_policies(policies, unmatched).expect("no policy is faulty");
        let model = model::Spd::new(entries, unmatched);
        let both = Self { spd, model };
        both.check_counts();
        both
    }

    /// Twice: the second time the flow is cached.
    fn look_up(&mut self, direction: Dir, flow: &Flow, len: usize) {
        let (action, rule) = self.model.decide(direction, flow);
        for is_second in [false, true] {
            let misses = self.spd.cache_misses();
            let found = self.spd.lookup(direction, flow, len);
            assert_eq!((found.action, found.rule), (action, rule), "{direction:?} {flow:?}\n{:#?}", self.spd);
            if is_second && self.model.has_policies(direction) {
                assert_eq!(self.spd.cache_misses(), misses, "not cached: {direction:?} {flow:?}");
            }
            self.model.count(rule, len);
        }
    }

    fn permit(&mut self, flow: &Flow, len: usize, sa: Option<&ProtectedBy>) {
        let (action, rule) = self.model.decide(Dir::In, flow);
        let expected = model::permits(action, rule, self.spd.unmatched(), sa);
        for _ in 0..2 {
            let found = self.spd.permits_inbound(flow, len, sa);
            assert_eq!(found, expected, "{flow:?} {sa:?}\n{:#?}", self.spd);
            self.model.count(rule, len);
        }
    }

    /// Some of the policies, in another order.
    fn replace(&mut self, kept: u32, unmatched: Unmatched) {
        let mut entries: Vec<Entry> = (self.model.entries().enumerate())
            .filter(|(at, _)| kept >> (at % 32) & 1 == 1)
            .map(|(_, entry)| entry.clone())
            .collect();
        if !entries.is_empty() {
            let by = kept as usize % entries.len();
            entries.rotate_left(by);
        }
        let next = Self::new(entries, unmatched);
        self.spd.replace(next.spd);
        self.model.replace(next.model);
        self.check_counts();
    }

    /// All policies are there in their order, with what was counted.
    fn check_counts(&self) {
        let found: Vec<(Policy, PolicyCounts)> =
            self.spd.iter().map(|(policy, counts)| (policy.clone(), *counts)).collect();
        let expected: Vec<(Policy, PolicyCounts)> = self.model.counted().collect();
        assert_eq!(found, expected);
    }
}

/// What etherparse makes of a packet is what `Flow` makes of it, whether whole or without its IP header.
fn check_packet(octets: &[u8]) -> Option<Flow> {
    let found = Flow::of_packet(octets);
    match packet::read(octets) {
        packet::Reading::Unclear(_) => {}
        packet::Reading::Malformed | packet::Reading::BrokenOff => assert_eq!(found, None, "{octets:02x?}"),
        packet::Reading::Packet(read) => {
            assert_eq!(found, Some(model::flow_of(&read)), "{octets:02x?}");
            if read.fragment.is_none() || read.src.is_ipv6() {
                let (next_header, payload) = (read.first_protocol, &octets[read.header_len..read.len]);
                let again = Flow::of_payload(read.src, read.dst, next_header, payload);
                assert_eq!(again, found, "{octets:02x?}");
            }
        }
    }
    if let Some(ports) = packet::ports_as_sliced(octets) {
        assert_eq!(found.map(|flow| flow.upper), Some(ports), "{octets:02x?}");
    }
    found
}

fn next(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits().wrapping_add(1)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().wrapping_add(1)).into(),
    }
}

fn unmatched(u: &mut Unstructured<'_>) -> Result<Unmatched> {
    Ok(unmatched_of(u.arbitrary()?))
}

fn unmatched_of(bypass: bool) -> Unmatched {
    if bypass { Unmatched::Bypass } else { Unmatched::Discard }
}

fn one_of<T: Copy, const N: usize>(u: &mut Unstructured<'_>, values: [T; N]) -> Result<T> {
    Ok(values[usize::from(u.arbitrary::<u8>()?) % N])
}

fn direction(u: &mut Unstructured<'_>) -> Result<Dir> {
    one_of(u, DIRECTIONS)
}

/// An address, of `family` if that is said: `true` for IPv4.
fn address(u: &mut Unstructured<'_>, family: Option<bool>) -> Result<IpAddr> {
    let kind: u8 = u.arbitrary()?;
    let is_v4 = family.unwrap_or(kind & 0x40 == 0);
    let low = u.arbitrary::<u8>()?;
    Ok(match (kind & 7, is_v4) {
        (0..=4, true) => Ipv4Addr::new(10, 0, 0, low & 15).into(),
        (0..=4, false) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(low & 15)).into(),
        (5, true) => Ipv4Addr::from_bits(u.arbitrary()?).into(),
        (5, false) => Ipv6Addr::from_bits(u.arbitrary()?).into(),
        (_, true) => {
            let edges = [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1, u32::MAX];
            Ipv4Addr::from_bits(edges[usize::from(low) % edges.len()]).into()
        }
        // Also addresses that as numbers are addresses of IPv4, and those that have one in them.
        (_, false) => {
            let v4 = 0x0a00_0001_u128;
            let edges = [0, 1, v4, 0xffff << 32 | v4, 1 << 127, u128::MAX >> 1, u128::MAX - 1, u128::MAX];
            Ipv6Addr::from_bits(edges[usize::from(low) % edges.len()]).into()
        }
    })
}

fn range(u: &mut Unstructured<'_>, family: Option<bool>) -> Result<Range> {
    let kind: u8 = u.arbitrary()?;
    let first = address(u, family)?;
    Ok(match kind % 4 {
        0 => Range::One(first),
        1 => Range::between(first, address(u, Some(first.is_ipv4()))?),
        2 => Range::Prefix(first, u.arbitrary::<u8>()? % 136),
        _ => Range::Prefix(first, 0),
    })
}

/// Few values, also the first and the last.
fn value(u: &mut Unstructured<'_>) -> Result<u16> {
    let value: u8 = u.arbitrary()?;
    Ok(match value & 0x1f {
        small @ 0..16 => small.into(),
        16..20 => 0x0800 + u16::from(value & 3),
        20..24 => u16::MAX - u16::from(value & 3),
        24..28 => 0x00ff + u16::from(value & 3),
        _ => u.arbitrary()?,
    })
}

fn value_range(u: &mut Unstructured<'_>) -> Result<(u16, u16)> {
    let (a, b) = (value(u)?, value(u)?);
    Ok((a.min(b), a.max(b)))
}

fn byte_range(u: &mut Unstructured<'_>) -> Result<(u8, u8)> {
    let (a, b) = value_range(u)?;
    let [a, b] = [a as u8, b as u8];
    Ok((a.min(b), a.max(b)))
}

fn protocol(u: &mut Unstructured<'_>) -> Result<Option<u8>> {
    let known = [6, 17, 33, 132, 136, 1, 58, 135, 47, 50, 51, 89, 0, 43, 44, 60, 4, 41, 59, 139];
    let kind: u8 = u.arbitrary()?;
    Ok(match kind % 32 {
        at @ 0..20 => Some(known[usize::from(at)]),
        20..28 => None,
        _ => Some(u.arbitrary()?),
    })
}

fn entry(u: &mut Unstructured<'_>) -> Result<Entry> {
    let direction = direction(u)?;
    let priority = one_of(u, [0, 1, 2, u32::MAX])?;
    let src = range(u, None)?;
    // Mostly of the same family: what is not, is refused.
    let family = (u.arbitrary::<u8>()? % 16 != 0).then_some(src.is_ipv4());
    let dst = range(u, family)?;
    let protocol = protocol(u)?;
    let fields = match u.arbitrary::<u8>()? % 10 {
        0..=2 => Fields::Any,
        3 => Fields::Opaque,
        4 | 5 => Fields::Ports(value_range(u)?, value_range(u)?),
        6 => Fields::Icmp { types: byte_range(u)?, codes: byte_range(u)? },
        7 => Fields::IcmpCode(value(u)? as u8),
        8 => Fields::Mobility(byte_range(u)?),
        _ => Fields::GreKey(value(u)?.into()),
    };
    let action = match u.arbitrary::<u8>()? % 3 {
        0 => Action::Bypass,
        1 => Action::Discard,
        _ => Action::Protect(template(u)?),
    };
    Ok(Entry { direction, priority, src, dst, protocol, fields, action })
}

fn template(u: &mut Unstructured<'_>) -> Result<Template> {
    let bits: u8 = u.arbitrary()?;
    let mode = one_of(u, MODES)?;
    Ok(Template {
        mode,
        src: if bits & 1 == 0 { None } else { Some(address(u, None)?) },
        dst: if bits & 2 == 0 { None } else { Some(address(u, None)?) },
        spi: u32::from(bits >> 2 & 3),
        reqid: u32::from(bits >> 4 & 3),
        is_required: bits & 0x40 == 0,
    })
}

fn protected_by(u: &mut Unstructured<'_>) -> Result<Option<ProtectedBy>> {
    let bits: u8 = u.arbitrary()?;
    if bits & 0x80 != 0 {
        return Ok(None);
    }
    let (mode, spi, reqid) = (one_of(u, MODES)?, u32::from(bits & 3), u32::from(bits >> 2 & 3));
    Ok(Some(ProtectedBy { mode, spi, reqid, src: address(u, None)?, dst: address(u, None)? }))
}

fn flow(u: &mut Unstructured<'_>) -> Result<Flow> {
    let src = address(u, None)?;
    let dst = address(u, Some(src.is_ipv4()))?;
    let Some(protocol) = protocol(u)? else {
        return Ok(Flow { src, dst, protocol: None, upper: Upper::Opaque });
    };
    let upper = match u.arbitrary::<u8>()? % 8 {
        0 => Upper::Opaque,
        // Fields of other protocols as well: `Flow` has nothing against it.
        1 => Upper::GreKey(value(u)?.into()),
        2 => Upper::None,
        _ => match model::kind(protocol) {
            model::Kind::None => Upper::None,
            model::Kind::Ports => Upper::Ports { src: value(u)?, dst: value(u)? },
            model::Kind::Icmp => Upper::Icmp { kind: value(u)? as u8, code: value(u)? as u8 },
            model::Kind::Mobility => Upper::Mobility(value(u)? as u8),
            model::Kind::Gre => Upper::GreKey(value(u)?.into()),
        },
    };
    Ok(Flow { src, dst, protocol: Some(protocol), upper })
}

/// Octets as they are, or an IP packet with extension headers, not all of which are right.
fn packet(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let bits: u8 = u.arbitrary()?;
    if bits & 7 == 0 {
        let len = usize::from(u.arbitrary::<u8>()?).min(u.len());
        return Ok(u.bytes(len)?.to_vec());
    }
    let (src, protocol) = (address(u, None)?, protocol(u)?.unwrap_or(6));
    let dst = address(u, Some(src.is_ipv4()))?;
    let extensions = usize::from(bits >> 3 & 3) * if bits & 0x20 == 0 { 1 } else { 11 };
    let mut body = Vec::new();
    let mut first = protocol;
    if src.is_ipv6() {
        let mut kinds = Vec::new();
        for _ in 0..extensions {
            kinds.push((one_of(u, [0, 43, 60, 44, 60, 0])?, u.arbitrary::<[u8; 2]>()?));
        }
        first = kinds.first().map_or(protocol, |(kind, _)| *kind);
        for (at, (kind, [a, b])) in kinds.iter().enumerate() {
            let next = kinds.get(at + 1).map_or(protocol, |(kind, _)| *kind);
            if *kind == 44 {
                body.extend([next, 0, a & 1, *b, 0, 0, 0, 7]);
            } else {
                // Of this length, or a lie.
                let len = a & 1;
                body.extend([next, if *b == 0xff { a >> 1 } else { len }]);
                body.resize(body.len() + 6 + 8 * usize::from(len), *b);
            }
        }
    }
    let len = usize::from(u.arbitrary::<u8>()? % 48).min(u.len());
    body.extend(u.bytes(len)?);
    let [lie, options, fragment] = u.arbitrary::<[u8; 3]>()?;
    let mut octets = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let header_len = 20 + 4 * usize::from(if options & 0xc0 == 0xc0 { options & 15 } else { 0 });
            let header_len = header_len.min(60);
            let mut header = vec![0; header_len];
            header[0] = 0x40 | (header_len / 4) as u8;
            header[2..4].copy_from_slice(&((header_len + body.len()) as u16).to_be_bytes());
            if fragment & 0x80 != 0 {
                header[6..8].copy_from_slice(&[fragment & 0x60, fragment & 3]);
            }
            header[9] = protocol;
            header[12..16].copy_from_slice(&src.octets());
            header[16..20].copy_from_slice(&dst.octets());
            header
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let mut header = vec![0; 40];
            header[0] = 0x60;
            header[4..6].copy_from_slice(&(body.len() as u16).to_be_bytes());
            header[6] = first;
            header[8..24].copy_from_slice(&src.octets());
            header[24..40].copy_from_slice(&dst.octets());
            header
        }
        _ => Vec::new(),
    };
    octets.extend(body);
    // Now and then an octet of the header is another, or something follows the packet.
    match lie {
        0xf0.. => octets.extend([fragment; 3]),
        0xe0..0xf0 => {
            let at = usize::from(options) % octets.len().clamp(1, 64);
            if let Some(octet) = octets.get_mut(at) {
                *octet = fragment;
            }
        }
        0xd0..0xe0 => octets.truncate(usize::from(options)),
        _ => {}
    }
    Ok(octets)
}
