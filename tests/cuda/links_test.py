#!/usr/bin/env python3
"""Only the module needs CUDA's libraries, so that ddp-launch and CPU ranks start without them; NCCL and cuDNN not even the module, since
a rank alone and a model without convolutions need none. It exports its one entry.

usage: links_test.py DDP_LAUNCH DDP_RANK LIBDDP_CUDA
"""
import re
import subprocess
import sys

launch, rank, module = sys.argv[1:]


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def needed(path):
    return re.findall(r"\(NEEDED\).*\[(.*)\]", output("readelf", "-d", path))


for program in (launch, rank):
    libraries = [name for name in needed(program) if re.search("cuda|cublas|nccl|cudnn", name)]
    assert not libraries, f"{program} needs {libraries}"
names = " ".join(needed(module))
assert "libcublasLt.so" in names, f"the module does not need cuBLASLt: {names}"
undefined = output("nm", "-D", "--undefined-only", module)
for opened in ("nccl", "cudnn"):
    assert opened not in names + undefined, f"the module links {opened}: {names}\n{undefined}"
exported = {line.split()[-1] for line in output("nm", "-D", "--defined-only", module).splitlines() if line.split()[-2] == "T"}
assert exported == {"ddp_cuda_backend"}, f"the module exports {sorted(exported)}"
print("CUDA's libraries are the module's alone")
