//! Records of type `esp`: what was found in one ESP packet.
//!
//! Built on the data path, so that [`EspRecord::new`] copies numbers and formats nothing; whoever writes the record
//! makes JSON of it (`esp_json.rs`), or lines for people (`esp_human.rs`).

use std::net::IpAddr;
use std::time::Duration;

use espwire_ipsec::{
    Decrypted, Explanation, Fingerprint, HEADER_LEN, Icv, Inner, Mode, Outer, Reencryption, Replay, Suite,
    Verdict,
};

use crate::port::PortName;

/// Most octets of payload that a record keeps.
pub(crate) const MAX_PAYLOAD_LEN: usize = 4096;

/// Where a packet was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the cable: the guest of this port sent it.
    Port(PortName),
    /// In a capture.
    Capture {
        /// The frame's number there, from 1.
        frame: u64,
    },
}

/// Where and when a packet was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where.
    pub place: Place,
    /// When, since the Unix epoch.
    pub time: Option<Duration>,
}

/// What was found in one ESP packet, as far as it came.
#[derive(Clone, Debug)]
pub struct EspRecord {
    pub(super) seen: Seen,
    /// Octets on the wire.
    pub(super) frame_len: usize,
    /// Octets that a capture kept of them.
    pub(super) captured_len: usize,
    pub(super) outer: Option<Outer>,
    pub(super) esp_len: usize,
    pub(super) spi: Option<u32>,
    /// All 64 bits once the packet has verified, the packet's 32 before.
    pub(super) sequence: Option<u64>,
    /// The number under which a packet with ESN was last tried in vain.
    pub(super) sequence_tried: Option<u64>,
    pub(super) sa: Option<SaPart>,
    pub(super) iv: Octets<16>,
    pub(super) ciphertext_len: Option<usize>,
    pub(super) icv_received: Octets<32>,
    pub(super) icv_computed: Option<Icv>,
    pub(super) verified: Option<bool>,
    pub(super) replay: Option<Replay>,
    pub(super) decrypted: Option<DecryptedPart>,
    pub(super) payload: Option<Payload>,
    pub(super) verdict: Verdict,
}

/// What a record says of an SA.
#[derive(Clone, Copy, Debug)]
pub(super) struct SaPart {
    pub(super) suite: Suite,
    pub(super) mode: Mode,
    pub(super) esn: bool,
    pub(super) encryption_key: Fingerprint,
    pub(super) integrity_key: Option<Fingerprint>,
}

/// What a record says of what was decrypted.
#[derive(Clone, Debug)]
pub(super) struct DecryptedPart {
    /// Unknown if the pad length is larger than the plaintext.
    pub(super) payload_len: Option<usize>,
    /// Octets of it beyond the inner packet's end.
    pub(super) tfc_padding_len: usize,
    pub(super) padding: Box<[u8]>,
    pub(super) pad_len: u8,
    pub(super) next_header: u8,
    pub(super) inner: Option<InnerPart>,
    pub(super) reencryption: Option<Reencryption>,
}

/// What a record says of the inner packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct InnerPart {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) protocol: u8,
    pub(super) ports: Option<(u16, u16)>,
    pub(super) len: usize,
}

/// What the inner packet's transport protocol carries.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    /// The first [`MAX_PAYLOAD_LEN`] octets of it.
    pub(super) octets: Box<[u8]>,
    pub(super) len: usize,
}

/// Up to `N` octets, in place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Octets<const N: usize> {
    octets: [u8; N],
    len: usize,
}

impl<const N: usize> Octets<N> {
    /// The first `N` of `octets`: no suite has more.
    fn of(octets: &[u8]) -> Self {
        let len = octets.len().min(N);
        let mut copy = [0; N];
        copy[..len].copy_from_slice(&octets[..len]);
        Self { octets: copy, len }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}

impl EspRecord {
    /// Keeps what `explanation` says. The inner packet's payload is kept if one of its ports is in `show_payload`,
    /// and at most 4096 octets of it.
    #[must_use]
    pub fn new(explanation: &Explanation<'_>, seen: Seen, show_payload: &[u16]) -> Self {
        let sa = explanation.sa.map(|sa| SaPart {
            suite: sa.suite,
            mode: sa.mode,
            esn: sa.esn,
            encryption_key: sa.encryption_fingerprint,
            integrity_key: sa.integrity_fingerprint,
        });
        let verified = explanation.verified == Some(true);
        let low = explanation.sequence_low.map(u64::from);
        let around = HEADER_LEN + explanation.iv.len() + explanation.icv_received.len();
        Self {
            seen,
            frame_len: explanation.wire_len,
            captured_len: explanation.frame.len(),
            outer: explanation.outer.cloned(),
            esp_len: explanation.esp.len(),
            spi: explanation.spi,
            sequence: if verified { explanation.sequence.or(low) } else { low },
            sequence_tried: explanation
                .sequence
                .filter(|_| !verified && explanation.sa.is_some_and(|sa| sa.esn)),
            sa,
            iv: Octets::of(explanation.iv),
            ciphertext_len: explanation.esp.len().checked_sub(around).filter(|_| !explanation.iv.is_empty()),
            icv_received: Octets::of(explanation.icv_received),
            icv_computed: explanation.icv_computed,
            verified: explanation.verified,
            replay: explanation.replay,
            decrypted: explanation.decrypted.as_ref().map(|decrypted| DecryptedPart::new(decrypted, sa)),
            payload: explanation
                .decrypted
                .as_ref()
                .and_then(|decrypted| Payload::chosen(decrypted.inner.as_ref()?, show_payload)),
            verdict: explanation.verdict,
        }
    }

    /// Puts right what the frame's lengths are, where the frame that was inspected is not the one that was
    /// captured: another link type's.
    #[must_use]
    pub(crate) fn with_frame_len(mut self, frame_len: usize, captured_len: usize) -> Self {
        self.frame_len = frame_len;
        self.captured_len = captured_len;
        self
    }
}

impl DecryptedPart {
    fn new(decrypted: &Decrypted<'_>, sa: Option<SaPart>) -> Self {
        // In transport mode the payload is the inner packet, and TFC padding can't be told from it.
        let is_tunnel = sa.is_some_and(|sa| sa.mode == Mode::Tunnel);
        let inner_len = decrypted.inner.as_ref().filter(|_| is_tunnel).map(|inner| inner.len);
        let payload_len = decrypted.payload.len();
        Self {
            payload_len: decrypted.reencryption.map(|_| payload_len),
            tfc_padding_len: inner_len.map_or(0, |len| payload_len.saturating_sub(len)),
            padding: decrypted.padding.into(),
            pad_len: decrypted.pad_len,
            next_header: decrypted.next_header,
            inner: decrypted.inner.as_ref().map(|inner| InnerPart {
                src: inner.src,
                dst: inner.dst,
                protocol: inner.protocol,
                ports: inner.ports,
                len: inner.len,
            }),
            reencryption: decrypted.reencryption,
        }
    }
}

impl Payload {
    fn chosen(inner: &Inner<'_>, show_payload: &[u16]) -> Option<Self> {
        let (src, dst) = inner.ports?;
        if !show_payload.contains(&src) && !show_payload.contains(&dst) {
            return None;
        }
        let octets = &inner.data[..inner.data.len().min(MAX_PAYLOAD_LEN)];
        Some(Self { octets: octets.into(), len: inner.data.len() })
    }

    pub(super) fn is_cut(&self) -> bool {
        self.octets.len() < self.len
    }

    /// As text that is safe on a terminal: what is not UTF-8 becomes U+FFFD, what can't be printed is escaped as
    /// in Rust, and so are `\` and, with `quotes`, `"`.
    pub(super) fn text(&self, quotes: bool) -> String {
        let mut text = String::with_capacity(self.octets.len());
        for c in String::from_utf8_lossy(&self.octets).chars() {
            match c {
                '\'' => text.push(c),
                '"' if !quotes => text.push(c),
                _ => text.extend(c.escape_debug()),
            }
        }
        text
    }
}

/// The keyword of a protocol number (IANA, "Protocol Numbers"), in lower case.
pub(super) fn protocol_name(number: u8) -> Option<&'static str> {
    Some(match number {
        0 => "hopopt",
        1 => "icmp",
        2 => "igmp",
        4 => "ipv4",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        41 => "ipv6",
        43 => "ipv6-route",
        44 => "ipv6-frag",
        47 => "gre",
        50 => "esp",
        51 => "ah",
        58 => "ipv6-icmp",
        59 => "ipv6-nonxt",
        60 => "ipv6-opts",
        89 => "ospfigp",
        103 => "pim",
        108 => "ipcomp",
        112 => "vrrp",
        115 => "l2tp",
        132 => "sctp",
        136 => "udplite",
        _ => return None,
    })
}

pub(super) fn replay_name(replay: Replay) -> &'static str {
    match replay {
        Replay::Fresh => "fresh",
        Replay::Zero => "zero",
        Replay::Old => "old",
        Replay::Duplicate => "duplicate",
    }
}

/// The name of what became of a packet.
pub(super) fn reason_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass(passed) => passed.name(),
        Verdict::Drop(reason) => reason.name(),
    }
}

pub(super) fn xfrm_stat(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Pass(_) => None,
        Verdict::Drop(reason) => reason.xfrm_stat(),
    }
}

/// Packets for the tests of JSON and of lines.
#[cfg(test)]
pub(super) mod samples {
    use std::fs::{File, read_to_string};

    use espwire_ipsec::{Frame, Inspector, Observer, Passed, Sa, Sad, UdpPorts, xfrm};

    use super::*;
    use crate::capture::Capture;

    struct Keep(Seen, Vec<u16>, Option<EspRecord>);

    impl Observer for Keep {
        fn wants(&mut self, _: Verdict) -> bool {
            true
        }

        fn observe(&mut self, explanation: &Explanation<'_>) {
            self.2 = Some(EspRecord::new(explanation, self.0, &self.1));
        }
    }

    /// What is found in a frame of `tests/data/captures/NAME.pcap` after `change`, as if guest A had sent it.
    pub(in crate::record) fn captured(
        name: &str,
        number: u64,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> EspRecord {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/captures");
        let text = read_to_string(format!("{folder}/{name}.state.txt")).unwrap();
        let mut inspector = Inspector::new(Sad::new([&xfrm::parse(name, &text).unwrap()]).unwrap());
        let mut capture = Capture::new(File::open(format!("{folder}/{name}.pcap")).unwrap()).unwrap();
        for _ in 1..number {
            capture.next().unwrap().unwrap();
        }
        let frame = capture.next().unwrap().unwrap();
        let seen = Seen { place: Place::Port(PortName::A), time: frame.time };
        let mut keep = Keep(seen, vec![9999], None);
        let (mut octets, wire_len) = (frame.octets.to_vec(), frame.wire_len);
        change(&mut octets);
        inspector.inspect_burst(&[Frame::captured(&octets, wire_len)], &mut Vec::new(), &mut keep);
        keep.2.expect("an ESP packet")
    }

    /// An explanation of a packet in which nothing was found.
    pub(in crate::record) fn nothing(frame: &[u8], verdict: Verdict) -> Explanation<'_> {
        Explanation {
            index: 0,
            frame,
            wire_len: frame.len(),
            outer: None,
            esp: &[],
            spi: None,
            sequence_low: None,
            sa: None,
            iv: &[],
            icv_received: &[],
            icv_computed: None,
            sequence: None,
            verified: None,
            replay: None,
            decrypted: None,
            verdict,
        }
    }

    /// In frame 7 of a capture, with no time.
    pub(in crate::record) const SEEN: Seen = Seen { place: Place::Capture { frame: 7 }, time: None };

    /// An SA with AES-GCM-128 and ESN.
    pub(in crate::record) fn sa(mode: &str) -> Sa {
        let text = format!(
            "ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 0x100 mode {mode} flag esn replay-window 64 \
             aead 'rfc4106(gcm(aes))' 0x{} 128",
            "5a".repeat(20)
        );
        let sad = Sad::new([&xfrm::parse("sample", &text).unwrap()]).unwrap();
        let (sa, _) = sad.iter().next().unwrap();
        sa.clone()
    }

    /// ESP in UDP over IPv6.
    pub(in crate::record) fn outer_v6() -> Outer {
        Outer {
            src: "fd00::1".parse().unwrap(),
            dst: "fd00::2".parse().unwrap(),
            udp: Some(UdpPorts { src: 4500, dst: 4501 }),
            checksum: None,
            flow_label: Some(0),
            ip_at: 14,
            protocol_at: 20,
            esp: 62..158,
        }
    }

    /// A packet that could be taken to its end, with a payload of `data` from port 9999, in transport mode if
    /// `sa` is so.
    pub(in crate::record) fn whole(sa: &Sa, data: &[u8]) -> EspRecord {
        let outer = outer_v6();
        let inner = Inner {
            src: "10.1.0.1".parse().unwrap(),
            dst: "10.1.0.2".parse().unwrap(),
            protocol: 17,
            ports: Some((9999, 53)),
            len: 28 + data.len(),
            data,
        };
        let decrypted = Decrypted {
            payload: &[0; 40],
            padding: &[1, 2, 7],
            pad_len: 3,
            next_header: 4,
            inner: Some(inner),
            reencryption: Some(Reencryption {
                ciphertext_matches: false,
                icv_matches: false,
                first_difference: Some(58),
            }),
        };
        let explanation = Explanation {
            outer: Some(&outer),
            esp: &[0; 96],
            spi: Some(0x100),
            sequence_low: Some(5),
            sa: Some(sa),
            iv: &[0xab; 8],
            icv_received: &[0xcd; 16],
            sequence: Some((1 << 32) + 5),
            verified: Some(true),
            replay: Some(Replay::Duplicate),
            decrypted: Some(decrypted),
            ..nothing(&[0; 158], Verdict::Drop(espwire_ipsec::DropReason::BadPadding))
        };
        EspRecord::new(&explanation, SEEN, &[9999])
    }

    #[test]
    fn records_go_to_other_threads() {
        fn is_send<T: Send + 'static>(_: &T) {}
        is_send(&EspRecord::new(&nothing(&[], Verdict::Pass(Passed::Verified)), SEEN, &[]));
    }

    #[test]
    fn payload_is_kept_for_the_chosen_ports_alone() {
        let inner = |ports| Inner {
            src: "10.1.0.1".parse().unwrap(),
            dst: "10.1.0.2".parse().unwrap(),
            protocol: 6,
            ports,
            len: 40,
            data: b"data",
        };
        for (ports, chosen, kept) in [
            (Some((1, 2)), &[2][..], true),
            (Some((1, 2)), &[3, 1], true),
            (Some((1, 2)), &[3], false),
            (Some((1, 2)), &[], false),
            (None, &[0], false),
        ] {
            assert_eq!(Payload::chosen(&inner(ports), chosen).is_some(), kept, "{ports:?} {chosen:?}");
        }
    }

    #[test]
    fn at_most_4096_octets_of_payload_are_kept() {
        let record = whole(&sa("tunnel"), &[b'x'; 5000]);
        let payload = record.payload.unwrap();
        assert_eq!((payload.octets.len(), payload.len, payload.is_cut()), (4096, 5000, true));
    }
}
