//! Nanoseconds per packet of `inspect_burst`, beside what of it is cryptography: the crates' own opening and sealing
//! of the same packets, one by one, in place.
//!
//! `cargo bench -p espwire-ipsec`. A pass is a burst of 64 packets of one SA; passes of both sides take turns, so that
//! what disturbs one disturbs the other. Shown: median, and in brackets the 10th and 90th percentile.

#[path = "../../../tests/harness/esp.rs"]
mod esp;

use std::hint::black_box;
use std::time::Instant;

use aes::Aes256;
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, Nonce};
use cbc::cipher::array::Array;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, InnerIvInit};
use esp::{Ending, Sender};
use espwire_ipsec::{Frame, Inspector, Passed, Sad, Verdict, xfrm};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const BURST: usize = 64;
const PASSES: usize = 2000;

fn main() {
    println!(
        "{:12} {:>6}  {:>22}  {:>22}  {:>18}",
        "", "octets", "inspect_burst", "crates, open + seal", "difference"
    );
    for len in [64, 256, 1420] {
        bench("AES-GCM-256", Sender::gcm(0x100), len);
    }
    for len in [64, 256, 1424] {
        bench("AES-CBC-256", Sender::cbc(0x200), len);
    }
}

/// Measures one suite at one length of ciphertext.
fn bench(name: &str, mut sender: Sender, len: usize) {
    let crates = Crates::new(&sender);
    let states = xfrm::parse("bench", &sender.xfrm()).expect("a state");
    let mut inspector = Inspector::new(Sad::new([&states]).expect("an SA"));
    let packet = esp::inner_udp(7, 9, &vec![b'x'; len - 28 - 2]);
    let ending = Ending { padding: vec![], pad_len: 0, next_header: 4 };
    let octets: Vec<_> = (0..BURST).map(|_| sender.frame_ending(&packet, &ending)).collect();
    let frames: Vec<_> = octets.iter().map(|frame| Frame::whole(frame)).collect();
    let mut packets: Vec<_> = octets.iter().map(|frame| frame[sender.esp_at()..].to_vec()).collect();
    let mut verdicts = Vec::with_capacity(BURST);

    let mut ns = [const { Vec::new() }; 3];
    for _ in 0..PASSES {
        verdicts.clear();
        let start = Instant::now();
        inspector.inspect_burst(black_box(&frames), &mut verdicts, &mut ());
        let ours = start.elapsed();
        // Seen before from the second pass on, which is noted and nothing more.
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Pass(Passed::Verified)));
        let start = Instant::now();
        packets.iter_mut().for_each(|packet| crates.open_and_seal(black_box(packet)));
        let theirs = start.elapsed();
        let [ours, theirs] = [ours, theirs].map(|time| time.as_nanos() as f64 / BURST as f64);
        ns.iter_mut().zip([ours, theirs, ours - theirs]).for_each(|(all, one)| all.push(one));
    }
    assert!(packets.iter().zip(&octets).all(|(packet, frame)| frame.ends_with(packet)));
    let [ours, theirs, difference] = ns.map(shown);
    println!("{name:12} {len:>6}  {ours:>22}  {theirs:>22}  {difference:>18}");
}

/// The crates' own calls, with nothing checked but the ICV.
enum Crates {
    Gcm(Aes256Gcm, [u8; 4]),
    Cbc(Aes256, Hmac<Sha256>),
}

impl Crates {
    fn new(sender: &Sender) -> Self {
        let (key, salt) = sender.encryption_key.split_at(32);
        if sender.integrity_key.is_empty() {
            let cipher = Aes256Gcm::new_from_slice(key).expect("32 octets");
            return Self::Gcm(cipher, salt.try_into().expect("4 octets"));
        }
        let cipher = Aes256::new_from_slice(key).expect("32 octets");
        Self::Cbc(cipher, Hmac::new_from_slice(&sender.integrity_key).expect("any length"))
    }

    /// Opens `packet`, from the SPI to the ICV, and seals it again: it is the same then.
    fn open_and_seal(&self, packet: &mut [u8]) {
        match self {
            Self::Gcm(cipher, salt) => {
                let (header, rest) = packet.split_at_mut(8);
                let (iv, rest) = rest.split_at_mut(8);
                let (text, icv) = rest.split_last_chunk_mut::<16>().expect("an ICV");
                let mut nonce = Nonce::default();
                nonce[..4].copy_from_slice(salt);
                nonce[4..].copy_from_slice(iv);
                let tag = (&*icv).into();
                cipher
                    .decrypt_inout_detached(&nonce, header, (&mut *text).into(), tag)
                    .expect("the right ICV");
                let tag = cipher.encrypt_inout_detached(&nonce, header, text.into()).expect("short enough");
                *icv = tag.into();
            }
            Self::Cbc(cipher, hmac) => {
                let (authenticated, icv) = packet.split_last_chunk_mut::<16>().expect("an ICV");
                hmac.clone().chain_update(&*authenticated).verify_truncated_left(icv).expect("the right ICV");
                let (iv, text) = authenticated[8..].split_first_chunk_mut::<16>().expect("an IV");
                let (blocks, _) = Array::slice_as_chunks_mut(text);
                cbc::Decryptor::inner_iv_init(cipher, (&*iv).into()).decrypt_blocks(blocks);
                cbc::Encryptor::inner_iv_init(cipher, (&*iv).into()).encrypt_blocks(blocks);
                let mac = hmac.clone().chain_update(&*authenticated).finalize().into_bytes();
                icv.copy_from_slice(&mac[..16]);
            }
        }
    }
}

fn shown(mut ns: Vec<f64>) -> String {
    ns.sort_by(f64::total_cmp);
    let at = |percent| ns[ns.len() * percent / 100];
    format!("{:.0} ({:.0} to {:.0})", at(50), at(10), at(90))
}
