#!/usr/bin/env python3
"""Seals and opens ESP packets with Scapy, for crates/ipsec/tests/scapy.rs.

Reads requests from stdin, one JSON object a line, and answers each with one line on stdout. Octets are hex.

  {"op": "algorithms"}
      {"encryption": [NAME...], "integrity": [NAME...]}   what this Scapy has
  {"op": "seal", "sa": SA, "packets": [{"sequence": N, "packet": IP}...]}
  {"op": "open", "sa": SA, "packets": [{"sequence": N, "packet": IP}...]}
      {"packets": [{"packet": IP} | {"refused": WHY} | {"error": WHY}...]}
      Refused is what fails the integrity check; an error is any other exception.

  SA: {"spi": N, "encryption": NAME, "encryption_key": HEX, "icv_len": N or null, "integrity": NAME,
       "integrity_key": HEX, "esn": BOOL, "tunnel": [SRC, DST] or null, "nat_t": [SPORT, DPORT] or null}
      A salt stands at the encryption key's end. icv_len is that of a combined mode algorithm.

Scapy has no anti-replay and infers no high half of a 64-bit sequence number: it is told all of it.
"""

import json
import sys

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import AUTH_ALGOS, CRYPT_ALGOS, ESP, IPSecIntegrityError, SecurityAssociation


def association(sa):
    tunnel = None
    if sa["tunnel"]:
        src, dst = sa["tunnel"]
        tunnel = IPv6(src=src, dst=dst) if ":" in dst else IP(src=src, dst=dst)
    nat_t = None
    if sa["nat_t"]:
        sport, dport = sa["nat_t"]
        nat_t = UDP(sport=sport, dport=dport)
    return SecurityAssociation(
        ESP,
        spi=sa["spi"],
        crypt_algo=sa["encryption"],
        crypt_key=bytes.fromhex(sa["encryption_key"]),
        crypt_icv_size=sa["icv_len"],
        auth_algo=sa["integrity"],
        auth_key=bytes.fromhex(sa["integrity_key"]),
        tunnel_header=tunnel,
        nat_t_header=nat_t,
        esn_en=sa["esn"],
    )


def number(association, sequence):
    # As attributes: an argument of 0, a low half like any other, would count as none.
    association.seq_num = sequence & 0xFFFFFFFF
    association.esn = sequence >> 32


def dissected(octets):
    return (IP if octets[0] >> 4 == 4 else IPv6)(octets)


def each_packet(request, transform):
    sa = association(request["sa"])
    for entry in request["packets"]:
        number(sa, entry["sequence"])
        try:
            packet = bytes(transform(sa, dissected(bytes.fromhex(entry["packet"]))))
            yield {"packet": packet.hex()}
        except IPSecIntegrityError as why:
            yield {"refused": str(why)}
        except Exception as why:  # whatever it is, the test is to show it
            yield {"error": repr(why)}


def answer(request):
    if request["op"] == "algorithms":
        return {"encryption": list(CRYPT_ALGOS), "integrity": list(AUTH_ALGOS)}
    transform = {"seal": SecurityAssociation.encrypt, "open": SecurityAssociation.decrypt}[request["op"]]
    return {"packets": list(each_packet(request, transform))}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
