#!/usr/bin/env bash
# Lays out a CUDA toolkit of NVIDIA's own wheels from PyPI: fetch_cuda.sh [FOLDER], by default .cache/cuda, where Meson looks.
# For a machine without one: about 1.2 GB to download, 2.4 GB unpacked, no root needed. A driver is not part of it.
. "$(dirname "$0")/common.sh"
cd "$root"
folder=${1:-.cache/cuda}
[ -f "$folder/complete" ] && exit 0

# One release, so that compiler, headers and libraries fit each other; NCCL and cuDNN have numbers of their own.
wheels=(
  nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-cccl==13.0.85
  nvidia-cuda-runtime==13.0.96 nvidia-cublas==13.1.0.3 nvidia-cudnn-cu13==9.19.0.56 nvidia-nccl-cu13==2.28.9
)
fetch_wheels "$folder.partial" "${wheels[@]}"
mkdir -p "$folder.partial/toolkit/lib"
for package in "$folder.partial"/nvidia/*; do cp -rl "$package"/. "$folder.partial/toolkit"; done
cd "$folder.partial/toolkit"
ln -sfn lib lib64
for library in lib/*.so.*; do ln -sfn "$(basename "$library")" "${library%%.so.*}.so"; done  # wheels hold no names to link with
touch complete
cd "$root"
rm -rf "$folder"
mv "$folder.partial/toolkit" "$folder"
rm -rf "$folder.partial"
say "$("$folder/bin/nvcc" --version | tail -n 1) is in $folder"
