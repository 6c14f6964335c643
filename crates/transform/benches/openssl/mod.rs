//! `openssl speed`, as something to hold figures against: for the benches here and in `espwire-esp`, whose root imports
//! the suites.

use std::collections::HashMap;
use std::process::Command;

use crate::{HEADER_LEN, Integrity, Suite};

/// `openssl speed` of this machine, each of its figures measured once, for a second.
pub(crate) struct OpenSsl {
    version: Result<String, String>,
    measured: HashMap<Vec<String>, Option<f64>>,
}

impl OpenSsl {
    pub(crate) fn new() -> Self {
        let version = match Command::new("openssl").arg("version").output() {
            Ok(output) => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        };
        Self { version, measured: HashMap::new() }
    }

    /// Its version, or why it does not run.
    pub(crate) fn version(&self) -> Result<&str, &str> {
        self.version.as_deref().map_err(String::as_str)
    }

    /// Nanoseconds that the suite's algorithms take it for `text_len` octets of ciphertext, if it has a figure for
    /// them: of a cipher with an HMAC the sum of both, of AES-GMAC none.
    pub(crate) fn ns(&mut self, suite: Suite, text_len: usize, opens: bool) -> Option<f64> {
        let bits = (suite.encryption_key_len() - suite.salt_len()) * 8;
        let (name, is_aead) = match suite {
            Suite::AesGcm(..) | Suite::AesGcmIiv(_) => (format!("aes-{bits}-gcm"), true),
            Suite::AesCcm(..) | Suite::AesCcmIiv(_) => (format!("aes-{bits}-ccm"), true),
            Suite::ChaCha20Poly1305 | Suite::ChaCha20Poly1305Iiv => ("chacha20-poly1305".to_owned(), true),
            Suite::AesCbc(..) => (format!("aes-{bits}-cbc"), false),
            Suite::AesCtr(..) => (format!("aes-{bits}-ctr"), false),
            Suite::Null(_) => (String::new(), false),
            _ => return None,
        };
        let mut ns = 0.0;
        if !name.is_empty() {
            let mut algorithm = vec!["-evp", name.as_str()];
            algorithm.extend(is_aead.then_some("-aead"));
            algorithm.extend(opens.then_some("-decrypt"));
            ns += self.speed(text_len, &algorithm)?;
        }
        if let Some(integrity) = suite.integrity_algorithm() {
            let hash = match integrity {
                Integrity::HmacSha1_96 => "sha1",
                Integrity::HmacSha384_192 => "sha384",
                Integrity::HmacSha512_256 => "sha512",
                _ => "sha256",
            };
            // What the ICV is over.
            ns += self.speed(HEADER_LEN + suite.iv_len() + text_len, &["-hmac", hash])?;
        }
        Some(ns)
    }

    fn speed(&mut self, len: usize, algorithm: &[&str]) -> Option<f64> {
        self.version.as_ref().ok()?;
        let len = len.to_string();
        let args = [&["speed", "-mr", "-elapsed", "-seconds", "1", "-bytes", &len], algorithm].concat();
        let key = args.iter().map(ToString::to_string).collect();
        *self.measured.entry(key).or_insert_with(|| {
            let output = Command::new("openssl").args(args).output().ok()?;
            let text = [output.stdout, output.stderr].concat();
            // +R:operations:name:seconds
            let text = String::from_utf8_lossy(&text);
            let mut fields = text.lines().find_map(|line| line.strip_prefix("+R:"))?.split(':');
            let operations = fields.next()?.parse::<f64>().ok()?;
            let seconds = fields.next_back()?.parse::<f64>().ok()?;
            (operations > 0.0).then_some(seconds * 1e9 / operations)
        })
    }
}
