//! Bodies of messages, as octets: little-endian, nothing checked, so that a hostile frontend can use them.

use espwire_vring::RingConfig;

use crate::{GuestMemory, MemoryRegion};

/// A number: SET_FEATURES, SET_PROTOCOL_FEATURES, NET_SET_MTU, SET_STATUS, and a ring's number with
/// [`NO_FD`](crate::NO_FD) in SET_VRING_KICK, CALL and ERR.
#[must_use]
pub fn number(number: u64) -> [u8; 8] {
    number.to_le_bytes()
}

/// A ring's state: SET_VRING_NUM, SET_VRING_BASE, GET_VRING_BASE, SET_VRING_ENABLE.
#[must_use]
pub fn vring_state(index: u32, num: u32) -> [u8; 8] {
    (u64::from(num) << 32 | u64::from(index)).to_le_bytes()
}

/// A ring's place, SET_VRING_ADDR: user addresses, no dirty logging.
#[must_use]
pub fn vring_addr(index: u32, descriptors: u64, used: u64, available: u64) -> [u8; 40] {
    let mut octets = [0; 40];
    let words = [u64::from(index), descriptors, used, available, 0];
    for (field, word) in octets.chunks_exact_mut(8).zip(words) {
        field.copy_from_slice(&word.to_le_bytes());
    }
    octets
}

/// SET_VRING_ADDR of a ring in guest memory; a part outside of it gets address 0.
#[must_use]
pub fn ring_place(index: u32, config: &RingConfig, memory: &GuestMemory) -> [u8; 40] {
    let user = |addr| memory.user_address(addr).unwrap_or(0);
    vring_addr(index, user(config.descriptors), user(config.used), user(config.available))
}

/// One region, as in SET_MEM_TABLE.
#[must_use]
pub fn region(region: &MemoryRegion) -> [u8; 32] {
    let mut octets = [0; 32];
    let words = [region.start, region.len, region.user, region.offset];
    for (field, word) in octets.chunks_exact_mut(8).zip(words) {
        field.copy_from_slice(&word.to_le_bytes());
    }
    octets
}

/// SET_MEM_TABLE: a count, then the regions. One descriptor per region goes along.
#[must_use]
pub fn memory_table(regions: &[MemoryRegion]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(8 + 32 * regions.len());
    octets.extend_from_slice(&(regions.len() as u64).to_le_bytes());
    for place in regions {
        octets.extend_from_slice(&region(place));
    }
    octets
}

/// ADD_MEM_REG and REM_MEM_REG: eight octets of padding, one region.
#[must_use]
pub fn single_region(place: &MemoryRegion) -> [u8; 40] {
    let mut octets = [0; 40];
    octets[8..].copy_from_slice(&region(place));
    octets
}

/// GET_CONFIG: `len` octets of configuration space from `offset` on, the room for them behind it.
#[must_use]
pub fn config_space(offset: u32, len: u32) -> Vec<u8> {
    let mut octets = Vec::new();
    for word in [offset, len, 0] {
        octets.extend_from_slice(&word.to_le_bytes());
    }
    octets.resize(octets.len() + len as usize, 0);
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_where_the_specification_puts_them() {
        assert_eq!(vring_state(1, 0x100), [1, 0, 0, 0, 0, 1, 0, 0]);
        let addr = vring_addr(1, 2, 3, 4);
        let word = |i: usize| u64::from_le_bytes(addr[8 * i..8 * i + 8].try_into().unwrap());
        // index, flags | descriptor | used | available | log
        assert_eq!([word(0), word(1), word(2), word(3), word(4)], [1, 2, 3, 4, 0]);
        let place = MemoryRegion { start: 1, len: 2, user: 3, offset: 4 };
        assert_eq!(memory_table(&[place, place]).len(), 72);
        assert_eq!(memory_table(&[place])[8..], single_region(&place)[8..]);
        assert_eq!(config_space(0, 12).len(), 24);
    }
}
