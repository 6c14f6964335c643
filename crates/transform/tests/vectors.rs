//! Packets that others made: opened to their plaintext, and sealed to their octets.

mod common;

use common::{Vector, composed, count, open, positive, published, seal};
use espwire_transform::{Status, Suite, ciphertext_range};
use std::collections::HashSet;

/// Opens and seals; returns the plaintext with its trailer.
fn check(vector: &Vector) -> Vec<u8> {
    let Vector { id, suite, esn_high, esp, .. } = vector;
    let key = vector.key();
    let range = ciphertext_range(*suite, esp.len()).unwrap_or_else(|| panic!("{id}: length"));

    let icv = key.icv(*esn_high, esp).unwrap_or_else(|| panic!("{id}: length"));
    assert_eq!(icv.as_ref(), &esp[range.end..], "{id}: ICV");

    let mut packet = esp.clone();
    assert_eq!(open(&key, *esn_high, &mut packet), Status::Done, "{id}");
    assert_eq!(packet[..range.start], esp[..range.start], "{id}: header and IV stay");
    assert_eq!(packet[range.end..], esp[range.end..], "{id}: the ICV stays");
    let plaintext = packet[range.clone()].to_vec();

    // What stands where the ICV goes doesn't count.
    packet[range.end..].fill(0xa5);
    assert_eq!(seal(&key, *esn_high, &mut packet), Status::Done, "{id}");
    assert_eq!(&packet, esp, "{id}: sealed again");
    plaintext
}

/// What a vector's plaintext is beside its payload: padding of 1, 2, 3, …, pad length, next header.
fn check_with_trailer(vector: &Vector) {
    let plaintext = check(vector);
    let (payload, trailer) = plaintext.split_at(vector.payload.len());
    assert_eq!(payload, vector.payload, "{}", vector.id);
    let (padding, [pad_len, _next_header]) =
        trailer.split_last_chunk().unwrap_or_else(|| panic!("{}: trailer", vector.id));
    assert_eq!(padding.len(), usize::from(*pad_len), "{}", vector.id);
    assert!(padding.iter().zip(1..).all(|(octet, n)| *octet == n), "{}: padding", vector.id);
}

#[test]
fn opens_and_seals_published_packets() {
    let vectors = published();
    assert_eq!(vectors.len(), 14 + 1);
    for vector in &vectors {
        assert_eq!(check(vector), vector.payload, "{}", vector.id);
    }
    count(format_args!("draft-mcgrew-gcm-test-01, RFC 7634 Appendix A: {} packets", vectors.len()));
}

#[test]
fn opens_and_seals_packets_of_other_implementations() {
    let vectors = positive();
    vectors.iter().for_each(check_with_trailer);
    let suites = vectors.iter().map(|vector| vector.suite).collect::<HashSet<_>>();
    assert_eq!(suites.len(), 33);
    count(format_args!("ESP corpus: {} packets of {} suites", vectors.len(), suites.len()));
}

#[test]
fn opens_and_seals_packets_composed_elsewhere() {
    let vectors = composed();
    vectors.iter().for_each(check_with_trailer);
    let suites = vectors.iter().map(|vector| vector.suite).collect::<HashSet<_>>();
    count(format_args!("composed by Python: {} packets of {} suites", vectors.len(), suites.len()));
}

#[test]
fn every_suite_has_packets_of_others_with_and_without_esn() {
    let vectors = [positive(), composed()].concat();
    for suite in Suite::all() {
        for has_esn in [false, true] {
            let is_one = |vector: &&Vector| vector.suite == suite && vector.esn_high.is_some() == has_esn;
            assert!(vectors.iter().any(|vector| is_one(&vector)), "none of {suite}, ESN {has_esn}");
        }
    }
}
