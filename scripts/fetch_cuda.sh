#!/usr/bin/env bash
# Lays out a CUDA toolkit for a machine that has none: fetch_cuda.sh [--cuda12] [FOLDER]. No root needed; a driver is not part of it.
# CUDA 13.0 in .cache/cuda, where Meson looks, of NVIDIA's wheels from PyPI: about 1.2 GB to download, 1.5 GB unpacked.
# --cuda12: CUDA 12.4 in .cache/cuda12, for -Dtoolkit_root: 1.4 GB, 2.0 GB. PyPI has no nvcc of the 12 series, so the compiler is that of
# Debian 13, whose tools run on Debian 12 too; the libraries and their headers are the oldest that the backend supports, so that it
# can use nothing newer. What is fetched is under NVIDIA's licence, whose text lies beside it.
. "$(dirname "$0")/common.sh"
cd "$root"
series=13 folder=.cache/cuda
if [ "${1:-}" = --cuda12 ]; then
  series=12 folder=.cache/cuda12
  shift
fi
case ${1:-} in -*) die "unknown option $1; there is --cuda12" ;; esac
folder=${1:-$folder}
[ -f "$folder/complete" ] && exit 0
[ -z "$(ls -A "$folder" 2>/dev/null)" ] || die "$folder is there, and is not what this script made; name a folder that is empty or not there"
partial=$folder.partial toolkit=$folder.partial/toolkit

# One release, so that compiler, headers and libraries fit each other; NCCL and cuDNN have numbers of their own.
wheels=(
  nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-cccl==13.0.85
  nvidia-cuda-runtime==13.0.96 nvidia-cublas==13.1.0.3 nvidia-cudnn-cu13==9.19.0.56 nvidia-nccl-cu13==2.28.9
)
[ $series = 13 ] || wheels=(
  nvidia-cuda-nvcc-cu12==12.4.131 nvidia-cuda-cccl-cu12==12.4.127.post1 nvidia-cuda-runtime-cu12==12.4.127
  nvidia-cublas-cu12==12.0.1.189 nvidia-cudnn-cu12==9.0.0.312 nvidia-nccl-cu12==2.18.1
)

# lay_out_compiler: that of Debian's package, which takes its files from fixed places of the system, as NVIDIA's own toolkit has them.
lay_out_compiler() {
  fetch_debs "$partial/debian" trixie non-free nvidia-cuda-toolkit
  local usr=$partial/debian/usr
  mkdir -p "$toolkit"/{bin,nvvm/bin,nvvm/libdevice}
  cp -l "$usr"/bin/{bin2c,cudafe++,cuobjdump,fatbinary,nvdisasm,nvlink,ptxas} "$usr"/lib/nvidia-cuda-toolkit/bin/nvcc "$toolkit/bin"
  cp -rl "$usr"/lib/nvidia-cuda-toolkit/bin/crt "$toolkit/bin"
  cp -l "$usr"/lib/nvidia-cuda-toolkit/bin/cicc "$toolkit/nvvm/bin"
  cp -l "$usr"/lib/nvidia-cuda-toolkit/libdevice/*.bc "$toolkit/nvvm/libdevice"
  cat >"$toolkit/bin/nvcc.profile" <<'PROFILE'
TOP = $(_HERE_)/..
NVVMIR_LIBRARY_DIR = $(TOP)/nvvm/libdevice
PATH += $(TOP)/nvvm/bin:$(_HERE_):
INCLUDES += "-I$(TOP)/include" $(_SPACE_)
LIBRARIES =+ $(_SPACE_) "-L$(TOP)/lib"
PROFILE
}

fetch_wheels "$partial" "${wheels[@]}"
mkdir -p "$toolkit/lib"
[ $series = 13 ] || lay_out_compiler
for package in "$partial"/nvidia/*/; do cp -rl --remove-destination "$package"/. "$toolkit"; done
cp "$(find "$partial"/nvidia_cuda_runtime*.dist-info -name License.txt)" "$toolkit/LICENSE"
cd "$toolkit"
ln -sfn lib lib64
for library in lib/*.so.*; do ln -sfn "$(basename "$library")" "${library%%.so.*}.so"; done  # wheels hold no names to link with
touch complete
cd "$root"
[ ! -e "$folder" ] || rmdir "$folder"
mv "$toolkit" "$folder"
rm -rf "$partial"
say "$("$folder/bin/nvcc" --version | tail -n 1) is in $folder, under the licence in $folder/LICENSE"
