"""Mixed precision learns what fp32 learns: GPT-2 tiny on the King James text, 300 steps, within 1% of its validation loss."""
import os

import harness


class Precision(harness.IntegrationTest):
    STEPS = 300

    def validation_loss(self, precision):
        self.launch("--nproc", "2", "--device", "cpu", "--output-dir", self.run_folder(precision),
                    "--set", f"train.precision={precision}", "--set", f"train.steps={self.STEPS}", "--set", "train.deterministic=false",
                    "--set", f"eval.every={self.STEPS}", config=os.path.join(harness.ROOT, "configs", "gpt2-tiny.yaml"))
        return self.records(precision, "eval")[-1]["loss"]

    def test_300_steps_in_fp16_and_bf16_end_within_1_percent_of_fp32(self):
        want = self.validation_loss("fp32")
        self.assertLess(want, 2.1, "it learns")
        for precision in ["fp16", "bf16"]:
            loss = self.validation_loss(precision)
            print(f"{precision}: {loss:.4f}, fp32 {want:.4f}, {100 * (loss / want - 1):+.2f}%")
            self.assertNotEqual(loss, want)
            self.assertLess(abs(loss - want), 0.01 * want, precision)


if __name__ == "__main__":
    harness.main()
