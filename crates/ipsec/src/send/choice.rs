//! Which SA a packet goes through (RFC 4301 §5.1), of those that its policy's template asks for.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::flow::Flow;
use crate::sa::Sa;
use crate::sad::{Entry, SaPlace, Sad, Sending};
use crate::spd::Template;
use crate::spd::cache::Cache;
use crate::xfrm::Mode;

/// So many SAs are looked through as quickly as the cache is.
const FEW: usize = 8;

/// The SAs by what templates ask for, and what was chosen for the flows seen last.
#[derive(Default)]
pub(super) struct Choices {
    /// By destination and `reqid`, in the order in which they were added.
    by_reqid: HashMap<(IpAddr, u32), Vec<SaPlace>>,
    /// There once it is needed.
    cache: Option<Cache<Choice>>,
    searches: u64,
}

/// What the search found for a flow. It finds the same while this holds: no SA came or went, and the one that was found
/// is as good as it was. For all others that fit were no better then, and no SA gets better.
#[derive(Clone, Copy)]
struct Choice {
    template: Template,
    changes: u64,
    found: Option<(SaPlace, Standing)>,
}

/// How good an SA is that has not ended, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Fresh,
    /// It has reached a soft limit.
    Dying,
    /// It has no number left.
    Exhausted,
}

impl Standing {
    /// `None`: it has ended.
    fn of(Sending { outbound, lifetime, .. }: &Sending, now: Duration) -> Option<Self> {
        if lifetime.is_over(now) {
            None
        } else if outbound.remaining() == Some(0) {
            Some(Self::Exhausted)
        } else if lifetime.is_dying() {
            Some(Self::Dying)
        } else {
            Some(Self::Fresh)
        }
    }
}

impl Choices {
    /// An SA is there, the newest one.
    pub(super) fn join(&mut self, sa: &Sa, place: SaPlace) {
        self.by_reqid.entry((sa.dst, sa.reqid)).or_default().push(place);
    }

    /// An SA is about to be removed.
    pub(super) fn leave(&mut self, sa: &Sa, place: SaPlace) {
        if let Some(places) = self.by_reqid.get_mut(&(sa.dst, sa.reqid)) {
            places.retain(|&other| other != place);
            if places.is_empty() {
                self.by_reqid.remove(&(sa.dst, sa.reqid));
            }
        }
    }

    /// See [`Sender::find_for`](super::Sender::find_for).
    pub(super) fn find(
        &mut self,
        sad: &Sad<Sending>,
        now: Duration,
        template: &Template,
        flow: &Flow,
    ) -> Option<SaPlace> {
        let is_transport = template.mode == Mode::Transport;
        let dst = template.dst.filter(|_| !is_transport).unwrap_or(flow.dst);
        let places = self.by_reqid.get(&(dst, template.reqid))?;
        let mut cache = (places.len() > FEW).then(|| self.cache.get_or_insert_with(Cache::new));
        let changes = sad.changes();
        if let Some(choice) = cache.as_mut().and_then(|cache| cache.find(flow))
            && (choice.template, choice.changes) == (*template, changes)
            && choice.found.is_none_or(|(place, standing)| is_still(sad, now, place, standing))
        {
            return choice.found.map(|(place, _)| place);
        }
        self.searches += 1;
        let found = search(sad, places, now, template, flow);
        if let Some(cache) = cache {
            cache.insert(flow, Choice { template: *template, changes, found });
        }
        found.map(|(place, _)| place)
    }

    pub(super) fn searches(&self) -> u64 {
        self.searches
    }
}

/// Whether an SA is as good as it was.
fn is_still(sad: &Sad<Sending>, now: Duration, place: SaPlace, standing: Standing) -> bool {
    sad.at(place).and_then(|entry| Standing::of(&entry.state, now)) == Some(standing)
}

/// The best of the SAs in `places`; of several, the last.
fn search(
    sad: &Sad<Sending>,
    places: &[SaPlace],
    now: Duration,
    template: &Template,
    flow: &Flow,
) -> Option<(SaPlace, Standing)> {
    let is_transport = template.mode == Mode::Transport;
    let src = template.src.filter(|_| !is_transport).unwrap_or(flow.src);
    let mut best = None;
    for &place in places.iter().rev() {
        let Some(Entry { sa, state, .. }) = sad.at(place) else { continue };
        let has_source = sa.src == src || sa.src.is_unspecified() || template.src.is_none() && !is_transport;
        let is_wanted = Mode::from(sa.mode) == template.mode
            && (template.spi == 0 || sa.spi == template.spi)
            && has_source
            && state.selectors.select(flow);
        let Some(standing) = Standing::of(state, now).filter(|_| is_wanted) else { continue };
        if best.is_none_or(|(_, other)| standing < other) {
            best = Some((place, standing));
        }
        if standing == Standing::Fresh {
            break;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::xfrm;

    const AT: Duration = Duration::from_secs(1);

    fn state(spi: u32, words: &str) -> xfrm::State {
        let line = format!(
            "ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi {spi} mode tunnel {words} \
             aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128"
        );
        xfrm::parse("test", &line).unwrap().states.remove(0)
    }

    fn template(reqid: u32, spi: u32) -> Template {
        let dst = Some([10, 0, 0, 2].into());
        Template { mode: Mode::Tunnel, src: None, dst, spi, reqid, is_required: true }
    }

    fn flow(number: u8) -> Flow {
        Flow::of_payload([10, 1, 0, number].into(), [10, 2, 0, 1].into(), 89, &[]).unwrap()
    }

    /// SAs with SPIs from 1 on, and what finds them.
    #[derive(Default)]
    struct Both {
        sad: Sad<Sending>,
        choices: Choices,
        spi: u32,
    }

    impl Both {
        fn add(&mut self, words: &str) {
            self.spi += 1;
            let mut secret = [0; 32];
            secret[..4].copy_from_slice(&self.spi.to_be_bytes());
            let place = self.sad.add(&state(self.spi, words), Duration::ZERO, secret.into()).unwrap();
            self.choices.join(&self.sad.at(place).unwrap().sa, place);
        }

        fn remove(&mut self, place: SaPlace) {
            let (spi, dst) = (self.sad.at(place).unwrap().sa.spi, [10, 0, 0, 2].into());
            self.choices.leave(&self.sad.at(place).unwrap().sa, place);
            self.sad.remove(spi, dst);
        }

        fn find(&mut self, now: Duration, template: &Template, flow: &Flow) -> Option<u32> {
            let place = self.choices.find(&self.sad, now, template, flow)?;
            Some(self.sad.at(place).unwrap().sa.spi)
        }

        /// The best by the rule: look at all.
        fn model(&self, now: Duration, template: &Template, flow: &Flow) -> Option<u32> {
            let fits = |entry: &&Entry<Sending>| {
                let Entry { sa, state, .. } = entry;
                sa.reqid == template.reqid
                    && (template.spi == 0 || template.spi == sa.spi)
                    && state.selectors.select(flow)
                    && !state.lifetime.is_over(now)
            };
            let places = self.sad.places();
            let fitting: Vec<_> =
                places.iter().rev().map(|&place| self.sad.at(place).unwrap()).filter(fits).collect();
            let is_exhausted = |entry: &&Entry<Sending>| entry.state.outbound.remaining() == Some(0);
            let is_dying = |entry: &&Entry<Sending>| entry.state.lifetime.is_dying();
            let found = fitting.iter().find(|entry| !is_exhausted(entry) && !is_dying(entry));
            let found = found.or_else(|| fitting.iter().find(|entry| !is_exhausted(entry)));
            found.or(fitting.first()).map(|entry| entry.sa.spi)
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add(String),
        Remove(prop::sample::Index),
        /// A packet through one, which counts and takes a number.
        Use(prop::sample::Index),
        Wait,
        Find(u32, u32, u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        let limit = prop::sample::select(vec![
            "",
            "limit packet-soft 1",
            "limit packet-hard 1",
            "limit packet-soft 1 limit packet-hard 2",
            "limit time-hard 3",
            "limit time-soft 2",
            "replay-oseq 0xfffffffe",
            "replay-oseq 0xffffffff",
        ]);
        let selector = prop::sample::select(vec!["", "sel src 10.1.0.0/31 dst 0.0.0.0/0"]);
        let add = (1..3_u32, limit, selector)
            .prop_map(|(reqid, limit, selector)| Step::Add(format!("reqid {reqid} {limit} {selector}")));
        prop_oneof![
            2 => add,
            1 => any::<prop::sample::Index>().prop_map(Step::Remove),
            3 => any::<prop::sample::Index>().prop_map(Step::Use),
            1 => Just(Step::Wait),
            12 => (1..4_u32, prop_oneof![4 => Just(0), 1 => 1..30_u32], 0..4_u8)
                .prop_map(|(reqid, spi, number)| Step::Find(reqid, spi, number)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever was remembered, what is found is the best there is.
        #[test]
        fn the_best_sa_is_found(steps in prop::collection::vec(step(), 1..200)) {
            let mut both = Both::default();
            for number in 0..24 {
                both.add(&format!("reqid {}", number % 2 + 1));
            }
            let mut now = Duration::ZERO;
            for step in steps {
                let places = both.sad.places();
                match step {
                    Step::Add(words) => both.add(&words),
                    Step::Remove(_) | Step::Use(_) if places.is_empty() => {}
                    Step::Remove(which) => both.remove(*which.get(&places)),
                    Step::Use(which) => {
                        let sending = &mut both.sad.at_mut(*which.get(&places)).unwrap().state;
                        let mut packet = vec![0; sending.outbound.packet_len(0)];
                        let _ = sending.outbound.prepare(&mut packet, 0, 59).map(drop);
                        let _ = sending.lifetime.on_packet(now, 1, |_| {});
                    }
                    Step::Wait => now += AT,
                    Step::Find(reqid, spi, number) => {
                        let (template, flow) = (template(reqid, spi), flow(number));
                        let expected = both.model(now, &template, &flow);
                        prop_assert_eq!(both.find(now, &template, &flow), expected);
                    }
                }
            }
        }
    }

    #[test]
    fn many_sas_are_searched_once_for_a_flow() {
        let mut both = Both::default();
        for _ in 0..100 {
            both.add("reqid 1 sel src 10.1.0.0/31 dst 0.0.0.0/0");
        }
        for _ in 0..10 {
            // The last two match none of them, which is remembered too.
            for number in 0..4 {
                let found = both.find(AT, &template(1, 0), &flow(number));
                assert_eq!(found, (number < 2).then_some(100));
            }
        }
        assert_eq!(both.choices.searches(), 4);
        both.add("reqid 1");
        assert_eq!(both.find(AT, &template(1, 0), &flow(0)), Some(101));
        assert_eq!(both.choices.searches(), 5);
    }

    #[test]
    fn a_place_is_of_one_sa_for_ever() {
        let mut both = Both::default();
        both.add("reqid 1");
        let stale = both.sad.places()[0];
        both.remove(stale);
        both.add("reqid 1");
        let new = both.sad.places()[0];
        assert_eq!(new.index, stale.index);
        assert!(both.sad.at(stale).is_none() && both.sad.at_mut(stale).is_none());
        assert!(both.sad.at(new).is_some() && both.sad.at_mut(new).is_some());
    }

    #[test]
    fn a_few_sas_need_no_cache() {
        let mut both = Both::default();
        for _ in 0..FEW {
            both.add("reqid 1");
            assert_eq!(both.find(AT, &template(1, 0), &flow(0)), Some(both.spi));
        }
        assert!(both.choices.cache.is_none());
        both.add("reqid 1");
        both.find(AT, &template(1, 0), &flow(0));
        assert!(both.choices.cache.is_some());
    }

    #[test]
    fn one_without_numbers_does_not_hide_one_that_has_some() {
        let mut both = Both::default();
        both.add("reqid 1");
        both.add("reqid 1 replay-oseq 0xffffffff");
        assert_eq!(both.find(AT, &template(1, 0), &flow(0)), Some(1));
        let only = both.find(AT, &template(1, 2), &flow(0));
        assert_eq!(only, Some(2), "so that it says so");
    }
}
