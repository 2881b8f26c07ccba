#!/usr/bin/env bash
# Installs what the project needs: setup.sh [--user] [--tests] [--bench] [--parity] [--text] [--system-tests] [--auditwheel]
# [--with-cuda]. Idempotent; quickstart.sh and test.sh call it. Without root: setup.sh --user [--text] [--with-cuda].
. "$(dirname "$0")/common.sh"
packages=("${build_packages[@]}" "${data_packages[@]}")
user=false
fetched=()  # by fetch_NAME.sh
for option in "$@"; do
  case $option in
    --user) user=true ;;  # what a build needs, in .cache/user
    --tests) packages+=("${test_packages[@]}" "${bundle_packages[@]}") ;;
    --bench) packages+=("${test_packages[@]}" "${bench_packages[@]}") ;;
    --parity) packages+=(python3-torch python3-numpy) ;;
    --text) fetched+=(text) ;;  # what prepare_text.py needs, in .cache/text
    --system-tests)
      packages+=("${system_test_packages[@]}")
      fetched+=(notebook)  # what executes the notebook, in .cache/notebook
      ;;
    --auditwheel) fetched+=(auditwheel) ;;  # what judges a wheel, in .cache/auditwheel
    --with-cuda) fetched+=(cuda) ;;  # a CUDA toolkit in .cache/cuda, for a machine that has none
    *) die "unknown option $option; there are --user, --tests, --bench, --parity, --text, --system-tests, --auditwheel, --with-cuda" ;;
  esac
done
if $user && [ ${#packages[@]} -gt $((${#build_packages[@]} + ${#data_packages[@]})) ]; then
  die "--user fetches what a build needs; what other options add, only root may install"
fi
if $user; then "$root/scripts/fetch_user.sh" "${packages[@]}"; else need_packages "${packages[@]}"; fi
for name in "${fetched[@]}"; do "$root/scripts/fetch_$name.sh"; done
if $user; then say "a shell that builds begins with: . .cache/user/env"; fi
