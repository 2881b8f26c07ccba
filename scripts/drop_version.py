#!/usr/bin/env python3
"""Lets a shared library start where glibc lacks a version that it names: drop_version.py FILE VERSION.

The functions of that version become weak and need none, and the need is taken out. Only for functions that are never called: where glibc
lacks them they are null. Debian 12's libstdc++ names GLIBC_2.36 for arc4random alone, which std::random_device uses and we do not.
"""
import struct
import sys

DT_STRTAB, DT_SYMTAB, DT_GNU_HASH, DT_VERSYM, DT_VERNEED, DT_VERNEEDNUM = 5, 6, 0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFFE, 0x6FFFFFFF
PT_LOAD, PT_DYNAMIC = 1, 2
VER_NDX_GLOBAL = 1  # of a symbol without a version
STB_WEAK = 2
SYMBOL_BYTES = 24


class Library:
    """An ELF file of 64 bits in `data`, changed in place."""

    def __init__(self, data):
        assert data[:6] == b"\x7fELF\x02\x01", "not an ELF file of 64 bits"
        self.data = data
        headers, size, count = *self.read("Q", 32), *self.read("HH", 54)
        self.segments = [self.read("IIQQQQ", headers + i * size) for i in range(count)]  # type, flags, offset, address, -, bytes in the file
        dynamic = next(s for s in self.segments if s[0] == PT_DYNAMIC)
        self.tags = dict(self.read("qQ", dynamic[2] + i) for i in range(0, dynamic[5], 16))

    def read(self, fmt, offset):
        return struct.unpack_from("<" + fmt, self.data, offset)

    def write(self, fmt, offset, *values):
        struct.pack_into("<" + fmt, self.data, offset, *values)

    def place(self, tag):
        address = self.tags[tag]
        return next(s[2] + address - s[3] for s in self.segments if s[0] == PT_LOAD and s[3] <= address < s[3] + s[5])

    def name(self, offset):
        begin = self.place(DT_STRTAB) + offset
        return self.data[begin:self.data.index(b"\0", begin)].decode()

    def drop_need(self, version):
        """Takes the version out of the list of its library's; its index, or None where there is none."""
        need = self.place(DT_VERNEED)
        for _ in range(self.tags[DT_VERNEEDNUM]):
            _, count, _, first, next_need = self.read("HHIII", need)
            link, at = need + 8, need + first  # `link` holds how far it is to `at`
            for _ in range(count):
                _, _, index, name, next_at = self.read("IHHII", at)
                if self.name(name) == version:
                    assert count > 1, f"{version} is all that is needed of its library"
                    self.write("H", need + 2, count - 1)
                    self.write("I", link, self.read("I", link)[0] + next_at if next_at else 0)
                    return index
                link, at = at + 12, at + next_at
            need += next_need
        return None

    def weaken_symbols(self, index):
        """Of those that the library does not define, which stand before the hashed ones."""
        symbols, versions = self.place(DT_SYMTAB), self.place(DT_VERSYM)
        for i in range(self.read("II", self.place(DT_GNU_HASH))[1]):
            if self.read("H", versions + 2 * i)[0] == index:
                kind = self.read("B", symbols + SYMBOL_BYTES * i + 4)[0] & 0xF
                self.write("B", symbols + SYMBOL_BYTES * i + 4, STB_WEAK << 4 | kind)
                self.write("H", versions + 2 * i, VER_NDX_GLOBAL)


if __name__ == "__main__":
    path, version = sys.argv[1:]
    with open(path, "r+b") as file:
        library = Library(bytearray(file.read()))
        index = library.drop_need(version)
        if index is None:
            sys.exit(f"{path} does not need {version}")
        library.weaken_symbols(index)
        file.seek(0)
        file.write(library.data)
