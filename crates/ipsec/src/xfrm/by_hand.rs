//! States and policies that come from no text: for programs that have them from elsewhere.
//!
//! The rest of their fields is set afterwards, or by `..`:
//!
//! ```
//! use espwire_ipsec::{Sad, xfrm::{Algorithm, Database, Flags, Key, Keys, Mode, State}};
//!
//! let key = Key::new((0..20).collect::<Vec<u8>>());
//! let state = State {
//!     flags: Flags::AF_UNSPEC,
//!     aead: Some(Algorithm::new("rfc4106(gcm(aes))", key, Some(128))),
//!     ..State::new([192, 0, 2, 1].into(), [192, 0, 2, 2].into(), 0x100, Mode::Tunnel)
//! };
//! assert_eq!(
//!     state.listing(Keys::Hidden).to_string(),
//!     "src 192.0.2.1 dst 192.0.2.2\n\
//!      \tproto esp spi 0x00000100 reqid 0 mode tunnel\n\
//!      \treplay-window 0 flag af-unspec\n\
//!      \taead rfc4106(gcm(aes)) <<Keys hidden>> 128\n\
//!      \tanti-replay context: seq 0x0, oseq 0x0, bitmap 0x00000000\n"
//! );
//! let sad = Sad::new([&Database { states: vec![state], policies: Vec::new() }]).unwrap();
//! assert_eq!(sad.len(), 1);
//! ```

use std::net::IpAddr;

use super::value::Family;
use super::{
    Action, Algorithm, Dir, ExtraFlags, Flags, Key, Level, Limits, Mode, Policy, PolicyType, Position,
    Prefix, Proto, ReplayBitmap, Selector, SequenceContext, State, Template, Used,
};

/// What a state or policy that was in no text is called: its `source_name`, for errors. It may be replaced.
const NAME: &str = "(by hand)";

impl Position {
    /// The place of what was in no text: line 0, column 0.
    pub const NONE: Self = Self { line: 0, column: 0 };
}

impl Algorithm {
    /// An algorithm that was in no text. For `name` and `icv_bits` see [`name`](Self::name) and
    /// [`icv_bits`](Self::icv_bits): neither is checked here. [`Sad::new`](crate::Sad::new) takes only those that it knows,
    /// with keys of their lengths.
    pub fn new(name: impl Into<String>, key: Key, icv_bits: Option<u32>) -> Self {
        Self { name: name.into(), key, icv_bits, position: Position::NONE, key_position: Position::NONE }
    }
}

impl State {
    /// A state of ESP without algorithms, as `ip xfrm state add` makes one that is told no more: no reqid, no
    /// anti-replay window, no flags, sequence numbers of 0, no limits.
    ///
    /// The caller checks that both addresses are of one family, and that `spi` is not 0: [`parse`](super::parse)
    /// refuses the contrary. An encryption algorithm or AEAD must be set for [`Sad::new`](crate::Sad::new).
    pub fn new(src: IpAddr, dst: IpAddr, spi: u32, mode: Mode) -> Self {
        Self {
            source_name: NAME.into(),
            position: Position::NONE,
            origin: None,
            src,
            dst,
            spi,
            reqid: 0,
            mode,
            proto: Proto::Esp,
            replay_window: 0,
            flags: Flags::default(),
            extra_flags: ExtraFlags::default(),
            encryption: None,
            integrity: None,
            aead: None,
            encap: None,
            sequence: SequenceContext::default(),
            replay_bitmap: ReplayBitmap::default(),
            acquire_seq: 0,
            selector: None,
            mark: None,
            output_mark: None,
            if_id: None,
            tfcpad: None,
            context: None,
            offload: None,
            direction: None,
            cpu: None,
            limits: Limits::default(),
            used: Used::default(),
        }
    }
}

impl Policy {
    /// A policy as `ip xfrm policy add` makes one that is told no more: it allows, without templates, with priority 0.
    pub fn new(selector: Selector, direction: Dir) -> Self {
        Self {
            source_name: NAME.into(),
            position: Position::NONE,
            origin: None,
            selector,
            direction,
            socket: false,
            action: Action::Allow,
            priority: 0,
            index: None,
            ptype: PolicyType::Main,
            localok: false,
            icmp: false,
            mark: None,
            if_id: None,
            context: None,
            offload: None,
            limits: Limits::default(),
            templates: Vec::new(),
        }
    }
}

impl Template {
    /// A template that must be fulfilled by an ESP SA of any SPI and reqid. Both addresses are of one family, which
    /// the caller checks; unspecified ones are any.
    pub fn new(src: IpAddr, dst: IpAddr, mode: Mode) -> Self {
        let position = Position::NONE;
        Self { position, src, dst, proto: Proto::Esp, spi: 0, reqid: 0, mode, level: Level::Required }
    }
}

impl Selector {
    /// Any packet between these addresses, which are of one family: the caller checks that.
    pub fn new(src: Prefix, dst: Prefix) -> Self {
        Self {
            src,
            dst,
            proto: None,
            sport: None,
            dport: None,
            icmp_type: None,
            icmp_code: None,
            gre_key: None,
            dev: None,
            uid: None,
        }
    }

    /// Any packet of a family.
    pub(super) fn all(family: Family) -> Self {
        let any = Prefix { addr: family.unspecified(), len: 0 };
        Self::new(any, any)
    }
}

impl From<IpAddr> for Prefix {
    /// This address alone.
    fn from(addr: IpAddr) -> Self {
        Self { addr, len: if addr.is_ipv4() { 32 } else { 128 } }
    }
}
