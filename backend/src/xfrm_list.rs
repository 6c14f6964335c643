//! `espwire xfrm`: what `ip xfrm` text leaves behind, and whether it can be used.
//!
//! A script is listed from its last state to its first, as Linux lists what commands added; what `ip xfrm` printed
//! stays in its order, which is that already (a text is taken for printed if it begins so). Several files are listed
//! one after the other.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{self, BufWriter, Write};

use espwire_ipsec::xfrm::{Database, Keys, Policy, State};
use espwire_ipsec::{Observing, Sad, Spd, Unmatched};

use crate::cli::{Listed, XfrmArgs};
use crate::xfrm_file::{XfrmFileError, XfrmText};

/// Most notes of one kind. They end the search, whose time grows with their number.
const MAX_NOTES: usize = 100;

/// Why a text was not listed.
#[derive(Debug, thiserror::Error)]
enum ListError {
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Xfrm(#[from] XfrmFileError),
    #[error("can't write to stdout: {0}")]
    Write(#[from] io::Error),
}

/// Lists the files and returns the exit code: 0 all can be used, 1 not so, 2 bad input.
pub(crate) fn main(args: &XfrmArgs) -> i32 {
    let result = list(args);
    let code = match &result {
        Ok(can_be_used) => return i32::from(!can_be_used),
        // Whoever reads has had enough, as in `espwire xfrm … | head`.
        Err(ListError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => return 1,
        Err(ListError::Write(_)) => 1,
        Err(ListError::Usage(_) | ListError::Xfrm(_)) => 2,
    };
    if let Err(error) = result {
        crate::complain(&format!("espwire: {error}"));
    }
    code
}

/// A file's states and policies, in the order in which they were added or printed.
struct Text {
    is_printed: bool,
    /// Without policies.
    states: Database,
    /// Without states.
    policies: Database,
}

/// Lists and notes; whether espwire can use all that is listed.
fn list(args: &XfrmArgs) -> Result<bool, ListError> {
    let (listed, files) = args.listed().map_err(ListError::Usage)?;
    // All files are read before anything is listed.
    let mut texts = Vec::new();
    for path in files {
        let is_stdin = path.as_os_str() == OsStr::new("-");
        let text = if is_stdin { XfrmText::of_stdin() } else { XfrmText::of_file(path) }?;
        let Database { mut states, mut policies } = text.parse()?;
        match listed {
            Listed::All => {}
            Listed::States => policies.clear(),
            Listed::Policies => states.clear(),
        }
        texts.push(Text {
            is_printed: text.is_printed(),
            states: Database { states, policies: Vec::new() },
            policies: Database { states: Vec::new(), policies },
        });
    }
    print(args, &texts)?;

    let states = || texts.iter().flat_map(|text| &text.states.states);
    note_linux(states());
    let can_use_states = note_states(states());
    let mut notes = Notes::new("policies that espwire can't use");
    let policies = texts.iter().flat_map(|text| &text.policies.policies).cloned().collect();
    Ok(note_policies(policies, &mut notes) && can_use_states)
}

/// Prints the states of all files, then the policies.
fn print(args: &XfrmArgs, texts: &[Text]) -> Result<(), ListError> {
    let keys = if args.show_keys { Keys::Shown } else { Keys::Hidden };
    // No name of a text has a control character in it: the parser refuses them.
    let mut output = BufWriter::new(io::stdout().lock());
    let states = texts.iter().map(|text| (text.is_printed, &text.states));
    let policies = texts.iter().map(|text| (text.is_printed, &text.policies));
    for (is_printed, database) in states.chain(policies) {
        let mut listing = database.listing(keys);
        if args.statistics {
            listing = listing.with_statistics();
        }
        if !is_printed {
            listing = listing.newest_first();
        }
        write!(output, "{listing}")?;
    }
    Ok(output.flush()?)
}

/// Notes of one kind, on stderr.
struct Notes {
    kind: &'static str,
    count: usize,
}

impl Notes {
    fn new(kind: &'static str) -> Self {
        Self { kind, count: 0 }
    }

    /// Says a note, or once that there are no more.
    fn add(&mut self, note: impl Display) {
        match self.count {
            0..MAX_NOTES => crate::complain(&format!("espwire: {note}")),
            MAX_NOTES => crate::complain(&format!("espwire: there are more {}", self.kind)),
            _ => {}
        }
        self.count += 1;
    }

    fn is_full(&self) -> bool {
        self.count > MAX_NOTES
    }
}

/// Notes the states that Linux would not take.
fn note_linux<'a>(states: impl Iterator<Item = &'a State>) {
    let mut notes = Notes::new("states that Linux would not load");
    for state in states {
        if let Err(reason) = state.loads_into_linux() {
            let State { source_name, position, .. } = state;
            notes.add(format_args!("{source_name}:{}:{}: {reason}", position.line, position.column));
        }
    }
}

/// Notes the states that can't be used, each for itself or with one before it, as [`Sad::new`] takes them. Returns
/// whether there are none.
fn note_states<'a>(states: impl Iterator<Item = &'a State>) -> bool {
    let mut notes = Notes::new("states that espwire can't use");
    let mut sad = Sad::<Observing>::default();
    let mut known = HashMap::new();
    for state in states {
        let id = (state.spi, state.dst);
        if known.get(&id).is_some_and(|first: &&State| first.same_sa(state)) {
            continue;
        }
        match sad.add(state) {
            Ok(()) => {
                known.insert(id, state);
            }
            Err(error) => notes.add(error),
        }
    }
    notes.count == 0
}

/// Notes the policies that can't be used; where each can, two that can't be used together. Returns whether all of them
/// can.
///
/// [`Spd::new`] says the first only: what it refuses is halved until what is wrong stands alone.
fn note_policies(policies: Vec<Policy>, notes: &mut Notes) -> bool {
    let database = Database { states: Vec::new(), policies };
    let Err(error) = Spd::new([&database], Unmatched::Discard) else { return true };
    let mut first = database.policies;
    let second = first.split_off(first.len() / 2);
    // Of one alone, the first half is empty, and the second no smaller.
    let are_halves_right = first.is_empty() || {
        let is_first_right = note_policies(first, notes);
        (notes.is_full() || note_policies(second, notes)) && is_first_right
    };
    if are_halves_right {
        notes.add(error);
    }
    false
}
