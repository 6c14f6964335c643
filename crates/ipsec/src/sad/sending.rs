//! What a sender keeps of an SA.

use std::time::Duration;

use espwire_esp::{IvSecret, Numbering, OutboundSa, SaKey};

use super::{Entry, Sad, SadError, same_use};
use crate::event::{Event, SaId};
use crate::lifetime::Lifetime;
use crate::sa::Sa;
use crate::selectors::StateSelectors;
use crate::tunnel::TunnelHeaders;
use crate::xfrm::{Database, ExtraFlags, State};

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

impl Sad<Sending> {
    /// The SAs of a sender, there since `now`: an SA goes on after the state's `replay-oseq` and `replay-oseq-hi`.
    ///
    /// `secret` is asked once per SA for octets of a cryptographic generator, from which IVs are made. Two SAs may
    /// share a key: of a counter mode their IVs count from places that a secret of 64 bits sets apart.
    ///
    /// # Errors
    ///
    /// As [`new`](Sad::new); states of one SPI and destination must also agree in all that [`receiving`](Sad::receiving)
    /// compares. A state without ESN and a number that needs it, one whose selector can't be used; two SAs with one
    /// key and implicit IVs, which would come twice (RFC 8750 §4); a secret that comes again. Key and secret of
    /// an SA that was removed still count: their fingerprints stay, 40 octets at most for each SA.
    pub fn sending<'a>(
        databases: impl IntoIterator<Item = &'a Database>,
        now: Duration,
        mut secret: impl FnMut() -> IvSecret,
    ) -> Result<Self, SadError> {
        let mut sad = Self::default();
        sad.add_all(databases, same_use, |sad, state| sad.insert_sending(state, now, secret()))?;
        Ok(sad)
    }

    /// Adds one SA, there since `now`, and returns its place. `secret` is fresh from a cryptographic generator.
    ///
    /// # Errors
    ///
    /// As [`sending`](Self::sending); and its SPI and destination are those of another SA here, even of the same: to
    /// replace that, [`remove`](Self::remove) it first.
    pub fn add(&mut self, state: &State, now: Duration, secret: IvSecret) -> Result<SaPlace, SadError> {
        let index = self.insert_sending(state, now, secret)?;
        Ok(SaPlace { index, generation: self.changes })
    }

    /// The place of the SA with this SPI and destination.
    #[must_use]
    pub fn place(&self, id: SaId) -> Option<SaPlace> {
        let index = self.find_exactly(id.spi, id.dst)?;
        self.entry(index).map(|entry| SaPlace { index, generation: entry.generation })
    }

    /// The places of all SAs, in the order in which they were added.
    pub(crate) fn places(&self) -> Vec<SaPlace> {
        let entries = self.entries.iter().enumerate();
        let mut places: Vec<_> = entries
            .filter_map(|(index, entry)| Some(SaPlace { index, generation: entry.as_ref()?.generation }))
            .collect();
        places.sort_unstable_by_key(|place| place.generation);
        places
    }

    /// The SA whose place this is, if it is still there.
    #[inline]
    pub(crate) fn at(&self, place: SaPlace) -> Option<&Entry<Sending>> {
        self.entry(place.index).filter(|entry| entry.generation == place.generation)
    }

    /// The SA whose place this is, if it is still there.
    #[inline]
    pub(crate) fn at_mut(&mut self, place: SaPlace) -> Option<&mut Entry<Sending>> {
        self.entry_mut(place.index).filter(|entry| entry.generation == place.generation)
    }

    /// A number that changes when an SA is added or removed.
    #[inline]
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    fn insert_sending(&mut self, state: &State, now: Duration, secret: IvSecret) -> Result<usize, SadError> {
        let fingerprint = secret.fingerprint();
        let mut implicit_key = None;
        let place = self.insert(state, |known, state, sa, key| {
            let refuse = |reason| Err(SadError::unusable(state, state.position, reason));
            if known.secrets.contains(&fingerprint) {
                return refuse("the secret for its IVs was another SA's: each needs one of its own");
            }
            if sa.suite.is_counter_mode() && sa.suite.iv_len() == 0 {
                implicit_key = Some(sa.encryption_fingerprint);
                if known.implicit.contains(&sa.encryption_fingerprint) {
                    return refuse(
                        "another SA has this key, and both have implicit IVs: they would come twice",
                    );
                }
            }
            Sending::of_state(state, sa, key, now, secret)
        })?;
        // Only now: a state that was refused may come again, mended.
        self.secrets.insert(fingerprint);
        self.implicit.extend(implicit_key);
        Ok(place)
    }

    /// Tells the limits of time that SAs have reached by `now` without a packet.
    pub(crate) fn expire(&mut self, now: Duration, events: &mut Vec<Event>) {
        for Entry { sa, state, .. } in self.entries_mut() {
            let id = sa.id();
            // Whether it has ended is found again with its next packet.
            let _ = state.lifetime.check(now, |reached| events.push(reached.event(id)));
        }
    }
}
