"""Of the suites. A row: name, file, text, what takes its place."""

TESTS = (("vectors",), ("rules",), ("allocation",), ("lib",), ("differential",))
FIRST = {}

MUTANTS = [
    ("aad-without-esn-order", "aead.rs", "octets[4..8].copy_from_slice(&high.to_be_bytes());\n                8", "octets[8..12].copy_from_slice(&high.to_be_bytes());\n                4"),
    ("icv-compared-in-part", "aead.rs", "tag.get(..icv.len()).is_some_and(|start| start.ct_eq(icv).into())", "tag.get(..8).is_some_and(|start| start.ct_eq(&icv[..8]).into())"),
    ("decrypted-before-the-check", "aead.rs", "        if is_right {\n            self.apply_keystream(nonce, text);\n        }", "        self.apply_keystream(nonce, text);"),
    ("implicit-iv-high-half", "aead.rs", "esn_high.unwrap_or(0).to_be_bytes()", "0_u32.to_be_bytes()"),
    ("implicit-iv-of-whom", "key.rs", "suite.iv_len() == 0", "false"),
    ("gmac-high-half", "gcm.rs", "block[4..8].copy_from_slice(&high.to_be_bytes());", "let _ = high;"),
    ("fingerprint-of-the-whole-secret", "iv.rs", "Sha256::digest(&self.0[..])", "Sha256::digest(&self.0[..31])"),
    ("fingerprint-is-not-the-secret", "iv.rs", "Sha256::digest(&self.0[..]).into()", "*self.0"),
    ("gcm-lengths", "gcm.rs", "(blocks.len() + aad.len()) as u64", "aad.len() as u64"),
    ("gcm-counter", "gcm.rs", "counter(nonce, 2), text", "counter(nonce, 1), text"),
    ("ccm-tag-length", "ccm.rs", "8 * ((self.tag_len - 2) / 2)", "8 * ((16 - 2) / 2)"),
    ("ccm-without-aad", "ccm.rs", "64 * u8::from(has_aad)", "64"),
    ("ccm-padding", "ccm.rs", "            padding.fill(0);\n", ""),
    ("ctr-counter", "aes_ctr.rs", "counter[15] = 1;", "counter[15] = 0;"),
    ("hmac-high-half", "separate.rs", "mac.update(&high.to_be_bytes());", "let _ = high;"),
    ("hmac-compared-in-part", "separate.rs", "verify_truncated_left(icv)", "verify_truncated_left(&icv[..icv.len() - 1])"),
    ("hmac-hash", "key.rs", "Separate::<C, Sha384>", "Separate::<C, Sha512>"),
    ("chacha-lengths", "chacha20_poly1305.rs", "(aad.len() as u64).to_le_bytes()", "(aad.len() as u64).to_be_bytes()"),
    ("ciphertext-of-whole-blocks", "suite.rs", "(is_possible && ciphertext_len.is_multiple_of(suite.block_len()))", "is_possible"),
    ("ciphertext-has-a-trailer", "suite.rs", "ciphertext_len >= TRAILER_LEN && ", "ciphertext_len > 0 && "),
    ("integrity-key-of-a-combined-mode", "key.rs", "None if got != 0 => return Err(KeyError::IntegrityKeyUnused { suite, got }),", ""),
    ("jobs-not-pending", "job.rs", ".filter(|job| job.status == Status::Pending)", ""),
]
