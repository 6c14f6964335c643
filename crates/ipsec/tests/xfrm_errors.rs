//! Every refusal of the `ip xfrm` grammar, with its place and words.

use espwire_ipsec::xfrm::{self, Reason};

/// A secret that no error may show: hexadecimal, and as text.
const KEY: &str = "0x5ec2e75ec2e75ec2e75ec2e75ec2e75e";
const TEXT_KEY: &str = "swordfish1234567";

/// `ip xfrm state add` with what every state needs.
const ADD: &str = "ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 1 mode tunnel";
const ENC: &str = "enc 'cbc(aes)' 0x5ec2e75ec2e75ec2e75ec2e75ec2e75e";

fn error(text: &str) -> xfrm::Error {
    match xfrm::parse("f", text) {
        Ok(database) => panic!("{text:?} is taken as {database:?}"),
        Err(error) => error,
    }
}

/// Looks at the place and at the beginning of the reason.
fn check(text: &str, place: &str, reason: &str) {
    let error = error(text);
    let shown = error.to_string();
    assert!(
        shown.starts_with(&format!("f:{place}: {reason}")),
        "{text:?} gives {shown:?}, not f:{place}: {reason}"
    );
    let position = error.position();
    assert_eq!(format!("{}:{}", position.line, position.column), place);
    assert_eq!(error.name(), "f");
    let lower = shown.to_lowercase();
    assert!(!lower.contains("5ec2") && !lower.contains("fish"), "{shown} shows a key");
}

#[test]
fn names_what_only_a_shell_could_do() {
    for (line, column, reason) in [
        (
            "KEY=0x5ec2e75ec2e7",
            1,
            "the shell variable `KEY` is not followed: write its value out where it is used",
        ),
        ("ip xfrm state add enc aes $KEY", 27, "shell expansion `$KEY` is not followed: write the value out"),
        ("ip xfrm state add enc aes \"x${KEY:-0x5ec2}\"", 29, "shell expansion `$KEY` is not followed"),
        ("ip xfrm state add enc aes $(cat swordfish)", 27, "shell expansion `$(` is not followed"),
        ("ip xfrm state add enc aes $'a'", 27, "shell quoting by `$` is not followed"),
        ("ip xfrm state add enc aes $1", 27, "shell expansion `$1` is not followed"),
        ("ip xfrm state add enc aes `cat`", 27, "shell command in backquotes is not followed"),
        ("ip xfrm state flush 2>/dev/null", 22, "`>`: redirections are not followed"),
        ("ip xfrm state flush | cat", 21, "`|`: pipes and `||` are not followed"),
        ("ip xfrm state flush || true", 21, "`|`: pipes and `||` are not followed"),
        ("ip xfrm state flush &", 21, "`&`: commands in the background are not followed"),
        ("(ip xfrm state flush)", 1, "`(`: groups and subshells are not followed"),
        ("{ ip xfrm state flush; }", 1, "`{`: groups and brace expansion are not followed"),
        ("ip xfrm state add src 10.0.0.?", 30, "`?`: patterns and conditions are not followed"),
        ("[ -f x ] && ip xfrm state flush", 1, "`[`: patterns and conditions are not followed"),
        ("~/ip xfrm state", 1, "`~`: home folder expansion is not followed"),
        ("ip xfrm state 'add", 15, "the quote `'` is not closed"),
        ("ip xfrm state \"add", 15, "the quote `\"` is not closed"),
        ("ip xfrm state a\0", 16, "there is a NUL character here"),
        ("for i in 1 2; do", 1, "`for`: loops, conditions and functions are not followed"),
        ("flush() ", 1, "this word: loops, conditions and functions are not followed"),
        ("set x", 5, "`set` with arguments other than options is not followed"),
    ] {
        check(&format!("\n {line}\n"), &format!("2:{}", column + 1), reason);
        assert!(matches!(error(line).reason(), Reason::Shell(_)), "{line}");
    }
}

#[test]
fn names_other_commands() {
    let understood = "only `ip xfrm state` and `ip xfrm policy` commands";
    for (line, column, reason) in [
        ("modprobe esp4", 1, format!("`modprobe` is not understood: {understood}")),
        ("ip addr add 10.0.0.1/24 dev eth0", 4, format!("`ip addr` is not understood: {understood}")),
        ("ip netns add left", 4, format!("`ip netns` is not understood: {understood}")),
        ("ip ne exec left ip xfrm state", 4, format!("`ip ne` is not understood: {understood}")),
        ("ip netns exec left modprobe esp4", 20, format!("`modprobe` is not understood: {understood}")),
        ("swordfish1234567swordfish1234567", 1, format!("this word is not understood: {understood}")),
        ("ip xfrm monitor", 9, "`monitor` of `ip xfrm` is neither `state` nor `policy`".into()),
        ("ip xfrm state al src", 15, "`al` of `ip xfrm state` is not understood here".into()),
        (
            "ip xfrm policy setdefault in block",
            16,
            "`setdefault` of `ip xfrm policy` is not understood here".into(),
        ),
        ("ip xfrm policy set hthresh4 16 24", 16, "`set` of `ip xfrm policy` is not understood here".into()),
        (
            "ip xfrm state allocspi dst ::1 proto esp",
            15,
            "`allocspi` of `ip xfrm state` is not understood here".into(),
        ),
        ("ip xfrm state help", 15, "`help` of `ip xfrm state` is not understood here".into()),
        ("ip -b file", 4, "the option `-b` of `ip` is not understood here".into()),
        ("ip -all netns exec ip xfrm state", 4, "the option `-all` of `ip` is not understood here".into()),
        (
            "proto esp spi 0x1",
            1,
            "`proto` begins no command; under a printed `src … dst …` line it must be indented".into(),
        ),
    ] {
        check(line, &format!("1:{column}"), &reason);
        assert!(matches!(error(line).reason(), Reason::Command(_)), "{line}");
    }
    check("ip", "1:1", "a value is missing after `ip`");
    check("ip netns exec left", "1:15", "a value is missing after `left`");
    check("sudo", "1:1", "a value is missing after `sudo`");
}

#[test]
fn names_what_is_wrong_with_a_state() {
    for (rest, column, reason) in [
        ("", 1, "`enc` or `aead` is missing in this command"),
        ("auth sha1 0x5ec2e7", 1, "`enc` or `aead` is missing in this command"),
        ("enc", 73, "a value is missing after `enc`"),
        ("enc 'cbc(aes)'", 77, "the key of the algorithm is missing after this"),
        ("aead 'rfc4106(gcm(aes))' 0x5ec2e7", 98, "the ICV length in bits is missing after this"),
        ("aead 'rfc4106(gcm(aes))' 0x5ec2e7 x", 107, "the ICV length in bits is expected here"),
        ("enc 0x5ec2e7 'cbc(aes)'", 77, "the name of an algorithm is expected here, such as `cbc(aes)`"),
        ("enc swordfish 'cbc(aes)'", 87, "a key is expected here, not the name of an algorithm"),
        ("enc 'cbc(aes)' 0x5ec2z7", 88, "digit 5 of the key is no hexadecimal digit"),
        ("enc 'cbc(aes)' 0x5ec2e7 0x5ec2e7", 97, "this word is no option or flag of `ip xfrm state add`"),
        ("enc 'cbc(aes)' swordfish fish", 98, "this word is no option or flag of `ip xfrm state add`"),
        ("enc 'cbc(aes)' swordfish flags", 98, "`flags` is no option or flag of `ip xfrm state add`"),
        ("enc aes 0x5ec2 enc aes 0x5ec2", 88, "`enc` does not go with the algorithms before it"),
        ("enc aes 0x5ec2 aead x 0x5ec2 1", 88, "`aead` does not go with the algorithms before it"),
        (
            "aead x 0x5ec2 1 auth-trunc x 0x5ec2 1",
            89,
            "`auth-trunc` does not go with the algorithms before it",
        ),
        ("comp deflate", 73, "`comp` does not go with proto esp"),
        ("coa 10.0.0.3", 73, "`coa` does not go with proto esp"),
        ("spi 2", 73, "`src`, `dst`, `proto` and `spi` stand together, once"),
        ("mode foo", 78, "`foo` is none of transport, tunnel, ro, in_trigger, beet, iptfs"),
        ("reqid 09", 79, "`09` is no number from 0 to 0xffffffff; after a leading 0 it is octal"),
        ("reqid -1", 79, "`-1` is no number from 0 to 0xffffffff"),
        ("reqid 0x100000000", 79, "`0x100000000` is no number from 0 to 0xffffffff"),
        ("reqid", 73, "a value is missing after `reqid`"),
        ("replay-window 65537", 87, "a replay window is of 0 to 65536 packets"),
        ("flag", 73, "a value is missing after `flag`"),
        ("flag esm", 78, "`esm` is no option or flag of `ip xfrm state add`"),
        ("flag 0x100", 78, "`0x100` is no number from 0 to 255"),
        ("sel", 73, "no selector comes after `sel`"),
        ("sel src 10.0.0.0/33", 81, "an address is expected here, not `10.0.0.0/33`"),
        ("sel src 10.0.0.0/8 dst ::/0", 77, "`src` and `dst` are of two address families"),
        ("sel proto foo", 83, "`foo` is no protocol's name or number"),
        ("sel proto icmp sport 5", 88, "`sport` and `dport` need another `proto` than this selector's"),
        ("sel proto tcp type 5", 87, "`type` and `code` need another `proto` than this selector's"),
        ("sel key 5", 77, "`key` needs another `proto` than this selector's"),
        ("limit byte-medium 5", 79, "`byte-medium` is none of time-soft, time-hard"),
        ("encap espinudp 4500 65536 0.0.0.0", 93, "`65536` is no number from 0 to 65535"),
        ("encap espinudp 1 2 3.4.5.6/8", 92, "an address is expected here, not `3.4.5.6/8`"),
        ("encap gre 1 2 0.0.0.0", 79, "`gre` is none of espinudp, espinudp-nonike, espintcp"),
        ("offload crypto eth0 dir in", 88, "`dev` is expected here, not `eth0`"),
        ("offload dev eth0", 85, "`dir` is missing after this"),
        ("ctx a ctx b", 79, "`ctx` is here for the second time"),
        ("ctx ''", 77, "the name is empty"),
        ("ctx 'a b'", 77, "the name has a blank, a control character or a backslash in it"),
        ("ctx 'a\nsrc 10.0.0.1 dst 10.0.0.2'", 77, "the name has a blank"),
        ("ctx 'a\u{b}b'", 77, "the name has a blank"),
        ("sel dev 'a\\b'", 81, "the name has a blank"),
        ("offload dev 'a\tb' dir in", 85, "the name has a blank"),
    ] {
        check(&format!("{ADD} {rest}"), &format!("1:{column}"), reason);
    }
    check(
        &format!("{ADD} flag esn {ENC}"),
        "1:73",
        "`flag esn` needs a `replay-window`: `ip` refuses it without one",
    );
    check(&format!("{ADD} enc aes {TEXT_KEY} {TEXT_KEY}"), "1:98", "this word is no option");
    check(&format!("{ADD} {KEY}"), "1:73", "this word is no option");
    let long = format!("{ADD} enc aes 0x{}", "5ec2".repeat(257));
    check(&long, "1:81", "the key is longer than 512 octets");
}

#[test]
fn names_what_is_wrong_with_an_id() {
    for (words, column, reason) in [
        ("", 1, "the state's `src`, `dst`, `proto` and `spi` are missing in this command"),
        (
            "src 10.0.0.1 dst 10.0.0.2 spi 1",
            19,
            "`proto` is missing here: `src`, `dst`, `proto` and `spi` stand together",
        ),
        (
            "src 10.0.0.1 dst 10.0.0.2 mode tunnel proto esp spi 1",
            57,
            "`src`, `dst`, `proto` and `spi` stand together, once",
        ),
        ("src 10.0.0.1 proto esp spi 1", 1, "`dst` is missing in this command"),
        ("dst 10.0.0.1 proto esp", 1, "`spi` is missing in this command"),
        ("dst 10.0.0.1 proto esp spi 0", 46, "spi 0 is no SA"),
        ("dst 10.0.0.1 proto ah spi 1", 38, "only proto esp is processed here, not proto ah"),
        ("dst 10.0.0.1 proto comp spi 1", 38, "only proto esp is processed here, not proto comp"),
        ("dst 10.0.0.1 proto route2", 38, "only proto esp is processed here, not proto route2"),
        ("dst 10.0.0.1 proto hao", 38, "only proto esp is processed here, not proto hao"),
        ("dst 10.0.0.1 proto tcp", 38, "`tcp` is none of esp, ah, comp, route2, hao, ipsec-any"),
        ("src 10.0.0.1 dst fd00::1 proto esp spi 1", 19, "`src` and `dst` are of two address families"),
        ("src 10.0.0.256", 23, "an address is expected here, not `10.0.0.256`"),
        ("src 10.0.0.1.1", 23, "an address is expected here, not `10.0.0.1.1`"),
        ("src any", 23, "an address is expected here, not `any`"),
        ("src fd00::1%eth0", 23, "an address is expected here, not this word"),
        ("src fd00::/129", 23, "an address is expected here, not `fd00::/129`"),
        ("src 10.0.0.0/255.0.255.0", 23, "an address is expected here, not `10.0.0.0/255.0.255.0`"),
    ] {
        let text = format!("ip xfrm state add {words}");
        check(&format!("{text} {ENC}"), &format!("1:{column}"), reason);
    }
    check(
        &format!("ip -6 xfrm state add dst 10.0.0.1 proto esp spi 1 {ENC}"),
        "1:26",
        "an IPv6 address is expected here, not `10.0.0.1`",
    );
    check("ip xfrm state delete", "1:1", "the state's `dst`, `proto` and `spi` are missing in this command");
    check("ip xfrm state delete spi 1", "1:1", "`proto` is missing here");
    check("ip xfrm state delete spi 1 proto esp reqid 5", "1:38", "`reqid` has no meaning here");
    check("ip xfrm state deleteall nokeys", "1:25", "`nokeys` has no meaning here");
    check("ip xfrm state flush esp", "1:21", "`esp` has no meaning here");
    check("ip xfrm state count all", "1:21", "`all` has no meaning here");
}

#[test]
fn names_what_is_wrong_with_a_policy() {
    for (words, column, reason) in [
        ("src 10.0.0.0/8", 1, "`dir` is missing in this command"),
        ("dir up", 24, "`up` is none of in, out, fwd"),
        ("dir in dir out", 27, "`dir` is here for the second time"),
        ("dir in action drop", 34, "`drop` is none of allow, block"),
        ("dir in ptype other", 33, "`other` is none of main, sub"),
        ("dir in flag 0x4", 32, "a policy has the flags 0x1 and 0x2 only"),
        ("dir in tmpl", 27, "`src`, `dst`, `proto` and `spi` of the template are missing after `tmpl`"),
        ("dir in tmpl mode tunnel", 27, "`src`, `dst`, `proto` and `spi` of the template are missing"),
        ("dir in tmpl src 10.0.0.1", 32, "`proto` is missing here"),
        ("dir in tmpl proto esp level maybe", 48, "`maybe` is none of required, use"),
        ("src 10.0.0.1 dir in src 10.0.0.2", 40, "`src` has no meaning here"),
        ("dir in foo", 27, "`foo` has no meaning here"),
        ("dir in ctx 'a b'", 31, "the name has a blank, a control character or a backslash in it"),
        ("dir in offload packet dev 'a b'", 46, "the name has a blank"),
        ("dir in offload crypto dev eth0", 35, "`packet` is expected here, not `crypto`"),
    ] {
        check(&format!("ip xfrm policy add {words}"), &format!("1:{column}"), reason);
    }
    let seven = "tmpl proto esp ".repeat(7);
    check(&format!("ip xfrm policy add dir in {seven}"), "1:117", "a policy has at most 6 templates");
    check("ip xfrm policy delete dir in", "1:1", "either a selector or an `index` is needed in this command");
    check("ip xfrm policy flush dir in", "1:22", "`dir` has no meaning here");
}

/// A printed state in which one thing can be replaced.
const PRINTED: &str = "src 10.0.0.1 dst 10.0.0.2\n\
    \tproto esp spi 0x00000001(1) reqid 1(0x00000001) mode tunnel\n\
    \treplay-window 0 seq 0x00000000 flag esn (0x10000000)\n\
    \tauth-trunc hmac(sha1) 0x5ec2e7 (24 bits) 96\n\
    \tenc cbc(aes) 0x5ec2e7 (24 bits)\n\
    \tanti-replay esn context:\n\
    \t seq-hi 0x0, seq 0x0, oseq-hi 0x0, oseq 0x0\n\
    \t replay_window 64, bitmap-length 2\n\
    \t 00000000 00000000 \n\
    \tsel src 0.0.0.0/0 dst 0.0.0.0/0 uid 0\n\
    \tlifetime config:\n\
    \t  limit: soft (INF)(bytes), hard 9(bytes)\n\
    \t  limit: soft (INF)(packets), hard (INF)(packets)\n\
    \t  expire add: soft 0(sec), hard 0(sec)\n\
    \t  expire use: soft 0(sec), hard 0(sec)\n\
    \tlifetime current:\n\
    \t  0(bytes), 0(packets)\n\
    \t  add 2026-01-31 06:02:44 use -\n\
    \tstats:\n\
    \t  replay-window 0 replay 0 failed 0\n";

#[test]
fn names_what_is_wrong_with_a_printed_state() {
    assert_eq!(xfrm::parse("f", PRINTED).unwrap().states[0].limits.hard.bytes, Some(9));
    for (old, new, place, reason) in [
        ("proto esp", "proto ah", "2:8", "only proto esp is processed here, not proto ah"),
        ("proto esp", "proto 4", "2:8", "`4` is none of esp, ah"),
        ("0x00000001(1)", "0x00000000(0)", "2:12", "spi 0 is no SA"),
        ("0x00000001(1)", "0x00000001(2)", "2:16", "the number in parentheses is not the one before it"),
        ("1(0x00000001)", "one", "2:36", "`one` is no number"),
        ("mode tunnel", "mode 6", "2:55", "`6` is none of transport"),
        ("mode tunnel", "mode tunnel x", "2:62", "`x` has no meaning here"),
        ("flag esn", "flag esm", "3:38", "`esm` is no flag of a state"),
        ("(0x10000000)", "(0x00000000)", "3:42", "what stands in parentheses is not the flags before it"),
        (
            "0x5ec2e7 (24 bits)\n",
            "<<Keys hidden>>\n",
            "5:15",
            "the key is hidden: print the states without the `nokeys`",
        ),
        (
            "0x5ec2e7 (24 bits)\n",
            "0x5ec2e7 (32 bits)\n",
            "5:24",
            "this is not the length of the key before it",
        ),
        (
            "0x5ec2e7 (24 bits)\n",
            "0x5ec2e7\n\t5ec2e7\n",
            "6:2",
            "this word begins no line of a printed state",
        ),
        ("0x5ec2e7 (24 bits)\n", "0x5ec2e7 5ec2\n", "5:24", "this word has no meaning here"),
        ("0x5ec2e7 (24 bits)\n", "(ERROR truncated)\n", "5:15", "this word has no meaning here"),
        ("(24 bits) 96", "(24 bits)", "4:24", "the ICV length in bits is missing after this"),
        ("\tenc cbc", "\taead cbc", "5:16", "the ICV length in bits is missing"),
        ("bitmap-length 2", "bitmap-length 3", "8:17", "a replay window is of 0 to 65536 packets"),
        (
            "replay_window 64, bitmap-length 2",
            "replay_window 65568, bitmap-length 2049",
            "8:17",
            "a replay window is of 0 to 65536 packets",
        ),
        (
            "00000000 00000000 \n",
            "00000000 0000000 \n",
            "9:12",
            "this is no part of the anti-replay bitmap before it",
        ),
        (
            "00000000 00000000 \n",
            "00000000 \n",
            "10:2",
            "this is no part of the anti-replay bitmap before it",
        ),
        (
            "00000000 00000000 \n",
            "00000000 00000000 00000000\n",
            "9:21",
            "this is no part of the anti-replay bitmap",
        ),
        ("\t seq-hi 0x0,", "\t seq-hi 0x0", "7:10", "this word is no number with a comma after it"),
        ("uid 0", "uid x", "10:38", "this word is no number from 0 to 0xffffffff"),
        ("(INF)(bytes)", "lots(bytes)", "12:16", "this word is no number with `(bytes),` after it"),
        ("expire add:", "expire use:", "14:11", "`add:` is expected here, not `use:`"),
        ("2026-01-31", "yesterday", "18:8", "this word is no time"),
        ("failed 0", "failed 0\n\tstats:", "21:2", "a line with `stats:` is here for the second time"),
        ("failed 0", "failed 0\n\tcoa 10.0.0.1", "21:2", "`coa` does not go with proto esp"),
        ("failed 0", "failed 0\n\thard 1", "21:2", "`hard` begins no line of a printed state"),
        ("failed 0", "failed 0\n\tdir other (3)", "21:6", "this word is none of in, out"),
        ("dst 10.0.0.2\n", "dst 10.0.0.2 x\n", "1:27", "`x` has no meaning here"),
        ("dst 10.0.0.2\n", "dst fd00::2\n", "1:18", "`src` and `dst` are of two address families"),
        ("src 10.0.0.1", "src a.example", "1:5", "an address is expected here, not `a.example`"),
        ("\tproto", "\tport", "2:2", "`port` begins no line of a printed state or policy"),
        (
            "\tproto",
            "proto",
            "1:1",
            "indented lines are missing under this: what `ip xfrm` prints is cut off",
        ),
    ] {
        assert!(PRINTED.contains(old), "{old}");
        let (head, tail) = PRINTED.rsplit_once(old).unwrap();
        check(&format!("{head}{new}{tail}"), place, reason);
    }
    // Cut off after any line, it is either a state without what came after, or said to be cut off.
    for end in PRINTED.match_indices('\n').map(|(end, _)| end) {
        if let Err(error) = xfrm::parse("f", &PRINTED[..end]) {
            let message = error.to_string();
            assert!(message.contains("cut off") || message.contains("no algorithm"), "{message}");
        }
    }
}

#[test]
fn names_what_is_wrong_with_a_printed_policy() {
    const POLICY: &str = "src 10.0.0.0/8 dst 10.0.0.0/8 \n\
        \tdir in action allow index 8 priority 0 ptype main share any flag localok (0x00000001)\n\
        \ttmpl src 10.0.0.1 dst 10.0.0.2\n\
        \t\tproto esp reqid 5 mode tunnel\n\
        \t\tlevel use share any\n\
        \t\tenc-mask ffffffff auth-mask ffffffff comp-mask ffffffff\n";
    assert_eq!(xfrm::parse("f", POLICY).unwrap().policies.len(), 1);
    for (old, new, place, reason) in [
        ("dst 10.0.0.0/8 ", "dst 10.0.0.0/8 x", "1:31", "`x` has no meaning here"),
        ("dir in", "dir up", "2:6", "`up` is none of in, out, fwd"),
        ("action allow", "action 2", "2:16", "`2` is none of allow, block"),
        ("priority 0", "", "2:31", "`priority` is expected here, not `ptype`"),
        ("any flag", "all flag", "2:58", "`all` is none of any, session, user, unique"),
        ("(0x00000001)", "(0x00000000)", "2:75", "what stands in parentheses is not the flags before it"),
        ("localok", "localno", "2:67", "`localno` has no meaning here"),
        ("\t\tproto esp", "\t\tspi 5", "4:3", "`proto` is expected here, not `spi`"),
        ("level use", "level 2", "5:9", "`2` is none of required, use"),
        ("auth-mask ffffffff", "auth-mask 1", "6:31", "a mask of eight hexadecimal digits is expected here"),
        ("\ttmpl", "\toutput-mark 0x1\n\ttmpl", "1:1", "a policy has no `output-mark`"),
        ("\ttmpl", "\ttfcpad 5\n\ttmpl", "3:2", "`tfcpad` begins no line of a printed policy"),
        ("\t\tproto esp reqid 5 mode tunnel\n", "", "4:3", "`proto` is expected here, not `level`"),
    ] {
        assert!(POLICY.contains(old), "{old}");
        check(&POLICY.replacen(old, new, 1), place, reason);
    }
    let cut = POLICY.split_inclusive('\n').take(3).collect::<String>();
    check(&cut, "3:2", "this is cut off: more lines are printed under it");
}

#[test]
fn bounds_what_one_text_may_ask_for() {
    let words = "a ".repeat(4097);
    check(&words, "1:8193", "a command of more than 4096 words");
    let printed = format!("src 10.0.0.1 dst 10.0.0.2\n\tproto{}\n", " x".repeat(4093));
    check(&printed, "2:8190", "more than 4096 words in one printed state or policy");
    let long = " ".repeat(xfrm::MAX_LEN + 1);
    check(&long, "1:1", "the text is longer than 64 MiB");
    let mut work = format!("{ADD} {ENC}\n").repeat(10_000);
    work += &"ip x s dela spi 9\n".repeat(5001);
    check(&work, "15001:1", "too many commands that look at everything, on too many entries");
    // Marks that none of the deletions has.
    let mut work: String = (1..=10_000).map(|mark| format!("{ADD} {ENC} mark {mark}\n")).collect();
    work += &"ip x s del dst 10.0.0.2 proto esp spi 1\n".repeat(5001);
    check(&work, "15001:1", "too many commands that look at everything, on too many entries");
}

/// A key cut in two by a newline is not shown either, but other commands are.
#[test]
fn a_key_that_goes_on_in_the_next_line_is_not_shown() {
    let printed = PRINTED.split_inclusive('\n').take(4).collect::<String>();
    let understood = "is not understood: only `ip xfrm state`";
    for (text, place, shown) in [
        (format!("{ADD} enc aes 0x5ec2\nfish"), "2:1", "this word"),
        (format!("{ADD} enc aes 0x5ec2\n\n# x\n5ec2"), "4:1", "this word"),
        (format!("{ADD} enc aes 0x5ec2 reqid 5\nmodprobe"), "2:1", "`modprobe`"),
        (format!("{ADD} {ENC}\nip xfrm state\nmodprobe"), "3:1", "`modprobe`"),
        (format!("{printed}\tenc cbc(aes) 0x5ec2\n5ec2"), "6:1", "this word"),
        (format!("{PRINTED}modprobe"), "21:1", "`modprobe`"),
    ] {
        check(&text, place, &format!("{shown} {understood}"));
    }
}

/// Columns count characters, not octets.
#[test]
fn columns_count_characters() {
    check("  ip xfrm state flush 'ä€' x", "1:23", "this word has no meaning here");
    check("src 10.0.0.1 ä€ dst", "1:1", "indented lines are missing");
    check("# ä€\nip xfrm state add ctx ä€𝄞 mode x", "2:32", "`x` is none of");
}
