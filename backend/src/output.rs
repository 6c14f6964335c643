//! Stdout: a thread of its own writes what paths and the main loop have to say.
//!
//! ```text
//!   path ── Tracer ──┐
//!                    ├──(bounded queue, never waits)──► writer thread ──► stdout
//!   main, counters ──┘
//! ```
//!
//! Nobody who serves a guest or a signal waits for whoever reads stdout.

use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::port::PortName;
use crate::record::{CounterRecord, EspRecord, SuppressedRecord};

/// Entries that may wait for stdout.
const QUEUE_LEN: usize = 16_384;
/// Octets that are gathered for one write while more entries wait.
const BATCH_LEN: usize = 8192;

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TraceFormat {
    /// Some lines for people.
    Human,
    /// One line of JSON each.
    Json,
}

/// What goes to stdout.
pub(crate) enum Entry {
    /// An inspected packet.
    Packet(Box<EspRecord>),
    /// So many packets' records were kept back.
    Suppressed(PortName, u64),
    /// The counters.
    Counters(Box<CounterRecord>),
    /// The counters at the end, after all that has not been told.
    Last(Box<CounterRecord>),
}

/// Records of each port that were kept back and had not been told when its paths ended.
pub(crate) type Untold = Arc<[AtomicU64; 2]>;

/// The thread that writes stdout.
pub(crate) struct Output {
    sender: SyncSender<Entry>,
    untold: Untold,
    thread: JoinHandle<()>,
}

impl Output {
    /// Starts the thread; records are written as `format` says.
    pub(crate) fn start(format: TraceFormat) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE_LEN);
        let untold = Untold::default();
        let mut writer = Writer { format, untold: Arc::clone(&untold), text: String::new() };
        let thread = thread::Builder::new().name("stdout".to_owned()).spawn(move || {
            if let Err(error) = writer.run(&receiver) {
                // A closed stdout is no reason to end the cable.
                tracing::warn!(%error, "stdout can't be written to: no more records");
            }
        })?;
        Ok(Self { sender, untold, thread })
    }

    /// A way into the queue.
    pub(crate) fn sender(&self) -> SyncSender<Entry> {
        self.sender.clone()
    }

    /// Where a tracer that ends leaves what it has not told.
    pub(crate) fn untold(&self) -> Untold {
        Arc::clone(&self.untold)
    }

    /// Prints counters, unless stdout is not read.
    pub(crate) fn print(&self, counters: CounterRecord) {
        if self.sender.try_send(Entry::Counters(Box::new(counters))).is_err() {
            tracing::warn!("counters not printed: stdout is not read");
        }
    }

    /// Prints counters last, and waits until all is written. All tracers must be gone.
    pub(crate) fn finish(self, counters: CounterRecord) {
        // Without a reader there is nobody to print for.
        let _ = self.sender.send(Entry::Last(Box::new(counters)));
        drop(self.sender);
        // It panics only over a record that can't be written, which costs the output and nothing else.
        let _ = self.thread.join();
    }
}

struct Writer {
    format: TraceFormat,
    untold: Untold,
    /// Whole entries that are to be written next.
    text: String,
}

impl Writer {
    fn run(&mut self, receiver: &Receiver<Entry>) -> io::Result<()> {
        loop {
            let entry = match receiver.try_recv() {
                Ok(entry) => entry,
                Err(_) => {
                    self.flush()?;
                    match receiver.recv() {
                        Ok(entry) => entry,
                        Err(_) => return Ok(()),
                    }
                }
            };
            self.add(entry);
            if self.text.len() >= BATCH_LEN {
                self.flush()?;
            }
        }
    }

    fn add(&mut self, entry: Entry) {
        match entry {
            Entry::Packet(record) => self.add_record(&*record, EspRecord::to_json),
            Entry::Suppressed(port, count) => {
                self.add_record(&SuppressedRecord::new(port, count), SuppressedRecord::to_json);
            }
            Entry::Counters(record) => self.add_record(&*record, CounterRecord::to_json),
            Entry::Last(record) => {
                for port in [PortName::A, PortName::B] {
                    let count = self.untold[port as usize].load(Ordering::Acquire);
                    if count > 0 {
                        self.add(Entry::Suppressed(port, count));
                    }
                }
                self.add(Entry::Counters(record));
            }
        }
    }

    fn add_record<R: Display>(&mut self, record: &R, to_json: impl FnOnce(&R) -> String) {
        match self.format {
            TraceFormat::Human => self.text += &record.to_string(),
            TraceFormat::Json => self.text += &to_json(record),
        }
        self.text.push('\n');
    }

    /// Writes all of the text, also to a stdout that somebody has made non-blocking. Past std's buffer, which has
    /// no word for what it kept when a write failed; nobody else writes to stdout.
    fn flush(&mut self) -> io::Result<()> {
        let stdout = io::stdout();
        let mut rest = self.text.as_bytes();
        while !rest.is_empty() {
            match rustix::io::write(&stdout, rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], None)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.text.clear();
        Ok(())
    }
}
