//! IPsec (RFC 4301): SAs and policies with their databases, the inspection of ESP on Ethernet frames with a verdict per
//! frame, ESP out of IP packets and IP packets out of ESP, and the `ip xfrm` grammar that SAs and policies are read from.
//!
//! ```text
//!   xfrm::parse(text) ──► Sad ──► Inspector
//!                                    │ inspect_burst(frames)
//!   frame: Ethernet │ IP │ (UDP) │ ESP ├──► Verdict::Pass | Verdict::Drop(DropReason)
//!                                    └──► Explanation: what was found, to whoever observes
//!
//!   xfrm::parse(text) ──► Sad::sending ──► Sender, with an Spd: Outbound
//!                                    │ send_burst(now, IP packets)
//!                                    ├──► ESP packets; in clear; too big; or why not
//!                                    └──► Event: audits, lifetimes
//!
//!   xfrm::parse(text) ──► Sad::receiving ──► Receiver, with an Spd: Inbound
//!                                    │ receive_burst(now, IP packets)
//!                                    ├──► the packets inside, what came in clear, or why not
//!                                    └──► Event: audits, lifetimes, a peer that moved
//! ```
//!
//! ```
//! use espwire_ipsec::{DropReason, Frame, Inspector, Sad, Verdict, xfrm};
//!
//! let text = "ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 0x100 mode tunnel \
//!             aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128";
//! let states = xfrm::parse("example", text).unwrap();
//! let mut inspector = Inspector::new(Sad::new([&states]).unwrap());
//!
//! // An IPv4 packet with ESP whose SPI no SA has.
//! let mut frame = vec![0; 14 + 20 + 40];
//! frame[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0x00]);
//! frame[17] = 60;
//! frame[23] = 50;
//! frame[24..26].copy_from_slice(&[0xba, 0x91]);
//! let mut verdicts = Vec::new();
//! inspector.inspect_burst(&[Frame::whole(&frame)], &mut verdicts, &mut ());
//! assert_eq!(verdicts, [Verdict::Drop(DropReason::NoSa)]);
//! ```
//!
//! # What it does not do
//!
//! It neither fragments nor reassembles: ESP in an IP fragment can't be verified, and a packet that gets too long is said
//! to be. It makes no ICMP message, and negotiates no SA. ESP is found behind up to two VLAN tags, IP headers with their
//! options and extension headers, and UDP to port 4500 or to an SA's; behind anything else (three tags, MPLS, PPPoE,
//! another tunnel) it is not looked for. A later IP fragment of a UDP datagram shows no port and passes. An SA is found by
//! SPI and the header's destination, whatever a routing header says; with `flag wildrecv` of its state, by the SPI alone. A
//! [`Sender`] and a [`Receiver`] know SAs alone: whether a packet had to be protected, and by which SA, is asked of an
//! [`Spd`] by [`Outbound`] and [`Inbound`]. The [`Inspector`] asks no policy, and does not hold an SA's encapsulation,
//! selector or lifetime against a packet. docs/rfc4303.md goes through the RFCs rule by rule. No I/O, clock, thread, log
//! or randomness.

#![forbid(unsafe_code)]

mod algorithm;
mod beet;
mod boundary;
pub mod danger;
mod decapsulate;
mod ecn;
mod event;
mod explanation;
mod flow;
mod inner;
mod inspect;
mod ip;
mod lifetime;
mod opening;
mod outer;
mod receive;
mod sa;
mod sad;
mod selector;
mod selectors;
mod send;
mod spd;
mod tunnel;
mod verdict;
pub mod xfrm;

pub use boundary::{Departed, Inbound, Outbound};
pub use espwire_esp::{HEADER_LEN, IV_SECRET_LEN, Icv, IvSecret, Replay, Resynchronization, Suite};
pub use event::{Audit, Event, LimitKind, SaId};
pub use explanation::{Decrypted, Explanation, Observer, Reencryption};
pub use flow::{Flow, Upper};
pub use inner::Inner;
pub use inspect::{Frame, Inspector, MAX_BURST};
pub use ip::Checksum;
pub use lifetime::{Expired, Lifetime, Reached};
pub use outer::{Outer, UdpPorts};
pub use receive::{Delivered, Received, Receiver};
pub use sa::{Fingerprint, Mode, Sa, SaCounts};
pub use sad::{Observing, Receiving, SaPlace, Sad, SadError, Sending};
pub use selector::{AddressRange, Selector, SelectorError, UpperSelector, ValueRange};
pub use send::{KEEPALIVE_INTERVAL, Outgoing, Sender, Sent};
pub use spd::{
    Action, Lookup, MAX_POLICIES, Place, Policy, PolicyCounts, PolicyFault, ProtectedBy, Rule, Spd, SpdError,
    Template, Unmatched,
};
pub use tunnel::{Df, Dscp, FlowLabel, TunnelHeaders};
pub use verdict::{DropCounts, DropReason, Passed, Verdict};
