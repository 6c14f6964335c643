//! Whose a packet on its way is.

use std::fmt;

/// What tells an SA from all others that are there at the same time, wherever it is moved to.
pub(crate) struct Owner(Box<u8>);

/// An [`Owner`]'s, borne by what must come back to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(usize);

impl Owner {
    pub(crate) fn new() -> Self {
        Self(Box::new(0))
    }

    /// The address of its octet, which nothing else has while it lives.
    #[inline]
    pub(crate) fn mark(&self) -> Mark {
        Mark(std::ptr::from_ref::<u8>(&self.0).addr())
    }
}

/// Addresses are nobody's business.
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
