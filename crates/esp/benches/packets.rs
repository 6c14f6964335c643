//! Nanoseconds per packet of the whole ESP step, beside the bare transform and `openssl speed`.
//!
//! ```text
//! cargo bench -p espwire-esp                        the suites that are most used, all lengths: about two minutes
//! cargo bench -p espwire-esp -- gcm 1420            suites with "gcm" in their name, one length
//! cargo bench -p espwire-esp -- cbc-256 seal x32    more words: all must be in the name; one direction, one burst size
//! cargo bench -p espwire-esp -- --all 64            every suite; those that differ in the ICV's length don't
//!                                                   differ in time
//! ```
//!
//! *esp*: prepare, the transform and, of what is opened, accept, as a sender and a receiver with ESN and a window of
//! 64 do it: from a payload in its place to a sealed packet, and back. *bare*: the transform's call alone on the same
//! packets. A length is the ciphertext's octets, which the payload fills but for the least trailer; for AES-CBC it is
//! rounded up to whole blocks. A pass is 64 packets, and the four kinds of passes take turns, one half of them before
//! and one after OpenSSL's second. Shown: the median, and the 10th and 90th percentile.
//!
//! OpenSSL reuses one context and its AAD has 13 octets; `ratio` is *esp* divided by it, less than 1 if *esp* is
//! faster.

#[path = "../../transform/benches/openssl/mod.rs"]
mod openssl;

use std::hint::black_box;
use std::time::{Duration, Instant};

use espwire_esp::{
    AesKeyLen, HEADER_LEN, IcvLen, InboundSa, Integrity, Job, Numbering, OpenBurst, OutboundSa, Replay,
    SaKey, SealBurst, Status, Suite, Unsealed, danger, open_burst,
};
use openssl::OpenSsl;

const LENGTHS: [usize; 6] = [64, 256, 512, 1024, 1420, 8960];
const BURSTS: [usize; 4] = [1, 8, 32, 64];
const PACKETS: usize = 64;
/// Time for one burst size, all four kinds of passes, half of it before and half after OpenSSL.
const BUDGET: Duration = Duration::from_millis(120);

/// What is measured if no suite is named.
const MOST_USED: [Suite; 6] = [
    Suite::AesGcm(AesKeyLen::Aes128, IcvLen::Icv16),
    Suite::AesGcm(AesKeyLen::Aes256, IcvLen::Icv16),
    Suite::ChaCha20Poly1305,
    Suite::AesCbc(AesKeyLen::Aes128, Integrity::HmacSha1_96),
    Suite::AesCbc(AesKeyLen::Aes256, Integrity::HmacSha256_128),
    Suite::Null(Integrity::HmacSha256_128),
];

/// What the command line asks for.
#[derive(Default)]
struct Selection {
    suites: Vec<Suite>,
    lengths: Vec<usize>,
    bursts: Vec<usize>,
    /// Whether packets are opened.
    directions: Vec<bool>,
}

impl Selection {
    fn new(words: impl Iterator<Item = String>) -> Self {
        let mut selection = Self::default();
        let (mut names, mut all) = (Vec::new(), false);
        for word in words.map(|word| word.to_lowercase()) {
            let burst = word.strip_prefix('x').and_then(|number| number.parse().ok());
            match (word.as_str(), word.parse(), burst) {
                ("--all", ..) => all = true,
                (cargo, ..) if cargo.starts_with("--") => {}
                ("seal", ..) => selection.directions.push(false),
                ("open", ..) => selection.directions.push(true),
                (_, Ok(len), _) => selection.lengths.push(len),
                (_, _, Some(burst)) => selection.bursts.push(usize::clamp(burst, 1, PACKETS)),
                _ => names.push(word),
            }
        }
        let named = |suites: Vec<Suite>| {
            let is_named = |suite: &Suite| {
                let suite = suite.to_string().to_lowercase();
                names.iter().all(|name| suite.contains(name))
            };
            suites.into_iter().filter(is_named).collect::<Vec<_>>()
        };
        selection.suites = if all { Vec::new() } else { named(MOST_USED.to_vec()) };
        if selection.suites.is_empty() {
            selection.suites = named(Suite::all().collect());
        }
        if selection.lengths.is_empty() {
            selection.lengths = LENGTHS.to_vec();
        }
        if selection.bursts.is_empty() {
            selection.bursts = BURSTS.to_vec();
        }
        if selection.directions.is_empty() {
            selection.directions = vec![false, true];
        }
        selection
    }
}

fn main() {
    let selection = Selection::new(std::env::args().skip(1));
    let mut openssl = OpenSsl::new();
    let version = openssl.version().map_or_else(|error| format!("not run ({error})"), str::to_owned);
    println!("ns per packet, median and p10–p90; openssl: {version}");
    println!(
        "{:34} {:>6} {:>5} {:>5} {:>22} {:>22} {:>8} {:>8} {:>6}",
        "suite", "octets", "", "burst", "esp", "bare", "esp-bare", "openssl", "ratio"
    );
    for &suite in &selection.suites {
        for &len in &selection.lengths {
            let mut cells =
                selection.bursts.iter().map(|&burst| Cell::new(suite, len, burst)).collect::<Vec<_>>();
            let text_len = cells[0].payload_len + 2;
            cells.iter_mut().for_each(Cell::measure);
            let theirs = [false, true].map(|opens| {
                let is_asked_for = selection.directions.contains(&opens);
                is_asked_for.then(|| openssl.ns(suite, text_len, opens)).flatten()
            });
            cells.iter_mut().for_each(Cell::measure);
            for &opens in &selection.directions {
                for cell in &mut cells {
                    let [esp, bare] = if opens { [2, 3] } else { [0, 1] }.map(|kind| cell.percentiles(kind));
                    let theirs = theirs[usize::from(opens)];
                    println!(
                        "{:34} {text_len:>6} {:>5} {:>5} {:>22} {:>22} {:>+8.0} {:>8} {:>6}",
                        suite.to_string(),
                        if opens { "open" } else { "seal" },
                        cell.burst,
                        shown(esp),
                        shown(bare),
                        esp[1] - bare[1],
                        theirs.map_or("-".to_owned(), |ns| format!("{ns:.0}")),
                        theirs.map_or("-".to_owned(), |ns| format!("{:.2}", esp[1] / ns)),
                    );
                }
            }
        }
    }
}

fn shown([low, median, high]: [f64; 3]) -> String {
    format!("{median:.0} ({low:.0}–{high:.0})")
}

/// One suite, length and burst size.
struct Cell {
    sender: OutboundSa,
    receiver: InboundSa,
    bare_key: SaKey,
    payload_len: usize,
    packets: Vec<Vec<u8>>,
    burst: usize,
    unsealed: Vec<Unsealed>,
    /// Sealing, bare; opening, bare.
    ns: [Vec<f64>; 4],
}

impl Cell {
    fn new(suite: Suite, len: usize, burst: usize) -> Self {
        let encryption_key = vec![0x5a; suite.encryption_key_len()];
        let integrity_key = vec![0xa5; suite.integrity_algorithm().map_or(0, Integrity::key_len)];
        let key = || SaKey::new(suite, &encryption_key, &integrity_key).expect("the suite's own lengths");
        let numbering = Numbering { esn: true, may_cycle: false, last: 0 };
        let sender = OutboundSa::new(key(), 0x1001, numbering, [7; _].into());
        let payload_len = len.max(4).next_multiple_of(suite.block_len().max(4)) - 2;
        let packets = (0..PACKETS).map(|n| vec![n as u8; sender.packet_len(payload_len)]).collect();
        let receiver = InboundSa::new(key(), true, 64);
        let unsealed = Vec::with_capacity(PACKETS);
        Self {
            sender,
            receiver,
            bare_key: key(),
            payload_len,
            packets,
            burst,
            unsealed,
            ns: Default::default(),
        }
    }

    fn measure(&mut self) {
        let end = Instant::now() + BUDGET / 2;
        while Instant::now() < end {
            let passes: [fn(&mut Self); 4] =
                [Self::seal, |cell| cell.bare(open_burst), |cell| cell.bare(danger::seal_burst), Self::open];
            // In an order in which each finds what the one before left; then the place of its figures.
            for (pass, kind) in passes.into_iter().zip([0, 3, 1, 2]) {
                let start = Instant::now();
                pass(self);
                self.ns[kind].push(start.elapsed().as_nanos() as f64 / PACKETS as f64);
            }
        }
    }

    fn seal(&mut self) {
        for packets in self.packets.chunks_mut(self.burst) {
            for packet in packets.iter_mut() {
                self.unsealed.push(self.sender.prepare(packet, self.payload_len, 4).expect("a number"));
            }
            let mut burst = SealBurst::with_capacity(packets.len());
            for (packet, unsealed) in packets.iter_mut().zip(self.unsealed.drain(..)) {
                burst.push(&self.sender, unsealed, packet);
            }
            burst.seal().expect("all are sealed");
        }
    }

    fn open(&mut self) {
        for packets in self.packets.chunks_mut(self.burst) {
            let mut burst = OpenBurst::with_capacity(packets.len());
            for packet in packets.iter_mut() {
                let prepared = self.receiver.prepare(packet).expect("a right length");
                assert_eq!(prepared.replay, Replay::Fresh);
                burst.push(&self.receiver, prepared, packet);
            }
            for (outcome, packet) in burst.open().into_iter().zip(packets) {
                let verified = outcome.expect("a right ICV");
                let accepted = self.receiver.accept(verified, packet).expect("its SA");
                black_box(accepted.trailer).expect("a right trailer");
            }
        }
    }

    fn bare(&mut self, work: fn(&mut [Job<'_>])) {
        for packets in self.packets.chunks_mut(self.burst) {
            let mut jobs = Vec::with_capacity(packets.len());
            jobs.extend(packets.iter_mut().map(|packet| Job::new(&self.bare_key, Some(0), packet)));
            work(&mut jobs);
            assert!(black_box(&jobs).iter().all(|job| job.status == Status::Done));
        }
    }

    /// The 10th, the 50th and the 90th.
    fn percentiles(&mut self, kind: usize) -> [f64; 3] {
        let ns = &mut self.ns[kind];
        ns.sort_by(f64::total_cmp);
        [10, 50, 90].map(|percent| ns[ns.len() * percent / 100])
    }
}
