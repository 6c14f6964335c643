//! `espwire inspect`: captures of ESP that Linux made, whole, tampered with, cut and rewritten.

mod harness;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use espwire_ipsec::xfrm::{self, Database};
use espwire_ipsec::{Frame, Inspector, Sad, Verdict};
use harness::espwire;
use serde_json::Value;

/// The captures, with the ESP packets in them (tests/data/captures/README.md).
const CAPTURES: [(&str, usize); 17] = [
    ("cbc", 24),
    ("gcm", 24),
    ("cbc-bulk", 104),
    ("gcm-bulk", 104),
    ("cbc-esn", 24),
    ("gcm-esn-wrap", 32),
    ("cbc-v6", 25),
    ("gcm-transport", 24),
    ("cbc-transport", 24),
    ("gcm-udpencap", 24),
    ("gcm-128", 24),
    ("gcm-6in4", 24),
    ("gcm-icv8", 24),
    ("cbc128-sha1", 24),
    ("null-sha256", 24),
    ("gmac", 24),
    ("chacha", 24),
];

fn path(name: &str, suffix: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/captures");
    Path::new(folder).join(format!("{name}.{suffix}"))
}

/// A frame of a capture.
#[derive(Clone, Debug)]
struct Packet {
    seconds: u32,
    micros: u32,
    octets: Vec<u8>,
    wire_len: usize,
}

/// The frames of a file as tcpdump writes it.
fn frames(name: &str) -> Vec<Packet> {
    let file = fs::read(path(name, "pcap")).unwrap();
    assert_eq!(file[..4], [0xd4, 0xc3, 0xb2, 0xa1]);
    let (mut frames, mut at) = (Vec::new(), 24);
    while at < file.len() {
        let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        let (len, wire_len) = (word(at + 8) as usize, word(at + 12) as usize);
        let octets = file[at + 16..at + 16 + len].to_vec();
        frames.push(Packet { seconds: word(at), micros: word(at + 4), octets, wire_len });
        at += 16 + len;
    }
    frames
}

/// A pcap file.
fn pcap(frames: &[Packet], link: u32) -> Vec<u8> {
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0];
    file.extend(link.to_le_bytes());
    for frame in frames {
        let len = frame.octets.len() as u32;
        for word in [frame.seconds, frame.micros, len, frame.wire_len as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend(&frame.octets);
    }
    file
}

/// Where ESP stands in a frame, from the SPI to the ICV; `None` if it is not there.
fn esp(frame: &[u8]) -> Option<std::ops::Range<usize>> {
    let word = |at: usize| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
    match (word(12), frame.get(14)?) {
        (0x0800, 0x45) if frame[23] == 50 => Some(34..14 + word(16)),
        (0x0800, 0x45) if frame[23] == 17 => Some(42..14 + word(16)),
        (0x86dd, _) if frame[20] == 50 => Some(54..54 + word(18)),
        _ => None,
    }
}

/// Runs `espwire inspect` on a file's octets with the state text of `name`.
fn inspect(name: &str, file: &[u8], options: &[&str]) -> Output {
    inspect_with(&path(name, "state.txt"), file, options)
}

fn inspect_with(xfrm: &Path, file: &[u8], options: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("capture");
    fs::write(&capture, file).unwrap();
    let mut command = espwire();
    command.arg("inspect").arg(&capture).arg("--xfrm").arg(xfrm).args(options);
    let output = command.output().unwrap();
    for octets in [&output.stdout, &output.stderr] {
        // The keys of all captures.
        assert!(!String::from_utf8_lossy(octets).to_lowercase().contains("aabbccdd"));
    }
    output
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

fn records(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Lines about packets that failed.
fn failures(output: &Output) -> Vec<&str> {
    text(&output.stdout).lines().filter(|line| line.starts_with("frame ")).collect()
}

#[track_caller]
fn assert_code(output: &Output, code: i32) {
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{stdout}\n{stderr}");
}

#[test]
fn every_packet_that_linux_made_verifies_and_is_encrypted_to_the_same_octets() {
    for (name, count) in CAPTURES {
        let file = fs::read(path(name, "pcap")).unwrap();
        let output = inspect(name, &file, &["--json", "--show-payload", "9999"]);
        assert_code(&output, 0);
        let records = records(&output);
        let (summary, packets) = records.split_last().unwrap();
        assert_eq!(packets.len(), count, "{name}");
        let mut next = [("0x01000000", None), ("0x02000000", None)];
        for packet in packets {
            assert_eq!(packet["type"], "esp");
            assert_eq!((&packet["verdict"], &packet["reason"]), (&"pass".into(), &"verified".into()));
            assert_eq!(packet["reencryption"]["ciphertext_matches"], true);
            assert_eq!(packet["reencryption"]["icv_matches"], true);
            assert_eq!(packet["icv_received"], packet["icv_computed"]);
            assert_eq!(packet["ip_checksum"]["old"], packet["ip_checksum"]["new"]);
            assert_eq!(packet["replay"], "fresh");
            // Linux pads with 1, 2, 3, … and no more than it must.
            let pad_len = packet["pad_len"].as_u64().unwrap() as usize;
            let padding: String = (1..=pad_len).map(|octet| format!("{octet:02x}")).collect();
            assert_eq!(packet["padding"], padding.as_str());
            // Without a gap, across the 32-bit boundary too.
            let sequence: u64 = packet["seq"].as_str().unwrap().parse().unwrap();
            let (_, next) = next.iter_mut().find(|(spi, _)| packet["spi"] == *spi).unwrap();
            assert!(next.is_none_or(|next| next == sequence), "{name} {packet}");
            *next = Some(sequence + 1);
        }
        if name == "gcm-esn-wrap" {
            assert!(next.iter().all(|(_, next)| next.unwrap() > 1 << 32), "{next:?}");
        }
        let said = |text: &str| packets.iter().any(|packet| packet["payload"]["text"] == text);
        assert!(said("helloxfrm!!!!\\n") && said("re:helloxfrm!!!!\\n"), "{name}");

        assert_eq!(summary["type"], "inspect_summary");
        assert_eq!(summary["ok"], true);
        assert_eq!(summary["esp_packets"], count.to_string().as_str());
        assert_eq!(summary["verified"], count.to_string().as_str());
        assert_eq!(summary["frames"], frames(name).len().to_string().as_str());
        let sas = summary["sas"].as_array().unwrap();
        let by_sa: usize =
            sas.iter().map(|sa| sa["packets"].as_str().unwrap().parse::<usize>().unwrap()).sum();
        assert_eq!((sas.len(), by_sa), (2, count));

        let output = inspect(name, &file, &[]);
        assert_code(&output, 0);
        assert!(text(&output.stdout).contains("result    PASS"), "{}", text(&output.stdout));
        assert!(failures(&output).is_empty() && output.stderr.is_empty());
    }
}

fn database(name: &str) -> Database {
    xfrm::parse(name, &fs::read_to_string(path(name, "state.txt")).unwrap()).unwrap()
}

/// The frames that are dropped, by a NIC that sees all of them.
fn dropped(database: &Database, frames: &[Packet]) -> Vec<usize> {
    let mut inspector = Inspector::new(Sad::new([database]).unwrap());
    let mut verdicts = Vec::new();
    for burst in frames.chunks(espwire_ipsec::MAX_BURST) {
        let burst: Vec<_> = burst.iter().map(|frame| Frame::whole(&frame.octets)).collect();
        inspector.inspect_burst(&burst, &mut verdicts, &mut ());
    }
    let is_dropped = |&at: &usize| matches!(verdicts[at], Verdict::Drop(_));
    (0..frames.len()).filter(is_dropped).collect()
}

/// One octet after the other, each in a copy of its own, XOR 0x80: of some packets all from the SPI to the ICV, of
/// every packet the octets at both ends of each field and some in between.
#[test]
fn no_octet_from_the_spi_to_the_icv_can_be_changed_unseen() {
    let sweep = |name: &str| {
        let database = database(name);
        let mut frames = frames(name);
        assert!(dropped(&database, &frames).is_empty());
        let packets: Vec<_> =
            (0..frames.len()).filter_map(|at| Some((at, esp(&frames[at].octets)?))).collect();
        let shortest = packets.iter().map(|(_, esp)| esp.len()).min().unwrap();
        let mut whole_packets = 0;
        for (n, (at, esp)) in packets.iter().enumerate() {
            // Of the long ones one is enough.
            let is_whole =
                n == 0 || n == packets.len() - 1 || esp.len() == shortest || (esp.len() > 1300 && n > 12);
            let is_whole = is_whole && whole_packets < 6;
            whole_packets += usize::from(is_whole);
            let len = esp.len();
            let some = [0, 3, 4, 7, 8, 15, 16, 24, 25 + n % (len - 41), len - 17, len - 16, len - 1];
            let octets: Vec<_> = if is_whole { (0..len).collect() } else { some.to_vec() };
            for octet in octets {
                frames[*at].octets[esp.start + octet] ^= 0x80;
                assert_eq!(dropped(&database, &frames), [*at], "{name}: octet {octet} of frame {}", at + 1);
                frames[*at].octets[esp.start + octet] ^= 0x80;
            }
        }
        assert!(whole_packets >= 3, "{name}: {whole_packets}");
    };
    std::thread::scope(|scope| {
        for (name, _) in CAPTURES {
            scope.spawn(move || sweep(name));
        }
    });
}

/// The same by the program: exit code 1, and that packet named, no other.
#[test]
fn a_packet_that_was_tampered_with_is_named() {
    for (name, _) in CAPTURES {
        let whole = frames(name);
        let packets: Vec<_> = (0..whole.len()).filter(|&at| esp(&whole[at].octets).is_some()).collect();
        for (n, octet) in [(0, 0), (5, 6), (9, 10), (packets.len() / 2, 30), (packets.len() - 1, usize::MAX)]
        {
            let mut frames = whole.clone();
            let at = packets[n];
            let esp = esp(&frames[at].octets).unwrap();
            let octet = octet.min(esp.len() - 1);
            frames[at].octets[esp.start + octet] ^= 0x80;
            let output = inspect(name, &pcap(&frames, 1), &[]);
            assert_code(&output, 1);
            let lines = failures(&output);
            let [line] = lines[..] else { panic!("{name}: {lines:?}") };
            assert!(line.starts_with(&format!("frame {}  spi 0x", at + 1)), "{line}");
            let reason = if octet < 4 { "no_sa" } else { "auth_fail" };
            assert!(line.contains(&format!("  {reason}")), "{line}");
            assert!(text(&output.stdout).contains("result    FAIL: 1 of "), "{}", text(&output.stdout));

            let output = inspect(name, &pcap(&frames, 1), &["--json"]);
            assert_code(&output, 1);
            let records = records(&output);
            let failed: Vec<_> = records.iter().filter(|record| record["verdict"] == "drop").collect();
            assert_eq!(failed.len(), 1);
            assert_eq!(failed[0]["frame"], (at + 1).to_string().as_str());
            assert_eq!(failed[0]["reason"], reason);
            assert_eq!(records.last().unwrap()["failures"][reason], "1");
        }
    }
}

#[test]
fn a_failing_packet_has_a_line_with_its_reason() {
    let mut frames = frames("gcm");
    let at = (0..frames.len()).filter(|&at| esp(&frames[at].octets).is_some()).nth(6).unwrap();
    *frames[at].octets.last_mut().unwrap() ^= 0x80;
    let output = inspect("gcm", &pcap(&frames, 1), &[]);
    assert_eq!(failures(&output), ["frame 9  spi 0x01000000  seq 4  auth_fail"]);
    let output = inspect("gcm", &pcap(&frames, 1), &["--trace"]);
    assert_code(&output, 1);
    let shown = text(&output.stdout);
    assert!(shown.contains("differs: NOT verified\n"), "{shown}");
    assert!(shown.contains("  verdict       DROP auth_fail (Linux: XfrmInStateProtoError)\n"), "{shown}");
    assert_eq!(shown.matches("  verdict       PASS").count(), 23);
}

#[test]
fn suites_that_are_not_supported_are_named_with_their_place() {
    for (name, place, from, to, reason) in [
        ("gcm-icv8", "4:7", "64", "32", "an ICV of 32 bits"),
        ("cbc128-sha1", "4:13", "hmac(sha1)", "hmac(md5)", "has it a MUST NOT"),
        ("null-sha256", "5:6", "ecb(cipher_null)", "cbc(camellia)", "does not implement it"),
        ("gmac", "4:7", "rfc4543(gcm(aes))", "gcm(aes)", "gcm(aes) is not supported"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let changed = folder.path().join("changed.txt");
        let state = fs::read_to_string(path(name, "state.txt")).unwrap();
        assert!(state.contains(from));
        fs::write(&changed, state.replace(from, to)).unwrap();
        let output = inspect_with(&changed, &fs::read(path(name, "pcap")).unwrap(), &[]);
        assert_code(&output, 2);
        assert!(output.stdout.is_empty());
        let (error, place) = (text(&output.stderr), format!("changed.txt:{place}: "));
        assert!(error.contains(&place) && error.contains(reason), "{error}");
    }
}

/// An SA of one direction of `gcm`.
const ONE_WAY: &str = "ip xfrm state add src 10.168.66.1 dst 10.168.66.2 proto esp spi 0x01000000 mode tunnel \
                       aead 'rfc4106(gcm(aes))' 0xaabbccddeeffaabbccddeeffaabbccddeeffaabbccddeeffaabbccddeeffaabbccddeeff 128\n";

#[test]
fn packets_without_an_sa_fail_unless_they_are_to_be_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("one-way.sh");
    fs::write(&script, ONE_WAY).unwrap();
    let file = fs::read(path("gcm", "pcap")).unwrap();
    let output = inspect_with(&script, &file, &[]);
    assert_code(&output, 1);
    let lines = failures(&output);
    assert_eq!(lines.len(), 12);
    for line in lines {
        assert!(line.contains("spi 0x02000000  seq ") && line.ends_with("  no_sa  destination 10.168.66.1"));
    }
    let output = inspect_with(&script, &file, &["--ignore-unknown"]);
    assert_code(&output, 0);
    assert!(failures(&output).is_empty());
    assert!(text(&output.stdout).contains("ignored   12 without an SA\n"), "{}", text(&output.stdout));
    let output = inspect_with(&script, &file, &["--ignore-unknown", "--json"]);
    assert_code(&output, 0);
    let records = records(&output);
    assert_eq!(records.iter().filter(|record| record["reason"] == "no_sa").count(), 12);
    let summary = records.last().unwrap();
    assert_eq!((&summary["ignored"], &summary["failed"]), (&"12".into(), &"0".into()));

    // Something must have verified.
    fs::write(&script, ONE_WAY.replace("0x01000000", "0x7")).unwrap();
    assert_code(&inspect_with(&script, &file, &["--ignore-unknown"]), 1);
    // A wrong ICV is no unknown SA.
    fs::write(&script, ONE_WAY.replace("0xaabb", "0xaabc")).unwrap();
    let output = inspect_with(&script, &file, &["--ignore-unknown"]);
    assert_code(&output, 1);
    assert_eq!(failures(&output).len(), 12);
}

#[test]
fn packets_cut_by_a_snap_length_fail() {
    let mut frames = frames("gcm");
    for frame in &mut frames {
        frame.octets.truncate(96);
    }
    let output = inspect("gcm", &pcap(&frames, 1), &[]);
    assert_code(&output, 1);
    let lines = failures(&output);
    assert_eq!(lines.len(), frames.iter().filter(|frame| frame.wire_len > 96).count());
    assert!(
        lines.iter().any(|line| line.ends_with("truncated  cut by snaplen: 96 of 1398 octets")),
        "{lines:?}"
    );
    let records = records(&inspect("gcm", &pcap(&frames, 1), &["--json"]));
    let cut = records.iter().find(|record| record["captured_len"] == 96).unwrap();
    assert_eq!((&cut["reason"], &cut["verdict"]), (&"truncated".into(), &"drop".into()));
}

#[test]
fn fragments_fail() {
    let mut frames = frames("gcm");
    let at = frames.iter().position(|frame| esp(&frame.octets).is_some()).unwrap();
    let ip = &mut frames[at].octets[14..34];
    // More fragments, instead of don't fragment; the checksum made right by RFC 1624.
    let old = u16::from_be_bytes([ip[6], ip[7]]);
    let sum = u32::from(!u16::from_be_bytes([ip[10], ip[11]])) + u32::from(!old) + 0x2000;
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    ip[6..8].copy_from_slice(&[0x20, 0]);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let output = inspect("gcm", &pcap(&frames, 1), &[]);
    assert_code(&output, 1);
    assert_eq!(failures(&output), [format!("frame {}  fragment", at + 1)]);
}

#[test]
fn a_packet_seen_twice_is_noted_and_no_failure() {
    let mut frames = frames("cbc");
    frames.push(frames[8].clone());
    let output = inspect("cbc", &pcap(&frames, 1), &[]);
    assert_code(&output, 0);
    assert!(text(&output.stdout).contains("replays   1 noted\n"), "{}", text(&output.stdout));
    let records = records(&inspect("cbc", &pcap(&frames, 1), &["--json"]));
    let [.., copy, summary] = &records[..] else { panic!() };
    assert_eq!((&copy["replay"], &summary["replays"]), (&"duplicate".into(), &"1".into()));
}

#[test]
fn a_capture_without_esp_is_no_success() {
    let output = inspect("gcm", &pcap(&[], 1), &[]);
    assert_code(&output, 1);
    assert!(text(&output.stdout).contains("FAIL: there is no ESP packet\n"), "{}", text(&output.stdout));
    let others: Vec<_> = frames("gcm").into_iter().filter(|frame| esp(&frame.octets).is_none()).collect();
    assert!(!others.is_empty());
    assert_code(&inspect("gcm", &pcap(&others, 1), &[]), 1);
}

/// The classic format in the other byte order, or with other times.
fn rewritten(file: &[u8], is_big: bool, is_nano: bool) -> Vec<u8> {
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let put = |out: &mut Vec<u8>, word: u32| {
        out.extend(if is_big { word.to_be_bytes() } else { word.to_le_bytes() });
    };
    let mut out = Vec::new();
    put(&mut out, if is_nano { 0xa1b2_3c4d } else { 0xa1b2_c3d4 });
    out.extend(if is_big { [0, 2, 0, 4] } else { [2, 0, 4, 0] });
    for at in [8, 12, 16, 20] {
        put(&mut out, word(at));
    }
    let mut at = 24;
    while at < file.len() {
        let len = word(at + 8) as usize;
        for (n, word) in [word(at), word(at + 4), word(at + 8), word(at + 12)].into_iter().enumerate() {
            put(&mut out, if n == 1 && is_nano { word * 1000 + 7 } else { word });
        }
        out.extend(&file[at + 16..at + 16 + len]);
        at += 16 + len;
    }
    out
}

/// A pcapng file, little-endian, with nanoseconds.
fn pcapng(frames: &[Packet]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let len = (12 + body.len().next_multiple_of(4)) as u32;
        file.extend(kind.to_le_bytes());
        file.extend(len.to_le_bytes());
        file.extend(body);
        file.resize(file.len().next_multiple_of(4), 0);
        file.extend(len.to_le_bytes());
    };
    block(0x0a0d_0d0a, &[&[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0][..], &[0xff; 8]].concat());
    block(1, &[1, 0, 0, 0, 0, 0, 4, 0, 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
    for frame in frames {
        let time = (u64::from(frame.seconds) * 1_000_000 + u64::from(frame.micros)) * 1000 + 7;
        let lens = [frame.octets.len() as u32, frame.wire_len as u32];
        let words = [0, (time >> 32) as u32, time as u32, lens[0], lens[1]];
        let mut body: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        body.extend(&frame.octets);
        block(6, &body);
    }
    file
}

#[test]
fn other_formats_and_link_types_say_the_same() {
    let file = fs::read(path("gcm", "pcap")).unwrap();
    let whole = frames("gcm");
    let packets = |file: &[u8]| {
        let output = inspect("gcm", file, &["--json"]);
        assert_code(&output, 0);
        let mut records = records(&output);
        assert_eq!(records.pop().unwrap()["verified"], "24");
        records
    };
    let times = |file: &[u8]| -> Vec<String> {
        // All digits, of which a double has not enough.
        let output = inspect("gcm", file, &["--json"]);
        let time = |line: &str| Some(line.split_once("\"time\":")?.1.split_once(',')?.0.to_owned());
        text(&output.stdout).lines().filter_map(time).collect()
    };
    let expected = packets(&file);
    assert_eq!(packets(&rewritten(&file, true, false)), expected);
    assert_eq!(times(&file)[0], format!("{}.{:06}000", whole[2].seconds, whole[2].micros));
    for file in [rewritten(&file, false, true), rewritten(&file, true, true), pcapng(&whole)] {
        assert_eq!(times(&file)[0], format!("{}.{:06}007", whole[2].seconds, whole[2].micros));
        for (packet, expected) in packets(&file).iter().zip(&expected) {
            assert_eq!((&packet["iv"], &packet["frame_len"]), (&expected["iv"], &expected["frame_len"]));
        }
    }
    let raw: Vec<_> = whole.iter().filter(|frame| esp(&frame.octets).is_some()).collect();
    for (link, header) in [
        (101, vec![]),
        (228, vec![]),
        (12, vec![]),
        (113, [&[0; 14][..], &[8, 0]].concat()),
        (276, [&[8, 0][..], &[0; 18]].concat()),
    ] {
        let frames: Vec<_> = raw
            .iter()
            .map(|frame| {
                let octets = [&header, &frame.octets[14..]].concat();
                Packet { wire_len: octets.len(), octets, ..**frame }
            })
            .collect();
        for (packet, expected) in packets(&pcap(&frames, link)).iter().zip(&expected) {
            assert_eq!(packet["iv"], expected["iv"]);
            let len = expected["frame_len"].as_u64().unwrap() - 14 + header.len() as u64;
            assert_eq!(packet["frame_len"], len);
            assert!(packet.get("captured_len").is_none());
        }
    }
}

#[test]
fn reads_standard_input() {
    let mut command = espwire();
    command.args(["inspect", "-", "--xfrm"]).arg(path("gcm", "state.txt"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&fs::read(path("gcm", "pcap")).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_code(&output, 0);
    assert!(text(&output.stdout).starts_with("-: 26 frames, 24 ESP packets, 2 others\n"));
}

#[test]
fn ends_quietly_when_its_reader_leaves() {
    for option in ["--trace", "--json", "--ignore-unknown"] {
        let mut command = espwire();
        command.arg("inspect").arg(path("gcm-bulk", "pcap")).arg("--xfrm").arg(path("gcm-bulk", "state.txt"));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.arg(option).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), ""), "{option}");
    }
}

#[test]
fn bad_input_ends_with_2_and_says_where() {
    let file = fs::read(path("gcm", "pcap")).unwrap();
    let wrong = |output: Output, reason: &str| {
        assert_code(&output, 2);
        assert!(text(&output.stderr).contains(reason), "{}", text(&output.stderr));
    };
    wrong(
        inspect("gcm", b"garbage, and more than 24 octets of it", &[]),
        "capture: neither pcap nor pcapng\n",
    );
    wrong(inspect("gcm", b"", &[]), "capture: neither pcap nor pcapng\n");
    wrong(inspect("gcm", &pcap(&frames("gcm"), 105), &[]), "link type 105 (IEEE802_11) is not supported\n");
    wrong(inspect_with(Path::new("/nowhere/states"), &file, &[]), "/nowhere/states: No such file");
    wrong(inspect_with(Path::new("/"), &file, &[]), "/: Is a directory");

    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("states");
    fs::write(&script, format!("# SAs\n{}", ONE_WAY.replace("spi 0x01000000", "spi what"))).unwrap();
    wrong(inspect_with(&script, &file, &[]), "states:2:65: ");
    fs::write(&script, [&b"# \xff\n"[..], ONE_WAY.as_bytes()].concat()).unwrap();
    wrong(inspect_with(&script, &file, &[]), "states");

    let mut command = espwire();
    command.args(["inspect", "/nowhere/capture", "--xfrm"]).arg(path("gcm", "state.txt"));
    wrong(command.output().unwrap(), "/nowhere/capture: No such file");
    wrong(espwire().args(["inspect", "/nowhere/capture"]).output().unwrap(), "--xfrm");
    wrong(espwire().args(["inspect", "--xfrm", "/nowhere/states"]).output().unwrap(), "CAPTURE");
}

/// What stands before the damage is reported.
#[test]
fn a_damaged_capture_ends_with_2_after_what_could_be_read() {
    let mut file = fs::read(path("gcm", "pcap")).unwrap();
    file.truncate(file.len() - 20);
    let output = inspect("gcm", &file, &[]);
    assert_code(&output, 2);
    let (shown, error) = (text(&output.stdout), text(&output.stderr));
    assert!(shown.contains("25 frames, 23 ESP packets") && shown.contains("INCOMPLETE"), "{shown}");
    let len = file.len() - 118;
    let reason = format!(
        "capture: at octet {len}, after frame 25: truncated: the capture ends 118 octets into the next packet\n"
    );
    assert!(error.ends_with(&reason), "{error}");
    let output = inspect("gcm", &file, &["--json"]);
    assert_code(&output, 2);
    let records = records(&output);
    assert_eq!(records.len(), 24);
    let summary = records.last().unwrap();
    assert_eq!((&summary["complete"], &summary["ok"]), (&false.into(), &false.into()));
}

#[test]
fn a_trace_explains_each_packet() {
    let file = fs::read(path("cbc", "pcap")).unwrap();
    let output = inspect("cbc", &file, &["--trace", "--show-payload", "9999"]);
    assert_code(&output, 0);
    let shown = text(&output.stdout);
    assert_eq!(shown.matches("  verdict       PASS").count(), 24);
    assert!(shown.contains("  payload       \"helloxfrm!!!!\\n\"\n"), "{shown}");
    assert!(
        shown.contains("  padding       1 2 3 4 5 6 7 8 9 10 11 12  pad length 12, next header 4 (ipv4)\n")
    );
    assert!(shown.contains("result    PASS"));
    // Payload is shown only if it is asked for.
    assert!(!text(&inspect("cbc", &file, &["--trace=human"]).stdout).contains("helloxfrm"));
    let [json, trace] = [&["--json"][..], &["--trace=json"]].map(|options| inspect("cbc", &file, options));
    assert!(!text(&json.stdout).contains("helloxfrm"));
    // Their captures have different names.
    let but_last = |output: &Output| {
        let mut records = records(output);
        records.pop();
        records
    };
    assert_eq!(but_last(&json), but_last(&trace));
}
