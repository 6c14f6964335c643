//! A guest's IPsec: makes the ESP frames that a kernel would send, and those that none would.
//!
//! Shared by the end-to-end tests and those of `espwire-ipsec`. What it makes is checked against real kernels'
//! captures elsewhere (tests/inspect.rs); here it makes cases.

#![allow(dead_code, unreachable_pub, reason = "each test is a crate of its own and uses its part")]

use std::net::IpAddr;

use espwire_esp::{AesKeyLen, IcvLen, InboundSa, Integrity, Job, SaKey, Status, Suite, danger, open_burst};

/// An SA's sending end.
#[derive(Clone)]
pub struct Sender {
    pub spi: u32,
    pub src: IpAddr,
    pub dst: IpAddr,
    pub suite: Suite,
    pub encryption_key: Vec<u8>,
    pub integrity_key: Vec<u8>,
    pub transport: bool,
    pub esn: bool,
    /// UDP ports of encapsulation.
    pub encap: Option<(u16, u16)>,
    /// The next packet's number.
    pub sequence: u64,
    /// Octets of options or extension headers between the outer IP header and ESP, a multiple of 8.
    pub options: usize,
}

/// What a packet ends with before the ICV.
#[derive(Clone)]
pub struct Ending {
    pub padding: Vec<u8>,
    pub pad_len: u8,
    pub next_header: u8,
}

impl Sender {
    /// Tunnel mode over IPv4 from 10.9.0.1 to 10.9.0.2, with keys that depend on the SPI.
    pub fn new(spi: u32, suite: Suite) -> Self {
        let octets = |seed: u8, len| {
            (0..len).map(|i| seed ^ (spi as u8).wrapping_add((i as u8).wrapping_mul(7))).collect()
        };
        Self {
            spi,
            src: [10, 9, 0, 1].into(),
            dst: [10, 9, 0, 2].into(),
            suite,
            encryption_key: octets(0x5a, suite.encryption_key_len()),
            integrity_key: octets(0xc3, suite.integrity_algorithm().map_or(0, Integrity::key_len)),
            transport: false,
            esn: false,
            encap: None,
            sequence: 1,
            options: 0,
        }
    }

    /// AES-GCM-256.
    pub fn gcm(spi: u32) -> Self {
        Self::new(spi, Suite::AesGcm(AesKeyLen::Aes256, IcvLen::Icv16))
    }

    /// AES-CBC-256 with HMAC-SHA-256-128.
    pub fn cbc(spi: u32) -> Self {
        Self::new(spi, Suite::AesCbc(AesKeyLen::Aes256, Integrity::HmacSha256_128))
    }

    /// Over IPv6.
    pub fn over_ipv6(mut self) -> Self {
        self.src = "fd09::1".parse().unwrap();
        self.dst = "fd09::2".parse().unwrap();
        self
    }

    /// The line that adds this SA to a kernel, or to espwire.
    pub fn xfrm(&self) -> String {
        let hex = |octets: &[u8]| octets.iter().map(|o| format!("{o:02x}")).collect::<String>();
        let encryption = match self.suite {
            Suite::AesGcm(..) => "rfc4106(gcm(aes))",
            Suite::AesCcm(..) => "rfc4309(ccm(aes))",
            Suite::AesGmac(_) => "rfc4543(gcm(aes))",
            Suite::ChaCha20Poly1305 => "rfc7539esp(chacha20,poly1305)",
            Suite::AesCbc(..) => "cbc(aes)",
            Suite::AesCtr(..) => "rfc3686(ctr(aes))",
            Suite::Null(_) => "ecb(cipher_null)",
            suite => panic!("Linux has no {suite}"),
        };
        // An empty key has no 0x.
        let key = match hex(&self.encryption_key) {
            key if key.is_empty() => "''".to_owned(),
            key => format!("0x{key}"),
        };
        let icv_bits = self.suite.icv_len() * 8;
        let algorithms = match self.suite.integrity_algorithm() {
            None => format!("aead '{encryption}' {key} {icv_bits}"),
            Some(integrity) => {
                let hash = match integrity {
                    Integrity::HmacSha1_96 => "sha1",
                    Integrity::HmacSha384_192 => "sha384",
                    Integrity::HmacSha512_256 => "sha512",
                    _ => "sha256",
                };
                let auth = hex(&self.integrity_key);
                format!("auth-trunc 'hmac({hash})' 0x{auth} {icv_bits} enc '{encryption}' {key}")
            }
        };
        format!(
            "ip xfrm state add src {} dst {} proto esp spi {:#x} mode {}{}{} {algorithms}\n",
            self.src,
            self.dst,
            self.spi,
            if self.transport { "transport" } else { "tunnel" },
            if self.esn { " flag esn replay-window 64" } else { "" },
            self.encap.map_or_else(String::new, |(s, d)| format!(" encap espinudp {s} {d} 0.0.0.0")),
        )
    }

    /// The next frame, with `payload` in it; `next_header` 4 or 41 in tunnel mode.
    pub fn frame(&mut self, next_header: u8, payload: &[u8]) -> Vec<u8> {
        let block = self.suite.block_len().max(4);
        let pad_len = (block - (payload.len() + 2) % block) % block;
        let padding: Vec<u8> = (1..=pad_len as u8).collect();
        self.frame_ending(payload, &Ending { padding, pad_len: pad_len as u8, next_header })
    }

    /// The next frame, with whatever stands in `ending`, under a right ICV.
    pub fn frame_ending(&mut self, payload: &[u8], ending: &Ending) -> Vec<u8> {
        let mut esp = Vec::new();
        esp.extend(self.spi.to_be_bytes());
        esp.extend((self.sequence as u32).to_be_bytes());
        // An IV that no other packet of this SA has.
        let iv: Vec<u8> =
            (0..self.suite.iv_len() as u8).map(|i| (self.sequence >> (8 * (i % 8))) as u8 ^ i).collect();
        esp.extend(iv);
        esp.extend(payload);
        esp.extend(&ending.padding);
        esp.extend([ending.pad_len, ending.next_header]);
        esp.extend(vec![0; self.suite.icv_len()]);
        let key = SaKey::new(self.suite, &self.encryption_key, &self.integrity_key).ok().unwrap();
        let high = self.esn.then_some((self.sequence >> 32) as u32);
        danger::seal_burst(&mut [Job::new(&key, high, &mut esp)]);
        self.sequence += 1;
        self.wrap(&esp)
    }

    /// Ethernet, IP and UDP around `esp`.
    pub fn wrap(&self, esp: &[u8]) -> Vec<u8> {
        let (protocol, payload) = match self.encap {
            None => (50, esp.to_vec()),
            Some((src, dst)) => {
                let mut datagram = Vec::new();
                datagram.extend(src.to_be_bytes());
                datagram.extend(dst.to_be_bytes());
                datagram.extend((8 + esp.len() as u16).to_be_bytes());
                datagram.extend([0, 0]);
                datagram.extend(esp);
                (17, datagram)
            }
        };
        ethernet(&ip(self.src, self.dst, protocol, self.options, &payload))
    }

    /// Whether the ESP packet at the end of `frame` verifies under this SA, without ESN.
    pub fn verifies(&self, frame: &[u8]) -> bool {
        let mut esp = frame[self.esp_at()..].to_vec();
        let key = SaKey::new(self.suite, &self.encryption_key, &self.integrity_key).ok().unwrap();
        let sa = InboundSa::new(key, false, 0);
        let Ok(prepared) = sa.prepare(&esp) else { return false };
        let mut jobs = [sa.job(&prepared, &mut esp)];
        open_burst(&mut jobs);
        jobs[0].status == Status::Done
    }

    /// Where ESP stands in this sender's frames.
    pub fn esp_at(&self) -> usize {
        14 + if self.src.is_ipv4() { 20 } else { 40 }
            + self.options
            + if self.encap.is_some() { 8 } else { 0 }
    }
}

/// An Ethernet frame around an IP packet, not padded.
pub fn ethernet(packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x52, 0x54, 0, 0, 0, 0xb, 0x52, 0x54, 0, 0, 0, 0xa];
    frame.extend(if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] });
    frame.extend(packet);
    frame
}

/// An IP packet. `options` octets of IPv4 options (NOP), or of an IPv6 destination options header (PadN).
pub fn ip(src: IpAddr, dst: IpAddr, protocol: u8, options: usize, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let len = (20 + options + payload.len()) as u16;
            packet.extend([0x45 + (options / 4) as u8, 0]);
            packet.extend(len.to_be_bytes());
            packet.extend([0, 7, 0x40, 0, 64, protocol, 0, 0]);
            packet.extend(src.octets());
            packet.extend(dst.octets());
            packet.extend(vec![1; options]);
            fix_ipv4_checksum(&mut packet);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(((options + payload.len()) as u16).to_be_bytes());
            packet.extend([if options > 0 { 60 } else { protocol }, 64]);
            packet.extend(src.octets());
            packet.extend(dst.octets());
            if options > 0 {
                packet.extend([protocol, (options / 8 - 1) as u8, 1, (options - 4) as u8]);
                packet.extend(vec![0; options - 4]);
            }
        }
        _ => panic!("two versions"),
    }
    packet.extend(payload);
    packet
}

/// Writes the right checksum into the IPv4 header at the start of `packet` (RFC 1071).
pub fn fix_ipv4_checksum(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let header = &packet[..usize::from(packet[0] & 0xf) * 4];
    let sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// An inner IPv4 packet with `protocol` and `payload`.
pub fn inner(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ip([192, 168, 7, 1].into(), [192, 168, 7, 2].into(), protocol, 0, payload)
}

/// A UDP datagram in an inner IPv4 packet.
pub fn inner_udp(src: u16, dst: u16, data: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(src.to_be_bytes());
    datagram.extend(dst.to_be_bytes());
    datagram.extend((8 + data.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(data);
    inner(17, &datagram)
}
