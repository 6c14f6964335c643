//! A backend small enough to see through: it records every message, and sends each frame back to its sender.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use espwire_frontend::{Connection, Error, FLAG_NEED_REPLY, NO_FD, Reply, Request};
use espwire_virtnet::{Features, Header};
use espwire_vring::{DeviceRing, RegionTable, RingConfig, RingLayout};
use rustix::event::{PollFd, PollFlags, Timespec};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap};

const PATIENCE: Duration = Duration::from_secs(60);

/// What the backend offers.
#[derive(Clone, Copy)]
pub(crate) struct Offer {
    pub(crate) features: Features,
    pub(crate) protocol: u64,
}

impl Offer {
    pub(crate) const ALL: Self = Self { features: Features::OFFERED, protocol: u64::MAX };
}

struct Region {
    start: u64,
    len: u64,
    user: u64,
    offset: u64,
    file: File,
}

#[derive(Default)]
struct RingState {
    size: u16,
    /// User addresses: descriptors, used, available.
    addr: [u64; 3],
    base: u16,
    kick: Option<OwnedFd>,
    call: Option<OwnedFd>,
    enabled: bool,
    device: Option<DeviceRing>,
}

pub(crate) struct Echo {
    connection: Connection,
    offer: Offer,
    features: Features,
    regions: Vec<Region>,
    rings: Vec<RingState>,
    status: u64,
    /// Every message: its request and whether an acknowledgement was asked for.
    log: Vec<(Request, bool)>,
}

/// Serves one connection in a thread; it ends with the connection and gives the messages that came.
pub(crate) fn serve(stream: UnixStream, offer: Offer) -> JoinHandle<Vec<(Request, bool)>> {
    std::thread::spawn(move || {
        let mut rings = Vec::new();
        rings.resize_with(4, RingState::default);
        let connection = Connection::new(stream).unwrap();
        let features = Features::default();
        let mut echo =
            Echo { connection, offer, features, regions: Vec::new(), rings, status: 0, log: Vec::new() };
        echo.run();
        echo.log
    })
}

/// Listens, accepts one connection, serves it.
pub(crate) fn listen(path: &Path, offer: Offer) -> JoinHandle<Vec<(Request, bool)>> {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        drop(listener);
        serve(stream, offer).join().unwrap()
    })
}

impl Echo {
    fn run(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "the frontend neither speaks nor hangs up");
            let mut fds = vec![PollFd::new(&self.connection, PollFlags::IN)];
            fds.extend(
                self.rings.iter().filter_map(|r| r.kick.as_ref()).map(|k| PollFd::new(k, PollFlags::IN)),
            );
            let timeout = Timespec { tv_sec: 1, tv_nsec: 0 };
            rustix::event::poll(&mut fds, Some(&timeout)).unwrap();
            let message = !fds[0].revents().is_empty();
            drop(fds);
            if message {
                match self.connection.receive(PATIENCE) {
                    Ok(message) => self.handle(message),
                    Err(Error::Disconnected) => return,
                    Err(error) => panic!("{error}"),
                }
            }
            for ring in &self.rings {
                if let Some(kick) = &ring.kick {
                    let _ = rustix::io::read(kick, &mut [0; 8]);
                }
            }
            while self.forward(0) | self.forward(1) {}
        }
    }

    fn handle(&mut self, mut message: Reply) {
        let request = message.request;
        let need_reply = message.flags & FLAG_NEED_REPLY != 0;
        self.log.push((request, need_reply));
        let word = |i: usize| -> u64 {
            message.body.get(8 * i..8 * i + 8).map_or(0, |o| u64::from_le_bytes(o.try_into().unwrap()))
        };
        let (index, num) = (word(0) as u32 as usize, (word(0) >> 32) as u32);
        let answer = match request {
            Request::GET_FEATURES => Some(self.offer.features.0),
            Request::GET_PROTOCOL_FEATURES => Some(self.offer.protocol),
            Request::GET_QUEUE_NUM => Some(2),
            Request::GET_MAX_MEM_SLOTS => Some(32),
            Request::GET_STATUS => Some(self.status),
            Request::GET_VRING_BASE => {
                let ring = &mut self.rings[index];
                ring.kick = None;
                ring.base = ring.device.take().map_or(ring.base, |device| device.next());
                Some(u64::from(ring.base) << 32 | index as u64)
            }
            _ => None,
        };
        if request == Request::GET_CONFIG {
            let mut body = message.body.clone();
            body[12..18].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
            return self.connection.reply(request, &body).unwrap();
        }
        if let Some(answer) = answer {
            return self.connection.reply(request, &answer.to_le_bytes()).unwrap();
        }
        match request {
            Request::SET_FEATURES => self.features = Features(word(0)),
            Request::SET_STATUS => self.status = word(0),
            Request::SET_VRING_ENABLE => self.rings[index].enabled = num != 0,
            Request::SET_VRING_NUM => self.rings[index].size = num as u16,
            Request::SET_VRING_BASE => self.rings[index].base = num as u16,
            Request::SET_VRING_ADDR => self.rings[index].addr = [word(1), word(2), word(3)],
            Request::SET_MEM_TABLE | Request::ADD_MEM_REG => {
                if request == Request::SET_MEM_TABLE {
                    self.regions.clear();
                    assert_eq!(word(0) as usize, message.fds.len());
                }
                for (i, fd) in message.fds.drain(..).enumerate() {
                    let field = |k| word(1 + 4 * i + k);
                    let [start, len, user, offset] = std::array::from_fn(field);
                    self.regions.push(Region { start, len, user, offset, file: fd.into() });
                }
            }
            Request::SET_VRING_CALL | Request::SET_VRING_KICK | Request::SET_VRING_ERR => {
                let index = (word(0) & 0xff) as usize;
                assert_eq!(message.fds.len(), usize::from(word(0) & NO_FD == 0));
                let fd = message.fds.pop();
                match request {
                    Request::SET_VRING_CALL => self.rings[index].call = fd,
                    Request::SET_VRING_KICK => {
                        self.rings[index].kick = fd;
                        self.start(index);
                    }
                    _ => {}
                }
            }
            Request::SET_OWNER | Request::SET_PROTOCOL_FEATURES | Request::NET_SET_MTU => {}
            other => panic!("{other} came"),
        }
        assert!(message.fds.is_empty(), "{request} with too many descriptors");
        if need_reply {
            self.connection.reply(request, &0u64.to_le_bytes()).unwrap();
        }
    }

    fn start(&mut self, index: usize) {
        if self.rings[index].device.is_some() {
            return;
        }
        let ranges = self.regions.iter().map(|r| {
            let file = FileOffset::new(r.file.try_clone().unwrap(), r.offset);
            (GuestAddress(r.start), r.len as usize, Some(file))
        });
        let memory = GuestMemoryMmap::<()>::from_ranges_with_files(ranges.collect::<Vec<_>>()).unwrap();
        let table = RegionTable::new(Arc::new(memory)).unwrap();
        let guest_physical = |user: u64| {
            let region =
                self.regions.iter().find(|r| user.wrapping_sub(r.user) < r.len).expect("a user address");
            user - region.user + region.start
        };
        let ring = &self.rings[index];
        let [descriptors, used, available] = ring.addr.map(guest_physical);
        let config = RingConfig {
            size: ring.size,
            descriptors,
            available,
            used,
            event_idx: self.features.has(Features::EVENT_IDX),
            indirect: self.features.has(Features::INDIRECT_DESC),
        };
        let device = DeviceRing::resume(RingLayout::new(&table, &config).unwrap(), ring.base);
        self.rings[index].device = Some(device);
    }

    /// Sends frames of one pair back; true if there is more to do.
    fn forward(&mut self, pair: usize) -> bool {
        let header_len = self.features.header_len();
        let max_chains = if self.features.has(Features::MRG_RXBUF) { 64 } else { 1 };
        let [rx, tx] = &mut self.rings[2 * pair..2 * pair + 2] else { unreachable!() };
        let (Some(from), Some(to)) = (&mut tx.device, &mut rx.device) else { return false };
        if !rx.enabled || !tx.enabled {
            return false;
        }
        from.disarm();
        let burst = from.pop_burst(32).unwrap();
        let mut done = 0;
        for i in 0..burst.len() {
            let chain = burst.chain(i);
            let len = chain.len().unwrap() as usize;
            assert!(len >= header_len, "a chain without a header");
            let Ok(mut room) = to.reserve(len, max_chains) else { break };
            let num_buffers = if header_len == 12 { room.chains() } else { 0 };
            room.write(&Header::plain(num_buffers).to_octets()[..header_len]);
            assert_eq!(room.write_chain(&chain, header_len), len - header_len);
            assert!(room.commit());
            done += 1;
        }
        let blocked = done < burst.len();
        burst.complete(done);
        to.publish();
        from.publish();
        for ring in [(&mut *to, &rx.call), (&mut *from, &tx.call)] {
            if let (true, Some(call)) = (ring.0.needs_call(), ring.1) {
                rustix::io::write(call, &1u64.to_ne_bytes()).unwrap();
            }
        }
        let waiting = if blocked { from.seen() } else { 0 };
        let beyond = to.seen();
        let buffers = to.arm(beyond);
        from.arm(waiting) | (blocked && buffers)
    }
}
