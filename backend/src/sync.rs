//! The synchronisation types that `handover` is written with: std's here, loom's in its model (tests/loom).

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard};
