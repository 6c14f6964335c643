//! A session: one connected frontend, from its first message to its hang-up.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use vhost_user_backend::VhostUserDaemon;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

use crate::device::Device;
use crate::gate::{Gate, SessionEnd};
use crate::port::Port;
use crate::ring::with_rings_of;

/// How long the request handler may take for a reply; the longest that it waits for is a path, twice.
const REPLY_WITHIN: Duration = Duration::from_secs(10);

/// Why a session could not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// The socket between gate and request handler could not be made.
    #[error("can't make the socket between gate and request handler")]
    PrivateSocket(#[source] io::Error),
    /// vhost-user-backend refused to start.
    #[error("can't start the request handler: {0}")]
    Daemon(String),
}

/// Serves one frontend until it hangs up or breaks the protocol. Then all its rings are stopped, its memory
/// is unmapped and every descriptor it sent is closed.
///
/// `others` is where further frontends knock meanwhile.
pub(crate) fn serve(
    port: &Arc<Port>,
    frontend: &UnixStream,
    others: Option<&UnixListener>,
) -> Result<SessionEnd, SessionError> {
    let mut daemon = with_rings_of(port, || {
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        VhostUserDaemon::new(
            format!("{}-handler", port.name),
            Arc::new(Device::new(Arc::clone(port))),
            memory,
        )
    })
    .map_err(|error| SessionError::Daemon(error.to_string()))?;
    let handler = connect(|path| daemon.start_client(path).map_err(|error| error.to_string()))?;

    port.counts.connects.fetch_add(1, Ordering::Relaxed);
    tracing::info!(port = %port.name, "frontend connected");
    let end = Gate::new(port, frontend, &handler, others).run();
    drop(handler);
    // It ended because its socket did, or with the error that the gate has noticed.
    let handled = daemon.wait();
    // Before the daemon lets go of the memory: the path must not be the last to hold it.
    if let Err(error) = port.disconnect() {
        tracing::error!(port = %port.name, %error, "rings not stopped");
    }
    drop(daemon);
    port.counts.disconnects.fetch_add(1, Ordering::Relaxed);
    match (&end, &handled) {
        (SessionEnd::HungUp, _) => tracing::info!(port = %port.name, "frontend hung up"),
        (SessionEnd::Handler(_), Err(error)) => {
            tracing::warn!(port = %port.name, %end, cause = %error, "session ended");
        }
        _ => tracing::warn!(port = %port.name, %end, "session ended"),
    }
    Ok(end)
}

/// Connects gate and request handler: the crate only connects to a path, so there is one for a moment, in a
/// folder that nobody else can enter (tempfile makes it with mode 0700).
fn connect(start: impl FnOnce(&str) -> Result<(), String>) -> Result<UnixStream, SessionError> {
    let private = SessionError::PrivateSocket;
    let folder = tempfile::Builder::new().prefix("espwire-").tempdir().map_err(private)?;
    let path = folder.path().join("handler");
    let listener = UnixListener::bind(&path).map_err(private)?;
    let path = path.to_str().ok_or_else(|| private(io::ErrorKind::InvalidFilename.into()))?;
    start(path).map_err(SessionError::Daemon)?;
    let (stream, _) = listener.accept().map_err(private)?;
    stream.set_read_timeout(Some(REPLY_WITHIN)).map_err(private)?;
    Ok(stream)
}
