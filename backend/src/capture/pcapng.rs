//! Blocks of pcapng (draft-ietf-opsawg-pcapng), as far as frames need them.

use std::time::Duration;

use byteorder_slice::ByteOrder;
use pcap_file::pcapng::blocks::{
    ENHANCED_PACKET_BLOCK, INTERFACE_DESCRIPTION_BLOCK, PACKET_BLOCK, SECTION_HEADER_BLOCK,
    SIMPLE_PACKET_BLOCK,
};

use super::Found;

/// Most interfaces in a section.
pub(super) const MAX_INTERFACES: usize = 1 << 16;

/// An interface of a section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interface {
    link: u16,
    /// 0: no limit.
    snap_len: u32,
    /// `if_tsresol`.
    resolution: u8,
    /// `if_tsoffset`, in seconds.
    offset: i64,
}

/// Reads a block's body: the frame in it, its octets counted from the body's start.
pub(super) fn read_block<B: ByteOrder>(
    kind: u32,
    body: &[u8],
    interfaces: &mut Vec<Interface>,
) -> Result<Option<Found>, String> {
    let word = |at: usize| body.get(at..at + 4).map(B::read_u32).ok_or("a block is too short for its kind");
    let interface = |number: u32| {
        let interface = interfaces.get(number as usize).copied();
        interface.ok_or_else(|| format!("a frame of interface {number}, which is not described"))
    };
    match kind {
        SECTION_HEADER_BLOCK => {
            let version = body.get(4..6).map(B::read_u16);
            if version != Some(1) {
                return Err(format!("version {} of pcapng", version.unwrap_or_default()));
            }
            interfaces.clear();
            Ok(None)
        }
        INTERFACE_DESCRIPTION_BLOCK => {
            if interfaces.len() >= MAX_INTERFACES {
                return Err(format!("more than {MAX_INTERFACES} interfaces"));
            }
            let snap_len = word(4)?;
            let mut interface =
                Interface { link: B::read_u16(&body[..2]), snap_len, resolution: 6, offset: 0 };
            interface.read_options::<B>(&body[8..]);
            interfaces.push(interface);
            Ok(None)
        }
        ENHANCED_PACKET_BLOCK | PACKET_BLOCK => {
            let number = if kind == PACKET_BLOCK {
                word(0)?;
                u32::from(B::read_u16(&body[..2]))
            } else {
                word(0)?
            };
            let interface = interface(number)?;
            let time = u64::from(word(4)?) << 32 | u64::from(word(8)?);
            let (len, wire_len) = (word(12)? as usize, word(16)?);
            if len > body.len() - 20 {
                return Err(format!("a frame of {len} octets in a block that has no room for it"));
            }
            Ok(Some(Found {
                time: interface.time(time),
                link: interface.link,
                octets: 20..20 + len,
                wire_len,
            }))
        }
        SIMPLE_PACKET_BLOCK => {
            let interface = interface(0)?;
            let wire_len = word(0)?;
            let limit = if interface.snap_len == 0 { wire_len } else { wire_len.min(interface.snap_len) };
            // What stands beyond is the block's padding.
            let len = (body.len() - 4).min(limit as usize);
            Ok(Some(Found { time: None, link: interface.link, octets: 4..4 + len, wire_len }))
        }
        _ => Ok(None),
    }
}

impl Interface {
    /// Takes from `options` what it knows. A list that breaks off has ended.
    fn read_options<B: ByteOrder>(&mut self, mut options: &[u8]) {
        const IF_TSRESOL: u16 = 9;
        const IF_TSOFFSET: u16 = 14;
        while let Some((head, rest)) = options.split_at_checked(4) {
            let (code, len) = (B::read_u16(&head[..2]), usize::from(B::read_u16(&head[2..])));
            match (code, rest.get(..len)) {
                (0, _) | (_, None) => break,
                (IF_TSRESOL, Some(&[resolution])) => self.resolution = resolution,
                (IF_TSOFFSET, Some(value)) if len == 8 => self.offset = B::read_i64(value),
                _ => {}
            }
            options = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
    }

    /// The time since the Unix epoch that `units` stand for; `None` if it is none that there is.
    fn time(&self, units: u64) -> Option<Duration> {
        let exponent = u32::from(self.resolution & 0x7f);
        let base: u128 = if self.resolution & 0x80 == 0 { 10 } else { 2 };
        // A unit so small that a double word of them is no time at all.
        let Some(second) = base.checked_pow(exponent) else { return Some(Duration::ZERO) };
        let units = u128::from(units);
        let seconds = u64::try_from(units / second).ok()?.checked_add_signed(self.offset)?;
        // Less than 2^64 units, times 2^30.
        let nanoseconds = units % second * 1_000_000_000 / second;
        Some(Duration::new(seconds, u32::try_from(nanoseconds).ok()?))
    }
}
