//! Congestion marks at the ends of a tunnel (RFC 6040).

use crate::ip;
use crate::verdict::DropReason;

const NOT_ECT: u8 = 0;
const ECT_1: u8 = 1;
const CE: u8 = 3;

/// Merges the outer packet's ECN field into the inner one's (RFC 6040 §4.2, figure 4), and keeps the inner header's
/// checksum right.
///
/// # Errors
///
/// [`DropReason::EcnCeOnNotEct`]: congestion was experienced by a packet whose sender can't be told.
pub(crate) fn decapsulate(outer: &[u8], inner: &mut [u8]) -> Result<(), DropReason> {
    let (outer, own) = (ip::ecn(outer), ip::ecn(inner));
    let merged = match (own, outer) {
        (NOT_ECT, CE) => return Err(DropReason::EcnCeOnNotEct),
        (NOT_ECT | CE, _) => own,
        (_, CE) => CE,
        (_, ECT_1) => ECT_1,
        _ => own,
    };
    if merged != own {
        ip::set_ecn(inner, merged);
    }
    Ok(())
}

/// The outer packet's ECN field for an inner one of this traffic class (RFC 6040 §4.1): the inner one's in normal
/// mode, Not-ECT in compatibility mode.
pub(crate) fn encapsulate(inner_class: u8, is_compatible: bool) -> u8 {
    if is_compatible { NOT_ECT } else { inner_class & 3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_figure_3_of_rfc_6040() {
        for inner in 0..4 {
            assert_eq!(encapsulate(0xb8 | inner, false), inner);
            assert_eq!(encapsulate(0xb8 | inner, true), NOT_ECT);
        }
    }

    #[test]
    fn follows_figure_4_of_rfc_6040() {
        let packet = |ecn: u8| {
            let mut packet = vec![0x45, 0xb8 | ecn, 0, 20, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
            let sum = ip::checksum(&packet).computed;
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            packet
        };
        // Rows are the inner field: Not-ECT, ECT(1), ECT(0), CE; columns the outer one, in the same order.
        let expected = [
            [Some(0), Some(0), Some(0), None],
            [Some(1), Some(1), Some(1), Some(3)],
            [Some(2), Some(1), Some(2), Some(3)],
            [Some(3), Some(3), Some(3), Some(3)],
        ];
        for (own, row) in (0..).zip(expected) {
            for (outer, merged) in (0..).zip(row) {
                let mut inner = packet(own);
                let result = decapsulate(&packet(outer), &mut inner);
                assert_eq!(result.is_ok().then(|| inner[1] & 3), merged, "inner {own}, outer {outer}");
                assert_eq!(inner[1] & !3, 0xb8);
                let sum = ip::checksum(&inner);
                assert_eq!(sum.received, sum.computed);
            }
        }
    }
}
