"""Each CUDA module finds all that it uses in NVIDIA's libraries, the oldest that it supports and those that users have, and is opened
beside them where an installed package lies.

The libraries are those of scripts/fetch_cuda_libraries.sh and fetch_cuda.sh --cuda12: of a series there are none, its tests are skipped.
"""
import glob
import os
import re
import subprocess
import sys
import unittest

import bundle

CACHE = os.path.join(bundle.ROOT, ".cache")
TOOLKIT = "/usr/local/cuda/lib64"  # which ddp-rank looks through before site-packages
OPENED = {"libnccl.so.2": "runtime/comm/nccl_api.h", "libcudnn.so.9": "kernels/cuda/cudnn_api.h"}  # and which header lists its functions
OF_COMPILERS = ("@GLIBC_", "@GLIBCXX_", "@CXXABI_", "@GCC_")


def site_packages(series):
    return os.path.join(CACHE, "cuda-libraries", str(series))


def symbols(kind, path):
    """Names with their versions, "cublasLtCreate@libcublasLt.so.12"."""
    text = subprocess.run(["nm", "-D", f"--{kind}-only", path], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1].replace("@@", "@") for line in text.splitlines() if " w " not in line}


class Libraries(bundle.BundleTest):
    def libraries(self, series):
        """Folders with a whole set of NVIDIA's libraries of that series."""
        folders = [glob.glob(os.path.join(site_packages(series), "nvidia", "*", "lib"))]
        if series == 12:
            folders.append(glob.glob(os.path.join(CACHE, "cuda12", "lib")))
        return [found for found in folders if found]

    def module(self, series):
        path = os.path.join(self.top, "lib", f"libddp-cuda{series}.so")
        if not os.path.exists(path) or not os.path.isdir(site_packages(series)):
            self.skipTest(f"no {os.path.basename(path)} in the bundle, or no libraries of its series: scripts/fetch_cuda_libraries.sh {series}")
        return path

    def find(self, folders, name):
        return next(path for path in (os.path.join(folder, name) for folder in folders) if os.path.exists(path))

    def check_symbols(self, series):
        module = self.module(series)
        own = set().union(*(symbols("defined", path) for path in glob.glob(os.path.join(self.top, "lib", "*.so*"))
                            if not os.path.basename(path).startswith("libddp-")))
        needed = {name for name in symbols("undefined", module) - own if not any(of in name for of in OF_COMPILERS)}
        self.assertGreater(len(needed), 5)
        for folders in self.libraries(series):
            self.assertEqual(needed - symbols("defined", self.find(folders, f"libcublasLt.so.{series}")), set(), folders)
            for library, header in OPENED.items():
                with open(os.path.join(bundle.ROOT, header), encoding="utf-8") as file:
                    functions = set(re.findall(r"\bf\((\w+)\)", file.read()))
                exported = {name.partition("@")[0] for name in symbols("defined", self.find(folders, library))}
                self.assertGreater(len(functions), 5)
                self.assertEqual(functions - exported, set(), (library, folders))

    def check_opening(self, series):
        """As installed: site-packages/ddp_launch beside site-packages/nvidia."""
        module = self.module(series)
        if os.path.exists("/proc/driver/nvidia/version"):
            self.skipTest("this machine has a driver")
        if not os.path.exists(os.path.join(self.top, "lib", "libsim-nvml.so")):
            self.skipTest("no GPU is imitated by this bundle: scripts/bundle.sh --tests")
        installed = os.path.join(self.folder, "site-packages")
        os.mkdir(installed)
        os.symlink(os.path.join(site_packages(series), "nvidia"), os.path.join(installed, "nvidia"))
        os.rename(self.top, os.path.join(installed, "ddp_launch"))
        self.addCleanup(os.rename, os.path.join(installed, "ddp_launch"), self.top)
        top = os.path.join(installed, "ddp_launch")
        opened = os.path.join(self.folder, "opened")
        environment = {**os.environ, "DDP_CUDA_MODULE": module.replace(self.top, top), "DDP_SIM_GPUS": "1",
                       "DDP_NVML": os.path.join(top, "lib", "libsim-nvml.so"), "LD_DEBUG": "files", "LD_DEBUG_OUTPUT": opened}
        if os.path.exists(os.path.join(TOOLKIT, f"libcublasLt.so.{series}")):
            environment["DDP_CUDA_LIBRARIES"] = ":".join(glob.glob(os.path.join(installed, "nvidia", "*", "lib")))
        command = [os.path.join(top, "bin", "ddp-launch"), "--gpus", "0", "--output-dir", os.path.join(self.folder, "run"),
                   os.path.join(top, "configs", "gpt2-tiny.yaml")]
        for name in ("train", "valid"):
            command += ["--set", f"data.{name}={os.path.join(top, 'data', 'kjv', name + '.txt')}"]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment, check=False)
        self.assertEqual(done.returncode, 64, done.stdout + done.stderr)
        self.assert_one_line(done.stderr, "no NVIDIA driver")
        initialised = set()
        for log in glob.glob(opened + ".*"):
            with open(log, encoding="utf-8") as file:
                initialised |= set(re.findall(r"calling init: (.*)", file.read()))
        self.assertIn(environment["DDP_CUDA_MODULE"], initialised)
        nvidia = {path for path in initialised if re.search(r"/(libcublas|libcudart)", path)}
        self.assertTrue(any("libcublasLt" in path for path in nvidia), initialised)
        for path in nvidia:
            inside = "ddp_launch/lib" if "libcudart" in path else "nvidia/"
            self.assertTrue(path.startswith(os.path.join(installed, inside)), path)

    def test_all_that_module_12_uses_is_there(self):
        self.check_symbols(12)

    def test_all_that_module_13_uses_is_there(self):
        self.check_symbols(13)

    def test_module_12_opens_beside_the_libraries_of_site_packages(self):
        self.check_opening(12)

    def test_module_13_opens_beside_the_libraries_of_site_packages(self):
        self.check_opening(13)


if __name__ == "__main__":
    bundle.archive()
    if not glob.glob(site_packages("*")):
        print("no libraries: scripts/fetch_cuda_libraries.sh fetches those of one series")
        sys.exit(bundle.SKIPPED)
    unittest.main()
