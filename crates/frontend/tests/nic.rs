//! NICs against a backend in the same process that sends every frame back.

mod echo;

use std::os::unix::net::UnixStream;
use std::time::Duration;

use echo::{Offer, serve};
use espwire_frontend::{
    Error, Nic, NicBuilder, Order, Placement, ProtocolFeatures, Request, SendError, Side,
};
use espwire_virtnet::{Features, Header};

const PATIENCE: Duration = Duration::from_secs(30);
const MOMENT: Duration = Duration::from_millis(30);

type Log = std::thread::JoinHandle<Vec<(Request, bool)>>;

fn plug_in(builder: NicBuilder, offer: Offer) -> (Nic, Log) {
    let (frontend, backend) = UnixStream::pair().unwrap();
    let log = serve(backend, offer);
    (builder.timeout(PATIENCE).from_stream(frontend).unwrap(), log)
}

fn frame(i: usize) -> Vec<u8> {
    (0..14 + i % 1500).map(|k| (i + k) as u8).collect()
}

/// Sends `count` frames and has them all back, in order.
fn exchange(nic: &mut Nic, count: usize) {
    let (mut sent, mut received) = (0, 0);
    while received < count {
        while sent < count && sent - received < 20 {
            match nic.push(&frame(sent)) {
                Ok(()) => sent += 1,
                Err(SendError::Full) => break,
                Err(error) => panic!("{error}"),
            }
        }
        nic.flush().unwrap();
        assert_eq!(nic.wait_receive(PATIENCE).unwrap(), frame(received), "frame {received}");
        received += 1;
    }
    nic.wait_tx_idle(PATIENCE).unwrap();
}

#[test]
fn every_order_and_shape_of_buffers_carries_frames() {
    let pieces = |own_header, pieces| Placement { own_header, pieces };
    for order in Order::ALL {
        let builders = [
            Nic::builder(),
            Nic::builder().rx_placement(pieces(true, 3)).tx_placement(pieces(false, 4)),
            Nic::builder().rx_placement(pieces(true, 1)).tx_placement(pieces(true, 2)).use_indirect(true),
            Nic::builder().rx_buffer_len(200).ring_size(32),
            Nic::builder().reply_to_all(true).queue_pairs(2),
        ];
        for (i, builder) in builders.into_iter().enumerate() {
            let (mut nic, log) = plug_in(builder.order(order), Offer::ALL);
            exchange(&mut nic, 300);
            nic.disconnect().unwrap();
            log.join().unwrap_or_else(|_| panic!("{order:?}, builder {i}"));
        }
        for without in [Features::EVENT_IDX, Features::MRG_RXBUF, Features::VERSION_1 | Features::MRG_RXBUF] {
            let (mut nic, log) = plug_in(Nic::builder().order(order).without(without), Offer::ALL);
            exchange(&mut nic, 300);
            nic.hang_up();
            log.join().unwrap();
        }
    }
}

#[test]
fn pairs_are_rings_of_their_own() {
    let (mut nic, _log) = plug_in(Nic::builder().queue_pairs(2), Offer::ALL);
    nic.select_pair(1);
    nic.send(&frame(7)).unwrap();
    nic.select_pair(0);
    nic.send(&frame(8)).unwrap();
    assert_eq!(nic.wait_receive(PATIENCE).unwrap(), frame(8));
    nic.select_pair(1);
    assert_eq!(nic.wait_receive(PATIENCE).unwrap(), frame(7));
}

#[test]
fn rings_go_on_after_a_stop_and_begin_anew_after_a_reset() {
    for order in Order::ALL {
        let (mut nic, _log) = plug_in(Nic::builder().order(order), Offer::ALL);
        exchange(&mut nic, 10);
        assert_eq!(nic.stop().unwrap(), [10, 10]);
        nic.push(&frame(3)).unwrap();
        nic.flush().unwrap();
        nic.start().unwrap();
        assert_eq!(nic.wait_receive(PATIENCE).unwrap(), frame(3));
        nic.renegotiate(Features(order.features().0 & !Features::EVENT_IDX.0)).unwrap();
        exchange(&mut nic, 5);
        assert!(!nic.negotiated().unwrap().features.has(Features::EVENT_IDX));
        assert_eq!(nic.stop().unwrap(), [5, 5]);
    }
}

#[test]
fn frames_in_flight_survive_the_backend() {
    let folder = tempfile::tempdir().unwrap();
    for order in Order::ALL {
        let path = folder.path().join(format!("{order:?}"));
        let first = echo::listen(&path, Offer::ALL);
        let mut nic = Nic::builder().order(order).connect(&path).unwrap();
        exchange(&mut nic, 300);
        nic.hang_up();
        first.join().unwrap();
        nic.send(&frame(4)).unwrap();
        assert!(nic.is_disconnected());
        assert!(matches!(nic.wait_receive(MOMENT), Err(Error::Disconnected)));
        std::fs::remove_file(&path).unwrap();
        let second = echo::listen(&path, Offer::ALL);
        nic.reconnect(&path).unwrap();
        assert_eq!(nic.wait_receive(PATIENCE).unwrap(), frame(4));
        exchange(&mut nic, 300);
        nic.hang_up();
        second.join().unwrap();
        std::fs::remove_file(&path).unwrap();
        let third = echo::listen(&path, Offer::ALL);
        nic.reconnect_fresh(&path).unwrap();
        exchange(&mut nic, 1);
        assert_eq!(nic.disconnect().unwrap(), [1, 1]);
        third.join().unwrap();
    }
}

#[test]
fn a_backend_that_offers_less_after_its_restart_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let first = echo::listen(&path, Offer::ALL);
    let mut nic = Nic::builder().connect(&path).unwrap();
    nic.hang_up();
    first.join().unwrap();
    std::fs::remove_file(&path).unwrap();
    let less = Offer { features: Features(Features::OFFERED.0 & !Features::EVENT_IDX.0), ..Offer::ALL };
    let _second = echo::listen(&path, less);
    let refused = nic.reconnect(&path);
    assert!(
        matches!(refused, Err(Error::FeaturesGone(bits)) if bits == Features::EVENT_IDX.0),
        "{refused:?}"
    );
}

#[test]
fn descriptors_are_replaced_under_traffic() {
    let (mut nic, _log) = plug_in(Nic::builder(), Offer::ALL);
    for side in [Side::Rx, Side::Tx] {
        nic.replace_call(side).unwrap();
        exchange(&mut nic, 50);
        nic.replace_kick(side).unwrap();
        exchange(&mut nic, 50);
    }
    assert!(nic.kick_count(Side::Tx) > 0);
    assert!(nic.call_count(Side::Rx).unwrap() > 0);
}

#[test]
fn a_disabled_ring_carries_nothing_until_it_is_enabled() {
    let (mut nic, _log) = plug_in(Nic::builder().reply_to_all(true), Offer::ALL);
    exchange(&mut nic, 5);
    nic.set_enabled(Side::Rx, false).unwrap();
    nic.send(&frame(1)).unwrap();
    assert!(nic.drain(MOMENT).unwrap().is_empty());
    nic.set_enabled(Side::Rx, true).unwrap();
    nic.kick(Side::Tx).unwrap();
    assert_eq!(nic.wait_receive(PATIENCE).unwrap(), frame(1));
}

#[test]
fn sending_says_why_it_cannot() {
    let builder = Nic::builder().ring_size(4).frame_len(100);
    let (mut nic, _log) = plug_in(builder.stopped(true), Offer::ALL);
    assert_eq!(nic.send(&[0; 60]), Err(SendError::Stopped));
    nic.start().unwrap();
    assert_eq!(nic.send(&[0; 101]), Err(SendError::TooLong { len: 101, max: 100 }));
    // Four are echoed into the four RX buffers, four more fill the TX ring.
    let burst = [[0u8; 100]; 20];
    let mut sent = 0;
    while sent < 8 {
        sent += nic.send_burst(&burst[..8 - sent]).unwrap();
    }
    assert_eq!(nic.send(&[0; 60]), Err(SendError::Full));
    assert_eq!(nic.send_burst(&burst).unwrap(), 0);
    assert_eq!((nic.tx_in_flight(), nic.tx_completed()), (4, 4));
}

#[test]
fn a_hostile_header_reaches_the_device_as_it_is() {
    let (mut nic, _log) = plug_in(Nic::builder(), Offer::ALL);
    let header = Header { flags: 1, gso_type: 77, csum_start: 0xffff, ..Header::plain(9) };
    nic.push_with(&header, &frame(2)).unwrap();
    nic.flush().unwrap();
    let mut octets = Vec::new();
    while nic.receive_with_header(&mut octets).unwrap().is_none() {}
    assert_eq!(octets, frame(2));
}

fn names(log: &[(Request, bool)]) -> Vec<String> {
    log.iter().map(|(request, ack)| format!("{request}{}", if *ack { "!" } else { "" })).collect()
}

/// The messages of connecting, starting and stopping, per order; `!` asks for an acknowledgement.
#[test]
fn messages_come_in_the_order_of_the_frontend() {
    let sequence = |order, protocol: &[ProtocolFeatures], mtu| {
        let protocol = protocol.iter().fold(0, |bits, p| bits | p.0);
        let offer = Offer { protocol, ..Offer::ALL };
        let (mut nic, log) = plug_in(Nic::builder().order(order).mtu(mtu), offer);
        nic.disconnect().unwrap();
        names(&log.join().unwrap()).join(" ")
    };
    use ProtocolFeatures as P;
    let all = [P::MQ, P::REPLY_ACK, P::MTU, P::CONFIG, P::CONFIGURE_MEM_SLOTS, P::STATUS];
    assert_eq!(
        sequence(Order::Qemu, &all, 1400),
        "GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES GET_QUEUE_NUM GET_MAX_MEM_SLOTS SET_OWNER \
         GET_FEATURES SET_VRING_CALL SET_VRING_ERR SET_VRING_CALL SET_VRING_ERR SET_VRING_ENABLE \
         SET_VRING_ENABLE SET_VRING_ENABLE SET_VRING_ENABLE NET_SET_MTU! SET_VRING_ENABLE SET_VRING_ENABLE \
         SET_FEATURES GET_STATUS SET_STATUS ADD_MEM_REG! ADD_MEM_REG! \
         SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_KICK SET_VRING_CALL \
         SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_KICK SET_VRING_CALL \
         GET_STATUS SET_STATUS SET_VRING_CALL SET_VRING_CALL \
         GET_VRING_BASE GET_VRING_BASE SET_VRING_ENABLE SET_VRING_ENABLE"
    );
    assert_eq!(
        sequence(Order::Qemu, &[], 1400),
        "GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES SET_OWNER \
         GET_FEATURES SET_VRING_CALL SET_VRING_ERR SET_VRING_CALL SET_VRING_ERR SET_VRING_ENABLE \
         SET_VRING_ENABLE SET_VRING_ENABLE SET_VRING_ENABLE SET_VRING_ENABLE SET_VRING_ENABLE \
         SET_FEATURES SET_MEM_TABLE \
         SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_KICK SET_VRING_CALL \
         SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_KICK SET_VRING_CALL \
         SET_VRING_CALL SET_VRING_CALL \
         GET_VRING_BASE GET_VRING_BASE SET_VRING_ENABLE SET_VRING_ENABLE"
    );
    assert_eq!(
        sequence(Order::CloudHypervisor, &all, 1400),
        "SET_OWNER GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES GET_QUEUE_NUM! GET_CONFIG! \
         SET_FEATURES! SET_MEM_TABLE! SET_VRING_NUM! SET_VRING_NUM! \
         SET_VRING_ADDR! SET_VRING_BASE! SET_VRING_CALL! SET_VRING_KICK! \
         SET_VRING_ADDR! SET_VRING_BASE! SET_VRING_CALL! SET_VRING_KICK! \
         SET_VRING_ENABLE! SET_VRING_ENABLE! \
         SET_VRING_ENABLE! SET_VRING_ENABLE! GET_VRING_BASE! GET_VRING_BASE!"
    );
    assert_eq!(
        sequence(Order::VirtioUser, &all, 1400),
        "SET_OWNER GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES \
         SET_VRING_CALL SET_VRING_CALL SET_FEATURES SET_STATUS! SET_MEM_TABLE! \
         SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_KICK \
         SET_VRING_NUM SET_VRING_BASE SET_VRING_ADDR SET_VRING_KICK \
         SET_VRING_ENABLE SET_VRING_ENABLE SET_STATUS! \
         SET_VRING_ENABLE SET_VRING_ENABLE GET_VRING_BASE GET_VRING_BASE"
    );
}

#[test]
fn what_was_negotiated_is_what_both_want() {
    let (nic, _log) = plug_in(Nic::builder().order(Order::CloudHypervisor), Offer::ALL);
    let negotiated = nic.negotiated().unwrap();
    assert_eq!(negotiated.features.0, 0x9_7000_8000);
    assert_eq!((negotiated.queue_num, negotiated.memory_slots), (Some(2), None));
    assert_eq!(negotiated.config.as_ref().unwrap()[..6], [2, 0, 0, 0, 0, 1]);
    let fewer = Offer { features: Features::VERSION_1, protocol: 0 };
    let (nic, _log) = plug_in(Nic::builder().stopped(true), fewer);
    assert_eq!(nic.negotiated().unwrap().features, Features::VERSION_1);
    assert_eq!(nic.negotiated().unwrap().protocol, ProtocolFeatures::default());
}
