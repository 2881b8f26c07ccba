#!/usr/bin/env python3
"""Touching a header rebuilds the .cu files that include it and no others: the project's own rule, on two small kernels.

usage: cuda_rebuild_test.py ROOT TOOLKIT
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time

root, toolkit = sys.argv[1:]

PROJECT = """
project('rebuild', 'cpp', default_options: ['cpp_std=c++20'])
cpp = meson.get_compiler('cpp')
threads_dep = dependency('threads')
source_root = '..'
ccache = find_program('ccache', required: false)
subdir('kernels/cuda')
shared_library('kernels', cuda_object.process('direct.cu', 'other.cu'), dependencies: cuda_dep)
"""


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


with tempfile.TemporaryDirectory(prefix="ddp-rebuild-") as tree:
    build = os.path.join(tree, "build")
    write(os.path.join(tree, "meson.build"), PROJECT)
    shutil.copy(os.path.join(root, "meson_options.txt"), tree)
    shutil.copytree(os.path.join(root, "kernels/cuda"), os.path.join(tree, "kernels/cuda"))
    write(os.path.join(tree, "kernels/inner.cuh"), "#pragma once\n__device__ inline int one() { return 1; }\n")
    write(os.path.join(tree, "kernels/outer.cuh"), '#pragma once\n#include "kernels/inner.cuh"\n')
    write(os.path.join(tree, "direct.cu"), '#include "kernels/outer.cuh"\n__global__ void direct(int* x) { *x = one(); }\n')
    write(os.path.join(tree, "other.cu"), "__global__ void other(int* x) { *x = 2; }\n")

    def run(*command):
        done = subprocess.run(command, cwd=tree, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    run("meson", "setup", build, "-Dcuda=enabled", "-Dgpu_arch=75", "-Dtoolkit_root=" + toolkit)
    run("ninja", "-C", build)
    assert "no work to do" in run("ninja", "-C", build, "-n"), "a second build has nothing to do"
    header = os.path.join(tree, "kernels/inner.cuh")
    later = time.time() + 10  # than the object, however long its build took
    os.utime(header, (later, later))
    plan = run("ninja", "-C", build, "-n", "-v")
    assert "direct.cu.o" in plan, "a touched header did not rebuild the file that includes it:\n" + plan
    assert "-c ../other.cu" not in plan, "a file that does not include the header was rebuilt:\n" + plan
print("a touched header rebuilds what includes it")
