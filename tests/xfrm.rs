//! `espwire xfrm`: what scripts leave behind, as real listings have it, and what can't be used of it.

mod harness;

use std::fs;
use std::io::Write;
use std::process::{Output, Stdio};

use espwire_ipsec::xfrm::{self, Keys};
use harness::espwire;

const KEY: &str = "0x000102030405060708090a0b0c0d0e0f10111213";

fn path(name: &str) -> String {
    format!("{}/../tests/data/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn data(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap()
}

fn list(words: &[&str]) -> Output {
    espwire().arg("xfrm").args(words).output().unwrap()
}

/// With `input` on standard input.
fn list_input(words: &[&str], input: &[u8]) -> Output {
    let mut command = espwire();
    command.arg("xfrm").args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // It may have ended before it has read all.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

/// Says which line is the first that differs.
#[track_caller]
fn same(output: &Output, real: &str) {
    let listing = text(&output.stdout);
    for (number, (ours, theirs)) in listing.lines().zip(real.lines()).enumerate() {
        assert_eq!(ours, theirs, "line {}", number + 1);
    }
    assert!(listing == real, "one is longer: {}", text(&output.stderr));
}

/// A state in tunnel mode, with more words.
fn state(spi: u32, words: &str) -> String {
    format!(
        "ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi {spi:#x} mode tunnel {words} \
         aead 'rfc4106(gcm(aes))' {KEY} 128\n"
    )
}

#[test]
fn a_script_is_listed_as_linux_lists_what_it_added() {
    let script = path("xfrm/listing-state.sh");
    let script = script.as_str();
    for words in [&["state", script][..], &[script]] {
        same(&list(words), &data("xfrm/listing-state-nokeys.txt"));
    }
    same(&list(&["--show-keys", "state", script]), &data("xfrm/listing-state.txt"));

    // Debian's kernel has no security module that gives policies a context.
    let words: Vec<_> = data("xfrm/listing-policy.sh").lines().map(without_context).collect();
    let real = data("xfrm/listing-policy.txt");
    same(&list_input(&["policy", "-"], words.join("\n").as_bytes()), &real);
}

/// A line without `ctx NAME`.
fn without_context(line: &str) -> String {
    let mut words = line.split(' ');
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == "ctx" {
            words.next();
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}

#[test]
fn statistics_are_those_of_ip_s() {
    let script = path("xfrm/listing-state.sh");
    let database = xfrm::parse("script", &data("xfrm/listing-state.sh")).unwrap();
    let due = database.listing(Keys::Hidden).newest_first().with_statistics().to_string();
    assert!(due.contains("lifetime config:"));
    for option in ["-s", "--statistics"] {
        same(&list(&[option, "state", &script]), &due);
    }
}

/// What was printed has the newest first already.
#[test]
fn printed_text_is_listed_in_its_order() {
    let policies = path("xfrm/listing-policy.txt");
    same(&list(&[&policies]), &data("xfrm/listing-policy.txt"));
    let states = path("xfrm/listing-state.txt");
    same(&list(&["state", &states]), &data("xfrm/listing-state-nokeys.txt"));
    let commented = format!("# from a guest\n\n{}", data("xfrm/listing-state.txt"));
    same(&list_input(&["-"], commented.as_bytes()), &data("xfrm/listing-state-nokeys.txt"));
}

#[test]
fn files_are_listed_one_after_the_other_states_before_policies() {
    let folder = tempfile::tempdir().unwrap();
    let name = |name: &str| folder.path().join(name).into_os_string().into_string().unwrap();
    let policy = |dir| format!("ip xfrm policy add src 10.0.0.1 dst 10.0.0.2 dir {dir}\n");
    fs::write(name("one"), policy("in") + &state(1, "") + &state(2, "")).unwrap();
    fs::write(name("two"), policy("out") + &state(3, "")).unwrap();
    let lines = |words: &[&str]| -> Vec<String> {
        let output = list(words);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{words:?}");
        let lines = text(&output.stdout).lines().map(str::trim);
        let is_told = |line: &&str| line.starts_with("proto") || line.starts_with("dir");
        lines.filter(is_told).map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" ")).collect()
    };
    let states = ["proto esp spi", "proto esp spi", "proto esp spi"];
    let policies = ["dir in priority", "dir out priority"];
    assert_eq!(lines(&[&name("one"), &name("two")]), [&states[..], &policies].concat());
    assert_eq!(lines(&["state", &name("one"), &name("two")]), states);
    assert_eq!(lines(&["policy", &name("one"), &name("two")]), policies);
    let output = list(&[&name("one"), &name("two")]);
    let places = ["0x00000002", "0x00000001", "0x00000003"].map(|spi| text(&output.stdout).find(spi));
    assert!(places.is_sorted() && places[0].is_some(), "{places:?}");
}

/// What acts together: a script that deletes what it has added, policies beside states.
#[test]
fn what_a_script_deletes_is_not_listed() {
    let script = state(1, "") + "ip xfrm state delete src 192.0.2.1 dst 192.0.2.2 proto esp spi 1\n";
    let output = list_input(&["-"], script.as_bytes());
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b""[..]));
}

#[test]
fn what_linux_would_not_load_is_said_and_listed() {
    let script = state(1, "replay-window 32") + &state(2, "replay-window 8192");
    let output = list_input(&["-"], script.as_bytes());
    assert_eq!(output.status.code(), Some(0), "espwire can use it");
    let due = "espwire: -:2:1: not loadable into Linux: replay-window 8192 is above 4096\n";
    assert_eq!(text(&output.stderr), due);
    assert!(text(&output.stdout).contains("spi 0x00000002"));
}

#[test]
fn all_that_cannot_be_used_is_said_with_its_place() {
    let states = [
        state(1, ""),
        // The same once more is no fault, another is.
        state(1, ""),
        state(1, "").replace(KEY, &KEY.replace("00", "ff")),
        state(2, "").replace(" 128", " 32"),
        state(3, ""),
        state(4, "mode beet"),
    ]
    .concat()
    .replace("mode tunnel mode beet", "mode beet");
    let policy =
        |n: u32, words: &str| format!("ip xfrm policy add src 10.0.0.{n} dst 10.0.1.1 dir out {words}\n");
    let policies: String =
        [policy(1, ""), policy(2, "if_id 7"), policy(3, ""), policy(4, ""), policy(5, "flag icmp")].concat();
    let script = states + &policies;
    let notes = |words: &[&str]| -> Vec<String> {
        let output = list_input(words, script.as_bytes());
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        // It is listed all the same.
        assert_eq!(
            text(&output.stdout).matches("proto esp spi").count(),
            if words[0] == "policy" { 0 } else { 6 }
        );
        assert_eq!(text(&output.stdout).matches("dir out").count(), if words[0] == "state" { 0 } else { 5 });
        for octets in [&output.stdout, &output.stderr] {
            assert!(!text(octets).contains("0405060708"), "a key in {}", text(octets));
        }
        text(&output.stderr).lines().map(str::to_owned).collect()
    };
    let states = notes(&["state", "-"]);
    assert_eq!(states.len(), 3, "{states:?}");
    for (note, place, reason) in [
        (&states[0], "-:3: ", "differs from the one at -:1"),
        (&states[1], "-:4:", "an ICV of 32 bits is not supported"),
        (&states[2], "-:6:1: ", "mode beet needs a selector"),
    ] {
        assert!(note.starts_with(&format!("espwire: {place}")) && note.contains(reason), "{note}");
    }
    let policies = notes(&["policy", "-"]);
    assert_eq!(policies.len(), 2, "{policies:?}");
    for (note, place, reason) in
        [(&policies[0], "-:8:1: ", "`if_id`"), (&policies[1], "-:11:1: ", "`flag icmp`")]
    {
        assert!(note.starts_with(&format!("espwire: {place}")) && note.contains(reason), "{note}");
    }
    assert_eq!(notes(&["-"]), [states, policies].concat());
}

#[test]
fn policies_that_cannot_be_used_together_are_said() {
    let policy =
        |n: u32, words: &str| format!("ip xfrm policy add src 10.0.0.{n} dst 10.0.1.1 dir out {words}\n");
    // The same once more is no fault.
    let good = policy(1, "priority 1") + &policy(2, "") + &policy(1, "priority 1");
    assert_eq!(list_input(&["-"], good.as_bytes()).status.code(), Some(0));
    let bad = policy(1, "priority 1") + &policy(2, "") + &policy(3, "") + &policy(1, "priority 2");
    let output = list_input(&["-"], bad.as_bytes());
    let due = "espwire: -:4: this policy has direction and selector of the one at -:1, and differs from it\n";
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), due));
}

#[test]
fn notes_of_one_kind_come_to_an_end() {
    let script: String =
        (1..=150).map(|spi| state(spi, "replay-window 4097").replace(" 128", " 32")).collect();
    let output = list_input(&["-"], script.as_bytes());
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<_> = text(&output.stderr).lines().collect();
    assert_eq!(lines.len(), 2 * 101);
    assert_eq!(lines[100], "espwire: there are more states that Linux would not load");
    assert_eq!(lines[201], "espwire: there are more states that espwire can't use");
    assert_eq!(text(&output.stdout).matches("proto esp").count(), 150);
}

#[test]
fn what_cannot_be_read_ends_with_2_and_lists_nothing() {
    let good = path("captures/gcm.state.txt");
    let nokeys = path("xfrm/listing-state-nokeys.txt");
    for (words, due) in [
        (&[][..], "required"),
        (&["state"], "no file to list"),
        (&["policy"], "no file to list"),
        (&[&good, "/nowhere/file"], "/nowhere/file: No such file"),
        (&[&good, &nokeys], "listing-state-nokeys.txt:5:25: the key is hidden"),
        (&["--what", &good], "--what"),
    ] {
        let output = list(words);
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(2), &b""[..]), "{words:?}");
        assert!(text(&output.stderr).contains(due), "{words:?}: {}", text(&output.stderr));
    }
    let output = list_input(&["-"], b"ip xfrm state add\n\xff");
    assert!(text(&output.stderr).contains("-:2:1: not UTF-8"), "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(2));
}

/// A text that says more than fits at once, and names that would steer a terminal.
#[test]
fn long_text_comes_whole_and_control_characters_are_escaped() {
    let script: String = (1..=2000).map(|spi| state(spi, "")).collect();
    let output = list_input(&["state", "-"], script.as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).matches("proto esp spi").count(), 2000);

    // Names that would are refused, and do not in the refusal either.
    let name = "'a\x1b[2J\u{9b}b'";
    let algorithm = format!(
        "ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 1 mode tunnel aead {name} 0x00 64\n"
    );
    for script in [state(1, &format!("ctx {name}")), algorithm] {
        let output = list_input(&["-"], script.as_bytes());
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""), "{}", text(&output.stderr));
        let is_plain = |c: char| !c.is_control() || c == '\n';
        assert!(text(&output.stderr).chars().all(is_plain), "{:?}", text(&output.stderr));
    }
}

/// As in `espwire xfrm … | head`.
#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let script = path("xfrm/listing-state.sh");
    let output = espwire().args(["xfrm", &script]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), ""));
}
