//! Commands of a script: what runs them, which there are, and what they do to states and policies.

use std::sync::Arc;

use super::error::{Fault, Parsed};
use super::policy_words::{self, PolicyFilter, PolicyId};
use super::state_filter::{StateFilter, StateId};
use super::state_words;
use super::table::{Keyed, Table};
use super::value::{self, Family};
use super::word::{Word, Words, shown};
use super::{Policy, PolicyType, Position, Proto, State};

/// What is there so far, and what the text is called.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) name: Arc<str>,
    pub(super) states: Table<State>,
    pub(super) policies: Table<Policy>,
    /// Whether the last thing read ended in a key: then the next word may be the rest of it, and is not shown.
    pub(super) after_key: bool,
}

const UNDERSTOOD: &str = "only `ip xfrm state` and `ip xfrm policy` commands (also under `sudo`, `ip netns exec NAME` and \
     `ip -n NAME`), `set` lines, and what `ip xfrm state`, `policy` and `monitor` print are understood";

/// Words of the shell's own grammar that begin a command.
const SHELL: [&str; 20] = [
    "!", "[", "case", "coproc", "do", "done", "elif", "else", "esac", "eval", "fi", "for", "function", "if",
    "select", "source", "then", "time", "until", "while",
];

/// The options of `ip` in the order in which abbreviations are tried.
#[derive(Clone, Copy)]
enum Global {
    Harmless,
    HarmlessWithValue,
    Family,
    Netns,
    Refused,
}

const GLOBALS: [(&str, Global); 24] = [
    ("-loops", Global::HarmlessWithValue),
    ("-family", Global::Family),
    ("-human", Global::Harmless),
    ("-human-readable", Global::Harmless),
    ("-iec", Global::Harmless),
    ("-stats", Global::Harmless),
    ("-statistics", Global::Harmless),
    ("-details", Global::Harmless),
    ("-resolve", Global::Harmless),
    ("-oneline", Global::Harmless),
    ("-timestamp", Global::Harmless),
    ("-tshort", Global::Harmless),
    ("-Version", Global::Refused),
    ("-force", Global::Harmless),
    ("-batch", Global::Refused),
    ("-brief", Global::Harmless),
    ("-json", Global::Harmless),
    ("-pretty", Global::Harmless),
    ("-rcvbuf", Global::HarmlessWithValue),
    ("-color", Global::Harmless),
    ("-help", Global::Refused),
    ("-netns", Global::Netns),
    ("-Numeric", Global::Harmless),
    ("-all", Global::Refused),
];

const FAMILIES: [(&str, Family); 2] = [("inet", Family::V4), ("inet6", Family::V6)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Add,
    Update,
    Delete,
    DeleteAll,
    List,
    Get,
    Flush,
    Harmless,
    Refused,
}

/// The verbs in the order in which abbreviations are tried.
const STATE_VERBS: [(&str, Verb); 13] = [
    ("add", Verb::Add),
    ("update", Verb::Update),
    ("allocspi", Verb::Refused),
    ("delete", Verb::Delete),
    ("deleteall", Verb::DeleteAll),
    ("delall", Verb::DeleteAll),
    ("list", Verb::List),
    ("show", Verb::List),
    ("lst", Verb::List),
    ("get", Verb::Get),
    ("flush", Verb::Flush),
    ("count", Verb::Harmless),
    ("help", Verb::Refused),
];
const POLICY_VERBS: [(&str, Verb); 15] = [
    ("add", Verb::Add),
    ("update", Verb::Update),
    ("delete", Verb::Delete),
    ("deleteall", Verb::DeleteAll),
    ("delall", Verb::DeleteAll),
    ("list", Verb::List),
    ("show", Verb::List),
    ("lst", Verb::List),
    ("get", Verb::Get),
    ("flush", Verb::Flush),
    ("count", Verb::Harmless),
    ("set", Verb::Refused),
    ("setdefault", Verb::Refused),
    ("getdefault", Verb::Harmless),
    ("help", Verb::Refused),
];

/// Where and for what family a command of `ip` acts.
#[derive(Debug)]
struct Scope {
    position: Position,
    origin: Option<String>,
    family: Option<Family>,
}

/// Does what a command says.
pub(super) fn run(reader: &mut Reader, words: &[Word<'_>]) -> Parsed<()> {
    let Some(first) = words.first() else { return Ok(()) };
    let mut scope = Scope { position: first.position, origin: None, family: None };
    let mut words = Words::new(words);
    let after_key = std::mem::take(&mut reader.after_key);
    if words.accept("set") {
        return set(&mut words);
    }
    loop {
        if words.accept("sudo") {
            while words.peek().is_some_and(|word| matches!(word, "-n" | "-E" | "-H" | "--")) {
                words.take();
            }
        }
        let program = words.value()?;
        if program.as_str().rsplit('/').next() != Some("ip") {
            return Err(not_understood(program, after_key));
        }
        globals(&mut words, &mut scope)?;
        let object = words.value()?;
        if value::abbreviates(object.as_str(), "xfrm") {
            xfrm(reader, &mut words, scope)?;
            reader.after_key = words.end_in_key();
            return Ok(());
        }
        // `n` and `ne` are `neighbor` to `ip`.
        if value::abbreviates(object.as_str(), "netns")
            && object.as_str().len() >= 3
            && words.peek().is_some_and(|word| value::abbreviates(word, "exec"))
        {
            words.take();
            scope.origin = Some(words.text()?);
            // A family given before `netns exec` is that of another `ip`.
            scope.family = None;
            continue;
        }
        let shown = words.shown(object.as_str()).replace('`', "");
        let shown = if shown == "this word" { shown } else { format!("`ip {shown}`") };
        return Err(Fault::command(object.position, format!("{shown} is not understood: {UNDERSTOOD}")));
    }
}

fn not_understood(program: &Word<'_>, after_key: bool) -> Fault {
    let text = program.as_str();
    let shown = shown(text, after_key);
    if SHELL.contains(&text) || text.ends_with("()") {
        return Fault::shell(
            program.position,
            format!("{shown}: loops, conditions and functions are not followed"),
        );
    }
    let printed =
        ["proto", "dir", "replay-window", "enc", "auth", "auth-trunc", "aead", "tmpl", "sel", "dst"];
    if printed.contains(&text) {
        let reason =
            format!("`{text}` begins no command; under a printed `src … dst …` line it must be indented");
        return Fault::command(program.position, reason);
    }
    Fault::command(program.position, format!("{shown} is not understood: {UNDERSTOOD}"))
}

/// Reads a `set` line. It changes nothing here: any error ends the reading anyway.
fn set(words: &mut Words<'_, '_>) -> Parsed<()> {
    let mut wants_name = false;
    while let Some(word) = words.take() {
        let text = word.as_str();
        let option = text.strip_prefix(['-', '+']).filter(|o| !o.is_empty());
        match option {
            Some(letters) if letters.chars().all(|c| c.is_ascii_lowercase()) => {
                wants_name = letters.ends_with('o');
            }
            None if wants_name && text.chars().all(|c| c.is_ascii_lowercase()) => wants_name = false,
            _ => {
                return Err(Fault::shell(
                    word.position,
                    "`set` with arguments other than options is not followed",
                ));
            }
        }
    }
    Ok(())
}

/// Reads the options of `ip`.
fn globals(words: &mut Words<'_, '_>, scope: &mut Scope) -> Parsed<()> {
    while let Some(word) = words.peek().filter(|word| word.starts_with('-')) {
        let at = words.position();
        words.take();
        let option = if word.starts_with("--") { &word[1..] } else { word };
        match option {
            "-" => return Ok(()),
            "-4" => scope.family = Some(Family::V4),
            "-6" => scope.family = Some(Family::V6),
            "-echo" => {}
            _ => {
                let is_color = option.starts_with("-color=") || option.starts_with("-c=");
                let global =
                    GLOBALS.iter().find(|(name, _)| value::abbreviates(option, name) && option.len() > 1);
                match global.map_or(Global::Refused, |(_, global)| *global) {
                    Global::Harmless => {}
                    Global::HarmlessWithValue => {
                        words.value()?;
                    }
                    Global::Family => scope.family = Some(words.name(&FAMILIES)?),
                    Global::Netns => scope.origin = Some(words.text()?),
                    Global::Refused if is_color => {}
                    Global::Refused => {
                        let shown = words.shown(word);
                        return Err(Fault::command(
                            at,
                            format!("the option {shown} of `ip` is not understood here"),
                        ));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Does what comes after `ip xfrm`.
fn xfrm(reader: &mut Reader, words: &mut Words<'_, '_>, scope: Scope) -> Parsed<()> {
    let object = words.value()?;
    let text = object.as_str();
    let is_state = value::abbreviates(text, "state") || value::abbreviates(text, "sa");
    if !is_state && !value::abbreviates(text, "policy") {
        let shown = words.shown(text);
        return Err(Fault::command(
            object.position,
            format!("{shown} of `ip xfrm` is neither `state` nor `policy`"),
        ));
    }
    // Without a verb it is `list`.
    let Some(word) = words.take() else { return Ok(()) };
    let verbs: &[(&str, Verb)] = if is_state { &STATE_VERBS } else { &POLICY_VERBS };
    let found = verbs.iter().find(|(name, _)| value::abbreviates(word.as_str(), name));
    let Some((_, verb)) = found.filter(|(_, verb)| *verb != Verb::Refused) else {
        let (shown, object) = (words.shown(word.as_str()), if is_state { "state" } else { "policy" });
        return Err(Fault::command(
            word.position,
            format!("{shown} of `ip xfrm {object}` is not understood here"),
        ));
    };
    if *verb == Verb::Harmless {
        return words.end();
    }
    if is_state { on_states(reader, words, *verb, scope) } else { on_policies(reader, words, *verb, scope) }
}

fn on_states(reader: &mut Reader, words: &mut Words<'_, '_>, verb: Verb, scope: Scope) -> Parsed<()> {
    let Scope { position, origin, family } = scope;
    match verb {
        Verb::Add => reader.states.push(state_words::state(words, family, &reader.name, position, origin)?),
        Verb::Update => {
            let state = state_words::state(words, family, &reader.name, position, origin)?;
            update_state(&mut reader.states, state)?;
        }
        Verb::Get => {
            StateId::read(words, family, position)?;
        }
        Verb::List => {
            StateFilter::read(words, family, true)?;
        }
        Verb::Delete => {
            let StateId { id, proto, mark } = StateId::read(words, family, position)?;
            if let (Proto::Esp, Some(dst), Some((spi, _))) = (proto, id.dst, id.spi) {
                reader.states.remove_found(position, &(origin, dst.addr, spi), mark)?;
            }
        }
        Verb::DeleteAll => {
            let filter = StateFilter::read(words, family, false)?;
            reader.states.retain(position, |state| state.origin != origin || !filter.matches(state))?;
        }
        _ => {
            let proto = policy_words::flushed_proto(words)?;
            if matches!(proto, None | Some(Proto::Esp | Proto::IpsecAny)) {
                reader.states.retain(position, |state| state.origin != origin)?;
            }
        }
    }
    Ok(())
}

/// Updates a state as the kernel does: limits, encapsulation, output mark and interface may change,
/// the rest may not.
///
/// The kernel goes on silently with the old keys where `update` gives others; that would make every packet fail
/// here, so it is an error. One that is not there is added: it may be from before the script.
fn update_state(states: &mut Table<State>, state: State) -> Parsed<()> {
    let Some(old) = states.find(&state.key()) else {
        states.push(state);
        return Ok(());
    };
    if !old.same_transform(&state) || old.encap.is_some() != state.encap.is_some() {
        let line = old.position.line;
        let reason = format!(
            "`update` changes no address, mode, algorithm, key or `flag esn` of the state of line {line}: Linux keeps the old"
        );
        return Err(Fault::conflict(state.position, reason));
    }
    old.limits = state.limits;
    old.encap = state.encap;
    old.output_mark = state.output_mark.or(old.output_mark);
    old.if_id = state.if_id.or(old.if_id);
    Ok(())
}

fn on_policies(reader: &mut Reader, words: &mut Words<'_, '_>, verb: Verb, scope: Scope) -> Parsed<()> {
    let Scope { position, origin, family } = scope;
    match verb {
        Verb::Add | Verb::Update => {
            let policy = policy_words::policy(words, family, &reader.name, position, origin)?;
            if verb == Verb::Update {
                reader.policies.remove(&policy.key());
            }
            reader.policies.push(policy);
        }
        Verb::Get => {
            PolicyId::read(words, family, position)?;
        }
        Verb::List => {
            PolicyFilter::read(words, family)?;
        }
        Verb::Delete => match PolicyId::read(words, family, position)? {
            PolicyId::Key(dir, ptype, selector, mark, if_id) => {
                reader.policies.remove(&(origin, dir, ptype, selector, mark, if_id));
            }
            PolicyId::Index(dir, index) => reader.policies.retain(position, |policy| {
                (&policy.origin, policy.direction, policy.index) != (&origin, dir, Some(index))
            })?,
        },
        Verb::DeleteAll => {
            let filter = PolicyFilter::read(words, family)?;
            reader.policies.retain(position, |policy| {
                policy.socket || policy.origin != origin || !filter.matches(policy)
            })?;
        }
        _ => {
            let ptype: PolicyType = policy_words::flushed(words)?;
            reader.policies.retain(position, |policy| {
                policy.socket || policy.origin != origin || policy.ptype != ptype
            })?;
        }
    }
    Ok(())
}
