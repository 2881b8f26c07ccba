#!/usr/bin/env bash
# The King James text as bytes: data/kjv/train.txt (the first 95%) and valid.txt (the last 5%, held out). From Debian's bible-kjv.
. "$(dirname "$0")/common.sh"
folder=${1:-$root/data/kjv}
[ -s "$folder/valid.txt" ] && exit 0
need_packages "${data_packages[@]}"
say "preparing the King James text in $folder"
mkdir -p "$folder"
text=$(mktemp)
trap 'rm -f "$text"' EXIT
bible -f gen1:1-rev22:21 >"$text"  # one verse a line
bytes=$(wc -c <"$text")
[ "$bytes" -gt 4000000 ] || die "bible printed $bytes bytes, expected about 4 million"
cut=$((bytes * 95 / 100))
head -c "$cut" "$text" >"$folder/train.txt"
tail -c +$((cut + 1)) "$text" >"$folder/valid.txt.tmp"
mv "$folder/valid.txt.tmp" "$folder/valid.txt"
