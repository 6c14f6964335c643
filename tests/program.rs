//! The program: options, exit codes, descriptors, signals, records.

mod harness;

use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Output;

use harness::{Cable, Up, WAIT, espwire, frame, nic, settle};

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
    let sockets = ['a', 'b'].map(|port| cable.socket(port));
    cable.stop();
    assert!(sockets.iter().all(|path| !path.exists()), "sockets are removed at the end");
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
    let mut cable = Cable::start(&["--name", "lab", "--mtu", "1400"]);
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
