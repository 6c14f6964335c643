//! Nanoseconds per look-up in the SPD: flows that are cached, and flows seen for the first time.
//!
//! `cargo bench -p espwire-ipsec --bench spd`. `apart`: each policy has destinations of its own, as with one tunnel for
//! each network, and a flow matches one of them. `together`: the policies differ in the port alone, and a flow matches
//! the last one: the worst there is for the search. A pass is a burst of 64 look-ups; all lines take turns, so that what
//! disturbs one disturbs the others. Shown: median, and in brackets the 10th and 90th percentile.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use espwire_ipsec::xfrm::Dir;
use espwire_ipsec::{
    Action, AddressRange, Flow, Policy, Rule, Selector, Spd, Unmatched, Upper, UpperSelector, ValueRange,
};

const BURST: u32 = 64;
const PASSES: usize = 2000;

/// One SPD and what was measured with it.
struct Line {
    name: &'static str,
    policies: u32,
    spd: Spd,
    /// Flow `n` goes to one policy, and there is no other flow of this number.
    flow: fn(u32, u32) -> Flow,
    next: u32,
    cached: Vec<f64>,
    uncached: Vec<f64>,
}

fn main() {
    let mut lines = Vec::new();
    for policies in [1, 10, 1000, 10_000] {
        lines.push(Line::new("apart", policies, network, apart));
        lines.push(Line::new("together", policies, port, together));
    }
    for _ in 0..PASSES {
        lines.iter_mut().for_each(Line::pass);
    }
    println!("{:10} {:>8}  {:>20}  {:>26}", "", "policies", "cached", "first seen");
    for Line { name, policies, cached, uncached, .. } in lines {
        println!("{name:10} {policies:>8}  {:>20}  {:>26}", shown(cached), shown(uncached));
    }
}

impl Line {
    fn new(
        name: &'static str,
        policies: u32,
        selector: fn(u32) -> Selector,
        flow: fn(u32, u32) -> Flow,
    ) -> Self {
        let all = (0..policies).map(|n| Policy::new(Dir::Out, selector(n), Action::Bypass)).collect();
        let spd = Spd::from_policies(all, Unmatched::Discard).expect("policies");
        Self { name, policies, spd, flow, next: BURST, cached: Vec::new(), uncached: Vec::new() }
    }

    fn pass(&mut self) {
        let known: Vec<_> = (0..BURST).map(|n| (self.flow)(n, self.policies)).collect();
        let new: Vec<_> = (self.next..self.next + BURST).map(|n| (self.flow)(n, self.policies)).collect();
        self.next += BURST;
        self.burst(&known);
        let (cached, misses) = self.burst(&known);
        assert_eq!(misses, 0);
        let (uncached, misses) = self.burst(&new);
        assert_eq!(misses, u64::from(BURST));
        self.cached.push(cached);
        self.uncached.push(uncached);
    }

    fn burst(&mut self, flows: &[Flow]) -> (f64, u64) {
        let before = self.spd.cache_misses();
        let start = Instant::now();
        for flow in flows {
            let found = self.spd.lookup(Dir::Out, black_box(flow), 1500);
            assert!(matches!(found.rule, Rule::Policy(_)));
        }
        let ns = start.elapsed().as_nanos() as f64 / flows.len() as f64;
        (ns, self.spd.cache_misses() - before)
    }
}

fn address(bits: u32) -> IpAddr {
    Ipv4Addr::from_bits(bits).into()
}

/// Network `n`, of 256 addresses.
fn network(n: u32) -> Selector {
    let range = AddressRange::new(address(n << 8), address(n << 8 | 0xff)).expect("a range");
    Selector::new(AddressRange::ANY_V4, range)
}

/// To all networks in turn.
fn apart(n: u32, policies: u32) -> Flow {
    let upper = Upper::Ports { src: n as u16, dst: (n >> 16) as u16 };
    Flow { src: address(1), dst: address((n % policies) << 8 | 7), protocol: Some(17), upper }
}

fn port(n: u32) -> Selector {
    let upper = UpperSelector::Ports { src: ValueRange::ANY_PORT, dst: (n as u16).into() };
    Selector { protocol: Some(17), upper, ..Selector::ANY_V4 }
}

fn together(n: u32, policies: u32) -> Flow {
    let upper = Upper::Ports { src: 1, dst: (policies - 1) as u16 };
    Flow { src: address(n), dst: address(1), protocol: Some(17), upper }
}

fn shown(mut ns: Vec<f64>) -> String {
    ns.sort_by(f64::total_cmp);
    let at = |percent| ns[ns.len() * percent / 100];
    format!("{:.0} ({:.0} to {:.0})", at(50), at(10), at(90))
}
