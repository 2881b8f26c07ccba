#!/usr/bin/env python3
"""The CUDA rules hold on this tree, and each is noticed where it is broken."""
import os
import subprocess
import sys
import tempfile

root = sys.argv[1]
check = os.path.join(root, "scripts", "check_cuda_rules.py")


def run(tree):
    return subprocess.run([sys.executable, check, tree], capture_output=True, text=True)


result = run(root)
assert result.returncode == 0, "the tree breaks its CUDA rules:\n" + result.stdout

BROKEN = [
    ("runtime/device/cuda_device.cpp", "  check(cudaStreamSynchronize(stream));", "cudaStreamSynchronize"),
    ("runtime/comm/nccl_comm.cpp", "cudaEventSynchronize(done);", "cudaEventSynchronize"),
    ("kernels/cuda/a.cu", "cudaDeviceSynchronize();", "cudaDeviceSynchronize"),
    ("kernels/cuda/a.cu", "#ifdef __CUDACC__", "__CUDACC__"),
    ("kernels/cuda/launch.cuh", "#if __CUDA_ARCH__ >= 800", "__CUDA_ARCH__"),
    ("kernels/cuda/linear.cpp", "cudaMallocAsync(&workspace, bytes, stream);", "cudaMallocAsync"),
    ("kernels/cuda/a.cu", "  atomicAdd(&dw[column], sum);", "atomicAdd"),
    ("kernels/cuda/a.cu", "__global__ void sum(float* out) {", "__global__"),
]
ALLOWED = [
    ("kernels/cuda/launch.cuh", "#ifdef __CUDACC__"),
    ("kernels/cuda/mma.cuh", "#if __CUDA_ARCH__ >= 800"),
    ("runtime/device/cuda_device.cpp", "cudaMalloc(&memory, bytes);"),
    ("kernels/cuda/a.cu", "// never cudaStreamSynchronize"),
    ("kernels/cuda/a.cu", "__global__ void __launch_bounds__(kThreads) sum(float* out) {"),
]


def check_line(path, line):
    with tempfile.TemporaryDirectory() as tree:
        os.makedirs(os.path.join(tree, os.path.dirname(path)))
        with open(os.path.join(tree, path), "w") as file:
            file.write(line + "\n")
        return run(tree)


for path, line, word in BROKEN:
    result = check_line(path, line)
    assert result.returncode == 1 and f"{path}:1: {word}" in result.stdout, f"not caught: {path}: {line}\n{result.stdout}"
for path, line in ALLOWED:
    result = check_line(path, line)
    assert result.returncode == 0, f"caught by mistake: {path}: {line}\n{result.stdout}"
print(f"{len(BROKEN)} broken rules caught")
