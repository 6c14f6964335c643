//! A state as `ip xfrm state` prints it.

use std::fmt::{self, Formatter};

use super::listing::{self, Address, Keys, Style};
use super::value::Family;
use super::{Algorithm, Encap, ExtraFlags, Flags, MAX_PLAIN_WINDOW, Selector, SequenceContext, State};

/// Writes all lines of a state.
pub(super) fn write(f: &mut Formatter<'_>, state: &State, style: Style) -> fmt::Result {
    writeln!(f, "src {} dst {}", Address(state.src), Address(state.dst))?;
    f.write_str("\t")?;
    listing::id(f, state.proto, Some(state.spi), state.reqid, state.mode, style)?;
    third_line(f, state, style)?;
    listing::marks(f, state.mark, state.output_mark)?;
    integrity(f, state.integrity.as_ref(), style)?;
    if let Some(aead) = &state.aead {
        write!(f, "\taead {} ", aead.kernel_name())?;
        key(f, aead, style)?;
        writeln!(f, " {}", aead.icv_bits.unwrap_or(0))?;
    }
    if let Some(encryption) = &state.encryption {
        write!(f, "\tenc {} ", encryption.kernel_name())?;
        key(f, encryption, style)?;
        f.write_str("\n")?;
    }
    if let Some(Encap { kind, sport, dport, addr }) = state.encap {
        let (kind, addr) = (kind.as_str(), Address(addr));
        writeln!(f, "\tencap type {kind} sport {sport} dport {dport} addr {addr}")?;
    }
    sequence(f, state)?;
    listing::offload(f, state.offload.as_ref())?;
    listing::if_id(f, state.if_id)?;
    if let Some(len) = state.tfcpad.filter(|len| *len != 0) {
        writeln!(f, "\ttfcpad {len}")?;
    }
    if let Some(direction) = state.direction {
        writeln!(f, "\tdir {}", listing::sa_direction(direction))?;
    }
    if let Some(cpu) = state.cpu {
        writeln!(f, "\tpcpu-num {cpu}")?;
    }
    selector(f, state, style)?;
    if style.statistics {
        listing::lifetimes(f, &state.limits, state.used)?;
        f.write_str("\tstats:\n\t  replay-window 0 replay 0 failed 0\n")?;
    }
    if let Some(context) = &state.context {
        writeln!(f, "\tsecurity context {context} ")?;
    }
    Ok(())
}

/// Whether Linux keeps the sequence numbers of this state in an ESN context.
fn has_esn_context(state: &State) -> bool {
    state.flags.has(Flags::ESN) || state.replay_window > MAX_PLAIN_WINDOW
}

/// The window, the flags and the number of an acquire message.
fn third_line(f: &mut Formatter<'_>, state: &State, style: Style) -> fmt::Result {
    let window = if has_esn_context(state) { 0 } else { state.replay_window };
    write!(f, "\treplay-window {window} ")?;
    if style.statistics {
        // In decimal digits, in spite of the 0x.
        write!(f, "seq 0x{:08} ", state.acquire_seq)?;
    }
    if style.statistics || state.flags.bits() != 0 {
        f.write_str("flag ")?;
        flags(f, u32::from(state.flags.bits()), Flags::NAMES.map(|(name, bit)| (name, u32::from(bit))))?;
    }
    if style.statistics {
        if state.extra_flags.bits() != 0 {
            // Without a blank before it.
            f.write_str("extra_flag ")?;
            flags(f, state.extra_flags.bits(), ExtraFlags::NAMES)?;
        }
        write!(f, " (0x{:08b})", state.flags.bits())?;
    }
    f.write_str("\n")
}

/// Names of flags with blanks between them, the bits without a name in hexadecimal at the end.
pub(super) fn flags<const N: usize>(
    f: &mut Formatter<'_>,
    mut bits: u32,
    names: [(&str, u32); N],
) -> fmt::Result {
    for (name, bit) in names {
        if bits & bit != 0 {
            bits &= !bit;
            f.write_str(name)?;
            f.write_str(if bits == 0 { "" } else { " " })?;
        }
    }
    if bits == 0 { Ok(()) } else { write!(f, "{bits:x}") }
}

/// Linux knows the ICV length of every algorithm it has; without one it is as `auth` was told.
fn integrity(f: &mut Formatter<'_>, algorithm: Option<&Algorithm>, style: Style) -> fmt::Result {
    let Some(algorithm) = algorithm else { return Ok(()) };
    let name = algorithm.kernel_name();
    match algorithm.effective_icv_bits() {
        Some(bits) => {
            write!(f, "\tauth-trunc {name} ")?;
            key(f, algorithm, style)?;
            writeln!(f, " {bits}")
        }
        None => {
            write!(f, "\tauth {name} ")?;
            key(f, algorithm, style)?;
            f.write_str("\n")
        }
    }
}

/// An empty key is nothing at all, but is hidden all the same.
fn key(f: &mut Formatter<'_>, algorithm: &Algorithm, style: Style) -> fmt::Result {
    let key = &algorithm.key;
    match style.keys {
        Keys::Hidden => return f.write_str("<<Keys hidden>>"),
        Keys::Shown if key.is_empty() => return Ok(()),
        Keys::Shown => {}
    }
    f.write_str("0x")?;
    key.as_octets().iter().try_for_each(|octet| write!(f, "{octet:02x}"))?;
    if style.statistics {
        write!(f, " ({} bits)", key.len().saturating_mul(8))?;
    }
    Ok(())
}

/// The sequence numbers and the bitmap.
fn sequence(f: &mut Formatter<'_>, state: &State) -> fmt::Result {
    let SequenceContext { seq, seq_hi, oseq, oseq_hi } = state.sequence;
    if !has_esn_context(state) {
        let bitmap = state.replay_bitmap.plain();
        return writeln!(f, "\tanti-replay context: seq {seq:#x}, oseq {oseq:#x}, bitmap {bitmap:#010x}");
    }
    let ring = state.replay_bitmap.ring(state.replay_window, seq);
    f.write_str("\tanti-replay esn context:\n")?;
    writeln!(f, "\t seq-hi {seq_hi:#x}, seq {seq:#x}, oseq-hi {oseq_hi:#x}, oseq {oseq:#x}")?;
    write!(f, "\t replay_window {}, bitmap-length {}", state.replay_window, ring.len())?;
    // From the highest word to the lowest, eight in a line.
    for (n, word) in ring.iter().rev().enumerate() {
        write!(f, "{}{word:08x} ", if n % 8 == 0 { "\n\t " } else { "" })?;
    }
    f.write_str("\n")
}

/// Linux gives a state without a selector one for all, but with `flag af-unspec`.
fn selector(f: &mut Formatter<'_>, state: &State, style: Style) -> fmt::Result {
    let all = Selector::all(Family::of(state.dst));
    let selector = match &state.selector {
        Some(selector) => selector,
        None if state.flags.has(Flags::AF_UNSPEC) => return Ok(()),
        None => &all,
    };
    f.write_str("\tsel ")?;
    listing::selector(f, selector, style)
}
