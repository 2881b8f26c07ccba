"""The wheel: what lies in it, and that it is all a user needs, in bare Debian systems, in a venv, without rights or a compiler."""
import base64
import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import unittest
import zipfile

import bundle

sys.path.insert(0, os.path.join(bundle.ROOT, "tests", "support"))
import debian_roots

STEPS = "--set train.steps=6 --set schedule.warmup_steps=2 --set eval.every=0 --set checkpoint.every=0"


def what_readme_says():
    """Its lines, where the wheel lies; runs are cut short, and how long installing took is printed."""
    with open(os.path.join(bundle.ROOT, "README.md"), encoding="utf-8") as file:
        block = file.read().partition("**A wheel**")[2].split("```")[1]
    lines = block.replace("ddp-launch --nproc 4", f"ddp-launch --nproc 4 {STEPS}").splitlines()
    install = next(i for i, line in enumerate(lines) if line.startswith("pip install "))
    lines.insert(install + 1, 'echo "installed in $((($(date +%s%N) - begin) / 1000000)) ms"')
    lines.insert(install, "begin=$(date +%s%N)")
    return "\n".join(lines)


# Prints also the command ddp-launch beside the program that it becomes: the quickest of 10, in ms.
INSTALL_AND_TRAIN = f"""
set -e
export HOME=/tmp PIP_NO_INDEX=1 PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1
cd /tmp
cp /opt/*.whl .
{what_readme_says()}
python3 - <<'END'
import subprocess, sys, time
import ddp_launch
lines = list(ddp_launch.run("configs/gpt2-tiny.yaml", nproc=2, output_dir="runs/python", **{{"train.steps": 3, "schedule.warmup_steps": 1,
                            "eval.every": 0, "checkpoint.every": 0}}))
assert [line["step"] for line in lines if line["type"] == "step"] == [1, 2, 3], lines
def quickest(command):
    def once():
        begin = time.monotonic()
        subprocess.run([command, "--version"], check=True, stdout=subprocess.DEVNULL)
        return (time.monotonic() - begin) * 1000
    return min(once() for _ in range(10))
print(f"ddp-launch --version {{quickest('ddp-launch'):.0f}} ms, the program itself {{quickest(ddp_launch.find_program()):.1f}} ms")
END
"""
# NVIDIA's libraries as far as the search goes: a driver of any version, and folders of each series.
CHOICE = {("11080", "cu12", "cu13"): None, ("12000", "cu12", "cu13"): "libddp-cuda12.so", ("12060", "cu12", "cu13"): "libddp-cuda12.so",
          ("13000", "cu12", "cu13"): "libddp-cuda13.so", ("13000", "cu12"): "libddp-cuda12.so", ("12060", "cu13"): None}


class Wheel(bundle.BundleTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.place = os.path.join(os.path.dirname(cls.top), "wheel")
        os.mkdir(cls.place)
        pack = os.path.join(bundle.ROOT, "scripts", "pack_wheel.py")
        cls.wheel = subprocess.run([sys.executable, pack, cls.top, cls.place], capture_output=True, text=True, check=True).stdout.strip()

    def test_its_record_is_true_and_it_holds_nothing_of_the_tests(self):
        with zipfile.ZipFile(self.wheel) as wheel:
            names = wheel.namelist()
            record = next(name for name in names if name.endswith("/RECORD"))
            listed = {name: (digest, size) for name, digest, size in csv.reader(io.StringIO(wheel.read(record).decode()))}
            self.assertEqual(set(listed), set(names))
            for name in names:
                if name == record:
                    continue
                content = wheel.read(name)
                digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
                self.assertEqual(listed[name], ("sha256=" + digest, str(len(content))), name)
            runs = {name for name in names if wheel.getinfo(name).external_attr >> 16 & 0o111}
        self.assertLessEqual({f"ddp_launch/bin/{name}" for name in ("ddp-launch", "ddp-launcher", "ddp-rank")}, runs)
        self.assertFalse([name for name in names if "test" in name or "sim" in os.path.basename(name) or "bench" in name])
        for needed in ("ddp_launch/configs/gpt2-tiny.yaml", "ddp_launch/data/kjv/train.txt", "ddp_launch/__init__.py", "ddp_launch/BUILD"):
            self.assertIn(needed, names)

    def test_its_extras_are_lower_bounds_of_one_series_each(self):
        with zipfile.ZipFile(self.wheel) as wheel:
            metadata = wheel.read(next(name for name in wheel.namelist() if name.endswith("/METADATA"))).decode()
        needs = [line for line in metadata.splitlines() if line.startswith("Requires-Dist")]
        self.assertEqual(len(needs), 6)
        for line in needs:
            self.assertIn("extra == ", line)
            self.assertNotIn("==", line.partition(";")[0])
            self.assertNotIn("cu13" if "cuda12" in line else "cu12", line)

    def test_auditwheel_agrees_with_its_tag(self):
        # It repairs a wheel to what the tag promises: with NVIDIA's library left to the user it finds nothing to add.
        tools = os.path.join(bundle.ROOT, ".cache", "auditwheel")
        if not os.path.isdir(tools):
            self.skipTest("no .cache/auditwheel: scripts/setup.sh --auditwheel fetches it")
        environment = {**os.environ, "PYTHONPATH": tools, "PATH": os.path.join(tools, "bin") + ":" + os.environ["PATH"]}
        self.run_command([sys.executable, "-m", "auditwheel", "repair", "--exclude", "libcublasLt.so.1*", "--plat", "manylinux_2_35_x86_64",
                          "--wheel-dir", self.folder, self.wheel], env=environment)
        with zipfile.ZipFile(self.wheel) as ours, zipfile.ZipFile(os.path.join(self.folder, os.path.basename(self.wheel))) as repaired:
            self.assertEqual([name for name in sorted(repaired.namelist()) if not name.endswith("/")], sorted(ours.namelist()))

    def check(self, suite):
        done = self.run_command(debian_roots.enter(debian_roots.bare(suite), "sh", "-c", INSTALL_AND_TRAIN, shown=[(self.place, "/opt")]))
        self.assertEqual(done.stdout.count("finished steps 1-6 of 6"), 3, done.stdout)
        print(suite, *[line for line in done.stdout.splitlines() if line.endswith(" ms") and ("installed" in line or "--version" in line)], sep="\n")

    def test_debian_12(self):
        self.check("bookworm")

    def test_debian_13(self):
        self.check("trixie")

    def test_the_backend_is_that_of_the_driver_and_of_the_libraries_that_are_there(self):
        if not os.path.exists(os.path.join(self.top, "lib", "libddp-cuda12.so")):
            self.skipTest("the bundle has no backend of CUDA 12")
        folder = os.path.join(self.folder, "opt")
        shutil.copytree(self.top, os.path.join(folder, "site", "ddp_launch"))
        shutil.copy(os.environ["STAND_IN_DRIVER"], os.path.join(folder, "libcuda.so.1"))
        for series in ("12", "13"):
            for part, name in (("cublas", f"libcublasLt.so.{series}"), ("nccl", "libnccl.so.2"), ("cudnn", "libcudnn.so.9")):
                site = os.path.join(folder, "cu" + series)
                library, info = os.path.join(site, "nvidia", part, "lib", name), os.path.join(site, f"nvidia_{part}_cu{series}-1.dist-info")
                os.makedirs(os.path.dirname(library))
                os.makedirs(info)
                shutil.copy(os.environ["STAND_IN_DRIVER"], library)
                with open(os.path.join(info, "RECORD"), "w", encoding="utf-8") as file:
                    file.write(f"nvidia/{part}/lib/{name},sha256=0,{os.path.getsize(library)}\n")
        for (driver, *sites), expected in CHOICE.items():
            with self.subTest(driver=driver, sites=sites):
                command = ["env", "LD_LIBRARY_PATH=/opt", f"STAND_IN_DRIVER={driver}", "DDP_SITE_PACKAGES=" + ":".join(f"/opt/{site}" for site in sites),
                           "/opt/site/ddp_launch/bin/ddp-launch", "--version", "--json"]
                done = self.run_command(debian_roots.enter(debian_roots.bare("bookworm"), *command, shown=[(folder, "/opt")]))
                cuda = json.loads(done.stdout)["cuda"]
                self.assertEqual(os.path.basename(cuda["chosen"] or "") or None, expected, done.stdout)
                if expected is None:
                    self.assertIn("CUDA 11.8" if driver == "11080" else "libcublasLt.so.12", cuda["why_not"])


if __name__ == "__main__":
    bundle.archive()
    debian_roots.main("bookworm", "trixie")
