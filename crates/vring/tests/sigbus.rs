//! F8: the frontend takes the memory away while rings are live.
//!
//! Under AddressSanitizer run with `ASAN_OPTIONS=handle_sigbus=0`, otherwise its handler takes the signal and
//! ends the process.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::{Arc, Barrier};

use espwire_vring::{
    Buffer, DeviceRing, DriverRing, RegionTable, ReserveError, RingConfig, RingFault, RingLayout, sigbus,
};
use rustix::event::{Timespec, poll};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, ftruncate, memfd_create};
use rustix::process::{Resource, Rlimit, Signal, getpid, kill_process, setrlimit};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};

const PAGE: u64 = 0x1000;
const START: u64 = 0x10_0000;
const LEN: u64 = 64 * PAGE;
/// The buffers lie in the second half.
const BUFFERS: u64 = START + LEN / 2;

fn memory(flags: MemfdFlags, len: u64) -> (File, Arc<GuestMemoryMmap<()>>) {
    let file = File::from(memfd_create("espwire-test", flags).unwrap());
    ftruncate(&file, len).unwrap();
    let range = (GuestAddress(START), len as usize, Some(FileOffset::new(file.try_clone().unwrap(), 0)));
    (file, Arc::new(GuestMemoryMmap::from_ranges_with_files([range]).unwrap()))
}

fn table() -> (File, Arc<RegionTable>) {
    let (file, memory) = memory(MemfdFlags::CLOEXEC, LEN);
    (file, RegionTable::new(memory).unwrap())
}

fn rings(table: &Arc<RegionTable>) -> (DriverRing, DeviceRing) {
    let (descriptors, available, used) = (START, START + PAGE, START + 2 * PAGE);
    let config = RingConfig { size: 64, descriptors, available, used, event_idx: true, indirect: true };
    let layout = || RingLayout::new(table, &config).unwrap();
    (DriverRing::new(layout()), DeviceRing::start(layout()))
}

fn buffer(i: u64, writable: bool) -> Buffer {
    Buffer { addr: BUFFERS + PAGE * i, len: 100, writable }
}

/// Sends one chain through and sees that it comes back.
fn send(driver: &mut DriverRing, device: &mut DeviceRing) {
    let head = driver.push(&[buffer(0, false)]).unwrap();
    driver.publish();
    let burst = device.pop_burst(1).unwrap();
    assert_eq!(burst.chain(0).copy_to(0, &mut [0; 200]), 100);
    burst.complete(1);
    device.publish();
    assert_eq!(driver.pop_used(), Ok(Some((head, 0))));
}

#[test]
fn a_truncated_file_breaks_its_table_and_nothing_else() {
    let (file, table) = table();
    let (_other_file, other) = self::table();
    let (mut driver, mut device) = rings(&table);
    let (mut other_driver, mut other_device) = rings(&other);
    send(&mut driver, &mut device);
    send(&mut other_driver, &mut other_device);
    assert!(!table.is_broken());
    let before = sigbus::faults();
    ftruncate(&file, 0).unwrap();
    // The available index reads as 0 now, and 1 was due: an index that moved backwards.
    assert_eq!(device.pop_burst(64).unwrap_err(), RingFault::AvailableIndex { idx: 0, next: 1 });
    assert!(sigbus::faults() > before);
    assert!(table.is_broken());
    assert!(!other.is_broken());
    // All of it can be read and written still.
    for page in 0..LEN / PAGE {
        let mut octets = [1; PAGE as usize];
        table.read(START + page * PAGE, &mut octets).unwrap();
        if page > 2 {
            assert_eq!(octets, [0; PAGE as usize], "page {page}");
        }
        table.write(START + page * PAGE, &[7; PAGE as usize]).unwrap();
        table.read(START + page * PAGE, &mut octets).unwrap();
        assert_eq!(octets, [7; PAGE as usize], "page {page}");
    }
    send(&mut other_driver, &mut other_device);
    assert!(!other.is_broken(), "nor later");
}

#[test]
fn a_ring_goes_on_when_only_its_buffers_are_gone() {
    let (file, table) = table();
    let (mut driver, mut device) = rings(&table);
    table.write(BUFFERS, &[9; 100]).unwrap();
    let head = driver.push(&[buffer(0, false), buffer(1, false)]).unwrap();
    driver.publish();
    let before = sigbus::faults();
    ftruncate(&file, LEN / 2).unwrap();
    let burst = device.pop_burst(64).unwrap();
    let mut octets = [1; 200];
    assert_eq!(burst.chain(0).copy_to(0, &mut octets), 200);
    assert_eq!(octets, [0; 200], "zeros instead of the payload");
    burst.complete(1);
    device.publish();
    assert_eq!(driver.pop_used(), Ok(Some((head, 0))));
    assert!(sigbus::faults() >= before + 2, "one fault for each page touched");
    assert!(table.is_broken());
    let head = driver.push(&[buffer(5, true), buffer(6, true)]).unwrap();
    driver.publish();
    let mut reservation = device.reserve(150, 1).unwrap();
    assert_eq!(reservation.write(&[3; 150]), 150);
    assert!(reservation.commit());
    device.publish();
    assert_eq!(driver.pop_used(), Ok(Some((head, 150))));
    assert_eq!(device.reserve(1, 1).unwrap_err(), ReserveError::Empty);
}

#[test]
fn a_ring_that_is_gone_takes_no_chain_but_ends_nothing() {
    let (file, table) = table();
    let (_driver, mut device) = rings(&table);
    ftruncate(&file, 0).unwrap();
    assert!(device.pop_burst(64).unwrap().is_empty());
    assert_eq!(device.reserve(10, 1).unwrap_err(), ReserveError::Empty);
    assert!(!device.arm(0));
    device.publish();
    assert!(device.needs_call());
    assert!(table.is_broken());
}

/// A hole in a file of ordinary pages is filled on demand: nothing is broken.
#[test]
fn a_punched_hole_reads_as_zeros() {
    let (file, table) = table();
    let (mut driver, mut device) = rings(&table);
    table.write(BUFFERS, &[9; 100]).unwrap();
    driver.push(&[buffer(0, false)]).unwrap();
    driver.publish();
    fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, LEN / 2, LEN / 2).unwrap();
    let burst = device.pop_burst(64).unwrap();
    let mut octets = [1; 100];
    assert_eq!(burst.chain(0).copy_to(0, &mut octets), 100);
    assert_eq!(octets, [0; 100]);
    assert!(!table.is_broken());
}

#[test]
fn a_table_made_after_a_broken_one_is_not_broken() {
    for _ in 0..3 {
        let (file, table) = table();
        ftruncate(&file, 0).unwrap();
        table.write(START, &[1]).unwrap();
        assert!(table.is_broken());
        drop(table);
        let (_file, table) = self::table();
        table.write(START, &[1]).unwrap();
        assert!(!table.is_broken());
    }
}

#[test]
fn errno_is_as_before() {
    let (file, table) = table();
    ftruncate(&file, 0).unwrap();
    assert!(File::open("/nonexistent/espwire").is_err());
    let before = std::io::Error::last_os_error().raw_os_error();
    table.write(START, &[1]).unwrap();
    assert_eq!(std::io::Error::last_os_error().raw_os_error(), before);
    assert_eq!(before, Some(2), "ENOENT, from the failed open");
    assert!(table.is_broken());
}

#[test]
fn two_threads_may_fault_at_once() {
    for round in 0..20 {
        let (file, table) = table();
        let (_other_file, other) = self::table();
        ftruncate(&file, 0).unwrap();
        let before = sigbus::faults();
        let barrier = Barrier::new(2);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    barrier.wait();
                    for page in 0..LEN / PAGE {
                        // The same pages in the same order, so that both may be at one page.
                        let mut octet = [1];
                        table.read(START + page * PAGE, &mut octet).unwrap();
                        assert_eq!(octet, [0]);
                    }
                });
            }
        });
        assert!(sigbus::faults() >= before + LEN / PAGE, "round {round}");
        assert!(table.is_broken() && !other.is_broken());
    }
}

/// Free huge pages, as the kernel counts them.
fn free_huge_pages() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = meminfo.lines().find_map(|line| line.strip_prefix("HugePages_Free:"));
    line.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}

#[test]
fn a_truncated_hugetlb_file_is_contained_by_whole_huge_pages() {
    if free_huge_pages() < 2 {
        eprintln!("not run: sigbus on hugetlb (no free huge pages)");
        return;
    }
    const HUGE: u64 = 0x20_0000;
    let (file, memory) = memory(MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB, 2 * HUGE);
    let table = RegionTable::new(memory).unwrap();
    table.write(START, &[1; 16]).unwrap();
    ftruncate(&file, 0).unwrap();
    let before = sigbus::faults();
    for addr in [START, START + HUGE - 1, START + HUGE, START + 2 * HUGE - 1] {
        let mut octet = [1];
        table.read(addr, &mut octet).unwrap();
        assert_eq!(octet, [0]);
    }
    assert!(sigbus::faults() >= before + 2);
    assert!(table.is_broken());
}

const CHILD: &str = "ESPWIRE_SIGBUS_CHILD";

/// Runs `test` of this file in a child process, and tells which signal ended it.
fn signal_of_child(test: &str) -> Option<i32> {
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", test, "--nocapture"]).env(CHILD, test).output().unwrap();
    assert!(!output.status.success(), "the child went on");
    output.status.signal()
}

fn is_child() -> bool {
    let child = std::env::var_os(CHILD).is_some();
    if child {
        setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).unwrap();
    }
    child
}

#[test]
fn a_fault_outside_the_registered_regions_still_kills() {
    if is_child() {
        // A table makes sure that the handler is there, and it works.
        let (file, table) = table();
        ftruncate(&file, 0).unwrap();
        table.write(START, &[1]).unwrap();
        assert!(table.is_broken());
        let (file, memory) = memory(MemfdFlags::CLOEXEC, LEN);
        ftruncate(&file, 0).unwrap();
        let octet: u8 = memory.read_obj(GuestAddress(START)).unwrap();
        println!("read {octet} from memory that is gone");
        return;
    }
    let signal = signal_of_child("a_fault_outside_the_registered_regions_still_kills");
    assert_eq!(signal, Some(Signal::BUS.as_raw()));
}

#[test]
fn a_fault_in_a_region_of_a_dropped_table_still_kills() {
    if is_child() {
        let (file, memory) = memory(MemfdFlags::CLOEXEC, LEN);
        drop(RegionTable::new(Arc::clone(&memory)).unwrap());
        ftruncate(&file, 0).unwrap();
        let octet: u8 = memory.read_obj(GuestAddress(START)).unwrap();
        println!("read {octet} from memory that is gone");
        return;
    }
    let signal = signal_of_child("a_fault_in_a_region_of_a_dropped_table_still_kills");
    assert_eq!(signal, Some(Signal::BUS.as_raw()));
}

#[test]
fn a_sigbus_that_somebody_sends_still_kills() {
    if is_child() {
        let (_file, table) = table();
        kill_process(getpid(), Signal::BUS).unwrap();
        // It may be delivered to the other thread of the harness, while this one goes on for a moment.
        let deadline = Timespec { tv_sec: 120, tv_nsec: 0 };
        let interrupted = poll(&mut [], Some(&deadline));
        println!("{interrupted:?} instead of the end; broken: {}", table.is_broken());
        return;
    }
    let signal = signal_of_child("a_sigbus_that_somebody_sends_still_kills");
    assert_eq!(signal, Some(Signal::BUS.as_raw()));
}
