//! The IVs of what is sent.

use aes::Aes256;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::Suite;

/// Octets of an [`IvSecret`].
pub const IV_SECRET_LEN: usize = 32;

/// What an [`IvSource`] is made of: octets of a cryptographic generator, other ones for each source.
///
/// They are wiped on drop. There is no `Debug` and no `Clone`.
pub struct IvSecret(Zeroizing<[u8; IV_SECRET_LEN]>);

impl IvSecret {
    /// What stands for the secret where two are compared, as in a set of those that were there: SHA-256 over the
    /// secret. It does not lead back to it.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(&self.0[..]).into()
    }
}

impl From<[u8; IV_SECRET_LEN]> for IvSecret {
    /// The caller's own copy of the octets, if there is one, is the caller's to wipe.
    fn from(octets: [u8; IV_SECRET_LEN]) -> Self {
        Self(Zeroizing::new(octets))
    }
}

/// Makes the IVs of one SA's packets, a different one for each count.
///
/// - Counter modes: the count as 64 bits, plus an offset from the secret. No IV comes twice before the count does
///   (RFC 4106 §3.1, RFC 4309 §3.1, RFC 7634 §2, RFC 3686 §3.1, RFC 4543 §3.1). Under one key the IVs of two sources,
///   each of n packets, meet with a probability of about n / 2^63: of 2^32 packets, 2^−31. Each restart under that key
///   is one source more, and each meets every other: of k sources some two meet with a probability of about
///   k² · n / 2^64. With 2^16 restarts of 2^20 packets each that is 2^−12: a key should not outlive many.
/// - AES-CBC: the count, encrypted under the secret by AES-256. Nobody without the secret can tell the next one
///   (RFC 3602 §3; SP 800-38A Appendix C).
/// - Implicit IV (RFC 8750) and NULL: none.
pub struct IvSource(Kind);

enum Kind {
    None,
    Offset(Zeroizing<u64>),
    // In a box: round keys are large, and few SAs have them.
    Encrypted(Box<Aes256>),
}

impl IvSource {
    /// A source for `suite`.
    ///
    /// `secret` must come from a cryptographic generator, and be another one for each source: what a source makes
    /// is only as new as its secret once counts start again, after a restart or for a second SA. Who calls sees to
    /// both.
    #[must_use]
    pub fn new(suite: Suite, secret: &IvSecret) -> Self {
        let IvSecret(secret) = secret;
        Self(match suite {
            _ if suite.iv_len() == 0 => Kind::None,
            Suite::AesCbc(..) => Kind::Encrypted(Box::new(Aes256::new((&**secret).into()))),
            _ => {
                let [a, b, c, d, e, f, g, h, ..] = **secret;
                Kind::Offset(Zeroizing::new(u64::from_be_bytes([a, b, c, d, e, f, g, h])))
            }
        })
    }

    /// Writes the IV of the packet with this count into `iv`, which has the suite's [`iv_len`](Suite::iv_len) octets;
    /// of any other length, it is left as it was.
    #[inline]
    pub fn write(&self, count: u64, iv: &mut [u8]) {
        match &self.0 {
            Kind::None => {}
            Kind::Offset(offset) => {
                if let Some(iv) = iv.as_mut_array() {
                    *iv = offset.wrapping_add(count).to_be_bytes();
                }
            }
            Kind::Encrypted(aes) => {
                if let Some(iv) = iv.as_mut_array() {
                    let mut block = u128::from(count).to_be_bytes().into();
                    aes.encrypt_block(&mut block);
                    *iv = block.into();
                    block.zeroize();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use zeroize::ZeroizeOnDrop;

    use super::*;

    fn ivs(suite: Suite, secret: u8, counts: impl Iterator<Item = u64>) -> HashSet<Vec<u8>> {
        let source = IvSource::new(suite, &[secret; IV_SECRET_LEN].into());
        counts
            .map(|count| {
                let mut iv = vec![0; suite.iv_len()];
                source.write(count, &mut iv);
                iv
            })
            .collect()
    }

    #[test]
    fn no_iv_comes_twice_under_one_secret_nor_under_another() {
        let counts = || (1..1000).chain((1 << 32)..(1 << 32) + 1000).chain(u64::MAX - 1000..=u64::MAX);
        for suite in Suite::all().filter(|suite| suite.iv_len() > 0) {
            let (a, b) = (ivs(suite, 1, counts()), ivs(suite, 2, counts()));
            assert_eq!(a.len(), counts().count(), "{suite}");
            assert!(a.is_disjoint(&b), "{suite}");
        }
    }

    /// Fails to compile if the octets are held by what does not wipe them.
    #[test]
    fn a_secret_is_wiped_on_drop() {
        fn wiped<T: ZeroizeOnDrop>(_: &T) {}
        wiped(&IvSecret::from([1; _]).0);
    }

    #[test]
    fn a_fingerprint_tells_secrets_apart_in_every_octet() {
        let of = |octets: [u8; IV_SECRET_LEN]| IvSecret::from(octets).fingerprint();
        let mut seen = HashSet::from([of([7; _])]);
        assert!(!seen.insert(of([7; _])));
        for place in 0..IV_SECRET_LEN {
            let mut octets = [7; _];
            octets[place] ^= 1;
            assert!(seen.insert(of(octets)), "{place}");
        }
        assert!(!seen.contains(&[7; 32]));
    }

    #[test]
    fn cbc_ivs_do_not_betray_the_count() {
        let suite = Suite::AesCbc(crate::AesKeyLen::Aes128, crate::Integrity::HmacSha1_96);
        let bits = |iv: &Vec<u8>| iv.iter().map(|octet| octet.count_ones()).sum::<u32>();
        let ivs = ivs(suite, 3, 0..256);
        let ones = ivs.iter().map(bits).sum::<u32>();
        // Half of 128 bits, 256 times: 16,384, with a standard deviation of 90.5.
        assert!((15_800..16_970).contains(&ones), "{ones}");
        assert!(ivs.iter().all(|iv| bits(iv) > 30), "none is a plain count");
    }
}
