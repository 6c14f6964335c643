//! Values as `ip` reads them: numbers, addresses, prefixes, keys, protocols.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zeroize::Zeroizing;

use super::algorithm::{Algorithm, Key, MAX_KEY_LEN};
use super::error::{Fault, Parsed};
use super::policy::Prefix;
use super::word::{Word, Words};

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    pub(super) fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// The address that Linux has when `ip` sends it this one as one of this family: the octets count, as many as
    /// there are.
    pub(super) fn reread(self, address: IpAddr) -> IpAddr {
        match (self, address) {
            (Self::V4, IpAddr::V6(v6)) => {
                let [a, b, c, d, ..] = v6.octets();
                Ipv4Addr::new(a, b, c, d).into()
            }
            (Self::V6, IpAddr::V4(v4)) => Ipv6Addr::from_bits(u128::from(v4.to_bits()) << 96).into(),
            _ => address,
        }
    }

    fn bits(self) -> u8 {
        if self == Self::V4 { 32 } else { 128 }
    }
}

/// A whole number: decimal, hexadecimal after `0x`, octal after `0`. No sign, no blank.
fn integer(text: &str) -> Option<u64> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// A number of type `T`, called `what` in the error.
pub(super) fn number<T: TryFrom<u64> + Bounds>(text: &str) -> Option<T> {
    integer(text).and_then(|n| T::try_from(n).ok())
}

/// What numbers a type has, in words.
pub(super) trait Bounds {
    const MAX: &'static str;
}

macro_rules! bounds {
    ($($t:ty = $max:literal),+) => { $(impl Bounds for $t { const MAX: &'static str = $max; })+ };
}
bounds!(u8 = "255", u16 = "65535", u32 = "0xffffffff", u64 = "0xffffffffffffffff");

impl<'w, 'a> Words<'w, 'a> {
    /// The number after the word just taken.
    pub(super) fn number<T: TryFrom<u64> + Bounds>(&mut self) -> Parsed<T> {
        let word = self.value()?;
        number(word.as_str()).ok_or_else(|| self.not_a_number::<T>(word))
    }

    pub(super) fn not_a_number<T: Bounds>(&self, word: &Word<'_>) -> Fault {
        let octal = word.as_str().starts_with('0') && word.as_str().contains(['8', '9']);
        let octal =
            if octal && !word.as_str().starts_with("0x") { "; after a leading 0 it is octal" } else { "" };
        let shown = self.shown(word.as_str());
        Fault::value(word.position, format!("{shown} is no number from 0 to {}{octal}", T::MAX))
    }

    /// One of `names`, spelled out.
    pub(super) fn name<T: Copy>(&mut self, names: &[(&str, T)]) -> Parsed<T> {
        let word = self.value()?;
        find(names, word.as_str()).ok_or_else(|| self.not_among(word, names))
    }

    pub(super) fn not_among<T>(&self, word: &Word<'_>, names: &[(&str, T)]) -> Fault {
        let shown = self.shown(word.as_str());
        let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        Fault::value(word.position, format!("{shown} is none of {}", names.join(", ")))
    }

    /// A name of a namespace, as it stands.
    pub(super) fn text(&mut self) -> Parsed<String> {
        let word = self.value()?;
        if word.as_str().is_empty() {
            return Err(Fault::value(word.position, "the name is empty"));
        }
        Ok(word.as_str().to_owned())
    }

    /// A name of a device or a security context, as it stands. These are printed, between blanks and without quotes:
    /// with a newline in it a name would print states that there are not.
    pub(super) fn printed_name(&mut self) -> Parsed<String> {
        let position = self.position();
        let name = self.text()?;
        // `ip -o` prints a backslash where a line ends.
        if name.contains(|c: char| c == ' ' || c.is_control() || c == '\\') {
            let reason = "the name has a blank, a control character or a backslash in it: printed, it could not be read";
            return Err(Fault::value(position, reason));
        }
        Ok(name)
    }

    /// An address, with a prefix length or without.
    pub(super) fn prefix(&mut self, family: Option<Family>) -> Parsed<Prefix> {
        let word = self.value()?;
        self.prefix_of(word, family)
    }

    pub(super) fn prefix_of(&self, word: &Word<'_>, family: Option<Family>) -> Parsed<Prefix> {
        prefix(word.as_str(), family).ok_or_else(|| {
            let what = match family {
                None => "address",
                Some(Family::V4) => "IPv4 address",
                Some(Family::V6) => "IPv6 address",
            };
            let shown = self.shown(word.as_str());
            Fault::value(word.position, format!("an {what} is expected here, not {shown}"))
        })
    }

    /// An address without a prefix length.
    pub(super) fn address(&mut self) -> Parsed<IpAddr> {
        let word = self.value()?;
        address(word.as_str(), None).ok_or_else(|| {
            let shown = self.shown(word.as_str());
            Fault::value(word.position, format!("an address is expected here, not {shown}"))
        })
    }

    /// The name of an algorithm.
    pub(super) fn algorithm_name(&mut self) -> Parsed<&'w Word<'a>> {
        let word = self.value()?;
        let text = word.as_str();
        let plain = |c: char| c.is_ascii_alphanumeric() || "()-_,.+".contains(c);
        let is_hex =
            text.starts_with("0x") || (text.len() >= 32 && text.chars().all(|c| c.is_ascii_hexdigit()));
        // The kernel's array for it is of 64 octets with a final NUL; `ip` cuts what is longer.
        if text.is_empty() || text.len() > 63 || !text.chars().all(plain) || is_hex {
            return Err(Fault::value(
                word.position,
                "the name of an algorithm is expected here, such as `cbc(aes)`, and its key after it",
            ));
        }
        Ok(word)
    }
}

/// Looks a name up.
pub(super) fn find<T: Copy>(names: &[(&str, T)], name: &str) -> Option<T> {
    names.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
}

/// Whether `word` is an abbreviation of `full`, as `ip` takes them: at least one letter.
pub(super) fn abbreviates(word: &str, full: &str) -> bool {
    !word.is_empty() && full.starts_with(word)
}

/// An address. One to four parts of IPv4, each in any base, fill it from the left: `10.8` is 10.8.0.0.
pub(super) fn address(text: &str, family: Option<Family>) -> Option<IpAddr> {
    if let (Some(family), "default" | "any" | "all") = (family, text) {
        return Some(family.unspecified());
    }
    if text.contains(':') {
        let address: Ipv6Addr = text.parse().ok()?;
        return (family != Some(Family::V4)).then_some(address.into());
    }
    let mut octets = [0_u8; 4];
    for (index, part) in text.split('.').enumerate() {
        *octets.get_mut(index)? = number(part)?;
    }
    (family != Some(Family::V6)).then_some(Ipv4Addr::from(octets).into())
}

/// A prefix. Its length is that of the address, if none is given; it may be a dotted netmask.
pub(super) fn prefix(text: &str, family: Option<Family>) -> Option<Prefix> {
    let (text, len) = text.split_once('/').map_or((text, None), |(text, len)| (text, Some(len)));
    let is_word = matches!(text, "default" | "any" | "all");
    let addr = address(text, family)?;
    let bits = Family::of(addr).bits();
    let len = match len {
        None if is_word => 0,
        None => bits,
        Some(_) if is_word => return None,
        Some(len) => match number::<u32>(len) {
            Some(len) => u8::try_from(len).ok()?,
            None => netmask(len)?,
        },
    };
    (len <= bits).then_some(Prefix { addr, len })
}

fn netmask(text: &str) -> Option<u8> {
    let IpAddr::V4(mask) = address(text, Some(Family::V4))? else { return None };
    let bits = mask.to_bits();
    let ones = bits.leading_ones();
    (ones == bits.count_ones()).then_some(ones as u8)
}

/// A key: hexadecimal after `0x`, with a zero before an odd number of digits; any other word is the octets
/// themselves, also one after `0X`. No error shows any of it.
pub(super) fn key(word: &Word<'_>) -> Parsed<Key> {
    let text = word.as_str();
    let too_long = || Fault::value(word.position, format!("the key is longer than {MAX_KEY_LEN} octets"));
    let Some(digits) = text.strip_prefix("0x").filter(|digits| !digits.is_empty()) else {
        if text.len() > MAX_KEY_LEN {
            return Err(too_long());
        }
        if text.ends_with(')') && text.contains('(') {
            return Err(Fault::value(word.position, "a key is expected here, not the name of an algorithm"));
        }
        return Ok(Key::new(text.as_bytes().to_vec()));
    };
    if digits.len() > 2 * MAX_KEY_LEN {
        return Err(too_long());
    }
    let mut octets = Zeroizing::new(Vec::with_capacity(digits.len().div_ceil(2)));
    let mut high = None;
    let mut missing = digits.len() % 2;
    for (index, c) in digits.chars().enumerate() {
        let Some(digit) = c.to_digit(16) else {
            let reason = format!("digit {} of the key is no hexadecimal digit", index + 1);
            return Err(Fault::value(word.position, reason));
        };
        let digit = digit as u8;
        match high.take() {
            Some(high) => octets.push(high << 4 | digit),
            None if missing == 1 => {
                missing = 0;
                octets.push(digit);
            }
            None => high = Some(digit),
        }
    }
    Ok(Key::new(octets))
}

/// An algorithm out of its parts.
pub(super) fn algorithm(
    name: &Word<'_>,
    key: Key,
    key_position: super::Position,
    icv_bits: Option<u32>,
) -> Algorithm {
    Algorithm { name: name.as_str().to_owned(), key, icv_bits, position: name.position, key_position }
}

/// Protocol numbers by name, as Debian's /etc/protocols has them (IANA's registry). `ip` both reads and prints them.
const PROTOCOLS: [(&str, u8); 55] = [
    ("ip", 0),
    ("hopopt", 0),
    ("icmp", 1),
    ("igmp", 2),
    ("ggp", 3),
    ("ipencap", 4),
    ("st", 5),
    ("tcp", 6),
    ("egp", 8),
    ("igp", 9),
    ("pup", 12),
    ("udp", 17),
    ("hmp", 20),
    ("xns-idp", 22),
    ("rdp", 27),
    ("iso-tp4", 29),
    ("dccp", 33),
    ("xtp", 36),
    ("ddp", 37),
    ("idpr-cmtp", 38),
    ("ipv6", 41),
    ("ipv6-route", 43),
    ("ipv6-frag", 44),
    ("idrp", 45),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("skip", 57),
    ("ipv6-icmp", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("rspf", 73),
    ("vmtp", 81),
    ("eigrp", 88),
    ("ospf", 89),
    ("ax.25", 93),
    ("ipip", 94),
    ("etherip", 97),
    ("encap", 98),
    ("pim", 103),
    ("ipcomp", 108),
    ("vrrp", 112),
    ("l2tp", 115),
    ("isis", 124),
    ("sctp", 132),
    ("fc", 133),
    ("mobility-header", 135),
    ("udplite", 136),
    ("mpls-in-ip", 137),
    ("manet", 138),
    ("hip", 139),
    ("shim6", 140),
    ("wesp", 141),
    ("rohc", 142),
];

/// A protocol by name, in lower or upper case, or by number. `any` and 0 are None.
pub(super) fn protocol(text: &str) -> Option<Option<u8>> {
    let number = match text {
        "any" => 0,
        _ => PROTOCOLS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text))
            .map(|(_, number)| *number)
            .or_else(|| number(text))?,
    };
    Some((number != 0).then_some(number))
}

/// The first name of a protocol: the one that `ip` prints. None for a number without a name.
pub(super) fn protocol_name(number: u8) -> Option<&'static str> {
    PROTOCOLS.iter().find(|(_, n)| *n == number).map(|(name, _)| *name)
}

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const DCCP: u8 = 33;
pub(super) const GRE: u8 = 47;
pub(super) const ICMPV6: u8 = 58;
pub(super) const SCTP: u8 = 132;
pub(super) const MOBILITY_HEADER: u8 = 135;
