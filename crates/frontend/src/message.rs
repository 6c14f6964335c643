//! vhost-user messages: numbers, header, and a connection on which no wait is without a deadline.

use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use crate::{Error, poll};

/// How long a frontend waits for an answer unless told otherwise: far more than a healthy backend needs on
/// a loaded machine, and still an end.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

/// Octets of a message's header.
pub const HEADER_LEN: usize = 12;

/// The longest body this side takes, in octets; the specification's messages need at most 4096.
pub const MAX_BODY_LEN: usize = 65_536;

/// The most descriptors one message carries here: what Linux lets a sendmsg carry (SCM_MAX_FD).
pub const MAX_FDS: usize = 253;

/// Bits 0 and 1 of the flags: the protocol's version, always 1.
pub const VERSION: u32 = 1;
/// Bit 2 of the flags: the message is a reply.
pub const FLAG_REPLY: u32 = 1 << 2;
/// Bit 3 of the flags: the sender wants an acknowledgement (VHOST_USER_PROTOCOL_F_REPLY_ACK).
pub const FLAG_NEED_REPLY: u32 = 1 << 3;
/// Bit 8 of the body of SET_VRING_KICK, CALL and ERR: no descriptor comes along.
pub const NO_FD: u64 = 1 << 8;

/// The number of a request. Any number can be sent; the known ones have names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request(pub u32);

macro_rules! requests {
    ($($name:ident = $number:literal,)*) => {
        impl Request {
            $(
                #[doc = concat!("VHOST_USER_", stringify!($name), ", ", stringify!($number), ".")]
                pub const $name: Self = Self($number);
            )*

            /// Every request with a name, in the order of the numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }

        impl fmt::Display for Request {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    $($number => f.write_str(stringify!($name)),)*
                    unknown => write!(f, "request {unknown}"),
                }
            }
        }
    };
}

requests! {
    GET_FEATURES = 1,
    SET_FEATURES = 2,
    SET_OWNER = 3,
    RESET_OWNER = 4,
    SET_MEM_TABLE = 5,
    SET_LOG_BASE = 6,
    SET_LOG_FD = 7,
    SET_VRING_NUM = 8,
    SET_VRING_ADDR = 9,
    SET_VRING_BASE = 10,
    GET_VRING_BASE = 11,
    SET_VRING_KICK = 12,
    SET_VRING_CALL = 13,
    SET_VRING_ERR = 14,
    GET_PROTOCOL_FEATURES = 15,
    SET_PROTOCOL_FEATURES = 16,
    GET_QUEUE_NUM = 17,
    SET_VRING_ENABLE = 18,
    SEND_RARP = 19,
    NET_SET_MTU = 20,
    SET_BACKEND_REQ_FD = 21,
    IOTLB_MSG = 22,
    SET_VRING_ENDIAN = 23,
    GET_CONFIG = 24,
    SET_CONFIG = 25,
    CREATE_CRYPTO_SESSION = 26,
    CLOSE_CRYPTO_SESSION = 27,
    POSTCOPY_ADVISE = 28,
    POSTCOPY_LISTEN = 29,
    POSTCOPY_END = 30,
    GET_INFLIGHT_FD = 31,
    SET_INFLIGHT_FD = 32,
    GPU_SET_SOCKET = 33,
    RESET_DEVICE = 34,
    VRING_KICK = 35,
    GET_MAX_MEM_SLOTS = 36,
    ADD_MEM_REG = 37,
    REM_MEM_REG = 38,
    SET_STATUS = 39,
    GET_STATUS = 40,
    GET_SHARED_OBJECT = 41,
    SET_DEVICE_STATE_FD = 42,
    CHECK_DEVICE_STATE = 43,
    GET_SHMEM_CONFIG = 44,
}

/// What stands before each message's body.
///
/// ```text
///   request, 4 octets | flags, 4 | size of the body, 4        all little-endian
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageHeader {
    /// What is asked, or answered.
    pub request: Request,
    /// [`VERSION`], [`FLAG_REPLY`], [`FLAG_NEED_REPLY`].
    pub flags: u32,
    /// Octets of the body.
    pub size: u32,
}

impl MessageHeader {
    /// The header as it goes over the socket. Nothing is checked: a hostile frontend uses it too.
    #[must_use]
    pub fn to_octets(self) -> [u8; HEADER_LEN] {
        let mut octets = [0; HEADER_LEN];
        for (field, value) in octets.chunks_exact_mut(4).zip([self.request.0, self.flags, self.size]) {
            field.copy_from_slice(&value.to_le_bytes());
        }
        octets
    }

    /// Reads a header. Nothing is checked.
    #[must_use]
    pub fn from_octets(octets: &[u8; HEADER_LEN]) -> Self {
        let word = |i: usize| u32::from_le_bytes(std::array::from_fn(|k| octets[i + k]));
        Self { request: Request(word(0)), flags: word(4), size: word(8) }
    }
}

/// A message that came in.
#[derive(Debug)]
pub struct Reply {
    /// Which request it answers, as it says.
    pub request: Request,
    /// Its flags.
    pub flags: u32,
    /// Its body.
    pub body: Vec<u8>,
    /// Descriptors that came with it.
    pub fds: Vec<OwnedFd>,
}

impl Reply {
    /// The body as one number.
    ///
    /// # Errors
    ///
    /// [`Error::Body`] if it is not 8 octets long.
    pub fn u64(&self) -> Result<u64, Error> {
        let body = Error::Body { request: self.request, len: self.body.len() };
        Ok(u64::from_le_bytes(self.body.as_slice().try_into().map_err(|_| body)?))
    }
}

/// A vhost-user connection, of the frontend's side; a scripted backend in a test may use it as well.
///
/// The socket is nonblocking; every call waits at most its deadline and then gives [`Error::Deadline`].
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    timeout: Duration,
}

impl Connection {
    /// Takes a connected stream; calls without a deadline of their own wait [`DEFAULT_TIMEOUT`].
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the socket can't be made nonblocking.
    pub fn new(stream: UnixStream) -> Result<Self, Error> {
        stream.set_nonblocking(true).map_err(Error::io("making the socket nonblocking"))?;
        Ok(Self { stream, timeout: DEFAULT_TIMEOUT })
    }

    /// Connects to a listening backend. With `retry` it tries again, until `timeout` has passed, while
    /// nobody listens there yet; a full backlog is waited for in any case.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with what connect(2) said, last.
    pub fn connect(path: &Path, retry: bool, timeout: Duration) -> Result<Self, Error> {
        let deadline = Instant::now() + timeout;
        let address = SocketAddrUnix::new(path).map_err(Error::io("making a socket address"))?;
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
                .map_err(Error::io("socket"))?;
            match rustix::net::connect(&socket, &address) {
                Ok(()) => return Self::new(UnixStream::from(socket)),
                Err(error) => {
                    let absent = matches!(error, Errno::NOENT | Errno::CONNREFUSED);
                    let later = error == Errno::AGAIN || error == Errno::INTR || (retry && absent);
                    if !later || Instant::now() >= deadline {
                        return Err(Error::io("connect")(error));
                    }
                    // Nothing can be polled for the birth of a listener.
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
    }

    /// Sets how long calls without a deadline of their own wait.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// How long calls without a deadline of their own wait.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sends a message of version 1, header, body and descriptors in one sendmsg.
    ///
    /// # Errors
    ///
    /// As [`send_octets`](Self::send_octets).
    pub fn send(
        &mut self,
        request: Request,
        need_reply: bool,
        body: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), Error> {
        let flags = VERSION | if need_reply { FLAG_NEED_REPLY } else { 0 };
        self.send_flags(request, flags, body, fds)
    }

    /// Sends a reply: for a scripted backend.
    ///
    /// # Errors
    ///
    /// As [`send_octets`](Self::send_octets).
    pub fn reply(&mut self, request: Request, body: &[u8]) -> Result<(), Error> {
        self.send_flags(request, VERSION | FLAG_REPLY, body, &[])
    }

    fn send_flags(
        &mut self,
        request: Request,
        flags: u32,
        body: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), Error> {
        let mut octets = Vec::with_capacity(HEADER_LEN + body.len());
        octets.extend_from_slice(&MessageHeader { request, flags, size: body.len() as u32 }.to_octets());
        octets.extend_from_slice(body);
        self.send_octets(&octets, fds)
    }

    /// Sends octets as they are, whatever they mean, with descriptors on the first of them. More than one
    /// sendmsg only where the socket takes less at once.
    ///
    /// # Errors
    ///
    /// [`Error::Disconnected`] if the backend closed the connection, [`Error::Deadline`] if it does not
    /// read, [`Error::Io`] otherwise, also for more than [`MAX_FDS`] descriptors.
    pub fn send_octets(&mut self, octets: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let deadline = Instant::now() + self.timeout;
        let mut sent = 0;
        while sent < octets.len() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if sent == 0 && !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(Error::io("sending descriptors")(Errno::TOOBIG));
            }
            let rest = [IoSlice::new(&octets[sent..])];
            match rustix::net::sendmsg(&self.stream, &rest, &mut control, SendFlags::NOSIGNAL) {
                Ok(n) => sent += n,
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, deadline, "the backend does not read")?,
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(Error::Disconnected),
                Err(error) => return Err(Error::io("sendmsg")(error)),
            }
        }
        Ok(())
    }

    /// Receives one message, at most `timeout` from now.
    ///
    /// # Errors
    ///
    /// [`Error::Disconnected`] at the end of the stream, [`Error::Deadline`], [`Error::Body`] for a body of
    /// more than [`MAX_BODY_LEN`] octets, [`Error::Io`].
    pub fn receive(&mut self, timeout: Duration) -> Result<Reply, Error> {
        let deadline = Instant::now() + timeout;
        let mut fds = Vec::new();
        let mut octets = [0; HEADER_LEN];
        self.fill(&mut octets, &mut fds, deadline)?;
        let MessageHeader { request, flags, size } = MessageHeader::from_octets(&octets);
        let len = size as usize;
        if len > MAX_BODY_LEN {
            return Err(Error::Body { request, len });
        }
        let mut body = vec![0; len];
        self.fill(&mut body, &mut fds, deadline)?;
        Ok(Reply { request, flags, body, fds })
    }

    fn fill(&mut self, octets: &mut [u8], fds: &mut Vec<OwnedFd>, deadline: Instant) -> Result<(), Error> {
        let mut done = 0;
        while done < octets.len() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let rest = &mut [IoSliceMut::new(&mut octets[done..])];
            match rustix::net::recvmsg(&self.stream, rest, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(message) => {
                    for control in control.drain() {
                        if let RecvAncillaryMessage::ScmRights(rights) = control {
                            fds.extend(rights);
                        }
                    }
                    if message.bytes == 0 {
                        return Err(Error::Disconnected);
                    }
                    done += message.bytes;
                }
                Err(Errno::AGAIN) => self.wait(PollFlags::IN, deadline, "the backend does not answer")?,
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Err(Error::Disconnected),
                Err(error) => return Err(Error::io("recvmsg")(error)),
            }
        }
        Ok(())
    }

    /// Waits until the backend has closed the connection; what it still sends is thrown away.
    ///
    /// # Errors
    ///
    /// [`Error::Deadline`] if it has not by then, [`Error::Io`].
    pub fn wait_closed(&mut self, timeout: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.fill(&mut [0], &mut Vec::new(), deadline) {
                Ok(()) => {}
                Err(Error::Disconnected) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the backend has closed the connection.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let mut fds = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        poll::ready(&mut fds, Instant::now()).unwrap_or(true)
    }

    /// Sends a request that has an answer, and receives it.
    ///
    /// # Errors
    ///
    /// As for sending and receiving; [`Error::Reply`] if the answer is to something else.
    pub fn ask(&mut self, request: Request, need_reply: bool, body: &[u8]) -> Result<Reply, Error> {
        self.send(request, need_reply, body, &[])?;
        self.answer(request)
    }

    /// Sends a request without an answer; with `need_reply` it waits for the acknowledgement.
    ///
    /// # Errors
    ///
    /// As for sending; with `need_reply` also as for receiving, and [`Error::Refused`] if the
    /// acknowledgement is not 0.
    pub fn tell(
        &mut self,
        request: Request,
        need_reply: bool,
        body: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), Error> {
        self.send(request, need_reply, body, fds)?;
        if need_reply {
            match self.answer(request)?.u64()? {
                0 => {}
                code => return Err(Error::Refused { request, code }),
            }
        }
        Ok(())
    }

    fn answer(&mut self, expected: Request) -> Result<Reply, Error> {
        let reply = self.receive(self.timeout)?;
        let right = VERSION | FLAG_REPLY;
        // DPDK's backend leaves NEED_REPLY of the request in its replies.
        if reply.request != expected || reply.flags & !FLAG_NEED_REPLY != right {
            let Reply { request, flags, .. } = reply;
            return Err(Error::Reply { expected, request, flags });
        }
        Ok(reply)
    }

    fn wait(&self, flags: PollFlags, deadline: Instant, what: &'static str) -> Result<(), Error> {
        let mut fds = [PollFd::new(&self.stream, flags)];
        if poll::ready(&mut fds, deadline)? { Ok(()) } else { Err(Error::Deadline(what)) }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Connection, Connection) {
        let (a, b) = UnixStream::pair().unwrap();
        (Connection::new(a).unwrap(), Connection::new(b).unwrap())
    }

    #[test]
    fn header_stands_where_the_specification_puts_it() {
        let header = MessageHeader { request: Request::ADD_MEM_REG, flags: 0x9, size: 40 };
        assert_eq!(header.to_octets(), [37, 0, 0, 0, 9, 0, 0, 0, 40, 0, 0, 0]);
        assert_eq!(MessageHeader::from_octets(&header.to_octets()), header);
        assert_eq!(Request::GET_SHMEM_CONFIG.to_string(), "GET_SHMEM_CONFIG");
        assert_eq!(Request(77).to_string(), "request 77");
        assert!(Request::ALL.iter().map(|r| r.0).eq(1..=44));
    }

    #[test]
    fn descriptors_travel_with_their_message() {
        let (mut frontend, mut backend) = pair();
        let (reader, writer) = std::io::pipe().unwrap();
        frontend.send(Request::SET_VRING_KICK, false, &7u64.to_le_bytes(), &[writer.as_fd()]).unwrap();
        drop(writer);
        let message = backend.receive(DEFAULT_TIMEOUT).unwrap();
        assert_eq!((message.request, message.flags), (Request::SET_VRING_KICK, VERSION));
        assert_eq!(message.u64().unwrap(), 7);
        assert_eq!(message.fds.len(), 1);
        rustix::io::write(&message.fds[0], b"x").unwrap();
        assert_eq!(rustix::io::read(&reader, &mut [0; 4]).unwrap(), 1);
    }

    #[test]
    fn a_message_longer_than_the_socket_buffer_arrives_whole() {
        let (mut frontend, mut backend) = pair();
        let octets: Vec<u8> = (0..4_000_000).map(|i: u32| i as u8).collect();
        let reader = std::thread::spawn(move || {
            let mut got = vec![0; 4_000_000];
            backend.fill(&mut got, &mut Vec::new(), Instant::now() + DEFAULT_TIMEOUT).unwrap();
            got
        });
        frontend.send_octets(&octets, &[]).unwrap();
        assert!(reader.join().unwrap() == octets);
    }

    #[test]
    fn silence_ends_at_the_deadline_and_a_hang_up_at_once() {
        let (mut frontend, backend) = pair();
        let silence = frontend.receive(Duration::from_millis(1));
        assert!(matches!(silence, Err(Error::Deadline(_))), "{silence:?}");
        assert!(!frontend.is_closed());
        drop(backend);
        assert!(matches!(frontend.receive(DEFAULT_TIMEOUT), Err(Error::Disconnected)));
        assert!(matches!(frontend.send(Request::SET_OWNER, false, &[], &[]), Err(Error::Disconnected)));
        frontend.wait_closed(DEFAULT_TIMEOUT).unwrap();
        assert!(frontend.is_closed());
    }

    #[test]
    fn a_backend_that_does_not_read_ends_the_sending_at_the_deadline() {
        let (mut frontend, _backend) = pair();
        frontend.set_timeout(Duration::from_millis(1));
        assert!(matches!(frontend.send_octets(&vec![0; 4_000_000], &[]), Err(Error::Deadline(_))));
    }

    #[test]
    fn a_wrong_answer_is_told_from_a_refusal() {
        let (mut frontend, mut backend) = pair();
        backend.reply(Request::GET_FEATURES, &0u64.to_le_bytes()).unwrap();
        let wrong = frontend.tell(Request::SET_FEATURES, true, &0u64.to_le_bytes(), &[]);
        assert!(matches!(wrong, Err(Error::Reply { request: Request::GET_FEATURES, .. })), "{wrong:?}");
        backend.reply(Request::NET_SET_MTU, &1u64.to_le_bytes()).unwrap();
        let refused = frontend.tell(Request::NET_SET_MTU, true, &9000u64.to_le_bytes(), &[]);
        assert!(matches!(refused, Err(Error::Refused { code: 1, .. })), "{refused:?}");
        backend.reply(Request::GET_FEATURES, &[0; 7]).unwrap();
        let short = frontend.ask(Request::GET_FEATURES, false, &[]).unwrap().u64();
        assert!(matches!(short, Err(Error::Body { len: 7, .. })), "{short:?}");
    }
}
