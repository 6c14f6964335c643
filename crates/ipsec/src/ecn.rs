//! Congestion marks at the ends of a tunnel (RFC 6040).

use crate::verdict::DropReason;

const NOT_ECT: u8 = 0;
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CE: u8 = 3;

/// The ECN field of a traffic class.
pub(crate) fn field(traffic_class: u8) -> u8 {
    traffic_class & 3
}

/// What the inner packet's ECN field becomes (RFC 6040 §4.2, figure 4).
///
/// # Errors
///
/// [`DropReason::EcnCeOnNotEct`]: congestion was experienced by a packet whose sender can't be told.
//
//= https://www.rfc-editor.org/rfc/rfc6040#section-4.2
//# If the inner ECN field is Not-ECT, the decapsulator MUST NOT
//# propagate any other ECN codepoint onwards.
pub(crate) fn decapsulate(outer: u8, inner: u8) -> Result<u8, DropReason> {
    match (inner, outer) {
        (NOT_ECT, CE) => Err(DropReason::EcnCeOnNotEct),
        (NOT_ECT | CE, _) => Ok(inner),
        (_, CE) => Ok(CE),
        (_, ECT_1) => Ok(ECT_1),
        _ => Ok(inner),
    }
}

/// Whether figure 4 has a mark at this combination: none that a sender makes today, and most of them dangerous.
pub(crate) fn is_anomaly(outer: u8, inner: u8) -> bool {
    matches!((inner, outer), (NOT_ECT, ECT_0 | ECT_1 | CE) | (ECT_1, ECT_0) | (CE, ECT_1))
}

/// The outer packet's ECN field for an inner one of this traffic class (RFC 6040 §4.1): the inner one's in normal
/// mode, Not-ECT in compatibility mode.
pub(crate) fn encapsulate(inner_class: u8, is_compatible: bool) -> u8 {
    if is_compatible { NOT_ECT } else { inner_class & 3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows are the inner field: Not-ECT, ECT(1), ECT(0), CE; columns the outer one, in the same order.
    const FIGURE_4: [[(Option<u8>, bool); 4]; 4] = [
        [(Some(0), false), (Some(0), true), (Some(0), true), (None, true)],
        [(Some(1), false), (Some(1), false), (Some(1), true), (Some(3), false)],
        [(Some(2), false), (Some(1), false), (Some(2), false), (Some(3), false)],
        [(Some(3), false), (Some(3), true), (Some(3), false), (Some(3), false)],
    ];

    #[test]
    fn follows_figure_3_of_rfc_6040() {
        for inner in 0..4 {
            assert_eq!(encapsulate(0xb8 | inner, false), inner);
            assert_eq!(encapsulate(0xb8 | inner, true), NOT_ECT);
        }
    }

    #[test]
    fn follows_figure_4_of_rfc_6040() {
        for (inner, row) in (0..).zip(FIGURE_4) {
            for (outer, (merged, is_marked)) in (0..).zip(row) {
                assert_eq!(decapsulate(outer, inner).ok(), merged, "inner {inner}, outer {outer}");
                assert_eq!(is_anomaly(outer, inner), is_marked, "inner {inner}, outer {outer}");
            }
        }
    }
}
