#!/usr/bin/env bash
# Compiles the CUDA backend's host code, syntax only, against the headers of CUDA 12.0 and NCCL 2.18, the oldest it supports,
# whatever toolkit builds it: check_cuda12.sh. PyPI's wheels of the 12 series hold headers but no nvcc, so .cu files are out.
. "$(dirname "$0")/common.sh"
cd "$root"
wheels=(nvidia-cuda-runtime-cu12==12.0.107 nvidia-cuda-nvcc-cu12==12.0.76 nvidia-cublas-cu12==12.0.1.189 nvidia-nccl-cu12==2.18.1)
folder=.cache/cuda12
if [ ! -f "$folder/complete" ]; then
  fetch_wheels "$folder" "${wheels[@]}"
  find "$folder" -name '*.so*' -delete  # only headers are wanted
  touch "$folder/complete"
fi
includes=()
for include in "$folder"/nvidia/*/include; do includes+=(-isystem "$include"); done
mapfile -t files < <(ls kernels/cuda/*.cpp runtime/cuda_*.cpp runtime/device/cuda_*.cpp runtime/comm/nccl_*.cpp 2>/dev/null)
[ ${#files[@]} -gt 0 ] || die "found no host code of the CUDA backend"
for file in "${files[@]}"; do
  g++ -std=c++20 -fsyntax-only -Wall -Wextra -Werror -I. "${includes[@]}" "$file"
done
say "${#files[@]} files compile against the headers of CUDA 12.0 and NCCL 2.18"
