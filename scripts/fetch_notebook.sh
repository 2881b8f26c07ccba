#!/usr/bin/env bash
# Fetches what the test of the notebook executes it with, from PyPI into the virtual environment .cache/notebook: no root needed.
. "$(dirname "$0")/common.sh"
cd "$root"
folder=.cache/notebook
"$folder/bin/python" -c 'import ipykernel, matplotlib, nbclient, pandas' 2>/dev/null && exit 0
say "fetching a notebook's kernel, matplotlib and pandas"
rm -rf "$folder"
python3 -m venv "$folder" || die "python3 cannot make a virtual environment; Debian's python3-venv has what it lacks"
"$folder/bin/pip" install -q --disable-pip-version-check ipykernel matplotlib nbclient pandas
