//! What can be wrong with a text.

use std::sync::Arc;

use super::Position;

/// Why a text can't be used, and where. Displayed as `FILE:LINE:COLUMN: reason`; no key octet is ever in it.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
#[error("{name}:{}:{}: {reason}", position.line, position.column)]
pub struct Error {
    name: Arc<str>,
    position: Position,
    reason: Reason,
}

impl Error {
    /// What the text is called: the `name` that [`parse`](super::parse) was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the word stands that can't be used.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Why it can't be used.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }
}

/// Why a text can't be used. The string is a lower-case sentence.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The text is longer than [`MAX_LEN`](super::MAX_LEN), a part of it has too many words, or it asks for too much work.
    #[error("{0}")]
    Limit(String),
    /// Only a shell could tell what is meant: a variable, a pipe, a loop.
    #[error("{0}")]
    Shell(String),
    /// A command other than those of [`parse`](super::parse).
    #[error("{0}")]
    Command(String),
    /// A word that has no meaning where it stands.
    #[error("{0}")]
    Unknown(String),
    /// Something that must be there is not.
    #[error("{0}")]
    Missing(String),
    /// A value that can't be read, or is out of its range.
    #[error("{0}")]
    Value(String),
    /// Something given twice, or in contradiction to something before it.
    #[error("{0}")]
    Conflict(String),
    /// Right for `ip xfrm`, but not for ESP processing here: another protocol, hidden keys.
    #[error("{0}")]
    Unusable(String),
}

/// An [`Error`] before the text's name is added.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) position: Position,
    pub(super) reason: Reason,
}

impl Fault {
    pub(super) fn named(self, name: &Arc<str>) -> Error {
        Error { name: Arc::clone(name), position: self.position, reason: self.reason }
    }
}

macro_rules! constructors {
    ($($name:ident => $variant:ident),+ $(,)?) => {
        impl Fault {
            $(pub(super) fn $name(position: Position, reason: impl Into<String>) -> Self {
                Self { position, reason: Reason::$variant(reason.into()) }
            })+
        }
    };
}

constructors! {
    limit => Limit, shell => Shell, command => Command, unknown => Unknown, missing => Missing,
    value => Value, conflict => Conflict, unusable => Unusable,
}

/// The result of every reader in here.
pub(super) type Parsed<T> = Result<T, Fault>;
