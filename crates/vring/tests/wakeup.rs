//! Two threads, a driver and a device, that sleep on eventfds whenever `arm` says that nothing is there; and a
//! driver that scribbles over its rings while the device serves them.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use espwire_vring::{
    Buffer, DeviceRing, DriverRing, MAX_CHAIN, RegionTable, ReserveError, RingConfig, RingLayout,
};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};

/// Chains per run of the two threads.
const CHAINS: u64 = 1_000_000;
/// A wake-up that takes longer is lost.
const DEADLINE: Timespec = Timespec { tv_sec: 120, tv_nsec: 0 };

/// xorshift64*.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Does nothing for a while, sometimes.
    fn pause(&mut self) {
        match self.below(64) {
            0 => std::thread::yield_now(),
            1..8 => (0..self.below(2000)).for_each(|_| std::hint::spin_loop()),
            _ => {}
        }
    }
}

struct Event(OwnedFd);

impl Event {
    fn new() -> Self {
        Self(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap())
    }

    fn signal(&self) {
        rustix::io::write(&self.0, &1u64.to_ne_bytes()).unwrap();
    }

    /// Sleeps until the event is signalled.
    fn wait(&self, who: &str, done: u64) {
        let ready = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&DEADLINE)).unwrap();
        assert_eq!(ready, 1, "lost wake-up: the {who} sleeps after {done} chains");
        rustix::io::read(&self.0, &mut [0; 8]).unwrap();
    }
}

fn rings(size: u16, event_idx: bool) -> (DriverRing, DeviceRing, Arc<RegionTable>) {
    let ranges = [(GuestAddress(0), 0x8000), (GuestAddress(0x1_0000), 0x1_0000)];
    let table = RegionTable::new(Arc::new(GuestMemoryMmap::<()>::from_ranges(&ranges).unwrap())).unwrap();
    let config =
        RingConfig { size, descriptors: 0, available: 0x1000, used: 0x2000, event_idx, indirect: false };
    let layout = || RingLayout::new(&table, &config).unwrap();
    (DriverRing::new(layout()), DeviceRing::start(layout()), table)
}

/// Where chain `number` lies: `size` places, used in turn.
fn place(number: u64) -> u64 {
    0x1_0000 + 64 * (number % 256)
}

/// The driver: pushes in bursts, takes used entries in bursts, sleeps when there is nothing to do.
fn drive(
    driver: &mut DriverRing,
    table: &RegionTable,
    writable: bool,
    kick: &Event,
    call: &Event,
    seed: u64,
) -> u64 {
    let mut rng = Rng(seed);
    let (mut sent, mut returned, mut slept) = (0u64, 0u64, 0u64);
    while returned < CHAINS {
        for _ in 0..rng.below(2 * driver.free() as u64 + 1) {
            if sent == CHAINS || driver.free() == 0 {
                break;
            }
            if !writable {
                table.write(place(sent), &sent.to_le_bytes()).unwrap();
            }
            driver.push(&[Buffer { addr: place(sent), len: 8, writable }]).unwrap();
            sent += 1;
        }
        if driver.publish() {
            kick.signal();
        }
        rng.pause();
        let mut progress = false;
        while let Some((_, len)) = driver.pop_used().unwrap() {
            assert_eq!(len, if writable { 8 } else { 0 });
            if writable {
                let mut octets = [0; 8];
                table.read(place(returned), &mut octets).unwrap();
                assert_eq!(u64::from_le_bytes(octets), returned);
            }
            returned += 1;
            progress = true;
        }
        // An RX driver that sleeps before its ring is full may wait for a device that waits for more buffers.
        let may_sleep = driver.free() == 0 || sent == CHAINS || !writable && rng.below(4) == 0;
        if !progress && driver.in_flight() > 0 && may_sleep && !driver.arm() {
            call.wait("driver", returned);
            slept += 1;
            if rng.below(2) == 0 {
                driver.disarm();
            }
        }
    }
    slept
}

/// The device: serves in bursts, sleeps when there is nothing to do. How often it slept.
fn serve(device: &mut DeviceRing, writable: bool, kick: &Event, call: &Event, seed: u64) -> u64 {
    let mut rng = Rng(seed);
    let (mut served, mut slept) = (0u64, 0u64);
    while served < CHAINS {
        let mut wait_beyond = None;
        if writable {
            // Frames over several chains: with too few buffers it waits for more than it has seen.
            let chains = (1 + rng.below(3)).min(CHAINS - served);
            // A burst of frames of one chain each, before one that may need several.
            device.look_ahead(rng.below(4) as usize);
            while served + chains < CHAINS && device.put_octets(&[], &served.to_le_bytes()) {
                served += 1;
            }
            match device.reserve(8 * chains as usize, 3) {
                Ok(mut reservation) => {
                    assert_eq!(u64::from(reservation.chains()), chains);
                    for i in 0..chains {
                        reservation.write(&(served + i).to_le_bytes());
                    }
                    assert!(reservation.commit());
                    served += chains;
                }
                Err(ReserveError::Empty) => wait_beyond = Some(device.seen()),
                Err(error) => panic!("{error}"),
            }
        } else {
            let burst = device.pop_burst(1 + rng.below(64) as usize).unwrap();
            let count = burst.len();
            for i in 0..count {
                let mut octets = [0; 8];
                assert_eq!(burst.chain(i).copy_to(0, &mut octets), 8);
                assert_eq!(u64::from_le_bytes(octets), served + i as u64);
            }
            burst.complete(count);
            served += count as u64;
            wait_beyond = (count == 0).then_some(0);
        }
        // A call per burst; sometimes late, but before sleeping.
        if wait_beyond.is_some() || rng.below(4) != 0 || served == CHAINS {
            device.publish();
            if device.needs_call() {
                call.signal();
            }
        }
        if let Some(beyond) = wait_beyond {
            if !device.arm(beyond) {
                kick.wait("device", served);
                slept += 1;
                device.disarm();
            }
        } else {
            rng.pause();
        }
    }
    slept
}

fn no_wake_up_is_lost(size: u16, event_idx: bool, writable: bool) {
    let (mut driver, mut device, table) = rings(size, event_idx);
    let (kick, call) = (Event::new(), Event::new());
    let slept = std::thread::scope(|scope| {
        let device = scope.spawn(|| serve(&mut device, writable, &kick, &call, 11));
        let slept = drive(&mut driver, &table, writable, &kick, &call, 12);
        [slept, device.join().unwrap()]
    });
    assert!(slept.iter().all(|n| *n > 0), "both must have slept for this to show anything: {slept:?}");
    assert_eq!((driver.in_flight(), driver.free()), (0, usize::from(size)));
    assert_eq!((device.available(), device.fault()), (0, None));
    assert_eq!(device.next(), CHAINS as u16);
}

// G25
#[test]
fn no_wake_up_is_lost_on_a_tx_ring_with_event_idx() {
    no_wake_up_is_lost(256, true, false);
}

// G26
#[test]
fn no_wake_up_is_lost_on_a_tx_ring_with_flags() {
    no_wake_up_is_lost(256, false, false);
}

// G25
#[test]
fn no_wake_up_is_lost_on_an_rx_ring_with_event_idx() {
    no_wake_up_is_lost(64, true, true);
}

// G26
#[test]
fn no_wake_up_is_lost_on_an_rx_ring_with_flags() {
    no_wake_up_is_lost(64, false, true);
}

/// Regions of the hostile guest: rings, then data, then guard. Neither data nor guard end with a page; in the file
/// the octets up to the page's end follow.
const RINGS: (u64, usize) = (0x10_0000, 0x1_0000);
const DATA: (u64, usize) = (0x20_0000, 0xfff0);
const GUARD: (u64, usize) = (0x5a5a_5a00_0000, 0xfff0);
const FILE_LEN: usize = 0x3_0000;
const GUARD_OCTET: u8 = 0xa5;

/// An address that a scribbler writes into a descriptor: never one in the guard region.
fn hostile_addr(rng: &mut Rng) -> u64 {
    match rng.below(16) {
        0 => RINGS.0 + rng.below(RINGS.1 as u64),
        1 => DATA.0 + DATA.1 as u64 - rng.below(64),
        2 => [0, u64::MAX, DATA.0 - 1, GUARD.0 - 1][rng.below(4) as usize],
        _ => DATA.0 + rng.below(DATA.1 as u64),
    }
}

/// Writes random values over the rings and the indirect tables until told to stop.
fn scribble(table: &RegionTable, configs: &[RingConfig], stop: &AtomicBool, scribbles: &AtomicU64) {
    let mut rng = Rng(5);
    while !stop.load(Ordering::Relaxed) {
        scribbles.fetch_add(1, Ordering::Relaxed);
        let config = configs[rng.below(configs.len() as u64) as usize];
        let size = u64::from(config.size);
        let index = rng.below(size);
        // A descriptor of the ring, or one of an indirect table at the start of the data.
        let at =
            if rng.below(3) == 0 { DATA.0 + 16 * rng.below(256) } else { config.descriptors + 16 * index };
        match rng.below(8) {
            0..2 => table.write(at, &hostile_addr(&mut rng).to_le_bytes()).unwrap(),
            2 => {
                let len = [rng.below(100), rng.below(5000), 16 * rng.below(300), rng.next()];
                let len = len[rng.below(4) as usize] as u32;
                table.write(at + 8, &len.to_le_bytes()).unwrap();
            }
            3 => table.write(at + 12, &[rng.below(8) as u8]).unwrap(),
            4 => table.write(at + 14, &(rng.below(size + size / 8 + 1) as u16).to_le_bytes()).unwrap(),
            5 => {
                let most = if rng.below(500) == 0 { 2 * size } else { size };
                let head = rng.below(most) as u16;
                table.write(config.available + 4 + 2 * index, &head.to_le_bytes()).unwrap();
            }
            6 => {
                // Mostly a plausible index: what the device has used, and a bit.
                let mut used = [0; 2];
                table.read(config.used + 2, &mut used).unwrap();
                let most = if rng.below(500) == 0 { 0x1_0000 } else { size };
                let ahead = rng.below(most) as u16;
                let idx = u16::from_le_bytes(used).wrapping_add(ahead);
                table.write(config.available + 2, &idx.to_le_bytes()).unwrap();
            }
            _ => {
                table.write(config.available, &[rng.next() as u8]).unwrap();
                table.write(config.available + 4 + 2 * size, &(rng.next() as u16).to_le_bytes()).unwrap();
            }
        }
    }
}

/// Ends the scribbler also when the test panics.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

// G1 to G15, G21, G23
#[test]
fn a_driver_that_scribbles_over_its_rings_harms_only_itself() {
    let file = File::from(memfd_create("espwire-test", MemfdFlags::CLOEXEC).unwrap());
    ftruncate(&file, FILE_LEN as u64).unwrap();
    let mapped = |(start, len): (u64, usize), offset| {
        (GuestAddress(start), len, Some(FileOffset::new(file.try_clone().unwrap(), offset)))
    };
    // The file as a whole, to look at it from outside.
    let whole = GuestMemoryMmap::<()>::from_ranges_with_files([mapped((0, FILE_LEN), 0)]).unwrap();
    whole.write_slice(&[GUARD_OCTET; FILE_LEN - 0x1_0000], GuestAddress(0x1_0000)).unwrap();
    let ranges = [mapped(RINGS, 0), mapped(DATA, 0x1_0000), mapped(GUARD, 0x2_0000)];
    let memory = Arc::new(GuestMemoryMmap::<()>::from_ranges_with_files(ranges).unwrap());
    let table = RegionTable::new(memory).unwrap();
    let config = |start: u64, event_idx| RingConfig {
        size: 128,
        descriptors: start,
        available: start + 0x1000,
        used: start + 0x2000,
        event_idx,
        indirect: true,
    };
    let configs = [config(RINGS.0, true), config(RINGS.0 + 0x4000, false)];
    let [tx_layout, rx_layout] = configs.map(|c| move |t: &Arc<RegionTable>| RingLayout::new(t, &c).unwrap());
    let (stop, scribbles) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut rng = Rng(99);
    // What was seen: chains good and bad, frames passed on by `reserve` and into chains read ahead, faults of rings.
    let (mut good, mut bad, mut frames, mut puts, mut faults) = (0u64, 0u64, 0u64, 0u64, 0u64);
    std::thread::scope(|scope| {
        scope.spawn(|| scribble(&table, &configs, &stop, &scribbles));
        let _stop = StopOnDrop(&stop);
        let mut tx = DeviceRing::start(tx_layout(&table));
        let mut rx = DeviceRing::start(rx_layout(&table));
        let mut frame = vec![0; 4096];
        let started = Instant::now();
        let mut bursts = 0;
        while bursts < 30_000 || scribbles.load(Ordering::Relaxed) < 10_000_000 {
            assert!(started.elapsed() < Duration::from_secs(120), "only {bursts} bursts");
            if tx.fault().is_some() {
                faults += 1;
                tx = DeviceRing::start(tx_layout(&table));
            }
            if rx.fault().is_some() {
                faults += 1;
                rx = DeviceRing::start(rx_layout(&table));
            }
            let Ok(burst) = tx.pop_burst(8) else { continue };
            bursts += u32::from(!burst.is_empty());
            rx.look_ahead(burst.len());
            for i in 0..burst.len() {
                let chain = burst.chain(i);
                let Ok(len) = chain.len() else {
                    bad += 1;
                    assert_eq!(chain.copy_to(0, &mut frame), 0);
                    continue;
                };
                good += 1;
                assert_eq!(chain.copy_to(0, &mut frame), frame.len().min(len as usize));
                let put = match i % 2 {
                    0 => rx.put_chain(&[0; 12], &chain, 0),
                    _ => rx.put_octets(&[0; 12], &frame[..60]),
                };
                if put {
                    puts += 1;
                    continue;
                }
                let len = (len as usize).min(1500);
                let Ok(mut reservation) = rx.reserve(12 + len, 64) else { continue };
                assert!(usize::from(reservation.chains()) <= 64.min(MAX_CHAIN));
                assert_eq!(reservation.write(&frame[..12]), 12);
                assert_eq!(reservation.write_chain(&chain, 0), len);
                frames += u64::from(reservation.commit());
            }
            let count = rng.below(burst.len() as u64 + 1) as usize;
            burst.complete(count);
            for ring in [&mut tx, &mut rx] {
                ring.publish();
                ring.needs_call();
                let _ = ring.arm(ring.seen());
                ring.disarm();
            }
        }
    });
    assert!(
        good > 1000 && bad > 1000 && frames > 100 && puts > 100,
        "{good} good, {bad} bad, {frames} frames, {puts} read ahead, {faults} faults"
    );
    assert!(faults > 0, "no ring fault was seen");
    assert!(!table.is_broken());
    let mut octets = vec![0; FILE_LEN];
    whole.read_slice(&mut octets, GuestAddress(0)).unwrap();
    assert!(
        octets[0x1_0000 + DATA.1..].iter().all(|o| *o == GUARD_OCTET),
        "octets outside the buffers changed"
    );
    assert!(
        octets[0x1_0000..0x1_0000 + DATA.1].iter().any(|o| *o != GUARD_OCTET),
        "nothing was written at all"
    );
}
