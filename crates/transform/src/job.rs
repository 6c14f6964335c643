use crate::SaKey;

/// One packet of a burst, with the key of its own SA.
pub struct Job<'a> {
    /// The SA's keys.
    pub key: &'a SaKey,
    /// The high-order 32 bits of the sequence number if the SA has ESN: they are part of the ICV's input and not
    /// transmitted (RFC 4303 §2.2.1).
    pub esn_high: Option<u32>,
    /// From the SPI to the last octet of the ICV: SPI, sequence number, IV, ciphertext, ICV. The memory must be
    /// the caller's alone: what a guest can still write may change between the check and the decryption.
    pub packet: &'a mut [u8],
    /// What became of it. Only a job that is [`Status::Pending`] is worked on.
    pub status: Status,
}

impl<'a> Job<'a> {
    /// A job to be done.
    #[inline]
    pub fn new(key: &'a SaKey, esn_high: Option<u32>, packet: &'a mut [u8]) -> Self {
        Self { key, esn_high, packet, status: Status::Pending }
    }
}

/// What became of a [`Job`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not worked on yet.
    Pending,
    /// Opened or sealed: the packet's octets are the result.
    Done,
    /// The packet's length can't be right ([`ciphertext_range`](crate::ciphertext_range)). Its octets are as
    /// they were.
    Malformed,
    /// The ICV is wrong (RFC 4303 §3.4.4). The packet's octets are as they were.
    AuthFailed,
}

/// Verifies and decrypts each job's packet in place: the plaintext takes the place of the ciphertext, all other
/// octets stay.
///
/// For each job that is [`Status::Pending`]:
///
/// 1. Check the length.
/// 2. Compute the ICV and compare it in constant time.
/// 3. Only if it is right, decrypt.
///
/// On any failure the packet's octets are exactly as they were, so that the caller can try another `esn_high`. No
/// plaintext is ever there that was not verified. Padding, replay and policy are the caller's.
///
/// Jobs may differ in suite, key and length. They are done one after the other today; a caller may not rely on
/// the order, since a faster provider sorts them into lanes of one suite.
pub fn open_burst(jobs: &mut [Job<'_>]) {
    for job in jobs.iter_mut().filter(|job| job.status == Status::Pending) {
        job.status = job.key.open(job.esn_high, job.packet);
    }
}
