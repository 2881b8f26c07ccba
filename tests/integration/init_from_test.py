#!/usr/bin/env python3
"""model.init_from with files as others publish them: each is evaluated like the model that it holds, or refused before a rank starts."""
import json
import os
import shutil
import struct

from harness import IntegrationTest, main

STEPS = 6


def header_and_data(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return {name: entry for name, entry in header.items() if name != "__metadata__"}, file.read()


class InitFrom(IntegrationTest):
    def setUp(self):
        super().setUp()
        self.config(steps=STEPS)
        self.launch("--device", "cpu")
        self.header, data = header_and_data(self.model_file(STEPS))
        self.values = {name: data[slice(*entry["data_offsets"])] for name, entry in self.header.items()}
        self.loss = self.evaluate(self.model_file(STEPS)).out

    def save(self, name, tensors, metadata=None):
        """A file with these tensors, [name outside, name of ours]."""
        header, data = {} if metadata is None else {"__metadata__": metadata}, b""
        for outside, ours in tensors:
            header[outside] = {**self.header[ours], "data_offsets": [len(data), len(data) + len(self.values[ours])]}
            data += self.values[ours]
        raw = json.dumps(header).encode()
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(struct.pack("<Q", len(raw)) + raw + data)
        return path

    def evaluate(self, weights, *args, expect=0):
        return self.launch("eval", "--device", "cpu", "--set", f"model.init_from={weights}", *args, expect=expect)

    def assert_same(self, weights, says=None):
        run = self.evaluate(weights)
        self.assertEqual(run.out.split(" in ")[0].replace(weights, ""), self.loss.split(" in ")[0].replace(self.model_file(STEPS), ""))
        self.assertEqual(run.err.count("model.init_from: "), 0 if says is None else 1, run.err)
        self.assertIn(says or "", run.err)

    def test_what_holds_the_model_is_evaluated_like_it(self):
        names = [(name, name) for name in self.header]
        self.assert_same(os.path.dirname(self.model_file(STEPS)))
        self.assert_same(self.save("wrapped.safetensors", [("module._orig_mod.transformer." + name, name) for name, _ in names]),
                         'its names are read without "module._orig_mod."')
        self.assert_same(self.save("head.safetensors", [*names, ("lm_head.weight", "wte.weight")]))
        self.assert_same(self.save("copy.safetensors", [("lm_head.weight" if name == "wte.weight" else name, name) for name, _ in names]))

    def test_shards_are_read_from_their_folder_and_by_their_index(self):
        names = [(name, name) for name in self.header]
        where = {}
        for shard, part in (("a.safetensors", names[::2]), ("b.safetensors", names[1::2])):
            self.save(os.path.join("sharded", shard), part, metadata={"format": "pt"})
            where.update({name: shard for name, _ in part})
        index = self.write(os.path.join("sharded", "model.safetensors.index.json"), json.dumps({"metadata": {}, "weight_map": where}))
        self.assert_same(index)
        self.assert_same(os.path.dirname(index))
        os.remove(os.path.join(self.folder, "sharded", "b.safetensors"))
        self.assertIn("b.safetensors: No such file", self.evaluate(index, expect=66).last_line)

    def test_a_smaller_context_takes_the_first_positions_and_says_so(self):
        whole = self.header["wpe.weight"]["shape"][0]
        run = self.launch("--device", "cpu", "--set", f"model.init_from={self.model_file(STEPS)}", "--set", f"model.context={whole // 2}", "--set",
                          "optimizer.lr=0", "--set", "schedule.min_lr=0", "--output-dir", self.run_folder("shorter"))
        self.assertIn(f"wpe.weight uses {whole // 2} of {whole} positions (model.context)", run.out)
        kept = self.tensors(self.model_file(STEPS, "shorter"))["wpe.weight"]
        self.assertTrue(kept == self.values["wpe.weight"][:len(kept)])
        alone = shutil.copy(self.model_file(STEPS), self.folder)  # without the config.json that says it too
        longer = self.evaluate(alone, "--set", f"model.context={2 * whole}", expect=78)
        self.assertIn(f"(set model.context to {whole} or less)", longer.last_line)

    def test_what_is_no_safetensors_file_is_refused_before_a_rank_starts(self):
        pointer = self.write("lfs.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 548105171\n")
        folder = os.path.join(self.folder, "pickles")
        os.mkdir(folder)
        shutil.copy(pointer, os.path.join(folder, "pytorch_model.bin"))
        for weights, code, says in ((pointer, 65, "it is a Git LFS pointer, which stands for a file that was not fetched; fetch it with git lfs pull"),
                                    (folder, 66, "but pytorch_model.bin, which is not read; convert it to safetensors")):
            for run in (self.evaluate(weights, expect=code),
                        self.launch("--device", "cpu", "--set", f"model.init_from={weights}", "--output-dir", self.run_folder("none"), expect=code)):
                self.assertIn(says, run.last_line)
                self.assertIn("model.init_from: ", run.last_line)
        self.assertFalse(os.path.exists(self.run_folder("none")))


if __name__ == "__main__":
    main()
