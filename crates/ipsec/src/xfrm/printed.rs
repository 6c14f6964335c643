//! What `ip xfrm state` and `ip xfrm policy` print, also with `-s` and `-o`: its lines, and what both have in common.
//!
//! Something printed begins with a line whose first word is `src`. The indented lines under it are part of it; with
//! `-o` they are parts of the first line, after backslashes.

use super::error::{Fault, Parsed};
use super::selector;
use super::shell::Scanner;
use super::value::{self, Bounds};
use super::word::{Word, Words};
use super::{Limits, MAX_WORDS, Mark, Offload, Position, Used, printed_policy, state_words};

/// The lines of something printed.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    /// Each has at least one word.
    lines: Vec<Vec<Word<'a>>>,
    next: usize,
    /// Whether a line with a key was among those so far.
    pub(super) after_key: bool,
    /// The kinds of lines so far.
    seen: Vec<String>,
}

impl<'a> Lines<'a> {
    /// Takes a line that begins with `src` and the lines that belong to it.
    pub(super) fn take(scanner: &mut Scanner<'a>) -> Parsed<Self> {
        let (line, mut position) = scanner.line();
        let mut lines = Vec::new();
        let mut room = MAX_WORDS;
        for part in line.split('\\') {
            let words = split(part, &mut position, &mut room)?;
            // Past the backslash.
            position.column = position.column.saturating_add(1);
            if !words.is_empty() {
                lines.push(words);
            }
        }
        loop {
            let mut ahead = *scanner;
            if ahead.is_at_end() {
                break;
            }
            let (line, mut position) = ahead.line();
            match line.split_ascii_whitespace().next() {
                None => {}
                Some(word) if word.starts_with('#') => {}
                Some("src" | "ip" | "sudo" | "set") => break,
                Some(word) if !line.starts_with([' ', '\t']) || word.ends_with("/ip") => break,
                Some(_) => lines.push(split(line, &mut position, &mut room)?),
            }
            *scanner = ahead;
        }
        Ok(Self { lines, next: 0, after_key: false, seen: Vec::new() })
    }

    /// Drops the first word of the next line, which has others.
    pub(super) fn skip_word(&mut self) {
        if let Some(line) = self.lines.get_mut(self.next).filter(|line| line.len() > 1) {
            line.remove(0);
        }
    }

    /// Takes the last line if it begins with this word, and is not the next one.
    pub(super) fn take_last(&mut self, word: &str) -> Option<Vec<Word<'a>>> {
        let last = self.lines.last()?.first()?;
        let found = last.as_str() == word && self.next + 1 < self.lines.len();
        found.then(|| self.lines.pop()).flatten()
    }

    /// The first word of the line after the next one.
    pub(super) fn second(&self) -> Option<&str> {
        self.lines.get(self.next + 1)?.first().map(Word::as_str)
    }

    /// The first word of the next line.
    pub(super) fn peek(&self) -> Option<&str> {
        self.lines.get(self.next)?.first().map(Word::as_str)
    }

    /// Takes a line that must be there.
    pub(super) fn line(&mut self) -> Parsed<Words<'_, 'a>> {
        let position = self.position();
        let index = self.next;
        self.next += 1;
        let Some(line) = self.lines.get(index) else {
            return Err(Fault::missing(position, "this is cut off: more lines are printed under it"));
        };
        let mut words = Words::new(line);
        words.after_key = self.after_key;
        Ok(words)
    }

    /// Where the next line begins; at the end, the last.
    pub(super) fn position(&self) -> Position {
        let index = self.next.min(self.lines.len().saturating_sub(1));
        let word = self.lines.get(index).and_then(|line| line.first());
        word.map_or(Position { line: 1, column: 1 }, |word| word.position)
    }

    /// Whether the last line is of an algorithm: then the next line of the text may be the rest of a key.
    pub(super) fn end_in_key(&self) -> bool {
        let last = self.lines.last().and_then(|line| line.first()).map(Word::as_str);
        matches!(last, Some("auth" | "auth-trunc" | "aead" | "enc"))
    }

    /// Says that a line of this kind must not be there twice.
    pub(super) fn once(&mut self, kind: &str) -> Parsed<()> {
        if self.seen.iter().any(|seen| seen == kind) {
            let reason = format!("a line with `{kind}` is here for the second time");
            return Err(Fault::conflict(self.position(), reason));
        }
        self.seen.push(kind.to_owned());
        Ok(())
    }

    /// Says that the next line is not known.
    pub(super) fn unknown(&mut self, what: &str) -> Fault {
        let position = self.position();
        let after_key = self.after_key;
        let shown = super::word::shown(self.peek().unwrap_or_default(), after_key);
        Fault::unknown(position, format!("{shown} begins no line of a printed {what}"))
    }
}

/// Whether what is printed here is a policy, or a state: its second line says.
pub(super) fn is_policy(lines: &mut Lines<'_>) -> Parsed<bool> {
    match lines.second() {
        Some(word) if printed_policy::follows(word) => Ok(true),
        Some("proto") => Ok(false),
        Some(_) => {
            lines.line()?;
            Err(lines.unknown("state or policy"))
        }
        None => {
            let reason = "indented lines are missing under this: what `ip xfrm` prints is cut off";
            Err(Fault::missing(lines.position(), reason))
        }
    }
}

/// Splits a line at blanks, moves `position` to its end, and takes the words from `room`.
pub(super) fn split<'a>(line: &'a str, position: &mut Position, room: &mut usize) -> Parsed<Vec<Word<'a>>> {
    let mut words = Vec::new();
    let mut start: Option<(usize, Position)> = None;
    let mut push = |text: &'a str, at: Position| {
        let reason = || format!("more than {MAX_WORDS} words in one printed state or policy");
        *room = room.checked_sub(1).ok_or_else(|| Fault::limit(at, reason()))?;
        words.push(Word::slice(text, at));
        Ok(())
    };
    for (offset, c) in line.char_indices() {
        let is_blank = c.is_ascii_whitespace();
        match start {
            None if !is_blank => start = Some((offset, *position)),
            Some((begin, at)) if is_blank => {
                push(&line[begin..offset], at)?;
                start = None;
            }
            _ => {}
        }
        position.column = position.column.saturating_add(1);
    }
    if let Some((begin, at)) = start {
        push(&line[begin..], at)?;
    }
    Ok(words)
}

impl Words<'_, '_> {
    /// A number with the same number in parentheses after it, as `-s` prints: `16(0x00000010)`.
    pub(super) fn number_twice(&mut self) -> Parsed<u32> {
        let word = self.value()?;
        let (text, again) =
            word.as_str().split_once('(').map_or((word.as_str(), None), |(a, b)| (a, Some(b)));
        let first = value::number::<u32>(text).ok_or_else(|| self.not_a_number::<u32>(word))?;
        if let Some(again) = again {
            let again = again.strip_suffix(')').and_then(value::number::<u32>);
            if again != Some(first) {
                return Err(Fault::conflict(
                    word.position,
                    "the number in parentheses is not the one before it",
                ));
            }
        }
        Ok(first)
    }

    /// A number with a comma after it.
    pub(super) fn number_comma<T: TryFrom<u64> + Bounds>(&mut self) -> Parsed<T> {
        let word = self.value()?;
        let text = word.as_str();
        let number = text.strip_suffix(',').and_then(value::number);
        number.ok_or_else(|| {
            Fault::value(word.position, format!("{} is no number with a comma after it", self.shown(text)))
        })
    }

    /// An amount with its unit, as in `(INF)(bytes),` or `1000(bytes),`. None for no limit.
    fn amount(&mut self, unit: &str) -> Parsed<Option<u64>> {
        let word = self.value()?;
        match word.as_str().strip_suffix(unit) {
            Some("(INF)") => Ok(None),
            Some(text) if value::number::<u64>(text).is_some() => Ok(value::number(text)),
            _ => {
                let shown = self.shown(word.as_str());
                Err(Fault::value(word.position, format!("{shown} is no number with `{unit}` after it")))
            }
        }
    }

    /// A time, which is not kept: `2026-01-31 12:00:00`, or `-` for never.
    fn time(&mut self) -> Parsed<()> {
        let day = self.value()?;
        if matches!(day.as_str(), "-" | "invalid-time") {
            return Ok(());
        }
        let time = self.value()?;
        for (word, separator) in [(day, '-'), (time, ':')] {
            let is_right = word.as_str().chars().all(|c| c.is_ascii_digit() || c == separator);
            if !is_right || word.as_str().matches(separator).count() != 2 {
                let shown = self.shown(word.as_str());
                return Err(Fault::value(
                    word.position,
                    format!("{shown} is no time, `YYYY-MM-DD HH:MM:SS`"),
                ));
            }
        }
        Ok(())
    }

    /// The masks of algorithms that `-s` prints, which are not kept.
    pub(super) fn masks(&mut self) -> Parsed<()> {
        for name in ["enc-mask", "auth-mask", "comp-mask"] {
            self.expect(name)?;
            let mask = self.value()?;
            if mask.as_str().len() != 8 || !mask.as_str().bytes().all(|c| c.is_ascii_hexdigit()) {
                let reason = "a mask of eight hexadecimal digits is expected here";
                return Err(Fault::value(mask.position, reason));
            }
        }
        Ok(())
    }

    /// A number in decimal digits, in spite of the 0x before them, as `-s` prints the number of an acquire message.
    pub(super) fn acquire_number(&mut self) -> Parsed<u32> {
        let word = self.value()?;
        let digits = word.as_str().strip_prefix("0x").filter(|digits| !digits.starts_with('+'));
        let number = digits.and_then(|digits| digits.parse().ok());
        number.ok_or_else(|| self.not_a_number::<u32>(word))
    }

    /// Flags again as eight binary digits, as `-s` prints them at the end of a line: `(0x00100000)`.
    pub(super) fn flags_again(&mut self, flags: u8) -> Parsed<()> {
        if !self.peek().is_some_and(|word| word.starts_with('(')) {
            return Ok(());
        }
        let word = self.value()?;
        if word.as_str() != format!("(0x{flags:08b})") {
            let reason = "what stands in parentheses is not the flags before it in binary digits";
            return Err(Fault::conflict(word.position, reason));
        }
        Ok(())
    }
}

/// What states and policies have in common.
#[derive(Debug, Default)]
pub(super) struct Common {
    pub(super) limits: Limits,
    pub(super) used: Used,
    pub(super) mark: Option<Mark>,
    pub(super) output_mark: Option<Mark>,
    pub(super) if_id: Option<u32>,
    pub(super) offload: Option<Offload>,
    pub(super) context: Option<String>,
}

impl Common {
    /// Reads the next line if it is one that states and policies may have; says whether.
    pub(super) fn read(&mut self, lines: &mut Lines<'_>) -> Parsed<bool> {
        let kind = match lines.peek() {
            Some(kind @ ("mark" | "output-mark" | "lastused" | "if_id" | "crypto" | "security")) => {
                kind.to_owned()
            }
            Some("lifetime") => return self.lifetime(lines).map(|()| true),
            _ => return Ok(false),
        };
        lines.once(&kind)?;
        let mut words = lines.line()?;
        words.take();
        match &*kind {
            "mark" => {
                self.mark = Some(selector::printed_mark(&mut words)?);
                if words.accept("output-mark") {
                    self.output_mark = Some(selector::printed_mark(&mut words)?);
                }
            }
            "output-mark" => self.output_mark = Some(selector::printed_mark(&mut words)?),
            "lastused" => words.time()?,
            "if_id" => self.if_id = Some(words.number()?).filter(|if_id| *if_id != 0),
            "crypto" => self.offload = Some(offload(&mut words)?),
            _ => {
                words.expect("context")?;
                self.context = Some(words.printed_name()?);
            }
        }
        words.end()?;
        Ok(true)
    }

    /// Reads the lines `lifetime config:` or `lifetime current:` and those after it. Times are not kept.
    fn lifetime(&mut self, lines: &mut Lines<'_>) -> Parsed<()> {
        let mut words = lines.line()?;
        words.take();
        let is_current = words.accept("current:");
        if !is_current {
            words.expect("config:")?;
        }
        words.end()?;
        lines.once(if is_current { "lifetime current:" } else { "lifetime config:" })?;
        if is_current {
            let mut words = lines.line()?;
            let bytes = words.amount("(bytes),")?.unwrap_or(u64::MAX);
            let packets = words.amount("(packets)")?.unwrap_or(u64::MAX);
            self.used = Used { bytes, packets };
            words.end()?;
            let mut words = lines.line()?;
            words.expect("add")?;
            words.time()?;
            words.expect("use")?;
            words.time()?;
            return words.end();
        }
        let mut pair = |first: &str, second: Option<&str>, unit: &str| {
            let mut words = lines.line()?;
            words.expect(first)?;
            second.map_or(Ok(()), |second| words.expect(second))?;
            words.expect("soft")?;
            let soft = words.amount(&format!("{unit},"))?;
            words.expect("hard")?;
            let hard = words.amount(unit)?;
            words.end()?;
            Ok((soft, hard))
        };
        let Limits { soft, hard } = &mut self.limits;
        let some = |seconds: Option<u64>| seconds.filter(|n| *n != 0);
        (soft.bytes, hard.bytes) = pair("limit:", None, "(bytes)")?;
        (soft.packets, hard.packets) = pair("limit:", None, "(packets)")?;
        let (s, h) = pair("expire", Some("add:"), "(sec)")?;
        (soft.since_added, hard.since_added) = (some(s), some(h));
        let (s, h) = pair("expire", Some("use:"), "(sec)")?;
        (soft.since_used, hard.since_used) = (some(s), some(h));
        Ok(())
    }
}

/// Reads what comes after `crypto` in `crypto offload parameters: dev eth0 dir in mode packet`.
fn offload(words: &mut Words<'_, '_>) -> Parsed<Offload> {
    words.expect("offload")?;
    words.expect("parameters:")?;
    words.expect("dev")?;
    let dev = words.printed_name()?;
    let direction = if words.accept("dir") { Some(words.name(&state_words::DIRECTIONS)?) } else { None };
    let packet = words.accept("mode") && words.name(&[("crypto", false), ("packet", true)])?;
    Ok(Offload { dev, packet, direction })
}
