#!/usr/bin/env python3
"""Makes packets.jsonl: whole ESP packets in mode beet, and with AES-CCM and implicit IVs in tunnel and transport mode.

The primitives are OpenSSL's, by the Python package `cryptography` (made with 48.0.0). How they are put together is
written here after RFC 4303 (ESP), RFC 4309 (AES-CCM), RFC 8750 (implicit IVs), RFC 3948 (UDP encapsulation), and for
mode beet RFC 7402 Appendix B, whose text is that of draft-nikander-esp-beet-mode-09. Keys, IVs and payloads are hashes
of names: every run gives the same.

Where those texts leave a choice, this is what stands here. Linux (net/xfrm/xfrm_output.c, xfrm_input.c, xfrm_inout.h,
as read, not run) does the same unless it is said.

1. The outer header of mode beet: other than the addresses the fields are copied, which the texts RECOMMEND: DSCP, ECN,
   TTL or hop limit, not decremented; identification and DF between two IPv4 headers, the flow label between two IPv6
   ones. The receiver makes the inner header of the outer one in the same way, so what routers changed shows inside.
2. Between the families there is nothing to copy these from. IPv6 to IPv4: identification 0 and DF set; IPv4 to IPv6:
   flow label 0. So an IPv4 packet that came through IPv6 has identification 0 and DF, whatever it had before.
3. IPv4 options stand behind a pseudo header: next header, length in units of 8 octets without the first 8, pad length,
   0; then the padding, none or 4 octets of NOP, in front of the options. Extension headers of IPv6 go inside as they
   are.
4. An inner IPv4 packet whose protocol is 94 gets a pseudo header even without options (pad length 4): without, its
   receiver would take the first octets for one. The texts don't speak of it; Linux sends none, but understands this.
5. Fragments: none. What is for a fragment in mode beet is no standard.
6. The identification of a packet that has DF may be anything (RFC 6864): 0. One of a new header without DF is the
   sender's own choice: `free` names its octets, and those of the checksum over it.
7. Tunnel mode: DSCP and ECN copied, TTL or hop limit 64, flow label 0, DF copied from IPv4; over an IPv6 packet of up
   to 1280 octets it is clear.
8. The UDP checksum is 0 over IPv4, and there over IPv6 (RFC 8200 section 8.1).
9. Padding to a multiple of 4 octets or of the cipher's block, no more.
"""
import hashlib
import hmac
import ipaddress
import json
import pathlib
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305

ESP, UDP, TCP, BEETPH = 50, 17, 6, 94
HOP_BY_HOP, DESTINATION_OPTIONS = 0, 60
NOP = b"\x01"
DF = 0x4000
TUNNEL_TTL = 64

OUTER = {4: ("192.0.2.1", "198.51.100.2"), 6: ("2001:db8::1", "2001:db8:ffff::2")}
INNER = {4: ("10.1.0.1", "10.2.0.2"), 6: ("fd01::1", "fd02::2")}
FAMILIES = [(4, 4), (4, 6), (6, 4), (6, 6)]

# Name: Linux's, key, salt and ICV in octets.
COMBINED = {
    "aes-gcm-128-icv16": ("rfc4106(gcm(aes))", 16, 4, 16),
    "aes-gcm-256-icv8": ("rfc4106(gcm(aes))", 32, 4, 8),
    "aes-ccm-128-icv8": ("rfc4309(ccm(aes))", 16, 3, 8),
    "aes-ccm-128-icv12": ("rfc4309(ccm(aes))", 16, 3, 12),
    "aes-ccm-128-icv16": ("rfc4309(ccm(aes))", 16, 3, 16),
    "aes-ccm-192-icv8": ("rfc4309(ccm(aes))", 24, 3, 8),
    "aes-ccm-192-icv12": ("rfc4309(ccm(aes))", 24, 3, 12),
    "aes-ccm-192-icv16": ("rfc4309(ccm(aes))", 24, 3, 16),
    "aes-ccm-256-icv8": ("rfc4309(ccm(aes))", 32, 3, 8),
    "aes-ccm-256-icv12": ("rfc4309(ccm(aes))", 32, 3, 12),
    "aes-ccm-256-icv16": ("rfc4309(ccm(aes))", 32, 3, 16),
    "chacha20-poly1305": ("rfc7539esp(chacha20,poly1305)", 32, 4, 16),
    # Names of espwire's own: Linux has no implicit IVs.
    "aes-gcm-128-iiv": ("rfc8750(gcm(aes))", 16, 4, 16),
    "aes-gcm-192-iiv": ("rfc8750(gcm(aes))", 24, 4, 16),
    "aes-gcm-256-iiv": ("rfc8750(gcm(aes))", 32, 4, 16),
    "aes-ccm-128-iiv": ("rfc8750(ccm(aes))", 16, 3, 8),
    "aes-ccm-192-iiv": ("rfc8750(ccm(aes))", 24, 3, 8),
    "aes-ccm-256-iiv": ("rfc8750(ccm(aes))", 32, 3, 8),
    "chacha20-poly1305-iiv": ("rfc8750(chacha20,poly1305)", 32, 4, 16),
}
# Name: AES key in octets, hash, its key and ICV in octets.
SEPARATE = {
    "aes-cbc-128+hmac-sha1-96": (16, "sha1", 20, 12),
    "aes-cbc-256+hmac-sha256-128": (32, "sha256", 32, 16),
    "null+hmac-sha512-256": (0, "sha512", 64, 32),
}
CCM = [name for name in COMBINED if name.startswith("aes-ccm") and not name.endswith("iiv")]
IMPLICIT = [name for name in COMBINED if name.endswith("iiv")]
BEET_SUITES = [
    "aes-gcm-128-icv16", "aes-gcm-256-icv8", "aes-ccm-128-icv8", "aes-ccm-256-icv16", "chacha20-poly1305",
    *SEPARATE,
]
BEET_IMPLICIT = ["aes-gcm-256-iiv", "chacha20-poly1305-iiv"]
GCM, CBC = "aes-gcm-128-icv16", "aes-cbc-256+hmac-sha256-128"


def octets(name, count):
    return hashlib.shake_256(name.encode()).digest(count)


def address(text):
    return ipaddress.ip_address(text).packed


def checksum(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


def ipv4(ends, protocol, payload, tos=0, ttl=64, ident=0, flags=DF, options=b""):
    first = 0x45 + len(options) // 4
    header = struct.pack("!BBHHHBBH", first, tos, 20 + len(options) + len(payload), ident, flags, ttl, protocol, 0)
    header += address(ends[0]) + address(ends[1]) + options
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def ipv6(ends, protocol, payload, tos=0, ttl=64, label=0):
    header = struct.pack("!IHBB", 6 << 28 | tos << 20 | label, len(payload), protocol, ttl)
    return header + address(ends[0]) + address(ends[1]) + payload


def ip(family, ends, protocol, payload, tos=0, ttl=64, ident=0, flags=DF, label=0):
    if family == 4:
        return ipv4(ends, protocol, payload, tos, ttl, ident, flags)
    return ipv6(ends, protocol, payload, tos, ttl, label)


def fields(packet):
    """What one IP header gives another: all but addresses, protocol, lengths, options."""
    if packet[0] >> 4 == 4:
        ident, flags = struct.unpack("!HH", packet[4:8])
        return {"tos": packet[1], "ttl": packet[8], "ident": ident, "flags": flags & DF, "label": 0}
    first = struct.unpack("!I", packet[:4])[0]
    return {"tos": first >> 20 & 0xFF, "ttl": packet[7], "ident": 0, "flags": DF, "label": first & 0xFFFFF}


def upper(protocol, family, data):
    """A datagram or segment, with a right checksum."""
    if protocol == TCP:
        start = struct.pack("!HHIIBBHHH", 33000, 9999, 1, 2, 0x50, 0x18, 64240, 0, 0)
    elif protocol == UDP:
        start = struct.pack("!HHHH", 33000, 9999, 8 + len(data), 0)
    else:
        return data
    at = 16 if protocol == TCP else 6
    whole = start + data
    ends = address(INNER[family][0]) + address(INNER[family][1])
    total = checksum(ends + struct.pack("!II", len(whole), protocol) + whole) or 0xFFFF
    return whole[:at] + struct.pack("!H", total) + whole[at + 2:]


def ipv4_options(length):
    """One option of the experiment's number (RFC 4727), as long as it must be."""
    return bytes([0x5E, length]) + octets(f"options {length}", length - 2)


def pseudo_header(next_header, options):
    # The pseudo header's 4 octets, padding and options together are a multiple of 8.
    pad_len = -(4 + len(options)) % 8
    length = (4 + pad_len + len(options)) // 8 - 1
    return bytes([next_header, length, pad_len, 0]) + NOP * pad_len + options


class Sa:
    def __init__(self, case, suite, mode, ends, sequence, esn, encap=None, selector=None):
        self.case, self.suite, self.mode, self.ends = case, suite, mode, ends
        self.sequence, self.esn, self.encap, self.selector = sequence, esn, encap, selector
        self.is_implicit = suite.endswith("iiv")
        self.spi = octets(f"{case} SPI", 4)
        if suite in COMBINED:
            self.name, key_len, salt_len, self.icv_len = COMBINED[suite]
            self.key, self.salt = octets(f"{case} key", key_len), octets(f"{case} salt", salt_len)
            self.iv = octets(f"{case} IV", 0 if self.is_implicit else 8)
            self.block = 4
        else:
            key_len, self.hash, auth_len, self.icv_len = SEPARATE[suite]
            self.key, self.auth_key = octets(f"{case} key", key_len), octets(f"{case} integrity key", auth_len)
            self.iv = octets(f"{case} IV", 16 if key_len else 0)
            self.block = 16 if key_len else 4

    def xfrm(self):
        """The line that adds it, where the number that is sent is the next one."""
        if self.suite in COMBINED:
            algorithms = f"aead '{self.name}' 0x{(self.key + self.salt).hex()} {self.icv_len * 8}"
        else:
            enc = f"'cbc(aes)' 0x{self.key.hex()}" if self.key else "'ecb(cipher_null)' \"\""
            algorithms = f"auth-trunc 'hmac({self.hash})' 0x{self.auth_key.hex()} {self.icv_len * 8} enc {enc}"
        last = self.sequence - 1
        numbers = f"replay-window 32 replay-seq {last & 0xFFFFFFFF:#x} replay-oseq {last & 0xFFFFFFFF:#x}"
        if self.esn:
            numbers += f" replay-seq-hi {last >> 32:#x} replay-oseq-hi {last >> 32:#x} flag esn"
        words = f"ip xfrm state add src {self.ends[0]} dst {self.ends[1]} proto esp spi 0x{self.spi.hex()} "
        words += f"mode {self.mode} {numbers} {algorithms}"
        if self.encap:
            any_address = "::" if ":" in self.ends[0] else "0.0.0.0"
            words += f" encap espinudp {self.encap[0]} {self.encap[1]} {any_address}"
        if self.selector:
            words += f" sel src {self.selector[0]} dst {self.selector[1]}"
        return words

    def seal(self, payload, next_header):
        """An ESP packet, from the SPI to the ICV."""
        low, high = struct.pack("!I", self.sequence & 0xFFFFFFFF), struct.pack("!I", self.sequence >> 32)
        pad_len = -(len(payload) + 2) % self.block
        plaintext = payload + bytes(range(1, pad_len + 1)) + bytes([pad_len, next_header])
        start = self.spi + low + self.iv
        if self.suite in SEPARATE:
            if self.key:
                encryptor = Cipher(algorithms.AES(self.key), modes.CBC(self.iv)).encryptor()
                plaintext = encryptor.update(plaintext) + encryptor.finalize()
            over = start + plaintext + (high if self.esn else b"")
            return start + plaintext + hmac.new(self.auth_key, over, self.hash).digest()[:self.icv_len]
        # RFC 8750 section 4: the IV is the sequence number, as 64 bits.
        nonce = self.salt + (high + low if self.is_implicit else self.iv)
        aad = self.spi + (high if self.esn else b"") + low
        if "ccm" in self.suite:
            algorithm = AESCCM(self.key, tag_length=self.icv_len)
            return start + algorithm.encrypt(nonce, plaintext, aad)
        if "gcm" in self.suite:
            # Of a shorter ICV the first octets are sent (RFC 4106 section 6).
            sealed = AESGCM(self.key).encrypt(nonce, plaintext, aad)
            return start + sealed[:len(plaintext) + self.icv_len]
        return start + ChaCha20Poly1305(self.key).encrypt(nonce, plaintext, aad)

    def encapsulated(self, family, esp):
        """Protocol and payload of the outer packet, and how many octets of the latter stand before ESP."""
        if not self.encap:
            return ESP, esp, 0
        header = struct.pack("!HHHH", *self.encap, 8 + len(esp), 0)
        if family == 6:
            over = address(self.ends[0]) + address(self.ends[1]) + struct.pack("!II", 8 + len(esp), UDP)
            header = header[:6] + struct.pack("!H", checksum(over + header + esp) or 0xFFFF)
        return UDP, header + esp, 8


def record(sa, esp_at, packet, inner, free=(), **more):
    """One line."""
    made = {
        "id": sa.case,
        "mode": sa.mode,
        "suite": sa.suite,
        "xfrm": sa.xfrm(),
        "sequence": sa.sequence,
        "iv": sa.iv.hex(),
        "inner": inner and inner.hex(),
        "esp_at": esp_at,
        "packet": packet.hex(),
        "free": list(free),
    }
    return made | {name: value.hex() if isinstance(value, bytes) else value for name, value in more.items()}


def beet_contents(inner):
    """What of an inner packet becomes payload, and its next header."""
    if inner[0] >> 4 == 6:
        return inner[40:], inner[6]
    header_len = (inner[0] & 15) * 4
    options, data = inner[20:header_len], inner[header_len:]
    if options or inner[9] == BEETPH:
        return pseudo_header(inner[9], options) + data, BEETPH
    return data, inner[9]


def beet_delivered(arrived, inner):
    """The inner packet as its receiver makes it: of the header that arrived."""
    given = fields(arrived)
    if inner[0] >> 4 == 6:
        return ipv6(INNER[6], inner[6], inner[40:], given["tos"], given["ttl"], given["label"])
    header_len = (inner[0] & 15) * 4
    options, data = inner[20:header_len], inner[header_len:]
    return ipv4(INNER[4], inner[9], data, given["tos"], given["ttl"], given["ident"], given["flags"], options)


def beet(case, outer, inner, suite=GCM, sequence=7, esn=False, encap=None, on_the_way=None):
    """`inner` through an SA in mode beet over IP of version `outer`; `on_the_way` is what routers make of fields."""
    case = f"beet/{case}"
    family = inner[0] >> 4
    sa = Sa(case, suite, "beet", OUTER[outer], sequence, esn, encap, INNER[family])
    protocol, esp, udp_len = sa.encapsulated(outer, sa.seal(*beet_contents(inner)))
    given = fields(inner)
    packet = ip(outer, OUTER[outer], protocol, esp, **given)
    esp_at = (20 if outer == 4 else 40) + udp_len
    arrived = packet
    if on_the_way:
        arrived = ip(outer, OUTER[outer], protocol, esp, **on_the_way(given))
    delivered = beet_delivered(arrived, inner)
    more = {"arrived": arrived} if arrived != packet else {}
    if delivered != inner:
        more["delivered"] = delivered
    return record(sa, esp_at, packet, inner, **more)


def sealed(case, payload, next_header, verdict=None, delivered=None, outer=4):
    """A payload that no sender of these texts makes in mode beet; IPv4 is inside."""
    case = f"beet/{case}"
    sa = Sa(case, GCM, "beet", OUTER[outer], 7, False, None, INNER[4])
    packet = ip(outer, OUTER[outer], ESP, sa.seal(payload, next_header))
    more = {"verdict": verdict} if verdict else {"delivered": delivered}
    return record(sa, 20 if outer == 4 else 40, packet, None, **more)


def numbers(index):
    """A sequence number and whether it is one of 64 bits, in turn."""
    return [(1, False), (7, True), (0xFFFFFFFF, False), (0x1_0000_0000, True), (0x12_3456_789A, True)][index % 5]


def plain(family, name, protocol=UDP, length=61, **more):
    data = upper(protocol, family, octets(f"{name} data", length))
    return ip(family, INNER[family], protocol, data, **more)


def beet_cases():
    for inner, outer in FAMILIES:
        over = f"{inner}in{outer}"
        for at, suite in enumerate(BEET_SUITES + BEET_IMPLICIT):
            for step in range(2):
                sequence, esn = numbers(at + 2 * step)
                name = f"{over}/{suite}/{sequence:#x}{'-esn' if esn else ''}"
                packet = plain(inner, name, [UDP, TCP][step], 30 + 11 * at, ident=0xABCD, label=0x1234)
                yield beet(name, outer, packet, suite, sequence, esn)
        for length in (0, 1, 2, 3, 13, 14, 15, 1360):
            name = f"{over}/length-{length}"
            yield beet(name, outer, plain(inner, name, 253, length), CBC if length % 2 else GCM)
        # DSCP and ECN, TTL or hop limit, identification, DF, flow label.
        for tos, ttl, ident, flags, label in [
            (0x00, 1, 0, DF, 0), (0xB9, 33, 0xABCD, DF, 0xBCDEF), (0x02, 64, 1, 0, 1), (0xFF, 255, 0xFFFF, 0, 0xFFFFF),
            (0x28, 2, 0x8000, DF, 0x80000), (0x03, 128, 0, 0, 0x00100),
        ]:
            name = f"{over}/tos-{tos:#04x}"
            packet = plain(inner, name, tos=tos, ttl=ttl, ident=ident, flags=flags, label=label)
            yield beet(name, outer, packet)
        for name, way in [
            ("routed", lambda given: given | {"ttl": given["ttl"] - 7}),
            ("congestion", lambda given: given | {"ttl": given["ttl"] - 1, "tos": given["tos"] | 3}),
            ("remarked", lambda given: given | {"tos": given["tos"] & 3 | 0x20, "label": 0x54321, "flags": 0}),
        ]:
            packet = plain(inner, f"{over}/{name}", tos=0xBA, ident=0x1234, label=0x11111)
            yield beet(f"{over}/{name}", outer, packet, on_the_way=way)
        for at, ports in enumerate([(4500, 4500), (4500, 61000), (40000, 4500)]):
            name = f"{over}/espinudp-{ports[0]}-{ports[1]}"
            packet = plain(inner, name, TCP, 40 + at, ident=9, flags=0, label=3)
            yield beet(name, outer, packet, BEET_SUITES[at + 2], 5, at == 1, ports)
    for outer in (4, 6):
        for length in range(4, 44, 4):
            name = f"4in{outer}/options-{length}"
            data = upper([UDP, TCP][length // 4 % 2], 4, octets(f"{name} data", 20 + length))
            packet = ipv4(INNER[4], [UDP, TCP][length // 4 % 2], data, 0x41, 17, 5, 0, ipv4_options(length))
            sequence, esn = numbers(length // 4)
            yield beet(name, outer, packet, BEET_SUITES[length // 4 % len(BEET_SUITES)], sequence, esn)
            yield beet(f"{name}/espinudp", outer, packet, GCM, sequence, esn, (4500, 4500))
        # 94 is the pseudo header's number to a receiver: one without options tells them apart.
        for length in (0, 4, 8):
            options = ipv4_options(length) if length else b""
            packet = ipv4(INNER[4], BEETPH, octets("protocol 94", 50), options=options)
            yield beet(f"4in{outer}/protocol-94/options-{length}", outer, packet)
        yield beet(f"6in{outer}/protocol-94", outer, ipv6(INNER[6], BEETPH, bytes([17, 0, 4, 0]) + bytes(40)))
        hop = bytes([DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0])
        destination = bytes([UDP, 1, 1, 12]) + bytes(12)
        packet = ipv6(INNER[6], HOP_BY_HOP, hop + destination + upper(UDP, 6, b"behind extension headers"))
        yield beet(f"6in{outer}/extension-headers", outer, packet)
    yield from beet_lies()


def beet_lies():
    """Pseudo headers in packets that verify."""
    data = upper(UDP, 4, b"behind a pseudo header")
    # No sender needs to, but it can be nothing else than a packet without options.
    yield sealed("empty-pseudo-header", pseudo_header(UDP, b"") + data, BEETPH,
                 delivered=ipv4(INNER[4], UDP, data))
    for name, payload in [
        ("none", b""),
        ("cut", bytes([UDP, 0, 4])),
        ("longer-than-the-payload", bytes([UDP, 1, 4, 0]) + NOP * 4 + ipv4_options(4)),
        ("options-of-44", bytes([UDP, 5, 0, 0]) + ipv4_options(44) + data),
        ("length-255", bytes([UDP, 255, 4, 0]) + bytes(1400)),
        *((f"pad-length-{pad_len}", bytes([UDP, 2, pad_len, 0]) + NOP * 20 + data)
          for pad_len in (1, 2, 3, 5, 8, 12, 255)),
    ]:
        yield sealed(f"lie/{name}", payload, BEETPH, verdict="inner_malformed")


def tunnel(case, suite, outer, inner, sequence, esn, encap=None):
    sa = Sa(f"tunnel/{case}", suite, "tunnel", OUTER[outer], sequence, esn, encap)
    family = inner[0] >> 4
    protocol, esp, udp_len = sa.encapsulated(outer, sa.seal(inner, 4 if family == 4 else 41))
    given = fields(inner)
    flags = given["flags"] if family == 4 else DF if len(inner) > 1280 else 0
    packet = ip(outer, OUTER[outer], protocol, esp, given["tos"], TUNNEL_TTL, 0, flags)
    free = [4, 5, 10, 11] if outer == 4 and not flags else []
    return record(sa, (20 if outer == 4 else 40) + udp_len, packet, inner, free)


def transport(case, suite, headers, protocol_at, data, sequence, esn, encap=None):
    """`headers` go in front of ESP, and the octet at `protocol_at` names what follows."""
    family = headers[0] >> 4
    sa = Sa(f"transport/{case}", suite, "transport", INNER[family], sequence, esn, encap)
    protocol, esp, udp_len = sa.encapsulated(family, sa.seal(data, headers[protocol_at]))
    made = []
    for number, payload in [(headers[protocol_at], data), (protocol, esp)]:
        packet = bytearray(headers + payload)
        packet[protocol_at] = number
        at, length = (2, len(packet)) if family == 4 else (4, len(packet) - 40)
        packet[at:at + 2] = struct.pack("!H", length)
        if family == 4:
            packet[10:12] = bytes(2)
            packet[10:12] = struct.pack("!H", checksum(bytes(packet[:(packet[0] & 15) * 4])))
        made.append(bytes(packet))
    return record(sa, len(headers) + udp_len, made[1], made[0])


def combined_cases():
    for at, suite in enumerate(CCM + IMPLICIT):
        for step, (inner, outer) in enumerate(FAMILIES):
            sequence, esn = numbers(at + step)
            name = f"{inner}in{outer}/{suite}"
            packet = plain(inner, name, TCP, 50 + 7 * step, tos=0x0A, ttl=9, flags=[DF, 0][at % 2], label=5)
            yield tunnel(name, suite, outer, packet, sequence, esn)
        sequence, esn = numbers(at + 4)
        data = upper(UDP, 4, octets(f"{suite} data", 40 + at))
        options = ipv4_options(8) if at % 2 else b""
        headers = ipv4(INNER[4], UDP, b"", 0x2E, 21, 0x4321, [0, DF][at % 2], options)
        yield transport(f"4/{suite}", suite, headers, 9, data, sequence, esn)
        sequence, esn = numbers(at + 5)
        data = bytes([UDP, 0, 1, 4, 0, 0, 0, 0]) + upper(UDP, 6, octets(f"{suite} data", 40 + at))
        headers = ipv6(INNER[6], HOP_BY_HOP, bytes([DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0]), 0x2E, 21, 0x777)
        yield transport(f"6/{suite}", suite, headers, 40, data, sequence, esn)
        packet = plain(4, f"{suite} espinudp", UDP, 33, flags=DF)
        yield tunnel(f"4in4/{suite}/espinudp", suite, 4, packet, sequence, esn, (4500, 4500))


def main():
    records = [*beet_cases(), *combined_cases()]
    assert len({made["id"] for made in records}) == len(records)
    path = pathlib.Path(__file__).parent / "packets.jsonl"
    path.write_text("".join(json.dumps(made, separators=(",", ":")) + "\n" for made in records))
    print(f"{path.name}: {len(records)} packets")


main()
