//! The plain cable, end to end: an `espwire` process between two NICs played by `espwire-frontend`.

mod harness;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use espwire_frontend::{Nic, Order, Placement, Side};
use espwire_virtnet::Features;
use harness::{Cable, Up, WAIT, frame, nic, settle};

const ORDERS: [Order; 3] = [Order::Qemu, Order::CloudHypervisor, Order::VirtioUser];

/// Sends frames of these lengths from one NIC and expects them at the other, whole and in order.
fn pass(from: &mut Nic, to: &mut Nic, lens: impl IntoIterator<Item = usize>) -> u64 {
    let mut passed = 0;
    for len in lens {
        let sent = frame(passed, len);
        if from.send(&sent).is_err() {
            from.wait_tx_idle(WAIT).unwrap();
            from.send(&sent).unwrap();
        }
        let received = to.wait_receive(WAIT).unwrap();
        assert!(received == sent, "frame {passed} of {len} octets arrived as {} octets", received.len());
        passed += 1;
    }
    from.wait_tx_idle(WAIT).unwrap();
    passed
}

#[test]
fn frames_pass_both_ways_in_every_message_order() {
    for order_a in ORDERS {
        for order_b in ORDERS {
            let cable = Cable::start(&[]);
            let mut a = nic().order(order_a).up(cable.socket('a'));
            let mut b = nic().order(order_b).up(cable.socket('b'));
            let there = pass(&mut a, &mut b, [14, 60, 1514]);
            let back = pass(&mut b, &mut a, [14, 60, 1514]);
            drop((a, b));
            let counters = cable.stop();
            assert_eq!((there, back), (3, 3), "{order_a:?} {order_b:?}");
            assert_eq!(counters.number('b', "rx.frames"), 3, "{order_a:?} {order_b:?}");
            assert_eq!(counters.number('a', "rx.frames"), 3);
            assert_eq!(counters.number('b', "rx.bytes"), 14 + 60 + 1514);
            assert_eq!(counters.drops('a') + counters.drops('b'), 0);
        }
    }
}

/// Every length from the shortest frame up, then some up to the longest, in buffers of every kind.
#[test]
fn frames_of_all_lengths_pass_whatever_the_driver_negotiated() {
    let all = Features::OFFERED;
    let lens = || (14..200).chain([1513, 1514, 2000, 4096, 9000, 65_535, 65_553]);
    let short = || (14..200).chain([1513, 1514, 2000]);
    for wait in ["event", "poll"] {
        for without in [
            Features::default(),
            Features::EVENT_IDX,
            Features::INDIRECT_DESC,
            Features::MRG_RXBUF,
            Features::IN_ORDER,
            Features::EVENT_IDX | Features::INDIRECT_DESC | Features::IN_ORDER,
            // The legacy interface: a header of 12 octets, then of 10.
            Features::VERSION_1,
            Features::VERSION_1 | Features::MRG_RXBUF,
        ] {
            let cable = Cable::start(&["--wait", wait]);
            let mut a = nic().frame_len(65_600).up(cable.socket('a'));
            let mut b = nic().without(without).frame_len(65_600).up(cable.socket('b'));
            let negotiated = b.negotiated().unwrap().features;
            assert!(!negotiated.has(without) || without == Features::default(), "{negotiated:?}");
            assert!(all.has(negotiated));
            let mergeable = negotiated.has(Features::MRG_RXBUF);
            let passed = if mergeable { pass(&mut a, &mut b, lens()) } else { pass(&mut a, &mut b, short()) };
            assert_eq!(pass(&mut b, &mut a, lens()), lens().count() as u64);
            drop((a, b));
            let counters = cable.stop();
            assert_eq!(counters.number('b', "rx.frames"), passed);
            assert_eq!(counters.drops('a') + counters.drops('b'), 0, "{without:?}");
        }
    }
}

/// G16 and ANY_LAYOUT: header and frame cut into descriptors in any way, direct and indirect.
#[test]
fn buffers_may_be_cut_up_in_any_way() {
    let placements = [
        Placement { own_header: true, pieces: 1 },
        Placement { own_header: false, pieces: 1 },
        Placement { own_header: true, pieces: 7 },
        Placement { own_header: false, pieces: 16 },
    ];
    for indirect in [false, true] {
        for tx in placements {
            for rx in placements {
                let cable = Cable::start(&[]);
                let a = nic().tx_placement(tx).rx_placement(rx).use_indirect(indirect);
                let mut a = a.up(cable.socket('a'));
                let b = nic().tx_placement(rx).rx_placement(tx).use_indirect(indirect);
                let mut b = b.up(cable.socket('b'));
                pass(&mut a, &mut b, [14, 15, 60, 61, 1000, 1514]);
                pass(&mut b, &mut a, [14, 15, 60, 61, 1000, 1514]);
                drop((a, b));
                assert_eq!(cable.stop().number('a', "rx.frames"), 6);
            }
        }
    }
}

#[test]
fn rings_of_every_size_wrap_around() {
    for (size, buffers) in [(1, 1), (2, 2), (4, 4), (64, 64), (256, 256), (1024, 1024), (32_768, 4096)] {
        let cable = Cable::start(&[]);
        let build = || {
            nic()
                .ring_size(size)
                .rx_buffers(buffers)
                .tx_placement(Placement { own_header: false, pieces: 1 })
                .rx_placement(Placement { own_header: false, pieces: 1 })
                .frame_len(128)
                .rx_buffer_len(128)
        };
        let mut a = build().up(cable.socket('a'));
        let mut b = build().up(cable.socket('b'));
        let frames = 3 * usize::from(size).min(4096) + 1;
        pass(&mut a, &mut b, std::iter::repeat_n(60, frames));
        drop((a, b));
        assert_eq!(cable.stop().number('b', "rx.frames"), frames as u64, "ring of {size}");
    }
}

/// One frame through mergeable buffers of 256 octets, and through ones that hold only the header's length.
#[test]
fn a_long_frame_fills_several_mergeable_buffers() {
    let cable = Cable::start(&[]);
    let mut a = nic().frame_len(9100).up(cable.socket('a'));
    let mut b = nic().rx_buffer_len(256).up(cable.socket('b'));
    pass(&mut a, &mut b, [60, 243, 244, 245, 1514, 9000]);
    drop((a, b));
    cable.stop();
}

/// Sends and receives `count` frames at once, checking each, and returns the NIC once all its chains are back.
///
/// `received` counts the frames that this end and the other have received: the sender stays fewer ahead than
/// its peer has buffers, so that no frame has a reason to be dropped, however the threads are scheduled.
fn stream(mut nic: Nic, end: usize, received: &[AtomicU64; 2], count: u64) -> Nic {
    const AHEAD: u64 = 200;
    let len = |number: u64| 60 + (number % 100) as usize;
    let (mut sent, mut next) = (0, 0);
    let mut buffer = Vec::new();
    let deadline = Instant::now() + WAIT;
    while sent < count || next < count {
        assert!(Instant::now() < deadline, "{sent} sent, {next} received");
        let most = received[1 - end].load(Ordering::Acquire) + AHEAD;
        while sent < count.min(most) && nic.push(&frame(sent, len(sent))).is_ok() {
            sent += 1;
        }
        nic.flush().unwrap();
        while nic.receive_into(&mut buffer).unwrap() {
            assert!(buffer == frame(next, len(next)), "frame {next}");
            next += 1;
            received[end].store(next, Ordering::Release);
        }
    }
    nic.wait_tx_idle(WAIT).unwrap();
    nic
}

/// Bursts of many frames in both directions at once: nothing lost, nothing reordered, nobody stuck.
#[test]
fn streams_in_both_directions_arrive_whole_and_in_order() {
    const FRAMES: u64 = 100_000;
    for wait in ["event", "poll"] {
        let cable = Cable::start(&["--wait", wait]);
        let a = nic().up(cable.socket('a'));
        let b = nic().up(cable.socket('b'));
        let received = Default::default();
        let nics = std::thread::scope(|scope| {
            let streams = [(a, 0), (b, 1)].map(|(nic, end)| {
                let received = &received;
                scope.spawn(move || stream(nic, end, received, FRAMES))
            });
            streams.map(|stream| stream.join().unwrap())
        });
        drop(nics);
        let counters = cable.stop();
        assert_eq!(counters.number('b', "rx.frames"), FRAMES);
        assert_eq!(counters.number('a', "rx.frames"), FRAMES);
    }
}

#[test]
fn without_a_peer_frames_are_drained_and_counted() {
    let cable = Cable::start(&[]);
    let mut a = nic().up(cable.socket('a'));
    for i in 0..1000 {
        a.send(&frame(i, 60)).unwrap();
        a.wait_tx_idle(WAIT).unwrap();
    }
    drop(a);
    let counters = cable.stop();
    assert_eq!(counters.number('a', "tx.frames"), 1000);
    assert_eq!(counters.number('a', "tx.drops.peer_down"), 1000);
    assert_eq!(counters.number('a', "tx.bytes"), 60_000);
}

/// vhost-user, "Ring states": a started but disabled TX ring is drained, a disabled RX ring gets nothing.
#[test]
fn disabled_rings_are_drained_and_get_nothing() {
    let mut cable = Cable::start(&[]);
    let mut a = nic().up(cable.socket('a'));
    let mut b = nic().up(cable.socket('b'));
    a.set_enabled(Side::Tx, false).unwrap();
    settle(&mut a);
    a.send(&frame(1, 60)).unwrap();
    a.wait_tx_idle(WAIT).unwrap();
    a.set_enabled(Side::Tx, true).unwrap();
    b.set_enabled(Side::Rx, false).unwrap();
    settle(&mut a);
    settle(&mut b);
    a.send(&frame(2, 60)).unwrap();
    a.wait_tx_idle(WAIT).unwrap();
    let counters = cable.counters();
    assert_eq!(counters.number('a', "tx.drops.tx_disabled"), 1);
    assert_eq!(counters.number('a', "tx.drops.peer_down"), 1);
    b.set_enabled(Side::Rx, true).unwrap();
    settle(&mut b);
    pass(&mut a, &mut b, [60]);
    assert!(b.drain(Duration::from_millis(1)).unwrap().is_empty());
    drop((a, b));
    assert_eq!(cable.stop().number('b', "rx.frames"), 1);
}

/// S8: a receiver that takes nothing costs its sender a bounded wait, then drops, all of them counted.
#[test]
fn a_receiver_without_buffers_costs_drops_but_no_stall() {
    let cable = Cable::start(&[]);
    let mut a = nic().up(cable.socket('a'));
    let mut b = nic().ring_size(16).rx_buffers(16).up(cable.socket('b'));
    const FRAMES: u64 = 5000;
    for i in 0..FRAMES {
        a.send(&frame(i, 60)).unwrap();
        a.wait_tx_idle(WAIT).unwrap();
    }
    let received = b.drain(Duration::ZERO).unwrap();
    for (i, received) in received.iter().enumerate().take(16) {
        assert!(*received == frame(i as u64, 60), "frame {i}");
    }
    pass(&mut b, &mut a, [60, 60]);
    drop((a, b));
    let counters = cable.stop();
    assert_eq!(counters.number('a', "tx.frames"), FRAMES);
    assert_eq!(counters.number('b', "rx.frames"), received.len() as u64);
    assert_eq!(counters.number('a', "tx.drops.no_rx_buffer"), FRAMES - received.len() as u64);
    assert!(received.len() >= 16 && received.len() < 5000);
}

/// G20: too long for any buffer of the receiver, or for any frame.
#[test]
fn a_frame_that_no_buffer_ever_fits_is_dropped_as_too_long_for_it() {
    let cable = Cable::start(&[]);
    let mut a = nic().frame_len(65_600).up(cable.socket('a'));
    let mut b = nic().without(Features::MRG_RXBUF).rx_buffer_len(1526).up(cable.socket('b'));
    a.send(&frame(1, 1515)).unwrap();
    a.wait_tx_idle(WAIT).unwrap();
    a.send(&frame(2, 65_554)).unwrap();
    a.wait_tx_idle(WAIT).unwrap();
    pass(&mut a, &mut b, [1514]);
    drop((a, b));
    let counters = cable.stop();
    assert_eq!(counters.number('a', "tx.drops.rx_too_small"), 1);
    assert_eq!(counters.number('a', "tx.drops.too_long"), 1);
}

/// G16, G19: frames that are none, and headers that ask for what was not offered.
#[test]
fn runts_and_offload_requests_are_dropped_under_their_names() {
    use espwire_virtnet::Header;
    let cable = Cable::start(&[]);
    let mut a = nic().up(cable.socket('a'));
    let mut b = nic().up(cable.socket('b'));
    for len in [1, 2, 13] {
        a.send(&vec![0; len]).unwrap();
    }
    for header in
        [Header { flags: 1, ..Header::default() }, Header { gso_type: 1, gso_size: 100, ..Header::default() }]
    {
        a.push_with(&header, &frame(0, 60)).unwrap();
        a.flush().unwrap();
    }
    a.push_with(&Header { num_buffers: 9, hdr_len: 9, csum_start: 9, ..Header::default() }, &frame(7, 60))
        .unwrap();
    a.flush().unwrap();
    assert!(b.wait_receive(WAIT).unwrap() == frame(7, 60));
    a.wait_tx_idle(WAIT).unwrap();
    drop((a, b));
    let counters = cable.stop();
    assert_eq!(counters.number('a', "tx.drops.runt"), 3);
    assert_eq!(counters.number('a', "tx.drops.bad_header"), 2);
    assert_eq!(counters.number('a', "tx.frames"), 6);
}

/// `event`: no wake-up and no CPU while nothing happens; a driver that needs no calls gets none.
#[test]
fn an_idle_cable_does_not_wake_up() {
    let cable = Cable::start(&[]);
    let mut a = nic().up(cable.socket('a'));
    let mut b = nic().up(cable.socket('b'));
    pass(&mut a, &mut b, [60, 60]);
    pass(&mut b, &mut a, [60]);
    // The frontends wait for frames that don't come: seconds in which espwire has nothing to do. In the
    // first it may still be on its way to sleep.
    assert!(a.drain(Duration::from_secs(1)).unwrap().is_empty());
    let before = cable.activity();
    assert!(b.drain(Duration::from_secs(2)).unwrap().is_empty());
    assert_eq!(cable.activity(), before, "(clock ticks, context switches) of an idle cable");
    drop((a, b));
    cable.stop();
}
