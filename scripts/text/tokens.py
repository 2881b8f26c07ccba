"""Texts to files of tokens: train.bin, valid.bin, meta.json, tokenizer.json."""
import collections
import json
import math
import pathlib
import shlex
import struct

from text import tokenizer as tokenizer_files
from text.corpus import TRAIN, VALID, Corpus
from text.outputs import replaced

KINDS = {"wordpiece": tokenizer_files.WORDPIECE, "bpe": tokenizer_files.BPE}  # --tokenizer: what is trained
LEAST_COUNT = 0.5  # of a token that train does not have, in its distribution


class TokenFile:
    """A file of tokens, little-endian, without a header, as data.format tokens reads it."""

    def __init__(self, path, vocab):
        self._file = open(path, "wb")
        self._code = "H" if vocab <= 65536 else "I"
        self.documents = self.bytes = 0
        self.counts = collections.Counter()

    def add(self, ids, num_bytes, ends):
        self._file.write(struct.pack(f"<{len(ids)}{self._code}", *ids))
        self.counts.update(ids)
        self.bytes += num_bytes
        self.documents += ends

    def close(self):
        self._file.close()

    @property
    def tokens(self):
        return self.counts.total()

    def meta(self):
        return {"documents": self.documents, "tokens": self.tokens, "bytes": self.bytes}


def baselines(train, valid):
    """What a model must beat on VALID: the share of the token that TRAIN has most often, and the cross-entropy, in nats, of TRAIN's
    unigram distribution."""
    likeliest = min(train, key=lambda token: (-train[token], token))
    total = train.total()
    nats = -sum(n * math.log(max(train[token], LEAST_COUNT) / total) for token, n in valid.items())
    return likeliest, valid[likeliest] / valid.total(), nats / valid.total()


def tokenize(tokenizer, corpus, files):
    end = tokenizer.special["sep" if tokenizer.kind == tokenizer_files.WORDPIECE else "end_of_text"]
    for (name, text, ends), ids in tokenizer.encoded(corpus.pieces(), lambda piece: piece[1]):
        files[name].add(ids + [end] * ends, len(text.encode()), ends)


def typed(path):
    """As ddp-launch reads a path: $$ is a dollar, and ~ is the home folder."""
    return ("./" if str(path).startswith("~") else "") + str(path).replace("$", "$$")


def report(tokenizer, how, files, folder):
    print(f"tokenizer: {tokenizer.kind}, {tokenizer.vocab} tokens, {how}")
    for name, file in files.items():
        unknown = f", {100 * file.counts[tokenizer.special['unk']] / file.tokens:.3f}% [UNK]" if "unk" in tokenizer.special else ""
        print(f"{folder / name}: {file.documents:,} documents, {file.tokens:,} tokens, {file.bytes / file.tokens:.2f} bytes a token{unknown}")
    if VALID in files:
        likeliest, share, nats = baselines(files[TRAIN].counts, files[VALID].counts)
        print(f"to be beaten on {VALID}: {100 * share:.1f}% by always saying {tokenizer.word(likeliest)!r}, the most frequent token of "
              f"{TRAIN}; {nats:.3f} nats a token by how often {TRAIN} has each")
    keys = {"model.vocab": tokenizer.vocab, "data.format": "tokens", "data.train": typed(folder / TRAIN)}
    keys |= {"data.valid": typed(folder / VALID)} if VALID in files else {"eval.every": 0}
    print("configuration:", " ".join("--set " + shlex.quote(f"{key}={value}") for key, value in keys.items()))


def prepare(arguments):
    corpus = Corpus(arguments.texts, arguments.valid_from, arguments.valid, arguments.documents == "blank-line", arguments.errors)
    if arguments.tokenizer in KINDS:
        tokenizer = tokenizer_files.train(KINDS[arguments.tokenizer], arguments.vocab,
                                          lambda: (text for name, text, _ in corpus.pieces() if name == TRAIN), arguments.cased)
    else:
        tokenizer = tokenizer_files.read(arguments.tokenizer, arguments.cased)
    folder = pathlib.Path(arguments.out)
    with replaced(folder, (TRAIN, VALID, "tokenizer.json", "meta.json")) as aside:
        names = (TRAIN, VALID) if arguments.valid_from or arguments.valid > 0 else (TRAIN,)
        files = {name: TokenFile(aside / name, tokenizer.vocab) for name in names}
        tokenize(tokenizer, corpus, files)
        for file in files.values():
            file.close()
        tokenizer.save(aside / "tokenizer.json")
        meta = {"tokenizer": tokenizer.kind, "vocab": tokenizer.vocab, "special": tokenizer.special,
                "files": {name: file.meta() for name, file in files.items()}}
        (aside / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    how = f"trained on {TRAIN}'s text" if arguments.tokenizer in KINDS else f"from {arguments.tokenizer}"
    report(tokenizer, how, files, folder)
