#!/usr/bin/env python3
"""scripts/prepare_text.py as a user runs it: what it writes, byte by byte, what it refuses, and that ddp-launch trains on it."""
import collections
import json
import math
import os
import resource
import shutil
import struct
import subprocess
import sys
import unittest

from harness import PATIENCE_S, ROOT, IntegrationTest, main

sys.path.insert(0, os.path.join(ROOT, ".cache", "text"))
try:
    import tokenizers
except ImportError:
    print("skipped: no tokenizers in .cache/text; scripts/setup.sh --text fetches it from PyPI")
    sys.exit(77)

END = "<|endoftext|>"
# The special tokens are not where a trained tokenizer has them.
VOCAB = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world", "##s", ",", "a", "b", "c", "d", "e"]
PAD, UNK, CLS, SEP, HELLO, WORLD, S, COMMA, A, B, C, D, E = 0, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14


def documents(n):
    """Documents that differ, of two lines each."""
    return [f"Document {i} is about the number {i * i}, and nothing else.\nIt ends here, {'naïve ' * (i % 3)}at {i}." for i in range(n)]


def letters(text):
    """What lower case without accents and white space leaves of a text of `documents`."""
    return "".join(text.lower().replace("ï", "i").split())


class PrepareText(IntegrationTest):
    def run_script(self, *args, **options):
        return subprocess.run([os.path.join(ROOT, "scripts", "prepare_text.py"), *args], cwd=self.folder, capture_output=True, text=True,
                              timeout=PATIENCE_S, **options)

    def prepare(self, *args):
        process = self.run_script(*args)
        self.assertEqual(process.returncode, 0, f"exit code of {args}\n{process.stdout}\n{process.stderr}")
        return process.stdout

    def refused(self, code, words, *args, **options):
        process = self.run_script(*args, **options)
        self.assertEqual((process.returncode, process.stdout), (code, ""), process.stderr)
        self.assertEqual(process.stderr.count("\n"), 1, process.stderr)
        self.assertIn(words, process.stderr)

    def read(self, *path):
        with open(os.path.join(self.folder, *path), "rb") as file:
            return file.read()

    def files(self, *path):
        return {name: self.read(*path, name) for name in os.listdir(os.path.join(self.folder, *path))}

    def ids(self, *path, code="H"):
        return [token for token, in struct.iter_unpack("<" + code, self.read(*path))]

    def meta(self, folder):
        return json.loads(self.read(folder, "meta.json"))

    def decoded(self, folder, name):
        """The documents of a file of tokens."""
        tokenizer = tokenizers.Tokenizer.from_file(os.path.join(self.folder, folder, "tokenizer.json"))
        special = self.meta(folder)["special"]
        found, document = [], []
        for token in self.ids(folder, name):
            if token == special.get("sep", special.get("end_of_text")):
                found.append(tokenizer.decode(document, skip_special_tokens=False))
                document = []
            else:
                document.append(token)
        self.assertEqual(document, [], "an end behind the last document")
        return found

    def write_vocab(self):
        return self.write("vocab.txt", "\n".join(VOCAB) + "\n")

    def tensors(self, *path):
        """name -> shape, values of a safetensors file without holes."""
        data = self.read(*path)
        length, = struct.unpack_from("<Q", data)
        self.assertEqual(length % 8, 0)
        header, begin, found = json.loads(data[8:8 + length]), 0, {}
        for name, entry in header.items():
            self.assertEqual((entry["dtype"], entry["data_offsets"][0]), ("I32", begin))
            begin = entry["data_offsets"][1]
            values = struct.unpack_from(f"<{math.prod(entry['shape'])}i", data, 8 + length + entry["data_offsets"][0])
            self.assertEqual(4 * len(values), begin - entry["data_offsets"][0])
            found[name] = (entry["shape"], list(values))
        self.assertEqual(len(data), 8 + length + begin)
        return found

    def test_a_tiny_corpus_becomes_these_bytes(self):
        self.write_vocab()
        self.write("a.txt", "\ufeffHello, WORLDS\r\n  \r\n\n")
        self.write("b.txt", "a [SEP]\nh\u00e9llo\n\nb c")
        self.prepare("tokens", "--tokenizer", "vocab.txt", "--valid", "0.3", "--out", "out", "a.txt", "b.txt")
        self.assertEqual(self.read("out", "valid.bin"), struct.pack("<6H", A, UNK, UNK, UNK, HELLO, SEP))
        self.assertEqual(self.read("out", "train.bin"), struct.pack("<8H", HELLO, COMMA, WORLD, S, SEP, B, C, SEP))
        self.assertEqual(self.meta("out"), {
            "tokenizer": "wordpiece", "vocab": 15, "special": {"pad": 0, "unk": 2, "cls": 3, "sep": 4, "mask": 5},
            "files": {"train.bin": {"documents": 2, "tokens": 8, "bytes": 13 + 3}, "valid.bin": {"documents": 1, "tokens": 6, "bytes": 14}}})
        self.prepare("tokens", "--tokenizer", "vocab.txt", "--cased", "--documents", "file", "--out", "out", "b.txt", "a.txt")
        self.assertEqual(self.ids("out", "valid.bin"), [A, UNK, UNK, UNK, UNK, B, C, SEP], "a file is a document, accents stay")
        self.assertEqual(self.ids("out", "train.bin"), [UNK, COMMA, UNK, SEP], "capitals stay")

    def test_training_is_repeatable_and_tokens_decode_to_the_documents(self):
        texts = documents(60) + [f"A text may say {END}, [SEP] and [MASK]."]
        self.write("text.txt", "\n\n".join(texts) + "\n")
        wordpiece, bpe = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}, {"end_of_text": 0}
        for kind, vocab, special in (("wordpiece", 200, wordpiece), ("bpe", 300, bpe)):
            for out in ("once", "twice"):
                printed = self.prepare("tokens", "--tokenizer", kind, "--vocab", str(vocab), "--out", out, "text.txt")
            self.assertEqual(self.files("once"), self.files("twice"))
            self.assertIn(f"--set model.vocab={vocab} --set data.format=tokens --set data.train=twice/train.bin "
                          "--set data.valid=twice/valid.bin", printed)
            meta = self.meta("once")
            self.assertEqual((meta["special"], meta["vocab"]), (special, vocab))
            for name, file in meta["files"].items():
                self.assertEqual(file["tokens"], len(self.read("once", name)) // 2)
                self.assertEqual(file["documents"], len(self.decoded("once", name)))
            self.assertEqual(sum(file["bytes"] for file in meta["files"].values()), sum(len(text.encode()) for text in texts))
            found = self.decoded("once", "train.bin") + self.decoded("once", "valid.bin")
            if kind == "bpe":
                self.assertEqual(sorted(found), sorted(texts))
            else:
                self.assertEqual(sorted(map(letters, found)), sorted(map(letters, texts)))
                self.assertIn("0.000% [UNK]", printed)

    def test_the_rarest_characters_are_unknown_where_an_alphabet_would_fill_the_vocabulary(self):
        self.write("text.txt", "abcdefghijk " * 9 + "z")
        for vocab, unknown in ((47, 1), (48, 0)):
            self.prepare("tokens", "--tokenizer", "wordpiece", "--vocab", str(vocab), "--valid", "0", "--out", "out", "text.txt")
            self.assertEqual(self.ids("out", "train.bin").count(1), unknown)

    def test_what_a_model_must_beat_is_counted_from_the_files(self):
        self.write("text.txt", "\n\n".join(documents(40)))
        self.write("more.txt", documents(3)[2] + " Quizzically, qqq.")  # with tokens that train.bin does not have
        printed = self.prepare("tokens", "--tokenizer", "bpe", "--vocab", "300", "--valid-from", "more.txt", "--out", "out", "text.txt")
        train, valid = (collections.Counter(self.ids("out", name)) for name in ("train.bin", "valid.bin"))
        (token, _), = train.most_common(1)
        n_train, n_valid = sum(train.values()), sum(valid.values())
        nats = -sum(n * math.log((train[t] or 0.5) / n_train) for t, n in valid.items()) / n_valid
        self.assertIn(f"{100 * valid[token] / n_valid:.1f}% by always saying", printed)
        self.assertIn(f"; {nats:.3f} nats a token", printed)

    def test_the_held_out_documents_are_whole_and_lie_evenly(self):
        texts = documents(100)
        self.write("text.txt", "\n\n".join(texts))
        for share, expected in (("0.05", 5), ("0.07", 7), ("0.071", 8), ("1/3", 34), ("0.995", 99)):
            self.prepare("tokens", "--tokenizer", "bpe", "--vocab", "270", "--valid", share, "--out", "out", "text.txt")
            valid = [texts.index(text) for text in self.decoded("out", "valid.bin")]
            self.assertEqual(len(valid), expected, share)
            self.assertEqual(self.decoded("out", "train.bin"), [text for i, text in enumerate(texts) if i not in valid])
            gaps = [after - before for before, after in zip([-1] + valid, valid + [100])]
            self.assertLessEqual(max(gaps), 100 // expected + 1)
            if expected == 5:
                self.assertEqual(valid, [9, 29, 49, 69, 89], "as far from both ends")
        self.write("two.txt", "one\n\ntwo")
        self.prepare("tokens", "--tokenizer", "out", "--out", "of_two", "two.txt")
        self.assertEqual(sorted(self.decoded("of_two", "train.bin") + self.decoded("of_two", "valid.bin")), ["one", "two"])

    def test_files_can_be_held_out_and_a_rerun_leaves_nothing_of_the_one_before(self):
        self.write("text.txt", "\n\n".join(documents(9)))
        self.write("more.txt", "seen\n\nby no one zqzqzq")
        self.prepare("tokens", "--tokenizer", "bpe", "--vocab", "400", "--valid-from", "more.txt", "--out", "out", "text.txt")
        self.assertEqual(self.decoded("out", "valid.bin"), ["seen", "by no one zqzqzq"])
        self.assertEqual(self.decoded("out", "train.bin"), documents(9))
        self.assertNotIn("zq", json.loads(self.read("out", "tokenizer.json"))["model"]["vocab"], "what is held out does not shape the vocabulary")
        printed = self.prepare("tokens", "--tokenizer", "out", "--valid", "0", "--out", "out", "text.txt")
        self.assertEqual(set(self.files("out")), {"train.bin", "tokenizer.json", "meta.json"})
        self.assertIn("--set eval.every=0", printed)

    def test_a_long_document_has_the_tokens_of_the_whole(self):
        words = "  It is  so,\n\n\n and \t 42 naïve—words! \u00a0\x1c\n  end.\r\nThen"
        long = "".join(f"{words}{i}{' ' * (i % 4)}" for i in range(9000))  # several pieces
        self.write("long.txt", long + "\n" + "x" * 200_000 + " y")
        self.write("short.txt", long[:3000])
        for kind in ("wordpiece", "bpe"):
            self.prepare("tokens", "--tokenizer", kind, "--vocab", "320", "--valid", "0", "--out", "tokenizer", "short.txt")
            self.prepare("tokens", "--tokenizer", "tokenizer", "--valid", "0", "--documents", "file", "--out", "out", "long.txt")
            tokenizer = tokenizers.Tokenizer.from_file(os.path.join(self.folder, "tokenizer", "tokenizer.json"))
            with open(os.path.join(self.folder, "long.txt"), newline="", encoding="utf-8") as file:
                expected = tokenizer.encode(file.read(), add_special_tokens=False).ids
            self.assertEqual(self.ids("out", "train.bin")[:-1], expected)

    def test_tokens_are_four_bytes_where_the_vocabulary_is_above_65536(self):
        self.write("text.txt", "hello word65535")
        for size, code in ((65536, "H"), (65537, "I")):
            self.write("vocab.txt", "\n".join(VOCAB + [f"word{i}" for i in range(len(VOCAB), size)]))
            self.prepare("tokens", "--tokenizer", "vocab.txt", "--valid", "0", "--out", "out", "text.txt")
            self.assertEqual(self.meta("out")["vocab"], size)
            self.assertEqual(self.ids("out", "train.bin", code=code), [HELLO, 65535, SEP])

    def test_tokenizers_of_others_are_read(self):
        """GPT-2's two files, and a tokenizer.json that would truncate, pad and add."""
        self.write("text.txt", "hello hello hello a\n\nb")
        self.write("vocab.json", json.dumps({"h": 0, "e": 1, "l": 2, "o": 3, "Ġ": 4, "he": 5, "Ġhe": 6, "a": 7, "b": 8, END: 9}))
        self.write("merges.txt", "#version: 0.2\nh e\nĠ he\n")
        self.prepare("tokens", "--tokenizer", ".", "--valid", "0", "--out", "out", "text.txt")
        self.assertEqual(self.ids("out", "train.bin"), [5, 2, 2, 3, 6, 2, 2, 3, 6, 2, 2, 3, 4, 7, 9, 8, 9])
        self.assertEqual((self.meta("out")["tokenizer"], self.meta("out")["special"]), ("byte-level-bpe", {"end_of_text": 9}))
        self.write_vocab()
        self.prepare("tokens", "--tokenizer", "vocab.txt", "--valid", "0", "--out", "out", "text.txt")
        whole = self.ids("out", "train.bin")
        self.assertEqual(whole, [HELLO, HELLO, HELLO, A, SEP, B, SEP])
        path = os.path.join(self.folder, "out", "tokenizer.json")
        tokenizer = tokenizers.Tokenizer.from_file(path)
        self.assertEqual(tokenizer.encode("a", "b").ids, [CLS, A, SEP, B, SEP], "others who read it get BERT's form")
        tokenizer.enable_truncation(2)
        tokenizer.enable_padding(length=16)
        tokenizer.save(path)
        self.prepare("tokens", "--tokenizer", path, "--valid", "0", "--out", "again", "text.txt")
        self.assertEqual(self.ids("again", "train.bin"), whole)

    def test_labelled_texts_become_these_tensors(self):
        self.write_vocab()
        self.write("train.tsv", "pos\ta b\nneg\ta b c d e\thello\nneg\ta b c\td e hello world\n")
        self.write("valid.tsv", "odd\ta b c d e hello world\n")
        printed = self.prepare("labelled", "--tokenizer", "vocab.txt", "--length", "7", "--out", "out", "train.tsv", "valid.tsv")
        rows = [[CLS, A, B, SEP, PAD, PAD, PAD], [CLS, A, B, C, SEP, HELLO, SEP], [CLS, A, B, SEP, D, E, SEP]]
        types = [[0] * 7, [0] * 5 + [1] * 2, [0] * 4 + [1] * 3]
        self.assertEqual(self.tensors("out", "train.safetensors"), {
            "tokens": ([3, 7], sum(rows, [])), "types": ([3, 7], sum(types, [])), "lengths": ([3], [4, 7, 7]), "labels": ([3], [2, 0, 0])})
        self.assertEqual(self.tensors("out", "valid.safetensors"), {
            "tokens": ([1, 7], [CLS, A, B, C, D, E, SEP]), "types": ([1, 7], [0] * 7), "lengths": ([1], [7]), "labels": ([1], [1])})
        self.assertEqual(json.loads(self.read("out", "labels.json")), ["neg", "odd", "pos"])
        self.prepare("labelled", "--tokenizer", "vocab.txt", "--length", "8", "--out", "longer", "train.tsv")
        self.assertEqual(self.tensors("longer", "train.safetensors")["tokens"][1][16:], [CLS, A, B, C, SEP, D, E, SEP], "the second of equals")
        self.assertIn("train.safetensors: 3 texts of up to 7 tokens, 2 truncated; 66.7% are 'neg'", printed)
        self.assertIn("0 neg: 2, 1 odd: 0, 2 pos: 1", printed)
        self.write("order.json", '["pos", "odd", "neg"]')
        self.prepare("labelled", "--tokenizer", "vocab.txt", "--length", "100", "--labels", "order.json", "--out", "out", "train.tsv")
        tensors = self.tensors("out", "train.safetensors")
        self.assertEqual((tensors["labels"], tensors["lengths"], tensors["tokens"][0]), (([3], [0, 2, 2]), ([3], [4, 9, 10]), [3, 10]))
        self.assertEqual(json.loads(self.read("out", "labels.json")), ["pos", "odd", "neg"])

    def test_what_is_wrong_is_refused_in_one_line(self):
        self.write_vocab()
        self.write("text.txt", "one\n\ntwo\n")
        self.write("bad.txt", b"fine\nna\xefve\n")
        self.write("one.txt", "one")
        self.write("none.txt", "\n \n")
        self.write("broken.json", '{"model": ')
        self.write("unigram.json", tokenizers.Tokenizer(tokenizers.models.Unigram([("a", 0.0)])).to_str())
        for folder in ("bare", "empty"):
            os.makedirs(os.path.join(self.folder, folder))
        self.write("bare/vocab.txt", "[UNK]\na\n")
        self.write("pos.tsv", "pos\ta\nneg\n")
        self.write("new.tsv", "new\ta\n")
        self.write("labels.json", '["pos", "neg"]')

        def tokens(code, words, *args, tokenizer="vocab.txt", out="out"):
            self.refused(code, words, "tokens", "--tokenizer", tokenizer, "--out", out, *args)

        def labelled(code, words, *args, tokenizer="vocab.txt", length="9"):
            self.refused(code, words, "labelled", "--tokenizer", tokenizer, "--length", length, "--out", "out", *args)

        self.refused(64, "the following arguments are required")
        tokens(64, "required: TEXT")
        tokens(64, "need --vocab N", "text.txt", tokenizer="bpe")
        tokens(64, "--vocab is for", "--vocab", "9", "text.txt")
        tokens(64, "--vocab 256 is too small: special tokens and alphabet alone are 257", "--vocab", "256", "text.txt", tokenizer="bpe")
        tokens(64, "--vocab: 0 is below 1", "--vocab", "0", "text.txt", tokenizer="bpe")
        tokens(64, "--cased: byte-level BPE keeps capitals", "--cased", "--vocab", "300", "text.txt", tokenizer="bpe")
        for share in ("1", "-0.1", "1/0", "x"):
            tokens(64, f"--valid: {share} is not a share", f"--valid={share}", "text.txt")
        tokens(65, "bad.txt: byte 7 (0xef) is not UTF-8", "text.txt", "bad.txt")
        tokens(65, "one.txt is one document", "one.txt")
        tokens(65, "there is no text in none.txt", "none.txt")
        tokens(65, "there is no text in none.txt", "--valid-from", "none.txt", "text.txt")
        tokens(65, "broken.json cannot be read as a tokenizer", "text.txt", tokenizer="broken.json")
        tokens(65, "unigram.json is Unigram", "text.txt", tokenizer="unigram.json")
        tokens(65, "bare/vocab.txt has no [PAD], [CLS], [SEP], [MASK]", "text.txt", tokenizer="bare")
        tokens(66, "cannot read missing.txt: No such file", "text.txt", "missing.txt")
        tokens(66, "empty is not a regular file", "empty")
        tokens(66, "there is no tokenizer missing.json", "text.txt", tokenizer="missing.json")
        tokens(66, "empty holds none of tokenizer.json", "text.txt", tokenizer="empty")
        tokens(74, "cannot write to one.txt/out: Not a directory", "text.txt", out="one.txt/out")
        labelled(64, "--length: 4 is below 5", "new.tsv", length="4")
        labelled(64, "would become the same file", "new.tsv", "empty/new.tsv")
        labelled(65, "pos.tsv:2: 1 fields; a line is LABEL<TAB>TEXT", "pos.tsv")
        labelled(65, "new.tsv:1: label 'new' is not one of pos, neg", "--labels", "labels.json", "new.tsv")
        labelled(65, "vocab.txt is not JSON", "--labels", "vocab.txt", "new.tsv")
        labelled(66, "cannot read missing.tsv", "missing.tsv")
        self.assertFalse(os.path.exists(os.path.join(self.folder, "out")) and self.files("out"), "a refusal leaves no file")

        self.prepare("tokens", "--tokenizer", "bpe", "--vocab", "300", "--valid", "0", "--invalid-utf8", "replace", "--out", "mine", "bad.txt")
        self.assertEqual(self.decoded("mine", "train.bin"), ["fine\nna\ufffdve"])
        labelled(65, "mine is byte-level-bpe; labelled texts are for BERT", "new.tsv", tokenizer="mine")
        tokens(64, "--cased: mine/tokenizer.json says itself", "--cased", "text.txt", tokenizer="mine")

    def test_without_tokenizers_it_says_how_to_get_them(self):
        copy = os.path.join(self.folder, "scripts")
        shutil.copytree(os.path.join(ROOT, "scripts"), copy)  # beside which there is no .cache
        command = [sys.executable, "-S", os.path.join(copy, "prepare_text.py"), "tokens", "--tokenizer", "out", "--out", "out", "text.txt"]
        process = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        how = "run scripts/setup.sh --text in a clone, else pip install tokenizers"
        self.assertEqual((process.returncode, process.stderr), (69, f"error: No module named 'tokenizers'; {how}\n"))

    def test_a_write_that_fails_leaves_the_files_of_the_run_before(self):
        self.write_vocab()
        self.write("text.txt", "one\n\ntwo\n")
        self.prepare("tokens", "--tokenizer", "vocab.txt", "--out", "out", "text.txt")
        before = self.files("out")
        self.write("text.txt", "hello\n\n" * 2000)
        self.refused(74, "cannot write to out: File too large", "tokens", "--tokenizer", "vocab.txt", "--out", "out", "text.txt",
                     preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)))
        self.assertEqual(self.files("out"), before)

    def test_ddp_launch_trains_gpt2_on_it(self):
        self.write("text.txt", "\n\n".join(documents(300)))
        self.prepare("tokens", "--tokenizer", "bpe", "--vocab", "500", "--out", ".", "text.txt")
        self.config(format="tokens")
        self.launch("--device", "cpu", "--nproc", "2", "--set", "model.vocab=500", "--set", f"data.train={self.folder}/train.bin",
                    "--set", f"data.valid={self.folder}/valid.bin")
        losses = [float(loss) for loss in self.column("loss")]
        self.assertAlmostEqual(losses[0], math.log(500), delta=0.3)
        self.assertLess(losses[-1], losses[0] - 1)

    def test_no_chapter_of_the_king_james_text_is_in_both_files(self):
        subprocess.run([os.path.join(ROOT, "scripts", "prepare_kjv_text.sh"), self.folder], check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE_S)
        meta = self.meta("kjv-wordpiece")
        self.assertEqual([file["documents"] for file in meta["files"].values()], [1130, 59])
        self.assertEqual(meta["vocab"], 4096)
        labels = json.loads(self.read("kjv-books", "labels.json"))
        self.assertEqual(labels, ["epistles", "gospels", "history", "law", "prophets", "wisdom"])
        counts = collections.Counter()
        for split in ("train", "valid"):
            verses = [line for line in self.read("kjv-wordpiece", f"{split}.txt").decode().splitlines() if line]
            rows = [line.split("\t") for line in self.read("kjv-books", f"{split}.tsv").decode().splitlines()]
            self.assertEqual([text for _, text in rows], verses)
            self.assertEqual(self.tensors("kjv-books", f"{split}.safetensors")["labels"][1], [labels.index(label) for label, _ in rows])
            counts.update(label for label, _ in rows)
            if split == "valid":
                self.assertEqual(rows[0], ["law", "Now these are the generations of the sons of Noah, Shem, Ham, and Japheth: and unto them "
                                                  "were sons born after the flood."], "Genesis 10, the tenth chapter")
        # Verses of the books' lists: Genesis to Deuteronomy, to Esther, to the Song, to Malachi, to Acts, to Revelation.
        self.assertEqual(counts, {"law": 5852, "history": 7018, "wisdom": 4785, "prophets": 5490, "gospels": 4786, "epistles": 3171})


if __name__ == "__main__":
    main()
