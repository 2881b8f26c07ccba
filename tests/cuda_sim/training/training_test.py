#!/usr/bin/env python3
"""GPT-2 trained by ddp-launch on simulated GPUs: no report on correct code in any schedule, each planted fault found by
name, what a step costs, and how a run ends that cannot go on."""
import json
import os
import shutil
import signal
import struct
import subprocess
import time
import unittest

from simulated import CAMPAIGN, CHECKED, CONTEXT, COUNTED_CONTEXT, HEAD_WIDTH, PATIENCE_S, SimulatedTraining, main


class Training(SimulatedTraining):
    def finds(self, fault, report, streams="late"):
        """The run must fail, and within a few seeds by this report: elsewhere what the fault does to the numbers may end it first."""
        self.setenv("DDP_SIM_FAULT", fault)
        self.setenv("DDP_SIM_STREAMS", streams)
        for seed in range(1, 9):
            self.setenv("DDP_SIM_SEED", str(seed))
            process = subprocess.run(self.command("--gpus", "0,1", "--output-dir", self.run_folder(f"seed-{seed}")),
                                     capture_output=True, text=True, timeout=PATIENCE_S, stdin=subprocess.DEVNULL)
            self.assertNotEqual(process.returncode, 0, f"{fault} went unnoticed with seed {seed}")
            if process.returncode == 70 and "cuda_sim: " + report in process.stdout + process.stderr:
                return
        self.fail(f"{fault} was never reported by name; the last end: {process.stderr}")

    # ---- correct code ----

    @unittest.skipUnless(CAMPAIGN and CHECKED, "takes minutes: DDP_SIM_CAMPAIGN=1, and a clang++")
    def test_50_steps_give_no_report_when_every_access_is_checked(self):
        self.setenv("DDP_CUDA_MODULE", CHECKED)
        self.configure(steps=50)
        self.train("checked", "--gpus", "0,1", streams="random")

    def test_twenty_seeds_give_the_same_bits_and_no_report(self):
        self.configure(steps=5, batch=2)
        for seed in range(1, 21):
            name = str(seed)
            self.train(name, "--gpus", "0,1", seed=seed, streams="random" if seed % 2 else "late")
            self.assertEqual(self.column("loss", "1"), self.column("loss", name), f"seed {seed}")
            self.assertEqual(self.weights_hash(5, "1"), self.weights_hash(5, name), f"seed {seed}")

    def test_an_evaluation_is_of_the_same_samples_for_every_micro_batch_and_number_of_gpus(self):
        self.configure(steps=2)
        self.train("run", "--gpus", "0")
        self.setenv("DDP_SIM_STREAMS", "random")

        def loss(gpus, micro_batch):
            settings = ("--set", f"train.micro_batch={micro_batch}", "--set", "eval.samples=7")
            got = json.loads(self.launch("eval", "--json", "--gpus", gpus, *settings, config=self.run_folder("run")).out)
            self.assertEqual(got["samples"], 7)
            return got["loss"]

        for micro_batch in (1, 3, 8):
            alone = loss("0", micro_batch)
            self.assertEqual(loss("0,1", micro_batch), alone)  # bit for bit
            self.close([loss("0", 1)], [alone], 1e-6)

    # ---- what a step costs ----

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
            self.assertEqual(moved, 2 * streams * COUNTED_CONTEXT * 4 * HEAD_WIDTH * 4)  # layers, arrays of (context, 4 * width) floats

    def test_the_plan_is_what_the_run_allocates_to_the_byte(self):
        larger = ("--set", "train.workspace_mb=33")
        for gpus, deterministic, workspace in (("0", "true", ()), ("0,1", "false", larger), ("0,1", "true", ())):
            with self.subTest(gpus=gpus, deterministic=deterministic):
                self.configure(deterministic=deterministic)
                planned = json.loads(self.launch("plan", "--json", "--gpus", gpus, *workspace).out)["memory_bytes"]
                self.assertEqual(planned["workspace"], (33 if workspace else 32) << 20)
                self.assertEqual(planned["communicator"] >= 1 << 20, gpus == "0,1" and deterministic == "true")
                counts = os.path.join(self.folder, "counts")
                self.setenv("DDP_SIM_COUNTS", counts)
                self.train(f"run {gpus} {deterministic}", "--gpus", gpus, *workspace)
                with open(counts + ".0") as file:
                    self.assertEqual(json.load(file)["memory"]["device_bytes"], planned["total"])

    def test_a_token_outside_the_vocabulary_ends_the_run_before_its_first_step(self):
        tokens = [i % 50 for i in range(CONTEXT * 40 + 1)]
        tokens[CONTEXT * 30 + 7] = 51
        self.write("train.txt", struct.pack(f"<{len(tokens)}H", *tokens))
        self.configure(steps=50)
        line = self.launch("--gpus", "0,1", "--set", "data.format=tokens", "--set", "model.vocab=50", expect=65).last_line
        for words in ("step 0 load", "train.txt", "token 51", f"index {CONTEXT * 30 + 7}", "not below model.vocab 50"):
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
        self.configure(steps=5, batch=2, heads=2, context=64)
        self.setenv("DDP_CUDA_MODULE", CHECKED)
        self.train("checked", "--gpus", "0,1", streams="random")

    def test_staging_memory_that_is_overwritten_early_is_found(self):
        self.configure(batch=16)
        self.finds("staging-overwritten", "staging overwritten")

    def test_buckets_in_another_order_on_one_rank_are_found(self):
        self.configure()
        self.finds("bucket-order", "different collectives")

    # ---- a rank that dies ----

    def test_ranks_end_within_2_s_and_name_the_cause_when_a_peer_is_killed(self):
        self.configure(steps=1000)
        self.assert_within(2.0, self.kill_a_peer)

    def kill_a_peer(self):
        shutil.rmtree(self.run_folder(), ignore_errors=True)
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
        err = launcher.communicate(timeout=PATIENCE_S)[1]
        took = time.monotonic() - killed
        self.assertEqual(launcher.returncode, 128 + 9)
        self.assertIn("FAILED rank 1 (GPU 1)", err.splitlines()[-1])
        self.assertIn("killed by SIGKILL", err.splitlines()[-1])
        return took

    def test_an_error_of_one_rank_at_the_start_is_told_before_its_communicator_waits_for_the_others(self):
        self.configure(steps=1000)
        self.weights = self.write("no.safetensors", struct.pack("<Q", 2) + b"{}")  # without a tensor, which rank 0 reads, once the ranks have met
        self.assert_within(10.0, self.fail_at_the_start)

    def fail_at_the_start(self):
        begun = time.monotonic()
        shutil.rmtree(self.run_folder(), ignore_errors=True)
        line = self.launch("--gpus", "0,1", "--set", "train.hang_timeout_s=20", "--set", f"model.init_from={self.weights}",
                           expect=78).last_line
        took = time.monotonic() - begun
        for words in ("FAILED rank 0 (GPU 0) step 0 load", "no.safetensors", "rank 1 stopped in"):
            self.assertIn(words, line)
        return took

    # ---- machines that cannot ----

    def test_a_driver_that_is_missing_or_too_old_is_one_clear_line(self):
        self.configure()
        self.setenv("DDP_SIM_DRIVER", "12040")
        self.refused(["driver is too old", "supports CUDA 12.4", "build with a toolkit <= 12.4"], "--gpus", "0")
        self.setenv("DDP_SIM_DRIVER", "0")
        self.refused(["no NVIDIA driver"], "--gpus", "0")
        self.setenv("DDP_SIM_GPUS", "0")
        self.refused(["no NVIDIA driver", "--device cpu"], "--gpus", "0")

    def test_a_gpu_that_no_kernel_is_for_is_one_clear_line(self):
        self.configure()
        self.setenv("DDP_SIM_FAULT", "no-kernel-for-gpu")
        self.refused(["no kernels for the simulated GPU (compute capability 7.5)", "build with -Dgpu_arch=75"], "--gpus", "0")
        self.setenv("DDP_SIM_CAPABILITY", "10.0")
        self.setenv("DDP_SIM_FAULT", "driver-compiles-no-ptx")
        self.refused(["no kernels for the simulated GPU (compute capability 10.0)", "cannot compile those of CUDA", "update the driver",
                      "-Dgpu_arch=100"], "--gpus", "0")

    def test_a_driver_that_does_not_answer_is_told_from_one_that_is_not_there(self):
        self.configure()
        self.setenv("DDP_SIM_GPUS", "-1")
        self.refused(["Driver/library version mismatch", "nvidia-smi", "--device cpu"], "--gpus", "0", expect=71)

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
