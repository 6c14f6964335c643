use std::fmt;

/// The longest ICV of any suite in RFC 8221: 32 octets, of HMAC-SHA-512-256.
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
    /// Of a suite's ICV, whose length is known when compiling.
    #[inline]
    pub(crate) fn new<const LEN: usize>(icv: &[u8; LEN]) -> Self {
        const { assert!(LEN <= MAX_ICV_LEN) };
        let mut octets = [0; MAX_ICV_LEN];
        octets[..LEN].copy_from_slice(icv);
        Self { octets, len: LEN as u8 }
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
        let icv = Icv::new(&[0x0a, 0xff, 0x00]);
        assert_eq!(icv.as_ref(), [0x0a, 0xff, 0x00]);
        assert_eq!(format!("{icv:?}"), "0aff00");
    }
}
