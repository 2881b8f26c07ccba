#!/usr/bin/env python3
"""A model that the product does not know, trained by ddp-launch and ddp-rank that were given a list with one line more."""
import os
import unittest

import harness
from harness import IntegrationTest, main

TOY = os.environ["DDP_TOY_LAUNCH"], os.environ["DDP_TOY_RANK"]

CONFIG = """
model: {{name: toy, features: 6, width: 16, classes: 7}}
data: {{format: clouds, train: {folder}/train.count, valid: {folder}/valid.count}}
train: {{steps: 60, micro_batch: 8, global_batch: 32, seed: 3, deterministic: {deterministic}}}
optimizer: {{name: sgd, lr: 0.1, momentum: 0.9, weight_decay: 1e-4}}
schedule: {{name: step, step_size: 25, gamma: 0.5}}
eval: {{every: 20, samples: 96}}
checkpoint: {{every: 0}}
output_dir: {folder}/run
"""

needs_simulation = unittest.skipUnless(os.environ.get("DDP_CUDA_MODULE"), "no CUDA headers: nothing to simulate")


class Toy(IntegrationTest):
    def setUp(self):
        super().setUp()
        self.write("train.count", "3000")
        self.write("valid.count", "500")
        self.configure()

    def configure(self, deterministic="true"):
        self.write("train.yaml", CONFIG.format(folder=self.folder, deterministic=deterministic))

    def use_toys(self):
        launch, rank = TOY
        self.addCleanup(setattr, harness, "LAUNCH", harness.LAUNCH)
        self.addCleanup(os.environ.pop, "DDP_RANK", None)
        harness.LAUNCH = launch
        os.environ["DDP_RANK"] = rank

    def test_the_product_does_not_know_it(self):
        line = self.train_ranks("run", 1, expect=78).last_line
        self.assertIn("toy", line)
        self.assertIn("gpt2", line)

    def test_it_learns_the_same_on_1_and_4_ranks_and_says_so_in_its_own_unit(self):
        self.use_toys()
        out = self.train_ranks("one", 1).out
        self.train_ranks("four", 4)
        for kind, keys in (("step", ("loss", "grad_norm")), ("eval", ("loss", "top1", "top5"))):
            for key in keys:
                self.assertEqual(self.column(key, "one", kind), self.column(key, "four", kind))
        self.assertEqual(self.weights_hash(60, "one"), self.weights_hash(60, "four"))
        evals = self.records("one", "eval")
        self.assertGreater(evals[-1]["top1"], 0.8)  # of 7 classes
        self.assertGreaterEqual(evals[-1]["top5"], evals[-1]["top1"])
        self.assertIn(" pt/s ", out)
        self.assertIn("points_per_s", self.records("one")[0])
        self.assertRegex(out, r"top1 \d+\.\d+%")
        self.assertNotIn("sample      ddp-launch sample", out)

    def test_a_run_in_pieces_is_the_unbroken_run(self):
        self.use_toys()
        self.train_ranks("whole", 2)
        self.train_ranks("pieces", 1, "--stop-after", "31", expect=75)
        self.train_ranks("pieces", 4, "--resume", "auto")
        self.assertEqual(self.column("loss", "whole", "eval"), self.column("loss", "pieces", "eval"))
        self.assertEqual(self.weights_hash(60, "whole"), self.weights_hash(60, "pieces"))

    def test_a_resume_with_another_micro_batch_is_refused(self):
        self.use_toys()
        self.train_ranks("run", 1, "--stop-after", "2", expect=75)
        line = self.train_ranks("run", 1, "--resume", "auto", "--set", "train.micro_batch=4", expect=78).last_line
        self.assertIn("train.micro_batch: 8 became 4", line)

    def test_it_writes_no_text(self):
        self.use_toys()
        self.train_ranks("run", 1, "--stop-after", "1", expect=75)
        line = self.launch("sample", "--prompt", "x", config=self.run_folder("run"), expect=64).last_line
        self.assertIn("toy", line)
        self.assertIn("writes no text", line)

    def test_the_plan_has_a_line_for_its_state(self):
        self.use_toys()
        out = self.launch("plan", "--device", "cpu", "--nproc", "4").out
        self.assertIn("model state", out)
        self.assertIn(" points a step", out)

    def check_that_only_applied_steps_move_weights_and_statistics(self, *where):
        """A loss scale that doubles after each update is too large for fp16 every few steps, from the first on."""
        self.launch(*where, "--set", "train.steps=12", "--set", "train.precision=fp16", "--set", "train.loss_scale_init=16777216",
                    "--set", "train.loss_scale_interval=1", "--set", "checkpoint.every=1", "--set", "checkpoint.keep=20")
        names = self.tensor_names(os.path.join(self.run_folder(), "checkpoints", "step-00000012", "model.safetensors"))
        self.assertIn("second.norm.running_var", names)
        hashes = [self.weights_hash(step) for step in range(1, 13)]
        skipped = [record["skipped"] for record in self.records()]
        self.assertTrue(skipped[0] and skipped[1])
        self.assertIn(True, skipped[skipped.index(False):])
        self.assertEqual([a == b for a, b in zip(hashes, hashes[1:])], skipped[1:])

    def test_a_skipped_step_leaves_its_statistics_alone(self):
        self.use_toys()
        self.check_that_only_applied_steps_move_weights_and_statistics("--device", "cpu", "--nproc", "2")

    def use_simulated_gpus(self):
        self.use_toys()
        for name, value in (("DDP_SIM_GPUS", "4"), ("DDP_SIM_STREAMS", "random"), ("DDP_SIM_SEED", "5")):
            os.environ[name] = value
            self.addCleanup(os.environ.pop, name, None)

    @needs_simulation
    def test_on_simulated_gpus_it_is_within_1e_5_of_the_cpu(self):
        self.use_simulated_gpus()
        short = "--set", "train.steps=12", "--set", "eval.every=6"
        self.train_ranks("cpu", 1, *short)
        for gpus in ("0", "0,1,2,3"):
            name = "gpus " + gpus
            self.launch("--gpus", gpus, *short, "--output-dir", self.run_folder(name))
            for kind in ("step", "eval"):
                for want, got in zip(self.records("cpu", kind), self.records(name, kind), strict=True):
                    self.assertLess(abs(got["loss"] - want["loss"]) / want["loss"], 1e-5, f"{kind} {got['step']}")
            for key in ("top1", "top5"):
                self.assertEqual(self.column(key, "cpu", "eval"), self.column(key, name, "eval"))
        self.assertEqual(self.weights_hash(12, "gpus 0"), self.weights_hash(12, "gpus 0,1,2,3"))

    @needs_simulation
    def test_on_simulated_gpus_a_skipped_step_leaves_its_statistics_alone(self):
        self.use_simulated_gpus()
        self.check_that_only_applied_steps_move_weights_and_statistics("--gpus", "0,1")


if __name__ == "__main__":
    main()
