//! What a receiver keeps of an SA.

use std::net::IpAddr;
use std::time::Duration;

use espwire_esp::{InboundSa, Resynchronization, SaKey};

use crate::flow::Flow;
use crate::lifetime::Lifetime;
use crate::outer::UdpPorts;
use crate::sa::Sa;
use crate::sad::SadError;
use crate::selector::{AddressRange, Selector};
use crate::xfrm::{self, State};

/// Of an SA whose packets are received (RFC 4301 §5.2).
pub struct Receiving {
    pub(crate) inbound: InboundSa,
    pub(crate) lifetime: Lifetime,
    /// Which inner packets it is for: one of these. Empty for all.
    selectors: Vec<Selector>,
    /// `flag noecn`: the inner ECN field stays as it is.
    pub(crate) keeps_ecn: bool,
    /// `flag decap-dscp`: the inner packet gets the outer DSCP.
    pub(crate) copies_dscp: bool,
    /// The address under which the peer knows itself, behind a NAT: `encap espinudp … ADDRESS` (RFC 3948 §3.1.2).
    pub(crate) original_src: Option<IpAddr>,
    /// Where its newest packet came from, with UDP encapsulation; before the first, what the state says.
    pub(crate) peer: Option<(IpAddr, UdpPorts)>,
}

impl Receiving {
    /// The state's SA, there since `now`.
    ///
    /// # Errors
    ///
    /// [`SadError::Unusable`]: numbers, window or selector of the state make no sense on this side.
    pub(crate) fn of_state(state: &State, sa: &Sa, key: SaKey, now: Duration) -> Result<Self, SadError> {
        let refuse = |reason: String| Err(SadError::unusable(state, state.position, reason));
        if sa.esn && sa.replay_window == 0 {
            //= https://www.rfc-editor.org/rfc/rfc4303#section-3.3.3
            //# Note: If a receiver chooses to not enable anti-replay for an SA, then
            //# the receiver SHOULD NOT negotiate ESN in an SA management protocol.
            return refuse("`flag esn` needs a `replay-window`".to_owned());
        }
        if !sa.esn && state.sequence.seq_hi != 0 {
            return refuse(
                "a high half of the sequence number, `replay-seq-hi`, needs `flag esn`".to_owned(),
            );
        }
        let selectors = match selectors(state.selector.as_ref()) {
            Ok(selectors) => selectors,
            Err(error) => return refuse(format!("its selector can't be used: {error}")),
        };
        let top = u64::from(state.sequence.seq_hi) << 32 | u64::from(state.sequence.seq);
        let inbound = InboundSa::resumed(key, sa.esn, sa.replay_window, top);
        let has_flag = |name| sa.flags.names().any(|flag| flag == name);
        Ok(Self {
            inbound: inbound.resynchronizing(Resynchronization::default()),
            lifetime: Lifetime::new(sa.limits, now),
            selectors,
            keeps_ecn: has_flag("noecn"),
            copies_dscp: has_flag("decap-dscp"),
            original_src: state.encap.map(|encap| encap.addr).filter(|addr| !addr.is_unspecified()),
            peer: sa.encap.map(|ports| (sa.src, ports)).filter(|(src, _)| !src.is_unspecified()),
        })
    }

    /// Whether it has a selector at all.
    pub(crate) fn is_selective(&self) -> bool {
        !self.selectors.is_empty()
    }

    /// Whether it is for this flow.
    pub(crate) fn selects(&self, flow: &Flow) -> bool {
        !self.is_selective() || self.selectors.iter().any(|selector| selector.matches(flow))
    }
}

/// A state's selector. Linux prints `sel src 0.0.0.0/0 dst 0.0.0.0/0` of a state that has none, and lets packets of
/// both families through it: so do these.
fn selectors(selector: Option<&xfrm::Selector>) -> Result<Vec<Selector>, crate::selector::SelectorError> {
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
