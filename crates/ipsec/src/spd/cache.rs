//! The SPD cache (RFC 4301 §4.4.1): what the search found for the flows seen last. A sender has one too, of SAs.
//!
//! RFC 4301 caches policies, which is safe only after overlapping ones have been decorrelated (§5, Appendix B). Here a
//! flow is cached, with every field that any selector looks at: all of its packets find the same policy, and
//! overlapping does no harm.
//!
//! The flows stand in sets of eight, in the set that their hash names. A look-up compares at most eight, whatever flows
//! are sent: flows of one set only push each other out. A flow that is seen again moves up by one; a new one comes in
//! at half, and the last one leaves. So flows of a single packet, however many, never push out a flow of the upper
//! half.

use std::net::IpAddr;

use crate::flow::{Flow, Upper};

/// Flows in a set.
const WAYS: usize = 8;
/// Where a new flow comes in.
const ENTRY: usize = WAYS / 2;
const SETS_BITS: u32 = 9;
/// How many flows a cache holds.
pub(crate) const CAPACITY: usize = WAYS << SETS_BITS;

/// What was found for one flow.
type Entry<T> = Option<(Flow, T)>;

/// A cache of [`CAPACITY`] flows, all of whose memory is there from the start.
pub(crate) struct Cache<T> {
    sets: Vec<Set<T>>,
}

/// One that keeps nothing, and has no memory.
impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self { sets: Vec::new() }
    }
}

#[derive(Clone)]
struct Set<T> {
    /// A part of each flow's hash, so that few flows are compared in vain.
    tags: [u32; WAYS],
    entries: [Entry<T>; WAYS],
}

impl<T: Copy> Cache<T> {
    pub(crate) fn new() -> Self {
        Self { sets: vec![Set { tags: [0; WAYS], entries: [None; WAYS] }; 1 << SETS_BITS] }
    }

    /// What was found for this flow, if it is here.
    #[inline]
    pub(crate) fn find(&mut self, flow: &Flow) -> Option<T> {
        let (set, tag) = place(flow);
        let set = self.sets.get_mut(set)?;
        for way in 0..WAYS {
            if set.tags[way] == tag
                && let Some((cached, found)) = set.entries[way]
                && cached == *flow
            {
                if way > 0 {
                    set.tags.swap(way, way - 1);
                    set.entries.swap(way, way - 1);
                }
                return Some(found);
            }
        }
        None
    }

    /// Keeps what was found for a flow, in place of what was kept for it.
    pub(crate) fn insert(&mut self, flow: &Flow, found: T) {
        let (set, tag) = place(flow);
        let Some(set) = self.sets.get_mut(set) else { return };
        let is_its = |entry: &Entry<T>| entry.as_ref().is_none_or(|(cached, _)| cached == flow);
        // All after the first empty way are empty.
        let way = set.entries.iter().position(is_its).unwrap_or_else(|| {
            set.tags[ENTRY..].rotate_right(1);
            set.entries[ENTRY..].rotate_right(1);
            ENTRY
        });
        (set.tags[way], set.entries[way]) = (tag, Some((*flow, found)));
    }
}

/// The flow's set, and its tag there.
fn place(flow: &Flow) -> (usize, u32) {
    let hash = hash(flow);
    ((hash >> (u64::BITS - SETS_BITS)) as usize, hash as u32)
}

/// A quick hash, not one that resists who looks for collisions: they cost a miss each, and no more.
fn hash(flow: &Flow) -> u64 {
    // Odd, and no pattern in its bits: 2^64 divided by the golden ratio.
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| {
        let product = (hash ^ word).wrapping_mul(FACTOR);
        product ^ product >> 32
    };
    let address = |hash, address| match address {
        IpAddr::V4(address) => mix(hash, address.to_bits().into()),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            mix(mix(hash, (bits >> 64) as u64), bits as u64)
        }
    };
    let upper = match flow.upper {
        Upper::None => 0,
        Upper::Opaque => 1 << 32,
        Upper::Ports { src, dst } => 2 << 32 | u64::from(src) << 16 | u64::from(dst),
        Upper::Icmp { kind, code } => 3 << 32 | u64::from(kind) << 8 | u64::from(code),
        Upper::Mobility(kind) => 4 << 32 | u64::from(kind),
        Upper::GreKey(key) => 5 << 32 | u64::from(key),
    };
    let protocol = flow.protocol.map_or(0x100, u64::from) << 40;
    mix(mix(address(address(FACTOR, flow.src), flow.dst), upper | protocol), 0)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::spd::Rule;

    fn flow(number: u32) -> Flow {
        let src = Ipv4Addr::from_bits(0x0a00_0000 | number).into();
        Flow { src, dst: src, protocol: Some(89), upper: Upper::None }
    }

    /// Flows of one set.
    fn of_one_set(count: usize) -> Vec<Flow> {
        let (set, _) = place(&flow(0));
        (0..).map(flow).filter(|flow| place(flow).0 == set).take(count).collect()
    }

    fn is_cached(cache: &mut Cache<Rule>, flow: &Flow) -> bool {
        let found = cache.find(flow);
        if found.is_none() {
            cache.insert(flow, Rule::Unmatched);
        }
        found.is_some()
    }

    #[test]
    fn as_many_flows_as_it_holds_are_spread_over_its_sets() {
        let mut cache = Cache::new();
        for number in 0..CAPACITY as u32 / 2 {
            assert!(!is_cached(&mut cache, &flow(number)));
        }
        let lost = (0..CAPACITY as u32 / 2).filter(|number| cache.find(&flow(*number)).is_none()).count();
        assert!(lost < CAPACITY / 50, "{lost}");
    }

    #[test]
    fn flows_of_one_packet_do_not_push_out_one_that_goes_on() {
        let mut cache = Cache::new();
        let flows = of_one_set(1000);
        for _ in 0..WAYS {
            is_cached(&mut cache, &flows[0]);
        }
        for flow in &flows[1..] {
            assert!(!is_cached(&mut cache, flow));
        }
        assert!(is_cached(&mut cache, &flows[0]));
    }

    #[test]
    fn new_flows_take_the_place_of_old_ones_that_went_on() {
        let mut cache = Cache::new();
        let flows = of_one_set(3 * WAYS);
        for old in flows[..WAYS].iter().cycle().take(100 * WAYS) {
            is_cached(&mut cache, old);
        }
        // As many in turn as come in before the last one leaves.
        let new = &flows[WAYS..WAYS + ENTRY];
        for flow in new.iter().cycle().take(2 * new.len()) {
            is_cached(&mut cache, flow);
        }
        assert!(new.iter().cycle().take(10 * new.len()).all(|flow| is_cached(&mut cache, flow)));
    }

    #[test]
    fn a_flow_whose_hash_is_that_of_another_is_not_taken_for_it() {
        let mut cache = Cache::new();
        let (set, tag) = place(&flow(1));
        // As if flow 2 had this hash.
        (cache.sets[set].tags[0], cache.sets[set].entries[0]) = (tag, Some((flow(2), Rule::Unmatched)));
        assert_eq!(cache.find(&flow(1)), None);
        cache.sets[set].entries[0] = Some((flow(1), Rule::Unmatched));
        assert_eq!(cache.find(&flow(1)), Some(Rule::Unmatched));
    }

    #[test]
    fn what_is_found_later_takes_the_place_of_what_was_found_first() {
        let mut cache = Cache::new();
        let flows = of_one_set(WAYS);
        for number in 0..3 {
            for flow in &flows {
                cache.insert(flow, number);
            }
            assert!(flows.iter().all(|flow| cache.find(flow) == Some(number)));
        }
    }

    #[test]
    fn its_memory_does_not_grow() {
        let mut cache = Cache::new();
        for number in 0..1_000_000 {
            cache.insert(&flow(number), Rule::Unmatched);
        }
        let flows = cache.sets.iter().flat_map(|set| &set.entries).flatten().count();
        assert_eq!((flows, cache.sets.len() * WAYS), (CAPACITY, CAPACITY));
    }

    #[test]
    fn flows_that_differ_in_one_field_are_two() {
        let base = flow(1);
        let v6 = |last| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last]);
        let all = [
            base,
            Flow { src: flow(2).src, ..base },
            Flow { dst: flow(2).src, ..base },
            Flow { src: v6(1), dst: v6(2), ..base },
            Flow { src: v6(2), dst: v6(1), ..base },
            Flow { protocol: None, upper: Upper::Opaque, ..base },
            Flow { protocol: Some(6), upper: Upper::Opaque, ..base },
            Flow { protocol: Some(6), upper: Upper::Ports { src: 1, dst: 2 }, ..base },
            Flow { protocol: Some(6), upper: Upper::Ports { src: 2, dst: 1 }, ..base },
            Flow { protocol: Some(17), upper: Upper::Ports { src: 2, dst: 1 }, ..base },
            Flow { protocol: Some(1), upper: Upper::Icmp { kind: 2, code: 1 }, ..base },
            Flow { protocol: Some(1), upper: Upper::Icmp { kind: 1, code: 2 }, ..base },
            Flow { protocol: Some(135), upper: Upper::Mobility(1), ..base },
            Flow { protocol: Some(47), upper: Upper::GreKey(1), ..base },
            Flow { protocol: Some(47), upper: Upper::GreKey(2), ..base },
        ];
        let mut cache = Cache::new();
        for (number, flow) in all.iter().enumerate() {
            assert_eq!(cache.find(flow), None, "{flow:?}");
            cache.insert(flow, Rule::Policy(number));
        }
        for (number, flow) in all.iter().enumerate() {
            assert_eq!(cache.find(flow), Some(Rule::Policy(number)), "{flow:?}");
        }
        let hashes: std::collections::HashSet<_> = all.iter().map(hash).collect();
        assert_eq!(hashes.len(), all.len());
    }
}
