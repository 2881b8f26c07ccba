#!/usr/bin/env python3
"""Steps as CUDA graphs (train.cuda_graph) on simulated GPUs: the bits and the work of eager steps."""
import unittest

from simulated import CHECKED, GRAPHS, SimulatedTraining, main


class Graphs(SimulatedTraining):
    def test_graphs_give_the_bits_of_the_eager_run_with_evaluations_and_checkpoints_in_between(self):
        between = ("--set", "eval.every=3", "--set", "checkpoint.every=2")
        for gpus, batch, deterministic in (("0", 1, "false"), ("0", 4, "false"), ("0,1", 2, "false"), ("0,1", 6, "false"),
                                           ("0", 6, "true"), ("0,1", 4, "true")):
            with self.subTest(gpus=gpus, batch=batch, deterministic=deterministic):
                self.configure(steps=6, batch=batch, deterministic=deterministic)
                name = f"{gpus} {batch} {deterministic}"
                self.train(name, "--gpus", gpus, *between)
                graphs = name + " graphs"
                self.train(graphs, "--gpus", gpus, *between, *GRAPHS, seed=batch, streams="late" if gpus == "0" else "random")
                self.same_bits(name, graphs, 6)
                self.assertIsNone(self.records(graphs)[-1]["exposed_comm_ms"])  # it is not measured, and not claimed

    def test_a_run_resumes_with_graphs_where_it_stopped_without(self):
        self.configure(steps=8, batch=2)
        self.train("whole", "--gpus", "0,1")
        self.launch("--gpus", "0,1", "--output-dir", self.run_folder("parts"), "--stop-after", "4", expect=75)
        self.train("parts", "--gpus", "0,1", "--resume", "auto", *GRAPHS, streams="random")
        self.same_bits("whole", "parts", 8)

    @unittest.skipUnless(CHECKED, "no clang++: accesses of kernels are not seen")
    def test_graphs_give_no_report_when_every_access_is_checked(self):
        self.configure(steps=4, batch=6)
        self.setenv("DDP_CUDA_MODULE", CHECKED)
        self.train("checked", "--gpus", "0,1", "--set", "eval.every=2", *GRAPHS, streams="random")

    def test_a_step_of_graphs_does_the_work_of_an_eager_one_and_none_makes_the_host_wait(self):
        for batch, graphs in ((2, 1), (10, 5)):
            eager = [self.counts(steps, batch=batch) for steps in (3, 4)]
            replayed = [self.counts(steps, *GRAPHS, batch=batch) for steps in (3, 4)]
            step = {name: n - replayed[0][name] for name, n in replayed[1].items()}
            self.assertEqual(step["other/graph launch/calls"], graphs)
            self.assertEqual([name for name, n in step.items() if name.startswith("host_synch") and n != 0], [])
            for name, n in eager[1].items():
                if name.startswith("kernels/") or name.startswith("other/nccl") or name.startswith("other/cublas"):
                    self.assertEqual(step[name], n - eager[0][name], name)

    def test_where_nccl_cannot_be_captured_without_blocking_its_calls_block_and_the_bits_stay(self):
        self.configure(steps=4)
        self.train("eager", "--gpus", "0,1")
        failed = "calls of NCCL block: captured without blocking, an all-reduce failed on"
        for fault, line in (("", "calls of NCCL do not block: a captured all-reduce gave the sum of an eager one"),
                            ("nccl-capture-fails", failed + " 1 of 2 ranks"), ("nccl-capture-misses", failed + " 2 of 2 ranks")):
            with self.subTest(fault=fault):
                self.setenv("DDP_SIM_FAULT", fault)
                name = "graphs " + fault
                out = self.launch("--gpus", "0,1", "--output-dir", self.run_folder(name), *GRAPHS).out
                self.assertEqual(out.count(line), 1, out)
                self.same_bits("eager", name, 4)
        for answer, line in (("true", "calls of NCCL block: train.nccl_blocking is true"),
                             ("false", "calls of NCCL do not block: train.nccl_blocking is false")):
            self.setenv("DDP_SIM_FAULT", "")
            how = ("--set", f"train.nccl_blocking={answer}", *GRAPHS)
            out = self.launch("--gpus", "0,1", "--output-dir", self.run_folder(answer), *how).out
            self.assertEqual(out.count(line), 1, out)
            self.same_bits("eager", answer, 4)

    def test_the_key_has_no_effect_on_the_cpu_and_says_so(self):
        self.configure()
        out = self.launch("--device", "cpu", *GRAPHS).out
        self.assertEqual(out.count("train.cuda_graph has no effect"), 1)


if __name__ == "__main__":
    main()
