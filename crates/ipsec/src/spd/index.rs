//! Which policies a flow may match, by one of its addresses: a segment tree over the addresses' ranges.
//!
//! The bounds of all ranges cut the addresses into pieces. A piece is a leaf of a binary tree, and a range stands at
//! the few nodes whose pieces together are just that range: at most two on each level. All ranges that hold an
//! address stand at the nodes from its leaf up to the root.
//!
//! With `n` policies that is O(n log n) of memory. A search costs O(log n) and a look at those policies that hold the
//! address: in the worst case, that all do, all of them.

use std::net::IpAddr;

use crate::flow::Flow;
use crate::selector::{AddressRange, Selector};

/// An index by source or destination, whichever leaves fewer policies to look at.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_source: bool,
    /// Where each piece begins, in ascending order.
    pieces: Vec<u128>,
    /// The policies at each node, in ascending order. The root is node 1, the children of `n` are `2n` and `2n + 1`,
    /// and the leaves are the last half.
    nodes: Vec<Vec<usize>>,
}

impl Index {
    /// An index of these policies, given in ascending order.
    pub(super) fn new(policies: &[(usize, Selector)]) -> Self {
        let by_source = Self::by(policies, true);
        let by_destination = Self::by(policies, false);
        if by_source.worst() < by_destination.worst() { by_source } else { by_destination }
    }

    fn by(policies: &[(usize, Selector)], by_source: bool) -> Self {
        if policies.is_empty() {
            return Self::default();
        }
        let range = |selector: &Selector| bounds(if by_source { selector.src } else { selector.dst });
        let mut pieces = Vec::new();
        for (_, selector) in policies {
            let (first, last) = range(selector);
            pieces.push(first);
            pieces.extend(last.checked_add(1));
        }
        pieces.sort_unstable();
        pieces.dedup();
        let mut nodes = vec![Vec::new(); 2 * pieces.len()];
        for (policy, selector) in policies {
            let (first, last) = range(selector);
            let mut left = pieces.len() + pieces.partition_point(|piece| *piece < first);
            let mut right = pieces.len() + pieces.partition_point(|piece| *piece <= last);
            while left < right {
                if left % 2 == 1 {
                    nodes[left].push(*policy);
                    left += 1;
                }
                if right % 2 == 1 {
                    right -= 1;
                    nodes[right].push(*policy);
                }
                left /= 2;
                right /= 2;
            }
        }
        Self { by_source, pieces, nodes }
    }

    /// The most policies that one address leaves to look at.
    fn worst(&self) -> usize {
        let leaves = self.pieces.len()..self.nodes.len();
        leaves.map(|leaf| up(leaf).map(|node| self.nodes[node].len()).sum()).max().unwrap_or(0)
    }

    /// The first policy that `is_it` is true for, of those that hold the flow's address.
    pub(super) fn first(&self, flow: &Flow, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        let address = number(if self.by_source { flow.src } else { flow.dst });
        // Before the first piece is no policy.
        let piece = self.pieces.partition_point(|piece| *piece <= address).checked_sub(1)?;
        let mut found = None;
        for node in up(self.pieces.len() + piece) {
            let before = |policy: &usize| found.is_none_or(|found| *policy < found);
            let policies = self.nodes[node].iter().copied();
            found = policies.take_while(before).find(|policy| is_it(*policy)).or(found);
        }
        found
    }
}

/// A node and all above it.
fn up(node: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(node), |node| Some(node / 2)).take_while(|node| *node > 0)
}

fn bounds(range: AddressRange) -> (u128, u128) {
    (number(range.first()), number(range.last()))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::flow::Upper;

    fn flow(src: u32, dst: u32) -> Flow {
        let [src, dst] = [src, dst].map(|bits| Ipv4Addr::from_bits(bits).into());
        Flow { src, dst, protocol: Some(89), upper: Upper::None }
    }

    fn selector(src: (u32, u32), dst: (u32, u32)) -> Selector {
        let [src, dst] = [src, dst].map(|(first, last)| {
            let [first, last] = [first, last].map(|bits| Ipv4Addr::from_bits(bits).into());
            AddressRange::new(first, last).unwrap()
        });
        Selector::new(src, dst)
    }

    #[test]
    fn looks_at_few_policies_where_the_addresses_differ() {
        const ANY: (u32, u32) = (0, u32::MAX);
        let looks = |policies: &[(usize, Selector)], flow: &Flow| {
            let looks = std::cell::Cell::new(0);
            let index = Index::new(policies);
            let found = index.first(flow, |policy| {
                looks.set(looks.get() + 1);
                policies[policy].1.matches(flow)
            });
            (found, looks.get())
        };
        let by_destination: Vec<_> =
            (0..1000).map(|at| (at as usize, selector(ANY, (10 * at, 10 * at + 9)))).collect();
        assert_eq!(looks(&by_destination, &flow(5, 7777)), (Some(777), 1));
        assert_eq!(looks(&by_destination, &flow(5, 10_000)), (None, 0));
        let mut by_source: Vec<_> =
            (0..1000).map(|at| (at as usize, selector((10 * at, 10 * at + 9), ANY))).collect();
        by_source.push((1000, selector(ANY, ANY)));
        assert_eq!(looks(&by_source, &flow(7777, 5)), (Some(777), 1));
        assert_eq!(looks(&by_source, &flow(u32::MAX, 5)), (Some(1000), 1));
        assert_eq!(looks(&[], &flow(1, 2)), (None, 0));
    }
}
