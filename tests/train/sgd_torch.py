#!/usr/bin/env python3
"""Writes sgd_torch.json, what sgd_test.cpp compares with: parameters as torch.optim.SGD leaves them. Needs PyTorch; the test does not.

usage: tests/train/sgd_torch.py > tests/train/sgd_torch.json"""
import json

import torch

SHAPES = [[7], [5, 3], [33]]  # the second one decays
STEPS = 20
RECORDED = [1, 2, 5, 20]


def value(tensor, index, step):
    """In [-1, 1), a multiple of 2^-15, so exact in fp32. Step 0: the initial parameters; later ones: gradients."""
    return ((tensor * 7919 + index * 104729 + step * 1299709) * 2654435761 % 2**32 // 2**16) / 2**15 - 1


def filled(tensor, step):
    shape = SHAPES[tensor]
    numel = torch.Size(shape).numel()
    return torch.tensor([value(tensor, i, step) for i in range(numel)], dtype=torch.float32).reshape(shape)


def run(momentum, nesterov, decay):
    params = [torch.nn.Parameter(filled(t, 0)) for t in range(len(SHAPES))]
    groups = [{"params": [p], "weight_decay": decay if p.dim() > 1 else 0.0} for p in params]
    optimizer = torch.optim.SGD(groups, lr=1.0, momentum=momentum, nesterov=nesterov, dampening=0)
    after = {}
    for step in range(1, STEPS + 1):
        for t, p in enumerate(params):
            p.grad = filled(t, step)
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / step
        optimizer.step()
        if step in RECORDED:
            after[step] = [[x.item() for x in p.detach().flatten()] for p in params]
    return {"momentum": momentum, "nesterov": nesterov, "weight_decay": decay, "after": after}


def main():
    runs = [run(momentum, nesterov, decay) for momentum, nesterov in [(0.0, False), (0.9, False), (0.9, True)] for decay in (0.0, 5e-4)]
    print("{" + f'"torch": "{torch.__version__}", "runs": [')
    print(",\n".join(json.dumps(r) for r in runs))
    print("]}")


if __name__ == "__main__":
    main()
