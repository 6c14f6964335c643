//! The device configuration space (virtio 1.x §5.1.4).

use crate::Features;

/// The least MTU a driver must accept (virtio 1.x §5.1.4.1).
pub const MIN_MTU: u16 = 68;
/// The largest MTU the field can hold.
pub const MAX_MTU: u16 = 65_535;

/// VIRTIO_NET_S_LINK_UP.
const LINK_UP: u16 = 1;

/// What a port tells a driver about itself, where the frontend asks (cloud-hypervisor; QEMU keeps its own).
///
/// ```text
///   offset 0: mac, 6 octets | 6: status, 2 | 8: max_virtqueue_pairs, 2 | 10: mtu, 2
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigSpace {
    /// MAC address, if one is configured.
    pub mac: Option<[u8; 6]>,
    /// MTU in octets, [`MIN_MTU`] to [`MAX_MTU`], if one is configured: the caller has checked it.
    pub mtu: Option<u16>,
    /// Queue pairs, at least 1.
    pub queue_pairs: u16,
}

impl ConfigSpace {
    /// The feature bits that say which fields are there.
    #[must_use]
    pub fn features(&self) -> Features {
        let mac = if self.mac.is_some() { Features::MAC } else { Features::default() };
        let mtu = if self.mtu.is_some() { Features::MTU } else { Features::default() };
        mac | mtu
    }

    /// Octets of the space, little-endian; fields that are not configured are zero.
    #[must_use]
    pub fn to_octets(&self) -> [u8; 12] {
        let mut octets = [0; 12];
        octets[..6].copy_from_slice(&self.mac.unwrap_or_default());
        octets[6..8].copy_from_slice(&LINK_UP.to_le_bytes());
        octets[8..10].copy_from_slice(&self.queue_pairs.to_le_bytes());
        octets[10..].copy_from_slice(&self.mtu.unwrap_or(0).to_le_bytes());
        octets
    }

    /// Octets `offset..offset + len` of the space, as GET_CONFIG asks for them: always `len` octets, zeros
    /// past the end. Both come from the frontend unchecked; `None` if `len` is larger than a configuration
    /// message can carry (256 octets).
    #[must_use]
    pub fn read(&self, offset: u32, len: u32) -> Option<Vec<u8>> {
        const MAX_CONFIG_LEN: u32 = 256;
        if len > MAX_CONFIG_LEN {
            return None;
        }
        let octets = self.to_octets();
        let octet = |i: u32| {
            let at = offset.checked_add(i)?;
            octets.get(at as usize).copied()
        };
        Some((0..len).map(|i| octet(i).unwrap_or(0)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: ConfigSpace =
        ConfigSpace { mac: Some([2, 0, 0, 0, 0, 10]), mtu: Some(1400), queue_pairs: 1 };

    #[test]
    fn fields_stand_where_the_standard_puts_them() {
        assert_eq!(SPACE.to_octets(), [2, 0, 0, 0, 0, 10, 1, 0, 1, 0, 0x78, 5]);
        assert_eq!(SPACE.features(), Features::MAC | Features::MTU);
    }

    #[test]
    fn reads_zeros_past_its_end_and_refuses_what_no_message_holds() {
        assert_eq!(SPACE.read(10, 4), Some(vec![0x78, 5, 0, 0]));
        assert_eq!(SPACE.read(0, 0), Some(vec![]));
        assert_eq!(SPACE.read(u32::MAX, 2), Some(vec![0, 0]));
        assert_eq!(SPACE.read(0, 257), None);
        assert_eq!(SPACE.read(1, u32::MAX), None);
    }
}
