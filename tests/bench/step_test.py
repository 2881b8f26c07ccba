#!/usr/bin/env python3
"""bench_step at toy size, on the CPU and, where the simulator is built, on a simulated GPU: what it reports is complete and plausible.
Speed is nobody's business here."""
import json
import math
import os
import subprocess
import tempfile
import unittest

BENCH = os.environ["BENCH_STEP"]  # set by meson
LAYERS, WIDTH, VOCAB, CONTEXT, BATCH, STEPS = 1, 64, 100, 32, 2, 3  # a head of 64: the width that CUDA's attention is tuned for
TOY = ("--layers", LAYERS, "--width", WIDTH, "--heads", 1, "--vocab", VOCAB, "--context", CONTEXT, "--batch", BATCH, "--steps", STEPS)
FIELDS = {"device", "model", "precision", "graphs", "batch", "units_per_sample", "parameters", "step_ms", "step_ms_all", "host_ms", "unit",
          "units_per_s", "flops_per_step", "ceiling_tflops", "mfu", "planned_bytes", "used_bytes", "loss", "ops"}
simulated = unittest.skipUnless("DDP_CUDA_MODULE" in os.environ, "the simulator of CUDA is not built")


class BenchStep(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ddp-test-")
        self.addCleanup(folder.cleanup)
        self.json = os.path.join(folder.name, "step.json")

    def bench(self, *options, expect=0):
        command = [BENCH, *map(str, (*TOY, *options)), "--json", self.json]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "DDP_SIM_CAPABILITY": "9.0"})
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done

    def result(self, *options):
        self.text = self.bench(*options).stdout
        with open(self.json, encoding="utf-8") as file:
            result = json.load(file)
        self.assertEqual(set(result), FIELDS)
        self.assertEqual((result["batch"], result["units_per_sample"]), (BATCH, CONTEXT))
        tables, block = WIDTH * (VOCAB + CONTEXT), 12 * WIDTH * WIDTH + 13 * WIDTH
        self.assertEqual(result["parameters"], tables + LAYERS * block + 2 * WIDTH)
        times = sorted(result["step_ms_all"])
        self.assertEqual(len(times), STEPS)
        self.assertEqual(result["step_ms"], times[STEPS // 2])
        self.assertGreater(times[0], 0)
        self.assertGreater(result["host_ms"], 0)
        self.assertAlmostEqual(result["units_per_s"] * result["step_ms"] * 1e-3, BATCH * CONTEXT, places=6)
        self.assertGreater(result["ceiling_tflops"], 0)
        self.assertAlmostEqual(result["mfu"], result["flops_per_step"] / result["step_ms"] * 1e-9 / result["ceiling_tflops"])
        self.assertRegex(self.text, f"MFU {100 * result['mfu']:.1f}% of (oneDNN|cuBLASLt) ")
        self.assertGreaterEqual(result["used_bytes"], result["planned_bytes"])
        self.assertTrue(0.5 * math.log(VOCAB) < result["loss"] < 1.1 * math.log(VOCAB), result["loss"])
        return result

    def ops_are_of_the_last_step(self, result):
        ops = {op["name"]: op for op in result["ops"]}
        self.assertEqual(ops["linear_forward"]["calls"], 4 * LAYERS + 1)
        self.assertEqual(ops["adamw"]["calls"], 1)
        self.assertEqual(sum(op["flops"] for op in result["ops"]), result["flops_per_step"])
        self.assertTrue(all(op["ms"] > 0 and op["bytes"] > 0 for op in result["ops"]))
        self.assertLessEqual(sum(op["ms"] for op in result["ops"]), result["step_ms_all"][-1])
        self.assertIn("products alone", self.text)

    def test_on_the_cpu_every_op_has_its_time_and_the_ceiling_is_onednns(self):
        result = self.result("--threads", 1)
        self.assertEqual((result["device"], result["precision"], result["graphs"]), ("cpu", "fp32", False))
        self.ops_are_of_the_last_step(result)
        self.assertIn("oneDNN sgemm of its products", self.text)

    def test_bf16_on_the_cpu_is_measured_beside_fp32(self):
        self.assertEqual(self.result("--precision", "bf16", "--no-ops")["ops"], [])
        self.assertIn("x as fast as fp32", self.text)

    @simulated
    def test_on_a_gpu_every_op_has_its_time_and_the_ceiling_is_cublaslts(self):
        for precision in ("fp32", "tf32", "bf16", "fp16"):
            with self.subTest(precision=precision):
                result = self.result("--device", "cuda", "--precision", precision)
                self.assertEqual((result["device"], result["precision"], result["graphs"]), ("simulated GPU", precision, False))
                self.ops_are_of_the_last_step(result)
                self.assertIn(f"cuBLASLt {precision} products of 128 x 128", self.text)

    @simulated
    def test_as_graphs_no_op_is_seen_and_the_losses_are_those_of_eager_steps(self):
        graphs, eager = (self.result("--device", "cuda", "--precision", "fp16", *how) for how in (("--graphs",), ()))
        self.assertTrue(graphs["graphs"])
        self.assertEqual(graphs["ops"], [])
        self.assertEqual(graphs["loss"], eager["loss"])

    def resnet(self, *options):
        toy = ("--model", "resnet18", "--set", "model.image_size=16", "--set", "model.width=8", "--set", "model.classes=10", "--batch", 4,
               "--steps", 1, *options)
        done = subprocess.run([BENCH, *map(str, toy), "--json", self.json], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        with open(self.json, encoding="utf-8") as file:
            result = json.load(file)
        self.assertEqual((result["model"], result["unit"], result["units_per_sample"]), ("resnet18", "images", 1))
        ops = {op["name"]: op["calls"] for op in result["ops"]}
        self.assertEqual((ops["convolution_forward"], ops["linear_forward"], ops["sgd"]), (17, 4, 1))
        self.assertEqual(sum(op["flops"] for op in result["ops"]), result["flops_per_step"])
        return done.stdout

    def test_a_resnet_has_its_own_products_as_the_ceiling(self):
        self.assertIn("oneDNN sgemm and convolution of its products", self.resnet("--threads", 1))

    def test_a_bert_has_the_products_of_its_masked_positions(self):
        toy = ("--model", "bert-tiny", "--context", CONTEXT, "--vocab", VOCAB, "--batch", BATCH, "--steps", 1, "--threads", 1)
        done = subprocess.run([BENCH, *map(str, toy), "--json", self.json], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        with open(self.json, encoding="utf-8") as file:
            result = json.load(file)
        self.assertEqual((result["model"], result["unit"], result["units_per_sample"]), ("bert-tiny", "tokens", CONTEXT))
        ops = {op["name"]: op["calls"] for op in result["ops"]}
        self.assertEqual((ops["linear_forward"], ops["gather_rows"], ops["attention_forward"]), (2 * 4 + 2, 1, 2))

    @simulated
    def test_a_resnet_on_a_gpu(self):
        self.resnet("--device", "cuda")

    def test_what_it_cannot_do_is_refused_in_one_line(self):
        for code, words, options in ((64, "--precision tf32 needs --device cuda", ("--precision", "tf32")),
                                     (64, "unknown option --quickly", ("--quickly",)),
                                     (64, "--steps 0 is no positive number", ("--steps", 0)),
                                     (78, "model.width 65 is not a multiple of model.heads 2", ("--width", 65, "--heads", 2))):
            with self.subTest(options=options):
                error = self.bench(*options, expect=code).stderr
                self.assertIn(words, error)
                self.assertEqual(error.count("\n"), 1)
                self.assertFalse(os.path.exists(self.json))


if __name__ == "__main__":
    unittest.main()
