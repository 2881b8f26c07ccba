#!/usr/bin/env python3
"""Every kernel stays within the registers and shared memory of sm_75, the oldest GPU, and keeps nothing in local memory.

usage: cuda_budget_test.py NVCC FILE.cu... -- NVCC_ARGS. Prints a line a kernel. The size of dynamic shared memory is not
known to the compiler: shared_memory<T>() in kernels/cuda/launch.cuh asserts it.
"""
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile

MAX_REGISTERS = 255
REGISTERS_OF_A_BLOCK = 65536
MAX_SHARED_BYTES = 64 * 1024
THREADS_UNLESS_BOUND = 1024  # without __launch_bounds__ the compiler promises nothing, so a block may have as many

split = sys.argv.index("--")
nvcc, files, nvcc_args = sys.argv[1], sys.argv[2:split], sys.argv[split + 1:]
ptxas = os.path.join(os.path.dirname(os.path.realpath(nvcc)), "ptxas")


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def number(pattern, text):
    match = re.search(pattern, text)
    return int(match.group(1)) if match else 0


def kernels_of(file, folder):
    """(name, registers, local bytes, shared bytes, most threads) of each kernel."""
    ptx = os.path.join(folder, os.path.basename(file) + ".ptx")
    run(nvcc, *nvcc_args, "-arch=compute_75", "-ptx", file, "-o", ptx)
    with open(ptx, encoding="utf-8") as text:
        entries = re.findall(r"\.entry (\w+)\((.*?)\{", text.read(), re.S)
    threads = {name: number(r"\.maxntid (\d+)", head) or THREADS_UNLESS_BOUND for name, head in entries}
    report = run(ptxas, "-v", "-arch=sm_75", ptx, "-o", os.path.join(folder, os.path.basename(file) + ".cubin"))
    for name, text in re.findall(r"Compiling entry function '(\w+)'.*?\n(.*?)(?=Compiling entry|$)", report, re.S):
        local = number(r"(\d+) bytes stack frame", text) + number(r"(\d+) bytes spill stores", text)
        yield name, number(r"Used (\d+) registers", text), local, number(r"(\d+) bytes smem", text), threads[name]


with tempfile.TemporaryDirectory(prefix="ddp-budget-") as folder, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    rows = [(os.path.basename(file), *row) for file, found in zip(files, pool.map(lambda f: list(kernels_of(f, folder)), files))
            for row in found]
readable = run("c++filt", *[row[1] for row in rows]).splitlines() if rows else []

print(f"{'file':20} {'registers':>9} {'threads':>7} {'local B':>7} {'shared B':>8}  kernel")
over = []
for (file, _, registers, local, shared, threads), name in zip(rows, readable):
    name = re.sub(r"^void |\(anonymous namespace\)::|ddp::cuda::", "", name)
    name = re.sub(r"\(\w+\)(?=-?\d)", "", name).partition("(")[0]  # an enumerator is (Enum)2
    line = f"{file:20} {registers:9} {threads:7} {local:7} {shared:8}  {name}"
    print(line)
    if registers > MAX_REGISTERS or registers * threads > REGISTERS_OF_A_BLOCK or local > 0 or shared > MAX_SHARED_BYTES:
        over.append(line)
assert rows, "no kernel found"
assert not over, "over the budget of sm_75 (255 registers, 65536 a block, no local memory, 64 KiB shared):\n" + "\n".join(over)
