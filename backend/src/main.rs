//! The `espwire` program.

#![forbid(unsafe_code)]

use std::io::IsTerminal;

use clap::Parser;
use espwire::Cli;
use tracing_appender::non_blocking::NonBlockingBuilder;
use tracing_subscriber::EnvFilter;

/// Log lines that wait for stderr; more are lost.
const LOG_LINES: usize = 4096;

fn main() {
    let filter = EnvFilter::try_from_env("ESPWIRE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A writer of its own: no thread that serves a guest waits for whoever reads stderr. What does not fit its
    // queue is lost.
    let (stderr, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(LOG_LINES).finish(std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .log_internal_errors(false)
        .init();
    // Management software asks with whatever other options it has: they are ignored then.
    if std::env::args_os().any(|arg| arg == "--print-capabilities") {
        std::process::exit(espwire::main(Cli { print_capabilities: true, command: None }));
    }
    let code = espwire::main(Cli::parse());
    // Lets the writer finish.
    drop(guard);
    std::process::exit(code);
}
