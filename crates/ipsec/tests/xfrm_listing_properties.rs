//! Properties of listings: what is printed of any state or policy is read as that state or policy, and printed the
//! same again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use espwire_ipsec::xfrm::{
    self, Action, Algorithm, Database, Dir, Encap, EncapKind, ExtraFlags, Flags, Key, Keys, Level, Limit,
    Limits, Mark, Mode, Offload, Policy, PolicyType, Position, Prefix, Proto, SaDirection, Selector,
    SequenceContext, State, Template, Used,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// An address of a family: any, or one of those that are printed in a form of their own.
fn address(v6: bool) -> BoxedStrategy<IpAddr> {
    if !v6 {
        return any::<u32>().prop_map(|a| Ipv4Addr::from(a).into()).boxed();
    }
    let one = prop_oneof![
        any::<u128>(),
        any::<u32>().prop_map(u128::from),
        (0..=0xffff_u128),
        any::<u32>().prop_map(|a| 0xffff_0000_0000 | u128::from(a)),
        // Groups of zeros in all places.
        vec(prop_oneof![Just(0_u16), any::<u16>()], 8)
            .prop_map(|groups| groups.into_iter().fold(0, |bits, group| bits << 16 | u128::from(group))),
    ];
    one.prop_map(|a| Ipv6Addr::from_bits(a).into()).boxed()
}

fn prefix(v6: bool) -> impl Strategy<Value = Prefix> {
    let bits = if v6 { 128 } else { 32 };
    (address(v6), 0..=bits as u8).prop_map(|(addr, len)| Prefix { addr, len })
}

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9_.]{0,14}"
}

fn mark() -> impl Strategy<Value = Mark> {
    any::<(u32, u32)>().prop_map(|(value, mask)| Mark { value, mask })
}

fn selector() -> impl Strategy<Value = Selector> {
    any::<bool>()
        .prop_flat_map(|v6| {
            let upper =
                (option::of(select(vec![1_u8, 6, 17, 33, 47, 50, 58, 99, 132, 135, 255])), any::<u32>());
            let ports = (option::of(1..=u16::MAX), option::of(1..=u16::MAX));
            let types = (option::of(any::<u8>()), option::of(any::<u8>()));
            (prefix(v6), prefix(v6), upper, ports, types, option::of(name()), option::of(1..=u32::MAX))
        })
        .prop_map(|(src, dst, (proto, key), (sport, dport), (icmp_type, icmp_code), dev, uid)| {
            let plain = Selector { proto, dev, uid, ..Selector::new(src, dst) };
            match proto {
                Some(1 | 58 | 135) => Selector { icmp_type, icmp_code, ..plain },
                Some(47) => Selector { gre_key: sport.map(|_| key), ..plain },
                _ => Selector { sport, dport, ..plain },
            }
        })
        .prop_filter("`none` is no device", |selector| selector.dev.as_deref() != Some("none"))
}

fn limit() -> impl Strategy<Value = Limit> {
    let (amount, seconds) = (option::of(0..u64::MAX), option::of(1..=u64::MAX));
    (amount.clone(), amount, seconds.clone(), seconds).prop_map(
        |(bytes, packets, since_added, since_used)| Limit { bytes, packets, since_added, since_used },
    )
}

fn limits() -> impl Strategy<Value = Limits> {
    (limit(), limit()).prop_map(|(soft, hard)| Limits { soft, hard })
}

fn algorithm(names: &'static [&'static str], icv: bool) -> impl Strategy<Value = Algorithm> {
    (select(names), vec(any::<u8>(), 0..80), 1..=512_u32)
        .prop_map(move |(name, key, bits)| Algorithm::new(name, Key::new(key), icv.then_some(bits)))
}

const MODES: [Mode; 6] =
    [Mode::Transport, Mode::Tunnel, Mode::RouteOptimization, Mode::InTrigger, Mode::Beet, Mode::Iptfs];
const DIRECTIONS: [SaDirection; 2] = [SaDirection::In, SaDirection::Out];

prop_compose! {
    fn state()(v6 in any::<bool>())(
        src in address(v6), dst in address(v6),
        (spi, reqid, mode) in (1..=u32::MAX, any::<u32>(), select(&MODES[..])),
        (flags, extra_flags, acquire_seq) in (any::<u8>(), any::<u32>(), any::<u32>()),
        replay_window in prop_oneof![0..=70_u32, 0..=xfrm::MAX_REPLAY_WINDOW],
        (sequence, below_seq) in (any::<[u32; 4]>(), vec(prop_oneof![0..70_u32, 0..xfrm::MAX_REPLAY_WINDOW], 0..9)),
        used in any::<(u64, u64)>().prop_map(|(bytes, packets)| Used { bytes, packets }),
        pair in option::of((algorithm(&["cbc(aes)", "ecb(cipher_null)"], false),
            option::of(algorithm(&["hmac(sha256)", "digest_null", "hmac(unheard-of)"], true)))),
        aead in algorithm(&["rfc4106(gcm(aes))", "rfc7539esp(chacha20,poly1305)"], true),
        encap in option::of((select(vec![EncapKind::EspInUdp, EncapKind::EspInUdpNonIke, EncapKind::EspInTcp]),
            any::<u16>(), any::<u16>(), address(v6))),
        (mark, output_mark) in (option::of(mark()), option::of(mark())),
        (if_id, tfcpad, cpu) in (option::of(1..=u32::MAX), option::of(1..=u32::MAX), option::of(any::<u32>())),
        (direction, context) in (option::of(select(&DIRECTIONS[..])), option::of(name())),
        offload in option::of((name(), any::<bool>(), select(&DIRECTIONS[..]))),
        (selector, limits) in (selector(), limits()),
        no_selector in any::<bool>(),
    ) -> State {
        let flags = Flags::from_bits(flags);
        let [seq, oseq, seq_hi, oseq_hi] = sequence;
        let esn_context = flags.has(Flags::ESN) || replay_window > 32;
        let high = |high| if esn_context { high } else { 0 };
        let (encryption, integrity) = pair.clone().map_or((None, None), |(enc, auth)| (Some(enc), auth));
        State {
            reqid, flags, acquire_seq, replay_window, encryption, integrity, mark, output_mark, if_id, tfcpad, cpu,
            direction, context, limits, used,
            replay_bitmap: below_seq.into_iter().filter(|n| *n < if esn_context { replay_window } else { 32 }).collect(),
            extra_flags: ExtraFlags::from_bits(extra_flags),
            sequence: SequenceContext { seq, oseq, seq_hi: high(seq_hi), oseq_hi: high(oseq_hi) },
            aead: pair.is_none().then_some(aead),
            encap: encap.map(|(kind, sport, dport, addr)| Encap { kind, sport, dport, addr }),
            offload: offload.map(|(dev, packet, dir)| Offload { dev, packet, direction: Some(dir) }),
            // Linux has none only with this flag.
            selector: Some(selector).filter(|_| !(no_selector && flags.has(Flags::AF_UNSPEC))),
            ..State::new(src, dst, spi, mode)
        }
    }
}

prop_compose! {
    fn template()(v6 in any::<bool>())(
        src in address(v6), dst in address(v6),
        proto in select(vec![Proto::Esp, Proto::Ah, Proto::Comp, Proto::Route2, Proto::Hao, Proto::IpsecAny]),
        (spi, reqid, mode, optional) in (prop_oneof![Just(0), any::<u32>()], any::<u32>(), select(&MODES[..]), any::<bool>()),
    ) -> Template {
        let level = if optional { Level::Use } else { Level::Required };
        Template { proto, spi, reqid, level, ..Template::new(src, dst, mode) }
    }
}

prop_compose! {
    fn policy()(
        selector in selector(),
        direction in select(vec![Dir::In, Dir::Out, Dir::Fwd]),
        (socket, block, sub, localok, icmp) in any::<(bool, bool, bool, bool, bool)>(),
        (priority, index) in (any::<u32>(), option::of(1..=u32::MAX)),
        (mark, if_id) in (option::of(mark()), option::of(1..=u32::MAX)),
        (context, offload) in (option::of(name()), option::of((name(), any::<bool>()))),
        limits in limits(),
        templates in vec(template(), 0..=6),
    ) -> Policy {
        Policy {
            socket, localok, icmp, priority, index, mark, if_id, context, limits, templates,
            action: if block { Action::Block } else { Action::Allow },
            ptype: if sub { PolicyType::Sub } else { PolicyType::Main },
            offload: offload.map(|(dev, packet)| Offload { dev, packet, direction: None }),
            ..Policy::new(selector, direction)
        }
    }
}

/// What the text says of itself is not in it.
fn without_places(database: &mut Database) {
    for state in &mut database.states {
        (state.source_name, state.position) = ("".into(), Position::NONE);
        let algorithms = [&mut state.encryption, &mut state.integrity, &mut state.aead];
        for algorithm in algorithms.into_iter().flatten() {
            (algorithm.position, algorithm.key_position) = (Position::NONE, Position::NONE);
        }
    }
    for policy in &mut database.policies {
        (policy.source_name, policy.position) = ("".into(), Position::NONE);
        for template in &mut policy.templates {
            template.position = Position::NONE;
        }
    }
}

/// What only `-s` prints.
fn without_statistics(database: &mut Database) {
    let plain = |selector: &mut Selector| {
        selector.uid = None;
        // The code of a mobility header.
        selector.icmp_code = selector.icmp_code.filter(|_| selector.proto != Some(135));
    };
    for state in &mut database.states {
        (state.limits, state.used) = (Limits::default(), Used::default());
        (state.extra_flags, state.acquire_seq) = (ExtraFlags::default(), 0);
        state.selector.iter_mut().for_each(plain);
    }
    for policy in &mut database.policies {
        (policy.limits, policy.index) = (Limits::default(), None);
        plain(&mut policy.selector);
    }
}

/// All fields but the octets of keys, which Debug doesn't show, and those.
fn fields(database: &Database) -> (String, Vec<Vec<u8>>) {
    let algorithms =
        database.states.iter().flat_map(|state| [&state.encryption, &state.integrity, &state.aead]).flatten();
    (format!("{database:#?}"), algorithms.map(|algorithm| algorithm.key.as_octets().to_vec()).collect())
}

proptest! {
    #[test]
    fn what_is_printed_is_read_as_it_was(states in vec(state(), 0..3), policies in vec(policy(), 0..3)) {
        let mut database = Database { states, policies };
        without_places(&mut database);
        for statistics in [true, false] {
            if !statistics {
                without_statistics(&mut database);
            }
            let print = |database: &Database| {
                let listing = database.listing(Keys::Shown);
                if statistics { listing.with_statistics().to_string() } else { listing.to_string() }
            };
            let text = print(&database);
            let mut read = xfrm::parse("t", &text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
            without_places(&mut read);
            prop_assert_eq!(fields(&read), fields(&database));
            prop_assert_eq!(print(&read), text);
        }
    }

    /// One by one it is the same text as all at once, and from the last to the first the reverse.
    #[test]
    fn a_database_is_listed_one_by_one(states in vec(state(), 0..3), policies in vec(policy(), 0..3)) {
        let database = Database { states, policies };
        let states: Vec<_> = database.states.iter().map(|state| state.listing(Keys::Shown).to_string()).collect();
        let policies: Vec<_> = database.policies.iter().map(|policy| policy.listing().to_string()).collect();
        let listing = database.listing(Keys::Shown);
        prop_assert_eq!(listing.to_string(), states.concat() + &policies.concat());
        let reversed = |texts: &[String]| texts.iter().rev().cloned().collect::<String>();
        prop_assert_eq!(listing.newest_first().to_string(), reversed(&states) + &reversed(&policies));
    }

    /// Hidden keys leave nothing of a key, and nothing else out.
    #[test]
    fn hidden_keys_are_all_that_is_left_out(state in state()) {
        let mut state = state;
        for algorithm in [&mut state.encryption, &mut state.integrity, &mut state.aead].into_iter().flatten() {
            algorithm.key = Key::new(vec![0x79; 16]);
        }
        let (shown, hidden) = (state.listing(Keys::Shown).to_string(), state.listing(Keys::Hidden).to_string());
        prop_assert_eq!(shown.replace(&format!("0x{}", "79".repeat(16)), "<<Keys hidden>>"), hidden);
    }
}
