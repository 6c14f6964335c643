//! Device-readable chains: taken together, copied out of, returned together.

use crate::chain::{ChainFault, Segment};
use crate::device::DeviceRing;

/// Device-readable chains taken by [`DeviceRing::pop_burst`].
///
/// Dropping it, or completing only some, leaves the rest in the available ring for the next burst.
#[derive(Debug)]
pub struct Burst<'r> {
    ring: &'r mut DeviceRing,
}

impl<'r> Burst<'r> {
    /// The chains that `ring` has taken.
    #[inline]
    pub(crate) fn new(ring: &'r mut DeviceRing) -> Self {
        Self { ring }
    }

    /// How many chains there are, at most [`MAX_BURST`](crate::MAX_BURST).
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.ring.taken.len()
    }

    /// Whether there is none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.taken.is_empty()
    }

    /// Chain `index`, below `len`.
    ///
    /// # Panics
    ///
    /// If `index` is not below `len`.
    #[inline]
    #[must_use]
    pub fn chain(&self, index: usize) -> Chain<'_> {
        let taken = &self.ring.taken[index];
        Chain { segments: taken.segments(&self.ring.segments), len: taken.len }
    }

    /// Returns the first `count` chains to the driver, with length 0; it sees them after
    /// [`DeviceRing::publish`].
    #[inline]
    pub fn complete(self, count: usize) {
        self.ring.return_taken(count.min(self.len()));
    }
}

/// One device-readable chain.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'b> {
    pub(crate) segments: &'b [Segment],
    len: Result<u32, ChainFault>,
}

impl Chain<'_> {
    /// Octets in all its buffers.
    ///
    /// # Errors
    ///
    /// Why the chain can't be used; it then reads as empty.
    #[inline]
    pub fn len(&self) -> Result<u32, ChainFault> {
        self.len
    }

    /// Whether it holds no octet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The chain's first `N` octets, read once: a header. `None` if it is shorter.
    #[inline]
    #[must_use]
    pub fn first_octets<const N: usize>(&self) -> Option<[u8; N]> {
        let mut octets = [0; N];
        match self.segments.first() {
            Some(segment) if segment.len as usize >= N => {
                // SAFETY: the segment is at least `N` octets inside a mapping that the burst's ring keeps alive.
                // JUSTIFICATION: a copy of known length is a load or two; see `copy_to`.
                unsafe { std::ptr::copy_nonoverlapping(segment.host.as_ptr(), octets.as_mut_ptr(), N) };
                Some(octets)
            }
            _ => (self.copy_to(0, &mut octets) == N).then_some(octets),
        }
    }

    /// Copies octets from position `skip` on into `to`; returns how many there were, at most `to.len()`.
    ///
    /// The driver can change them meanwhile: look at the copy, and read nothing twice.
    #[inline]
    pub fn copy_to(&self, skip: usize, to: &mut [u8]) -> usize {
        let mut skip = skip;
        let mut done = 0;
        for segment in self.segments {
            let len = segment.len as usize;
            if skip >= len {
                skip -= len;
                continue;
            }
            let n = (len - skip).min(to.len() - done);
            // SAFETY: the segment is `len` octets inside a mapping that the burst's ring keeps alive; `skip`
            // is below `len`, and `n` stays inside the segment and inside `to`, which can't overlap it.
            // JUSTIFICATION: the copy out of shared memory.
            unsafe {
                let from = segment.host.add(skip).as_ptr();
                std::ptr::copy_nonoverlapping(from, to.as_mut_ptr().add(done), n);
            }
            done += n;
            skip = 0;
            if done == to.len() {
                break;
            }
        }
        done
    }
}
