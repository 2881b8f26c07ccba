#!/usr/bin/env python3
"""Prints the architectures that a CUDA backend's kernels were compiled for: "sm_75 sm_90 compute_90", the last as PTX.

usage: cubins.py LIBDDP_CUDA. Reads the images that nvcc embeds, whose heads are not compressed, so it needs no tool of NVIDIA's.
Exits 1 where one source's kernels have other architectures than the rest.
"""
import re
import struct
import subprocess
import sys

FATBIN = struct.Struct("<IHHQ")  # magic, version, bytes of this head, bytes of all its images
MAGIC = 0xBA55ED50
# Kind, version, bytes of this head and of the image; the architecture comes after the compressed size, flags and a version.
IMAGE = struct.Struct("<HHIQ12xI")
KINDS = {1: "compute_", 2: "sm_"}


def images(path):
    """A set of architectures for each source with kernels."""
    sections = subprocess.run(["readelf", "-SW", path], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\.nv_fatbin\s+\S+\s+\w+\s+(\w+)\s+(\w+)", sections)
    if not found:
        sys.exit(f"{path} has no kernels")
    begin, size = (int(number, 16) for number in found.groups())
    with open(path, "rb") as file:
        file.seek(begin)
        data = file.read(size)
    at = 0
    while at < len(data):
        magic, _, head, total = FATBIN.unpack_from(data, at)
        if magic != MAGIC:  # padding
            at += 8
            continue
        at += head
        end, names = at + total, set()
        while at < end:
            kind, _, head, size, arch = IMAGE.unpack_from(data, at)
            names.add(f"{KINDS[kind]}{arch}")
            at += head + size
        yield frozenset(names)


def architectures(path):
    """Those of all kernels, cubins first, ascending."""
    found = set(images(path))
    if len(found) != 1:
        sys.exit(f"{path}: not all kernels have the same architectures: {[sorted(names) for names in found]}")
    return sorted(found.pop(), key=lambda name: (name.startswith("compute"), int(name.partition("_")[2])))


if __name__ == "__main__":
    print(*architectures(sys.argv[1]))
