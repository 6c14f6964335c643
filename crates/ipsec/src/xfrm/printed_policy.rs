//! A printed policy.

use std::sync::Arc;

use super::error::{Fault, Parsed};
use super::policy_words::{ACTIONS, FLAGS, LEVELS, TYPES};
use super::printed::{Common, Lines};
use super::printed_state::Header;
use super::selector::SelectorWords;
use super::value;
use super::word::Words;
use super::{Dir, Level, Policy, Template};

/// What `share` may be. It is not kept: Linux does nothing with it.
const SHARES: [(&str, ()); 4] = [("any", ()), ("session", ()), ("user", ()), ("unique", ())];

/// Whether a line under `src A dst B` is that of a policy.
pub(super) fn follows(word: &str) -> bool {
    matches!(word, "dir" | "socket" | "security")
}

/// Reads a printed policy.
pub(super) fn policy(lines: &mut Lines<'_>, name: &Arc<str>) -> Parsed<Policy> {
    let position = lines.position();
    let mut words = lines.line()?;
    let selector = SelectorWords::read(&mut words, None, true)?;
    words.end()?;
    let mut common = Common::default();
    if lines.peek() == Some("security") {
        common.read(lines)?;
    }
    let mut policy = Policy {
        source_name: Arc::clone(name),
        position,
        limits: common.limits,
        ..Policy::new(selector.finish(None), Dir::In)
    };
    direction_line(&mut policy, &mut lines.line()?)?;
    while let Some(kind) = lines.peek() {
        if kind == "tmpl" {
            policy.templates.push(template(lines)?);
        } else if !common.read(lines)? {
            return Err(lines.unknown("policy"));
        }
    }
    let Common { limits, used: _, mark, output_mark, if_id, offload, context } = common;
    if output_mark.is_some() {
        return Err(Fault::unknown(position, "a policy has no `output-mark`"));
    }
    Ok(Policy { mark, if_id, context, offload, limits, ..policy })
}

/// Reads `dir in action allow index 8 priority 0 ptype main share any flag localok (0x00000001)`, of which only the
/// direction and the priority must be there.
fn direction_line(policy: &mut Policy, words: &mut Words<'_, '_>) -> Parsed<()> {
    policy.socket = words.accept("socket");
    if !policy.socket {
        words.expect("dir")?;
    }
    policy.direction = words.name(&Dir::NAMES)?;
    if words.accept("action") {
        policy.action = words.name(&ACTIONS)?;
    }
    if words.accept("index") {
        policy.index = Some(words.number()?).filter(|index| *index != 0);
    }
    words.expect("priority")?;
    policy.priority = words.number()?;
    if words.accept("ptype") {
        policy.ptype = words.name(&TYPES)?;
    }
    if words.accept("share") {
        words.name(&SHARES)?;
    }
    let mut flags = 0;
    if words.accept("flag") {
        while let Some(bit) = words.peek().and_then(|word| value::find(&FLAGS, word)) {
            words.take();
            flags |= bit;
        }
    }
    policy.localok = flags & 1 != 0;
    policy.icmp = flags & 2 != 0;
    words.flags_again(flags)?;
    words.end()
}

/// Reads the lines of one template.
fn template(lines: &mut Lines<'_>) -> Parsed<Template> {
    let mut words = lines.line()?;
    words.expect("tmpl")?;
    let position = words.position();
    words.expect("src")?;
    let src = words.address()?;
    words.expect("dst")?;
    let dst = words.address()?;
    words.end()?;
    let Header { proto, spi, reqid, mode, .. } = Header::read(&mut lines.line()?)?;
    let mut level = Level::Required;
    if lines.peek() == Some("level") {
        let mut words = lines.line()?;
        words.expect("level")?;
        level = words.name(&LEVELS)?;
        if words.accept("share") {
            words.name(&SHARES)?;
        }
        words.end()?;
    }
    if lines.peek() == Some("enc-mask") {
        let mut words = lines.line()?;
        words.masks()?;
        words.end()?;
    }
    Ok(Template { position, src, dst, proto, spi, reqid, mode, level })
}
