//! What commands and printed text have in common: selectors, limits, marks.

use std::net::IpAddr;

use super::error::{Fault, Parsed};
use super::value::{self, DCCP, Family, GRE, ICMP, ICMPV6, MOBILITY_HEADER, SCTP, TCP, UDP};
use super::word::{Word, Words};
use super::{Limits, Mark, Prefix, Selector};

/// A selector before it is known to be complete.
#[derive(Debug, Default)]
pub(super) struct SelectorWords {
    src: Option<Prefix>,
    dst: Option<Prefix>,
    upper: Upper,
    dev: Option<String>,
    uid: Option<u32>,
}

#[derive(Debug, Default)]
struct Upper {
    proto: Option<u8>,
    sport: Option<u16>,
    dport: Option<u16>,
    icmp_type: Option<u8>,
    icmp_code: Option<u8>,
    gre_key: Option<u32>,
}

const UPPER: [&str; 6] = ["proto", "sport", "dport", "type", "code", "key"];
impl SelectorWords {
    /// Reads as much of a selector as there is. `src`, `dst` and `dev` may stand in any order, `proto` and what
    /// belongs to it together, once. Printed ones have a `uid`, too.
    pub(super) fn read(words: &mut Words<'_, '_>, family: Option<Family>, printed: bool) -> Parsed<Self> {
        let mut selector = Self::default();
        let mut had_upper = false;
        let position = words.position();
        while let Some(word) = words.peek() {
            match word {
                "src" => {
                    words.take();
                    selector.src = Some(words.prefix(family)?);
                }
                "dst" => {
                    words.take();
                    selector.dst = Some(words.prefix(family)?);
                }
                "dev" => {
                    words.take();
                    let dev = words.printed_name()?;
                    selector.dev = (dev != "none").then_some(dev);
                }
                "uid" if printed => {
                    words.take();
                    selector.uid = Some(words.number()?).filter(|uid| *uid != 0);
                }
                "(dport)" if printed => {
                    // What `ip -s` prints for a code with the mobility header: its two octets as they lie in memory.
                    words.take();
                    let position = words.position();
                    let code = words.number::<u16>()?.swap_bytes();
                    let code = u8::try_from(code).map_err(|_| {
                        Fault::value(position, "this is no code from 0 to 255, octets swapped")
                    })?;
                    selector.upper.icmp_code = Some(code);
                }
                word if UPPER.contains(&word) && !had_upper => {
                    had_upper = true;
                    selector.upper = Upper::read(words, printed)?;
                }
                _ => break,
            }
        }
        if let (Some(src), Some(dst)) = (selector.src, selector.dst)
            && Family::of(src.addr) != Family::of(dst.addr)
        {
            return Err(Fault::conflict(position, "`src` and `dst` are of two address families"));
        }
        Ok(selector)
    }

    pub(super) fn is_empty(&self) -> bool {
        let Self { src, dst, upper, dev, uid } = self;
        src.is_none() && dst.is_none() && dev.is_none() && uid.is_none() && upper.is_empty()
    }

    /// The family of its addresses, if it has any.
    pub(super) fn family(&self) -> Option<Family> {
        self.src.or(self.dst).map(|prefix| Family::of(prefix.addr))
    }

    /// The selector, where an address not given is any address.
    pub(super) fn finish(self, family: Option<Family>) -> Selector {
        let family = self.family().or(family).unwrap_or(Family::V4);
        let any = Prefix { addr: family.unspecified(), len: 0 };
        let Upper { proto, sport, dport, icmp_type, icmp_code, gre_key } = self.upper;
        Selector {
            src: self.src.unwrap_or(any),
            dst: self.dst.unwrap_or(any),
            proto,
            sport,
            dport,
            icmp_type,
            icmp_code,
            gre_key,
            dev: self.dev,
            uid: self.uid,
        }
    }
}

impl Upper {
    fn read(words: &mut Words<'_, '_>, printed: bool) -> Parsed<Self> {
        let mut upper = Self::default();
        let mut ports = None;
        let mut types = None;
        let mut key = None;
        while let Some(word) = words.peek().filter(|word| UPPER.contains(word)) {
            let at = Some(words.position());
            words.take();
            match word {
                "proto" => {
                    let word = words.value()?;
                    upper.proto = value::protocol(word.as_str()).ok_or_else(|| {
                        let shown = words.shown(word.as_str());
                        Fault::value(word.position, format!("{shown} is no protocol's name or number"))
                    })?;
                }
                "sport" => {
                    ports = at;
                    upper.sport = Some(words.number()?).filter(|port| *port != 0);
                }
                "dport" => {
                    ports = at;
                    upper.dport = Some(words.number()?).filter(|port| *port != 0);
                }
                "type" => {
                    types = at;
                    upper.icmp_type = Some(words.number()?);
                }
                "code" => {
                    types = at;
                    upper.icmp_code = Some(words.number()?);
                }
                _ => {
                    key = at;
                    upper.gre_key = Some(gre_key(words)?);
                }
            }
        }
        let proto = upper.proto;
        let checks = [
            (
                ports,
                matches!(proto, None | Some(TCP | UDP | SCTP | DCCP)) || printed,
                "`sport` and `dport` need",
            ),
            (types, matches!(proto, Some(ICMP | ICMPV6 | MOBILITY_HEADER)), "`type` and `code` need"),
            (key, proto == Some(GRE), "`key` needs"),
        ];
        for (at, right, what) in checks {
            if let Some(position) = at.filter(|_| !right) {
                return Err(Fault::conflict(
                    position,
                    format!("{what} another `proto` than this selector's"),
                ));
            }
        }
        Ok(upper)
    }

    fn is_empty(&self) -> bool {
        let Self { proto, sport, dport, icmp_type, icmp_code, gre_key } = self;
        let ports = sport.is_none() && dport.is_none();
        ports && proto.is_none() && icmp_type.is_none() && icmp_code.is_none() && gre_key.is_none()
    }
}

fn gre_key(words: &mut Words<'_, '_>) -> Parsed<u32> {
    let word = words.value()?;
    let text = word.as_str();
    if text.contains('.')
        && let Some(IpAddr::V4(quad)) = value::address(text, Some(Family::V4))
    {
        return Ok(quad.to_bits());
    }
    value::number(text).ok_or_else(|| words.not_a_number::<u32>(word))
}

/// Reads what comes after `limit`.
pub(super) fn limit(words: &mut Words<'_, '_>, limits: &mut Limits) -> Parsed<()> {
    #[derive(Clone, Copy)]
    enum Kind {
        Time,
        Use,
        Byte,
        Packet,
    }
    const NAMES: [(&str, (bool, Kind)); 8] = [
        ("time-soft", (false, Kind::Time)),
        ("time-hard", (true, Kind::Time)),
        ("time-use-soft", (false, Kind::Use)),
        ("time-use-hard", (true, Kind::Use)),
        ("byte-soft", (false, Kind::Byte)),
        ("byte-hard", (true, Kind::Byte)),
        ("packet-soft", (false, Kind::Packet)),
        ("packet-hard", (true, Kind::Packet)),
    ];
    let (is_hard, kind) = words.name(&NAMES)?;
    let number: u64 = words.number()?;
    let limit = if is_hard { &mut limits.hard } else { &mut limits.soft };
    // The kernel's "no limit" is 0 for times and the greatest number for amounts.
    match kind {
        Kind::Time => limit.since_added = Some(number).filter(|n| *n != 0),
        Kind::Use => limit.since_used = Some(number).filter(|n| *n != 0),
        Kind::Byte => limit.bytes = Some(number).filter(|n| *n != u64::MAX),
        Kind::Packet => limit.packets = Some(number).filter(|n| *n != u64::MAX),
    }
    Ok(())
}

/// Reads what comes after `mark` or `output-mark` in a command: `VALUE [mask MASK]`. Without a mask, all bits count.
pub(super) fn mark(words: &mut Words<'_, '_>) -> Parsed<Mark> {
    let value = words.number()?;
    let mask = if words.accept("mask") { words.number()? } else { u32::MAX };
    Ok(Mark { value, mask })
}

/// Reads what comes after `output-mark` in a command. As in `ip`, a value of 0 is none, and a mask of 0 is not sent.
pub(super) fn output_mark(words: &mut Words<'_, '_>) -> Parsed<Option<Mark>> {
    let Mark { value, mask } = mark(words)?;
    let mask = if mask == 0 { u32::MAX } else { mask };
    Ok((value != 0).then_some(Mark { value, mask }))
}

/// Reads a printed `0x7/0xff`. Without a mask, all bits count.
pub(super) fn printed_mark(words: &mut Words<'_, '_>) -> Parsed<Mark> {
    let word = words.value()?;
    let (value, mask) = word.as_str().split_once('/').unwrap_or((word.as_str(), "0xffffffff"));
    match (value::number(value), value::number(mask)) {
        (Some(value), Some(mask)) => Ok(Mark { value, mask }),
        _ => Err(not_a_mark(words, word)),
    }
}

fn not_a_mark(words: &Words<'_, '_>, word: &Word<'_>) -> Fault {
    Fault::value(
        word.position,
        format!("{} is no mark as `ip` prints it, `0x1/0xff`", words.shown(word.as_str())),
    )
}
