//! The `espwire` program.

#![forbid(unsafe_code)]

use std::io::IsTerminal;

use clap::Parser;
use espwire::Cli;
use tracing_subscriber::EnvFilter;

fn main() {
    let filter = EnvFilter::try_from_env("ESPWIRE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    // Management software asks with whatever other options it has: they are ignored then.
    if std::env::args_os().any(|arg| arg == "--print-capabilities") {
        std::process::exit(espwire::main(Cli { print_capabilities: true, command: None }));
    }
    std::process::exit(espwire::main(Cli::parse()));
}
