//! `virtio_net_hdr`: what stands before each frame in a ring (virtio 1.x §5.1.6).

/// Octets of the longest header used here.
pub const MAX_HEADER_LEN: usize = 12;

/// Octets of the legacy interface's header without mergeable RX buffers: it ends before `num_buffers`.
pub const LEGACY_HEADER_LEN: usize = 10;

/// VIRTIO_NET_HDR_GSO_NONE.
const GSO_NONE: u8 = 0;

/// Why a header from a guest is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderFault {
    /// A checksum offload is asked for that was not negotiated (virtio 1.x §5.1.6.2.1).
    Flags,
    /// A segmentation offload is asked for that was not negotiated.
    Gso,
}

/// The header before a frame, in host byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// VIRTIO_NET_HDR_F_*: bit 0 NEEDS_CSUM, 1 DATA_VALID, 2 RSC_INFO.
    pub flags: u8,
    /// VIRTIO_NET_HDR_GSO_*.
    pub gso_type: u8,
    /// Octets of the frame's headers: a hint of the driver, never to be relied on.
    pub hdr_len: u16,
    /// Octets of payload per segment.
    pub gso_size: u16,
    /// Where the checksum starts, in octets from the start of the frame.
    pub csum_start: u16,
    /// Where it goes, in octets from `csum_start`.
    pub csum_offset: u16,
    /// RX: how many buffers the frame fills. TX: no meaning.
    pub num_buffers: u16,
}

impl Header {
    /// The header of a frame without offloads that fills `num_buffers` RX buffers: 1 without MRG_RXBUF.
    #[inline]
    #[must_use]
    pub const fn plain(num_buffers: u16) -> Self {
        Self {
            flags: 0,
            gso_type: GSO_NONE,
            hdr_len: 0,
            gso_size: 0,
            csum_start: 0,
            csum_offset: 0,
            num_buffers,
        }
    }

    /// Reads a header. Of a 10-octet header give zeros for the last two.
    #[inline]
    #[must_use]
    pub fn from_octets(octets: &[u8; MAX_HEADER_LEN]) -> Self {
        let word = |i: usize| u16::from_le_bytes([octets[i], octets[i + 1]]);
        Self {
            flags: octets[0],
            gso_type: octets[1],
            hdr_len: word(2),
            gso_size: word(4),
            csum_start: word(6),
            csum_offset: word(8),
            num_buffers: word(10),
        }
    }

    /// The header as 12 octets; a 10-octet header is the first ten.
    #[inline]
    #[must_use]
    pub fn to_octets(&self) -> [u8; MAX_HEADER_LEN] {
        let mut octets = [0; MAX_HEADER_LEN];
        octets[0] = self.flags;
        octets[1] = self.gso_type;
        let words = [self.hdr_len, self.gso_size, self.csum_start, self.csum_offset, self.num_buffers];
        for (pair, word) in octets[2..].chunks_exact_mut(2).zip(words) {
            pair.copy_from_slice(&word.to_le_bytes());
        }
        octets
    }

    /// Checks a header that a guest put before a frame it sends: no offload is offered, so none may be used.
    ///
    /// The peer gets a header made anew, so fields without meaning here are not looked at. The bits
    /// DATA_VALID and RSC_INFO are for the other direction; a driver must not set them, a device ignores
    /// them (virtio 1.x §5.1.6.2.2).
    ///
    /// # Errors
    ///
    /// [`HeaderFault`] if the frame would need work that was not offered: it is incomplete as it stands.
    #[inline]
    pub fn check(&self) -> Result<(), HeaderFault> {
        const NEEDS_CSUM: u8 = 1;
        if self.flags & NEEDS_CSUM != 0 {
            return Err(HeaderFault::Flags);
        }
        if self.gso_type != GSO_NONE {
            return Err(HeaderFault::Gso);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn octets_and_fields_say_the_same(octets: [u8; MAX_HEADER_LEN]) {
            prop_assert_eq!(Header::from_octets(&octets).to_octets(), octets);
        }
    }

    #[test]
    fn fields_stand_where_the_standard_puts_them() {
        let header = Header::from_octets(&[1, 3, 0x36, 0, 0xb4, 5, 0x22, 0, 0x10, 0, 4, 0]);
        let due = Header {
            flags: 1,
            gso_type: 3,
            hdr_len: 54,
            gso_size: 1460,
            csum_start: 34,
            csum_offset: 16,
            num_buffers: 4,
        };
        assert_eq!(header, due);
    }

    #[test]
    fn refuses_offloads_that_were_not_negotiated() {
        let plain = Header::plain(0);
        assert_eq!(plain.check(), Ok(()));
        let csum = Header { flags: 1, ..plain };
        assert_eq!(csum.check(), Err(HeaderFault::Flags));
        let gso = Header { gso_type: 1, ..plain };
        assert_eq!(gso.check(), Err(HeaderFault::Gso));
        let meaningless = Header { num_buffers: 77, hdr_len: 9, csum_start: 1, ..plain };
        assert_eq!(meaningless.check(), Ok(()));
    }
}
