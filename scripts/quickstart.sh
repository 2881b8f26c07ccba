#!/usr/bin/env bash
# From a fresh clone to a trained model: installs what is missing, builds the two programs, prepares the King James text, trains
# GPT-2 tiny on 4 ranks (GPUs where there are some, else this machine's cores), and lets it write a few lines.
. "$(dirname "$0")/common.sh"
cd "$root"
say "installing what is missing"
./scripts/setup.sh

# GPUs, and the CUDA backend built for them alone; without a GPU the build leaves it out.
where=(--nproc 4) backend=(-Dcuda=disabled)
if gpus=$(nvidia-smi --query-gpu=index,compute_cap --format=csv,noheader 2>/dev/null) && [ -n "$gpus" ]; then
  case $(wc -l <<<"$gpus") in 1) n=1 ;; 2 | 3) n=2 ;; *) n=4 ;; esac
  gpus=$(head -n "$n" <<<"$gpus")
  where=(--gpus "$(cut -d, -f1 <<<"$gpus" | paste -sd,)")
  backend=(-Dcuda=enabled "-Dgpu_arch=$(cut -d, -f2 <<<"$gpus" | tr -d ' .' | sort -u | paste -sd,)")
fi
configure build-quickstart "${backend[@]}"
say "building ddp-launch and ddp-rank"
ninja -C build-quickstart | tail -n 1
./scripts/prepare_kjv.sh

run=$root/runs/quickstart
rm -rf "$run"
say "ddp-launch ${where[*]} configs/gpt2-tiny.yaml"
build-quickstart/launcher/ddp-launch "${where[@]}" --output-dir "$run" configs/gpt2-tiny.yaml
say "ddp-launch sample runs/quickstart --prompt \"In the beginning\" --tokens 200"
build-quickstart/launcher/ddp-launch sample "$run" --prompt "In the beginning" --tokens 200
