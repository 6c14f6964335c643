//! A security association (RFC 4301 §4.1): what may be shown of it, and how it is made of a state.

use std::fmt;
use std::net::IpAddr;

use espwire_esp::{KeyError, SaKey, Suite};
use sha2::{Digest, Sha256};

use crate::algorithm::{Algorithms, algorithms};
use crate::event::SaId;
use crate::outer::UdpPorts;
use crate::sad::SadError;
use crate::verdict::DropCounts;
use crate::xfrm::{self, State};

/// How an SA encapsulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A whole IP packet inside.
    Tunnel,
    /// The outer packet's own payload inside.
    Transport,
    /// Bound end-to-end tunnel (RFC 7402 Appendix B): the inner addresses are the SA's selector's, and stay off the wire.
    Beet,
}

impl Mode {
    /// The name in records and in `ip xfrm`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tunnel => "tunnel",
            Self::Transport => "transport",
            Self::Beet => "beet",
        }
    }
}

/// The one of a text.
impl From<Mode> for xfrm::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Tunnel => Self::Tunnel,
            Mode::Transport => Self::Transport,
            Mode::Beet => Self::Beet,
        }
    }
}

/// What is shown in place of a key: the first 8 octets of SHA-256 over the algorithm's name, as the
/// kernel has it, and the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 8]);

impl Fingerprint {
    fn of(algorithm: &xfrm::Algorithm) -> Self {
        let digest = Sha256::new()
            .chain_update(algorithm.kernel_name())
            .chain_update(algorithm.key.as_octets())
            .finalize();
        let mut octets = [0; 8];
        octets.copy_from_slice(&digest[..8]);
        Self(octets)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// What may be shown of an SA: everything but its keys and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sa {
    /// Security parameters index.
    pub spi: u32,
    /// Outer source address.
    pub src: IpAddr,
    /// Outer destination address.
    pub dst: IpAddr,
    /// Tunnel or transport mode.
    pub mode: Mode,
    /// Its algorithms.
    pub suite: Suite,
    /// Extended sequence numbers.
    pub esn: bool,
    /// The anti-replay window's width in packets as the state has it; 0: none.
    pub replay_window: u32,
    /// Ports of UDP encapsulation.
    pub encap: Option<UdpPorts>,
    /// `reqid` of the state.
    pub reqid: u32,
    /// Which inner packets it is for; `None` for all. In transport mode without UDP encapsulation a receiver takes only
    /// those from [`src`](Self::src) where this names no addresses.
    pub selector: Option<xfrm::Selector>,
    /// Network namespaces in which it was added; `None` is the one that the text was written for.
    pub origins: Vec<Option<String>>,
    /// The `flag` list of the state.
    pub flags: xfrm::Flags,
    /// The `extra-flag` list of the state.
    pub extra_flags: xfrm::ExtraFlags,
    /// To what length in octets a packet's payload is padded at least (TFC, RFC 4303 §2.7), if it is.
    pub tfcpad: Option<u32>,
    /// When it ends.
    pub limits: xfrm::Limits,
    /// Stands for the encryption key.
    pub encryption_fingerprint: Fingerprint,
    /// Stands for the integrity key of a suite that has one.
    pub integrity_fingerprint: Option<Fingerprint>,
}

/// What was counted of an SA's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SaCounts {
    /// Packets that verified and were re-encrypted equal; of a receiver, that were delivered.
    pub packets: u64,
    /// Their octets from the SPI to the ICV.
    pub bytes: u64,
    /// Packets whose number was seen already, was zero, or lay left of the anti-replay window: some of the above
    /// where replay is noted; of a receiver, which drops them, some of the failures.
    pub replays: u64,
    /// Packets that failed, by reason.
    pub failures: DropCounts,
}

/// The addresses of a selector that is for one pair of hosts.
fn host_pair(state: &State) -> Option<(IpAddr, IpAddr)> {
    let selector = state.selector.as_ref()?;
    let is_host = |prefix: xfrm::Prefix| prefix.len == if prefix.addr.is_ipv4() { 32 } else { 128 };
    let (src, dst) = (selector.src, selector.dst);
    let are_hosts = is_host(src) && is_host(dst) && src.addr.is_ipv4() == dst.addr.is_ipv4();
    are_hosts.then_some((src.addr, dst.addr))
}

impl Sa {
    /// By what it is told from others.
    #[must_use]
    pub fn id(&self) -> SaId {
        SaId { spi: self.spi, dst: self.dst }
    }

    /// Source and destination of the packets inside, where they are not on the wire: in mode beet.
    #[must_use]
    pub fn bound_addresses(&self) -> Option<(IpAddr, IpAddr)> {
        let selector = self.selector.as_ref().filter(|_| self.mode == Mode::Beet)?;
        Some((selector.src.addr, selector.dst.addr))
    }

    /// What a state becomes, if its mode, algorithms and keys can be used, with its keys.
    pub(crate) fn of_state(state: &State) -> Result<(Self, SaKey), SadError> {
        let mode = match state.mode {
            xfrm::Mode::Tunnel => Mode::Tunnel,
            xfrm::Mode::Transport => Mode::Transport,
            xfrm::Mode::Beet if host_pair(state).is_none() => {
                let reason = "mode beet needs a selector of two host addresses, `sel src ADDRESS dst ADDRESS`: they are the inner ones";
                return Err(SadError::unusable(state, state.position, reason));
            }
            xfrm::Mode::Beet => Mode::Beet,
            mode => {
                return Err(SadError::unusable(
                    state,
                    state.position,
                    format!("mode {mode} is not supported"),
                ));
            }
        };
        let encap = match &state.encap {
            None => None,
            Some(encap) if encap.kind == xfrm::EncapKind::EspInUdp => {
                Some(UdpPorts { src: encap.sport, dst: encap.dport })
            }
            Some(encap) => {
                let reason = format!("encapsulation {} is not supported", encap.kind.as_str());
                return Err(SadError::unusable(state, state.position, reason));
            }
        };
        let Algorithms { suite, encryption, integrity } = algorithms(state)
            .map_err(|refusal| SadError::unusable(state, refusal.position, refusal.reason))?;
        let integrity_key = integrity.map_or(&[][..], |algorithm| algorithm.key.as_octets());
        let key = SaKey::new(suite, encryption.key.as_octets(), integrity_key).map_err(|error| {
            let algorithm = match (&error, integrity) {
                (KeyError::IntegrityKeyLen { .. }, Some(integrity)) => integrity,
                _ => encryption,
            };
            SadError::unusable(state, algorithm.key_position, error.to_string())
        })?;
        let sa = Self {
            spi: state.spi,
            src: state.src,
            dst: state.dst,
            mode,
            suite,
            esn: state.flags.has(xfrm::Flags::ESN),
            replay_window: state.replay_window,
            encap,
            reqid: state.reqid,
            selector: state.selector.clone(),
            origins: vec![state.origin.clone()],
            flags: state.flags,
            extra_flags: state.extra_flags,
            tfcpad: state.tfcpad,
            limits: state.limits,
            encryption_fingerprint: Fingerprint::of(encryption),
            integrity_fingerprint: integrity.map(Fingerprint::of),
        };
        Ok((sa, key))
    }
}
