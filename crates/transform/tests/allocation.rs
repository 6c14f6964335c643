//! No packet costs an allocation, whatever its suite and its fate.

mod common;

use common::{key, octets, packet_len};
use espwire_transform::danger::seal_burst;
use espwire_transform::{Job, Status, Suite, open_burst};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes on to the system's allocator as it came; counting allocates nothing.
// JUSTIFICATION: an allocator can't be had otherwise.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the conditions of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, octets: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the conditions of `dealloc`, and `octets` came from `System`.
        unsafe { System.dealloc(octets, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_burst_allocates_nothing() {
    let burst = Suite::all().zip(1..).map(|(suite, seed)| {
        let packets = [1, 30, 90].map(|blocks| octets(seed, packet_len(suite, blocks)));
        (key(suite, seed), packets)
    });
    let mut burst = burst.collect::<Vec<_>>();
    let mut jobs = burst
        .iter_mut()
        .flat_map(|(key, packets)| packets.iter_mut().map(|packet| Job::new(key, Some(7), packet)))
        .collect::<Vec<_>>();

    let before = ALLOCATIONS.get();
    for wrong in [false, true] {
        seal_burst(&mut jobs);
        for job in &mut jobs {
            assert_eq!(job.status, Status::Done);
            job.status = Status::Pending;
            if wrong && let Some(last) = job.packet.last_mut() {
                *last ^= 1;
            }
        }
        open_burst(&mut jobs);
        for job in &mut jobs {
            assert_eq!(job.status, if wrong { Status::AuthFailed } else { Status::Done });
            job.status = Status::Pending;
        }
    }
    assert_eq!(ALLOCATIONS.get(), before);
    assert!(before > 0, "the count counts");
}
