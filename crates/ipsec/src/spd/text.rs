//! Policies out of `ip xfrm` text. What would be another policy here than it is in Linux is refused by name.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Action, Place, Policy, SpdError, Template};
use crate::selector::{Selector, SelectorError};
use crate::xfrm::{self, Database, Dir, Level, Limit, Mode, PolicyType, Position, Proto};

/// The policies in `databases`, in their order.
pub(super) fn policies<'a>(
    databases: impl IntoIterator<Item = &'a Database>,
) -> Result<Vec<Policy>, SpdError> {
    let mut policies = Vec::<Policy>::new();
    let mut by_key = BTreeMap::<(Dir, &xfrm::Selector), usize>::new();
    let mut first: Option<&xfrm::Policy> = None;
    for text in databases.into_iter().flat_map(|database| &database.policies) {
        // It is the socket's whom it was printed with, and no entry of the SPD.
        if text.socket {
            continue;
        }
        let first = *first.get_or_insert(text);
        if first.origin != text.origin {
            return Err(SpdError::Namespaces { first: place(first), second: place(text) });
        }
        let policy = policy(text)?;
        match by_key.get(&(text.direction, &text.selector)) {
            None => {
                by_key.insert((text.direction, &text.selector), policies.len());
                policies.push(policy);
            }
            Some(&before) if policies[before].is_same(&policy) => {}
            Some(&before) => {
                let first =
                    policies[before].place.clone().map_or_else(String::new, |place| place.to_string());
                return Err(SpdError::Conflict { first, second: place(text) });
            }
        }
    }
    Ok(policies)
}

fn place(policy: &xfrm::Policy) -> String {
    place_of(policy).to_string()
}

fn place_of(policy: &xfrm::Policy) -> Place {
    Place { file: Arc::clone(&policy.source_name), position: policy.position }
}

/// An error at `position` of the policy's text.
fn unusable(policy: &xfrm::Policy, position: Position, reason: impl Into<String>) -> SpdError {
    SpdError::Unusable {
        file: policy.source_name.to_string(),
        line: position.line,
        column: position.column,
        reason: reason.into(),
    }
}

/// What a policy becomes, if all that it says can be kept.
fn policy(text: &xfrm::Policy) -> Result<Policy, SpdError> {
    let refused = |reason: &str| Err(unusable(text, text.position, reason));
    if text.ptype != PolicyType::Main {
        return refused("`ptype sub` is not supported");
    }
    if text.mark.is_some_and(|mark| mark.mask != 0 || mark.value != 0) {
        return refused("`mark` is not supported in a policy: packets have none here");
    }
    if text.if_id.is_some_and(|id| id != 0) {
        return refused("`if_id` is not supported in a policy: there are no xfrm interfaces here");
    }
    if text.context.is_some() {
        return refused("`ctx` is not supported in a policy: packets have no security context here");
    }
    if text.icmp {
        return refused("`flag icmp` is not supported");
    }
    if text.limits.hard != Limit::default() {
        return refused("a hard limit is not supported in a policy: it would not end");
    }
    let selector = Selector::try_from(&text.selector)
        .map_err(|error: SelectorError| unusable(text, text.position, error.to_string()))?;
    let action = match (text.action, &text.templates[..]) {
        (xfrm::Action::Block, _) => Action::Discard,
        (xfrm::Action::Allow, []) => Action::Bypass,
        (xfrm::Action::Allow, [only]) => Action::Protect(template(text, only)?),
        (xfrm::Action::Allow, [_, second, ..]) => {
            let reason = "a policy with more than one template is not supported: SAs are not nested here";
            return Err(unusable(text, second.position, reason));
        }
    };
    Ok(Policy {
        selector,
        direction: text.direction,
        action,
        priority: text.priority,
        offload: text.offload.clone(),
        place: Some(place_of(text)),
    })
}

fn template(policy: &xfrm::Policy, text: &xfrm::Template) -> Result<Template, SpdError> {
    let unusable = |reason: String| Err(unusable(policy, text.position, reason));
    if text.proto != Proto::Esp {
        return unusable(format!("proto {} is not supported in a template", text.proto.as_str()));
    }
    if !matches!(text.mode, Mode::Tunnel | Mode::Transport | Mode::Beet) {
        return unusable(format!("mode {} is not supported in a template", text.mode));
    }
    let given = |address: IpAddr| (!address.is_unspecified()).then_some(address);
    Ok(Template {
        mode: text.mode,
        src: given(text.src),
        dst: given(text.dst),
        spi: text.spi,
        reqid: text.reqid,
        is_required: text.level == Level::Required,
    })
}
