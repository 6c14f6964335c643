//! What Linux takes of what is read here.

use super::{Flags, MAX_LINUX_REPLAY_WINDOW, Mode, SaDirection, State};

/// Why Linux would not take a state that can be used here.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotLoadable {
    /// The anti-replay window has this many packets, more than [`MAX_LINUX_REPLAY_WINDOW`].
    #[error("not loadable into Linux: replay-window {0} is above {MAX_LINUX_REPLAY_WINDOW}")]
    ReplayWindow(u32),
    /// `flag esn` without an anti-replay window, in a state that is not `dir out`.
    #[error("not loadable into Linux: flag esn without a replay-window")]
    EsnWithoutWindow,
    /// A mode of Mobile IPv6, which does not go with ESP.
    #[error("not loadable into Linux: mode {0} does not go with proto esp")]
    Mode(Mode),
    /// Implicit IVs (RFC 8750): the names `rfc8750(…)` are known here alone.
    #[error("not loadable into Linux: it has no implicit IVs (RFC 8750)")]
    ImplicitIv,
}

/// What the names of algorithms with implicit IVs begin with: `rfc8750(gcm(aes))`, `rfc8750(ccm(aes))` and
/// `rfc8750(chacha20,poly1305)`.
const IMPLICIT_IV: &str = "rfc8750(";

impl State {
    /// Whether Linux, told of this state by `ip xfrm state add`, would take it, as far as the window, the mode and
    /// implicit IVs say. Other algorithms, key lengths, devices and what is there already are not looked at.
    ///
    /// ```
    /// use espwire_ipsec::xfrm::{self, NotLoadable};
    ///
    /// let text = "ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 0x100 replay-window 8192 \
    ///             aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128";
    /// let state = &xfrm::parse("example", text).unwrap().states[0];
    /// assert_eq!(state.loads_into_linux(), Err(NotLoadable::ReplayWindow(8192)));
    /// ```
    ///
    /// # Errors
    ///
    /// The first reason why not.
    pub fn loads_into_linux(&self) -> Result<(), NotLoadable> {
        if self.replay_window > MAX_LINUX_REPLAY_WINDOW {
            return Err(NotLoadable::ReplayWindow(self.replay_window));
        }
        if self.flags.has(Flags::ESN) && self.replay_window == 0 && self.direction != Some(SaDirection::Out) {
            return Err(NotLoadable::EsnWithoutWindow);
        }
        if self.aead.as_ref().is_some_and(|aead| aead.name.starts_with(IMPLICIT_IV)) {
            return Err(NotLoadable::ImplicitIv);
        }
        match self.mode {
            Mode::RouteOptimization | Mode::InTrigger => Err(NotLoadable::Mode(self.mode)),
            Mode::Transport | Mode::Tunnel | Mode::Beet | Mode::Iptfs => Ok(()),
        }
    }
}
