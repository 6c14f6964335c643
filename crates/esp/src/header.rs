//! The ESP header (RFC 4303 §2.1, §2.2).

/// SPI and the low-order 32 bits of the sequence number, as they stand in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Security parameters index; 0 never names an SA (RFC 4303 §2.1).
    pub spi: u32,
    /// Low-order 32 bits of the sequence number: all of it without ESN.
    pub sequence_low: u32,
}

impl Header {
    /// The header at the start of `packet`; `None` if it is shorter than [`HEADER_LEN`](crate::HEADER_LEN) octets.
    #[inline]
    #[must_use]
    pub fn read(packet: &[u8]) -> Option<Self> {
        let (spi, rest) = packet.split_first_chunk()?;
        let sequence_low = rest.first_chunk()?;
        Some(Self { spi: u32::from_be_bytes(*spi), sequence_low: u32::from_be_bytes(*sequence_low) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HEADER_LEN;

    #[test]
    fn is_big_endian_and_eight_octets() {
        let octets = [1, 0, 0, 2, 0, 0, 0x10, 3, 9];
        assert_eq!(Header::read(&octets), Some(Header { spi: 0x0100_0002, sequence_low: 0x1003 }));
        assert_eq!(Header::read(&octets[..HEADER_LEN - 1]), None);
    }
}
