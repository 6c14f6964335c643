//! What Scapy has not, or has wrong.

use espwire_esp::{IcvLen, Integrity, Suite};

use crate::case::{Case, HOP_BY_HOP, Layout};

// Scapy's faults. `what_is_left_out_is_scapys_fault` has the evidence.
pub(crate) const SHORT_GCM_ICV: &str = "its AES-GCM has an ICV of 16 octets, whatever crypt_icv_size says";
pub(crate) const UDP_NAMED_ESP: &str =
    "its extension header says that ESP follows, where UDP does (RFC 8200 section 4)";
pub(crate) const WRONG_NEXT_HEADER: &str =
    "it dissects what ESP held by the next header of the IPv6 header, not by ESP's (RFC 4303 section 2.6)";
pub(crate) const EXTENSION_DROPPED: &str =
    "with the UDP header it takes away the extension headers in front of it";

/// What Scapy calls the algorithms of a suite, encryption and integrity; or why it has it not.
pub(crate) fn names(suite: Suite) -> Result<(&'static str, &'static str), &'static str> {
    let integrity = match suite.integrity_algorithm() {
        None => "NULL",
        Some(Integrity::HmacSha1_96) => "HMAC-SHA1-96",
        Some(Integrity::HmacSha256_96) => return Err("its HMAC-SHA-256 has an ICV of 16 octets"),
        Some(Integrity::HmacSha256_128) => "SHA2-256-128",
        Some(Integrity::HmacSha384_192) => "SHA2-384-192",
        Some(Integrity::HmacSha512_256) => "SHA2-512-256",
        Some(other) => panic!("{other:?}: has Scapy got it?"),
    };
    let encryption = match suite {
        Suite::AesGcm(_, IcvLen::Icv16) => "AES-GCM",
        Suite::AesGcm(..) => return Err(SHORT_GCM_ICV),
        Suite::AesCcm(..) => "AES-CCM",
        Suite::ChaCha20Poly1305 => "CHACHA20-POLY1305",
        Suite::AesGmac(_) => "AES-NULL-GMAC",
        Suite::AesCbc(..) => "AES-CBC",
        Suite::AesCtr(..) => "AES-CTR",
        Suite::Null(_) => "NULL",
        Suite::AesGcmIiv(_) | Suite::AesCcmIiv(_) | Suite::ChaCha20Poly1305Iiv => {
            return Err("it has no implicit IVs");
        }
        other => panic!("{other}: has Scapy got it?"),
    };
    Ok((encryption, integrity))
}

/// Why Scapy can't be asked to seal this case.
pub(crate) fn not_sealed(case: &Case) -> Option<&'static str> {
    let is_extended = matches!(case.layout, Layout::TransportWithExtension(_));
    (is_extended && case.sa.encap.is_some()).then_some(UDP_NAMED_ESP)
}

/// Why Scapy can't be asked to open this case.
pub(crate) fn not_opened(case: &Case) -> Option<&'static str> {
    let why = if case.sa.encap.is_some() { EXTENSION_DROPPED } else { WRONG_NEXT_HEADER };
    matches!(case.layout, Layout::TransportWithExtension(HOP_BY_HOP)).then_some(why)
}
