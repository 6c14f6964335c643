//! Signals of eventfds that somebody else shares, which never block.

use std::ffi::{c_long, c_ulong};
use std::fs::{File, OpenOptions, read_link};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::event::{EventfdFlags, eventfd};

/// Signals eventfds and can't be made to wait by those who share them.
///
/// A call descriptor comes from the frontend, which goes on sharing its open file description: it can take
/// `O_NONBLOCK` off after the backend has set it, and fill the counter. write(2) then sleeps, and a path that
/// sleeps stops the other guest. Whatever is asked or set just before the write comes too early.
///
/// So the kernel is made to signal: a read of no octets from /dev/null is submitted to Linux AIO with the
/// eventfd in `aio_resfd`. It is complete before io_submit(2) returns, and a completion signals by
/// eventfd_signal(), which adds one under a spin lock, looks at no file flag, and stays at the counter's
/// maximum (`u64::MAX`) where write(2) would wait. The descriptor itself is neither read nor written; one that
/// is not an eventfd is refused by the kernel.
///
/// If AIO can't be had, signals are written by write(2), which gives all of this up: see
/// [`fallback`](Self::fallback).
///
/// What it does not bound: the kernel runs through everyone who waits for the eventfd, some 50 ns each, as it
/// does for write(2). A frontend that adds thousands of epoll instances to it makes each signal that much
/// longer.
///
/// One per thread. It costs an AIO context, counted as 32 against `fs.aio-max-nr`, some pages, and one
/// descriptor. Dropping it waits for the kernel to take the context down: tens of milliseconds.
#[derive(Debug)]
pub struct Signaller(Way);

#[derive(Debug)]
enum Way {
    Aio {
        context: Context,
        /// Completions in the context's ring.
        unreaped: usize,
    },
    /// By write(2), for this reason.
    Write(io::Error),
}

impl Signaller {
    /// Sets up AIO and proves it on an eventfd of its own. If that fails, the signaller falls back on write(2).
    ///
    /// # Errors
    ///
    /// The process or the system is out of descriptors or memory (`EMFILE`, `ENFILE`, `ENOMEM`): that is no
    /// reason to fall back for good.
    pub fn new() -> io::Result<Self> {
        match Context::proven() {
            Ok(context) => Ok(Self(Way::Aio { context, unreaped: 0 })),
            Err(error) => match error.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => Err(error),
                _ => Ok(Self(Way::Write(error))),
            },
        }
    }

    /// Why signals are written by write(2); `None` if they are not, as it should be.
    ///
    /// `ENOSYS`: a kernel without `CONFIG_AIO`. `EPERM`, as a rule: a seccomp filter. `EAGAIN`: the contexts of
    /// all processes on the machine exceed `fs.aio-max-nr`. `ENOENT`: there is no /dev/null. No errno, but
    /// `Unsupported`: a signal did not arrive at once.
    ///
    /// In the fallback whoever hands an eventfd over has to be trusted not to make it block, and the caller has
    /// to set `O_NONBLOCK` and to ask [`is_eventfd`] when it takes it.
    #[must_use]
    pub fn fallback(&self) -> Option<&io::Error> {
        match &self.0 {
            Way::Aio { .. } => None,
            Way::Write(reason) => Some(reason),
        }
    }

    /// Adds one to the counter of `event` and wakes those who wait for it. A counter that has no room for one
    /// more stays full, which wakes the reader as well: no error.
    ///
    /// # Errors
    ///
    /// `EINVAL`: not an eventfd; the kernel checks it, and nothing is done to it. Not so in the
    /// [`fallback`](Self::fallback), where eight octets are written to whatever it is. Anything else is the
    /// kernel's own trouble (`EAGAIN` with AIO: no memory for the request); the signal is lost.
    #[inline]
    pub fn signal(&mut self, event: impl AsFd) -> io::Result<()> {
        match &mut self.0 {
            Way::Aio { context, unreaped } => {
                let event = event.as_fd();
                context.submit(event).or_else(|error| {
                    if error.raw_os_error() != Some(libc::EAGAIN) {
                        return Err(error);
                    }
                    context.reap();
                    *unreaped = 0;
                    context.submit(event)
                })?;
                *unreaped += 1;
                if *unreaped == CAPACITY {
                    context.reap();
                    *unreaped = 0;
                }
                Ok(())
            }
            Way::Write(_) => match rustix::io::write(event, &1u64.to_ne_bytes()) {
                Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
                Err(error) => Err(error.into()),
            },
        }
    }
}

/// Whether `fd` is an eventfd: its link in /proc/self/fd says so. Without /proc the kernel's own check of
/// `aio_resfd` tells. If neither can be had, the answer is no. The descriptor is not touched.
///
/// For the moment of hand-over: it takes a microsecond, and without /proc tens of milliseconds.
#[must_use]
pub fn is_eventfd(fd: BorrowedFd<'_>) -> bool {
    if let Ok(link) = read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())) {
        return link.as_os_str() == "anon_inode:[eventfd]";
    }
    // A read from a file that is open for writing alone: EBADF, but only once `aio_resfd` is found good.
    let context = OpenOptions::new().write(true).open("/dev/null").and_then(Context::new);
    let refused = context.map(|context| context.submit(fd).err());
    refused.is_ok_and(|error| error.and_then(|error| error.raw_os_error()) == Some(libc::EBADF))
}

/// How many completions a context is set up for, and after how many they are reaped. The kernel makes the ring
/// twice as long at least, and keeps no more than half of that back on other processors.
const CAPACITY: usize = 32;

const IOCB_CMD_PREAD: u16 = 0;
const IOCB_FLAG_RESFD: u32 = 1;

/// `struct iocb` of linux/aio_abi.h. The libc crate has it for glibc alone.
#[repr(C)]
#[derive(Default)]
struct ControlBlock {
    data: u64,
    /// Two fields of 32 bits, whose order depends on the machine's; both zero.
    key_and_rw_flags: u64,
    lio_opcode: u16,
    reqprio: i16,
    fildes: u32,
    buf: u64,
    nbytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    resfd: u32,
}

/// `struct io_event` of linux/aio_abi.h. Nobody reads it: a request that was accepted has signalled.
type Completion = [u64; 4];

const _: () = assert!(size_of::<ControlBlock>() == 64 && size_of::<Completion>() == 32);

/// An AIO context and the file that its requests pretend to read.
#[derive(Debug)]
struct Context {
    id: c_ulong,
    null: File,
}

impl Context {
    fn new(null: File) -> io::Result<Self> {
        let mut id: c_ulong = 0;
        // SAFETY: io_setup writes a new context's id to the live, zeroed integer. The ring that the kernel maps
        // into the process lies where nothing was, and nothing here looks at it.
        // JUSTIFICATION: neither rustix nor libc wraps Linux AIO.
        let result = unsafe { libc::syscall(libc::SYS_io_setup, CAPACITY as c_ulong, &raw mut id) };
        if result == 0 { Ok(Self { id, null }) } else { Err(io::Error::last_os_error()) }
    }

    /// A context whose signals were seen to arrive before io_submit(2) returned. A seccomp filter may know
    /// io_setup and not the others; a kernel that only looks like Linux may complete later.
    fn proven() -> io::Result<Self> {
        let context = Self::new(File::open("/dev/null")?)?;
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        context.submit(event.as_fd())?;
        let mut count = [0; 8];
        // Nothing to read: the count stays zero.
        let _ = rustix::io::read(&event, &mut count);
        match (u64::from_ne_bytes(count), context.reap()) {
            (1, 1) => Ok(context),
            (_, reaped) if reaped < 0 => Err(io::Error::last_os_error()),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Submits a read of no octets, and with its completion the kernel signals `event`.
    #[inline]
    fn submit(&self, event: BorrowedFd<'_>) -> io::Result<()> {
        let mut block = ControlBlock {
            lio_opcode: IOCB_CMD_PREAD,
            fildes: self.null.as_raw_fd().cast_unsigned(),
            flags: IOCB_FLAG_RESFD,
            resfd: event.as_raw_fd().cast_unsigned(),
            ..ControlBlock::default()
        };
        let mut blocks = [&raw mut block];
        let one: c_long = 1;
        // SAFETY: one pointer to one live control block of the kernel's layout, in which it sets a key; it keeps
        // neither after it has returned. The read has no length, so that its buffer may be null. Both descriptors
        // are open while they are borrowed here.
        // JUSTIFICATION: as in `new`. No other call known to us signals an eventfd and can't sleep.
        let accepted = unsafe { libc::syscall(libc::SYS_io_submit, self.id, one, blocks.as_mut_ptr()) };
        if accepted == one { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Makes room in the context's ring. Returns how many completions there were, or a negative number and errno.
    fn reap(&self) -> c_long {
        let mut completions = [const { MaybeUninit::<Completion>::uninit() }; CAPACITY];
        let (least, most): (c_long, c_long) = (0, CAPACITY as c_long);
        let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel writes up to `most` completions to an array with room for as many and reads one
        // timespec; neither outlives the call, and nobody reads the array.
        // JUSTIFICATION: as in `new`. The alternative, to move the head in the mapped ring, saves nothing that
        // can be measured.
        unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.id,
                least,
                most,
                completions.as_mut_ptr(),
                &raw const at_once,
            )
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the id is io_setup's and is used for the last time. The kernel unmaps its ring, to which nothing
        // here points.
        // JUSTIFICATION: as in `new`.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.id) };
    }
}
