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
    if selector.src.len > 0 || selector.dst.len > 0 {
        return Ok(vec![usable]);
    }
    if usable == (Selector { src: usable.src, dst: usable.dst, ..Selector::ANY_V4 }) {
        return Ok(Vec::new());
    }
    let any = [AddressRange::ANY_V4, AddressRange::ANY_V6];
    Ok(any.map(|any| Selector { src: any, dst: any, ..usable }).into())
}
