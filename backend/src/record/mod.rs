//! Records: what espwire prints as JSON (docs/formats.md), and the same for people.

mod counters;
mod esp;
mod esp_human;
mod esp_json;
mod inspect_summary;
mod sa;
mod suppressed;

use std::fmt;

use serde::Serialize;

pub use counters::CounterRecord;
pub use esp::{EspRecord, Place, Seen};
pub(crate) use inspect_summary::InspectSummary;
pub(crate) use suppressed::SuppressedRecord;

/// Version of the schema. Fields are only ever added under it.
const VERSION: u32 = 1;

/// A 64-bit number: a string in JSON, whose readers may have 53 bits only.
#[derive(Clone, Copy, Debug, Default)]
struct Number(u64);

impl Serialize for Number {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
