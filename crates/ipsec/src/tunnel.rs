//! Outer headers: what an SA's say, and how they are made (RFC 4301 §5.1.2).

use std::net::IpAddr;
use std::num::NonZeroU8;

use crate::ecn;
use crate::ip::{self, FLOW_LABEL, IPV4_MIN_LEN, IPV6_LEN, Ip, flow_label};
use crate::xfrm::{ExtraFlags, Flags};

/// The least MTU of IPv6 (RFC 8200 §5).
pub(crate) const IPV6_MIN_MTU: usize = 1280;

/// What the outer headers of an SA in tunnel mode say, where they have a choice (RFC 4301 §5.1.2).
///
/// A state's flags set some of it: `noecn`, `nopmtudisc`, `dont-encap-dscp`. Of the rest, `ip xfrm` knows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelHeaders {
    /// The DSCP (RFC 4301 §5.1.2.1 note 5).
    pub dscp: Dscp,
    /// RFC 6040's compatibility mode: the outer packet is Not-ECT, for a peer that would lose marks. In normal mode
    /// the ECN field is copied. It is the flag `noecn`.
    pub ecn_compatible: bool,
    /// The DF bit of an outer IPv4 header.
    pub df: Df,
    /// TTL or hop limit, never the inner one's.
    pub hop_limit: NonZeroU8,
    /// The flow label of an outer IPv6 header.
    pub flow_label: FlowLabel,
}

impl Default for TunnelHeaders {
    fn default() -> Self {
        const HOP_LIMIT: NonZeroU8 = NonZeroU8::new(64).expect("64 is not zero");
        Self {
            dscp: Dscp::Copy,
            ecn_compatible: false,
            df: Df::Copy,
            hop_limit: HOP_LIMIT,
            flow_label: FlowLabel::Fixed(0),
        }
    }
}

/// The DSCP of an outer header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dscp {
    /// The inner packet's.
    Copy,
    /// This one, 0 to 63; of a larger number, the low 6 bits.
    Fixed(u8),
}

/// The DF bit of an outer IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Df {
    /// The inner packet's. IPv6 has no such bit: routers don't fragment it, so it is set; but clear for a packet of up
    /// to 1280 octets, whose sender need not be able to send shorter ones. This is what Linux does.
    Copy,
    /// Clear: the outer packet may be fragmented. It is what Linux does with the flag `nopmtudisc`.
    Clear,
    /// Set.
    Set,
}

/// The flow label of an outer IPv6 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowLabel {
    /// The inner packet's, 0 for IPv4: for end systems alone (RFC 4301 §5.1.2.2 note 8).
    Copy,
    /// This one, of 20 bits; of a larger number, the low 20 bits.
    Fixed(u32),
}

impl TunnelHeaders {
    /// What a state's flags ask for.
    pub(crate) fn of_flags(flags: Flags, extra_flags: ExtraFlags) -> Self {
        Self {
            dscp: if extra_flags.has(ExtraFlags::DONT_ENCAP_DSCP) { Dscp::Fixed(0) } else { Dscp::Copy },
            ecn_compatible: flags.has(Flags::NOECN),
            df: if flags.has(Flags::NOPMTUDISC) { Df::Clear } else { Df::Copy },
            ..Self::default()
        }
    }
}

/// An IP header without options or extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OuterHeader {
    pub(crate) src: IpAddr,
    /// Of the same family.
    pub(crate) dst: IpAddr,
    pub(crate) traffic_class: u8,
    pub(crate) hop_limit: u8,
    /// IPv4 only.
    pub(crate) df: bool,
    /// IPv4 only. `None`: one that no other packet has, if DF is clear.
    pub(crate) id: Option<u16>,
    /// IPv6 only.
    pub(crate) flow_label: u32,
}

impl OuterHeader {
    /// Of a packet that has nothing inside: a dummy, a keepalive.
    pub(crate) fn plain(src: IpAddr, dst: IpAddr, headers: &TunnelHeaders) -> Self {
        let traffic_class = match headers.dscp {
            Dscp::Copy => 0,
            Dscp::Fixed(dscp) => dscp << 2,
        };
        let flow_label = match headers.flow_label {
            FlowLabel::Copy => 0,
            FlowLabel::Fixed(label) => label & FLOW_LABEL,
        };
        let hop_limit = headers.hop_limit.get();
        Self { src, dst, traffic_class, hop_limit, df: headers.df == Df::Set, id: None, flow_label }
    }

    /// That of a tunnel around the packet whose header is `inner`.
    //
    //= https://www.rfc-editor.org/rfc/rfc4301#section-5.1.2.1
    //# IPsec does not copy the options from the inner header into the
    //# outer header, nor does IPsec construct the options in the outer
    //# header.
    pub(crate) fn tunnel(
        src: IpAddr,
        dst: IpAddr,
        headers: &TunnelHeaders,
        inner: &[u8],
        inner_ip: &Ip,
    ) -> Self {
        let class = ip::traffic_class(inner);
        let dscp = match headers.dscp {
            Dscp::Copy => class & !3,
            Dscp::Fixed(dscp) => dscp << 2,
        };
        let df = match headers.df {
            Df::Copy if inner_ip.src.is_ipv4() => has_df(inner),
            Df::Copy => inner_ip.len > IPV6_MIN_MTU,
            Df::Clear => false,
            Df::Set => true,
        };
        let flow_label = match headers.flow_label {
            FlowLabel::Copy => flow_label(inner).unwrap_or(0),
            FlowLabel::Fixed(label) => label & FLOW_LABEL,
        };
        let traffic_class = dscp | ecn::encapsulate(class, headers.ecn_compatible);
        Self { src, dst, traffic_class, hop_limit: headers.hop_limit.get(), df, id: None, flow_label }
    }

    /// That of a packet in mode beet: `inner`'s with other addresses (RFC 7402 Appendix B). The receiver makes the
    /// inner header of it again, so that nothing is constructed that can be copied.
    pub(crate) fn beet(src: IpAddr, dst: IpAddr, inner: &[u8]) -> Self {
        let is_ipv4 = inner[0] >> 4 == 4;
        Self {
            src,
            dst,
            traffic_class: ip::traffic_class(inner),
            hop_limit: inner[if is_ipv4 { 8 } else { 7 }],
            df: !is_ipv4 || has_df(inner),
            id: is_ipv4.then(|| u16::from_be_bytes([inner[4], inner[5]])),
            flow_label: flow_label(inner).unwrap_or(0),
        }
    }

    /// Its length in octets.
    pub(crate) fn len(&self) -> usize {
        if self.dst.is_ipv4() { IPV4_MIN_LEN } else { IPV6_LEN }
    }

    /// Appends it to `octets`; length and IPv4 checksum are for [`ip::fix_len`]. `last_id` is the last identification
    /// that was given.
    //
    //= https://www.rfc-editor.org/rfc/rfc6864#section-4.1
    //# Originating sources MAY set the IPv4 ID field of atomic datagrams
    //# to any value.
    pub(crate) fn write(&self, octets: &mut Vec<u8>, protocol: u8, last_id: &mut u16) {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let id = self.id.unwrap_or_else(|| {
                    if self.df {
                        return 0;
                    }
                    *last_id = last_id.wrapping_add(1);
                    *last_id
                });
                let [id_high, id_low] = id.to_be_bytes();
                let df = if self.df { 0x40 } else { 0 };
                octets.extend([0x45, self.traffic_class, 0, 0, id_high, id_low, df, 0]);
                octets.extend([self.hop_limit, protocol, 0, 0]);
                octets.extend(src.octets());
                octets.extend(dst.octets());
            }
            _ => {
                let first = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label;
                octets.extend(first.to_be_bytes());
                octets.extend([0, 0, protocol, self.hop_limit]);
                for address in [self.src, self.dst] {
                    match address {
                        IpAddr::V4(address) => octets.extend(address.to_ipv6_mapped().octets()),
                        IpAddr::V6(address) => octets.extend(address.octets()),
                    }
                }
            }
        }
    }
}

pub(crate) fn has_df(ipv4: &[u8]) -> bool {
    ipv4[6] & 0x40 != 0
}
