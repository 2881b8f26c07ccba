#!/usr/bin/env bash
# Installs what the project needs: setup.sh [--tests] [--bench] [--parity]. Idempotent; quickstart.sh and test.sh call it.
. "$(dirname "$0")/common.sh"
packages=("${build_packages[@]}" "${data_packages[@]}")
for option in "$@"; do
  case $option in
    --tests) packages+=("${test_packages[@]}") ;;
    --bench) packages+=("${test_packages[@]}" "${bench_packages[@]}") ;;
    --parity) packages+=(python3-torch python3-numpy) ;;
    *) die "unknown option $option; there are --tests, --bench, --parity" ;;
  esac
done
need_packages "${packages[@]}"
