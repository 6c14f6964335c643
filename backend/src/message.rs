//! vhost-user messages on a Unix socket, whole and with their descriptors (QEMU, "Vhost-user Protocol").

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use vhost::vhost_user::message::FrontendReq;

/// Octets of the header: request, flags, size of the payload.
const HEADER_LEN: usize = 12;
/// The longest payload that vhost's request handler takes.
const MAX_PAYLOAD_LEN: usize = 4096;
/// The most descriptors that one sendmsg can carry (SCM_MAX_FD): with room for all none is lost track of.
const MAX_FDS: usize = 253;
/// The most descriptors that a message of the protocol carries: one per region of SET_MEM_TABLE.
const MAX_MESSAGE_FDS: usize = 32;

const FLAG_VERSION_MASK: u32 = 0b11;
const FLAG_VERSION_1: u32 = 1;
const FLAG_REPLY: u32 = 1 << 2;
const FLAG_NEED_REPLY: u32 = 1 << 3;

/// A request of the frontend, by its number in the protocol: any number, since that is what can arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request(u32);

impl Request {
    /// The request, if the protocol knows it.
    pub(crate) fn known(self) -> Option<FrontendReq> {
        FrontendReq::try_from(self.0).ok()
    }
}

impl From<FrontendReq> for Request {
    fn from(request: FrontendReq) -> Self {
        Self(request.into())
    }
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.known() {
            Some(request) => write!(f, "{request:?}"),
            None => write!(f, "request {}", self.0),
        }
    }
}

/// Why reading a message failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MessageError {
    /// The other side hung up between two messages.
    #[error("hung up")]
    HungUp,
    /// It hung up in the middle of one.
    #[error("hung up within a message")]
    Truncated,
    /// A header that no frontend of protocol version 1 sends.
    #[error("{0}: bad header (flags {1:#x}, size {2})")]
    Header(Request, u32, u32),
    /// The socket failed.
    #[error(transparent)]
    Socket(#[from] io::Error),
}

/// One message. Descriptors that nobody takes are closed with it.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) request: Request,
    flags: u32,
    pub(crate) payload: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

impl Message {
    /// A request of our own, without payload.
    pub(crate) fn new(request: FrontendReq) -> Self {
        Self { request: request.into(), flags: FLAG_VERSION_1, payload: Vec::new(), fds: Vec::new() }
    }

    /// The reply to `self` with `payload`.
    pub(crate) fn reply(&self, payload: &[u8]) -> Self {
        Self {
            request: self.request,
            flags: FLAG_VERSION_1 | FLAG_REPLY,
            payload: payload.to_vec(),
            fds: Vec::new(),
        }
    }

    /// Whether the sender asks for an acknowledgement, if REPLY_ACK is negotiated.
    pub(crate) fn needs_reply(&self) -> bool {
        self.flags & FLAG_NEED_REPLY != 0
    }

    /// The message with an acknowledgement no longer asked for.
    pub(crate) fn without_need_reply(mut self) -> Self {
        self.flags &= !FLAG_NEED_REPLY;
        self
    }

    /// The message with another payload.
    pub(crate) fn with_payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// A payload of exactly one 64-bit number.
    pub(crate) fn as_u64(&self) -> Option<u64> {
        self.payload.as_slice().try_into().ok().map(u64::from_ne_bytes)
    }

    /// A payload of exactly two 32-bit numbers: a ring's index and a value.
    pub(crate) fn as_vring_state(&self) -> Option<(u32, u32)> {
        let (index, value) = self.payload.split_first_chunk::<4>()?;
        Some((u32::from_ne_bytes(*index), u32::from_ne_bytes(value.try_into().ok()?)))
    }

    /// Reads one message from a frontend: waits for all of it, however it is cut into pieces.
    pub(crate) fn receive(socket: impl AsFd) -> Result<Self, MessageError> {
        let message = Self::receive_any(socket)?;
        if message.flags & FLAG_REPLY != 0 {
            return Err(MessageError::Header(message.request, message.flags, message.payload.len() as u32));
        }
        Ok(message)
    }

    /// Reads one message, request or reply.
    pub(crate) fn receive_any(socket: impl AsFd) -> Result<Self, MessageError> {
        let mut header = [0; HEADER_LEN];
        let mut fds = Vec::new();
        receive_exactly(&socket, &mut header, &mut fds)
            .map_err(|e| if e.done == 0 { e.into_between() } else { e.into_within() })?;
        let word = |i: usize| u32::from_ne_bytes(std::array::from_fn(|k| header[4 * i + k]));
        let (request, flags, size) = (Request(word(0)), word(1), word(2));
        if flags & FLAG_VERSION_MASK != FLAG_VERSION_1 || size as usize > MAX_PAYLOAD_LEN {
            return Err(MessageError::Header(request, flags, size));
        }
        let mut payload = vec![0; size as usize];
        receive_exactly(&socket, &mut payload, &mut fds).map_err(Interrupted::into_within)?;
        Ok(Self { request, flags, payload, fds })
    }

    /// Writes the message with its descriptors.
    pub(crate) fn send(&self, socket: impl AsFd) -> io::Result<()> {
        let mut octets = Vec::with_capacity(HEADER_LEN + self.payload.len());
        for word in [self.request.0, self.flags, self.payload.len() as u32] {
            octets.extend_from_slice(&word.to_ne_bytes());
        }
        octets.extend_from_slice(&self.payload);
        let fds: Vec<_> = self.fds.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_MESSAGE_FDS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut done = 0;
        while done < octets.len() {
            match sendmsg(&socket, &[IoSlice::new(&octets[done..])], &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(n) => {
                    done += n;
                    ancillary.clear();
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// A read that ended early: after how many octets, and the error if it was one.
struct Interrupted {
    done: usize,
    error: Option<io::Error>,
}

impl Interrupted {
    fn into_between(self) -> MessageError {
        self.error.map_or(MessageError::HungUp, MessageError::Socket)
    }

    fn into_within(self) -> MessageError {
        self.error.map_or(MessageError::Truncated, MessageError::Socket)
    }
}

fn receive_exactly(socket: impl AsFd, octets: &mut [u8], fds: &mut Vec<OwnedFd>) -> Result<(), Interrupted> {
    let mut done = 0;
    while done < octets.len() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let iov = &mut [IoSliceMut::new(&mut octets[done..])];
        match recvmsg(&socket, iov, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => {
                for message in ancillary.drain() {
                    if let RecvAncillaryMessage::ScmRights(rights) = message {
                        fds.extend(rights);
                    }
                }
                // Before more is read: each octet of a message can carry as many again.
                if fds.len() > MAX_MESSAGE_FDS || received.flags.contains(ReturnFlags::CTRUNC) {
                    return Err(Interrupted { done, error: Some(io::Error::other("too many descriptors")) });
                }
                if received.bytes == 0 {
                    return Err(Interrupted { done, error: None });
                }
                done += received.bytes;
            }
            Err(rustix::io::Errno::INTR) => {}
            // A hang-up with unread octets on the other side.
            Err(rustix::io::Errno::CONNRESET) => return Err(Interrupted { done, error: None }),
            Err(error) => return Err(Interrupted { done, error: Some(error.into()) }),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    fn octets(request: u32, flags: u32, payload: &[u8]) -> Vec<u8> {
        let words = [request, flags, payload.len() as u32].map(u32::to_ne_bytes);
        [&words.concat(), payload].concat()
    }

    fn receive(octets: &[u8]) -> Result<Message, MessageError> {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(octets).unwrap();
        drop(ours);
        Message::receive(theirs)
    }

    #[test]
    fn takes_a_message_octet_by_octet() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let writer = std::thread::spawn(move || {
            octets(2, 1, &7u64.to_ne_bytes()).iter().for_each(|o| ours.write_all(&[*o]).unwrap());
        });
        let message = Message::receive(theirs).unwrap();
        writer.join().unwrap();
        assert_eq!((message.request.known(), message.as_u64()), (Some(FrontendReq::SET_FEATURES), Some(7)));
    }

    #[test]
    fn refuses_bad_headers() {
        let bad_version = octets(1, 2, &[]);
        let reply = octets(1, 1 | 4, &[]);
        let mut too_long = octets(1, 1, &[]);
        too_long[8..12].copy_from_slice(&4097u32.to_ne_bytes());
        for octets in [bad_version, reply, too_long] {
            assert!(matches!(receive(&octets), Err(MessageError::Header(Request(1), ..))));
        }
    }

    #[test]
    fn tells_a_hang_up_between_messages_from_one_within() {
        let whole = octets(2, 1, &[0; 8]);
        assert!(matches!(receive(&[]), Err(MessageError::HungUp)));
        for len in 1..whole.len() {
            assert!(matches!(receive(&whole[..len]), Err(MessageError::Truncated)), "{len} octets");
        }
        assert!(receive(&whole).is_ok());
    }

    #[test]
    fn passes_descriptors_on_and_refuses_too_many() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let fds = |n| (0..n).map(|_| OwnedFd::from(std::fs::File::open("/dev/null").unwrap())).collect();
        let mut message = Message {
            request: FrontendReq::SET_MEM_TABLE.into(),
            flags: 1,
            payload: vec![1; 40],
            fds: fds(MAX_MESSAGE_FDS),
        };
        message.send(&ours).unwrap();
        let received = Message::receive(&theirs).unwrap();
        assert_eq!((received.fds.len(), received.payload), (MAX_MESSAGE_FDS, vec![1; 40]));

        message.fds = fds(17);
        message.payload = vec![];
        message.send(&ours).unwrap();
        message.send(&ours).unwrap();
        assert_eq!(Message::receive(&theirs).unwrap().fds.len(), 17);
    }
}
