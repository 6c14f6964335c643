//! The rules of receiving, one by one, on packets that a sender of our own makes.

#[path = "../../../../tests/harness/esp.rs"]
mod esp;

mod bursts;
mod delivery;
mod events;
mod headers;
mod modes;
mod sad;
mod selectors;

use std::time::Duration;

use esp::{Ending, Sender, fix_ipv4_checksum};
use espwire_ipsec::{Audit, DropReason, Event, Passed, Received, Receiver, SaId, Sad, SadError, xfrm};

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Packet(Vec<u8>),
    Pass(Passed),
    Drop(DropReason),
}

impl Outcome {
    /// The packet delivered.
    #[track_caller]
    fn packet(self) -> Vec<u8> {
        let Self::Packet(octets) = self else { panic!("{self:?}") };
        octets
    }
}

const fn dropped(reason: DropReason) -> Outcome {
    Outcome::Drop(reason)
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(1000 + seconds)
}

/// The line that adds a sender's SA, with more words. A window of 64 unless the sender has ESN, whose line has one.
fn state(sender: &Sender, words: &str) -> String {
    let window = if sender.esn { "" } else { "replay-window 64" };
    format!("{} {window} {words}\n", sender.xfrm().trim_end())
}

fn sad(text: &str) -> Result<Sad<espwire_ipsec::Receiving>, SadError> {
    Sad::receiving([&xfrm::parse("test", text).expect("text")], at(0))
}

#[track_caller]
fn receiver(text: &str) -> Receiver {
    Receiver::new(sad(text).unwrap_or_else(|error| panic!("{error}")))
}

/// A receiver that knows one SA.
#[track_caller]
fn receiver_of(sender: &Sender, words: &str) -> Receiver {
    receiver(&state(sender, words))
}

fn id(sender: &Sender) -> SaId {
    SaId { spi: sender.spi, dst: sender.dst }
}

/// What becomes of a burst, and what is told.
fn burst(receiver: &mut Receiver, now: Duration, packets: &[Vec<u8>]) -> (Vec<Outcome>, Vec<Event>) {
    let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    let (mut received, mut events) = (Vec::new(), Vec::new());
    receiver.receive_burst(now, &packets, &mut received, &mut events);
    assert_eq!(received.len(), packets.len());
    let outcomes = received.into_iter().map(|received| match received {
        Received::Packet(delivered) => Outcome::Packet(receiver.packet(delivered).to_vec()),
        Received::Pass(passed) => Outcome::Pass(passed),
        Received::Drop(reason) => Outcome::Drop(reason),
    });
    (outcomes.collect(), events)
}

/// What becomes of one packet, and what is told.
fn told(receiver: &mut Receiver, packet: &[u8]) -> (Outcome, Vec<Event>) {
    let (mut outcomes, events) = burst(receiver, at(0), &[packet.to_vec()]);
    (outcomes.remove(0), events)
}

fn receive(receiver: &mut Receiver, packet: &[u8]) -> Outcome {
    told(receiver, packet).0
}

/// A frame's IP packet.
fn packet(frame: Vec<u8>) -> Vec<u8> {
    frame[14..].to_vec()
}

/// A sender's next packet with this inner packet.
fn tunnelled(sender: &mut Sender, inner: &[u8]) -> Vec<u8> {
    packet(sender.frame(if inner[0] >> 4 == 4 { 4 } else { 41 }, inner))
}

/// A sender's next packet with an inner one that says `data`.
fn next(sender: &mut Sender, data: &[u8]) -> Vec<u8> {
    tunnelled(sender, &esp::inner(6, data))
}

/// Sets the traffic class of an IP packet.
fn set_class(packet: &mut [u8], class: u8) {
    if packet[0] >> 4 == 4 {
        packet[1] = class;
        fix_ipv4_checksum(packet);
    } else {
        packet[0] = 0x60 | class >> 4;
        packet[1] = packet[1] & 0xf | class << 4;
    }
}

fn dummy(sender: &mut Sender) -> Vec<u8> {
    packet(sender.frame_ending(&[7; 20], &Ending { padding: vec![1, 2], pad_len: 2, next_header: 59 }))
}

/// The events that are audits.
fn audits(events: &[Event]) -> Vec<Audit> {
    let audits = events.iter().filter_map(|event| match event {
        Event::Audit(audit) => Some(*audit),
        _ => None,
    });
    audits.collect()
}
