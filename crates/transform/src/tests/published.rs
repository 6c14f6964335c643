//! NIST's CAVP cases for AES-GCM with the tags that ESP has, and the vectors of RFC 2202, 3602, 3686 and 4231.

use super::{AeadCase, count, gcm, with_aes_of};
use crate::aes_cbc::AesCbc;
use crate::aes_ctr::AesCtr;
use crate::separate::{Cipher, Null, Separate};
use hmac::{EagerHash, Mac};

fn octets(hex: &str) -> Vec<u8> {
    let hex = hex.trim_matches('-');
    let octet = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(octet).collect()
}

#[test]
fn cavp_gcm() {
    let (mut run, mut refused, mut by_tag_len) = (0, 0, [0; 17]);
    for (line, number) in include_str!("../../tests/vectors/cavp-gcm.txt").lines().zip(1..) {
        let fields = line.split(' ').collect::<Vec<_>>();
        let [_, key, nonce, aad, plaintext, ciphertext, tag] = fields[..] else { panic!("line {number}") };
        let is_valid = plaintext != "F";
        let plaintext = is_valid.then(|| octets(plaintext));
        let (key, tag) = (octets(key), octets(tag));
        let case = AeadCase {
            id: format!("line {number}"),
            nonce: &octets(nonce),
            aad: &octets(aad),
            plaintext: plaintext.as_deref(),
            ciphertext: &octets(ciphertext),
            icv: &tag,
            is_valid,
        };
        with_aes_of!(key.len(), Aes => case.check(&gcm::<Aes>(&key)));
        run += 1;
        refused += u32::from(!is_valid);
        by_tag_len[tag.len()] += 1;
    }
    let [tag_8, tag_12, tag_16] = [8, 12, 16].map(|len| by_tag_len[len]);
    assert_eq!((run, refused, tag_8, tag_12, tag_16), (900, 225, 300, 300, 300));
    count(format_args!(
        "CAVP AES-GCM: {run} run, {refused} of them refused; tags of 64, 96 and 128 bits: {tag_8}, {tag_12}, {tag_16}"
    ));
}

#[test]
fn rfc_2202_3686_4231() {
    fn hmac<D: EagerHash>(key: &str, message: &str, want: &str) {
        let key = Separate::<Null, D>::new(Null, &octets(key), 0).expect("any key");
        let (message, want) = (octets(message), octets(want));
        assert_eq!(key.mac(None, &message).finalize().into_bytes()[..], want);
    }

    let mut run = [0; 2];
    for line in include_str!("../../tests/vectors/rfc.txt").lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["aes-ctr", name, key, nonce, iv, plaintext, ciphertext] => {
                let key = octets(key);
                let mut packet = octets(&format!("{iv}{plaintext}"));
                with_aes_of!(key.len(), Aes => {
                    let ctr = AesCtr::<Aes>::new(&key, &octets(nonce)).expect("lengths of RFC 3686");
                    ctr.encrypt(&mut packet).expect("an IV");
                    assert_eq!(packet, octets(&format!("{iv}{ciphertext}")), "{name}");
                    ctr.decrypt(&mut packet).expect("an IV");
                    assert_eq!(packet, octets(&format!("{iv}{plaintext}")), "{name}");
                });
                run[0] += 1;
            }
            [hash, _, key, message, want] => {
                match hash {
                    "hmac-sha1" => hmac::<sha1::Sha1>(key, message, want),
                    "hmac-sha256" => hmac::<sha2::Sha256>(key, message, want),
                    "hmac-sha384" => hmac::<sha2::Sha384>(key, message, want),
                    "hmac-sha512" => hmac::<sha2::Sha512>(key, message, want),
                    _ => panic!("{line}"),
                }
                run[1] += 1;
            }
            _ => panic!("{line}"),
        }
    }
    assert_eq!(run, [9, 25]);
    count(format_args!("RFC 3686: {} run; RFC 2202 and RFC 4231: {} run", run[0], run[1]));
}

/// RFC 3602 §4, cases 1 and 2.
#[test]
fn rfc_3602() {
    let cases = [
        (
            "06a9214036b8a15b512e03d534120006",
            "3dafba429d9eb430b422da802c9fac41",
            "53696e676c6520626c6f636b206d7367",
            "e353779c1079aeb82708942dbe77181a",
        ),
        (
            "c286696d887c9aa0611bbb3e2025a45a",
            "562e17996d093d28ddb3ba695a2e6f58",
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1",
        ),
    ];
    for (key, iv, plaintext, ciphertext) in cases {
        let cbc = AesCbc::<aes::Aes128>::new(&octets(key)).expect("16 octets");
        let mut packet = octets(&format!("{iv}{plaintext}"));
        cbc.encrypt(&mut packet).expect("whole blocks");
        assert_eq!(packet, octets(&format!("{iv}{ciphertext}")));
        cbc.decrypt(&mut packet).expect("whole blocks");
        assert_eq!(packet, octets(&format!("{iv}{plaintext}")));
    }
    count(format_args!("RFC 3602: {} run", cases.len()));
}
