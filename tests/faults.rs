//! Guests and frontends that break the rules: their own port suffers, the process and the other port don't.

mod harness;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use espwire_frontend::{Nic, Request, Side};
use espwire_vring::Buffer;
use harness::{Cable, StopOnDrop, Up, WAIT, assert_usable, frame, nic, settle};

/// F8: a frontend takes its memory away under traffic, as sender and as receiver.
#[test]
fn truncated_memory_breaks_its_port_and_nothing_else() {
    for (victim, other) in [('a', 'b'), ('b', 'a')] {
        for left in [0, 4096, 64 * 1024] {
            let mut cable = Cable::start(&[]);
            let mut broken = nic().up(cable.socket(victim));
            let mut healthy = nic().up(cable.socket(other));
            for number in 0..100 {
                broken.send(&frame(number, 60)).unwrap();
                healthy.send(&frame(number, 60)).unwrap();
            }
            broken.memory().truncate(left).unwrap();
            let deadline = Instant::now() + WAIT;
            // The healthy side sends on: into a port that is broken now, or about to be.
            loop {
                let _ = healthy.send(&frame(0, 1500));
                // A kick of the broken side makes espwire look at its rings.
                broken.kick(Side::Tx).unwrap();
                healthy.wait_tx_idle(WAIT).unwrap();
                if cable.counters().number(victim, "memory_faults") == 1 {
                    break;
                }
                assert!(Instant::now() < deadline, "the fault was not noticed");
            }
            let mut peer_down = || {
                let sent = healthy.tx_completed();
                let counters =
                    cable.wait_counters("all frames counted", |c| c.number(other, "tx.frames") == sent);
                for number in 0..10 {
                    healthy.send(&frame(number, 60)).unwrap();
                    healthy.wait_tx_idle(WAIT).unwrap();
                }
                counters.number(other, "tx.drops.peer_down")
            };
            let before = peer_down();
            assert_eq!(peer_down(), before + 10, "a broken port is down");
            drop((broken, healthy));
            assert!(cable.is_running());
            cable.wait_counters("both hang-ups", |c| {
                c.number('a', "disconnects") + c.number('b', "disconnects") == 2
            });
            assert_usable(&cable);
            assert_eq!(cable.stop().number(victim, "memory_faults"), 1);
        }
    }
}

/// Sends frames until told to stop, each taken back before the next; returns how many.
fn send_until(nic: &mut Nic, stop: &AtomicBool) -> u64 {
    let mut sent = 0;
    while !stop.load(Ordering::Acquire) {
        nic.send(&frame(sent, 60)).unwrap();
        nic.wait_tx_idle(WAIT).unwrap();
        sent += 1;
    }
    sent
}

/// G1, G2, G7, G9, G10, G13: chains that break rules come back, counted, and good ones around them pass.
#[test]
fn bad_chains_are_returned_and_counted() {
    let cable = Cable::start(&[]);
    let mut a = nic().up(cable.socket('a'));
    let mut b = nic().up(cable.socket('b'));
    let good = |nic: &Nic| nic.memory().regions().last().unwrap().start;
    let base = good(&a);
    let readable = |addr, len| Buffer { addr, len, writable: false };
    let bad = [
        vec![readable(u64::MAX, 60)],
        vec![readable(u64::MAX - 10, 60)],
        vec![readable(1 << 60, 60)],
        vec![readable(base, u32::MAX)],
        vec![readable(base, 12), readable(0x6fff_ffff_ffff, 1)],
        vec![Buffer { addr: base, len: 100, writable: true }],
        vec![readable(base, 12), Buffer { addr: base, len: 100, writable: true }],
    ];
    for (number, buffers) in bad.iter().enumerate() {
        let ring = a.ring(Side::Tx).unwrap();
        assert!(ring.push(buffers).is_some());
        a.send(&frame(number as u64, 60)).unwrap();
        assert!(b.wait_receive(WAIT).unwrap() == frame(number as u64, 60));
        // Both are back before the next.
        let deadline = Instant::now() + WAIT;
        let ring = a.ring(Side::Tx).unwrap();
        let mut back = 0;
        while back < 2 {
            back += usize::from(ring.pop_used().unwrap().is_some());
            assert!(Instant::now() < deadline);
        }
    }
    drop((a, b));
    let counters = cable.stop();
    assert_eq!(counters.number('a', "tx.drops.bad_chain"), bad.len() as u64);
    assert_eq!(counters.number('b', "rx.frames"), bad.len() as u64);
}

/// G3, G5: a ring that lies about its indices stands still until its driver sets it up again; the other
/// direction and the other guest go on.
#[test]
fn a_lying_ring_stops_alone_and_until_its_reset() {
    let mut cable = Cable::start(&[]);
    let mut a = nic().up(cable.socket('a'));
    let mut b = nic().up(cable.socket('b'));
    for round in 1..=2 {
        // The available index, two octets into the available ring, jumps by more than the ring holds.
        let available = a.ring(Side::Tx).unwrap().layout().config().available;
        a.memory().table().write(available + 2, &0x7fffu16.to_le_bytes()).unwrap();
        a.kick(Side::Tx).unwrap();
        cable.wait_counters("the fault", |c| c.number('a', "ring_faults") == round);
        assert!(a.error_count(Side::Tx).unwrap() > 0, "SET_VRING_ERR's descriptor");
        b.send(&frame(round, 60)).unwrap();
        assert!(a.wait_receive(WAIT).unwrap() == frame(round, 60));
        a.reset().unwrap();
        settle(&mut a);
        a.send(&frame(round, 60)).unwrap();
        assert!(b.wait_receive(WAIT).unwrap() == frame(round, 60));
    }
    drop((a, b));
    cable.stop();
}

/// F1, F5, F10, F11, F12, F14: messages that end their session; the other guest's traffic does not notice.
#[test]
fn bad_messages_end_their_session_only() {
    let mut cable = Cable::start(&[]);
    let mut a = nic().up(cable.socket('a'));
    let stop = AtomicBool::new(false);
    let null = std::fs::File::open("/dev/null").unwrap();
    let fd = std::os::fd::AsFd::as_fd(&null);
    let state = |index: u32, num: u32| [index.to_ne_bytes(), num.to_ne_bytes()].concat();
    let cases: Vec<(&str, Request, Vec<u8>, usize)> = vec![
        ("unknown request", Request(77), vec![], 0),
        ("a feature not offered", Request::SET_FEATURES, u64::MAX.to_ne_bytes().to_vec(), 0),
        ("short payload", Request::SET_FEATURES, vec![1], 0),
        ("descriptor on a message that takes none", Request::SET_FEATURES, vec![0; 8], 1),
        ("too many descriptors", Request::SET_VRING_KICK, vec![0; 8], 2),
        ("33 descriptors", Request::SET_MEM_TABLE, vec![0; 8], 33),
        ("ring 2", Request::SET_VRING_NUM, state(2, 256), 0),
        ("ring 255", Request::SET_VRING_BASE, state(255, 0), 0),
        ("ring u32::MAX", Request::GET_VRING_BASE, state(u32::MAX, 0), 0),
        ("ring 2 enabled", Request::SET_VRING_ENABLE, state(2, 1), 0),
        ("enabled by 2", Request::SET_VRING_ENABLE, state(0, 2), 0),
        ("size 0", Request::SET_VRING_NUM, state(0, 0), 0),
        ("size 65536", Request::SET_VRING_NUM, state(0, 65_536), 0),
        ("addresses outside", Request::SET_VRING_ADDR, vec![0xff; 40], 0),
        ("no regions", Request::SET_MEM_TABLE, vec![0; 8], 0),
        ("inflight", Request(31), vec![0; 24], 0),
        ("log", Request(6), vec![0; 16], 1),
    ];
    let sent = std::thread::scope(|scope| {
        let sender = scope.spawn(|| send_until(&mut a, &stop));
        let stopper = StopOnDrop(&stop);
        for (number, (what, request, body, fds)) in cases.iter().enumerate() {
            let mut b = nic().retry(true).up(cable.socket('b'));
            let connection = b.connection().unwrap();
            // It may be refused at once, or be noticed with the next message.
            let _ = connection.send(*request, false, body, &vec![fd; *fds]);
            connection.wait_closed(WAIT).unwrap_or_else(|error| panic!("{what}: {error}"));
            let gone = number as u64 + 1;
            cable.wait_counters(what, |c| c.number('b', "disconnects") == gone);
        }
        drop(stopper);
        sender.join().unwrap()
    });
    assert!(sent > 0);
    a.disconnect().unwrap();
    assert_usable(&cable);
    cable.stop();
}

/// F2, F3, F4: messages cut anywhere, in pieces, or never finished.
#[test]
fn truncated_messages_end_their_session_only() {
    let mut cable = Cable::start(&[]);
    let whole = [&2u32.to_ne_bytes()[..], &1u32.to_ne_bytes(), &8u32.to_ne_bytes(), &[0; 8]].concat();
    let mut gone = 0;
    for len in 0..whole.len() {
        let mut connection = espwire_frontend::Connection::connect(&cable.socket('a'), true, WAIT).unwrap();
        connection.send_octets(&whole[..len], &[]).unwrap();
        drop(connection);
        gone += 1;
        cable.wait_counters("the hang-up", |c| c.number('a', "disconnects") == gone);
    }
    // One that stalls after half a header, for ever: the other port does not care.
    let mut stalled = espwire_frontend::Connection::connect(&cable.socket('a'), true, WAIT).unwrap();
    stalled.send_octets(&whole[..6], &[]).unwrap();
    let mut b = nic().up(cable.socket('b'));
    for number in 0..100 {
        b.send(&frame(number, 60)).unwrap();
        b.wait_tx_idle(WAIT).unwrap();
    }
    drop((stalled, b));
    cable.wait_counters("the hang-ups", |c| {
        c.number('a', "disconnects") == gone + 1 && c.number('b', "disconnects") == 1
    });
    assert_usable(&cable);
    cable.stop();
}
