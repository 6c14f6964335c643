//! Kick and call descriptors of a ring, and what went over them.

use std::os::fd::OwnedFd;

use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::io::Errno;

use crate::Error;

/// How many replaced call descriptors are still listened to.
const FORMER: usize = 8;

/// A ring's descriptors, all of them nonblocking eventfds.
#[derive(Debug)]
pub(crate) struct RingFds {
    pub(crate) kick: OwnedFd,
    pub(crate) call: OwnedFd,
    pub(crate) err: OwnedFd,
    /// QEMU: where calls go while the guest has its interrupt masked, or none yet.
    pub(crate) masked: OwnedFd,
}

/// A ring's descriptors and counters.
#[derive(Debug)]
pub(crate) struct Notifications {
    pub(crate) fds: RingFds,
    /// Call descriptors that were replaced, newest last: the backend uses them until it has read the message.
    former: Vec<OwnedFd>,
    kicks: u64,
    calls: u64,
    errors: u64,
}

impl Notifications {
    pub(crate) fn new() -> Result<Self, Error> {
        let fds = RingFds { kick: eventfd()?, call: eventfd()?, err: eventfd()?, masked: eventfd()? };
        Ok(Self { fds, former: Vec::new(), kicks: 0, calls: 0, errors: 0 })
    }

    pub(crate) fn replace_call(&mut self) -> Result<&mut Self, Error> {
        self.calls()?;
        if self.former.len() == FORMER {
            self.former.remove(0);
        }
        self.former.push(std::mem::replace(&mut self.fds.call, eventfd()?));
        Ok(self)
    }

    pub(crate) fn replace_kick(&mut self) -> Result<&mut Self, Error> {
        self.fds.kick = eventfd()?;
        Ok(self)
    }

    /// Kicks the device.
    pub(crate) fn kick(&mut self) -> Result<(), Error> {
        self.kicks += 1;
        match rustix::io::write(&self.fds.kick, &1u64.to_ne_bytes()) {
            // A counter at its end is a kick pending.
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(Error::io("kick")(error)),
        }
    }

    pub(crate) fn kicks(&self) -> u64 {
        self.kicks
    }

    /// Takes the calls that came; returns all so far.
    pub(crate) fn calls(&mut self) -> Result<u64, Error> {
        for fd in call_fds(&self.fds, &self.former) {
            self.calls += drain(fd)?;
        }
        Ok(self.calls)
    }

    /// As `calls`, for the error descriptor.
    pub(crate) fn errors(&mut self) -> Result<u64, Error> {
        self.errors += drain(&self.fds.err)?;
        Ok(self.errors)
    }

    /// What to poll for a call.
    pub(crate) fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        call_fds(&self.fds, &self.former).map(|fd| PollFd::new(fd, PollFlags::IN))
    }
}

/// All descriptors over which a call may come.
fn call_fds<'a>(fds: &'a RingFds, former: &'a [OwnedFd]) -> impl Iterator<Item = &'a OwnedFd> {
    [&fds.call, &fds.masked].into_iter().chain(former)
}

fn eventfd() -> Result<OwnedFd, Error> {
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(Error::io("eventfd"))
}

/// Empties an eventfd; returns what it held.
fn drain(fd: &OwnedFd) -> Result<u64, Error> {
    let mut octets = [0; 8];
    match rustix::io::read(fd, &mut octets) {
        Ok(_) => Ok(u64::from_ne_bytes(octets)),
        Err(Errno::AGAIN) => Ok(0),
        Err(error) => Err(Error::io("reading an eventfd")(error)),
    }
}
