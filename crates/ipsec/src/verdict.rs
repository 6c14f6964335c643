//! What is to become of a frame.

use std::ops::{AddAssign, Index, IndexMut};

use espwire_esp::TrailerFault;

use crate::flow::Flow;

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $xfrm_stat:expr;)*) => {
        /// Why a frame is dropped: one counter each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum DropReason { $($(#[$doc])* $variant,)* }

        impl DropReason {
            /// All reasons, in the order in which they are printed.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in records and on screen: `snake_case`, never changed once published.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The counter of `/proc/net/xfrm_stat` in which Linux counts such a packet, where it has one.
            #[must_use]
            pub const fn xfrm_stat(self) -> Option<&'static str> {
                match self { $(Self::$variant => $xfrm_stat,)* }
            }
        }
    };
}

drop_reasons! {
    /// An IP header, its lengths, a UDP header or the ESP length can't be right.
    Malformed = "malformed", None;
    /// The frame was longer than what was captured of it (captures only).
    Truncated = "truncated", None;
    /// The outer IPv4 header checksum is wrong; of a packet to be sent, its own.
    BadIpChecksum = "bad_ip_csum", None;
    /// ESP in an IP fragment: it can't be verified before reassembly (RFC 4303 §3.4.1).
    Fragment = "fragment", None;
    /// No SA has this SPI and destination.
    NoSa = "no_sa", Some("XfrmInNoStates");
    /// Plain ESP to an SA of UDP encapsulation, UDP encapsulation to one that has none, or to another port than the
    /// SA's (receivers only).
    Mismatch = "mismatch", Some("XfrmInStateMismatch");
    /// The SA has reached a hard limit of its lifetime (RFC 4301 §4.4.2.1; receivers only).
    Expired = "expired", Some("XfrmInStateExpired");
    /// The ICV is wrong.
    AuthFail = "auth_fail", Some("XfrmInStateProtoError");
    /// The plaintext is no multiple of 4 octets.
    BadAlign = "bad_align", None;
    /// The pad length is larger than the plaintext.
    BadPadLen = "bad_padlen", Some("XfrmInStateProtoError");
    /// Padding is not 1, 2, 3, …
    BadPadding = "bad_padding", None;
    /// Tunnel mode, and the next header is neither an IP version nor that of a dummy packet.
    BadNextHeader = "bad_next_header", Some("XfrmInStateModeError");
    /// The inner IP header, its version, lengths or checksum can't be right.
    InnerMalformed = "inner_malformed", Some("XfrmInStateModeError");
    /// Sequence number 0, which is never sent (receivers only: inspection notes replay).
    ReplayZero = "replay_zero", Some("XfrmInStateSeqError");
    /// Left of the anti-replay window (receivers only).
    ReplayOld = "replay_old", Some("XfrmInStateSeqError");
    /// Seen before (receivers only).
    ReplayDup = "replay_dup", Some("XfrmInStateSeqError");
    /// A dummy packet: next header 59, not for anybody (RFC 4303 §2.6; receivers only).
    Dummy = "dummy", None;
    /// The inner packet is not one that the SA is for (RFC 4301 §5.2; receivers only).
    Selector = "selector", Some("XfrmInStateMismatch");
    /// The outer header says congestion experienced, the inner one that its sender can't know that (RFC 6040 §4.2;
    /// receivers only).
    EcnCeOnNotEct = "ecn_ce_on_not_ect", None;
    /// A NAT-keepalive, which ends at the receiver (RFC 3948 §2.3; receivers only).
    NattKeepalive = "natt_keepalive", None;
    /// What was decrypted does not encrypt to what was received.
    ReencryptMismatch = "reencrypt_mismatch", None;
    /// The SA has sent its last sequence number (RFC 4303 §3.3.3; senders only).
    SeqOverflow = "seq_overflow", Some("XfrmOutStateSeqError");
    /// The SA has reached a hard limit of its lifetime (RFC 4301 §4.4.2.1; senders only).
    OutExpired = "out_expired", Some("XfrmOutStateExpired");
    /// A fragment, which transport mode and mode beet don't carry (RFC 4303 §3.3.4; senders only).
    OutFragment = "out_fragment", Some("XfrmOutStateModeError");
    /// The packet's addresses are not those of the SA in transport mode, or of its selector in mode beet; or the SA
    /// has no source address to send from (senders only).
    OutAddress = "out_address", Some("XfrmOutStateModeError");
    /// Encapsulated, the packet would be longer than an IP packet can be (senders only).
    OutTooLong = "out_too_long", None;
    /// No SA of those that the policy asks for is there (RFC 4301 §5.1; senders only).
    OutNoSa = "out_no_sa", Some("XfrmOutNoStates");
    /// The policy for packets to be sent is DISCARD (RFC 4301 §5.1).
    OutPolicyBlock = "out_policy_block", Some("XfrmOutPolBlock");
    /// No policy is for this packet to be sent, and such packets are discarded (RFC 4301 §5.1).
    OutNoPolicy = "out_no_policy", None;
    /// The policy for received packets is DISCARD (RFC 4301 §5.2).
    PolicyBlock = "policy_block", Some("XfrmInPolBlock");
    /// No policy is for this received packet: such packets are discarded, or it came through an SA that is for
    /// others (RFC 4301 §5.2).
    NoPolicy = "no_policy", Some("XfrmInNoPols");
    /// The packet came in clear, and the policy asks for an SA (RFC 4301 §5.2).
    Unprotected = "unprotected", Some("XfrmInTmplMismatch");
    /// The packet came through an SA that is not one that the policy asks for (RFC 4301 §5.2).
    TemplateMismatch = "template_mismatch", Some("XfrmInTmplMismatch");
    /// A later fragment that would go in clear, but may be of packets that a policy protects or discards (RFC 4301
    /// §7.4).
    Obscured = "obscured", None;
}

impl DropReason {
    /// Whether such a drop is an auditable event, of which an [`Audit`](crate::Audit) tells: RFC 4303 §3.3.3, §3.4.1,
    /// §3.4.2, §3.4.3 and §3.4.4; where the SPD or the SA is not for the packet, RFC 4301 §5.1 and §5.2.
    ///
    /// The inspector tells its observer of all drops, and audits none.
    #[must_use]
    pub const fn is_auditable(self) -> bool {
        match self {
            Self::Fragment
            | Self::NoSa
            | Self::AuthFail
            | Self::ReplayZero
            | Self::ReplayOld
            | Self::ReplayDup
            | Self::Selector
            | Self::SeqOverflow
            | Self::OutNoSa
            | Self::OutPolicyBlock
            | Self::OutNoPolicy
            | Self::PolicyBlock
            | Self::NoPolicy
            | Self::Unprotected
            | Self::TemplateMismatch
            | Self::Obscured => true,
            // No `_`: a new reason has to say.
            Self::Malformed
            | Self::Truncated
            | Self::BadIpChecksum
            | Self::Mismatch
            | Self::Expired
            | Self::BadAlign
            | Self::BadPadLen
            | Self::BadPadding
            | Self::BadNextHeader
            | Self::InnerMalformed
            | Self::Dummy
            | Self::EcnCeOnNotEct
            | Self::NattKeepalive
            | Self::ReencryptMismatch
            | Self::OutExpired
            | Self::OutFragment
            | Self::OutAddress
            | Self::OutTooLong => false,
        }
    }
}

/// Why a packet ends, and its selector values where they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: DropReason,
    pub(crate) flow: Option<Flow>,
}

impl Refusal {
    /// A packet of this flow.
    pub(crate) fn of_flow(reason: DropReason, flow: Flow) -> Self {
        Self { reason, flow: Some(flow) }
    }
}

/// A packet whose flow is not known.
impl From<DropReason> for Refusal {
    fn from(reason: DropReason) -> Self {
        Self { reason, flow: None }
    }
}

/// What is wrong with the trailer of a packet that has verified.
impl From<TrailerFault> for DropReason {
    fn from(fault: TrailerFault) -> Self {
        match fault {
            TrailerFault::Alignment => Self::BadAlign,
            TrailerFault::PadLength => Self::BadPadLen,
            TrailerFault::Padding => Self::BadPadding,
        }
    }
}

/// A count for each reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropCounts([u64; DropReason::ALL.len()]);

impl DropCounts {
    /// Each reason with its count, in the order of [`DropReason::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL.iter().copied().zip(self.0)
    }

    /// The sum of all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// Nothing yet.
impl Default for DropCounts {
    fn default() -> Self {
        Self([0; DropReason::ALL.len()])
    }
}

impl Index<DropReason> for DropCounts {
    type Output = u64;

    fn index(&self, reason: DropReason) -> &u64 {
        &self.0[reason as usize]
    }
}

impl IndexMut<DropReason> for DropCounts {
    fn index_mut(&mut self, reason: DropReason) -> &mut u64 {
        &mut self.0[reason as usize]
    }
}

impl AddAssign for DropCounts {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
    }
}

/// Why a frame passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Passed {
    /// ESP: verified, decrypted, and re-encrypted to the same octets.
    Verified,
    /// Not ESP.
    NotEsp,
    /// IKE on a port of UDP encapsulation: four zero octets in the SPI's place (RFC 3948 §2.2).
    NattIke,
    /// A NAT-keepalive: one octet 0xff (RFC 3948 §2.3).
    NattKeepalive,
}

impl Passed {
    /// The name in records: `snake_case`, never changed once published.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::NotEsp => "not_esp",
            Self::NattIke => "natt_ike",
            Self::NattKeepalive => "natt_keepalive",
        }
    }
}

/// What is to become of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on, unchanged.
    Pass(Passed),
    /// It ends here and is counted.
    Drop(DropReason),
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_reason_has_its_own_name_and_place() {
        let names: HashSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
        for (place, &reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason as usize, place);
            assert!(
                reason
                    .xfrm_stat()
                    .is_none_or(|name| name.starts_with("XfrmIn") || name.starts_with("XfrmOut"))
            );
        }
    }

    #[test]
    fn what_a_receiver_a_sender_and_the_spd_audit_is_auditable_and_nothing_else() {
        let auditable = "fragment no_sa auth_fail replay_zero replay_old replay_dup selector seq_overflow out_no_sa \
                         out_policy_block out_no_policy policy_block no_policy unprotected template_mismatch obscured";
        let auditable: HashSet<_> = auditable.split_whitespace().collect();
        for reason in DropReason::ALL {
            assert_eq!(reason.is_auditable(), auditable.contains(reason.name()), "{reason:?}");
        }
    }
}
