//! The gate: what stands between a frontend and vhost-user-backend's request handler.
//!
//! It passes whole messages on, with their descriptors, and mends what the handler can't do
//! (docs/adr/0003):
//!
//! - QEMU sends SET_VRING_ENABLE before SET_FEATURES; the handler refuses that. Such messages are held,
//!   acknowledged here, and passed on after SET_FEATURES.
//! - NET_SET_MTU, SEND_RARP, SET_STATUS and GET_STATUS have no arm in the handler: answered here, their
//!   feature bits added to GET_PROTOCOL_FEATURES and taken out of SET_PROTOCOL_FEATURES.
//! - GET_QUEUE_NUM means queue pairs to QEMU and DPDK, virtqueues to cloud-hypervisor, which is the one
//!   whose first message is SET_OWNER.
//! - Messages that belong to no feature offered, and bad headers, end the session here.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use espwire_virtnet::{Features, MAX_MTU, MIN_MTU};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vhost::vhost_user::message::{FrontendReq, VhostUserProtocolFeatures as ProtocolFeatures};

use crate::message::{Message, MessageError, Request};
use crate::port::Port;
use crate::quota::{MAX_REGIONS, MemoryQuota};

/// How long another frontend waits for the present one to go. A frontend that is ending holds its connection
/// for a moment, and its successor may already be there.
const OTHERS_WAIT: Duration = Duration::from_secs(1);

/// The protocol features that the gate serves.
fn own_features() -> ProtocolFeatures {
    ProtocolFeatures::MTU | ProtocolFeatures::RARP | ProtocolFeatures::STATUS
}

/// Why a request is refused that no frontend should send.
const NOT_OFFERED: &str = "it belongs to no feature offered";

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionEnd {
    /// The frontend closed its end.
    #[error("frontend hung up")]
    HungUp,
    /// The frontend sent something that is no message of the protocol.
    #[error("bad message: {0}")]
    Message(#[source] MessageError),
    /// The frontend sent a request that belongs to no feature it was offered, or a malformed one.
    #[error("{0} refused: {1}")]
    Refused(Request, &'static str),
    /// The request handler ended, after an error in this request.
    #[error("request handler stopped at {0}")]
    Handler(Request),
    /// A socket failed.
    #[error("socket: {0}")]
    Socket(#[from] io::Error),
}

/// One session's gate.
pub(crate) struct Gate<'s> {
    port: &'s Port,
    /// The frontend's end.
    frontend: &'s UnixStream,
    /// The request handler's end.
    handler: &'s UnixStream,
    /// Where further frontends knock meanwhile: they are sent away.
    others: Option<&'s UnixListener>,
    /// One knocks, and is sent away then.
    patience: Option<Instant>,
    first_request: Option<Request>,
    acked_protocol: ProtocolFeatures,
    /// SET_FEATURES has passed.
    features_set: bool,
    /// SET_VRING_ENABLE held until then: the last one of each ring.
    held: BTreeMap<u32, Message>,
    quota: MemoryQuota,
    status: u64,
}

impl<'s> Gate<'s> {
    pub(crate) fn new(
        port: &'s Port,
        frontend: &'s UnixStream,
        handler: &'s UnixStream,
        others: Option<&'s UnixListener>,
    ) -> Self {
        Self {
            port,
            frontend,
            handler,
            others,
            patience: None,
            first_request: None,
            acked_protocol: ProtocolFeatures::empty(),
            features_set: false,
            held: BTreeMap::new(),
            quota: MemoryQuota::default(),
            status: 0,
        }
    }

    /// Serves the session to its end.
    pub(crate) fn run(&mut self) -> SessionEnd {
        let mut last = Request::from(FrontendReq::GET_FEATURES);
        // The handler acknowledges nothing before it was asked for its features, whatever a frontend negotiates.
        if let Err(end) = self.exchange(&Message::new(FrontendReq::GET_FEATURES)) {
            return end;
        }
        loop {
            if let Err(end) = self.wait(last) {
                return end;
            }
            let message = match Message::receive(self.frontend) {
                Ok(message) => message,
                Err(MessageError::HungUp) => return SessionEnd::HungUp,
                Err(MessageError::Socket(error)) => return error.into(),
                Err(error) => return SessionEnd::Message(error),
            };
            last = message.request;
            tracing::debug!(port = %self.port.name, request = %last, octets = message.payload.len(),
                descriptors = message.fds.len(), "message");
            if let Err(end) = self.serve(message) {
                return end;
            }
        }
    }

    /// Waits for the frontend's next message; sends other frontends away; notices the handler's end.
    fn wait(&mut self, last: Request) -> Result<(), SessionEnd> {
        loop {
            let mut fds =
                vec![PollFd::new(self.frontend, PollFlags::IN), PollFd::new(self.handler, PollFlags::IN)];
            if self.patience.is_none() {
                fds.extend(self.others.map(|listener| PollFd::new(listener, PollFlags::IN)));
            }
            let left = self.patience.map(|until| until.saturating_duration_since(Instant::now()));
            let ready = poll_within(&mut fds, left)?;
            if ready[1] {
                // All replies were taken when they were due: this is the end of the handler's socket.
                return Err(SessionEnd::Handler(last));
            }
            if ready[0] {
                return Ok(());
            }
            if ready.get(2) == Some(&true) {
                self.patience = Some(Instant::now() + OTHERS_WAIT);
            } else if left.is_some_and(|left| left.is_zero()) {
                self.patience = None;
                self.send_away()?;
            }
        }
    }

    /// Lets the frontend that has knocked know that it is one too many.
    fn send_away(&self) -> Result<(), SessionEnd> {
        if let Some(listener) = self.others
            && poll_within(&mut [PollFd::new(listener, PollFlags::IN)], Some(Duration::ZERO))?[0]
            && listener.accept().is_ok()
        {
            tracing::warn!(port = %self.port.name, "a second frontend was sent away");
        }
        Ok(())
    }

    fn serve(&mut self, message: Message) -> Result<(), SessionEnd> {
        let first = *self.first_request.get_or_insert(message.request);
        let Some(request) = message.request.known() else {
            return Err(SessionEnd::Refused(message.request, NOT_OFFERED));
        };
        check_descriptors(&message, request)?;
        match request {
            FrontendReq::SET_VRING_ENABLE if !self.features_set => self.hold(message),
            FrontendReq::SET_FEATURES => {
                let features = Features(malformed_if_none(&message, message.as_u64())?);
                self.pass(message)?;
                self.features_set = true;
                self.release(features)
            }
            FrontendReq::RESET_OWNER | FrontendReq::RESET_DEVICE => {
                self.features_set = false;
                self.pass(message)
            }
            FrontendReq::GET_PROTOCOL_FEATURES => {
                let reply = self.exchange(&message)?;
                let mut bits = malformed_if_none(&reply, reply.as_u64())? | own_features().bits();
                if first.known() != Some(FrontendReq::SET_OWNER) {
                    // QEMU keeps a NIC's configuration space itself, and warns where a backend offers one.
                    bits &= !ProtocolFeatures::CONFIG.bits();
                }
                self.answer(&message, &bits.to_ne_bytes())
            }
            FrontendReq::SET_PROTOCOL_FEATURES => {
                let bits = malformed_if_none(&message, message.as_u64())?;
                self.acked_protocol = ProtocolFeatures::from_bits_truncate(bits);
                let rest = bits & !own_features().bits();
                self.pass(message.with_payload(&rest.to_ne_bytes()))
            }
            FrontendReq::GET_QUEUE_NUM => {
                let pairs = self.port.pairs.len();
                let count = if first.known() == Some(FrontendReq::SET_OWNER) { 2 * pairs } else { pairs };
                self.answer(&message, &(count as u64).to_ne_bytes())
            }
            FrontendReq::NET_SET_MTU => {
                let mtu = malformed_if_none(&message, message.as_u64())?;
                let largest = self.port.config_space.mtu.unwrap_or(MAX_MTU);
                let fits = (u64::from(MIN_MTU)..=u64::from(largest)).contains(&mtu);
                self.acknowledge(&message, fits)
            }
            FrontendReq::SET_MEM_TABLE | FrontendReq::ADD_MEM_REG | FrontendReq::REM_MEM_REG => {
                self.quota.admit(&message).map_err(|why| SessionEnd::Refused(message.request, why))?;
                self.pass(message)
            }
            FrontendReq::GET_MAX_MEM_SLOTS => self.answer(&message, &(MAX_REGIONS as u64).to_ne_bytes()),
            // MAC, status and MTU are the device's; that a driver tries to write them is no reason to end.
            FrontendReq::SET_CONFIG => self.acknowledge(&message, false).or(Ok(())),
            // A cable has no address table that such a frame would refresh.
            FrontendReq::SEND_RARP => self.acknowledge(&message, true),
            FrontendReq::SET_STATUS => {
                self.status = malformed_if_none(&message, message.as_u64())?;
                self.acknowledge(&message, true)
            }
            FrontendReq::GET_STATUS => self.answer(&message, &self.status.to_ne_bytes()),
            FrontendReq::GET_FEATURES
            | FrontendReq::SET_OWNER
            | FrontendReq::SET_VRING_NUM
            | FrontendReq::SET_VRING_ADDR
            | FrontendReq::SET_VRING_BASE
            | FrontendReq::GET_VRING_BASE
            | FrontendReq::SET_VRING_KICK
            | FrontendReq::SET_VRING_CALL
            | FrontendReq::SET_VRING_ERR
            | FrontendReq::SET_VRING_ENABLE
            | FrontendReq::GET_CONFIG => self.pass(message),
            _ => Err(SessionEnd::Refused(message.request, NOT_OFFERED)),
        }
    }

    /// Keeps SET_VRING_ENABLE for later, in place of an earlier one of the same ring.
    fn hold(&mut self, message: Message) -> Result<(), SessionEnd> {
        let (ring, _) = malformed_if_none(&message, message.as_vring_state())?;
        if ring as usize >= self.port.rings() {
            return Err(SessionEnd::Refused(message.request, "no such ring"));
        }
        self.acknowledge(&message, true)?;
        self.held.insert(ring, message.without_need_reply());
        Ok(())
    }

    /// Passes on what was held. Without PROTOCOL_FEATURES all rings are enabled already.
    fn release(&mut self, features: Features) -> Result<(), SessionEnd> {
        for (_, message) in std::mem::take(&mut self.held) {
            if features.has(Features::PROTOCOL_FEATURES) {
                self.pass(message)?;
            }
        }
        Ok(())
    }

    /// Passes a message on, and its reply back if there will be one.
    fn pass(&self, message: Message) -> Result<(), SessionEnd> {
        let acknowledged = message.needs_reply() && self.acked_protocol.contains(ProtocolFeatures::REPLY_ACK);
        if acknowledged || message.request.known().is_some_and(has_reply) {
            let reply = self.exchange(&message)?;
            return Ok(reply.send(self.frontend)?);
        }
        message.send(self.handler).map_err(|_| SessionEnd::Handler(message.request))
    }

    /// Sends a message to the handler and takes its reply.
    fn exchange(&self, message: &Message) -> Result<Message, SessionEnd> {
        let request = message.request;
        message.send(self.handler).map_err(|_| SessionEnd::Handler(request))?;
        Message::receive_any(self.handler).map_err(|_| SessionEnd::Handler(request))
    }

    /// Answers a message in the handler's place.
    fn answer(&self, message: &Message, payload: &[u8]) -> Result<(), SessionEnd> {
        Ok(message.reply(payload).send(self.frontend)?)
    }

    /// Acknowledges a message in the handler's place, if that was asked for: 0 is success.
    fn acknowledge(&self, message: &Message, success: bool) -> Result<(), SessionEnd> {
        if message.needs_reply() && self.acked_protocol.contains(ProtocolFeatures::REPLY_ACK) {
            return self.answer(message, &u64::from(!success).to_ne_bytes());
        }
        if success { Ok(()) } else { Err(SessionEnd::Refused(message.request, "value out of range")) }
    }
}

/// Waits for any of `fds`, for ever or for `timeout`; tells which are ready.
fn poll_within(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    let timeout = timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: t.subsec_nanos().into() });
    match poll(fds, timeout.as_ref()) {
        Ok(_) => Ok(fds.iter().map(|fd| !fd.revents().is_empty()).collect()),
        Err(rustix::io::Errno::INTR) => Ok(vec![false; fds.len()]),
        Err(error) => Err(error.into()),
    }
}

/// The payload, or the end of the session.
fn malformed_if_none<V>(message: &Message, value: Option<V>) -> Result<V, SessionEnd> {
    value.ok_or(SessionEnd::Refused(message.request, "malformed payload"))
}

/// Refuses descriptors on messages that take none, and more than one where one is due.
fn check_descriptors(message: &Message, request: FrontendReq) -> Result<(), SessionEnd> {
    let most = match request {
        FrontendReq::SET_MEM_TABLE => usize::MAX,
        FrontendReq::SET_VRING_KICK
        | FrontendReq::SET_VRING_CALL
        | FrontendReq::SET_VRING_ERR
        | FrontendReq::ADD_MEM_REG
        | FrontendReq::REM_MEM_REG => 1,
        _ => 0,
    };
    if message.fds.len() > most {
        return Err(SessionEnd::Refused(message.request, "too many descriptors"));
    }
    Ok(())
}

/// Requests whose reply has a payload of its own, whether or not an acknowledgement is asked for.
fn has_reply(request: FrontendReq) -> bool {
    matches!(
        request,
        FrontendReq::GET_FEATURES
            | FrontendReq::GET_PROTOCOL_FEATURES
            | FrontendReq::GET_VRING_BASE
            | FrontendReq::GET_CONFIG
    )
}
