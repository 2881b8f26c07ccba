#!/usr/bin/env python3
"""GPT-2 in fp16, bf16 and tf32 on simulated GPUs: close to fp32, the same bits again, and no host in the step."""
import json
import os
import unittest

from simulated import CHECKED, COUNTED_CONTEXT, GRAPHS, HEAD_WIDTH, SimulatedTraining, main

STEPS = 16
# The relative error of rounding one value to the type: a loss averages over many roundings and must stay within one.
# Measured over 50 steps: a seventh of it in fp16, a third in bf16, a twentieth in tf32.
ROUNDING = {"fp16": 2**-11, "bf16": 2**-8, "tf32": 2**-11}


def precision(name, **keys):
    keys = {"precision": name, **keys}
    return [arg for key, value in keys.items() for arg in ("--set", f"train.{key}={value}")]


class Precisions(SimulatedTraining):
    def setUp(self):
        super().setUp()
        self.setenv("DDP_SIM_CAPABILITY", "8.0")

    def test_losses_stay_close_to_those_of_fp32_on_one_gpu_and_on_two(self):
        self.configure(steps=STEPS, batch=2)
        fp32 = self.train("fp32", "--gpus", "0")
        for name, tolerance in ROUNDING.items():
            for gpus in ("0", "0,1"):
                with self.subTest(precision=name, gpus=gpus):
                    losses = self.train(f"{name} {gpus}", "--gpus", gpus, *precision(name), streams="random")
                    self.close(fp32, losses, tolerance)
                    self.assertGreater(max(abs(x - y) / x for x, y in zip(fp32, losses)), tolerance / 1000)  # it is another precision

    def test_a_repeated_run_gives_the_same_bits_in_any_order_of_streams_and_as_graphs(self):
        self.configure(steps=6, batch=4)
        for name in ROUNDING:
            with self.subTest(precision=name):
                how = ["--gpus", "0,1", *precision(name)]
                self.train(name, *how)
                self.train(name + " random", *how, streams="random")
                self.train(name + " graphs", *how, *GRAPHS, streams="random")
                self.same_bits(name, name + " random", 6)
                self.same_bits(name, name + " graphs", 6)

    def test_an_overflow_skips_the_step_on_both_gpus_and_halves_the_scale(self):
        steps, init = 6, 2**19  # too much for this model, twice or more
        self.configure(steps=steps, batch=2)
        for gpus in ("0", "0,1"):
            for graphs in ((), GRAPHS):
                run = " ".join([gpus, *graphs])
                with self.subTest(run=run):
                    self.train(run, "--gpus", gpus, *graphs, *precision("fp16", loss_scale_init=init))
                    records = self.records(run)
                    skipped = [record["skipped"] for record in records]
                    self.assertTrue(skipped[0] and skipped[1] and not skipped[-1], skipped)
                    self.assertEqual([r["loss_scale"] for r in records], [init / 2**sum(skipped[:i]) for i in range(steps)])
                    self.assertEqual(records[-1]["applied_steps"], steps - sum(skipped))

    def test_no_step_makes_the_host_wait_with_loss_scaling_on(self):
        if CHECKED:
            self.setenv("DDP_CUDA_MODULE", CHECKED)  # which also counts bytes
        for graphs in ((), GRAPHS):
            three, four = (self.counts(steps, *precision("fp16"), *graphs) for steps in (3, 4))
            step = {name: n - three[name] for name, n in four.items()}
            self.assertEqual([name for name, n in step.items() if name.startswith("host_synch") and n != 0], [])
            self.assertEqual(step["kernels/adamw/launches"], 1)
            for kernel, streams in (("gelu_forward", 2), ("gelu_backward", 3)) if CHECKED else ():
                moved = step[f"kernels/{kernel}/bytes_read"] + step[f"kernels/{kernel}/bytes_written"]
                self.assertEqual(moved, 2 * streams * COUNTED_CONTEXT * 4 * HEAD_WIDTH * 2)  # layers, arrays of (context, 4 * width) halves

    @unittest.skipUnless(CHECKED, "no clang++: accesses of kernels are not seen")
    def test_correct_code_gives_no_report_when_every_access_is_checked(self):
        self.setenv("DDP_CUDA_MODULE", CHECKED)
        for name, batch, deterministic in (("fp16", 2, "false"), ("bf16", 4, "false"), ("bf16", 4, "true")):
            with self.subTest(precision=name, batch=batch, deterministic=deterministic):
                self.configure(batch=batch, deterministic=deterministic)
                self.train(f"{name} {deterministic}", "--gpus", "0,1", "--set", "eval.every=2", *precision(name),
                           streams="random")

    def test_the_plan_is_what_the_run_allocates_to_the_byte(self):
        for batch, keys in ((2, {}), (4, {}), (4, {"grad_dtype": "fp32"}), (4, {"deterministic": "true"})):
            with self.subTest(batch=batch, **keys):
                self.configure(batch=batch)
                how = ["--gpus", "0,1", *precision("bf16", **keys)]
                planned = json.loads(self.launch("plan", "--json", *how).out)["memory_bytes"]["total"]
                counts = os.path.join(self.folder, "counts")
                self.setenv("DDP_SIM_COUNTS", counts)
                self.train(" ".join([str(batch), *keys]), *how)
                with open(counts + ".0", encoding="utf-8") as file:
                    self.assertEqual(json.load(file)["memory"]["device_bytes"], planned)

    def test_what_a_gpu_does_not_have_is_refused_before_the_ranks_start(self):
        self.configure()
        self.setenv("DDP_SIM_CAPABILITY", "7.5")
        for name in ("bf16", "tf32"):
            self.refused(["GPU 1", "7.5", "8.0", "fp16"], "--gpus", "1", *precision(name), expect=78)
        self.refused(["tf32", "CPU"], "--device", "cpu", *precision("tf32"), expect=78)
        self.assertFalse(os.path.exists(self.run_folder("run")))


if __name__ == "__main__":
    main()
