#!/usr/bin/env python3
"""Makes rfc.txt of vectors that RFCs publish: make-rfc.py FOLDER

FOLDER is the Python package `cryptography_vectors` (made with 50.0.2), which has those of RFC 3686, RFC 2202 and RFC
4231. A line: what it is, the case's name, and hexadecimal fields, - for nothing:

    aes-ctr NAME key nonce IV plaintext ciphertext
    hmac-… NAME key message HMAC
"""
import pathlib
import re
import sys

FIELD = re.compile(r"(\w+) = (\w*)")


def cases(path, first):
    """The cases of a file; each begins with the field `first`."""
    found = []
    for text in path.read_text().splitlines():
        if field := FIELD.fullmatch(text):
            if field[1] == first:
                found.append({})
            found[-1][field[1].lower()] = field[2].lower()
    return found


def main():
    folder, lines = pathlib.Path(sys.argv[1]), []
    for bits in (128, 192, 256):
        for case in cases(folder / f"ciphers/AES/CTR/aes-{bits}-ctr.txt", "COUNT"):
            nonce, iv, counter = case["iv"][:8], case["iv"][8:24], case["iv"][24:]
            assert counter == "00000001", case
            number = len(lines) + 1
            fields = [case["key"], nonce, iv, case["plaintext"], case["ciphertext"]]
            lines.append(["aes-ctr", f"RFC-3686-{number}"] + fields)
    for rfc, name in [(2202, "sha1"), (4231, "sha256"), (4231, "sha384"), (4231, "sha512")]:
        for number, case in enumerate(cases(folder / f"HMAC/rfc-{rfc}-{name}.txt", "Len"), 1):
            # RFC 4231's case 5 publishes half of an HMAC, and is left out there.
            number += rfc == 4231 and number > 4
            lines.append([f"hmac-{name}", f"RFC-{rfc}-{number}", case["key"], case["msg"] or "-", case["md"]])
    path = pathlib.Path(__file__).parent / "rfc.txt"
    path.write_text("".join(" ".join(fields) + "\n" for fields in lines))
    print(f"{path.name}: {len(lines)} cases")


main()
