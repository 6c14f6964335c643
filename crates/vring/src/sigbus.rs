//! Containment of SIGBUS: what happens when the memory behind a guest's mapping is taken away.
//!
//! A frontend shares its guest's memory as a file. It can truncate that file while the backend uses the
//! mapping; the next access then raises SIGBUS, whose default action ends the process, and with it the
//! other guest's wire. The handler here acts only for addresses inside a region registered by a
//! [`RegionTable`](crate::RegionTable): it maps zero pages over the page that is gone and notes that the
//! region is broken. The interrupted access then goes on, on zeros. For any other address it puts the
//! action back that was there before it and returns, so that the fault happens again under that action;
//! a SIGBUS that somebody sent ends the process.
//!
//! A path compares [`faults`] with the value it saw before its burst and, if it changed, asks its tables
//! whether they are broken.
//!
//! Under AddressSanitizer run with `ASAN_OPTIONS=handle_sigbus=0`, otherwise its handler takes the signal.
//!
//! The registry is a fixed array of atomics, since a signal handler can neither lock nor allocate.
//! A slot that covers the faulting address can't vanish under the handler: the interrupted code holds the
//! table that owns it. Other slots may be taken or given back meanwhile; a slot's `version` tells, and is
//! read before and after.

use std::io;
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

/// How many regions of all tables together can be registered at one time.
pub const MAX_REGIONS: usize = 4096;

struct Slot {
    /// Only ever counts up. Modulo 4: 0 free, 1 being filled, 2 in use, 3 being emptied.
    version: AtomicUsize,
    start: AtomicUsize,
    end: AtomicUsize,
    page: AtomicUsize,
    broken: AtomicBool,
}

static SLOTS: [Slot; MAX_REGIONS] = [const {
    Slot {
        version: AtomicUsize::new(0),
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        page: AtomicUsize::new(0),
        broken: AtomicBool::new(false),
    }
}; MAX_REGIONS];

static FAULTS: AtomicU64 = AtomicU64::new(0);

/// The action for SIGBUS before ours, or why ours could not be installed (an errno).
static PREVIOUS: OnceLock<Result<libc::sigaction, i32>> = OnceLock::new();

/// How many faults were contained in this process.
#[inline]
#[must_use]
pub fn faults() -> u64 {
    FAULTS.load(Ordering::Relaxed)
}

/// One mapped range in the registry; leaves it when dropped.
#[derive(Debug)]
pub(crate) struct Registration(usize);

impl Registration {
    /// `None` if the registry is full. `page` is the page size of the file behind the range, a power of two.
    pub(crate) fn new(start: usize, len: usize, page: usize) -> Option<Self> {
        for (index, slot) in SLOTS.iter().enumerate() {
            let free = slot.version.load(Ordering::Relaxed);
            let filling = free.wrapping_add(1);
            let claim = || slot.version.compare_exchange(free, filling, Ordering::Acquire, Ordering::Relaxed);
            if free % 4 == 0 && claim().is_ok() {
                fence(Ordering::Release);
                slot.start.store(start, Ordering::Relaxed);
                slot.end.store(start + len, Ordering::Relaxed);
                slot.page.store(page, Ordering::Relaxed);
                slot.broken.store(false, Ordering::Relaxed);
                slot.version.store(free.wrapping_add(2), Ordering::Release);
                return Some(Self(index));
            }
        }
        None
    }

    pub(crate) fn is_broken(&self) -> bool {
        SLOTS[self.0].broken.load(Ordering::Relaxed)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let slot = &SLOTS[self.0];
        slot.version.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::Release);
        slot.start.store(0, Ordering::Relaxed);
        slot.end.store(0, Ordering::Relaxed);
        slot.version.fetch_add(1, Ordering::Release);
    }
}

/// Installs the handler for the whole process, once.
pub(crate) fn install() -> io::Result<()> {
    let installed = PREVIOUS.get_or_init(|| {
        let mut previous = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: all octets zero is a valid sigaction (null handler, empty mask, no flags).
        // JUSTIFICATION: libc offers no constructor.
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: both pointers are to live sigaction structures; `handle` has the signature that
        // SA_SIGINFO asks for and keeps to async-signal-safe operations.
        // JUSTIFICATION: no safe wrapper exists for a handler that gets the faulting address.
        let result = unsafe { libc::sigaction(libc::SIGBUS, &raw const action, previous.as_mut_ptr()) };
        if result != 0 {
            return Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL));
        }
        // SAFETY: sigaction succeeded and filled it (and it was zeroed before).
        // JUSTIFICATION: as above.
        Ok(unsafe { previous.assume_init() })
    });
    installed.as_ref().map(|_| ()).map_err(|&errno| io::Error::from_raw_os_error(errno))
}

/// The handler. Async-signal-safe: atomics, mmap(2), sigaction(2).
extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo_t, and for a SIGBUS of its own si_addr is the
    // address; otherwise that union holds other integers, and no pointer is followed. errno is the thread's
    // own.
    // JUSTIFICATION: a signal handler has no other source for these.
    let (addr, code, errno) =
        unsafe { ((*info).si_addr() as usize, (*info).si_code, *libc::__errno_location()) };
    // A code that is not positive: sent by kill(2) or its like, and there is no access to go on with.
    let sent = code <= 0;
    if sent || !contain(addr) {
        let default: MaybeUninit<libc::sigaction> = MaybeUninit::zeroed();
        let previous = match PREVIOUS.get() {
            Some(Ok(previous)) if !sent => std::ptr::from_ref(previous),
            _ => default.as_ptr(),
        };
        // SAFETY: `previous` is a sigaction that the kernel gave us, or all zeros: SIG_DFL.
        // JUSTIFICATION: the access will fault again, under the action that was there before ours.
        unsafe { libc::sigaction(signal, previous, std::ptr::null_mut()) };
        if sent {
            // SAFETY: raise(3) is async-signal-safe; the signal is blocked until this handler returns.
            // JUSTIFICATION: a sent signal does not come again by itself, as a fault does. The handler of Rust's
            // standard library, which usually is the previous one, would swallow it, and ours is gone: hence
            // the default action.
            unsafe { libc::raise(signal) };
        }
    }
    // SAFETY: as above.
    // JUSTIFICATION: the interrupted code may be between a system call and its look at errno.
    unsafe { *libc::__errno_location() = errno };
}

/// Puts a zero page over `addr` and marks every registered region around it broken; false if there is none.
fn contain(addr: usize) -> bool {
    // The page around `addr`, and the whole region: start and octets of each.
    let mut ranges = None;
    for slot in &SLOTS {
        let version = slot.version.load(Ordering::Acquire);
        if version % 4 != 2 {
            continue;
        }
        let (start, end) = (slot.start.load(Ordering::Relaxed), slot.end.load(Ordering::Relaxed));
        let slot_page = slot.page.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        if (start..end).contains(&addr) && slot.version.load(Ordering::Relaxed) == version {
            slot.broken.store(true, Ordering::Relaxed);
            ranges = Some([(addr & !(slot_page - 1), slot_page), (start, end - start)]);
        }
    }
    let Some([page, region]) = ranges else { return false };
    FAULTS.fetch_add(1, Ordering::Relaxed);
    // A page of its own splits the mapping, and a process may have only so many: the whole region then.
    map_zeros(page) || map_zeros(region)
}

/// Maps zero pages over `len` octets from `start` on, in place of what is mapped there.
fn map_zeros((start, len): (usize, usize)) -> bool {
    // SAFETY: the range is part of a mapping that a live RegionTable owns (the faulting code holds it), so
    // nothing of ours but guest memory can be there; MAP_FIXED replaces exactly that range. Ordinary zero
    // pages may take the place of a whole huge page.
    // JUSTIFICATION: there is no other way to let the interrupted access finish.
    let mapped = unsafe {
        libc::mmap(
            start as *mut libc::c_void,
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    mapped != libc::MAP_FAILED
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: usize = 0x7000_0000_0000;

    /// How many slots cover `addr` now.
    fn covering(addr: usize) -> usize {
        let covers = |s: &&Slot| {
            let range = s.start.load(Ordering::Relaxed)..s.end.load(Ordering::Relaxed);
            s.version.load(Ordering::Relaxed) % 4 == 2 && range.contains(&addr)
        };
        SLOTS.iter().filter(covers).count()
    }

    #[test]
    fn a_registration_covers_its_range_until_it_is_dropped() {
        let registration = Registration::new(START, 0x2000, 4096).unwrap();
        assert_eq!([START - 1, START, START + 0x1fff, START + 0x2000].map(covering), [0, 1, 1, 0]);
        assert!(!registration.is_broken());
        let second = Registration::new(START, 0x2000, 4096).unwrap();
        assert_eq!(covering(START), 2);
        drop(registration);
        assert_eq!(covering(START), 1);
        drop(second);
        assert_eq!(covering(START), 0);
    }

    #[test]
    fn a_slot_given_back_and_taken_anew_is_not_broken() {
        let registration = Registration::new(START + 0x10_0000, 0x1000, 4096).unwrap();
        let slot = registration.0;
        let version = SLOTS[slot].version.load(Ordering::Relaxed);
        SLOTS[slot].broken.store(true, Ordering::Relaxed);
        assert!(registration.is_broken());
        drop(registration);
        assert_eq!(SLOTS[slot].version.load(Ordering::Relaxed), version.wrapping_add(2));
        let again: Vec<_> =
            (0..MAX_REGIONS / 2).map_while(|_| Registration::new(START + 0x10_0000, 0x1000, 4096)).collect();
        assert_eq!(again.len(), MAX_REGIONS / 2);
        assert!(again.iter().all(|r| !r.is_broken()));
    }

    #[test]
    fn an_address_in_no_registered_region_is_not_contained() {
        let _registration = Registration::new(START + 0x20_0000, 0x1000, 4096).unwrap();
        let before = faults();
        for addr in [0, START + 0x1f_ffff, START + 0x20_1000, usize::MAX] {
            assert!(!contain(addr), "{addr:#x}");
        }
        assert_eq!(faults(), before);
    }
}
