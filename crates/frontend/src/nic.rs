//! A NIC as its guest's driver sees it, with the VMM that connects it.

use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use espwire_virtnet::Features;
use espwire_vring::DriverRing;

use crate::handshake::{Negotiated, RingStart, Session};
use crate::notification::Notifications;
use crate::ring::{Ring, RingPlace};
use crate::{Connection, Error, GuestMemory, NicBuilder, Order, Request, builder};

/// Which ring of a queue pair: the guest's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The guest receives: ring 2·pair.
    Rx,
    /// The guest sends: ring 2·pair + 1.
    Tx,
}

/// A virtio NIC in a guest, played by this process: rings and buffers in a memfd, a vhost-user connection to
/// the backend that serves it.
///
/// Memory and rings live as long as the `Nic`, whatever becomes of the backend. Methods that send and receive
/// work on one queue pair, the one [selected](Self::select_pair).
#[derive(Debug)]
pub struct Nic {
    pub(crate) builder: NicBuilder,
    memory: GuestMemory,
    places: Vec<RingPlace>,
    pub(crate) notifications: Vec<Notifications>,
    session: Option<Session>,
    /// Empty until the driver starts for the first time, and after a reset.
    pub(crate) rings: Vec<Ring>,
    /// The features that the rings were made with.
    pub(crate) agreed: Features,
    /// Where each ring goes on at the next start.
    bases: Vec<u16>,
    running: bool,
    pair: usize,
    /// Frames whose chains came back.
    pub(crate) completed: u64,
}

impl Nic {
    /// A NIC with defaults: QEMU's order, one queue pair, rings of 256, 2048-octet buffers.
    pub fn builder() -> NicBuilder {
        NicBuilder::default()
    }

    pub(crate) fn open(mut builder: NicBuilder, connection: Connection) -> Result<Self, Error> {
        let mut memory = builder.take_memory()?;
        let slots = builder.slots();
        let mut places = Vec::new();
        let mut notifications = Vec::new();
        for _ in 0..builder.queue_pairs {
            for slots in slots {
                places.push(slots.place(&mut memory)?);
                notifications.push(Notifications::new()?);
            }
        }
        let bases = vec![0; places.len()];
        let mut nic = Self {
            builder,
            memory,
            places,
            notifications,
            session: None,
            rings: Vec::new(),
            agreed: Features::default(),
            bases,
            running: false,
            pair: 0,
            completed: 0,
        };
        nic.negotiate(connection)?;
        if !nic.builder.stopped {
            nic.start()?;
        }
        Ok(nic)
    }

    fn negotiate(&mut self, mut connection: Connection) -> Result<(), Error> {
        connection.set_timeout(self.builder.timeout);
        let fds: Vec<_> = self.notifications.iter().map(|n| &n.fds).collect();
        self.session = Some(Session::open(connection, self.builder.wish, &fds)?);
        Ok(())
    }

    /// What was agreed on.
    ///
    /// # Errors
    ///
    /// [`Error::State`] without a connection.
    pub fn negotiated(&self) -> Result<&Negotiated, Error> {
        Ok(&self.session.as_ref().ok_or(Error::State("not connected"))?.negotiated)
    }

    /// The guest's memory.
    #[must_use]
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// The connection, to send anything else on.
    ///
    /// # Errors
    ///
    /// [`Error::State`] without one.
    pub fn connection(&mut self) -> Result<&mut Connection, Error> {
        Ok(&mut self.session()?.connection)
    }

    pub(crate) fn connection_ref(&self) -> Option<&Connection> {
        self.session.as_ref().map(|session| &session.connection)
    }

    /// A ring's driver side, to do with it what no driver would; `None` until the driver has started.
    ///
    /// Chains pushed here are unknown to the `Nic`: take them back with [`DriverRing::pop_used`], and use the
    /// NIC's own methods on that ring no more.
    pub fn ring(&mut self, side: Side) -> Option<&mut DriverRing> {
        let index = self.index(side);
        Some(&mut self.rings.get_mut(index)?.driver)
    }

    /// Whether the backend has closed the connection, or there is none.
    #[must_use]
    pub fn is_disconnected(&self) -> bool {
        self.session.as_ref().is_none_or(|session| session.connection.is_closed())
    }

    /// Switches a ring on or off by SET_VRING_ENABLE.
    ///
    /// # Errors
    ///
    /// What the session says.
    pub fn set_enabled(&mut self, side: Side, enabled: bool) -> Result<(), Error> {
        let index = self.index(side) as u32;
        self.session()?.set_enabled(index, enabled)
    }

    /// Gives the backend another call descriptor while the ring runs. Calls that still come over the old one
    /// are seen.
    ///
    /// # Errors
    ///
    /// What the session says; [`Error::Io`] if there is no new descriptor to be had.
    pub fn replace_call(&mut self, side: Side) -> Result<(), Error> {
        let index = self.index(side);
        let session = self.session.as_mut().ok_or(Error::State("not connected"))?;
        let fds = &mut self.notifications[index].replace_call()?.fds;
        session.set_fd(Request::SET_VRING_CALL, index as u32, Some(fds.call.as_fd()))
    }

    /// Gives the backend another kick descriptor while the ring runs, and kicks it once, as QEMU does.
    ///
    /// # Errors
    ///
    /// As [`replace_call`](Self::replace_call).
    pub fn replace_kick(&mut self, side: Side) -> Result<(), Error> {
        let index = self.index(side);
        let session = self.session.as_mut().ok_or(Error::State("not connected"))?;
        let fds = &mut self.notifications[index].replace_kick()?.fds;
        session.set_fd(Request::SET_VRING_KICK, index as u32, Some(fds.kick.as_fd()))?;
        self.notifications[index].kick()
    }

    /// Sends the whole memory table again, with SET_MEM_TABLE, rings running or not.
    ///
    /// # Errors
    ///
    /// What the session says.
    pub fn resend_memory(&mut self) -> Result<(), Error> {
        let session = self.session.as_mut().ok_or(Error::State("not connected"))?;
        session.set_memory_table(&self.memory)
    }

    /// Sends SET_FEATURES again without stopping anything, with `features`: QEMU does so with
    /// VHOST_F_LOG_ALL, bit 26, when a migration starts.
    ///
    /// # Errors
    ///
    /// What the session says.
    pub fn resend_features(&mut self, features: Features) -> Result<(), Error> {
        let session = self.session()?;
        let before = std::mem::replace(&mut session.negotiated.features, features);
        let sent = session.set_features();
        session.negotiated.features = before;
        sent
    }

    fn session(&mut self) -> Result<&mut Session, Error> {
        self.session.as_mut().ok_or(Error::State("not connected"))
    }

    pub(crate) fn index(&self, side: Side) -> usize {
        2 * self.pair + usize::from(side == Side::Tx)
    }

    /// Makes queue pair `pair`, counted from 0, the one that is used from now on; one that is not there
    /// means the last.
    pub fn select_pair(&mut self, pair: usize) {
        self.pair = pair.min(self.places.len() / 2 - 1);
    }

    /// Starts the driver: hands over memory and rings, and fills the RX rings. After [`stop`](Self::stop) the
    /// rings go on where they stood.
    ///
    /// # Errors
    ///
    /// [`Error::State`] if it runs already or there is no connection; what the session or the rings say.
    pub fn start(&mut self) -> Result<(), Error> {
        if self.running {
            return Err(Error::State("the driver runs already"));
        }
        let session = self.session.as_mut().ok_or(Error::State("not connected"))?;
        let features = session.negotiated.features;
        if self.rings.is_empty() {
            self.agreed = features;
            self.bases.fill(0);
            for place in &self.places {
                self.rings.push(Ring::new(place, &self.memory, features, self.builder.use_indirect)?);
            }
        }
        let starts: Vec<_> = (self.rings.iter().zip(&self.bases).zip(&self.notifications))
            .map(|((ring, &base), notifications)| RingStart {
                config: *ring.driver.layout().config(),
                base,
                fds: &notifications.fds,
            })
            .collect();
        session.start(&self.memory, &starts)?;
        self.running = true;
        for index in 0..self.rings.len() {
            if index % 2 == 0 {
                while self.rings[index].push_empty() {}
            }
            self.publish(index)?;
            // QEMU makes kick descriptors readable from the start; cloud-hypervisor kicks a ring with
            // buffers waiting. A backend must not need it for new chains, but it may for old ones.
            if self.rings[index].driver.in_flight() > 0 {
                self.notifications[index].kick()?;
            }
        }
        Ok(())
    }

    /// Stops the rings, as for a pause; returns each ring's base, as the backend tells it.
    ///
    /// # Errors
    ///
    /// What the session says; the rings count as stopped in any case.
    pub fn stop(&mut self) -> Result<Vec<u32>, Error> {
        self.running = false;
        let rings = self.places.len();
        let bases = self.session()?.stop(rings)?;
        self.bases = bases.iter().map(|&base| base as u16).collect();
        Ok(bases)
    }

    /// The guest reboots: stops the rings, forgets them, and starts its driver anew with what `features` has
    /// in common with the backend's offer.
    ///
    /// # Errors
    ///
    /// As [`stop`](Self::stop) and [`start`](Self::start).
    pub fn renegotiate(&mut self, features: Features) -> Result<(), Error> {
        if self.running {
            self.stop()?;
        }
        self.rings.clear();
        self.builder.wish.features = features;
        self.session()?.choose_features(features);
        self.start()
    }

    /// The guest reboots with the same features.
    ///
    /// # Errors
    ///
    /// As [`renegotiate`](Self::renegotiate).
    pub fn reset(&mut self) -> Result<(), Error> {
        self.renegotiate(self.builder.wish.features)
    }

    /// Stops the rings and closes the connection.
    ///
    /// # Errors
    ///
    /// As [`stop`](Self::stop); the connection is closed in any case.
    pub fn disconnect(&mut self) -> Result<Vec<u32>, Error> {
        let bases = if self.running { self.stop() } else { Ok(Vec::new()) };
        self.hang_up();
        bases
    }

    /// Closes the connection without a word, as when the VMM is killed.
    pub fn hang_up(&mut self) {
        self.session = None;
        self.running = false;
    }

    /// The backend died and another one listens at `path`: negotiates the same features again and goes on with
    /// the same rings, as QEMU and cloud-hypervisor do, while the guest's driver knows of nothing.
    ///
    /// # Errors
    ///
    /// [`Error::FeaturesGone`] if the new backend offers less, and all that `connect` can say.
    pub fn reconnect(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        self.hang_up();
        let connection = Connection::connect(path.as_ref(), self.builder.retry, self.builder.timeout)?;
        self.resume(connection)
    }

    /// [`reconnect`](Self::reconnect) to a backend that connects to us.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn reaccept(&mut self, listener: &UnixListener) -> Result<(), Error> {
        self.hang_up();
        let connection = builder::accept(listener, self.builder.timeout)?;
        self.resume(connection)
    }

    /// Connects to the backend at `path` as a guest that boots: rings from zero.
    ///
    /// # Errors
    ///
    /// All that `connect` can say.
    pub fn reconnect_fresh(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        self.hang_up();
        self.rings.clear();
        let connection = Connection::connect(path.as_ref(), self.builder.retry, self.builder.timeout)?;
        self.negotiate(connection)?;
        self.start()
    }

    fn resume(&mut self, connection: Connection) -> Result<(), Error> {
        self.negotiate(connection)?;
        if !self.rings.is_empty() {
            let agreed = self.agreed;
            let session = self.session()?;
            session.choose_features(agreed);
            let gone = agreed.0 & !session.negotiated.offered.0;
            if gone != 0 {
                return Err(Error::FeaturesGone(gone));
            }
        }
        // The backend told no base. QEMU takes the used index (virtio_queue_restore_last_avail_idx),
        // cloud-hypervisor the available index, except with IN_ORDER.
        let from_available =
            self.builder.wish.order == Order::CloudHypervisor && !self.agreed.has(Features::IN_ORDER);
        for (base, place) in self.bases.iter_mut().zip(&self.places) {
            *base =
                if from_available { place.avail_idx(&self.memory)? } else { place.used_idx(&self.memory)? };
        }
        self.start()
    }
}
