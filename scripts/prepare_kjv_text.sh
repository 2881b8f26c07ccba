#!/usr/bin/env bash
# The King James text for BERT, from Debian's bible-kjv: data/kjv-wordpiece, WordPiece tokens to pre-train on, a chapter a document; and
# data/kjv-books, to fine-tune on, verses with the group of books that each is from. Every twentieth chapter is held out of both: no chapter of
# valid.safetensors was seen in pre-training, nor shaped the vocabulary. prepare_kjv_text.sh [FOLDER]: another one than data.
. "$(dirname "$0")/common.sh"
cd "$root"
tokens=${1:-data}/kjv-wordpiece books=${1:-data}/kjv-books
[ -s "$books/valid.safetensors" ] && exit 0
need_packages "${data_packages[@]}"
scripts/fetch_text.sh
say "preparing the King James text in $tokens and $books"
mkdir -p "$tokens" "$books"
rm -f "$tokens"/{train,valid}.txt "$books"/{train,valid}.tsv
# "1Sm3:10 And the LORD came, ..." becomes a line of a document and a row of a table, both without the reference. Books count from 1; Acts
# stands with the gospels, Revelation with the epistles.
bible -f gen1:1-rev22:21 | awk -v tokens="$tokens" -v books="$books" '
  {
    match($1, /[0-9]+:[0-9]+$/)
    book = substr($1, 1, RSTART - 1)
    chapter = substr($1, 1, index($1, ":") - 1)
    text = substr($0, length($1) + 2)
  }
  book != last_book {
    number++
    group = number <= 5 ? "law" : number <= 17 ? "history" : number <= 22 ? "wisdom" : number <= 39 ? "prophets" : number <= 44 ? "gospels" : "epistles"
  }
  chapter != last_chapter {
    split_name = ++chapters % 20 == 10 ? "valid" : "train"
    print "" >(tokens "/" split_name ".txt")
  }
  {
    print text >(tokens "/" split_name ".txt")
    print group "\t" text >(books "/" split_name ".tsv")
    last_book = book
    last_chapter = chapter
  }
  END { if (number != 66 || chapters != 1189) { print "error: bible printed " number " books and " chapters " chapters, not 66 and 1189"; exit 1 } }' >&2
scripts/prepare_text.py tokens --tokenizer wordpiece --vocab 4096 --valid-from "$tokens/valid.txt" --out "$tokens" "$tokens/train.txt"
scripts/prepare_text.py labelled --tokenizer "$tokens" --length 128 --out "$books" "$books/train.tsv" "$books/valid.tsv"
