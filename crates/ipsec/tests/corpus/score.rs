//! How many cases there were, kind by kind, and which were wrong.

use std::collections::BTreeMap;
use std::fmt::Debug;

/// Carries a burst of packets, in order.
pub(crate) type Wire = Box<dyn FnMut(&[&[u8]]) -> Vec<Vec<u8>>>;

pub(crate) struct Score {
    wire: Wire,
    /// Cases that were scored, by kind.
    pub(crate) cases: BTreeMap<String, usize>,
    /// Cases of which something was wrong, each with what was wrong first.
    pub(crate) wrong: Vec<String>,
    /// Single checks: packets, damaged copies, steps.
    pub(crate) checks: usize,
    failures: Vec<String>,
}

impl Score {
    pub(crate) fn new(wire: Wire) -> Self {
        Self { wire, cases: BTreeMap::new(), wrong: Vec::new(), checks: 0, failures: Vec::new() }
    }

    /// What comes of a burst of packets at the wire's other end.
    pub(crate) fn carry(&mut self, packets: &[&[u8]]) -> Vec<Vec<u8>> {
        (self.wire)(packets)
    }

    /// The same of one packet.
    pub(crate) fn carry_one(&mut self, packet: &[u8]) -> Vec<u8> {
        self.carry(&[packet]).remove(0)
    }

    /// One thing that a case demands.
    pub(crate) fn check(&mut self, right: bool, found: impl Debug) {
        self.checks += 1;
        if !right {
            self.failures.push(format!("{found:?}"));
        }
    }

    /// The case is done. One without a check is wrong as well.
    pub(crate) fn end_case(&mut self, kind: &str, id: &str, checks_before: usize) {
        *self.cases.entry(kind.to_owned()).or_default() += 1;
        if self.checks == checks_before {
            self.failures.push("nothing was checked".to_owned());
        }
        let failures = std::mem::take(&mut self.failures);
        if let Some(first) = failures.first() {
            self.wrong.push(format!("{kind} {id}: {first} ({} in all)", failures.len()));
        }
    }
}
