//! What puts an IV into a caller's hands.
//!
//! [`OutboundSa`] chooses its IVs, so that none comes twice. Whoever says one answers for that: see
//! [`espwire_transform::danger`], whose [`seal_burst`] stands here too. It is there for tests against packets of
//! others, and for inspection, which seals again what it has opened.

pub use espwire_transform::danger::seal_burst;

use crate::OutboundSa;

/// Has the next packet that `sa` prepares bear `iv`. Returns whether `iv` has the suite's length; if not, nothing
/// changes.
#[must_use]
pub fn force_iv(sa: &mut OutboundSa, iv: &[u8]) -> bool {
    sa.force_iv(iv)
}
