use std::fmt;

/// The longest ICV of any suite: 32 octets, of HMAC-SHA-512-256.
const MAX_ICV_LEN: usize = 32;

/// An ICV of up to 32 octets, to be shown. It has no `PartialEq`: a packet is verified by
/// [`open_burst`](crate::open_burst) and never by a comparison with `==`, whose time tells how much of a forged
/// ICV was right.
#[derive(Clone, Copy)]
pub struct Icv {
    octets: [u8; MAX_ICV_LEN],
    len: u8,
}

impl Icv {
    /// The first `len` octets of a tag or HMAC. `None` if it has fewer, or they are more than an ICV has.
    pub(crate) fn start_of(tag: &[u8], len: usize) -> Option<Self> {
        let mut octets = [0; MAX_ICV_LEN];
        octets.get_mut(..len)?.copy_from_slice(tag.get(..len)?);
        Some(Self { octets, len: len as u8 })
    }
}

impl AsRef<[u8]> for Icv {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.octets[..usize::from(self.len)]
    }
}

/// The octets in lower-case hexadecimal.
impl fmt::Debug for Icv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_its_own_octets_only() {
        let icv = Icv::start_of(&[0x0a, 0xff, 0x00, 0x11], 3).expect("4 octets");
        assert_eq!(icv.as_ref(), [0x0a, 0xff, 0x00]);
        assert_eq!(format!("{icv:?}"), "0aff00");
    }

    #[test]
    fn has_at_most_32_octets_and_no_more_than_there_are() {
        assert!(Icv::start_of(&[1; 64], 32).is_some());
        assert!(Icv::start_of(&[1; 64], 33).is_none());
        assert!(Icv::start_of(&[1; 16], 17).is_none());
    }
}
