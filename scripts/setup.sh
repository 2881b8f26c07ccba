#!/usr/bin/env bash
# Installs what the project needs: setup.sh [--tests] [--bench] [--parity] [--text] [--system-tests] [--with-cuda]. Idempotent;
# quickstart.sh and test.sh call it.
. "$(dirname "$0")/common.sh"
packages=("${build_packages[@]}" "${data_packages[@]}")
with_cuda=false with_text=false
for option in "$@"; do
  case $option in
    --tests) packages+=("${test_packages[@]}" "${bundle_packages[@]}") ;;
    --bench) packages+=("${test_packages[@]}" "${bench_packages[@]}") ;;
    --parity) packages+=(python3-torch python3-numpy) ;;
    --text) with_text=true ;;  # what prepare_text.py needs, in .cache/text
    --system-tests) need_packages --no-install-recommends "${system_test_packages[@]}" ;;  # cron's would be a mail server
    --with-cuda) with_cuda=true ;;  # a CUDA toolkit in .cache/cuda, for a machine that has none
    *) die "unknown option $option; there are --tests, --bench, --parity, --text, --system-tests, --with-cuda" ;;
  esac
done
need_packages "${packages[@]}"
if $with_cuda; then "$root/scripts/fetch_cuda.sh"; fi
if $with_text; then "$root/scripts/fetch_text.sh"; fi
