#!/usr/bin/env bash
# clang-format over every source file: fails where one differs. With --fix, formats them.
. "$(dirname "$0")/common.sh"
cd "$root"
mapfile -t files < <(git ls-files '*.h' '*.cpp' '*.cu' '*.cuh')
if [ "${1:-}" = --fix ]; then
  clang-format -i "${files[@]}"
else
  clang-format --dry-run --Werror "${files[@]}"
fi
