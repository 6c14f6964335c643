//! Numbers and addresses once more: what C's strtoul and inet_pton make of them, by the standard library where it can.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// As strtoul with base 0, of the whole word, without a sign.
pub(super) fn number(word: &str) -> Option<u64> {
    let lower = word.to_ascii_lowercase();
    let (digits, base) = if let Some(digits) = lower.strip_prefix("0x") {
        (digits, 16_u64)
    } else if lower.starts_with('0') {
        (lower.as_str(), 8)
    } else {
        (lower.as_str(), 10)
    };
    let mut number = 0_u64;
    for digit in digits.chars() {
        let digit = digit.to_digit(base as u32)?;
        number = number.checked_mul(base)?.checked_add(digit.into())?;
    }
    (!digits.is_empty()).then_some(number)
}

/// As `ip` reads an address: IPv4 also with fewer parts, filled up with zeros, each in any base.
fn address(word: &str) -> Option<IpAddr> {
    if let Ok(address) = word.parse() {
        return Some(address);
    }
    if word.contains(':') {
        return word.parse::<Ipv6Addr>().ok().map(IpAddr::from);
    }
    let parts: Vec<&str> = word.split('.').collect();
    let mut octets = [0; 4];
    if parts.len() > octets.len() {
        return None;
    }
    for (octet, part) in octets.iter_mut().zip(parts) {
        *octet = number(part)?.try_into().ok()?;
    }
    Some(Ipv4Addr::from(octets).into())
}

/// An address and how many of its bits count: all if not said; as a number or, of IPv4, as a netmask.
pub(super) fn prefix(word: &str) -> Option<(IpAddr, u8)> {
    let Some((before, behind)) = word.split_once('/') else {
        let address = address(word)?;
        return Some((address, if address.is_ipv4() { 32 } else { 128 }));
    };
    let address = address(before)?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    if let Some(len) = number(behind).filter(|len| *len <= u64::from(u32::MAX)) {
        return (len <= longest).then_some((address, len as u8));
    }
    let Some(IpAddr::V4(mask)) = self::address(behind) else { return None };
    let ones = (0..=32).find(|len| mask.to_bits() == u32::MAX.checked_shl(32 - len).unwrap_or(0))?;
    (u64::from(ones) <= longest).then_some((address, ones as u8))
}
