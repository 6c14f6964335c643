//! How espwire sends and receives.

use std::time::Duration;

use espwire_ipsec::{DropReason, Outgoing, Received, Receiver, Sad, Sender, Sent, xfrm};

use crate::case::Case;

/// What espwire sends for a case.
pub(crate) fn sent_by_espwire(case: &Case) -> Vec<Vec<u8>> {
    let line = case.xfrm();
    let states = xfrm::parse("scapy", &line).unwrap_or_else(|error| panic!("{error}\n{line}"));
    let sad = Sad::sending([&states], Duration::ZERO, || [7; _].into());
    let mut sender = Sender::new(sad.unwrap_or_else(|error| panic!("{error}\n{line}")));
    let (sa, _) = sender.sad().iter().next().expect("the SA");
    let sa = sender.find(sa.spi, sa.dst).expect("it is there");
    let packets: Vec<_> = case.packets.iter().map(|packet| Outgoing::Packet { sa, packet }).collect();
    let (mut sent, mut events) = (Vec::new(), Vec::new());
    sender.send_burst(Duration::ZERO, &packets, &mut sent, &mut events);
    let sent = sent.into_iter().map(|sent| match sent {
        Sent::Packet(range) => sender.octets()[range].to_vec(),
        unsent => panic!("{}: {unsent:?}", case.name()),
    });
    sent.collect()
}

/// What espwire makes of a burst: each packet that it delivers, or why it doesn't.
pub(crate) fn received_by_espwire(
    receiver: &mut Receiver,
    packets: &[Vec<u8>],
) -> Vec<Result<Vec<u8>, DropReason>> {
    let packets: Vec<_> = packets.iter().map(Vec::as_slice).collect();
    let mut received = Vec::new();
    let mut events = Vec::new();
    receiver.receive_burst(Duration::ZERO, &packets, &mut received, &mut events);
    let delivered = received.into_iter().map(|received| match received {
        Received::Packet(delivered) => Ok(receiver.packet(delivered).to_vec()),
        Received::Drop(reason) => Err(reason),
        Received::Pass(passed) => panic!("passed as {passed:?}"),
    });
    delivered.collect()
}

pub(crate) fn receiver(case: &Case) -> Receiver {
    let line = case.xfrm();
    let states = xfrm::parse("scapy", &line).unwrap_or_else(|error| panic!("{error}\n{line}"));
    Receiver::new(Sad::receiving([&states], Duration::ZERO).unwrap_or_else(|error| panic!("{error}\n{line}")))
}
