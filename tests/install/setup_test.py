#!/usr/bin/env python3
"""What scripts/setup.sh takes for missing and how it installs that, and what it fetches, by stand-ins for the tools it looks for and the ones it installs with."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = sys.argv.pop(1)
HAS_ALL = {"g++": "", "meson": "echo 1.0.0", "ninja": "", "pkg-config": "", "ccache": "", "bible": "", "dpkg-query": "exit 1"}
LACKS_FMT = {"pkg-config": '[ "$1" != fmt ]'}


class Setup(unittest.TestCase):
    def set_up(self, *arguments, user=0, expect=0, **tools):
        """setup.sh with these stand-ins, a program of /bin/sh each, as this user. `self.installed` has how apt-get and sudo were called."""
        with tempfile.TemporaryDirectory(prefix="ddp-test-") as folder:
            shutil.copytree(os.path.join(ROOT, "scripts"), os.path.join(folder, "scripts"))  # beside which there is no .cache
            calls = os.path.join(folder, "calls")
            open(calls, "w", encoding="utf-8").close()
            told = f'echo "$(basename "$0") $*" >>{calls}\n'
            tools = {"id": f"echo {user}", "sudo": "exit 1", "apt-get": told, **HAS_ALL, **tools}
            for name, text in tools.items():
                path = os.path.join(folder, name)
                with open(path, "w", encoding="utf-8") as file:
                    file.write(f"#!/bin/sh\n{text.replace('TOLD', told)}\n")
                os.chmod(path, 0o755)
            done = subprocess.run([os.path.join(folder, "scripts", "setup.sh"), *arguments], capture_output=True, text=True, check=False,
                                  stdin=subprocess.DEVNULL, env={**os.environ, "PATH": folder + ":" + os.environ["PATH"]})
            self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
            with open(calls, encoding="utf-8") as file:
                self.installed = file.read()
            return done.stderr

    def test_tools_that_run_and_libraries_that_pkg_config_knows_are_not_installed_whatever_dpkg_says(self):
        self.set_up()
        self.assertEqual(self.installed, "")

    def test_a_tool_that_does_not_run_and_a_meson_before_1_0_are_missing(self):
        for version, missing in (("0.61.2", True), ("1.0.0.rc1", False), ("1.0.1", False), ("1.10.0", False), ("2.0", False)):
            with self.subTest(version=version):
                self.set_up(meson=f"echo {version}")
                self.assertEqual(" install meson\n" in self.installed, missing, self.installed)
        self.set_up(ninja="exit 127")
        self.assertIn(" install ninja-build\n", self.installed)

    def test_what_is_missing_is_installed_without_what_is_only_recommended(self):
        self.set_up(**LACKS_FMT)
        self.assertIn(" --no-install-recommends install libfmt-dev\n", self.installed)
        self.assertEqual(self.installed.count("\n"), 1)

    def test_a_sudo_that_works_is_taken(self):
        self.set_up(user=1000, **LACKS_FMT, sudo='[ "$*" = "-n true" ] && exit; TOLD')
        self.assertRegex(self.installed, "^sudo env .* apt-get .* install libfmt-dev\n$")

    def test_without_root_the_refusal_is_a_line_with_what_is_missing_and_both_ways(self):
        said = self.set_up(user=1000, expect=1, **LACKS_FMT)
        self.assertEqual(self.installed, "")
        self.assertEqual(said.count("\n"), 1, said)
        for words in ("missing: libfmt-dev,", "./scripts/setup.sh --user", "pip install ddp_launch-*.whl"):
            self.assertIn(words, said)

    def test_without_root_and_without_a_compiler_the_wheel_is_named(self):
        said = self.set_up("--user", user=1000, expect=1, **{"g++": "exit 127"})
        self.assertEqual(said.count("\n"), 1, said)
        for words in ("g++ is missing", "pip install ddp_launch-*.whl"):
            self.assertIn(words, said)

    def test_user_takes_no_option_whose_packages_must_be_installed(self):
        said = self.set_up("--user", "--tests", user=1000, expect=1)
        self.assertEqual(said, "error: --user fetches what a build needs; what other options add, only root may install\n")


class Fetch(unittest.TestCase):
    def setUp(self):
        """A copy of the scripts, in which python3 has a pip that puts half of a wheel where it shall and ends with $STATUS."""
        folder = tempfile.TemporaryDirectory(prefix="ddp-test-")
        self.addCleanup(folder.cleanup)
        self.tree = folder.name
        shutil.copytree(os.path.join(ROOT, "scripts"), os.path.join(self.tree, "scripts"))
        self.tool("python3", '[ "$3" = --version ] && exit\nwhile [ "$1" != --target ]; do shift; done\nmkdir -p "$2/half"\nexit $STATUS')

    def tool(self, name, text):
        path = os.path.join(self.tree, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\n{text}\n")
        os.chmod(path, 0o755)

    def in_tree(self, command, **environment):
        """(exit status, stderr) of a command in `self.tree`."""
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, cwd=self.tree,
                              env={**os.environ, "PATH": self.tree + ":" + os.environ["PATH"], **environment})
        return done.returncode, done.stderr

    def test_wheels_whose_download_breaks_off_are_not_taken_for_there_and_are_fetched_again(self):
        self.assertEqual(self.in_tree(["scripts/fetch_auditwheel.sh"], STATUS="2")[0], 2)
        fetched = os.path.join(self.tree, ".cache", "auditwheel")
        self.assertFalse(os.path.exists(fetched))
        self.assertEqual(self.in_tree(["scripts/fetch_auditwheel.sh"], STATUS="0"), (0, ""))
        self.assertEqual(os.listdir(fetched), ["half"])
        self.assertEqual(os.listdir(os.path.dirname(fetched)), ["auditwheel"])

    def test_data_that_is_there_as_a_wheel_brings_it_needs_no_package(self):
        for script, made in (("prepare_kjv.sh", "data/kjv/valid.txt"), ("prepare_kjv_text.sh", "data/kjv-books/valid.safetensors")):
            os.makedirs(os.path.join(self.tree, os.path.dirname(made)))
            with open(os.path.join(self.tree, made), "w", encoding="utf-8") as file:
                file.write("In the beginning")
            self.tool("bible", "exit 127")
            self.tool("apt-get", "exit 1")
            self.assertEqual(self.in_tree(["scripts/" + script], STATUS="2"), (0, ""))

    def test_a_toolkit_takes_the_place_of_nothing(self):
        os.mkdir(os.path.join(self.tree, "mine"))
        thesis = os.path.join(self.tree, "mine", "thesis")
        open(thesis, "w", encoding="utf-8").close()
        self.assertEqual(self.in_tree(["scripts/fetch_cuda.sh", "mine"], STATUS="2"),
                         (1, "error: mine is there, and is not what this script made; name a folder that is empty or not there\n"))
        self.assertTrue(os.path.exists(thesis))
        self.assertEqual(self.in_tree(["scripts/fetch_cuda.sh", "--cuda13"], STATUS="2"), (1, "error: unknown option --cuda13; there is --cuda12\n"))
        self.assertEqual(self.in_tree(["scripts/fetch_cuda.sh", "new"], STATUS="2")[0], 2)


if __name__ == "__main__":
    unittest.main()
