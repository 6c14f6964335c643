//! Algorithms and their keys as `ip xfrm` has them.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Position;

/// An algorithm as it was written: `enc 'cbc(aes)' KEY`, `auth-trunc 'hmac(sha256)' KEY 128`.
#[derive(Clone, Debug)]
pub struct Algorithm {
    /// Its name as written, such as `rfc4106(gcm(aes))`: 1 to 63 characters, none of them a blank. Not checked
    /// against any list of algorithms.
    pub name: String,
    /// Its key, for an AEAD with the salt at its end. May be empty.
    pub key: Key,
    /// ICV length in bits, where the text says it: `aead` and `auth-trunc` do, `auth` and `enc` don't.
    pub icv_bits: Option<u32>,
    /// Where the name stands.
    pub position: Position,
    /// Where the key stands; of the name if the printed key is empty.
    pub key_position: Position,
}

/// Names that Linux takes for another, and the name under which it prints the algorithm.
const KERNEL_NAMES: [(&str, &str); 14] = [
    ("aes", "cbc(aes)"),
    ("blowfish", "cbc(blowfish)"),
    ("camellia", "cbc(camellia)"),
    ("cast5", "cbc(cast5)"),
    ("cipher_null", "ecb(cipher_null)"),
    ("des", "cbc(des)"),
    ("des3_ede", "cbc(des3_ede)"),
    ("md5", "hmac(md5)"),
    ("rmd160", "hmac(rmd160)"),
    ("serpent", "cbc(serpent)"),
    ("sha1", "hmac(sha1)"),
    ("sha256", "hmac(sha256)"),
    ("sm4", "cbc(sm4)"),
    ("twofish", "cbc(twofish)"),
];

impl Algorithm {
    /// The name Linux prints for it: `cbc(aes)` for the older `aes`. A name that is no such alias as it stands.
    pub fn kernel_name(&self) -> &str {
        KERNEL_NAMES.iter().find(|(alias, _)| *alias == self.name).map_or(&self.name, |(_, name)| name)
    }

    /// ICV length in bits: the one written, or the one Linux gives an `auth` algorithm without a length, or of
    /// length 0 (for `hmac(sha256)` that is 96). None for a name that has no such default here.
    pub fn effective_icv_bits(&self) -> Option<u32> {
        self.icv_bits.filter(|bits| *bits != 0).or_else(|| match self.kernel_name() {
            "digest_null" => Some(0),
            "hmac(md5)" | "hmac(sha1)" | "hmac(sha256)" | "hmac(rmd160)" | "xcbc(aes)" | "cmac(aes)" => {
                Some(96)
            }
            "hmac(sha384)" => Some(192),
            "hmac(sha512)" | "hmac(sm3)" => Some(256),
            _ => None,
        })
    }

    /// Whether both give the same octets on the wire. The keys are compared in constant time.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.kernel_name() == other.kernel_name()
            && self.effective_icv_bits() == other.effective_icv_bits()
            && self.key == other.key
    }
}

/// Key octets. Zeroized on drop, compared in constant time, and never printed: Debug shows the length alone.
#[derive(Clone)]
pub struct Key(Zeroizing<Vec<u8>>);

impl Key {
    /// A key of these octets, for an AEAD with the salt at its end. Not more than [`MAX_KEY_LEN`]: not checked here,
    /// but [`parse`](super::parse) refuses it, and [`Sad::new`](crate::Sad::new) any length that the algorithm has not.
    ///
    /// Give it the only copy: a `Vec` that was made longer in between has left copies behind.
    pub fn new(octets: impl Into<Zeroizing<Vec<u8>>>) -> Self {
        Self(octets.into())
    }

    /// The octets.
    pub fn as_octets(&self) -> &[u8] {
        &self.0
    }

    /// How many octets: 0 to [`MAX_KEY_LEN`].
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none, as for `ecb(cipher_null)`.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for Key {
    /// In constant time for keys of one length.
    fn eq(&self, other: &Self) -> bool {
        self.as_octets().ct_eq(other.as_octets()).into()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} octets)", self.len())
    }
}

/// The longest key `ip xfrm` takes, in octets.
pub const MAX_KEY_LEN: usize = 512;
