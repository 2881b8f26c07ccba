#!/usr/bin/env bash
# Compiles the CUDA backend, syntax only, against the headers of CUDA 12.0, NCCL 2.18 and cuDNN 9.0, the oldest it supports,
# whatever toolkit builds it: check_cuda12.sh. Exits 77 where they cannot be fetched. PyPI's wheels of the 12 series hold
# headers but no nvcc, so .cu files are compiled as the simulator does, by the host's compiler.
. "$(dirname "$0")/common.sh"
cd "$root"
wheels=(nvidia-cuda-runtime-cu12==12.0.107 nvidia-cuda-nvcc-cu12==12.0.76 nvidia-cublas-cu12==12.0.1.189 nvidia-nccl-cu12==2.18.1
  nvidia-cudnn-cu12==9.0.0.312)
folder=.cache/cuda12
if [ ! -f "$folder/complete" ]; then
  fetch_wheels "$folder" "${wheels[@]}" || exit 77
  find "$folder" -name '*.so*' -delete  # only headers are wanted
  touch "$folder/complete"
fi
includes=()
for include in "$folder"/nvidia/*/include; do includes+=(-isystem "$include"); done
# check [OPTION...] < FILES: one compiler a file, as many at once as there are cores.
check() {
  xargs -n 1 -P "$(nproc)" g++ -std=c++20 -fsyntax-only -Wall -Wextra -Werror -I. -Itests/cuda_sim/emulator/include "${includes[@]}" "$@"
}
host=(kernels/cuda/*.cpp runtime/rank/cuda_*.cpp runtime/device/cuda_*.cpp runtime/comm/nccl_*.cpp)
kernels=(kernels/cuda/*.cu)
printf '%s\n' "${host[@]}" | check
printf '%s\n' "${kernels[@]}" | check -x c++ -Wno-unknown-pragmas
say "${#host[@]} host files and ${#kernels[@]} kernels compile against the headers of CUDA 12.0, NCCL 2.18 and cuDNN 9.0"
