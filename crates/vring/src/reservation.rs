//! Device-writable chains: room for one frame, filled and returned all or nothing.

use crate::burst::Chain;
use crate::chain::Taken;
use crate::device::DeviceRing;

/// Device-writable chains taken by [`DeviceRing::reserve`]: room for one frame with its header.
///
/// Write exactly the reserved length, then [`commit`](Self::commit). Dropped without it, the chains stay
/// available and what was written into them has no meaning.
#[derive(Debug)]
pub struct Reservation<'r> {
    ring: &'r mut DeviceRing,
    len: usize,
    /// Where the next octet goes: segment and offset in it.
    segment: usize,
    offset: usize,
    written: usize,
}

impl<'r> Reservation<'r> {
    /// Room for `len` octets in the chains that `ring` has taken, which hold at least as many.
    #[inline]
    pub(crate) fn new(ring: &'r mut DeviceRing, len: usize) -> Self {
        Self { ring, len, segment: 0, offset: 0, written: 0 }
    }

    /// How many chains there are: `num_buffers` of the frame's header (virtio 1.x §5.1.6.4).
    #[inline]
    #[must_use]
    pub fn chains(&self) -> u16 {
        self.ring.taken.len() as u16
    }

    /// Appends octets, at most what is left of the reserved length; returns how many were taken.
    #[inline]
    pub fn write(&mut self, octets: &[u8]) -> usize {
        let len = octets.len().min(self.len - self.written);
        // SAFETY: the first `len` octets of a slice; it can't overlap memory that is only reached through
        // raw pointers.
        // JUSTIFICATION: `append` serves slices and segments alike.
        unsafe { self.append(octets.as_ptr(), len) };
        len
    }

    /// Appends a chain's octets from position `skip` on, at most what is left of the reserved length, from
    /// one guest's buffers straight into the other's; returns how many.
    #[inline]
    pub fn write_chain(&mut self, chain: &Chain<'_>, skip: usize) -> usize {
        let before = self.written;
        let mut skip = skip;
        for segment in chain.segments {
            let len = segment.len as usize;
            if skip >= len {
                skip -= len;
                continue;
            }
            let n = (len - skip).min(self.len - self.written);
            // SAFETY: `skip` plus `n` is inside the segment, which the chain's ring keeps mapped. Source and
            // destination are different mappings, or the same guest's memory named by two buffers: `append`
            // copies as memmove does.
            // JUSTIFICATION: the one copy of the plain cable.
            unsafe { self.append(segment.host.add(skip).as_ptr(), n) };
            skip = 0;
            if self.written == self.len {
                break;
            }
        }
        self.written - before
    }

    /// Appends `len` octets at `from`.
    ///
    /// # Safety
    ///
    /// `from` must be readable for `len` octets, and `len` at most what is left of the reserved length.
    #[inline]
    unsafe fn append(&mut self, from: *const u8, len: usize) {
        if let Some(segment) = self.ring.segments.get(self.segment)
            && segment.len as usize - self.offset >= len
        {
            // SAFETY: as below, for all octets at once.
            // JUSTIFICATION: nearly every frame fits its first segment, and a header's copy has a known length.
            unsafe { std::ptr::copy(from, segment.host.add(self.offset).as_ptr(), len) };
            self.offset += len;
            self.written += len;
            return;
        }
        let mut done = 0;
        while done < len {
            let segment = &self.ring.segments[self.segment];
            let room = segment.len as usize - self.offset;
            if room == 0 {
                self.segment += 1;
                self.offset = 0;
                continue;
            }
            let n = room.min(len - done);
            // SAFETY: `offset` plus `n` is inside the segment, a range inside a mapping that the ring keeps
            // alive; the caller vouches for `from`. Source and destination may be one guest's buffers and
            // overlap, hence `copy`.
            // JUSTIFICATION: the copy into shared memory.
            unsafe { std::ptr::copy(from.add(done), segment.host.add(self.offset).as_ptr(), n) };
            self.offset += n;
            done += n;
        }
        self.written += done;
    }

    /// Returns the chains to the driver, each with the octets written into it, if all that was reserved has
    /// been written; otherwise it leaves them where they were. The driver sees them after
    /// [`DeviceRing::publish`]. Returns whether it did.
    #[inline]
    pub fn commit(self) -> bool {
        if self.written != self.len {
            return false;
        }
        let mut left = self.len as u32;
        for i in 0..self.ring.taken.len() {
            let Taken { head, len, .. } = self.ring.taken[i];
            let filled = left.min(len.unwrap_or(0));
            self.ring.put_used(head, filled);
            left -= filled;
        }
        true
    }
}
