#!/usr/bin/env python3
"""Lets a shared library start where glibc lacks a version that it names: weaken_version.py FILE VERSION.

The need is marked as weak, which the loader takes as "if it is there". Only for a version of functions that are never called: they
are bound when they first are. Debian 12's libstdc++ names GLIBC_2.36 for arc4random alone, which std::random_device uses and we do not.
"""
import struct
import sys

DT_VERNEED, DT_VERNEEDNUM, DT_STRTAB = 0x6FFFFFFE, 0x6FFFFFFF, 5
PT_LOAD, PT_DYNAMIC = 1, 2
VER_FLG_WEAK = 2


def weaken(data, version):
    """Marks the version in the ELF file's bytes; how many needs were marked."""
    def read(fmt, offset):
        return struct.unpack_from("<" + fmt, data, offset)

    assert data[:6] == b"\x7fELF\x02\x01", "not an ELF file of 64 bits"
    headers, size, count = read("Q", 32)[0], *read("HH", 54)
    segments = [read("IIQQQQ", headers + i * size) for i in range(count)]  # type, flags, offset, address, -, bytes in the file

    def offset_of(address):
        return next(s[2] + address - s[3] for s in segments if s[0] == PT_LOAD and s[3] <= address < s[3] + s[5])

    dynamic = next(s for s in segments if s[0] == PT_DYNAMIC)
    tags = dict(read("qQ", dynamic[2] + i) for i in range(0, dynamic[5], 16))
    names, need = offset_of(tags[DT_STRTAB]), offset_of(tags[DT_VERNEED])
    marked = 0
    for _ in range(tags[DT_VERNEEDNUM]):
        _, num_versions, _, first, next_need = read("HHIII", need)
        at = need + first
        for _ in range(num_versions):
            _, flags, _, name, next_at = read("IHHII", at)
            begin = names + name
            if data[begin:data.index(b"\0", begin)] == version.encode():
                struct.pack_into("<H", data, at + 4, flags | VER_FLG_WEAK)
                marked += 1
            at += next_at
        need += next_need
    return marked


if __name__ == "__main__":
    path, version = sys.argv[1:]
    with open(path, "r+b") as file:
        data = bytearray(file.read())
        if not weaken(data, version):
            sys.exit(f"{path} does not need {version}")
        file.seek(0)
        file.write(data)
