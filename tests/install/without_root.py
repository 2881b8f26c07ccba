#!/usr/bin/env python3
"""README's build by a user without rights: without_root.py [bookworm|trixie]..., as root, some minutes each. In a Debian system with g++,
pkg-config and python3 (no pip) beside its smallest set of packages a user who may write to nothing but a copy of the tree is refused by setup.sh in
a line, does what that says, builds, and trains GPT-2 tiny from a shell that knows nothing of .cache/user. Ends with 77 where it cannot run."""
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
os.environ["DDP_SOURCE_ROOT"] = ROOT
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
import debian_roots

PREPARE = "apt-get -q update && apt-get -q -y install --no-install-recommends g++ pkg-config python3 && apt-get clean"
BUILD = """
cd /srv
test "$(id -u)" -ne 0
! touch /usr/x 2>/dev/null
if ./scripts/setup.sh 2>/tmp/refusal; then exit 1; fi
cat /tmp/refusal
test "$(wc -l </tmp/refusal)" = 1
grep -q 'scripts/setup.sh --user' /tmp/refusal
./scripts/setup.sh --user
. .cache/user/env
meson setup build
ninja -C build
./scripts/prepare_kjv.sh
"""
TRAIN = """
cd /srv
build/launcher/ddp-launch --version
build/launcher/ddp-launch --nproc 2 --set train.steps=50 --set schedule.warmup_steps=20 --set eval.every=50 configs/gpt2-tiny.yaml
"""


def check(suite):
    root = debian_roots.copied(suite, "user")
    debian_roots.run(debian_roots.enter(root, "sh", "-ec", PREPARE, user="0:0"))
    with tempfile.TemporaryDirectory(prefix="ddp-test-") as folder:
        listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
        for name in listed.stdout.decode().split("\0")[:-1]:
            os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
            shutil.copy(os.path.join(ROOT, name), os.path.join(folder, name))
        subprocess.run(["chown", "-R", debian_roots.NOBODY, folder], check=True)
        for script in (BUILD, TRAIN):
            subprocess.run(["nice", *debian_roots.enter(root, "sh", "-ec", script, writable=[(folder, "/srv")])], stdin=subprocess.DEVNULL, check=True)


def main():
    suites = sys.argv[1:] or ["bookworm", "trixie"]
    why = debian_roots.why_not(*suites)
    if why:
        print("SKIPPED", why)
        return 77
    for suite in suites:
        try:
            check(suite)
        except subprocess.CalledProcessError as error:
            print(f"FAILED without_root.py: in {suite} with {error.returncode}; what was done last stands above")
            return 1
        print(f"passed: {suite}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
