#!/usr/bin/env bash
# Installs what is missing, builds with warnings as errors, runs every test, then the tests again under AddressSanitizer + UBSan and
# under ThreadSanitizer, makes a bundle, and compiles the CUDA backend by nvcc 12.4 too and against the headers of CUDA 12.0. Ends with a
# line "N passed, N failed". --quick leaves the sanitizers and CUDA 12 out. The CUDA kernels are compiled for the oldest GPU and for one of
# today's, --all-archs: for all that a build makes where -Dgpu_arch says nothing.
. "$(dirname "$0")/common.sh"
cd "$root"
quick=no all_archs=no
for argument in "$@"; do
  case $argument in
    --quick) quick=yes ;;
    --all-archs) all_archs=yes ;;
    *) die "unknown option $argument; there are --quick and --all-archs" ;;
  esac
done

say "installing what is missing"
./scripts/setup.sh --tests
./scripts/prepare_kjv.sh
if ./scripts/setup.sh --text; then
  ./scripts/prepare_kjv_text.sh
else
  say "tokenizers cannot be fetched from PyPI: the test prepare_text and BERT's of mixed precision are skipped"
fi

./scripts/setup.sh --auditwheel || say "auditwheel cannot be fetched from PyPI: it does not judge the wheel"

cuda12=()
if [ $quick = no ]; then
  say "compiling against the headers of CUDA 12.0"
  status=0
  ./scripts/check_cuda12.sh || status=$?
  case $status in
    0) cuda12=(--cuda12) ;;
    77) say "skipped, as all of CUDA 12: its toolkit cannot be fetched" ;;
    *) die "the CUDA backend does not compile against the headers of CUDA 12.0" ;;
  esac
  # Of one series a day: they are large.
  ./scripts/fetch_cuda_libraries.sh $((12 + $(date +%s) / 86400 % 2)) || say "NVIDIA's libraries cannot be fetched: the test cuda_libraries is skipped"
fi

folders=()
fixed_addresses=()
# run FOLDER [meson test options]: builds and tests a folder; failures are counted at the end.
run() {
  local folder=$1
  shift
  say "building $folder"
  local begin=$SECONDS
  ninja -C "$folder" >"$folder/ninja.log" 2>&1 || { tail -n 60 "$folder/ninja.log"; die "the build of $folder failed"; }
  say "testing $folder (built in $((SECONDS - begin)) s)"
  rm -f "$folder"/meson-logs/testlog.json
  "${fixed_addresses[@]}" meson test -C "$folder" --no-rebuild --print-errorlogs --timeout-multiplier 4 "$@" || true  # of a slow or busy machine
  folders+=("$folder")
}

# run_sanitized FOLDER SANITIZERS OPTIMIZATION. Integration tests start many processes: once, in the plain build. Catch2's own headers warn
# here, so no -Dwerror.
run_sanitized() {
  configure "$1" "-Db_sanitize=$2" "-Doptimization=$3" -Db_lundef=false -Dtests=true -Dbench=false -Dcuda=disabled
  run "$1" --no-suite integration --no-suite policy --no-suite precision
}

# Tests that let a process die of a signal look at that signal: the sanitizers must not take it.
export ASAN_OPTIONS=handle_segv=0:handle_abort=0:handle_sigill=0:handle_sigbus=0:handle_sigfpe=0
export TSAN_OPTIONS=$ASAN_OPTIONS:suppressions=$root/tests/tsan_suppressions.txt

gpu_arch=75,90
[ $all_archs = no ] || gpu_arch=$(build_option gpu_arch meson.build)

# The bundle and build-ci have the options of compilation in common, but for the CPU's kernels: the objects of the one are the other's.
say "making a bundle"
begin=$SECONDS
mkdir -p build-bundle
./scripts/bundle.sh --tests --werror --gpu-arch "$gpu_arch" "${cuda12[@]}" >build-bundle/log 2>&1 || { tail -n 60 build-bundle/log; die "the bundle cannot be made"; }
say "a bundle was made (in $((SECONDS - begin)) s)"
configure_as build-ci -Dtests=true -Dwerror=true "-Dgpu_arch=$gpu_arch"
run build-ci
if [ $quick = no ]; then
  # A kernel that randomises addresses by more than 28 bits takes, now and then, those of ThreadSanitizer's own memory.
  if setarch --addr-no-randomize true 2>/dev/null; then fixed_addresses=(setarch --addr-no-randomize); fi
  # The checks of AddressSanitizer + UBSan take longest to optimize, those of ThreadSanitizer to run: -O0 and -O1 (the kernels -O1 in both).
  run_sanitized build-asan address,undefined 0
  run_sanitized build-tsan thread 1
fi
exec python3 scripts/count_tests.py "${folders[@]}"
