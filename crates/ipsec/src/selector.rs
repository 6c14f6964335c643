//! Which flows something is for (RFC 4301 §4.4.1.1).
//!
//! A selector here has one range where RFC 4301 has a list of ranges: a list is several policies of one priority.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use crate::flow::{Fields, Flow, Upper};
use crate::ip::protocol;
use crate::xfrm;

/// Addresses of one family from a first to a last, both counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

impl AddressRange {
    /// All of IPv4.
    pub const ANY_V4: Self =
        Self { first: IpAddr::V4(Ipv4Addr::UNSPECIFIED), last: IpAddr::V4(Ipv4Addr::BROADCAST) };
    /// All of IPv6.
    pub const ANY_V6: Self =
        Self { first: IpAddr::V6(Ipv6Addr::UNSPECIFIED), last: IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)) };

    /// From `first` to `last`. `None`: they are of two families, or the wrong way round.
    #[must_use]
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        (first.is_ipv4() == last.is_ipv4() && first <= last).then_some(Self { first, last })
    }

    /// The first address.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// The last address.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        self.last
    }

    /// Whether `address` is one of them.
    #[inline]
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        // All of IPv4 is less than all of IPv6, so the other family is never between.
        self.first <= address && address <= self.last
    }
}

/// One address.
impl From<IpAddr> for AddressRange {
    fn from(address: IpAddr) -> Self {
        Self { first: address, last: address }
    }
}

/// The addresses that agree in the first `len` bits. What is too long for the family is the whole address.
impl From<xfrm::Prefix> for AddressRange {
    fn from(prefix: xfrm::Prefix) -> Self {
        let len = u32::from(prefix.len);
        match prefix.addr {
            IpAddr::V4(address) => {
                let host = u32::MAX.checked_shr(len).unwrap_or(0);
                let bits = address.to_bits();
                Self {
                    first: Ipv4Addr::from_bits(bits & !host).into(),
                    last: Ipv4Addr::from_bits(bits | host).into(),
                }
            }
            IpAddr::V6(address) => {
                let host = u128::MAX.checked_shr(len).unwrap_or(0);
                let bits = address.to_bits();
                Self {
                    first: Ipv6Addr::from_bits(bits & !host).into(),
                    last: Ipv6Addr::from_bits(bits | host).into(),
                }
            }
        }
    }
}

/// Numbers from a first to a last, both counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ValueRange<T> {
    first: T,
    last: T,
}

impl ValueRange<u16> {
    /// Every port there is: ANY for one port where the other matters.
    pub const ANY_PORT: Self = Self { first: 0, last: u16::MAX };
}

impl<T: Copy + Ord> ValueRange<T> {
    /// The numbers of `range`. `None`: there are none in it.
    #[must_use]
    pub fn new(range: RangeInclusive<T>) -> Option<Self> {
        (!range.is_empty()).then_some(Self { first: *range.start(), last: *range.end() })
    }

    /// The first number.
    #[must_use]
    pub fn first(&self) -> T {
        self.first
    }

    /// The last number.
    #[must_use]
    pub fn last(&self) -> T {
        self.last
    }

    /// Whether `value` is one of them.
    #[inline]
    #[must_use]
    pub fn contains(&self, value: T) -> bool {
        self.first <= value && value <= self.last
    }
}

/// One number.
impl<T> From<T> for ValueRange<T>
where
    T: Copy,
{
    fn from(value: T) -> Self {
        Self { first: value, last: value }
    }
}

/// Which flows something is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    /// Source addresses.
    pub src: AddressRange,
    /// Destination addresses, of the same family.
    pub dst: AddressRange,
    /// Next layer protocol; `None` for ANY.
    pub protocol: Option<u8>,
    /// Fields of the next layer protocol.
    pub upper: UpperSelector,
}

/// Which fields of the next layer protocol something is for. All but [`Any`](Self::Any) and
/// [`Opaque`](Self::Opaque) need a packet that has the fields and shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UpperSelector {
    /// ANY: whatever they are, also none.
    #[default]
    Any,
    /// OPAQUE: packets that do not show them, or whose protocol has none. With this a policy can be for later
    /// fragments alone (RFC 4301 §7.2); the check of their offset that is asked for there is not made here.
    Opaque,
    /// Ports, each one of a range.
    Ports {
        /// Source port.
        src: ValueRange<u16>,
        /// Destination port.
        dst: ValueRange<u16>,
    },
    /// ICMP or ICMPv6: type × 256 + code.
    Icmp(ValueRange<u16>),
    /// ICMP or ICMPv6 of any type with this code. Linux has that, RFC 4301 has not.
    IcmpCode(u8),
    /// Mobility header type.
    Mobility(ValueRange<u8>),
    /// GRE key.
    GreKey(u32),
}

impl UpperSelector {
    /// The selector of RFC 4301 for types and codes of ICMP: with more than one type it is from the first type's
    /// first code to the last type's last code, all of the types between with all of their codes.
    #[must_use]
    pub fn icmp(types: ValueRange<u8>, codes: ValueRange<u8>) -> Self {
        //= https://www.rfc-editor.org/rfc/rfc4301#section-4.4.1.1
        //# (T-start*256) + C-start <= (t*256) + c <= (T-end*256) + C-end
        Self::Icmp(ValueRange {
            first: u16::from_be_bytes([types.first, codes.first]),
            last: u16::from_be_bytes([types.last, codes.last]),
        })
    }

    fn matches(&self, upper: Upper) -> bool {
        match (self, upper) {
            (Self::Any, _) | (Self::Opaque, Upper::Opaque | Upper::None) => true,
            (Self::Ports { src, dst }, Upper::Ports { src: sport, dst: dport }) => {
                src.contains(sport) && dst.contains(dport)
            }
            (Self::Icmp(range), Upper::Icmp { kind, code }) => {
                range.contains(u16::from_be_bytes([kind, code]))
            }
            (Self::IcmpCode(wanted), Upper::Icmp { code, .. }) => *wanted == code,
            (Self::Mobility(range), Upper::Mobility(kind)) => range.contains(kind),
            (Self::GreKey(wanted), Upper::GreKey(key)) => *wanted == key,
            _ => false,
        }
    }

    /// The fields that it asks for; `None` if it asks for no value.
    fn fields(&self) -> Option<Fields> {
        match self {
            Self::Any | Self::Opaque => None,
            Self::Ports { .. } => Some(Fields::Ports),
            Self::Icmp(_) | Self::IcmpCode(_) => Some(Fields::Icmp),
            Self::Mobility(_) => Some(Fields::Mobility),
            Self::GreKey(_) => Some(Fields::GreKey),
        }
    }
}

/// What makes a selector useless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectorError {
    /// Source and destination of two families: no packet has that.
    #[error("source and destination are of two address families")]
    Families,
    /// Ports, types, codes or a key of a protocol that has none: no packet would match.
    #[error("this protocol has no such ports, types, codes or key")]
    Fields,
    /// `dev`: a NIC has no devices to tell apart, and without it more packets would match.
    #[error("`dev` is not supported in a selector")]
    Device,
}

impl Selector {
    /// All between these addresses.
    #[must_use]
    pub const fn new(src: AddressRange, dst: AddressRange) -> Self {
        Self { src, dst, protocol: None, upper: UpperSelector::Any }
    }

    /// All of IPv4.
    pub const ANY_V4: Self = Self::new(AddressRange::ANY_V4, AddressRange::ANY_V4);
    /// All of IPv6.
    pub const ANY_V6: Self = Self::new(AddressRange::ANY_V6, AddressRange::ANY_V6);

    /// Whether this is one of its flows.
    ///
    /// A field that the selector asks for and the flow does not show is no match: a later fragment never matches
    /// ports, and neither does a protocol that has none.
    #[inline]
    #[must_use]
    pub fn matches(&self, flow: &Flow) -> bool {
        //= https://www.rfc-editor.org/rfc/rfc4301#section-4.4.1.1
        //# If a port selector specifies a value other than ANY or OPAQUE, it cannot match packets that are
        //# non-initial fragments.
        self.src.contains(flow.src)
            && self.dst.contains(flow.dst)
            && self.protocol.is_none_or(|protocol| flow.protocol == Some(protocol))
            && self.upper.matches(flow.upper)
    }

    /// Whether this may be one of its flows if the flow showed what it does not.
    pub(crate) fn may_match(&self, flow: &Flow) -> bool {
        let fields = self.upper.fields();
        self.src.contains(flow.src)
            && self.dst.contains(flow.dst)
            && self.protocol.is_none_or(|wanted| flow.protocol.is_none_or(|protocol| protocol == wanted))
            && match flow.upper {
                Upper::Opaque => flow
                    .protocol
                    .is_none_or(|protocol| fields.is_none_or(|fields| fields == Fields::of(protocol))),
                upper => self.upper.matches(upper),
            }
    }

    /// Whether any packet can match.
    ///
    /// # Errors
    ///
    /// Two families, or fields that the protocol does not have.
    pub fn check(&self) -> Result<(), SelectorError> {
        if self.src.first.is_ipv4() != self.dst.first.is_ipv4() {
            return Err(SelectorError::Families);
        }
        match (self.protocol, self.upper.fields()) {
            (Some(protocol), Some(fields)) if Fields::of(protocol) != fields => Err(SelectorError::Fields),
            _ => Ok(()),
        }
    }
}

/// As Linux understands it: port 0 is any port, `uid` is nothing.
impl TryFrom<&xfrm::Selector> for Selector {
    type Error = SelectorError;

    fn try_from(selector: &xfrm::Selector) -> Result<Self, SelectorError> {
        let xfrm::Selector { src, dst, proto, sport, dport, icmp_type, icmp_code, gre_key, dev, uid: _ } =
            selector;
        if dev.is_some() {
            return Err(SelectorError::Device);
        }
        let port = |port: Option<u16>| port.filter(|port| *port != 0);
        let upper = match (port(*sport), port(*dport), icmp_type, icmp_code, gre_key) {
            (None, None, None, None, None) => UpperSelector::Any,
            (sport, dport, None, None, None) => UpperSelector::Ports {
                src: sport.map_or(ValueRange::ANY_PORT, ValueRange::from),
                dst: dport.map_or(ValueRange::ANY_PORT, ValueRange::from),
            },
            (None, None, Some(kind), None, None) if *proto == Some(protocol::MOBILITY) => {
                UpperSelector::Mobility((*kind).into())
            }
            (None, None, Some(kind), code, None) => UpperSelector::icmp(
                (*kind).into(),
                code.map_or(ValueRange { first: 0, last: u8::MAX }, ValueRange::from),
            ),
            (None, None, None, Some(code), None) => UpperSelector::IcmpCode(*code),
            (None, None, None, None, Some(key)) => UpperSelector::GreKey(*key),
            _ => return Err(SelectorError::Fields),
        };
        let selector = Self { src: (*src).into(), dst: (*dst).into(), protocol: *proto, upper };
        selector.check()?;
        Ok(selector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn range(first: &str, last: &str) -> AddressRange {
        AddressRange::new(address(first), address(last)).unwrap()
    }

    fn prefix(addr: &str, len: u8) -> AddressRange {
        xfrm::Prefix { addr: address(addr), len }.into()
    }

    fn values<T: Copy + Ord>(range: RangeInclusive<T>) -> ValueRange<T> {
        ValueRange::new(range).unwrap()
    }

    fn flow(protocol: u8, upper: Upper) -> Flow {
        Flow { src: address("10.0.0.1"), dst: address("10.0.0.2"), protocol: Some(protocol), upper }
    }

    fn with(protocol: u8, upper: UpperSelector) -> Selector {
        Selector { protocol: Some(protocol), upper, ..Selector::ANY_V4 }
    }

    #[test]
    fn an_address_range_ends_where_it_says() {
        for (range, inside, outside) in [
            (range("10.0.0.5", "10.0.0.9"), ["10.0.0.5", "10.0.0.9"], ["10.0.0.4", "10.0.0.10"]),
            (prefix("10.0.0.77", 24), ["10.0.0.0", "10.0.0.255"], ["9.255.255.255", "10.0.1.0"]),
            (prefix("10.0.0.7", 32), ["10.0.0.7", "10.0.0.7"], ["10.0.0.6", "10.0.0.8"]),
            (prefix("10.0.0.7", 0), ["0.0.0.0", "255.255.255.255"], ["::", "::ffff:10.0.0.7"]),
            (range("fd00::5", "fd00::9"), ["fd00::5", "fd00::9"], ["fd00::4", "fd00::a"]),
            (prefix("fd00::77", 64), ["fd00::", "fd00::ffff:ffff:ffff:ffff"], ["fd00:0:0:1::", "fcff::"]),
            (prefix("fd00::7", 128), ["fd00::7", "fd00::7"], ["fd00::6", "fd00::8"]),
            (prefix("fd00::7", 0), ["::", "ffff::"], ["0.0.0.0", "255.255.255.255"]),
        ] {
            for inside in inside {
                assert!(range.contains(address(inside)), "{range:?} {inside}");
            }
            for outside in outside {
                assert!(!range.contains(address(outside)), "{range:?} {outside}");
            }
        }
        assert_eq!(AddressRange::new(address("10.0.0.2"), address("10.0.0.1")), None);
        assert_eq!(AddressRange::new(address("10.0.0.2"), address("fd00::")), None);
        assert_eq!(AddressRange::ANY_V6, prefix("fd00::7", 0));
        assert_eq!(AddressRange::ANY_V4, prefix("10.0.0.7", 0));
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is tried")]
        let reversed = 3..=2_u16;
        assert_eq!(ValueRange::new(reversed), None);
    }

    #[test]
    fn source_destination_and_protocol_must_all_match() {
        let flow = flow(6, Upper::Ports { src: 1, dst: 2 });
        let selector = Selector {
            protocol: Some(6),
            ..Selector::new(address("10.0.0.1").into(), address("10.0.0.2").into())
        };
        assert!(selector.matches(&flow));
        for other in [
            Selector { src: address("10.0.0.2").into(), ..selector },
            Selector { dst: address("10.0.0.1").into(), ..selector },
            Selector { protocol: Some(17), ..selector },
        ] {
            assert!(!other.matches(&flow) && !other.may_match(&flow));
        }
        assert!(Selector { protocol: None, ..selector }.matches(&flow));
    }

    #[test]
    fn ports_are_ranges() {
        let upper = UpperSelector::Ports { src: values(10..=20), dst: values(30..=40) };
        for (src, dst, expected) in [
            (10, 30, true),
            (20, 40, true),
            (9, 30, false),
            (21, 30, false),
            (10, 29, false),
            (10, 41, false),
        ] {
            assert_eq!(with(17, upper).matches(&flow(17, Upper::Ports { src, dst })), expected);
        }
        let upper = UpperSelector::Ports { src: ValueRange::ANY_PORT, dst: values(5..=5) };
        assert!(with(17, upper).matches(&flow(17, Upper::Ports { src: 65535, dst: 5 })));
        assert!(with(17, upper).matches(&flow(17, Upper::Ports { src: 0, dst: 5 })));
    }

    #[test]
    fn icmp_types_and_codes_are_one_number() {
        let upper = UpperSelector::icmp(values(3..=5), values(2..=4));
        for (kind, code, expected) in
            [(3, 1, false), (3, 2, true), (4, 0, true), (4, 255, true), (5, 4, true), (5, 5, false)]
        {
            assert_eq!(with(1, upper).matches(&flow(1, Upper::Icmp { kind, code })), expected);
        }
        let code = with(58, UpperSelector::IcmpCode(4));
        assert!(code.matches(&flow(58, Upper::Icmp { kind: 9, code: 4 })));
        assert!(!code.matches(&flow(58, Upper::Icmp { kind: 9, code: 5 })));
    }

    #[test]
    fn mobility_types_and_gre_keys_are_told_apart() {
        let mobility = with(135, UpperSelector::Mobility(values(5..=6)));
        for (kind, expected) in [(4, false), (5, true), (6, true), (7, false)] {
            assert_eq!(mobility.matches(&flow(135, Upper::Mobility(kind))), expected);
        }
        let gre = with(47, UpperSelector::GreKey(7));
        assert!(gre.matches(&flow(47, Upper::GreKey(7))));
        assert!(!gre.matches(&flow(47, Upper::GreKey(8))));
        assert!(!gre.matches(&flow(47, Upper::None)));
    }

    #[test]
    fn fields_that_a_packet_lacks_match_any_and_opaque_alone() {
        let ports = UpperSelector::Ports { src: ValueRange::ANY_PORT, dst: ValueRange::ANY_PORT };
        for protocol in [6, 89] {
            let flow = flow(protocol, if protocol == 6 { Upper::Opaque } else { Upper::None });
            let any_protocol = |upper| Selector { upper, ..Selector::ANY_V4 };
            assert!(any_protocol(UpperSelector::Any).matches(&flow));
            assert!(any_protocol(UpperSelector::Opaque).matches(&flow));
            for upper in [ports, UpperSelector::IcmpCode(0), UpperSelector::GreKey(0)] {
                assert!(!any_protocol(upper).matches(&flow));
            }
        }
        assert!(!with(6, UpperSelector::Opaque).matches(&flow(6, Upper::Ports { src: 1, dst: 2 })));
    }

    #[test]
    fn what_may_match_is_what_some_hidden_field_would() {
        let ports = UpperSelector::Ports { src: values(5..=5), dst: ValueRange::ANY_PORT };
        let later = flow(6, Upper::Opaque);
        assert!(with(6, ports).may_match(&later));
        assert!(Selector { upper: ports, ..Selector::ANY_V4 }.may_match(&later));
        assert!(!with(17, ports).may_match(&later));
        // A protocol whose fields are others.
        assert!(!Selector { upper: UpperSelector::GreKey(1), ..Selector::ANY_V4 }.may_match(&later));
        assert!(!Selector { upper: ports, ..Selector::ANY_V4 }.may_match(&flow(89, Upper::None)));
        // A protocol that is hidden itself may be any.
        let hidden = Flow { protocol: None, ..later };
        assert!(with(6, ports).may_match(&hidden) && with(89, UpperSelector::Any).may_match(&hidden));
        assert!(!with(89, UpperSelector::Any).matches(&hidden));
        // What is there is not hidden.
        assert!(!with(6, ports).may_match(&flow(6, Upper::Ports { src: 6, dst: 5 })));
    }

    fn linux(words: &str) -> Result<Selector, SelectorError> {
        let text = format!("ip xfrm policy add {words} dir out");
        let database = xfrm::parse("test", &text).unwrap();
        (&database.policies[0].selector).try_into()
    }

    #[test]
    fn text_means_what_it_means_to_linux() {
        let base = Selector::new(prefix("10.0.0.0", 8), prefix("10.1.0.0", 16));
        let of = |protocol, upper| Ok(Selector { protocol, upper, ..base });
        let any = ValueRange::ANY_PORT;
        for (words, expected) in [
            ("", of(None, UpperSelector::Any)),
            ("proto tcp", of(Some(6), UpperSelector::Any)),
            ("proto tcp sport 0 dport 0", of(Some(6), UpperSelector::Any)),
            ("proto tcp sport 5", of(Some(6), UpperSelector::Ports { src: 5.into(), dst: any })),
            ("dport 5", of(None, UpperSelector::Ports { src: any, dst: 5.into() })),
            ("proto icmp type 8", of(Some(1), UpperSelector::Icmp(values(0x800..=0x8ff)))),
            ("proto icmp type 8 code 3", of(Some(1), UpperSelector::Icmp(0x803.into()))),
            ("proto icmp code 3", of(Some(1), UpperSelector::IcmpCode(3))),
            ("proto 135 type 5", of(Some(135), UpperSelector::Mobility(5.into()))),
            ("proto gre key 9", of(Some(47), UpperSelector::GreKey(9))),
            ("proto 135 code 5", Err(SelectorError::Fields)),
            ("proto 135 type 5 code 5", Err(SelectorError::Fields)),
            ("dev eth0", Err(SelectorError::Device)),
        ] {
            assert_eq!(linux(&format!("src 10.0.0.9/8 dst 10.1.0.0/16 {words}")), expected, "{words}");
        }
    }

    #[test]
    fn port_zero_is_any_port_to_linux() {
        let mut database = xfrm::parse("test", "ip xfrm policy add proto tcp dport 7 dir out").unwrap();
        let selector = &mut database.policies[0].selector;
        (selector.sport, selector.dport) = (Some(0), Some(0));
        assert_eq!(Selector::try_from(&*selector).unwrap().upper, UpperSelector::Any);
    }

    #[test]
    fn a_selector_that_nothing_can_match_is_found() {
        let mixed = Selector { src: AddressRange::ANY_V6, ..Selector::ANY_V4 };
        assert_eq!(mixed.check(), Err(SelectorError::Families));
        assert_eq!(with(1, UpperSelector::GreKey(1)).check(), Err(SelectorError::Fields));
        assert_eq!(with(1, UpperSelector::Opaque).check(), Ok(()));
        assert_eq!(Selector { upper: UpperSelector::GreKey(1), ..Selector::ANY_V4 }.check(), Ok(()));
    }
}
