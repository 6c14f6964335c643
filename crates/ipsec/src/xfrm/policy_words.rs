//! The words of `ip xfrm policy add`, `update`, `delete`, `deleteall` and `flush`.

use std::sync::Arc;

use super::error::{Fault, Parsed};
use super::selector::{self, SelectorWords};
use super::state_words::{Id, mode};
use super::value::{self, Family};
use super::word::Words;
use super::{
    Action, Dir, Level, Limits, Mark, Mode, Offload, Policy, PolicyType, Position, Prefix, Proto, Selector,
    Template,
};

pub(super) const ACTIONS: [(&str, Action); 2] = [("allow", Action::Allow), ("block", Action::Block)];
pub(super) const TYPES: [(&str, PolicyType); 2] = [("main", PolicyType::Main), ("sub", PolicyType::Sub)];
pub(super) const LEVELS: [(&str, Level); 2] = [("required", Level::Required), ("use", Level::Use)];
pub(super) const FLAGS: [(&str, u8); 2] = [("localok", 1), ("icmp", 2)];

/// The most templates a policy has in Linux.
const MAX_TEMPLATES: usize = 6;

/// What any command about policies may say.
#[derive(Debug, Default)]
struct Parts {
    selector: Option<SelectorWords>,
    direction: Option<Dir>,
    action: Option<Action>,
    priority: Option<u32>,
    index: Option<u32>,
    ptype: Option<PolicyType>,
    flags: Option<u8>,
    mark: Option<Mark>,
    if_id: Option<u32>,
    context: Option<String>,
    offload: Option<Offload>,
    limits: Limits,
    /// Each with whether its family is known: if not, it is the selector's.
    templates: Vec<(Template, bool)>,
    family: Option<Family>,
}

impl Parts {
    /// Reads to the end of the command those options that are among `options`, and a selector.
    fn read(words: &mut Words<'_, '_>, family: Option<Family>, options: &[&str]) -> Parsed<Self> {
        let mut parts = Self { family, ..Self::default() };
        while let Some(word) = words.peek() {
            let at = words.position();
            if !options.contains(&word) {
                if parts.selector.is_some() {
                    return words.end().map(|()| parts);
                }
                let selector = SelectorWords::read(words, parts.family, false)?;
                if selector.is_empty() {
                    return words.end().map(|()| parts);
                }
                parts.family = parts.family.or(selector.family());
                parts.selector = Some(selector);
                continue;
            }
            words.take();
            let twice = || Fault::conflict(at, format!("`{word}` is here for the second time"));
            match word {
                "dir" if parts.direction.is_some() => return Err(twice()),
                "ptype" if parts.ptype.is_some() => return Err(twice()),
                "ctx" if parts.context.is_some() => return Err(twice()),
                "dir" => parts.direction = Some(words.name(&Dir::NAMES)?),
                "ptype" => parts.ptype = Some(words.name(&TYPES)?),
                "ctx" => parts.context = Some(words.printed_name()?),
                "mark" => parts.mark = Some(selector::mark(words)?),
                "index" => parts.index = Some(words.number()?),
                "action" => parts.action = Some(words.name(&ACTIONS)?),
                "priority" => parts.priority = Some(words.number()?),
                "if_id" => parts.if_id = Some(words.number()?).filter(|if_id| *if_id != 0),
                "flag" => parts.flags = Some(flags(words, parts.flags.unwrap_or(0))?),
                "limit" => selector::limit(words, &mut parts.limits)?,
                "offload" => {
                    words.expect("packet")?;
                    words.expect("dev")?;
                    parts.offload =
                        Some(Offload { dev: words.printed_name()?, packet: true, direction: None });
                }
                "tmpl" => {
                    if parts.templates.len() == MAX_TEMPLATES {
                        return Err(Fault::limit(
                            at,
                            format!("a policy has at most {MAX_TEMPLATES} templates"),
                        ));
                    }
                    let (template, family) = template(words, parts.family, at)?;
                    parts.family = family;
                    parts.templates.push((template, family.is_some()));
                }
                _ => {}
            }
        }
        Ok(parts)
    }

    fn direction(&self, position: Position) -> Parsed<Dir> {
        self.direction.ok_or_else(|| Fault::missing(position, "`dir` is missing in this command"))
    }
}

/// Reads what comes after `policy add` or `policy update`, for a command at `position`.
pub(super) fn policy(
    words: &mut Words<'_, '_>,
    family: Option<Family>,
    name: &Arc<str>,
    position: Position,
    origin: Option<String>,
) -> Parsed<Policy> {
    const OPTIONS: [&str; 12] = [
        "dir", "ctx", "mark", "index", "ptype", "action", "priority", "flag", "limit", "tmpl", "if_id",
        "offload",
    ];
    let parts = Parts::read(words, family, &OPTIONS)?;
    let direction = parts.direction(position)?;
    let flags = parts.flags.unwrap_or(0);
    let inner = parts.selector.as_ref().and_then(SelectorWords::family).or(family);
    let selector = parts.selector.unwrap_or_default().finish(inner);
    let any = Family::of(selector.dst.addr).unspecified();
    let settled =
        |(template, is_known)| if is_known { template } else { Template { src: any, dst: any, ..template } };
    Ok(Policy {
        source_name: Arc::clone(name),
        position,
        origin,
        selector,
        direction,
        socket: false,
        action: parts.action.unwrap_or(Action::Allow),
        priority: parts.priority.unwrap_or(0),
        index: parts.index.filter(|index| *index != 0),
        ptype: parts.ptype.unwrap_or_default(),
        localok: flags & 1 != 0,
        icmp: flags & 2 != 0,
        mark: parts.mark.and_then(Mark::kept),
        if_id: parts.if_id,
        context: parts.context,
        offload: parts.offload,
        limits: parts.limits,
        templates: parts.templates.into_iter().map(settled).collect(),
    })
}

fn flags(words: &mut Words<'_, '_>, before: u8) -> Parsed<u8> {
    if words.peek().is_some_and(|word| word.len() > 2 && word.starts_with("0x")) {
        let position = words.position();
        let bits: u8 = words.number()?;
        if bits & !3 != 0 {
            return Err(Fault::value(position, "a policy has the flags 0x1 and 0x2 only"));
        }
        return Ok(bits);
    }
    let mut flags = before;
    words.not_last()?;
    while let Some(bit) = words.peek().and_then(|word| value::find(&FLAGS, word)) {
        words.take();
        flags |= bit;
    }
    Ok(flags)
}

/// Reads what comes after `tmpl`: an ID, which stands together, and options before or after it. The family with it is
/// that of its addresses, else the one before it, if any.
fn template(
    words: &mut Words<'_, '_>,
    family: Option<Family>,
    at: Position,
) -> Parsed<(Template, Option<Family>)> {
    let position = words.position();
    let mut id: Option<Id> = None;
    let (mut tunnel, mut reqid, mut level) = (Mode::Transport, 0, Level::Required);
    while let Some(word) = words.peek() {
        match word {
            "mode" => {
                words.take();
                tunnel = mode(words)?;
            }
            "reqid" => {
                words.take();
                reqid = words.number()?;
            }
            "level" => {
                words.take();
                level = words.name(&LEVELS)?;
            }
            word if Id::begins(word) && id.is_none() => id = Some(Id::read(words, None)?),
            _ => break,
        }
    }
    let Some(id) = id else {
        return Err(Fault::missing(
            at,
            "`src`, `dst`, `proto` and `spi` of the template are missing after `tmpl`",
        ));
    };
    let family = id.family().or(family);
    let any = family.unwrap_or(Family::V4).unspecified();
    let template = Template {
        position,
        src: id.src.map_or(any, |src| src.addr),
        dst: id.dst.map_or(any, |dst| dst.addr),
        proto: id.proto(position)?,
        spi: id.spi.map_or(0, |(spi, _)| spi),
        reqid,
        mode: tunnel,
        level,
    };
    Ok((template, family))
}

/// The policy that `delete` and `get` are about.
#[derive(Debug)]
pub(super) enum PolicyId {
    /// Found by its number.
    Index(Dir, u32),
    /// Found by what it is for.
    Key(Dir, PolicyType, Selector, Option<Mark>, Option<u32>),
}

impl PolicyId {
    /// Reads one to the end of a command that begins at `position`.
    pub(super) fn read(
        words: &mut Words<'_, '_>,
        family: Option<Family>,
        position: Position,
    ) -> Parsed<Self> {
        let parts = Parts::read(words, family, &["dir", "ctx", "mark", "index", "ptype", "if_id"])?;
        let direction = parts.direction(position)?;
        let ptype = parts.ptype.unwrap_or_default();
        let mark = parts.mark.and_then(Mark::kept).filter(|mark| mark.value != 0);
        match (parts.selector, parts.index) {
            (Some(selector), None) => {
                Ok(Self::Key(direction, ptype, selector.finish(family), mark, parts.if_id))
            }
            (None, Some(index)) => Ok(Self::Index(direction, index)),
            _ => Err(Fault::missing(position, "either a selector or an `index` is needed in this command")),
        }
    }
}

/// Which policies `deleteall` and `list` are about.
#[derive(Debug)]
pub(super) struct PolicyFilter(Parts, Option<Selector>);

impl PolicyFilter {
    /// Reads one to the end of the command.
    pub(super) fn read(words: &mut Words<'_, '_>, family: Option<Family>) -> Parsed<Self> {
        const OPTIONS: [&str; 7] = ["dir", "index", "ptype", "action", "priority", "flag", "nosock"];
        let mut parts = Parts::read(words, family, &OPTIONS)?;
        let selector = parts.selector.take().map(|selector| selector.finish(family));
        Ok(Self(parts, selector))
    }

    /// Whether it is about this policy. Addresses count as far as the prefix length goes.
    pub(super) fn matches(&self, policy: &Policy) -> bool {
        fn agrees<T: PartialEq>(wanted: Option<T>, is: T) -> bool {
            wanted.is_none_or(|wanted| wanted == is)
        }
        fn prefix(wanted: Prefix, is: Prefix) -> bool {
            wanted.len == 0 || wanted.contains(is.addr)
        }
        let Self(parts, selector) = self;
        let is = &policy.selector;
        let flags = u8::from(policy.localok) | u8::from(policy.icmp) << 1;
        agrees(parts.family, Family::of(is.dst.addr))
            && agrees(parts.direction, policy.direction)
            && agrees(parts.ptype, policy.ptype)
            && agrees(parts.action, policy.action)
            && agrees(parts.priority, policy.priority)
            && parts.index.is_none_or(|index| policy.index == Some(index))
            && parts.flags.is_none_or(|wanted| wanted & flags != 0)
            && selector.as_ref().is_none_or(|wanted| {
                prefix(wanted.src, is.src)
                    && prefix(wanted.dst, is.dst)
                    && (wanted.proto.is_none() || wanted.proto == is.proto)
                    && (wanted.dev.is_none() || wanted.dev == is.dev)
                    && (wanted.sport.is_none() || wanted.sport == is.sport)
                    && (wanted.dport.is_none() || wanted.dport == is.dport)
                    && (wanted.icmp_type.is_none() || wanted.icmp_type == is.icmp_type)
                    && (wanted.icmp_code.is_none() || wanted.icmp_code == is.icmp_code)
                    && (wanted.gre_key.is_none() || wanted.gre_key == is.gre_key)
            })
    }
}

/// Reads what comes after `policy flush`: which type is flushed.
pub(super) fn flushed(words: &mut Words<'_, '_>) -> Parsed<PolicyType> {
    let parts = Parts::read(words, None, &["ptype"])?;
    if parts.selector.is_some() {
        return Err(Fault::unknown(words.position(), "`policy flush` takes no selector"));
    }
    Ok(parts.ptype.unwrap_or_default())
}

/// The protocol after `state flush proto`: None for all.
pub(super) fn flushed_proto(words: &mut Words<'_, '_>) -> Parsed<Option<Proto>> {
    let proto = if words.accept("proto") { Some(words.name(&Proto::NAMES)?) } else { None };
    words.end()?;
    Ok(proto)
}
