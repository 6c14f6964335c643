//! `cargo bench -p espwire --bench inspect`: what a packet of AES-GCM-256 with 1420 octets of plaintext (the inner
//! packet, pad length, next header: 1486 octets on the wire) costs in mode `inspect`, beside the plain cable and
//! beside the cryptography in it: one opening and one sealing by the aes-gcm crate itself.
//!
//! One `espwire run --mode inspect,off` on a CPU of its own: what port a's guest sends is inspected, what port b's
//! sends crosses the plain cable, by the same thread. This thread, on the other CPU, plays both guests: they write no
//! frame and read none, and keep the rings full. Slices take turns: inspected, plain, crates (in this thread, in
//! place), and so on.
//!
//! What counts is the CPU time of the thread that does the work, as the kernel accounts it when that thread goes to
//! sleep: the path's in the first two (`--wait event`: it sleeps when a slice is over), this one's in the third. A
//! machine that is busy with other things costs time on the clock and hardly any of this. The time on the clock is
//! printed beside it, and how often the path slept, which costs it a system call each time: not more than once in
//! hundreds of packets if the sender keeps the ring full.
//!
//! The guest sends 4096 sealed frames over and over: that a number was seen before is noted and changes nothing. They
//! are 6 MiB, more than a core's L2 holds. At the end espwire's own counters must say that each packet was verified.
//!
//! Environment: PACKETS through inspect (1000000), SLICES (50), CPUS ("0,1": the path's, this thread's).

#[path = "../../tests/harness/esp.rs"]
mod esp;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use esp::{Ending, Sender};
use espwire_frontend::{GuestMemory, MemoryKind, Nic, Request, Side};
use espwire_vring::Buffer;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Octets of plaintext: payload, pad length, next header.
const PLAINTEXT_LEN: usize = 1420;
const POOL: usize = 4096;
/// Descriptors of a ring, and how many frames at most are on their way: the receiver always has a buffer, so that no
/// frame is ever dropped, however the threads are scheduled.
const RING: u16 = 512;
const HEADER_LEN: usize = 12;
/// From buffer to buffer.
const STRIDE: u64 = 1536;
const WAIT: Duration = Duration::from_secs(120);

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// An `espwire run` that ends with this program.
struct Cable(Child);

impl Drop for Cable {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A guest that sends what lies in its memory, and receives into buffers that it never reads.
struct Guest {
    nic: Nic,
    /// Address of its first frame to send, with its header.
    pool: u64,
    /// For each descriptor of the RX ring its buffer.
    buffers: Vec<u64>,
    /// Frames sent so far.
    sent: usize,
}

impl Guest {
    fn connect(path: &Path, frames: &[Vec<u8>]) -> Self {
        let mut memory = GuestMemory::new(1 << 20, 32 << 20, MemoryKind::default()).expect("memory");
        let pool = memory.allocate(1, STRIDE * POOL as u64, 4096).expect("room");
        let rx = memory.allocate(1, STRIDE * u64::from(RING), 4096).expect("room");
        let table = Arc::clone(memory.table());
        for (number, frame) in frames.iter().enumerate() {
            let octets = [&[0; HEADER_LEN], &frame[..]].concat();
            table.write(pool + STRIDE * number as u64, &octets).expect("mapped");
        }
        let builder = Nic::builder().retry(true).ring_size(RING).rx_buffers(0).memory(memory);
        let mut nic = builder.connect(path).expect("a backend");
        nic.connection().expect("connected").ask(Request::GET_FEATURES, false, &[]).expect("served");
        let mut guest = Self { nic, pool, buffers: vec![0; RING.into()], sent: 0 };
        for number in 0..RING {
            guest.give(rx + STRIDE * u64::from(number));
        }
        guest.publish(Side::Rx);
        guest
    }

    /// Makes the buffer at `addr` available to receive into.
    fn give(&mut self, addr: u64) {
        let ring = self.nic.ring(Side::Rx).expect("started");
        let head =
            ring.push(&[Buffer { addr, len: STRIDE as u32, writable: true }]).expect("a free descriptor");
        self.buffers[usize::from(head)] = addr;
    }

    fn publish(&mut self, side: Side) {
        if self.nic.ring(side).expect("started").publish() {
            self.nic.kick(side).expect("a kick");
        }
    }

    /// Takes back what was sent, and sends up to `count` frames of `len` octets; how many it sent.
    fn send(&mut self, count: usize, len: usize) -> usize {
        let ring = self.nic.ring(Side::Tx).expect("started");
        while ring.pop_used().expect("a device that keeps the rules").is_some() {}
        let mut sent = 0;
        while sent < count {
            let addr = self.pool + STRIDE * ((self.sent + sent) % POOL) as u64;
            let buffer = Buffer { addr, len: (HEADER_LEN + len) as u32, writable: false };
            if ring.push(&[buffer]).is_none() {
                break;
            }
            sent += 1;
        }
        if sent > 0 {
            self.sent += sent;
            self.publish(Side::Tx);
        }
        sent
    }

    /// Takes frames of `len` octets that were received; how many.
    fn receive(&mut self, len: usize) -> usize {
        let mut received = 0;
        while let Some((head, used)) =
            self.nic.ring(Side::Rx).expect("started").pop_used().expect("a device that keeps the rules")
        {
            assert_eq!(used as usize, HEADER_LEN + len);
            self.give(self.buffers[usize::from(head)]);
            received += 1;
        }
        if received > 0 {
            self.publish(Side::Rx);
        }
        received
    }
}

/// What a thread's folder in /proc says.
struct Thread(PathBuf);

impl Thread {
    /// The cable's path.
    fn path(cable: &Cable) -> Self {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", cable.0.id())).expect("/proc");
        let is_path = |folder: &PathBuf| {
            std::fs::read_to_string(folder.join("comm")).is_ok_and(|name| name.trim() == "path-0")
        };
        Self(tasks.flatten().map(|task| task.path()).find(is_path).expect("a path"))
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.0.join(file)).expect("/proc")
    }

    /// Waits until it sleeps: what it has used is accounted then.
    fn wait_asleep(&self) {
        let start = Instant::now();
        while !self.read("stat").rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" S")) {
            assert!(start.elapsed() < WAIT, "the path does not sleep");
        }
    }

    /// Nanoseconds of CPU time.
    fn cpu_time(&self) -> f64 {
        let text = self.read("schedstat");
        text.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
    }

    /// How often it went to sleep.
    fn sleeps(&self) -> f64 {
        let text = self.read("status");
        let number = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        number.and_then(|number| number.trim().parse().ok()).expect("a number")
    }
}

/// What a slice cost for each packet.
struct Cost {
    /// Nanoseconds of CPU time.
    cpu: f64,
    /// Nanoseconds on the clock.
    clock: f64,
    /// How often the path slept.
    sleeps: f64,
}

/// Sends `packets` frames of `len` octets from one guest to the other as fast as the cable takes them.
fn slice(path: &Thread, [from, to]: [&mut Guest; 2], packets: usize, len: usize) -> Cost {
    path.wait_asleep();
    let before = [path.cpu_time(), path.sleeps()];
    let (mut sent, mut received) = (0, 0);
    let start = Instant::now();
    while received < packets {
        sent += from.send((packets - sent).min(usize::from(RING) - (sent - received)), len);
        let now = to.receive(len);
        received += now;
        assert!(now > 0 || start.elapsed() < WAIT, "{received} of {sent} arrived");
    }
    let clock = start.elapsed().as_nanos() as f64;
    path.wait_asleep();
    let [cpu, clock, sleeps] =
        [path.cpu_time() - before[0], clock, path.sleeps() - before[1]].map(|cost| cost / packets as f64);
    Cost { cpu, clock, sleeps }
}

/// Opens and seals `packets` ESP packets by the crate's own calls: nanoseconds per packet.
fn open_and_seal(sender: &Sender, pool: &mut [Vec<u8>], packets: usize) -> Cost {
    let this = Thread("/proc/thread-self".into());
    // A thread that goes on running is accounted only now and then.
    std::thread::yield_now();
    let (before, start) = (this.cpu_time(), Instant::now());
    let (key, salt) = sender.encryption_key.split_at(32);
    let cipher = Aes256Gcm::new_from_slice(key).expect("32 octets");
    for number in 0..packets {
        let (header, rest) = pool[number % POOL].split_at_mut(8);
        let (iv, rest) = rest.split_at_mut(8);
        let (text, icv) = rest.split_last_chunk_mut::<16>().expect("an ICV");
        let mut nonce = Nonce::default();
        nonce[..4].copy_from_slice(salt);
        nonce[4..].copy_from_slice(iv);
        let tag = (&*icv).into();
        cipher.decrypt_inout_detached(&nonce, header, (&mut *text).into(), tag).expect("the right ICV");
        *icv = cipher.encrypt_inout_detached(&nonce, header, text.into()).expect("short enough").into();
    }
    let clock = start.elapsed().as_nanos() as f64;
    std::thread::yield_now();
    let [cpu, clock] = [this.cpu_time() - before, clock].map(|cost| cost / packets as f64);
    Cost { cpu, clock, sleeps: 0.0 }
}

fn main() {
    let (packets, slices) = (setting("PACKETS", 1_000_000), setting("SLICES", 50).max(1));
    let cpus = std::env::var("CPUS").unwrap_or_else(|_| "0,1".to_owned());
    let cpus: Vec<usize> = cpus.split(',').filter_map(|cpu| cpu.parse().ok()).collect();
    let [path_cpu, our_cpu] = cpus[..] else { panic!("CPUS must be two numbers") };
    let per_slice = packets.div_ceil(slices);

    let mut sender = Sender::gcm(0x100);
    let inner = esp::inner_udp(7, 9, &vec![b'x'; PLAINTEXT_LEN - 2 - 28]);
    let ending = Ending { padding: vec![], pad_len: 0, next_header: 4 };
    let frames: Vec<_> = (0..POOL).map(|_| sender.frame_ending(&inner, &ending)).collect();
    let len = frames[0].len();
    let mut pool: Vec<_> = frames.iter().map(|frame| frame[sender.esp_at()..].to_vec()).collect();

    let folder = tempfile::tempdir().expect("a folder");
    let [a, b, xfrm, stats] = ["a", "b", "xfrm", "stats"].map(|name| folder.path().join(name));
    std::fs::write(&xfrm, sender.xfrm()).expect("a file");
    let cpu = path_cpu.to_string();
    let options = ["--mode", "inspect,off", "--wait", "event", "--cpu", &cpu];
    let mut command = Command::new(env!("CARGO_BIN_EXE_espwire"));
    command.arg("run").arg("--socket-path").arg(&a).arg("--peer-socket-path").arg(&b).args(options);
    command.arg("--xfrm").arg(&xfrm).arg("--stats").arg(&stats);
    let mut cable = Cable(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("espwire"));
    let (mut a, mut b) = (Guest::connect(&a, &frames), Guest::connect(&b, &frames));
    let mut only = CpuSet::new();
    only.set(our_cpu);
    if let Err(error) = sched_setaffinity(None, &only) {
        println!("not pinned to CPU {our_cpu}: {error}");
    }

    println!(
        "{} packets of AES-GCM-256, {PLAINTEXT_LEN} octets of plaintext, {len} on the wire; {slices} slices of \
         {per_slice} each, in turn; espwire run {} on CPU {path_cpu}, guests on {our_cpu}",
        slices * per_slice,
        options.join(" ")
    );
    let path = Thread::path(&cable);
    let mut costs = [const { Vec::new() }; 3];
    for turn in 0..=slices {
        let cost = [
            slice(&path, [&mut a, &mut b], per_slice, len),
            slice(&path, [&mut b, &mut a], per_slice, len),
            open_and_seal(&sender, &mut pool, per_slice),
        ];
        // The first turn warms up.
        if turn > 0 {
            costs.iter_mut().zip(cost).for_each(|(all, one)| all.push(one));
        }
    }
    println!(
        "ns per packet: median (10th to 90th percentile)   CPU time                clock           sleeps in 1000"
    );
    for (name, costs) in ["inspect", "plain cable", "aes-gcm crate, open + seal"].iter().zip(&costs) {
        let of = |field: fn(&Cost) -> f64| shown(costs.iter().map(field));
        let sleeps = of(|cost| 1000.0 * cost.sleeps);
        println!("{name:44}  {:>22}  {:>22}  {sleeps:>16}", of(|cost| cost.cpu), of(|cost| cost.clock));
    }
    let [inspected, plain, crates] = &costs;
    let beyond = inspected.iter().zip(plain).zip(crates).map(|((i, p), c)| i.cpu - p.cpu - c.cpu);
    println!("{:44}  {:>22}", "inspect beyond both, turn by turn", shown(beyond));

    drop((a, b));
    kill_process(Pid::from_child(&cable.0), Signal::TERM).expect("it runs");
    assert!(cable.0.wait().expect("its status").success());
    check(&stats, ((slices + 1) * per_slice) as u64);
}

/// What espwire itself counted: each packet verified, none lost.
fn check(stats: &Path, packets: u64) {
    let text = std::fs::read_to_string(stats).expect("counters");
    let counters: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let count = packets.to_string();
    let [a, b] = [0, 1].map(|port| &counters["ports"][port]);
    assert_eq!(a["tx"]["sas"][0]["packets"], count, "{counters}");
    assert_eq!((&a["tx"]["frames"], &b["rx"]["frames"]), (&count.as_str().into(), &count.as_str().into()));
    assert_eq!((&b["tx"]["frames"], &a["rx"]["frames"]), (&count.as_str().into(), &count.as_str().into()));
    println!("espwire counted {packets} packets verified, warm-up included, and as many plain; none dropped");
}

fn shown(numbers: impl Iterator<Item = f64>) -> String {
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    let at = |percent| numbers[numbers.len() * percent / 100];
    format!("{:.0} ({:.0} to {:.0})", at(50), at(10), at(90))
}
