#!/usr/bin/env python3
"""ResNet on CPU ranks: the same losses, running statistics and accuracy on every number of ranks, whatever happens in between."""
import unittest

import resnet_case
from harness import IntegrationTest, main

STEPS = 24


class ResNet(IntegrationTest):
    def setUp(self):
        super().setUp()
        self.configure()

    def configure(self, **how):
        self.write("train.yaml", resnet_case.config(self.folder, STEPS, eval_every=12, **how))

    def test_every_number_of_ranks_and_threads_gives_the_same_bits_in_every_precision(self):
        fp16 = ("--set", "train.precision=fp16", "--set", "train.loss_scale_init=16777216", "--set", "train.loss_scale_interval=5")
        for block, stem, *how in (("bottleneck", "imagenet"), ("basic", "small", "--set", "train.precision=bf16"), ("bottleneck", "small", *fp16)):
            with self.subTest(block=block, stem=stem, how=how):
                self.configure(block=block, stem=stem)
                names = [f"{block}-{stem}-{ranks}-{threads}" for ranks, threads in ((1, 3), (2, 1), (4, 1))]
                for name in names:
                    ranks, threads = name.split("-")[2:]
                    self.train_ranks(name, ranks, "--set", f"train.threads_per_rank={threads}", *how)
                for name in names[1:]:
                    self.assert_same_run_with_accuracy(name, names[0], STEPS)
                self.assertEqual("True" in self.column("skipped", names[0]), "train.precision=fp16" in how)

    def test_a_run_in_pieces_on_other_numbers_of_ranks_is_the_unbroken_run(self):
        self.train_ranks("whole", 2)
        self.train_ranks("pieces", 1, "--stop-after", "7", expect=75)
        self.train_ranks("pieces", 4, "--resume", "auto", "--stop-after", "15", expect=75)
        self.train_ranks("pieces", 2, "--resume", "auto")
        self.assertEqual(self.column("loss", "whole", "eval"), self.column("loss", "pieces", "eval"))
        self.assertEqual(self.column("top1", "whole", "eval"), self.column("top1", "pieces", "eval"))
        self.assertEqual(self.weights_hash(STEPS, "whole"), self.weights_hash(STEPS, "pieces"))

    def test_a_resume_with_another_micro_batch_is_refused(self):
        self.train_ranks("run", 1, "--stop-after", "2", expect=75)
        line = self.train_ranks("run", 1, "--resume", "auto", "--set", "train.micro_batch=2", expect=78).last_line
        self.assertIn("train.micro_batch: 4 became 2", line)

    def test_a_model_starts_from_a_saved_one_with_its_running_statistics(self):
        self.train_ranks("first", 2)
        saved = self.model_file(STEPS, "first")
        self.assertIn("layer2.0.downsample.1.running_var", self.tensor_names(saved))
        self.train_ranks("second", 2, "--set", f"model.init_from={saved}", "--set", "optimizer.lr=0", "--set", "eval.every=1")
        last, again = self.records("first", "eval")[-1], self.records("second", "eval")[0]
        # The statistics have moved by one step's observations, the weights have not.
        self.assertAlmostEqual(again["loss"], last["loss"], delta=0.1)
        line = self.train_ranks("third", 2, "--set", f"model.init_from={saved}", "--set", "model.width=16", expect=78).last_line
        self.assertIn("layer2.0.bn3.weight is [64], the model's is [128]", line)

    def test_another_number_of_classes_starts_the_classifier_anew_and_says_so(self):
        self.train_ranks("first", 2)
        saved = self.model_file(STEPS, "first")
        how = ("--set", "model.classes=5", "--set", "optimizer.lr=0", "--stop-after")
        start = ("--set", f"model.init_from={saved}")
        out = self.train_ranks("tuned", 2, *how, "1", *start, expect=75).out
        self.assertIn(f"model.init_from: {saved} fits but for what starts anew: fc.bias is [8], the model's is [5]; "
                      "fc.weight is [8, 64], the model's is [5, 64]\n", out)
        self.assertEqual(out.count("starts anew"), 1, out)
        self.train_ranks("fresh", 2, *how, "1", expect=75)
        first, tuned, fresh = (self.tensors(path) for path in (saved, self.model_file(1, "tuned"), self.model_file(1, "fresh")))
        for name, values in tuned.items():
            if ".running_" not in name:  # they move at any learning rate
                self.assertTrue(values == (fresh if name.startswith("fc.") else first)[name], name)
        self.assertNotIn("starts anew", self.train_ranks("tuned", 2, *how, "2", *start, "--resume", "auto", expect=75).out)

    def test_what_does_not_fit_is_one_clear_line(self):
        for settings, words in ((("data.train=many",), ("many is no number of samples", "data.train: 50000")),
                                (("data.format=bytes", f"data.train={self.folder}/train.txt", f"data.valid={self.folder}/valid.txt"), ("has no image", "formats that have: images, idx, cifar10, cifar100, synthetic")),
                                (("model.name=gpt2",), ("model.block is a key of model resnet",))):
            with self.subTest(settings=settings):
                line = self.train_ranks("run", 1, *(arg for s in settings for arg in ("--set", s)), expect=78).last_line
                for word in words:
                    self.assertIn(word, line)

    def test_the_console_speaks_of_images(self):
        out = self.train_ranks("run", 2).out
        self.assertIn(" img/s ", out)
        self.assertRegex(out, r"top1 \d+\.\d+%")
        self.assertIn("images_per_s", self.records()[0])
        self.assertIn(" images a step", self.launch("plan", "--device", "cpu").out)


if __name__ == "__main__":
    main()
