#!/usr/bin/env python3
"""Makes esp-composed.jsonl: packets of the suites that the project's ESP corpus lacks.

The primitives are OpenSSL's, by the Python package `cryptography` (made with 48.0.0); how they are put together is
written here after RFC 4309 (AES-CCM), RFC 8750 (implicit IVs), RFC 3686 (AES-CTR) and RFC 4868, with what Linux
makes of `auth hmac(sha256)` without a length. Keys, IVs and payloads are hashes of names: every run gives the same.
"""
import hashlib
import hmac
import json
import pathlib

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305

HASHES = {
    "hmac-sha1-96": ("sha1", 20, 12),
    "hmac-sha256-96": ("sha256", 32, 12),
    "hmac-sha256-128": ("sha256", 32, 16),
    "hmac-sha384-192": ("sha384", 48, 24),
    "hmac-sha512-256": ("sha512", 64, 32),
}
IN_CORPUS = [
    "aes-ctr-128+hmac-sha1-96", "aes-ctr-128+hmac-sha256-128", "aes-ctr-192+hmac-sha384-192",
    "aes-ctr-256+hmac-sha512-256",
]
# Without ESN, in its first epoch, in others.
ESN_HIGHS = [None, 0, 1, 0x80000000]
PAYLOAD_LENS = [0, 1, 90, 333]


def suites():
    for bits in (128, 192, 256):
        for icv_len in (8, 12, 16):
            yield f"aes-ccm-{bits}-icv{icv_len}"
        yield f"aes-ccm-{bits}-iiv"
        yield f"aes-gcm-{bits}-iiv"
        yield f"aes-cbc-{bits}+hmac-sha256-96"
        yield from (f"aes-ctr-{bits}+{name}" for name in HASHES if f"aes-ctr-{bits}+{name}" not in IN_CORPUS)
    yield "chacha20-poly1305-iiv"
    yield "null+hmac-sha256-96"


def octets(name, count):
    return hashlib.shake_256(name.encode()).digest(count)


def combined(suite, key, nonce, aad, plaintext):
    """Ciphertext and ICV."""
    if suite.startswith("aes-ccm"):
        # Of AES-CCM with an implicit IV only ENCR_AES_CCM_8_IIV is registered.
        icv_len = 8 if suite.endswith("iiv") else int(suite.split("icv")[1])
        return AESCCM(key, tag_length=icv_len).encrypt(nonce, plaintext, aad)
    algorithm = AESGCM if suite.startswith("aes-gcm") else ChaCha20Poly1305
    return algorithm(key).encrypt(nonce, plaintext, aad)


def cipher(suite, key, salt, iv, plaintext):
    if suite.startswith("null"):
        return plaintext
    # RFC 3686, section 4: nonce, IV, and a counter that begins with one.
    mode = modes.CBC(iv) if "cbc" in suite else modes.CTR(salt + iv + (1).to_bytes(4, "big"))
    encryptor = Cipher(algorithms.AES(key), mode).encryptor()
    return encryptor.update(plaintext) + encryptor.finalize()


def vector(suite, number):
    case = f"composed/{suite}/{number}"
    esn_high, payload = ESN_HIGHS[number], octets(f"{case} payload", PAYLOAD_LENS[number])
    name, _, integrity = suite.partition("+")
    is_implicit = suite.endswith("iiv")
    bits = int(name.split("-")[2]) if name.startswith("aes") else 256 if name.startswith("chacha") else 0
    key = octets(f"{case} key", bits // 8)
    salt = octets(f"{case} salt", 3 if "ccm" in name else 0 if "cbc" in name or name == "null" else 4)
    iv = octets(f"{case} IV", 16 if "cbc" in name else 0 if is_implicit or name == "null" else 8)

    spi, low = octets(f"{case} SPI", 4), octets(f"{case} sequence number", 4)
    high = b"" if esn_high is None else esn_high.to_bytes(4, "big")
    align = 16 if "cbc" in name else 4
    pad_len = -(len(payload) + 2) % align
    plaintext = payload + bytes(range(1, pad_len + 1)) + bytes([pad_len, 4])

    integrity_key = b""
    if integrity:
        hash_name, key_len, icv_len = HASHES[integrity]
        integrity_key = octets(f"{case} integrity key", key_len)
        start = spi + low + iv + cipher(name, key, salt, iv, plaintext)
        esp = start + hmac.new(integrity_key, start + high, hash_name).digest()[:icv_len]
    else:
        # RFC 8750, section 4: the sequence number as 64 bits.
        nonce = salt + ((high or bytes(4)) + low if is_implicit else iv)
        esp = spi + low + iv + combined(name, key, nonce, spi + high + low, plaintext)
    return {
        "id": case,
        "suite": suite,
        "encryption_key": (key + salt).hex(),
        "integrity_key": integrity_key.hex(),
        "esn_high": esn_high,
        "payload": payload.hex(),
        "esp": esp.hex(),
    }


def main():
    vectors = [vector(suite, number) for suite in suites() for number in range(len(ESN_HIGHS))]
    path = pathlib.Path(__file__).parent / "esp-composed.jsonl"
    path.write_text("".join(json.dumps(v, separators=(",", ":")) + "\n" for v in vectors))
    print(f"{path.name}: {len(vectors)} vectors of {len(vectors) // len(ESN_HIGHS)} suites")


main()
