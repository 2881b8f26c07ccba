#!/usr/bin/env python3
"""gpu_acceptance.sh refuses a machine without a GPU in one line, and its verdict on loss curves is right either way."""
import json
import os
import subprocess
import sys
import tempfile

root = sys.argv[1]


def verdict(losses):
    """Exit code and text of tables.py for runs with these losses."""
    with tempfile.TemporaryDirectory(prefix="ddp-acceptance-") as folder:
        for name, values in losses.items():
            os.makedirs(os.path.join(folder, name))
            with open(os.path.join(folder, name, "metrics.jsonl"), "w") as file:
                for i, loss in enumerate(values):
                    record = {"type": "step", "step": i + 1, "loss": loss, "tokens_per_s": 1000.0 * len(name),
                              "step_ms": 1.0, "exposed_comm_ms": 0.1, "data_wait_ms": 0.0}
                    file.write(json.dumps(record) + "\n")
        done = subprocess.run([sys.executable, os.path.join(root, "scripts/acceptance/tables.py"), folder],
                              capture_output=True, text=True)
        return done.returncode, done.stdout


with tempfile.TemporaryDirectory() as empty:
    for tool in ("bash", "dirname", "env"):
        os.symlink(f"/usr/bin/{tool}", os.path.join(empty, tool))
    done = subprocess.run([os.path.join(root, "scripts/gpu_acceptance.sh")], env={"PATH": empty}, capture_output=True, text=True)
assert done.returncode == 64 and len(done.stderr.splitlines()) == 1 and "no NVIDIA driver" in done.stderr, done


def refusal_with(cuda_of_driver, nvcc_release):
    """The one line with which a machine of four GPUs is refused that has these versions."""
    tools = {"nvidia-smi": f'case "$*" in *compute_cap*) printf "7.5\\n7.5\\n7.5\\n7.5\\n" ;; *) echo "| CUDA Version: {cuda_of_driver} |" ;; esac',
             "nvcc": f'echo "Cuda compilation tools, release {nvcc_release}, V{nvcc_release}.1"'}
    with tempfile.TemporaryDirectory(prefix="ddp-acceptance-") as folder:
        for name, text in tools.items():
            with open(os.open(os.path.join(folder, name), os.O_CREAT | os.O_WRONLY, 0o755), "w") as file:
                file.write("#!/bin/sh\n" + text + "\n")
        done = subprocess.run([os.path.join(root, "scripts/gpu_acceptance.sh")], env={"PATH": folder + ":/usr/bin:/bin"},
                              capture_output=True, text=True)
    assert done.returncode == 64 and len(done.stderr.splitlines()) == 1, done
    return done.stderr


line = refusal_with("12.4", "13.0")
assert "CUDA 12.4" in line and "13.0" in line and "12.x" in line, line

curve = [5.0 - 0.01 * i for i in range(50)]
near = [loss * (1 + 5e-6) for loss in curve]
far = [loss * (1 + 2e-5) for loss in curve]
near16 = [loss * (1 - 2e-4) for loss in curve]
good = {"cpu": curve, "gpu1": near, "gpu1-again": near, "gpu1-graphs": near, "gpu2": near, "gpu2-graphs": near,
        "gpu2-allreduce": near, "gpu1-fp16": near16, "gpu1-fp16-graphs": near16,
        "speed1-fp32": curve, "speed1-fp16": curve, "speed2-fp16": curve}
code, text = verdict(good)
assert code == 0 and "**no**" not in text, text
bad = [("cpu", far), ("gpu1-again", curve), ("gpu2", curve), ("gpu1", near[:-1]), ("gpu1-graphs", curve),
       ("gpu2-graphs", curve), ("gpu2-allreduce", far), ("gpu1-fp16", [loss * 1.001 for loss in curve]), ("gpu1-fp16-graphs", near)]
for name, losses in bad:
    code, text = verdict({**good, name: losses})
    assert code == 1 and "**no**" in text, f"{name} was accepted:\n{text}"
code, text = verdict({name: losses for name, losses in good.items() if name != "speed1-fp16"})
assert code == 1, "accepted without a measurement"
print(f"{len(bad) + 1} bad outcomes refused")
