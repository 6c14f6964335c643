#!/usr/bin/env python3
"""Takes the ELF kernel out of an x86 bzImage, so that QEMU can boot it through PVH (about a second faster under TCG).

usage: vmlinux.py BZIMAGE ELF

Where the compressed kernel lies is in the boot protocol's header (Documentation/arch/x86/boot.rst in the kernel's sources).
LZ4, Debian's choice, is decompressed here; xz and gzip by Python's own modules; zstd by the program of that name.
Exit status 1 and one line on stderr when no ELF kernel comes out: then boot the bzImage.
"""
import gzip
import lzma
import struct
import subprocess
import sys

SETUP_SECTS = 0x1F1       # u8: 512-octet sectors of real-mode code after the first one
HEADER_MAGIC = 0x202
PAYLOAD = 0x248           # two u32: offset and length of the compressed kernel, from the end of the real-mode code
LZ4_LEGACY = 0x184C2102


class NotFound(Exception):
    pass


def lz4_sequences(block, out):
    """One LZ4 block: sequences of literals and a copy from what is already out."""
    pos, end = 0, len(block)
    while pos < end:
        token = block[pos]
        pos += 1
        literals, copy = token >> 4, token & 0x0F
        if literals == 15:
            while block[pos] == 255:
                literals += 255
                pos += 1
            literals += block[pos]
            pos += 1
        out += block[pos:pos + literals]
        pos += literals
        if pos == end:                     # the last sequence has literals only
            return
        back = int.from_bytes(block[pos:pos + 2], "little")
        pos += 2
        if copy == 15:
            while block[pos] == 255:
                copy += 255
                pos += 1
            copy += block[pos]
            pos += 1
        copy += 4                          # the shortest match
        if not 0 < back <= len(out):
            raise NotFound("LZ4: a match before the start")
        first = len(out) - back
        if copy <= back:
            out += out[first:first + copy]
        else:                              # the copy overlaps its own result: the pattern repeats
            repeated = bytes(out[first:]) * (copy // back + 1)
            out += repeated[:copy]


def lz4_legacy(data, size):
    out, pos = bytearray(), 4
    while len(out) < size and pos + 4 <= len(data):
        block_len = struct.unpack_from("<I", data, pos)[0]
        pos += 4
        if block_len != LZ4_LEGACY:        # frames may follow one another
            lz4_sequences(data[pos:pos + block_len], out)
            pos += block_len
    return out


def zstd(data):
    run = subprocess.run(["zstd", "-dcq"], input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return run.stdout


def decompress(payload):
    size = struct.unpack("<I", payload[-4:])[0]     # the build appends it, or gzip has it there itself
    if payload[:4] == LZ4_LEGACY.to_bytes(4, "little"):
        elf = lz4_legacy(payload[:-4], size)
    elif payload[:6] == b"\xfd7zXZ\0":
        elf = lzma.LZMADecompressor().decompress(payload)
    elif payload[:4] == b"\x28\xb5\x2f\xfd":
        elf = zstd(payload[:-4])
    elif payload[:2] == b"\x1f\x8b":
        elf = gzip.decompress(payload)
    else:
        raise NotFound("unknown compression " + payload[:4].hex())
    if elf[:4] != b"\x7fELF" or len(elf) != size:
        raise NotFound(f"{len(elf)} octets came out where an ELF file of {size} was meant to")
    return elf


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], "rb") as f:
        image = f.read()
    try:
        if image[HEADER_MAGIC:HEADER_MAGIC + 4] != b"HdrS":
            raise NotFound("not a bzImage")
        offset, length = struct.unpack_from("<II", image, PAYLOAD)
        start = ((image[SETUP_SECTS] or 4) + 1) * 512 + offset
        elf = decompress(image[start:start + length])
    except (NotFound, IndexError, OSError, EOFError, struct.error, lzma.LZMAError) as why:
        sys.exit(f"vmlinux.py: {why}")
    with open(sys.argv[2], "wb") as f:
        f.write(elf)


main()
