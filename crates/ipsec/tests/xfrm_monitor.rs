//! What `ip xfrm monitor` prints, against what the kernel listed in between.

use std::path::Path;

use espwire_ipsec::xfrm::{self, Database, Keys};

fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/xfrm").join(name);
    std::fs::read_to_string(path).unwrap()
}

fn parse(text: &str) -> Database {
    xfrm::parse("t", text).unwrap_or_else(|error| panic!("{error}"))
}

/// Counters: the listing was printed after packets were sent.
fn counted(listing: &str) -> String {
    listing.replace("oseq 0x8, ", "oseq 0x0, ")
}

#[test]
fn events_leave_what_linux_has_after_them() {
    let left = counted(&text("monitor-left.txt"));
    for form in ["", "-s", "-ts", "-o"] {
        let events = text(&format!("monitor{form}.txt"));
        let database = parse(&events);
        assert_eq!((database.states.len(), database.policies.len()), (5, 4), "{form}");
        let listing = database.listing(Keys::Shown).newest_first().to_string();
        assert_eq!(counted(&listing), left, "{form}");
        let all = parse(&(events + &text(&format!("monitor{form}-end.txt"))));
        assert_eq!((all.states.len(), all.policies.len()), (0, 0), "{form}");
    }
}

const STATE: &str = "src 10.0.0.1 dst 10.0.0.2\n\
    \tproto esp spi 0x00000100 reqid 0 mode tunnel\n\
    \treplay-window 0 \n\
    \taead rfc4106(gcm(aes)) 0x000102030405060708090a0b0c0d0e0f10111213 128\n";
const POLICY: &str = "src 10.0.0.0/8 dst 10.0.0.0/8 \n\tdir in priority 0 ptype main \n";

fn counts(text: &str) -> (usize, usize) {
    let database = parse(text);
    (database.states.len(), database.policies.len())
}

#[test]
fn events_act_in_order() {
    let both = format!("{STATE}{POLICY}");
    for (event, left) in [
        (String::new(), (1, 1)),
        (format!("Updated {STATE}"), (1, 1)),
        (format!("Updated {POLICY}"), (1, 1)),
        (format!("Updated {}", STATE.replace("100 ", "200 ")), (2, 1)),
        (format!("Deleted {STATE}"), (0, 1)),
        (format!("Deleted {POLICY}"), (1, 0)),
        (format!("Deleted {}", STATE.replace("proto esp", "proto ah").replace("aead", "comp deflate\n\taead")), (1, 1)),
        (format!("Deleted {}", STATE.replace("\taead", "\tmark 0x1/0x1 \n\taead")), (1, 1)),
        (format!("Deleted {}", STATE.replace("0x000102030405060708090a0b0c0d0e0f10111213", "<<Keys hidden>>")), (0, 1)),
        (format!("Expired {STATE}\thard 1\n"), (0, 1)),
        (format!("Expired {STATE}\thard 0\n"), (1, 1)),
        (format!("Expired {POLICY}\thard 1\n"), (1, 0)),
        (format!("Expired {POLICY}\thard 0\n"), (1, 1)),
        ("Flushed state proto esp\n".to_owned(), (0, 1)),
        ("Flushed state proto 0\n".to_owned(), (0, 1)),
        ("Flushed state proto ipsec-any\n".to_owned(), (0, 1)),
        ("Flushed state proto ah\n".to_owned(), (1, 1)),
        ("Flushed policy ptype main \n".to_owned(), (1, 0)),
        ("Flushed policy \n".to_owned(), (1, 0)),
        ("Flushed policy ptype sub \n".to_owned(), (1, 1)),
        // Another namespace's.
        ("[nsid 3]Flushed state proto esp\n[nsid 3]Flushed policy \n".to_owned(), (1, 1)),
        (format!("[nsid 3]Deleted {STATE}"), (1, 1)),
        (format!("[nsid 3]{STATE}[nsid 3]Flushed state proto esp\n"), (1, 1)),
        (format!("[nsid current]Deleted {STATE}"), (0, 1)),
        // Events that change nothing.
        ("Mapping change 10.0.0.1:4500 -> 10.0.0.9:1024\n\tdst 10.0.0.2  reqid 0x0 protocol esp  SPI 0x100\n".to_owned(), (1, 1)),
        ("Mapping change ::1:4500 -> 2001:db8::1:1024\n\tdst ::2  reqid 0x0 protocol esp  SPI 0x100\n".to_owned(), (1, 1)),
        ("Async event  (0x70)  replay update  timer expired  policy updated \n\tsrc 10.0.0.1 dst 10.0.0.2  reqid 0x0 protocol esp  SPI 0x100\n".to_owned(), (1, 1)),
        ("Async event  (0x0) \n\tsrc ::1 dst ::2  reqid 0x0 protocol 50  SPI 0x100\n".to_owned(), (1, 1)),
        ("report proto hao \n  sel src 10.0.0.1/32 dst 10.0.0.2/32 \n  coa 10.0.0.3\n".to_owned(), (1, 1)),
        (format!("acquire proto esp \n  sel src 10.0.0.1/32 dst 10.0.0.2/32 \n  policy {POLICY}\n"), (1, 1)),
        ("Default policies:\n in:  accept\n fwd: unspec\n out: accept\n".to_owned(), (1, 1)),
        ("Timestamp: Sat Jan 31 12:00:00 2026 7 usec\n[2026-01-31T12:00:00.000007] Flushed policy \n".to_owned(), (1, 0)),
    ] {
        assert_eq!(counts(&format!("{both}{event}")), left, "{event}");
        let crlf = format!("{both}{event}").replace('\n', "\r\n");
        assert_eq!(counts(&crlf), left, "{event}");
    }
}

#[test]
fn an_update_takes_the_place_of_the_state_before_it() {
    let other = STATE.replace("reqid 0", "reqid 9");
    let states = parse(&format!("{STATE}{}Updated {other}", STATE.replace("100 ", "200 "))).states;
    assert_eq!(
        states.iter().map(|state| (state.spi, state.reqid)).collect::<Vec<_>>(),
        [(0x100, 9), (0x200, 0)]
    );
}

#[test]
fn a_namespace_number_is_the_origin() {
    let database = parse(&format!("[nsid 7]{STATE}[nsid current]{STATE}[nsid 7]Updated {POLICY}"));
    let origins: Vec<_> = database.states.iter().map(|state| state.origin.as_deref()).collect();
    assert_eq!(origins, [Some("nsid 7"), None]);
    assert_eq!(database.policies[0].origin.as_deref(), Some("nsid 7"));
}

#[test]
fn names_what_is_wrong_with_an_event() {
    for (text, place, reason) in [
        (format!("Expired {STATE}"), "1:9", "the line with `hard` is missing under this"),
        (format!("Expired {STATE}\thard 2\n"), "5:7", "this word is none of 0, 1"),
        (
            format!("Updated {}", STATE.replace("esp", "ah")),
            "2:8",
            "only proto esp is processed here, not proto ah",
        ),
        (
            "Updated\n".to_owned(),
            "1:1",
            "indented lines are missing under this: what `ip xfrm` prints is cut off",
        ),
        (
            "Deleted src 10.0.0.1 dst 10.0.0.2".to_owned(),
            "1:9",
            "indented lines are missing under this: what `ip xfrm` prints is cut off",
        ),
        ("Flushed\n".to_owned(), "1:1", "`state` is missing after this"),
        (
            "Flushed state proto x\n".to_owned(),
            "1:21",
            "`x` is none of esp, ah, comp, route2, hao, ipsec-any",
        ),
        ("Flushed state proto esp x\n".to_owned(), "1:25", "`x` has no meaning here"),
        ("Flushed policy x\n".to_owned(), "1:16", "`x` has no meaning here"),
        ("Flushed state proto esp\n\tsel x\n".to_owned(), "2:2", "`sel` begins no line of a printed event"),
        ("acquire proto esp \n".to_owned(), "1:1", "this is cut off: more lines are printed under it"),
        (
            "acquire proto esp \n  sel src 10.0.0.1/32 \n".to_owned(),
            "2:3",
            "this is cut off: more lines are printed under it",
        ),
        (
            "acquire proto esp \n  sel src 10.0.0.1/32 \n  x\n".to_owned(),
            "3:3",
            "`x` begins no line of a printed event",
        ),
        ("report proto esp x\n".to_owned(), "1:18", "`x` has no meaning here"),
        ("Async event 16\n\tsrc\n".to_owned(), "1:13", "flags in parentheses are expected here, `(0x10)`"),
        ("Async event (0x10) x\n\n".to_owned(), "1:20", "`x` has no meaning here"),
        ("Async event (0x10)\n".to_owned(), "1:13", "the line under this is missing"),
        (
            "Mapping change 10.0.0.1 -> x\n".to_owned(),
            "1:16",
            "an address and a port are expected here, `192.0.2.1:4500`",
        ),
        ("Timestamp: now\n".to_owned(), "1:12", "this is no time as `ip -t` prints it"),
        (
            "Timestamp: Sat Jan 31 12:00:00 2026 7 usec x\n".to_owned(),
            "1:12",
            "this is no time as `ip -t` prints it",
        ),
        (
            "Default policies:\n in:  block\n".to_owned(),
            "2:7",
            "a default policy of `block` is not kept here",
        ),
        (
            "Default policies:\n in:  accept\n".to_owned(),
            "2:2",
            "this is cut off: more lines are printed under it",
        ),
        (
            "Unknown message: 00000024 0x00000019 0x00000000\n".to_owned(),
            "1:1",
            "`ip` did not know this message: what it did can't be known",
        ),
        (
            "[nsid 3]ip xfrm state\n".to_owned(),
            "1:9",
            "after this prefix of `ip xfrm monitor`, what it prints is expected",
        ),
        (
            "[2026-01-31T12:00:00.000007] \n".to_owned(),
            "1:30",
            "after this prefix of `ip xfrm monitor`, what it prints is expected",
        ),
        ("[2026-01-31] x\n".to_owned(), "1:1", "`[`: patterns and conditions are not followed"),
    ] {
        let error = xfrm::parse("t", &text).err().map(|error| error.to_string());
        assert_eq!(error, Some(format!("t:{place}: {reason}")), "{text}");
    }
}
