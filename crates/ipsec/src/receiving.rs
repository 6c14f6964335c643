//! What a receiver keeps of an SA.

use std::net::IpAddr;
use std::time::Duration;

use espwire_esp::{InboundSa, SaKey};

use crate::lifetime::Lifetime;
use crate::outer::UdpPorts;
use crate::sa::Sa;
use crate::sad::SadError;
use crate::selectors::StateSelectors;
use crate::xfrm::{Flags, State};

/// Of an SA whose packets are received (RFC 4301 §5.2).
pub struct Receiving {
    pub(crate) inbound: InboundSa,
    pub(crate) lifetime: Lifetime,
    /// Which inner packets it is for.
    pub(crate) selectors: StateSelectors,
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
        let top = u64::from(state.sequence.seq_hi) << 32 | u64::from(state.sequence.seq);
        let below_top = state.replay_bitmap.distances();
        let seen = below_top.filter_map(|distance| top.checked_sub(distance.into()));
        Ok(Self {
            inbound: InboundSa::resumed(key, sa.esn, sa.replay_window, top, seen),
            lifetime: Lifetime::resumed(sa.limits, now, state.used),
            selectors: StateSelectors::of_receiving_state(state)?,
            keeps_ecn: sa.flags.has(Flags::NOECN),
            copies_dscp: sa.flags.has(Flags::DECAP_DSCP),
            original_src: state.encap.map(|encap| encap.addr).filter(|addr| !addr.is_unspecified()),
            peer: sa.encap.map(|ports| (sa.src, ports)).filter(|(src, _)| !src.is_unspecified()),
        })
    }
}
