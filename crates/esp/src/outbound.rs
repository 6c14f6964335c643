//! An SA whose packets are sealed.

use espwire_transform::{HEADER_LEN, IV_SECRET_LEN, IvSource, Job, SaKey, Status, Suite, danger};

use crate::trailer::MIN_TRAILER_LEN;

/// How an outbound SA numbers its packets (RFC 4303 §3.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbering {
    /// 64-bit sequence numbers.
    pub esn: bool,
    /// Without ESN, go on with 0 after 2^32 − 1: for an SA whose receiver has anti-replay off. Of no effect for a
    /// suite of a counter mode, whose numbers never come round.
    pub may_cycle: bool,
    /// The number sent last; 0 before the first.
    pub last: u64,
}

/// The SA has sent its last sequence number (RFC 4303 §3.3.3): it needs a successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceOverflow;

/// Why a packet was not prepared. Its SA is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unprepared {
    /// The SA has no number left.
    SequenceOverflow,
    /// The packet's length does not fit its payload: see [`OutboundSa::packet_len`].
    Malformed,
}

/// A packet that is ready to be sealed: the outcome of [`OutboundSa::prepare`]. It is sealed once.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Unsealed {
    sequence: u64,
}

impl Unsealed {
    /// Its sequence number, all 64 bits with ESN.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
}

/// An SA whose packets are sealed: key, sequence number, IV (RFC 4303 §3.3). The number and the IV are its own: no
/// caller says either.
pub struct OutboundSa {
    key: SaKey,
    spi: u32,
    esn: bool,
    may_cycle: bool,
    /// Packets numbered: with ESN the last number, without its low 32 bits are.
    count: u64,
    ivs: IvSource,
    forced_iv: Option<Box<[u8]>>,
}

impl OutboundSa {
    /// An SA that goes on after `numbering.last`.
    ///
    /// `secret` makes its IVs: from a cryptographic generator, another one for each SA and each start
    /// ([`IvSource::new`]). With an implicit IV (RFC 8750) only the number keeps IVs apart: such a key must not be
    /// another SA's, nor be numbered from the start again.
    #[must_use]
    pub fn new(key: SaKey, spi: u32, numbering: Numbering, secret: &[u8; IV_SECRET_LEN]) -> Self {
        let ivs = IvSource::new(key.suite(), secret);
        let Numbering { esn, may_cycle, last } = numbering;
        //= https://www.rfc-editor.org/rfc/rfc4303#section-3.3.3
        //# Thus, the sender MUST NOT send a packet on an
        //# SA if doing so would cause the sequence number to cycle.
        let may_cycle = may_cycle && !esn && !key.suite().is_counter_mode();
        Self { key, spi, esn, may_cycle, count: last, ivs, forced_iv: None }
    }

    /// Its suite.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.key.suite()
    }

    /// Its SPI.
    #[must_use]
    pub fn spi(&self) -> u32 {
        self.spi
    }

    /// Whether it has ESN.
    #[must_use]
    pub fn has_esn(&self) -> bool {
        self.esn
    }

    /// The number sent last; 0 before the first. After a cycle, the low 32 bits of it.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.sequence(self.count)
    }

    /// How many numbers are left; `None` if they come round.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        let end = if self.esn { u64::MAX } else { u32::MAX.into() };
        (!self.may_cycle).then(|| end.saturating_sub(self.count))
    }

    /// Where the payload stands in a packet: after SPI, sequence number and IV.
    #[inline]
    #[must_use]
    pub fn payload_at(&self) -> usize {
        HEADER_LEN + self.suite().iv_len()
    }

    /// Octets of a packet from the SPI to the ICV around a payload of `payload_len` octets, TFC padding included,
    /// with the least padding: to whole blocks and to 4 octets (RFC 4303 §2.4).
    #[inline]
    #[must_use]
    pub fn packet_len(&self, payload_len: usize) -> usize {
        let text_len = payload_len.saturating_add(MIN_TRAILER_LEN);
        let text_len = text_len.checked_next_multiple_of(self.alignment()).unwrap_or(usize::MAX);
        text_len.saturating_add(self.payload_at() + self.suite().icv_len())
    }

    /// The longest payload whose packet has at most `packet_len` octets; `None` if not even an empty one does.
    #[must_use]
    pub fn payload_len(&self, packet_len: usize) -> Option<usize> {
        let text_len = packet_len.checked_sub(self.payload_at() + self.suite().icv_len())?;
        let text_len = text_len - text_len % self.alignment();
        text_len.checked_sub(MIN_TRAILER_LEN)
    }

    /// Gives `packet` the next sequence number and everything but encryption and ICV.
    ///
    /// `packet` goes from the SPI to the ICV, with the payload of `payload_len` octets at
    /// [`payload_at`](Self::payload_at). It has [`packet_len`](Self::packet_len) octets, or more for longer padding,
    /// which may have 255.
    ///
    /// 1. SPI, sequence number, IV.
    /// 2. After the payload: padding 1, 2, 3, …, pad length, `next_header`.
    ///
    /// # Errors
    ///
    /// [`Unprepared`]: no number is used up, the packet is as it was.
    #[inline]
    pub fn prepare(
        &mut self,
        packet: &mut [u8],
        payload_len: usize,
        next_header: u8,
    ) -> Result<Unsealed, Unprepared> {
        let pad_len = self.pad_len(packet.len(), payload_len).ok_or(Unprepared::Malformed)?;
        let sequence = self.advance().map_err(|SequenceOverflow| Unprepared::SequenceOverflow)?;
        let iv_at = HEADER_LEN..self.payload_at();
        packet[..4].copy_from_slice(&self.spi.to_be_bytes());
        packet[4..HEADER_LEN].copy_from_slice(&(sequence as u32).to_be_bytes());
        match self.forced_iv.take() {
            Some(iv) => packet[iv_at.clone()].copy_from_slice(&iv),
            None => self.ivs.write(self.count, &mut packet[iv_at.clone()]),
        }
        let padding_at = iv_at.end + payload_len;
        let trailer_at = padding_at + usize::from(pad_len);
        //= https://www.rfc-editor.org/rfc/rfc4303#section-2.4
        //# The Padding bytes are initialized with a series of (unsigned, 1-byte)
        //# integer values.
        for (octet, value) in packet[padding_at..trailer_at].iter_mut().zip(1..=u8::MAX) {
            *octet = value;
        }
        packet[trailer_at] = pad_len;
        packet[trailer_at + 1] = next_header;
        Ok(Unsealed { sequence })
    }

    /// The padding of a packet of `packet_len` octets; `None` if there is none that fits.
    fn pad_len(&self, packet_len: usize, payload_len: usize) -> Option<u8> {
        let text_len = packet_len.checked_sub(self.payload_at() + self.suite().icv_len())?;
        let pad_len = text_len.checked_sub(MIN_TRAILER_LEN)?.checked_sub(payload_len)?;
        u8::try_from(pad_len).ok().filter(|_| text_len.is_multiple_of(self.alignment()))
    }

    /// Octets of which what is encrypted is a multiple.
    #[inline]
    fn alignment(&self) -> usize {
        self.suite().block_len().max(4)
    }

    /// The next sequence number.
    #[inline]
    fn advance(&mut self) -> Result<u64, SequenceOverflow> {
        let count = self.count.checked_add(1).ok_or(SequenceOverflow)?;
        let is_cycle = !self.esn && count > u32::MAX.into();
        if is_cycle && !self.may_cycle {
            return Err(SequenceOverflow);
        }
        self.count = count;
        Ok(self.sequence(count))
    }

    #[inline]
    fn sequence(&self, count: u64) -> u64 {
        if self.esn { count } else { count & u64::from(u32::MAX) }
    }

    /// See [`danger::force_iv`](crate::danger::force_iv).
    pub(crate) fn force_iv(&mut self, iv: &[u8]) -> bool {
        let fits = iv.len() == self.suite().iv_len();
        if fits {
            self.forced_iv = Some(iv.into());
        }
        fits
    }
}

/// Packets of any SAs, sealed in one call.
#[derive(Default)]
pub struct SealBurst<'a> {
    jobs: Vec<Job<'a>>,
}

impl<'a> SealBurst<'a> {
    /// An empty one, with room for `capacity` packets.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { jobs: Vec::with_capacity(capacity) }
    }

    /// Adds a packet that `sa` has prepared.
    #[inline]
    pub fn push(&mut self, sa: &'a OutboundSa, unsealed: Unsealed, packet: &'a mut [u8]) {
        let esn_high = sa.esn.then_some((unsealed.sequence >> 32) as u32);
        self.jobs.push(Job::new(&sa.key, esn_high, packet));
    }

    /// Encrypts the packets and writes their ICVs. Returns how many were sealed: all that are longer than nothing
    /// and of the length with which they were prepared.
    pub fn seal(mut self) -> usize {
        danger::seal_burst(&mut self.jobs);
        self.jobs.iter().filter(|job| job.status == Status::Done).count()
    }
}
