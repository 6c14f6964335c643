//! `espwire inspect`: what the NIC finds in the ESP packets of a capture.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::ops::Range;
use std::time::Duration;

use espwire_ipsec::{
    DropReason, Explanation, Frame, Inspector, MAX_BURST, Observer, Replay, Sad, SadError, Verdict,
};

use crate::capture::{Capture, CaptureError};
use crate::cli::InspectArgs;
use crate::output::TraceFormat;
use crate::record::{EspRecord, InspectSummary, Place, Seen};
use crate::xfrm_file::{self, XfrmFileError};

/// Octets of frames after which a burst ends early: what a hostile capture makes of [`MAX_BURST`] frames.
const BURST_OCTETS: usize = 1 << 20;

/// Why a capture was not inspected, or not to its end.
#[derive(Debug, thiserror::Error)]
enum InspectError {
    #[error(transparent)]
    Xfrm(#[from] XfrmFileError),
    #[error(transparent)]
    Sad(#[from] SadError),
    #[error("{name}: {source}")]
    Capture { name: String, source: CaptureError },
    #[error("can't write to stdout: {0}")]
    Write(#[from] io::Error),
}

/// Inspects the capture and returns the exit code: 0 every ESP packet was as it should be, 1 not so, 2 bad input.
pub(crate) fn main(args: &InspectArgs) -> i32 {
    let mut stdout = BufWriter::new(io::stdout().lock());
    let result = inspect(args, &mut stdout).and_then(|ok| {
        stdout.flush()?;
        Ok(ok)
    });
    // What was found before an error is shown all the same.
    let _ = stdout.flush();
    let code = match &result {
        Ok(ok) => return i32::from(!ok),
        // Whoever reads has had enough, as in `espwire inspect … | head`.
        Err(InspectError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => return 1,
        Err(InspectError::Write(_)) => 1,
        Err(_) => 2,
    };
    if let Err(error) = result {
        crate::complain(&format!("espwire: {error}"));
    }
    code
}

/// How packets are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Show {
    /// A line for each that failed.
    Failures,
    /// A block of lines for each.
    Blocks,
    /// A record for each.
    Json,
}

/// Whether every ESP packet was as it should be.
fn inspect(args: &InspectArgs, output: &mut impl Write) -> Result<bool, InspectError> {
    let databases: Vec<_> = args.xfrm.iter().map(|path| xfrm_file::read(path)).collect::<Result<_, _>>()?;
    let sad = Sad::new(&databases)?;
    let show = match args.trace {
        _ if args.json => Show::Json,
        Some(TraceFormat::Json) => Show::Json,
        Some(TraceFormat::Human) => Show::Blocks,
        None => Show::Failures,
    };
    let name = args.capture.display().to_string();
    let failed = |source| InspectError::Capture { name: name.clone(), source };
    let reader: Box<dyn Read> = if args.capture.as_os_str() == OsStr::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(&args.capture).map_err(|error| failed(error.into()))?)
    };
    let mut capture = Capture::new(reader).map_err(failed)?;
    let mut report = Report {
        output,
        show,
        show_payload: &args.show_payload,
        ignore_unknown: args.ignore_unknown,
        summary: InspectSummary::new(name.clone()),
        written: Ok(()),
    };
    let mut inspector = Inspector::new(sad);
    let end = report.inspect_all(&mut capture, &mut inspector)?;
    let ok = report.finish(inspector.sad(), end.is_ok())?;
    end.map_err(failed)?;
    Ok(ok)
}

/// A frame of a burst.
#[derive(Clone, Debug)]
struct NumberedFrame {
    number: u64,
    time: Option<Duration>,
    /// As captured: the frame that is inspected may have another link type's header.
    frame_len: usize,
    captured_len: usize,
    octets: Range<usize>,
    wire_len: usize,
}

/// What is shown and counted.
struct Report<'a, W> {
    output: &'a mut W,
    show: Show,
    show_payload: &'a [u16],
    ignore_unknown: bool,
    summary: InspectSummary,
    /// How the last write went: an observer can't say.
    written: io::Result<()>,
}

impl<W: Write> Report<'_, W> {
    /// Inspects burst after burst. The outer result is about writing, the inner one about reading.
    fn inspect_all<R: Read>(
        &mut self,
        capture: &mut Capture<R>,
        inspector: &mut Inspector,
    ) -> io::Result<Result<(), CaptureError>> {
        let (mut octets, mut waiting) = (Vec::new(), Vec::with_capacity(MAX_BURST));
        loop {
            let end = loop {
                match capture.next() {
                    Ok(Some(frame)) => {
                        let start = octets.len();
                        let wire_len = frame.append_ethernet(&mut octets);
                        waiting.push(NumberedFrame {
                            number: frame.number,
                            time: frame.time,
                            frame_len: frame.wire_len,
                            captured_len: frame.octets.len(),
                            octets: start..octets.len(),
                            wire_len,
                        });
                        if waiting.len() == MAX_BURST || octets.len() >= BURST_OCTETS {
                            break None;
                        }
                    }
                    Ok(None) => break Some(Ok(())),
                    Err(error) => break Some(Err(error)),
                }
            };
            self.inspect_burst(inspector, &octets, &waiting)?;
            if let Some(end) = end {
                return Ok(end);
            }
            octets.clear();
            waiting.clear();
        }
    }

    fn inspect_burst(
        &mut self,
        inspector: &mut Inspector,
        octets: &[u8],
        waiting: &[NumberedFrame],
    ) -> io::Result<()> {
        let frame =
            |waiting: &NumberedFrame| Frame::captured(&octets[waiting.octets.clone()], waiting.wire_len);
        let frames: Vec<_> = waiting.iter().map(frame).collect();
        let mut verdicts = Vec::with_capacity(frames.len());
        inspector.inspect_burst(&frames, &mut verdicts, &mut BurstReport { report: self, waiting });
        std::mem::replace(&mut self.written, Ok(()))?;
        for verdict in verdicts {
            let is_ignored = matches!(verdict, Verdict::Drop(reason) if self.ignores(reason));
            self.summary.count(verdict, is_ignored);
        }
        Ok(())
    }

    fn ignores(&self, reason: DropReason) -> bool {
        self.ignore_unknown && reason == DropReason::NoSa
    }

    fn observe(&mut self, explanation: &Explanation<'_>, waiting: &NumberedFrame) -> io::Result<()> {
        if explanation.replay.is_some_and(|replay| replay != Replay::Fresh) {
            self.summary.count_replay();
        }
        if self.show == Show::Failures {
            return match explanation.verdict {
                Verdict::Drop(reason) if !self.ignores(reason) => {
                    failure(self.output, explanation, waiting, reason)
                }
                _ => Ok(()),
            };
        }
        let seen = Seen { place: Place::Capture { frame: waiting.number }, time: waiting.time };
        let record = EspRecord::new(explanation, seen, self.show_payload)
            .with_frame_len(waiting.frame_len, waiting.captured_len);
        match self.show {
            Show::Json => writeln!(self.output, "{}", record.to_json()),
            Show::Blocks | Show::Failures => writeln!(self.output, "{record}"),
        }
    }

    /// Shows the summary; whether all was as it should be.
    fn finish(mut self, sad: &Sad, complete: bool) -> io::Result<bool> {
        let ok = self.summary.finish(sad, complete);
        match self.show {
            Show::Json => writeln!(self.output, "{}", self.summary.to_json())?,
            Show::Blocks | Show::Failures => write!(self.output, "{}", self.summary)?,
        }
        Ok(ok)
    }
}

/// One line about a packet that failed.
fn failure(
    output: &mut impl Write,
    explanation: &Explanation<'_>,
    waiting: &NumberedFrame,
    reason: DropReason,
) -> io::Result<()> {
    write!(output, "frame {}", waiting.number)?;
    if let Some(spi) = explanation.spi {
        write!(output, "  spi {spi:#010x}")?;
    }
    if let Some(sequence) = explanation.sequence_low {
        write!(output, "  seq {sequence}")?;
    }
    write!(output, "  {}", reason.name())?;
    let again = explanation.decrypted.as_ref().and_then(|decrypted| decrypted.reencryption);
    match (reason, explanation.outer, again.and_then(|again| again.first_difference)) {
        (DropReason::Truncated, ..) => {
            let NumberedFrame { captured_len, frame_len, .. } = waiting;
            write!(output, "  cut by snaplen: {captured_len} of {frame_len} octets")?;
        }
        (DropReason::NoSa, Some(outer), _) => write!(output, "  destination {}", outer.dst)?,
        (_, _, Some(at)) => write!(output, "  re-encryption differs first in octet {at} from the SPI")?,
        _ => {}
    }
    writeln!(output)
}

/// The observer of a burst: knows its frames' numbers.
struct BurstReport<'r, 'a, W> {
    report: &'r mut Report<'a, W>,
    waiting: &'r [NumberedFrame],
}

impl<W: Write> Observer for BurstReport<'_, '_, W> {
    fn wants(&mut self, _: Verdict) -> bool {
        self.report.written.is_ok()
    }

    fn observe(&mut self, explanation: &Explanation<'_>) {
        self.report.written = self.report.observe(explanation, &self.waiting[explanation.index]);
    }
}

#[cfg(test)]
mod tests {
    use espwire_ipsec::xfrm;
    use proptest::prelude::*;

    use super::*;

    fn report(file: &[u8], show: Show) -> String {
        let state = include_str!("../../tests/data/captures/gcm.state.txt");
        let sad = Sad::new([&xfrm::parse("gcm", state).unwrap()]).unwrap();
        let mut output = Vec::new();
        if let Ok(mut capture) = Capture::new(file) {
            let mut report = Report {
                output: &mut output,
                show,
                show_payload: &[9999],
                ignore_unknown: false,
                summary: InspectSummary::new("capture".to_owned()),
                written: Ok(()),
            };
            let mut inspector = Inspector::new(sad);
            let end = report.inspect_all(&mut capture, &mut inspector).unwrap();
            report.finish(inspector.sad(), end.is_ok()).unwrap();
        }
        String::from_utf8(output).unwrap()
    }

    proptest! {
        #[test]
        fn bears_any_capture(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..40),
            link in prop::sample::select(vec![1u8, 1, 1, 12, 101, 113, 228, 229]),
            snap_len in 0..2000u32,
        ) {
            let mut file = include_bytes!("../../tests/data/captures/gcm.pcap").to_vec();
            file[20] = link;
            for (at, value) in changes {
                *at.get_mut(&mut file) = value;
            }
            file.truncate(file.len() - snap_len as usize);
            for show in [Show::Failures, Show::Blocks, Show::Json] {
                let shown = report(&file, show);
                prop_assert!(!shown.contains(|c: char| c.is_control() && c != '\n'));
                if show == Show::Json {
                    for line in shown.lines() {
                        let _: serde_json::Value = serde_json::from_str(line).unwrap();
                    }
                }
            }
        }
    }

    /// Frames that are longer than any are not kept together.
    #[test]
    fn bursts_end_early_when_they_are_long() {
        let mut file =
            vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
        for _ in 0..70 {
            let len = 400_000_u32.to_le_bytes();
            file.extend([[0; 4], [0; 4], len, len].concat());
            file.resize(file.len() + 400_000, 0x45);
        }
        assert!(report(&file, Show::Failures).starts_with("capture: 70 frames, 0 ESP packets, 70 others\n"));
    }

    #[test]
    fn a_write_that_fails_ends_it() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/captures");
        let args = InspectArgs {
            capture: format!("{folder}/gcm.pcap").into(),
            xfrm: vec![format!("{folder}/gcm.state.txt").into()],
            json: true,
            ignore_unknown: false,
            trace: None,
            show_payload: Vec::new(),
        };
        let error = inspect(&args, &mut Full).unwrap_err();
        assert!(matches!(error, InspectError::Write(error) if error.kind() == io::ErrorKind::StorageFull));
    }
}
