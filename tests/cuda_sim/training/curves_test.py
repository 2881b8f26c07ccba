#!/usr/bin/env python3
"""50 steps of GPT-2 on 1, 2 and 4 simulated GPUs against the CPU: the losses agree, and a repeated run gives the same bits."""
import unittest

from simulated import CAMPAIGN, GRAPHS, SimulatedTraining, main

STEPS = 50


class Curves(SimulatedTraining):
    def follow_the_cpu(self, schedules):
        """At the largest rate that is promised, 1e-3 with a warm-up of 20 and clipping at 1."""
        self.configure(steps=STEPS)
        cpu = self.train("cpu", "--nproc", "1", "--device", "cpu")
        self.assertLess(cpu[-1], 0.6 * cpu[0])
        for gpus in ("0", "0,1,2,3"):
            for streams, seed in schedules:
                losses = self.train(f"{gpus} {streams} {seed}", "--gpus", gpus, seed=seed, streams=streams)
                with self.subTest(gpus=gpus, streams=streams, seed=seed):
                    self.close(cpu, losses)

    def test_one_and_four_gpus_follow_the_cpu_and_repeat_their_bits_in_another_order_of_streams(self):
        self.follow_the_cpu([("random", 1), ("late", 1)])
        for gpus in ("0", "0,1,2,3"):
            self.same_bits(f"{gpus} random 1", f"{gpus} late 1", STEPS)

    @unittest.skipUnless(CAMPAIGN, "takes minutes: DDP_SIM_CAMPAIGN=1")
    def test_one_and_four_gpus_follow_the_cpu_in_six_schedules(self):
        self.follow_the_cpu([(streams, seed) for streams in ("late", "random") for seed in (2, 3, 4)])

    def test_deterministic_runs_give_the_same_bits_on_one_two_and_four_gpus_and_as_graphs(self):
        steps = STEPS if CAMPAIGN else 20
        self.configure(steps=steps, deterministic="true")
        for seed, (gpus, *how) in enumerate((["0"], ["0,1", *GRAPHS], ["3,1,0,2"]), 1):
            self.train(gpus, "--gpus", gpus, *how, seed=seed, streams="random")
            self.same_bits("0", gpus, steps)


if __name__ == "__main__":
    main()
