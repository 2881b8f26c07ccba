#!/usr/bin/env python3
"""Packs an unpacked bundle and the Python module as a wheel: pack_wheel.py BUNDLE OUT. Prints the wheel's path.

The wheel holds programs for several processors and two series of CUDA, of which the launcher chooses, and NVIDIA's libraries stay where the
user has them: no build backend makes such a one, and auditwheel would graft these libraries. `auditwheel show` agrees with the tag."""
import argparse
import base64
import hashlib
import os
import pathlib
import stat
import sys
import time
import zipfile

MODULE = pathlib.Path(__file__).resolve().parent / "python" / "ddp_launch"
TAG = "py3-none-manylinux_2_35_x86_64"  # the glibc that scripts/bundle.sh checks
# Lower bounds alone: what PyTorch pins stays. Never both: files of the two series overwrite each other.
EXTRAS = {
    "cuda12": ["nvidia-cublas-cu12>=12.0", "nvidia-nccl-cu12>=2.18", "nvidia-cudnn-cu12>=9"],
    "cuda13": ["nvidia-cublas>=13,<14", "nvidia-nccl-cu13", "nvidia-cudnn-cu13"],
}
DESCRIPTION = """ddp-launch trains a neural network on the GPUs, or the CPU cores, of one machine: a process for each, whose gradients are added up
while the backward pass still runs. It is written in C++ and CUDA.

    python3 -m ddp_launch.examples              recipes and a text to learn from, into this folder
    ddp-launch --nproc 4 configs/gpt2-tiny.yaml
    ddp-launch --gpus 0,1,2,3 configs/gpt2-small.yaml
    ddp-launch --version --json                 what it finds on this machine

From Python: help(ddp_launch). It needs x86-64 with AVX2, Linux 5.10 and glibc 2.35 or later; on GPUs NVIDIA's driver, and cuBLAS, NCCL and cuDNN of
CUDA 12 or 13, as PyTorch's wheels or the extras cuda12 and cuda13 bring them (never both).
"""
FOLDERS = ("bin", "lib", "configs", "data", "licenses", "scripts")
OF_TESTS = ("bench_", "test_", "libddp-cuda-sim", "libsim-", "gpu_acceptance", "acceptance", "bench_vs_torch")  # scripts/bundle.sh --tests


def bundled_files(bundle):
    """(name in the package, path) of what users need of the bundle."""
    yield "BUILD", bundle / "BUILD"
    for folder in FOLDERS:
        for path in sorted((bundle / folder).rglob("*")):
            parts = path.relative_to(bundle / folder).parts
            if path.is_file() and not parts[0].startswith(OF_TESTS):
                yield "/".join((folder, *parts)), path


def metadata(version):
    lines = ["Metadata-Version: 2.1", "Name: ddp-launch", f"Version: {version}",
             "Summary: Trains GPT-2, BERT and ResNets data-parallel on the GPUs or CPU cores of one machine", "Requires-Python: >=3.9",
             "Classifier: Operating System :: POSIX :: Linux", "Description-Content-Type: text/plain"]
    for extra, requirements in EXTRAS.items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f'Requires-Dist: {requirement}; extra == "{extra}"' for requirement in requirements]
    return "\n".join(lines) + "\n\n" + DESCRIPTION


class Wheel:
    """A zip file whose last file lists all others with their hashes."""

    def __init__(self, path, dist_info, date):
        self.zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9)
        self.dist_info, self.date, self.records = dist_info, date, []

    def add(self, name, content, mode=0o644):
        entry = zipfile.ZipInfo(name, self.date)
        entry.external_attr = (stat.S_IFREG | mode) << 16
        self.zip.writestr(entry, content, zipfile.ZIP_DEFLATED)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        self.records.append(f"{name},sha256={digest},{len(content)}\n")

    def close(self):
        record = f"{self.dist_info}/RECORD"
        self.add(record, ("".join(self.records) + f"{record},,\n").encode())
        self.zip.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path, help="the folder for the wheel")
    arguments = parser.parse_args()
    build = dict(line.split(": ", 1) for line in (arguments.bundle / "BUILD").read_text(encoding="utf-8").splitlines())
    version = build["version"]
    path = arguments.out / f"ddp_launch-{version}-{TAG}.whl"
    dist_info = f"ddp_launch-{version}.dist-info"
    wheel = Wheel(path, dist_info, (*time.strptime(build["date"], "%Y-%m-%d")[:3], 0, 0, 0))
    for source in sorted(MODULE.glob("*.py")):
        wheel.add(f"ddp_launch/{source.name}", source.read_bytes())
    for name, source in bundled_files(arguments.bundle):
        wheel.add(f"ddp_launch/{name}", source.read_bytes(), 0o755 if os.access(source, os.X_OK) else 0o644)
    wheel.add(f"{dist_info}/METADATA", metadata(version).encode())
    wheel.add(f"{dist_info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: ddp-launch\nRoot-Is-Purelib: false\nTag: {TAG}\n".encode())
    wheel.add(f"{dist_info}/entry_points.txt", b"[console_scripts]\nddp-launch = ddp_launch._command:main\n")
    wheel.close()
    print(path)


if __name__ == "__main__":
    sys.exit(main())
