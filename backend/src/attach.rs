//! How a port gets its frontends: a socket it listens on, one it connects to, or a descriptor it was given.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::port::Port;
use crate::session;

/// Between two attempts to connect to a frontend that listens.
const RETRY_EVERY: Duration = Duration::from_millis(200);

/// Where a port's frontends come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Listen on this path: the frontend connects.
    Listen(PathBuf),
    /// Connect to this path, again and again: the frontend listens.
    Connect(PathBuf),
    /// This descriptor number, inherited: a listening or a connected socket.
    Descriptor(u32),
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Listen(path) => write!(f, "listening on {}", path.display()),
            Self::Connect(path) => write!(f, "connecting to {}", path.display()),
            Self::Descriptor(number) => write!(f, "on descriptor {number}"),
        }
    }
}

/// Why an endpoint can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Another process listens on the path.
    #[error("{0}: another process listens there")]
    Busy(PathBuf),
    /// The path is there and is no socket.
    #[error("{0}: exists and is not a socket")]
    NotASocket(PathBuf),
    /// The path can't be bound.
    #[error("{path}: can't listen")]
    Bind {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The descriptor can't be taken over.
    #[error("descriptor {number}: {what}")]
    Descriptor {
        /// Its number.
        number: u32,
        /// What is wrong with it.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// An endpoint that is ready to be served.
#[derive(Debug)]
pub(crate) enum Attachment {
    Listening(UnixListener),
    Connecting(PathBuf),
    Connected(UnixStream),
}

/// A socket in the file system that we made: removed with us, unless another has taken its place.
#[derive(Debug)]
pub(crate) struct BoundPath {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for BoundPath {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

impl Attachment {
    /// Makes the endpoint ready: binds the path, which goes with the second value, or takes the descriptor over.
    pub(crate) fn new(endpoint: &Endpoint) -> Result<(Self, Option<BoundPath>), EndpointError> {
        match endpoint {
            Endpoint::Listen(path) => {
                listen(path).map(|(listener, bound)| (Self::Listening(listener), Some(bound)))
            }
            Endpoint::Connect(path) => Ok((Self::Connecting(path.clone()), None)),
            Endpoint::Descriptor(number) => take_over(*number).map(|attachment| (attachment, None)),
        }
    }

    /// Serves one frontend after the other. Returns only if there can't be another: when a connected
    /// descriptor's frontend has hung up.
    pub(crate) fn serve(&self, port: &Arc<Port>) {
        match self {
            Self::Listening(listener) => loop {
                match listener.accept() {
                    Ok((stream, _)) => serve_one(port, &stream, Some(listener)),
                    Err(error) => {
                        tracing::warn!(port = %port.name, %error, "can't accept a frontend");
                        // Out of descriptors, say: nothing tells when that is over.
                        std::thread::sleep(RETRY_EVERY);
                    }
                }
            },
            Self::Connecting(path) => loop {
                if let Ok(stream) = UnixStream::connect(path) {
                    serve_one(port, &stream, None);
                }
                std::thread::sleep(RETRY_EVERY);
            },
            Self::Connected(stream) => serve_one(port, stream, None),
        }
    }
}

fn serve_one(port: &Arc<Port>, stream: &UnixStream, others: Option<&UnixListener>) {
    if let Err(error) = session::serve(port, stream, others) {
        tracing::error!(port = %port.name, %error, "session not started");
    }
}

/// Binds `path`. A socket that nobody listens on any more is replaced; anything else there is left alone.
fn listen(path: &Path) -> Result<(UnixListener, BoundPath), EndpointError> {
    let bind = |source| EndpointError::Bind { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(EndpointError::NotASocket(path.to_owned()));
        }
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(bind)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(bind(error)),
            Ok(_) => return Err(EndpointError::Busy(path.to_owned())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(bind(error)),
    }
    let listener = UnixListener::bind(path).map_err(bind)?;
    let bound = BoundPath { path: path.to_owned(), inode: inode(path).map_err(bind)? };
    Ok((listener, bound))
}

/// Makes descriptor `number` of this process ours: a copy of it by pidfd_getfd(2) on ourselves, since a
/// number alone can't safely be owned.
fn take_over(number: u32) -> Result<Attachment, EndpointError> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let fault =
        |what| move |errno| EndpointError::Descriptor { number, what, source: io::Error::from(errno) };
    let myself = pidfd_open(getpid(), PidfdFlags::empty()).map_err(fault("can't be taken over"))?;
    let target = i32::try_from(number).map_err(|_| fault("is no descriptor")(rustix::io::Errno::BADF))?;
    let fd: OwnedFd =
        pidfd_getfd(&myself, target, PidfdGetfdFlags::empty()).map_err(fault("can't be taken over"))?;
    let listening = rustix::net::sockopt::socket_acceptconn(&fd).map_err(fault("is not a socket"))?;
    // Whoever made it may have used it with an event loop of its own.
    rustix::io::ioctl_fionbio(&fd, false).map_err(fault("can't be made blocking"))?;
    if listening {
        return Ok(Attachment::Listening(fd.into()));
    }
    rustix::net::getpeername(&fd).map_err(fault("is neither listening nor connected"))?;
    Ok(Attachment::Connected(fd.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn replaces_a_stale_socket_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        drop(UnixListener::bind(&path).unwrap());
        let attachment = listen(&path).unwrap();
        assert!(matches!(listen(&path), Err(EndpointError::Busy(_))));
        drop(attachment);
        assert!(!path.exists());

        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(listen(&path), Err(EndpointError::NotASocket(_))));
        let link = folder.path().join("link.sock");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(listen(&link), Err(EndpointError::NotASocket(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn leaves_a_path_that_another_has_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let attachment = listen(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let other = UnixListener::bind(&path).unwrap();
        drop(attachment);
        assert!(path.exists());
        drop(other);
    }

    #[test]
    fn tells_listening_from_connected_descriptors() {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("l")).unwrap();
        assert!(matches!(take_over(listener.as_raw_fd() as u32), Ok(Attachment::Listening(_))));
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert!(matches!(take_over(ours.as_raw_fd() as u32), Ok(Attachment::Connected(_))));
        let file = std::fs::File::open("/dev/null").unwrap();
        for number in [file.as_raw_fd() as u32, 1_000_000, u32::MAX] {
            assert!(matches!(take_over(number), Err(EndpointError::Descriptor { .. })));
        }
    }
}
