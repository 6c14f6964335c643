//! What puts an IV into a caller's hands: see [`espwire_esp::danger`].

use std::net::IpAddr;

use crate::Sender;

/// Has the next packet that `sender` sends through the SA with this SPI and destination bear `iv`: for tests against
/// packets of others. Returns whether there is such an SA, and `iv` has its suite's length; if not, nothing changes.
#[must_use]
pub fn force_iv(sender: &mut Sender, spi: u32, dst: IpAddr, iv: &[u8]) -> bool {
    sender.force_iv(spi, dst, iv)
}
