# Shared by the system tests: to be sourced, by a script that is called with the same arguments again. After `isolated PROGRAM...` the rest
# of that script is process 1 of namespaces of its own: the host sees none of its mounts, ports and processes, and when it ends, in whatever
# way, the kernel ends everything that it started, also what has left its session.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
launch=${DDP_LAUNCH:-$root/build/launcher/ddp-launch}
failures=0

say() { printf '\033[1m== %s\033[0m\n' "$*"; }
skip() { printf 'SKIPPED %s: %s\n' "$(basename "$0")" "$*"; exit 77; }
fail() { printf 'FAILED %s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }
wrong() { printf 'wrong: %s\n' "$*"; failures=$((failures + 1)); }  # goes on, for the whole table; `verdict` ends

# need PROGRAM...: ends the script with 77 where it cannot run.
need() {
  [ "$(id -u)" -eq 0 ] || skip "run it as root"
  for program in "$@"; do
    command -v "$program" >/dev/null || skip "no $program here; scripts/setup.sh --system-tests installs it"
  done
  [ -x "$launch" ] || skip "no $launch; build first, or set DDP_LAUNCH"
}

# isolated PROGRAM...: goes on in new namespaces, in $work, a folder that is removed at the end. Needs what `need` checks. The
# script's function `prepare`, if any, runs before, where there still is a network.
isolated() {
  if [ -n "${DDP_SYSTEM_TEST:-}" ]; then
    work=$DDP_SYSTEM_TEST
    cd "$work"
    trap 'exit 130' INT  # process 1 has no default action
    trap 'exit 143' TERM
    ip link set lo up
    return 0
  fi
  need unshare ip python3 "$@"
  local status=0
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  renice -n 10 $$ >/dev/null
  if declare -F prepare >/dev/null; then prepare; fi
  DDP_SYSTEM_TEST=$work unshare --mount --pid --net --uts --fork --kill-child --mount-proc "$0" "${arguments[@]}" || status=$?
  exit "$status"
}

# until_true SECONDS WHAT COMMAND...: waits until the command succeeds.
until_true() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || fail "after a long wait: $what"
    sleep 0.2
  done
}

# shipped FILE [FROM TO]...: the text of a shipped example with some of its words replaced. A word that it lacks is a failure: what is
# tested would not be what is shipped.
shipped() {
  local text
  text=$(cat "$root/$1")
  shift
  while [ $# -gt 0 ]; do
    [[ $text == *"$1"* ]] || fail "the example has no '$1'"
    text=${text//"$1"/"$2"}
    shift 2
  done
  printf '%s\n' "$text"
}

# new_run FOLDER: a folder with a configuration train.yaml that takes hours, a step of it milliseconds.
new_run() {
  mkdir -p "$1"
  seq -s ' bottles of beer on the wall, ' 3000 >"$1/train.txt"
  cat >"$1/train.yaml" <<'YAML'
model: {layers: 2, heads: 2, width: 64, context: 64}
data: {format: bytes, train: train.txt}
train: {steps: 100000000, micro_batch: 4, global_batch: 16, threads_per_rank: 1}
schedule: {name: constant}
log: {every: 1000000}
output_dir: run
YAML
}

# The newest checkpoint's step of a run in FOLDER, or 0.
newest_step() {
  local newest
  newest=$(find "$1/run/checkpoints" -mindepth 1 -maxdepth 1 -name 'step-????????' 2>/dev/null | sort | tail -n 1)
  echo $((10#0${newest##*step-}))
}

training() { [ -s "$1/run/metrics.jsonl" ]; }
told() { grep -q -- "$2" "$1"; }  # FILE TEXT

# resumes FOLDER: goes on from the newest checkpoint for three steps; wrong where it does not, or where the metrics have lost a step.
resumes() {
  local step code=0
  step=$(newest_step "$1")
  [ "$step" -gt 0 ] || { wrong "$1: no checkpoint"; return 0; }
  (cd "$1" && "$launch" --nproc 2 --device cpu --resume auto --stop-after $((step + 3)) train.yaml) >"$1/resume.log" 2>&1 || code=$?
  if [ "$code" -ne 75 ] || ! told "$1/resume.log" "resumed after step $step\$"; then
    wrong "$1: the resume ended with $code"
    cat "$1/resume.log"
  fi
  python3 "$root/tests/system/whole_metrics.py" "$1/run/metrics.jsonl" $((step + 3)) || wrong "$1: metrics.jsonl"
}

verdict() {
  [ "$failures" -eq 0 ] || fail "$failures wrong"
  say "passed"
}
