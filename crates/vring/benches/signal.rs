//! `cargo bench -p espwire-vring --bench signal`: what a signal of an eventfd costs that nobody waits for, by a
//! `Signaller` and by write(2).
//!
//! Prints nanoseconds per signal: median, least and most of 41 passes that take turns.

use std::os::fd::OwnedFd;
use std::time::Instant;

use espwire_vring::Signaller;
use rustix::event::{EventfdFlags, eventfd};

const PASSES: usize = 41;
const SIGNALS: u32 = 100_000;

/// Nanoseconds per call of `signal`.
fn pass(event: &OwnedFd, mut signal: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..SIGNALS {
        signal();
    }
    let taken = start.elapsed();
    let mut count = [0; 8];
    rustix::io::read(event, &mut count).expect("a signalled eventfd");
    assert_eq!(u64::from_ne_bytes(count), u64::from(SIGNALS), "a signal was lost");
    taken.as_secs_f64() * 1e9 / f64::from(SIGNALS)
}

fn print(name: &str, passes: &mut [f64]) {
    passes.sort_unstable_by(f64::total_cmp);
    println!("{name:<10} {:6.0} {:6.0} {:6.0}", passes[PASSES / 2], passes[0], passes[PASSES - 1]);
}

fn main() {
    let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("an eventfd");
    let mut signaller = Signaller::new().expect("a signaller");
    if let Some(reason) = signaller.fallback() {
        println!("no AIO here, both are write(2): {reason}");
    }
    let (mut signalled, mut written) = (Vec::new(), Vec::new());
    for _ in 0..PASSES {
        signalled.push(pass(&event, || signaller.signal(&event).expect("a signal")));
        let write = || rustix::io::write(&event, &1u64.to_ne_bytes()).expect("a signal");
        written.push(pass(&event, || assert_eq!(write(), 8)));
    }
    println!("ns/signal  median  least   most");
    print("Signaller", &mut signalled);
    print("write(2)", &mut written);
}
