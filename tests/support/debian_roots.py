"""Debian systems in .cache/roots, each made once, which tests enter as root in mount namespaces of their own: bare ones, that hold the
smallest set of packages and Python, and that nothing changes, and copies of them."""
import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import unittest

ROOT = os.environ["DDP_SOURCE_ROOT"]  # set by meson
ROOTS = os.path.join(ROOT, ".cache", "roots")
NOBODY = "65534:65534"
SKIPPED = 77

# In a mount namespace of its own, so that nothing stays mounted. $1: the system; $2: the user; folders to show there, each as FROM TO ro or
# rw; --; then the command.
ENTER = """
set -e
system=$1 user=$2
shift 2
mount -t proc proc "$system/proc"
mount -t tmpfs tmpfs "$system/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$system/tmp"
while [ "$1" != -- ]; do
  mount --bind "$1" "$system$2"
  [ "$3" = rw ] || mount -o remount,bind,ro "$system$2"
  shift 3
done
shift
exec chroot --userspec="$user" "$system" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
"""


def enter(root, *command, user=NOBODY, shown=(), writable=()):
    """The command that runs this one in a system. `shown` and `writable`: (a folder of this machine, where it stands there), of which one is
    /opt, /srv, /mnt or /media, as those are empty. /tmp is empty and goes with the command."""
    folders = [word for folder, there in shown for word in (folder, there, "ro")] + [word for folder, there in writable for word in (folder, there, "rw")]
    return ["unshare", "-m", "sh", "-c", ENTER, "enter", root, user, *folders, "--", *command]


@contextlib.contextmanager
def making(name):
    """Lets one at a time make the system of this name: gives a folder to make it in, which takes the name at the end; None where it is there."""
    os.makedirs(ROOTS, exist_ok=True)
    root, partial = os.path.join(ROOTS, name), os.path.join(ROOTS, name + ".partial")
    with open(os.path.join(ROOTS, name + ".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.isdir(root):
            yield None
            return
        shutil.rmtree(partial, ignore_errors=True)
        yield partial
        os.rename(partial, root)


class Failed(Exception):
    """A system could not be made: says why."""


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Failed(f"{command[:6]}: {done.stdout[-2000:]}")


def bare(suite):
    """Debian's smallest system with Python: its folder. In a mount namespace, so that what debootstrap mounts goes when it ends."""
    with making(suite) as partial:
        if partial:
            run(["unshare", "-m", "debootstrap", "--variant=minbase", "--include=python3,python3-venv", suite, partial])
    return os.path.join(ROOTS, suite)


def copied(suite, name):
    """A copy of the bare system, made once too, to install packages in."""
    with making(f"{suite}-{name}") as partial:
        if partial:
            run(["cp", "-a", bare(suite), partial])
            shutil.copy("/etc/resolv.conf", os.path.join(partial, "etc"))
    return os.path.join(ROOTS, f"{suite}-{name}")


def why_not(*suites):
    """Why there are no such bare systems to be had here; None where there are."""
    if os.geteuid() != 0 or not shutil.which("debootstrap") or not shutil.which("unshare"):
        return "needs root, debootstrap and unshare"
    if subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False).returncode != 0:
        return "may not mount"
    try:
        for suite in suites:
            bare(suite)
    except Failed as failed:
        return str(failed)
    return None


def main(*suites, tool=None):
    """Runs a program's tests, which need these systems and perhaps a tool of this machine, or ends it as skipped."""
    why = why_not(*suites) or (f"needs {tool}" if tool and not shutil.which(tool) else None)
    if why:
        print(why)
        sys.exit(SKIPPED)
    unittest.main()
