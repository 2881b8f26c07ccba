#!/usr/bin/env python3
"""The layer check passes on this tree and fails on each kind of forbidden include."""
import os
import subprocess
import sys
import tempfile

root = sys.argv[1]
check = os.path.join(root, "scripts", "check_layers.py")


def run(tree):
    return subprocess.run([sys.executable, check, tree], capture_output=True, text=True)


result = run(root)
assert result.returncode == 0, "the tree breaks its layers:\n" + result.stdout

CASES = [
    ("models/a.cpp", '#include "runtime/comm/communicator.h"', "models may not include runtime/comm"),
    ("runtime/base/a.h", '#include "runtime/device/device.h"', "runtime/base may not include runtime/device"),
    ("runtime/comm/a.cpp", '#include "kernels/ops.h"', "runtime/comm may not include kernels"),
    ("runtime/data/a.cpp", '#include "runtime/metrics/sinks.h"', "runtime/data may not include runtime/metrics"),
    ("launcher/a.cpp", '#include "runtime/device/device.h"', "launcher may not include runtime/device"),
    ("kernels/cpu/a.cpp", '#  include <nccl.h>', "a backend's header belongs elsewhere"),
    ("runtime/train/a.cpp", "#include <dnnl.h>", "a backend's header belongs elsewhere"),
    ("kernels/cuda/a.cuh", '#include "tests/cuda_sim/emulator/fiber.h"', "not a path from the root"),
    ("models/b.cpp", '#include "gpt2.h"', "not a path from the root"),
]
for path, line, message in CASES:
    with tempfile.TemporaryDirectory() as tree:
        os.makedirs(os.path.join(tree, os.path.dirname(path)))
        with open(os.path.join(tree, path), "w") as file:
            file.write(line + "\n")
        result = run(tree)
        assert result.returncode == 1, f"not caught: {path}: {line}"
        assert message in result.stdout and f"{path}:1:" in result.stdout, result.stdout
print(f"{len(CASES)} forbidden includes caught")
