"""Bad input gets one clear line that says what, where and what to do, its exit code, and leaves nothing half-written."""
import datetime
import json
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import time

import harness


class Refusals(harness.IntegrationTest):
    def refused(self, *args, code, says, writes_nothing=True, **options):
        result = self.launch(*args, expect=code, **options)
        for word in says if isinstance(says, list) else [says]:
            self.assertIn(word, result.last_line)
        if writes_nothing:
            self.assertFalse(os.path.exists(os.path.join(self.run_folder(), "metrics.jsonl")))
            self.assertFalse(os.path.exists(os.path.join(self.run_folder(), "checkpoints")))
        return result

    def test_a_missing_data_file(self):
        self.config()
        os.remove(os.path.join(self.folder, "train.txt"))
        self.refused(code=66, says=["data.train", "train.txt"])
        self.assertFalse(os.path.exists(self.run_folder()))

    def test_a_file_shorter_than_a_sample(self):
        self.config()
        self.write("train.txt", "too short")
        self.refused(code=65, says=["train.txt", "9"])

    def test_a_token_outside_the_vocabulary(self):
        tokens = [i % 50 for i in range(3200)]
        tokens[1500] = 51
        self.write("train.txt", struct.pack(f"<{len(tokens)}H", *tokens))
        self.write("valid.txt", struct.pack("<1000H", *[i % 50 for i in range(1000)]))
        self.config(format="tokens")
        result = self.launch("--nproc", "2", "--set", "model.vocab=50", "--set", "train.steps=50", expect=65)
        self.assertIn("token 51", result.last_line)
        self.assertIn("train.txt", result.last_line)

    def test_an_unknown_key_names_place_and_nearest_key(self):
        path = self.config()
        with open(path) as file:
            text = file.read().replace("micro_batch: 4", "micro_bach: 4")
        self.write("train.yaml", text)
        result = self.refused(code=78, says=["micro_bach", "micro_batch"])
        self.assertRegex(result.last_line, r"train\.yaml:4:\d+")

    def test_a_global_batch_that_does_not_divide(self):
        self.config()
        self.refused("--nproc", "3", "--set", "train.deterministic=false", code=78, says="global_batch")

    def test_deterministic_with_a_number_of_ranks_that_has_no_tree(self):
        self.config()
        self.refused("--nproc", "3", "--set", "train.global_batch=12", code=78, says="deterministic")

    def test_tf32_on_the_cpu(self):
        self.config(precision="tf32")
        for verb in ["run", "plan"]:
            self.refused(verb, "--device", "cpu", code=78, says="tf32 needs GPUs")

    def test_a_checkpoint_that_is_none(self):
        self.config()
        self.refused("--resume", "/", code=66, says="step-00000100")

    def test_names_that_are_no_text_are_refused_and_create_nothing(self):
        self.config()
        for name, says in [("run\n", "a line break"), ("run\r", "a line break"), ("run\tb", "a tab"), ("run\x1b[2J", "0x1b"),
                           ("run\x7f", "0x7f"), ("run\u0085", "U+0085"), ("run\u2028", "a line separator"),
                           (b"run\xff", "0xff, which is not UTF-8")]:
            path = os.fsencode(self.folder) + b"/" + (name if isinstance(name, bytes) else name.encode())
            before = sorted(os.listdir(self.folder))
            for args in [["--output-dir", path], ["--set", b"output_dir=" + path], ["--resume", path], ["--set", b"data.train=" + path]]:
                self.refused(*args, code=64, says=says)
            self.refused("sample", path, "--prompt", code=64, says=says)
            self.assertEqual(sorted(os.listdir(self.folder)), before)
            if isinstance(name, str):  # as escapes of YAML, through which no shell and no byte can be blamed
                escaped = name.encode("unicode_escape").decode()
                self.refused("--set", f'output_dir="{escaped}"', code=78, says=says)

    def test_a_folder_has_the_name_that_it_was_given_by_flag_or_yaml(self):
        for i, name in enumerate([" a b ", "#1: it's \\ \"x\"", "caf\u00e9 \U0001f600", "- [x], {y} & *z !t |", "\ufeffq", "null"]):
            self.config(steps=5)
            path = os.path.join(self.folder, str(i), name)
            run = self.launch("--output-dir", path)
            self.assertIn("  checkpoint  " + path + "/checkpoints/step-00000005\n", run.out)
            self.assertEqual(sorted(os.listdir(path)), ["checkpoints", "config.yaml", "logs", "metrics.jsonl", "status.json"])
            self.assertEqual(os.listdir(os.path.dirname(path)), [name])
            by_yaml = self.launch("--set", "output_dir=" + json.dumps(path, ensure_ascii=False), "--resume", "auto")
            self.assertIn("nothing to do", by_yaml.out)
            sample = [line for line in run.out.splitlines() if line.startswith("  sample      ddp-launch ")][0]
            shown = subprocess.run(["sh", "-c", f'"{harness.LAUNCH}" ' + sample.split("ddp-launch ", 1)[1].replace("200", "3")],
                                   capture_output=True, text=True, check=True)
            self.assertTrue(shown.stdout.startswith("In the beginning"))

    def test_too_few_descriptors_are_71_wherever_they_run_out(self):
        self.config()
        for limit in range(6, 16, 2):
            run = subprocess.run(self.command("--nproc", "2"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
            self.assertEqual(run.returncode, 71, f"{limit}: {run.stderr}")
            self.assertIn("Too many open files", run.stderr)

    def test_gpus_without_a_driver(self):
        self.config()
        if not os.path.exists("/proc/driver/nvidia"):
            self.refused("--gpus", "0,1", code=64, says="--device cpu")
            self.refused("--device", "cuda", "--nproc", "1", code=64, says=["no NVIDIA driver", "--device cpu"])

    def test_gpus_with_device_cpu(self):
        self.config()
        self.refused("--gpus", "0,1", "--device", "cpu", code=64, says="--gpus")

    def test_an_output_folder_in_use(self):
        self.config(steps=100000)
        first = subprocess.Popen(self.command("--nproc", "1"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(lambda: first.poll() is None and first.kill())
        metrics = os.path.join(self.run_folder(), "metrics.jsonl")
        self.wait_until(lambda: os.path.exists(metrics), "the first run trains")

        def second():
            begin = time.monotonic()
            self.refused("--resume", "auto", code=73, says=str(first.pid), writes_nothing=False)
            return time.monotonic() - begin

        self.assert_within(1.0, second)
        self.assertIsNone(first.poll(), "the first run goes on")
        first.send_signal(signal.SIGTERM)
        self.assertEqual(first.wait(timeout=harness.PATIENCE_S), 75)

    def test_a_loss_that_becomes_nan_ends_with_79_naming_the_tensor(self):
        self.config(steps=200)
        result = self.launch("--nproc", "2", "--set", "optimizer.lr=1e6", "--set", "train.clip_norm=0", expect=79)
        self.assertRegex(result.last_line, r"gradient of [a-z0-9_.]+ of rank \d is not finite")
        self.assertIn("optimizer.lr", result.last_line)
        self.assertFalse(os.path.exists(os.path.join(self.run_folder(), "checkpoints", "step-00000200")))

    def test_a_killed_rank_is_named_and_nothing_is_left(self):
        self.config(steps=100000)
        metrics = os.path.join(self.run_folder(), "metrics.jsonl")

        def kill_a_rank():
            shutil.rmtree(self.run_folder(), ignore_errors=True)
            run = subprocess.Popen(self.command("--nproc", "4"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.addCleanup(lambda: run.poll() is None and run.kill())
            self.wait_until(lambda: os.path.exists(metrics), "it trains")
            with open(f"/proc/{run.pid}/task/{run.pid}/children") as file:
                ranks = file.read().split()  # in the order in which they were started
            self.assertEqual(len(ranks), 4)
            begin = time.monotonic()
            os.kill(int(ranks[2]), signal.SIGKILL)
            _, err = run.communicate(timeout=harness.PATIENCE_S)
            took = time.monotonic() - begin
            self.assertEqual(run.returncode, 137)
            last = err.strip().splitlines()[-1]
            self.assertRegex(last, r"^FAILED rank 2 .*step \d+.*; ranks 0,1,3 stopped in [\d.]+ s; no checkpoint yet, start again: ")
            for pid in ranks:
                self.assertFalse(os.path.exists(f"/proc/{pid}"), f"process {pid} is left")
            with open(os.path.join(self.run_folder(), "status.json")) as file:
                self.assertEqual(json.load(file)["exit_code"], 137)
            return took

        self.assert_within(1.0, kill_a_rank)


class Tools(harness.IntegrationTest):
    def test_plan_prints_bytes_flops_and_the_largest_micro_batch(self):
        self.config()
        text = self.launch("plan", "--nproc", "2", "--memory", "11GiB").out
        for word in ["parameters", "gradients", "optimizer state", "arena", "live bound", "GFLOP", "in 11 GiB", "largest micro-batch", "of a global batch of 16 "]:
            self.assertIn(word, text)
        plan = json.loads(self.launch("plan", "--json", "--memory", "1GiB").out)
        memory = plan["memory_bytes"]
        self.assertEqual(sum(v for k, v in memory.items() if k != "total"), memory["total"])
        self.assertLessEqual(memory["arena"], 1.02 * plan["arena_live_bound_bytes"])
        self.assertGreater(plan["largest_micro_batch"]["micro_batch"], 4)
        self.assertFalse(os.path.exists(self.run_folder()))

    def test_output_that_cannot_be_written_is_74(self):
        self.config()
        for args in [["plan", os.path.join(self.folder, "train.yaml")], ["bench", "launch", "--repeat", "1"], ["--explain"], ["--help"]]:
            with open("/dev/full", "w") as full:
                run = subprocess.run([harness.LAUNCH, *args], stdout=full, stderr=subprocess.PIPE, text=True)
            self.assertEqual(run.returncode, 74, args)
            self.assertIn("standard output", run.stderr)

    def test_a_run_writes_its_resolved_configuration_and_a_sample(self):
        self.config()
        self.launch()
        with open(os.path.join(self.run_folder(), "config.yaml")) as file:
            resolved = file.read()
        self.assertRegex(resolved, r"hang_timeout_s: *600")
        out = subprocess.run([harness.LAUNCH, "sample", self.run_folder(), "--prompt", "12 bottles", "--tokens", "40", "--seed", "7"],
                             capture_output=True, check=True).stdout
        self.assertTrue(out.startswith(b"12 bottles"))
        dashes = subprocess.run([harness.LAUNCH, "sample", self.run_folder(), "--prompt", "--tokens", "--tokens", "3"],
                                capture_output=True, check=True).stdout
        self.assertTrue(dashes.startswith(b"--tokens"), dashes)
        self.assertEqual(len(out), len(b"12 bottles") + 40 + 1)
        again = subprocess.run([harness.LAUNCH, "sample", self.run_folder(), "--prompt", "12 bottles", "--tokens", "40", "--seed", "7"],
                               capture_output=True, check=True).stdout
        self.assertEqual(out, again)

    def test_metrics_have_every_step_and_the_promised_keys(self):
        self.config()
        out = self.launch("--nproc", "2").out
        steps = self.records()
        self.assertEqual([r["step"] for r in steps], list(range(1, 21)))
        self.assertEqual(set(steps[0]), {"type", "step", "loss", "lr", "grad_norm", "tokens_per_s", "step_ms", "data_wait_ms",
                                         "exposed_comm_ms", "samples_seen", "applied_steps", "loss_scale", "skipped", "time"})
        times = [datetime.datetime.fromisoformat(r["time"].replace("Z", "+00:00")) for r in steps]
        self.assertLess(abs(datetime.datetime.now(datetime.timezone.utc) - times[-1]), datetime.timedelta(minutes=10))
        self.assertGreater(times[-1], times[0])
        self.assertEqual(steps[-1]["samples_seen"], 20 * 16)
        evals = self.records(kind="eval")
        self.assertEqual([r["step"] for r in evals], [10, 20])
        self.assertTrue(all(r["bits_per_byte"] > 0 for r in evals))
        self.assertEqual(out.count(f"each evaluation is of {evals[0]['samples']} of the "), 1, out)
        self.assertRegex(out, re.compile(r"start-up \d+ ms: launch .*rendezvous .*data .*first step", re.S))
        self.assertTrue(os.path.exists(os.path.join(self.run_folder(), "logs", "rank-1.log")))


if __name__ == "__main__":
    harness.main()
