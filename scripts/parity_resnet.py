#!/usr/bin/env python3
"""Compares ResNet-50 with torchvision's at full size, from the same random weights on the same batch, in fp32 on the CPU:

  - the logits of an evaluation within 1e-4 of the largest, and the training loss within 2e-6 of itself;
  - the gradient of each tensor: its error against PyTorch in double at most twice that of PyTorch's own fp32 (the worse of its two
    memory formats), or below 1e-6 of the whole gradient's norm. A fixed bound on gradients would fail correct programs: behind 50
    layers of batch norm PyTorch's own are up to some percent off;
  - the losses of 12 steps of SGD, from blocks that start as the identity, within 1e-4;
  - a checkpoint of ddp-launch is a state_dict that torchvision's model takes, strictly, with the weights that the run started from.

usage: scripts/parity_resnet.py [--build FOLDER] [--model resnet18|resnet50|...] [--batch N] [--image PIXELS] [--threads N]
Needs PyTorch 2 and torchvision. Builds what it runs in FOLDER.
"""
import sys
import tempfile

import numpy
import torch
import torchvision

import parity

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # our defaults
SMOOTHING, LR, MOMENTUM, STEPS = 0.1, 1e-3, 0.9, 12


def random_model(name, last_gamma):
    """Of torchvision, with norms and running statistics away from their neutral values."""
    torch.manual_seed(7)
    model = getattr(torchvision.models, name)()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight, 1.0, 0.1)
            torch.nn.init.normal_(module.bias, 0.0, 0.1)
            torch.nn.init.normal_(module.running_mean, 0.0, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    for block in (m for m in model.modules() if isinstance(m, (torchvision.models.resnet.BasicBlock, torchvision.models.resnet.Bottleneck))):
        last = block.bn3 if hasattr(block, "bn3") else block.bn2
        last.weight.data.mul_(last_gamma)
    return model


class Torch:
    """One of PyTorch's ways to compute it."""

    def __init__(self, model, image, label, dtype=torch.float32, memory_format=torch.contiguous_format):
        self.model = model.to(dtype=dtype, memory_format=memory_format)
        mean, std = (torch.tensor(x, dtype=torch.float64).view(1, 3, 1, 1) for x in (MEAN, STD))
        pixels = (torch.from_numpy(image).permute(0, 3, 1, 2).double() / 255 - mean) / std
        self.pixels, self.label = pixels.to(dtype).contiguous(memory_format=memory_format), torch.from_numpy(label).long()

    def loss(self):
        return torch.nn.functional.cross_entropy(self.model.train()(self.pixels), self.label, label_smoothing=SMOOTHING)

    def logits(self):
        with torch.no_grad():
            return self.model.eval()(self.pixels).double()

    def gradients(self):
        loss = self.loss()
        loss.backward()
        return loss.item(), {name: p.grad.double() for name, p in self.model.named_parameters()}

    def steps(self):
        optimizer = torch.optim.SGD(self.model.parameters(), lr=LR, momentum=MOMENTUM)
        return parity.torch_steps(optimizer, self.loss, STEPS)


def ours(args, folder, model, image, label, steps):
    weights = {name: x.float().contiguous() for name, x in model.state_dict().items() if x.is_floating_point()}
    parity.save_safetensors(f"{folder}/init.safetensors", weights)
    return parity.one_batch(args, folder, f"""
model: {{name: resnet, preset: {args.model}, image_size: {args.image}, label_smoothing: {SMOOTHING}, init_from: {folder}/init.safetensors}}
data: {{format: synthetic, train: {args.batch}}}
train: {{steps: {STEPS}, micro_batch: {args.batch}, global_batch: {args.batch}, clip_norm: 0}}
optimizer: {{name: sgd, lr: {LR}, momentum: {MOMENTUM}}}
schedule: {{name: constant}}
""", [image, label], steps)


def main():
    parser = parity.parser(__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--image", type=int, default=224)
    args = parser.parse_args()
    parity.build(args)
    random = numpy.random.default_rng(3)
    image = random.integers(0, 256, (args.batch, args.image, args.image, 3), dtype=numpy.uint8)
    label = random.integers(0, 1000, args.batch, dtype=numpy.int32)
    verdict = parity.Verdict()
    print(f"{args.model}, {args.batch} images of {args.image}, torch {torch.__version__}, torchvision {torchvision.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        for gamma in (1.0, 0.0):
            print(f"last gammas {'random' if gamma else '0'}")
            build = lambda: random_model(args.model, gamma)
            out = ours(args, folder, build(), image, label, STEPS if gamma == 0 else 1)
            logits = Torch(build(), image, label, torch.float64).logits()
            verdict.check("logits of an evaluation, of the largest", parity.largest_difference(out.logits, logits), 1e-4)
            loss, double = Torch(build(), image, label, torch.float64).gradients()
            singles = [Torch(build(), image, label, memory_format=f).gradients() for f in (torch.contiguous_format, torch.channels_last)]
            theirs = max(abs(single[0] - loss) / loss for single in singles)
            verdict.check(f"loss {loss:.6f}, relative (PyTorch's fp32 {theirs:.1e})", abs(out.losses[0] - loss) / loss, 2e-6)
            parity.compare_gradients(verdict, out.gradients, double, [single[1] for single in singles])
            if gamma == 0:
                curves = [Torch(build(), image, label, memory_format=f).steps() for f in (torch.contiguous_format, torch.channels_last)]
                print(f"losses {' '.join(f'{x:.6f}' for x in out.losses)}; PyTorch's two formats part by {parity.apart(*curves):.1e}")
                verdict.check(f"losses of {STEPS} steps", max(parity.apart(out.losses, c) for c in curves), 1e-4)
                saved, model = parity.saved_by_ddp_launch(args, folder), build()
                started = {name: p.detach().clone() for name, p in model.named_parameters()}
                model.load_state_dict(saved, strict=True)  # it may lack num_batches_tracked
                differ = sum(not torch.equal(p, started[name]) for name, p in model.named_parameters())
                verdict.check("tensors of a saved model that differ once torchvision has loaded it", differ, 0)
    return 1 if verdict.failed else 0


if __name__ == "__main__":
    sys.exit(main())
