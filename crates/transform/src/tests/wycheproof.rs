//! Project Wycheproof's cases.
//!
//! Not applicable is what the types here can't express: a nonce of AES-GCM or ChaCha20-Poly1305 of other than 96
//! bits (salt and IV have 96 together), a nonce or tag that AES-CCM does not have, and the faults of PKCS #5 padding,
//! which is not ESP's. AAD, plaintext and key may be anything.

use super::{AeadCase, count, gcm, with_aes_of};
use crate::aead::{Aead, is_start};
use crate::aes_cbc::AesCbc;
use crate::aes_ctr::Aes;
use crate::ccm::Ccm;
use crate::chacha20_poly1305::ChaCha20Poly1305;
use crate::separate::{Cipher, Null, Separate};
use hmac::{EagerHash, Mac};
use wycheproof::TestResult::{Acceptable, Invalid, Valid};
use wycheproof::{TestResult, aead, cipher, mac, mac_with_nonce};

/// How many cases of a file were run, and how many not.
struct Count {
    name: &'static str,
    run: usize,
    not_applicable: usize,
}

impl Count {
    fn new(name: &'static str) -> Self {
        Self { name, run: 0, not_applicable: 0 }
    }

    /// Counts a case as run if `is_applicable`, and returns that.
    fn takes(&mut self, is_applicable: bool) -> bool {
        *(if is_applicable { &mut self.run } else { &mut self.not_applicable }) += 1;
        is_applicable
    }

    /// Prints both, and `why` if there is something to excuse; checks the numbers, so that none gets lost.
    fn print(&self, want: [usize; 2], why: &str) {
        let Self { name, run, not_applicable } = self;
        assert_eq!([*run, *not_applicable], want, "{name}");
        match not_applicable {
            0 => count(format_args!("wycheproof {name}: {run} run")),
            _ => count(format_args!("wycheproof {name}: {run} run, {not_applicable} not applicable ({why})")),
        }
    }
}

fn is_valid(result: TestResult) -> bool {
    match result {
        Valid => true,
        Invalid => false,
        Acceptable => panic!("no case of these is left to taste"),
    }
}

/// Runs those cases of an AEAD that `check` takes.
fn run(
    count: &mut Count,
    name: aead::TestName,
    is_applicable: impl Fn(&aead::TestGroup) -> bool,
    check: impl Fn(&aead::TestGroup, &[u8], &AeadCase<'_>),
) {
    for group in aead::TestSet::load(name).expect("a set").test_groups {
        for test in &group.tests {
            if count.takes(is_applicable(&group)) {
                let case = AeadCase {
                    id: format!("{} {}", count.name, test.tc_id),
                    nonce: &test.nonce,
                    aad: &test.aad,
                    plaintext: Some(&test.pt),
                    ciphertext: &test.ct,
                    icv: &test.tag,
                    is_valid: is_valid(test.result),
                };
                check(&group, &test.key, &case);
            }
        }
    }
}

const NONCE_OF_96: &str = "the nonce is not of 96 bits";

#[test]
fn aes_gcm() {
    let mut count = Count::new("aes_gcm");
    let is_applicable = |group: &aead::TestGroup| group.nonce_size == 96;
    run(&mut count, aead::TestName::AesGcm, is_applicable, |_, key, case| {
        with_aes_of!(key.len(), Aes => case.check(&gcm::<Aes>(key)));
    });
    count.print([197, 119], NONCE_OF_96);
}

#[test]
fn chacha20_poly1305() {
    let mut count = Count::new("chacha20_poly1305");
    let is_applicable = |group: &aead::TestGroup| group.nonce_size == 96;
    run(&mut count, aead::TestName::ChaCha20Poly1305, is_applicable, |_, key, case| {
        case.check(&ChaCha20Poly1305::new(key).expect("32 octets"));
    });
    count.print([316, 9], NONCE_OF_96);
}

#[test]
fn aes_ccm() {
    fn check<C: Aes>(key: &[u8], tag_len: u8, case: &AeadCase<'_>) {
        fn of<C: Aes, const NONCE_LEN: usize>(key: &[u8], tag_len: u8) -> Ccm<C, NONCE_LEN> {
            Ccm::new(key, tag_len).expect("a key of the right length")
        }
        match case.nonce.len() {
            7 => case.check(&of::<C, 7>(key, tag_len)),
            8 => case.check(&of::<C, 8>(key, tag_len)),
            9 => case.check(&of::<C, 9>(key, tag_len)),
            10 => case.check(&of::<C, 10>(key, tag_len)),
            11 => case.check(&of::<C, 11>(key, tag_len)),
            12 => case.check(&of::<C, 12>(key, tag_len)),
            13 => case.check(&of::<C, 13>(key, tag_len)),
            len => panic!("a nonce of {len} octets"),
        }
    }

    let mut count = Count::new("aes_ccm");
    let is_applicable = |group: &aead::TestGroup| {
        let has_tag = group.tag_size >= 32 && group.tag_size.is_multiple_of(16);
        has_tag && group.nonce_size.is_multiple_of(8) && (56..=104).contains(&group.nonce_size)
    };
    run(&mut count, aead::TestName::AesCcm, is_applicable, |group, key, case| {
        with_aes_of!(key.len(), Aes => check::<Aes>(key, (group.tag_size / 8) as u8, case));
    });
    count.print([486, 66], "AES-CCM has no such nonce or tag");
}

#[test]
fn aes_gmac() {
    let mut count = Count::new("aes_gmac");
    let set = mac_with_nonce::TestSet::load(mac_with_nonce::TestName::Gmac).expect("a set");
    for group in set.test_groups {
        for test in &group.tests {
            if !count.takes(group.nonce_size == 96) {
                continue;
            }
            let id = format!("aes_gmac {}", test.tc_id);
            let nonce = test.nonce[..].try_into().expect("96 bits");
            with_aes_of!(test.key.len(), Aes => {
                let gcm = gcm::<Aes>(&test.key);
                let tag = gcm.tag(nonce, &test.msg, &[]);
                assert_eq!(is_start(&test.tag, &tag), is_valid(test.result), "{id}");
                // In two parts, as the packets of an SA with ESN are.
                for at in (0..=test.msg.len()).step_by(16) {
                    let (blocks, rest) = test.msg.split_at(at);
                    assert_eq!(gcm.tag_of_parts(nonce, [blocks, rest], &[]), tag, "{id}, {at}");
                }
            });
        }
    }
    count.print([207, 207], NONCE_OF_96);
}

#[test]
fn aes_cbc_pkcs5() {
    let mut count = Count::new("aes_cbc_pkcs5");
    for group in cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).expect("a set").test_groups {
        for test in &group.tests {
            if !count.takes(is_valid(test.result)) {
                continue;
            }
            let padding = 16 - test.pt.len() % 16;
            let plaintext = [&test.nonce[..], &test.pt, &vec![padding as u8; padding]].concat();
            let mut packet = plaintext.clone();
            with_aes_of!(test.key.len(), Aes => {
                let cbc = AesCbc::<Aes>::new(&test.key).expect("a key of the right length");
                cbc.encrypt(&mut packet).expect("whole blocks");
                assert_eq!(packet[16..], *test.ct, "{}", test.tc_id);
                cbc.decrypt(&mut packet).expect("whole blocks");
            });
            assert_eq!(packet, plaintext, "{}", test.tc_id);
        }
    }
    count.print([72, 144], "what is wrong is the PKCS #5 padding, which ESP has not");
}

/// All tags, those cut short included: to the half, and of SHA-1 to 80 bits.
fn hmac<D: EagerHash>(name: &'static str, set: mac::TestName, want: usize) {
    let mut count = Count::new(name);
    for group in mac::TestSet::load(set).expect("a set").test_groups {
        for test in &group.tests {
            count.takes(true);
            let id = format!("{name} {}", test.tc_id);
            let key = Separate::<Null, D>::new(Null, &test.key, 0).expect("any key");
            let verify =
                |esn_high, message: &[u8]| key.mac(esn_high, message).verify_truncated_left(&test.tag);
            assert_eq!(verify(None, &test.msg).is_ok(), is_valid(test.result), "{id}");
            // The high half of an ESN counts as the message's last four octets.
            if let Some((message, high)) = test.msg.split_last_chunk() {
                let high = Some(u32::from_be_bytes(*high));
                assert_eq!(verify(high, message).is_ok(), is_valid(test.result), "{id}, ESN");
            }
        }
    }
    count.print([want, 0], "");
}

#[test]
fn hmac_sha1() {
    hmac::<sha1::Sha1>("hmac_sha1", mac::TestName::HmacSha1, 170);
}

#[test]
fn hmac_sha256() {
    hmac::<sha2::Sha256>("hmac_sha256", mac::TestName::HmacSha256, 174);
}

#[test]
fn hmac_sha384() {
    hmac::<sha2::Sha384>("hmac_sha384", mac::TestName::HmacSha384, 174);
}

#[test]
fn hmac_sha512() {
    hmac::<sha2::Sha512>("hmac_sha512", mac::TestName::HmacSha512, 174);
}
