//! Scapy, beside the test.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::case::Case;

/// Scapy, in a process of its own that ends with its standard input.
pub(crate) struct Scapy {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Scapy {
    /// `None`, and says so, if there is no interpreter that has it.
    pub(crate) fn start() -> Option<Self> {
        let Some(python) = std::env::var_os("ESPWIRE_SCAPY_PYTHON") else {
            println!("not run: scapy (ESPWIRE_SCAPY_PYTHON is not set)");
            return None;
        };
        let mut child = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/interop/scapy_esp.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("ESPWIRE_SCAPY_PYTHON is an interpreter");
        let stdout = BufReader::new(child.stdout.take().expect("piped above"));
        Some(Self { stdin: child.stdin.take(), child, stdout })
    }

    pub(crate) fn ask(&mut self, request: &Value) -> Value {
        let stdin = self.stdin.as_mut().expect("there until the end");
        writeln!(stdin, "{request}").expect("Scapy reads");
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).expect("Scapy writes");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error} in {answer:?} to {request}"))
    }

    /// Has the packets sealed or opened.
    pub(crate) fn transform(
        &mut self,
        op: &str,
        case: &Case,
        packets: &[Vec<u8>],
    ) -> Vec<Result<Vec<u8>, Trouble>> {
        self.transform_as(op, &case.for_scapy(), case, packets)
    }

    /// The same under another SA.
    pub(crate) fn transform_as(
        &mut self,
        op: &str,
        sa: &Value,
        case: &Case,
        packets: &[Vec<u8>],
    ) -> Vec<Result<Vec<u8>, Trouble>> {
        let numbered = packets.iter().zip(case.sequences());
        let packets: Vec<_> = numbered
            .map(|(packet, sequence)| json!({ "sequence": sequence, "packet": hex(packet) }))
            .collect();
        let request = json!({ "op": op, "sa": sa, "packets": packets });
        let answer = self.ask(&request);
        let outcomes = answer["packets"].as_array().expect("packets").iter().map(|outcome| {
            let text = |key: &str| outcome[key].as_str();
            match (text("packet"), text("refused"), text("error")) {
                (Some(packet), ..) => Ok(octets(packet)),
                (_, Some(why), _) => Err(Trouble::Refused(why.to_owned())),
                (.., Some(why)) => Err(Trouble::Exception(why.to_owned())),
                _ => panic!("{outcome} to {request}"),
            }
        });
        let outcomes: Vec<_> = outcomes.collect();
        assert_eq!(outcomes.len(), packets.len());
        outcomes
    }
}

/// Why Scapy made nothing of a packet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Trouble {
    /// Its ICV is wrong.
    Refused(#[allow(dead_code, reason = "shown by Debug")] String),
    /// Python's word for anything else.
    Exception(#[allow(dead_code, reason = "shown by Debug")] String),
}

impl Drop for Scapy {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}

pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

pub(crate) fn octets(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}
