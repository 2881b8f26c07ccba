#!/usr/bin/env bash
# NVIDIA's libraries as Python's site-packages hold them, for the test cuda_libraries: fetch_cuda_libraries.sh 12|13, in
# .cache/cuda-libraries/12: those of PyTorch 2.7.1; .cache/cuda-libraries/13: the oldest of CUDA 13. Some 1.2 GB to download each.
. "$(dirname "$0")/common.sh"
cd "$root"
case ${1:-} in
  12) wheels=(nvidia-cublas-cu12==12.6.4.1 nvidia-cudnn-cu12==9.5.1.17 nvidia-nccl-cu12==2.26.2 nvidia-cuda-runtime-cu12==12.6.77) ;;
  13) wheels=(nvidia-cublas==13.0.0.19 nvidia-cudnn-cu13==9.12.0.46 nvidia-nccl-cu13==2.27.7) ;;
  *) die "which series, 12 or 13?" ;;
esac
folder=.cache/cuda-libraries/$1
[ -d "$folder" ] && exit 0
fetch_wheels "$folder" "${wheels[@]}"
