//! The program: options, exit codes, descriptors, signals, records.

mod harness;

use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write, pipe};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Output;
use std::time::{Duration, Instant};

use espwire_frontend::{Request, Side, body};
use harness::{Cable, Up, WAIT, assert_usable, espwire, frame, nic, settle};
use rustix::process::Signal;

fn output(options: &[&str]) -> Output {
    espwire().args(options).output().expect("espwire runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// QEMU, "Backend program conventions".
#[test]
fn prints_its_capabilities_whatever_else_it_is_given() {
    for options in [
        &["--print-capabilities"][..],
        &["run", "--print-capabilities"],
        &["--socket-path=/nowhere/a", "--print-capabilities", "--fd=7", "--what"],
    ] {
        let output = output(options);
        assert_eq!(output.status.code(), Some(0), "{options:?}");
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(answer["type"], "net");
    }
}

#[test]
fn wrong_usage_ends_with_2_and_a_failure_with_1() {
    for (options, code, text) in [
        (&[][..], 2, "Usage"),
        (&["run"], 2, "--socket-path"),
        (&["run", "--socket-path", "a"], 2, "--peer-socket-path"),
        (&["run", "--socket-path", "a", "--peer-socket-path", "b", "--mode", "on"], 2, "on"),
        (&["run", "--socket-path", "a", "--peer-socket-path", "b", "--mtu", "67"], 2, "67"),
        (&["run", "--fd", "0", "--peer-fd", "1", "--client"], 2, "--client needs a socket path"),
        (
            &["run", "--socket-path", "/nowhere/a", "--peer-socket-path", "b"],
            1,
            "/nowhere/a: can't listen: No such",
        ),
        (&["run", "--fd", "999", "--peer-socket-path", "b"], 1, "port a: descriptor 999"),
    ] {
        let output = output(options);
        assert_eq!(output.status.code(), Some(code), "{options:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(text), "{options:?}: {}", stderr(&output));
    }
}

/// F21.
#[test]
fn takes_a_stale_socket_over_but_no_live_one_and_no_file() {
    let folder = tempfile::tempdir().unwrap();
    drop(UnixListener::bind(folder.path().join("a.sock")).unwrap());
    let cable = Cable::start_in(folder, &[]);
    let (a, other) = (cable.socket('a'), cable.folder().join("other.sock"));
    let words = |a: &std::path::Path| {
        let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
        ["run".to_owned(), "--socket-path".to_owned(), path(a), "--peer-socket-path".to_owned(), path(&other)]
    };
    let second = espwire().args(words(&a)).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr(&second).contains("another process listens there"), "{}", stderr(&second));
    let file = cable.folder().join("file");
    std::fs::write(&file, "precious").unwrap();
    let third = espwire().args(words(&file)).output().unwrap();
    assert_eq!(third.status.code(), Some(1));
    assert!(stderr(&third).contains("not a socket"), "{}", stderr(&third));
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    cable.stop();
}

/// F21, S11: with a frontend on one of them and none on the other.
#[test]
fn removes_its_sockets_at_the_end() {
    // The cable's own folder vanishes with it.
    let folder = tempfile::tempdir().unwrap();
    let sockets = ["a", "b"].map(|port| folder.path().join(port));
    let [a, b] = sockets.each_ref().map(|path| path.to_str().unwrap());
    for signal in [Signal::TERM, Signal::INT] {
        let words = ["--socket-path", a, "--peer-socket-path", b];
        let mut cable = Cable::start_with(tempfile::tempdir().unwrap(), &words);
        cable.wait_line("port=b");
        let connected = nic().up(sockets[0].clone());
        assert!(sockets.iter().all(|path| path.exists()));
        cable.signal(signal);
        assert_eq!(cable.wait().code(), Some(0), "{:?}", cable.log);
        assert!(sockets.iter().all(|path| !path.exists()), "{signal:?}");
        drop(connected);
    }
}

#[test]
fn a_cpu_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let sockets = ["a", "b"].map(|port| folder.path().join(port));
    let [a, b] = sockets.each_ref().map(|path| path.to_str().unwrap());
    // The last number that the kernel's own set has room for.
    let words = ["--socket-path", a, "--peer-socket-path", b, "--cpu", "1023"];
    let mut cable = Cable::start_with(tempfile::tempdir().unwrap(), &words);
    assert_eq!(cable.wait().code(), Some(1), "{:?}", cable.log);
    assert!(cable.log.iter().any(|line| line.contains("can't start a data path")), "{:?}", cable.log);
    assert!(sockets.iter().all(|path| !path.exists()));
}

/// S15: `espwire run … 2>&1 | head -n 1`.
#[test]
fn serves_on_when_the_reader_of_its_output_leaves() {
    let (reader, writer) = pipe().unwrap();
    let mut cable = Cable::start_writing_to(writer.try_clone().unwrap(), writer);
    let mut first = String::new();
    BufReader::new(reader).read_line(&mut first).unwrap();
    assert!(first.contains("port=a"), "{first}");
    // Each session has something to say when it begins and when it ends.
    assert_usable(&cable);
    assert_usable(&cable);
    assert!(cable.is_running());
    let counters = cable.stop();
    assert_eq!(counters.number('a', "rx.frames"), 20);
    assert_eq!(counters.number('b', "connects"), 2);
}

/// A pipe that takes nothing more.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

/// S15, F11: neither who serves a guest nor the end waits for the reader of stderr, whatever a frontend makes
/// espwire say there.
#[test]
fn a_blocked_stderr_stops_neither_traffic_nor_the_end() {
    const FAULTS: u64 = 200;
    let ((_stdout, stdout), (_stderr, stderr)) = (pipe().unwrap(), full_pipe());
    let cable = Cable::start_writing_to(stdout, stderr);
    let mut a = nic().retry(true).up(cable.socket('a'));
    let mut b = nic().retry(true).up(cable.socket('b'));
    let kick = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    let deadline = Instant::now() + WAIT;
    for fault in 1..=FAULTS {
        // A TX ring of a size that is no power of two: the path has a line to write for each of its starts.
        let connection = a.connection().unwrap();
        connection.ask(Request::GET_VRING_BASE, false, &body::vring_state(1, 0)).unwrap();
        connection.tell(Request::SET_VRING_NUM, false, &body::vring_state(1, 3), &[]).unwrap();
        connection.tell(Request::SET_VRING_KICK, false, &body::number(1), &[kick.as_fd()]).unwrap();
        while a.error_count(Side::Tx).unwrap() < fault {
            b.send(&frame(fault, 60)).unwrap();
            assert!(a.wait_receive(WAIT).unwrap() == frame(fault, 60));
            assert!(Instant::now() < deadline, "fault {fault} was not told");
        }
    }
    let counters = cable.stop();
    assert_eq!(counters.number('a', "ring_faults"), FAULTS);
    assert_eq!(counters.drops('b'), 0);
}

/// S11, S15: the counters can't be printed, so the first signal does not end it.
#[test]
fn a_second_sigterm_ends_it_whatever_it_waits_for() {
    let (_reader, writer) = full_pipe();
    let mut cable = Cable::start_writing_to(writer.try_clone().unwrap(), writer);
    nic().retry(true).up(cable.socket('a')).disconnect().unwrap();
    let deadline = Instant::now() + WAIT;
    let status = loop {
        // Two signals that come together are one.
        cable.signal(Signal::TERM);
        if let Some(status) = cable.wait_within(Duration::from_millis(10)) {
            break status;
        }
        assert!(Instant::now() < deadline, "it did not end");
    };
    assert_eq!(status.code(), Some(1));
}

/// Lets a descriptor be inherited.
fn inherit(fd: impl AsFd) {
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).unwrap();
}

fn number(fd: &impl std::os::fd::AsRawFd) -> String {
    fd.as_raw_fd().to_string()
}

#[test]
fn serves_inherited_listening_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = ["a", "b"].map(|port| folder.path().join(port));
    let listeners = [&a, &b].map(|path| UnixListener::bind(path).unwrap());
    listeners.iter().for_each(inherit);
    let words = ["--fd", &number(&listeners[0]), "--peer-fd", &number(&listeners[1])];
    let cable = Cable::start_with(tempfile::tempdir().unwrap(), &words);
    for _ in 0..2 {
        let mut b_nic = nic().retry(true).up(b.clone());
        let mut a_nic = nic().retry(true).up(a.clone());
        a_nic.send(&frame(1, 60)).unwrap();
        assert!(b_nic.wait_receive(WAIT).unwrap() == frame(1, 60));
        a_nic.disconnect().unwrap();
        b_nic.disconnect().unwrap();
    }
    assert_eq!(cable.stop().number('b', "rx.frames"), 2);
}

/// The hang-up of a connected socket's frontend ends the process, in good order.
#[test]
fn serves_inherited_connected_sockets_until_one_closes() {
    let [(a, a_theirs), (b, b_theirs)] = [(), ()].map(|()| UnixStream::pair().unwrap());
    inherit(&a_theirs);
    inherit(&b_theirs);
    let words = ["--fd", &number(&a_theirs), "--peer-fd", &number(&b_theirs), "--name", "inherited"];
    let mut cable = Cable::start_with(tempfile::tempdir().unwrap(), &words);
    let mut nics = [a, b].map(|stream| nic().from_stream(stream).unwrap());
    nics.iter_mut().for_each(settle);
    let [a_nic, mut b_nic] = nics;
    b_nic.send(&frame(1, 60)).unwrap();
    b_nic.wait_tx_idle(WAIT).unwrap();
    drop((a_theirs, b_theirs));
    drop(a_nic);
    assert_eq!(cable.wait().code(), Some(0), "{:?}", cable.log);
    assert!(cable.log.iter().any(|line| line == "counters of inherited"), "{:?}", cable.log);
}

#[test]
fn sigusr1_prints_the_counters_and_the_cable_goes_on() {
    for wait in ["event", "poll"] {
        let mut cable = Cable::start(&["--name", "lab", "--mtu", "1400", "--wait", wait]);
        let mut a = nic().mtu(1400).up(cable.socket('a'));
        let mut b = nic().up(cable.socket('b'));
        for round in 1..=3 {
            a.send(&frame(round, 100)).unwrap();
            b.wait_receive(WAIT).unwrap();
            let counters = cable.wait_counters("the frame", |c| c.number('b', "rx.frames") == round);
            counters.assert_balance();
            assert_eq!(counters.0["name"], "lab");
            assert_eq!((&counters.0["v"], &counters.0["type"]), (&1.into(), &"counters".into()));
            assert_eq!(counters.number('a', "tx.bytes"), 100 * round);
            cable.wait_line("frames");
        }
        drop((a, b));
        cable.stop();
    }
}

/// NET_SET_MTU beyond what the port offers is refused; the configuration space has the value.
#[test]
fn offers_and_enforces_the_mtu() {
    let cable = Cable::start(&["--mtu", "1400"]);
    let a = nic().mtu(1400).order(espwire_frontend::Order::CloudHypervisor).up(cable.socket('a'));
    let negotiated = a.negotiated().unwrap();
    assert!(negotiated.offered.has(espwire_virtnet::Features::MTU), "{negotiated:?}");
    assert_eq!(
        negotiated.config.as_ref().map(|octets| octets[10..12].to_vec()),
        Some(1400u16.to_le_bytes().to_vec())
    );
    drop(a);
    assert!(nic().mtu(1401).reply_to_all(true).connect(cable.socket('b')).is_err());
    cable.stop();
}

/// QEMU means queue pairs by GET_QUEUE_NUM, cloud-hypervisor virtqueues.
#[test]
fn counts_queues_as_each_frontend_means_it() {
    use espwire_frontend::Order;
    let cable = Cable::start(&[]);
    for (order, due) in [(Order::Qemu, 1), (Order::CloudHypervisor, 2)] {
        let mut a = nic().order(order).up(cable.socket('b'));
        assert_eq!(a.negotiated().unwrap().queue_num, Some(due), "{order:?}");
        a.disconnect().unwrap();
    }
    cable.stop();
}
