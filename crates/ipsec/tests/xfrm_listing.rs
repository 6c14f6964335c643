//! Listings against those that iproute2 and a kernel printed of the same states and policies.

use std::fs;
use std::path::{Path, PathBuf};

use espwire_ipsec::xfrm::{
    self, Algorithm, Database, Dir, Flags, Key, Keys, Listing, Mode, NotLoadable, Policy, Prefix,
    SaDirection, Selector, State, Template,
};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(data(name)).unwrap()
}

fn parse(name: &str, text: &str) -> Database {
    xfrm::parse(name, text).unwrap_or_else(|error| panic!("{error}"))
}

/// The text without what is not kept: times, statistics.
fn without_counters(text: &str) -> String {
    let mut plain = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["add", _, _, "use", ..] => plain += "\t  add - use -",
            ["replay-window", _, "replay", _, "failed", _] => {
                plain += "\t  replay-window 0 replay 0 failed 0";
            }
            _ => plain += line,
        }
        plain += "\n";
    }
    plain
}

/// Says which line is the first that differs.
#[track_caller]
fn same(name: &str, listing: Listing<'_>, real: &str) {
    let listing = listing.to_string();
    for (number, (ours, theirs)) in listing.lines().zip(real.lines()).enumerate() {
        assert_eq!(ours, theirs, "{name}:{}", number + 1);
    }
    assert!(listing == real, "{name}: one is longer, or differs in line ends");
}

#[test]
fn commands_are_listed_as_linux_lists_what_they_added() {
    let states = parse("listing-state.sh", &text("xfrm/listing-state.sh"));
    assert_eq!(states.states.len(), 166);
    let shown = states.listing(Keys::Shown).newest_first();
    same("listing-state.txt", shown, &text("xfrm/listing-state.txt"));
    let real = without_counters(&text("xfrm/listing-state-s.txt"));
    same("listing-state-s.txt", shown.with_statistics(), &real);
    let hidden = states.listing(Keys::Hidden).newest_first();
    same("listing-state-nokeys.txt", hidden, &text("xfrm/listing-state-nokeys.txt"));

    let mut policies = parse("listing-policy.sh", &text("xfrm/listing-policy.sh"));
    assert_eq!(policies.policies.len(), 75);
    for policy in &mut policies.policies {
        // Debian's kernel has a security module, but none that gives states and policies a context.
        policy.context = None;
    }
    let listing = policies.listing(Keys::Shown).newest_first();
    same("listing-policy.txt", listing, &text("xfrm/listing-policy.txt"));
    // The kernel chooses the numbers, also where the one said is taken: its own are taken over.
    let real = text("xfrm/listing-policy-s.txt");
    for (policy, theirs) in policies.policies.iter_mut().rev().zip(parse("s", &real).policies) {
        policy.index = theirs.index;
    }
    let listing = policies.listing(Keys::Shown).newest_first().with_statistics();
    same("listing-policy-s.txt", listing, &without_counters(&real));
}

#[test]
fn printed_text_is_listed_as_it_was_printed() {
    let captures = fs::read_dir(data("captures")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = captures
        .map(|name| format!("captures/{}", name.to_str().unwrap()))
        .filter(|name| name.ends_with(".state.txt"))
        .collect();
    assert_eq!(names.len(), 17);
    for name in [
        "listing-state.txt",
        "listing-policy.txt",
        "printed-state.txt",
        "printed-policy.txt",
        "monitor-left.txt",
    ] {
        names.push(format!("xfrm/{name}"));
    }
    for name in names {
        let real = text(&name);
        same(&name, parse(&name, &real).listing(Keys::Shown), &without_counters(&real));
    }
    for name in ["listing-state-s.txt", "listing-policy-s.txt", "printed-state-s.txt", "printed-policy-s.txt"]
    {
        let real = text(&format!("xfrm/{name}"));
        let database = parse(name, &real);
        same(name, database.listing(Keys::Shown).with_statistics(), &without_counters(&real));
    }
}

/// None of the states printed above had received anything that its bitmap marks.
#[test]
fn the_marks_of_a_plain_bitmap_are_listed() {
    let name = "xfrm/printed-state.txt";
    let real = without_counters(&text(name));
    for bitmap in ["bitmap 0x00000001", "bitmap 0x80000025", "bitmap 0xffffffff"] {
        let marked = real.replace("bitmap 0x00000000", bitmap);
        assert_ne!(marked, real);
        same(name, parse(name, &marked).listing(Keys::Shown), &marked);
    }
}

/// The two ways to the same listing: hidden keys are the only difference.
#[test]
fn keys_are_listed_only_when_asked_for() {
    let database = parse("gcm", &text("captures/gcm.state.txt"));
    let key = "aabbccddeeff";
    assert!(database.listing(Keys::Shown).to_string().contains(key));
    for listing in [database.listing(Keys::Hidden), database.listing(Keys::Hidden).with_statistics()] {
        let listing = listing.to_string();
        assert!(!listing.contains(key) && listing.contains("<<Keys hidden>> 128\n"), "{listing}");
    }
    assert!(!format!("{:?}", database.listing(Keys::Shown)).contains(key));
    assert!(!format!("{database:?}").contains("170, 187"));
}

/// The forms of later versions and of hardware, which no kernel here prints.
#[test]
fn what_other_versions_print_is_listed_as_they_print_it() {
    let text = "src 192.0.2.1 dst 192.0.2.2\n\
         \tproto esp spi 0x00000100 reqid 0 mode 5\n\
         \treplay-window 0 flag noecn esn\n\
         \tmark 0/0xffffffff output-mark 0x5/0x5\n\
         \tauth hmac(unheard-of) 0x0102\n\
         \tenc cbc(aes) 0x0304\n\
         \tencap type espintcp sport 1 dport 2 addr 192.0.2.3\n\
         \tanti-replay esn context:\n\
         \t seq-hi 0x0, seq 0x0, oseq-hi 0x0, oseq 0x7\n\
         \t replay_window 0, bitmap-length 0\n\
         \tcrypto offload parameters: dev eth0 dir out mode packet\n\
         \tif_id 0x2a\n\
         \tdir out\n\
         \tpcpu-num 3\n\
         \tsel src 0.0.0.0/0 dst 0.0.0.0/0 \n\
         \tsecurity context system_u:object_r:ipsec_spd_t:s0 \n\
         src 192.0.2.1 dst 192.0.2.2\n\
         \tproto esp spi 0x00000101 reqid 0 mode ro\n\
         \treplay-window 0 \n\
         \taead rfc4106(gcm(aes)) 0x00 128\n\
         \tanti-replay context: seq 0x0, oseq 0x0, bitmap 0x00000000\n\
         \tcrypto offload parameters: dev eth0 dir in\n\
         \tdir in\n\
         \tsel src ::/0 dst ::/0 \n\
         src 10.0.0.0/8 dst 10.0.0.0/8 \n\
         \tsecurity context system_u:object_r:ipsec_spd_t:s0 \n\
         \tdir fwd action block priority 2147483648 ptype main \n\
         \tcrypto offload parameters: dev eth0 mode packet\n";
    same("other versions", parse("t", text).listing(Keys::Shown), text);
}

#[test]
fn windows_too_wide_for_linux_are_read_and_marked() {
    let command = |window: u32, flag: &str| {
        let text = format!(
            "ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 1 replay-window {window} {flag} \
             aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128"
        );
        parse("t", &text).states.remove(0)
    };
    for (window, loads) in [
        (0, Ok(())),
        (4096, Ok(())),
        (4097, Err(NotLoadable::ReplayWindow(4097))),
        (65_536, Err(NotLoadable::ReplayWindow(65_536))),
    ] {
        let state = command(window, "");
        assert_eq!((state.replay_window, state.loads_into_linux()), (window, loads));
        let listing = state.listing(Keys::Shown).to_string();
        let again = parse("t", &listing).states.remove(0);
        assert_eq!((again.replay_window, again.loads_into_linux()), (window, loads));
    }
    let reason = NotLoadable::ReplayWindow(4097).to_string();
    assert_eq!(reason, "not loadable into Linux: replay-window 4097 is above 4096");
}

#[test]
fn linux_takes_no_esn_without_a_window_nor_mobile_modes() {
    let state = |mode| State::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 1, mode);
    let esn = State { flags: Flags::ESN | Flags::NOECN, ..state(Mode::Tunnel) };
    assert_eq!(esn.loads_into_linux(), Err(NotLoadable::EsnWithoutWindow));
    assert_eq!(State { direction: Some(SaDirection::Out), ..esn.clone() }.loads_into_linux(), Ok(()));
    assert_eq!(State { replay_window: 1, ..esn }.loads_into_linux(), Ok(()));
    let aead = |name: &str| {
        let aead = Algorithm::new(name, Key::new(vec![7; 20]), Some(128));
        State { aead: Some(aead), ..state(Mode::Tunnel) }
    };
    assert_eq!(aead("rfc8750(gcm(aes))").loads_into_linux(), Err(NotLoadable::ImplicitIv));
    assert_eq!(aead("rfc4106(gcm(aes))").loads_into_linux(), Ok(()));
    for mode in [Mode::RouteOptimization, Mode::InTrigger] {
        assert_eq!(state(mode).loads_into_linux(), Err(NotLoadable::Mode(mode)));
    }
    for mode in [Mode::Transport, Mode::Tunnel, Mode::Beet] {
        assert_eq!(state(mode).loads_into_linux(), Ok(()));
    }
}

/// What is made by hand is what a command makes that says no more.
#[test]
fn a_policy_by_hand_is_that_of_the_shortest_command() {
    let text = "ip xfrm policy add dir fwd src 10.0.0.0/8 dst 10.0.0.2 \
                tmpl src 192.0.2.1 dst 192.0.2.2 proto esp mode tunnel";
    let address = |text: &str| text.parse().unwrap();
    let src = Prefix { addr: address("10.0.0.0"), len: 8 };
    let selector = Selector::new(src, Prefix::from(address("10.0.0.2")));
    let template = Template::new(address("192.0.2.1"), address("192.0.2.2"), Mode::Tunnel);
    let policy = Policy { templates: vec![template], ..Policy::new(selector, Dir::Fwd) };
    let listing = policy.listing().with_statistics().to_string();
    assert_eq!(listing, parse("t", text).policies[0].listing().with_statistics().to_string());
    assert!(listing.contains("\tdir fwd action allow "));
}

/// `ip` sends the high halves only in an ESN context.
#[test]
fn high_halves_need_an_esn_context() {
    for (rest, high) in
        [("", 0), ("replay-window 32", 0), ("replay-window 33", 7), ("replay-window 1 flag esn", 7)]
    {
        let text = format!(
            "ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 1 replay-seq-hi 7 replay-oseq-hi 7 {rest} \
             aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128"
        );
        let sequence = parse("t", &text).states[0].sequence;
        assert_eq!((sequence.seq_hi, sequence.oseq_hi), (high, high), "{rest}");
    }
}
