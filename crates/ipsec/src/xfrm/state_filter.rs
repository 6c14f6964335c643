//! Which states `ip xfrm state delete`, `deleteall`, `get` and `list` are about.

use super::error::{Fault, Parsed};
use super::selector;
use super::state_words::{Id, flags, mode};
use super::value::Family;
use super::word::Words;
use super::{Flags, Mode, Position, Proto, State};

/// Which states `deleteall` and `list` are about.
#[derive(Debug, Default)]
pub(super) struct StateFilter {
    id: Option<Id>,
    family: Option<Family>,
    mode: Option<Mode>,
    reqid: Option<u32>,
    flags: Option<Flags>,
}

impl StateFilter {
    /// Reads one to the end of the command. `list` may have `nokeys`, too.
    pub(super) fn read(words: &mut Words<'_, '_>, family: Option<Family>, is_list: bool) -> Parsed<Self> {
        let mut filter = Self { family, ..Self::default() };
        while let Some(word) = words.peek() {
            match word {
                "mode" => {
                    words.take();
                    filter.mode = Some(mode(words)?);
                }
                "reqid" => {
                    words.take();
                    filter.reqid = Some(words.number()?);
                }
                "flag" => {
                    words.take();
                    filter.flags = Some(flags(words, Flags::default())?);
                }
                "nokeys" if is_list => {
                    words.take();
                }
                word if Id::begins(word) && filter.id.is_none() => filter.id = Some(Id::read(words, family)?),
                _ => return words.end().map(|()| filter),
            }
        }
        Ok(filter)
    }

    /// Whether it is about this state. Addresses count as far as the prefix length goes.
    pub(super) fn matches(&self, state: &State) -> bool {
        let id = self.id.unwrap_or_default();
        let family = self.family.or(id.family());
        family.is_none_or(|family| family == Family::of(state.dst))
            && id.src.is_none_or(|src| src.contains(state.src))
            && id.dst.is_none_or(|dst| dst.contains(state.dst))
            && id.proto.is_none_or(|(proto, _)| proto == state.proto)
            && id.spi.is_none_or(|(spi, _)| spi == state.spi)
            && self.mode.is_none_or(|mode| mode == state.mode)
            && self.reqid.is_none_or(|reqid| reqid == state.reqid)
            && self.flags.is_none_or(|flags| flags.bits() & state.flags.bits() != 0)
    }
}

/// The state that `delete` and `get` are about; None if it is not of ESP.
#[derive(Debug)]
pub(super) struct StateId {
    pub(super) id: Id,
    pub(super) proto: Proto,
    /// The mark that the state's own must fit: Linux finds it if this one, ANDed with its mask, is its value.
    pub(super) mark: u32,
}

impl StateId {
    /// Reads one to the end of a command that begins at `position`.
    pub(super) fn read(
        words: &mut Words<'_, '_>,
        family: Option<Family>,
        position: Position,
    ) -> Parsed<Self> {
        let mut id = None;
        let mut mark = 0;
        while let Some(word) = words.peek() {
            match word {
                "mark" => {
                    words.take();
                    let given = selector::mark(words)?;
                    mark = given.value & given.mask;
                }
                word if Id::begins(word) && id.is_none() => {
                    id = Some(Id::read(words, family)?);
                }
                _ => words.end()?,
            }
        }
        let missing =
            || Fault::missing(position, "the state's `dst`, `proto` and `spi` are missing in this command");
        let id: Id = id.ok_or_else(missing)?;
        Ok(Self { proto: id.proto(position)?, id, mark })
    }
}
