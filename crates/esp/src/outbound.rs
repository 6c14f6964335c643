//! An SA whose packets are sealed.

use espwire_transform::{
    HEADER_LEN, IvSecret, IvSource, Job, SaKey, Status, Suite, ciphertext_range, danger,
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
    /// `secret` makes its IVs, and is wiped: from a cryptographic generator, another one for each SA and each start
    /// ([`IvSource::new`]). With an implicit IV (RFC 8750) only the number keeps IVs apart: such a key must not be
    /// another SA's, nor be numbered from the start again.
    #[must_use]
    pub fn new(key: SaKey, spi: u32, numbering: Numbering, secret: IvSecret) -> Self {
        let ivs = IvSource::new(key.suite(), &secret);
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use espwire_transform::{AesKeyLen, IcvLen, Integrity};

    use super::*;
    use crate::inbound::InboundSa;
    use crate::window::Replay;

    const GCM: Suite = Suite::AesGcm(AesKeyLen::Aes128, IcvLen::Icv16);
    const CBC: Suite = Suite::AesCbc(AesKeyLen::Aes128, Integrity::HmacSha1_96);
    const NULL: Suite = Suite::Null(Integrity::HmacSha1_96);
    const SPI: u32 = 0x0102_0304;
    const NONE: u8 = 59;
    const LAST_LOW: u64 = u32::MAX as u64;

    fn key(suite: Suite) -> SaKey {
        let integrity = vec![2; suite.integrity_algorithm().map_or(0, Integrity::key_len)];
        SaKey::new(suite, &vec![1; suite.encryption_key_len()], &integrity).unwrap()
    }

    fn outbound(suite: Suite, esn: bool, may_cycle: bool, last: u64) -> OutboundSa {
        OutboundSa::new(key(suite), SPI, Numbering { esn, may_cycle, last }, [3; _].into())
    }

    fn seal(sa: &OutboundSa, unsealed: Unsealed, packet: &mut [u8]) -> Result<(), NotSealed> {
        let mut burst = SealBurst::with_capacity(1);
        burst.push(sa, unsealed, packet);
        burst.seal()
    }

    /// A packet around `payload` with so much more padding than is needed, and its number.
    fn sealed(sa: &mut OutboundSa, payload: &[u8], next_header: u8, longer: usize) -> (u64, Vec<u8>) {
        let mut packet = vec![0xee; sa.packet_len(payload.len()) + longer];
        packet[sa.payload_at()..][..payload.len()].copy_from_slice(payload);
        let unsealed = sa.prepare(&mut packet, payload.len(), next_header).unwrap();
        let sequence = unsealed.sequence();
        seal(sa, unsealed, &mut packet).unwrap();
        (sequence, packet)
    }

    /// The next number, with an empty packet.
    fn next(sa: &mut OutboundSa) -> Result<u64, Unprepared> {
        let mut packet = vec![0; sa.packet_len(0)];
        sa.prepare(&mut packet, 0, NONE).map(|unsealed| unsealed.sequence())
    }

    fn iv(sa: &mut OutboundSa) -> Vec<u8> {
        let end = sa.payload_at();
        sealed(sa, &[], NONE, 0).1[HEADER_LEN..end].to_vec()
    }

    #[test]
    fn the_first_number_is_1_and_each_is_the_next() {
        for (suite, esn) in [(GCM, false), (GCM, true), (CBC, false), (NULL, true)] {
            let mut sa = outbound(suite, esn, false, 0);
            assert_eq!((sa.last(), sa.spi(), sa.has_esn(), sa.suite()), (0, SPI, esn, suite));
            assert_eq!([(); 3].map(|()| next(&mut sa).unwrap()), [1, 2, 3]);
            assert_eq!(sa.last(), 3);
            assert_eq!(next(&mut outbound(suite, esn, false, 70)), Ok(71));
        }
    }

    #[test]
    fn the_header_is_spi_and_the_low_half() {
        let mut sa = outbound(GCM, true, false, 0x5_0a0b_0c0c);
        let (sequence, packet) = sealed(&mut sa, b"x", 4, 0);
        assert_eq!(sequence, 0x5_0a0b_0c0d);
        assert_eq!(packet[..HEADER_LEN], [1, 2, 3, 4, 0xa, 0xb, 0xc, 0xd]);
    }

    #[test]
    fn no_number_follows_the_last_ever() {
        for (esn, last) in [(false, LAST_LOW), (true, u64::MAX)] {
            for suite in [GCM, CBC, NULL] {
                let mut sa = outbound(suite, esn, false, last - 2);
                assert_eq!(sa.remaining(), Some(2));
                assert_eq!([next(&mut sa), next(&mut sa)], [Ok(last - 1), Ok(last)]);
                for _ in 0..3 {
                    let mut packet = vec![0xee; sa.packet_len(5)];
                    assert_eq!(sa.prepare(&mut packet, 5, 4), Err(Unprepared::SequenceOverflow));
                    assert!(packet.iter().all(|&octet| octet == 0xee));
                    assert_eq!((sa.last(), sa.remaining()), (last, Some(0)));
                }
            }
        }
    }

    #[test]
    fn with_esn_the_low_half_goes_round() {
        let mut sa = outbound(GCM, true, false, LAST_LOW);
        assert_eq!(next(&mut sa), Ok(1 << 32));
        assert_eq!(sa.remaining(), Some(u64::MAX - (1 << 32)));
    }

    #[test]
    fn a_state_beyond_the_last_number_has_none_left() {
        for last in [LAST_LOW + 1, u64::MAX] {
            let mut sa = outbound(GCM, false, false, last);
            assert_eq!(sa.remaining(), Some(0));
            assert_eq!(next(&mut sa), Err(Unprepared::SequenceOverflow));
        }
    }

    #[test]
    fn only_cbc_and_null_without_esn_cycle() {
        for suite in Suite::all() {
            let cycles = matches!(suite, Suite::AesCbc(..) | Suite::Null(_));
            let mut sa = outbound(suite, false, true, LAST_LOW - 1);
            assert_eq!(sa.remaining(), if cycles { None } else { Some(1) }, "{suite}");
            assert_eq!(next(&mut sa), Ok(LAST_LOW), "{suite}");
            if cycles {
                assert_eq!([next(&mut sa), next(&mut sa)], [Ok(0), Ok(1)], "{suite}");
                assert_eq!((sa.last(), sa.remaining()), (1, None));
            } else {
                assert_eq!(next(&mut sa), Err(Unprepared::SequenceOverflow), "{suite}");
            }
            let mut sa = outbound(suite, true, true, u64::MAX);
            assert_eq!((next(&mut sa), sa.remaining()), (Err(Unprepared::SequenceOverflow), Some(0)));
        }
        assert_eq!(next(&mut outbound(CBC, false, true, u64::MAX)), Err(Unprepared::SequenceOverflow));
    }

    #[test]
    fn no_iv_comes_twice_also_where_numbers_do() {
        for suite in Suite::all().filter(|suite| suite.iv_len() > 0) {
            let mut sa = outbound(suite, false, false, 0);
            let mut ivs: HashSet<_> = (0..100).map(|_| iv(&mut sa)).collect();
            let mut made = 100;
            if !suite.is_counter_mode() {
                // The numbers 1 to 100 again.
                let mut sa = outbound(suite, false, true, LAST_LOW);
                assert_eq!(next(&mut sa), Ok(0));
                ivs.extend((0..100).map(|_| iv(&mut sa)));
                assert_eq!(sa.last(), 100);
                made += 100;
            }
            assert_eq!(ivs.len(), made, "{suite}");
        }
    }

    #[test]
    fn lengths_fit_each_other_and_the_suite() {
        for suite in Suite::all() {
            let sa = outbound(suite, false, false, 0);
            let overhead = 8 + suite.iv_len() + suite.icv_len();
            let alignment = if suite.block_len() == 16 { 16 } else { 4 };
            let mut longest = None;
            for len in 0..600 {
                let packet_len = sa.packet_len(len);
                let padding = packet_len - overhead - len - 2;
                assert!(padding < alignment, "{suite}: the least");
                assert_eq!((packet_len - overhead) % alignment, 0, "{suite}");
                assert!(ciphertext_range(suite, packet_len).is_some());
                // What fits into a packet of `len` octets: the longest payload whose packet is no longer.
                while sa.packet_len(longest.map_or(0, |longest| longest + 1)) <= len {
                    longest = Some(longest.map_or(0, |longest| longest + 1));
                }
                assert_eq!(sa.payload_len(len), longest, "{suite}, {len}");
                assert_eq!(sa.payload_len(packet_len), Some(len + padding), "{suite}");
            }
        }
    }

    #[test]
    fn lengths_beyond_all_reason_do_not_overflow() {
        for suite in [GCM, CBC, NULL] {
            let sa = outbound(suite, false, false, 0);
            assert_eq!(sa.packet_len(usize::MAX), usize::MAX);
            assert_eq!(sa.packet_len(usize::MAX - 2), usize::MAX);
            assert!(sa.payload_len(usize::MAX).is_some());
            assert_eq!(sa.pad_len(usize::MAX, usize::MAX), None);
            // More than IP can carry would be prepared, and then not sealed.
            let len = sa.packet_len(1 << 32);
            assert_eq!(sa.pad_len(len, 1 << 32), None);
        }
    }

    #[test]
    fn padding_counts_from_1_up_to_255_octets() {
        for suite in Suite::all() {
            let alignment = suite.block_len().max(4);
            for payload_len in 0..2 * alignment {
                for longer in (0..256).step_by(alignment) {
                    let mut sa = outbound(suite, false, false, 0);
                    let mut packet = vec![0xee; sa.packet_len(payload_len) + longer];
                    let text = ciphertext_range(suite, packet.len()).unwrap();
                    let pad_len = text.len() - payload_len - 2;
                    let prepared = sa.prepare(&mut packet, payload_len, 41);
                    if pad_len > 255 {
                        assert_eq!(prepared, Err(Unprepared::Malformed), "{suite}");
                        continue;
                    }
                    assert!(prepared.is_ok(), "{suite}");
                    let expected = [vec![0xee; payload_len], (1..=pad_len as u8).collect()].concat();
                    assert_eq!(packet[text.start..text.end - 2], expected, "{suite}");
                    assert_eq!(packet[text.end - 2..text.end], [pad_len as u8, 41], "{suite}");
                }
            }
        }
    }

    #[test]
    fn the_longest_padding_is_of_255_octets() {
        let mut sa = outbound(GCM, false, false, 0);
        let (_, packet) = sealed(&mut sa, &[7; 3], 4, 252);
        assert_eq!(packet.len(), sa.payload_at() + 3 + 255 + 2 + 16);
        let mut packet = vec![0; packet.len() + 4];
        assert_eq!(sa.prepare(&mut packet, 3, 4), Err(Unprepared::Malformed));
    }

    #[test]
    fn a_malformed_packet_takes_no_number_and_stays_as_it_was() {
        for suite in Suite::all() {
            let mut sa = outbound(suite, false, false, 7);
            let iv = vec![9; suite.iv_len()];
            assert!(sa.force_iv(&iv));
            let right = sa.packet_len(10);
            for len in (0..right + 40).filter(|&len| len < right || !(len - right).is_multiple_of(4)) {
                let mut packet = vec![0xee; len];
                assert_eq!(sa.prepare(&mut packet, 10, 4), Err(Unprepared::Malformed), "{suite}, {len}");
                assert!(packet.iter().all(|&octet| octet == 0xee));
            }
            assert_eq!(sa.last(), 7);
            let (sequence, packet) = sealed(&mut sa, &[0; 10], 4, 0);
            assert_eq!((sequence, &packet[HEADER_LEN..sa.payload_at()]), (8, &iv[..]), "{suite}");
        }
        let mut sa = outbound(CBC, false, false, 0);
        for longer in [4, 8, 12] {
            let mut packet = vec![0; sa.packet_len(10) + longer];
            assert_eq!(sa.prepare(&mut packet, 10, 4), Err(Unprepared::Malformed), "no whole blocks");
        }
    }

    #[test]
    fn a_forced_iv_is_the_next_packets_alone_and_of_the_right_length() {
        for suite in [GCM, CBC, Suite::ChaCha20Poly1305] {
            let mut sa = outbound(suite, false, false, 0);
            let own = [iv(&mut outbound(suite, false, false, 0)), iv(&mut outbound(suite, false, false, 1))];
            for len in (0..20).filter(|&len| len != suite.iv_len()) {
                assert!(!crate::danger::force_iv(&mut sa, &vec![5; len]), "{suite}, {len}");
            }
            assert_eq!(iv(&mut sa), own[0], "{suite}");
            let forced = vec![5; suite.iv_len()];
            assert!(crate::danger::force_iv(&mut sa, &forced));
            assert_eq!(iv(&mut sa), forced, "{suite}");
            assert_eq!(iv(&mut sa), iv(&mut outbound(suite, false, false, 2)), "{suite}");
            assert_ne!(own[1], forced);
        }
    }

    #[test]
    fn a_forgotten_packet_uses_its_number_up() {
        let mut sa = outbound(GCM, false, false, 0);
        let first = iv(&mut sa);
        let mut packet = vec![0; sa.packet_len(0)];
        drop(sa.prepare(&mut packet, 0, NONE).unwrap());
        let (sequence, packet) = sealed(&mut sa, &[], NONE, 0);
        assert_eq!((sequence, sa.last()), (3, 3));
        assert_ne!(packet[HEADER_LEN..sa.payload_at()], first);
    }

    #[test]
    fn an_iv_that_somebody_writes_is_written_over() {
        let mut sa = outbound(GCM, false, false, 0);
        let mut packet = vec![0; sa.packet_len(0)];
        let unsealed = sa.prepare(&mut packet, 0, NONE).unwrap();
        packet[..16].fill(0xff);
        seal(&sa, unsealed, &mut packet).unwrap();
        assert_eq!(packet, sealed(&mut outbound(GCM, false, false, 0), &[], NONE, 0).1);
    }

    #[test]
    fn what_is_not_sealed_is_zeros_and_told() {
        let (mut a, mut b) = (outbound(GCM, false, false, 0), outbound(GCM, false, false, 0));
        let len = a.packet_len(20);
        let mut packets = vec![vec![0xab; len]; 5];
        let mut unsealed: Vec<_> =
            packets.iter_mut().map(|packet| a.prepare(packet, 20, 4).unwrap()).collect();
        // The second is pushed as another SA's, the fourth has become shorter.
        unsealed[1] = b.prepare(&mut packets[1], 20, 4).unwrap();
        packets[3].truncate(len - 4);
        let mut burst = SealBurst::default();
        for (packet, unsealed) in packets.iter_mut().zip(unsealed) {
            burst.push(&a, unsealed, packet);
        }
        let not_sealed = burst.seal().unwrap_err();
        assert_eq!(not_sealed.places(), [1, 3]);
        for (place, packet) in packets.iter().enumerate() {
            let is_sealed = ![1, 3].contains(&place);
            assert_eq!(packet.iter().any(|&octet| octet != 0), is_sealed, "{place}");
            if is_sealed {
                assert!(!packet.windows(20).any(|octets| octets == [0xab; 20]), "{place} is in clear");
            }
        }
    }

    #[test]
    fn a_packet_of_an_sa_that_is_gone_is_never_sealed() {
        // An SA that is made right after often gets the memory of the one before.
        for _ in 0..100 {
            let mut gone = outbound(GCM, false, false, 0);
            let mut packet = vec![0xab; gone.packet_len(20)];
            let unsealed = gone.prepare(&mut packet, 20, 4).unwrap();
            drop(gone);
            let next = outbound(GCM, false, false, 0);
            assert_eq!(seal(&next, unsealed, &mut packet).unwrap_err().places(), [0]);
            assert!(packet.iter().all(|&octet| octet == 0));
        }
    }

    #[test]
    fn what_is_sealed_is_opened_by_the_other_end() {
        for (suite, esn) in Suite::all().flat_map(|suite| [(suite, false), (suite, true)]) {
            // The low half goes round on the way.
            let last = if esn { 0x7_ffff_fffd } else { 0 };
            let mut sender = outbound(suite, esn, false, last);
            let mut receiver = InboundSa::resumed(key(suite), esn, 64, last, []);
            let mut packets = Vec::new();
            for n in 0..40 {
                let payload: Vec<u8> = (0..n * 3).map(|octet| octet as u8 ^ 0x55).collect();
                let dummy = n % 5 == 4;
                let longer = suite.block_len().max(4) * (n % 3);
                let next_header = if dummy { NONE } else { 4 };
                let (sequence, packet) = sealed(&mut sender, &payload, next_header, longer);
                assert_eq!(sequence, last + 1 + n as u64);
                packets.push((sequence, payload, next_header, packet));
            }
            for (sequence, payload, next_header, mut packet) in packets {
                let prepared = receiver.prepare(&packet).unwrap();
                assert_eq!((prepared.sequence, prepared.replay), (sequence, Replay::Fresh), "{suite}");
                let verified = receiver.open(prepared, &mut packet).unwrap();
                let accepted = receiver.accept(verified, &packet).unwrap();
                let trailer = accepted.trailer.unwrap();
                let plaintext = receiver.plaintext(&packet);
                let padding = trailer.padding(plaintext).unwrap();
                assert_eq!(plaintext[..padding.start], payload, "{suite}");
                assert_eq!(trailer.next_header, next_header, "{suite}");
            }
        }
    }
}
