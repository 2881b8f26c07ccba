"""1 rank x 4 micro-batches, 2 x 2 and 4 x 1 are the same run, bit for bit: GPT-2 tiny on the King James text, with dropout."""
import os

import harness


class Ranks(harness.IntegrationTest):
    def run_tiny(self, name, ranks, threads, steps, *settings):
        self.launch("--nproc", str(ranks), "--device", "cpu", "--output-dir", self.run_folder(name),
                    "--set", f"train.steps={steps}", "--set", "schedule.warmup_steps=10", "--set", "model.dropout=0.1",
                    "--set", f"eval.every={steps // 2}", "--set", f"train.threads_per_rank={threads}",
                    *(arg for setting in settings for arg in ("--set", setting)),
                    config=os.path.join(harness.ROOT, "configs", "gpt2-tiny.yaml"))

    def assert_same_run(self, name, other, step):
        for key in ["loss", "grad_norm", "loss_scale", "skipped"]:
            self.assertEqual(self.column(key, name), self.column(key, other), f"{name}: {key}")
        self.assertEqual(self.column("loss", name, "eval"), self.column("loss", other, "eval"), name)
        self.assertEqual(self.weights_hash(step, name), self.weights_hash(step, other), name)

    def test_every_number_of_ranks_and_threads_gives_the_same_curve_and_weights(self):
        for name, ranks, threads in [("r1", 1, 1), ("r1t3", 1, 3), ("r2", 2, 1), ("r2t2", 2, 2), ("r4", 4, 1)]:
            self.run_tiny(name, ranks, threads, 40)
        losses = self.column("loss", "r1")
        self.assertEqual(len(losses), 40)
        self.assertLess(float(losses[-1]), float(losses[0]) - 1.0, "the model learns")
        for name in ["r1t3", "r2", "r2t2", "r4"]:
            self.assert_same_run(name, "r1", 40)

    def test_every_number_of_ranks_gives_the_same_bits_in_16_bits_too(self):
        # A loss scale so high that steps are skipped: alike on every number of ranks.
        for precision, settings in [("bf16", []), ("fp16", ["train.loss_scale_init=16777216", "train.loss_scale_interval=5"])]:
            for ranks, threads in [(1, 2), (2, 1), (4, 1)]:
                self.run_tiny(f"{precision}-{ranks}", ranks, threads, 24, f"train.precision={precision}", *settings)
            for ranks in [2, 4]:
                self.assert_same_run(f"{precision}-{ranks}", f"{precision}-1", 24)
        self.assertIn("True", self.column("skipped", "fp16-1"))
        self.assertNotIn("True", self.column("skipped", "bf16-1"))
        losses = {p: float(self.column("loss", f"{p}-1")[-1]) for p in ["bf16", "fp16"]}
        self.assertNotEqual(losses["bf16"], losses["fp16"])
        self.assertLess(max(losses.values()), 4.5, "the model learns")

    def test_the_same_run_twice_gives_the_same_bits_without_deterministic_too(self):
        for precision in ["fp32", "bf16", "fp16"]:
            self.config(deterministic="false", precision=precision)
            for name in ["a", "b"]:
                self.launch("--nproc", "2", "--output-dir", self.run_folder(precision + name))
            self.assert_same_run(precision + "b", precision + "a", 20)

    def test_other_ranks_without_deterministic_follow_the_same_curve(self):
        self.config(deterministic="false")
        for ranks in [1, 4]:
            self.launch("--nproc", str(ranks), "--output-dir", self.run_folder(f"r{ranks}"))
        for a, b in zip(self.records("r1"), self.records("r4")):
            self.assertAlmostEqual(a["loss"], b["loss"], delta=1e-4 * a["loss"])

    def test_another_seed_gives_another_curve(self):
        self.config()
        for seed in [3, 4]:
            self.launch("--output-dir", self.run_folder(f"s{seed}"), "--set", f"train.seed={seed}", "--set", "train.steps=5")
        self.assertNotEqual(self.column("loss", "s3"), self.column("loss", "s4"))


if __name__ == "__main__":
    harness.main()
