//! What holds for every suite: nothing forged passes, nothing that fails changes, nothing panics, and a burst is
//! the same as its packets one by one.

mod common;

use common::{Vector, composed, integrity_key_len, key, octets, open, packet_len, positive, published, seal};
use espwire_transform::danger::seal_burst;
use espwire_transform::{Job, KeyError, SaKey, Status, Suite, ciphertext_range, open_burst};

const ESN: [Option<u32>; 4] = [None, Some(0), Some(1), Some(0x8000_00ff)];

#[test]
fn refuses_every_flipped_bit_and_leaves_the_packet_as_it_was() {
    for (seed, suite) in (1..).zip(Suite::all()) {
        let key = key(suite, seed);
        for esn_high in ESN {
            for blocks in [1, 9] {
                let plain = octets(seed << 8 | blocks as u64, packet_len(suite, blocks));
                let mut packet = plain.clone();
                assert_eq!(seal(&key, esn_high, &mut packet), Status::Done);
                for at in 0..packet.len() {
                    for bit in 0..8 {
                        packet[at] ^= 1 << bit;
                        let before = packet.clone();
                        assert_eq!(
                            open(&key, esn_high, &mut packet),
                            Status::AuthFailed,
                            "{suite}, ESN {esn_high:?}: octet {at} bit {bit}"
                        );
                        assert_eq!(packet, before, "{suite}, ESN {esn_high:?}: octet {at} bit {bit}");
                        packet[at] ^= 1 << bit;
                    }
                }
                assert_eq!(open(&key, esn_high, &mut packet), Status::Done, "the packet itself is right");
                let range = ciphertext_range(suite, packet.len()).expect("whole blocks");
                assert_eq!(packet[..range.end], plain[..range.end]);
            }
        }
    }
}

#[test]
fn refuses_another_high_half_and_opens_with_the_right_one_afterwards() {
    for (seed, suite) in (1..).zip(Suite::all()) {
        let key = key(suite, seed);
        for esn_high in ESN {
            let mut packet = octets(seed, packet_len(suite, 5));
            assert_eq!(seal(&key, esn_high, &mut packet), Status::Done);
            let sealed = packet.clone();
            let flips = (0..32).filter_map(|bit| esn_high.map(|high| Some(high ^ 1 << bit)));
            let swap = if esn_high.is_some() { None } else { Some(0) };
            for wrong in flips.chain([swap]) {
                assert_eq!(open(&key, wrong, &mut packet), Status::AuthFailed, "{suite}: {wrong:?}");
                assert_eq!(packet, sealed, "{suite}: {wrong:?}");
            }
            assert_eq!(open(&key, esn_high, &mut packet), Status::Done, "{suite}");
        }
    }
}

#[test]
fn refuses_another_key() {
    for (seed, suite) in (1..).zip(Suite::all()) {
        let (right, wrong) = (key(suite, seed), key(suite, seed + 100));
        let mut packet = octets(seed, packet_len(suite, 5));
        seal(&right, None, &mut packet);
        let sealed = packet.clone();
        assert_eq!(open(&wrong, None, &mut packet), Status::AuthFailed, "{suite}");
        assert_eq!(packet, sealed, "{suite}");
    }
}

#[test]
fn shows_the_icv_that_a_forged_packet_should_carry() {
    for (seed, suite) in (1..).zip(Suite::all()) {
        let key = key(suite, seed);
        for (esn_high, blocks) in ESN.into_iter().zip([1, 4, 7, 64]) {
            let mut packet = octets(seed, packet_len(suite, blocks));
            let wrong = key.icv(esn_high, &packet).expect("whole blocks");
            assert_eq!(open(&key, esn_high, &mut packet), Status::AuthFailed);
            let at = packet.len() - suite.icv_len();
            packet[at..].copy_from_slice(wrong.as_ref());
            assert_eq!(open(&key, esn_high, &mut packet), Status::Done, "{suite}, {blocks} blocks");
        }
    }
}

#[test]
fn takes_any_length_without_panic() {
    for (seed, suite) in (1..).zip(Suite::all()) {
        let key = key(suite, seed);
        for len in 0..=80 {
            for esn_high in ESN {
                let before = octets(seed, len);
                let mut packet = before.clone();
                let whole = ciphertext_range(suite, len).is_some();
                let want = if whole { Status::AuthFailed } else { Status::Malformed };
                assert_eq!(open(&key, esn_high, &mut packet), want, "{suite}, {len} octets");
                assert_eq!(packet, before, "{suite}, {len} octets");
                assert_eq!(key.icv(esn_high, &packet).is_some(), whole, "{suite}, {len} octets");
                let want = if whole { Status::Done } else { Status::Malformed };
                assert_eq!(seal(&key, esn_high, &mut packet), want, "{suite}, {len} octets");
                assert_eq!(packet == before, !whole, "{suite}, {len} octets");
            }
        }
    }
}

/// 535 packets of all suites with their own keys, out of order so that neighbours differ.
fn shuffled() -> Vec<Vector> {
    let mut vectors = published();
    vectors.extend(positive());
    vectors.extend(composed());
    let count = vectors.len();
    let mut from = vectors.into_iter().map(Some).collect::<Vec<_>>();
    // 59 has no divisor in common with the count: each is taken once.
    (0..count).map(|n| from[n * 59 % count].take().expect("once")).collect()
}

fn burst<'a>(vectors: &[Vector], keys: &'a [SaKey], packets: &'a mut [Vec<u8>]) -> Vec<Job<'a>> {
    let with_keys = vectors.iter().zip(keys).zip(packets);
    with_keys.map(|((vector, key), packet)| Job::new(key, vector.esn_high, packet)).collect()
}

#[test]
fn a_mixed_burst_gives_what_others_made_of_each_packet() {
    let vectors = shuffled();
    let keys = vectors.iter().map(Vector::key).collect::<Vec<_>>();
    let mut packets = vectors.iter().map(|vector| vector.esp.clone()).collect::<Vec<_>>();
    let mut jobs = burst(&vectors, &keys, &mut packets);
    open_burst(&mut jobs);
    for (vector, job) in vectors.iter().zip(&mut jobs) {
        assert_eq!(job.status, Status::Done, "{}", vector.id);
        let start = 8 + vector.suite.iv_len();
        assert!(job.packet[start..].starts_with(&vector.payload), "{}", vector.id);
        let icv = job.packet.len() - vector.suite.icv_len();
        job.packet[icv..].fill(0);
        job.status = Status::Pending;
    }
    seal_burst(&mut jobs);
    for (vector, job) in vectors.iter().zip(&jobs) {
        assert_eq!(job.status, Status::Done, "{}", vector.id);
        assert_eq!(job.packet, &vector.esp, "{}", vector.id);
    }
}

#[test]
fn bad_packets_in_a_burst_change_nothing_for_the_others() {
    let vectors = shuffled();
    let keys = vectors.iter().map(Vector::key).collect::<Vec<_>>();
    let mut packets = vectors.iter().map(|vector| vector.esp.clone()).collect::<Vec<_>>();
    for (n, packet) in packets.iter_mut().enumerate() {
        match n % 5 {
            1 => {
                let at = n % packet.len();
                packet[at] ^= 0x10;
            }
            3 => _ = packet.pop(),
            _ => {}
        }
    }
    let mut one_by_one = packets.clone();
    let before = packets.clone();

    let mut jobs = burst(&vectors, &keys, &mut packets);
    for job in jobs.iter_mut().skip(4).step_by(5) {
        job.status = Status::Malformed;
    }
    open_burst(&mut jobs);
    for (n, job) in jobs.iter().enumerate() {
        let id = &vectors[n].id;
        let (want, changed) = match n % 5 {
            1 => (Status::AuthFailed, false),
            // One octet less: no whole block of AES-CBC, another ICV for AES-GCM.
            3 if vectors[n].suite.block_len() == 1 => (Status::AuthFailed, false),
            3 => (Status::Malformed, false),
            4 => (Status::Malformed, false),
            _ => (Status::Done, !matches!(vectors[n].suite, Suite::AesGmac(_) | Suite::Null(_))),
        };
        assert_eq!(job.status, want, "{id}");
        assert_eq!(*job.packet != before[n][..], changed, "{id}");
        if n % 5 != 4 {
            assert_eq!(open(&keys[n], vectors[n].esn_high, &mut one_by_one[n]), want, "{id}");
            assert_eq!(job.packet, &one_by_one[n], "{id}");
        }
    }
}

#[test]
fn leaves_jobs_alone_that_are_not_pending() {
    for (seed, suite) in (1..).zip(Suite::all()) {
        let key = key(suite, seed);
        for status in [Status::Done, Status::Malformed, Status::AuthFailed] {
            let before = octets(seed, packet_len(suite, 3));
            let mut packet = before.clone();
            let mut jobs = [Job { status, ..Job::new(&key, None, &mut packet) }];
            seal_burst(&mut jobs);
            open_burst(&mut jobs);
            assert_eq!(jobs[0].status, status);
            assert_eq!(packet, before);
        }
    }
}

#[test]
fn refuses_wrong_key_lengths_and_names_lengths_only() {
    for suite in Suite::all() {
        let want = suite.encryption_key_len();
        let right = integrity_key_len(suite);
        for got in (0..=64).filter(|got| *got != want) {
            let error = SaKey::new(suite, &vec![0xa7; got], &vec![0xa7; right]).err().expect("refused");
            assert_eq!(error, KeyError::EncryptionKeyLen { suite, got, want });
            assert_eq!(
                error.to_string(),
                format!("{suite} takes an encryption key of {want} octets, not {got}")
            );
        }
    }
}

#[test]
fn takes_integrity_keys_as_linux_does() {
    for suite in Suite::all() {
        let encryption_key = vec![0xa7; suite.encryption_key_len()];
        let new = |got| SaKey::new(suite, &encryption_key, &vec![0xa7; got]).err();
        match suite.integrity_algorithm() {
            Some(_) => {
                for got in [1, 31, 32, 64, 65, 512] {
                    assert_eq!(new(got), None, "{got}");
                }
                for got in [0, 513] {
                    assert_eq!(new(got), Some(KeyError::IntegrityKeyLen { suite, got }));
                }
                assert!(new(0).is_some_and(|error| error.to_string().ends_with("1 to 512 octets, not 0")));
            }
            None => {
                assert_eq!(new(0), None);
                assert_eq!(new(32), Some(KeyError::IntegrityKeyUnused { suite, got: 32 }));
            }
        }
    }
}

#[test]
fn keys_may_go_to_another_thread() {
    fn sendable<T: Send + Sync>() {}
    sendable::<SaKey>();
}
