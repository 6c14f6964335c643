//! The ESP trailer: padding, pad length, next header (RFC 4303 §2.4 to §2.6).

use std::ops::Range;

/// Octets of pad length and next header, the least a trailer has.
pub const MIN_TRAILER_LEN: usize = 2;

/// What a decrypted packet ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Octets of padding before it that the sender claims: 0 to 255.
    pub pad_len: u8,
    /// Protocol of the payload: 4 and 41 for an IP packet in tunnel mode, 59 for a dummy packet.
    pub next_header: u8,
}

/// What is wrong with a trailer under a right ICV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrailerFault {
    /// The plaintext is no multiple of 4 octets (RFC 4303 §2.4).
    Alignment,
    /// The pad length is larger than what precedes it.
    PadLength,
    /// Padding is not 1, 2, 3, … (RFC 4303 §2.4, §3.4.4.1).
    Padding,
}

impl Trailer {
    /// The last two octets of `plaintext`: payload, padding, pad length, next header. `None` if it has fewer.
    #[inline]
    #[must_use]
    pub fn read(plaintext: &[u8]) -> Option<Self> {
        let &[.., pad_len, next_header] = plaintext else { return None };
        Some(Self { pad_len, next_header })
    }

    /// Where the padding stands in the plaintext; `None` if that is shorter than the pad length claims.
    #[inline]
    #[must_use]
    pub fn padding(self, plaintext: &[u8]) -> Option<Range<usize>> {
        let end = plaintext.len().checked_sub(MIN_TRAILER_LEN)?;
        Some(end.checked_sub(self.pad_len.into())?..end)
    }

    /// Checks alignment, pad length and the padding's content, and returns how long the payload before it is,
    /// TFC padding included.
    ///
    /// # Errors
    ///
    /// What is wrong, the first of these in that order.
    #[inline]
    pub fn check(self, plaintext: &[u8]) -> Result<usize, TrailerFault> {
        if !plaintext.len().is_multiple_of(4) {
            return Err(TrailerFault::Alignment);
        }
        let padding = self.padding(plaintext).ok_or(TrailerFault::PadLength)?;
        //= https://www.rfc-editor.org/rfc/rfc4303#section-2.4
        //# When this padding scheme is employed, the receiver SHOULD
        //# inspect the Padding field.
        let payload_len = padding.start;
        let right = plaintext[padding].iter().zip(1..=u8::MAX).all(|(&octet, expected)| octet == expected);
        if right { Ok(payload_len) } else { Err(TrailerFault::Padding) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(plaintext: &[u8]) -> Result<usize, TrailerFault> {
        Trailer::read(plaintext).unwrap().check(plaintext)
    }

    #[test]
    fn padding_counts_from_one() {
        assert_eq!(check(&[9, 9, 0, 4]), Ok(2));
        assert_eq!(check(&[1, 2, 2, 4]), Ok(0));
        assert_eq!(check(&[9, 9, 9, 9, 9, 1, 1, 4]), Ok(5));
        for wrong in [[1, 1, 2, 4], [2, 1, 2, 4], [0, 0, 2, 4], [0, 1, 2, 4]] {
            assert_eq!(check(&wrong), Err(TrailerFault::Padding));
        }
    }

    #[test]
    fn all_of_255_octets_are_inspected() {
        let mut plaintext: Vec<u8> = [0; 3].into_iter().chain(1..=255).chain([255, 4]).collect();
        assert_eq!(check(&plaintext), Ok(3));
        for at in 3..258 {
            plaintext[at] ^= 1;
            assert_eq!(check(&plaintext), Err(TrailerFault::Padding), "octet {at}");
            plaintext[at] ^= 1;
        }
    }

    #[test]
    fn lengths_are_checked_first() {
        assert_eq!(Trailer::read(&[4]), None);
        assert_eq!(check(&[3, 4]), Err(TrailerFault::Alignment));
        assert_eq!(check(&[1, 2, 3, 4]), Err(TrailerFault::PadLength));
        assert_eq!(check(&[0, 0, 255, 4]), Err(TrailerFault::PadLength));
    }
}
