#!/usr/bin/env bash
# Makes build-bundle/ddp_launch-VERSION-py3-none-manylinux_2_35_x86_64.whl: build_wheel.sh [OPTION...], the options of bundle.sh. A bundle
# as a wheel, for pip without root, compiler or our packages; the Python module lies beside its programs.
. "$(dirname "$0")/common.sh"
cd "$root"
./scripts/bundle.sh "$@"
rm -f build-bundle/ddp_launch-*.whl
wheel=$(python3 scripts/pack_wheel.py build-bundle/ddp-launch-*-linux-x86_64 build-bundle)
say "$(du -h "$wheel" | cut -f1) in $wheel"
