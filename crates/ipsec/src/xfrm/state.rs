//! A state: what RFC 4301 calls an SA.

use std::fmt;
use std::net::IpAddr;
use std::ops::BitOr;
use std::sync::Arc;

use super::{Algorithm, Position, ReplayBitmap, Selector};

/// One state, as Linux calls an SA.
///
/// What a text says of no consequence here is read and checked but not kept: the statistics and the times.
/// [`listing`](Self::listing) prints them as 0. The times are dates, of a clock that is not ours: whoever uses the
/// state counts its limits of time from when it was loaded.
#[derive(Clone, Debug)]
pub struct State {
    /// What the text is called: the `name` given to [`parse`](super::parse).
    pub source_name: Arc<str>,
    /// Where its first word stands: `ip` (or `sudo`) of a command, `src` of a printed state.
    pub position: Position,
    /// The network namespace it was added in by `ip netns exec NAME` or `ip -n NAME`. None: where the script
    /// runs; always so for a printed state.
    pub origin: Option<String>,
    /// Outer source address, unspecified for any. Scripts may write a prefix length after it; it is dropped, as by
    /// `ip`.
    pub src: IpAddr,
    /// Outer destination address, of the same family.
    pub dst: IpAddr,
    /// SPI, host order. Never 0.
    pub spi: u32,
    /// What ties it to policies; 0 for none.
    pub reqid: u32,
    /// Tunnel or transport mode, or one of Linux's own.
    pub mode: Mode,
    /// Always [`Proto::Esp`]: any other is refused.
    pub proto: Proto,
    /// Size of the anti-replay window in packets, 0 for none, at most [`MAX_REPLAY_WINDOW`](super::MAX_REPLAY_WINDOW): that of the ESN
    /// context where one is printed. Above 4096 Linux takes no such state: see [`loads_into_linux`](Self::loads_into_linux).
    pub replay_window: u32,
    /// The `flag` list.
    pub flags: Flags,
    /// The `extra-flag` list.
    pub extra_flags: ExtraFlags,
    /// The `enc` algorithm. There is this or an `aead`.
    pub encryption: Option<Algorithm>,
    /// The `auth` or `auth-trunc` algorithm.
    pub integrity: Option<Algorithm>,
    /// The `aead` algorithm; then there is neither of the others.
    pub aead: Option<Algorithm>,
    /// UDP or TCP encapsulation.
    pub encap: Option<Encap>,
    /// The sequence numbers as printed, or as `replay-seq` and its sisters set them.
    pub sequence: SequenceContext,
    /// The anti-replay bitmap as printed. Empty for a state of command words, which have none: with `replay-seq` alone,
    /// a receiver knows of the highest number received and of no other in the window.
    pub replay_bitmap: ReplayBitmap,
    /// `seq`: the number of the acquire message that this state answers; 0 for none. As a little-endian Linux
    /// prints it: `seq 1` of a command is 0x01000000.
    pub acquire_seq: u32,
    /// `sel`: what traffic may use it.
    pub selector: Option<Selector>,
    /// `mark`: packets with this mark alone find it.
    pub mark: Option<Mark>,
    /// `output-mark`: the mark its packets get. Its value is never 0: for Linux that is none.
    pub output_mark: Option<Mark>,
    /// `if_id`: the xfrm interface it belongs to. Never `Some(0)`: for Linux that is none.
    pub if_id: Option<u32>,
    /// `tfcpad`: pad packets to this length, in octets.
    pub tfcpad: Option<u32>,
    /// `ctx`: the security context.
    pub context: Option<String>,
    /// `offload`: the device that processes it.
    pub offload: Option<Offload>,
    /// `dir`: the only direction it may be used in.
    pub direction: Option<SaDirection>,
    /// `pcpu-num`: the CPU it belongs to.
    pub cpu: Option<u32>,
    /// `limit`: when it ends.
    pub limits: Limits,
    /// `lifetime current` as printed with `-s`; else nothing.
    pub used: Used,
}

impl State {
    /// Whether both states put the same octets on the wire: source and destination address, SPI, protocol,
    /// mode, the algorithms with their keys and ICV lengths, ESN, and the encapsulation's type and ports.
    ///
    /// Nothing else counts: not the text, position and origin; not reqid, selector, marks, limits and other flags;
    /// not the sequence numbers; and not the anti-replay window, which only the receiver knows. Names that
    /// Linux takes for one another are equal (`aes`, `cbc(aes)`), and `auth 'hmac(sha1)'` equals
    /// `auth-trunc 'hmac(sha1)' … 96`. Keys are compared in constant time.
    pub fn same_sa(&self, other: &Self) -> bool {
        let encap = |state: &Self| state.encap.map(|e| (e.kind, e.sport, e.dport));
        self.same_transform(other) && encap(self) == encap(other)
    }

    /// As [`same_sa`](Self::same_sa), whatever the encapsulation.
    pub(super) fn same_transform(&self, other: &Self) -> bool {
        let same = |a: &Option<Algorithm>, b: &Option<Algorithm>| match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) => a.same(b),
            _ => false,
        };
        (self.src, self.dst, self.spi, self.proto, self.mode, self.flags.has(Flags::ESN))
            == (other.src, other.dst, other.spi, other.proto, other.mode, other.flags.has(Flags::ESN))
            && same(&self.encryption, &other.encryption)
            && same(&self.integrity, &other.integrity)
            && same(&self.aead, &other.aead)
    }
}

/// How packets are encapsulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// `transport` (RFC 4301 §4.1).
    Transport,
    /// `tunnel` (RFC 4301 §4.1).
    Tunnel,
    /// `ro`: route optimization (Mobile IPv6).
    RouteOptimization,
    /// `in_trigger` (Mobile IPv6).
    InTrigger,
    /// `beet`: bound end-to-end tunnel (RFC 7402 Appendix B).
    Beet,
    /// `iptfs` (RFC 9347).
    Iptfs,
}

impl Mode {
    /// All of them with their names, in the order in which `ip` tries abbreviations.
    pub(super) const NAMES: [(&'static str, Self); 6] = [
        ("transport", Self::Transport),
        ("tunnel", Self::Tunnel),
        ("ro", Self::RouteOptimization),
        ("in_trigger", Self::InTrigger),
        ("beet", Self::Beet),
        ("iptfs", Self::Iptfs),
    ];

    /// Its name in `ip xfrm`.
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, mode)| *mode == self).map_or("", |(name, _)| name)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The protocol of a state or template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proto {
    /// `esp` (RFC 4303).
    Esp,
    /// `ah` (RFC 4302).
    Ah,
    /// `comp`: IPComp (RFC 3173).
    Comp,
    /// `route2`: IPv6 routing header type 2.
    Route2,
    /// `hao`: IPv6 home address option.
    Hao,
    /// `ipsec-any`: ESP, AH or IPComp.
    IpsecAny,
}

impl Proto {
    /// All of them with their names.
    pub(super) const NAMES: [(&'static str, Self); 6] = [
        ("esp", Self::Esp),
        ("ah", Self::Ah),
        ("comp", Self::Comp),
        ("route2", Self::Route2),
        ("hao", Self::Hao),
        ("ipsec-any", Self::IpsecAny),
    ];

    /// Its name in `ip xfrm`.
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, proto)| *proto == self).map_or("", |(name, _)| name)
    }
}

/// The `flag` list of a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub(super) u8);

impl Flags {
    /// `noecn`: ECN is not copied between inner and outer header.
    pub const NOECN: Self = Self(0x01);
    /// `decap-dscp`: the inner header gets the outer DSCP.
    pub const DECAP_DSCP: Self = Self(0x02);
    /// `nopmtudisc`: no path MTU discovery.
    pub const NOPMTUDISC: Self = Self(0x04);
    /// `wildrecv` (Mobile IPv6).
    pub const WILDRECV: Self = Self(0x08);
    /// `icmp`: it is for the packet that an ICMP error is about, too.
    pub const ICMP: Self = Self(0x10);
    /// `af-unspec`: inner packets may be of the other address family.
    pub const AF_UNSPEC: Self = Self(0x20);
    /// `align4`: IPv6 ESP aligned to 4 octets only.
    pub const ALIGN4: Self = Self(0x40);
    /// `esn`: extended sequence numbers (RFC 4303 §2.2.1).
    pub const ESN: Self = Self(0x80);

    /// The flags of these bits, as the kernel has them (XFRM_STATE_…).
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// All of them with their names, in the order in which they are printed.
    pub(super) const NAMES: [(&'static str, u8); 8] = [
        ("noecn", 0x01),
        ("decap-dscp", 0x02),
        ("nopmtudisc", 0x04),
        ("wildrecv", 0x08),
        ("icmp", 0x10),
        ("af-unspec", 0x20),
        ("align4", 0x40),
        ("esn", 0x80),
    ];

    /// Whether every flag of `flags` is set.
    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// The bits as the kernel has them (XFRM_STATE_…).
    pub fn bits(self) -> u8 {
        self.0
    }

    /// The names of the flags that are set, in the order in which `ip` prints them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(_, bit)| self.0 & bit != 0).map(|(name, _)| name)
    }
}

/// The `extra-flag` list of a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtraFlags(pub(super) u32);

impl ExtraFlags {
    /// `dont-encap-dscp`: the outer header does not get the inner DSCP.
    pub const DONT_ENCAP_DSCP: Self = Self(1);
    /// `oseq-may-wrap`: the outbound sequence number may wrap.
    pub const OSEQ_MAY_WRAP: Self = Self(2);

    /// The flags of these bits, as the kernel has them (XFRM_SA_XFLAG_…).
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    pub(super) const NAMES: [(&'static str, u32); 2] = [("dont-encap-dscp", 1), ("oseq-may-wrap", 2)];

    /// Whether every flag of `flags` is set.
    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// The bits as the kernel has them (XFRM_SA_XFLAG_…).
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOr for ExtraFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// UDP or TCP encapsulation of ESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encap {
    /// What is around ESP.
    pub kind: EncapKind,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// The peer's original address; `0.0.0.0` or `::` for none.
    pub addr: IpAddr,
}

/// What is around ESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncapKind {
    /// `espinudp` (RFC 3948).
    EspInUdp,
    /// `espinudp-nonike`: the draft before it, with a non-IKE marker.
    EspInUdpNonIke,
    /// `espintcp` (RFC 8229).
    EspInTcp,
}

impl EncapKind {
    pub(super) const NAMES: [(&'static str, Self); 3] = [
        ("espinudp", Self::EspInUdp),
        ("espinudp-nonike", Self::EspInUdpNonIke),
        ("espintcp", Self::EspInTcp),
    ];

    /// Its name in `ip xfrm`.
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// The sequence numbers of a state. What a printed state says may be from before, during or after the traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequenceContext {
    /// The highest one received, low half.
    pub seq: u32,
    /// Its high half; 0 without an ESN context, which a state with `flag esn` or a window above 32 has.
    pub seq_hi: u32,
    /// The last one sent, low half.
    pub oseq: u32,
    /// Its high half; 0 without an ESN context.
    pub oseq_hi: u32,
}

/// A mark: a packet has it if its own mark, ANDed with `mask`, is `value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The bits.
    pub value: u32,
    /// Which bits count.
    pub mask: u32,
}

impl Mark {
    /// What Linux keeps of a mark that a command gives: the bits that count; None if none does.
    pub(super) fn kept(self) -> Option<Self> {
        (self.mask != 0).then_some(Self { value: self.value & self.mask, mask: self.mask })
    }
}

/// What a device does for a state or policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offload {
    /// Name of the device.
    pub dev: String,
    /// Whether it does all of the packet's processing (`packet`) or only the cryptography (`crypto`).
    pub packet: bool,
    /// The direction. Policies have none here.
    pub direction: Option<SaDirection>,
}

/// The direction of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaDirection {
    /// `in`: inbound.
    In,
    /// `out`: outbound.
    Out,
}

/// What a state has been used for so far, as Linux counts: octets of payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Octets.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
}

/// When a state or policy ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// When it should be replaced.
    pub soft: Limit,
    /// When it ends.
    pub hard: Limit,
}

/// One set of limits; None for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// Octets (`byte-soft`, `byte-hard`).
    pub bytes: Option<u64>,
    /// Packets (`packet-soft`, `packet-hard`).
    pub packets: Option<u64>,
    /// Seconds since it was added (`time-soft`, `time-hard`). Never `Some(0)`.
    pub since_added: Option<u64>,
    /// Seconds since its first use (`time-use-soft`, `time-use-hard`). Never `Some(0)`.
    pub since_used: Option<u64>,
}
