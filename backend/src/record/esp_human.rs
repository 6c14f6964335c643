//! Records of type `esp` for people: in the order in which the NIC works.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use espwire_ipsec::{DropReason, Mode, Passed, Verdict};

use super::esp::{
    DecryptedPart, EspRecord, MAX_PAYLOAD_LEN, Place, SaPart, protocol_name, reason_name, replay_name,
    xfrm_stat,
};
use super::esp_json::Hex;
use crate::port::PortName;

/// Columns of the word at a line's start.
const LABEL: usize = 12;

/// Some ten lines, the last with its newline too. What was not found has no line.
impl fmt::Display for EspRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.title(f)?;
        self.lengths(f)?;
        self.security_association(f)?;
        self.icv(f)?;
        if let Some(decrypted) = &self.decrypted {
            self.inner(f, decrypted)?;
            padding(f, decrypted)?;
            reencryption(f, decrypted)?;
        }
        if let Some(checksum) = self.outer.as_ref().and_then(|outer| outer.checksum) {
            let (old, new) = (checksum.received, checksum.computed);
            let equal = if old == new { "equal" } else { "differs" };
            line(f, "IP checksum", format_args!("old {old:04x}  new {new:04x}  {equal}"))?;
        }
        self.verdict(f)
    }
}

impl EspRecord {
    fn title(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seen.place {
            Place::Port(PortName::A) => f.write_str("a → b")?,
            Place::Port(PortName::B) => f.write_str("b → a")?,
            Place::Capture { frame } => write!(f, "frame {frame}")?,
        }
        f.write_str("  ESP")?;
        match &self.outer {
            Some(outer) => {
                let (src, dst) = (
                    Endpoint(outer.src, outer.udp.map(|ports| ports.src)),
                    Endpoint(outer.dst, outer.udp.map(|ports| ports.dst)),
                );
                let udp = if outer.udp.is_some() { " in UDP" } else { "" };
                write!(f, "{udp}  {src} > {dst}")?;
            }
            None => f.write_str("  no readable IP header")?,
        }
        if let Some(spi) = self.spi {
            write!(f, "  spi {spi:#010x}")?;
        }
        if let Some(sequence) = self.sequence {
            write!(f, "  seq {sequence}")?;
        }
        if let Some(time) = self.seen.time {
            let seconds = time.as_secs();
            let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
            write!(f, "  {hour:02}:{minute:02}:{second:02}.{:06} UTC", time.subsec_micros())?;
        }
        f.write_str("\n")
    }

    fn lengths(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        label(f, "lengths")?;
        write!(f, "frame {}", self.frame_len)?;
        if self.captured_len < self.frame_len {
            write!(f, ", of which {} were captured", self.captured_len)?;
        }
        if self.outer.is_some() {
            write!(f, ", ESP {}", self.esp_len)?;
        }
        if let Some(ciphertext_len) = self.ciphertext_len {
            write!(f, ", ciphertext {ciphertext_len}")?;
        }
        if let Some(payload_len) = self.decrypted.as_ref().and_then(|decrypted| decrypted.payload_len) {
            write!(f, ", payload {payload_len}")?;
        }
        f.write_str("\n")
    }

    fn security_association(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(SaPart { suite, mode, esn, encryption_key, integrity_key }) = self.sa {
            label(f, "SA")?;
            write!(f, "{suite}, {} mode{}", mode.name(), if esn { ", ESN" } else { "" })?;
            match integrity_key {
                Some(integrity_key) => writeln!(f, ", keys {encryption_key} and {integrity_key}"),
                None => writeln!(f, ", key {encryption_key}"),
            }
        } else if let (Verdict::Drop(DropReason::NoSa), Some(spi), Some(outer)) =
            (self.verdict, self.spi, &self.outer)
        {
            line(f, "SA", format_args!("none has SPI {spi:#010x} and destination {}", outer.dst))
        } else {
            Ok(())
        }
    }

    fn icv(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.iv.as_slice().is_empty() {
            line(f, "IV", Hex(self.iv.as_slice()))?;
        }
        let Some(verified) = self.verified else { return Ok(()) };
        line(f, "ICV", format_args!("received {}", Hex(self.icv_received.as_slice())))?;
        label(f, "")?;
        if let Some(icv) = &self.icv_computed {
            write!(f, "computed {}  ", Hex(icv.as_ref()))?;
        }
        f.write_str(if verified { "equal: verified" } else { "differs: NOT verified" })?;
        if let Some(sequence) = self.sequence_tried {
            write!(f, " as seq {sequence}")?;
        }
        if let Some(replay) = self.replay {
            write!(f, ", seq {}", replay_name(replay))?;
        }
        f.write_str("\n")
    }

    fn inner(&self, f: &mut fmt::Formatter<'_>, decrypted: &DecryptedPart) -> fmt::Result {
        const NONE: u8 = 59;
        label(f, "decrypted")?;
        let is_transport = self.sa.is_some_and(|sa| sa.mode != Mode::Tunnel);
        match decrypted.inner {
            Some(inner) => {
                let src = Endpoint(inner.src, inner.ports.map(|(src, _)| src));
                let dst = Endpoint(inner.dst, inner.ports.map(|(_, dst)| dst));
                let of = if is_transport { " of payload" } else { "" };
                write!(f, "{src} > {dst}  {}  {} octets{of}", Protocol(inner.protocol), inner.len)?;
            }
            None if decrypted.next_header == NONE => f.write_str("a dummy packet")?,
            None => f.write_str("no inner packet that can be right")?,
        }
        if decrypted.tfc_padding_len > 0 {
            write!(f, ", then {} octets of TFC padding", decrypted.tfc_padding_len)?;
        }
        f.write_str("\n")?;
        let Some(payload) = self.payload.as_ref().filter(|payload| payload.len > 0) else { return Ok(()) };
        label(f, "payload")?;
        write!(f, "\"{}\"", payload.text(true))?;
        if payload.is_cut() {
            write!(f, " (the first {MAX_PAYLOAD_LEN} of {} octets)", payload.len)?;
        }
        f.write_str("\n")
    }

    fn verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        label(f, "verdict")?;
        match self.verdict {
            Verdict::Pass(Passed::Verified) => {
                f.write_str("PASS verified, decrypted, re-encrypted to the same octets")?;
            }
            Verdict::Pass(_) => write!(f, "PASS {}", reason_name(self.verdict))?,
            Verdict::Drop(_) => write!(f, "DROP {}", reason_name(self.verdict))?,
        }
        match xfrm_stat(self.verdict) {
            Some(name) => writeln!(f, " (Linux: {name})"),
            None => f.write_str("\n"),
        }
    }
}

fn padding(f: &mut fmt::Formatter<'_>, decrypted: &DecryptedPart) -> fmt::Result {
    label(f, "padding")?;
    for octet in &decrypted.padding {
        write!(f, "{octet} ")?;
    }
    if !decrypted.padding.is_empty() {
        f.write_str(" ")?;
    }
    write!(f, "pad length {}", decrypted.pad_len)?;
    if decrypted.payload_len.is_none() {
        f.write_str(" (more than there is)")?;
    }
    writeln!(f, ", next header {} ({})", decrypted.next_header, Protocol(decrypted.next_header))
}

fn reencryption(f: &mut fmt::Formatter<'_>, decrypted: &DecryptedPart) -> fmt::Result {
    let Some(again) = decrypted.reencryption else { return Ok(()) };
    let word = |matches| if matches { "matches" } else { "DIFFERS" };
    label(f, "re-encrypted")?;
    write!(f, "ciphertext {}, ICV {}", word(again.ciphertext_matches), word(again.icv_matches))?;
    if let Some(at) = again.first_difference {
        write!(f, ", first in octet {at} from the SPI")?;
    }
    f.write_str("\n")
}

fn label(f: &mut fmt::Formatter<'_>, label: &str) -> fmt::Result {
    write!(f, "  {label:LABEL$}  ")
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, text: impl fmt::Display) -> fmt::Result {
    label(f, name)?;
    writeln!(f, "{text}")
}

/// An address, with a port where there is one.
struct Endpoint(IpAddr, Option<u16>);

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(port) => SocketAddr::new(self.0, port).fmt(f),
            None => self.0.fmt(f),
        }
    }
}

/// A protocol by its name, or by its number if it has none here.
struct Protocol(u8);

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match protocol_name(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "protocol {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use espwire_ipsec::{Checksum, Explanation, Outer};

    use super::super::esp::samples::{SEEN, captured, nothing, outer_v6, sa, whole};
    use super::*;

    #[track_caller]
    fn assert_shown(record: &EspRecord, lines: &[&str]) {
        let shown = record.to_string();
        assert_eq!(shown.lines().collect::<Vec<_>>(), lines, "\n{shown}");
        assert!(shown.ends_with('\n'));
    }

    #[test]
    fn a_good_packet() {
        assert_shown(
            &captured("cbc", 20, |_| ()),
            &[
                "a → b  ESP  10.168.66.1 > 10.168.66.2  spi 0x01000000  seq 10  00:37:19.232092 UTC",
                "  lengths       frame 154, ESP 120, ciphertext 80, payload 66",
                "  SA            AES-CBC-256 with HMAC-SHA-256-128, tunnel mode, keys ccfeda056470afe8 and ae93f3dfb98e001a",
                "  IV            f2c1c6d29eec7d617a4a2b420f564659",
                "  ICV           received f1042ec4e8ad0d7ab8fc938fdf50859f",
                "                computed f1042ec4e8ad0d7ab8fc938fdf50859f  equal: verified, seq fresh",
                "  decrypted     10.168.66.1:44636 > 10.168.66.2:9999  tcp  66 octets",
                "  payload       \"helloxfrm!!!!\\n\"",
                "  padding       1 2 3 4 5 6 7 8 9 10 11 12  pad length 12, next header 4 (ipv4)",
                "  re-encrypted  ciphertext matches, ICV matches",
                "  IP checksum   old a0ed  new a0ed  equal",
                "  verdict       PASS verified, decrypted, re-encrypted to the same octets",
            ],
        );
    }

    #[test]
    fn a_tampered_packet() {
        assert_shown(
            &captured("gcm-udpencap", 20, |octets| octets[70] ^= 0x80),
            &[
                "a → b  ESP in UDP  192.168.10.1:4500 > 192.168.10.2:4500  spi 0x01000000  seq 10  00:39:21.244277 UTC",
                "  lengths       frame 142, ESP 100, ciphertext 68",
                "  SA            AES-GCM-256 with a 16-octet ICV, tunnel mode, key ae98b290773a5e42",
                "  IV            a6ccd9f64eca3de0",
                "  ICV           received 311fd9e3cc477ea1db5b440b064899ba",
                "                computed 0d642bd34c39255b51ad45a50868a887  differs: NOT verified",
                "  IP checksum   old a519  new a519  equal",
                "  verdict       DROP auth_fail (Linux: XfrmInStateProtoError)",
            ],
        );
    }

    #[test]
    fn a_packet_that_is_odd_inside() {
        assert_shown(
            &whole(&sa("tunnel"), b"1234"),
            &[
                "frame 7  ESP in UDP  [fd00::1]:4500 > [fd00::2]:4501  spi 0x00000100  seq 4294967301",
                "  lengths       frame 158, ESP 96, ciphertext 64, payload 40",
                "  SA            AES-GCM-128 with a 16-octet ICV, tunnel mode, ESN, key 44dce5d3b4721327",
                "  IV            abababababababab",
                "  ICV           received cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
                "                equal: verified, seq duplicate",
                "  decrypted     10.1.0.1:9999 > 10.1.0.2:53  udp  32 octets, then 8 octets of TFC padding",
                "  payload       \"1234\"",
                "  padding       1 2 7  pad length 3, next header 4 (ipv4)",
                "  re-encrypted  ciphertext DIFFERS, ICV DIFFERS, first in octet 58 from the SPI",
                "  verdict       DROP bad_padding",
            ],
        );
    }

    #[test]
    fn packets_of_which_little_is_known() {
        let cut = Explanation { wire_len: 1514, ..nothing(&[0; 30], Verdict::Drop(DropReason::Truncated)) };
        assert_shown(
            &EspRecord::new(&cut, SEEN, &[]),
            &[
                "frame 7  ESP  no readable IP header",
                "  lengths       frame 1514, of which 30 were captured",
                "  verdict       DROP truncated",
            ],
        );
        let outer = Outer { udp: None, ..outer_v6() };
        let unknown = Explanation {
            outer: Some(&outer),
            esp: &[0; 96],
            spi: Some(7),
            sequence_low: Some(1),
            ..nothing(&[0; 158], Verdict::Drop(DropReason::NoSa))
        };
        assert_shown(
            &EspRecord::new(&unknown, SEEN, &[]),
            &[
                "frame 7  ESP  fd00::1 > fd00::2  spi 0x00000007  seq 1",
                "  lengths       frame 158, ESP 96",
                "  SA            none has SPI 0x00000007 and destination fd00::2",
                "  verdict       DROP no_sa (Linux: XfrmInNoStates)",
            ],
        );
        let outer = Outer { checksum: Some(Checksum { received: 0xedb0, computed: 0xeda0 }), ..outer };
        let wrong = Explanation {
            outer: Some(&outer),
            esp: &[0; 96],
            ..nothing(&[0; 158], Verdict::Drop(DropReason::BadIpChecksum))
        };
        assert_shown(
            &EspRecord::new(&wrong, SEEN, &[]),
            &[
                "frame 7  ESP  fd00::1 > fd00::2",
                "  lengths       frame 158, ESP 96",
                "  IP checksum   old edb0  new eda0  differs",
                "  verdict       DROP bad_ip_csum",
            ],
        );
    }

    #[test]
    fn a_terminal_obeys_nothing_of_a_payload() {
        let mut evil: Vec<u8> = (0..=u8::MAX).collect();
        evil.extend_from_slice("\u{9b}2J\u{202e}\u{2028}".as_bytes());
        let shown = whole(&sa("transport"), &evil).to_string();
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
        assert_eq!(shown.lines().count(), 11, "{shown}");
        assert!(shown.contains(r#"\t\n\u{b}\u{c}\r"#) && shown.contains("!\\\"#$"), "{shown}");
    }

    #[test]
    fn a_cut_payload_says_so() {
        let shown = whole(&sa("tunnel"), &[b'x'; 5000]).to_string();
        assert!(shown.contains("xxx\" (the first 4096 of 5000 octets)\n"), "{shown}");
    }
}
