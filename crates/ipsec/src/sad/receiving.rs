//! What a receiver keeps of an SA.

use std::net::IpAddr;
use std::time::Duration;

use espwire_esp::{InboundSa, Resynchronization, SaKey};

use super::{Sad, SadError, same_use};
use crate::event::SaId;
use crate::lifetime::Lifetime;
use crate::outer::UdpPorts;
use crate::sa::Sa;
use crate::selectors::StateSelectors;
use crate::xfrm::{Database, Flags, State};

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

impl Sad<Receiving> {
    /// The SAs of a receiver, which judges replay, there since `now`: an SA goes on from the state's `replay-seq`
    /// and `replay-seq-hi`, with its `replay-window`, 0 for none. In that window the number it goes on from has been
    /// seen, and what the bitmap of a printed state marks: nothing else, so that of a state of command words, which
    /// have no bitmap, a replay of an earlier number in the window is taken. Octets and packets count on from the
    /// state's `lifetime current`; times count from `now`. The same state twice is one.
    ///
    /// A state in transport mode whose selector names no addresses is for packets from the state's own source alone:
    /// with the keys of one peer nobody sends as another. Two have no such bound, and need a selector where peers
    /// must not take each other's addresses: a state with `encap`, because a NAT may change the source address, and
    /// one whose source is `0.0.0.0` or `::`.
    ///
    /// # Errors
    ///
    /// As [`new`](Sad::new); states of one SPI and destination must also agree in selector, window, numbers, flags,
    /// limits, and what was seen and used. A state with ESN and no window, one without ESN and a number that needs it,
    /// one whose selector can't be used.
    pub fn receiving<'a>(
        databases: impl IntoIterator<Item = &'a Database>,
        now: Duration,
    ) -> Result<Self, SadError> {
        let mut sad = Self::default();
        sad.add_all(databases, same_use, |sad, state| sad.insert_receiving(state, now))?;
        Ok(sad)
    }

    /// Adds one SA, there since `now`.
    ///
    /// # Errors
    ///
    /// As [`receiving`](Self::receiving); and its SPI and destination are those of another SA here, even of the same:
    /// to replace that, [`remove`](Self::remove) it first.
    pub fn add(&mut self, state: &State, now: Duration) -> Result<(), SadError> {
        self.insert_receiving(state, now).map(drop)
    }

    /// Has an SA with ESN look for its sender when that has got 2^32 numbers ahead (RFC 4303 Appendix A3), or not any
    /// more: at first it does not. Returns whether there is such an SA.
    pub fn set_resynchronization(&mut self, id: SaId, config: Option<Resynchronization>) -> bool {
        let entry = self.find_exactly(id.spi, id.dst).and_then(|place| self.entry_mut(place));
        entry.map(|entry| entry.state.inbound.set_resynchronization(config)).is_some()
    }

    fn insert_receiving(&mut self, state: &State, now: Duration) -> Result<usize, SadError> {
        self.insert(state, |_, state, sa, key| Receiving::of_state(state, sa, key, now))
    }
}
