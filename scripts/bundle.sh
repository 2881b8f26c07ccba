#!/usr/bin/env bash
# Makes what can be carried to a Linux without compiler, packages or network: bundle.sh [--gpu-arch LIST] [--cuda12] [--tests]
# [--werror]. build-bundle/ddp-launch-VERSION-linux-x86_64/ and its .tar.xz: the programs for three machine types, every library that they
# need but glibc and NVIDIA's, configs, data scripts. --gpu-arch 75,86: the CUDA backend for these alone (default: all that its nvcc knows).
# --cuda12: the backend a second time, for drivers and libraries of CUDA 12, by the toolkit of fetch_cuda.sh --cuda12. --tests: what
# scripts/gpu_acceptance.sh needs, too. --werror: warnings are errors.
. "$(dirname "$0")/common.sh"
cd "$root"

gpu_arch=
cuda12=false tests=false werror=false
while [ $# -gt 0 ]; do
  case $1 in
    --gpu-arch) gpu_arch=${2:?--gpu-arch wants a list like 75,86}; shift ;;
    --cuda12) cuda12=true ;;
    --tests) tests=true ;;
    --werror) werror=true ;;
    *) die "unknown option $1; there are --gpu-arch LIST, --cuda12, --tests and --werror" ;;
  esac
  shift
done

need_packages "${build_packages[@]}" "${bundle_packages[@]}"
$tests && need_packages "${test_packages[@]}"
$cuda12 && ./scripts/fetch_cuda.sh --cuda12
out=build-bundle build=build-release build12=build-release-cuda12 toolkit12=.cache/cuda12
version=$(sed -n "s/^  version: '\(.*\)',/\1/p" meson.build)
name=ddp-launch-$version-linux-x86_64
top=$out/$name
newest_glibc=GLIBC_2.35  # as launcher/entry.cpp says

# --- build
mkdir -p "$out"
# Of the tree's own type, whose debug information goes with strip below: what does not depend on -Dcpu_archs is compiled as for any other
# build folder, and comes from ccache where there was one.
gpu_arch=${gpu_arch:-$(build_option gpu_arch meson.build)}
configure_as $build -Dcpu_archs=x86-64-v3,x86-64-v4,x86-64-v4+avx512bf16 "-Dtests=$tests" "-Dwerror=$werror" "-Dgpu_arch=$gpu_arch"
has_target() { ninja -C $build -t query "$1" >/dev/null 2>&1; }
programs=(runtime/rank/ddp-rank runtime/rank/ddp-rank-x86-64-v4 runtime/rank/ddp-rank-x86-64-v4-avx512bf16)
modules=() simulated=()
if has_target runtime/rank/libddp-cuda13.so; then
  modules+=(runtime/rank/libddp-cuda13.so)
else
  say "without the CUDA 13 backend, and with --tests without its tests: no toolkit was found"
fi
if $tests; then
  programs+=(tests/bench/bench_step)
  if [ ${#modules[@]} -gt 0 ]; then
    programs+=(tests/bench/bench_pointwise tests/cuda/test_cuda_ops_on_gpu tests/cuda/test_cuda_attention_on_gpu)
    modules+=(tests/cuda_sim/api/libddp-cuda-sim.so tests/cuda_sim/api/libsim-nvml.so)
    simulated=(tests/cuda_sim/api/libcudnn.so.9)  # by the name of the real one, so in no folder that is looked through
  fi
fi
# build FOLDER TARGET...
build() {
  say "building $1"
  ninja -C "$@" >"$1/ninja.log" 2>&1 || { tail -n 60 "$1/ninja.log"; die "the build of the bundle failed"; }
}
build $build launcher/ddp-entry launcher/ddp-launch "${programs[@]}" "${modules[@]}" "${simulated[@]}"
programs=("${programs[@]/#/$build/}") modules=("${modules[@]/#/$build/}")
if $cuda12; then
  configure_as $build12 -Dcuda=enabled -Dtoolkit_root=$toolkit12 -Dtests=false "-Dwerror=$werror" "-Dgpu_arch=$gpu_arch"
  build $build12 runtime/rank/libddp-cuda12.so
  modules+=($build12/runtime/rank/libddp-cuda12.so)
fi

# --- collect
rm -rf "$out"/ddp-launch-*-linux-x86_64*
mkdir -p "$top"/{bin,lib,configs,scripts,licenses}
install $build/launcher/ddp-entry "$top/bin/ddp-launch"
install $build/launcher/ddp-launch "$top/bin/ddp-launcher"
install "${programs[@]}" "$top/bin"

# closure FILE...: the paths of all shared libraries that they need, less glibc's own and NVIDIA's.
closure() {
  local file
  for file in "$@"; do ldd "$file"; done | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' |
    grep -vE '/(libc|libm|libdl|librt|libpthread|libresolv|libutil)\.so\.|/(libcu|libnccl|libnv)[^/]*$' | sort -u
}
mapfile -t libraries < <(closure $build/launcher/ddp-launch "${programs[@]}" "${modules[@]}")
libz=$(ldconfig -p | sed -n 's/.*libz\.so\.1 (libc6,x86-64.*=> //p' | head -n 1)  # which cuDNN's libraries need
libraries+=("${libz:?libz.so.1 is not installed}")
for library in "${libraries[@]}"; do
  cp -L "$library" "$top/lib/$(basename "$library")"
  file=$(realpath "$library")
  owner=$(dpkg-query -S "$file" "${file#/usr}" 2>/dev/null | sed -n '1s/:.*//p' || true)  # one of the two spellings
  cp -L "/usr/share/doc/${owner:?no package owns $library}/copyright" "$top/licenses/$owner.txt"
done
for module in "${modules[@]}"; do install "$module" "$top/lib"; done
for library in "${simulated[@]}"; do install -D "$build/$library" "$top/simulated/$(basename "$library")"; done

# --- make it movable. Stripped first: patchelf leaves files that strip would break.
strip --strip-unneeded "$top"/bin/* "$top"/lib/*
for library in "$top"/lib/*; do patchelf --set-rpath '$ORIGIN' "$library"; done
python3 scripts/drop_version.py "$top/lib/libstdc++.so.6" GLIBC_2.36
if $cuda12; then  # the runtime that the module of CUDA 12 is linked with, as NVIDIA made it
  install -m 644 $toolkit12/lib/libcudart.so.12 "$top/lib"
  cp $toolkit12/LICENSE "$top/licenses/libcudart.txt"
fi
# A DT_RPATH comes before LD_LIBRARY_PATH, but holds for what the program itself needs: so it needs all, and all that the modules need
# which it opens.
for program in "$top"/bin/*; do
  [ "$program" != "$top/bin/ddp-launch" ] || continue
  patchelf --force-rpath --set-rpath '$ORIGIN/../lib' "$program"
  opened=()
  [[ $program == */ddp-launcher ]] || opened=("${modules[@]/#*\//$top/lib/}")
  mapfile -t needed < <(closure "$program" "${opened[@]}" | xargs -n 1 basename)
  [[ $program == */ddp-launcher ]] || needed+=(libz.so.1)
  for library in "${needed[@]}"; do
    patchelf --print-needed "$program" | grep -qxF "$library" || patchelf --add-needed "$library" "$program"
  done
done

# --- texts
cp configs/*.yaml configs/README.md "$top/configs"
cp -r scripts/common.sh scripts/prepare_{kjv,fashion}.sh scripts/prepare_text.py scripts/text "$top/scripts"
cp scripts/bundle_readme.txt "$top/README.txt"
# The King James text, which cannot be prepared where the bundle goes: as bytes, and as BERT's tokens.
./scripts/prepare_kjv.sh
mkdir "$top/data"
cp -r data/kjv "$top/data"
if ./scripts/prepare_kjv_text.sh >$build/texts.log 2>&1; then
  mkdir "$top/data/kjv-wordpiece"
  cp data/kjv-wordpiece/{{train,valid}.bin,{meta,tokenizer}.json} "$top/data/kjv-wordpiece"
else
  say "without BERT's tokens: $(tail -n 1 $build/texts.log)"
fi
if $tests; then
  cp -r scripts/gpu_acceptance.sh scripts/acceptance scripts/bench_vs_torch.py "$top/scripts"
  cp tests/integration/{bert,resnet}_case.py "$top/scripts/acceptance"  # small models, and the data of one
fi
find "$top/scripts" -name __pycache__ -exec rm -rf {} +
{
  echo "version: $version"
  echo "commit: $(git describe --always --dirty 2>/dev/null || echo unknown)"
  echo "date: $(date -u +%F)"
  echo "compiler: $(g++ -dumpfullversion)"
  echo "gpu_arch: $gpu_arch"
  for module in "$top"/lib/libddp-cuda1?.so; do  # of these GPUs, those that its nvcc knows
    [ ! -f "$module" ] || echo "$(basename "$module"): $(python3 scripts/cubins.py "$module")"
  done
  echo "cpu_archs: $(build_option cpu_archs $build)"
} >"$top/BUILD"

# --- check
newest=$(objdump -T "$top"/bin/ddp-launcher "$top"/bin/ddp-rank* "$top"/lib/* 2>/dev/null |
  grep -oE 'GLIBC_2\.[0-9]+' | sort -Vu | tail -n 1)
[ "$(printf '%s\n' "$newest" $newest_glibc | sort -V | tail -n 1)" = $newest_glibc ] ||
  die "the bundle would need $newest, newer than $newest_glibc: make it on Debian 12"
if LC_ALL=C grep -rlF "$root" "$top" | grep .; then die "these files of the bundle name the folder that it was built in"; fi

say "packing $top.tar.xz"
tar -C "$out" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(git log -1 --format=%ct 2>/dev/null || date +%s)" -cf - "$name" |
  xz -T0 -9 >"$top.tar.xz"
say "$(du -h "$top.tar.xz" | cut -f1) in $top.tar.xz"
