//! Feature bits: what a port offers and what was negotiated.

use std::ops::{BitAnd, BitOr};

use crate::{LEGACY_HEADER_LEN, MAX_HEADER_LEN};
use virtio_bindings::virtio_config::{VIRTIO_F_IN_ORDER, VIRTIO_F_VERSION_1};
use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_CTRL_VQ, VIRTIO_NET_F_MAC, VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_MTU,
};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

/// A set of virtio feature bits, as GET_FEATURES and SET_FEATURES carry them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Features(pub u64);

impl Features {
    /// VIRTIO_NET_F_MTU: the configuration space has an MTU (virtio 1.x §5.1.3).
    pub const MTU: Self = Self(1 << VIRTIO_NET_F_MTU);
    /// VIRTIO_NET_F_MAC: the configuration space has a MAC address.
    pub const MAC: Self = Self(1 << VIRTIO_NET_F_MAC);
    /// VIRTIO_NET_F_MRG_RXBUF: a frame may be spread over several RX buffers.
    pub const MRG_RXBUF: Self = Self(1 << VIRTIO_NET_F_MRG_RXBUF);
    /// VIRTIO_NET_F_CTRL_VQ: a control queue; the frontend serves it.
    pub const CTRL_VQ: Self = Self(1 << VIRTIO_NET_F_CTRL_VQ);
    /// VIRTIO_F_INDIRECT_DESC.
    pub const INDIRECT_DESC: Self = Self(1 << VIRTIO_RING_F_INDIRECT_DESC);
    /// VIRTIO_F_EVENT_IDX.
    pub const EVENT_IDX: Self = Self(1 << VIRTIO_RING_F_EVENT_IDX);
    /// VHOST_USER_F_PROTOCOL_FEATURES: bit 30, of vhost-user, not of virtio.
    pub const PROTOCOL_FEATURES: Self = Self(1 << 30);
    /// VIRTIO_F_VERSION_1.
    pub const VERSION_1: Self = Self(1 << VIRTIO_F_VERSION_1);
    /// VIRTIO_F_IN_ORDER: buffers come back in the order in which they were made available.
    pub const IN_ORDER: Self = Self(1 << VIRTIO_F_IN_ORDER);

    /// What every port offers; MAC and MTU are added where they are configured.
    ///
    /// It must be the same after each restart: frontends reconnect with what they had negotiated.
    pub const OFFERED: Self = Self(
        Self::MRG_RXBUF.0
            | Self::CTRL_VQ.0
            | Self::INDIRECT_DESC.0
            | Self::EVENT_IDX.0
            | Self::PROTOCOL_FEATURES.0
            | Self::VERSION_1.0
            | Self::IN_ORDER.0,
    );

    /// Whether all bits of `other` are here.
    #[inline]
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Octets of the header before each frame: 12 with VERSION_1 or MRG_RXBUF, 10 in the legacy interface
    /// without them (virtio 1.x §5.1.6.1).
    #[inline]
    #[must_use]
    pub const fn header_len(self) -> usize {
        if self.has(Self::VERSION_1) || self.has(Self::MRG_RXBUF) {
            MAX_HEADER_LEN
        } else {
            LEGACY_HEADER_LEN
        }
    }
}

impl BitOr for Features {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Features {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_ten_octets_only_in_the_legacy_interface_without_mergeable_buffers() {
        assert_eq!(Features::default().header_len(), 10);
        assert_eq!(Features::EVENT_IDX.header_len(), 10);
        assert_eq!(Features::MRG_RXBUF.header_len(), 12);
        assert_eq!(Features::VERSION_1.header_len(), 12);
    }

    #[test]
    fn offers_no_offload() {
        // Bits 0, 1 and 7 to 14 are checksum and segmentation offloads, 54 to 58 the newer ones.
        let offloads = 0b11 | 0xff << 7 | 0x1f << 54;
        assert_eq!(Features::OFFERED.0 & offloads, 0);
    }
}
