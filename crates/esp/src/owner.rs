//! Whose a packet on its way is.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The next SA's mark. The one thing in this crate that changes without `&mut`, once for each SA that is made and for
/// no packet. Nothing else comes of it than that marks differ: which an SA has is never shown, and orders nothing. A
/// mark outlives its SA, so it may not be an address, which another gets. An `Arc` that each packet keeps alive would do
/// as well, for two atomic operations more per packet.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// What tells an SA from all others of the process, also from those that are no more, wherever it is moved to.
pub(crate) struct Owner(Mark);

/// An [`Owner`]'s, borne by what must come back to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(u64);

impl Owner {
    pub(crate) fn new() -> Self {
        // 2^64 SAs are never made: at one in each nanosecond it takes 584 years.
        Self(Mark(NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    #[inline]
    pub(crate) fn mark(&self) -> Mark {
        self.0
    }
}

/// The number is nobody's business.
impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mark")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_differ_and_stay_the_same_where_they_go() {
        let (a, b) = (Owner::new(), Owner::new());
        let mark = a.mark();
        assert_ne!(mark, b.mark());
        let moved = Box::new([b, a]);
        assert_eq!(moved[1].mark(), mark);
        assert_eq!(format!("{mark:?}"), "Mark");
    }
}
