//! A printed state.

use std::net::IpAddr;
use std::sync::Arc;

use super::error::{Fault, Parsed};
use super::printed::{Common, Lines};
use super::selector::SelectorWords;
use super::state_words::{self, only_esp, replay_window, usable_spi};
use super::value::{self, Family};
use super::word::Words;
use super::{
    Algorithm, Encap, EncapKind, ExtraFlags, Flags, Key, MAX_REPLAY_WINDOW, Mark, Mode, Position, Proto,
    ReplayBitmap, SaDirection, Selector, SequenceContext, State,
};

/// The mode after `mode`: a name, or the number of one that `ip` does not know.
pub(super) fn mode(words: &mut Words<'_, '_>) -> Parsed<Mode> {
    let word = words.value()?;
    let numbered = (word.as_str() == "5").then_some(Mode::Iptfs);
    numbered
        .or_else(|| value::find(&Mode::NAMES, word.as_str()))
        .ok_or_else(|| words.not_among(word, &Mode::NAMES))
}

/// What stands on the second line of a printed state, and of a printed template.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) proto: Proto,
    pub(super) proto_position: Position,
    /// 0 where none is printed.
    pub(super) spi: u32,
    pub(super) spi_position: Position,
    pub(super) reqid: u32,
    pub(super) mode: Mode,
}

impl Header {
    /// Reads `proto esp spi 0x01000000 reqid 0 mode tunnel`.
    pub(super) fn read(words: &mut Words<'_, '_>) -> Parsed<Self> {
        words.expect("proto")?;
        let proto_position = words.position();
        let proto = words.name(&Proto::NAMES)?;
        let spi_position = words.position();
        let spi = if words.accept("spi") { words.number_twice()? } else { 0 };
        words.expect("reqid")?;
        let reqid = words.number_twice()?;
        words.expect("mode")?;
        let mode = mode(words)?;
        words.end()?;
        Ok(Self { proto, proto_position, spi, spi_position, reqid, mode })
    }
}

/// What the third line and those after it say.
#[derive(Debug, Default)]
struct Body {
    /// Whether it is that of a state that is no more.
    is_gone: bool,
    replay_window: u32,
    acquire_seq: u32,
    flags: Flags,
    extra_flags: ExtraFlags,
    common: Common,
    encryption: Option<Algorithm>,
    integrity: Option<Algorithm>,
    aead: Option<Algorithm>,
    encap: Option<Encap>,
    sequence: SequenceContext,
    replay_bitmap: ReplayBitmap,
    tfcpad: Option<u32>,
    direction: Option<SaDirection>,
    cpu: Option<u32>,
    selector: Option<Selector>,
}

/// A printed state that is no more: what it was found by.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) dst: IpAddr,
    pub(super) proto: Proto,
    pub(super) spi: u32,
    pub(super) mark: Option<Mark>,
}

/// Reads a printed state of which only that must be known. It may be of any protocol, not set up, without keys.
pub(super) fn gone(lines: &mut Lines<'_>) -> Parsed<Gone> {
    let body = Body { is_gone: true, ..Body::default() };
    let Printed { dst, header, body, .. } = Printed::read(lines, body)?;
    Ok(Gone { dst, proto: header.proto, spi: header.spi, mark: body.common.mark })
}

/// All of a printed state.
#[derive(Debug)]
struct Printed {
    src: IpAddr,
    dst: IpAddr,
    header: Header,
    body: Body,
}

impl Printed {
    fn read(lines: &mut Lines<'_>, mut body: Body) -> Parsed<Self> {
        let mut words = lines.line()?;
        words.expect("src")?;
        let src = words.address()?;
        words.expect("dst")?;
        let at = words.position();
        let dst = words.address()?;
        words.end()?;
        if Family::of(src) != Family::of(dst) {
            return Err(Fault::conflict(at, "`src` and `dst` are of two address families"));
        }
        let header = Header::read(&mut lines.line()?)?;
        if !body.is_gone {
            only_esp(header.proto, header.proto_position)?;
            usable_spi(header.spi, header.spi_position)?;
        }
        body.third_line(&mut lines.line()?)?;
        while lines.peek().is_some() {
            if !body.common.read(lines)? {
                body.line(lines)?;
            }
        }
        Ok(Self { src, dst, header, body })
    }
}

/// Reads a printed state.
pub(super) fn state(lines: &mut Lines<'_>, name: &Arc<str>) -> Parsed<State> {
    let position = lines.position();
    let Printed { src, dst, header, body } = Printed::read(lines, Body::default())?;
    if body.encryption.is_none() && body.aead.is_none() {
        return Err(Fault::unusable(position, "this state has no algorithm: it is not set up"));
    }
    let Common { limits, used, mark, output_mark, if_id, offload, context } = body.common;
    Ok(State {
        source_name: Arc::clone(name),
        position,
        origin: None,
        src,
        dst,
        spi: header.spi,
        reqid: header.reqid,
        mode: header.mode,
        proto: header.proto,
        replay_window: body.replay_window,
        flags: body.flags,
        extra_flags: body.extra_flags,
        encryption: body.encryption,
        integrity: body.integrity,
        aead: body.aead,
        encap: body.encap,
        sequence: body.sequence,
        replay_bitmap: body.replay_bitmap,
        acquire_seq: body.acquire_seq,
        selector: body.selector,
        mark,
        output_mark,
        if_id,
        tfcpad: body.tfcpad,
        context,
        offload,
        direction: body.direction,
        cpu: body.cpu,
        limits,
        used,
    })
}

impl Body {
    /// Reads `replay-window 0 seq 0x00000000 flag af-unspec esn (0x10100000)`, of which only the window must be there.
    ///
    /// `ip` prints `extra_flag` without a blank before it, right after the last flag.
    fn third_line(&mut self, words: &mut Words<'_, '_>) -> Parsed<()> {
        words.expect("replay-window")?;
        self.replay_window = replay_window(words)?;
        if words.accept("seq") {
            self.acquire_seq = words.acquire_number()?;
        }
        if words.accept("flag") {
            let mut in_extra = false;
            while let Some(word) = words.peek().filter(|word| !word.starts_with('(')) {
                let flag = word.strip_suffix("extra_flag");
                let name = flag.unwrap_or(word);
                let bits = match name {
                    "" => Some(0),
                    _ if in_extra => value::find(&ExtraFlags::NAMES, name),
                    _ => value::find(&Flags::NAMES, name).map(u32::from),
                };
                let remaining = || u32::from_str_radix(name, 16).ok().filter(|_| !name.starts_with('+'));
                let Some(bits) = bits.or_else(remaining).filter(|bits| in_extra || *bits <= 0xff) else {
                    let reason = format!("{} is no flag of a state", words.shown(word));
                    return Err(Fault::unknown(words.position(), reason));
                };
                if in_extra {
                    self.extra_flags.0 |= bits;
                } else {
                    self.flags.0 |= bits as u8;
                }
                in_extra |= flag.is_some();
                words.take();
            }
        }
        words.flags_again(self.flags.bits())?;
        words.end()
    }

    /// Reads one more line.
    fn line(&mut self, lines: &mut Lines<'_>) -> Parsed<()> {
        let kind = lines.peek().unwrap_or_default().to_owned();
        match &*kind {
            "auth" | "auth-trunc" => lines.once("auth")?,
            "aead" | "enc" | "encap" | "anti-replay" | "tfcpad" | "dir" | "pcpu-num" | "sel" | "stats:" => {
                lines.once(&kind)?;
            }
            "coa" | "comp" if !self.is_gone => {
                let reason = format!("`{kind}` does not go with proto esp");
                return Err(Fault::unusable(lines.position(), reason));
            }
            "coa" | "comp" => lines.once(&kind)?,
            _ => return Err(lines.unknown("state")),
        }
        let at = lines.position();
        lines.after_key |= matches!(&*kind, "auth" | "auth-trunc" | "aead" | "enc");
        let mut words = lines.line()?;
        words.take();
        match &*kind {
            "auth" | "auth-trunc" | "aead" | "enc" => self.algorithm(&mut words, &kind, at)?,
            "encap" => {
                words.expect("type")?;
                let kind = words.name(&EncapKind::NAMES)?;
                words.expect("sport")?;
                let sport = words.number()?;
                words.expect("dport")?;
                let dport = words.number()?;
                words.expect("addr")?;
                self.encap = Some(Encap { kind, sport, dport, addr: words.address()? });
            }
            "coa" => {
                words.address()?;
            }
            "comp" => {
                words.algorithm_name()?;
            }
            "tfcpad" => self.tfcpad = Some(words.number()?).filter(|len| *len != 0),
            "dir" => self.direction = Some(words.name(&state_words::DIRECTIONS)?),
            "pcpu-num" => self.cpu = Some(words.number()?),
            "sel" => {
                // With `flag af-unspec` it may be of the other family.
                let selector = SelectorWords::read(&mut words, None, true)?;
                self.selector = Some(selector.finish(None));
            }
            "anti-replay" => {
                if words.accept("esn") {
                    words.expect("context:")?;
                    words.end()?;
                    return self.esn_context(lines);
                }
                words.expect("context:")?;
                words.expect("seq")?;
                self.sequence.seq = words.number_comma()?;
                words.expect("oseq")?;
                self.sequence.oseq = words.number_comma()?;
                words.expect("bitmap")?;
                self.replay_bitmap = ReplayBitmap::of_plain(words.number()?);
            }
            _ => {
                words.end()?;
                let mut words = lines.line()?;
                for name in ["replay-window", "replay", "failed"] {
                    words.expect(name)?;
                    words.number::<u32>()?;
                }
                return words.end();
            }
        }
        words.end()
    }

    /// Reads the lines after `anti-replay esn context:`.
    fn esn_context(&mut self, lines: &mut Lines<'_>) -> Parsed<()> {
        let mut words = lines.line()?;
        words.expect("seq-hi")?;
        self.sequence.seq_hi = words.number_comma()?;
        words.expect("seq")?;
        self.sequence.seq = words.number_comma()?;
        words.expect("oseq-hi")?;
        self.sequence.oseq_hi = words.number_comma()?;
        words.expect("oseq")?;
        self.sequence.oseq = words.number()?;
        words.end()?;
        let mut words = lines.line()?;
        words.expect("replay_window")?;
        let position = words.position();
        let window: u32 = words.number_comma()?;
        words.expect("bitmap-length")?;
        let bitmap_len: u32 = words.number()?;
        words.end()?;
        if window > MAX_REPLAY_WINDOW || bitmap_len != window.div_ceil(32) {
            let most = MAX_REPLAY_WINDOW;
            let reason =
                format!("a replay window is of 0 to {most} packets, and its bitmap-length a 32nd of that");
            return Err(Fault::value(position, reason));
        }
        self.replay_window = window;
        // Printed from the highest word to the lowest.
        let mut ring = vec![0; bitmap_len as usize];
        let mut places = ring.iter_mut().rev();
        while places.len() > 0 {
            let mut words = lines.line()?;
            while let Some(word) = words.take() {
                let text = word.as_str();
                let is_right = text.len() == 8 && text.bytes().all(|c| c.is_ascii_hexdigit());
                let bits = u32::from_str_radix(text, 16).ok().filter(|_| is_right);
                let (Some(bits), Some(place)) = (bits, places.next()) else {
                    return Err(Fault::value(
                        word.position,
                        "this is no part of the anti-replay bitmap before it",
                    ));
                };
                *place = bits;
            }
        }
        self.replay_bitmap = ReplayBitmap::of_ring(&ring, window, self.sequence.seq);
        Ok(())
    }

    /// Reads what comes after `enc`, `auth`, `auth-trunc` or `aead`. An empty key is printed as nothing at all.
    fn algorithm(&mut self, words: &mut Words<'_, '_>, kind: &str, at: Position) -> Parsed<()> {
        let name = words.algorithm_name()?;
        let mut key = Key::new(Vec::new());
        let mut key_position = name.position;
        match words.peek() {
            Some("<<Keys") if self.is_gone => {
                words.take();
                words.expect("hidden>>")?;
            }
            Some(word) if word.starts_with("<<") => {
                let reason = "the key is hidden: print the states without the `nokeys` option of `ip`";
                return Err(Fault::unusable(words.position(), reason));
            }
            Some(word) if word.starts_with("0x") => {
                let word = words.value()?;
                key_position = word.position;
                key = value::key(word)?;
                self.key_bits(words, &key)?;
            }
            _ => {}
        }
        let icv_bits = match kind {
            "aead" | "auth-trunc" => Some(state_words::icv_bits(words, key_position)?),
            _ => None,
        };
        let algorithm = value::algorithm(name, key, key_position, icv_bits);
        let is_alone = match kind {
            "aead" => self.encryption.is_none() && self.integrity.is_none(),
            _ => self.aead.is_none(),
        };
        if !is_alone {
            return Err(Fault::conflict(at, format!("`{kind}` does not go with the algorithms before it")));
        }
        match kind {
            "aead" => self.aead = Some(algorithm),
            "enc" => self.encryption = Some(algorithm),
            _ => self.integrity = Some(algorithm),
        }
        Ok(())
    }

    /// Reads the length that `-s` prints after a key: `(256 bits)`.
    fn key_bits(&self, words: &mut Words<'_, '_>, key: &Key) -> Parsed<()> {
        let Some(bits) = words.peek().and_then(|word| word.strip_prefix('(')) else { return Ok(()) };
        if value::number::<u32>(bits).map(|bits| bits as usize) != Some(key.len() * 8) {
            return Err(Fault::conflict(words.position(), "this is not the length of the key before it"));
        }
        words.take();
        words.expect("bits)")
    }
}
