#!/usr/bin/env bash
# The day a GPU is there: builds for it, runs every test on the real libraries, compares the loss curves of CPU and GPUs, measures,
# and writes reports/gpu-acceptance-DATE.md: gpu_acceptance.sh [BUILD_FOLDER]. Under 10 minutes; exits 1 when anything failed, 64
# where there is no GPU.
. "$(dirname "$0")/common.sh"
cd "$root"
refuse() { printf 'gpu_acceptance: %s\n' "$*" >&2; exit 64; }

command -v nvidia-smi >/dev/null || refuse "no nvidia-smi: this machine has no NVIDIA driver; run this where a GPU is"
caps=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null) || refuse "nvidia-smi finds no driver that answers"
[ -n "$caps" ] || refuse "nvidia-smi lists no GPU"
mapfile -t archs < <(tr -d . <<<"$caps" | sort -nu)
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
ninja -C "$build" >"$build/ninja.log" 2>&1 || { tail -n 60 "$build/ninja.log"; die "the build failed"; }
say "testing"
rm -f "$build/meson-logs/testlog.json"
meson test -C "$build" --no-rebuild --print-errorlogs >"$work/tests.log" 2>&1 || true

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
[ "$most" -gt 1 ] && train "gpu$most-fp16" "$curve" --gpus "$(gpus "$most")" --set train.precision=fp16
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
  echo "Commit $(git describe --always --dirty), $(nvcc --version 2>/dev/null | sed -n 's/^Cuda compilation tools, //p'), compiled for sm_${archs[*]}."
  echo
  echo '```'
  nvidia-smi --query-gpu=index,name,driver_version,memory.total,pcie.link.gen.max,pcie.link.width.max --format=csv
  nvidia-smi topo -m || true
  grep -hoE 'NCCL version [0-9.+a-z]+' "$work"/*.log | sort -u || true
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
