//! What is tried: SAs, and the packets that go through them.

use std::fmt;

use espwire_esp::{AesKeyLen, IcvLen, Integrity, Suite};
use serde_json::{Value, json};

use crate::esp;
use crate::left_out::names;
use crate::process::hex;

pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const DESTINATION_OPTIONS: u8 = 60;
/// For experiments (RFC 3692): neither side looks into it.
pub(crate) const PROTOCOL: u8 = 253;
/// UDP ports of NAT-T, with a NAT in front of the sender.
pub(crate) const NAT_T: (u16, u16) = (40001, 4500);

/// Which headers a packet has.
#[derive(Clone, Copy)]
pub(crate) enum Layout {
    /// IP of the first version in ESP over IP of the second.
    Tunnel(u8, u8),
    /// ESP over IP of this version.
    Transport(u8),
    /// Over IPv4 with 8 octets of options.
    TransportWithOptions,
    /// Over IPv6 with this extension header: hop-by-hop or destination options.
    TransportWithExtension(u8),
}

impl Layout {
    pub(crate) const ALL: [Self; 6] = [
        Self::Tunnel(4, 4),
        Self::Tunnel(6, 6),
        Self::Tunnel(4, 6),
        Self::Tunnel(6, 4),
        Self::Transport(4),
        Self::Transport(6),
    ];
    /// What more there is to place ESP behind, or in front of. No suite has a say in it: tried with two of them.
    pub(crate) const WITH_OPTIONS: [Self; 3] = [
        Self::TransportWithOptions,
        Self::TransportWithExtension(HOP_BY_HOP),
        Self::TransportWithExtension(DESTINATION_OPTIONS),
    ];

    pub(crate) fn is_transport(self) -> bool {
        !matches!(self, Self::Tunnel(..))
    }

    pub(crate) fn is_over_ipv6(self) -> bool {
        matches!(self, Self::Tunnel(_, 6) | Self::Transport(6) | Self::TransportWithExtension(_))
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tunnel(inside, over) => write!(f, "tunnel {inside}in{over}"),
            Self::Transport(version) => write!(f, "transport {version}"),
            Self::TransportWithOptions => write!(f, "transport 4 with options"),
            Self::TransportWithExtension(HOP_BY_HOP) => write!(f, "transport 6 with hop-by-hop options"),
            Self::TransportWithExtension(_) => write!(f, "transport 6 with destination options"),
        }
    }
}

/// One SA, and the packets that go through it.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) layout: Layout,
    pub(crate) sa: esp::Sender,
    /// The number before the first packet's.
    pub(crate) last: u64,
    /// What is protected: whole packets, in transport mode too.
    pub(crate) packets: Vec<Vec<u8>>,
}

impl Case {
    pub(crate) fn new(suite: Suite, layout: Layout, esn: bool, nat_t: bool) -> Self {
        let mut sa = esp::Sender::new(0x0e50_0001 + suite.encryption_key_len() as u32, suite);
        if layout.is_over_ipv6() {
            sa = sa.over_ipv6();
        }
        sa.transport = layout.is_transport();
        sa.esn = esn;
        sa.encap = nat_t.then_some(NAT_T);
        // With ESN, the packets are on both sides of an epoch's end.
        let last = if esn { (5 << 32) - 3 } else { 0x8000_0000 };
        let mut case = Self { layout, sa, last, packets: Vec::new() };
        // One length for each pad length, and a long one.
        let lens = (0..suite.block_len().max(4)).chain([1400]);
        case.packets = lens.map(|len| case.packet(len)).collect();
        case
    }

    /// A packet with `len` octets of payload behind its IP header, options and extension headers.
    pub(crate) fn packet(&self, len: usize) -> Vec<u8> {
        let payload: Vec<u8> = (0..len).map(|i| (i as u8).wrapping_mul(31) ^ 0x5a).collect();
        let ip = |src, dst, options| esp::ip(src, dst, PROTOCOL, options, &payload);
        match self.layout {
            Layout::Tunnel(4, _) => ip([192, 168, 7, 1].into(), [192, 168, 7, 2].into(), 0),
            Layout::Tunnel(..) => ip("fd07::1".parse().unwrap(), "fd07::2".parse().unwrap(), 0),
            Layout::Transport(_) => ip(self.sa.src, self.sa.dst, 0),
            Layout::TransportWithOptions => ip(self.sa.src, self.sa.dst, 8),
            Layout::TransportWithExtension(header) => {
                let mut packet = ip(self.sa.src, self.sa.dst, 8);
                packet[6] = header;
                packet
            }
        }
    }

    /// The sequence numbers of the packets.
    pub(crate) fn sequences(&self) -> impl Iterator<Item = u64> {
        self.last + 1..
    }

    /// The same with other high halves of the sequence numbers; `None` without ESN.
    pub(crate) fn an_epoch_later(&self) -> Option<Self> {
        self.sa.esn.then(|| Self { last: self.last + (1 << 32), ..self.clone() })
    }

    /// The line that adds the SA to a receiver or a sender.
    pub(crate) fn xfrm(&self) -> String {
        let (low, high) = (self.last as u32, self.last >> 32);
        let mut line = self.sa.xfrm().trim_end().to_owned();
        if !self.sa.esn {
            line += " replay-window 64";
        }
        line += &format!(" replay-seq {low:#x} replay-oseq {low:#x}");
        if self.sa.esn {
            line += &format!(" replay-seq-hi {high:#x} replay-oseq-hi {high:#x}");
        }
        line
    }

    /// The SA as Scapy has it.
    pub(crate) fn for_scapy(&self) -> Value {
        let sa = &self.sa;
        let (encryption, integrity) = names(sa.suite).expect("a suite that both have");
        let icv_len = sa.suite.integrity_algorithm().is_none().then_some(sa.suite.icv_len());
        json!({
            "spi": sa.spi,
            "encryption": encryption,
            "encryption_key": hex(&sa.encryption_key),
            "icv_len": icv_len,
            "integrity": integrity,
            "integrity_key": hex(&sa.integrity_key),
            "esn": sa.esn,
            "tunnel": (!sa.transport).then_some((sa.src, sa.dst)),
            "nat_t": sa.encap,
        })
    }

    /// Where ESP stands in `wrapped`.
    pub(crate) fn esp_at(&self, wrapped: &[u8]) -> usize {
        let spi = self.sa.spi.to_be_bytes();
        wrapped.windows(4).position(|octets| octets == spi).expect("the SPI")
    }

    /// Octets of padding in `wrapped`, around `packet`.
    pub(crate) fn pad_len(&self, packet: &[u8], wrapped: &[u8]) -> usize {
        let (esp_at, suite) = (self.esp_at(wrapped), self.sa.suite);
        let headers_len = esp_at - if self.sa.encap.is_some() { 8 } else { 0 };
        let payload_len = if self.sa.transport { packet.len() - headers_len } else { packet.len() };
        wrapped.len() - esp_at - 8 - suite.iv_len() - payload_len - 2 - suite.icv_len()
    }

    /// `wrapped` with one bit of ESP turned over, and where that is, from the SPI on: which bit depends on `turn`. The
    /// SPI is left as it is.
    pub(crate) fn damaged(&self, wrapped: &[u8], turn: usize) -> (Vec<u8>, usize) {
        let esp_at = self.esp_at(wrapped);
        let at = 4 + turn * 7 % (wrapped.len() - esp_at - 4);
        let mut damaged = wrapped.to_vec();
        damaged[esp_at + at] ^= 1 << (turn % 8);
        (damaged, at)
    }

    pub(crate) fn name(&self) -> String {
        let Self { layout, sa, .. } = self;
        let esn = if sa.esn { ", ESN" } else { "" };
        let nat_t = if sa.encap.is_some() { ", NAT-T" } else { "" };
        format!("{}, {layout}{esn}{nat_t}", sa.suite)
    }
}

/// Every case with a suite that both have.
pub(crate) fn cases() -> impl Iterator<Item = Case> {
    let with_options = [
        Suite::AesGcm(AesKeyLen::Aes256, IcvLen::Icv16),
        Suite::AesCbc(AesKeyLen::Aes256, Integrity::HmacSha256_128),
    ];
    Suite::all().filter(|&suite| names(suite).is_ok()).flat_map(move |suite| {
        let extra = if with_options.contains(&suite) { &Layout::WITH_OPTIONS[..] } else { &[] };
        let layouts = Layout::ALL.iter().chain(extra);
        layouts.flat_map(move |&layout| {
            let flags = [(false, false), (false, true), (true, false), (true, true)];
            flags.map(|(esn, nat_t)| Case::new(suite, layout, esn, nat_t))
        })
    })
}
