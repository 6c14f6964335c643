//! Makes the inputs from which fuzzing begins: `seeds FOLDER` writes them to FOLDER/spd, FOLDER/xfrm and FOLDER/decapsulate.
//!
//! They come from tests/data/xfrm and tests/data/corpus, and from a generator of numbers that is always the same.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::{env, fs};

use serde_json::Value;

/// A packet longer than this does not fit into a step of a target.
const LONGEST: usize = 255;

fn main() -> Result<(), Box<dyn Error>> {
    let Some(folder) = env::args().nth(1) else { return Err("usage: seeds FOLDER".into()) };
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data");
    let [outer, inner] = packets(&data.join("corpus/corpus.jsonl.gz"))?;
    write(&folder, "xfrm", &texts(&data.join("xfrm"))?)?;
    write(&folder, "spd", &policies(&inner))?;
    write(&folder, "decapsulate", &sequences(&outer))?;
    Ok(())
}

fn write(folder: &str, target: &str, seeds: &[Vec<u8>]) -> std::io::Result<()> {
    let folder = Path::new(folder).join(target);
    fs::create_dir_all(&folder)?;
    for (number, seed) in seeds.iter().enumerate() {
        fs::write(folder.join(format!("seed-{number:04}")), seed)?;
    }
    println!("{}: {} seeds", folder.display(), seeds.len());
    Ok(())
}

/// Each command, and each state or policy that was printed.
fn texts(folder: &Path) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let mut paths: Vec<_> =
        fs::read_dir(folder)?.map(|file| Ok(file?.path())).collect::<std::io::Result<_>>()?;
    paths.sort();
    let mut pieces = Vec::<String>::new();
    for path in paths {
        if path.extension().is_none_or(|extension| extension == "md") {
            continue;
        }
        let mut goes_on = false;
        for line in fs::read_to_string(path)?.split_inclusive('\n') {
            let is_indented = line.starts_with([' ', '\t']);
            match pieces.last_mut() {
                Some(piece) if goes_on || is_indented => piece.push_str(line),
                _ => pieces.push(line.to_owned()),
            }
            goes_on = line.trim_end().ends_with('\\') && !line.starts_with("src");
        }
    }
    pieces.sort();
    pieces.dedup();
    Ok(pieces.into_iter().map(String::into_bytes).collect())
}

/// Packets of the corpus that are short enough: with ESP around them, and without.
fn packets(path: &Path) -> Result<[Vec<Vec<u8>>; 2], Box<dyn Error>> {
    let (mut outer, mut inner) = (Vec::new(), Vec::new());
    for line in BufReader::new(flate2::read::GzDecoder::new(fs::File::open(path)?)).lines() {
        let case: Value = serde_json::from_str(&line?)?;
        if case["kind"] != "pkt" {
            continue;
        }
        for (packets, key) in [(&mut outer, "esp"), (&mut inner, "plain")] {
            packets.extend(case[key].as_str().and_then(octets).filter(|octets| octets.len() <= LONGEST));
        }
    }
    Ok([outer, inner])
}

fn octets(hex: &str) -> Option<Vec<u8>> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect()
}

/// The same numbers every time (Knuth's MMIX).
struct Numbers(u64);

impl Numbers {
    fn octet(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 56) as u8
    }

    fn octets(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.octet()).collect()
    }
}

/// For the SPD: policies and steps of any octets; packets for an SPD without policies.
fn policies(inner: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut numbers = Numbers(1);
    let mut seeds: Vec<_> = (0..150)
        .map(|number: usize| {
            let octets = numbers.octets(200 + number * 4);
            // From one policy to many.
            [vec![number as u8 % 24], octets].concat()
        })
        .collect();
    for packets in inner.chunks(6) {
        let mut seed = vec![0, 1];
        for packet in packets {
            seed.extend([5, 0, packet.len() as u8]);
            seed.extend(packet);
            seed.extend([0, 0x80]);
        }
        seeds.push(seed);
    }
    // GRE with the bit of RFC 1701 for routing alone: its key stands where it would with a checksum.
    let mut gre = vec![0x45, 0, 0, 32, 0, 0, 0, 0, 64, 47, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    gre.extend([0x60, 0, 8, 0, 0, 0, 0, 1, 0, 0, 0, 2]);
    seeds.push([&[0, 1, 5, 0, 32], &gre[..], &[0, 0x80]].concat());
    // A policy for types 1 to 3 and codes 2 to 4; a flow of type 2 and code 0.
    let policy = [1, 0, 0, 3, 0, 0, 1, 3, 0, 0, 5, 6, 1, 3, 2, 4, 0, 0];
    let flow = [0, 0, 0, 1, 0, 2, 5, 3, 2, 0, 0, 40];
    seeds.push([&policy[..], &flow].concat());
    seeds
}

/// For decapsulation: what each SA's sender would send; any octets; packets of the corpus as they are.
fn sequences(outer: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut numbers = Numbers(2);
    let mut seeds = Vec::new();
    for (place, is_tunnel) in (0..16).flat_map(|place| [(place, true), (place, false)]) {
        let mut seed = Vec::new();
        for class in [0, 1, 2, 3, 0xb8] {
            // The next number, a whole packet with UDP in it, no changes.
            seed.extend([3, place, 0, 3, 0x20, b'a', b'b', b'c', b'd']);
            if is_tunnel {
                seed.extend([class, 0]);
            }
            // Padding and outer header as they should be.
            seed.extend([0, class, 0]);
        }
        // The first one again, and damaged.
        seed.extend([1, 0, 2, 1, 1, 40, 0, 1]);
        seeds.push(seed);
    }
    seeds.extend((0..150).map(|number| {
        let mut seed = numbers.octets(40 + number * 4);
        seed[0] = 3;
        seed[1] = number as u8;
        seed
    }));
    // IKE where a fragment begins: the SPI of SA 2 is made 0, and a fragment of the packet.
    let made = [3, 2, 0, 3, 0x20, b'a', b'b', b'c', b'd', 0, 0, 0, 0, 0x80];
    seeds.push([&made[..], &[0x2a, 29, 0, 31, 0, 0x20]].concat());
    for packets in outer.chunks(8).step_by(4) {
        seeds.push(
            packets.iter().flat_map(|packet| [&[0, packet.len() as u8], &packet[..]].concat()).collect(),
        );
    }
    seeds
}
