#!/usr/bin/env python3
"""ResNet on simulated GPUs, with a simulated cuDNN: the CPU's losses, and the same bits on 1, 2 and 4 GPUs."""
import unittest

from simulated import CHECKED, GRAPHS, SimulatedTraining, main

import resnet_case

STEPS = 50


class ResNet(SimulatedTraining):
    def configure(self, steps, **how):
        self.write("train.yaml", resnet_case.config(self.folder, steps, **how))

    def test_one_and_four_gpus_follow_the_cpu(self):
        self.configure(STEPS, lr=1e-3, deterministic="false")
        cpu = self.train("cpu", "--nproc", "1", "--device", "cpu")
        for gpus in ("0", "0,1,2,3"):
            with self.subTest(gpus=gpus):
                self.close(cpu, self.train(gpus, "--gpus", gpus, streams="random"), tolerance=3e-5)

    def test_deterministic_runs_give_the_same_bits_on_one_two_and_four_gpus_and_as_graphs(self):
        steps = 8
        for stem, *how in (("imagenet",), ("small", "--set", "train.precision=fp16", "--set", "train.loss_scale_init=16777216",
                                            "--set", "train.loss_scale_interval=2")):
            self.configure(steps, stem=stem, eval_every=4)
            for seed, (gpus, *as_graphs) in enumerate((["0"], ["0,1", *GRAPHS], ["3,1,0,2"]), 1):
                self.train(f"{stem} {gpus}", "--gpus", gpus, *how, *as_graphs, seed=seed, streams="random")
                self.assert_same_run_with_accuracy(f"{stem} 0", f"{stem} {gpus}", steps)
            self.assertEqual("True" in self.column("skipped", f"{stem} 0"), bool(how))

    def test_a_run_resumes_on_another_number_of_gpus_with_less_kept(self):
        self.configure(6, eval_every=3)
        self.train("whole", "--gpus", "0")
        self.launch("--gpus", "0,1", "--output-dir", self.run_folder("parts"), "--stop-after", "2", expect=75)
        self.train("parts", "--gpus", "0,1,2,3", "--resume", "auto", "--set", "train.recompute=block", streams="random")
        self.assert_same_run_with_accuracy("whole", "parts", 6)

    def test_twenty_seeds_give_the_same_bits_and_no_report(self):
        self.configure(2)
        for seed in range(1, 21):
            self.train(str(seed), "--gpus", "0,1", seed=seed, streams="random" if seed % 2 else "late")
            self.same_bits("1", str(seed), 2)

    @unittest.skipUnless(CHECKED, "no clang++: accesses of kernels are not seen")
    def test_correct_code_gives_no_report_when_every_access_is_checked(self):
        self.configure(2, block="basic", eval_every=2)
        self.setenv("DDP_CUDA_MODULE", CHECKED)
        self.train("checked", "--gpus", "0,1", streams="random")


if __name__ == "__main__":
    main()
