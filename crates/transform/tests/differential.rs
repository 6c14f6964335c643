//! Random packets against the same suites put together another way: whole AEADs of the `aes-gcm`, `ccm` and
//! `chacha20poly1305` crates, CBC block by block, HMACs in one piece.

mod common;

use aes::{Aes128, Aes192, Aes256};
use aes_gcm::AesGcm;
use aes_gcm::aead::consts::{U8, U11, U12, U16};
use aes_gcm::aead::{AeadInOut, KeyInit};
use ccm::Ccm;
use chacha20poly1305::ChaCha20Poly1305;
use common::{octets, open, packet_len, seal};
use ctr::cipher::{BlockCipherEncrypt, KeyIvInit, StreamCipher};
use espwire_transform::danger::seal_burst;
use espwire_transform::{
    AesKeyLen, IcvLen, Integrity, Job, MAX_INTEGRITY_KEY_LEN, SaKey, Status, Suite, ciphertext_range,
    open_burst,
};
use hmac::{EagerHash, Hmac, Mac};
use proptest::prelude::*;

/// `$make` with `$aes` as the block cipher of a key length.
macro_rules! with_aes {
    ($key_len:expr, $aes:ident => $make:expr) => {
        match $key_len {
            AesKeyLen::Aes128 => {
                type $aes = Aes128;
                $make
            }
            AesKeyLen::Aes192 => {
                type $aes = Aes192;
                $make
            }
            AesKeyLen::Aes256 => {
                type $aes = Aes256;
                $make
            }
        }
    };
}

/// The packet that a plaintext becomes: `packet` has its SPI, sequence number, IV, plaintext, and room for the ICV.
fn composed(
    suite: Suite,
    encryption_key: &[u8],
    integrity_key: &[u8],
    esn_high: Option<u32>,
    packet: &[u8],
) -> Vec<u8> {
    let range = ciphertext_range(suite, packet.len()).expect("a length of the suite");
    let (header, plaintext) = (&packet[..range.start], &packet[range]);
    let (spi, low, iv) = (&header[..4], &header[4..8], &header[8..]);
    let high = esn_high.map_or(vec![], |high| high.to_be_bytes().to_vec());
    let (key, salt) = encryption_key.split_at(encryption_key.len() - suite.salt_len());

    let Some(integrity) = suite.integrity_algorithm() else {
        let aad = [spi, &high, low].concat();
        let sequence = [vec![0; 4 - high.len()], high, low.to_vec()].concat();
        let nonce = [salt, if iv.is_empty() { &sequence } else { iv }].concat();
        let sealed = |aad: &[u8], plaintext: &[u8]| match suite {
            Suite::AesGcm(len, IcvLen::Icv8) => {
                with_aes!(len, Aes => sealed::<AesGcm<Aes, U12, U8>>(key, &nonce, aad, plaintext))
            }
            Suite::AesGcm(len, IcvLen::Icv12) => {
                with_aes!(len, Aes => sealed::<AesGcm<Aes, U12, U12>>(key, &nonce, aad, plaintext))
            }
            Suite::AesGcm(len, _) | Suite::AesGcmIiv(len) | Suite::AesGmac(len) => {
                with_aes!(len, Aes => sealed::<AesGcm<Aes, U12, U16>>(key, &nonce, aad, plaintext))
            }
            Suite::AesCcm(len, IcvLen::Icv8) | Suite::AesCcmIiv(len) => {
                with_aes!(len, Aes => sealed::<Ccm<Aes, U8, U11>>(key, &nonce, aad, plaintext))
            }
            Suite::AesCcm(len, IcvLen::Icv12) => {
                with_aes!(len, Aes => sealed::<Ccm<Aes, U12, U11>>(key, &nonce, aad, plaintext))
            }
            Suite::AesCcm(len, _) => {
                with_aes!(len, Aes => sealed::<Ccm<Aes, U16, U11>>(key, &nonce, aad, plaintext))
            }
            _ => sealed::<ChaCha20Poly1305>(key, &nonce, aad, plaintext),
        };
        return match suite {
            // RFC 4543: all of it is AAD.
            Suite::AesGmac(_) => [header, plaintext, &sealed(&[&aad, iv, plaintext].concat(), &[])].concat(),
            _ => [header, &sealed(&aad, plaintext)].concat(),
        };
    };

    let ciphertext = match suite {
        // Block by block: each is XORed with the one before it, the first with the IV.
        Suite::AesCbc(len, _) => with_aes!(len, Aes => {
            let aes = Aes::new_from_slice(key).expect("a key of the right length");
            let mut last = iv.to_vec();
            let blocks = plaintext.chunks(16).flat_map(|block| {
                last.iter_mut().zip(block).for_each(|(last, octet)| *last ^= octet);
                aes.encrypt_block(last.as_mut_slice().try_into().expect("a block"));
                last.clone()
            });
            blocks.collect()
        }),
        Suite::AesCtr(len, _) => with_aes!(len, Aes => {
            let block = [salt, iv, &[0, 0, 0, 1]].concat();
            let mut text = plaintext.to_vec();
            let mut ctr = ctr::Ctr128BE::<Aes>::new_from_slices(key, &block).expect("lengths of AES-CTR");
            ctr.apply_keystream(&mut text);
            text
        }),
        _ => plaintext.to_vec(),
    };
    let authenticated = [header, &ciphertext].concat();
    let message = [&authenticated[..], &high].concat();
    let hmac = match integrity {
        Integrity::HmacSha1_96 => hmac::<sha1::Sha1>(integrity_key, &message),
        Integrity::HmacSha256_96 | Integrity::HmacSha256_128 => hmac::<sha2::Sha256>(integrity_key, &message),
        Integrity::HmacSha384_192 => hmac::<sha2::Sha384>(integrity_key, &message),
        _ => hmac::<sha2::Sha512>(integrity_key, &message),
    };
    [&authenticated, &hmac[..suite.icv_len()]].concat()
}

/// Ciphertext and tag.
fn sealed<A: AeadInOut + KeyInit>(key: &[u8], nonce: &[u8], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let aead = A::new_from_slice(key).expect("a key of the right length");
    let mut text = plaintext.to_vec();
    let nonce = nonce.try_into().expect("a nonce of the right length");
    let tag = aead.encrypt_inout_detached(nonce, aad, text.as_mut_slice().into()).expect("short enough");
    text.extend_from_slice(&tag);
    text
}

fn hmac<D: EagerHash>(key: &[u8], message: &[u8]) -> Vec<u8> {
    let hmac = Hmac::<D>::new_from_slice(key).expect("any key");
    hmac.chain_update(message).finalize().into_bytes().to_vec()
}

/// A packet with its keys, before it is sealed.
#[derive(Clone, Debug)]
struct Case {
    suite: Suite,
    encryption_key: Vec<u8>,
    integrity_key: Vec<u8>,
    esn_high: Option<u32>,
    packet: Vec<u8>,
}

impl Case {
    fn key(&self) -> SaKey {
        SaKey::new(self.suite, &self.encryption_key, &self.integrity_key).expect("lengths of the suite")
    }

    fn composed(&self) -> Vec<u8> {
        composed(self.suite, &self.encryption_key, &self.integrity_key, self.esn_high, &self.packet)
    }
}

fn case() -> impl Strategy<Value = Case> {
    let suites = Suite::all().collect::<Vec<_>>();
    let esn_high = prop_oneof![Just(None), Just(Some(0)), any::<u32>().prop_map(Some)];
    // Mostly short; up to a jumbo frame.
    let blocks = prop_oneof![8 => 1..40_usize, 2 => 1..400_usize, 1 => 1..2300_usize];
    let integrity_key_len = prop_oneof![1..=64_usize, 1..=MAX_INTEGRITY_KEY_LEN];
    let drawn = (prop::sample::select(suites), esn_high, blocks, 0..4_usize, integrity_key_len, any::<u64>());
    drawn.prop_map(|(suite, esn_high, blocks, more, integrity_key_len, seed)| {
        let more = if suite.block_len() == 1 { more } else { 0 };
        let integrity_key_len = suite.integrity().map_or(0, |_| integrity_key_len);
        Case {
            suite,
            encryption_key: octets(seed, suite.encryption_key_len()),
            integrity_key: octets(!seed, integrity_key_len),
            esn_high,
            packet: octets(seed.rotate_left(32), packet_len(suite, blocks) + more),
        }
    })
}

/// `times` as many cases as are usual.
fn config(times: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: times * default.cases, failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config(16))]

    #[test]
    fn seals_what_the_crates_seal_and_opens_it(case in case(), flip in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let (key, want) = (case.key(), case.composed());
        let mut packet = case.packet.clone();
        prop_assert_eq!(seal(&key, case.esn_high, &mut packet), Status::Done);
        prop_assert_eq!(&packet, &want);
        let shown = key.icv(case.esn_high, &packet).expect("a length of the suite");
        let icv_at = packet.len() - case.suite.icv_len();
        prop_assert_eq!(shown.as_ref(), &packet[icv_at..]);

        let at = flip.index(packet.len());
        packet[at] ^= 1_u8 << bit;
        let forged = packet.clone();
        prop_assert_eq!(open(&key, case.esn_high, &mut packet), Status::AuthFailed);
        prop_assert_eq!(&packet, &forged);
        packet[at] ^= 1_u8 << bit;
        prop_assert_eq!(open(&key, case.esn_high, &mut packet), Status::Done);
        prop_assert_eq!(&packet[..icv_at], &case.packet[..icv_at]);
    }
}

proptest! {
    #![proptest_config(config(1))]

    #[test]
    fn a_mixed_burst_is_its_packets_one_by_one(cases in prop::collection::vec(case(), 1..=64)) {
        let keys = cases.iter().map(Case::key).collect::<Vec<_>>();
        let mut packets = cases.iter().map(|case| case.packet.clone()).collect::<Vec<_>>();
        let with_keys = cases.iter().zip(&keys).zip(&mut packets);
        let mut jobs =
            with_keys.map(|((case, key), packet)| Job::new(key, case.esn_high, packet)).collect::<Vec<_>>();
        seal_burst(&mut jobs);
        for (job, case) in jobs.iter_mut().zip(&cases) {
            prop_assert_eq!(job.status, Status::Done);
            prop_assert_eq!(&*job.packet, &case.composed()[..]);
            job.status = Status::Pending;
        }
        open_burst(&mut jobs);
        for (job, case) in jobs.iter().zip(&cases) {
            prop_assert_eq!(job.status, Status::Done);
            let icv_at = job.packet.len() - case.suite.icv_len();
            prop_assert_eq!(&job.packet[..icv_at], &case.packet[..icv_at]);
        }
    }
}
