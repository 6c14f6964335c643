//! The harness of the end-to-end tests: an `espwire` process, its counters, and frontends on its sockets.
//!
//! Every wait has a deadline of [`WAIT`], also on a machine five times slower than ours; nothing sleeps.

#![allow(dead_code, unreachable_pub, reason = "each test is a crate of its own and uses its part")]

pub mod esp;
pub mod guest;

use std::io::{BufRead, BufReader, PipeWriter};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use espwire_frontend::{Nic, NicBuilder, Request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getrlimit, kill_process, pidfd_open, prlimit,
};
use serde_json::Value;

/// How long anything may take.
pub const WAIT: Duration = Duration::from_secs(120);

/// A running `espwire run`, with sockets in a folder of its own.
pub struct Cable {
    child: Child,
    folder: tempfile::TempDir,
    /// Lines of stdout and stderr, as they come.
    lines: Receiver<String>,
    /// All lines so far.
    pub log: Vec<String>,
}

impl Cable {
    /// Starts `espwire run` on two listening sockets with more options, and waits for the sockets.
    pub fn start(options: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder"), options)
    }

    /// As `start`, in a folder that is there: for a second life on the same sockets.
    pub fn start_in(folder: tempfile::TempDir, options: &[&str]) -> Self {
        Self::start_on_sockets(espwire(), folder, options)
    }

    /// As `start`, with each message of the frontends in the log.
    pub fn start_debug(options: &[&str]) -> Self {
        let mut command = espwire();
        command.env("ESPWIRE_LOG", "debug");
        Self::start_on_sockets(command, tempfile::tempdir().expect("a folder"), options)
    }

    fn start_on_sockets(command: Command, folder: tempfile::TempDir, options: &[&str]) -> Self {
        let sockets = socket_options(&folder);
        let words: Vec<_> = sockets.iter().map(String::as_str).chain(options.iter().copied()).collect();
        let mut cable = Self::start_command(command, folder, &words);
        cable.wait_line("port=b");
        cable
    }

    /// As `start`, with stdout and stderr in the caller's hands: no line of them is seen here. The sockets may
    /// not be there yet: connect with `retry`.
    pub fn start_writing_to(stdout: PipeWriter, stderr: PipeWriter) -> Self {
        Self::start_writing_to_in(tempfile::tempdir().expect("a folder"), stdout, stderr, &[])
    }

    /// As `start_writing_to`, in a folder that is there, with more options.
    pub fn start_writing_to_in(
        folder: tempfile::TempDir,
        stdout: PipeWriter,
        stderr: PipeWriter,
        options: &[&str],
    ) -> Self {
        let mut command = espwire();
        command.arg("run").args(socket_options(&folder)).args(options);
        command.arg("--stats").arg(folder.path().join("stats"));
        let child = command.stdout(stdout).stderr(stderr).spawn().expect("espwire starts");
        Self { child, folder, lines: channel().1, log: Vec::new() }
    }

    /// Starts `espwire run` with just these options and `--stats`.
    pub fn start_with(folder: tempfile::TempDir, options: &[&str]) -> Self {
        Self::start_command(espwire(), folder, options)
    }

    fn start_command(mut command: Command, folder: tempfile::TempDir, options: &[&str]) -> Self {
        command.arg("run").args(options).arg("--stats").arg(folder.path().join("stats"));
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("espwire starts");
        let (sender, lines) = channel();
        let readers: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("piped")), Box::new(child.stderr.take().expect("piped"))];
        for reader in readers {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(reader).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Self { child, folder, lines, log: Vec::new() }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn socket(&self, port: char) -> PathBuf {
        self.folder.path().join(format!("{port}.sock"))
    }

    /// Waits for a line with `text` in it that was not waited for before, and returns it.
    pub fn wait_line(&mut self, text: &str) -> String {
        self.wait_any(&[text])
    }

    /// Waits for a line with one of `texts` in it.
    pub fn wait_any(&mut self, texts: &[&str]) -> String {
        let deadline = Instant::now() + WAIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.log.push(line.clone());
                    if texts.iter().any(|text| line.contains(text)) {
                        return line;
                    }
                }
                Err(error) => panic!("no line with {texts:?}: {error}; so far:\n{}", self.log.join("\n")),
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the process is there");
    }

    /// Asks for the counters by SIGUSR1.
    pub fn counters(&mut self) -> Counters {
        self.signal(Signal::USR1);
        self.wait_any(&["counters of", r#""type":"counters""#]);
        self.read_stats()
    }

    /// Asks it to end, and waits until its counters are in their file: whoever reads its stdout.
    pub fn end_until_counted(&mut self) -> Counters {
        self.counters_in_file(Signal::TERM)
    }

    /// Asks for the counters by `signal`, and waits until they are in their file: whoever reads its stdout.
    pub fn counters_in_file(&mut self, signal: Signal) -> Counters {
        // There is none before the first.
        let _ = std::fs::remove_file(self.folder.path().join("stats"));
        self.signal(signal);
        let deadline = Instant::now() + WAIT;
        while !self.folder.path().join("stats").exists() {
            let ended = self.wait_within(Duration::from_millis(10));
            assert!(ended.is_none(), "it ended without counters: {ended:?}");
            assert!(Instant::now() < deadline, "no counters");
        }
        self.read_stats()
    }

    fn read_stats(&self) -> Counters {
        let text = std::fs::read_to_string(self.folder.path().join("stats")).expect("counters");
        Counters(serde_json::from_str(&text).expect("JSON"))
    }

    /// Asks for the counters until `done` says that they are as they should be.
    pub fn wait_counters(&mut self, what: &str, done: impl Fn(&Counters) -> bool) -> Counters {
        let deadline = Instant::now() + WAIT;
        loop {
            let counters = self.counters();
            if done(&counters) {
                return counters;
            }
            assert!(Instant::now() < deadline, "{what}: still not so:\n{}", counters.0);
        }
    }

    /// Ends it by SIGTERM; its exit code must be 0, and frames in = frames out + drops.
    pub fn stop(self) -> Counters {
        self.stop_and_read().0
    }

    /// As `stop`, with all lines that it wrote.
    pub fn stop_and_read(mut self) -> (Counters, Vec<String>) {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "log:\n{}", self.log.join("\n"));
        let counters = self.read_stats();
        counters.assert_balance();
        (counters, std::mem::take(&mut self.log))
    }

    /// Ends it by SIGKILL and returns its folder, where its sockets still are.
    pub fn kill(mut self) -> tempfile::TempDir {
        self.signal(Signal::KILL);
        self.wait();
        std::mem::replace(&mut self.folder, tempfile::tempdir().expect("a folder"))
    }

    /// Waits for its end; takes in all it has written.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + WAIT;
        // Its output ends when it does.
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.log.push(line),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(error) => panic!("espwire did not end: {error}; so far:\n{}", self.log.join("\n")),
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        self.wait_within(left).unwrap_or_else(|| panic!("espwire did not end"))
    }

    /// Waits for its end, at most `timeout`; leaves what it writes alone.
    pub fn wait_within(&mut self, timeout: Duration) -> Option<ExitStatus> {
        if let Some(status) = self.child.try_wait().expect("its status") {
            return Some(status);
        }
        // Nobody else takes its status: the number is still its own.
        let process = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).expect("a pidfd");
        let timeout = Timespec::try_from(timeout).expect("a short time");
        poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&timeout)).expect("poll");
        self.child.try_wait().expect("its status")
    }

    /// Lets it open at most `count` descriptors from now on.
    pub fn limit_descriptors(&self, count: usize) {
        let limit = Rlimit { current: Some(count as u64), ..getrlimit(Resource::Nofile) };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Nofile, limit).expect("a lower limit");
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its status").is_none()
    }

    /// Open descriptors of the process.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("/proc").count()
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("/proc");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
    }

    /// User and system time of all its threads, in clock ticks, and their voluntary context switches.
    pub fn activity(&self) -> (u64, u64) {
        let id = self.child.id();
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("/proc");
        let fields: Vec<_> = stat.rsplit_once(')').expect("stat").1.split_whitespace().collect();
        let ticks = fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
        let tasks = std::fs::read_dir(format!("/proc/{id}/task")).expect("/proc");
        let switches = tasks.flatten().filter_map(|task| {
            let status = std::fs::read_to_string(task.path().join("status")).ok()?;
            status
                .lines()
                .find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"))?
                .trim()
                .parse::<u64>()
                .ok()
        });
        (ticks, switches.sum())
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The options for two listening sockets in `folder`.
fn socket_options(folder: &tempfile::TempDir) -> Vec<String> {
    let path = |name| folder.path().join(name).into_os_string().into_string().expect("UTF-8");
    ["--socket-path".to_owned(), path("a.sock"), "--peer-socket-path".to_owned(), path("b.sock")].into()
}

/// The program under test.
pub fn espwire() -> Command {
    Command::new(env!("CARGO_BIN_EXE_espwire"))
}

/// A NIC for tests: generous deadlines.
pub fn nic() -> NicBuilder {
    Nic::builder().timeout(WAIT)
}

/// Waits until the backend has served every message sent so far. Most ask for no reply, and a frame that
/// overtakes the last of its peer's finds that peer down.
pub fn settle(nic: &mut Nic) {
    let connection = nic.connection().expect("connected");
    connection.ask(Request::GET_FEATURES, false, &[]).expect("features");
}

/// The cable works between two fresh frontends.
pub fn assert_usable(cable: &Cable) {
    let mut a = nic().retry(true).up(cable.socket('a'));
    let mut b = nic().retry(true).up(cable.socket('b'));
    for number in 0..10 {
        a.send(&frame(number, 60)).unwrap();
        assert!(b.wait_receive(WAIT).unwrap() == frame(number, 60));
        b.send(&frame(number, 60)).unwrap();
        assert!(a.wait_receive(WAIT).unwrap() == frame(number, 60));
    }
    a.disconnect().unwrap();
    b.disconnect().unwrap();
}

/// Connecting to a backend until frames can pass.
pub trait Up {
    /// Connects, sets everything up and waits until the backend knows it.
    fn up(self, path: PathBuf) -> Nic;
}

impl Up for NicBuilder {
    fn up(self, path: PathBuf) -> Nic {
        let mut nic = self.connect(path).expect("a backend");
        settle(&mut nic);
        nic
    }
}

/// Tells the other thread to stop also when a test fails: a scope waits for its threads.
pub struct StopOnDrop<'s>(pub &'s AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A frame of `len` octets, at least 14, whose contents follow from `number`.
pub fn frame(number: u64, len: usize) -> Vec<u8> {
    let mut frame = vec![0; len];
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 0xb]);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 0xa]);
    // An EtherType for local experiments (IEEE 802, 0x88b5).
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for octet in &mut frame[14..] {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *octet = state as u8;
    }
    frame
}

/// A record of counters.
#[derive(Clone, Debug)]
pub struct Counters(pub Value);

impl Counters {
    /// The number at a path below port `port`: `number('a', "tx.frames")`.
    pub fn number(&self, port: char, path: &str) -> u64 {
        number(&self.0["ports"][usize::from(port == 'b')], path)
    }

    /// The number at a path below the SA with this SPI that `port`'s NIC knows: `sa('a', 1, "failures.no_sa")`.
    pub fn sa(&self, port: char, spi: u32, path: &str) -> u64 {
        let sas = self.0["ports"][usize::from(port == 'b')]["tx"]["sas"].as_array().expect("mode inspect");
        let sa = sas.iter().find(|sa| sa["spi"] == format!("{spi:#010x}"));
        number(sa.unwrap_or_else(|| panic!("no SA {spi:#x} in {}", self.0)), path)
    }

    /// `port`'s frames were dropped so many times for each of `reasons`, and for no other.
    pub fn assert_drops(&self, port: char, reasons: &[(&str, u64)]) {
        for (reason, count) in reasons {
            assert_eq!(self.number(port, &format!("tx.drops.{reason}")), *count, "{reason}: {}", self.0);
        }
        assert_eq!(self.drops(port), reasons.iter().map(|(_, count)| count).sum::<u64>(), "{}", self.0);
    }

    /// Drops of `port`'s frames, all reasons.
    pub fn drops(&self, port: char) -> u64 {
        let index = usize::from(port == 'b');
        let drops = self.0["ports"][index]["tx"]["drops"].as_object().expect("drops");
        drops
            .values()
            .map(|value| value.as_str().and_then(|text| text.parse::<u64>().ok()).expect("a number"))
            .sum()
    }

    /// Frames in = frames out + drops, in both directions.
    pub fn assert_balance(&self) {
        for (from, to) in [('a', 'b'), ('b', 'a')] {
            let (sent, received) = (self.number(from, "tx.frames"), self.number(to, "rx.frames"));
            assert_eq!(sent, received + self.drops(from), "{from} to {to}: {}", self.0);
        }
    }
}

/// The number at a path below `value`: 64-bit numbers are strings in records.
fn number(value: &Value, path: &str) -> u64 {
    let there = path.split('.').fold(value, |value, key| &value[key]);
    there.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no {path} in {value}"))
}
