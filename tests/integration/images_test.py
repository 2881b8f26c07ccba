#!/usr/bin/env python3
"""Training on pictures from files: the same bits on every number of ranks and workers, and data that is wrong is refused by name."""
import json
import os
import random
import struct
import unittest
import zlib

from harness import IntegrationTest, main

STEPS = 24
CLASSES, SIDE = 4, 8

CONFIG = """
model: {{name: resnet, block: basic, blocks: [1, 1], width: 8, stem: small, image_size: {side}, channels: {channels}, classes: {classes}}}
data: {{format: {format}, train: {folder}/{train}, valid: {folder}/{valid}, augment: {augment}}}
train: {{steps: {steps}, micro_batch: 4, global_batch: 16, seed: 3, deterministic: true, bucket_mb: 0.01, clip_norm: 0}}
optimizer: {{name: sgd, lr: 0.05, momentum: 0.9}}
eval: {{every: 12, samples: 20}}
checkpoint: {{every: 0}}
output_dir: {folder}/run
"""


def idx(dims, values):
    return struct.pack(f">I{len(dims)}I", 0x800 + len(dims), *dims) + values


def png(width, height, rgb):
    """`rgb` has 3 bytes a pixel."""
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + rgb[y * width * 3:(y + 1) * width * 3] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def noisy(draws, label, size):
    """Pixels around a level of the class."""
    return bytes(min(255, 40 + 50 * label + draws.randrange(40)) for _ in range(size))


class Images(IntegrationTest):
    def configure(self, **changes):
        values = {"folder": self.folder, "steps": STEPS, "side": SIDE, "channels": 1, "classes": CLASSES, "format": "idx",
                  "train": "train-images-idx3-ubyte", "valid": "t10k-images-idx3-ubyte", "augment": "shift"}
        self.write("train.yaml", CONFIG.format(**{**values, **changes}))

    def write_idx(self, split, n, labels=None, pack=lambda data: data, ending=""):
        draws = random.Random(split)
        labels = labels or [i % CLASSES for i in range(n)]
        pixels = b"".join(noisy(draws, label, SIDE * SIDE) for label in labels)
        self.write(f"{split}-images-idx3-ubyte{ending}", pack(idx([n, SIDE, SIDE], pixels)))
        self.write(f"{split}-labels-idx1-ubyte{ending}", pack(idx([n], bytes(labels))))

    def write_folders(self, split, n):
        """Pictures of various sizes, n a class."""
        draws = random.Random(split)
        for label in range(CLASSES):
            folder = os.path.join(self.folder, split, f"class-{label}")
            os.makedirs(folder)
            for i in range(n):
                width, height = 10 + draws.randrange(10), 10 + draws.randrange(10)
                self.write(os.path.join(folder, f"{i}.png"), png(width, height, noisy(draws, label, width * height * 3)))

    def train(self, name, ranks, *args, workers=1, expect=0):
        return self.launch("--device", "cpu", "--nproc", str(ranks), "--set", f"data.num_workers={workers}", *args,
                           "--output-dir", self.run_folder(name), expect=expect)

    def refused(self, code, *words, sets=()):
        line = self.train("refused", 2, *(arg for s in sets for arg in ("--set", s)), expect=code).last_line
        for word in words:
            self.assertIn(word, line)

    def assert_same_bits(self):
        names = []
        for ranks, workers in ((1, 1), (1, 3), (4, 1), (4, 3)):
            names.append(f"{ranks}-{workers}")
            self.train(names[-1], ranks, workers=workers)
            self.assertEqual(self.column("loss", names[-1]), self.column("loss", names[0]))
            self.assertEqual(self.column("loss", names[-1], "eval"), self.column("loss", names[0], "eval"))
            self.assertEqual(self.weights_hash(STEPS, names[-1]), self.weights_hash(STEPS, names[0]))
        losses = [float(loss) for loss in self.column("loss", names[0])]
        self.assertLess(sum(losses[-4:]) / 4, losses[0] - 0.2, "the model learns")

    def test_idx_trains_to_the_same_bits_on_every_number_of_ranks_and_workers(self):
        self.write_idx("train", 200)
        self.write_idx("t10k", 20)
        self.configure()
        self.assert_same_bits()

    def test_a_resume_goes_on_alike_and_notices_changed_data(self):
        self.write_idx("train", 200)
        self.write_idx("t10k", 20)
        self.configure()
        self.train("whole", 2)
        self.train("pieces", 1, "--stop-after", "5", expect=75)
        self.train("pieces", 4, "--resume", "auto", "--stop-after", "9", expect=75)
        with open(os.path.join(self.folder, "train-labels-idx1-ubyte"), "r+b") as labels:
            labels.seek(8)
            first = labels.read(1)
            labels.seek(8)
            labels.write(b"\3")
            labels.flush()
            line = self.train("pieces", 2, "--resume", "auto", expect=65).last_line
            self.assertIn("train-images-idx3-ubyte changed since", line)
            labels.seek(8)
            labels.write(first)
        self.train("pieces", 2, "--resume", "auto")
        self.assertEqual(self.weights_hash(STEPS, "whole"), self.weights_hash(STEPS, "pieces"))

    def test_data_that_is_wrong_is_refused_in_one_line_that_names_it(self):
        self.write_idx("t10k", 20)
        self.configure()
        self.refused(66, "data.train: cannot open", "train-images-idx3-ubyte: No such file")
        self.write_idx("train", 40, labels=[7] + [1] * 39)
        self.refused(65, "train-labels-idx1-ubyte: sample 0 has label 7, not below model.classes 4")
        self.write_idx("train", 40, pack=lambda data: data[:-1])
        self.refused(65, "train-images-idx3-ubyte ends early")
        self.write_idx("train", 40, pack=lambda data: b"\1" + data)
        self.refused(65, "train-images-idx3-ubyte begins with 0x01000008 and not with 0x00000803")
        self.write_idx("train", 40)
        self.refused(78, "model.channels is 3; set model.channels to 1", sets=("model.channels=3", "model.pixel_mean=[0,0,0]",
                                                                            "model.pixel_std=[1,1,1]"))
        self.refused(78, "data.augment is flip, and data.format synthetic has no pictures", sets=("data.format=synthetic", "data.augment=flip"))
        self.refused(65, "3073-byte records", sets=("data.format=cifar10",))
        self.refused(66, "data.train: ", "train-images-idx3-ubyte is no folder", sets=("data.format=images",))
        self.refused(66, "has no folder in it; data.format images takes a folder", sets=("data.format=images", f"data.train={self.empty_folder()}",
                                                                                       f"data.valid={self.empty_folder()}"))
        self.refused(66, "is not a regular file", sets=(f"data.train={self.empty_folder()}",))

    def empty_folder(self):
        path = os.path.join(self.folder, "empty")
        os.makedirs(path, exist_ok=True)
        return path

    def test_folders_of_pictures_train_to_the_same_bits_and_a_corrupt_one_is_named_and_replaced(self):
        self.write_folders("train", 12)
        self.write_folders("val", 3)
        self.configure(format="images", train="train", valid="val", channels=3, augment="auto")
        self.write("train/class-1/3.png", "no picture")
        self.assert_same_bits()
        out = self.train("told", 1).out
        self.assertEqual(out.count("train/class-1/3.png: "), 1, out)
        self.assertIn("train: 1 of the files that this rank read are corrupt", out)
        # An evaluation alone looks into the folders itself, and leaves the run's as it is.
        told = self.run_folder("told")
        os.remove(os.path.join(told, "valid.index"))
        evaluated = json.loads(self.launch("eval", "--nproc", "2", "--json", config=told).out)
        self.assertEqual({key: evaluated[key] for key in ["loss", "top1"]}, {key: self.records("told", "eval")[-1][key] for key in ["loss", "top1"]})
        self.assertFalse(os.path.exists(os.path.join(told, "valid.index")))
        self.refused(78, "train has 4 classes and model.classes is 3; set model.classes to 4", sets=("model.classes=3",))
        self.refused(65, "train/class-1/3.png: ", "set data.corrupt to skip", sets=("data.corrupt=stop",))
        # What was trained before it is met is committed, whichever rank meets it.
        settings = ("--set", "data.corrupt=stop", "--set", "train.seed=4")
        line = self.train("corrupt", 2, *settings, expect=65).last_line
        steps = len(self.records("corrupt"))
        self.assertIn(f"step {steps} is committed", line)
        self.train("before", 2, *settings, "--stop-after", str(steps), expect=75)
        self.assertEqual(self.weights_hash(steps, "corrupt"), self.weights_hash(steps, "before"))

    def test_a_resume_notices_another_file_in_a_folder(self):
        self.write_folders("train", 12)
        self.write_folders("val", 3)
        self.configure(format="images", train="train", valid="val", channels=3, augment="auto")
        self.train("run", 2, "--stop-after", "5", expect=75)
        added = self.write("train/class-2/more.png", png(1, 1, b"abc"))
        self.assertIn("changed since", self.train("run", 2, "--resume", "auto", expect=65).last_line)
        os.remove(added)
        self.train("run", 2, "--resume", "auto", "--stop-after", "6", expect=75)
        for split in ("train", "val"):  # the same in another place
            os.rename(os.path.join(self.folder, split), os.path.join(self.folder, "moved-" + split))
        self.train("run", 2, "--resume", "auto", "--set", f"data.train={self.folder}/moved-train", "--set",
                   f"data.valid={self.folder}/moved-val")


if __name__ == "__main__":
    main()
