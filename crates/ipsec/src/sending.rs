//! What a sender keeps of an SA.

use std::time::Duration;

use espwire_esp::{IvSecret, Numbering, OutboundSa, SaKey};

use crate::lifetime::Lifetime;
use crate::sa::Sa;
use crate::sad::SadError;
use crate::selectors::StateSelectors;
use crate::tunnel::TunnelHeaders;
use crate::xfrm::{ExtraFlags, State};

/// Which SA of a sender: [`Sender::find`](crate::Sender::find), [`Sender::find_for`](crate::Sender::find_for) and
/// [`Sender::add`](crate::Sender::add) say it.
///
/// Once its SA was removed it names none: what is to be sent there is dropped
/// ([`DropReason::OutNoSa`](crate::DropReason::OutNoSa)), and does not go through the SA that came after. It means nothing
/// to another sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SaPlace {
    pub(crate) index: usize,
    pub(crate) generation: u64,
}

/// Of an SA whose packets are sent (RFC 4301 §5.1).
pub struct Sending {
    pub(crate) outbound: OutboundSa,
    pub(crate) lifetime: Lifetime,
    /// Which packets it is for.
    pub(crate) selectors: StateSelectors,
    pub(crate) headers: TunnelHeaders,
    /// The longest outer packet in octets, if one is set.
    pub(crate) mtu: Option<usize>,
    /// Place of its peer among the sender's, with UDP encapsulation.
    pub(crate) peer: Option<usize>,
}

impl Sending {
    /// The state's SA, there since `now`.
    ///
    /// # Errors
    ///
    /// [`SadError::Unusable`]: its numbers or its selector make no sense.
    pub(crate) fn of_state(
        state: &State,
        sa: &Sa,
        key: SaKey,
        now: Duration,
        secret: IvSecret,
    ) -> Result<Self, SadError> {
        if !sa.esn && state.sequence.oseq_hi != 0 {
            let reason = "a high half of the sequence number, `replay-oseq-hi`, needs `flag esn`";
            return Err(SadError::unusable(state, state.position, reason));
        }
        let numbering = Numbering {
            esn: sa.esn,
            may_cycle: sa.extra_flags.has(ExtraFlags::OSEQ_MAY_WRAP),
            last: u64::from(state.sequence.oseq_hi) << 32 | u64::from(state.sequence.oseq),
        };
        Ok(Self {
            outbound: OutboundSa::new(key, sa.spi, numbering, secret),
            lifetime: Lifetime::resumed(sa.limits, now, state.used),
            selectors: StateSelectors::of_state(state)?,
            headers: TunnelHeaders::of_flags(sa.flags, sa.extra_flags),
            mtu: None,
            peer: None,
        })
    }
}
