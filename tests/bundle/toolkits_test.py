"""What nvcc 12.4 makes of the kernels is no worse than what nvcc 13 does: scripts/compare_toolkits.py with the bundle's two modules."""
import os
import subprocess
import sys
import tarfile
import tempfile

import bundle

with tempfile.TemporaryDirectory(prefix="ddp-test-") as folder:
    with tarfile.open(bundle.archive()) as tar:
        modules = sorted(name for name in tar.getnames() if "/lib/libddp-cuda1" in name)
        for name in modules:
            tar.extract(name, folder)
    if len(modules) != 2:
        print("the bundle has not both modules: scripts/bundle.sh --cuda12 makes them")
        sys.exit(bundle.SKIPPED)
    compare = os.path.join(bundle.ROOT, "scripts", "compare_toolkits.py")
    after, before = (os.path.join(folder, name) for name in modules)
    sys.exit(subprocess.run([sys.executable, compare, before, after], check=False).returncode)
