//! The ESP corpus through real rings: each packet is put into a TX ring, taken out of it by an `espwire` process, put by
//! that into the other NIC's RX ring, and received there. So is what is delivered and what is sent.
//!
//! The cases and their scores are those of `cargo test -p espwire-ipsec --test corpus`.

mod harness;
#[path = "../crates/ipsec/tests/corpus/lines.rs"]
mod lines;
#[path = "../crates/ipsec/tests/corpus/published.rs"]
mod published;
#[path = "../crates/ipsec/tests/corpus/receiver.rs"]
mod receiver;
#[path = "../crates/ipsec/tests/corpus/run.rs"]
mod run;
#[path = "../crates/ipsec/tests/corpus/sa.rs"]
mod sa;
#[path = "../crates/ipsec/tests/corpus/score.rs"]
mod score;
#[path = "../crates/ipsec/tests/corpus/sender.rs"]
mod sender;

use std::cell::Cell;
use std::rc::Rc;

use harness::{Cable, Up, WAIT, esp, nic};

#[test]
fn every_case_of_the_corpus_through_rings() {
    let cable = Cable::start(&[]);
    // Room for 64 frames of any length: what a burst of sequences has.
    let mut a = nic().frame_len(65_553).up(cable.socket('a'));
    let mut b = nic().up(cable.socket('b'));
    let carried = Rc::new(Cell::new(0_u64));
    let count = Rc::clone(&carried);
    let through_rings = Box::new(move |packets: &[&[u8]]| {
        let mut arrived = Vec::with_capacity(packets.len());
        for packet in packets {
            // Also of no octets at all.
            let frame = [&[2; 12], &[0x08, 0x00][..], packet].concat();
            a.send(&frame).expect("a free place in the ring");
        }
        for _ in packets {
            let frame = b.wait_receive(WAIT).expect("a frame");
            arrived.push(frame[14..].to_vec());
        }
        a.wait_tx_idle(WAIT).expect("its chains back");
        count.set(count.get() + packets.len() as u64);
        arrived
    });
    let is_right = run::run(through_rings, concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/corpus"));
    assert!(is_right, "see above");
    let counters = cable.stop();
    assert_eq!(counters.number('a', "tx.frames"), carried.get());
    assert_eq!(counters.number('b', "rx.frames"), carried.get());
    assert!(carried.get() > 10_000 || std::env::var_os("ESPWIRE_CORPUS").is_some(), "{carried:?}");
}
