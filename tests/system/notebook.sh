#!/usr/bin/env bash
# notebook.sh [TRIES]: the shipped notebook, executed by a real kernel; a restart of the kernel under its run; and Interrupt in the middle
# of a plain `!ddp-launch`, after which the run goes on from its last commit.
arguments=("$@")
. "$(dirname "$0")/common.sh"
prepare() {
  python3 -m venv "$work/venv" || skip "no python3-venv here; scripts/setup.sh --system-tests installs it"
  "$work/venv/bin/pip" install -q --disable-pip-version-check ipykernel nbclient || skip "ipykernel and nbclient cannot be had from PyPI"
}
isolated
tries=${1:-3}
export HOME=$work  # what kernels write
run() { "$work/venv/bin/python" "$root/tests/system/notebook.py" "$@"; }
list="\"$launch\", \"--nproc\", \"2\", \"--device\", \"cpu\""

new_run shipped
shipped scripts/examples/notebook.ipynb '\"ddp-launch\", \"--gpus\", \"0,1,2,3\"' "${list//\"/\\\"}" configs/gpt2-small.yaml train.yaml \
  runs/gpt2-small run >shipped/notebook.ipynb
say "the shipped notebook"
(cd shipped && run whole notebook.ipynb) || wrong "the shipped notebook"
resumes shipped

say "a restart of the kernel under its run"
new_run restarted
cp shipped/notebook.ipynb restarted
(cd restarted && run restart notebook.ipynb) || wrong "the restart"
resumes restarted

say "Interrupt of a plain !ddp-launch, $tries times"
new_run plain
echo 'checkpoint: {every: 10}' >>plain/train.yaml
for ((i = 0; i < tries; i++)); do
  (cd plain && run interrupt "!\"$launch\" --nproc 2 --device cpu --resume auto train.yaml") || wrong "the interrupt"
  resumes plain
done
verdict
