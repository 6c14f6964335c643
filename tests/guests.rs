//! Real guests: two Linux kernels in QEMU on one espwire. How they are built and driven: qemu/README.md.

mod harness;

use std::fs;
use std::path::Path;
use std::time::Instant;

use harness::guest::{Guest, Lab, repository};
use harness::{Cable, Counters};
use rustix::process::Signal;
use serde_json::Value;

/// Addresses of guest a, IPv4 and IPv6.
const A: [&str; 2] = ["192.168.10.1", "fd10::1"];
/// Addresses of guest b.
const B: [&str; 2] = ["192.168.10.2", "fd10::2"];

/// Octets of frame around an IPv4 packet's payload: Ethernet and IPv4 header.
const AROUND_IPV4: u64 = 14 + 20;

/// Boots guests a and b on the sockets of `folder`, both with these options of qemu/vm.
fn boot(lab: &Lab, folder: &Path, options: [&[&str]; 2]) -> [Guest; 2] {
    let start = |name: &str, options| lab.start(name, &folder.join(format!("{name}.sock")), options);
    let mut guests = [start("a", options[0]), start("b", options[1])];
    guests.iter_mut().for_each(Guest::wait_ready);
    guests
}

fn boot_on(lab: &Lab, cable: &Cable) -> [Guest; 2] {
    boot(lab, cable.folder(), [&[], &[]])
}

/// Three echo requests, all of them answered: three frames each way at least.
fn ping(from: &mut Guest, to: &str) {
    let output = from.check(&format!("ping -c 3 -i 0.2 {to}"));
    assert!(output.contains(" 0% packet loss"), "{output}");
}

fn ping_both_ways(a: &mut Guest, b: &mut Guest) {
    for version in 0..2 {
        ping(a, B[version]);
        ping(b, A[version]);
    }
}

/// Frames that guests send before the other is there.
const FEW: u64 = 100;

/// Frames that each guest sends at least in `ping_both_ways`: requests and replies over IPv4 and IPv6.
const PING_BOTH_WAYS: u64 = 12;

/// Echo requests, five a second, until one is answered; returns that answer.
fn ping_until_answered(from: &mut Guest, to: &str) -> String {
    from.check(&format!("ping -i 0.2 -w 100 {to} | grep -m 1 'bytes from'"))
}

/// Three seconds of TCP; returns the octets that arrived.
fn iperf(client: &mut Guest, options: &str) -> u64 {
    let output = client.check(&format!("iperf3 -J -t 3 {options}"));
    let result: Value = serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"));
    let sum = &result["end"]["sum_received"];
    println!("iperf3 {options}: {:.0} Mbit/s", sum["bits_per_second"].as_f64().unwrap_or_default() / 1e6);
    let octets = sum["bytes"].as_u64().unwrap_or_else(|| panic!("no sum in {output}"));
    assert!(octets > 0, "{output}");
    octets
}

/// No more than `most` frames were dropped, and only for want of a receiver:
///
/// - `peer_down`: the other guest had not booted yet, or was gone;
/// - `no_rx_buffer`: its driver had not filled its ring yet, or its virtual CPU did not run.
fn assert_drops(counters: &Counters, most: u64) {
    let mut sum = 0;
    for port in ['a', 'b'] {
        let reasons = ["peer_down", "no_rx_buffer"];
        let drops = reasons.map(|reason| counters.number(port, &format!("tx.drops.{reason}")));
        println!("port {port}: dropped {drops:?} for {reasons:?}");
        assert_eq!(counters.drops(port), drops.iter().sum::<u64>(), "another reason: {}", counters.0);
        sum += counters.drops(port);
        for fault in ["memory_faults", "ring_faults", "rx.bad_chains"] {
            assert_eq!(counters.number(port, fault), 0, "{fault}: {}", counters.0);
        }
    }
    assert!(sum <= most, "{sum} drops: {}", counters.0);
}

/// Drops of a stream: receivers that wait long for a real CPU take what their rings hold, and TCP repeats
/// the rest.
fn some_of(counters: &Counters) -> u64 {
    FEW + (counters.number('a', "tx.frames") + counters.number('b', "tx.frames")) / 50
}

/// `port`'s guest sent at least so many frames, and at least so many arrived at it.
fn assert_at_least(counters: &Counters, port: char, sent: u64, received: u64) {
    let frames = [counters.number(port, "tx.frames"), counters.number(port, "rx.frames")];
    println!("port {port}: {frames:?} frames sent and received, at least {:?} due", [sent, received]);
    assert!(frames[0] >= sent && frames[1] >= received, "{}", counters.0);
}

#[test]
fn two_guests_ping_and_talk_tcp_both_ways_over_ipv4_and_ipv6() {
    let Some(lab) = Lab::enter() else { return };
    let cable = Cable::start(&[]);
    let [mut a, mut b] = boot_on(&lab, &cable);
    ping_both_ways(&mut a, &mut b);
    for guest in [&mut a, &mut b] {
        guest.check("line-server; iperf3 -s -D");
    }
    let (mut a_to_b, mut b_to_a) = (0, 0);
    for version in 0..2 {
        a.check(&format!("line-client {} 'from a to b'", B[version]));
        b.check(&format!("line-client {} 'from b to a'", A[version]));
        a_to_b += iperf(&mut a, &format!("-c {}", B[version]));
        b_to_a += iperf(&mut a, &format!("-c {} -R", B[version]));
    }
    a.power_off();
    b.power_off();
    let counters = cable.stop();
    // A line and its answer over TCP take at least SYN, data and FIN from each end.
    let least = |octets: u64| PING_BOTH_WAYS + 2 * 2 * 3 + octets / 1500;
    assert_at_least(&counters, 'a', least(a_to_b), least(b_to_a));
    assert_at_least(&counters, 'b', least(b_to_a), least(a_to_b));
    assert!(counters.number('b', "rx.bytes") > a_to_b && counters.number('a', "rx.bytes") > b_to_a);
    assert_drops(&counters, some_of(&counters));
}

#[test]
fn a_guest_that_reboots_finds_the_wire_again() {
    let Some(lab) = Lab::enter() else { return };
    let mut cable = Cable::start_debug(&[]);
    let [mut a, mut b] = boot_on(&lab, &cable);
    ping_both_ways(&mut a, &mut b);
    // Takes in the log of the first boot.
    cable.counters();
    let mut pings = b.start(&format!("ping -i 0.2 -c 60 {}", A[0]));
    b.wait_output(&mut pings, "seq=2 ");
    a.reboot();
    for step in ["GET_VRING_BASE", "SET_VRING_KICK"] {
        cable.wait_line(&format!("port=a request={step}"));
    }
    let (output, _) = b.finish(pings);
    println!("{}", output.lines().find(|line| line.contains("packet loss")).expect("a summary"));
    ping_both_ways(&mut a, &mut b);
    a.power_off();
    b.power_off();
    let counters = cable.stop();
    for port in ['a', 'b'] {
        assert_eq!(counters.number(port, "connects"), 1, "one QEMU, one connection");
        assert_at_least(&counters, port, 2 * PING_BOTH_WAYS, 2 * PING_BOTH_WAYS);
    }
    assert_drops(&counters, FEW);
}

/// QEMU listens, espwire connects: both ends, and one. A second espwire takes up where the first was killed.
#[test]
fn qemu_as_socket_server() {
    let Some(lab) = Lab::enter() else { return };
    for client in ["--client", "--client=a"] {
        let cable = Cable::start(&[client]);
        let b_options: &[&str] = if client == "--client" { &["--server"] } else { &["--reconnect", "1"] };
        let [mut a, mut b] = boot(&lab, cable.folder(), [&["--server"], b_options]);
        ping_both_ways(&mut a, &mut b);
        let folder = cable.kill();
        let since = Instant::now();
        let cable = Cable::start_in(folder, &[client]);
        ping_until_answered(&mut b, A[0]);
        println!("{client}: a ping was answered {:.1} s after the restart", since.elapsed().as_secs_f64());
        ping_both_ways(&mut a, &mut b);
        a.power_off();
        b.power_off();
        let counters = cable.stop();
        for port in ['a', 'b'] {
            assert_eq!(counters.number(port, "connects"), 1);
            assert_at_least(&counters, port, PING_BOTH_WAYS, PING_BOTH_WAYS);
        }
        assert_drops(&counters, FEW);
    }
}

/// One TCP connection from a to b, kept open by `nc` on both ends; lines go in and come out of FIFOs.
struct Conversation;

impl Conversation {
    fn open(a: &mut Guest, b: &mut Guest) -> Self {
        for guest in [&mut *a, b] {
            guest.check("mkfifo /tmp/in /tmp/out");
        }
        // A FIFO opened for both reading and writing does not wait for its other end, nor end.
        b.check("nc -l -p 7000 <>/tmp/in 1<>/tmp/out 2>/tmp/nc.error &");
        b.check("timeout 60 sh -c 'until netstat -ltn | grep -q :7000; do :; done'");
        a.check(&format!("nc {} 7000 <>/tmp/in 1<>/tmp/out 2>/tmp/nc.error &", B[0]));
        Self
    }

    /// One line each way.
    fn exchange(&self, a: &mut Guest, b: &mut Guest, line: &str) {
        let (mut from, mut to) = (a, b);
        for direction in ["there", "back"] {
            from.check(&format!("echo {line} {direction} 1<>/tmp/in"));
            let received = to.check("read -t 100 -r line <>/tmp/out; echo \"$line\"");
            assert_eq!(received, format!("{line} {direction}\n"));
            (from, to) = (to, from);
        }
    }
}

/// S1: kill -9 in the middle of a stream; the frontends connect again, and TCP goes on.
#[test]
fn espwire_killed_and_restarted_under_reconnect() {
    let Some(lab) = Lab::enter() else { return };
    let cable = Cable::start(&[]);
    let [mut a, mut b] = boot(&lab, cable.folder(), [&["--reconnect", "1"], &["--reconnect", "1"]]);
    ping_both_ways(&mut a, &mut b);
    let conversation = Conversation::open(&mut a, &mut b);
    conversation.exchange(&mut a, &mut b, "before");
    b.check("iperf3 -s -D");
    let mut stream = a.start(&format!("iperf3 -c {} -t 20 -i 1 --forceflush", B[0]));
    for interval in 0..2 {
        a.wait_output(&mut stream, &format!("]   {interval}."));
    }

    let folder = cable.kill();
    let since = Instant::now();
    let cable = Cable::start_in(folder, &[]);
    ping_until_answered(&mut b, A[0]);
    println!("a ping was answered {:.1} s after the restart", since.elapsed().as_secs_f64());

    let output = a.finish_well(stream);
    println!("{output}");
    let intervals = output.lines().take_while(|line| !line.starts_with("- -"));
    let last = intervals.filter(|line| line.contains(" sec ")).last().expect("intervals");
    assert!(!last.contains(" 0.00 Bytes"), "the stream did not go on:\n{output}");
    conversation.exchange(&mut a, &mut b, "after");
    ping_both_ways(&mut a, &mut b);
    a.power_off();
    b.power_off();
    let counters = cable.stop();
    for port in ['a', 'b'] {
        assert_eq!(counters.number(port, "connects"), 1, "in this espwire's life");
        assert_at_least(&counters, port, PING_BOTH_WAYS, PING_BOTH_WAYS);
    }
    assert_drops(&counters, some_of(&counters));
}

/// S5: a QEMU that is killed, and another guest on its socket.
#[test]
fn one_guest_leaves_and_another_takes_its_place() {
    let Some(lab) = Lab::enter() else { return };
    let mut cable = Cable::start(&[]);
    let [mut a, mut b] = boot_on(&lab, &cable);
    ping_both_ways(&mut a, &mut b);
    b.kill();
    cable.wait_counters("b is gone", |counters| counters.number('b', "disconnects") == 1);
    let (output, status) = a.run(&format!("ping -c 3 -i 0.2 -W 1 {}", B[0]));
    assert!(status == 1 && output.contains("100% packet loss"), "{output}");
    cable.wait_counters("a's frames find nobody", |c| c.number('a', "tx.drops.peer_down") >= 3);

    let address = "192.168.10.3";
    let ip = format!("{address}/24,fd10::3/64");
    let mut c = lab.start("c", &cable.socket('b'), &["--mac", "52:54:00:00:00:0c", "--ip", &ip]);
    c.wait_ready();
    ping(&mut a, address);
    ping(&mut a, "fd10::3");
    ping(&mut c, A[0]);
    ping(&mut c, A[1]);
    a.power_off();
    c.power_off();
    let counters = cable.stop();
    assert_eq!((counters.number('a', "connects"), counters.number('b', "connects")), (1, 2));
    for port in ['a', 'b'] {
        assert_at_least(&counters, port, 2 * PING_BOTH_WAYS, 2 * PING_BOTH_WAYS);
    }
    assert_drops(&counters, FEW);
}

/// S7: a guest that stands still takes what its RX ring holds; the rest is dropped, and its peer goes on.
#[test]
fn a_guest_that_is_stopped_and_continued_holds_nobody_up() {
    const FRAMES: u64 = 1000;
    const RING: u64 = 256;
    let Some(lab) = Lab::enter() else { return };
    let mut cable = Cable::start(&[]);
    let [mut a, mut b] = boot_on(&lab, &cable);
    ping_both_ways(&mut a, &mut b);
    b.signal(Signal::STOP);
    let (output, _) = a.run(&format!("ping -q -c {FRAMES} -i 0.001 -W 1 {}", B[0]));
    assert!(output.contains(&format!("{FRAMES} packets transmitted, 0 packets received")), "{output}");
    let stopped = cable.wait_counters("drops", |c| c.number('a', "tx.frames") >= FRAMES);
    assert!(stopped.number('a', "tx.drops.no_rx_buffer") >= FRAMES - RING, "{}", stopped.0);
    b.signal(Signal::CONT);
    ping_until_answered(&mut a, B[0]);
    ping_both_ways(&mut a, &mut b);
    a.power_off();
    b.power_off();
    let counters = cable.stop();
    assert_at_least(&counters, 'a', FRAMES + 2 * PING_BOTH_WAYS, 2 * PING_BOTH_WAYS);
    assert_drops(&counters, FRAMES + FEW);
}

/// The guests learn the MTU from their NICs; QEMU tells espwire by NET_SET_MTU.
#[test]
fn jumbo_frames_pass_whole() {
    const FRAMES: u64 = 20;
    const ECHO_LEN: u64 = 8000;
    let Some(lab) = Lab::enter() else { return };
    let mut cable = Cable::start_debug(&["--mtu", "9000"]);
    let options: &[&str] = &["--nic-opts", "host_mtu=9000"];
    let [mut a, mut b] = boot(&lab, cable.folder(), [options, options]);
    let told = [(); 2].map(|()| cable.wait_line("request=NET_SET_MTU"));
    assert!(["port=a", "port=b"].iter().all(|port| told.iter().any(|line| line.contains(port))), "{told:?}");
    for guest in [&mut a, &mut b] {
        assert_eq!(guest.check("cat /sys/class/net/eth0/mtu"), "9000\n");
    }
    ping_both_ways(&mut a, &mut b);
    let before = cable.counters();
    let output = a.check(&format!("ping -q -c {FRAMES} -i 0.1 -s {ECHO_LEN} {}", B[0]));
    assert!(output.contains(" 0% packet loss"), "{output}");
    let after = cable.counters();
    for port in ['a', 'b'] {
        let more = |path: &str| after.number(port, path) - before.number(port, path);
        assert!(more("tx.bytes") >= FRAMES * (AROUND_IPV4 + 8 + ECHO_LEN), "{}", after.0);
        // Of 1500 octets it would be six times as many.
        assert!((FRAMES..2 * FRAMES).contains(&more("tx.frames")), "{} of {FRAMES}", more("tx.frames"));
    }
    a.power_off();
    b.power_off();
    let counters = cable.stop();
    for port in ['a', 'b'] {
        assert_eq!(counters.number(port, "connects"), 1);
    }
    assert_drops(&counters, FEW);
}

/// Addresses of guests a and b in the tunnel that qemu/ipsec/*.sh set up.
const TUNNEL: [&str; 2] = ["10.168.66.1", "10.168.66.2"];
/// Its SPIs: what a sends, and what b sends.
const SPIS: [&str; 2] = [SPI_A, SPI_B];
const SPI_A: &str = "0x01000000";
const SPI_B: &str = "0x02000000";

/// Options of qemu/vm for guests that outlive several espwires, with the kernel's IPsec.
const LASTING: &[&str] = &["--reconnect", "1", "--append", "espwire.xfrm=1"];

/// Octets that a sends in a stream in `talk_through_tunnel`.
const STREAM: u64 = 1 << 20;
/// ESP packets that each guest sends at least in `talk_through_tunnel`: requests and replies of `ping`, and for
/// a line and its answer SYN, data and FIN; a also the stream, in frames of 1514 octets at most.
const TALK: [u64; 2] = [2 * 3 + 2 * 3 + STREAM / 1500, 2 * 3 + 2 * 3];

/// A script of `ip xfrm` lines, for guests by its name and for espwire by its path.
fn script(suite: &str) -> String {
    repository().join(format!("qemu/ipsec/{suite}.sh")).into_os_string().into_string().expect("UTF-8")
}

/// Another espwire on the sockets of `cable`, and the guests on it again.
fn exchange_cable(cable: Cable, a: &mut Guest, options: &[&str]) -> Cable {
    let cable = Cable::start_in(cable.kill(), options);
    ping_until_answered(a, B[0]);
    cable
}

/// Sets up IPsec in both guests, by the script of `suite`.
fn set_up_ipsec(guests: &mut [Guest; 2], suite: &str) {
    let jobs = guests.each_mut().map(|guest| guest.start(&format!("ipsec-up {suite}.sh")));
    for (guest, job) in guests.iter_mut().zip(jobs) {
        assert_eq!(guest.finish_well(job), "2 SAs, 2 policies\n");
    }
}

/// Ping, a line over TCP both ways, and a stream through the tunnel; nothing may leave the guests in clear text.
fn talk_through_tunnel(guests: &mut [Guest; 2]) {
    for guest in &mut *guests {
        guest.check("clear-text start; line-server");
    }
    let [a, b] = guests;
    ping(a, TUNNEL[1]);
    ping(b, TUNNEL[0]);
    a.check(&format!("line-client {} 'helloxfrm!!!!'", TUNNEL[1]));
    b.check(&format!("line-client {} 'and back'", TUNNEL[0]));
    // The FIFO has no end: it is the other guest that ends the connection.
    let arrival = b.start("[ -p /tmp/never ] || mkfifo /tmp/never; nc -l -p 7001 <>/tmp/never | wc -c");
    a.check(&format!("until head -c {STREAM} /dev/zero | nc {} 7001; do usleep 50000; done", TUNNEL[1]));
    assert_eq!(b.finish_well(arrival), format!("{STREAM}\n"));
    for guest in guests {
        guest.check("clear-text stop");
    }
}

/// What a guest's own IPsec counted: packets of its SAs, by SPI, in their order. Nothing may have failed.
fn own_counts(guest: &mut Guest) -> [u64; 2] {
    let output = guest.check("ipsec-counts");
    let lines: Vec<_> = output.lines().filter_map(|line| line.split_once(' ')).collect();
    let [(SPI_A, from_a), (SPI_B, from_b)] = lines[..] else { panic!("not two SAs alone:\n{output}") };
    [from_a, from_b].map(|count| count.parse().expect("a number"))
}

/// IPv4 packets that have reached a guest.
fn ipv4_received(guest: &mut Guest) -> u64 {
    let output = guest.check("awk '/^Ip:/ { count = $4 } END { print count }' /proc/net/snmp");
    output.trim().parse().expect("a number")
}

/// The SA of what `port`'s guest sends, as its NIC counted it.
fn sa(counters: &Counters, port: char) -> &Value {
    let at = usize::from(port == 'b');
    let sas = counters.0["ports"][at]["tx"]["sas"].as_array().expect("a NIC with SAs");
    sas.iter().find(|sa| sa["spi"] == SPIS[at]).unwrap_or_else(|| panic!("no SA {}: {sas:?}", SPIS[at]))
}

fn decimal(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no number: {value}"))
}

/// All packets of the SA of `port` were right, and as many as the guests counted themselves: those of `TALK`
/// at least. A stream may lose some for want of a buffer.
fn assert_verified(counters: &Counters, port: char, guests: [[u64; 2]; 2]) {
    let at = usize::from(port == 'b');
    let sa = sa(counters, port);
    println!("port {port}: {} packets verified, {} octets; guests: {guests:?}", sa["packets"], sa["bytes"]);
    let packets = decimal(&sa["packets"]);
    let (sent, received) = (guests[at][at], guests[1 - at][at]);
    assert!(packets >= TALK[at] && packets == sent, "{sent} sent: {sa}");
    assert!(
        (packets.saturating_sub(counters.drops(port))..=packets).contains(&received),
        "{received} received: {sa}"
    );
    assert_eq!(decimal(&sa["replays"]), 0);
    for (reason, count) in sa["failures"].as_object().expect("failures") {
        assert_eq!(decimal(count), 0, "{reason}: {sa}");
    }
}

/// The guests' own IPsec, CBC and GCM, through NICs that look into it; then through one that does.
#[test]
fn ipsec_of_the_guests_passes_nics_that_inspect_it() {
    let Some(lab) = Lab::enter() else { return };
    let mut cable = Cable::start(&["--mode", "inspect", "--xfrm", &script("cbc")]);
    let mut guests = boot(&lab, cable.folder(), [LASTING, LASTING]);
    for suite in ["cbc", "gcm"] {
        if suite != "cbc" {
            let options = ["--mode", "inspect", "--xfrm", &script(suite)];
            cable = exchange_cable(cable, &mut guests[0], &options);
        }
        set_up_ipsec(&mut guests, suite);
        talk_through_tunnel(&mut guests);
        let counted = guests.each_mut().map(own_counts);
        let counters = cable.counters();
        for port in ['a', 'b'] {
            assert_verified(&counters, port, counted);
        }
        assert_at_least(&counters, 'a', TALK[0], TALK[1]);
        assert_at_least(&counters, 'b', TALK[1], TALK[0]);
        assert_drops(&counters, FEW);
    }

    // One NIC inspects, the other is a plain cable: what b sends is nowhere explained or counted as ESP.
    let options = ["--mode", "inspect,off", "--xfrm", &script("gcm"), "--trace=json", "--trace-limit", "0"];
    cable = exchange_cable(cable, &mut guests[0], &options);
    set_up_ipsec(&mut guests, "gcm");
    talk_through_tunnel(&mut guests);
    let counted = guests.each_mut().map(own_counts);
    let [a, b] = guests;
    a.power_off();
    b.power_off();
    let counters = cable.counters();
    counters.assert_balance();
    cable.signal(Signal::TERM);
    assert_eq!(cable.wait().code(), Some(0));
    let lines = cable.log.iter().filter(|line| line.starts_with('{'));
    let records = lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let traced: Vec<_> = records.filter(|record| record["type"] != "counters").collect();
    assert_verified(&counters, 'a', counted);
    assert!(counted[1][1] >= TALK[1], "{counted:?}");
    assert_at_least(&counters, 'b', counted[1][1], TALK[0]);
    assert!(counters.0["ports"][1]["tx"]["sas"].is_null(), "{}", counters.0);
    assert_eq!(traced.len() as u64, counted[0][0], "records, and packets of a");
    for record in traced {
        assert_eq!([&record["type"], &record["port"], &record["spi"]], ["esp", "a", SPI_A], "{record}");
    }
    assert_drops(&counters, FEW);
}

/// An SPI that the NIC has no SA for, and a wrong key at the NIC.
#[test]
fn esp_that_a_nic_cannot_verify_reaches_nobody() {
    /// Echo requests in each direction.
    const PINGS: u64 = 5;
    let Some(lab) = Lab::enter() else { return };
    let text = fs::read_to_string(script("gcm")).expect("a script");
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, changes: &[(&str, &str)]| {
        let changed = changes.iter().fold(text.clone(), |text, (old, new)| {
            assert!(text.contains(old), "{old} in {text}");
            text.replace(old, new)
        });
        let path = folder.path().join(name);
        fs::write(&path, changed).expect("written");
        path.into_os_string().into_string().expect("UTF-8")
    };
    let ping_in_vain = |from: &mut Guest, to: &str| {
        let (output, status) = from.run(&format!("ping -q -c {PINGS} -i 0.2 -W 1 {to}"));
        assert!(status == 1 && output.contains(" 100% packet loss"), "{output}");
    };

    // The NICs know what a sends, and not what b sends.
    let no_sa = file("no_sa", &[(SPI_B, "0x03000000")]);
    let mut cable = Cable::start(&["--mode", "inspect", "--xfrm", &no_sa]);
    let mut guests = boot(&lab, cable.folder(), [LASTING, LASTING]);
    ping_until_answered(&mut guests[0], B[0]);
    set_up_ipsec(&mut guests, "gcm");
    let before = guests.each_mut().map(ipv4_received);
    ping_in_vain(&mut guests[0], TUNNEL[1]);
    let after = guests.each_mut().map(ipv4_received);
    assert_eq!(after[0], before[0], "something has reached guest a");
    assert_eq!(guests.each_mut().map(own_counts), [[PINGS, 0], [PINGS, PINGS]]);
    let counters = cable.counters();
    assert_eq!(decimal(&sa(&counters, 'a')["packets"]), PINGS);
    assert_eq!(counters.number('b', "tx.drops.no_sa"), PINGS);
    assert_at_least(&counters, 'a', PINGS, 0);
    assert_at_least(&counters, 'b', PINGS, 0);
    counters.assert_balance();

    // They know both, but for one bit of each key.
    let keys = [("0x292e91b2", "0x292e91b3"), ("0x9907c699", "0x9907c698")];
    let wrong_key = file("wrong_key", &keys);
    cable = exchange_cable(cable, &mut guests[0], &["--mode", "inspect", "--xfrm", &wrong_key]);
    set_up_ipsec(&mut guests, "gcm");
    let before = guests.each_mut().map(ipv4_received);
    ping_in_vain(&mut guests[0], TUNNEL[1]);
    ping_in_vain(&mut guests[1], TUNNEL[0]);
    let after = guests.each_mut().map(ipv4_received);
    assert_eq!(after, before, "something has reached a guest");
    assert_eq!(guests.each_mut().map(own_counts), [[PINGS, 0], [0, PINGS]]);
    let [a, b] = guests;
    a.power_off();
    b.power_off();
    let counters = cable.stop();
    for port in ['a', 'b'] {
        assert_eq!(counters.number(port, "tx.drops.auth_fail"), PINGS);
        let sa = sa(&counters, port);
        assert_eq!([decimal(&sa["packets"]), decimal(&sa["failures"]["auth_fail"])], [0, PINGS], "{sa}");
        assert_at_least(&counters, port, PINGS, 0);
    }
}
