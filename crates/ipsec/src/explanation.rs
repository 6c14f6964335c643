//! What was found in an ESP packet, for whoever wants to see it.

use espwire_esp::{Icv, Replay};

use crate::inner::Inner;
use crate::outer::Outer;
use crate::sa::Sa;
use crate::verdict::Verdict;

/// Everything that was found in one ESP packet, as far as it came. Borrowed: who keeps it copies what it needs.
#[derive(Clone, Debug)]
pub struct Explanation<'a> {
    /// Which frame of the burst.
    pub index: usize,
    /// The whole frame as it was received, without FCS.
    pub frame: &'a [u8],
    /// Its octets on the wire: more than `frame` has if a capture cut it.
    pub wire_len: usize,
    /// What stands in front of ESP; `None` if the IP header could not be read.
    pub outer: Option<&'a Outer>,
    /// The ESP packet, from the SPI to the ICV; empty if it was not found.
    pub esp: &'a [u8],
    /// Security parameters index as it stands in the packet.
    pub spi: Option<u32>,
    /// Low-order 32 bits of the sequence number as they stand in the packet.
    pub sequence_low: Option<u32>,
    /// The SA that the packet belongs to.
    pub sa: Option<&'a Sa>,
    /// The IV; empty if the packet is too short for its suite, or has no SA.
    pub iv: &'a [u8],
    /// The ICV as received; empty likewise.
    pub icv_received: &'a [u8],
    /// The ICV as computed over what was received.
    pub icv_computed: Option<Icv>,
    /// The sequence number under which the ICV was verified, or last tried: all 64 bits with ESN.
    pub sequence: Option<u64>,
    /// Whether the ICV was right; `None` if it was not looked at.
    pub verified: Option<bool>,
    /// What the anti-replay window said; `None` if the ICV was not right.
    pub replay: Option<Replay>,
    /// What was decrypted, once the ICV was right.
    pub decrypted: Option<Decrypted<'a>>,
    /// What became of it.
    pub verdict: Verdict,
}

/// What an ESP packet held.
#[derive(Clone, Debug)]
pub struct Decrypted<'a> {
    /// Payload with TFC padding: what stands before the padding.
    pub payload: &'a [u8],
    /// The padding as it came; empty if there is none, or the pad length is larger than the plaintext.
    pub padding: &'a [u8],
    /// Octets of padding that the trailer claims.
    pub pad_len: u8,
    /// Next header: the payload's protocol.
    pub next_header: u8,
    /// The inner packet, if it could be read. In transport mode its addresses are the outer ones.
    pub inner: Option<Inner<'a>>,
    /// The comparison after encrypting again; `None` if the pad length left nothing to encrypt.
    pub reencryption: Option<Reencryption>,
}

/// What was decrypted, encrypted again with the same IV and sequence number and padding of 1, 2, 3, …, beside
/// what was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reencryption {
    /// The ciphertext is the same.
    pub ciphertext_matches: bool,
    /// The ICV is the same.
    pub icv_matches: bool,
    /// The first octet that differs, counted from the SPI.
    pub first_difference: Option<usize>,
}

impl Reencryption {
    /// Compares two packets of one suite: `received` and `again`, both from SPI to ICV.
    pub(crate) fn compare(received: &[u8], again: &[u8], icv_len: usize) -> Self {
        // No secret is compared: the ICV was verified before.
        if received == again {
            return Self { ciphertext_matches: true, icv_matches: true, first_difference: None };
        }
        let icv_at = received.len() - icv_len;
        Self {
            ciphertext_matches: received[..icv_at] == again[..icv_at],
            icv_matches: received[icv_at..] == again[icv_at..],
            first_difference: received.iter().zip(again).position(|(a, b)| a != b),
        }
    }

    /// Whether all of it is the same.
    #[must_use]
    pub fn matches(self) -> bool {
        self.ciphertext_matches && self.icv_matches
    }
}

/// Who wants explanations.
pub trait Observer {
    /// Whether the next packet, which comes to this verdict, is to be explained. Asked once per ESP packet, in
    /// order: an answer of no spares the work.
    fn wants(&mut self, verdict: Verdict) -> bool;

    /// Takes the explanation of the packet that [`wants`](Self::wants) was last asked for.
    fn observe(&mut self, explanation: &Explanation<'_>);
}

/// Nobody.
impl Observer for () {
    fn wants(&mut self, _: Verdict) -> bool {
        false
    }

    fn observe(&mut self, _: &Explanation<'_>) {}
}

impl<O: Observer + ?Sized> Observer for &mut O {
    fn wants(&mut self, verdict: Verdict) -> bool {
        (**self).wants(verdict)
    }

    fn observe(&mut self, explanation: &Explanation<'_>) {
        (**self).observe(explanation);
    }
}
