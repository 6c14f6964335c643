//! `cargo bench -p espwire-vring --bench forward`: what a frame costs on its way from one ring to another, on one
//! thread that plays both drivers and the device: ring work and copies, without cache lines that move between cores,
//! but with the handing over of lines to the shared cache, which is of use only there.
//!
//! Prints nanoseconds per frame for bursts of 1 and 32 and several lengths: median, least and most of 30 passes.

use std::sync::Arc;
use std::time::Instant;

use espwire_vring::{Buffer, DeviceRing, DriverRing, MAX_BURST, RegionTable, RingConfig, RingLayout};
use vm_memory::{GuestAddress, GuestMemoryMmap};

const HEADER_LEN: usize = 12;
const BUFFER_LEN: u64 = 2048;
/// From one buffer to the next: as in DPDK's pools, no multiple of a large power of two.
const STRIDE: u64 = BUFFER_LEN + 320;

/// A driver with its device's end, in a memory of its own.
struct End {
    driver: DriverRing,
    device: DeviceRing,
    buffers: u64,
}

impl End {
    fn new() -> Self {
        let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 4 << 20)]).expect("memory");
        let table = RegionTable::new(Arc::new(memory)).expect("a table");
        let config = RingConfig {
            size: 256,
            descriptors: 0,
            available: 0x1000,
            used: 0x2000,
            event_idx: true,
            indirect: true,
        };
        let layout = || RingLayout::new(&table, &config).expect("a layout");
        let driver = DriverRing::new(layout());
        Self { driver, device: DeviceRing::start(layout()), buffers: 0x10_0000 }
    }

    fn post(&mut self, count: usize, len: u32, writable: bool) {
        for i in 0..count as u64 {
            let addr = self.buffers + i * STRIDE;
            self.driver.push(&[Buffer { addr, len, writable }]).expect("a descriptor");
        }
        self.driver.publish();
    }

    fn take_back(&mut self) {
        while self.driver.pop_used().expect("a device that keeps the rules").is_some() {}
    }
}

/// One burst: as `backend` does it in mode `off`.
fn forward(tx: &mut DeviceRing, rx: &mut DeviceRing) -> usize {
    let burst = tx.pop_burst(MAX_BURST).expect("a good ring");
    let count = burst.len();
    rx.look_ahead(count);
    for i in 0..count {
        let chain = burst.chain(i);
        let len = chain.len().expect("a good chain") as usize;
        let mut header = chain.first_octets::<HEADER_LEN>().expect("a header");
        if rx.put_chain(&header, &chain, HEADER_LEN) {
            continue;
        }
        let mut room = rx.reserve(len, 64).expect("buffers");
        header[10] = room.chains() as u8;
        room.write(&header);
        room.write_chain(&chain, HEADER_LEN);
        assert!(room.commit());
    }
    burst.complete(count);
    rx.publish();
    rx.needs_call();
    tx.publish();
    tx.needs_call();
    count
}

fn main() {
    const FRAMES: usize = 64 * 1024;
    println!("octets  burst   ns/frame, all   device alone (median, least, most)");
    for len in [60, 256, 1514] {
        for burst in [1, 32] {
            let (mut a, mut b) = (End::new(), End::new());
            let mut passes: Vec<(u128, u128)> = (0..30)
                .map(|_| {
                    let start = Instant::now();
                    let mut device = 0;
                    for _ in 0..FRAMES / burst {
                        b.post(burst, BUFFER_LEN as u32, true);
                        a.post(burst, (HEADER_LEN + len) as u32, false);
                        let begun = Instant::now();
                        assert_eq!(forward(&mut a.device, &mut b.device), burst);
                        device += begun.elapsed().as_nanos();
                        a.take_back();
                        b.take_back();
                    }
                    (device, start.elapsed().as_nanos())
                })
                .collect();
            passes.sort_unstable();
            let per_frame = |nanos: u128| nanos as f64 / FRAMES as f64;
            let [median, least, most] = [passes[15], passes[0], passes[29]];
            println!(
                "{len:>6}  {burst:>5}   {:>13.1}   {:.1} ({:.1} to {:.1})",
                per_frame(median.1),
                per_frame(median.0),
                per_frame(least.0),
                per_frame(most.0)
            );
        }
    }
}
