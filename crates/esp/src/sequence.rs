//! Extended sequence numbers (RFC 4303 §2.2.1, Appendix A).

/// The high-order 32 bits of a packet's sequence number, of which it carries `low` only.
///
/// `top` is the highest number that was authenticated, `window` the anti-replay window's width, at least 1.
/// RFC 4303 Appendix A2.2, in its words Th and Tl for the halves of `top`, W for the window:
///
/// 1. Case A, Tl ≥ W − 1: the window lies in one subspace. From its lower edge on the number is of this subspace
///    (Th), below it of the next (Th + 1).
/// 2. Case B, Tl < W − 1: the window spans two. From its lower edge on the number is of the one before (Th − 1),
///    below it of this one (Th).
///
/// All of it modulo 2^32, as there: what lies before subspace 0 or after the last is a number that no sender has
/// come to, and the packet's ICV will not verify.
#[inline]
#[must_use]
pub fn infer_high(top: u64, window: u32, low: u32) -> u32 {
    let (top_high, top_low) = ((top >> 32) as u32, top as u32);
    let span = window.saturating_sub(1);
    let lower_edge = top_low.wrapping_sub(span);
    if top_low >= span {
        if low >= lower_edge { top_high } else { top_high.wrapping_add(1) }
    } else if low >= lower_edge {
        top_high.wrapping_sub(1)
    } else {
        top_high
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The only number congruent to `low` that is neither left of the window nor 2^32 or more beyond its edge.
    fn model(top: u64, window: u32, low: u32) -> Option<u32> {
        let edge = i128::from(top) - i128::from(window) + 1;
        let numbers = (-1..=i128::from(u32::MAX) + 1).map(|high| (high << 32) + i128::from(low));
        let near = i128::from(top >> 32);
        let number =
            numbers.skip(usize::try_from(near).ok()?).take(4).find(|&n| n >= edge && n < edge + (1 << 32))?;
        u32::try_from(number >> 32).ok()
    }

    #[test]
    fn follows_appendix_a2() {
        let w = 64;
        // Case A.
        assert_eq!(infer_high(0x1_0000_0100, w, 0x100 - 63), 1);
        assert_eq!(infer_high(0x1_0000_0100, w, 0x100 - 64), 2);
        assert_eq!(infer_high(0x1_0000_0100, w, 0xffff_ffff), 1);
        // The window begins where the subspace does: still case A.
        assert_eq!(infer_high(0x1_0000_003f, w, 0), 1);
        assert_eq!(infer_high(0x1_0000_003f, w, 0xffff_ffff), 1);
        // Case B.
        assert_eq!(infer_high(0x1_0000_0010, w, 0xffff_ffd1), 0);
        assert_eq!(infer_high(0x1_0000_0010, w, 0xffff_ffd0), 1);
        assert_eq!(infer_high(0x1_0000_0010, w, 0x11), 1);
        // Before the first subspace, and after the last.
        assert_eq!(infer_high(0x10, w, 0xffff_ffff), u32::MAX);
        assert_eq!(infer_high(u64::MAX, w, 0), 0);
    }

    proptest! {
        #[test]
        fn equals_the_only_number_in_reach(
            high in 1_u32..50, low_top in prop_oneof![any::<u32>(), 0_u32..200, (u32::MAX - 200)..=u32::MAX],
            window in prop_oneof![1_u32..200, Just(65_536)], low in any::<u32>(), offset in -300_i64..300,
        ) {
            let top = u64::from(high) << 32 | u64::from(low_top);
            let near = (top as i64 + offset) as u32;
            for low in [low, near] {
                prop_assert_eq!(Some(infer_high(top, window, low)), model(top, window, low));
            }
        }
    }
}
