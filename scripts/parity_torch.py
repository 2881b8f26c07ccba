#!/usr/bin/python3
"""Trains the same GPT-2 with ddp-launch and with a plain PyTorch implementation, from the same random weights on the same data, and
compares the losses step by step: they must agree within 1e-4 in fp32 over 20 AdamW steps.

usage: scripts/parity_torch.py [--build BUILD_FOLDER] [--ranks N] [--steps N]
Needs Debian's python3-torch (scripts/setup.sh --parity). The data file holds exactly one global batch, so that every step sees
every sample and the order of samples does not matter.
"""
import argparse
import json
import math
import os
import subprocess
import sys
import tempfile

import torch
import torch.nn.functional as F

from parity import save_safetensors

LAYERS, HEADS, WIDTH, CONTEXT, VOCAB = 4, 4, 128, 64, 256
BATCH, MICRO = 32, 4
LR, WARMUP, MIN_LR, BETAS, EPS, DECAY, CLIP = 1e-3, 5, 1e-4, (0.9, 0.95), 1e-8, 0.1, 1.0


def random_weights():
    torch.manual_seed(1234)
    w = {"wte.weight": (VOCAB, WIDTH), "wpe.weight": (CONTEXT, WIDTH), "ln_f.weight": (WIDTH,), "ln_f.bias": (WIDTH,)}
    for i in range(LAYERS):
        for name, shape in {
            "ln_1.weight": (WIDTH,), "ln_1.bias": (WIDTH,),
            "attn.c_attn.weight": (WIDTH, 3 * WIDTH), "attn.c_attn.bias": (3 * WIDTH,),
            "attn.c_proj.weight": (WIDTH, WIDTH), "attn.c_proj.bias": (WIDTH,),
            "ln_2.weight": (WIDTH,), "ln_2.bias": (WIDTH,),
            "mlp.c_fc.weight": (WIDTH, 4 * WIDTH), "mlp.c_fc.bias": (4 * WIDTH,),
            "mlp.c_proj.weight": (4 * WIDTH, WIDTH), "mlp.c_proj.bias": (WIDTH,),
        }.items():
            w[f"h.{i}.{name}"] = shape
    return {name: 0.02 * torch.randn(shape) + (1.0 if "ln_" in name and name.endswith("weight") else 0.0)
            for name, shape in w.items()}


def loss_of(w, tokens, targets):
    b, t = tokens.shape
    x = w["wte.weight"][tokens] + w["wpe.weight"][:t]
    mask = torch.full((t, t), -math.inf).triu(1)
    for i in range(LAYERS):
        p = f"h.{i}."
        h = F.layer_norm(x, (WIDTH,), w[p + "ln_1.weight"], w[p + "ln_1.bias"], 1e-5)
        q, k, v = (h @ w[p + "attn.c_attn.weight"] + w[p + "attn.c_attn.bias"]).split(WIDTH, 2)
        q, k, v = (y.view(b, t, HEADS, WIDTH // HEADS).transpose(1, 2) for y in (q, k, v))
        att = (q @ k.transpose(2, 3) / math.sqrt(WIDTH // HEADS) + mask).softmax(-1) @ v
        x = x + att.transpose(1, 2).reshape(b, t, WIDTH) @ w[p + "attn.c_proj.weight"] + w[p + "attn.c_proj.bias"]
        h = F.layer_norm(x, (WIDTH,), w[p + "ln_2.weight"], w[p + "ln_2.bias"], 1e-5)
        h = F.gelu(h @ w[p + "mlp.c_fc.weight"] + w[p + "mlp.c_fc.bias"], approximate="tanh")
        x = x + h @ w[p + "mlp.c_proj.weight"] + w[p + "mlp.c_proj.bias"]
    x = F.layer_norm(x, (WIDTH,), w["ln_f.weight"], w["ln_f.bias"], 1e-5)
    return F.cross_entropy((x @ w["wte.weight"].T).view(-1, VOCAB), targets.reshape(-1))


def learning_rate(step, steps):
    if step <= WARMUP:
        return LR * step / WARMUP
    return MIN_LR + 0.5 * (LR - MIN_LR) * (1 + math.cos(math.pi * (step - WARMUP) / (steps - WARMUP)))


def torch_losses(weights, data, steps):
    w = {name: tensor.clone().requires_grad_() for name, tensor in weights.items()}
    decay, plain = [p for p in w.values() if p.dim() == 2], [p for p in w.values() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": DECAY}, {"params": plain, "weight_decay": 0.0}],
                                  lr=LR, betas=BETAS, eps=EPS)
    samples = torch.tensor(list(data), dtype=torch.long)
    tokens = samples[:-1].view(BATCH, CONTEXT)
    targets = samples[1:].view(BATCH, CONTEXT)
    losses, norms = [], []
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        loss = loss_of(w, tokens, targets)
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(list(w.values()), CLIP)))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        optimizer.step()
        losses.append(float(loss))
    return losses, norms


def ddp_losses(build, folder, ranks, steps):
    config = f"""
model: {{name: gpt2, layers: {LAYERS}, heads: {HEADS}, width: {WIDTH}, context: {CONTEXT}, vocab: {VOCAB}, init_from: {folder}/init.safetensors}}
data: {{format: bytes, train: {folder}/data.bin}}
train: {{steps: {steps}, micro_batch: {MICRO}, global_batch: {BATCH}, clip_norm: {CLIP}, bucket_mb: 0.5}}
optimizer: {{name: adamw, lr: {LR}, betas: [{BETAS[0]}, {BETAS[1]}], eps: {EPS}, weight_decay: {DECAY}}}
schedule: {{name: cosine, warmup_steps: {WARMUP}, min_lr: {MIN_LR}}}
output_dir: {folder}/run
"""
    with open(f"{folder}/train.yaml", "w") as file:
        file.write(config)
    subprocess.run([f"{build}/launcher/ddp-launch", "--nproc", str(ranks), "--device", "cpu", f"{folder}/train.yaml"], check=True,
                   stdout=subprocess.DEVNULL)
    with open(f"{folder}/run/metrics.jsonl") as file:
        records = [r for r in map(json.loads, file) if r["type"] == "step"]
    return [r["loss"] for r in records], [r["grad_norm"] for r in records]


def main():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=os.path.join(root, "build"))
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        weights = random_weights()
        save_safetensors(f"{folder}/init.safetensors", weights)
        text = open(__file__, "rb").read()
        data = (text * (1 + BATCH * CONTEXT // len(text)))[: BATCH * CONTEXT + 1]
        with open(f"{folder}/data.bin", "wb") as file:
            file.write(data)
        ours, our_norms = ddp_losses(args.build, folder, args.ranks, args.steps)
        theirs, their_norms = torch_losses(weights, data, args.steps)
    worst = max(abs(a - b) for a, b in zip(ours, theirs))
    print(f"{'step':>4} {'ddp-launch':>14} {'torch':>14} {'difference':>11} {'norm':>9} {'torch':>9}")
    for i, (a, b) in enumerate(zip(ours, theirs)):
        print(f"{i + 1:>4} {a:>14.8f} {b:>14.8f} {a - b:>11.2e} {our_norms[i]:>9.5f} {their_norms[i]:>9.5f}")
    print(f"largest difference {worst:.2e} over {args.steps} steps on {args.ranks} ranks (torch {torch.__version__}): "
          f"{'within' if worst <= 1e-4 else 'NOT within'} 1e-4")
    return 0 if len(ours) == args.steps and worst <= 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
