#!/usr/bin/env bash
# Shows on a machine with a GPU what works there and how fast: gpu_acceptance.sh --bundle DIR [--out DIR] [--stages LIST] [--minutes 6].
# It needs a bundle of scripts/bundle.sh --tests, coreutils, bash, python3 and NVIDIA's driver and libraries; nothing is built or
# installed. scripts/acceptance/run.py does it; --help there says all.
command -v python3 >/dev/null || { echo "gpu_acceptance: no python3 on PATH; it needs 3.9 or later" >&2; exit 64; }
exec python3 "$(dirname "$0")/acceptance/run.py" "$@"
