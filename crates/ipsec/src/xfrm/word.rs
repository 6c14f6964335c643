//! Words with their positions, and a cursor over the words of one command or line.

use std::borrow::Cow;

use zeroize::Zeroizing;

use super::Position;
use super::error::{Fault, Parsed};

/// A word of a text. One that had to be put together out of quoted parts is zeroized on drop: it may be a key.
#[derive(Debug)]
pub(super) struct Word<'a> {
    text: Text<'a>,
    pub(super) position: Position,
}

#[derive(Debug)]
enum Text<'a> {
    Slice(&'a str),
    Joined(Zeroizing<String>),
}

impl<'a> Word<'a> {
    pub(super) fn slice(text: &'a str, position: Position) -> Self {
        Self { text: Text::Slice(text), position }
    }

    pub(super) fn joined(text: Zeroizing<String>, position: Position) -> Self {
        Self { text: Text::Joined(text), position }
    }

    pub(super) fn as_str(&self) -> &str {
        match &self.text {
            Text::Slice(text) => text,
            Text::Joined(text) => text,
        }
    }
}

/// Words that mean something somewhere in the grammar. An error may show these.
const KEYWORDS: &[&str] = &[
    "action",
    "add",
    "addr",
    "aead",
    "align4",
    "all",
    "allow",
    "allocspi",
    "anti-replay",
    "any",
    "auth",
    "auth-trunc",
    "beet",
    "bitmap",
    "bitmap-length",
    "block",
    "byte-hard",
    "byte-soft",
    "cipher_null",
    "coa",
    "code",
    "comp",
    "comp-mask",
    "context:",
    "count",
    "crypto",
    "ctx",
    "current:",
    "decap-dscp",
    "default",
    "delete",
    "deleteall",
    "dev",
    "dir",
    "dont-encap-dscp",
    "dport",
    "enc",
    "encap",
    "esn",
    "esp",
    "espintcp",
    "espinudp",
    "espinudp-nonike",
    "exec",
    "extra-flag",
    "flag",
    "flush",
    "get",
    "hard",
    "icmp",
    "if_id",
    "in_trigger",
    "index",
    "iptfs",
    "key",
    "lastused",
    "level",
    "lifetime",
    "limit",
    "limit:",
    "list",
    "localok",
    "main",
    "mark",
    "mask",
    "mode",
    "monitor",
    "netns",
    "noecn",
    "nokeys",
    "none",
    "nopmtudisc",
    "nosock",
    "offload",
    "oseq",
    "oseq-hi",
    "oseq-may-wrap",
    "out",
    "output-mark",
    "packet",
    "packet-hard",
    "packet-soft",
    "pcpu-num",
    "policy",
    "priority",
    "proto",
    "ptype",
    "replay",
    "replay-oseq",
    "replay-oseq-hi",
    "replay-seq",
    "replay-seq-hi",
    "replay-window",
    "replay_window",
    "reqid",
    "required",
    "route2",
    "security",
    "sel",
    "seq",
    "seq-hi",
    "share",
    "show",
    "socket",
    "soft",
    "spi",
    "sport",
    "src",
    "dst",
    "state",
    "stats:",
    "tfcpad",
    "time-hard",
    "time-soft",
    "time-use-hard",
    "time-use-soft",
    "tmpl",
    "transport",
    "tunnel",
    "type",
    "uid",
    "update",
    "use",
    "wildrecv",
    "xfrm",
];

/// A word as errors show it: in backquotes if it can't be part of a key, else "this word".
///
/// Where no key can stand (`after_key` is false), a short word of plain characters is shown; elsewhere only one that
/// is nearly a keyword.
pub(super) fn shown(word: &str, after_key: bool) -> Cow<'static, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/,".contains(c);
    // A keyword cut short, or with one or two letters too many: what a slip of the pen looks like.
    let slip = |keyword: &str| {
        keyword.starts_with(word) || (word.len() <= keyword.len() + 2 && word.starts_with(keyword))
    };
    let is_hex = word.chars().all(|c| c.is_ascii_hexdigit());
    let near = word.len() >= 3 && !is_hex && KEYWORDS.iter().any(|keyword| slip(keyword));
    let digits = word.split(|c: char| !c.is_ascii_hexdigit()).map(str::len).max().unwrap_or(0);
    let harmless =
        !after_key && !word.is_empty() && word.len() <= 24 && word.chars().all(plain) && digits <= 10;
    if (near && word.chars().all(plain)) || harmless {
        format!("`{word}`").into()
    } else {
        "this word".into()
    }
}

/// A cursor over words. Every reader of the grammar takes words from one.
#[derive(Debug)]
pub(super) struct Words<'w, 'a> {
    words: &'w [Word<'a>],
    next: usize,
    /// Whether a key was among the words so far: then unknown ones are not shown in errors.
    pub(super) after_key: bool,
    /// How many words there were when a key was taken last.
    key_end: usize,
}

impl<'w, 'a> Words<'w, 'a> {
    /// `words` is not empty.
    pub(super) fn new(words: &'w [Word<'a>]) -> Self {
        Self { words, next: 0, after_key: false, key_end: 0 }
    }

    /// The word that [`take`](Self::take) will return.
    pub(super) fn peek(&self) -> Option<&'w str> {
        self.words.get(self.next).map(Word::as_str)
    }

    pub(super) fn take(&mut self) -> Option<&'w Word<'a>> {
        let word = self.words.get(self.next)?;
        self.next += 1;
        Some(word)
    }

    /// Takes the next word if it is this one.
    pub(super) fn accept(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(word);
        self.next += usize::from(found);
        found
    }

    /// Goes back by one word.
    fn back(&mut self) {
        self.next = self.next.saturating_sub(1);
    }

    /// Where the next word stands; at the end, the last.
    pub(super) fn position(&self) -> Position {
        let index = self.next.min(self.words.len().saturating_sub(1));
        self.words.get(index).map_or(Position { line: 1, column: 1 }, |w| w.position)
    }

    /// The value after the word just taken.
    pub(super) fn value(&mut self) -> Parsed<&'w Word<'a>> {
        let last = self.next.checked_sub(1).and_then(|i| self.words.get(i));
        self.take().ok_or_else(|| match last {
            Some(word) => {
                let name = shown(word.as_str(), self.after_key);
                Fault::missing(word.position, format!("a value is missing after {name}"))
            }
            None => Fault::missing(self.position(), "nothing is here"),
        })
    }

    /// Notes that the word just taken is a key.
    pub(super) fn is_key(&mut self) {
        self.after_key = true;
        self.key_end = self.next;
    }

    /// Whether the last word of all is a key: then the next line may be the rest of it.
    pub(super) fn end_in_key(&self) -> bool {
        self.key_end > 0 && self.key_end == self.words.len()
    }

    /// As [`value`](Self::value), where the error says what is missing after the word at `position`.
    pub(super) fn value_of(&mut self, what: &str, position: Position) -> Parsed<&'w Word<'a>> {
        self.take().ok_or_else(|| Fault::missing(position, format!("{what} is missing after this")))
    }

    /// Says that something is missing if the word just taken is the last.
    pub(super) fn not_last(&mut self) -> Parsed<()> {
        self.value()?;
        self.back();
        Ok(())
    }

    /// Takes the word `expected`, or says that it is missing.
    pub(super) fn expect(&mut self, expected: &str) -> Parsed<()> {
        if self.accept(expected) {
            return Ok(());
        }
        let position = self.position();
        Err(match self.peek() {
            Some(word) => {
                Fault::unknown(position, format!("`{expected}` is expected here, not {}", self.shown(word)))
            }
            None => Fault::missing(position, format!("`{expected}` is missing after this")),
        })
    }

    /// Says that nothing may follow.
    pub(super) fn end(&self) -> Parsed<()> {
        match self.peek() {
            Some(word) => {
                let name = self.shown(word);
                Err(Fault::unknown(self.position(), format!("{name} has no meaning here")))
            }
            None => Ok(()),
        }
    }

    pub(super) fn shown(&self, word: &str) -> Cow<'static, str> {
        shown(word, self.after_key)
    }
}
