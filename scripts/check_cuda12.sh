#!/usr/bin/env bash
# Compiles the CUDA backend, syntax only, against the headers of CUDA 12.0, NCCL 2.18 and cuDNN 9.0, the oldest it supports,
# whatever toolkit builds it: check_cuda12.sh. Exits 77 where they cannot be fetched. No nvcc 12.0 is to be had without NVIDIA's installer
# (that of fetch_cuda.sh --cuda12 is 12.4), so .cu files are compiled as the simulator does, by the host's compiler.
. "$(dirname "$0")/common.sh"
cd "$root"
headers=.cache/cuda12.0
if [ ! -f $headers/complete ]; then
  ./scripts/fetch_cuda.sh --cuda12 || exit 77
  fetch_wheels $headers nvidia-cuda-runtime-cu12==12.0.107 nvidia-cuda-nvcc-cu12==12.0.76 || exit 77
  mkdir $headers/include
  cp -rl --remove-destination $headers/nvidia/*/include/. .cache/cuda12/include/{cublas,cudnn,nccl}*.h $headers/include
  rm -rf $headers/nvidia
  touch $headers/complete
fi
# check [OPTION...] < FILES: one compiler a file, as many at once as there are cores.
check() {
  xargs -n 1 -P "$(nproc)" g++ -std=c++20 -fsyntax-only -Wall -Wextra -Werror -I. -Itests/cuda_sim/emulator/include -isystem $headers/include "$@"
}
host=(kernels/cuda/*.cpp runtime/rank/cuda_*.cpp runtime/device/cuda_*.cpp runtime/comm/nccl_*.cpp)
kernels=(kernels/cuda/*.cu)
printf '%s\n' "${host[@]}" | check '-DDDP_CUDA_BUILD="checked"'
printf '%s\n' "${kernels[@]}" | check -x c++ -Wno-unknown-pragmas
say "${#host[@]} host files and ${#kernels[@]} kernels compile against the headers of CUDA 12.0, NCCL 2.18 and cuDNN 9.0"
