//! Packets that others made: opened to their plaintext, and sealed to their octets.

mod common;

use common::{SUITES, Vector, open, positive, published, seal};
use espwire_transform::{Status, ciphertext_range};

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

    packet[range.end..].fill(0);
    assert_eq!(seal(&key, *esn_high, &mut packet), Status::Done, "{id}");
    assert_eq!(&packet, esp, "{id}: sealed again");
    plaintext
}

#[test]
fn opens_and_seals_the_gcm_drafts_packets() {
    let vectors = published();
    assert_eq!(vectors.len(), 14);
    for vector in &vectors {
        assert_eq!(check(vector), vector.payload, "{}", vector.id);
    }
}

#[test]
fn opens_and_seals_packets_of_other_implementations() {
    let vectors = positive();
    for vector in &vectors {
        let plaintext = check(vector);
        let (payload, trailer) = plaintext.split_at(vector.payload.len());
        assert_eq!(payload, vector.payload, "{}", vector.id);
        let (padding, [pad_len, _next_header]) =
            trailer.split_last_chunk().unwrap_or_else(|| panic!("{}: trailer", vector.id));
        assert_eq!(padding.len(), usize::from(*pad_len), "{}", vector.id);
        assert!(padding.iter().zip(1..).all(|(octet, n)| *octet == n), "{}: padding", vector.id);
    }
    for suite in SUITES {
        for esn in [false, true] {
            assert!(
                vectors.iter().any(|v| v.suite == suite && v.esn_high.is_some() == esn),
                "no vector of {suite}, ESN {esn}"
            );
        }
    }
}
