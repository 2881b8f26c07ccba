#!/usr/bin/env bash
# From a fresh clone to a trained model: installs what is missing (without root into .cache/user), builds the two programs, prepares the King
# James text, trains GPT-2 tiny on 4 ranks, and lets it write a few lines. It trains on the GPUs that nvidia-smi names, 4, 2 or 1 of them, if
# one step works there: with the backend that is built where there is nvcc; else with an installed ddp-launch, as of a wheel, and nothing is
# built, or with the module that $DDP_CUDA_MODULE names. In all other cases it trains on this machine's cores.
. "$(dirname "$0")/common.sh"
cd "$root"
config=configs/gpt2-tiny.yaml

gpus=$(nvidia-smi --query-gpu=index,compute_cap --format=csv,noheader 2>/dev/null) || gpus=
case $(grep -c . <<<"$gpus") in 0) n=0 ;; 1) n=1 ;; 2 | 3) n=2 ;; *) n=4 ;; esac
gpus=$(head -n $n <<<"$gpus")
indices=$(cut -d, -f1 <<<"$gpus" | paste -sd,)
capabilities=$(cut -d, -f2 <<<"$gpus" | tr -d ' .' | sort -u | paste -sd,)

# trains_on_gpus LAUNCH: whether it makes a step there, of any text; else `why` is what it says.
trains_on_gpus() {
  local folder status=0
  folder=$(mktemp -d)
  why=$("$1" --gpus "$indices" --set data.train=README.md --set train.steps=1 --set schedule.warmup_steps=1 --set eval.every=0 \
    --set checkpoint.every=0 --output-dir "$folder/run" $config 2>&1 >/dev/null | tail -n 1) || status=$?
  rm -rf "$folder"
  [ $status -ne 0 ] || why=
  return $status
}

# build FOLDER: on a terminal with ninja's own line, else with a line for every tenth.
build() {
  say "building ddp-launch and ddp-rank"
  if [ -t 1 ]; then
    ninja -C "$1"
    return
  fi
  local line tenth=
  NINJA_STATUS='[%p] ' ninja -C "$1" | while IFS= read -r line; do
    if [[ $line =~ ^\[\ *([0-9]+)%\] ]]; then
      [ "$tenth" != $((BASH_REMATCH[1] / 10)) ] || continue
      tenth=$((BASH_REMATCH[1] / 10))
    fi
    printf '%s\n' "$line"
  done
}

nvcc_is_here() { type -P nvcc || [ -x /usr/local/cuda/bin/nvcc ] || [ -x .cache/cuda/bin/nvcc ]; } >/dev/null  # as kernels/cuda/meson.build looks

launch= where=(--nproc 4) why=
if [ $n -gt 0 ] && ! nvcc_is_here && [ -z "${DDP_CUDA_MODULE:-}" ]; then
  if ! installed=$(type -P ddp-launch); then
    why="there is no nvcc (./scripts/setup.sh --with-cuda fetches it), and no ddp-launch is installed"
  elif trains_on_gpus "$installed"; then
    launch=$installed where=(--gpus "$indices")
    bring "${data_packages[@]}"
  fi
fi
if [ -z "$launch" ]; then
  bring "${build_packages[@]}" "${data_packages[@]}"
  backend=(-Dcuda=disabled)
  if [ $n -gt 0 ] && nvcc_is_here; then backend=(-Dcuda=auto "-Dgpu_arch=$capabilities"); fi
  configure build-quickstart "${backend[@]}"
  build build-quickstart
  launch=build-quickstart/launcher/ddp-launch
  if [ $n -gt 0 ] && [ -z "$why" ] && trains_on_gpus $launch; then where=(--gpus "$indices"); fi
fi
[ -z "$why" ] || say "training on the CPU: $why"

./scripts/prepare_kjv.sh
run=$root/runs/quickstart
rm -rf "$run"
say "ddp-launch ${where[*]} $config"
"$launch" "${where[@]}" --output-dir "$run" $config
say "ddp-launch sample runs/quickstart --prompt \"In the beginning\" --tokens 200"
"$launch" sample "$run" --prompt "In the beginning" --tokens 200
