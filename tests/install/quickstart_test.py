#!/usr/bin/env python3
"""Where scripts/quickstart.sh trains, on which GPUs and with which ddp-launch, by stand-ins for all that it runs: they write down how they
were called, and the two ddp-launch, the one that is built and the one that is installed, fail on GPUs as they are told."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = sys.argv.pop(1)
STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
"""
LAUNCH = STAND_IN + """
case "$*" in *--gpus*) [ -z "$%s" ] || { echo "ddp-launch: $%s" >&2; exit 64; }; echo "warning: something" >&2 ;; esac
"""
MESON = STAND_IN + """
[ "$1" = --version ] && echo 1.4.0
[ "$1" != setup ] || { mkdir -p "$2" && touch "$2/build.ninja"; }
"""
NINJA = STAND_IN + """
[ "$1" = --version ] && echo 1.11 && exit
mkdir -p "$2/launcher" && cp "$BUILT" "$2/launcher/ddp-launch"
for tenth in 0 1 2 3 4 5 6 7 8 9 10; do printf '[%3s%%] %s\n' $((tenth * 10)) one $((tenth * 10)) two; done
"""


class Quickstart(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ddp test ")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.tree, self.tools = os.path.join(self.folder, "tree"), os.path.join(self.folder, "tools")
        shutil.copytree(os.path.join(ROOT, "scripts"), os.path.join(self.tree, "scripts"))
        self.cuda = os.path.join(self.folder, "cuda")  # in the place of this machine's
        script = os.path.join(self.tree, "scripts", "quickstart.sh")
        with open(script, encoding="utf-8") as file:
            text = file.read()
        self.assertIn(" /usr/local/cuda/", text)
        with open(script, "w", encoding="utf-8") as file:
            file.write(text.replace(" /usr/local/cuda/", f" '{self.cuda}'/"))
        os.makedirs(os.path.join(self.tree, "data", "kjv"))
        with open(os.path.join(self.tree, "data", "kjv", "valid.txt"), "w", encoding="utf-8") as file:
            file.write("In the beginning\n")
        self.tool("meson", MESON)
        self.tool("ninja", NINJA)
        self.tool("bible", STAND_IN)
        self.built = self.tool("built", LAUNCH % (2 * ("BUILT_FAILS",)), self.folder)

    def tool(self, name, text, folder=None):
        path = os.path.join(folder or self.tools, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o755)
        return path

    def gpus(self, *lines):
        self.tool("nvidia-smi", "#!/bin/sh\nprintf '%s\\n' " + " ".join(f"'{line}'" for line in lines) + "\n")

    def install(self):
        self.tool("ddp-launch", LAUNCH % (2 * ("INSTALLED_FAILS",)))

    def run_it(self, **environment):
        """What it printed; `self.calls` has the commands, `self.trained` the one that trained."""
        calls = os.path.join(self.folder, "calls")
        elsewhere = [f for f in os.environ["PATH"].split(":") if not os.path.exists(os.path.join(f, "nvcc"))]
        path = ":".join([self.tools, *elsewhere])
        done = subprocess.run([os.path.join(self.tree, "scripts", "quickstart.sh")], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                              env={**os.environ, "PATH": path, "CALLS": calls, "BUILT": self.built, **environment})
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        with open(calls, encoding="utf-8") as file:
            self.calls = file.read().splitlines()
        self.trained = next(call for call in self.calls if "runs/quickstart" in call)
        return done.stdout

    def called(self, beginning):
        return [call for call in self.calls if call.startswith(beginning)]

    def test_without_a_gpu_it_builds_for_the_cpu_and_trains_there(self):
        said = self.run_it()
        self.assertEqual(self.called("meson setup"), ["meson setup build-quickstart -Dcuda=disabled"])
        self.assertTrue(self.trained.startswith("ddp-launch --nproc 4 "), self.trained)
        self.assertNotIn("on the CPU", said)

    def test_where_output_is_no_terminal_the_build_shows_a_line_for_every_tenth(self):
        lines = self.run_it().splitlines()
        self.assertEqual([line for line in lines if line.endswith("one")], [f"[{percent:3}%] one" for percent in range(0, 101, 10)])
        self.assertFalse([line for line in lines if line.endswith("two")])

    def test_where_nvcc_is_it_builds_for_these_gpus_and_trains_on_as_many_as_divide_the_batch(self):
        self.tool("nvcc", STAND_IN, os.path.join(self.cuda, "bin"))
        self.install()
        for n, indices in ((1, "0"), (2, "0,1"), (3, "0,1"), (4, "0,1,2,3"), (5, "0,1,2,3")):
            with self.subTest(n=n):
                shutil.rmtree(os.path.join(self.tree, "build-quickstart"), ignore_errors=True)
                self.gpus(*("0, 8.6", "1, 7.5", "2, 7.5", "3, 9.0", "4, 12.0")[:n])
                said = self.run_it()
                arch = {1: "86", 2: "75,86", 3: "75,86"}.get(n, "75,86,90")
                self.assertIn(f"meson setup build-quickstart -Dcuda=auto -Dgpu_arch={arch}", self.calls)
                self.assertTrue(self.trained.startswith(f"ddp-launch --gpus {indices} "), self.trained)
                self.assertNotIn("on the CPU", said)
                os.remove(os.path.join(self.folder, "calls"))

    def test_without_nvcc_an_installed_ddp_launch_that_makes_a_step_there_trains_and_nothing_is_built(self):
        self.gpus("0, 8.6")
        self.install()
        said = self.run_it(BUILT_FAILS="must not be called")
        self.assertFalse(self.called("meson setup"))
        self.assertTrue(self.trained.startswith("ddp-launch --gpus 0 "), self.trained)
        self.assertNotIn("on the CPU", said)

    def test_without_nvcc_a_module_of_the_environment_trains_with_what_is_built(self):
        self.gpus("0, 8.6")
        self.install()
        self.run_it(DDP_CUDA_MODULE="/some/libddp-cuda.so", INSTALLED_FAILS="must not be called")
        self.assertEqual(self.called("meson setup"), ["meson setup build-quickstart -Dcuda=disabled"])
        self.assertTrue(self.trained.startswith("ddp-launch --gpus 0 "), self.trained)

    def assert_on_the_cpu(self, why, **environment):
        said = self.run_it(**environment)
        self.assertEqual([line for line in said.splitlines() if "on the CPU" in line], [f"\033[1m== training on the CPU: {why}\033[0m"])
        self.assertTrue(self.trained.startswith("ddp-launch --nproc 4 "), self.trained)

    def test_with_neither_it_trains_on_the_cpu_and_says_so_in_a_line(self):
        self.gpus("0, 8.6")
        self.assert_on_the_cpu("there is no nvcc (./scripts/setup.sh --with-cuda fetches it), and no ddp-launch is installed")

    def test_what_makes_no_step_on_the_gpus_says_why(self):
        self.gpus("0, 8.6")
        self.install()
        self.assert_on_the_cpu("ddp-launch: no cuBLAS", INSTALLED_FAILS="no cuBLAS")

    def test_a_build_that_makes_no_step_there_says_why(self):
        self.gpus("0, 8.6")
        self.tool("nvcc", STAND_IN)
        self.assert_on_the_cpu("ddp-launch: no driver", BUILT_FAILS="no driver")


if __name__ == "__main__":
    unittest.main()
