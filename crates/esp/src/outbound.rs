//! An SA whose packets are sealed.

use espwire_transform::{
    HEADER_LEN, IV_SECRET_LEN, IvSource, Job, SaKey, Status, Suite, ciphertext_range, danger,
};

use crate::owner::{Mark, Owner};
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

/// Why a packet was not prepared. Its SA is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unprepared {
    /// The SA has sent its last number (RFC 4303 §3.3.3), and will never send again: it needs a successor. An
    /// auditable event.
    SequenceOverflow,
    /// The packet's length does not fit its payload: see [`OutboundSa::packet_len`].
    Malformed,
}

/// A packet that is ready to be sealed: the outcome of [`OutboundSa::prepare`], to be sealed once by
/// [`SealBurst::push`]. If it is not, its number is used up all the same.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Unsealed {
    sequence: u64,
    count: u64,
    packet_len: usize,
    forced_iv: Option<Box<[u8]>>,
    owner: Mark,
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
    owner: Owner,
}

impl OutboundSa {
    /// An SA that goes on after `numbering.last`. If that is more than the SA's numbers go, it has none left.
    ///
    /// `spi` is not 0, which never names an SA (RFC 4303 §2.1): who configures SAs refuses it.
    ///
    /// `secret` makes its IVs: from a cryptographic generator, another one for each SA and each start
    /// ([`IvSource::new`]). With an implicit IV (RFC 8750) only the number keeps IVs apart: such a key must not be
    /// another SA's, nor be numbered from the start again.
    #[must_use]
    pub fn new(key: SaKey, spi: u32, numbering: Numbering, secret: &[u8; IV_SECRET_LEN]) -> Self {
        let ivs = IvSource::new(key.suite(), secret);
        let Numbering { esn, may_cycle, last } = numbering;
        let may_cycle = may_cycle && !esn && !key.suite().is_counter_mode();
        Self { key, spi, esn, may_cycle, count: last, ivs, forced_iv: None, owner: Owner::new() }
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

    /// Takes the next sequence number for `packet`, and writes what follows its payload.
    ///
    /// `packet` goes from the SPI to the ICV, with the payload of `payload_len` octets at
    /// [`payload_at`](Self::payload_at). It has [`packet_len`](Self::packet_len) octets, or more for longer padding,
    /// which may have 255.
    ///
    /// 1. After the payload: padding 1, 2, 3, …, pad length, `next_header` (59 for a dummy packet, RFC 4303 §2.6).
    /// 2. The number. SPI, number and IV are written when the packet is sealed, so that nobody comes between.
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
        let count = self.advance().ok_or(Unprepared::SequenceOverflow)?;
        let padding_at = self.payload_at() + payload_len;
        let trailer_at = padding_at + usize::from(pad_len);
        //= https://www.rfc-editor.org/rfc/rfc4303#section-2.4
        //# The Padding bytes are initialized with a series of (unsigned, 1-byte)
        //# integer values.
        for (octet, value) in packet[padding_at..trailer_at].iter_mut().zip(1..=u8::MAX) {
            *octet = value;
        }
        packet[trailer_at] = pad_len;
        packet[trailer_at + 1] = next_header;
        Ok(Unsealed {
            sequence: self.sequence(count),
            count,
            packet_len: packet.len(),
            forced_iv: self.forced_iv.take(),
            owner: self.owner.mark(),
        })
    }

    /// Writes SPI, number and IV. `None`, and nothing changes, unless `unsealed` is this SA's and of a packet of this
    /// length.
    #[inline]
    fn write_header(&self, unsealed: &Unsealed, packet: &mut [u8]) -> Option<()> {
        if unsealed.owner != self.owner.mark() || unsealed.packet_len != packet.len() {
            return None;
        }
        let (header, rest) = packet.split_first_chunk_mut::<HEADER_LEN>()?;
        let iv = rest.get_mut(..self.suite().iv_len())?;
        header[..4].copy_from_slice(&self.spi.to_be_bytes());
        header[4..].copy_from_slice(&(unsealed.sequence as u32).to_be_bytes());
        match &unsealed.forced_iv {
            Some(forced) => iv.copy_from_slice(forced),
            None => self.ivs.write(unsealed.count, iv),
        }
        Some(())
    }

    /// The padding of a packet of `packet_len` octets; `None` if there is none that fits.
    #[inline]
    fn pad_len(&self, packet_len: usize, payload_len: usize) -> Option<u8> {
        // What fits the suite can be sealed.
        let text_len = ciphertext_range(self.suite(), packet_len)?.len();
        let pad_len = text_len.checked_sub(MIN_TRAILER_LEN)?.checked_sub(payload_len)?;
        u8::try_from(pad_len).ok().filter(|_| text_len.is_multiple_of(self.alignment()))
    }

    /// Octets of which what is encrypted is a multiple.
    #[inline]
    fn alignment(&self) -> usize {
        self.suite().block_len().max(4)
    }

    /// Counts one packet more; `None`, and nothing changes, if it would have no number.
    #[inline]
    fn advance(&mut self) -> Option<u64> {
        let count = self.count.checked_add(1)?;
        //= https://www.rfc-editor.org/rfc/rfc4303#section-3.3.3
        //# In other words, the sender MUST NOT send a
        //# packet on an SA if doing so would cause the sequence number to cycle.
        let is_cycle = !self.esn && count > u32::MAX.into();
        if is_cycle && !self.may_cycle {
            return None;
        }
        self.count = count;
        Some(count)
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

    /// Adds a packet that `sa` has prepared, and gives it SPI, sequence number and IV.
    ///
    /// If `unsealed` is not what `sa` gave for a packet of this length, it takes its place in the burst all the same,
    /// and is not sealed.
    #[inline]
    pub fn push(&mut self, sa: &'a OutboundSa, unsealed: Unsealed, packet: &'a mut [u8]) {
        let esn_high = sa.esn.then_some((unsealed.sequence >> 32) as u32);
        let is_right = sa.write_header(&unsealed, packet).is_some();
        let mut job = Job::new(&sa.key, esn_high, packet);
        if !is_right {
            job.status = Status::Malformed;
        }
        self.jobs.push(job);
    }

    /// Encrypts the packets and writes their ICVs: all of them, unless something is wrong in the calling code.
    ///
    /// # Errors
    ///
    /// [`NotSealed`]: which were not. Their octets are zeros, so that no plaintext leaves, and no SA has SPI 0. All
    /// others are sealed.
    pub fn seal(mut self) -> Result<(), NotSealed> {
        danger::seal_burst(&mut self.jobs);
        if self.jobs.iter().all(|job| job.status == Status::Done) {
            return Ok(());
        }
        let mut places = Vec::new();
        for (place, job) in self.jobs.iter_mut().enumerate() {
            if job.status != Status::Done {
                job.packet.fill(0);
                places.push(place);
            }
        }
        Err(NotSealed { places })
    }
}

/// Packets of a burst that were not sealed, and now are zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotSealed {
    places: Vec<usize>,
}

impl NotSealed {
    /// Their places in the burst, from 0 in the order in which they were pushed; at least one.
    #[must_use]
    pub fn places(&self) -> &[usize] {
        &self.places
    }
}
