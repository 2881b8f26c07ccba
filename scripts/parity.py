"""What the scripts share that compare a model with PyTorch's: files between the two sides, our side on one batch, and verdicts."""
import argparse
import dataclasses
import json
import os
import struct
import subprocess
import sys

import numpy
import torch


def save_safetensors(path, tensors):
    header, data = {}, b""
    for name, tensor in tensors.items():
        raw = tensor.numpy().tobytes()
        header[name] = {"dtype": {torch.float32: "F32", torch.int32: "I32"}[tensor.dtype], "shape": list(tensor.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def load_safetensors(path):
    """Its tensors of type F32."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(length)), file.read()
    return {name: torch.from_numpy(numpy.frombuffer(data[slice(*t["data_offsets"])], numpy.float32).reshape(t["shape"]).copy())
            for name, t in header.items() if name != "__metadata__" and t["dtype"] == "F32"}


def parser(description):
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--build", default=os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "build"))
    made.add_argument("--threads", type=int, default=2)
    return made


def build(args):
    """What the functions below run; PyTorch gets as many threads as that."""
    programs = ("tests/parity/parity_one_batch", "launcher/ddp-launch", "runtime/rank/ddp-rank")
    subprocess.run(["ninja", "-C", args.build, *programs], check=True, stdout=subprocess.DEVNULL)
    torch.set_num_threads(args.threads)


def torch_steps(optimizer, loss_of, steps):
    """The losses of so many steps in PyTorch, each before its update."""
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@dataclasses.dataclass
class OneBatch:
    """Of tests/parity/one_batch.cpp: the losses of the steps, the first one's gradients by saved name, and of an evaluation the
    logits and what the last layer norm wrote, where there is one."""
    losses: list
    gradients: dict
    logits: torch.Tensor
    last_norm: torch.Tensor = None


def try_one_batch(args, folder, config, inputs, steps):
    """The run's end, of a configuration (YAML) on a batch: the model's inputs (numpy) in their order."""
    with open(f"{folder}/train.yaml", "w") as file:
        file.write(config)
    with open(f"{folder}/batch", "wb") as file:
        for values in inputs:
            file.write(values.tobytes())
    return subprocess.run([f"{args.build}/tests/parity/parity_one_batch", f"{folder}/train.yaml", f"{folder}/batch", folder,
                           str(steps), str(args.threads)], capture_output=True, text=True)


def one_batch(args, folder, config, inputs, steps):
    done = try_one_batch(args, folder, config, inputs, steps)
    if done.returncode != 0:
        sys.exit(done.stderr)
    out = json.loads(done.stdout)
    gradients = load_safetensors(f"{folder}/gradients.safetensors") if steps > 0 else {}
    return OneBatch(out["losses"], {name: g.double() / out["counted"] for name, g in gradients.items()},
                    **load_safetensors(f"{folder}/evaluated.safetensors"))


def saved_by_ddp_launch(args, folder):
    """The model.safetensors of a run of no updates of the folder's train.yaml."""
    done = subprocess.run([f"{args.build}/launcher/ddp-launch", "--device", "cpu", "--nproc", "1", "--stop-after", "1", "--set",
                           "optimizer.lr=0", "--output-dir", f"{folder}/run", f"{folder}/train.yaml"], capture_output=True, text=True)
    if done.returncode != 75:  # stopped early, as asked for
        sys.exit(done.stderr)
    return load_safetensors(f"{folder}/run/checkpoints/step-00000001/model.safetensors")


class Verdict:
    def __init__(self):
        self.failed = False

    def check(self, what, value, bound):
        self.failed = self.failed or not value <= bound
        print(f"{'ok' if value <= bound else 'FAILED':<7}{what}: {value:.2e} (at most {bound:.2e})", flush=True)


def largest_difference(ours, theirs):
    """Of the largest of theirs."""
    return float((ours.double() - theirs).abs().max() / theirs.abs().max())


def apart(losses, others):
    return max(abs(x - y) for x, y in zip(losses, others, strict=True))


def compare_gradients(verdict, got, double, singles):
    """Of each tensor: the error against PyTorch in double at most twice the worst of `singles`, PyTorch's ways to compute it in fp32,
    or 1e-6 of the whole gradient's norm."""
    whole = sum(float(g.norm()) ** 2 for g in double.values()) ** 0.5
    rows = []
    for name, true in double.items():
        error, theirs = float((got[name].double() - true).norm()), max(float((s[name] - true).norm()) for s in singles)
        bound = max(2 * theirs, 1e-6 * whole)
        size = float(true.norm()) or 1.0  # behind a norm whose weight is 0 a gradient is 0
        rows.append((error / bound, error / size, theirs / size, name))
    rows.sort(reverse=True)
    width = max(len(row[3]) for row in rows[:5]) + 1
    print(f"{'tensor':<{width}}{'error':>10}{'PyTorch':>10}{'of bound':>10}   (the five nearest their bounds, of {len(rows)})")
    for of_bound, error, theirs, name in rows[:5]:
        print(f"{name:<{width}}{error:>10.2e}{theirs:>10.2e}{of_bound:>10.2f}")
    verdict.check("largest error of a gradient, in units of its bound", rows[0][0], 1.0)
    verdict.check("tensors without a counterpart", len(set(got) ^ set(double)), 0)
