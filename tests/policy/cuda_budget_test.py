#!/usr/bin/env python3
"""Every kernel of a backend stays within the registers and shared memory of sm_75, the oldest GPU, and keeps nothing in local memory there.

usage: cuda_budget_test.py ROOT LIBDDP_CUDA. Prints a line a kernel. The size of dynamic shared memory is not known to the compiler:
shared_memory<T>() in kernels/cuda/launch.cuh asserts it. Needs cuobjdump, of .cache/cuda12 or on PATH; exits 77 where there is none.
"""
import os
import re
import subprocess
import sys

ROOT, MODULE = sys.argv[1:]
sys.path.insert(0, os.path.join(ROOT, "scripts"))
import compare_toolkits  # noqa: E402

OLDEST = "sm_75"
MAX_REGISTERS = 255
REGISTERS_OF_A_BLOCK = 65536
MAX_SHARED_BYTES = 64 * 1024
THREADS_UNLESS_BOUND = 1024  # without __launch_bounds__ the compiler promises nothing, so a block may have as many

tool = compare_toolkits.cuobjdump()
# Bounds are the same for every GPU; the module has PTX, which states them, for the newest alone.
ptx = subprocess.run([tool, "-ptx", MODULE], capture_output=True, text=True, check=True).stdout
entries = re.findall(r"\.entry (\w+)\((.*?)^\{", ptx, re.M | re.S)
bounds = {name: re.search(r"\.maxntid (\d+)", head) for name, head in entries}

print(f"{'registers':>9} {'threads':>7} {'local B':>7} {'shared B':>8}  kernel")
over = []
rows = compare_toolkits.usage(tool, MODULE, OLDEST)
for name, (mangled, registers, local, shared) in zip(compare_toolkits.readable([row[0] for row in rows]), rows, strict=True):
    threads = int(bounds[mangled][1]) if bounds[mangled] else THREADS_UNLESS_BOUND
    line = f"{registers:9} {threads:7} {local:7} {shared:8}  {name.partition('(')[0]}"
    print(line)
    if registers > MAX_REGISTERS or registers * threads > REGISTERS_OF_A_BLOCK or local > 0 or shared > MAX_SHARED_BYTES:
        over.append(line)
assert set(bounds) == {row[0] for row in rows}, f"other kernels for {OLDEST} than as PTX"
assert not over, f"over the budget of {OLDEST} (255 registers, 65536 a block, no local memory, 64 KiB shared):\n" + "\n".join(over)
