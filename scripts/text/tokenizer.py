"""WordPiece and byte-level BPE tokenizers, trained or read, by PyPI's `tokenizers`."""
import collections
import json
import pathlib

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from text.failure import DATA, NO_INPUT, USAGE, Failure

WORDPIECE, BPE = "wordpiece", "byte-level-bpe"  # as meta.json names them
SPECIAL = {
    WORDPIECE: {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    BPE: {"end_of_text": "<|endoftext|>"},
}
BATCH = 1 << 21  # characters that are tokenized at once


def batches(items, text):
    batch, size = [], 0
    for item in items:
        batch.append(item)
        size += len(text(item))
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class Tokenizer:
    """A tokenizer that takes a text as it is: special tokens are never read from it, never added, and nothing is cut off."""

    def __init__(self, tokenizer, name):
        """`name` stands for it in errors."""
        self._tokenizer = tokenizer
        form = json.loads(tokenizer.to_str())
        if form["model"]["type"] == "WordPiece":
            self.kind = WORDPIECE
        elif form["model"]["type"] == "BPE" and '"ByteLevel"' in json.dumps(form["pre_tokenizer"]):
            self.kind = BPE
        else:
            raise Failure(DATA, f"{name} is {form['model']['type']}; WordPiece and byte-level BPE are what can be used")
        ids = tokenizer.get_vocab()
        missing = [word for word in SPECIAL[self.kind].values() if word not in ids]
        if missing:
            raise Failure(DATA, f"{name} has no {', '.join(missing)}")
        self.special = {key: ids[word] for key, word in SPECIAL[self.kind].items()}
        self.vocab = max(ids.values()) + 1
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True  # "[SEP]" in a text is five characters

    def save(self, path):
        with open(path, "w", encoding="utf-8") as file:
            file.write(self._tokenizer.to_str(pretty=True))

    def encoded(self, items, text):
        """(item, ids of text(item)) of each; several threads, a batch at a time, so that `items` may be a stream."""
        for batch in batches(items, text):
            encodings = self._tokenizer.encode_batch_fast([text(item) for item in batch], add_special_tokens=False)
            yield from zip(batch, (encoding.ids for encoding in encodings))

    def word(self, token):
        return self._tokenizer.id_to_token(token)


def _wordpiece(vocab, cased):
    """A tokenizer with bert-base-uncased's rules, or bert-base-cased's."""
    tokenizer = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=not cased)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = [word for word in SPECIAL[WORDPIECE].values() if word in vocab]
    tokenizer.add_special_tokens(special)
    if "[CLS]" in special and "[SEP]" in special:
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", vocab["[SEP]"]), ("[CLS]", vocab["[CLS]"]))
    return tokenizer


def _byte_level_bpe(model):
    """A tokenizer with GPT-2's rules."""
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _train_wordpiece(vocab, texts, cased):
    """The library numbers "##a", "##b", ... in an order that differs from run to run, and ties between merges are decided by these
    numbers. So they are given to it, in the order of the alphabet: each character as a beginning and inside a word, which may take half of
    the vocabulary; rarer characters are [UNK]."""
    special = list(SPECIAL[WORDPIECE].values())
    untrained = _wordpiece({word: i for i, word in enumerate(special)}, cased)
    counts = collections.Counter()
    for text in texts():
        counts.update(untrained.normalizer.normalize_str(text))
    ranked = sorted((c for c in counts if not c.isspace()), key=lambda c: (-counts[c], c))
    alphabet = sorted(ranked[:vocab // 4])
    trainer = trainers.WordPieceTrainer(vocab_size=vocab, special_tokens=special + ["##" + c for c in alphabet], initial_alphabet=alphabet,
                                        limit_alphabet=len(alphabet), show_progress=False)
    untrained.train_from_iterator(texts(), trainer)
    return _wordpiece(untrained.get_vocab(), cased)


def _train_byte_level_bpe(vocab, texts):
    tokenizer = _byte_level_bpe(models.BPE())
    tokenizer.train_from_iterator(texts(), trainers.BpeTrainer(vocab_size=vocab, special_tokens=list(SPECIAL[BPE].values()),
                                                               initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return tokenizer


def train(kind, vocab, texts, cased):
    """The same texts give the same tokenizer. `texts()` iterates over them; it is called more than once."""
    tokenizer = _train_wordpiece(vocab, texts, cased) if kind == WORDPIECE else _train_byte_level_bpe(vocab, texts)
    found = tokenizer.get_vocab_size()
    if found > vocab:
        raise Failure(USAGE, f"--vocab {vocab} is too small: special tokens and alphabet alone are {found}")
    return Tokenizer(tokenizer, kind)


def _read(path, cased):
    if path.name == "vocab.txt":
        return _wordpiece(models.WordPiece.read_file(str(path)), cased)
    if path.name == "vocab.json":
        tokenizer = _byte_level_bpe(models.BPE.from_file(str(path), str(path.with_name("merges.txt"))))
        tokenizer.add_special_tokens([word for word in SPECIAL[BPE].values() if tokenizer.token_to_id(word) is not None])
        return tokenizer
    return tokenizers.Tokenizer.from_file(str(path))


def read(path, cased):
    """Of a tokenizer.json, a vocab.txt or a vocab.json with merges.txt beside it, or of a folder that holds one of these."""
    path = pathlib.Path(path)
    if path.is_dir():
        known = ("tokenizer.json", "vocab.txt", "vocab.json")
        found = [path / name for name in known if (path / name).is_file()]
        if not found:
            raise Failure(NO_INPUT, f"{path} holds none of {', '.join(known)}")
        path = found[0]
    needed = [path] + ([path.with_name("merges.txt")] if path.name == "vocab.json" else [])
    for file in needed:
        if not file.is_file():
            raise Failure(NO_INPUT, f"there is no tokenizer {file}")
    if cased and path.name != "vocab.txt":
        raise Failure(USAGE, f"--cased: {path} says itself what becomes of capitals")
    try:
        tokenizer = _read(path, cased)
    except Exception as error:  # the library raises nothing narrower
        raise Failure(DATA, f"{path} cannot be read as a tokenizer: {error}") from error
    return Tokenizer(tokenizer, path)
