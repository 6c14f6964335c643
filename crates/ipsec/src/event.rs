//! What happens to SAs and packets beside their verdicts: for a log, and for who manages keys.

use std::net::IpAddr;
use std::time::Duration;

use crate::flow::Flow;
use crate::outer::UdpPorts;
use crate::verdict::DropReason;

/// Which SA (RFC 4301 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SaId {
    /// Security parameters index.
    pub spi: u32,
    /// Outer destination address.
    pub dst: IpAddr,
}

/// Something to be told, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A packet was dropped for a reason that RFC 4303 or RFC 4301 calls auditable ([`DropReason::is_auditable`]).
    /// Whoever logs this limits the rate: anybody can cause it.
    Audit(Audit),
    /// An SA has reached a limit of its lifetime (RFC 4301 §4.4.2.1).
    Expire {
        /// The SA.
        sa: SaId,
        /// Its hard limit: nothing goes through it any more. Else the soft one: it is to be replaced.
        is_hard: bool,
        /// Which limit.
        limit: LimitKind,
    },
    /// A packet of the SA has verified that came from another address or UDP port than the last one: a NAT has a new
    /// mapping for the peer (RFC 3948 §4).
    PeerMoved {
        /// The SA.
        sa: SaId,
        /// Where packets came from, so far.
        old: (IpAddr, UdpPorts),
        /// Where this one came from.
        new: (IpAddr, UdpPorts),
    },
    /// Outer and inner ECN field of a packet in tunnel mode make a combination that no sender uses (RFC 6040 §4.2,
    /// figure 4). Whoever logs this limits the rate.
    EcnAnomaly {
        /// The SA.
        sa: SaId,
        /// The inner packet's ECN field, 0 to 3.
        inner: u8,
        /// The outer packet's ECN field, 0 to 3.
        outer: u8,
    },
    /// The high-order half of an SA's sequence numbers was found again (RFC 4303 Appendix A3).
    Resynchronized {
        /// The SA.
        sa: SaId,
        /// The highest number that had verified before.
        from: u64,
        /// The number that has verified now.
        to: u64,
    },
}

/// An auditable event (RFC 4303 §3.3.3, §3.4; RFC 4301 §5.1.1, §5.2): which packet, when, and why it was dropped.
///
/// The addresses and the flow label are those of the IP header as the packet was handed in: of a received ESP packet
/// that is the outer header. The packet that ESP protects, or should, is in [`flow`](Self::flow).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Why the packet was dropped.
    pub reason: DropReason,
    /// When: the time that was handed in with the burst.
    pub time: Duration,
    /// SPI, where there was one.
    pub spi: Option<u32>,
    /// Sequence number, where there was one: all 64 bits with ESN if they are known. Of an SA that has sent its last
    /// one, that.
    pub sequence: Option<u64>,
    /// Source address; `None` for a dummy packet that was not sent.
    pub src: Option<IpAddr>,
    /// Destination address; likewise.
    pub dst: Option<IpAddr>,
    /// Flow label of an IPv6 packet: RFC 4303's flow ID.
    pub flow_label: Option<u32>,
    /// The selector values of the packet in clear, with the next layer protocol and its ports, ICMP type and the
    /// like, where they were read: of what the SPD dropped, and of what came through an SA that is not for it.
    pub flow: Option<Flow>,
}

/// One of the limits of a lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// Octets.
    Bytes,
    /// Packets.
    Packets,
    /// Time since it was added.
    SinceAdded,
    /// Time since it was first used.
    SinceUsed,
}
