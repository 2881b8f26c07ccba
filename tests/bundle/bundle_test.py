"""The bundle runs wherever it is put, with its own libraries, on every machine type that it was made for, and says what a system lacks."""
import ctypes
import glob
import os
import re
import shutil
import struct
import subprocess
import sys
import unittest

import bundle

sys.path.append(os.path.join(bundle.ROOT, "scripts"))
import cubins  # noqa: E402

LOADER = "/lib64/ld-linux-x86-64.so.2"
GLIBC = {"libc.so.6", "libm.so.6", "libdl.so.2", "librt.so.1", "libpthread.so.0", "ld-linux-x86-64.so.2"}
CUDA_RUNTIME = "libcudart.so.12"  # NVIDIA's own file, which the module of CUDA 12 needs and only that one
NEWEST_GPU = {12: 90}  # that nvcc 12.4 knows
LEVELS = {"ddp-rank": "avx2", "ddp-rank-x86-64-v4": "avx512vl", "ddp-rank-x86-64-v4-avx512bf16": "avx512_bf16"}
# What each level rounds differently is far below this.
CLOSE = 1e-5


def dynamic(path):
    text = subprocess.run(["readelf", "-d", path], capture_output=True, text=True, check=True).stdout
    return {tag: re.findall(rf"\({tag}\).*\[(.*)\]", text) for tag in ("NEEDED", "RPATH", "RUNPATH")}


def processor_flags():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next(line for line in file if line.startswith("flags")).split()


def forbid(call):
    """For a child, before it executes: the kernel knows no such system call (x86-64), as an older one does not."""
    pr_set_no_new_privs, pr_set_seccomp, filter_mode = 38, 22, 2
    load, equal, give, allow, enosys = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050000 | 38

    def install():
        code = [(load, 0, 0, 0), (equal, 0, 1, call), (give, 0, 0, enosys), (give, 0, 0, allow)]
        program = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in code))
        header = ctypes.create_string_buffer(struct.pack("@HP", len(code), ctypes.addressof(program)))
        libc = ctypes.CDLL(None)
        for arguments in ((pr_set_no_new_privs, 1, 0, 0, 0), (pr_set_seccomp, filter_mode, header, 0, 0)):
            assert libc.prctl(*arguments) == 0
    return install


class Bundle(bundle.BundleTest):
    def programs(self):
        return [path for path in glob.glob(os.path.join(self.top, "bin", "*")) if os.path.basename(path) != "ddp-launch"]

    def libraries(self):
        return glob.glob(os.path.join(self.top, "lib", "*"))

    def modules(self):
        return glob.glob(os.path.join(self.top, "lib", "libddp-cuda1?.so"))

    def test_it_is_small_enough_to_carry(self):
        self.assertLess(os.path.getsize(bundle.archive()), 30 << 20)

    def test_every_need_is_in_it_or_of_glibc_or_nvidia(self):
        inside = {os.path.basename(path) for path in self.libraries()}
        for path in self.programs() + self.libraries():
            nvidia = {name for name in dynamic(path)["NEEDED"] if name.startswith("libcublasLt.so.")}
            if not os.path.basename(path).startswith("libddp-cuda1"):
                self.assertFalse(nvidia, path)
            self.assertLessEqual(set(dynamic(path)["NEEDED"]) - nvidia, inside | GLIBC, path)

    def test_what_opens_the_module_has_its_needs_already(self):
        # The module has a RUNPATH, which comes after LD_LIBRARY_PATH; what is loaded already is taken by its name.
        needed = {name for module in self.modules() for name in dynamic(module)["NEEDED"]
                  if name not in GLIBC and not name.startswith(("libcublasLt.so.", "libcudart.so."))}
        for path in self.programs():
            self.assertNotIn(CUDA_RUNTIME, dynamic(path)["NEEDED"])
            if os.path.basename(path) != "ddp-launcher":
                self.assertLessEqual(needed | {"libz.so.1"}, set(dynamic(path)["NEEDED"]), path)

    def test_the_loader_takes_nothing_from_elsewhere(self):
        for path in self.programs() + self.libraries():
            resolved = subprocess.run([LOADER, "--list", path], capture_output=True, text=True, check=False).stdout
            for name, where in re.findall(r"^\s*(\S+) => (/.*) \(0x", resolved, flags=re.M):
                ours = os.path.realpath(where).startswith(os.path.realpath(self.top) + "/")
                nvidia = name.startswith("libcublasLt.so.") and os.path.basename(path).startswith("libddp-cuda1")
                self.assertTrue(ours or name in GLIBC or nvidia, f"{path}: {name} from {where}")

    def test_libraries_are_found_from_where_it_lies(self):
        for path in self.programs():
            self.assertEqual((dynamic(path)["RPATH"], dynamic(path)["RUNPATH"]), (["$ORIGIN/../lib"], []), path)
        for path in self.libraries():
            want = [] if os.path.basename(path) == CUDA_RUNTIME else ["$ORIGIN"]
            self.assertEqual((dynamic(path)["RPATH"], dynamic(path)["RUNPATH"]), ([], want), path)

    def test_each_module_has_kernels_for_the_GPUs_that_it_was_made_for(self):
        with open(os.path.join(self.top, "BUILD"), encoding="utf-8") as file:
            says = dict(line.strip().split(": ", 1) for line in file)
        for module in self.modules():
            name = os.path.basename(module)
            series = int(re.search(r"(\d+)\.so", name).group(1))
            known = [arch for arch in says["gpu_arch"].split(",") if int(arch) <= NEWEST_GPU.get(series, int(arch))]
            want = [f"sm_{arch}" for arch in known] + [f"compute_{known[-1]}"]
            self.assertEqual(cubins.architectures(module), want, name)
            self.assertEqual(says[name].split(), want)

    def test_nothing_names_the_folder_that_it_was_built_in(self):
        found = subprocess.run(["grep", "-rlF", bundle.ROOT, self.top], capture_output=True, text=True, check=False).stdout
        self.assertEqual(found, "")

    def test_broken_libraries_of_the_same_names_on_LD_LIBRARY_PATH_do_no_harm(self):
        broken = os.path.join(self.folder, "broken")
        os.mkdir(broken)
        for path in self.libraries():
            with open(os.path.join(broken, os.path.basename(path)), "w", encoding="utf-8") as file:
                file.write("not a library")
        self.assertEqual(len(self.losses("run", LD_LIBRARY_PATH=broken)), 20)

    def test_it_needs_no_newer_glibc_than_it_says(self):
        for path in self.programs() + self.libraries():
            needs = subprocess.run(["readelf", "-V", path], capture_output=True, text=True, check=True).stdout.partition("Version needs")[2]
            newest = max((tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_(2[.0-9]*)", needs)), default=(2, 0))
            self.assertLessEqual(newest, (2, 35), path)

    def test_the_function_that_glibc_2_35_lacks_is_not_missed(self):
        top = os.path.join(self.folder, "older")
        shutil.copytree(self.top, top, symlinks=True)
        library = os.path.join(top, "lib", "libstdc++.so.6")
        with open(library, "rb") as file:
            data = file.read()
        before, name, after = data.rpartition(b"\0arc4random\0")  # the first is a text: what std::random_device may be asked for
        self.assertTrue(name)
        with open(library, "wb") as file:
            file.write(before + b"\0lacking_it\0" + after)
        self.launch = os.path.join(top, "bin", "ddp-launch")
        self.assertEqual(len(self.losses("run", LD_BIND_NOW="1")), 20)

    def test_each_machine_type_gives_the_losses_of_a_native_build(self):
        want = self.losses("native", DDP_RANK=os.environ["DDP_NATIVE_RANK"])
        ran = 0
        for program, flag in LEVELS.items():
            if flag not in processor_flags():
                continue
            got = self.losses(program, DDP_RANK=os.path.join(self.top, "bin", program))
            self.assertLess(max(abs(a - b) / b for a, b in zip(got, want, strict=True)), CLOSE, program)
            ran += 1
        self.assertGreater(ran, 0)

    def test_the_launcher_takes_the_best_that_runs_here(self):
        best = [program for program, flag in LEVELS.items() if flag in processor_flags()][-1]
        for program in LEVELS:  # with the others taken away, there is still one to take
            if program != best:
                os.rename(os.path.join(self.top, "bin", program), os.path.join(self.folder, program))
                self.addCleanup(os.rename, os.path.join(self.folder, program), os.path.join(self.top, "bin", program))
        self.run_command([self.launch, "plan", "configs/gpt2-tiny.yaml"])
        os.rename(os.path.join(self.top, "bin", best), os.path.join(self.folder, best))
        self.addCleanup(os.rename, os.path.join(self.folder, best), os.path.join(self.top, "bin", best))
        done = self.run_command([self.launch, "plan", "configs/gpt2-tiny.yaml"], expect=71)
        self.assert_one_line(done.stderr, "no ddp-rank in")

    def test_a_gpu_that_is_not_there_is_one_line(self):
        if os.path.exists("/proc/driver/nvidia/version"):
            self.skipTest("this machine has a driver")
        done = self.run_command([self.launch, "--gpus", "0", "configs/gpt2-tiny.yaml"], expect=64)
        self.assert_one_line(done.stderr, "no NVIDIA driver", "--device cpu")

    def test_an_older_linux_is_told_in_one_line(self):
        close_range, pidfd_open = 436, 434
        for call in (close_range, pidfd_open):
            done = self.run_command([self.launch, "--version"], expect=71, preexec_fn=forbid(call))
            self.assert_one_line(done.stderr, "older than 5.10")
        self.run_command([self.launch, "--version"])


if __name__ == "__main__":
    unittest.main()
