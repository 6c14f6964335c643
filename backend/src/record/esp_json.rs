//! The JSON of records of type `esp`: docs/formats.md.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use espwire_ipsec::{Checksum, Fingerprint, Suite, Verdict};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::esp::{EspRecord, Place, protocol_name, reason_name, replay_name, xfrm_stat};
use super::{Number, VERSION};

impl EspRecord {
    /// The record as one line of JSON, without a newline.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings and numbers only: nothing here can fail to serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Serialize for EspRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let decrypted = self.decrypted.as_ref();
        let (port, frame) = match self.seen.place {
            Place::Port(port) => (Some(port.as_str()), None),
            Place::Capture { frame } => (None, Some(Number(frame))),
        };
        let record = Json {
            v: VERSION,
            kind: "esp",
            port,
            frame,
            time: self.seen.time.map(Time),
            frame_len: self.frame_len,
            captured_len: (self.captured_len < self.frame_len).then_some(self.captured_len),
            outer: self.outer.as_ref().map(|outer| OuterJson {
                src: outer.src,
                dst: outer.dst,
                src_port: outer.udp.map(|ports| ports.src),
                dst_port: outer.udp.map(|ports| ports.dst),
            }),
            esp_len: self.outer.as_ref().map(|_| self.esp_len),
            spi: self.spi.map(Spi),
            seq: self.sequence.map(Number),
            seq_tried: self.sequence_tried.map(Number),
            sa: self.sa.map(|sa| SaJson {
                suite: Text(sa.suite),
                mode: sa.mode.name(),
                esn: sa.esn,
                encryption_key: Text(sa.encryption_key),
                integrity_key: sa.integrity_key.map(Text),
            }),
            iv: Hex(self.iv.as_slice()),
            ciphertext_len: self.ciphertext_len,
            icv_received: Hex(self.icv_received.as_slice()),
            icv_computed: self.icv_computed.as_ref().map(|icv| Hex(icv.as_ref())),
            verified: self.verified,
            replay: self.replay.map(replay_name),
            payload_len: decrypted.and_then(|decrypted| decrypted.payload_len),
            tfc_padding_len: decrypted.map(|decrypted| decrypted.tfc_padding_len).filter(|&len| len > 0),
            padding: decrypted.map(|decrypted| Hex(&decrypted.padding)),
            pad_len: decrypted.map(|decrypted| decrypted.pad_len),
            next_header: decrypted.map(|decrypted| decrypted.next_header),
            inner: decrypted.and_then(|decrypted| decrypted.inner).map(|inner| InnerJson {
                src: inner.src,
                dst: inner.dst,
                protocol: inner.protocol,
                protocol_name: protocol_name(inner.protocol),
                src_port: inner.ports.map(|(src, _)| src),
                dst_port: inner.ports.map(|(_, dst)| dst),
                len: inner.len,
            }),
            payload: self.payload.as_ref().map(|payload| PayloadJson {
                text: payload.text(false),
                len: payload.len,
                is_cut: payload.is_cut(),
            }),
            reencryption: decrypted.and_then(|decrypted| decrypted.reencryption).map(|again| {
                ReencryptionJson {
                    ciphertext_matches: again.ciphertext_matches,
                    icv_matches: again.icv_matches,
                    first_difference: again.first_difference,
                }
            }),
            ip_checksum: self.outer.as_ref().and_then(|outer| outer.checksum).map(ChecksumJson::from),
            verdict: match self.verdict {
                Verdict::Pass(_) => "pass",
                Verdict::Drop(_) => "drop",
            },
            reason: reason_name(self.verdict),
            xfrm_stat: xfrm_stat(self.verdict),
        };
        record.serialize(serializer)
    }
}

/// What the fields are called in JSON: docs/formats.md. What was not found is not there.
#[derive(Serialize)]
struct Json<'a> {
    v: u32,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frame: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Time>,
    frame_len: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    captured_len: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outer: Option<OuterJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    esp_len: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spi: Option<Spi>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq_tried: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sa: Option<SaJson>,
    #[serde(skip_serializing_if = "Hex::is_empty")]
    iv: Hex<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext_len: Option<usize>,
    #[serde(skip_serializing_if = "Hex::is_empty")]
    icv_received: Hex<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icv_computed: Option<Hex<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_len: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tfc_padding_len: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    padding: Option<Hex<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pad_len: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_header: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inner: Option<InnerJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<PayloadJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reencryption: Option<ReencryptionJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_checksum: Option<ChecksumJson>,
    verdict: &'static str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    xfrm_stat: Option<&'static str>,
}

#[derive(Serialize)]
struct OuterJson {
    src: IpAddr,
    dst: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    src_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dst_port: Option<u16>,
}

#[derive(Serialize)]
struct SaJson {
    suite: Text<Suite>,
    mode: &'static str,
    esn: bool,
    encryption_key: Text<Fingerprint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    integrity_key: Option<Text<Fingerprint>>,
}

#[derive(Serialize)]
struct InnerJson {
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol_name: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    src_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dst_port: Option<u16>,
    len: usize,
}

#[derive(Serialize)]
struct PayloadJson {
    text: String,
    len: usize,
    is_cut: bool,
}

#[derive(Serialize)]
struct ReencryptionJson {
    ciphertext_matches: bool,
    icv_matches: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_difference: Option<usize>,
}

#[derive(Serialize)]
struct ChecksumJson {
    old: Text<String>,
    new: Text<String>,
}

impl From<Checksum> for ChecksumJson {
    fn from(checksum: Checksum) -> Self {
        let hex = |sum: u16| Text(format!("{sum:04x}"));
        Self { old: hex(checksum.received), new: hex(checksum.computed) }
    }
}

/// What is written as its Display.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<T>(pub(super) T);

impl<T: fmt::Display> fmt::Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// An SPI: `0x01000000`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spi(pub(super) u32);

impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

impl Serialize for Spi {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Octets as lower-case hex.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl Hex<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A time since the Unix epoch, in seconds with all nine digits of the fraction: more than a double has.
struct Time(Duration);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let seconds = format!("{}.{:09}", self.0.as_secs(), self.0.subsec_nanos());
        RawValue::from_string(seconds).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use espwire_ipsec::{DropReason, Explanation, Outer};

    use super::super::esp::samples::{SEEN, captured, nothing, outer_v6, sa, whole};
    use super::*;

    fn line(parts: &[&str]) -> String {
        parts.concat()
    }

    #[test]
    fn everything_found_in_a_packet_is_there() {
        assert_eq!(
            captured("cbc", 20, |_| ()).to_json(),
            line(&[
                r#"{"v":1,"type":"esp","port":"a","time":1795394239.232092000,"frame_len":154,"#,
                r#""outer":{"src":"10.168.66.1","dst":"10.168.66.2"},"#,
                r#""esp_len":120,"spi":"0x01000000","seq":"10","#,
                r#""sa":{"suite":"AES-CBC-256 with HMAC-SHA-256-128","mode":"tunnel","esn":false,"#,
                r#""encryption_key":"ccfeda056470afe8","integrity_key":"ae93f3dfb98e001a"},"#,
                r#""iv":"f2c1c6d29eec7d617a4a2b420f564659","ciphertext_len":80,"#,
                r#""icv_received":"f1042ec4e8ad0d7ab8fc938fdf50859f","#,
                r#""icv_computed":"f1042ec4e8ad0d7ab8fc938fdf50859f","verified":true,"replay":"fresh","#,
                r#""payload_len":66,"padding":"0102030405060708090a0b0c","pad_len":12,"next_header":4,"#,
                r#""inner":{"src":"10.168.66.1","dst":"10.168.66.2","protocol":6,"protocol_name":"tcp","#,
                r#""src_port":44636,"dst_port":9999,"len":66},"#,
                r#""payload":{"text":"helloxfrm!!!!\\n","len":14,"is_cut":false},"#,
                r#""reencryption":{"ciphertext_matches":true,"icv_matches":true},"#,
                r#""ip_checksum":{"old":"a0ed","new":"a0ed"},"verdict":"pass","reason":"verified"}"#,
            ])
        );
    }

    #[test]
    fn what_went_wrong_inside_is_there() {
        assert_eq!(
            whole(&sa("tunnel"), b"1234").to_json(),
            line(&[
                r#"{"v":1,"type":"esp","frame":"7","frame_len":158,"#,
                r#""outer":{"src":"fd00::1","dst":"fd00::2","src_port":4500,"dst_port":4501},"#,
                r#""esp_len":96,"spi":"0x00000100","seq":"4294967301","#,
                r#""sa":{"suite":"AES-GCM-128 with a 16-octet ICV","mode":"tunnel","esn":true,"#,
                r#""encryption_key":"44dce5d3b4721327"},"#,
                r#""iv":"abababababababab","ciphertext_len":64,"#,
                r#""icv_received":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","verified":true,"replay":"duplicate","#,
                r#""payload_len":40,"tfc_padding_len":8,"padding":"010207","pad_len":3,"next_header":4,"#,
                r#""inner":{"src":"10.1.0.1","dst":"10.1.0.2","protocol":17,"protocol_name":"udp","#,
                r#""src_port":9999,"dst_port":53,"len":32},"#,
                r#""payload":{"text":"1234","len":4,"is_cut":false},"#,
                r#""reencryption":{"ciphertext_matches":false,"icv_matches":false,"first_difference":58},"#,
                r#""verdict":"drop","reason":"bad_padding"}"#,
            ])
        );
    }

    #[test]
    fn what_was_not_found_is_not_there() {
        let cut = Explanation { wire_len: 1514, ..nothing(&[0; 30], Verdict::Drop(DropReason::Truncated)) };
        assert_eq!(
            EspRecord::new(&cut, SEEN, &[]).to_json(),
            line(&[
                r#"{"v":1,"type":"esp","frame":"7","frame_len":1514,"captured_len":30,"#,
                r#""verdict":"drop","reason":"truncated"}"#,
            ])
        );
        let outer = Outer { udp: None, ..outer_v6() };
        let unknown = Explanation {
            outer: Some(&outer),
            esp: &[0; 96],
            spi: Some(7),
            sequence_low: Some(u32::MAX),
            ..nothing(&[0; 158], Verdict::Drop(DropReason::NoSa))
        };
        assert_eq!(
            EspRecord::new(&unknown, SEEN, &[]).to_json(),
            line(&[
                r#"{"v":1,"type":"esp","frame":"7","frame_len":158,"#,
                r#""outer":{"src":"fd00::1","dst":"fd00::2"},"#,
                r#""esp_len":96,"spi":"0x00000007","seq":"4294967295","#,
                r#""verdict":"drop","reason":"no_sa","xfrm_stat":"XfrmInNoStates"}"#,
            ])
        );
    }

    #[test]
    fn the_number_of_a_packet_that_did_not_verify_is_the_packets_own() {
        let record = captured("gcm-esn-wrap", 33, |octets| *octets.last_mut().unwrap() ^= 0x80);
        let json: serde_json::Value = serde_json::from_str(&record.to_json()).unwrap();
        assert_eq!(json["verified"], false);
        assert_eq!(json["reason"], "auth_fail");
        assert_eq!(json["xfrm_stat"], "XfrmInStateProtoError");
        assert!(json["seq"].as_str().unwrap().parse::<u64>().unwrap() < 1 << 32, "{json}");
        assert!(json["seq_tried"].is_string(), "{json}");
        assert!(json.get("pad_len").is_none());
    }

    #[test]
    fn text_of_a_payload_has_nothing_that_a_terminal_obeys() {
        let evil = b"\x1b[2J\x07\x9b\xff\"\\'\r\n\x00\xe2\x80\xae\x7f\xc2\x9bend";
        let json: serde_json::Value =
            serde_json::from_str(&whole(&sa("tunnel"), evil).to_json()).expect("JSON");
        let text = json["payload"]["text"].as_str().unwrap();
        assert_eq!(text, "\\u{1b}[2J\\u{7}\u{fffd}\u{fffd}\"\\\\'\\r\\n\\0\\u{202e}\\u{7f}\\u{9b}end");
        assert!(!text.contains(char::is_control));
    }
}
