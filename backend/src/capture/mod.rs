//! Captures: pcap and pcapng, frame by frame, as Ethernet frames.
//!
//! The crate `pcap-file` finds headers, packets and blocks in a slice. Its readers and its blocks are not used: they
//! refuse frames that were cut by a snap length, option lists without an end (which the pcapng draft allows), and
//! take every time for nanoseconds.
//!
//! A capture is an allegation: nothing in it makes this panic, or take more memory than [`MAX_RECORD_LEN`] and a
//! table of [`pcapng::MAX_INTERFACES`].

mod link;
mod pcapng;

use std::io::{self, Read};
use std::ops::Range;
use std::time::Duration;

use byteorder_slice::{BigEndian, LittleEndian};
use pcap_file::pcap::{PcapHeader, RawPcapPacket};
use pcap_file::pcapng::RawBlock;
use pcap_file::pcapng::blocks::SECTION_HEADER_BLOCK;
use pcap_file::{DataLink, Endianness, PcapError, PcapResult, TsResolution};

pub(crate) use self::link::Link;
use self::pcapng::{Interface, read_block};

/// Most octets of a packet or block with its header. The longest frame is far below; blocks of other kinds are not.
const MAX_RECORD_LEN: usize = 16 << 20;

const FIRST_BUFFER_LEN: usize = 256 << 10;
const PCAP_HEADER_LEN: usize = 24;
const PACKET_HEADER_LEN: usize = 16;

/// A capture that can't be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaptureError {
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error("neither pcap nor pcapng")]
    Format,
    #[error("at octet {offset}, {}: {reason}", after(*frames))]
    Damaged { offset: u64, frames: u64, reason: String },
}

fn after(frames: u64) -> String {
    if frames == 0 { "before the first frame".to_owned() } else { format!("after frame {frames}") }
}

/// A frame of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CapturedFrame<'a> {
    /// From 1.
    pub(crate) number: u64,
    /// Since the Unix epoch.
    pub(crate) time: Option<Duration>,
    pub(crate) link: Link,
    /// What was captured of it.
    pub(crate) octets: &'a [u8],
    /// Its octets on the wire, at least those that are here.
    pub(crate) wire_len: usize,
}

/// A capture that is being read.
pub(crate) struct Capture<R> {
    window: Window<R>,
    format: Format,
    /// Frames so far.
    frames: u64,
}

enum Format {
    Pcap { endianness: Endianness, resolution: TsResolution, link: u16 },
    PcapNg { endianness: Endianness, interfaces: Vec<Interface> },
}

/// A frame in the window.
struct Found {
    time: Option<Duration>,
    link: u16,
    octets: Range<usize>,
    wire_len: u32,
}

impl<R: Read> Capture<R> {
    /// Reads the capture's header.
    pub(crate) fn new(reader: R) -> Result<Self, CaptureError> {
        let mut window = Window::new(reader);
        window.fill_to(4)?;
        let format = match window.rest() {
            // A section header block. Its endianness is in it.
            [0x0a, 0x0d, 0x0d, 0x0a, ..] => {
                Format::PcapNg { endianness: Endianness::Big, interfaces: Vec::new() }
            }
            _ => {
                window.fill_to(PCAP_HEADER_LEN)?;
                let (_, header) = PcapHeader::from_slice(window.rest()).map_err(|_| CaptureError::Format)?;
                window.advance(PCAP_HEADER_LEN);
                Format::Pcap {
                    endianness: header.endianness,
                    resolution: header.ts_resolution,
                    // What stands above these bits is about the FCS.
                    link: (u32::from(header.datalink) & 0xffff) as u16,
                }
            }
        };
        let mut capture = Self { window, format, frames: 0 };
        if let Format::PcapNg { .. } = capture.format {
            capture.block()?.ok_or(CaptureError::Format)?;
        }
        Ok(capture)
    }

    /// The next frame; `None` at the end. After an error there is nothing more.
    pub(crate) fn next(&mut self) -> Result<Option<CapturedFrame<'_>>, CaptureError> {
        let start = self.window.offset;
        let found = loop {
            match self.format {
                Format::Pcap { endianness, resolution, link } => {
                    match self.packet(endianness, resolution, link)? {
                        Some(found) => break found,
                        None => return Ok(None),
                    }
                }
                Format::PcapNg { .. } => match self.block()? {
                    Some(Some(found)) => break found,
                    Some(None) => {}
                    None => return Ok(None),
                },
            }
        };
        let Some(link) = Link::of(found.link) else {
            let name = DataLink::from(u32::from(found.link));
            let reason = format!("link type {} ({name:?}) is not supported", found.link);
            return Err(CaptureError::Damaged { offset: start, frames: self.frames, reason });
        };
        self.frames += 1;
        let octets = &self.window.buffer[found.octets];
        Ok(Some(CapturedFrame {
            number: self.frames,
            time: found.time,
            link,
            octets,
            wire_len: octets.len().max(found.wire_len as usize),
        }))
    }

    fn damaged(&self, reason: impl Into<String>) -> CaptureError {
        CaptureError::Damaged { offset: self.window.offset, frames: self.frames, reason: reason.into() }
    }

    fn refused(&self, error: &PcapError) -> CaptureError {
        match error {
            PcapError::InvalidField(reason) => self.damaged(*reason),
            error => self.damaged(error.to_string()),
        }
    }

    /// Reads on until `parse` finds something whole at the window's start; false if the capture ends before it.
    fn fill_until(&mut self, parse: impl Fn(&[u8]) -> PcapResult<()>) -> Result<bool, CaptureError> {
        loop {
            match parse(self.window.rest()) {
                Ok(()) => return Ok(true),
                Err(PcapError::IncompleteBuffer) => {}
                Err(error) => return Err(self.refused(&error)),
            }
            let unit = match self.format {
                Format::Pcap { .. } => "packet",
                Format::PcapNg { .. } => "block",
            };
            let len = self.window.rest().len();
            if len >= MAX_RECORD_LEN {
                return Err(self.damaged(format!("the next {unit} has more than {MAX_RECORD_LEN} octets")));
            }
            if self.window.fill()? == 0 {
                let reason = format!("truncated: the capture ends {len} octets into the next {unit}");
                return if len == 0 { Ok(false) } else { Err(self.damaged(reason)) };
            }
        }
    }

    /// The next packet of a pcap file.
    fn packet(
        &mut self,
        endianness: Endianness,
        resolution: TsResolution,
        link: u16,
    ) -> Result<Option<Found>, CaptureError> {
        if !self.fill_until(|rest| raw_packet(endianness, rest).map(drop))? {
            return Ok(None);
        }
        let packet = raw_packet(endianness, self.window.rest()).map_err(|error| self.refused(&error))?;
        let fraction = u64::from(packet.ts_frac);
        let fraction = match resolution {
            TsResolution::MicroSecond => Duration::from_micros(fraction),
            TsResolution::NanoSecond => Duration::from_nanos(fraction),
        };
        let (len, wire_len) = (packet.data.len(), packet.orig_len);
        let time = Some(Duration::from_secs(u64::from(packet.ts_sec)) + fraction);
        let at = self.window.advance(PACKET_HEADER_LEN + len) + PACKET_HEADER_LEN;
        Ok(Some(Found { time, link, octets: at..at + len, wire_len }))
    }

    /// Takes the next block of a pcapng file, and the frame in it if it has one.
    fn block(&mut self) -> Result<Option<Option<Found>>, CaptureError> {
        let Format::PcapNg { endianness, .. } = self.format else { return Ok(None) };
        if !self.fill_until(|rest| raw_block(endianness, rest).map(drop))? {
            return Ok(None);
        }
        let block = raw_block(endianness, self.window.rest()).map_err(|error| self.refused(&error))?;
        let Format::PcapNg { endianness, interfaces } = &mut self.format else { return Ok(None) };
        if block.type_ == SECTION_HEADER_BLOCK && block.body.starts_with(&[0x4d, 0x3c, 0x2b, 0x1a]) {
            *endianness = Endianness::Little;
        } else if block.type_ == SECTION_HEADER_BLOCK {
            *endianness = Endianness::Big;
        }
        let read = match endianness {
            Endianness::Big => read_block::<BigEndian>(block.type_, &block.body, interfaces),
            Endianness::Little => read_block::<LittleEndian>(block.type_, &block.body, interfaces),
        };
        let len = block.initial_len as usize;
        let found = read.map_err(|reason| self.damaged(reason))?;
        // The body stands after the block's type and length.
        let at = self.window.advance(len) + 8;
        Ok(Some(found.map(|found| Found { octets: at + found.octets.start..at + found.octets.end, ..found })))
    }
}

fn raw_packet(endianness: Endianness, octets: &[u8]) -> PcapResult<RawPcapPacket<'_>> {
    let (_, packet) = match endianness {
        Endianness::Big => RawPcapPacket::from_slice::<BigEndian>(octets),
        Endianness::Little => RawPcapPacket::from_slice::<LittleEndian>(octets),
    }?;
    Ok(packet)
}

/// A section header block is read in its own byte order, whatever the section's before it.
fn raw_block(endianness: Endianness, octets: &[u8]) -> PcapResult<RawBlock<'_>> {
    let (_, block) = match endianness {
        Endianness::Big => RawBlock::from_slice::<BigEndian>(octets),
        Endianness::Little => RawBlock::from_slice::<LittleEndian>(octets),
    }?;
    Ok(block)
}

/// What was read and not yet taken.
struct Window<R> {
    reader: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Of `start`, in the capture.
    offset: u64,
}

impl<R: Read> Window<R> {
    fn new(reader: R) -> Self {
        Self { reader, buffer: vec![0; FIRST_BUFFER_LEN], start: 0, end: 0, offset: 0 }
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Takes `len` octets, which are there, and returns where they stood in the buffer.
    fn advance(&mut self, len: usize) -> usize {
        let at = self.start;
        self.start += len;
        self.offset += len as u64;
        at
    }

    /// Reads on; 0 at the end. The buffer grows with what is in it, never by what the capture says.
    fn fill(&mut self) -> io::Result<usize> {
        if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(len) => {
                    self.end += len;
                    return Ok(len);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads on until `len` octets are there, or the end.
    fn fill_to(&mut self, len: usize) -> io::Result<()> {
        while self.rest().len() < len && self.fill()? > 0 {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::iter::repeat_n;

    use byteorder_slice::ByteOrder;
    use pcap_file::pcap::PcapWriter;
    use proptest::prelude::*;

    use super::*;

    /// A frame as it was read.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Read1 {
        time: Option<Duration>,
        octets: Vec<u8>,
        wire_len: usize,
    }

    /// Gives an octet or three at a time, and is interrupted in between.
    struct Reluctant<'a>(&'a [u8], usize);

    impl Read for Reluctant<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            if self.1.is_multiple_of(3) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let len = (self.1 % 4).max(1).min(buffer.len());
            self.0.read(&mut buffer[..len])
        }
    }

    fn read_from(reader: impl Read) -> (Vec<Read1>, Result<(), String>) {
        let mut frames = Vec::new();
        let mut capture = match Capture::new(reader) {
            Ok(capture) => capture,
            Err(error) => return (frames, Err(error.to_string())),
        };
        loop {
            match capture.next() {
                Ok(Some(frame)) => {
                    assert_eq!(frame.number, frames.len() as u64 + 1);
                    let CapturedFrame { time, octets, wire_len, .. } = frame;
                    frames.push(Read1 { time, octets: octets.to_vec(), wire_len });
                }
                Ok(None) => return (frames, Ok(())),
                Err(error) => return (frames, Err(error.to_string())),
            }
        }
    }

    fn read(octets: &[u8]) -> (Vec<Read1>, Result<(), String>) {
        read_from(octets)
    }

    /// A pcapng block.
    fn block<B: ByteOrder>(kind: u32, body: &[u8]) -> Vec<u8> {
        let len = 12 + body.len().next_multiple_of(4);
        let mut block = vec![0; len];
        B::write_u32(&mut block[..4], kind);
        B::write_u32(&mut block[4..8], len as u32);
        block[8..8 + body.len()].copy_from_slice(body);
        B::write_u32(&mut block[len - 4..], len as u32);
        block
    }

    fn words<B: ByteOrder>(words: &[u32]) -> Vec<u8> {
        let mut octets = vec![0; words.len() * 4];
        B::write_u32_into(words, &mut octets);
        octets
    }

    fn section<B: ByteOrder>() -> Vec<u8> {
        let mut body = words::<B>(&[0x1a2b_3c4d, 0, u32::MAX, u32::MAX]);
        B::write_u16(&mut body[4..6], 1);
        block::<B>(SECTION_HEADER_BLOCK, &body)
    }

    fn interface<B: ByteOrder>(link: u16, snap_len: u32, options: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = words::<B>(&[0, snap_len]);
        B::write_u16(&mut body[..2], link);
        for (code, value) in options {
            let mut head = [0; 4];
            B::write_u16(&mut head[..2], *code);
            B::write_u16(&mut head[2..], value.len() as u16);
            body.extend(head);
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        block::<B>(1, &body)
    }

    fn enhanced<B: ByteOrder>(interface: u32, time: u64, octets: &[u8], wire_len: u32) -> Vec<u8> {
        let head = [interface, (time >> 32) as u32, time as u32, octets.len() as u32, wire_len];
        block::<B>(6, &[&words::<B>(&head), octets].concat())
    }

    fn pcap(endianness: Endianness, resolution: TsResolution, link: u32, frames: &[Read1]) -> Vec<u8> {
        let header = PcapHeader {
            endianness,
            ts_resolution: resolution,
            datalink: link.into(),
            ..PcapHeader::default()
        };
        let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
        for frame in frames {
            let time = frame.time.unwrap();
            let ts_frac = match resolution {
                TsResolution::MicroSecond => time.subsec_micros(),
                TsResolution::NanoSecond => time.subsec_nanos(),
            };
            let packet = RawPcapPacket {
                ts_sec: time.as_secs() as u32,
                ts_frac,
                incl_len: frame.octets.len() as u32,
                orig_len: frame.wire_len as u32,
                data: (&frame.octets[..]).into(),
            };
            writer.write_raw_packet(&packet).unwrap();
        }
        writer.into_writer()
    }

    fn some_frames() -> impl Strategy<Value = Vec<Read1>> {
        let frame = (any::<u32>(), 0..1_000_000u32, prop::collection::vec(any::<u8>(), 0..300), 0..2000usize);
        let frame = frame.prop_map(|(seconds, micros, octets, beyond)| Read1 {
            time: Some(Duration::new(u64::from(seconds), micros * 1000)),
            wire_len: octets.len() + beyond,
            octets,
        });
        prop::collection::vec(frame, 0..20)
    }

    fn sample() -> Vec<Read1> {
        (0..5)
            .map(|n| Read1 {
                time: Some(Duration::new(1_795_394_239 + n, 232_092_000)),
                octets: (0..60 + n as u8).collect(),
                wire_len: 60 + 20 * n as usize,
            })
            .collect()
    }

    proptest! {
        #[test]
        fn reads_what_another_implementation_writes(
            frames in some_frames(),
            big in any::<bool>(),
            nano in any::<bool>(),
        ) {
            let endianness = if big { Endianness::Big } else { Endianness::Little };
            let resolution = if nano { TsResolution::NanoSecond } else { TsResolution::MicroSecond };
            let written = pcap(endianness, resolution, 1, &frames);
            prop_assert_eq!(read(&written), (frames.clone(), Ok(())));
            prop_assert_eq!(read_from(Reluctant(&written, 0)), (frames, Ok(())));
        }

        #[test]
        fn bears_damage(
            ng in any::<bool>(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            words in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 0..3),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut octets = if ng { mixed() } else { pcap(Endianness::Little, TsResolution::MicroSecond, 1, &sample()) };
            for (at, value) in changes {
                *at.get_mut(&mut octets) = value;
            }
            for (at, value) in words {
                let at = at.index(octets.len() - 3);
                octets[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
            octets.truncate(cut.index(octets.len() * 2));
            let (frames, _) = read(&octets);
            for frame in frames {
                prop_assert!(frame.octets.len() <= frame.wire_len);
                for number in 0..=u16::MAX {
                    let Some(link) = Link::of(number) else { continue };
                    let mut ethernet = Vec::new();
                    let (octets, wire_len) = (&frame.octets[..], frame.wire_len);
                    let frame = CapturedFrame { number: 1, time: None, link, octets, wire_len };
                    let is_cut = octets.len() < wire_len;
                    let wire_len = frame.append_ethernet(&mut ethernet);
                    prop_assert_eq!(ethernet.len() < wire_len, is_cut);
                }
            }
        }
    }

    /// Two sections in different byte orders, with every kind of block that holds a frame.
    fn mixed() -> Vec<u8> {
        let packet = |octets: &[u8]| {
            let mut head = words::<LittleEndian>(&[0, 0, 77, octets.len() as u32, 1000]);
            LittleEndian::write_u16(&mut head[..2], 1);
            block::<LittleEndian>(2, &[&head, octets].concat())
        };
        let simple = |octets: &[u8]| {
            block::<LittleEndian>(3, &[&words::<LittleEndian>(&[octets.len() as u32]), octets].concat())
        };
        [
            section::<LittleEndian>(),
            // Microseconds, cut after 70 octets; then nanoseconds, and milliseconds with an offset.
            interface::<LittleEndian>(1, 70, &[(2, b"eth0"), (0, b"")]),
            interface::<LittleEndian>(1, 0, &[(10, &[0; 4]), (9, &[9])]),
            interface::<LittleEndian>(1, 0, &[(9, &[3]), (14, &100i64.to_le_bytes()), (0, b"")]),
            enhanced::<LittleEndian>(0, 1_795_394_239_000_001, &[1; 61], 61),
            block::<LittleEndian>(0xbad, &[7; 9]),
            enhanced::<LittleEndian>(1, 1_795_394_239_000_000_002, &[2; 64], 1514),
            enhanced::<LittleEndian>(2, 5003, &[3; 62], 62),
            simple(&[4; 63]),
            simple(&[5; 72]),
            packet(&[6; 60]),
            section::<BigEndian>(),
            interface::<BigEndian>(1, 0, &[(9, &[0x8a]), (0, b"")]),
            enhanced::<BigEndian>(0, 2048 + 512, &[7; 66], 66),
        ]
        .concat()
    }

    #[test]
    fn pcapng_has_interfaces_sections_and_three_kinds_of_frames() {
        let frame = |time: Option<Duration>, octet: u8, len: usize, wire_len: usize| Read1 {
            time,
            octets: repeat_n(octet, len).collect(),
            wire_len,
        };
        let frames = vec![
            frame(Some(Duration::new(1_795_394_239, 1_000)), 1, 61, 61),
            frame(Some(Duration::new(1_795_394_239, 2)), 2, 64, 1514),
            frame(Some(Duration::new(105, 3_000_000)), 3, 62, 62),
            frame(None, 4, 63, 63),
            frame(None, 5, 70, 72),
            frame(Some(Duration::new(0, 77)), 6, 60, 1000),
            frame(Some(Duration::new(2, 500_000_000)), 7, 66, 66),
        ];
        assert_eq!(read(&mixed()), (frames.clone(), Ok(())));
        assert_eq!(read_from(Reluctant(&mixed(), 0)), (frames, Ok(())));
    }

    /// Cut anywhere: what stands before the cut is read, and the cut is named unless it is between two packets.
    #[test]
    fn a_truncated_capture_gives_its_frames_and_an_error() {
        for whole in [pcap(Endianness::Big, TsResolution::NanoSecond, 1, &sample()), mixed()] {
            let (all, _) = read(&whole);
            let mut complete = 0;
            for len in 0..whole.len() {
                let (frames, end) = read(&whole[..len]);
                assert_eq!(frames, all[..frames.len()], "{len}");
                match end {
                    Ok(()) => complete += 1,
                    Err(error) if len >= 28 => {
                        let after = match frames.len() {
                            0 => "before the first frame".to_owned(),
                            count => format!("after frame {count}"),
                        };
                        assert!(error.contains(&after) && error.contains("truncated"), "{len}: {error}");
                    }
                    Err(_) => {}
                }
            }
            assert!(complete >= 5, "{complete}");
        }
    }

    #[test]
    fn a_length_takes_no_memory_before_its_octets_are_there() {
        let mut lying = pcap(Endianness::Little, TsResolution::MicroSecond, 1, &sample());
        let second = PCAP_HEADER_LEN + PACKET_HEADER_LEN + 60;
        lying[second + 8..second + 12].copy_from_slice(&u32::MAX.to_le_bytes());
        let mut capture = Capture::new(&lying[..]).unwrap();
        capture.next().unwrap().unwrap();
        let error = capture.next().unwrap_err().to_string();
        assert_eq!(
            error,
            "at octet 100, after frame 1: truncated: the capture ends 314 octets into the next packet"
        );
        assert_eq!(capture.window.buffer.len(), FIRST_BUFFER_LEN);

        let endless = Read::chain(&lying[..], io::repeat(0));
        let mut capture = Capture::new(endless).unwrap();
        capture.next().unwrap().unwrap();
        let error = capture.next().unwrap_err().to_string();
        assert_eq!(error, "at octet 100, after frame 1: the next packet has more than 16777216 octets");
        assert!(capture.window.buffer.len() <= MAX_RECORD_LEN);
    }

    #[test]
    fn a_large_block_is_read() {
        let large = [
            section::<LittleEndian>(),
            block::<LittleEndian>(10, &vec![1; 3 << 20]),
            interface::<LittleEndian>(1, 0, &[]),
            enhanced::<LittleEndian>(0, 0, &[1; 60], 60),
        ];
        let (frames, end) = read(&large.concat());
        assert_eq!((frames.len(), end), (1, Ok(())));
    }

    #[test]
    fn what_is_no_capture_is_refused() {
        for (octets, reason) in [
            (&b""[..], "neither pcap nor pcapng"),
            (b"src 10.168.66.2 dst 10.168.66.1\n\tproto esp", "neither pcap nor pcapng"),
            (&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0], "neither pcap nor pcapng"),
            (&[0x0a, 0x0d, 0x0d, 0x0a, 0, 0, 0, 28, 1, 2, 3, 4], "at octet 0, before the first frame: "),
        ] {
            let (frames, end) = read(octets);
            assert!(frames.is_empty() && end.clone().unwrap_err().contains(reason), "{end:?}");
        }
    }

    #[test]
    fn what_can_not_be_right_is_named() {
        let start = [section::<BigEndian>(), interface::<BigEndian>(1, 0, &[])].concat();
        let at = start.len();
        let mut version = section::<LittleEndian>();
        version[12] = 2;
        for (block, reason) in [
            (enhanced::<BigEndian>(1, 0, &[0; 60], 60), "a frame of interface 1, which is not described"),
            (
                block::<BigEndian>(6, &words::<BigEndian>(&[0, 0, 0, 61, 61])),
                "a frame of 61 octets in a block",
            ),
            (block::<BigEndian>(6, &[0; 16]), "a block is too short for its kind"),
            (block::<BigEndian>(2, &[0; 4]), "a block is too short for its kind"),
            (block::<BigEndian>(3, &[]), "a block is too short for its kind"),
            (block::<BigEndian>(1, &[0; 4]), "a block is too short for its kind"),
            (version, "version 2 of pcapng"),
            (vec![0, 0, 0, 6, 0, 0, 0, 13, 0, 0, 0, 0, 0], "initial_len % 4"),
        ] {
            let (frames, end) = read(&[&start[..], &block].concat());
            let error = end.unwrap_err();
            assert!(frames.is_empty() && error.contains(reason), "{error}");
            assert!(error.starts_with(&format!("at octet {at}, before the first frame: ")), "{error}");
        }
    }

    #[test]
    fn a_link_type_that_is_not_supported_is_named() {
        let wifi = pcap(Endianness::Little, TsResolution::MicroSecond, 105, &sample());
        let (_, end) = read(&wifi);
        assert_eq!(
            end.unwrap_err(),
            "at octet 24, before the first frame: link type 105 (IEEE802_11) is not supported"
        );
        // Nobody minds an interface without frames.
        let unused = [
            section::<LittleEndian>(),
            interface::<LittleEndian>(105, 0, &[]),
            interface::<LittleEndian>(1, 0, &[]),
            enhanced::<LittleEndian>(1, 0, &[1; 60], 60),
        ];
        assert_eq!(read(&unused.concat()).1, Ok(()));
        // A length of the FCS beside the link type.
        let fcs = pcap(Endianness::Little, TsResolution::MicroSecond, 0x4400_0001, &sample());
        assert_eq!(read(&fcs), (sample(), Ok(())));
    }

    #[test]
    fn times_that_there_are_not_are_left_out() {
        let time = |units, resolution, offset: i64| {
            let options: [(u16, &[u8]); 2] = [(9, &[resolution]), (14, &offset.to_be_bytes())];
            let capture = [
                section::<BigEndian>(),
                interface::<BigEndian>(1, 0, &options),
                enhanced::<BigEndian>(0, units, &[1; 60], 60),
            ];
            read(&capture.concat()).0[0].time
        };
        assert_eq!(time(5, 0, -5), Some(Duration::ZERO));
        assert_eq!(time(5, 0, -6), None);
        assert_eq!(time(u64::MAX, 0, 0), Some(Duration::from_secs(u64::MAX)));
        assert_eq!(time(u64::MAX, 0, 1), None);
        assert_eq!(time(u64::MAX, 127, 0), Some(Duration::ZERO));
        assert_eq!(time(u64::MAX, 0xff, 0), Some(Duration::ZERO));
        assert_eq!(time(u64::MAX, 38, 0), Some(Duration::ZERO));
        assert_eq!(time(1, 0xc0, 0), Some(Duration::ZERO));
    }
}
