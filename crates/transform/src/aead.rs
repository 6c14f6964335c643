//! The combined mode algorithms in ESP: a nonce of salt and IV, an AAD of SPI and sequence number, and an ICV that
//! is the start of the tag (RFC 4106, RFC 4309, RFC 7634). RFC 8750 is where the IV is not sent.

use crate::schedule::Schedule;
use crate::suite::HEADER_LEN;
use crate::{Icv, Status};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// Octets of IV in the nonce, whether the packet carries it or not.
const IV_LEN: usize = 8;

/// A whole tag, of which a packet may carry less.
pub(crate) type Tag = [u8; 16];

/// An AEAD under one key, in two parts that the crates of this name have in one: the tag of a ciphertext can be had
/// without a change to it. So it is compared before anything is decrypted, and shown where it is wrong.
pub(crate) trait Aead: Send + Sync {
    /// What may never come twice under one key.
    type Nonce: AsMut<[u8]> + Copy + Zeroize + Send + Sync;

    /// A nonce to be filled in.
    const ZERO_NONCE: Self::Nonce;

    /// The tag of `ciphertext` and `aad`.
    fn tag(&self, nonce: &Self::Nonce, aad: &[u8], ciphertext: &[u8]) -> Tag;

    /// Encrypts or decrypts, which is the same.
    fn apply_keystream(&self, nonce: &Self::Nonce, text: &mut [u8]);

    /// Encrypts `text` and returns its tag.
    #[inline]
    fn seal(&self, nonce: &Self::Nonce, aad: &[u8], text: &mut [u8]) -> Tag {
        self.apply_keystream(nonce, text);
        self.tag(nonce, aad, text)
    }

    /// Decrypts `text` if `icv` is the start of its tag. Returns whether it is; if not, nothing has changed.
    #[inline]
    fn open(&self, nonce: &Self::Nonce, aad: &[u8], text: &mut [u8], icv: &[u8]) -> bool {
        self.open_by_parts(nonce, aad, text, icv)
    }

    /// [`open`](Self::open), by tag and keystream.
    #[inline]
    fn open_by_parts(&self, nonce: &Self::Nonce, aad: &[u8], text: &mut [u8], icv: &[u8]) -> bool {
        let is_right = is_start(icv, &self.tag(nonce, aad, text));
        if is_right {
            self.apply_keystream(nonce, text);
        }
        is_right
    }
}

/// Whether `icv` is the start of `tag`, in a time that depends on its length alone.
#[inline]
pub(crate) fn is_start(icv: &[u8], tag: &Tag) -> bool {
    tag.get(..icv.len()).is_some_and(|start| start.ct_eq(icv).into())
}

/// An [`Aead`] at work on ESP packets.
pub(crate) struct Combined<A: Aead> {
    aead: A,
    /// The salt, and zeros in place of the IV.
    nonce: Zeroizing<A::Nonce>,
    icv_len: usize,
    has_implicit_iv: bool,
}

impl<A: Aead> Combined<A> {
    /// `None` if salt and IV don't make a nonce.
    pub(crate) fn new(aead: A, salt: &[u8], icv_len: usize, has_implicit_iv: bool) -> Option<Self> {
        let mut nonce = Zeroizing::new(A::ZERO_NONCE);
        let (start, _) = nonce.as_mut().split_last_chunk_mut::<IV_LEN>()?;
        if start.len() != salt.len() {
            return None;
        }
        start.copy_from_slice(salt);
        Some(Self { aead, nonce, icv_len, has_implicit_iv })
    }

    /// Nonce and AAD of a packet, and where its ciphertext begins.
    #[inline]
    fn parts(&self, esn_high: Option<u32>, authenticated: &[u8]) -> Option<(A::Nonce, Aad, usize)> {
        let (header, rest) = authenticated.split_first_chunk()?;
        let mut nonce = *self.nonce;
        let iv = nonce.as_mut().last_chunk_mut::<IV_LEN>()?;
        let text_at = if self.has_implicit_iv {
            // RFC 8750 §4: the sequence number as 64 bits. Without ESN the high-order half is zero.
            iv[..4].copy_from_slice(&esn_high.unwrap_or(0).to_be_bytes());
            iv[4..].copy_from_slice(&header[4..]);
            HEADER_LEN
        } else {
            *iv = *rest.first_chunk()?;
            HEADER_LEN + IV_LEN
        };
        Some((nonce, Aad::new(header, esn_high), text_at))
    }
}

impl<A: Aead> Schedule for Combined<A> {
    fn open(&self, esn_high: Option<u32>, authenticated: &mut [u8], icv: &[u8]) -> Option<Status> {
        let (nonce, aad, text_at) = self.parts(esn_high, authenticated)?;
        let text = authenticated.get_mut(text_at..)?;
        let is_right = self.aead.open(&nonce, aad.as_ref(), text, icv);
        Some(if is_right { Status::Done } else { Status::AuthFailed })
    }

    fn seal(&self, esn_high: Option<u32>, authenticated: &mut [u8], icv: &mut [u8]) -> Option<Status> {
        let (nonce, aad, text_at) = self.parts(esn_high, authenticated)?;
        let text = authenticated.get_mut(text_at..)?;
        let tag = self.aead.seal(&nonce, aad.as_ref(), text);
        icv.copy_from_slice(tag.get(..icv.len())?);
        Some(Status::Done)
    }

    fn icv(&self, esn_high: Option<u32>, authenticated: &[u8]) -> Option<Icv> {
        let (nonce, aad, text_at) = self.parts(esn_high, authenticated)?;
        let tag = self.aead.tag(&nonce, aad.as_ref(), authenticated.get(text_at..)?);
        Icv::start_of(&tag, self.icv_len)
    }
}

/// SPI, the high half of an ESN if there is one, and the sequence number's low half (RFC 4106 §5, RFC 4309 §5,
/// RFC 7634 §2.1). An implicit IV is no part of it.
struct Aad {
    octets: [u8; HEADER_LEN + 4],
    len: usize,
}

impl Aad {
    #[inline]
    fn new(header: &[u8; HEADER_LEN], esn_high: Option<u32>) -> Self {
        let mut octets = [0; HEADER_LEN + 4];
        octets[..4].copy_from_slice(&header[..4]);
        let low = match esn_high {
            Some(high) => {
                octets[4..8].copy_from_slice(&high.to_be_bytes());
                8
            }
            None => 4,
        };
        octets[low..low + 4].copy_from_slice(&header[4..]);
        Self { octets, len: low + 4 }
    }
}

impl AsRef<[u8]> for Aad {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_half_of_an_esn_stands_between_spi_and_low_half() {
        let header = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(Aad::new(&header, None).as_ref(), header);
        assert_eq!(
            Aad::new(&header, Some(0x0a0b_0c0d)).as_ref(),
            [1, 2, 3, 4, 0xa, 0xb, 0xc, 0xd, 5, 6, 7, 8]
        );
    }

    #[test]
    fn an_icv_is_right_if_it_is_the_start_of_the_tag() {
        let mut tag = [0; 16];
        tag.iter_mut().zip(1..).for_each(|(octet, n)| *octet = n);
        for len in [8, 12, 16] {
            assert!(is_start(&tag[..len], &tag));
            for at in 0..len {
                let mut icv = tag[..len].to_vec();
                icv[at] ^= 0x80;
                assert!(!is_start(&icv, &tag));
            }
        }
        assert!(!is_start(&[1; 17], &tag), "longer than a tag");
    }

    /// An AEAD that shows its nonce.
    struct Shown;

    impl Aead for Shown {
        type Nonce = [u8; 11];
        const ZERO_NONCE: Self::Nonce = [0; 11];

        fn tag(&self, nonce: &Self::Nonce, _: &[u8], _: &[u8]) -> Tag {
            let mut tag = [0xee; 16];
            tag[..11].copy_from_slice(nonce);
            tag
        }

        fn apply_keystream(&self, _: &Self::Nonce, _: &mut [u8]) {}
    }

    #[test]
    fn the_nonce_is_salt_and_iv() {
        let packet = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0, 0];
        let nonce = |has_implicit_iv, esn_high| {
            let key = Combined::new(Shown, &[0xa, 0xb, 0xc], 16, has_implicit_iv).expect("11 octets");
            key.icv(esn_high, &packet).expect("long enough").as_ref()[..11].to_vec()
        };
        for esn_high in [None, Some(7)] {
            assert_eq!(nonce(false, esn_high), [0xa, 0xb, 0xc, 9, 10, 11, 12, 13, 14, 15, 16]);
        }
        assert_eq!(nonce(true, None), [0xa, 0xb, 0xc, 0, 0, 0, 0, 5, 6, 7, 8]);
        assert_eq!(nonce(true, Some(0x0102_0304)), [0xa, 0xb, 0xc, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(Combined::new(Shown, &[1; 4], 16, true).is_none(), "no room for a fourth octet of salt");
    }
}
