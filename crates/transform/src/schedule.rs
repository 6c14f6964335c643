use crate::{Icv, Status};

/// An SA's keys, prepared for its algorithms, and what they do to one packet.
///
/// `authenticated` is the packet from the SPI to the end of the ciphertext; the ICV stands apart. Who calls has
/// checked both lengths against the suite ([`ciphertext_range`](crate::ciphertext_range)): `None` comes back
/// only if that was not done, and then nothing has changed.
///
/// This is where another provider goes: it implements this for what it is faster at, and
/// [`SaKey::new`](crate::SaKey::new) chooses. One that works on several packets at a time takes its jobs out of the
/// burst in [`open_burst`](crate::open_burst) and [`seal_burst`](crate::danger::seal_burst) before the rest are
/// done one by one.
pub(crate) trait Schedule: Send + Sync {
    /// Decrypts the ciphertext if `icv` is right: `Done`. Else nothing changes: `AuthFailed`.
    fn open(&self, esn_high: Option<u32>, authenticated: &mut [u8], icv: &[u8]) -> Option<Status>;

    /// Encrypts the plaintext under the IV in front of it and writes the ICV: `Done`.
    fn seal(&self, esn_high: Option<u32>, authenticated: &mut [u8], icv: &mut [u8]) -> Option<Status>;

    /// The right ICV.
    fn icv(&self, esn_high: Option<u32>, authenticated: &[u8]) -> Option<Icv>;
}
