//! Mode `inspect`, end to end: an `espwire` process between two NICs played by `espwire-frontend`, whose guests
//! send real ESP, other traffic, and what an attacker would.

mod harness;

use std::collections::BTreeMap;
use std::io::{Read, pipe};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use espwire_esp::{AesKeyLen, IcvLen, Integrity, Suite};
use espwire_frontend::{GuestMemory, MemoryKind, Nic, NicBuilder, Placement, Side};
use espwire_virtnet::Features;
use espwire_vring::Buffer;
use harness::esp::{self, Ending, Sender};
use harness::{Cable, Counters, StopOnDrop, Up, WAIT, espwire, frame, nic, settle};
use rustix::process::Signal;
use serde_json::Value;

/// Longer than a frame may wait for an RX buffer.
const SILENCE: Duration = Duration::from_millis(300);
/// Octets before the IP header.
const IP_AT: usize = 14;

/// A folder with a file `xfrm` that adds the SAs of `senders`, and the file's path.
fn folder_with(senders: &[&Sender]) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("xfrm");
    std::fs::write(&path, senders.iter().map(|sender| sender.xfrm()).collect::<String>()).unwrap();
    let path = path.into_os_string().into_string().unwrap();
    (folder, path)
}

/// A cable in mode `inspect` whose NICs know the SAs of `senders`.
fn cable(senders: &[&Sender], options: &[&str]) -> Cable {
    let (folder, path) = folder_with(senders);
    Cable::start_in(folder, &[&["--mode", "inspect", "--xfrm", &path], options].concat())
}

/// The sender's next frame, around a datagram of `len` octets.
fn next(sender: &mut Sender, len: usize) -> Vec<u8> {
    let packet = esp::inner_udp(7, 9999, &vec![b'x'; len]);
    if sender.transport { sender.frame(17, &packet[20..]) } else { sender.frame(4, &packet) }
}

/// `frame` with the octet at `at` XORed.
fn tampered(mut frame: Vec<u8>, at: usize, mask: u8) -> Vec<u8> {
    frame[at] ^= mask;
    frame
}

/// The last octet of `frame` is the ICV's.
fn tampered_icv(frame: Vec<u8>) -> Vec<u8> {
    let last = frame.len() - 1;
    tampered(frame, last, 1)
}

/// Sends frames in bursts, and expects those of them that are due at the other end: whole, in order, and nothing
/// else. Returns how many frames it sent.
fn pass(from: &mut Nic, to: &mut Nic, frames: &[(Vec<u8>, bool)]) -> u64 {
    for (burst, frames) in frames.chunks(64).enumerate() {
        for (frame, _) in frames {
            from.push(frame).unwrap();
        }
        from.flush().unwrap();
        for (number, (frame, _)) in frames.iter().enumerate().filter(|(_, (_, is_due))| *is_due) {
            let received = to.wait_receive(WAIT).unwrap();
            assert!(received == *frame, "burst {burst}, frame {number}: {frame:02x?}, not {received:02x?}");
        }
        from.wait_tx_idle(WAIT).unwrap();
    }
    // Chains come back before their frames are inspected: what arrives last has passed all the others.
    let last = frame(frames.len() as u64, 60);
    from.send(&last).unwrap();
    assert!(to.wait_receive(WAIT).unwrap() == last, "a frame that was not due");
    from.wait_tx_idle(WAIT).unwrap();
    frames.len() as u64 + 1
}

fn due(frame: Vec<u8>) -> (Vec<u8>, bool) {
    (frame, true)
}

fn lost(frame: Vec<u8>) -> (Vec<u8>, bool) {
    (frame, false)
}

/// SAs of every kind that is inspected.
fn senders() -> Vec<Sender> {
    use AesKeyLen::{Aes128, Aes192, Aes256};
    let suites = [
        Suite::AesGcm(Aes128, IcvLen::Icv16),
        Suite::AesGcm(Aes192, IcvLen::Icv16),
        Suite::AesGcm(Aes256, IcvLen::Icv16),
        Suite::AesGcm(Aes256, IcvLen::Icv8),
        Suite::AesCcm(Aes128, IcvLen::Icv12),
        Suite::ChaCha20Poly1305,
        Suite::AesGmac(Aes192),
        Suite::AesCbc(Aes128, Integrity::HmacSha256_128),
        Suite::AesCbc(Aes192, Integrity::HmacSha256_128),
        Suite::AesCbc(Aes256, Integrity::HmacSha256_128),
        Suite::AesCbc(Aes256, Integrity::HmacSha256_96),
        Suite::AesCtr(Aes128, Integrity::HmacSha384_192),
        Suite::Null(Integrity::HmacSha1_96),
        Suite::Null(Integrity::HmacSha512_256),
    ];
    let mut senders = Vec::new();
    let mut add = |sender| senders.push(sender);
    for (spi, suite) in (0x1000..).step_by(0x10).zip(suites) {
        let encap = Some((4500, 4500));
        add(Sender::new(spi, suite));
        add(Sender { transport: true, ..Sender::new(spi + 1, suite) });
        add(Sender::new(spi + 2, suite).over_ipv6());
        add(Sender { transport: true, ..Sender::new(spi + 3, suite).over_ipv6() });
        add(Sender { encap, ..Sender::new(spi + 4, suite) });
        add(Sender { encap: Some((4500, 61_234)), ..Sender::new(spi + 5, suite) });
        add(Sender { encap, ..Sender::new(spi + 6, suite).over_ipv6() });
        // The low half of the number wraps while it sends.
        add(Sender { esn: true, sequence: (1 << 32) - 3, ..Sender::new(spi + 7, suite) });
        add(Sender { options: 8, ..Sender::new(spi + 8, suite) });
        add(Sender { options: 40, transport: true, ..Sender::new(spi + 9, suite) });
        add(Sender { options: 24, ..Sender::new(spi + 10, suite).over_ipv6() });
    }
    senders
}

/// What is no ESP, and passes.
fn other_traffic() -> Vec<Vec<u8>> {
    let v4 = |protocol, payload: &[u8]| {
        esp::ethernet(&esp::ip([10, 9, 0, 1].into(), [10, 9, 0, 2].into(), protocol, 0, payload))
    };
    let (src, dst): (IpAddr, IpAddr) = ("fd09::1".parse().unwrap(), "fd09::2".parse().unwrap());
    let v6 = |protocol, payload: &[u8]| esp::ethernet(&esp::ip(src, dst, protocol, 8, payload));
    let natt = |data: &[u8]| {
        let len = 8 + data.len() as u8;
        [&[0x11, 0x94, 0x11, 0x94, 0, len, 0, 0], data].concat()
    };
    let mut arp = frame(1, 60);
    arp[12..14].copy_from_slice(&[8, 6]);
    let mut fragment = v4(1, &[8; 64]);
    fragment[IP_AT + 6] = 0x20;
    esp::fix_ipv4_checksum(&mut fragment[IP_AT..]);
    let (ping, datagram) = ([8, 0, 0, 0, 0, 1, 0, 1], [0, 53, 0, 53, 0, 9, 0, 0, 7]);
    let (ike, keepalive) = (natt(&[0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]), natt(&[0xff]));
    vec![
        arp,
        frame(2, 14),
        frame(3, 1514),
        v4(1, &ping),
        v4(17, &datagram),
        v4(6, &[0; 20]),
        v6(58, &ping),
        v6(17, &datagram),
        v4(17, &ike),
        v4(17, &keepalive),
        v6(17, &ike),
        v6(17, &keepalive),
        fragment,
    ]
}

/// Tunnel and transport mode, both suites with all key lengths, IPv4 and IPv6 outside, options and extension
/// headers, UDP encapsulation, ESN; VLAN tags; padding of the Ethernet frame. In both directions, whichever way the
/// cable waits, among what is no ESP.
#[test]
fn esp_of_every_kind_passes_unchanged_and_in_order() {
    for wait in ["event", "poll"] {
        let mut senders = senders();
        let cable = cable(&senders.iter().collect::<Vec<_>>(), &["--wait", wait]);
        let mut a = nic().up(cable.socket('a'));
        let mut b = nic().up(cable.socket('b'));
        let mut frames = Vec::new();
        // Octets from the SPI to the ICV, by SPI.
        let mut octets = BTreeMap::new();
        for round in 0..6 {
            let mut other = other_traffic().into_iter();
            for (number, sender) in senders.iter_mut().enumerate() {
                let mut esp = next(sender, [0, 1, 2, 3, 700 + number, 1300][round]);
                *octets.entry(sender.spi).or_insert(0) += esp.len() - sender.esp_at();
                if round == 4 {
                    let tags: &[u8] = &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 7][number % 2 * 4..];
                    esp.splice(12..12, tags.iter().copied());
                }
                if round == 5 {
                    esp.extend([0xee; 4]);
                }
                frames.push(due(esp));
                frames.extend(other.next().map(due));
            }
        }
        let sent = pass(&mut a, &mut b, &frames);
        assert_eq!(pass(&mut b, &mut a, &frames), sent);
        drop((a, b));
        let counters = cable.stop();
        for port in ['a', 'b'] {
            counters.assert_drops(port, &[]);
            assert_eq!(counters.number(port, "rx.frames"), sent);
            for sender in &senders {
                assert_eq!(counters.sa(port, sender.spi, "packets"), 6, "{:#x}", sender.spi);
                assert_eq!(counters.sa(port, sender.spi, "bytes"), octets[&sender.spi] as u64);
                assert_eq!(counters.sa(port, sender.spi, "replays"), 0);
            }
        }
    }
}

/// What is to become of a frame with one octet changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The octet is none that ESP protects.
    Verified,
    /// It is no ESP any more.
    Other,
    /// Dropped; under its SA, if the octet does not hide which.
    Dropped(&'static str, bool),
}

/// What is to become of `frame`, made by `sender`, once the octet at `at` is XORed with 0x80 (with any mask from the
/// SPI on).
fn fate(sender: &Sender, frame: &[u8], at: usize) -> Fate {
    use Fate::{Dropped, Other, Verified};
    let esp_at = sender.esp_at();
    if at >= esp_at {
        return if at < esp_at + 4 { Dropped("no_sa", false) } else { Dropped("auth_fail", true) };
    }
    // Of a length: longer than the frame, or else shorter by 128 octets.
    let is_longer = frame[at] < 0x80;
    if sender.encap.is_some() && at >= esp_at - 8 {
        return match at - (esp_at - 8) {
            2 | 3 => Other,
            4 | 5 if is_longer => Dropped("malformed", false),
            5 => Dropped("auth_fail", true),
            _ => Verified,
        };
    }
    match (sender.src, at - IP_AT) {
        (IpAddr::V4(_), 0) => Dropped("malformed", false),
        (IpAddr::V4(_), 2 | 3) if is_longer => Dropped("malformed", false),
        (IpAddr::V4(_), 9) => Other,
        // A later fragment of a UDP datagram does not say which port it is for; its first one is dropped.
        (IpAddr::V4(_), 7) if sender.encap.is_some() => Other,
        (IpAddr::V4(_), _) => Dropped("bad_ip_csum", false),
        (IpAddr::V6(_), 0) => Dropped("malformed", false),
        (IpAddr::V6(_), 6) => Other,
        // Shorter is too short for the UDP length.
        (IpAddr::V6(_), 4 | 5) if is_longer || sender.encap.is_some() => Dropped("malformed", false),
        (IpAddr::V6(_), 5) => Dropped("auth_fail", true),
        (IpAddr::V6(_), 24..40) => Dropped("no_sa", false),
        (IpAddr::V6(_), _) => Verified,
    }
}

/// Every octet of a packet, from the IP header to the ICV: what is protected arrives as it was sealed, or not at all.
#[test]
fn a_tampered_packet_is_dropped_and_counted_and_its_neighbours_pass() {
    // A length with 0x80 in its last octet is long enough for the suite also without it.
    const LEN: usize = 100;
    let encap = Some((4500, 4500));
    let mut senders = vec![
        Sender::gcm(0x2010),
        Sender::cbc(0x2020),
        Sender { transport: true, ..Sender::gcm(0x2030) },
        Sender { encap, ..Sender::gcm(0x2040) },
        Sender { options: 16, ..Sender::cbc(0x2050) },
        Sender { esn: true, sequence: 1 << 32, ..Sender::gcm(0x2060) },
        Sender { esn: true, ..Sender::cbc(0x2070) },
        Sender::gcm(0x2080).over_ipv6(),
        Sender { encap, ..Sender::cbc(0x2090).over_ipv6() },
    ];
    let cable = cable(&senders.iter().collect::<Vec<_>>(), &[]);
    let mut a = nic().up(cable.socket('a'));
    let mut b = nic().up(cable.socket('b'));
    let mut drops = BTreeMap::<_, u64>::new();
    let mut of_sa = BTreeMap::<_, u64>::new();
    let mut verified = BTreeMap::<_, u64>::new();
    for sender in &mut senders {
        // The first finds out the high half of an extended number.
        let mut frames = vec![due(next(sender, LEN))];
        let spi = sender.spi;
        let len = frames[0].0.len();
        let (esp_at, masks) = (sender.esp_at(), [0x80, 0x01, 0xff]);
        for (at, mask) in (IP_AT..len).flat_map(|at| masks.map(|mask| (at, mask))) {
            if at < esp_at && mask != 0x80 {
                continue;
            }
            let good = next(sender, LEN);
            let fate = fate(sender, &good, at);
            let bad = tampered(good.clone(), at, mask);
            match fate {
                Fate::Dropped(reason, has_sa) => {
                    *drops.entry(reason).or_default() += 1;
                    *of_sa.entry((spi, reason)).or_default() += u64::from(has_sa);
                    frames.push(lost(bad));
                }
                Fate::Verified => {
                    *verified.entry(spi).or_default() += 1;
                    frames.push(due(bad));
                }
                Fate::Other => frames.push(due(bad)),
            }
            // Had the bad one been taken for good, this number would be a replay.
            frames.push(due(good));
        }
        *verified.entry(spi).or_default() += 1 + (len - IP_AT + 2 * (len - esp_at)) as u64;
        pass(&mut a, &mut b, &frames);
    }
    drop((a, b));
    let counters = cable.stop();
    counters.assert_drops('a', &drops.into_iter().collect::<Vec<_>>());
    for Sender { spi, .. } in senders {
        assert_eq!(counters.sa('a', spi, "packets"), verified[&spi], "{spi:#x}");
        for reason in ["auth_fail", "no_sa", "malformed", "bad_ip_csum", "reencrypt_mismatch"] {
            let count = of_sa.get(&(spi, reason)).copied().unwrap_or(0);
            assert_eq!(counters.sa('a', spi, &format!("failures.{reason}")), count, "{spi:#x} {reason}");
        }
    }
}

/// The records of type `kind` among the lines.
fn records(lines: &[String], kind: &str) -> Vec<Value> {
    let records = lines.iter().filter(|line| line.starts_with('{'));
    records
        .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .filter(|record| record["type"] == kind)
        .collect()
}

/// The sender's next frame with this plaintext before the ICV, under a right ICV.
fn ending(sender: &mut Sender, payload: &[u8], padding: &[u8], pad_len: u8, next_header: u8) -> Vec<u8> {
    sender.frame_ending(payload, &Ending { padding: padding.to_vec(), pad_len, next_header })
}

/// Padding, pad length, next header and inner packet are looked at also when the ICV is right, and each fault has
/// its name; what encrypts to something else is named with the first octet that differs.
#[test]
fn what_is_wrong_under_a_right_icv_is_dropped_and_named() {
    let (mut gcm, mut cbc) = (Sender::gcm(0x3001), Sender::cbc(0x3002));
    let cable = cable(&[&gcm, &cbc], &["--trace=json", "--trace-limit", "0"]);
    let mut a = nic().up(cable.socket('a'));
    let mut b = nic().up(cable.socket('b'));
    let mut expected = Vec::new();
    let mut frames = Vec::new();
    for sender in [&mut gcm, &mut cbc] {
        let iv_len = sender.suite.iv_len();
        // 30 octets: with pad length and next header two blocks.
        let packet = esp::inner_udp(7, 9, b"xx");
        let wrong_version = tampered(packet.clone(), 0, 0x70);
        let mut wrong_len = packet.clone();
        wrong_len[3] += 1;
        esp::fix_ipv4_checksum(&mut wrong_len);
        let wrong_checksum = tampered(packet.clone(), 10, 0x80);
        let mut add = |frame, reason, first_difference: Option<usize>| {
            frames.push(if reason == "verified" { due(frame) } else { lost(frame) });
            expected.push((reason, first_difference));
        };
        // Up to the padding, 16 octets more of payload: it begins a block.
        let longer = [&packet[..], &[0; 2]].concat();
        let padding: Vec<u8> = (1..=14).collect();
        let wrong = |at: usize| tampered(padding.clone(), at, 0x40);
        let start = 8 + iv_len + longer.len();
        for at in [0, 7, 13] {
            let is_gcm = sender.integrity_key.is_empty();
            add(
                ending(sender, &longer, &wrong(at), 14, 4),
                "bad_padding",
                // The first octet itself, or the first of its block.
                Some(if is_gcm { start + at } else { start }),
            );
        }
        add(ending(sender, &longer, &padding, 14, 4), "verified", None);
        add(ending(sender, &longer, &padding, 47, 4), "bad_padlen", None);
        add(ending(sender, &packet, &[], 0, 17), "bad_next_header", None);
        add(ending(sender, &packet, &[], 0, 41), "inner_malformed", None);
        add(ending(sender, &wrong_version, &[], 0, 4), "inner_malformed", None);
        add(ending(sender, &wrong_len, &[], 0, 4), "inner_malformed", None);
        add(ending(sender, &wrong_checksum, &[], 0, 4), "inner_malformed", None);
        // A dummy packet (RFC 4303 §2.6).
        add(ending(sender, &[0xee; 30], &[], 0, 59), "verified", None);
        if sender.integrity_key.is_empty() {
            add(ending(sender, &packet[..29], &[], 0, 4), "bad_align", None);
        }
    }
    pass(&mut a, &mut b, &frames);
    drop((a, b));
    let (counters, lines) = cable.stop_and_read();
    let records = records(&lines, "esp");
    assert_eq!(records.len(), expected.len());
    for (record, (reason, first_difference)) in records.iter().zip(&expected) {
        assert_eq!(record["reason"], *reason, "{record}");
        assert_eq!(record["verdict"], if *reason == "verified" { "pass" } else { "drop" });
        assert_eq!(record["verified"], true, "{record}");
        let again = &record["reencryption"];
        assert_eq!(again["first_difference"].as_u64(), first_difference.map(|at| at as u64), "{record}");
        if *reason != "bad_padlen" {
            assert_eq!(again["ciphertext_matches"], first_difference.is_none(), "{record}");
            assert_eq!(again["icv_matches"], first_difference.is_none(), "{record}");
        }
    }
    counters.assert_drops(
        'a',
        &[
            ("bad_padding", 6),
            ("bad_padlen", 2),
            ("bad_next_header", 2),
            ("inner_malformed", 8),
            ("bad_align", 1),
        ],
    );
    for (spi, bad_align) in [(gcm.spi, 1), (cbc.spi, 0)] {
        assert_eq!(counters.sa('a', spi, "packets"), 2);
        assert_eq!(counters.sa('a', spi, "failures.bad_padding"), 3);
        assert_eq!(counters.sa('a', spi, "failures.bad_padlen"), 1);
        assert_eq!(counters.sa('a', spi, "failures.bad_next_header"), 1);
        assert_eq!(counters.sa('a', spi, "failures.inner_malformed"), 4);
        assert_eq!(counters.sa('a', spi, "failures.bad_align"), bad_align);
    }
}

/// ESP for no SA, ESP in fragments, lengths that lie, frames that are too short or too long: each under its name.
#[test]
fn esp_that_cannot_be_verified_is_dropped_under_its_name() {
    let (mut gcm, mut cbc) = (Sender::gcm(0x4001), Sender::cbc(0x4002));
    let mut natt = Sender { encap: Some((4500, 4500)), ..Sender::gcm(0x4003) };
    let mut v6 = Sender::gcm(0x4004).over_ipv6();
    let cable = cable(&[&gcm, &cbc, &natt, &v6], &[]);
    let mut a = nic().frame_len(65_600).up(cable.socket('a'));
    let mut b = nic().up(cable.socket('b'));
    let mut neighbour = Sender { sequence: 1000, ..cbc.clone() };
    let mut frames = vec![due(next(&mut gcm, 9))];
    let mut reasons = BTreeMap::<_, u64>::new();
    let mut add = |reason, frame| {
        *reasons.entry(reason).or_default() += 1;
        frames.push(lost(frame));
        frames.push(due(next(&mut neighbour, 9)));
    };
    let good = next(&mut gcm, 100);
    let esp = good[gcm.esp_at()..].to_vec();

    let mut other_spi = Sender { spi: 0x4101, ..gcm.clone() };
    add("no_sa", next(&mut other_spi, 100));
    let mut other_dst = Sender { dst: [10, 9, 0, 3].into(), ..gcm.clone() };
    add("no_sa", next(&mut other_dst, 100));

    for offset in [[0x20, 0], [0x20, 5], [0, 5]] {
        let mut fragment = good.clone();
        fragment[IP_AT + 6..IP_AT + 8].copy_from_slice(&offset);
        esp::fix_ipv4_checksum(&mut fragment[IP_AT..]);
        add("fragment", fragment);
    }
    let in_v6 = next(&mut v6, 100)[v6.esp_at()..].to_vec();
    for offset in [[0, 1], [0, 9], [0, 8]] {
        let header = [&[50, 0], &offset[..], &[0, 0, 0, 7], &in_v6].concat();
        add("fragment", esp::ethernet(&esp::ip(v6.src, v6.dst, 44, 0, &header)));
    }
    let mut first_of_natt = next(&mut natt, 100);
    first_of_natt[IP_AT + 6] = 0x20;
    esp::fix_ipv4_checksum(&mut first_of_natt[IP_AT..]);
    add("fragment", first_of_natt);

    // Too short for a header, or for the suite; no whole blocks.
    for len in 0..8 {
        add("malformed", gcm.wrap(&esp[..len]));
    }
    let mut of_gcm = 0;
    for len in 8..8 + 8 + 2 + 16 {
        add("malformed", gcm.wrap(&esp[..len]));
        of_gcm += 1;
    }
    let of_cbc = next(&mut cbc, 100)[cbc.esp_at()..].to_vec();
    for cut in [1, 4, 15] {
        add("malformed", cbc.wrap(&of_cbc[..of_cbc.len() - cut]));
    }
    // IP and UDP lengths beyond the end, or before the header's.
    add("malformed", good[..good.len() - 1].to_vec());
    for len in [0_u8, 7, 200] {
        let mut frame = next(&mut natt, 20);
        frame[IP_AT + 20 + 4..][..2].copy_from_slice(&[0, len]);
        add("malformed", frame);
    }
    add("malformed", natt.wrap(&[1, 2, 3]));
    add("malformed", esp::ethernet(&esp::ip(v6.src, v6.dst, 0, 0, &[50])));
    add("malformed", good[..IP_AT].to_vec());

    add("too_long", [&good[..], &[0; 65_554]].concat()[..65_554].to_vec());
    add("runt", good[..13].to_vec());
    pass(&mut a, &mut b, &frames);
    drop((a, b));
    let counters = cable.stop();
    counters.assert_drops('a', &reasons.into_iter().collect::<Vec<_>>());
    assert_eq!(counters.sa('a', gcm.spi, "packets"), 1);
    assert_eq!(counters.sa('a', gcm.spi, "failures.malformed"), of_gcm);
    assert_eq!(counters.sa('a', cbc.spi, "failures.malformed"), 3);
    assert_eq!(counters.sa('a', gcm.spi, "failures.no_sa"), 0);
}

/// Whether a packet was seen before is its receiver's affair: noted, never dropped.
#[test]
fn replayed_packets_pass_and_are_noted() {
    let mut gcm = Sender::gcm(0x5001);
    let mut esn = Sender { esn: true, sequence: (7 << 32) - 1, ..Sender::cbc(0x5002) };
    let cable = cable(&[&gcm, &esn], &["--trace=json", "--trace-limit", "0"]);
    let mut a = nic().up(cable.socket('a'));
    let mut b = nic().up(cable.socket('b'));
    // The high half is guessed to be 0 or 1 at first.
    let mut frames = vec![lost(next(&mut esn, 9))];
    esn.sequence = (1 << 32) - 2;
    let mut replays = Vec::new();
    let mut add = |frame, replay| {
        frames.push(due(frame));
        replays.push(replay);
    };
    for sender in [&mut gcm, &mut esn] {
        for _ in 0..4 {
            let frame = next(sender, 9);
            add(frame.clone(), "fresh");
            add(frame.clone(), "duplicate");
            add(frame, "duplicate");
        }
    }
    let old = next(&mut Sender { sequence: 1, ..gcm.clone() }, 9);
    add(next(&mut Sender { sequence: 0, ..gcm.clone() }, 9), "zero");
    add(next(&mut Sender { sequence: 500, ..gcm.clone() }, 9), "fresh");
    add(old, "old");
    add(next(&mut Sender { sequence: 450, ..gcm.clone() }, 9), "fresh");
    pass(&mut a, &mut b, &frames);
    drop((a, b));
    let (counters, lines) = cable.stop_and_read();
    let records = records(&lines, "esp");
    let noted: Vec<_> = records[1..].iter().map(|record| record["replay"].as_str().unwrap()).collect();
    assert_eq!(noted, replays);
    assert_eq!(records.last().unwrap()["seq"], "450");
    counters.assert_drops('a', &[("auth_fail", 1)]);
    assert_eq!(counters.sa('a', gcm.spi, "packets"), 16);
    assert_eq!(counters.sa('a', gcm.spi, "replays"), 10);
    assert_eq!(counters.sa('a', esn.spi, "packets"), 12);
    assert_eq!(counters.sa('a', esn.spi, "replays"), 8);
}

/// `--mode inspect,off`, and SAs for one NIC alone.
#[test]
fn each_nic_has_its_own_mode_and_its_own_sas() {
    let (mut of_a, mut of_b) = (Sender::gcm(0x6001), Sender::cbc(0x6002));
    let ((folder, path_a), (_folder, path_b)) = (folder_with(&[&of_a]), folder_with(&[&of_b]));
    let words = ["--mode", "inspect,off", "--xfrm", &format!("a:{path_a}")];
    let cable = Cable::start_in(folder, &words);
    let mut a = nic().up(cable.socket('a'));
    let mut b = nic().up(cable.socket('b'));
    let bad = tampered_icv(next(&mut of_a, 100));
    let good = next(&mut of_a, 100);
    pass(&mut a, &mut b, &[lost(bad.clone()), due(good.clone()), lost(next(&mut of_b, 9))]);
    pass(&mut b, &mut a, &[due(bad), due(good), due(next(&mut of_b, 9))]);
    drop((a, b));
    let counters = cable.stop();
    counters.assert_drops('a', &[("auth_fail", 1), ("no_sa", 1)]);
    counters.assert_drops('b', &[]);
    assert_eq!(counters.sa('a', of_a.spi, "packets"), 1);
    assert!(counters.0["ports"][1]["tx"].get("sas").is_none(), "{}", counters.0);

    let folder = tempfile::tempdir().unwrap();
    let path_a = folder.path().join("of a");
    std::fs::write(&path_a, of_a.xfrm()).unwrap();
    let (a_file, b_file) = (format!("a:{}", path_a.display()), format!("b:{path_b}"));
    let cable = Cable::start_in(folder, &["--mode", "inspect", "--xfrm", &a_file, "--xfrm", &b_file]);
    let mut a = nic().up(cable.socket('a'));
    let mut b = nic().up(cable.socket('b'));
    let (of_a, of_b) = (next(&mut of_a, 9), next(&mut of_b, 9));
    pass(&mut a, &mut b, &[due(of_a.clone()), lost(of_b.clone())]);
    pass(&mut b, &mut a, &[lost(of_a), due(of_b)]);
    drop((a, b));
    let counters = cable.stop();
    for (port, spi) in [('a', 0x6001), ('b', 0x6002)] {
        counters.assert_drops(port, &[("no_sa", 1)]);
        assert_eq!(counters.sa(port, spi, "packets"), 1);
    }
}

/// A burst of ESP, each eighth packet tampered with.
fn burst(sender: &mut Sender) -> Vec<(Vec<u8>, bool)> {
    let frame = |number| match next(sender, 100) {
        frame if number % 8 == 5 => lost(tampered_icv(frame)),
        frame => due(frame),
    };
    (0..BURST).map(frame).collect()
}

const BURST: u64 = 64;
/// Good and bad ones in a burst.
const GOOD: u64 = BURST * 7 / 8;
const BAD: u64 = BURST / 8;

/// A receiver with fewer RX buffers than a burst has frames.
fn narrow() -> NicBuilder {
    nic().ring_size(16).rx_buffers(16)
}

/// Sends a burst at once, and waits until its chains are back: its frames are in the NIC, or beyond.
fn send_burst(nic: &mut Nic, frames: &[(Vec<u8>, bool)]) {
    for (frame, _) in frames {
        nic.push(frame).unwrap();
    }
    nic.flush().unwrap();
    nic.wait_tx_idle(WAIT).unwrap();
}

/// What arrived is, in order, some of what was due.
fn assert_some_of(received: &[Vec<u8>], frames: &[(Vec<u8>, bool)]) {
    let mut due = frames.iter().filter(|(_, is_due)| *is_due);
    for received in received {
        assert!(due.any(|(frame, _)| frame == received), "not due, or not in order: {received:02x?}");
    }
}

/// Each frame that was sent in `bursts` is inspected once and has one fate, whatever it had to wait for.
fn assert_counted_once(counters: &Counters, spi: u32, bursts: u64) {
    counters.assert_balance();
    assert_eq!(counters.number('a', "tx.frames"), bursts * BURST, "{}", counters.0);
    assert_eq!(counters.number('a', "tx.drops.auth_fail"), bursts * BAD);
    assert_eq!(counters.sa('a', spi, "packets"), bursts * GOOD);
    assert_eq!(counters.sa('a', spi, "failures.auth_fail"), bursts * BAD);
    assert_eq!(counters.sa('a', spi, "replays"), 0);
    let frame_len = next(&mut Sender::gcm(spi), 100).len() as u64;
    assert_eq!(counters.number('a', "tx.bytes"), bursts * BURST * frame_len, "{}", counters.0);
}

/// Frames wait in the NIC for RX buffers of a slow receiver: they arrive once it has some, or are dropped for want of
/// them.
#[test]
fn frames_that_wait_for_rx_buffers_are_inspected_and_counted_once() {
    let mut sender = Sender::gcm(0x7001);
    let spi = sender.spi;
    let mut cable = cable(&[&sender], &[]);
    let mut a = nic().up(cable.socket('a'));
    let mut b = narrow().up(cable.socket('b'));
    let deadline = Instant::now() + WAIT;
    let mut bursts = 0;
    // A receiver that takes its frames while they wait, unless this machine is too slow for it.
    let mut arrived = 0;
    while arrived < GOOD {
        let frames = burst(&mut sender);
        send_burst(&mut a, &frames);
        let received = b.drain(SILENCE).unwrap();
        assert_some_of(&received, &frames);
        arrived = received.len() as u64;
        bursts += 1;
        let counters = cable.wait_counters("the burst", |c| c.number('a', "tx.frames") == bursts * BURST);
        assert_counted_once(&counters, spi, bursts);
        assert!(Instant::now() < deadline, "no burst arrived whole");
    }
    // A receiver that takes nothing.
    let before = cable.counters().number('a', "tx.drops.no_rx_buffer");
    let frames = burst(&mut sender);
    send_burst(&mut a, &frames);
    bursts += 1;
    let counters = cable.wait_counters("the burst", |c| c.number('a', "tx.frames") == bursts * BURST);
    assert_counted_once(&counters, spi, bursts);
    assert_eq!(counters.number('a', "tx.drops.no_rx_buffer") - before, GOOD - 16);
    let received = b.drain(Duration::ZERO).unwrap();
    assert_some_of(&received, &frames);
    assert_eq!(received.len(), 16);
    b.disconnect().unwrap();
    a.disconnect().unwrap();
    cable.stop();
}

/// The receiver's frontend goes while frames wait for it.
#[test]
fn a_receiver_that_hangs_up_while_frames_wait_costs_those() {
    let mut sender = Sender::gcm(0x7101);
    let mut cable = cable(&[&sender], &[]);
    let mut a = nic().up(cable.socket('a'));
    let deadline = Instant::now() + WAIT;
    let mut bursts = 0;
    loop {
        let mut b = narrow().up(cable.socket('b'));
        send_burst(&mut a, &burst(&mut sender));
        b.hang_up();
        bursts += 1;
        cable.wait_counters("the hang-up", |c| c.number('b', "disconnects") == bursts);
        let counters = cable.wait_counters("the burst", |c| c.number('a', "tx.frames") == bursts * BURST);
        assert_counted_once(&counters, sender.spi, bursts);
        if counters.number('a', "tx.drops.peer_down") > 0 {
            break;
        }
        assert!(Instant::now() < deadline, "no frame waited");
    }
    drop(a);
    cable.stop();
}

/// The sender's frontend goes while its frames wait: they are the NIC's by then, and arrive.
#[test]
fn frames_of_a_sender_that_hangs_up_go_their_way() {
    let mut sender = Sender::gcm(0x7201);
    let mut cable = cable(&[&sender], &[]);
    let mut b = narrow().up(cable.socket('b'));
    let deadline = Instant::now() + WAIT;
    let mut bursts = 0;
    loop {
        let mut a = nic().up(cable.socket('a'));
        let frames = burst(&mut sender);
        send_burst(&mut a, &frames);
        a.hang_up();
        bursts += 1;
        cable.wait_counters("the hang-up", |c| c.number('a', "disconnects") == bursts);
        let received = b.drain(SILENCE).unwrap();
        assert_some_of(&received, &frames);
        let counters = cable.wait_counters("the burst", |c| c.number('a', "tx.frames") == bursts * BURST);
        assert_counted_once(&counters, sender.spi, bursts);
        if received.len() as u64 == GOOD {
            break;
        }
        assert!(Instant::now() < deadline, "no burst arrived whole");
    }
    drop(b);
    cable.stop();
}

/// The end comes while frames wait: they are lost, and counted.
#[test]
fn frames_that_wait_at_the_end_are_counted() {
    for receiver in [Some(narrow()), None] {
        let mut sender = Sender::gcm(0x7301);
        let cable = cable(&[&sender], &[]);
        let mut a = nic().up(cable.socket('a'));
        let has_receiver = receiver.is_some();
        let b = receiver.map(|receiver| receiver.up(cable.socket('b')));
        send_burst(&mut a, &burst(&mut sender));
        let counters = cable.stop();
        assert_counted_once(&counters, sender.spi, 1);
        assert_eq!(counters.number('b', "rx.frames"), if has_receiver { 16 } else { 0 });
        drop((a, b));
    }
}

/// Without a receiver, with one that is disabled, and with a sender that is: drained and counted; what is wrong with
/// a frame counts before that nobody takes it.
#[test]
fn without_a_receiver_frames_are_inspected_drained_and_counted() {
    let mut sender = Sender::gcm(0x7401);
    let mut cable = cable(&[&sender], &[]);
    let mut a = nic().up(cable.socket('a'));
    send_burst(&mut a, &burst(&mut sender));
    let counters = cable.wait_counters("the burst", |c| c.number('a', "tx.frames") == BURST);
    counters.assert_drops('a', &[("peer_down", GOOD), ("auth_fail", BAD)]);
    let mut b = nic().up(cable.socket('b'));
    b.set_enabled(Side::Rx, false).unwrap();
    settle(&mut b);
    send_burst(&mut a, &burst(&mut sender));
    let counters = cable.wait_counters("the burst", |c| c.number('a', "tx.frames") == 2 * BURST);
    counters.assert_drops('a', &[("peer_down", 2 * GOOD), ("auth_fail", 2 * BAD)]);
    assert_counted_once(&counters, sender.spi, 2);
    b.set_enabled(Side::Rx, true).unwrap();
    a.set_enabled(Side::Tx, false).unwrap();
    settle(&mut b);
    settle(&mut a);
    send_burst(&mut a, &burst(&mut sender));
    let counters = cable.wait_counters("the burst", |c| c.number('a', "tx.frames") == 3 * BURST);
    counters.assert_drops('a', &[("peer_down", 2 * GOOD), ("auth_fail", 2 * BAD), ("tx_disabled", BURST)]);
    // What a disabled ring sends is nobody's.
    assert_eq!(counters.sa('a', sender.spi, "packets"), 2 * GOOD);
    a.set_enabled(Side::Tx, true).unwrap();
    settle(&mut a);
    pass(&mut a, &mut b, &burst(&mut sender));
    drop((a, b));
    cable.stop();
}

/// ESP of all lengths up to the longest IP packet, in buffers of every kind.
#[test]
fn esp_of_all_lengths_passes_whatever_the_driver_negotiated() {
    // Octets around the datagram's: inner IP and UDP, ESP with the longest padding, outer IP, Ethernet.
    const AROUND: usize = 28 + 8 + 16 + 16 + 2 + 16 + 20 + IP_AT;
    let lens = [0, 7, 60, 1400, 1473, 2000, 9000 - AROUND, 32_768, 65_535 + IP_AT - AROUND];
    let pieces = Placement { own_header: true, pieces: 7 };
    type Shape = fn(NicBuilder, Placement) -> NicBuilder;
    let shapes: [(&str, Shape); 6] = [
        ("plain", |nic, _| nic),
        ("merged", |nic, _| nic.rx_buffer_len(300)),
        ("not mergeable", |nic, _| nic.without(Features::MRG_RXBUF).rx_buffer_len(65_600)),
        ("indirect", |nic, pieces| nic.use_indirect(true).tx_placement(pieces).rx_placement(pieces)),
        ("legacy", |nic, _| nic.without(Features::VERSION_1)),
        ("legacy, 10 octets", |nic, _| {
            nic.without(Features::VERSION_1 | Features::MRG_RXBUF).rx_buffer_len(65_600)
        }),
    ];
    for (name, shape) in shapes {
        let mut senders = [Sender::gcm(0x8001), Sender::cbc(0x8002)];
        let cable = cable(&senders.iter().collect::<Vec<_>>(), &[]);
        let mut a = nic().frame_len(65_600).up(cable.socket('a'));
        let mut b = shape(nic().ring_size(256).frame_len(65_600), pieces).up(cable.socket('b'));
        for len in lens {
            for sender in &mut senders {
                let frame = next(sender, len);
                assert!(frame.len() <= IP_AT + 65_535, "{len}");
                pass(&mut a, &mut b, &[due(frame.clone()), lost(tampered_icv(frame.clone()))]);
                pass(&mut b, &mut a, &[due(frame.clone()), lost(tampered_icv(frame))]);
            }
        }
        drop((a, b));
        let counters = cable.stop();
        let count = 2 * lens.len() as u64;
        for port in ['a', 'b'] {
            counters.assert_drops(port, &[("auth_fail", count)]);
            assert_eq!(counters.number(port, "rx.frames"), 2 * count, "{name}");
        }
    }
}

/// A frame that verifies and fits no buffer of its receiver.
#[test]
fn verified_esp_that_fits_no_rx_buffer_is_dropped_as_too_long_for_it() {
    let mut sender = Sender::gcm(0x8101);
    let cable = cable(&[&sender], &[]);
    let mut a = nic().up(cable.socket('a'));
    let mut b = nic().without(Features::MRG_RXBUF).rx_buffer_len(512).up(cable.socket('b'));
    let frames = [due(next(&mut sender, 9)), lost(next(&mut sender, 1000)), due(next(&mut sender, 9))];
    pass(&mut a, &mut b, &frames);
    drop((a, b));
    let counters = cable.stop();
    counters.assert_drops('a', &[("rx_too_small", 1)]);
    assert_eq!(counters.sa('a', sender.spi, "packets"), 3);
}

/// G19, TOCTOU: the guest writes into its buffer while the frame is inspected. What arrives is what was verified.
#[test]
fn what_a_guest_writes_after_the_kick_does_not_arrive() {
    const ENOUGH: u64 = 200;
    for mut sender in [Sender::gcm(0x9001), Sender::cbc(0x9002)] {
        let cable = cable(&[&sender], &[]);
        let mut memory = GuestMemory::new(1 << 20, 8 << 20, MemoryKind::default()).unwrap();
        let buffer = memory.allocate(1, 4096, 4096).unwrap();
        let table = Arc::clone(memory.table());
        let mut a = nic().memory(memory).up(cable.socket('a'));
        let mut b = nic().up(cable.socket('b'));
        let frame = next(&mut sender, 1200);
        let chain = [&[0; 12], &frame[..]].concat();
        table.write(buffer, &chain).unwrap();
        let all = [Buffer { addr: buffer, len: chain.len() as u32, writable: false }];
        let (mut sent, mut arrived) = (0, 0);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _stop = StopOnDrop(&stop);
            scope.spawn(|| {
                let places = 12 + sender.esp_at()..chain.len();
                let mut number = 0;
                while !stop.load(Ordering::Acquire) {
                    number += 1;
                    let at = places.start + number * 61 % places.len();
                    // Wrong for a while, then right for a while, neither always equally long.
                    for (octet, spins) in [(!chain[at], number % 7), (chain[at], number % 19)] {
                        table.write(buffer + at as u64, &[octet]).unwrap();
                        (0..40 * spins).for_each(|_| std::hint::spin_loop());
                    }
                }
            });
            let deadline = Instant::now() + WAIT;
            while arrived < ENOUGH || sent - arrived < ENOUGH {
                let ring = a.ring(Side::Tx).unwrap();
                while ring.in_flight() < 64 && ring.push(&all).is_some() {
                    sent += 1;
                }
                ring.publish();
                a.kick(Side::Tx).unwrap();
                while a.ring(Side::Tx).unwrap().pop_used().unwrap().is_some() {}
                while let Some(received) = b.receive().unwrap() {
                    arrived += 1;
                    assert!(sender.verifies(&received), "{received:02x?}");
                    assert!(received == frame);
                }
                assert!(Instant::now() < deadline, "{arrived} of {sent} arrived");
            }
        });
        drop((a, b));
        let counters = cable.stop();
        assert!(counters.number('b', "rx.frames") >= ENOUGH);
        assert!(counters.number('a', "tx.drops.auth_fail") + counters.number('a', "tx.drops.no_sa") > 0);
    }
}

/// `--trace=json`: one record per ESP packet, in the order in which they were sent, and nothing of other traffic.
#[test]
fn the_json_trace_has_one_record_per_packet_in_order() {
    let mut gcm = Sender { encap: Some((4500, 4501)), ..Sender::gcm(0xa001) };
    let mut cbc = Sender { transport: true, ..Sender::cbc(0x100_a002) }.over_ipv6();
    let mut esn = Sender { esn: true, sequence: 5 << 32, ..Sender::gcm(0xa003) };
    // Where it was when its state was printed.
    let state = format!("{} replay-seq-hi 4 replay-oseq-hi 0\n", esn.xfrm().trim_end());
    let (folder, path) = folder_with(&[&gcm, &cbc]);
    let esn_path = folder.path().join("esn");
    std::fs::write(&esn_path, state).unwrap();
    let esn_path = esn_path.into_os_string().into_string().unwrap();
    let words =
        ["--mode", "inspect", "--xfrm", &path, "--xfrm", &esn_path, "--trace=json", "--trace-limit=0"];
    let cable = Cable::start_in(folder, &[&words[..], &["--show-payload", "9999"]].concat());
    let mut a = nic().up(cable.socket('a'));
    let mut b = nic().up(cable.socket('b'));
    let mut frames = other_traffic().into_iter().map(due).collect::<Vec<_>>();
    let good = next(&mut gcm, 4);
    frames.push(due(good.clone()));
    frames.push(lost(tampered_icv(good)));
    frames.push(lost(next(&mut Sender { spi: 0xdead_beef, ..cbc.clone() }, 4)));
    frames.push(due(next(&mut cbc, 4)));
    frames.push(due(frame(7, 60)));
    frames.push(due(next(&mut esn, 4)));
    let bad_checksum = tampered(next(&mut esn, 4), IP_AT + 10, 1);
    frames.push(lost(bad_checksum));
    pass(&mut a, &mut b, &frames);
    pass(&mut b, &mut a, &[due(next(&mut esn, 4))]);
    drop((a, b));
    let (_, lines) = cable.stop_and_read();
    let records = records(&lines, "esp");
    let expected = [
        ("a", "0x0000a001", "1", "verified"),
        ("a", "0x0000a001", "1", "auth_fail"),
        ("a", "0xdeadbeef", "1", "no_sa"),
        ("a", "0x0100a002", "1", "verified"),
        ("a", "0x0000a003", "21474836480", "verified"),
        ("a", "0x0000a003", "1", "bad_ip_csum"),
        ("b", "0x0000a003", "21474836482", "verified"),
    ];
    let found: Vec<_> = records
        .iter()
        .map(|record| ["port", "spi", "seq", "reason"].map(|key| record[key].as_str().unwrap()))
        .map(|[port, spi, seq, reason]| (port, spi, seq, reason))
        .collect();
    assert_eq!(found, expected);
    let mut last = 0.0;
    for record in &records {
        assert_eq!(record["v"], 1);
        let time = record["time"].as_f64().unwrap();
        assert!(time >= last, "{time} after {last}");
        last = time;
    }
    let [first, failed, unknown, transport, with_esn, ..] = &records[..] else { panic!("{records:?}") };
    assert_eq!(
        first["outer"],
        serde_json::json!({
            "src": "10.9.0.1", "dst": "10.9.0.2", "src_port": 4500, "dst_port": 4501
        })
    );
    assert_eq!(
        first["inner"],
        serde_json::json!({
            "src": "192.168.7.1", "dst": "192.168.7.2", "protocol": 17, "protocol_name": "udp",
            "src_port": 7, "dst_port": 9999, "len": 32
        })
    );
    assert_eq!(first["payload"]["text"], "xxxx");
    assert_eq!(
        (&first["padding"], &first["pad_len"], &first["next_header"]),
        (&"0102".into(), &2.into(), &4.into())
    );
    assert_eq!((&first["verified"], &first["replay"]), (&true.into(), &"fresh".into()));
    assert_eq!(first["icv_received"], first["icv_computed"]);
    assert_eq!(first["esp_len"], 8 + 8 + 36 + 16);
    assert_eq!(first["iv"].as_str().unwrap().len(), 16);
    assert_eq!(first["sa"]["mode"], "tunnel");
    assert_eq!(first["reencryption"], serde_json::json!({"ciphertext_matches": true, "icv_matches": true}));
    assert_eq!(first["ip_checksum"]["old"], first["ip_checksum"]["new"]);
    assert_eq!((&failed["verdict"], &failed["verified"]), (&"drop".into(), &false.into()));
    assert_eq!(failed["xfrm_stat"], "XfrmInStateProtoError");
    assert_ne!(failed["icv_received"], failed["icv_computed"]);
    assert!(failed.get("inner").is_none() && failed.get("payload").is_none(), "{failed}");
    assert_eq!(unknown["xfrm_stat"], "XfrmInNoStates");
    assert!(unknown.get("sa").is_none() && unknown.get("verified").is_none(), "{unknown}");
    assert_eq!(transport["sa"]["mode"], "transport");
    assert_eq!(transport["outer"]["src"], "fd09::1");
    assert_eq!(with_esn["sa"]["esn"], true);
}

/// What the limit keeps back is counted, and the count printed: shown + suppressed = packets. The next record tells
/// the count, or the end.
#[test]
fn the_trace_limit_counts_what_it_keeps_back() {
    const PACKETS: u64 = 200;
    let mut sender = Sender::gcm(0xa101);
    let cable = cable(&[&sender], &["--trace=json", "--trace-limit", "5"]);
    let mut a = nic().up(cable.socket('a'));
    let mut b = nic().up(cable.socket('b'));
    let frames: Vec<_> = (0..PACKETS).map(|_| due(next(&mut sender, 9))).collect();
    pass(&mut a, &mut b, &frames);
    drop((a, b));
    let (counters, lines) = cable.stop_and_read();
    assert_eq!(counters.sa('a', sender.spi, "packets"), PACKETS);
    let (shown, suppressed) = (records(&lines, "esp"), records(&lines, "suppressed"));
    assert!((5..PACKETS).contains(&(shown.len() as u64)), "{} shown", shown.len());
    let count: u64 = suppressed.iter().map(|r| r["records"].as_str().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(shown.len() as u64 + count, PACKETS);
    assert!(suppressed.iter().all(|record| record["port"] == "a" && record["v"] == 1), "{suppressed:?}");
    let first: Vec<_> = shown[..5].iter().map(|record| record["seq"].as_str().unwrap()).collect();
    assert_eq!(first, ["1", "2", "3", "4", "5"]);
}

/// A trace that nobody reads stops neither a frame nor the end, up to the counters that are printed after it, and
/// takes a bounded piece of memory; what did not fit is counted.
#[test]
fn a_blocked_stdout_stops_neither_traffic_nor_the_end() {
    // More than wait for stdout at most.
    const FIRST: u64 = 20_000;
    const THEN: u64 = 20_000;
    let mut sender = Sender::gcm(0xa201);
    let (folder, path) = folder_with(&[&sender]);
    let ((mut stdout, writer), (_stderr, stderr)) = (pipe().unwrap(), pipe().unwrap());
    let words = ["--mode", "inspect", "--xfrm", &path, "--trace=json", "--trace-limit=0"];
    let mut cable = Cable::start_writing_to_in(folder, writer, stderr, &words);
    let mut a = nic().retry(true).up(cable.socket('a'));
    let mut b = nic().retry(true).up(cable.socket('b'));
    let frames: Vec<_> = (0..64).map(|_| due(next(&mut sender, 9))).collect();
    let mut sent = 0;
    let mut send = |count| {
        for _ in 0..count / frames.len() as u64 {
            pass(&mut a, &mut b, &frames);
            sent += frames.len() as u64;
        }
        sent
    };
    send(FIRST);
    let before = cable.resident_kib();
    let packets = send(THEN);
    let after = cable.resident_kib();
    // AddressSanitizer keeps what was freed.
    let sanitized = std::env::var_os("ESPWIRE_SANITIZER").is_some();
    assert!(sanitized || after < before + 2048, "{before} KiB before, {after} after");
    // Nor do counters that are asked for meanwhile.
    for _ in 0..3 {
        let counters = cable.counters_in_file(Signal::USR1);
        assert_eq!(counters.sa('a', sender.spi, "packets"), packets);
    }
    drop((a, b));
    let counters = cable.end_until_counted();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        text
    });
    assert_eq!(cable.wait().code(), Some(0));
    counters.assert_balance();
    assert_eq!(counters.sa('a', sender.spi, "packets"), packets);
    counters.assert_drops('a', &[]);
    let lines: Vec<_> = reader.join().unwrap().lines().map(str::to_owned).collect();
    let (shown, suppressed) = (records(&lines, "esp"), records(&lines, "suppressed"));
    let count: u64 = suppressed.iter().map(|r| r["records"].as_str().unwrap().parse::<u64>().unwrap()).sum();
    assert!(count > 0);
    assert_eq!(shown.len() as u64 + count, packets);
}

/// Nor one that somebody has made non-blocking: no record is torn, and what did not fit is counted.
#[test]
fn a_non_blocking_stdout_tears_no_record() {
    let mut sender = Sender::gcm(0xa281);
    let (folder, path) = folder_with(&[&sender]);
    let ((mut stdout, writer), (_stderr, stderr)) = (pipe().unwrap(), pipe().unwrap());
    rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK).unwrap();
    let words = ["--mode", "inspect", "--xfrm", &path, "--trace=json", "--trace-limit=0"];
    let mut cable = Cable::start_writing_to_in(folder, writer, stderr, &words);
    let mut a = nic().retry(true).up(cable.socket('a'));
    let mut b = nic().retry(true).up(cable.socket('b'));
    let frames: Vec<_> = (0..64).map(|_| due(next(&mut sender, 9))).collect();
    for _ in 0..20 {
        pass(&mut a, &mut b, &frames);
    }
    drop((a, b));
    let counters = cable.end_until_counted();
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    assert_eq!(cable.wait().code(), Some(0));
    assert_eq!(counters.sa('a', sender.spi, "packets"), 20 * 64);
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |kind: &str| records.iter().filter(|record| record["type"] == kind).count();
    assert_eq!((count("esp"), count("counters"), records.len()), (20 * 64, 1, 20 * 64 + 1));
}

/// Nor one that nobody can read any more.
#[test]
fn a_closed_stdout_stops_no_traffic() {
    let mut sender = Sender::gcm(0xa251);
    let (folder, path) = folder_with(&[&sender]);
    let ((stdout, writer), (_stderr, stderr)) = (pipe().unwrap(), pipe().unwrap());
    drop(stdout);
    let words = ["--mode", "inspect", "--xfrm", &path, "--trace", "--trace-limit=0"];
    let cable = Cable::start_writing_to_in(folder, writer, stderr, &words);
    let mut a = nic().retry(true).up(cable.socket('a'));
    let mut b = nic().retry(true).up(cable.socket('b'));
    let frames: Vec<_> = (0..1000).map(|_| due(next(&mut sender, 9))).collect();
    pass(&mut a, &mut b, &frames);
    pass(&mut b, &mut a, &frames);
    drop((a, b));
    assert_eq!(cable.stop().sa('b', sender.spi, "packets"), 1000);
}

/// Counters that are printed meanwhile stand between records, never inside one.
#[test]
fn counters_and_trace_do_not_cut_each_other() {
    // In all fewer packets than may wait for stdout.
    const ROUNDS: u64 = 20;
    const PASSES: u64 = 10;
    for (trace, title, counters_line) in [
        ("--trace=json", r#"{"v":1,"type":"esp","#, r#""type":"counters""#),
        ("--trace", "a → b  ESP  ", "counters of"),
    ] {
        let mut sender = Sender::gcm(0xa301);
        let mut cable = cable(&[&sender], &[trace, "--trace-limit=0"]);
        let mut a = nic().up(cable.socket('a'));
        let mut b = nic().up(cable.socket('b'));
        let frames: Vec<_> = (0..64).map(|_| due(next(&mut sender, 9))).collect();
        for _ in 0..ROUNDS {
            cable.signal(Signal::USR1);
            for _ in 0..PASSES {
                pass(&mut a, &mut b, &frames);
            }
            cable.wait_line(counters_line);
        }
        drop((a, b));
        let (counters, lines) = cable.stop_and_read();
        let packets = counters.sa('a', sender.spi, "packets");
        assert_eq!(packets, ROUNDS * PASSES * frames.len() as u64);
        assert_eq!(lines.iter().filter(|line| line.starts_with(title)).count() as u64, packets);
        if trace == "--trace=json" {
            // Lines of the log are on stderr: they bear a time.
            let records = lines.iter().filter(|line| !line.contains(" INFO "));
            let records: Vec<_> = records.map(|line| serde_json::from_str::<Value>(line).unwrap()).collect();
            assert!(records.iter().filter(|record| record["type"] == "counters").count() as u64 > ROUNDS);
        }
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.contains("counters of")) {
            assert_eq!(line, "counters of espwire");
            // A record for people ends with its verdict.
            let before = lines[..at].iter().rfind(|line| line.starts_with(' ') && !line.starts_with("    "));
            assert!(before.is_none_or(|line| line.starts_with("  verdict")), "{before:?}");
        }
    }
}

/// The trace for people: printable, whatever a packet carries; payload only of the ports that were chosen. And no
/// key in anything that the program writes.
#[test]
fn the_human_trace_is_printable_and_shows_payload_by_choice_and_never_a_key() {
    let (mut gcm, mut cbc) = (Sender::gcm(0xa401), Sender::cbc(0xa402));
    let keys = [&gcm.encryption_key, &cbc.encryption_key, &cbc.integrity_key].map(Vec::clone);
    for trace in ["--trace", "--trace=json"] {
        let (folder, path) = folder_with(&[&gcm, &cbc, &gcm]);
        let words =
            ["--mode", "inspect", "--xfrm", &path, trace, "--trace-limit", "0", "--show-payload", "9999"];
        let mut cable = Cable::start_in(folder, &words);
        let mut a = nic().up(cable.socket('a'));
        let mut b = nic().up(cable.socket('b'));
        let mut frames = Vec::new();
        for sender in [&mut gcm, &mut cbc] {
            let hostile = b"helloxfrm!!!!\n\x1b[2J\x07\xff\0\r\\\"";
            let (shown, hidden) = (esp::inner_udp(9999, 1, hostile), esp::inner_udp(1, 2, b"a secret"));
            frames.push(due(sender.frame(4, &shown)));
            frames.push(due(sender.frame(4, &hidden)));
            frames.push(lost(tampered_icv(sender.frame(4, &shown))));
            let wrong = Ending { padding: vec![9; 2], pad_len: 2, next_header: 4 };
            frames.push(lost(sender.frame_ending(&shown[..], &wrong)));
            frames.push(lost(next(&mut Sender { spi: 1, ..sender.clone() }, 9)));
        }
        pass(&mut a, &mut b, &frames);
        drop((a, b));
        let stats = cable.counters().0.to_string();
        let (_, mut lines) = cable.stop_and_read();
        for text in ["helloxfrm!!!!", "bad_padding", "auth_fail", "no_sa", "0x0000a401"] {
            assert!(lines.iter().any(|line| line.contains(text)), "{trace}: no {text} in {lines:#?}");
        }
        assert!(!lines.iter().any(|line| line.contains("a secret")), "{trace}");
        for line in &lines {
            assert!(line.chars().all(|c| !c.is_control()), "{trace}: {line:?}");
        }
        lines.push(stats);
        assert_no_key(&lines.join("\n"), &keys);
    }
}

/// Neither a key nor 8 octets of one stand in `text`, in hexadecimal or as a list of numbers.
fn assert_no_key(text: &str, keys: &[Vec<u8>]) {
    let text = text.to_lowercase();
    for octets in keys.iter().flat_map(|key| key.windows(8)) {
        let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        assert!(!text.contains(&hex), "{hex} in {text}");
        let list = format!("{octets:?}");
        assert!(!text.contains(list.trim_matches(['[', ']'])), "{list} in {text}");
    }
}

/// Options that do not go together, and SAs that can't be used: exit code 2, a reason with the place, no key in it,
/// and nothing was begun.
#[test]
fn options_and_sas_that_cannot_be_used_are_refused_before_anything_begins() {
    let sender = Sender::gcm(0xb001);
    let cbc = Sender::cbc(0xb002);
    let other = Sender { encryption_key: vec![7; 36], ..sender.clone() };
    let short = Sender { encryption_key: sender.encryption_key[..19].to_vec(), ..sender.clone() };
    let good = sender.xfrm();
    let unknown = "ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi zz";
    let texts: [(&str, Vec<u8>); 9] = [
        ("good", good.clone().into()),
        ("unknown", format!("# a comment\n{good}\n{unknown}\n").into()),
        ("conflict", format!("{good}{}", other.xfrm()).into()),
        ("short", short.xfrm().into()),
        ("other", other.xfrm().into()),
        ("algorithm", cbc.xfrm().replace("hmac(sha256)", "hmac(md5)").into()),
        ("nokeys", good.replace("0x", "<<Keys hidden>> 0x").into()),
        ("binary", vec![0x69, 0x70, 0xff]),
        ("beet", good.replace("mode tunnel", "mode beet").into()),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).into_os_string().into_string().unwrap();
    for (name, octets) in &texts {
        std::fs::write(path(name), octets).unwrap();
    }
    let column = unknown.find("zz").unwrap() + 1;
    let file = |name: &str, place: &str| format!("{}:{place}", path(name));
    let cases: [(&[&str], &str, String); 19] = [
        (&["--mode", "inspect"], "", "give --xfrm".into()),
        (
            &["--mode", "inspect", "--xfrm", "a:good"],
            "good",
            "port b is in mode inspect and has no SAs".into(),
        ),
        (&["--mode", "inspect,inspect,off", "--xfrm", "good"], "good", "--mode".into()),
        (&["--mode", "inspect", "--xfrm", "unknown"], "unknown", file("unknown", &format!("4:{column}: "))),
        (&["--mode", "inspect", "--xfrm", "conflict"], "conflict", file("conflict", "2: ")),
        (&["--mode", "inspect", "--xfrm", "conflict"], "conflict", format!("{}\n", file("conflict", "1"))),
        (&["--mode", "inspect", "--xfrm", "good", "--xfrm", "other"], "good other", file("other", "1: ")),
        (&["--mode", "inspect", "--xfrm", "short"], "short", file("short", "1:")),
        (&["--mode", "inspect", "--xfrm", "algorithm"], "algorithm", file("algorithm", "1:")),
        (&["--mode", "inspect", "--xfrm", "algorithm"], "algorithm", "hmac(md5)".into()),
        (&["--mode", "inspect", "--xfrm", "nokeys"], "nokeys", "nokeys".into()),
        (&["--mode", "inspect", "--xfrm", "binary"], "binary", ":1:3: not UTF-8".into()),
        (&["--mode", "inspect", "--xfrm", "beet"], "beet", "beet".into()),
        (&["--mode", "inspect", "--xfrm", "missing"], "missing", "No such file".into()),
        (&["--xfrm", "good"], "good", "give --mode".into()),
        (&["--mode", "inspect,off", "--xfrm", "good", "--xfrm", "b:good"], "good", "mode off".into()),
        (&["--trace"], "", "--mode inspect".into()),
        (&["--mode", "inspect", "--xfrm", "good", "--trace-limit", "1"], "good", "--trace".into()),
        (&["--mode", "inspect", "--xfrm", "good", "--show-payload", "1"], "good", "--trace".into()),
    ];
    let keys = [&sender, &cbc, &other, &short].map(|sender| sender.encryption_key.clone());
    for (words, files, message) in cases {
        let mut command = espwire();
        command.args(["run", "--socket-path", &path("a.sock"), "--peer-socket-path", &path("b.sock")]);
        for word in words {
            let (prefix, name) = word.split_at(if word.get(1..2) == Some(":") { 2 } else { 0 });
            let is_file = files.split(' ').any(|file| file == name);
            command.arg(if is_file { format!("{prefix}{}", path(name)) } else { (*word).to_owned() });
        }
        let output = command.output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {text}");
        assert!(text.contains(&message), "{words:?}: no {message:?} in {text}");
        assert_no_key(&text, &keys);
        assert!(!folder.path().join("a.sock").exists() && !folder.path().join("b.sock").exists());
    }
}
