//! States and policies as `ip xfrm state` and `ip xfrm policy` print them.
//!
//! What is printed is, octet for octet, what iproute2 6.1 prints (also with `-s`) on a little-endian Linux to which the
//! same state or policy was added, apart from the statistics and the times, which are not kept, and stand here as 0,
//! `-` for times. Linux completes what it is told, and so does
//! this: names of algorithms, the ICV length of `auth`, a selector for all if there is none (but with `flag af-unspec`).
//! Where later versions print more than 6.1, it is printed as they do: `mode packet`, `dir`, `pcpu-num`.
//!
//! What is not as on some Linux: one without CONFIG_XFRM_SUB_POLICY prints no `ptype main`; one without a security
//! module drops `ctx`; the number of a policy (`index`, with `-s`) is the kernel's choice if none was said, 0 here.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr};

use super::value;
use super::{
    Database, Limits, Mark, Mode, Offload, Policy, Prefix, Proto, SaDirection, Selector, State, Used,
};
use super::{listing_policy, listing_state};

/// Whether keys are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// In full, as `ip xfrm state` does: whoever sees the text can read and forge the traffic.
    Shown,
    /// As `<<Keys hidden>>`, like `ip xfrm state list nokeys`. [`parse`](super::parse) refuses such text.
    Hidden,
}

/// How something is printed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) keys: Keys,
    /// As with `-s`.
    pub(super) statistics: bool,
    newest_first: bool,
}

/// States and policies, to be printed by [`Display`]: see [`State::listing`], [`Policy::listing`],
/// [`Database::listing`].
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    states: &'a [State],
    policies: &'a [Policy],
    style: Style,
}

impl State {
    /// The state as `ip xfrm state` prints it.
    pub fn listing(&self, keys: Keys) -> Listing<'_> {
        Listing::of(std::slice::from_ref(self), &[], keys)
    }
}

impl Policy {
    /// The policy as `ip xfrm policy` prints it.
    pub fn listing(&self) -> Listing<'_> {
        Listing::of(&[], std::slice::from_ref(self), Keys::Hidden)
    }
}

impl Database {
    /// The states as `ip xfrm state` prints them, then the policies as `ip xfrm policy` does, in the order in which
    /// they are here and from whatever network namespace.
    ///
    /// Linux begins with what was added last: that is the order of a printed text that was read; for a script see
    /// [`Listing::newest_first`].
    pub fn listing(&self, keys: Keys) -> Listing<'_> {
        Listing::of(&self.states, &self.policies, keys)
    }
}

impl<'a> Listing<'a> {
    fn of(states: &'a [State], policies: &'a [Policy], keys: Keys) -> Self {
        Self { states, policies, style: Style { keys, statistics: false, newest_first: false } }
    }

    /// As printed with `-s`: limits, extra flags and numbers as well, which are not in the text without.
    #[must_use]
    pub fn with_statistics(mut self) -> Self {
        self.style.statistics = true;
        self
    }

    /// From the last to the first, the states and the policies: the order in which Linux prints what commands
    /// added one after the other.
    #[must_use]
    pub fn newest_first(mut self) -> Self {
        self.style.newest_first = true;
        self
    }
}

impl Display for Listing<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { states, policies, style } = *self;
        if style.newest_first {
            states.iter().rev().try_for_each(|state| listing_state::write(f, state, style))?;
            policies.iter().rev().try_for_each(|policy| listing_policy::write(f, policy, style))
        } else {
            states.iter().try_for_each(|state| listing_state::write(f, state, style))?;
            policies.iter().try_for_each(|policy| listing_policy::write(f, policy, style))
        }
    }
}

/// An address as inet_ntop writes it: as in Rust, but for IPv6 addresses that end in an IPv4 address after zeros.
#[derive(Clone, Copy)]
pub(super) struct Address(pub(super) IpAddr);

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            // `::` and `::1` to `::ffff` are not of these.
            IpAddr::V6(v6) if v6.to_bits() >> 32 == 0 && v6.to_bits() >> 16 != 0 => {
                write!(f, "::{}", Ipv4Addr::from_bits(v6.to_bits() as u32))
            }
            address => write!(f, "{address}"),
        }
    }
}

/// A number as C's `%#x` writes it: 0 has no `0x`.
#[derive(Clone, Copy)]
pub(super) struct Hex(pub(super) u32);

impl Display for Hex {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { f.write_str("0") } else { write!(f, "{:#x}", self.0) }
    }
}

/// What a state and a template say of their SA, on the rest of a line that begins with `proto `. The SPI is left out if
/// it is None.
pub(super) fn id(
    f: &mut Formatter<'_>,
    proto: Proto,
    spi: Option<u32>,
    reqid: u32,
    mode: Mode,
    style: Style,
) -> fmt::Result {
    write!(f, "proto {} ", proto.as_str())?;
    if let Some(spi) = spi {
        write!(f, "spi {spi:#010x}")?;
        if style.statistics {
            write!(f, "({spi})")?;
        }
        f.write_str(" ")?;
    }
    write!(f, "reqid {reqid}")?;
    if style.statistics {
        write!(f, "({reqid:#010x})")?;
    }
    match mode {
        // No iproute2 so far has a name for it.
        Mode::Iptfs => writeln!(f, " mode 5"),
        mode => writeln!(f, " mode {mode}"),
    }
}

/// A selector to the end of its line.
pub(super) fn selector(f: &mut Formatter<'_>, selector: &Selector, style: Style) -> fmt::Result {
    let Selector { src, dst, proto, sport, dport, icmp_type, icmp_code, gre_key, dev, uid } = selector;
    let prefix = |f: &mut Formatter<'_>, name, prefix: &Prefix| {
        write!(f, "{name} {}/{} ", Address(prefix.addr), prefix.len)
    };
    prefix(f, "src", src)?;
    prefix(f, "dst", dst)?;
    if let Some(proto) = *proto {
        match value::protocol_name(proto) {
            Some(name) => write!(f, "proto {name} ")?,
            None => write!(f, "proto {proto} ")?,
        }
    }
    let number = |f: &mut Formatter<'_>, name, number: Option<u32>| match number {
        Some(number) => write!(f, "{name} {number} "),
        None => Ok(()),
    };
    match *proto {
        Some(value::ICMP | value::ICMPV6) => {
            number(f, "type", icmp_type.map(u32::from))?;
            number(f, "code", icmp_code.map(u32::from))?;
        }
        Some(value::GRE) => number(f, "key", *gre_key)?,
        Some(value::MOBILITY_HEADER) => {
            number(f, "type", icmp_type.map(u32::from))?;
            if let Some(code) = icmp_code.filter(|_| style.statistics) {
                // The octets of a port as they lie in memory.
                write!(f, "(dport) {:#06x} ", u16::from(code).swap_bytes())?;
            }
        }
        _ => {
            number(f, "sport", sport.map(u32::from))?;
            number(f, "dport", dport.map(u32::from))?;
        }
    }
    if let Some(dev) = dev {
        write!(f, "dev {dev} ")?;
    }
    if style.statistics {
        write!(f, "uid {}", uid.unwrap_or(0))?;
    }
    f.write_str("\n")
}

/// The line of the marks, if there is one.
pub(super) fn marks(f: &mut Formatter<'_>, mark: Option<Mark>, output_mark: Option<Mark>) -> fmt::Result {
    if mark.is_none() && output_mark.is_none() {
        return Ok(());
    }
    f.write_str("\t")?;
    if let Some(Mark { value, mask }) = mark {
        write!(f, "mark {}/{} ", Hex(value), Hex(mask))?;
    }
    if let Some(Mark { value, mask }) = output_mark {
        write!(f, "output-mark {value:#x}/{mask:#x}")?;
    }
    f.write_str("\n")
}

/// The line of an offload, if there is one.
pub(super) fn offload(f: &mut Formatter<'_>, offload: Option<&Offload>) -> fmt::Result {
    let Some(Offload { dev, packet, direction }) = offload else { return Ok(()) };
    write!(f, "\tcrypto offload parameters: dev {dev}")?;
    if let Some(direction) = direction {
        write!(f, " dir {}", sa_direction(*direction))?;
    }
    f.write_str(if *packet { " mode packet\n" } else { "\n" })
}

pub(super) fn sa_direction(direction: SaDirection) -> &'static str {
    match direction {
        SaDirection::In => "in",
        SaDirection::Out => "out",
    }
}

/// The line of the xfrm interface, if there is one.
pub(super) fn if_id(f: &mut Formatter<'_>, if_id: Option<u32>) -> fmt::Result {
    match if_id {
        Some(if_id) if if_id != 0 => writeln!(f, "\tif_id {if_id:#x}"),
        _ => Ok(()),
    }
}

/// The lines that `-s` prints of limits, and of what was used of them; times are not kept.
pub(super) fn lifetimes(f: &mut Formatter<'_>, limits: &Limits, used: Used) -> fmt::Result {
    let Limits { soft, hard } = limits;
    f.write_str("\tlifetime config:\n")?;
    let amounts = [("bytes", soft.bytes, hard.bytes), ("packets", soft.packets, hard.packets)];
    for (unit, soft, hard) in amounts {
        write!(f, "\t  limit: soft {}({unit}), ", Amount(soft))?;
        writeln!(f, "hard {}({unit})", Amount(hard))?;
    }
    let times = [("add", soft.since_added, hard.since_added), ("use", soft.since_used, hard.since_used)];
    for (since, soft, hard) in times {
        let [soft, hard] = [soft, hard].map(|seconds| seconds.unwrap_or(0));
        writeln!(f, "\t  expire {since}: soft {soft}(sec), hard {hard}(sec)")?;
    }
    let Used { bytes, packets } = used;
    writeln!(f, "\tlifetime current:\n\t  {bytes}(bytes), {packets}(packets)\n\t  add - use -")
}

struct Amount(Option<u64>);

impl Display for Amount {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(amount) if amount != u64::MAX => write!(f, "{amount}"),
            _ => f.write_str("(INF)"),
        }
    }
}
