//! Nanoseconds per packet of `open_burst` and `seal_burst`, beside the crates' own calls on the same octets.
//!
//! `cargo bench -p espwire-transform`. A pass is a burst of 64 packets; passes of both sides take turns, so that what
//! disturbs one disturbs the other. Shown: median, and in brackets the 10th and 90th percentile.

use aes::Aes256;
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, Nonce};
use cbc::cipher::array::Array;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, InnerIvInit};
use espwire_transform::{AesKeyLen, Job, SaKey, Status, Suite, danger, open_burst};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::hint::black_box;
use std::time::Instant;

const BURST: usize = 64;
const PASSES: usize = 600;

fn main() {
    println!("{:26} {:>6}  {:>22}  {:>22}", "", "octets", "espwire-transform", "crates");
    let gcm = Suite::AesGcm(AesKeyLen::Aes256);
    let cbc = Suite::AesCbcHmacSha256(AesKeyLen::Aes256);
    for (suite, lengths) in [(gcm, [64, 256, 1420]), (cbc, [64, 256, 1424])] {
        for len in lengths {
            bench(suite, len);
        }
    }
}

/// Measures one suite at one length of ciphertext.
fn bench(suite: Suite, len: usize) {
    let encryption_key = vec![0x5a; suite.encryption_key_len()];
    let integrity_key = if suite.integrity().is_some() { vec![0xa5; 32] } else { vec![] };
    let key = SaKey::new(suite, &encryption_key, &integrity_key).expect("the suite's own lengths");
    let plain = crates(suite, &encryption_key, &integrity_key);
    let mut packets = (0..BURST)
        .map(|n| {
            let mut packet = vec![n as u8; 8 + suite.iv_len() + len + suite.icv_len()];
            plain(true, &mut packet);
            packet
        })
        .collect::<Vec<_>>();

    // Open, seal, open, seal: each pass leaves what the next one needs.
    let mut ns: [Vec<f64>; 4] = Default::default();
    for _ in 0..PASSES {
        for (kind, ns) in ns.iter_mut().enumerate() {
            let start = Instant::now();
            match kind {
                0 | 1 => burst(&key, kind == 1, &mut packets),
                _ => packets.iter_mut().for_each(|packet| plain(kind == 3, black_box(packet))),
            }
            ns.push(start.elapsed().as_nanos() as f64 / BURST as f64);
        }
    }
    for (name, ours) in [("open", 0), ("seal", 1)] {
        let [ours, crates] = [ours, ours + 2].map(|kind| shown(&mut ns[kind]));
        println!("{:26} {len:>6}  {ours:>22}  {crates:>22}", format!("{} {name}", suite.encryption()));
    }
}

fn burst(key: &SaKey, seal: bool, packets: &mut [Vec<u8>]) {
    let mut packets = packets.iter_mut();
    let mut jobs: [Job<'_>; BURST] =
        std::array::from_fn(|_| Job::new(key, None, packets.next().expect("a burst of packets")));
    if seal {
        danger::seal_burst(&mut jobs);
    } else {
        open_burst(&mut jobs);
    }
    assert!(black_box(&jobs).iter().all(|job| job.status == Status::Done));
}

/// Seals (`true`) or opens one packet.
type Plain = Box<dyn Fn(bool, &mut [u8])>;

/// By the crates' own calls, with nothing checked but the ICV.
fn crates(suite: Suite, encryption_key: &[u8], integrity_key: &[u8]) -> Plain {
    let (key, salt) = encryption_key.split_at(32);
    if suite.integrity().is_none() {
        let cipher = Aes256Gcm::new_from_slice(key).expect("32 octets");
        let salt = salt.to_vec();
        return Box::new(move |seal, packet| {
            let (header, rest) = packet.split_at_mut(8);
            let (iv, rest) = rest.split_at_mut(8);
            let (ciphertext, icv) = rest.split_last_chunk_mut::<16>().expect("an ICV");
            let mut nonce = Nonce::default();
            nonce[..4].copy_from_slice(&salt);
            nonce[4..].copy_from_slice(iv);
            if seal {
                let tag = cipher.encrypt_inout_detached(&nonce, header, ciphertext.into());
                *icv = tag.expect("short enough").into();
            } else {
                let tag = (&*icv).into();
                cipher.decrypt_inout_detached(&nonce, header, ciphertext.into(), tag).expect("the right ICV");
            }
        });
    }
    let cipher = Aes256::new_from_slice(key).expect("32 octets");
    let hmac = Hmac::<Sha256>::new_from_slice(integrity_key).expect("any length");
    Box::new(move |seal, packet| {
        let (authenticated, icv) = packet.split_last_chunk_mut::<16>().expect("an ICV");
        if !seal {
            let mac = hmac.clone().chain_update(&*authenticated);
            mac.verify_truncated_left(icv).expect("the right ICV");
        }
        let (iv, ciphertext) = authenticated[8..].split_first_chunk_mut::<16>().expect("an IV");
        let (blocks, _) = Array::slice_as_chunks_mut(ciphertext);
        if seal {
            cbc::Encryptor::inner_iv_init(&cipher, (&*iv).into()).encrypt_blocks(blocks);
            let mac = hmac.clone().chain_update(&*authenticated).finalize().into_bytes();
            icv.copy_from_slice(&mac[..16]);
        } else {
            cbc::Decryptor::inner_iv_init(&cipher, (&*iv).into()).decrypt_blocks(blocks);
        }
    })
}

fn shown(ns: &mut [f64]) -> String {
    ns.sort_by(f64::total_cmp);
    let at = |percent| ns[ns.len() * percent / 100];
    format!("{:.0} ({:.0} to {:.0})", at(50), at(10), at(90))
}
