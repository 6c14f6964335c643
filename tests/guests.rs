//! Real guests: two Linux kernels in QEMU on one espwire. How they are built and driven: qemu/README.md.

mod harness;

use std::path::Path;
use std::time::Instant;

use harness::guest::{Guest, Lab};
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
