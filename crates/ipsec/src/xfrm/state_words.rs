//! The words of `ip xfrm state add`, `update`, `delete`, `deleteall` and `flush`.

use std::sync::Arc;

use super::error::{Fault, Parsed};
use super::selector::{self, SelectorWords};
use super::value::{self, Family};
use super::word::Words;
use super::{
    Algorithm, Encap, EncapKind, ExtraFlags, Flags, Limits, MAX_PLAIN_WINDOW, MAX_REPLAY_WINDOW, Mark, Mode,
    Offload, Position, Prefix, Proto, ReplayBitmap, SaDirection, SequenceContext, State, Used,
};

pub(super) const DIRECTIONS: [(&str, SaDirection); 2] = [("in", SaDirection::In), ("out", SaDirection::Out)];

/// `src`, `dst`, `proto` and `spi` of a state or template, which stand together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Id {
    pub(super) src: Option<Prefix>,
    pub(super) dst: Option<Prefix>,
    pub(super) proto: Option<(Proto, Position)>,
    pub(super) spi: Option<(u32, Position)>,
}

impl Id {
    /// Whether this word begins one.
    pub(super) fn begins(word: &str) -> bool {
        matches!(word, "src" | "dst" | "proto" | "spi")
    }

    /// Reads one. The same word again overrides the first, as in `ip`.
    pub(super) fn read(words: &mut Words<'_, '_>, family: Option<Family>) -> Parsed<Self> {
        let mut id = Self::default();
        let position = words.position();
        while let Some(word) = words.peek().filter(|word| Self::begins(word)) {
            words.take();
            let at = words.position();
            match word {
                "src" => id.src = Some(words.prefix(family)?),
                "dst" => id.dst = Some(words.prefix(family)?),
                "proto" => id.proto = Some((words.name(&Proto::NAMES)?, at)),
                _ => id.spi = Some((words.number()?, at)),
            }
        }
        match (id.src, id.dst) {
            (Some(src), Some(dst)) if Family::of(src.addr) != Family::of(dst.addr) => {
                Err(Fault::conflict(position, "`src` and `dst` are of two address families"))
            }
            _ => Ok(id),
        }
    }

    /// The family of its addresses, if it has any.
    pub(super) fn family(&self) -> Option<Family> {
        self.src.or(self.dst).map(|prefix| Family::of(prefix.addr))
    }

    /// Its protocol, which must be there.
    pub(super) fn proto(&self, position: Position) -> Parsed<Proto> {
        let reason = "`proto` is missing here: `src`, `dst`, `proto` and `spi` stand together";
        self.proto.map(|(proto, _)| proto).ok_or_else(|| Fault::missing(position, reason))
    }
}

/// Says that a state's protocol can't be used.
pub(super) fn only_esp(proto: Proto, position: Position) -> Parsed<()> {
    if proto == Proto::Esp {
        return Ok(());
    }
    let name = proto.as_str();
    Err(Fault::unusable(position, format!("only proto esp is processed here, not proto {name}")))
}

/// Says that an SPI can't be that of an SA.
pub(super) fn usable_spi(spi: u32, position: Position) -> Parsed<()> {
    if spi == 0 {
        return Err(Fault::unusable(
            position,
            "spi 0 is no SA: none is set up yet, or the spi was forgotten",
        ));
    }
    Ok(())
}

/// What `state add` and `state update` are told, before it is known to be complete.
#[derive(Debug, Default)]
struct Parts {
    id: Option<(Id, Position)>,
    mode: Option<Mode>,
    reqid: u32,
    acquire_seq: u32,
    replay_window: u32,
    sequence: SequenceContext,
    flags: Flags,
    flag_position: Option<Position>,
    extra_flags: ExtraFlags,
    selector: Option<SelectorWords>,
    limits: Limits,
    encap: Option<Encap>,
    context: Option<String>,
    offload: Option<Offload>,
    direction: Option<SaDirection>,
    mark: Option<Mark>,
    output_mark: Option<Mark>,
    if_id: Option<u32>,
    tfcpad: Option<u32>,
    cpu: Option<u32>,
    encryption: Option<Algorithm>,
    integrity: Option<Algorithm>,
    aead: Option<Algorithm>,
}

/// Reads what comes after `state add` or `state update`, for a command at `position`.
pub(super) fn state(
    words: &mut Words<'_, '_>,
    family: Option<Family>,
    name: &Arc<str>,
    position: Position,
    origin: Option<String>,
) -> Parsed<State> {
    let mut parts = Parts::default();
    while let Some(word) = words.peek() {
        let at = words.position();
        if Id::begins(word) {
            if parts.id.is_some() {
                let reason = "`src`, `dst`, `proto` and `spi` stand together, once";
                return Err(Fault::conflict(at, reason));
            }
            parts.id = Some((Id::read(words, family)?, at));
            continue;
        }
        words.take();
        match word {
            "enc" | "auth" | "auth-trunc" | "aead" => parts.algorithm(words, word, at)?,
            _ => parts.option(words, word, at)?,
        }
    }
    parts.finish(name, position, origin)
}

impl Parts {
    /// Reads what comes after one word that is neither of the ID nor an algorithm.
    fn option(&mut self, words: &mut Words<'_, '_>, word: &str, at: Position) -> Parsed<()> {
        match word {
            "mode" => self.mode = Some(mode(words)?),
            "mark" => self.mark = Some(selector::mark(words)?),
            "reqid" => self.reqid = words.number()?,
            // `ip` sends it as a big-endian number, which Linux takes and prints as it lies in memory.
            "seq" => self.acquire_seq = words.number::<u32>()?.swap_bytes(),
            "replay-window" => self.replay_window = replay_window(words)?,
            "replay-seq" => self.sequence.seq = words.number()?,
            "replay-seq-hi" => self.sequence.seq_hi = words.number()?,
            "replay-oseq" => self.sequence.oseq = words.number()?,
            "replay-oseq-hi" => self.sequence.oseq_hi = words.number()?,
            "flag" => {
                self.flag_position = Some(at);
                self.flags = flags(words, self.flags)?;
            }
            "extra-flag" => self.extra_flags = extra_flags(words, self.extra_flags)?,
            "sel" => {
                let selector = SelectorWords::read(words, None, false)?;
                if selector.is_empty() {
                    return Err(Fault::missing(at, "no selector comes after `sel`"));
                }
                self.selector = Some(selector);
            }
            "limit" => selector::limit(words, &mut self.limits)?,
            "encap" => {
                let kind = words.name(&EncapKind::NAMES)?;
                let (sport, dport) = (words.number()?, words.number()?);
                self.encap = Some(Encap { kind, sport, dport, addr: words.address()? });
            }
            "ctx" if self.context.is_none() => self.context = Some(words.printed_name()?),
            "offload" => self.offload = Some(self.offload(words)?),
            "output-mark" => self.output_mark = selector::output_mark(words)?,
            "if_id" => self.if_id = Some(words.number()?).filter(|if_id| *if_id != 0),
            "tfcpad" => self.tfcpad = Some(words.number()?).filter(|len| *len != 0),
            "dir" => self.direction = Some(words.name(&DIRECTIONS)?),
            "pcpu-num" => self.cpu = Some(words.number()?).filter(|cpu| *cpu != u32::MAX),
            "coa" => return Err(Fault::unusable(at, "`coa` does not go with proto esp")),
            "comp" => {
                return Err(Fault::unusable(
                    at,
                    "`comp` does not go with proto esp, and only that is processed here",
                ));
            }
            "ctx" => return Err(Fault::conflict(at, "`ctx` is here for the second time")),
            _ => {
                let shown = words.shown(word);
                return Err(Fault::unknown(
                    at,
                    format!("{shown} is no option or flag of `ip xfrm state add`"),
                ));
            }
        }
        Ok(())
    }

    fn offload(&mut self, words: &mut Words<'_, '_>) -> Parsed<Offload> {
        let packet = words.accept("packet");
        if !packet {
            words.accept("crypto");
        }
        words.expect("dev")?;
        let dev = words.printed_name()?;
        words.expect("dir")?;
        self.direction = Some(words.name(&DIRECTIONS)?);
        Ok(Offload { dev, packet, direction: self.direction })
    }

    fn algorithm(&mut self, words: &mut Words<'_, '_>, kind: &str, at: Position) -> Parsed<()> {
        let taken = match kind {
            "aead" => self.encryption.is_some() || self.integrity.is_some() || self.aead.is_some(),
            "enc" => self.encryption.is_some() || self.aead.is_some(),
            _ => self.integrity.is_some() || self.aead.is_some(),
        };
        if taken {
            return Err(Fault::conflict(at, format!("`{kind}` does not go with the algorithms before it")));
        }
        // Whatever comes now may be a key in the wrong place.
        words.after_key = true;
        let name = words.algorithm_name()?;
        let key_word = words.value_of("the key of the algorithm", name.position)?;
        words.is_key();
        let key = value::key(key_word)?;
        let icv_bits = match kind {
            "aead" | "auth-trunc" => Some(icv_bits(words, key_word.position)?),
            _ => None,
        };
        let algorithm = value::algorithm(name, key, key_word.position, icv_bits);
        match kind {
            "aead" => self.aead = Some(algorithm),
            "enc" => self.encryption = Some(algorithm),
            _ => self.integrity = Some(algorithm),
        }
        Ok(())
    }

    fn finish(mut self, name: &Arc<str>, position: Position, origin: Option<String>) -> Parsed<State> {
        let missing = |what: &str| Fault::missing(position, format!("{what} is missing in this command"));
        let no_id = "the state's `src`, `dst`, `proto` and `spi` are missing in this command";
        let (id, id_position) = self.id.ok_or_else(|| Fault::missing(position, no_id))?;
        let proto = id.proto(id_position)?;
        only_esp(proto, id.proto.map_or(id_position, |(_, at)| at))?;
        let dst = id.dst.ok_or_else(|| missing("`dst`"))?.addr;
        let src = id.src.map_or_else(|| Family::of(dst).unspecified(), |src| src.addr);
        let (spi, spi_position) = id.spi.ok_or_else(|| missing("`spi`"))?;
        usable_spi(spi, spi_position)?;
        if self.encryption.is_none() && self.aead.is_none() {
            return Err(missing("`enc` or `aead`"));
        }
        if self.flags.has(Flags::ESN) && self.replay_window == 0 && self.direction != Some(SaDirection::Out) {
            let at = self.flag_position.unwrap_or(position);
            return Err(Fault::missing(
                at,
                "`flag esn` needs a `replay-window`: `ip` refuses it without one",
            ));
        }
        let esn_context = self.flags.has(Flags::ESN) || self.replay_window > MAX_PLAIN_WINDOW;
        if !esn_context {
            // As `ip`, which sends the high halves only with an ESN context.
            self.sequence = SequenceContext { seq_hi: 0, oseq_hi: 0, ..self.sequence };
        }
        Ok(State {
            source_name: Arc::clone(name),
            position,
            origin,
            src,
            dst,
            spi,
            reqid: self.reqid,
            mode: self.mode.unwrap_or(Mode::Transport),
            proto,
            replay_window: self.replay_window,
            flags: self.flags,
            extra_flags: self.extra_flags,
            encryption: self.encryption,
            integrity: self.integrity,
            aead: self.aead,
            encap: self.encap.map(|encap| Encap { addr: Family::of(dst).reread(encap.addr), ..encap }),
            sequence: self.sequence,
            replay_bitmap: ReplayBitmap::default(),
            acquire_seq: self.acquire_seq,
            selector: self.selector.map(|selector| selector.finish(Some(Family::of(dst)))),
            mark: self.mark.and_then(Mark::kept),
            output_mark: self.output_mark,
            if_id: self.if_id,
            tfcpad: self.tfcpad,
            context: self.context,
            offload: self.offload,
            direction: self.direction,
            cpu: self.cpu,
            limits: self.limits,
            used: Used::default(),
        })
    }
}

/// The ICV length after a key, in bits.
pub(super) fn icv_bits(words: &mut Words<'_, '_>, key_position: Position) -> Parsed<u32> {
    let word = words.value_of("the ICV length in bits", key_position)?;
    value::number(word.as_str())
        .ok_or_else(|| Fault::value(word.position, "the ICV length in bits is expected here"))
}

/// A mode, which `ip` lets be abbreviated.
pub(super) fn mode(words: &mut Words<'_, '_>) -> Parsed<Mode> {
    let word = words.value()?;
    let mut modes = Mode::NAMES.iter();
    match modes.find(|(name, _)| value::abbreviates(word.as_str(), name)) {
        Some((_, mode)) => Ok(*mode),
        None => Err(words.not_among(word, &Mode::NAMES)),
    }
}

pub(super) fn replay_window(words: &mut Words<'_, '_>) -> Parsed<u32> {
    let word = words.value()?;
    match value::number(word.as_str()) {
        Some(window) if window <= MAX_REPLAY_WINDOW => Ok(window),
        _ => Err(Fault::value(
            word.position,
            format!("a replay window is of 0 to {MAX_REPLAY_WINDOW} packets"),
        )),
    }
}

/// A list of flags, added to those before; or their bits in hexadecimal, which replace them.
pub(super) fn flags(words: &mut Words<'_, '_>, before: Flags) -> Parsed<Flags> {
    if words.peek().is_some_and(|word| word.len() > 2 && word.starts_with("0x")) {
        return words.number().map(Flags);
    }
    let mut flags = before.0;
    words.not_last()?;
    while let Some(bit) = words.peek().and_then(|word| value::find(&Flags::NAMES, word)) {
        words.take();
        flags |= bit;
    }
    Ok(Flags(flags))
}

fn extra_flags(words: &mut Words<'_, '_>, before: ExtraFlags) -> Parsed<ExtraFlags> {
    if words.peek().is_some_and(|word| word.len() > 2 && word.starts_with("0x")) {
        return words.number().map(ExtraFlags);
    }
    let mut flags = before.0;
    words.not_last()?;
    while let Some(bit) = words.peek().and_then(|word| value::find(&ExtraFlags::NAMES, word)) {
        words.take();
        flags |= bit;
    }
    Ok(ExtraFlags(flags))
}
