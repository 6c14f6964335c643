//! A policy as `ip xfrm policy` prints it.

use std::fmt::{self, Formatter};

use super::listing::{self, Address, Style};
use super::listing_state::flags;
use super::policy_words::FLAGS;
use super::{Action, Dir, Level, Policy, PolicyType, Template, Used};

/// Writes all lines of a policy.
pub(super) fn write(f: &mut Formatter<'_>, policy: &Policy, style: Style) -> fmt::Result {
    listing::selector(f, &policy.selector, style)?;
    if let Some(context) = &policy.context {
        writeln!(f, "\tsecurity context {context} ")?;
    }
    second_line(f, policy, style)?;
    if style.statistics {
        listing::lifetimes(f, &policy.limits, Used::default())?;
    }
    listing::marks(f, policy.mark, None)?;
    policy.templates.iter().try_for_each(|one| template(f, one, style))?;
    listing::offload(f, policy.offload.as_ref())?;
    listing::if_id(f, policy.if_id)
}

fn second_line(f: &mut Formatter<'_>, policy: &Policy, style: Style) -> fmt::Result {
    let of = if policy.socket { "socket" } else { "dir" };
    let direction = match policy.direction {
        Dir::In => "in",
        Dir::Out => "out",
        Dir::Fwd => "fwd",
    };
    write!(f, "\t{of} {direction} ")?;
    match policy.action {
        Action::Block => f.write_str("action block ")?,
        Action::Allow if style.statistics => f.write_str("action allow ")?,
        Action::Allow => {}
    }
    if style.statistics {
        write!(f, "index {} ", policy.index.unwrap_or(0))?;
    }
    let ptype = match policy.ptype {
        PolicyType::Main => "main",
        PolicyType::Sub => "sub",
    };
    write!(f, "priority {} ptype {ptype} ", policy.priority)?;
    let bits = u8::from(policy.localok) | u8::from(policy.icmp) << 1;
    if style.statistics {
        f.write_str("share any ")?;
    }
    if style.statistics || bits != 0 {
        f.write_str("flag ")?;
        flags(f, u32::from(bits), FLAGS.map(|(name, bit)| (name, u32::from(bit))))?;
    }
    if style.statistics {
        write!(f, " (0x{bits:08b})")?;
    }
    f.write_str("\n")
}

/// The masks of algorithms are those that `ip` always sends.
fn template(f: &mut Formatter<'_>, template: &Template, style: Style) -> fmt::Result {
    let Template { position: _, src, dst, proto, spi, reqid, mode, level } = *template;
    write!(f, "\ttmpl src {} dst {}\n\t\t", Address(src), Address(dst))?;
    listing::id(f, proto, Some(spi).filter(|spi| style.statistics || *spi != 0), reqid, mode, style)?;
    match (level, style.statistics) {
        (Level::Required, false) => {}
        (Level::Use, false) => f.write_str("\t\tlevel use \n")?,
        (Level::Required, true) => f.write_str("\t\tlevel required share any \n")?,
        (Level::Use, true) => f.write_str("\t\tlevel use share any \n")?,
    }
    if style.statistics {
        f.write_str("\t\tenc-mask ffffffff auth-mask ffffffff comp-mask ffffffff\n")?;
    }
    Ok(())
}
