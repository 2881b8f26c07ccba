"""1 rank x 4 micro-batches, 2 x 2 and 4 x 1 are the same run, bit for bit: GPT-2 tiny on the King James text, with dropout."""
import os

import harness


class Ranks(harness.IntegrationTest):
    STEPS = 40

    def test_every_number_of_ranks_and_threads_gives_the_same_curve_and_weights(self):
        recipe = os.path.join(harness.ROOT, "configs", "gpt2-tiny.yaml")
        for name, ranks, threads in [("r1", 1, 1), ("r1t3", 1, 3), ("r2", 2, 1), ("r2t2", 2, 2), ("r4", 4, 1)]:
            self.launch("--nproc", str(ranks), "--device", "cpu", "--output-dir", self.run_folder(name),
                        "--set", f"train.steps={self.STEPS}", "--set", "schedule.warmup_steps=10", "--set", "model.dropout=0.1",
                        "--set", "eval.every=20", "--set", f"train.threads_per_rank={threads}", config=recipe)
        losses = self.column("loss", "r1")
        self.assertEqual(len(losses), self.STEPS)
        self.assertLess(float(losses[-1]), float(losses[0]) - 1.0, "the model learns")
        for name in ["r1t3", "r2", "r2t2", "r4"]:
            self.assertEqual(self.column("loss", name), losses, name)
            self.assertEqual(self.column("grad_norm", name), self.column("grad_norm", "r1"), name)
            self.assertEqual(self.column("loss", name, "eval"), self.column("loss", "r1", "eval"), name)
            self.assertEqual(self.weights_hash(self.STEPS, name), self.weights_hash(self.STEPS, "r1"), name)

    def test_the_same_run_twice_gives_the_same_bits_without_deterministic_too(self):
        self.config(deterministic="false")
        for name in ["a", "b"]:
            self.launch("--nproc", "2", "--output-dir", self.run_folder(name))
        self.assertEqual(self.column("loss", "a"), self.column("loss", "b"))
        self.assertEqual(self.weights_hash(20, "a"), self.weights_hash(20, "b"))

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
