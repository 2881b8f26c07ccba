#!/usr/bin/env python3
"""Enforces the rules that let the CUDA path run under simulation, deterministically and without hanging.

usage: check_cuda_rules.py ROOT. Prints each line that breaks one as file:line and exits 1 when there is one.
"""
import re
import sys

from source_lines import source_lines

# What must not be written, the only files that may, and why.
RULES = [
    (re.compile(r"\bcuda(Stream|Event|Device)Synchronize\b"), re.compile(r"$^"),
     "a wait that ignores deadline and abort word: poll cudaEventQuery (Device::synchronize)"),
    (re.compile(r"\b__CUDACC__\b"), re.compile(r"kernels/cuda/launch\.cuh"),
     "one source for nvcc and the simulator: only kernels/cuda/launch.cuh knows the compiler"),
    (re.compile(r"\b__CUDA_ARCH__\b"), re.compile(r"kernels/cuda/mma\.cuh"),
     "one kernel for every GPU: only kernels/cuda/mma.cuh knows the architecture"),
    (re.compile(r"\b(cudaMalloc|cudaFree|cudaHostAlloc)\w*\s*\("), re.compile(r"runtime/device/cuda_"),
     "memory is planned: only runtime/device allocates"),
    (re.compile(r"\batomic(Add|Sub|Min|Max|CAS|Exch)\s*\("), re.compile(r"$^"),
     "an order that changes from run to run: sum in a fixed order"),
    (re.compile(r"\b__global__\b(?!.*\b__launch_bounds__\b)"), re.compile(r"$^"),
     "a kernel that may get more registers than its block has: state its threads by __launch_bounds__"),
]


def violations(root):
    for path, number, line in source_lines(root):
        code = line.split("//")[0]
        for pattern, place, why in RULES:
            match = pattern.search(code)
            if match and not place.match(path):
                yield f"{path}:{number}: {match.group(0)}: {why}"


def main():
    found = list(violations(sys.argv[1]))
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
