//! Frontends that leave and come back, and an espwire that does.

mod harness;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use espwire_frontend::{Nic, Order, Request, Side, body};
use harness::{Cable, StopOnDrop, Up, WAIT, frame, nic, settle};

/// A frame that carries its number.
fn numbered(number: u64) -> Vec<u8> {
    let mut frame = frame(number, 60);
    frame[14..22].copy_from_slice(&number.to_be_bytes());
    frame
}

fn number_of(frame: &[u8]) -> u64 {
    let number = u64::from_be_bytes(frame[14..22].try_into().expect("eight octets"));
    assert!(frame == numbered(number), "frame {number} is damaged");
    number
}

/// Sends numbered frames one by one until told to stop; returns how many, and the longest time that one took
/// to come back.
fn send_without_pause(nic: &mut Nic, next: &AtomicU64, stop: &AtomicBool) -> (u64, Duration) {
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::Acquire) {
        let start = Instant::now();
        nic.send(&numbered(next.load(Ordering::Relaxed))).unwrap();
        next.fetch_add(1, Ordering::Release);
        nic.wait_tx_idle(WAIT).unwrap();
        longest = longest.max(start.elapsed());
    }
    (next.load(Ordering::Relaxed), longest)
}

/// F19: one frontend comes and goes a thousand times while the other sends without pause.
#[test]
fn a_thousand_hang_ups_disturb_nobody() {
    const ROUNDS: usize = 1000;
    let mut cable = Cable::start(&[]);
    let mut a = nic().up(cable.socket('a'));
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut level = (0, 0);
    let (sent, longest) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| send_without_pause(&mut a, &next, &stop));
        let stopper = StopOnDrop(&stop);
        for round in 0..ROUNDS {
            let order = [Order::Qemu, Order::CloudHypervisor, Order::VirtioUser][round % 3];
            let mut b = nic().order(order).up(cable.socket('b'));
            // One frame may be on its way; every frame sent after it must arrive.
            let due = next.load(Ordering::Acquire) + 1;
            let mut received = number_of(&b.wait_receive(WAIT).unwrap());
            assert!(received <= due, "round {round}: frame {due} was lost");
            while received < due + 10 {
                let following = number_of(&b.wait_receive(WAIT).unwrap());
                assert_eq!(following, received + 1, "round {round}");
                received = following;
            }
            if round % 4 == 3 {
                b.disconnect().unwrap();
            } else {
                drop(b);
            }
            // Let the first rounds fill what is filled once.
            if round == 100 {
                cable.wait_counters("the hang-up", |c| c.number('b', "disconnects") == 101);
                level = (cable.descriptors(), cable.resident_kib());
            }
        }
        drop(stopper);
        sender.join().unwrap()
    });
    let counters = cable.wait_counters("the last hang-up", |c| c.number('b', "disconnects") == ROUNDS as u64);
    let now = (cable.descriptors(), cable.resident_kib());
    println!("{ROUNDS} rounds, {sent} frames, longest return of a TX chain {longest:?}");
    println!("descriptors {} -> {}, resident {} -> {} KiB", level.0, now.0, level.1, now.1);
    assert_eq!(now.0, level.0, "descriptors");
    // AddressSanitizer keeps what was freed.
    let sanitized = std::env::var_os("ESPWIRE_SANITIZER").is_some();
    assert!(sanitized || now.1 <= level.1 + 512, "resident memory grew from {} to {} KiB", level.1, now.1);
    assert_eq!(counters.number('b', "connects"), ROUNDS as u64);
    drop(a);
    let counters = cable.stop();
    assert_eq!(counters.number('a', "tx.frames"), sent);
    assert_eq!(counters.drops('a'), counters.number('a', "tx.drops.peer_down"), "other drops");
}

/// S1: espwire is killed in the middle of traffic and started again; the guests' rings live on. No frame is
/// lost; at most the burst that was under way comes twice.
#[test]
fn killed_and_restarted_it_goes_on_where_it_was() {
    const FRAMES: u64 = 20_000;
    const KILLS: u64 = 10;
    let mut cable = Cable::start(&[]);
    let mut a = nic().up(cable.socket('a'));
    let mut b = nic().up(cable.socket('b'));
    let (mut sent, mut due, mut repeated) = (0, 0, 0);
    let deadline = Instant::now() + WAIT;
    for kill in 1..=KILLS {
        while due < FRAMES * kill / KILLS {
            assert!(Instant::now() < deadline, "{sent} sent, {due} received");
            // Fewer ahead than there are RX buffers: no frame has a reason to be dropped.
            while sent < due + 200 && a.push(&numbered(sent)).is_ok() {
                sent += 1;
            }
            a.flush().unwrap();
            while let Some(frame) = b.receive().unwrap() {
                let number = number_of(&frame);
                assert!(number <= due, "frame {due} was lost");
                if number < due {
                    repeated += 1;
                } else {
                    due += 1;
                }
            }
        }
        let folder = cable.kill();
        while sent < due + 200 && a.push(&numbered(sent)).is_ok() {
            sent += 1;
        }
        cable = Cable::start_in(folder, &[]);
        // The receiver first: frames for an absent peer are dropped.
        for (nic, port) in [(&mut b, 'b'), (&mut a, 'a')] {
            nic.reconnect(cable.socket(port)).unwrap();
            settle(nic);
        }
    }
    while due < sent {
        let number = number_of(&b.wait_receive(WAIT).unwrap());
        assert!(number <= due, "frame {due} was lost");
        due += u64::from(number == due);
    }
    a.wait_tx_idle(WAIT).unwrap();
    println!("{KILLS} kills, {sent} frames, {repeated} came twice");
    assert!(repeated <= 64 * KILLS);
    drop((a, b));
    cable.stop();
}

#[test]
fn a_second_frontend_is_sent_away_and_let_in_later() {
    let mut cable = Cable::start(&[]);
    let mut b = nic().up(cable.socket('b'));
    let first = nic().up(cable.socket('a'));
    assert!(nic().connect(cable.socket('a')).is_err());
    cable.wait_line("second frontend");
    drop(first);
    // The hang-up may not have been noticed yet: then this one is sent away as well.
    cable.wait_counters("the hang-up", |c| c.number('a', "disconnects") == 1);
    let mut second = nic().up(cable.socket('a'));
    second.send(&numbered(1)).unwrap();
    assert_eq!(number_of(&b.wait_receive(WAIT).unwrap()), 1);
    drop((b, second));
    cable.stop();
}

/// Ports come up in any order, as servers or as clients, and a guest may reset its driver at any time.
#[test]
fn espwire_connects_to_listening_frontends_again_and_again() {
    for (options, client_a, client_b) in
        [("--client", true, true), ("--client=a", true, false), ("--client=b", false, true)]
    {
        let folder = tempfile::tempdir().unwrap();
        let sockets = ["a", "b"].map(|port| folder.path().join(port));
        let [a_path, b_path] = sockets.each_ref().map(|path| path.to_str().unwrap());
        let words = ["--socket-path", a_path, "--peer-socket-path", b_path, options];
        let listeners = [client_a.then(|| &sockets[0]), client_b.then(|| &sockets[1])]
            .map(|path| path.map(|path| std::os::unix::net::UnixListener::bind(path).unwrap()));
        let mut cable = Cable::start_with(tempfile::tempdir().unwrap(), &words);
        cable.wait_line("port=b");
        let attach = |port: usize| match &listeners[port] {
            Some(listener) => nic().accept(listener).unwrap(),
            None => nic().retry(true).connect(&sockets[port]).unwrap(),
        };
        for round in 0..5 {
            let mut nics = [attach(0), attach(1)];
            nics.iter_mut().for_each(settle);
            let [a, b] = &mut nics;
            for _ in 0..2 {
                a.send(&numbered(round)).unwrap();
                assert_eq!(number_of(&b.wait_receive(WAIT).unwrap()), round);
                a.wait_tx_idle(WAIT).unwrap();
                // A guest's reboot.
                a.reset().unwrap();
                settle(a);
                b.send(&numbered(round)).unwrap();
                assert_eq!(number_of(&a.wait_receive(WAIT).unwrap()), round);
            }
        }
        let counters = cable.stop();
        assert_eq!(counters.number('b', "rx.frames"), 10, "{options}");
        assert_eq!(counters.number('a', "connects"), 5);
    }
}

/// GET_VRING_BASE answers where the ring stands, also with traffic under way; the ring goes on from there.
#[test]
fn stopped_rings_tell_where_they_stand() {
    let cable = Cable::start(&[]);
    let mut a = nic().up(cable.socket('a'));
    let mut b = nic().up(cable.socket('b'));
    let mut sent = 0;
    for round in 0..50 {
        for _ in 0..3 {
            a.send(&numbered(sent)).unwrap();
            assert_eq!(number_of(&b.wait_receive(WAIT).unwrap()), sent);
            sent += 1;
        }
        a.wait_tx_idle(WAIT).unwrap();
        let bases = a.stop().unwrap();
        // RX and TX: nothing was received.
        assert_eq!(bases, [0, sent as u32], "round {round}");
        a.start().unwrap();
        settle(&mut a);
    }
    drop((a, b));
    cable.stop();
}

/// S4, S5: a ring that broke a rule runs again for the next frontend, also at that one's first start.
#[test]
fn a_broken_ring_runs_again_in_the_next_session() {
    for side in [Side::Tx, Side::Rx] {
        let mut cable = Cable::start(&[]);
        let mut a = nic().up(cable.socket('a'));
        let mut b = nic().up(cable.socket('b'));
        // The available index jumps by more than the ring holds.
        let available = a.ring(side).unwrap().layout().config().available;
        a.memory().table().write(available + 2, &0x7fffu16.to_le_bytes()).unwrap();
        match side {
            Side::Tx => a.kick(Side::Tx).unwrap(),
            Side::Rx => b.send(&numbered(0)).unwrap(),
        }
        cable.wait_counters("the fault", |c| c.number('a', "ring_faults") == 1);
        drop(a);
        cable.wait_counters("the hang-up", |c| c.number('a', "disconnects") == 1);
        let mut a = nic().up(cable.socket('a'));
        a.send(&numbered(1)).unwrap();
        assert_eq!(number_of(&b.wait_receive(WAIT).unwrap()), 1);
        b.send(&numbered(2)).unwrap();
        assert_eq!(number_of(&a.wait_receive(WAIT).unwrap()), 2);
        drop((a, b));
        assert_eq!(cable.stop().number('a', "ring_faults"), 1);
    }
}

/// F13: GET_VRING_BASE of a ring that never ran answers what SET_VRING_BASE said; without that, 0, wherever the
/// ring of an earlier session stood.
#[test]
fn a_ring_that_never_ran_stands_where_its_frontend_put_it() {
    const FRAMES: u32 = 10;
    const BASE: u32 = 3;
    let mut cable = Cable::start(&[]);
    let mut ran = nic().up(cable.socket('a'));
    for number in 0..FRAMES {
        ran.send(&numbered(number.into())).unwrap();
    }
    ran.wait_tx_idle(WAIT).unwrap();
    assert_eq!(ran.stop().unwrap(), [0, FRAMES]);
    drop(ran);
    let base_of = |nic: &mut Nic, ring| {
        let reply =
            nic.connection().unwrap().ask(Request::GET_VRING_BASE, false, &body::vring_state(ring, 0));
        let state = reply.unwrap().u64().unwrap();
        assert_eq!(state as u32, ring);
        (state >> 32) as u32
    };
    for gone in 1..=2 {
        cable.wait_counters("the hang-up", |c| c.number('a', "disconnects") == gone);
        let mut never = nic().stopped(true).up(cable.socket('a'));
        for ring in [0, 1] {
            assert_eq!(base_of(&mut never, ring), 0, "session {gone}, ring {ring}");
            let base = body::vring_state(ring, BASE + ring);
            never.connection().unwrap().tell(Request::SET_VRING_BASE, false, &base, &[]).unwrap();
            assert_eq!(base_of(&mut never, ring), BASE + ring);
        }
    }
    cable.stop();
}
