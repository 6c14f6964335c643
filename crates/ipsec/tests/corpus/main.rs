//! The ESP corpus: packets of other implementations, and what is to become of them.
//!
//! tests/data/corpus/README.md says what the cases are. `ESPWIRE_CORPUS=PATH` runs another corpus of the same form: a
//! file, or a folder with all its `*.jsonl` and `*.jsonl.gz`. The last line printed says how many cases there were and
//! how many were wrong. A case is one line; each of the things that it demands must be right.
//!
//! tests/corpus.rs at the top runs the same through rings.

#[path = "../../../../tests/harness/esp.rs"]
mod esp;
mod lines;
mod published;
mod receiver;
mod run;
mod sa;
mod score;
mod sender;

use std::process::ExitCode;

/// A program of its own, so that its last line is the last.
fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        println!("every_case_of_the_corpus: test");
        return ExitCode::SUCCESS;
    }
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/corpus");
    let wire = Box::new(|packets: &[&[u8]]| packets.iter().map(|packet| packet.to_vec()).collect());
    if run::run(wire, committed) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
