#!/usr/bin/env python3
"""GPT-2 trained by ddp-launch on simulated GPUs: the programs and the CUDA backend's own sources, over simulated
libraries. What it proves is about our kernels and host code, not about cuBLAS, NCCL or a GPU."""
import json
import os
import signal
import struct
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.environ["DDP_SOURCE_ROOT"], "tests", "integration"))
from harness import IntegrationTest, main  # noqa: E402

CHECKED = os.environ.get("DDP_CHECKED_MODULE")  # every access of a kernel is checked: where there is a clang++
CAMPAIGN = os.environ.get("DDP_SIM_CAMPAIGN")  # also what takes minutes
SIMULATOR = ("DDP_SIM_COUNTS", "DDP_SIM_FAULT", "DDP_SIM_SEED", "DDP_SIM_STREAMS", "DDP_SIM_DRIVER", "DDP_SIM_GPUS",
             "DDP_CUDA_MODULE")

CONFIG = """
model: {{name: gpt2, layers: 2, heads: 2, width: 128, context: 64, dropout: {dropout}}}
data: {{format: bytes, train: {folder}/train.txt, valid: {folder}/valid.txt}}
train: {{steps: {steps}, micro_batch: 1, global_batch: {batch}, seed: 3, deterministic: {deterministic}, bucket_mb: 0.25, clip_norm: 1.0}}
optimizer: {{name: adamw, lr: {lr}}}
schedule: {{name: cosine, warmup_steps: {warmup}, min_lr: 1e-5}}
eval: {{every: 0}}
checkpoint: {{every: 0}}
output_dir: {folder}/run
"""


class SimulatedTraining(IntegrationTest):
    def setUp(self):
        super().setUp()
        saved = {name: os.environ.get(name) for name in SIMULATOR}
        self.addCleanup(lambda: [self.setenv(name, value) for name, value in saved.items()])
        self.setenv("DDP_SIM_GPUS", "4")

    @staticmethod
    def setenv(name, value):
        os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)

    def configure(self, steps=3, batch=4, dropout=0.1, deterministic="false", lr=1e-3):
        text = CONFIG.format(folder=self.folder, steps=steps, warmup=min(20, steps), batch=batch, dropout=dropout,
                             deterministic=deterministic, lr=lr)
        self.write("train.yaml", text)

    def train(self, name, *args, seed=1, streams="late"):
        self.setenv("DDP_SIM_SEED", str(seed))
        self.setenv("DDP_SIM_STREAMS", streams)
        self.launch(*args, "--output-dir", self.run_folder(name))
        return [r["loss"] for r in self.records(name)]

    def close(self, a, b, tolerance=1e-5):
        self.assertEqual(len(a), len(b))
        for step, (x, y) in enumerate(zip(a, b), 1):
            self.assertLess(abs(x - y) / abs(x), tolerance, f"step {step}: {x} and {y}")

    def refused(self, words, *args, expect=64):
        line = self.launch(*args, expect=expect).last_line
        for word in words:
            self.assertIn(word, line)

    def finds(self, fault, report, streams="late"):
        """The run must fail, and within a few seeds by this report: elsewhere what the fault does to the numbers may end it first."""
        self.setenv("DDP_SIM_FAULT", fault)
        self.setenv("DDP_SIM_STREAMS", streams)
        for seed in range(1, 9):
            self.setenv("DDP_SIM_SEED", str(seed))
            process = subprocess.run(self.command("--gpus", "0,1", "--output-dir", self.run_folder(f"seed-{seed}")),
                                     capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL)
            self.assertNotEqual(process.returncode, 0, f"{fault} went unnoticed with seed {seed}")
            if process.returncode == 70 and "cuda_sim: " + report in process.stdout + process.stderr:
                return
        self.fail(f"{fault} was never reported by name; the last end: {process.stderr}")

    # ---- correct code ----

    def test_one_and_four_gpus_follow_the_cpu_over_50_steps(self):
        self.follow_the_cpu([("random", 1)])

    @unittest.skipUnless(CAMPAIGN, "takes minutes: DDP_SIM_CAMPAIGN=1")
    def test_one_and_four_gpus_follow_the_cpu_in_six_schedules(self):
        self.follow_the_cpu([(streams, seed) for streams in ("late", "random") for seed in (2, 3, 4)])

    @unittest.skipUnless(CAMPAIGN and CHECKED, "takes minutes: DDP_SIM_CAMPAIGN=1, and a clang++")
    def test_50_steps_give_no_report_when_every_access_is_checked(self):
        self.setenv("DDP_CUDA_MODULE", CHECKED)
        self.configure(steps=50)
        self.train("checked", "--gpus", "0,1", streams="random")

    # At the largest rate that is promised, 1e-3 with a warm-up of 20 and clipping at 1.
    def follow_the_cpu(self, schedules):
        self.configure(steps=50)
        cpu = self.train("cpu", "--nproc", "1", "--device", "cpu")
        self.assertLess(cpu[-1], 0.5 * cpu[0])
        for streams, seed in schedules:
            for gpus in ("0", "0,1,2,3"):
                losses = self.train(f"{gpus} {streams} {seed}", "--gpus", gpus, seed=seed, streams=streams)
                with self.subTest(gpus=gpus, streams=streams, seed=seed):
                    self.close(cpu, losses)

    def test_twenty_seeds_give_the_same_bits_and_no_report(self):
        self.configure(steps=5, batch=2)
        for seed in range(1, 21):
            name = str(seed)
            self.train(name, "--gpus", "0,1", seed=seed, streams="random" if seed % 2 else "late")
            self.assertEqual(self.column("loss", "1"), self.column("loss", name), f"seed {seed}")
            self.assertEqual(self.weights_hash(5, "1"), self.weights_hash(5, name), f"seed {seed}")

    def test_a_repeated_run_gives_the_same_bits_in_any_order_of_streams(self):
        self.configure(steps=6)
        self.train("first", "--gpus", "0,1", streams="late")
        self.train("again", "--gpus", "0,1", streams="late")
        self.train("random", "--gpus", "0,1", streams="random")
        for other in ("again", "random"):
            self.assertEqual(self.column("loss", "first"), self.column("loss", other))
            self.assertEqual(self.weights_hash(6, "first"), self.weights_hash(6, other))

    def test_deterministic_runs_give_the_same_bits_on_one_two_and_four_gpus(self):
        self.configure(steps=4, deterministic="true")
        for gpus, seed in (("0", 1), ("0,1", 2), ("3,1,0,2", 3)):
            self.train(gpus, "--gpus", gpus, seed=seed, streams="random")
            self.assertEqual(self.column("loss", "0"), self.column("loss", gpus))
            self.assertEqual(self.column("grad_norm", "0"), self.column("grad_norm", gpus))
            self.assertEqual(self.weights_hash(4, "0"), self.weights_hash(4, gpus))

    # ---- CUDA graphs ----

    GRAPHS = ("--set", "train.cuda_graph=true")

    def same_bits(self, one, other, steps):
        for column in ("loss", "grad_norm"):
            self.assertEqual(self.column(column, one), self.column(column, other))
        self.assertEqual(self.weights_hash(steps, one), self.weights_hash(steps, other))

    def test_graphs_give_the_bits_of_the_eager_run_with_evaluations_and_checkpoints_in_between(self):
        between = ("--set", "eval.every=3", "--set", "checkpoint.every=2")
        for gpus, batch, deterministic in (("0", 1, "false"), ("0", 4, "false"), ("0,1", 2, "false"), ("0,1", 6, "false"),
                                           ("0", 6, "true"), ("0,1", 4, "true")):
            with self.subTest(gpus=gpus, batch=batch, deterministic=deterministic):
                self.configure(steps=6, batch=batch, deterministic=deterministic)
                name = f"{gpus} {batch} {deterministic}"
                self.train(name, "--gpus", gpus, *between)
                graphs = name + " graphs"
                self.train(graphs, "--gpus", gpus, *between, *self.GRAPHS, seed=batch, streams="late" if gpus == "0" else "random")
                self.same_bits(name, graphs, 6)
                self.assertIsNone(self.records(graphs)[-1]["exposed_comm_ms"])  # it is not measured, and not claimed

    def test_a_run_resumes_with_graphs_where_it_stopped_without(self):
        self.configure(steps=8, batch=2)
        self.train("whole", "--gpus", "0,1")
        self.launch("--gpus", "0,1", "--output-dir", self.run_folder("parts"), "--stop-after", "4", expect=75)
        self.train("parts", "--gpus", "0,1", "--resume", "auto", *self.GRAPHS, streams="random")
        self.same_bits("whole", "parts", 8)

    @unittest.skipUnless(CHECKED, "no clang++: accesses of kernels are not seen")
    def test_graphs_give_no_report_when_every_access_is_checked(self):
        self.configure(steps=4, batch=6)
        self.setenv("DDP_CUDA_MODULE", CHECKED)
        self.train("checked", "--gpus", "0,1", "--set", "eval.every=2", *self.GRAPHS, streams="random")

    def test_a_step_of_graphs_does_the_work_of_an_eager_one_and_none_makes_the_host_wait(self):
        for batch, graphs in ((2, 1), (10, 5)):
            eager = [self.counts(steps, batch=batch) for steps in (3, 4)]
            replayed = [self.counts(steps, *self.GRAPHS, batch=batch) for steps in (3, 4)]
            step = {name: n - replayed[0][name] for name, n in replayed[1].items()}
            self.assertEqual(step["other/graph launch/calls"], graphs)
            self.assertEqual([name for name, n in step.items() if name.startswith("host_synch") and n != 0], [])
            for name, n in eager[1].items():
                if name.startswith("kernels/") or name.startswith("other/nccl") or name.startswith("other/cublas"):
                    self.assertEqual(step[name], n - eager[0][name], name)

    def test_the_key_has_no_effect_on_the_cpu_and_says_so(self):
        self.configure()
        out = self.launch("--device", "cpu", *self.GRAPHS).out
        self.assertEqual(out.count("train.cuda_graph has no effect"), 1)

    # ---- what a step costs ----

    def counts(self, steps, *args, batch=2):
        """What rank 0 asked of the GPU in a whole run, flat: "kernels/adamw/launches" and so on."""
        self.configure(steps=steps, batch=batch)
        name = " ".join(["counted", str(steps), str(batch), *args])
        self.setenv("DDP_SIM_COUNTS", os.path.join(self.folder, name))
        self.train(name, "--gpus", "0,1", *args)
        flat = {}
        with open(os.environ["DDP_SIM_COUNTS"] + ".0") as file:
            for group, entries in json.load(file).items():
                for name, value in entries.items():
                    values = value if isinstance(value, dict) else {"calls": value}
                    flat.update({f"{group}/{name}/{key}": n for key, n in values.items()})
        return flat

    def test_every_step_asks_for_the_same_work_and_none_makes_the_host_wait(self):
        if CHECKED:
            self.setenv("DDP_CUDA_MODULE", CHECKED)  # which also counts bytes
        two, three, five = (self.counts(steps) for steps in (2, 3, 5))
        self.assertEqual(two.keys(), five.keys())
        step = {name: three[name] - two[name] for name in two}
        self.assertEqual({name: 2 * n for name, n in step.items()}, {name: five[name] - three[name] for name in two})
        self.assertEqual([name for name, n in step.items() if name.startswith("host_synch") and n != 0], [])
        self.assertEqual(step["kernels/adamw/launches"], 1)
        self.assertEqual(step["kernels/layernorm_forward/launches"], 5)  # 2 of each layer, and the last
        for kernel, streams in (("gelu_forward", 2), ("gelu_backward", 3)) if CHECKED else ():
            moved = step[f"kernels/{kernel}/bytes_read"] + step[f"kernels/{kernel}/bytes_written"]
            self.assertEqual(moved, 2 * streams * 64 * 4 * 128 * 4)  # layers, arrays of (64, 4 * 128) floats

    def test_the_plan_is_what_the_run_allocates_to_the_byte(self):
        for gpus, deterministic in (("0", "true"), ("0,1", "false"), ("0,1", "true")):
            with self.subTest(gpus=gpus, deterministic=deterministic):
                self.configure(deterministic=deterministic)
                planned = json.loads(self.launch("plan", "--json", "--gpus", gpus).out)["memory_bytes"]
                self.assertEqual(planned["workspace"], 32 << 20)
                self.assertEqual(planned["all_reduce_scratch"] >= 1 << 20, gpus == "0,1" and deterministic == "true")
                counts = os.path.join(self.folder, "counts")
                self.setenv("DDP_SIM_COUNTS", counts)
                self.train(f"run {gpus} {deterministic}", "--gpus", gpus)
                with open(counts + ".0") as file:
                    self.assertEqual(json.load(file)["memory"]["device_bytes"], planned["total"])

    def test_a_token_outside_the_vocabulary_ends_the_run_in_the_batch_that_meets_it(self):
        tokens = [i % 50 for i in range(64 * 40 + 1)]
        tokens[64 * 30 + 7] = 51
        self.write("train.txt", struct.pack(f"<{len(tokens)}H", *tokens))
        self.configure(steps=50)
        line = self.launch("--gpus", "0,1", "--set", "data.format=tokens", "--set", "model.vocab=50", expect=65).last_line
        for words in ("train.txt", "token 51", "sample 30", "not below model.vocab 50"):
            self.assertIn(words, line)

    # ---- planted faults, each found by name ----

    def test_an_all_reduce_that_does_not_wait_for_the_gradients_is_found(self):
        self.configure()
        self.finds("no-wait-before-all-reduce", "unordered access")

    @unittest.skipUnless(CHECKED, "no clang++: accesses of kernels are not seen")
    def test_an_update_that_does_not_wait_for_the_all_reduce_is_found(self):
        self.configure()
        self.setenv("DDP_CUDA_MODULE", CHECKED)
        # In random order, since the late one never gets as far as the all-reduce: the update finds NaN and ends the run.
        self.finds("no-wait-before-update", "unordered access", streams="random")

    @unittest.skipUnless(CHECKED, "no clang++: accesses of kernels are not seen")
    def test_correct_code_gives_no_report_when_every_access_is_checked(self):
        self.configure(steps=5, batch=2)
        self.setenv("DDP_CUDA_MODULE", CHECKED)
        self.train("checked", "--gpus", "0,1", streams="random")

    def test_staging_memory_that_is_overwritten_early_is_found(self):
        self.configure(batch=16)
        self.finds("staging-overwritten", "staging overwritten")

    def test_buckets_in_another_order_on_one_rank_are_found(self):
        self.configure()
        self.finds("bucket-order", "different collectives")

    # ---- a rank that dies ----

    def test_ranks_end_soon_and_name_the_cause_when_a_peer_is_killed(self):
        self.configure(steps=1000)
        launcher = subprocess.Popen(self.command("--gpus", "0,1"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(launcher.stderr.close)
        self.addCleanup(launcher.stdout.close)
        self.addCleanup(launcher.wait)
        self.addCleanup(launcher.kill)
        while "step 2/" not in launcher.stdout.readline():
            self.assertIsNone(launcher.poll())
        with open(f"/proc/{launcher.pid}/task/{launcher.pid}/children") as file:
            victim = int(file.read().split()[1])
        killed = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        err = launcher.communicate(timeout=20)[1]
        self.assertLess(time.monotonic() - killed, 2)
        self.assertEqual(launcher.returncode, 128 + 9)
        self.assertIn("FAILED rank 1 (GPU 1)", err.splitlines()[-1])
        self.assertIn("killed by SIGKILL", err.splitlines()[-1])

    # ---- machines that cannot ----

    def test_a_driver_that_is_missing_or_too_old_is_one_clear_line(self):
        self.configure()
        self.setenv("DDP_SIM_DRIVER", "12040")
        self.refused(["driver is too old", "supports CUDA 12.4", "build with a toolkit <= 12.4"], "--gpus", "0")
        self.setenv("DDP_SIM_DRIVER", "0")
        self.refused(["no NVIDIA driver"], "--gpus", "0")
        self.setenv("DDP_SIM_GPUS", "0")
        self.refused(["no NVIDIA driver", "--device cpu"], "--gpus", "0")

    def test_gpus_that_are_absent_or_named_twice_are_refused(self):
        self.configure()
        self.refused(["GPU 4", "has 4"], "--gpus", "0,4")
        self.refused(["GPU 1 twice"], "--gpus", "1,1")

    def test_a_module_that_is_missing_is_one_clear_line(self):
        self.configure()
        self.setenv("DDP_CUDA_MODULE", os.path.join(self.folder, "none.so"))
        self.refused(["no CUDA backend"], "--gpus", "0")


if __name__ == "__main__":
    main()
