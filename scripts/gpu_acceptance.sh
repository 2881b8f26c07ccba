#!/usr/bin/env bash
# The day a GPU is there: builds for it, runs the tests on the real libraries (those under simulation show nothing here), compares
# the loss curves of CPU and GPUs, measures, and writes reports/gpu-acceptance-DATE.md: gpu_acceptance.sh [BUILD_FOLDER]. Under 10
# minutes; exits 1 when anything failed, 64 where a GPU, or a toolkit that its driver takes, is missing.
. "$(dirname "$0")/common.sh"
cd "$root"
refuse() { printf 'gpu_acceptance: %s\n' "$*" >&2; exit 64; }

command -v nvidia-smi >/dev/null || refuse "no nvidia-smi: this machine has no NVIDIA driver; run this where a GPU is"
caps=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null) || refuse "nvidia-smi finds no driver that answers"
[ -n "$caps" ] || refuse "nvidia-smi lists no GPU"
mapfile -t archs < <(tr -d . <<<"$caps" | sort -nu)
[ "${archs[0]}" -ge 75 ] || refuse "a GPU here has compute capability below 7.5, the oldest supported; this script takes all GPUs or none"
# The toolkit that kernels/cuda/meson.build finds. A driver runs programs of its own major version of CUDA and older ones.
for nvcc in "$(command -v nvcc || true)" /usr/local/cuda/bin/nvcc .cache/cuda/bin/nvcc; do [ -x "$nvcc" ] && break; done
[ -x "$nvcc" ] || refuse "no nvcc: install a CUDA toolkit from 12.0 on with NCCL; scripts/setup.sh --with-cuda fetches 13.0, for drivers from 580 on"
toolkit=$("$nvcc" --version | sed -n 's/.*release \([0-9.]*\),.*/\1/p')
driver=$(nvidia-smi | sed -n 's/.*CUDA Version: *\([0-9.]*\).*/\1/p')
[ -z "$driver" ] || [ "${toolkit%%.*}" -le "${driver%%.*}" ] ||
  refuse "the driver takes programs of CUDA $driver and older, and $nvcc is of $toolkit: update the driver, or put a toolkit of ${driver%%.*}.x first on PATH"
num_gpus=$(wc -l <<<"$caps")
most=1
for n in 2 4; do [ "$num_gpus" -ge $n ] && most=$n; done

build=${1:-build-acceptance}
report=reports/gpu-acceptance-$(date +%F).md
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p reports

./scripts/setup.sh --tests
./scripts/prepare_kjv.sh
configure "$build" -Dcuda=enabled -Dbench=false "-Dgpu_arch=$(IFS=,; echo "${archs[*]}")"
say "building $build"
ninja -C "$build" launcher/ddp-launch runtime/ddp-rank runtime/libddp-cuda.so >"$build/ninja.log" 2>&1 ||
  { tail -n 60 "$build/ninja.log"; die "the build failed"; }
say "building the tests and testing"
rm -f "$build/meson-logs/testlog.json"
meson test -C "$build" --no-suite simulation --no-suite policy --print-errorlogs >"$work/tests.log" 2>&1 || tail -n 40 "$work/tests.log"

gpus() { seq -s, 0 $(($1 - 1)); }
# train NAME CONFIG ARGUMENTS...: one run, into $work/NAME; a failure is noted in the report, not fatal.
train() {
  local name=$1 config=$2
  shift 2
  say "ddp-launch $* $config"
  timeout 240 "$build/launcher/ddp-launch" "$@" --output-dir "$work/$name" "$config" >"$work/$name.log" 2>&1 ||
    { tail -n 3 "$work/$name.log"; echo "$name: $(tail -n 1 "$work/$name.log")" >>"$work/failures"; }
}

curve=scripts/acceptance/curve.yaml speed=scripts/acceptance/speed.yaml
train cpu "$curve" --nproc 1 --device cpu
train gpu1 "$curve" --gpus 0
train gpu1-again "$curve" --gpus 0
for n in 2 4; do [ "$n" -le "$most" ] && train "gpu$n" "$curve" --gpus "$(gpus "$n")"; done
train gpu1-graphs "$curve" --gpus 0 --set train.cuda_graph=true
train gpu1-fp16 "$curve" --gpus 0 --set train.precision=fp16
train gpu1-fp16-graphs "$curve" --gpus 0 --set train.precision=fp16 --set train.cuda_graph=true
if [ "$most" -gt 1 ]; then
  train "gpu$most-fp16" "$curve" --gpus "$(gpus "$most")" --set train.precision=fp16
  # NCCL's own order of sums; and NCCL in graphs, with the evaluations' sums between them.
  train "gpu$most-allreduce" "$curve" --gpus "$(gpus "$most")" --set train.deterministic=false
  train "gpu$most-graphs" "$curve" --gpus "$(gpus "$most")" --set train.cuda_graph=true --set eval.every=20 --set eval.batches=4
fi
if [ "${archs[0]}" -ge 80 ]; then train gpu1-bf16 "$curve" --gpus 0 --set train.precision=bf16; fi
# measure NAME GPUS MICRO_BATCH ARGUMENTS...
measure() {
  local name=$1 gpus=$2 batch=$3
  shift 3
  train "speed$gpus-$name" "$speed" --gpus "$(gpus "$gpus")" --set "train.micro_batch=$batch" \
    --set "train.global_batch=$((batch * gpus))" "$@"
}
sizes=(1)
[ "$most" -gt 1 ] && sizes+=("$most")
for n in "${sizes[@]}"; do
  measure fp32 "$n" 4
  measure fp16 "$n" 16 --set train.precision=fp16
  measure fp16-graphs "$n" 16 --set train.precision=fp16 --set train.cuda_graph=true
done

status=0
{
  echo "# GPU acceptance, $(date -u '+%F %H:%M UTC')"
  echo
  echo "Commit $(git describe --always --dirty 2>/dev/null || echo unknown), CUDA $toolkit ($nvcc), compiled for sm_${archs[*]}."
  echo
  echo '```'
  nvidia-smi --query-gpu=index,name,driver_version,memory.total,pcie.link.gen.max,pcie.link.width.max --format=csv
  nvidia-smi topo -m || true
  grep -rhoE 'NCCL [0-9]+\.[0-9]+\.[0-9]+' "$work" | sort -u || true
  df -h --output=target,size /dev/shm
  echo '```'
  echo
  echo "## Tests on the real libraries"
  echo
  python3 scripts/count_tests.py "$build" || touch "$work/failed"
  echo
  python3 scripts/acceptance/tables.py "$work" || touch "$work/failed"
  if [ -s "$work/failures" ]; then
    printf '\n## Runs that failed\n\n```\n%s\n```\n' "$(cat "$work/failures")"
    touch "$work/failed"
  fi
} >"$report"
[ -e "$work/failed" ] && status=1
cat "$report"
say "written to $report: $([ $status = 0 ] && echo accepted || echo NOT accepted)"
exit $status
