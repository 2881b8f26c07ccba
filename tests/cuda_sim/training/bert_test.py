#!/usr/bin/env python3
"""BERT on simulated GPUs, in both of its tasks: the CPU's losses, and the same bits on 1, 2 and 4 GPUs."""
import unittest

from simulated import CHECKED, GRAPHS, SimulatedTraining, main

import bert_case

STEPS = 50
TASKS = ("mlm", "classify")


class Bert(SimulatedTraining):
    def setUp(self):
        super().setUp()
        bert_case.write_tokens(self.folder)
        bert_case.write_texts(self.folder)

    def configure(self, steps, **how):
        self.write("train.yaml", bert_case.config(self.folder, steps, **how))

    def test_one_and_four_gpus_follow_the_cpu(self):
        for task in TASKS:
            self.configure(STEPS, task=task, deterministic="false")
            cpu = self.train(f"{task} cpu", "--nproc", "1", "--device", "cpu")
            for gpus in ("0", "0,1,2,3"):
                with self.subTest(task=task, gpus=gpus):
                    self.close(cpu, self.train(f"{task} {gpus}", "--gpus", gpus, streams="random"))

    def test_deterministic_runs_give_the_same_bits_on_one_two_and_four_gpus_and_as_graphs(self):
        steps = 8
        for task, *how in (("mlm",), ("classify", "--set", "train.precision=fp16", "--set", "train.loss_scale_init=16777216",
                                      "--set", "train.loss_scale_interval=2")):
            self.configure(steps, task=task, eval_every=4)
            for seed, (gpus, *as_graphs) in enumerate((["0"], ["0,1", *GRAPHS], ["3,1,0,2"]), 1):
                self.train(f"{task} {gpus}", "--gpus", gpus, *how, *as_graphs, seed=seed, streams="random")
                self.assert_same_run_with_accuracy(f"{task} 0", f"{task} {gpus}", steps)
            self.assertEqual("True" in self.column("skipped", f"{task} 0"), bool(how))

    def test_a_run_resumes_on_another_number_of_gpus_with_less_kept(self):
        self.configure(6, eval_every=3)
        self.train("whole", "--gpus", "0")
        self.launch("--gpus", "0,1", "--output-dir", self.run_folder("parts"), "--stop-after", "2", expect=75)
        self.train("parts", "--gpus", "0,1,2,3", "--resume", "auto", "--set", "train.recompute=gelu+ln", streams="random")
        self.assert_same_run_with_accuracy("whole", "parts", 6)

    def test_twenty_seeds_give_the_same_bits_and_no_report(self):
        for task in TASKS:
            self.configure(2, task=task)
            for seed in range(1, 21):
                name = f"{task} {seed}"
                self.train(name, "--gpus", "0,1", seed=seed, streams="random" if seed % 2 else "late")
                self.same_bits(f"{task} 1", name, 2)

    @unittest.skipUnless(CHECKED, "no clang++: accesses of kernels are not seen")
    def test_correct_code_gives_no_report_when_every_access_is_checked(self):
        self.setenv("DDP_CUDA_MODULE", CHECKED)
        for task in TASKS:
            self.configure(2, task=task, eval_every=2)
            self.train(f"{task} checked", "--gpus", "0,1", streams="random")


if __name__ == "__main__":
    main()
