//! Records of type `suppressed`.

use std::fmt;

use serde::Serialize;

use super::{Number, VERSION};
use crate::port::PortName;

/// Records of a port's packets that the trace kept back.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SuppressedRecord {
    v: u32,
    #[serde(rename = "type")]
    kind: &'static str,
    port: &'static str,
    records: Number,
}

impl SuppressedRecord {
    pub(crate) fn new(port: PortName, records: u64) -> Self {
        Self { v: VERSION, kind: "suppressed", port: port.as_str(), records: Number(records) }
    }

    /// The record as one line of JSON, without a newline.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl fmt::Display for SuppressedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, records, .. } = self;
        writeln!(
            f,
            "({records} packets of port {port} not shown: --trace-limit, or stdout was not read fast enough)"
        )
    }
}
