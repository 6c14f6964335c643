//! Waiting for descriptors, never without a deadline.

use std::time::Instant;

use rustix::event::{PollFd, Timespec};
use rustix::io::Errno;

use crate::Error;

/// Waits until one of `fds` is ready; false if the deadline passed before.
pub(crate) fn ready(fds: &mut [PollFd<'_>], deadline: Instant) -> Result<bool, Error> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match rustix::event::poll(fds, Some(&timeout)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(error) => return Err(Error::io("poll")(error)),
        }
    }
}
