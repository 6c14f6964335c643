#!/usr/bin/env python3
"""Makes cavp-gcm.txt of NIST's CAVP vectors for AES-GCM: make-cavp.py FOLDER

FOLDER is ciphers/AES/GCM of the Python package `cryptography_vectors` (made with 50.0.2), which has NIST's
gcmDecrypt and gcmEncryptExtIV .rsp files for each key length. Kept is what an ESP ICV can be: IVs of 96 bits, tags of
64, 96 and 128 bits; of each group of lengths one to encrypt, and three to decrypt, of which one at least fails if
the group has one that does.

A line: E or D, key, IV, AAD, plaintext or F for a decryption that fails, ciphertext, tag; hexadecimal, - for nothing.
"""
import pathlib
import re
import sys

GROUP = re.compile(r"\[(\w+) = (\d+)\]")
FIELD = re.compile(r"(\w+) = ?(\w*)")


def groups(path):
    """The cases of each group that is wanted."""
    lens, cases = {}, []
    for line in path.read_text().splitlines() + ["[End = 0]"]:
        if group := GROUP.fullmatch(line):
            if cases and lens["IVlen"] == 96 and lens["Taglen"] in (64, 96, 128):
                yield cases
            cases = []
            lens[group[1]] = int(group[2])
        elif line == "FAIL":
            cases[-1]["FAIL"] = True
        elif field := FIELD.fullmatch(line):
            if field[1] == "Count":
                cases.append({})
            else:
                cases[-1][field[1]] = field[2]


def line(kind, case):
    plaintext = "F" if "FAIL" in case else case["PT"] or "-"
    fields = [kind, case["Key"], case["IV"], case["AAD"] or "-", plaintext, case["CT"] or "-", case["Tag"]]
    return " ".join(fields) + "\n"


def main():
    folder, lines = pathlib.Path(sys.argv[1]), []
    for bits in (128, 192, 256):
        for cases in groups(folder / f"gcmEncryptExtIV{bits}.rsp"):
            lines.append(line("E", cases[0]))
        for cases in groups(folder / f"gcmDecrypt{bits}.rsp"):
            right = [case for case in cases if "FAIL" not in case]
            wrong = [case for case in cases if "FAIL" in case]
            lines += [line("D", case) for case in (wrong[:1] + right + wrong[1:])[:3]]
    path = pathlib.Path(__file__).parent / "cavp-gcm.txt"
    path.write_text("".join(lines))
    failing = sum(1 for text in lines if text.split()[4] == "F")
    print(f"{path.name}: {len(lines)} cases, {failing} of them fail")


main()
