//! Frontends that are out for the other port: descriptors, memory, address space and the request handler are
//! the process's, and none of them may be used up or jammed for the other end of the cable.

mod harness;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};

use espwire_frontend::{
    Connection, Error, GuestMemory, MemoryKind, MemoryRegion, ProtocolFeatures, Request, Side, body,
};
use espwire_vring::Buffer;
use harness::{Cable, Up, WAIT, assert_usable, frame, nic, settle};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::OFlags;

/// A frontend that has negotiated what memory messages and acknowledgements need, and nothing else.
fn bare(cable: &Cable, port: char) -> Connection {
    let mut connection = Connection::connect(&cable.socket(port), true, WAIT).unwrap();
    connection.set_timeout(WAIT);
    connection.ask(Request::GET_FEATURES, false, &[]).unwrap();
    let protocol = ProtocolFeatures::REPLY_ACK.0 | ProtocolFeatures::CONFIGURE_MEM_SLOTS.0;
    connection.tell(Request::SET_PROTOCOL_FEATURES, false, &body::number(protocol), &[]).unwrap();
    connection.tell(Request::SET_OWNER, true, &[], &[]).unwrap();
    connection
}

/// Adds a region from guest address `start` on, at the beginning of `file`.
fn add_region(to: &mut Connection, start: u64, len: u64, file: BorrowedFd<'_>) -> Result<(), Error> {
    let region = MemoryRegion { start, len, user: start, offset: 0 };
    to.tell(Request::ADD_MEM_REG, true, &body::single_region(&region), &[file])
}

/// A sparse memfd.
fn memfd(len: u64) -> File {
    let file = File::from(rustix::fs::memfd_create("memory", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
    file.set_len(len).unwrap();
    file
}

/// F15, F20: REPLY_ACK is negotiated without a look at the features, and then made use of.
#[test]
fn acknowledges_also_who_never_asked_for_features() {
    let cable = Cable::start(&[]);
    let mut connection = Connection::connect(&cable.socket('a'), true, WAIT).unwrap();
    connection.set_timeout(WAIT);
    let protocol = body::number(ProtocolFeatures::REPLY_ACK.0);
    connection.tell(Request::SET_PROTOCOL_FEATURES, false, &protocol, &[]).unwrap();
    connection.tell(Request::SET_OWNER, true, &[], &[]).unwrap();
    connection.tell(Request::SET_VRING_NUM, true, &body::vring_state(0, 256), &[]).unwrap();
    drop(connection);
    assert_usable(&cable);
    cable.stop();
}

/// F5, S13: each octet of a message can carry descriptors of its own; no more are taken than a message may have.
#[test]
fn descriptors_on_every_octet_leave_the_other_port_its_own() {
    const PER_OCTET: usize = 32;
    let mut cable = Cable::start(&[]);
    let null = File::open("/dev/null").unwrap();
    let octets: Vec<u8> = [1u32, 1, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
    // Fewer than a whole header's octets bring, more than two sessions need.
    cable.limit_descriptors(cable.descriptors() + 8 * PER_OCTET);
    let mut flood = Connection::connect(&cable.socket('a'), true, WAIT).unwrap();
    for octet in &octets[..octets.len() - 1] {
        // From the second on it may be gone.
        let _ = flood.send_octets(&[*octet], &[null.as_fd(); PER_OCTET]);
    }
    let mut b = nic().up(cable.socket('b'));
    b.send(&frame(0, 60)).unwrap();
    b.wait_tx_idle(WAIT).unwrap();
    flood.wait_closed(WAIT).unwrap();
    b.disconnect().unwrap();
    cable.wait_counters("the hang-ups", |c| {
        c.number('a', "disconnects") == 1 && c.number('b', "disconnects") == 1
    });
    assert_usable(&cable);
    cable.stop();
}

/// F8: a frame for a receiver that took its memory away touches a page of it in each of hundreds of buffers, and
/// each page put in its place splits the mapping, of which a process may have only so many (vm.max_map_count).
#[test]
fn lost_memory_in_tens_of_thousands_of_pages_ends_nothing_else() {
    const PER_CHAIN: u64 = 763;
    const CHAINS: u64 = 48;
    const LOW: u64 = 2 << 20;
    // Every other page, or the new ones would join up.
    const STRIDE: u64 = 8192;
    // Default of vm.max_map_count: a page costs two mappings.
    const { assert!(2 * PER_CHAIN * CHAINS > 65_530) };
    let mut cable = Cable::start(&[]);
    let memory = GuestMemory::new(LOW, CHAINS * PER_CHAIN * STRIDE, MemoryKind::default()).unwrap();
    let [low, high] = [0, 1].map(|i| memory.regions()[i].start);
    let mut a = nic().up(cable.socket('a'));
    let mut b = nic().memory(memory).rx_buffers(0).up(cable.socket('b'));
    let ring = b.ring(Side::Rx).unwrap();
    for chain in 0..CHAINS {
        let page = |i| high + STRIDE * (PER_CHAIN * chain + i);
        let buffers: Vec<_> =
            (0..PER_CHAIN).map(|i| Buffer { addr: page(i), len: 1, writable: true }).collect();
        // The rings lie in the first few pages.
        ring.push_indirect(low + LOW / 2 + 16_384 * chain, &buffers).unwrap();
    }
    ring.publish();
    b.memory().truncate(LOW).unwrap();
    // Header and frame fill two chains.
    let frames: Vec<_> = (0..CHAINS / 2).map(|number| frame(number, 2 * PER_CHAIN as usize - 12)).collect();
    assert_eq!(a.send_burst(&frames).unwrap(), frames.len());
    a.wait_tx_idle(WAIT).unwrap();
    cable.wait_counters("the fault", |c| c.number('b', "memory_faults") == 1);
    drop((a, b));
    cable.wait_counters("the hang-ups", |c| {
        c.number('a', "disconnects") == 1 && c.number('b', "disconnects") == 1
    });
    assert_usable(&cable);
    cable.stop();
}

/// F7, S13: what is mapped for one port is bounded in octets and in regions; one more ends its session.
#[test]
fn address_space_beyond_the_quota_ends_its_session_only() {
    const PAGE: u64 = 4096;
    let mut cable = Cable::start(&[]);
    let file = memfd(1 << 44);
    for (round, count, len) in [(1, 2, 1 << 43), (2, 256, PAGE)] {
        let mut greedy = bare(&cable, 'a');
        for i in 0..count {
            add_region(&mut greedy, i * len, len, file.as_fd())
                .unwrap_or_else(|error| panic!("region {i} of {len} octets: {error}"));
        }
        // It has all that it may: that is no harm to the other.
        let mut b = nic().up(cable.socket('b'));
        b.send(&frame(0, 60)).unwrap();
        b.wait_tx_idle(WAIT).unwrap();
        b.disconnect().unwrap();
        assert!(!greedy.is_closed());
        let more = add_region(&mut greedy, count * len, PAGE, file.as_fd());
        assert!(more.is_err(), "{count} regions of {len} octets, and one more");
        greedy.wait_closed(WAIT).unwrap();
        cable.wait_counters("the hang-ups", |c| {
            c.number('a', "disconnects") == round && c.number('b', "disconnects") == round
        });
    }
    assert_usable(&cable);
    cable.stop();
}

/// F7: a page fault on a file that is not in memory waits for whoever has the page: a disk, or the frontend itself.
#[test]
fn memory_on_a_disk_is_refused() {
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    const LEN: u64 = 1 << 20;
    let disk = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    disk.set_len(LEN).unwrap();
    if rustix::fs::fstatfs(&disk).unwrap().f_type == TMPFS_MAGIC {
        // Not by a macro: what a passing test prints is not shown.
        let _ = writeln!(std::io::stderr(), "not run: memory on a disk (the build folder is on tmpfs)");
        return;
    }
    let mut cable = Cable::start(&[]);
    let region = MemoryRegion { start: 0, len: LEN, user: 0, offset: 0 };
    let set = (Request::SET_MEM_TABLE, body::memory_table(&[region]));
    let add = (Request::ADD_MEM_REG, body::single_region(&region).to_vec());
    for (gone, (request, octets)) in [(2, set), (4, add)] {
        let memory = memfd(LEN);
        let mut good = bare(&cable, 'a');
        good.tell(request, true, &octets, &[memory.as_fd()]).unwrap();
        drop(good);
        cable.wait_counters("the hang-up", |c| c.number('a', "disconnects") == gone - 1);
        let mut bad = bare(&cable, 'a');
        assert!(bad.tell(request, true, &octets, &[disk.as_fd()]).is_err(), "{request}");
        bad.wait_closed(WAIT).unwrap();
        cable.wait_counters("the hang-up", |c| c.number('a', "disconnects") == gone);
    }
    assert_usable(&cable);
    cable.stop();
}

/// F7: GET_MAX_MEM_SLOTS promises what ADD_MEM_REG keeps.
#[test]
fn offers_as_many_memory_regions_as_it_takes() {
    let cable = Cable::start(&[]);
    let mut connection = bare(&cable, 'a');
    let reply = connection.ask(Request::GET_MAX_MEM_SLOTS, false, &[]).unwrap();
    assert_eq!(reply.u64().unwrap(), 256);
    drop(connection);
    cable.stop();
}

/// F18: the configuration space is the device's; that a frontend would write it is no reason to end its session.
#[test]
fn set_config_is_refused_and_the_session_goes_on() {
    let cable = Cable::start(&["--mtu", "1400"]);
    let mut a = nic().order(espwire_frontend::Order::CloudHypervisor).up(cable.socket('a'));
    let mut b = nic().up(cable.socket('b'));
    let mtu = body::config_space(10, 2);
    for number in 0..3 {
        let connection = a.connection().unwrap();
        let refused = connection.tell(Request::SET_CONFIG, true, &mtu, &[]);
        assert!(matches!(refused, Err(Error::Refused { request: Request::SET_CONFIG, .. })), "{refused:?}");
        connection.tell(Request::SET_CONFIG, false, &mtu, &[]).unwrap();
        let space = connection.ask(Request::GET_CONFIG, false, &mtu).unwrap().body;
        assert_eq!(space[12..14], 1400u16.to_le_bytes());
        a.send(&frame(number, 60)).unwrap();
        assert!(b.wait_receive(WAIT).unwrap() == frame(number, 60));
    }
    settle(&mut a);
    drop((a, b));
    cable.stop();
}

/// F11: a frontend that describes a broken ring over and over is told once for each start of it.
#[test]
fn a_ring_fault_is_counted_once_per_start() {
    let mut cable = Cable::start(&[]);
    let mut a = nic().up(cable.socket('a'));
    for start in 1..=2 {
        for _ in 0..100 {
            let connection = a.connection().unwrap();
            connection.tell(Request::SET_VRING_NUM, false, &body::vring_state(1, 3), &[]).unwrap();
            // Each is taken over by the path on its own.
            connection.ask(Request::GET_VRING_BASE, false, &body::vring_state(0, 0)).unwrap();
        }
        cable.wait_counters("the fault", |c| c.number('a', "ring_faults") == start);
        assert_eq!(a.error_count(Side::Tx).unwrap(), start);
        a.reset().unwrap();
        settle(&mut a);
    }
    drop(a);
    assert_eq!(cable.stop().number('a', "ring_faults"), 2);
}

/// F6: a call descriptor with a full counter, from which `O_NONBLOCK` has been taken again, makes a write wait;
/// neither the other guest nor its owner's other ring does.
#[test]
fn a_full_call_descriptor_stops_nobody() {
    let cable = Cable::start(&[]);
    let mut a = nic().up(cable.socket('a'));
    let mut b = nic().up(cable.socket('b'));
    let call = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    let rx_ring = body::number(0);
    let connection = b.connection().unwrap();
    connection.send(Request::SET_VRING_CALL, false, &rx_ring, &[call.as_fd()]).unwrap();
    settle(&mut b);
    // The ring's new call descriptor was signalled once when it was taken over.
    let flags = rustix::fs::fcntl_getfl(&call).unwrap();
    rustix::fs::fcntl_setfl(&call, flags | OFlags::NONBLOCK).unwrap();
    let _ = rustix::io::read(&call, &mut [0; 8]);
    rustix::io::write(&call, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    rustix::fs::fcntl_setfl(&call, flags - OFlags::NONBLOCK).unwrap();
    for number in 0..20 {
        a.send(&frame(number, 60)).unwrap();
        a.wait_tx_idle(WAIT).unwrap();
        b.send(&frame(number, 60)).unwrap();
        assert!(a.wait_receive(WAIT).unwrap() == frame(number, 60));
    }
    drop((a, b));
    assert_eq!(cable.stop().number('b', "rx.frames"), 20);
}
