//! The IPsec boundary (RFC 4301 §3.1): which packets cross it in clear, which through an SA, and which don't.
//!
//! [`Sender`] and [`Receiver`] do as their SAs say; here the SPD is asked first, or last:
//!
//! ```text
//!   packet ──► Flow ──► Spd ──► PROTECT: the SA that the template asks for ──► Sender ──► ESP
//!                         ├──► BYPASS: as it came
//!                         └──► DISCARD
//!
//!   ESP ──► Receiver ──► packet ──► Flow ──► Spd: is this the SA that the policy asks for? ──► packet
//!   not ESP ───────────────────────► Flow ──► Spd: may it come in clear? ────────────────────► as it came
//! ```

use std::ops::Range;
use std::time::Duration;

use crate::event::{Audit, Event};
use crate::flow::Flow;
use crate::ip::flow_label;
use crate::receive::{Received, Receiver};
use crate::sa::Sa;
use crate::sad::SaPlace;
use crate::send::{Outgoing, Sender, Sent};
use crate::spd::{Action, PolicyFault, ProtectedBy, Rule, Spd};
use crate::verdict::{DropReason, Refusal};
use crate::xfrm::Dir;

/// What became of a packet on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Departed {
    /// It goes as this ESP packet: octets of [`Sender::octets`].
    Protected(Range<usize>),
    /// Likewise, and it is to be fragmented: [`Sent::ToFragment`].
    ToFragment(Range<usize>),
    /// It goes as it came.
    Clear,
    /// Encapsulated, it would be longer than the MTU: [`Sent::TooBig`].
    TooBig {
        /// The longest packet that would fit, in octets.
        mtu: usize,
    },
    /// It ends here.
    Drop(DropReason),
}

impl From<Sent> for Departed {
    fn from(sent: Sent) -> Self {
        match sent {
            Sent::Packet(at) => Self::Protected(at),
            Sent::ToFragment(at) => Self::ToFragment(at),
            Sent::TooBig { mtu } => Self::TooBig { mtu },
            Sent::Drop(reason) => Self::Drop(reason),
        }
    }
}

/// The way out (RFC 4301 §5.1).
pub struct Outbound {
    spd: Spd,
    sender: Sender,
}

impl Outbound {
    /// With these policies and SAs.
    #[must_use]
    pub fn new(spd: Spd, sender: Sender) -> Self {
        Self { spd, sender }
    }

    /// Its policies.
    #[must_use]
    pub fn spd(&self) -> &Spd {
        &self.spd
    }

    /// Its policies, to be replaced.
    pub fn spd_mut(&mut self) -> &mut Spd {
        &mut self.spd
    }

    /// Its SAs, and what goes out.
    #[must_use]
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// Its SAs, to be added and removed, for keepalives and dummy packets.
    pub fn sender_mut(&mut self) -> &mut Sender {
        &mut self.sender
    }

    /// Takes a burst of whole IP packets out, in order; appends what became of each to `departed`, and what is to be
    /// told to `events`. `now` is that of [`Sender::send_burst`].
    ///
    /// 1. The packet's flow; one that can't be read is malformed.
    /// 2. The policy. With DISCARD, or none and [`Unmatched::Discard`](crate::Unmatched::Discard), it ends.
    /// 3. With PROTECT, the SA. Without one it ends, unless the template does not require it.
    /// 4. All that [`Sender::send_burst`] does, encryption last, for all packets in one call.
    ///
    /// Each packet is decided and counted in its turn, so that a burst is its packets one by one: where one reaches the
    /// limit of an SA's lifetime, the next goes through its successor.
    pub fn send_burst(
        &mut self,
        now: Duration,
        packets: &[&[u8]],
        departed: &mut Vec<Departed>,
        events: &mut Vec<Event>,
    ) {
        self.sender.begin();
        let first = departed.len();
        for &packet in packets {
            departed.push(match self.decide(now, packet, events) {
                Ok(Some(sa)) => self.sender.admit(now, &Outgoing::Packet { sa, packet }, events).into(),
                Ok(None) => Departed::Clear,
                Err(reason) => Departed::Drop(reason),
            });
        }
        let unsealed = self.sender.seal(now);
        for departed in &mut departed[first..] {
            if matches!(departed, Departed::Protected(at) | Departed::ToFragment(at) if unsealed.contains(at))
            {
                *departed = Departed::Drop(DropReason::Malformed);
            }
        }
    }

    /// The SA that a packet goes through; `None` if it goes in clear.
    fn decide(
        &mut self,
        now: Duration,
        packet: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<Option<SaPlace>, DropReason> {
        let flow = Flow::of_packet(packet).ok_or(DropReason::Malformed)?;
        let lookup = self.spd.lookup(Dir::Out, &flow, packet.len());
        let reason = match lookup.action {
            Action::Bypass => return Ok(None),
            Action::Discard => match lookup.rule {
                Rule::Policy(_) => DropReason::OutPolicyBlock,
                Rule::Unmatched => DropReason::OutNoPolicy,
                Rule::Obscured(_) => DropReason::Obscured,
            },
            Action::Protect(template) => match self.sender.find_for(now, &template, &flow) {
                Some(sa) => return Ok(Some(sa)),
                None if !template.is_required => return Ok(None),
                None => DropReason::OutNoSa,
            },
        };
        events.push(audit(reason, now, &flow, packet));
        Err(reason)
    }
}

/// The way in (RFC 4301 §5.2).
pub struct Inbound {
    spd: Spd,
    receiver: Receiver,
}

impl Inbound {
    /// With these policies and SAs.
    #[must_use]
    pub fn new(spd: Spd, receiver: Receiver) -> Self {
        Self { spd, receiver }
    }

    /// Its policies.
    #[must_use]
    pub fn spd(&self) -> &Spd {
        &self.spd
    }

    /// Its policies, to be replaced.
    pub fn spd_mut(&mut self) -> &mut Spd {
        &mut self.spd
    }

    /// Its SAs, and what came in.
    #[must_use]
    pub fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// Its SAs, to be added and removed.
    pub fn receiver_mut(&mut self) -> &mut Receiver {
        &mut self.receiver
    }

    /// Takes a burst of IP packets in, in order, as [`Receiver::receive_burst`]. What it lets through has to be what the
    /// SPD wants:
    ///
    /// 1. A packet out of an SA: the policy is PROTECT, and this SA is one that its template asks for.
    /// 2. A packet that came in clear, IKE too: the policy is BYPASS, or PROTECT without need.
    ///
    /// What it does not is dropped, audited, and counted as a failure of its SA.
    pub fn receive_burst(
        &mut self,
        now: Duration,
        packets: &[&[u8]],
        received: &mut Vec<Received>,
        events: &mut Vec<Event>,
    ) {
        let Self { spd, receiver } = self;
        receiver.receive_permitted(now, packets, |packet, sa| permits(spd, packet, sa), received, events);
    }
}

/// Whether the policy has this packet come in, in clear or through `sa`.
fn permits(spd: &mut Spd, packet: &[u8], sa: Option<&Sa>) -> Result<(), Refusal> {
    let flow = Flow::of_packet(packet).ok_or(DropReason::Malformed)?;
    let protected_by = sa.map(|sa| ProtectedBy {
        mode: sa.mode.into(),
        spi: sa.spi,
        reqid: sa.reqid,
        src: sa.src,
        dst: sa.dst,
    });
    spd.permits_inbound(&flow, packet.len(), protected_by.as_ref()).map_err(|fault| {
        let reason = match fault {
            PolicyFault::NoPolicy => DropReason::NoPolicy,
            PolicyFault::Discard => DropReason::PolicyBlock,
            PolicyFault::Unprotected => DropReason::Unprotected,
            PolicyFault::Mismatch => DropReason::TemplateMismatch,
            PolicyFault::Obscured => DropReason::Obscured,
        };
        Refusal::of_flow(reason, flow)
    })
}

/// RFC 4301 §5.1.1 has what the SPD drops audited.
fn audit(reason: DropReason, time: Duration, flow: &Flow, packet: &[u8]) -> Event {
    Event::Audit(Audit {
        reason,
        time,
        spi: None,
        sequence: None,
        src: Some(flow.src),
        dst: Some(flow.dst),
        flow_label: flow_label(packet),
        flow: Some(*flow),
    })
}
