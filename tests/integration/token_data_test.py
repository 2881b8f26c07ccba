"""Files of tokens as a user gives them: several at once, by a list or a pattern; of another kind; with a token that is none."""
import array
import json
import os
import random
import unittest

import harness

VOCAB = 500


def tokens(count, seed=1, typecode="H", below=VOCAB):
    generator = random.Random(seed)
    return array.array(typecode, (generator.randrange(below) for _ in range(count)))


class TokenData(harness.IntegrationTest):
    def setUp(self):
        super().setUp()
        self.config(format="tokens", width=8, steps=4, dropout=0.0)
        for name in ("train.txt", "valid.txt"):
            self.write(name, tokens(4000).tobytes())

    def run_with(self, *settings, expect=0, name="run", ranks=1, verb=()):
        pairs = [f"model.vocab={VOCAB}", "schedule.warmup_steps=1", "eval.every=0", *settings]
        return self.launch(*verb, "--device", "cpu", "--nproc", str(ranks), *[x for pair in pairs for x in ("--set", pair)],
                           "--output-dir", self.run_folder(name), expect=expect)

    def refused(self, *settings, code, says, **how):
        result = self.run_with(*settings, expect=code, **how)
        for words in says:
            self.assertIn(words, result.last_line)
        self.assertFalse(os.path.exists(os.path.join(self.run_folder(), "checkpoints")))
        return result

    def shards(self):
        os.mkdir(os.path.join(self.folder, "shards"))
        return [self.write(f"shards/{name}.bin", tokens(1000 + 100 * seed, seed).tobytes()) for seed, name in enumerate("cab")]

    def resolved(self, name="run"):
        with open(os.path.join(self.run_folder(name), "config.yaml")) as file:
            return [line.strip() for line in file if line.strip().startswith("train: ")]

    def test_a_list_and_a_pattern_are_the_same_run_on_any_number_of_ranks(self):
        c, a, b = self.shards()
        self.run_with(f"data.train=[{a}, {b}, {c}]", "eval.every=2", f"data.valid=[{b}, {c}]", name="list")
        self.run_with(f"data.train={self.folder}/shards/*.bin", "eval.every=2", f"data.valid={self.folder}/shards/[bc].bin",
                      name="pattern", ranks=2)
        self.assertEqual(self.resolved("pattern"), [f"train: [{a}, {b}, {c}]"])
        self.assertEqual(self.resolved("list"), self.resolved("pattern"))
        for kind in ("step", "eval"):
            self.assertEqual(self.column("loss", "list", kind), self.column("loss", "pattern", kind))
        self.assertEqual(self.weights_hash(4, "list"), self.weights_hash(4, "pattern"))
        self.run_with(f"data.train=[{c}, {a}, {b}]", name="other order")
        self.assertNotEqual(self.column("loss", "list"), self.column("loss", "other order"))
        # A file that is new does not join a run that goes on: its configuration has the files by name.
        self.run_with(f"data.train=[{a}, {b}, {c}]", "eval.every=2", f"data.valid=[{b}, {c}]", name="list",
                      verb=("--resume", "auto"))
        result = self.launch("eval", "--device", "cpu", "--json", config=self.run_folder("list"))
        self.assertEqual(json.loads(result.out)["loss"], self.records("list", "eval")[-1]["loss"])
        self.launch("plan", "--device", "cpu", "--set", "schedule.warmup_steps=1", "--set", f"data.train={self.folder}/elsewhere/*.bin")

    def test_one_path_is_the_run_it_was(self):
        path = os.path.join(self.folder, "train.txt")
        self.run_with(f"data.train={path}", name="path")
        self.run_with(f"data.train=[{path}]", name="list")
        self.assertEqual(self.resolved("path"), self.resolved("list"))
        self.assertEqual(self.column("loss", "path"), self.column("loss", "list"))

    def test_a_pattern_that_matches_nothing_and_files_that_do_not_fit(self):
        c, a, _ = self.shards()
        folder = self.folder
        self.refused(f"data.train={folder}/none-*.bin", code=66, says=["data.train", "none-*.bin"])
        self.refused(f"data.train={folder}/none/*.bin", code=66, says=["none/*.bin"])
        self.refused(f"data.train=[{a}, {folder}/none.bin]", code=66, says=["none.bin"])
        os.symlink(a, os.path.join(folder, "again.bin"))
        self.refused(f"data.train=[{a}, {c}, {folder}/again.bin]", code=78, says=["a.bin", "again.bin", "same file"])
        self.refused(f"data.train=[{a}, {c}]", "data.format=idx", code=78, says=["idx", "takes one"])
        short = self.write("short.bin", tokens(5).tobytes())
        self.refused(f"data.train=[{a}, {short}]", code=65, says=["short.bin holds 5 tokens"])
        self.write("literal[a].bin", tokens(1000).tobytes())
        self.run_with(f"data.train=\"{folder}/literal[a].bin\"")

    def test_a_bad_token_is_named_before_the_first_step_and_again_by_each_resume(self):
        bad = tokens(4000)
        bad[3900] = 60000
        path = self.write("bad.bin", bad.tobytes())
        says = [f"{path} holds token 60000 at index 3900, not below model.vocab {VOCAB}"]
        self.refused(f"data.train={path}", code=65, says=says, ranks=2)
        self.refused(f"data.train={path}", code=65, says=says, verb=("--resume", "auto"))
        self.refused(f"data.train=[{self.folder}/train.txt, {path}]", code=65, says=says, name="second")
        self.refused(f"data.valid={path}", "eval.every=2", code=65, says=says, name="valid")
        self.run_with(f"data.valid={path}", "train.steps=1", name="not evaluated")
        for ranks in ("1", "3"):  # an evaluation alone meets it in a batch, of the last rank
            result = self.launch("eval", "--device", "cpu", "--nproc", ranks, "--set", "eval.samples=0",
                                 config=self.run_folder("not evaluated"), expect=65)
            self.assertIn(says[0], result.last_line)
        bad[3900] = 0
        self.write("bad.bin", bad.tobytes())
        self.run_with(f"data.train={path}", verb=("--resume", "auto"))
        with open(os.path.join(self.run_folder(), "train.checked")) as file:
            self.assertIsNone(json.load(file)["bad"])

    def test_a_bad_token_in_a_file_that_is_looked_through_beside_the_steps(self):
        path = os.path.join(self.folder, "large.bin")
        with open(path, "wb") as file:
            file.truncate(1200 << 20)  # takes no room
            file.seek(-2, os.SEEK_END)
            file.write(b"\xff\xff")
        says = [f"{path} holds token 65535 at index {(600 << 20) - 1}", "is committed"]
        result = self.run_with(f"data.train={path}", "train.steps=1000000", "log.every=1000", expect=65, ranks=2)
        for words in says:
            self.assertIn(words, result.last_line)
        self.assertEqual(len(os.listdir(os.path.join(self.run_folder(), "checkpoints"))), 1)
        again = self.run_with(f"data.train={path}", "train.steps=1000000", expect=65, verb=("--resume", "auto"))
        self.assertIn(says[0], again.last_line)
        self.assertNotIn("is committed", again.last_line)  # refused before it began

    def test_other_kinds_of_files(self):
        def refused(data, *settings, says):
            path = self.write("given.bin", data)
            self.refused(f"data.train={path}", *settings, code=65, says=["given.bin", *says])

        header = b"{'descr': '<u2', 'fortran_order': False, 'shape': (4000,), }".ljust(117) + b"\n"
        npy = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + tokens(4000).tobytes()
        refused(npy, says=["a NumPy array (.npy)"])
        refused(tokens(4000, typecode="i").tobytes(), says=["4-byte integers", "data.token_bytes to 4"])
        refused(tokens(4000, typecode="q").tobytes(), says=["8-byte integers"])
        refused("In the beginning God created the heaven and the earth.\n" * 100, says=["text", "data.format bytes"])
        refused(b"\x1f\x8b\x08\x00" + bytes(2000), "data.format=bytes", "model.vocab=256", says=["a gzip archive"])
        path = self.write("given.bin", tokens(4000, typecode="i").tobytes())
        self.run_with(f"data.train={path}", "data.token_bytes=4", name="said")
        self.refused("data.token_bytes=4", "data.format=bytes", "model.vocab=256", code=78, says=["data.token_bytes"])


if __name__ == "__main__":
    unittest.main()
