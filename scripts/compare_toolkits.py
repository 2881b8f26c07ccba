#!/usr/bin/env python3
"""Compares what two nvcc make of the kernels: no kernel spills that does not with the first, and static shared memory is equal.

usage: compare_toolkits.py LIBDDP_CUDA13 LIBDDP_CUDA12 [--all]. For each GPU that both were compiled for: how many kernels take other
registers, and which; --all: the registers of every kernel. Needs cuobjdump, of .cache/cuda12 or on PATH; exits 77 where there is none.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys

import cubins

FETCHED = os.path.join(os.path.dirname(__file__), "../.cache/cuda12/bin/cuobjdump")


def cuobjdump():
    """The tool's path. Ends the program with 77 where there is none."""
    tool = FETCHED if os.path.exists(FETCHED) else shutil.which("cuobjdump")
    if not tool:
        print("no cuobjdump: scripts/fetch_cuda.sh --cuda12 fetches one")
        sys.exit(77)
    return tool


def readable(mangled):
    """C++ names, without what tells one compilation's unnamed namespace from another's."""
    plain = []
    for name in mangled:
        while unnamed := re.search(r"(\d+)_GLOBAL__N__", name):  # begins with how long it is
            begin = unnamed.end(1)
            name = name[:unnamed.start()] + "12_GLOBAL__N_1" + name[begin + int(unnamed.group(1)):]
        plain.append(name)
    text = subprocess.run(["c++filt", *plain], capture_output=True, text=True, check=True).stdout
    short = [re.sub(r"^void |\(anonymous namespace\)::|ddp::cuda::|ddp::", "", name) for name in text.splitlines()]
    return [re.sub(r"\(\w+\)(?=-?\d)", "", name) for name in short]  # an enumerator is (Enum)2


def usage(tool, module, arch):
    """(mangled name, registers, bytes in local memory, bytes of static shared memory) of each kernel."""
    text = subprocess.run([tool, "-res-usage", "-arch", arch, module], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"Function (\w+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", text)
    if not found:
        sys.exit(f"{module} has no kernels for {arch}")
    return [(name, int(registers), int(stack) + int(local), int(shared)) for name, registers, stack, shared, local in found]


def resources(tool, module, arch):
    """The same by readable names, sorted: sources may share a name."""
    rows = usage(tool, module, arch)
    return sorted((name, *row[1:]) for name, row in zip(readable([row[0] for row in rows]), rows, strict=True))


def compare(arch, before, after, show_all):
    """Prints a table; the lines of what is worse."""
    if [row[0] for row in before] != [row[0] for row in after]:
        sys.exit(f"{arch}: they have other kernels")
    pairs = [(b[0].partition("(")[0], b[1:], a[1:]) for b, a in zip(before, after, strict=True)]
    changes = [a[0] - b[0] for _, b, a in pairs]
    print(f"{arch}: {len(pairs)} kernels, of which {sum(c < 0 for c in changes)} take fewer registers and {sum(c > 0 for c in changes)} more, "
          f"at most {max(changes):+}; the most of one are {max(b[0] for _, b, _ in pairs)} -> {max(a[0] for _, _, a in pairs)}; "
          f"{sum(b[1] > 0 for _, b, _ in pairs)} -> {sum(a[1] > 0 for _, _, a in pairs)} use local memory")
    worse = []
    for name, b, a in pairs:
        line = f"{arch:6} {b[0]:3} -> {a[0]:3} registers, {b[1]:3} -> {a[1]:3} B local, {b[2]:5} -> {a[2]:5} B shared  {name}"
        if b[0] != a[0] or show_all:
            print(line)
        if a[1] > b[1] or a[2] != b[2]:
            worse.append(line)
    return worse


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("modules", nargs=2)
    parser.add_argument("--all", action="store_true")
    args = parser.parse_args()
    tool = cuobjdump()
    first, second = (set(cubins.architectures(module)) for module in args.modules)
    common = sorted(name for name in first & second if name.startswith("sm_"))
    if not common:
        sys.exit("they were compiled for different GPUs")
    worse = [line for arch in common for line in compare(arch, *(resources(tool, m, arch) for m in args.modules), args.all)]
    if worse:
        sys.exit("these kernels keep more in local memory, or take other shared memory:\n" + "\n".join(worse))
    print(f"for {', '.join(common)} no kernel keeps more in local memory, and shared memory is equal")


if __name__ == "__main__":
    main()
