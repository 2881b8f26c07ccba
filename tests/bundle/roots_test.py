"""The bundle in bare Debian systems that hold none of its packages: a user without rights trains from a folder nobody may write to."""
import os
import shutil
import subprocess
import sys
import unittest

import bundle

ROOTS = os.path.join(bundle.ROOT, ".cache", "roots")
NOBODY = "65534:65534"

# In a mount namespace of its own, so that nothing stays mounted. $1: the system; $2: the bundle; then the command.
ENTER = """
set -e
system=$1 bundle=$2
shift 2
mount -t proc proc "$system/proc"
mount -t tmpfs tmpfs "$system/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$system/tmp"
mount --bind "$bundle" "$system/opt"
mount -o remount,bind,ro "$system/opt"
exec chroot --userspec=%s "$system" env -i PATH=/usr/bin:/bin "$@"
""" % NOBODY


def make_root(suite):
    """Makes Debian's smallest system, once. Why it cannot, or None. In a mount namespace, so that what it mounts goes when it ends."""
    root = os.path.join(ROOTS, suite)
    if os.path.isdir(root):
        return None
    os.makedirs(ROOTS, exist_ok=True)
    partial = root + ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    command = ["unshare", "-m", "debootstrap", "--variant=minbase", suite, partial]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return f"debootstrap {suite}: {(done.stdout + done.stderr)[-2000:]}"
    os.rename(partial, root)
    return None


def why_not():
    """Why there are no bare systems to be had here; None where there are."""
    if os.geteuid() != 0 or not shutil.which("debootstrap") or not shutil.which("unshare"):
        return "needs root, debootstrap and unshare"
    if subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False).returncode != 0:
        return "may not mount"
    return make_root("bookworm") or make_root("trixie")


class BareSystem(bundle.BundleTest):
    def enter(self, root, *command, expect=0):
        return self.run_command(["unshare", "-m", "sh", "-c", ENTER, "enter", root, self.top, *command], expect=expect)

    def check(self, suite):
        root = os.path.join(ROOTS, suite)
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
    why = why_not()
    if why:
        print(why)
        sys.exit(bundle.SKIPPED)
    unittest.main()
