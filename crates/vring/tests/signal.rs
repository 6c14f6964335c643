//! Signals by AIO: they count, they never wait, and they touch nothing that is not an eventfd.
//!
//! These tests need a kernel with AIO and contexts to spare below `fs.aio-max-nr`.

use std::fs::{File, read_dir, read_to_string};
use std::io::{Read, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, TryRecvError, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use espwire_vring::{Signaller, is_eventfd};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll};
use rustix::fs::{MemfdFlags, OFlags, fcntl_getfl, fcntl_setfl, memfd_create};
use rustix::io::{Errno, ioctl_fionread};
use rustix::pipe::pipe;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

const DEADLINE: Duration = Duration::from_secs(120);

fn signaller() -> Signaller {
    let signaller = Signaller::new().unwrap();
    assert!(signaller.fallback().is_none(), "no AIO: {:?}", signaller.fallback());
    signaller
}

fn event(flags: EventfdFlags) -> OwnedFd {
    eventfd(0, flags | EventfdFlags::CLOEXEC).unwrap()
}

/// An eventfd whose next write(2) would wait for ever.
fn full_and_blocking() -> OwnedFd {
    let event = event(EventfdFlags::empty());
    assert_eq!(rustix::io::write(&event, &(u64::MAX - 1).to_ne_bytes()), Ok(8));
    let mut room = [PollFd::new(&event, PollFlags::OUT)];
    assert_eq!(poll(&mut room, Some(&Timespec::default())), Ok(0), "a write would not wait");
    event
}

/// Takes the counter. Waits on none that is zero: the flag is put back as it was.
fn take(event: &OwnedFd) -> Result<u64, Errno> {
    let flags = fcntl_getfl(event)?;
    fcntl_setfl(event, flags | OFlags::NONBLOCK)?;
    let mut count = [0; 8];
    let taken = rustix::io::read(event, &mut count).map(|_| u64::from_ne_bytes(count));
    fcntl_setfl(event, flags)?;
    taken
}

/// Runs `act` on a thread of its own, and fails if it does not come back.
fn in_time<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    let thread = thread::spawn(move || {
        let value = act();
        sender.send(()).unwrap();
        value
    });
    // A thread that panics hangs up, and `join` tells.
    assert_ne!(receiver.recv_timeout(DEADLINE), Err(RecvTimeoutError::Timeout), "it blocks");
    thread.join().unwrap()
}

#[test]
fn each_signal_adds_one_and_wakes() {
    let mut signaller = signaller();
    for flags in [EventfdFlags::empty(), EventfdFlags::NONBLOCK] {
        let event = event(flags);
        assert!(is_eventfd(event.as_fd()));
        assert_eq!(take(&event), Err(Errno::AGAIN), "it starts at zero");
        for signals in [1, 2, 31, 32, 33, 1000] {
            (0..signals).for_each(|_| signaller.signal(&event).unwrap());
            let mut ready = [PollFd::new(&event, PollFlags::IN)];
            assert_eq!(poll(&mut ready, Some(&Timespec::default())), Ok(1));
            assert_eq!(take(&event), Ok(signals));
        }
    }
}

#[test]
fn a_sleeper_is_woken() {
    let event = Arc::new(event(EventfdFlags::NONBLOCK));
    let shared = Arc::clone(&event);
    let mut signaller = signaller();
    let sleeper = thread::spawn(move || {
        let deadline = Timespec { tv_sec: 120, tv_nsec: 0 };
        poll(&mut [PollFd::new(&*shared, PollFlags::IN)], Some(&deadline))
    });
    signaller.signal(&*event).unwrap();
    assert_eq!(sleeper.join().unwrap(), Ok(1));
}

#[test]
fn a_semaphore_counts_as_well() {
    let event = event(EventfdFlags::SEMAPHORE | EventfdFlags::NONBLOCK);
    let mut signaller = signaller();
    (0..3).for_each(|_| signaller.signal(&event).unwrap());
    assert_eq!([(); 4].map(|()| take(&event)), [Ok(1), Ok(1), Ok(1), Err(Errno::AGAIN)]);
}

#[test]
fn a_full_eventfd_that_blocks_does_not_block_the_signaller() {
    let event = in_time(|| {
        let (event, mut signaller) = (full_and_blocking(), signaller());
        (0..1000).for_each(|_| signaller.signal(&event).unwrap());
        event
    });
    assert_eq!(take(&event), Ok(u64::MAX), "saturated");
    assert_eq!(take(&event), Err(Errno::AGAIN));
}

/// What a hostile frontend does: it switches the flag on the description that both share.
#[test]
fn a_frontend_that_switches_the_flag_does_not_block_the_signaller() {
    let frontend = full_and_blocking();
    let backend = frontend.try_clone().unwrap();
    let (sender, receiver) = channel::<()>();
    let switching = thread::spawn(move || {
        while receiver.try_recv() == Err(TryRecvError::Empty) {
            for flags in [OFlags::NONBLOCK, OFlags::empty()] {
                fcntl_setfl(&frontend, flags).unwrap();
            }
        }
    });
    in_time(move || {
        let mut signaller = signaller();
        (0..100_000).for_each(|_| signaller.signal(&backend).unwrap());
    });
    drop(sender);
    switching.join().unwrap();
}

#[test]
fn what_is_not_an_eventfd_is_refused_and_not_written_to() {
    in_time(|| {
        let mut signaller = signaller();
        let mut refused = |what: &str, fd: &dyn AsFd| {
            assert!(!is_eventfd(fd.as_fd()), "{what}");
            for _ in 0..100 {
                let error = signaller.signal(fd.as_fd()).expect_err(what);
                assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{what}");
            }
        };

        let mut file = File::from(memfd_create("espwire-test", MemfdFlags::CLOEXEC).unwrap());
        file.write_all(b"octets").unwrap();
        refused("a file", &file);
        assert_eq!(file.metadata().unwrap().len(), 6);

        let (reader, writer) = pipe().unwrap();
        refused("an empty pipe's writer", &writer);
        refused("an empty pipe's reader", &reader);
        assert_eq!(ioctl_fionread(&reader), Ok(0));

        fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
        let full: usize = std::iter::from_fn(|| rustix::io::write(&writer, &[0; 4096]).ok()).sum();
        fcntl_setfl(&writer, OFlags::empty()).unwrap();
        refused("a full pipe that blocks", &writer);
        assert_eq!(ioctl_fionread(&reader), Ok(full as u64));

        let (socket, mut peer) = UnixStream::pair().unwrap();
        peer.set_nonblocking(true).unwrap();
        refused("a socket", &socket);
        assert_eq!(peer.read(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);

        refused("/dev/null", &File::options().read(true).write(true).open("/dev/null").unwrap());
        refused("an epoll", &epoll::create(epoll::CreateFlags::CLOEXEC).unwrap());

        // SAFETY: it takes no pointer.
        // JUSTIFICATION: rustix's `time` feature is used nowhere else.
        let timer = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC) };
        assert!(timer >= 0);
        // SAFETY: a new descriptor that nobody else owns.
        // JUSTIFICATION: as above.
        refused("a timerfd", &unsafe { OwnedFd::from_raw_fd(timer) });

        // And it goes on as before.
        let event = event(EventfdFlags::NONBLOCK);
        signaller.signal(&event).unwrap();
        assert_eq!(take(&event), Ok(1));
    });
}

#[test]
fn several_signallers_at_once_lose_nothing() {
    const THREADS: u64 = 8;
    const SIGNALS: u64 = 50_000;
    let event = Arc::new(event(EventfdFlags::NONBLOCK));
    let start = Arc::new(Barrier::new(THREADS as usize));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (event, start, mut signaller) = (Arc::clone(&event), Arc::clone(&start), signaller());
            thread::spawn(move || {
                start.wait();
                (0..SIGNALS).for_each(|_| signaller.signal(&*event).unwrap());
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(take(&event), Ok(THREADS * SIGNALS));
}

/// Open descriptors and mapped rings of this process.
fn held() -> (usize, usize) {
    let rings = read_to_string("/proc/self/maps").unwrap().lines().filter(|l| l.contains("[aio]")).count();
    (read_dir("/proc/self/fd").unwrap().count(), rings)
}

/// In a process of its own, since it counts what the process holds.
#[test]
fn a_million_signals_leak_nothing() {
    const CHILD: &str = "ESPWIRE_SIGNAL_TEST_CHILD";
    if std::env::var_os(CHILD).is_none() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let child = child.args(["--exact", "a_million_signals_leak_nothing"]).env(CHILD, "");
        let output = child.output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
        return;
    }
    let event = event(EventfdFlags::NONBLOCK);
    let before = held();
    let mut signaller = signaller();
    let during = held();
    assert_eq!((during.0 - before.0, during.1 - before.1), (1, 1));
    (0..1_000_000).for_each(|_| signaller.signal(&event).unwrap());
    assert_eq!(held(), during);

    // The kernel keeps part of a context's room back on each processor that it was used on.
    let all = sched_getaffinity(None).unwrap();
    let processors: Vec<_> = (0..CpuSet::MAX_CPU).filter(|&cpu| all.is_set(cpu)).collect();
    for turn in 0..3000 {
        let mut one = CpuSet::new();
        one.set(processors[turn % processors.len()]);
        sched_setaffinity(None, &one).unwrap();
        (0..turn % 71).for_each(|_| signaller.signal(&event).unwrap());
    }
    let moved: u64 = (0..3000).map(|turn| turn % 71).sum();
    assert_eq!(take(&event), Ok(1_000_000 + moved));
    assert_eq!(held(), during);
    drop(signaller);
    assert_eq!(held(), before);

    for _ in 0..20 {
        let mut signallers = [(); 3].map(|()| self::signaller());
        signallers.iter_mut().for_each(|signaller| signaller.signal(&event).unwrap());
    }
    assert_eq!(take(&event), Ok(60));
    assert_eq!(held(), before);
}

/// From now on these system calls fail with `EPERM` on the calling thread.
fn deny(calls: &[libc::c_long]) {
    let filter = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = vec![filter(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for &call in calls {
        program.push(filter(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call as u32));
        let errno = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
        program.push(filter(libc::BPF_RET | libc::BPF_K, 0, 0, errno));
    }
    program.push(filter(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program and its length belong together and live through the call, which copies it.
    // JUSTIFICATION: a container's filter can't be had without the filter.
    let results = unsafe {
        [
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program),
        ]
    };
    assert_eq!(results, [0, 0], "{}", std::io::Error::last_os_error());
}

#[test]
fn falls_back_on_write_if_a_filter_denies_any_of_the_calls() {
    for call in [libc::SYS_io_setup, libc::SYS_io_submit, libc::SYS_io_getevents] {
        in_time(move || {
            deny(&[call]);
            let mut signaller = Signaller::new().unwrap();
            let reason = signaller.fallback().expect("no AIO");
            assert_eq!(reason.raw_os_error(), Some(libc::EPERM), "call {call}");
            let event = event(EventfdFlags::NONBLOCK);
            (0..100).for_each(|_| signaller.signal(&event).unwrap());
            assert_eq!(take(&event), Ok(100));
            // A full one that does not block has been signalled well enough.
            rustix::io::write(&event, &(u64::MAX - 1).to_ne_bytes()).unwrap();
            signaller.signal(&event).unwrap();
            assert_eq!(take(&event), Ok(u64::MAX - 1));
        });
    }
}

#[test]
fn without_proc_the_kernels_check_tells_an_eventfd() {
    let calls = [libc::SYS_readlinkat, READLINK];
    in_time(move || {
        deny(&calls);
        assert!(std::fs::read_link("/proc/self/fd/0").is_err());
        let (event, (reader, writer)) = (event(EventfdFlags::NONBLOCK), pipe().unwrap());
        assert!(is_eventfd(event.as_fd()));
        assert_eq!(take(&event), Err(Errno::AGAIN), "it was not signalled");
        assert!(!is_eventfd(writer.as_fd()) && !is_eventfd(reader.as_fd()));
        assert!(!is_eventfd(File::open("/dev/null").unwrap().as_fd()));
        deny(&[libc::SYS_io_setup]);
        assert!(!is_eventfd(event.as_fd()), "nothing can tell");
    });
}

/// Not every architecture has the older call.
#[cfg(target_arch = "x86_64")]
const READLINK: libc::c_long = libc::SYS_readlink;
#[cfg(not(target_arch = "x86_64"))]
const READLINK: libc::c_long = libc::SYS_readlinkat;
