//! The SPD against a slow model of it, and against what a text may ask for.

use std::net::IpAddr;

use espwire_ipsec::xfrm::{self, Dir, Mode};
use espwire_ipsec::{
    Action, AddressRange, Flow, MAX_POLICIES, Policy, PolicyFault, ProtectedBy, Rule, Selector,
    SelectorError, Spd, SpdError, Template, Unmatched, Upper, UpperSelector, ValueRange,
};
use proptest::prelude::*;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn values<T: Copy + Ord>(first: T, last: T) -> ValueRange<T> {
    ValueRange::new(first..=last).unwrap()
}

/// An SPD out of text.
fn spd(text: &str, unmatched: Unmatched) -> Result<Spd, SpdError> {
    Spd::new([&xfrm::parse("policies", text).unwrap()], unmatched)
}

fn strict(text: &str) -> Spd {
    spd(text, Unmatched::Discard).unwrap()
}

fn udp(dport: u16) -> Flow {
    let upper = Upper::Ports { src: 1000, dst: dport };
    Flow { src: address("10.0.0.1"), dst: address("10.0.0.2"), protocol: Some(17), upper }
}

fn later() -> Flow {
    Flow { upper: Upper::Opaque, ..udp(0) }
}

const ANY: &str = "src 0.0.0.0/0 dst 0.0.0.0/0";

mod model {
    //! Policies and packets as plain numbers, and the rules said once more without shortcuts.

    use super::*;

    pub(super) const ADDRESSES: u8 = 16;
    pub(super) const VALUES: u8 = 6;
    pub(super) const PROTOCOLS: [u8; 7] = [6, 17, 1, 58, 89, 135, 47];

    /// The fields of a protocol: two ports, type and code, a type and 0, a key and 0. None: it has none.
    pub(super) type Fields = Option<(u8, u8)>;

    #[derive(Clone, Debug)]
    pub(super) enum UpperIs {
        Any,
        Opaque,
        /// Ports, or a mobility header type or a GRE key and anything.
        Both((u8, u8), (u8, u8)),
        /// From one type and code to another.
        Icmp((u8, u8), (u8, u8)),
    }

    #[derive(Clone, Debug)]
    pub(super) struct ModelPolicy {
        pub(super) is_v6: bool,
        pub(super) is_inbound: bool,
        pub(super) src: (u8, u8),
        pub(super) dst: (u8, u8),
        pub(super) protocol: Option<u8>,
        /// Whose fields `upper` means.
        pub(super) fields_of: u8,
        pub(super) upper: UpperIs,
        pub(super) action: Action,
        pub(super) priority: u32,
    }

    #[derive(Clone, Copy, Debug)]
    pub(super) struct ModelPacket {
        pub(super) is_v6: bool,
        pub(super) src: u8,
        pub(super) dst: u8,
        pub(super) protocol: u8,
        pub(super) fields: (u8, u8),
        pub(super) is_later: bool,
        /// A later fragment of IPv6 behind whose fragment header destination options stood.
        pub(super) is_hidden: bool,
    }

    fn kind(protocol: u8) -> u8 {
        match protocol {
            6 | 17 => 1,
            1 | 58 => 2,
            135 => 3,
            47 => 4,
            _ => 0,
        }
    }

    fn is_in<T: PartialOrd>(range: (T, T), value: T) -> bool {
        range.0 <= value && value <= range.1
    }

    impl ModelPolicy {
        /// `fields`: None if they are not shown.
        fn matches(&self, packet: &ModelPacket, protocol: Option<u8>, fields: Fields) -> bool {
            let upper = match (&self.upper, fields) {
                (UpperIs::Any, _) => true,
                (UpperIs::Opaque, fields) => fields.is_none(),
                (_, None) => false,
                _ if protocol.is_none_or(|protocol| kind(protocol) != kind(self.fields_of)) => false,
                (UpperIs::Both(first, second), Some(fields)) => {
                    is_in(*first, fields.0) && (kind(self.fields_of) != 1 || is_in(*second, fields.1))
                }
                (UpperIs::Icmp(from, to), Some(fields)) => is_in((*from, *to), fields),
            };
            self.is_v6 == packet.is_v6
                && is_in(self.src, packet.src)
                && is_in(self.dst, packet.dst)
                && (self.protocol.is_none() || self.protocol == protocol)
                && upper
        }

        pub(super) fn real(&self) -> Policy {
            let address = |number: u8| {
                if self.is_v6 {
                    address(&format!("fd00::{number:x}"))
                } else {
                    address(&format!("10.0.0.{number}"))
                }
            };
            let range = |range: (u8, u8)| AddressRange::new(address(range.0), address(range.1)).unwrap();
            let port = |range: (u8, u8)| values(u16::from(range.0), u16::from(range.1));
            let upper = match self.upper {
                UpperIs::Any => UpperSelector::Any,
                UpperIs::Opaque => UpperSelector::Opaque,
                UpperIs::Both(first, second) => match kind(self.fields_of) {
                    1 => UpperSelector::Ports { src: port(first), dst: port(second) },
                    3 => UpperSelector::Mobility(values(first.0, first.1)),
                    _ => UpperSelector::GreKey(first.0.into()),
                },
                UpperIs::Icmp(from, to) => UpperSelector::Icmp(values(
                    u16::from_be_bytes([from.0, from.1]),
                    u16::from_be_bytes([to.0, to.1]),
                )),
            };
            Policy {
                priority: self.priority,
                ..Policy::new(
                    if self.is_inbound { Dir::In } else { Dir::Out },
                    Selector { src: range(self.src), dst: range(self.dst), protocol: self.protocol, upper },
                    self.action,
                )
            }
        }
    }

    impl ModelPacket {
        /// The octets of the packet.
        pub(super) fn octets(&self) -> Vec<u8> {
            let (a, b) = self.fields;
            let upper = match kind(self.protocol) {
                1 => vec![0, a, 0, b, 0, 0, 0, 0],
                2 => vec![a, b, 0, 0, 0, 0, 0, 0],
                3 => vec![59, 0, a, 0, 0, 0, 0, 0],
                4 => vec![0x20, 0, 8, 0, 0, 0, 0, a],
                _ => vec![0; 8],
            };
            if !self.is_v6 {
                let flags = if self.is_later { 3 } else { 0 };
                let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, flags, 64, self.protocol, 0, 0];
                packet.extend([10, 0, 0, self.src, 10, 0, 0, self.dst]);
                packet.extend(upper);
                return packet;
            }
            let mut payload = Vec::new();
            let mut next = self.protocol;
            if self.is_later {
                payload.extend([if self.is_hidden { 60 } else { next }, 0, 0, 0x18, 0, 0, 0, 1]);
                next = 44;
            }
            payload.extend(upper);
            let mut packet = vec![0x60, 0, 0, 0, 0, payload.len() as u8, next, 64];
            for last in [self.src, self.dst] {
                packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
            }
            packet.extend(payload);
            packet
        }

        /// What it shows.
        fn shown(&self) -> (Option<u8>, Fields) {
            let is_hidden = self.is_hidden && self.is_later && self.is_v6;
            let has_fields = kind(self.protocol) != 0 && !self.is_later;
            ((!is_hidden).then_some(self.protocol), has_fields.then_some(self.fields))
        }

        /// All that it may be, and be a fragment of.
        fn whole(&self) -> Vec<(Option<u8>, Fields)> {
            let protocols = match self.shown().0 {
                Some(protocol) => vec![protocol],
                None => PROTOCOLS.to_vec(),
            };
            let mut all = Vec::new();
            for protocol in protocols {
                // The fragment itself, if its protocol were known.
                all.push((Some(protocol), None));
                if kind(protocol) != 0 {
                    let each = (0..VALUES).flat_map(|a| (0..VALUES).map(move |b| (a, b)));
                    all.extend(each.map(|fields| (Some(protocol), Some(fields))));
                }
            }
            all
        }
    }

    /// The policy by its place in order, and what is done.
    pub(super) fn lookup(
        ordered: &[ModelPolicy],
        unmatched: Unmatched,
        is_inbound: bool,
        packet: &ModelPacket,
    ) -> (Rule, Action) {
        let (protocol, fields) = packet.shown();
        let candidates: Vec<_> =
            ordered.iter().enumerate().filter(|(_, policy)| policy.is_inbound == is_inbound).collect();
        let found = candidates.iter().find(|(_, policy)| policy.matches(packet, protocol, fields));
        let (rule, action) = match found {
            Some((number, policy)) => (Rule::Policy(*number), policy.action),
            None if unmatched == Unmatched::Bypass => (Rule::Unmatched, Action::Bypass),
            None => (Rule::Unmatched, Action::Discard),
        };
        let says_so = found.is_some_and(|(_, policy)| matches!(policy.upper, UpperIs::Opaque));
        // When it goes in clear: always, without an SA, never.
        let rank = |action: Action| match action {
            Action::Bypass => 0,
            Action::Protect(Template { is_required: false, .. }) => 1,
            _ => 2,
        };
        if packet.is_later && !says_so {
            let place = |number: usize| found.is_none_or(|(found, _)| number < *found);
            for (number, policy) in candidates.iter().filter(|(number, _)| place(*number)) {
                let may_be = packet
                    .whole()
                    .iter()
                    .any(|(protocol, fields)| policy.matches(packet, *protocol, *fields));
                if rank(policy.action) > rank(action) && may_be {
                    return (Rule::Obscured(*number), Action::Discard);
                }
            }
        }
        (rule, action)
    }
}

use model::{ADDRESSES, ModelPacket, ModelPolicy, PROTOCOLS, UpperIs, VALUES};

fn range(below: u8) -> impl Strategy<Value = (u8, u8)> {
    (0..below, 0..below).prop_map(|(a, b)| (a.min(b), a.max(b)))
}

fn template() -> Template {
    Template { mode: Mode::Tunnel, src: None, dst: None, spi: 0, reqid: 7, is_required: true }
}

fn policies() -> impl Strategy<Value = Vec<ModelPolicy>> {
    let action = prop_oneof![
        3 => Just(Action::Bypass),
        1 => Just(Action::Discard),
        2 => any::<bool>().prop_map(|is_required| Action::Protect(Template { is_required, ..template() })),
    ];
    let base = (any::<bool>(), any::<bool>(), range(ADDRESSES), range(ADDRESSES), action, 0_u32..4);
    let upper = (0..4_u8, any::<bool>(), 0..PROTOCOLS.len(), range(VALUES), range(VALUES));
    let policy = (base, upper).prop_map(|(base, upper)| {
        let (is_v6, is_inbound, src, dst, action, priority) = base;
        let (choice, any_protocol, at, first, second) = upper;
        let fields_of = PROTOCOLS[at];
        let upper = match (choice, fields_of) {
            (0, _) => UpperIs::Any,
            (1, _) => UpperIs::Opaque,
            (_, 89) => UpperIs::Any,
            (_, 1 | 58) => UpperIs::Icmp((first.0, second.0), (first.1, second.1)),
            (_, 47) => UpperIs::Both((first.0, first.0), second),
            _ => UpperIs::Both(first, second),
        };
        let protocol = (!any_protocol).then_some(fields_of);
        ModelPolicy { is_v6, is_inbound, src, dst, protocol, fields_of, upper, action, priority }
    });
    prop::collection::vec(policy, 0..24)
}

fn packet() -> impl Strategy<Value = ModelPacket> {
    let fields = (0..VALUES, 0..VALUES);
    let bools = (any::<bool>(), any::<bool>(), any::<bool>());
    (bools, 0..ADDRESSES, 0..ADDRESSES, 0..PROTOCOLS.len(), fields).prop_map(
        |((is_v6, is_later, is_hidden), src, dst, at, fields)| ModelPacket {
            is_v6,
            src,
            dst,
            protocol: PROTOCOLS[at],
            fields,
            is_later,
            is_hidden,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_lookup_is_an_ordered_search(
        policies in policies(),
        packets in prop::collection::vec(packet(), 1..60),
        bypass in any::<bool>(),
    ) {
        let unmatched = if bypass { Unmatched::Bypass } else { Unmatched::Discard };
        let mut ordered = policies.clone();
        ordered.sort_by_key(|policy| policy.priority);
        let mut spd =
            Spd::from_policies(policies.iter().map(ModelPolicy::real).collect(), unmatched).unwrap();
        let mut counts = vec![(0, 0); ordered.len()];
        // Twice: out of the search, out of the cache.
        for packet in packets.iter().chain(&packets) {
            let octets = packet.octets();
            let flow = Flow::of_packet(&octets).unwrap();
            for (direction, is_inbound) in [(Dir::In, true), (Dir::Out, false)] {
                let expected = model::lookup(&ordered, unmatched, is_inbound, packet);
                let found = spd.lookup(direction, &flow, octets.len());
                prop_assert_eq!((found.rule, found.action), expected, "{:?} {:?}", packet, flow);
                if let Rule::Policy(number) = found.rule {
                    counts[number].0 += 1;
                    counts[number].1 += octets.len() as u64;
                }
            }
        }
        let counted: Vec<_> = spd.iter().map(|(_, counts)| (counts.packets, counts.bytes)).collect();
        prop_assert_eq!(counted, counts);
    }
}

#[test]
fn lower_priority_is_before_higher_and_older_before_newer() {
    let text = |priorities: [u32; 3]| {
        let [a, b, c] = priorities;
        format!(
            "ip xfrm policy add src 10.0.0.0/8 dst 10.0.0.0/8 dir out priority {a} action block\n\
             ip xfrm policy add src 10.0.0.0/16 dst 10.0.0.0/8 dir out priority {b}\n\
             ip xfrm policy add src 10.0.0.0/24 dst 10.0.0.0/8 dir out priority {c} tmpl proto esp mode tunnel"
        )
    };
    for (priorities, line) in [
        ([1, 2, 3], 1),
        ([3, 2, 1], 3),
        ([2, 1, 3], 2),
        ([5, 5, 5], 1),
        ([6, 5, 5], 2),
        ([u32::MAX, 6, 5], 3),
    ] {
        let mut spd = strict(&text(priorities));
        let Rule::Policy(number) = spd.lookup(Dir::Out, &udp(1), 100).rule else { panic!() };
        assert_eq!(number, 0, "{priorities:?}");
        let (policy, counts) = spd.iter().next().unwrap();
        assert_eq!(policy.place.as_ref().unwrap().position.line, line, "{priorities:?}");
        assert_eq!(policy.place.as_ref().unwrap().to_string(), format!("policies:{line}"));
        assert_eq!((counts.packets, counts.bytes), (1, 100));
    }
}

#[test]
fn an_updated_policy_counts_as_added_then() {
    let text = format!(
        "ip xfrm policy add {ANY} dir out\n\
         ip xfrm policy add src 10.0.0.0/8 dst 0.0.0.0/0 dir out action block\n\
         ip xfrm policy update {ANY} dir out"
    );
    assert_eq!(strict(&text).lookup(Dir::Out, &udp(1), 1).action, Action::Discard);
}

#[test]
fn the_first_and_the_last_address_there_is_are_found() {
    for (any, first, last) in [
        (Selector::ANY_V4, "0.0.0.0", "255.255.255.255"),
        (Selector::ANY_V6, "::", "ffff:ffff:ffff:ffff::ffff"),
    ] {
        let flow = |address| Flow { src: address, dst: address, protocol: Some(89), upper: Upper::None };
        for other in [None, Some(address(first)), Some(any.dst.last())] {
            let bypass = other.map(|address| Selector { dst: address.into(), ..any });
            let mut policies = vec![Policy::new(Dir::Out, any, Action::Discard)];
            policies.extend(
                bypass.map(|selector| Policy {
                    priority: 1,
                    ..Policy::new(Dir::Out, selector, Action::Bypass)
                }),
            );
            let mut spd = Spd::from_policies(policies, Unmatched::Bypass).unwrap();
            for at in [address(first), address(last), any.dst.last()] {
                assert_eq!(spd.lookup(Dir::Out, &flow(at), 1).rule, Rule::Policy(0), "{at} {other:?}");
            }
        }
    }
}

#[test]
fn directions_have_policies_of_their_own() {
    let mut spd =
        strict(&format!("ip xfrm policy add {ANY} dir in\nip xfrm policy add {ANY} dir fwd action block"));
    assert_eq!(spd.lookup(Dir::In, &udp(1), 1).rule, Rule::Policy(0));
    assert_eq!(spd.lookup(Dir::Out, &udp(1), 1).rule, Rule::Unmatched);
    assert_eq!(spd.lookup(Dir::Fwd, &udp(1), 1).rule, Rule::Policy(1));
}

#[test]
fn what_no_policy_matches_is_the_callers_choice() {
    for (unmatched, action) in [(Unmatched::Bypass, Action::Bypass), (Unmatched::Discard, Action::Discard)] {
        for text in ["", "ip xfrm policy add src 10.9.0.0/16 dst 0.0.0.0/0 dir out"] {
            let mut spd = spd(text, unmatched).unwrap();
            let found = spd.lookup(Dir::Out, &udp(1), 1);
            assert_eq!((found.action, found.rule), (action, Rule::Unmatched));
            assert_eq!(spd.unmatched(), unmatched);
        }
    }
}

#[test]
fn a_later_fragment_is_not_bypassed_where_ports_would_protect_it() {
    let protect = "ip xfrm policy add src 0.0.0.0/0 dst 0.0.0.0/0 proto udp dport 53 dir out priority 1 tmpl proto \
                   esp mode tunnel";
    let block =
        "ip xfrm policy add src 0.0.0.0/0 dst 0.0.0.0/0 proto udp dport 53 dir out priority 1 action block";
    let rest = format!("ip xfrm policy add {ANY} dir out priority 2");
    for first in [protect, block] {
        let mut with_rest = strict(&format!("{first}\n{rest}"));
        let found = with_rest.lookup(Dir::Out, &later(), 1);
        assert_eq!((found.rule, found.action), (Rule::Obscured(0), Action::Discard));
        // From the cache.
        assert_eq!(with_rest.lookup(Dir::Out, &later(), 1), found);
        assert_eq!(with_rest.lookup(Dir::Out, &udp(54), 1).action, Action::Bypass);
        let tcp = Flow { protocol: Some(6), ..later() };
        assert_eq!(with_rest.lookup(Dir::Out, &tcp, 1).action, Action::Bypass);
        let mut alone = spd(first, Unmatched::Bypass).unwrap();
        assert_eq!(alone.lookup(Dir::Out, &later(), 1), found);
        // The other way round nothing is hidden.
        let mut reversed = strict(&format!("{first}\n{}", rest.replace("priority 2", "priority 0")));
        assert_eq!(reversed.lookup(Dir::Out, &later(), 1).action, Action::Bypass);
    }
    // A policy without ports takes them along.
    let all = format!("ip xfrm policy add {ANY} dir out priority 2 tmpl proto esp mode tunnel");
    let mut protected = strict(&format!("{protect}\n{all}"));
    assert_eq!(protected.lookup(Dir::Out, &later(), 1).rule, Rule::Policy(1));
}

#[test]
fn a_later_fragment_does_not_escape_through_a_policy_that_requires_no_sa() {
    let dns = |rest: &str| {
        format!(
            "ip xfrm policy add src 0.0.0.0/0 dst 0.0.0.0/0 proto udp dport 53 dir in priority 1 {rest}\n"
        )
    };
    let all =
        format!("ip xfrm policy add {ANY} dir in priority 2 tmpl proto esp mode tunnel reqid 1 level use\n");
    for first in ["action block", "tmpl proto esp mode tunnel reqid 2"] {
        let mut policies = strict(&(dns(first) + &all));
        let found = policies.lookup(Dir::In, &later(), 1);
        assert_eq!((found.rule, found.action), (Rule::Obscured(0), Action::Discard));
        assert_eq!(policies.permits_inbound(&later(), 1, None), Err(PolicyFault::Obscured));
        assert_eq!(policies.permits_inbound(&udp(54), 1, None), Ok(()));
    }
    // Packets of neither policy have to be protected: nothing is hidden.
    let mut policies = strict(&(dns("tmpl proto esp mode tunnel reqid 2 level use") + &all));
    assert_eq!(policies.lookup(Dir::In, &later(), 1).rule, Rule::Policy(1));
    // Under BYPASS they would not even be protected where there is an SA.
    let bypass = format!("ip xfrm policy add {ANY} dir in priority 2\n");
    let mut policies = strict(&(dns("tmpl proto esp mode tunnel reqid 2 level use") + &bypass));
    assert_eq!(policies.lookup(Dir::In, &later(), 1).rule, Rule::Obscured(0));
}

#[test]
fn opaque_says_that_later_fragments_go_in_clear() {
    let any = Selector::ANY_V4;
    let dns = UpperSelector::Ports { src: ValueRange::ANY_PORT, dst: 53.into() };
    let policies = vec![
        Policy::new(
            Dir::Out,
            Selector { upper: dns, protocol: Some(17), ..any },
            Action::Protect(template()),
        ),
        Policy::new(Dir::Out, Selector { upper: UpperSelector::Opaque, ..any }, Action::Bypass),
        Policy::new(Dir::Out, any, Action::Bypass),
    ];
    let mut spd = Spd::from_policies(policies, Unmatched::Discard).unwrap();
    assert_eq!(spd.lookup(Dir::Out, &later(), 1).rule, Rule::Policy(1));
    assert_eq!(spd.lookup(Dir::Out, &udp(54), 1).rule, Rule::Policy(2));
}

#[test]
fn inbound_packets_must_have_come_as_the_policy_says() {
    let sa = ProtectedBy {
        mode: Mode::Tunnel,
        spi: 0x100,
        reqid: 7,
        src: address("192.0.2.1"),
        dst: address("192.0.2.2"),
    };
    let text = "\
        ip xfrm policy add src 10.0.0.1 dst 10.0.0.2 proto udp dport 1 dir in
        ip xfrm policy add src 10.0.0.1 dst 10.0.0.2 proto udp dport 2 dir in action block
        ip xfrm policy add src 10.0.0.1 dst 10.0.0.2 proto udp dport 3 dir in tmpl src 192.0.2.1 dst 192.0.2.2 \
            proto esp spi 0x100 mode tunnel reqid 7
        ip xfrm policy add src 10.0.0.1 dst 10.0.0.2 proto udp dport 4 dir in tmpl proto esp mode tunnel
        ip xfrm policy add src 10.0.0.1 dst 10.0.0.2 proto udp dport 5 dir in tmpl src 198.51.100.1 \
            dst 198.51.100.2 proto esp mode transport
        ip xfrm policy add src 10.0.0.1 dst 10.0.0.2 proto udp dport 6 dir in tmpl proto esp mode tunnel level use
        ip xfrm policy add src 10.0.0.1 dst 10.0.0.2 proto udp dport 7 dir in tmpl proto esp mode beet";
    let mut spd = strict(text);
    let mut check = |port, sa: Option<ProtectedBy>| spd.permits_inbound(&udp(port), 1, sa.as_ref());
    let protected = [
        (1, Err(PolicyFault::Mismatch)),
        (2, Err(PolicyFault::Discard)),
        (3, Ok(())),
        (4, Ok(())),
        (5, Err(PolicyFault::Mismatch)),
        (6, Ok(())),
        (7, Err(PolicyFault::Mismatch)),
        (8, Err(PolicyFault::NoPolicy)),
    ];
    let clear = [
        (1, Ok(())),
        (2, Err(PolicyFault::Discard)),
        (3, Err(PolicyFault::Unprotected)),
        (4, Err(PolicyFault::Unprotected)),
        (5, Err(PolicyFault::Unprotected)),
        (6, Ok(())),
        (7, Err(PolicyFault::Unprotected)),
        (8, Err(PolicyFault::NoPolicy)),
    ];
    for (port, expected) in protected {
        assert_eq!(check(port, Some(sa)), expected, "{port}");
    }
    for (port, expected) in clear {
        assert_eq!(check(port, None), expected, "{port} in clear");
    }
    let (src, dst) = (address("192.0.2.9"), address("192.0.2.9"));
    for other in [
        ProtectedBy { spi: 0x101, ..sa },
        ProtectedBy { reqid: 8, ..sa },
        ProtectedBy { src, ..sa },
        ProtectedBy { dst, ..sa },
        ProtectedBy { mode: Mode::Transport, ..sa },
    ] {
        assert_eq!(check(3, Some(other)), Err(PolicyFault::Mismatch), "{other:?}");
        let tunnel = other.mode == Mode::Tunnel;
        assert_eq!(check(4, Some(other)), if tunnel { Ok(()) } else { Err(PolicyFault::Mismatch) });
        // In transport mode the template's addresses are nothing.
        assert_eq!(check(5, Some(other)), if tunnel { Err(PolicyFault::Mismatch) } else { Ok(()) });
        assert_eq!(check(6, Some(other)), if tunnel { Ok(()) } else { Err(PolicyFault::Mismatch) });
    }
    assert_eq!(check(7, Some(ProtectedBy { mode: Mode::Beet, ..sa })), Ok(()));
}

#[test]
fn inbound_packets_without_a_policy() {
    let sa = ProtectedBy {
        mode: Mode::Transport,
        spi: 1,
        reqid: 0,
        src: address("10.0.0.1"),
        dst: address("10.0.0.2"),
    };
    for (unmatched, in_clear) in
        [(Unmatched::Bypass, Ok(())), (Unmatched::Discard, Err(PolicyFault::NoPolicy))]
    {
        let mut spd = Spd::from_policies(vec![], unmatched).unwrap();
        assert_eq!(spd.permits_inbound(&udp(1), 1, None), in_clear);
        assert_eq!(spd.permits_inbound(&udp(1), 1, Some(&sa)), Err(PolicyFault::NoPolicy));
    }
    let mut spd = spd(
        "ip xfrm policy add src 0.0.0.0/0 dst 0.0.0.0/0 proto udp dport 53 dir in tmpl proto esp mode transport",
        Unmatched::Bypass,
    )
    .unwrap();
    assert_eq!(spd.permits_inbound(&later(), 1, None), Err(PolicyFault::Obscured));
    assert_eq!(spd.permits_inbound(&udp(54), 1, None), Ok(()));
}

#[test]
fn faults_have_the_names_of_linux() {
    for (fault, name) in [
        (PolicyFault::NoPolicy, Some("XfrmInNoPols")),
        (PolicyFault::Discard, Some("XfrmInPolBlock")),
        (PolicyFault::Unprotected, Some("XfrmInTmplMismatch")),
        (PolicyFault::Mismatch, Some("XfrmInTmplMismatch")),
        (PolicyFault::Obscured, None),
    ] {
        assert_eq!(fault.xfrm_stat(), name);
    }
}

#[test]
fn a_million_hostile_flows_cost_a_miss_each_and_nothing_else() {
    let mut spd = strict(&format!("ip xfrm policy add {ANY} dir out\nip xfrm policy add {ANY} dir in"));
    let going_on = udp(1);
    // Until it has climbed into the upper half of its set.
    for _ in 0..8 {
        spd.lookup(Dir::Out, &going_on, 1);
    }
    assert_eq!(spd.cache_misses(), 1);
    for number in 0..1_000_000_u32 {
        let src = std::net::Ipv4Addr::from_bits(0x0b00_0000 + number).into();
        assert_eq!(spd.lookup(Dir::Out, &Flow { src, ..going_on }, 1).rule, Rule::Policy(0));
        if number % 1000 == 0 {
            spd.lookup(Dir::Out, &going_on, 1);
        }
    }
    assert_eq!(spd.cache_misses(), 1_000_001);
    // Those seen last are there, and no more than fit.
    for number in (0..1_000_000_u32).rev().take(200_000) {
        let src = std::net::Ipv4Addr::from_bits(0x0b00_0000 + number).into();
        let _ = spd.lookup(Dir::In, &Flow { src, ..going_on }, 1);
    }
    assert_eq!(spd.cache_misses(), 1_200_001);
    let before = spd.cache_misses();
    let hits = (0..1_000_000_u32).filter(|number| {
        let src = std::net::Ipv4Addr::from_bits(0x0b00_0000 + number).into();
        let misses = spd.cache_misses();
        spd.lookup(Dir::Out, &Flow { src, ..going_on }, 1);
        spd.cache_misses() == misses
    });
    assert!(hits.count() <= Spd::CACHED_FLOWS);
    assert!(spd.cache_misses() - before >= 1_000_000 - Spd::CACHED_FLOWS as u64);
}

#[test]
fn replaced_policies_are_in_force_at_once_and_counts_go_on() {
    let kept = "ip xfrm policy add src 10.0.0.1 dst 10.0.0.2 dir out priority 5";
    let mut spd = strict(kept);
    assert_eq!(spd.lookup(Dir::Out, &udp(1), 10).action, Action::Bypass);
    let block = format!("ip xfrm policy add {ANY} proto udp dport 1 dir out priority 1 action block");
    spd.replace(strict(&format!("{block}\n\n{kept}")));
    assert_eq!(spd.lookup(Dir::Out, &udp(1), 10).action, Action::Discard);
    assert_eq!(spd.lookup(Dir::Out, &udp(2), 10).action, Action::Bypass);
    let counts: Vec<_> = spd.iter().map(|(_, counts)| (counts.packets, counts.bytes)).collect();
    assert_eq!(counts, [(1, 10), (2, 20)]);
    spd.replace(Spd::from_policies(vec![], Unmatched::Bypass).unwrap());
    assert_eq!(spd.lookup(Dir::Out, &udp(1), 10).action, Action::Bypass);
    assert_eq!(spd.iter().len(), 0);
}

#[test]
fn of_policies_that_are_the_same_the_first_goes_on_counting() {
    let both = || {
        let policy = Policy::new(Dir::Out, Selector::ANY_V4, Action::Bypass);
        Spd::from_policies(vec![policy.clone(), policy], Unmatched::Discard).unwrap()
    };
    let mut spd = both();
    assert_eq!(spd.lookup(Dir::Out, &udp(1), 10).rule, Rule::Policy(0));
    spd.replace(both());
    let counts: Vec<_> = spd.iter().map(|(_, counts)| counts.packets).collect();
    assert_eq!(counts, [1, 0]);
}

#[test]
fn what_would_be_another_policy_is_refused_by_name_and_place() {
    let tmpl = "tmpl proto esp mode tunnel";
    for (words, place, reason) in [
        (
            format!("dir out {tmpl} {tmpl}"),
            "2:87",
            "a policy with more than one template is not supported: SAs are not nested here",
        ),
        ("dir out tmpl proto ah mode tunnel".into(), "2:60", "proto ah is not supported in a template"),
        ("dir out tmpl proto comp".into(), "2:60", "proto comp is not supported in a template"),
        ("dir out tmpl proto esp mode ro".into(), "2:60", "mode ro is not supported in a template"),
        (
            "dir out tmpl proto esp mode in_trigger".into(),
            "2:60",
            "mode in_trigger is not supported in a template",
        ),
        ("dir out tmpl proto esp mode iptfs".into(), "2:60", "mode iptfs is not supported in a template"),
        ("dir out ptype sub".into(), "2:2", "`ptype sub` is not supported"),
        (
            "dir out mark 1 mask 1".into(),
            "2:2",
            "`mark` is not supported in a policy: packets have none here",
        ),
        (
            "dir out if_id 5".into(),
            "2:2",
            "`if_id` is not supported in a policy: there are no xfrm interfaces here",
        ),
        (
            "dir out ctx some".into(),
            "2:2",
            "`ctx` is not supported in a policy: packets have no security context here",
        ),
        ("dir out flag icmp".into(), "2:2", "`flag icmp` is not supported"),
        (
            "dir out limit time-hard 5".into(),
            "2:2",
            "a hard limit is not supported in a policy: it would not end",
        ),
        ("dev eth0 dir out".into(), "2:2", "`dev` is not supported in a selector"),
        (
            "proto 135 type 1 code 1 dir out".into(),
            "2:2",
            "this protocol has no such ports, types, codes or key",
        ),
    ] {
        let text = format!("\n ip xfrm policy add src 10.0.0.1 dst 10.0.0.2 {words}");
        let error = spd(&text, Unmatched::Discard).unwrap_err();
        assert_eq!(error.to_string(), format!("policies:{place}: {reason}"), "{words}");
    }
}

#[test]
fn what_makes_no_other_policy_is_taken() {
    let text = "ip xfrm policy add src 10.0.0.1 dst 10.0.0.2 dir out mark 0 mask 0 if_id 0 flag localok limit \
                time-soft 5 offload packet dev eth0 tmpl proto esp spi 0x5 mode transport reqid 9 level use";
    let spd = strict(text);
    let (policy, _) = spd.iter().next().unwrap();
    assert_eq!(policy.offload.as_ref().unwrap().dev, "eth0");
    let template =
        Template { mode: Mode::Transport, src: None, dst: None, spi: 5, reqid: 9, is_required: false };
    assert_eq!(policy.action, Action::Protect(template));
    assert_eq!(policy.selector, Selector::new(address("10.0.0.1").into(), address("10.0.0.2").into()));
    let blocked =
        strict(&format!("ip xfrm policy add {ANY} dir out action block tmpl proto esp mode tunnel"));
    assert_eq!(blocked.iter().next().unwrap().0.action, Action::Discard);
}

#[test]
fn policies_of_sockets_are_left_out() {
    let printed = "src 0.0.0.0/0 dst 0.0.0.0/0 \n\tsocket in priority 0 ptype main \n\
                   src 10.0.0.1/32 dst 10.0.0.2/32 \n\tdir in priority 3 ptype main \n\
                   \ttmpl src 192.0.2.1 dst 192.0.2.2\n\t\tproto esp reqid 16385 mode tunnel\n";
    let mut spd = strict(printed);
    assert_eq!(spd.iter().len(), 1);
    assert!(matches!(spd.lookup(Dir::In, &udp(1), 1).action, Action::Protect(_)));
}

#[test]
fn the_same_policy_twice_is_one_and_two_that_differ_are_none() {
    let add = format!("ip xfrm policy add {ANY} dir out priority 3 tmpl proto esp mode tunnel reqid 1");
    assert_eq!(strict(&format!("{add}\n{add}")).iter().len(), 1);
    assert_eq!(strict(&format!("{add}\n{}", add.replace("dir out", "dir in"))).iter().len(), 2);
    for other in ["priority 4", "reqid 2", "action block priority 3"] {
        let replaced = if other == "reqid 2" { "reqid 1" } else { "priority 3" };
        let text = format!("{add}\n\n{}", add.replace(replaced, other));
        let error = spd(&text, Unmatched::Discard).unwrap_err().to_string();
        let expected = "policies:3: this policy has direction and selector of the one at policies:1, and differs from it";
        assert_eq!(error, expected, "{other}");
    }
}

#[test]
fn policies_of_two_namespaces_are_refused() {
    let text = format!(
        "ip netns exec a ip xfrm policy add {ANY} dir out\nip netns exec b ip xfrm policy add {ANY} dir in"
    );
    let error = spd(&text, Unmatched::Discard).unwrap_err().to_string();
    assert_eq!(error, "policies:2: this policy is of another network namespace than the one at policies:1");
    let mut database = xfrm::parse("policies", &text).unwrap();
    database.policies.retain(|policy| policy.origin.as_deref() == Some("b"));
    assert_eq!(Spd::new([&database], Unmatched::Discard).unwrap().iter().len(), 1);
}

#[test]
fn more_policies_than_there_may_be_are_refused() {
    let policy = Policy::new(Dir::In, Selector::ANY_V4, Action::Bypass);
    let error = Spd::from_policies(vec![policy; MAX_POLICIES + 1], Unmatched::Discard).unwrap_err();
    assert!(matches!(error, SpdError::TooMany), "{error}");
}

#[test]
fn policies_that_match_nothing_are_refused_by_number() {
    let mixed = Selector { src: AddressRange::ANY_V6, ..Selector::ANY_V4 };
    let keyed = Selector { protocol: Some(6), upper: UpperSelector::GreKey(1), ..Selector::ANY_V6 };
    for (selector, expected) in [(mixed, SelectorError::Families), (keyed, SelectorError::Fields)] {
        let policies = vec![
            Policy::new(Dir::In, Selector::ANY_V4, Action::Bypass),
            Policy::new(Dir::In, selector, Action::Discard),
        ];
        match Spd::from_policies(policies, Unmatched::Bypass) {
            Err(SpdError::Selector { number: 1, source }) => assert_eq!(source, expected),
            other => panic!("{other:?}"),
        }
    }
}
