"""Mixed precision learns what fp32 learns: 300 steps end within 1% of its validation loss."""
import os

import harness


class Precision(harness.IntegrationTest):
    STEPS = 300

    def validation_loss(self, recipe, precision, *settings):
        self.launch("--nproc", "2", "--device", "cpu", "--output-dir", self.run_folder(precision),
                    *(arg for s in (f"train.precision={precision}", f"train.steps={self.STEPS}", "train.deterministic=false",
                                    f"eval.every={self.STEPS}", *settings) for arg in ("--set", s)),
                    config=os.path.join(harness.ROOT, "configs", recipe))
        return self.records(precision, "eval")[-1]["loss"]

    def check_16_bits(self, recipe, learnt, *settings):
        want = self.validation_loss(recipe, "fp32", *settings)
        self.assertLess(want, learnt, "it learns")
        for precision in ["fp16", "bf16"]:
            loss = self.validation_loss(recipe, precision, *settings)
            print(f"{recipe} {precision}: {loss:.4f}, fp32 {want:.4f}, {100 * (loss / want - 1):+.2f}%")
            self.assertNotEqual(loss, want)
            self.assertLess(abs(loss - want), 0.01 * want, precision)

    def test_gpt2_on_the_king_james_text(self):
        self.check_16_bits("gpt2-tiny.yaml", 2.1)

    def test_bert_on_the_king_james_text(self):
        if not os.path.exists(os.path.join(harness.ROOT, "data/kjv-wordpiece/meta.json")):
            self.skipTest("no data/kjv-wordpiece: scripts/prepare_kjv_text.sh makes it")
        self.check_16_bits("bert-tiny.yaml", 5.86, "schedule.warmup_steps=30")  # by how often there is each word

    def test_resnet_on_made_up_images(self):
        self.check_16_bits("resnet-tiny.yaml", 1.2, "optimizer.lr=0.05", "eval.samples=1024")  # of ln 10 at first


if __name__ == "__main__":
    harness.main()
