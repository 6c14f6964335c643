//! The part of the shell's grammar that set-up scripts use: words, quotes, continuations, comments, `;` and `&&`.
//!
//! Everything that only a shell could do is refused by name: expansions, patterns, redirections, pipes, groups.
//! Parentheses inside a word are taken as they stand, where a shell would ask for quotes: `hmac(sha256)`.

use zeroize::Zeroizing;

use super::error::{Fault, Parsed};
use super::word::Word;
use super::{MAX_WORDS, Position};

/// A place in a text. Copied to look ahead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    offset: usize,
    position: Position,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, offset: 0, position: Position { line: 1, column: 1 } }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.offset += c.len_utf8();
        if c == '\n' {
            self.position.line = self.position.line.saturating_add(1);
            self.position.column = 1;
        } else {
            self.position.column = self.position.column.saturating_add(1);
        }
        Some(c)
    }

    /// Takes a newline, also as CR LF.
    fn newline(&mut self) -> bool {
        let rest = self.rest();
        if rest.starts_with("\r\n") {
            self.next();
        } else if !rest.starts_with('\n') {
            return false;
        }
        self.next();
        true
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|c| c == ' ' || c == '\t') {
            self.next();
        }
    }

    fn comment(&mut self) {
        while self.peek().is_some_and(|c| c != '\n') {
            self.next();
        }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest().is_empty()
    }

    /// Skips empty lines and comments, up to the first word of a line. Only to be called between commands.
    pub(super) fn skip_empty(&mut self) {
        loop {
            self.blanks();
            if self.peek() == Some('#') {
                self.comment();
            }
            if !self.newline() {
                return;
            }
        }
    }

    /// Whether the next word is `src`: then it is no command but something printed.
    pub(super) fn is_at_printed(&self) -> bool {
        self.rest().strip_prefix("src").is_some_and(|rest| rest.starts_with([' ', '\t']))
    }

    /// The next word up to a blank, not taken.
    pub(super) fn word_ahead(&self) -> &'a str {
        let rest = self.rest();
        rest.split_once(|c: char| c.is_ascii_whitespace()).map_or(rest, |(word, _)| word)
    }

    /// Takes `[…]` and the blanks after it, if `accepts` says so of what is between.
    pub(super) fn bracketed(&mut self, accepts: impl Fn(&str) -> bool) -> Option<&'a str> {
        let rest = self.rest().strip_prefix('[')?;
        let (inside, _) =
            rest.split_once(']').filter(|(inside, _)| !inside.contains('\n') && accepts(inside))?;
        for _ in 0..inside.chars().count() + 2 {
            self.next();
        }
        self.blanks();
        Some(inside)
    }

    /// Where the next character stands.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// Takes the rest of the line: what stands there, and where.
    pub(super) fn line(&mut self) -> (&'a str, Position) {
        let position = self.position;
        let rest = self.rest();
        let (line, len) = rest.find('\n').map_or((rest, rest.len()), |end| (&rest[..end], end + 1));
        self.offset += len;
        self.position = Position { line: position.line.saturating_add(1), column: 1 };
        (line.strip_suffix('\r').unwrap_or(line), position)
    }

    /// Takes the words up to the end of the command, which is taken too. May be none.
    pub(super) fn command(&mut self) -> Parsed<Vec<Word<'a>>> {
        let mut words = Vec::new();
        loop {
            self.blanks();
            let position = self.position;
            if self.newline() {
                return Ok(words);
            }
            match self.peek() {
                None => return Ok(words),
                Some('#') => self.comment(),
                Some(';') => {
                    self.next();
                    return Ok(words);
                }
                Some('&') => {
                    self.next();
                    if self.peek() != Some('&') {
                        return Err(Fault::shell(
                            position,
                            "`&`: commands in the background are not followed",
                        ));
                    }
                    self.next();
                    return Ok(words);
                }
                Some('\\') if self.continuation() => {}
                Some(_) if words.len() == MAX_WORDS => {
                    return Err(Fault::limit(position, format!("a command of more than {MAX_WORDS} words")));
                }
                Some(_) => {
                    let is_first = words.is_empty();
                    words.push(self.word(is_first)?);
                }
            }
        }
    }

    /// Takes a backslash with the newline after it.
    fn continuation(&mut self) -> bool {
        let mut ahead = *self;
        let found = ahead.next() == Some('\\') && ahead.newline();
        if found {
            *self = ahead;
        }
        found
    }

    /// Takes one word. First its extent is found; a word of one piece is then a slice of the text, and of
    /// another one a copy is put together, of known length so that no part of a key is left behind.
    fn word(&mut self, is_first: bool) -> Parsed<Word<'a>> {
        let mut start = *self;
        let mut pieces = 0_usize;
        let mut plain = true;
        let mut first_piece = "";
        while let Some(piece) = self.piece(start.offset == self.offset)? {
            if piece.0 == Piece::Skipped {
                plain = false;
                continue;
            }
            pieces += 1;
            plain &= pieces == 1 && piece.0 == Piece::Verbatim;
            first_piece = piece.1;
        }
        let raw_len = self.offset - start.offset;
        let position = start.position;
        if is_first {
            refuse_assignment(&self.text[start.offset..self.offset], position)?;
        }
        if plain {
            return Ok(Word::slice(first_piece, position));
        }
        let mut joined = Zeroizing::new(String::with_capacity(raw_len));
        let begin = start.offset;
        while start.offset < self.offset {
            match start.piece(start.offset == begin)? {
                Some((Piece::Verbatim, text)) => joined.push_str(text),
                Some((Piece::Double, text)) => push_unescaped(&mut joined, text),
                Some((Piece::Skipped, _)) => {}
                None => break,
            }
        }
        Ok(Word::joined(joined, position))
    }

    /// Takes the next piece of a word: a quoted string, an escaped character, or a run of plain ones.
    fn piece(&mut self, at_start: bool) -> Parsed<Option<(Piece, &'a str)>> {
        let position = self.position;
        if self.continuation() {
            return Ok(Some((Piece::Skipped, "")));
        }
        let Some(c) = self.peek() else { return Ok(None) };
        let start = self.offset;
        match c {
            ' ' | '\t' | '\n' | ';' | '&' => return Ok(None),
            '\r' if self.rest().starts_with("\r\n") => return Ok(None),
            '\'' | '"' => {
                self.next();
                self.quoted(c, position)?;
                let kind = if c == '"' { Piece::Double } else { Piece::Verbatim };
                return Ok(Some((kind, &self.text[start + 1..self.offset - 1])));
            }
            '\\' => {
                self.next();
                let start = self.offset;
                self.next();
                return Ok(Some((Piece::Verbatim, &self.text[start..self.offset])));
            }
            _ => {}
        }
        let mut first = at_start;
        while let Some(c) = self.peek() {
            if matches!(c, ' ' | '\t' | '\n' | ';' | '&' | '\'' | '"' | '\\')
                || (c == '\r' && self.rest().starts_with("\r\n"))
            {
                break;
            }
            self.refuse_special(c, first)?;
            self.next();
            first = false;
        }
        Ok(Some((Piece::Verbatim, &self.text[start..self.offset])))
    }

    /// Takes a quoted string to its closing quote.
    fn quoted(&mut self, quote: char, opened: Position) -> Parsed<()> {
        while let Some(c) = self.peek() {
            if c == quote {
                self.next();
                return Ok(());
            }
            if quote == '"' {
                self.refuse_expansion(c)?;
                if c == '\\' {
                    self.next();
                }
            }
            if c == '\0' {
                return Err(nul(self.position));
            }
            self.next();
        }
        Err(Fault::shell(opened, format!("the quote `{quote}` is not closed")))
    }

    /// Refuses a character outside quotes that a shell would act on.
    fn refuse_special(&self, c: char, at_start: bool) -> Parsed<()> {
        self.refuse_expansion(c)?;
        let what = match c {
            '<' | '>' => "redirections are",
            '|' => "pipes and `||` are",
            '(' | ')' if at_start => "groups and subshells are",
            '{' | '}' => "groups and brace expansion are",
            '*' | '?' | '[' => "patterns and conditions are",
            '~' if at_start => "home folder expansion is",
            '\0' => return Err(nul(self.position)),
            _ => return Ok(()),
        };
        Err(Fault::shell(self.position, format!("`{c}`: {what} not followed")))
    }

    /// Refuses `$` and the backquote, inside double quotes too. Never shows more than the variable's name.
    fn refuse_expansion(&self, c: char) -> Parsed<()> {
        let mut after = self.rest().chars().skip(1);
        let what = match (c, after.next()) {
            ('`', _) => "command in backquotes".to_owned(),
            ('$', Some('(')) => "expansion `$(`".to_owned(),
            ('$', Some('\'' | '"')) => "quoting by `$`".to_owned(),
            ('$', Some(c)) if c.is_ascii_alphanumeric() || "_{@*#?$!-".contains(c) => {
                let name = self.rest()[1..].trim_start_matches('{');
                let name: String =
                    name.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').take(32).collect();
                let name = if name.is_empty() { String::from(c) } else { name };
                format!("expansion `${name}`")
            }
            _ => return Ok(()),
        };
        Err(Fault::shell(self.position, format!("shell {what} is not followed: write the value out")))
    }
}

/// How the text of a piece is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    /// As it stands.
    Verbatim,
    /// From double quotes: some characters may be escaped.
    Double,
    /// A continuation: nothing.
    Skipped,
}

/// Appends what stood in double quotes: there the backslash escapes these characters alone.
fn push_unescaped(joined: &mut Zeroizing<String>, text: &str) {
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            joined.push(c);
            continue;
        }
        match chars.next() {
            Some('\n') => {}
            Some('\r') if chars.peek() == Some(&'\n') => {
                chars.next();
            }
            Some(escaped @ ('$' | '`' | '"' | '\\')) => joined.push(escaped),
            Some(other) => {
                joined.push('\\');
                joined.push(other);
            }
            None => joined.push('\\'),
        }
    }
}

fn nul(position: Position) -> Fault {
    Fault::shell(position, "there is a NUL character here")
}

/// Refuses `NAME=value` as the first word, without showing the value.
fn refuse_assignment(raw: &str, position: Position) -> Parsed<()> {
    let Some((name, _)) = raw.split_once('=') else { return Ok(()) };
    let name = name.strip_suffix('+').unwrap_or(name);
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if name.is_empty() || !is_name || name.len() > 32 {
        return Ok(());
    }
    Err(Fault::shell(
        position,
        format!("the shell variable `{name}` is not followed: write its value out where it is used"),
    ))
}
