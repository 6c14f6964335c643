//! The espwire backend: glue between the vhost-user protocol, the rings and the NICs' ESP processing.
//!
//! ```text
//!   VM A ── socket ─► gate ─► request handler ─► Port a ─┐ state, by generations
//!                                                        ▼
//!          A's rings ◄────────────────────────────────► Path ◄────► B's rings
//!                                                        ▲
//!   VM B ── socket ─► gate ─► request handler ─► Port b ─┘
//! ```
//!
//! docs/architecture.md holds the packet's walk and the threads. The library is there for the binary and
//! for tests; its interface is the command line.
//!
//! ```no_run
//! use clap::Parser;
//! let words = ["espwire", "run", "--socket-path", "a.sock", "--peer-socket-path", "b.sock"];
//! let cli = espwire::Cli::parse_from(words);
//! std::process::exit(espwire::main(cli));
//! ```
//!
//! A port in mode `inspect` sends what its guest sends through `espwire-ipsec` (`nic.rs`); the same engine reads
//! captures (`espwire inspect`).
//!
//! # What it does not do
//!
//! Mode `protect` is not there yet: the NICs encapsulate nothing. One queue pair per port.

#![forbid(unsafe_code)]

mod attach;
mod capture;
mod cli;
mod counters;
mod crossover;
mod device;
mod direction;
mod gate;
mod handover;
mod inspect;
mod message;
mod nic;
mod output;
mod path;
mod port;
mod quota;
mod record;
mod ring;
mod session;
mod sync;
mod trace;
mod wakeup;
mod xfrm_file;
mod xfrm_list;

use std::error::Error;
use std::io::Write;

pub use attach::{Endpoint, EndpointError};
pub use cli::{Cli, Client, Command, CpuList, InspectArgs, Listed, Mode, RunArgs, XfrmArgs, XfrmFile};
pub use counters::{DirectionCounts, DropReason, PortCounts};
pub use crossover::{CrossoverConfig, CrossoverError, NicConfig, run};
pub use output::TraceFormat;
pub use path::Wait;
pub use port::{PortConfig, PortName};
pub use record::{CounterRecord, EspRecord, Place, Seen};
pub use trace::TraceConfig;

/// What a frontend's management software asks of a backend program (QEMU, "Backend program conventions").
const CAPABILITIES: &str = r#"{"type":"net"}"#;

/// The program: does what `cli` says and returns the exit code: 0 done, 1 failed, 2 wrong usage.
#[must_use]
pub fn main(cli: Cli) -> i32 {
    if cli.print_capabilities {
        return i32::from(writeln!(std::io::stdout(), "{CAPABILITIES}").is_err());
    }
    let result = match cli.command {
        Some(Command::Run(args)) => match args.crossover() {
            Ok(config) => run(&config),
            Err(reason) => return usage(&reason),
        },
        Some(Command::Inspect(args)) => return inspect::main(&args),
        Some(Command::Xfrm(args)) => return xfrm_list::main(&args),
        None => return usage("nothing to do: see --help"),
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            let mut text = format!("espwire: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                text += &format!(": {error}");
                cause = error.source();
            }
            complain(&text);
            1
        }
    }
}

fn usage(reason: &str) -> i32 {
    complain(&format!("espwire: {reason}"));
    2
}

/// Writes a line to stderr. File names and words out of files come to a terminal with it: what would steer that is
/// escaped.
fn complain(line: &str) {
    let mut printable = String::with_capacity(line.len());
    for c in line.chars() {
        if c.is_control() {
            printable.extend(c.escape_default());
        } else {
            printable.push(c);
        }
    }
    // A closed stderr changes nothing about the failure.
    let _ = writeln!(std::io::stderr(), "{printable}");
}
