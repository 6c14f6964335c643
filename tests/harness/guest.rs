//! Guests: Linux in QEMU on a cable's sockets, driven over the console (contract: qemu/README.md).
//!
//! The guest is what qemu/build-guest made: `target/guest` in the repository, or the absolute path in
//! `ESPWIRE_GUEST`. Without one the tests say so and pass, unless `CI=true` or `ESPWIRE_REQUIRE_GUESTS=1`.
//!
//! A guest belongs to the thread that started it: QEMU ends with that thread.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::WAIT;

/// The guest's terminal takes no longer line.
const MAX_LINE_LEN: usize = 4095;

/// The right to run guests, one test at a time: two virtual CPUs keep two real ones busy.
pub struct Lab {
    guest: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Lab {
    /// Waits for this test's turn. `None` if no guest has been built, which is then said.
    pub fn enter() -> Option<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        let guest =
            env::var_os("ESPWIRE_GUEST").map_or_else(|| repository().join("target/guest"), PathBuf::from);
        if !["initrd.cpio", "vmlinuz"].iter().all(|file| guest.join(file).is_file()) {
            const REASON: &str = "not run: guests (no guest built: run qemu/build-guest)";
            let is = |name, value| env::var(name).is_ok_and(|v| v == value);
            assert!(!is("CI", "true") && !is("ESPWIRE_REQUIRE_GUESTS", "1"), "{REASON}");
            // Not by a macro: what a passing test prints is not shown.
            let _ = writeln!(std::io::stderr(), "{REASON}");
            return None;
        }
        Some(Self { guest, _turn: TURN.lock().unwrap_or_else(PoisonError::into_inner) })
    }

    /// Starts guest `name` on `socket` with more options of qemu/vm; does not wait for it.
    pub fn start(&self, name: &str, socket: &Path, options: &[&str]) -> Guest {
        let errors = socket.with_extension("qemu");
        let mut command = Command::new(repository().join("qemu/vm"));
        command.args(["--name", name, "--die-with-parent", "--echo", "off"]).args(options);
        command.arg("--socket").arg(socket).arg("--guest").arg(&self.guest);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(File::create(&errors).expect("a file for QEMU's messages"));
        let mut child = command.spawn().expect("qemu/vm starts");
        let input = child.stdin.take().expect("piped");
        let output = child.stdout.take().expect("piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // A prompt ends no line: it stands before the next one, which no mark shares.
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let name = name.to_owned();
        let console = Vec::new();
        Guest {
            name,
            child,
            input,
            lines,
            console,
            booting: Instant::now(),
            boots_end: 0,
            commands: 0,
            errors,
        }
    }
}

/// The repository's folder.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the repository")
}

/// A guest in its QEMU, which ends with this.
pub struct Guest {
    name: String,
    child: Child,
    input: ChildStdin,
    /// Lines of the console, as they come.
    lines: Receiver<String>,
    /// All lines so far.
    console: Vec<String>,
    /// When its last boot began.
    booting: Instant,
    /// Lines up to the READY line of the last boot that was waited for.
    boots_end: usize,
    /// How many commands it was given: they are numbered.
    commands: u64,
    /// Where QEMU's messages go.
    errors: PathBuf,
}

/// A command that a guest was given.
#[must_use = "a guest does one command at a time: finish it"]
pub struct Job {
    mark: String,
    command: String,
    since: Instant,
    /// Lines of the console that were there before it, or were waited for.
    seen: usize,
}

impl Guest {
    /// Waits until it has booted.
    pub fn wait_ready(&mut self) {
        let since = self.booting;
        let ready = format!("GUEST READY name={} ", self.name);
        self.boots_end = self.wait_line(self.boots_end, "READY", since, |line| line.starts_with(&ready)) + 1;
        self.say("ready", since);
    }

    /// Boots it again, in the same QEMU.
    pub fn reboot(&mut self) {
        self.boots_end = self.console.len();
        self.booting = Instant::now();
        self.type_line("reboot -f");
        self.wait_ready();
    }

    /// Runs a command of its shell: its output and status.
    pub fn run(&mut self, command: &str) -> (String, i32) {
        let job = self.start(command);
        self.finish(job)
    }

    /// Runs a command whose status must be 0: its output.
    pub fn check(&mut self, command: &str) -> String {
        let job = self.start(command);
        self.finish_well(job)
    }

    /// Gives it a command without waiting for its end; the next one waits for that, in the guest.
    ///
    /// It runs in a subshell with nothing on its input: `cd` and variables do not last, `program &` goes on.
    pub fn start(&mut self, command: &str) -> Job {
        self.commands += 1;
        let number = self.commands;
        // In two pieces: what is typed is no mark, even if it were echoed.
        let mark = format!("'@''{number}'");
        let line = format!(
            "printf '\\n%s begin\\n' {mark}; ({command}) </dev/null; printf '\\n%s end %s\\n' {mark} $?"
        );
        assert!(line.len() <= MAX_LINE_LEN, "{} octets in one line: {command}", line.len());
        let job = Job {
            mark: format!("@{number}"),
            command: command.to_owned(),
            since: Instant::now(),
            seen: self.console.len(),
        };
        self.type_line(&line);
        job
    }

    /// Waits for a line of the job's output with `text` in it that was not waited for before.
    pub fn wait_output(&mut self, job: &mut Job, text: &str) -> String {
        let what = format!("{text:?} from {}", job.command);
        let at = self.wait_line(job.seen, &what, Instant::now(), |line| line.contains(text));
        job.seen = at + 1;
        self.console[at].clone()
    }

    /// Waits for a job's end: its output and status.
    pub fn finish(&mut self, job: Job) -> (String, i32) {
        let end = format!("{} end ", job.mark);
        let what = format!("the end of {}", job.command);
        let at = self.wait_line(job.seen, &what, Instant::now(), |line| line.starts_with(&end));
        self.say(&format!("did {}", job.command), job.since);
        let status = self.console[at][end.len()..].parse().expect("a status");
        let begin = format!("{} begin", job.mark);
        let from = self.console[..at].iter().rposition(|line| *line == begin).expect("begun before its end");
        // The line feed before the end mark is not the command's: joining leaves it out.
        (self.console[from + 1..at].join("\n"), status)
    }

    /// Waits for a job's end, whose status must be 0: its output.
    pub fn finish_well(&mut self, job: Job) -> String {
        let command = job.command.clone();
        let (output, status) = self.finish(job);
        assert_eq!(status, 0, "guest {}: {command}:\n{output}", self.name);
        output
    }

    /// Powers it off; QEMU must end with status 0.
    pub fn power_off(mut self) {
        let since = Instant::now();
        self.type_line("poweroff -f");
        loop {
            match self.lines.recv_timeout((since + WAIT).saturating_duration_since(Instant::now())) {
                Ok(line) => self.console.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("{}", self.complaint("did not power off")),
            }
        }
        let status = self.child.wait().expect("its status");
        assert!(status.success(), "{}", self.complaint(&format!("powered off with {status}")));
        self.say("off", since);
    }

    /// Ends its QEMU by SIGKILL, as a crash would.
    pub fn kill(self) {
        drop(self);
    }

    /// Sends its QEMU a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("QEMU is there");
    }

    fn type_line(&mut self, line: &str) {
        // Fails when QEMU has ended; whoever waits for the answer says so, with its last words.
        let _ = writeln!(self.input, "{line}").and_then(|()| self.input.flush());
    }

    /// Index of the first line of the console, not before `from`, that is `found`; waits for it.
    fn wait_line(&mut self, from: usize, what: &str, since: Instant, found: impl Fn(&str) -> bool) -> usize {
        let mut at = from;
        loop {
            while at == self.console.len() {
                match self.lines.recv_timeout((since + WAIT).saturating_duration_since(Instant::now())) {
                    Ok(line) => self.console.push(line),
                    Err(error) => panic!("{}", self.complaint(&format!("no {what}: {error}"))),
                }
            }
            if found(&self.console[at]) {
                return at;
            }
            let crashed = self.console[at].contains("Kernel panic");
            assert!(!crashed, "{}", self.complaint("its kernel has crashed"));
            at += 1;
        }
    }

    fn say(&self, what: &str, since: Instant) {
        println!("guest {} {what} after {:.1} s", self.name, since.elapsed().as_secs_f64());
    }

    fn complaint(&self, what: &str) -> String {
        let last = self.console.len().saturating_sub(30);
        let errors = fs::read_to_string(&self.errors).unwrap_or_default();
        format!("guest {}: {what}\n{errors}\n{}", self.name, self.console[last..].join("\n"))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
