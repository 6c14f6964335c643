//! The `ip xfrm` grammar on text that real kernels and iproute2 wrote, and on scripts.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use espwire_ipsec::xfrm::{
    self, Action, Database, Dir, EncapKind, ExtraFlags, Flags, Level, Mark, Mode, Policy, PolicyType, Proto,
    Reason, SaDirection, State,
};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(name)
}

fn read(name: &str) -> Database {
    let text = std::fs::read_to_string(data(name)).unwrap();
    xfrm::parse(name, &text).unwrap_or_else(|error| panic!("{error}"))
}

fn parse(text: &str) -> Database {
    xfrm::parse("t", text).unwrap_or_else(|error| panic!("{error}"))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn by_spi(database: &Database, spi: u32) -> &State {
    database.states.iter().find(|state| state.spi == spi).unwrap()
}

/// The test pattern of the captures.
fn pattern(len: usize) -> Vec<u8> {
    [0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff].into_iter().cycle().take(len).collect()
}

const CAPTURES: [&str; 17] = [
    "cbc",
    "gcm",
    "cbc-bulk",
    "gcm-bulk",
    "cbc-esn",
    "gcm-esn-wrap",
    "cbc-v6",
    "gcm-transport",
    "cbc-transport",
    "gcm-udpencap",
    "gcm-icv8",
    "gcm-128",
    "gcm-6in4",
    "cbc128-sha1",
    "null-sha256",
    "gmac",
    "chacha",
];

#[test]
fn captures_have_two_states_and_two_policies_each() {
    for name in CAPTURES {
        let database = read(&format!("captures/{name}.state.txt"));
        assert_eq!(database.policies.len(), 2, "{name}");
        let [inbound, outbound] = &database.states[..] else { panic!("{name}") };
        for (state, spi) in [(inbound, 0x0200_0000), (outbound, 0x0100_0000)] {
            assert_eq!((state.spi, state.reqid, state.origin.as_deref()), (spi, spi, None), "{name}");
            assert_eq!(state.mode == Mode::Transport, name.ends_with("transport"), "{name}");
            assert_eq!(state.flags.has(Flags::ESN), name.contains("-esn"), "{name}");
            assert_eq!(state.replay_window, if name.contains("-esn") { 64 } else { 0 }, "{name}");
            assert_eq!(state.encap.is_some(), name == "gcm-udpencap", "{name}");
            assert_eq!(state.dst.is_ipv6(), name == "cbc-v6", "{name}");
        }
        assert!(!inbound.same_sa(outbound), "{name}");
        let dirs: Vec<Dir> = database.policies.iter().map(|policy| policy.direction).collect();
        assert_eq!(dirs, [Dir::In, Dir::Out], "{name}");
        assert_eq!(database.policies[1].templates[0].reqid, 0x0100_0000, "{name}");
    }
}

#[test]
fn captures_have_the_keys_they_were_made_with() {
    let algorithms = |name: &str| {
        let state = read(&format!("captures/{name}.state.txt")).states.remove(1);
        let parts = [state.encryption, state.integrity, state.aead];
        parts
            .into_iter()
            .flatten()
            .map(|a| (a.name.clone(), a.key.as_octets().to_vec(), a.icv_bits))
            .collect::<Vec<_>>()
    };
    let sha256 = ("hmac(sha256)".to_owned(), pattern(32), Some(128));
    assert_eq!(algorithms("cbc"), [("cbc(aes)".to_owned(), pattern(32), None), sha256.clone()]);
    assert_eq!(algorithms("gcm"), [("rfc4106(gcm(aes))".to_owned(), pattern(36), Some(128))]);
    assert_eq!(algorithms("gcm-128"), [("rfc4106(gcm(aes))".to_owned(), pattern(20), Some(128))]);
    assert_eq!(algorithms("gcm-icv8"), [("rfc4106(gcm(aes))".to_owned(), pattern(36), Some(64))]);
    assert_eq!(algorithms("gmac"), [("rfc4543(gcm(aes))".to_owned(), pattern(36), Some(128))]);
    assert_eq!(algorithms("null-sha256"), [("ecb(cipher_null)".to_owned(), Vec::new(), None), sha256]);
    let sha1 = ("hmac(sha1)".to_owned(), pattern(20), Some(96));
    assert_eq!(algorithms("cbc128-sha1"), [("cbc(aes)".to_owned(), pattern(16), None), sha1]);
}

#[test]
fn keeps_counters_and_window_of_the_esn_context() {
    let database = read("captures/gcm-esn-wrap.state.txt");
    let [inbound, outbound] = &database.states[..] else { panic!() };
    assert_eq!((inbound.sequence.seq_hi, inbound.sequence.seq), (1, 0xa));
    assert_eq!((outbound.sequence.oseq_hi, outbound.sequence.oseq), (1, 0xa));
    assert_eq!((inbound.replay_window, outbound.replay_window), (64, 64));
    assert_eq!((inbound.position.line, outbound.position.line), (1, 9));
}

#[test]
fn reads_scripts_in_the_shape_of_the_module() {
    for name in ["xfrm/module-cbc.sh", "xfrm/module-gcm.sh"] {
        let database = read(name);
        let [a, b, c, d] = &database.states[..] else { panic!("{name}") };
        assert!(a.same_sa(c) && b.same_sa(d) && !a.same_sa(b), "{name}");
        assert_eq!((a.origin.as_deref(), c.origin.as_deref()), (None, Some("peer0")), "{name}");
        assert_eq!((a.spi, a.reqid, b.spi), (0x0200_0000, 0x0200_0000, 0x0100_0000), "{name}");
        assert_eq!((a.src, a.dst), (ip("10.77.5.22"), ip("10.77.5.21")), "{name}");
        let selector = a.selector.as_ref().unwrap();
        assert_eq!((selector.src.addr, selector.src.len), (ip("10.77.5.22"), 24), "{name}");
        let dirs: Vec<_> = database.policies.iter().map(|p| (p.origin.as_deref(), p.direction)).collect();
        let peer = Some("peer0");
        assert_eq!(dirs, [(None, Dir::In), (None, Dir::Out), (peer, Dir::Out), (peer, Dir::In)], "{name}");
        assert_eq!((a.position.line, a.position.column), (5, 1), "{name}");
    }
}

/// Every state that `ip` printed is the one that the command before it had added, and the other way round.
#[test]
fn what_a_command_adds_is_what_ip_prints_after_it() {
    let made = read("xfrm/made-by.sh");
    for name in ["xfrm/printed-state.txt", "xfrm/printed-state-s.txt", "xfrm/printed-state-os.txt"] {
        let printed = read(name);
        assert_eq!(printed.states.len(), made.states.len() + 1, "{name}");
        for state in &made.states {
            let printed = by_spi(&printed, state.spi);
            let spi = state.spi;
            assert!(state.same_sa(printed), "{name} {spi:#x}");
            assert_eq!(printed.encap.map(|e| e.addr), state.encap.map(|e| e.addr), "{name} {spi:#x}");
            assert_eq!(
                (printed.reqid, printed.replay_window),
                (state.reqid, state.replay_window),
                "{name} {spi:#x}"
            );
            assert_eq!(printed.flags, state.flags, "{name} {spi:#x}");
            assert_eq!(printed.sequence, state.sequence, "{name} {spi:#x}");
            assert_eq!(
                (printed.mark, printed.output_mark),
                (state.mark, state.output_mark),
                "{name} {spi:#x}"
            );
            assert_eq!((printed.if_id, printed.tfcpad), (state.if_id, state.tfcpad), "{name} {spi:#x}");
            if let (Some(selector), Some(mut shown)) = (&state.selector, printed.selector.clone()) {
                shown.uid = None;
                assert_eq!(*selector, shown, "{name} {spi:#x}");
            }
            // Only -s prints these.
            if name.ends_with("s.txt") {
                assert_eq!(printed.limits, state.limits, "{name} {spi:#x}");
                assert_eq!(printed.extra_flags, state.extra_flags, "{name} {spi:#x}");
            }
        }
    }
}

#[test]
fn policies_print_as_they_were_added() {
    let made = read("xfrm/made-by.sh").policies;
    for name in ["xfrm/printed-policy.txt", "xfrm/printed-policy-s.txt", "xfrm/printed-policy-os.txt"] {
        let printed = read(name).policies;
        let (sockets, mut spd): (Vec<Policy>, Vec<Policy>) =
            printed.into_iter().partition(|policy| policy.socket);
        assert_eq!(sockets.iter().map(|p| p.direction).collect::<Vec<_>>(), [Dir::Out, Dir::In], "{name}");
        assert_eq!(spd.len(), made.len(), "{name}");
        for policy in &made {
            let place = spd.iter().position(|p| {
                (p.selector.dst, p.selector.proto, p.direction)
                    == (policy.selector.dst, policy.selector.proto, policy.direction)
            });
            let mut printed = spd.remove(place.unwrap());
            printed.selector.uid = None;
            assert_eq!(printed.selector, policy.selector, "{name}");
            assert_eq!((printed.action, printed.priority), (policy.action, policy.priority), "{name}");
            assert_eq!(
                (printed.ptype, printed.mark, printed.if_id),
                (policy.ptype, policy.mark, policy.if_id),
                "{name}"
            );
            assert_eq!((printed.localok, printed.icmp), (policy.localok, policy.icmp), "{name}");
            let templates = |policy: &Policy| {
                policy
                    .templates
                    .iter()
                    .map(|t| (t.src, t.dst, t.proto, t.spi, t.reqid, t.mode, t.level))
                    .collect::<Vec<_>>()
            };
            assert_eq!(templates(&printed), templates(policy), "{name}");
            if name.ends_with("s.txt") {
                assert_eq!(printed.limits, policy.limits, "{name}");
            }
        }
    }
}

#[test]
fn printed_text_that_cannot_be_used_says_so() {
    for (name, line, column, reason) in [
        (
            "printed-state-nokeys.txt",
            4,
            15,
            "the key is hidden: print the states without the `nokeys` option of `ip`",
        ),
        ("printed-state-ah.txt", 2, 8, "only proto esp is processed here, not proto comp"),
        ("printed-state-larval.txt", 1, 1, "this state has no algorithm: it is not set up"),
    ] {
        let text = std::fs::read_to_string(data("xfrm").join(name)).unwrap();
        let error = xfrm::parse(name, &text).unwrap_err();
        assert_eq!(error.to_string(), format!("{name}:{line}:{column}: {reason}"));
        assert!(matches!(error.reason(), Reason::Unusable(_)));
    }
}

/// Lines that the kernel of the other text did not print: newer ones, and those of hardware.
#[test]
fn reads_what_other_versions_print() {
    let database = parse(
        "src 192.0.2.1 dst 192.0.2.2\n\
         \tproto esp spi 0x00000100 reqid 0 mode 5\n\
         \treplay-window 0 flag noecn esnextra_flag dont-encap-dscp 8 (0x10000001)\n\
         \tmark 0/0xffffffff output-mark 0x5\n\
         \tauth hmac(sha1) 0x0102\n\
         \tenc cbc(aes) 0x0304\n\
         \tencap type espintcp sport 1 dport 2 addr 192.0.2.3\n\
         \tlastused 2026-01-31 12:00:00\n\
         \tanti-replay esn context:\n\
         \t seq-hi 0x0, seq 0x0, oseq-hi 0x0, oseq 0x7\n\
         \t replay_window 0, bitmap-length 0\n\
         \tcrypto offload parameters: dev eth0 dir out mode packet\n\
         \tif_id 0x2a\n\
         \tdir out\n\
         \tpcpu-num 3\n\
         \tsel src 0.0.0.0/0 dst 0.0.0.0/0 proto mobility-header type 5 (dport) 0x0000 uid 0\n\
         \tsecurity context system_u:object_r:ipsec_spd_t:s0 \n\
         src 10.0.0.0/8 dst 10.0.0.0/8 \n\
         \tsecurity context system_u:object_r:ipsec_spd_t:s0 \n\
         \tdir fwd action block priority 2147483648 \n\
         \tcrypto offload parameters: dev eth0 mode packet\n",
    );
    let state = &database.states[0];
    assert_eq!(
        (state.mode, state.direction, state.cpu, state.if_id),
        (Mode::Iptfs, Some(SaDirection::Out), Some(3), Some(42))
    );
    assert_eq!(state.flags.names().collect::<Vec<_>>(), ["noecn", "esn"]);
    assert_eq!(state.extra_flags.bits(), 9);
    assert!(
        state.extra_flags.has(ExtraFlags::DONT_ENCAP_DSCP)
            && !state.extra_flags.has(ExtraFlags::OSEQ_MAY_WRAP)
    );
    assert_eq!(state.mark, Some(Mark { value: 0, mask: u32::MAX }));
    assert_eq!(state.output_mark, Some(Mark { value: 5, mask: u32::MAX }));
    assert_eq!(state.encap.unwrap().kind, EncapKind::EspInTcp);
    assert_eq!(state.integrity.as_ref().unwrap().effective_icv_bits(), Some(96));
    assert_eq!(state.context.as_deref(), Some("system_u:object_r:ipsec_spd_t:s0"));
    let offload = state.offload.as_ref().unwrap();
    assert_eq!((&*offload.dev, offload.packet, offload.direction), ("eth0", true, Some(SaDirection::Out)));
    let policy = &database.policies[0];
    assert_eq!((policy.direction, policy.action, policy.priority), (Dir::Fwd, Action::Block, 1 << 31));
    assert!(policy.context.is_some() && policy.offload.is_some() && policy.templates.is_empty());
}

const KEY: &str = "0x000102030405060708090a0b0c0d0e0f";

fn gcm(rest: &str) -> String {
    format!("{rest} aead 'rfc4106(gcm(aes))' {KEY}00010203 128\n")
}

#[test]
fn commands_may_be_run_and_abbreviated_as_ip_allows() {
    for (prefix, origin) in [
        ("ip xfrm state add", None),
        ("ip x s a", None),
        ("sudo -n /sbin/ip -s -d -4 -br xfrm sa update", None),
        ("ip -n left x st ad", Some("left")),
        ("/usr/sbin/ip --netns left xfrm state a", Some("left")),
        ("ip netns exec left ip xfrm state add", Some("left")),
        ("sudo ip -6 netns e left sudo ip -n right x s a", Some("right")),
        ("ip -f inet -c=never -rc 5 -- xfrm state add", None),
        ("set -euo pipefail; ip xfrm state add", None),
        ("ip xfrm state && ip xfrm policy list nosock dir in; ip xfrm state add", None),
    ] {
        let text = gcm(&format!("{prefix} src 10.8 dst 0x0a.010.0/9 proto esp spi 0400 mode tu"));
        let database = parse(&text);
        let [state] = &database.states[..] else { panic!("{prefix}") };
        assert_eq!(state.origin.as_deref(), origin, "{prefix}");
        assert_eq!((state.src, state.dst), (ip("10.8.0.0"), ip("10.8.0.0")), "{prefix}");
        assert_eq!((state.spi, state.mode, state.proto), (0o400, Mode::Tunnel, Proto::Esp), "{prefix}");
        assert!(state.same_sa(state));
    }
}

#[test]
fn quotes_escapes_comments_and_continuations_are_as_in_a_shell() {
    let text = "#!/bin/bash\n  # a comment \\\n\nset -x\r\n\
        ip xf\\\nrm state \"add\" src 192.0.2.\\1 dst 192.0.2.'2' proto esp \\\r\n spi 0x\"1\"0 # rest\n\
        ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 1 enc ecb\\(cipher_null\\) \"\" auth hmac(md5) \"a\\\"b \\$c'\"'d\"'\n";
    let error = xfrm::parse("t", text).unwrap_err();
    assert_eq!(error.to_string(), "t:5:1: `enc` or `aead` is missing in this command");
    let database = parse(&text.replace("# rest", "enc 'cipher_null' ''"));
    let [first, second] = &database.states[..] else { panic!() };
    assert_eq!((first.spi, first.dst), (0x10, ip("192.0.2.2")));
    assert_eq!(first.encryption.as_ref().unwrap().kernel_name(), "ecb(cipher_null)");
    assert!(second.encryption.as_ref().unwrap().key.is_empty());
    assert_eq!(second.integrity.as_ref().unwrap().key.as_octets(), b"a\"b $c'd\"");
    assert_eq!((first.position.line, second.position.line), (5, 8));
}

#[test]
fn keys_are_read_as_ip_reads_them() {
    for (word, octets) in [
        ("0x123", vec![0x01, 0x23]),
        ("0xABcd", vec![0xab, 0xcd]),
        ("0X12", b"0X12".to_vec()),
        ("0x", b"0x".to_vec()),
        ("'0123456789abcdef'", b"0123456789abcdef".to_vec()),
        ("\"\"", vec![]),
    ] {
        let text =
            format!("ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 1 enc 'cbc(aes)' {word}");
        let key = parse(&text).states.remove(0).encryption.unwrap().key;
        assert_eq!(
            (key.as_octets(), key.len(), key.is_empty()),
            (&octets[..], octets.len(), octets.is_empty())
        );
        assert_eq!(format!("{key:?}"), format!("Key({} octets)", octets.len()));
    }
}

#[test]
fn commands_act_in_order() {
    let state = |verb: &str, spi: u32, rest: &str| {
        gcm(&format!("ip xfrm state {verb} src 10.0.0.1 dst 10.0.0.2 proto esp spi {spi} mode tunnel {rest}"))
    };
    let spis = |text: &str| parse(text).states.iter().map(|s| s.spi).collect::<Vec<_>>();
    let three = state("add", 1, "") + &state("add", 2, "reqid 7") + &state("add", 3, "flag noecn");
    assert_eq!(spis(&three), [1, 2, 3]);
    for (command, left) in [
        ("ip xfrm state flush", &[][..]),
        ("ip xfrm state flush proto esp", &[]),
        ("ip xfrm state flush proto ah", &[1, 2, 3]),
        ("ip netns exec other ip xfrm state flush", &[1, 2, 3]),
        ("ip xfrm state delete dst 10.0.0.2 proto esp spi 2", &[1, 3]),
        ("ip x s d src 1.1.1.1 dst 10.0.0.2 proto esp spi 2", &[1, 3]),
        ("ip xfrm state delete dst 10.0.0.3 proto esp spi 2", &[1, 2, 3]),
        // A state without a mark is found with any.
        ("ip xfrm state delete dst 10.0.0.2 proto esp spi 2 mark 5", &[1, 3]),
        ("ip x s delall reqid 7", &[1, 3]),
        ("ip xfrm state deleteall flag noecn", &[1, 2]),
        ("ip xfrm state deleteall src 10.0.0.0/8", &[]),
        ("ip -6 xfrm state deleteall", &[1, 2, 3]),
        ("ip xfrm state deleteall mode transport", &[1, 2, 3]),
        (
            "ip xfrm state get dst 10.0.0.2 proto esp spi 2; ip xfrm state count; ip xfrm state list nokeys",
            &[1, 2, 3],
        ),
        ("ip xfrm policy flush", &[1, 2, 3]),
    ] {
        assert_eq!(spis(&format!("{three}{command}\n")), left, "{command}");
    }
    // Added twice, it is there twice; deleted, it is gone.
    let twice = state("add", 1, "") + &state("add", 1, "");
    assert_eq!(spis(&twice), [1, 1]);
    assert_eq!(spis(&(twice + "ip x s d dst 10.0.0.2 proto esp spi 1\n" + &state("add", 1, ""))), [1]);
    // An update changes limits, and no key.
    let updated =
        parse(&(state("add", 1, "") + &state("update", 1, "limit byte-hard 5") + &state("update", 9, "")));
    assert_eq!(updated.states.len(), 2);
    assert_eq!(updated.states[0].limits.hard.bytes, Some(5));
    let other = (state("add", 1, "") + &state("update", 1, ""))
        .replace("00010203 128\nip xfrm state up", "00010204 128\nip xfrm state up");
    let error = xfrm::parse("t", &other).unwrap_err();
    assert!(error.to_string().starts_with("t:2:1: `update` changes no "), "{error}");
}

#[test]
fn policies_act_in_order() {
    let three = "ip xfrm policy add src 10.0.0.0/8 dir in index 8\n\
        ip xfrm policy add dst 10.1.0.0/16 dir out priority 5 ptype sub\n\
        ip xfrm policy add src fd00::/8 dir fwd action block flag localok tmpl proto esp mode tunnel level use\n";
    let dirs = |text: &str| parse(text).policies.iter().map(|p| p.direction).collect::<Vec<_>>();
    use Dir::{Fwd, In, Out};
    for (command, left) in [
        ("", &[In, Out, Fwd][..]),
        ("ip x p f", &[Out]),
        ("ip xfrm policy flush ptype sub", &[In, Fwd]),
        ("ip xfrm policy delete src 10.0.0.0/8 dir in", &[Out, Fwd]),
        ("ip xfrm policy delete src 10.0.0.0/8 dir out", &[In, Out, Fwd]),
        ("ip xfrm policy delete index 8 dir in", &[Out, Fwd]),
        ("ip xfrm policy deleteall priority 5", &[In, Fwd]),
        ("ip xfrm policy deleteall action block", &[In, Out]),
        ("ip xfrm policy deleteall flag localok", &[In, Out]),
        ("ip -6 xfrm policy deleteall", &[In, Out]),
        ("ip xfrm policy deleteall dst 10.0.0.0/8", &[In, Fwd]),
        ("ip -n x xfrm policy deleteall", &[In, Out, Fwd]),
        ("ip xfrm policy update src 10.0.0.0/8 dir in priority 3", &[Out, Fwd, In]),
        ("ip xfrm policy getdefault; ip xfrm policy count; ip x p g index 8 dir in", &[In, Out, Fwd]),
    ] {
        assert_eq!(dirs(&format!("{three}{command}\n")), left, "{command}");
    }
    let block = &parse(three).policies[2];
    assert_eq!((block.action, block.localok, block.ptype), (Action::Block, true, PolicyType::Main));
    assert_eq!((block.templates[0].level, block.templates[0].src), (Level::Use, ip("::")));
    assert_eq!((block.selector.dst.addr, block.selector.dst.len), (ip("::"), 0));
}

/// What a template or a selector takes from the words after it is what `ip` gives it.
#[test]
fn a_template_has_one_id_and_what_follows_is_the_selector() {
    let policy =
        parse("ip xfrm policy add dir out tmpl proto esp mode tunnel src 10.0.0.0/8").policies.remove(0);
    assert_eq!(policy.selector.src.len, 8);
    assert_eq!(policy.templates[0].src, ip("0.0.0.0"));
    let state =
        parse(&gcm("ip xfrm state add dst 10.0.0.9 proto esp spi 5 sel src 10.0.0.0/8 proto tcp dport 0"))
            .states
            .remove(0);
    assert_eq!((state.src, state.dst, state.mode), (ip("0.0.0.0"), ip("10.0.0.9"), Mode::Transport));
    let selector = state.selector.unwrap();
    assert_eq!((selector.proto, selector.dport, selector.dst.len), (Some(6), None, 0));
}

#[test]
fn sameness_is_what_is_on_the_wire() {
    let base =
        "ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 5 mode tunnel auth sha1 0x01 enc aes 0x02";
    let one = parse(base).states.remove(0);
    for (other, same) in [
        (
            "ip -n x xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 5 mode tunnel auth-trunc 'hmac(sha1)' 0x01 96 \
          enc 'cbc(aes)' 0x02 reqid 3 replay-window 32 replay-oseq 9 sel src 10.0.0.0/8 mark 5 flag noecn",
            true,
        ),
        (
            "ip xfrm state add src 10.0.0.3 dst 10.0.0.2 proto esp spi 5 mode tunnel auth sha1 0x01 enc aes 0x02",
            false,
        ),
        (
            "ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 6 mode tunnel auth sha1 0x01 enc aes 0x02",
            false,
        ),
        (
            "ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 5 mode beet auth sha1 0x01 enc aes 0x02",
            false,
        ),
        (
            "ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 5 mode tunnel auth sha1 0x01 enc aes 0x03",
            false,
        ),
        (
            "ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 5 mode tunnel auth sha1 0x0001 enc aes 0x02",
            false,
        ),
        (
            "ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 5 mode tunnel auth md5 0x01 enc aes 0x02",
            false,
        ),
        (
            "ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 5 mode tunnel auth-trunc sha1 0x01 80 enc aes 0x02",
            false,
        ),
        ("ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 5 mode tunnel enc aes 0x02", false),
        (
            "ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 5 mode tunnel auth sha1 0x01 enc aes 0x02 \
          encap espinudp 4500 4500 0.0.0.0",
            false,
        ),
        (
            "ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 5 mode tunnel auth sha1 0x01 enc aes 0x02 \
          flag esn replay-window 32",
            false,
        ),
    ] {
        let other_state = parse(other).states.remove(0);
        assert_eq!((one.same_sa(&other_state), other_state.same_sa(&one)), (same, same), "{other}");
    }
}

#[test]
fn reads_a_hundred_thousand_states() {
    let mut text = String::new();
    for spi in 1..=100_000 {
        text += &gcm(&format!("ip x s a src 10.0.0.1 dst 10.0.0.2 proto esp spi {spi}"));
    }
    assert_eq!(parse(&text).states.len(), 100_000);
    for spi in 1..=20_000 {
        text += &format!("ip x s d dst 10.0.0.2 proto esp spi {spi}\n");
    }
    assert_eq!(parse(&text).states.len(), 80_000);
}
