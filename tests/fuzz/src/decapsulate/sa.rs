//! The SAs, and their transforms by the crates `hmac`, `aes-gcm` and `cbc`.

use std::net::IpAddr;

use aes::{Aes128, Aes256};
use aes_gcm::AesGcm;
use aes_gcm::aead::consts::{U8, U12, U16};
use aes_gcm::aead::{AeadInOut, KeyInit};
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, block_padding::NoPadding};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Key of the AES part: the first octets of these, as many as are needed, then the salt.
const KEY: [u8; 36] = *b"the first key of all the fuzzed keys";
const INTEGRITY_KEY: [u8; 32] = *b"and this one is for the HMAC-SHA";

/// What encrypts and authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transform {
    /// NULL with HMAC-SHA-256-128 (RFC 2410, RFC 4868).
    Null,
    /// AES-128-CBC with the same (RFC 3602).
    Cbc,
    /// AES-128-GCM with an ICV of 16 octets (RFC 4106).
    Gcm,
    /// AES-256-GCM with one of 8 octets.
    GcmShort,
}

/// A prefix, and what stands behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Selected {
    pub(super) src: (&'static str, u8),
    pub(super) dst: (&'static str, u8),
    pub(super) protocol: Option<u8>,
    pub(super) dport: Option<u16>,
}

/// An SA.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sa {
    pub(super) transform: Transform,
    pub(super) is_tunnel: bool,
    pub(super) over_v6: bool,
    pub(super) esn: bool,
    pub(super) window: u64,
    /// UDP destination port of encapsulation.
    pub(super) encap: Option<u16>,
    pub(super) selector: Option<Selected>,
    pub(super) noecn: bool,
    pub(super) decap_dscp: bool,
    /// The highest number received so far.
    pub(super) top: u64,
}

const BASE: Sa = Sa {
    transform: Transform::Null,
    is_tunnel: true,
    over_v6: false,
    esn: false,
    window: 32,
    encap: None,
    selector: None,
    noecn: false,
    decap_dscp: false,
    top: 0,
};

const ONE_NET: Selected =
    Selected { src: ("10.1.0.0", 16), dst: ("10.2.0.0", 15), protocol: None, dport: None };
const DNS: Selected = Selected { protocol: Some(17), dport: Some(53), ..ONE_NET };
const V6_TCP: Selected =
    Selected { src: ("fd01::", 64), dst: ("fd00::", 14), protocol: Some(6), dport: None };
/// For transport mode: the outer addresses are the packet's own.
const OWN_UDP: Selected =
    Selected { src: ("192.0.2.0", 24), dst: ("192.0.2.2", 32), protocol: Some(17), dport: Some(53) };
const OWN_V6: Selected =
    Selected { src: ("2001:db8::", 32), dst: ("2001:db8::2", 128), protocol: Some(58), dport: None };
/// As Linux prints one without addresses.
const TCP: Selected = Selected { src: ("::", 0), dst: ("::", 0), protocol: Some(6), dport: None };

/// All of them. Their places stand in the corpus: add at the end.
pub(super) const ALL: [Sa; 16] = [
    BASE,
    Sa { is_tunnel: false, window: 64, ..BASE },
    Sa { encap: Some(4500), window: 0, ..BASE },
    Sa { transform: Transform::Gcm, esn: true, window: 64, ..BASE },
    Sa { transform: Transform::Gcm, is_tunnel: false, over_v6: true, ..BASE },
    Sa { transform: Transform::Gcm, over_v6: true, window: 0, selector: Some(V6_TCP), ..BASE },
    Sa { transform: Transform::Cbc, esn: true, window: 64, top: 0xffff_fff0, ..BASE },
    Sa { transform: Transform::Cbc, is_tunnel: false, encap: Some(4501), ..BASE },
    Sa { transform: Transform::Cbc, selector: Some(DNS), noecn: true, ..BASE },
    Sa { transform: Transform::GcmShort, decap_dscp: true, window: 64, ..BASE },
    Sa { is_tunnel: false, over_v6: true, esn: true, selector: Some(OWN_V6), ..BASE },
    Sa {
        transform: Transform::Gcm,
        is_tunnel: false,
        esn: true,
        window: 64,
        encap: Some(4500),
        top: 0x1_0000_0010,
        ..BASE
    },
    Sa { esn: true, window: 64, top: 0x2_0000_0003, ..BASE },
    Sa { is_tunnel: false, selector: Some(OWN_UDP), ..BASE },
    Sa { over_v6: true, encap: Some(4500), selector: Some(ONE_NET), top: 0xffff_ffe0, ..BASE },
    Sa { transform: Transform::Cbc, is_tunnel: false, over_v6: true, window: 0, selector: Some(TCP), ..BASE },
];

/// UDP destination ports on which ESP is looked for.
pub(super) fn is_encap_port(port: u16) -> bool {
    port == 4500 || ALL.iter().any(|sa| sa.encap == Some(port))
}

/// An SA's SPI, by its place.
pub(super) fn spi(place: usize) -> u32 {
    0x0001_0001 * (place as u32 + 1)
}

impl Selected {
    pub(super) fn names_addresses(&self) -> bool {
        self.src.1 > 0 || self.dst.1 > 0
    }
}

impl Sa {
    pub(super) fn src(&self) -> IpAddr {
        if self.over_v6 {
            IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])
        } else {
            IpAddr::from([192, 0, 2, 1])
        }
    }

    pub(super) fn dst(&self) -> IpAddr {
        if self.over_v6 {
            IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2])
        } else {
            IpAddr::from([192, 0, 2, 2])
        }
    }

    /// The command that adds it to a kernel.
    pub(super) fn command(&self, place: usize) -> String {
        let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        let (integrity, key) = (hex(&INTEGRITY_KEY), hex(self.key()));
        let algorithms = match self.transform {
            Transform::Null => format!("auth-trunc hmac(sha256) 0x{integrity} 128 enc ecb(cipher_null) ''"),
            Transform::Cbc => format!("auth-trunc hmac(sha256) 0x{integrity} 128 enc cbc(aes) 0x{key}"),
            Transform::Gcm => format!("aead rfc4106(gcm(aes)) 0x{key} 128"),
            Transform::GcmShort => format!("aead rfc4106(gcm(aes)) 0x{key} 64"),
        };
        let mut flags = String::new();
        for (name, is_set) in [("esn", self.esn), ("noecn", self.noecn), ("decap-dscp", self.decap_dscp)] {
            if is_set {
                flags += &format!(" flag {name}");
            }
        }
        let high = if self.esn { format!(" replay-seq-hi {}", self.top >> 32) } else { String::new() };
        let encap = self.encap.map(|port| format!(" encap espinudp 4500 {port} 0.0.0.0")).unwrap_or_default();
        let selector = self.selector.map(|selected| {
            let Selected { src, dst, protocol, dport } = selected;
            let protocol = protocol.map(|protocol| format!(" proto {protocol}")).unwrap_or_default();
            let dport = dport.map(|dport| format!(" dport {dport}")).unwrap_or_default();
            format!(" sel src {}/{} dst {}/{}{protocol}{dport}", src.0, src.1, dst.0, dst.1)
        });
        format!(
            "ip xfrm state add src {} dst {} proto esp spi {:#x} mode {} replay-window {} replay-seq {:#x}{high}{flags} \
             {algorithms}{encap}{}\n",
            self.src(),
            self.dst(),
            spi(place),
            if self.is_tunnel { "tunnel" } else { "transport" },
            self.window,
            self.top as u32,
            selector.unwrap_or_default(),
        )
    }

    /// Key of the encryption, with the salt.
    fn key(&self) -> &'static [u8] {
        match self.transform {
            Transform::Null => &[],
            Transform::Cbc => &KEY[..16],
            Transform::Gcm => &KEY[..20],
            Transform::GcmShort => &KEY[..36],
        }
    }

    pub(super) fn iv_len(&self) -> usize {
        match self.transform {
            Transform::Null => 0,
            Transform::Cbc => 16,
            Transform::Gcm | Transform::GcmShort => 8,
        }
    }

    pub(super) fn icv_len(&self) -> usize {
        if self.transform == Transform::GcmShort { 8 } else { 16 }
    }

    /// What the plaintext has to be a multiple of: for the cipher, and for the trailer to be aligned (RFC 4303 §2.4).
    pub(super) fn block_len(&self) -> usize {
        if self.transform == Transform::Cbc { 16 } else { 4 }
    }

    /// From the SPI to the ICV. The plaintext of CBC must be whole blocks.
    pub(super) fn seal(&self, spi: u32, sequence: u64, iv: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let (low, high) = (sequence as u32, (sequence >> 32) as u32);
        let header = [&spi.to_be_bytes()[..], &low.to_be_bytes(), iv].concat();
        let sealed = match self.transform {
            Transform::Null => plaintext.to_vec(),
            Transform::Cbc => {
                let encryptor =
                    cbc::Encryptor::<Aes128>::new_from_slices(self.key(), iv).expect("right lengths");
                encryptor.encrypt_padded_vec::<NoPadding>(plaintext)
            }
            Transform::Gcm => return [header, self.seal_gcm::<Gcm>(spi, sequence, iv, plaintext)].concat(),
            Transform::GcmShort => {
                return [header, self.seal_gcm::<GcmShort>(spi, sequence, iv, plaintext)].concat();
            }
        };
        let mut packet = [header, sealed].concat();
        let icv = self.hmac(&packet, high);
        packet.extend(&icv[..self.icv_len()]);
        packet
    }

    /// The plaintext, if the ICV over `esp` is right. The lengths must be.
    pub(super) fn open(&self, sequence: u64, esp: &[u8]) -> Option<Vec<u8>> {
        let high = (sequence >> 32) as u32;
        let (authenticated, icv) = esp.split_at(esp.len() - self.icv_len());
        let (iv, ciphertext) = authenticated[8..].split_at(self.iv_len());
        let spi = u32::from_be_bytes([esp[0], esp[1], esp[2], esp[3]]);
        match self.transform {
            Transform::Gcm => return self.open_gcm::<Gcm>(spi, sequence, iv, ciphertext, icv),
            Transform::GcmShort => return self.open_gcm::<GcmShort>(spi, sequence, iv, ciphertext, icv),
            Transform::Null | Transform::Cbc => {}
        }
        if self.hmac(authenticated, high)[..icv.len()] != *icv {
            return None;
        }
        if self.transform == Transform::Null {
            return Some(ciphertext.to_vec());
        }
        let decryptor = cbc::Decryptor::<Aes128>::new_from_slices(self.key(), iv).expect("right lengths");
        decryptor.decrypt_padded_vec::<NoPadding>(ciphertext).ok()
    }

    /// With ESN the upper half comes last (RFC 4303 §2.2.1).
    fn hmac(&self, authenticated: &[u8], high: u32) -> Vec<u8> {
        let mut hmac = Hmac::<Sha256>::new_from_slice(&INTEGRITY_KEY).expect("any key");
        hmac.update(authenticated);
        if self.esn {
            hmac.update(&high.to_be_bytes());
        }
        hmac.finalize().into_bytes().to_vec()
    }

    /// AAD and nonce of RFC 4106 §4 and §5.
    fn gcm_inputs(&self, spi: u32, sequence: u64, iv: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let spi = spi.to_be_bytes();
        let aad = if self.esn {
            [&spi[..], &sequence.to_be_bytes()].concat()
        } else {
            [&spi[..], &(sequence as u32).to_be_bytes()].concat()
        };
        let salt = &self.key()[self.key().len() - 4..];
        (aad, [salt, iv].concat())
    }

    fn gcm<A: KeyInit>(&self) -> A {
        A::new_from_slice(&self.key()[..self.key().len() - 4]).expect("a key of the right length")
    }

    fn seal_gcm<A: AeadInOut + KeyInit>(
        &self,
        spi: u32,
        sequence: u64,
        iv: &[u8],
        plaintext: &[u8],
    ) -> Vec<u8> {
        let (aad, nonce) = self.gcm_inputs(spi, sequence, iv);
        let mut text = plaintext.to_vec();
        let nonce = nonce.as_slice().try_into().expect("12 octets");
        let tag = self.gcm::<A>().encrypt_inout_detached(nonce, &aad, text.as_mut_slice().into());
        text.extend_from_slice(&tag.expect("it is short enough"));
        text
    }

    fn open_gcm<A: AeadInOut + KeyInit>(
        &self,
        spi: u32,
        sequence: u64,
        iv: &[u8],
        ciphertext: &[u8],
        icv: &[u8],
    ) -> Option<Vec<u8>> {
        let (aad, nonce) = self.gcm_inputs(spi, sequence, iv);
        let mut text = ciphertext.to_vec();
        let nonce = nonce.as_slice().try_into().expect("12 octets");
        let tag = icv.try_into().expect("as long as the tag");
        self.gcm::<A>().decrypt_inout_detached(nonce, &aad, text.as_mut_slice().into(), tag).ok()?;
        Some(text)
    }
}

type Gcm = AesGcm<Aes128, U12, U16>;
type GcmShort = AesGcm<Aes256, U12, U8>;
