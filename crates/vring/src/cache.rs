//! Hints about cache lines that the driver's CPU and ours hand to and fro: a frame costs little else.
//!
//! A hint accesses nothing: it is defined for any address and changes no octet. On other processors than x86-64
//! there is none.

use std::ptr::NonNull;

/// Octets of a cache line.
const LINE: usize = 64;

/// How many lines of a frame, from its header on, are [handed over](hand_over): those that its receiver reads first,
/// and all of a short frame. Each costs some 16 cycles, so that a frame's last ones come dearer than they are worth.
const HANDED_OVER: usize = 5;

/// Starts to fetch the first two cache lines of `len` octets, to be read.
#[inline]
pub(crate) fn prefetch_to_read(host: NonNull<u8>, len: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let first = host.as_ptr().cast_const().cast::<i8>();
        // SAFETY: a prefetch accesses nothing: it is defined for any address.
        // JUSTIFICATION: there is no safe wrapper.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(first) };
        if len > LINE {
            // SAFETY: as above.
            // JUSTIFICATION: as above.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(first.wrapping_add(LINE)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (host, len);
}

/// Starts to fetch the cache line of `host` and the one after it, to be written: they are taken from other CPUs.
#[inline]
pub(crate) fn prefetch_to_write(host: NonNull<u8>) {
    #[cfg(target_arch = "x86_64")]
    for offset in [0, LINE] {
        let line = host.as_ptr().wrapping_add(offset);
        // SAFETY: PREFETCHW accesses nothing: it is defined for any address, and does nothing on a CPU without it.
        // JUSTIFICATION: `_mm_prefetch` makes a fetch for reading of it unless all code is built for such CPUs.
        unsafe {
            std::arch::asm!("prefetchw [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
        };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = host;
}

/// Moves the first cache lines of `len` octets that were just written out to the cache that all CPUs share: the
/// receiver finds them there sooner than in this CPU's own.
#[inline]
pub(crate) fn hand_over(host: NonNull<u8>, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for offset in (0..len.min(HANDED_OVER * LINE)).step_by(LINE) {
        let line = host.as_ptr().wrapping_add(offset);
        // SAFETY: CLDEMOTE accesses nothing: it is defined for any address, and it is one of the encodings that are
        // a NOP on every x86-64 CPU without it.
        // JUSTIFICATION: there is no intrinsic in stable Rust.
        unsafe {
            std::arch::asm!("cldemote [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
        };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (host, len);
}
