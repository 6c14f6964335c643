//! What `ip xfrm monitor` prints: events between states and policies.
//!
//! | event | what it does |
//! |---|---|
//! | a state or policy | it is there |
//! | `Updated` | it takes the place of the one before |
//! | `Deleted`, `Expired` with `hard 1` | it is there no more: Linux prints no `Deleted` after a hard limit |
//! | `Flushed state`, `Flushed policy` | all of that protocol or type are there no more |
//! | `Expired` with `hard 0`, `acquire`, `report`, `Async event`, `Mapping change`, `Timestamp:` | nothing |
//! | `Default policies:` | nothing if all accept; `block` is refused, as defaults are not kept |
//! | `Unknown message:` | refused: not even `ip` knows what it did |
//!
//! Before each there may be the time that `ip -ts` prints, and the namespace that `all-nsid` prints: `[nsid current]` is
//! where the text comes from, and `[nsid 5]` makes `nsid 5` the origin of what comes after it.

use std::net::IpAddr;

use super::command::Reader;
use super::error::{Fault, Parsed};
use super::printed::{self, Lines};
use super::printed_state::Gone;
use super::selector::SelectorWords;
use super::shell::Scanner;
use super::table::Keyed;
use super::value;
use super::word::{Word, Words};
use super::{MAX_WORDS, PolicyType, Position, Proto, State, policy_words, printed_policy, printed_state};

/// What stands before an event.
#[derive(Debug, Default)]
pub(super) struct Prefix {
    /// Whether there is anything.
    pub(super) is_there: bool,
    /// The namespace, as an origin.
    pub(super) origin: Option<String>,
}

impl Prefix {
    pub(super) fn take(scanner: &mut Scanner<'_>) -> Self {
        let time = scanner.bracketed(is_time);
        let nsid = scanner.bracketed(|text| nsid(text).is_some());
        let origin = nsid.and_then(nsid_of).map(|number| format!("nsid {number}"));
        Self { is_there: time.is_some() || nsid.is_some(), origin }
    }
}

/// `2026-01-31T12:00:00.000000`.
fn is_time(text: &str) -> bool {
    let form = "dddd-dd-ddTdd:dd:dd.dddddd";
    let fits = |(c, form): (char, char)| if form == 'd' { c.is_ascii_digit() } else { c == form };
    text.len() == form.len() && text.chars().zip(form.chars()).all(fits)
}

/// `nsid current` or `nsid 5`: with the number, if it has one.
fn nsid(text: &str) -> Option<Option<u32>> {
    match text.strip_prefix("nsid ")? {
        "current" => Some(None),
        number => value::number(number).map(Some),
    }
}

fn nsid_of(text: &str) -> Option<u32> {
    nsid(text).flatten()
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Updated,
    Deleted,
    Expired,
    Flushed,
    Acquire,
    Report,
    Async,
    Mapping,
    Timestamp,
    Defaults,
    Unknown,
}

impl Event {
    const NAMES: [(&str, Self); 11] = [
        ("Updated", Self::Updated),
        ("Deleted", Self::Deleted),
        ("Expired", Self::Expired),
        ("Flushed", Self::Flushed),
        ("acquire", Self::Acquire),
        ("report", Self::Report),
        ("Async", Self::Async),
        ("Mapping", Self::Mapping),
        ("Timestamp:", Self::Timestamp),
        ("Default", Self::Defaults),
        ("Unknown", Self::Unknown),
    ];

    /// The event that begins at the next word.
    pub(super) fn ahead(scanner: &Scanner<'_>) -> Option<Self> {
        value::find(&Self::NAMES, scanner.word_ahead())
    }
}

/// Does what an event says, in a namespace.
pub(super) fn run(
    reader: &mut Reader,
    scanner: &mut Scanner<'_>,
    event: Event,
    origin: Option<String>,
) -> Parsed<()> {
    let position = scanner.position();
    if matches!(event, Event::Async | Event::Mapping) {
        return two_lines(scanner, event);
    }
    let mut lines = Lines::take(scanner)?;
    match event {
        Event::Updated | Event::Deleted | Event::Expired => {
            changed(reader, &mut lines, event, origin)?;
            reader.after_key = lines.end_in_key();
            return Ok(());
        }
        Event::Flushed => flushed(reader, &mut lines, position, origin)?,
        Event::Acquire => acquire(reader, &mut lines)?,
        Event::Report => report(&mut lines)?,
        Event::Timestamp => timestamp(&mut lines.line()?)?,
        Event::Defaults => defaults(&mut lines)?,
        Event::Unknown | Event::Async | Event::Mapping => {
            let reason = "`ip` did not know this message: what it did can't be known";
            return Err(Fault::unusable(position, reason));
        }
    }
    match lines.peek() {
        Some(_) => Err(lines.unknown("event")),
        None => Ok(()),
    }
}

/// `Updated`, `Deleted` or `Expired`, and the state or policy.
fn changed(reader: &mut Reader, lines: &mut Lines<'_>, event: Event, origin: Option<String>) -> Parsed<()> {
    let hard = match event {
        Event::Expired => Some(lines.take_last("hard")),
        _ => None,
    };
    lines.skip_word();
    let position = lines.position();
    let is_policy = printed::is_policy(lines)?;
    let goes = match hard {
        None => event == Event::Deleted,
        Some(None) => return Err(Fault::missing(position, "the line with `hard` is missing under this")),
        Some(Some(hard)) => is_hard(&hard)?,
    };
    if is_policy {
        let mut policy = printed_policy::policy(lines, &reader.name)?;
        policy.origin = origin;
        if goes || event == Event::Updated {
            reader.policies.remove(&policy.key());
        }
        if event == Event::Updated {
            reader.policies.push(policy);
        }
    } else if event == Event::Updated {
        let state = State { origin, ..printed_state::state(lines, &reader.name)? };
        match reader.states.find(&state.key()) {
            Some(old) => *old = state,
            None => reader.states.push(state),
        }
    } else {
        let Gone { dst, proto, spi, mark } = printed_state::gone(lines)?;
        if goes && proto == Proto::Esp {
            reader.states.remove(&(origin, dst, spi, mark));
        }
    }
    Ok(())
}

/// `hard 1` or `hard 0`.
fn is_hard(line: &[Word<'_>]) -> Parsed<bool> {
    let mut words = Words::new(line);
    words.after_key = true;
    words.expect("hard")?;
    let is_hard = words.name(&[("0", false), ("1", true)])?;
    words.end()?;
    Ok(is_hard)
}

/// `Flushed state proto esp`, `Flushed policy ptype main`.
fn flushed(
    reader: &mut Reader,
    lines: &mut Lines<'_>,
    position: Position,
    origin: Option<String>,
) -> Parsed<()> {
    let mut words = lines.line()?;
    words.take();
    if words.accept("policy") {
        let ptype = if words.accept("ptype") { words.name(&policy_words::TYPES)? } else { PolicyType::Main };
        words.end()?;
        return reader
            .policies
            .retain(position, |policy| policy.socket || policy.origin != origin || policy.ptype != ptype);
    }
    words.expect("state")?;
    words.expect("proto")?;
    let is_any = words.peek() == Some("0");
    let proto = if is_any { Proto::IpsecAny } else { proto(&mut words)? };
    if is_any {
        words.take();
    }
    words.end()?;
    if matches!(proto, Proto::Esp | Proto::IpsecAny) {
        reader.states.retain(position, |state| state.origin != origin)?;
    }
    Ok(())
}

fn proto(words: &mut Words<'_, '_>) -> Parsed<Proto> {
    words.name(&Proto::NAMES)
}

/// `acquire proto esp`, what packet asks for an SA, and the policy because of which it does.
fn acquire(reader: &Reader, lines: &mut Lines<'_>) -> Parsed<()> {
    let numbers = lines.take_last("seq");
    let mut words = lines.line()?;
    words.take();
    words.expect("proto")?;
    proto(&mut words)?;
    if words.accept("spi") {
        words.number_twice()?;
    }
    words.end()?;
    selector(lines)?;
    if lines.peek().is_some_and(|word| word != "policy") {
        return Err(lines.unknown("event"));
    }
    lines.skip_word();
    printed_policy::policy(lines, &reader.name)?;
    let Some(numbers) = numbers else { return Ok(()) };
    let mut words = Words::new(&numbers);
    words.expect("seq")?;
    words.acquire_number()?;
    words.masks()?;
    words.end()
}

/// `report proto esp`, and the packet that is reported: Mobile IPv6.
fn report(lines: &mut Lines<'_>) -> Parsed<()> {
    let mut words = lines.line()?;
    words.take();
    words.expect("proto")?;
    proto(&mut words)?;
    words.end()?;
    selector(lines)?;
    if lines.peek() == Some("coa") {
        let mut words = lines.line()?;
        words.take();
        words.address()?;
        words.end()?;
    }
    Ok(())
}

fn selector(lines: &mut Lines<'_>) -> Parsed<()> {
    let mut words = lines.line()?;
    words.expect("sel")?;
    SelectorWords::read(&mut words, None, true)?;
    words.end()
}

/// `Timestamp: Sat Jan 31 12:00:00 2026 756717 usec`, as `ip -t` prints it. It is not kept.
fn timestamp(words: &mut Words<'_, '_>) -> Parsed<()> {
    words.take();
    let (position, mut time) = (words.position(), Vec::with_capacity(7));
    while let Some(word) = words.take().filter(|_| time.len() < 8) {
        time.push(word.as_str());
    }
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let is_name = |text: &str| text.len() == 3 && text.bytes().all(|c| c.is_ascii_alphabetic());
    match time[..] {
        [day, month, date, clock, year, part, "usec"]
            if is_name(day)
                && is_name(month)
                && clock.split(':').all(is_number)
                && [date, year, part].into_iter().all(is_number) =>
        {
            Ok(())
        }
        _ => Err(Fault::value(position, "this is no time as `ip -t` prints it")),
    }
}

/// `Default policies:` and a line for each direction.
fn defaults(lines: &mut Lines<'_>) -> Parsed<()> {
    let mut words = lines.line()?;
    words.take();
    words.expect("policies:")?;
    words.end()?;
    for direction in ["in:", "fwd:", "out:"] {
        let mut words = lines.line()?;
        words.expect(direction)?;
        let position = words.position();
        if words.name(&[("accept", false), ("unspec", false), ("block", true)])? {
            return Err(Fault::unusable(position, "a default policy of `block` is not kept here"));
        }
        words.end()?;
    }
    Ok(())
}

/// `Async event` or `Mapping change`, and the line under it, which is that of no state though it begins with `src`.
fn two_lines(scanner: &mut Scanner<'_>, event: Event) -> Parsed<()> {
    let mut room = MAX_WORDS;
    let (line, mut position) = scanner.line();
    let first = printed::split(line, &mut position, &mut room)?;
    let (line, mut position) = scanner.line();
    let second = printed::split(line, &mut position, &mut room)?;
    let mut words = Words::new(&first);
    words.take();
    if event == Event::Async {
        words.expect("event")?;
        // The flags, and their names.
        let flags = words.value()?;
        let bits = flags.as_str().strip_prefix("(").and_then(|text| text.strip_suffix(')'));
        if bits.and_then(value::number::<u32>).is_none() {
            return Err(Fault::value(flags.position, "flags in parentheses are expected here, `(0x10)`"));
        }
        for name in [["replay", "update"], ["timer", "expired"], ["policy", "updated"]] {
            if words.accept(name[0]) {
                words.expect(name[1])?;
            }
        }
    } else {
        words.expect("change")?;
        endpoint(&mut words)?;
        words.expect("->")?;
        endpoint(&mut words)?;
    }
    words.end()?;
    if second.is_empty() {
        return Err(Fault::missing(words.position(), "the line under this is missing"));
    }
    let mut words = Words::new(&second);
    if event == Event::Async {
        words.expect("src")?;
        words.address()?;
    }
    words.expect("dst")?;
    words.address()?;
    words.expect("reqid")?;
    words.number::<u32>()?;
    words.expect("protocol")?;
    let protocol = words.value()?;
    if value::protocol(protocol.as_str()).is_none() {
        return Err(Fault::value(protocol.position, "the name or number of a protocol is expected here"));
    }
    words.expect("SPI")?;
    words.number::<u32>()?;
    words.end()
}

/// `192.0.2.1:4500`, also with an IPv6 address, which then has no brackets.
fn endpoint(words: &mut Words<'_, '_>) -> Parsed<()> {
    let word = words.value()?;
    let parts = word.as_str().rsplit_once(':');
    let is_right = parts.is_some_and(|(address, port)| {
        address.parse::<IpAddr>().is_ok() && value::number::<u16>(port).is_some()
    });
    if is_right {
        return Ok(());
    }
    Err(Fault::value(word.position, "an address and a port are expected here, `192.0.2.1:4500`"))
}
