"""The bundle in bare Debian systems that hold none of its packages: a user without rights trains from a folder nobody may write to."""
import os
import shutil
import sys
import unittest

import bundle

sys.path.insert(0, os.path.join(bundle.ROOT, "tests", "support"))
import debian_roots


class BareSystem(bundle.BundleTest):
    def enter(self, root, *command, expect=0):
        return self.run_command(debian_roots.enter(root, *command, shown=[(self.top, "/opt")]), expect=expect)

    def check(self, suite):
        root = debian_roots.bare(suite)
        for library in ("libdnnl.so.2", "libyaml-cpp.so.0.7", "libfmt.so.9"):
            self.assertFalse(os.path.exists(os.path.join(root, "usr/lib/x86_64-linux-gnu", library)))
        config = "/opt/configs/gpt2-tiny.yaml"
        data = ["--set", "data.train=/opt/data/kjv/train.txt", "--set", "data.valid=/opt/data/kjv/valid.txt"]
        done = self.enter(root, "/opt/bin/ddp-launch", "--nproc", "4", *bundle.OPTIONS, *data, "--output-dir", "/tmp/run", config)
        self.assertIn("finished steps 1-20", done.stdout)
        self.enter(root, "/opt/bin/ddp-launch", "plan", "--nproc", "4", *data, config)
        done = self.enter(root, "/opt/bin/ddp-launch", "--gpus", "0", *data, "--output-dir", "/tmp/run", config, expect=64)
        self.assert_one_line(done.stderr, "no NVIDIA driver")
        self.assertEqual(self.enter(root, "touch", "/opt/x", expect=1).returncode, 1)

    def test_debian_12(self):
        self.check("bookworm")

    def test_debian_13(self):
        self.check("trixie")

    def test_a_system_with_an_older_glibc_or_with_none_is_told_so_in_one_line(self):
        root = os.path.join(self.folder, "system")
        os.makedirs(os.path.join(root, "lib64"))
        shutil.copy(self.launch, os.path.join(root, "ddp-launch"))
        refused = ["chroot", root, "/ddp-launch", "--version"]
        self.assert_one_line(self.run_command(refused, expect=71).stderr, "glibc of 2.35 or later")
        with open("/lib64/ld-linux-x86-64.so.2", "rb") as file:
            older = file.read().replace(b"GLIBC_2.35\0", b"GLIBC_2.25\0")
        with open(os.path.join(root, "lib64/ld-linux-x86-64.so.2"), "wb") as file:
            file.write(older)
        self.assert_one_line(self.run_command(refused, expect=71).stderr, "glibc of 2.35 or later")


if __name__ == "__main__":
    bundle.archive()
    debian_roots.main("bookworm", "trixie")
