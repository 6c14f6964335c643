//! The primitives against published cases, most of which no ESP packet could be: an AAD of any length, an empty
//! plaintext, nonces that AES-CCM has and ESP has not. Whole packets are in `tests/`.

mod published;
mod wycheproof;

use crate::aead::Aead;
use crate::aes_ctr::Aes;
use std::fmt::Arguments;
use std::io::Write;

/// Prints a line that the test harness does not swallow.
fn count(line: Arguments<'_>) {
    writeln!(std::io::stdout().lock(), "{line}").expect("stdout");
}

/// What an AEAD is asked, and what comes out if the case is valid.
struct AeadCase<'a> {
    id: String,
    nonce: &'a [u8],
    aad: &'a [u8],
    /// Unknown of some cases that are not valid.
    plaintext: Option<&'a [u8]>,
    ciphertext: &'a [u8],
    icv: &'a [u8],
    is_valid: bool,
}

impl AeadCase<'_> {
    /// Opens it, and seals it if it is valid.
    fn check<A: Aead>(&self, aead: &A) {
        let id = &self.id;
        let mut nonce = A::ZERO_NONCE;
        nonce.as_mut().copy_from_slice(self.nonce);
        let mut text = self.ciphertext.to_vec();
        assert_eq!(aead.open(&nonce, self.aad, &mut text, self.icv), self.is_valid, "{id}");
        if !self.is_valid {
            assert_eq!(text, self.ciphertext, "{id}: unchanged");
            return;
        }
        assert_eq!(Some(&text[..]), self.plaintext, "{id}: opened");
        let tag = aead.seal(&nonce, self.aad, &mut text);
        assert_eq!(text, self.ciphertext, "{id}: sealed");
        assert_eq!(tag[..self.icv.len()], *self.icv, "{id}: tag");
        assert_eq!(aead.tag(&nonce, self.aad, &text), tag, "{id}: tag without a change");
        for bit in 0..8 * self.icv.len() {
            let mut wrong = self.icv.to_vec();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!aead.open(&nonce, self.aad, &mut text, &wrong), "{id}: bit {bit} of the ICV");
        }
        assert_eq!(text, self.ciphertext, "{id}: unchanged");
    }
}

/// Calls `$run` with the block cipher that has a key of `$key_len` octets as `$aes`.
macro_rules! with_aes_of {
    ($key_len:expr, $aes:ident => $run:expr) => {
        match $key_len {
            16 => {
                type $aes = aes::Aes128;
                $run
            }
            24 => {
                type $aes = aes::Aes192;
                $run
            }
            32 => {
                type $aes = aes::Aes256;
                $run
            }
            len => panic!("AES has no key of {len} octets"),
        }
    };
}
use with_aes_of;

fn gcm<C: Aes>(key: &[u8]) -> crate::gcm::Gcm<C> {
    crate::gcm::Gcm::new(key).expect("a key of the right length")
}
