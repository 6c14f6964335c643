//! `cargo bench -p espwire --bench round_trip`: how long one small frame takes from one guest to the other
//! through an idle cable in `--wait event`, beside the least that two wake-ups can take.
//!
//! The frame's way: kick, the path wakes, one copy, call, the receiver wakes. The bare way: a thread writes an
//! eventfd, another wakes on it and writes a second, the first wakes. Both between the same two CPUs (path and
//! bare responder on one, this thread on the other), in turn, block by block: the two CPUs of a virtual
//! machine may move apart in between (the probe tells), so each block of the one is compared with the
//! neighbouring block of the other.
//!
//! Environment: BLOCKS (20), ROUNDS per block (1000), CPUS ("0,1": the path's, this thread's).

use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use espwire_frontend::{Nic, Request};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::thread::{CpuSet, sched_setaffinity};

const WAIT: Duration = Duration::from_secs(120);

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    if let Err(error) = sched_setaffinity(None, &set) {
        println!("not pinned to CPU {cpu}: {error}");
    }
}

/// An `espwire run` that ends with this program.
struct Cable(Child);

impl Drop for Cable {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sleeps until `event` is written, as an event loop does, and takes it.
fn wait_and_read(event: &OwnedFd) {
    poll(&mut [PollFd::new(event, PollFlags::IN)], None).expect("poll");
    rustix::io::read(event, &mut [0; 8]).expect("an eventfd that was written");
}

fn write(event: &OwnedFd) {
    rustix::io::write(event, &1u64.to_ne_bytes()).expect("an eventfd takes a write");
}

/// Median round trip in nanoseconds of a cache line that two threads on the two CPUs write in turn: tells near
/// cores from far ones.
fn placement(cpus: [usize; 2]) -> u64 {
    const TRIPS: u64 = 2000;
    let line = AtomicU64::new(0);
    let mut medians: Vec<u64> = std::thread::scope(|scope| {
        scope.spawn(|| {
            pin(cpus[0]);
            for trip in 0..20 * TRIPS {
                while line.load(Ordering::Acquire) != 2 * trip + 1 {
                    std::hint::spin_loop();
                }
                line.store(2 * trip + 2, Ordering::Release);
            }
        });
        (0..20)
            .map(|block| {
                let start = Instant::now();
                for trip in block * TRIPS..(block + 1) * TRIPS {
                    line.store(2 * trip + 1, Ordering::Release);
                    while line.load(Ordering::Acquire) != 2 * trip + 2 {
                        std::hint::spin_loop();
                    }
                }
                start.elapsed().as_nanos() as u64 / TRIPS
            })
            .collect()
    });
    medians.sort_unstable();
    medians[medians.len() / 2]
}

/// The values at 50 and 99 per cent, in nanoseconds.
fn percentiles(mut times: Vec<u64>) -> [u64; 2] {
    times.sort_unstable();
    [times[times.len() / 2], times[times.len() * 99 / 100]]
}

fn measure(rounds: usize, mut round: impl FnMut()) -> Vec<u64> {
    let mut time = || {
        let start = Instant::now();
        round();
        start.elapsed().as_nanos() as u64
    };
    (0..rounds).map(|_| time()).collect()
}

fn main() {
    let (blocks, rounds) = (setting("BLOCKS", 20), setting("ROUNDS", 1000));
    let cpus = std::env::var("CPUS").unwrap_or_else(|_| "0,1".to_owned());
    let cpus: Vec<usize> = cpus.split(',').filter_map(|cpu| cpu.parse().ok()).collect();
    let [path_cpu, our_cpu] = cpus[..] else { panic!("CPUS must be two numbers") };

    let folder = tempfile::tempdir().expect("a folder");
    let [a, b] = ["a", "b"].map(|port| folder.path().join(port));
    let mut command = Command::new(env!("CARGO_BIN_EXE_espwire"));
    command.arg("run").arg("--socket-path").arg(&a).arg("--peer-socket-path").arg(&b);
    command.args(["--wait", "event", "--cpu", &path_cpu.to_string()]);
    let _cable = Cable(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("espwire"));
    let up = |path| {
        let mut nic = Nic::builder().retry(true).connect(path).expect("a backend");
        nic.connection().expect("connected").ask(Request::GET_FEATURES, false, &[]).expect("served");
        nic
    };
    let (mut a, mut b) = (up(&a), up(&b));
    pin(our_cpu);

    let [there, back] = [(), ()].map(|()| eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd"));
    let [there_too, back_too] = [&there, &back].map(|event| event.try_clone().expect("a descriptor"));
    // Ends with the process.
    std::thread::spawn(move || {
        pin(path_cpu);
        loop {
            wait_and_read(&there_too);
            write(&back_too);
        }
    });

    let frame = [0x5a; 60];
    let mut through_cable = || {
        a.send(&frame).expect("sent");
        b.wait_receive(WAIT).expect("received");
        a.reap_tx().expect("returned");
    };
    let mut bare = || {
        write(&there);
        wait_and_read(&back);
    };
    measure(rounds, &mut through_cable);
    measure(rounds, &mut bare);

    println!(
        "one frame of 60 octets, {blocks} blocks of {rounds} in turn, path on CPU {path_cpu}, guests on {our_cpu}"
    );
    println!("block  core-to-core   cable p50    p99   bare p50    p99   difference p50    p99   (µs)");
    let micros = |nanos: u64| nanos as f64 / 1000.0;
    let mut differences = [const { Vec::new() }; 2];
    let mut all = [const { Vec::new() }; 2];
    for block in 0..blocks {
        let near = placement([path_cpu, our_cpu]);
        let cable = measure(rounds, &mut through_cable);
        let eventfd = measure(rounds, &mut bare);
        all[0].extend(&cable);
        all[1].extend(&eventfd);
        let (c, e) = (percentiles(cable), percentiles(eventfd));
        let difference = [0, 1].map(|i| micros(c[i]) - micros(e[i]));
        println!(
            "{block:>5}  {near:>9} ns  {:>10.1} {:>6.1} {:>10.1} {:>6.1} {:>16.1} {:>6.1}",
            micros(c[0]),
            micros(c[1]),
            micros(e[0]),
            micros(e[1]),
            difference[0],
            difference[1]
        );
        for (all, one) in differences.iter_mut().zip(difference) {
            all.push(one);
        }
    }
    let [cable, eventfd] = all.map(percentiles);
    for (i, name) in ["p50", "p99"].into_iter().enumerate() {
        let d = &mut differences[i];
        d.sort_unstable_by(f64::total_cmp);
        println!(
            "{name}: cable {:.1} µs, bare two-hop eventfd {:.1} µs; difference by block: median {:+.1} µs ({:+.1} to {:+.1})",
            micros(cable[i]),
            micros(eventfd[i]),
            d[d.len() / 2],
            d[0],
            d[d.len() - 1]
        );
    }
}
