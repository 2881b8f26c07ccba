"""Headers that the safetensors library accepts are accepted, and none beside: valid ones, mutated, from a fixed seed.

    safetensors_library_test.py LIST_SAFETENSORS [HEADERS]

Skipped (77) where Python has no safetensors.
"""
import json
import os
import random
import struct
import subprocess
import sys
import tempfile

try:
    from safetensors import safe_open
except ImportError:
    sys.exit(77)

WORDS = ["{", "}", "[", "]", ",", ":", '"', " ", "\n", "\0", "\x7f", "\xa0", "0", "1", "4", "8", "-0", "-1", "1e3", "1e999", "2.5", "null", "true",
         "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616", '"a"', '"b"', '"dtype"', '"shape"',
         '"data_offsets"', '"F32"', '"F4"', '"F6_E2M3"', '"F8_E8M0"', '"C64"', '"Q"', '"__metadata__"', r'"\u0061"', r'"\u0000"', r'"\ud800"',
         r'"\ud83d\ude00"', r'"\ud800\u0061"', "\\x", "\xe9", '"x":1,', '"x":{"y":[1,{"z":null}]},', '"x":[],', '"__metadata__":null,',
         '"__metadata__":{"a":"b"},', '"__metadata__":{"a":"b","a":"c"},', '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},',
         '"d":{"dtype":"U8","shape":[0],"data_offsets":[4,4]},', '["F32",[1],[0,4]]', '{"F32":null}', "[1,1,1,1,1,1,1,1,1,1]",
         "[9223372036854775808,0]", "[0,9223372036854775808,9]", "[9223372036854775808,2,0]", "[" * 123, "[" * 124, '{"k":' * 124 + "1" + "}" * 124]


def tensor(name, dtype, shape, begin, end):
    return f'"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}'


# Each with the bytes of its data.
VALID = [
    ("{" + ",".join([tensor("a", "F32", "[1]", 0, 4), tensor("b", "BF16", "[2,1]", 4, 8), '"__metadata__":{"format":"pt"}']) + "}", 8),
    ("{" + ",".join([tensor("b", "F64", "[]", 4, 12), tensor("a", "U8", "[4]", 0, 4), tensor("c", "I16", "[3,0]", 12, 12)]) + "}   ", 12),
    ("{" + ",".join([tensor("a", "F4", "[2,4]", 0, 4), tensor("b", "F6_E3M2", "[4]", 4, 7), tensor("c", "F8_E5M2FNUZ", "[1]", 7, 8)]) + "}", 8),
    ('{"a":["F32",[1],[0,4]],"b":{"dtype":{"C64":null},"x":[1,{"y":2.5}],"shape":[1],"data_offsets":[4,12]},"__metadata__":null}', 12),
    ("{}", 0),
]


DTYPES = ("BOOL U8 I8 F4 F6_E2M3 F6_E3M2 F8_E4M3 F8_E5M2 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ I16 U16 F16 BF16 I32 U32 F32 C64 F64 I64 U64 "
          "I4 U4 F8_E3M4 C128 F128").split()


def at_limits():
    """Headers and the bytes of their data: every dtype of every size, a name twice, and what is just deep enough."""
    whole, strange = tensor("a", "F32", "[1]", 0, 4), tensor("a", "U8", "[7]", 9, 5)
    yield from (("{" + ",".join(pair) + "}", 4) for pair in ((whole, strange), (strange, whole), (whole, tensor("a", "Q", "[1]", 0, 4))))
    for dtype in DTYPES:
        yield from (("{" + tensor("a", dtype, "[8]", 0, bits) + "}", bits) for bits in (4, 6, 8, 16, 32, 64, 128))
        yield from (("{" + tensor("a", dtype, "[3]", 0, num) + "}", num) for num in (1, 2, 3))
    for depth in range(123, 129):
        for field in ("[" * depth + "]" * depth, '{"k":' * depth + "1" + "}" * depth):
            yield '{"a":{"dtype":"F32","shape":[1],"x":' + field + ',"data_offsets":[0,4]}}', 4
    for num in (99_999_999, 100_000_000, 100_000_001):
        yield "{" + " " * (num - 2) + "}", 0


def mutated(text, rng):
    for _ in range(rng.choice([0, 1, 1, 1, 2, 2, 3])):
        at = rng.randrange(len(text) + 1)
        end = min(len(text), at + rng.choice([0, 0, 1, 1, 2, 8]))
        kind = rng.randrange(4)
        if kind == 0:
            text = text[:at] + rng.choice(WORDS) + text[end:]
        elif kind == 1:
            text = text[:at] + text[end:]
        elif kind == 2:  # a piece of it once more, somewhere else
            begin = rng.randrange(len(text) + 1)
            text = text[:at] + text[begin:begin + rng.randrange(60)] + text[at:]
        else:  # a whole value in the place of another
            values = [i for i, c in enumerate(text) if c == ":"]
            if values:
                at = rng.choice(values) + 1
                end = min((i for i in (text.find(c, at) for c in ",}") if i >= 0), default=at)
                text = text[:at] + rng.choice(WORDS) + text[end:]
    return text


def file_of(header, num_bytes, rng):
    raw = header.encode("latin-1" if rng.random() < 0.1 else "utf-8")
    length, data = len(raw), num_bytes
    if rng.random() < 0.03:
        length = rng.choice([0, length - 1, length + 1, 100_000_001, 1 << 63, (1 << 64) - 1])
    if rng.random() < 0.03:
        data = rng.choice([0, data + 1, max(0, data - 1)])
    whole = struct.pack("<Q", max(0, length)) + raw + b"\0" * data
    return whole[:rng.randrange(len(whole))] if rng.random() < 0.01 else whole


def of_library(path):
    """What it reads, or why not."""
    try:
        with safe_open(path, "numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}
            largest = (1 << 63) - 1  # ours, of dimensions in tensors without elements
            return {name: [s.get_dtype(), [min(n, largest) for n in s.get_shape()]] for name, s in slices.items()}, ""
    except Exception as why:  # SafetensorError, and what Python makes of a name
        return None, str(why)


def main():
    program, num_headers = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5000
    rng = random.Random(20261127)
    accepted, differing = 0, []
    with tempfile.TemporaryDirectory() as folder:
        files = [struct.pack("<Q", len(header)) + header.encode() + b"\0" * num_bytes for header, num_bytes in at_limits()]
        for header, num_bytes in rng.choices(VALID, k=num_headers):
            files.append(file_of(mutated(header, rng), num_bytes, rng))
        for i, content in enumerate(files):
            with open(os.path.join(folder, str(i)), "wb") as file:
                file.write(content)
        ours = subprocess.run([program, folder], capture_output=True, check=True).stdout.decode().split("\n")
        for i in range(len(files)):
            path = os.path.join(folder, str(i))
            theirs, why = of_library(path)
            accepted += theirs is not None
            try:
                mine = json.loads(ours[i])
            except ValueError:
                mine = None
            if mine != theirs:
                differing.append(f"{files[i][:500]!r}\n  the library: {theirs or why}\n  we: {ours[i]}")
    print(f"{len(files)} headers, of which the library accepts {accepted}: {len(differing)} are read otherwise")
    print("\n".join(differing[:10]))
    enough = len(files) // 10 < accepted < len(files) - len(files) // 10
    if not enough:
        print("too few are accepted, or too few refused, to say anything")
    sys.exit(1 if differing or not enough else 0)


main()
