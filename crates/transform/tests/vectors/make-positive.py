#!/usr/bin/env python3
"""Makes published.jsonl and esp-positive.jsonl of the project's ESP corpus: make-positive.py FOLDER

FOLDER holds corpus.jsonl.gz and published.jsonl, described in its README.md. Of the accepted packets of each suite
twelve are taken: the longest that fits an Ethernet frame, then the others in turn by mode and ESN.
"""
import gzip
import itertools
import json
import pathlib
import sys

PER_SUITE = 12
LONGEST = 1500


def lines(path):
    opened = gzip.open(path, "rt") if path.suffix == ".gz" else path.open()
    with opened as file:
        return [json.loads(line) for line in file if line.strip()]


def vector(case, sa, suite, esp, payload, **more):
    return {
        "id": case["id"],
        "suite": suite,
        **more,
        "encryption_key": sa["enc_key"] + sa["salt"],
        "integrity_key": sa["auth_key"],
        "esn_high": case["seq"] >> 32 if sa["esn"] else None,
        "payload": payload.hex(),
        "esp": esp.hex(),
        "chk": case["chk"],
    }


def without_outer(packet, esp_off, sa):
    """The packet from the SPI on; the outer IP header's length says where it ends."""
    is_v4 = packet[0] >> 4 == 4
    end = int.from_bytes(packet[2:4], "big") if is_v4 else 40 + int.from_bytes(packet[4:6], "big")
    return packet[esp_off + (8 if sa["encap"] else 0):end]


def payload_of(case, sa):
    """What ESP carries: the packet itself, or in transport mode what stands after its IP header."""
    plain = bytes.fromhex(case["plain"])
    if sa["mode"] == "tunnel":
        return plain
    return plain[(plain[0] & 15) * 4 if plain[0] >> 4 == 4 else 40:]


def write(path, vectors):
    path.write_text("".join(json.dumps(v, separators=(",", ":")) + "\n" for v in vectors))
    print(f"{path.name}: {len(vectors)} vectors")


def main():
    corpus, here = pathlib.Path(sys.argv[1]), pathlib.Path(__file__).parent

    published = []
    for case in lines(corpus / "published.jsonl"):
        sa = case["sa"]
        aes = len(sa["enc_key"]) * 4
        suite = sa["enc"] if sa["enc"] == "chacha20-poly1305" else f"aes-gcm-{aes}-icv{sa['icv_len']}"
        esp, text = bytes.fromhex(case["esp"]), bytes.fromhex(case["pt"])
        published.append(vector(case, sa, suite, esp, text))
    write(here / "published.jsonl", published)

    cases = lines(corpus / "corpus.jsonl.gz")
    sas = {case["id"]: case for case in cases if case["kind"] == "sa"}
    by_suite = {}
    for case in cases:
        if case["kind"] == "pkt" and case["id"].startswith("pos/") and "plain" in case:
            packet = bytes.fromhex(case["esp"])
            if len(packet) <= LONGEST:
                sa = sas[case["sa"]]
                made = vector(case, sa, sa["suite"], without_outer(packet, case["esp_off"], sa),
                              payload_of(case, sa), mode=sa["mode"])
                by_suite.setdefault(sa["suite"], []).append(made)

    positive = []
    for _, vectors in sorted(by_suite.items()):
        longest = max(vectors, key=lambda v: len(v["esp"]))
        groups = {}
        for v in vectors:
            if v is not longest:
                groups.setdefault((v["mode"], v["esn_high"] is None), []).append(v)
        in_turn = [v for turn in itertools.zip_longest(*groups.values()) for v in turn if v]
        positive += [longest] + in_turn[:PER_SUITE - 1]
    write(here / "esp-positive.jsonl", positive)


main()
