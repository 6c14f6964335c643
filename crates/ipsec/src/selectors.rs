//! The selector of a state: which inner packets its SA is for.

use crate::flow::Flow;
use crate::sad::SadError;
use crate::selector::{AddressRange, Selector, SelectorError};
use crate::xfrm::{self, State};

/// One of these must match. Empty: all packets do.
pub(crate) struct StateSelectors(Vec<Selector>);

impl StateSelectors {
    /// A state's.
    ///
    /// # Errors
    ///
    /// [`SadError::Unusable`]: it names something that no packet has.
    pub(crate) fn of_state(state: &State) -> Result<Self, SadError> {
        of_text(state.selector.as_ref()).map(Self).map_err(|error| {
            SadError::unusable(state, state.position, format!("its selector can't be used: {error}"))
        })
    }

    /// A state's whose packets are received. In transport mode the SA's own source stands in for the addresses of a
    /// selector that names none: an inbound SA has selectors (RFC 4301 §4.4.2), and who has the keys of one peer's SA
    /// must not send as another. The destination is the one by which the SA was found. Behind a NAT, which `encap`
    /// stands for, the source can't be told, nor can that of a state from `0.0.0.0` or `::`.
    ///
    /// # Errors
    ///
    /// As [`of_state`](Self::of_state).
    pub(crate) fn of_receiving_state(state: &State) -> Result<Self, SadError> {
        let mut selectors = Self::of_state(state)?;
        let is_bound =
            state.mode == xfrm::Mode::Transport && state.encap.is_none() && !state.src.is_unspecified();
        if is_bound && state.selector.as_ref().is_none_or(names_no_address) {
            let dst = if state.src.is_ipv4() { AddressRange::ANY_V4 } else { AddressRange::ANY_V6 };
            // Of both families they are alike in the rest.
            let rest = selectors.0.first().copied().unwrap_or(Selector::ANY_V4);
            selectors.0 = vec![Selector { src: state.src.into(), dst, ..rest }];
        }
        Ok(selectors)
    }

    /// Whether it selects this flow.
    pub(crate) fn select(&self, flow: &Flow) -> bool {
        self.0.is_empty() || self.0.iter().any(|selector| selector.matches(flow))
    }
}

/// Linux prints `sel src 0.0.0.0/0 dst 0.0.0.0/0` of a state that has none, and lets packets of both families through
/// it: so do these.
fn of_text(selector: Option<&xfrm::Selector>) -> Result<Vec<Selector>, SelectorError> {
    let Some(selector) = selector else { return Ok(Vec::new()) };
    let usable = Selector::try_from(selector)?;
    if !names_no_address(selector) {
        return Ok(vec![usable]);
    }
    if usable == (Selector { src: usable.src, dst: usable.dst, ..Selector::ANY_V4 }) {
        return Ok(Vec::new());
    }
    let any = [AddressRange::ANY_V4, AddressRange::ANY_V6];
    Ok(any.map(|any| Selector { src: any, dst: any, ..usable }).into())
}

fn names_no_address(selector: &xfrm::Selector) -> bool {
    selector.src.len == 0 && selector.dst.len == 0
}
