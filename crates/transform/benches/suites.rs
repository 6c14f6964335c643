//! Nanoseconds per packet of `open_burst` and `seal_burst`, in bursts of 1, 8, 32 and 64, beside `openssl speed`.
//!
//! ```text
//! cargo bench -p espwire-transform                      one suite of each kind, six lengths: about two minutes
//! cargo bench -p espwire-transform -- gcm 1420          suites with "gcm" in their name, one length
//! cargo bench -p espwire-transform -- cbc-256 sha-1- seal x32    more words: all must be in the name; one direction
//! cargo bench -p espwire-transform -- all 64            every suite; those that differ in the ICV's length don't
//!                                                       differ in time
//! ```
//!
//! A length is the ciphertext's octets, for AES-CBC rounded up to whole blocks. All packets have one key. A pass is 64
//! packets, sealed and opened in turn, one half of the passes before and one after OpenSSL's second. Shown: the
//! median, and half the distance from the 10th to the 90th percentile in percent of it.
//!
//! OpenSSL's figure is that of `openssl speed -evp` (`-aead` for combined modes, with an AAD of 13 octets; `-hmac` for
//! HMACs), which reuses one context. For a cipher with an HMAC it is the sum of the two, for AES-GMAC there is none.

mod openssl;

use espwire_transform::{
    AesKeyLen, HEADER_LEN, IcvLen, Integrity, Job, SaKey, Status, Suite, danger, open_burst,
};
use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};

use openssl::OpenSsl;

const LENGTHS: [usize; 6] = [64, 256, 512, 1024, 1420, 8960];
const BURSTS: [usize; 4] = [1, 8, 32, 64];
const PACKETS: usize = 64;
/// Time for one burst size, both directions, half of it before and half after OpenSSL.
const BUDGET: Duration = Duration::from_millis(60);

/// One suite of each kind: what is measured if no suite is named.
const KINDS: [Suite; 12] = [
    Suite::AesGcm(AesKeyLen::Aes128, IcvLen::Icv16),
    Suite::AesGcm(AesKeyLen::Aes256, IcvLen::Icv16),
    Suite::AesCcm(AesKeyLen::Aes256, IcvLen::Icv16),
    Suite::ChaCha20Poly1305,
    Suite::AesGmac(AesKeyLen::Aes256),
    Suite::AesCbc(AesKeyLen::Aes128, Integrity::HmacSha256_128),
    Suite::AesCbc(AesKeyLen::Aes256, Integrity::HmacSha1_96),
    Suite::AesCbc(AesKeyLen::Aes256, Integrity::HmacSha256_128),
    Suite::AesCbc(AesKeyLen::Aes256, Integrity::HmacSha384_192),
    Suite::AesCbc(AesKeyLen::Aes256, Integrity::HmacSha512_256),
    Suite::AesCtr(AesKeyLen::Aes256, Integrity::HmacSha256_128),
    Suite::Null(Integrity::HmacSha256_128),
];

/// What the command line asks for.
struct Selection {
    suites: Vec<Suite>,
    lengths: Vec<usize>,
    bursts: Vec<usize>,
    directions: Vec<Direction>,
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Open,
    Seal,
}

impl Selection {
    fn new(words: impl Iterator<Item = String>) -> Self {
        let (mut names, mut lengths, mut bursts, mut directions) = (vec![], vec![], vec![], vec![]);
        for word in words.map(|word| word.to_lowercase()) {
            if word.starts_with("--") {
                continue; // Cargo's own.
            } else if let Ok(len) = word.parse() {
                lengths.push(len);
            } else if let Some(Ok(burst)) = word.strip_prefix('x').map(str::parse) {
                assert!(BURSTS.contains(&burst), "bursts are of {BURSTS:?}");
                bursts.push(burst);
            } else {
                match word.as_str() {
                    "open" => directions.push(Direction::Open),
                    "seal" => directions.push(Direction::Seal),
                    _ => names.push(word),
                }
            }
        }
        let is_named = |suite: &Suite| {
            let name = suite.to_string().to_lowercase();
            names.iter().all(|word| word == "all" || name.contains(word))
        };
        let all = |suites: Vec<Suite>| suites.into_iter().filter(is_named).collect::<Vec<_>>();
        let mut suites = if names.iter().any(|word| word == "all") { vec![] } else { all(KINDS.to_vec()) };
        if suites.is_empty() {
            suites = all(Suite::all().collect());
        }
        let or =
            |given: Vec<usize>, default: &[usize]| if given.is_empty() { default.to_vec() } else { given };
        if directions.is_empty() {
            directions = vec![Direction::Seal, Direction::Open];
        }
        Self { suites, lengths: or(lengths, &LENGTHS), bursts: or(bursts, &BURSTS), directions }
    }
}

fn main() {
    let selection = Selection::new(std::env::args().skip(1));
    let mut openssl = OpenSsl::new();
    println!("ns per packet: median ± half of p10 to p90; openssl: {}", openssl.version().unwrap_or("none"));
    let bursts = selection.bursts.iter().fold(String::new(), |mut line, burst| {
        write!(line, "{:>14}", format!("burst {burst}")).expect("a string");
        line
    });
    println!("{:38} {:>6} {:4} {bursts}{:>10}", "suite", "octets", "", "openssl");
    for &suite in &selection.suites {
        for &len in &selection.lengths {
            let len = len.max(2).next_multiple_of(suite.block_len());
            let mut cells =
                selection.bursts.iter().map(|&burst| Cell::new(suite, len, burst)).collect::<Vec<_>>();
            cells.iter_mut().for_each(Cell::measure);
            let theirs = selection
                .directions
                .iter()
                .map(|&direction| openssl.ns(suite, len, direction == Direction::Open));
            let theirs = theirs.collect::<Vec<_>>();
            cells.iter_mut().for_each(Cell::measure);
            for (&direction, theirs) in selection.directions.iter().zip(theirs) {
                let ours = cells.iter_mut().fold(String::new(), |line, cell| line + &cell.shown(direction));
                let word = if direction == Direction::Seal { "seal" } else { "open" };
                let theirs = theirs.map_or("-".to_owned(), |ns| format!("{ns:.0}"));
                println!("{:38} {len:>6} {word:4} {ours}{theirs:>10}", suite.to_string());
            }
        }
    }
    if let Err(why) = openssl.version() {
        println!("not run: openssl ({why})");
    }
}

/// One suite, length and burst size.
struct Cell {
    key: SaKey,
    packets: Vec<Vec<u8>>,
    burst: usize,
    seal_ns: Vec<f64>,
    open_ns: Vec<f64>,
}

impl Cell {
    fn new(suite: Suite, len: usize, burst: usize) -> Self {
        let encryption_key = vec![0x5a; suite.encryption_key_len()];
        let integrity_key = vec![0xa5; suite.integrity_algorithm().map_or(0, Integrity::key_len)];
        let key = SaKey::new(suite, &encryption_key, &integrity_key).expect("the suite's own lengths");
        let packet = |n: usize| vec![n as u8; 8 + suite.iv_len() + len + suite.icv_len()];
        let packets = (0..PACKETS).map(packet).collect();
        Self { key, packets, burst, seal_ns: vec![], open_ns: vec![] }
    }

    fn measure(&mut self) {
        let end = Instant::now() + BUDGET / 2;
        while Instant::now() < end {
            let (seal_ns, open_ns) = (self.pass(danger::seal_burst), self.pass(open_burst));
            self.seal_ns.push(seal_ns);
            self.open_ns.push(open_ns);
        }
    }

    fn pass(&mut self, work: fn(&mut [Job<'_>])) -> f64 {
        let start = Instant::now();
        for packets in self.packets.chunks_mut(self.burst) {
            match self.burst {
                1 => burst::<1>(&self.key, packets, work),
                8 => burst::<8>(&self.key, packets, work),
                32 => burst::<32>(&self.key, packets, work),
                _ => burst::<64>(&self.key, packets, work),
            }
        }
        start.elapsed().as_nanos() as f64 / PACKETS as f64
    }

    fn shown(&mut self, direction: Direction) -> String {
        let ns = if direction == Direction::Seal { &mut self.seal_ns } else { &mut self.open_ns };
        ns.sort_by(f64::total_cmp);
        let at = |percent| ns[ns.len() * percent / 100];
        let spread = (at(90) - at(10)) / 2.0 / at(50) * 100.0;
        format!("{:>14}", format!("{:.0} ±{spread:.0}%", at(50)))
    }
}

fn burst<const LEN: usize>(key: &SaKey, packets: &mut [Vec<u8>], work: fn(&mut [Job<'_>])) {
    let mut packets = packets.iter_mut();
    let mut jobs: [Job<'_>; LEN] =
        std::array::from_fn(|_| Job::new(key, None, packets.next().expect("a burst of packets")));
    work(&mut jobs);
    assert!(black_box(&jobs).iter().all(|job| job.status == Status::Done));
}
