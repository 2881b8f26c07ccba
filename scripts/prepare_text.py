#!/usr/bin/env python3
"""From text to the files that ddp-launch trains on.

  prepare_text.py tokens --tokenizer bpe --vocab 8192 --out data/mine my.txt
trains a byte-level BPE tokenizer (GPT-2's kind; wordpiece: BERT's) on my.txt and writes data/mine/train.bin, valid.bin, tokenizer.json,
and meta.json, which says what these hold.

  prepare_text.py labelled --tokenizer data/mine --length 128 --out data/reviews train.tsv valid.tsv
writes data/reviews/train.safetensors and valid.safetensors, to fine-tune BERT with, and labels.json, the classes in their order.

The same input gives the same files. They replace those of an earlier call when all are whole. Exit codes: 64 command line, 65 a file that is
wrong, 66 one that is missing, 69 `tokenizers` is not installed (scripts/setup.sh --text), 74 writing failed.
"""
import argparse
import fractions
import pathlib
import sys

from text.failure import UNAVAILABLE, USAGE, Failure

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Failure(USAGE, f"{message} (--help explains)")


def share(word):
    try:
        value = fractions.Fraction(word)
    except (ValueError, ZeroDivisionError):
        value = -1
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{word} is not a share from 0 to below 1")
    return value


def at_least(least):
    def number(word):
        if int(word) < least:
            raise argparse.ArgumentTypeError(f"{word} is below {least}")
        return int(word)

    return number


def parse():
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="tokens | labelled")

    tokens = commands.add_parser("tokens", help="text to train.bin and valid.bin", allow_abbrev=False, description="""Text to files of tokens,
        uint16, or uint32 for a vocabulary above 65536. Behind each document stands [SEP] (WordPiece) or <|endoftext|> (BPE).""")
    tokens.add_argument("texts", nargs="+", metavar="TEXT", help="files in UTF-8")
    tokens.add_argument("--tokenizer", required=True, metavar="KIND|FILE",
                        help="wordpiece or bpe: train one on the text, but for what is held out. Or a file: tokenizer.json, vocab.txt (BERT's), "
                             "vocab.json with merges.txt beside it (GPT-2's), or a folder with one of these")
    tokens.add_argument("--vocab", type=at_least(1), metavar="N", help="of a tokenizer that is trained: its number of tokens")
    tokens.add_argument("--documents", choices=("blank-line", "file"), default="blank-line",
                        help="what parts documents: blank lines (the default), or nothing, so that each file is one")
    tokens.add_argument("--valid", type=share, default=fractions.Fraction("0.05"), metavar="SHARE",
                        help="the share of the documents that is held out in valid.bin, evenly over the text (0.05); 0: no valid.bin")
    tokens.add_argument("--valid-from", action="append", default=[], metavar="TEXT",
                        help="hold out this file's documents, and none of the others; may be given again")

    labelled = commands.add_parser("labelled", help="tables of labelled texts to .safetensors", allow_abbrev=False, description="""Tables of
        LABEL<TAB>TEXT or LABEL<TAB>TEXT<TAB>SECOND TEXT, without a heading, to I32 tensors: tokens and types (N,W), lengths and labels (N).
        Classes are numbered in the order of their names over all tables of the call. A row is [CLS] text [SEP] second text [SEP].""")
    labelled.add_argument("tables", nargs="+", metavar="TSV", help="files in UTF-8; x.tsv becomes x.safetensors")
    labelled.add_argument("--tokenizer", required=True, metavar="FILE",
                          help="WordPiece: tokenizer.json, vocab.txt (BERT's), or a folder with one of these")
    labelled.add_argument("--length", required=True, type=at_least(5), metavar="T",
                          help="tokens of a row at most; the longer one of two texts is cut first")
    labelled.add_argument("--labels", metavar="FILE", help="labels.json of an earlier call: the same classes, in its order")

    for command in (tokens, labelled):
        command.add_argument("--out", required=True, metavar="FOLDER", help="where the files go")
        command.add_argument("--cased", action="store_true",
                             help="of wordpiece and a vocab.txt: keep capitals and accents, as bert-base-cased does")
        command.add_argument("--invalid-utf8", choices=("stop", "replace"), default="stop",
                             help="at bytes that are not UTF-8: stop (the default), or read them as U+FFFD")

    arguments = parser.parse_args()
    arguments.errors = {"stop": "strict", "replace": "replace"}[arguments.invalid_utf8]
    if arguments.command == "tokens":
        trains = arguments.tokenizer in ("wordpiece", "bpe")
        if trains != (arguments.vocab is not None):
            parser.error("--tokenizer wordpiece and bpe need --vocab N" if trains else "--vocab is for --tokenizer wordpiece and bpe")
        if arguments.cased and arguments.tokenizer == "bpe":
            parser.error("--cased: byte-level BPE keeps capitals always")
    return arguments


def main():
    try:
        arguments = parse()
        sys.path.insert(0, str(ROOT / ".cache" / "text"))
        try:
            from text import labelled, tokens
        except ImportError as error:
            raise Failure(UNAVAILABLE, f"{error}; run scripts/setup.sh --text in a clone, else pip install tokenizers") from error
        (tokens if arguments.command == "tokens" else labelled).prepare(arguments)
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return failure.code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
