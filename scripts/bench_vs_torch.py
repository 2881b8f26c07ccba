#!/usr/bin/env python3
"""Times a training step of GPT-2, BERT-base or ResNet-50 by bench_step and by PyTorch: the same shape, batch, precision and optimizer,
on the same device.

usage: bench_vs_torch.py --bench-step PATH [--model gpt2|bert-base|resnet50] [--device cuda|cpu] [--precision bf16|fp16|tf32|fp32]
                         [--compile] [--batch B] [--context T] [--layers L] [--width C] [--heads H] [--vocab V] [--dropout P]
                         [--image SIDE] [--rounds N] [--steps N] [--json FILE]

Rounds alternate, ours and then PyTorch's, each a warm-up and --steps steps that are timed one by one, by events on a GPU. Between two
rounds PyTorch keeps parameters and optimizer state and returns the rest to the device. Needs PyTorch 2.0 or newer; without it, or where it
fails: 69.
"""
import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

# The defaults of our configuration (configs/README.md), which bench_step trains with.
LR, BETAS, EPS, DECAY, CLIP, MOMENTUM = 1e-3, (0.9, 0.95), 1e-8, 0.1, 1.0, 0.9
WARM_UP = 3
EX_USAGE, EX_UNAVAILABLE, EX_SOFTWARE = 64, 69, 70
TOLD = 400  # characters of an error of PyTorch


class Failure(Exception):
    """With a message of one line and an exit code."""

    def __init__(self, message, code=EX_UNAVAILABLE):
        super().__init__(message)
        self.code = code


def define_gpt2(torch):
    """The class of the model; a function, since this file is read where there is no PyTorch."""
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            self.heads = heads
            self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.attn, self.attn_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.fc, self.fc_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x):  # (B,T,C) -> (B,T,C)
            b, t, c = x.shape
            q, k, v = self.attn(self.ln_1(x)).view(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
            att = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B,H,T,D)
            x = x + self.attn_proj(att.transpose(1, 2).reshape(b, t, c))
            return x + self.fc_proj(F.gelu(self.fc(self.ln_2(x)), approximate="tanh"))

    class Gpt2(nn.Module):
        def __init__(self, layers, width, heads, vocab, context):
            super().__init__()
            self.wte = nn.Embedding((vocab + 63) // 64 * 64, width)  # padded as ours
            self.wpe = nn.Embedding(context, width)
            self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
            self.ln_f = nn.LayerNorm(width)
            for name, p in self.named_parameters():
                if p.dim() == 2:
                    nn.init.normal_(p, std=0.02 / (2 * layers) ** 0.5 if "proj" in name else 0.02)
                elif name.endswith("bias"):
                    nn.init.zeros_(p)

        def forward(self, tokens, targets):  # (B,T) each -> mean loss
            x = self.wte(tokens) + self.wpe.weight[:tokens.shape[1]]
            for block in self.blocks:
                x = block(x)
            logits = F.linear(self.ln_f(x), self.wte.weight)
            return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    return Gpt2


def define_bert(torch):
    """BERT with the head of masked language modelling, as transformers' BertForMaskedLM computes it: logits at every position."""
    nn, F = torch.nn, torch.nn.functional
    POSITIONS = 512

    class Block(nn.Module):
        def __init__(self, width, heads, dropout):
            super().__init__()
            self.query, self.key, self.value, self.attn_proj = (nn.Linear(width, width) for _ in range(4))
            self.fc, self.fc_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
            self.ln_1, self.ln_2 = nn.LayerNorm(width, eps=1e-12), nn.LayerNorm(width, eps=1e-12)
            self.heads, self.dropout = heads, dropout

        def forward(self, x):  # (B,T,C) -> (B,T,C)
            b, t, c = x.shape
            q, k, v = (linear(x).view(b, t, self.heads, c // self.heads).transpose(1, 2) for linear in (self.query, self.key, self.value))
            att = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout)  # (B,H,T,D)
            x = self.ln_1(x + F.dropout(self.attn_proj(att.transpose(1, 2).reshape(b, t, c)), self.dropout))
            return self.ln_2(x + F.dropout(self.fc_proj(F.gelu(self.fc(x))), self.dropout))

    class Bert(nn.Module):
        def __init__(self, layers, width, heads, vocab, dropout):
            super().__init__()
            self.word, self.position, self.kind = nn.Embedding(vocab, width), nn.Embedding(POSITIONS, width), nn.Embedding(2, width)
            self.ln_in, self.ln_head = nn.LayerNorm(width, eps=1e-12), nn.LayerNorm(width, eps=1e-12)
            self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
            self.transform, self.bias = nn.Linear(width, width), nn.Parameter(torch.zeros(vocab))
            self.dropout = dropout
            for name, p in self.named_parameters():
                if p.dim() == 2:
                    nn.init.normal_(p, std=0.02)
                elif name.endswith("bias"):
                    nn.init.zeros_(p)

        def forward(self, tokens, targets):  # (B,T) each, targets -100 where nothing is masked -> mean loss
            x = self.word(tokens) + self.position.weight[:tokens.shape[1]] + self.kind.weight[0]
            x = F.dropout(self.ln_in(x), self.dropout)
            for block in self.blocks:
                x = block(x)
            x = self.ln_head(F.gelu(self.transform(x)))
            logits = F.linear(x, self.word.weight, self.bias)
            return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    return Bert


def define_resnet50(torch):
    """v1.5: the stride in the 3x3 convolution."""
    nn, F = torch.nn, torch.nn.functional

    class Bottleneck(nn.Module):
        def __init__(self, inputs, width, stride):
            super().__init__()
            outputs = 4 * width
            self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
            self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
            self.shortcut = None
            if stride > 1 or inputs != outputs:
                self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

        def forward(self, x):
            y = F.relu(self.bn1(self.conv1(x)))
            y = F.relu(self.bn2(self.conv2(y)))
            return F.relu(self.bn3(self.conv3(y)) + (x if self.shortcut is None else self.shortcut(x)))

    class ResNet50(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
            blocks, inputs = [], width
            for stage, depth in enumerate((3, 4, 6, 3)):
                for i in range(depth):
                    blocks.append(Bottleneck(inputs, width << stage, 2 if stage > 0 and i == 0 else 1))
                    inputs = 4 * (width << stage)
            self.blocks = nn.Sequential(*blocks)
            self.fc = nn.Linear(inputs, 1000)

        def forward(self, pixels, targets):  # (B,3,H,W), (B) -> mean loss
            x = F.max_pool2d(F.relu(self.bn1(self.conv1(pixels))), 3, 2, 1)
            return F.cross_entropy(self.fc(self.blocks(x).mean((2, 3))), targets)

    return ResNet50


class Gpt2:
    """What is measured of GPT-2: its usual sizes, how bench_step is told, and its parts in PyTorch."""
    unit = "tokens"
    sizes = {"context": 1024, "layers": 12, "width": 768, "heads": 12, "vocab": 50257}

    @staticmethod
    def options(args):
        return [word for name in Gpt2.sizes for word in (f"--{name}", str(getattr(args, name)))]

    @staticmethod
    def units(args):
        return args.batch * args.context

    @staticmethod
    def model(torch, args):
        return define_gpt2(torch)(args.layers, args.width, args.heads, args.vocab, args.context).to(args.device)

    @staticmethod
    def batch(torch, args):
        tokens = torch.randint(args.vocab, (args.batch, args.context), device=args.device)
        return tokens, (tokens * 7 + 3) % args.vocab  # as bench_step's

    @staticmethod
    def optimizer(torch, args, parameters):
        groups = [{"params": [p for p in parameters if p.dim() == 2], "weight_decay": DECAY},
                  {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=EPS, **({"fused": True} if args.device == "cuda" else {}))

    @staticmethod
    def num_parameters(model, args):
        """As published: without the rows that pad the vocabulary."""
        padding = (model.wte.num_embeddings - args.vocab) * args.width
        return sum(p.numel() for p in model.parameters()) - padding


class BertBase:
    """Masked language modelling, with as many targets as ours: 15% of the positions."""
    unit = "tokens"
    sizes = {**Gpt2.sizes, "context": 512, "vocab": 30522}

    @staticmethod
    def options(args):
        return ["--model", "bert-base", *Gpt2.options(args), "--set", f"model.dropout={args.dropout}"]

    units = Gpt2.units

    @staticmethod
    def model(torch, args):
        return define_bert(torch)(args.layers, args.width, args.heads, args.vocab, args.dropout).to(args.device)

    @staticmethod
    def batch(torch, args):
        tokens = torch.randint(args.vocab, (args.batch, args.context), device=args.device)
        masked = torch.rand(tokens.shape, device=args.device).argsort(1) < args.context * 15 // 100
        return tokens, tokens.masked_fill(~masked, -100)

    optimizer = Gpt2.optimizer

    @staticmethod
    def num_parameters(model, args):
        return sum(p.numel() for p in model.parameters())


class ResNet50:
    unit = "images"
    sizes = {"width": 64, "image": 224}

    @staticmethod
    def options(args):
        return ["--model", "resnet50", "--width", str(args.width), "--set", f"model.image_size={args.image}"]

    @staticmethod
    def units(args):
        return args.batch

    @staticmethod
    def model(torch, args):
        return define_resnet50(torch)(args.width).to(args.device, memory_format=torch.channels_last)

    @staticmethod
    def batch(torch, args):
        pixels = torch.randn(args.batch, 3, args.image, args.image, device=args.device).contiguous(memory_format=torch.channels_last)
        return pixels, torch.randint(1000, (args.batch,), device=args.device)

    @staticmethod
    def optimizer(torch, args, parameters):
        return torch.optim.SGD(parameters, lr=LR, momentum=MOMENTUM)

    @staticmethod
    def num_parameters(model, args):
        return sum(p.numel() for p in model.parameters())


MODELS = {"gpt2": Gpt2, "bert-base": BertBase, "resnet50": ResNet50}


class Torch:
    """The model in PyTorch, kept over the rounds."""

    def __init__(self, torch, args):
        self.torch, self.args = torch, args
        kind = MODELS[args.model]
        torch.manual_seed(1)
        torch.set_float32_matmul_precision("high" if args.precision == "tf32" else "highest")
        self.model = kind.model(torch, args)
        self.num_parameters = kind.num_parameters(self.model, args)
        self.optimizer = kind.optimizer(torch, args, list(self.model.parameters()))
        is_fp16 = args.precision == "fp16"
        self.scaler = (torch.amp.GradScaler(args.device, enabled=is_fp16) if hasattr(torch.amp, "GradScaler")
                       else torch.cuda.amp.GradScaler(enabled=is_fp16))
        self.storage = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(args.precision)
        self.run = torch.compile(self.model) if args.compile else self.model
        self.batch = kind.batch(torch, args)
        self.compile_s = None

    def step(self):
        torch = self.torch
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.args.device, dtype=self.storage or torch.bfloat16, enabled=self.storage is not None):
            loss = self.run(*self.batch)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()

    def timed_step(self):
        """(ms, loss)"""
        if self.args.device == "cpu":
            begin = time.perf_counter()
            loss = self.step()
            return (time.perf_counter() - begin) * 1e3, loss.item()
        begin, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        loss = self.step()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end), loss.item()

    def round(self):
        """The median step in ms, and the last loss. The first step of all compiles, where that was asked for."""
        begin = time.perf_counter()
        first_loss = self.timed_step()[1]
        if self.args.compile and self.compile_s is None:
            self.compile_s = time.perf_counter() - begin
            print(f"torch: the first step took {self.compile_s:.1f} s, compilation included", flush=True)
        for _ in range(WARM_UP - 1):
            self.timed_step()
        steps = [self.timed_step() for _ in range(self.args.steps)]
        print(f"torch: losses {first_loss:.4f} to {steps[-1][1]:.4f}", flush=True)
        self.optimizer.zero_grad(set_to_none=True)
        if self.args.device == "cuda":
            self.torch.cuda.empty_cache()  # ours needs the room
        return statistics.median(ms for ms, _ in steps)


@contextlib.contextmanager
def on_their_side():
    """An error of PyTorch says nothing of ours: no memory for it, a GPU that it is not built for, no C compiler for torch.compile."""
    try:
        yield
    except Exception as error:
        raise Failure(f"PyTorch: {type(error).__name__}: {' '.join(str(error).split())[:TOLD]}") from None


def bench_step(args, threads):
    """The report of a round of ours."""
    with tempfile.TemporaryDirectory(prefix="ddp-bench-") as folder:
        path = os.path.join(folder, "step.json")
        command = [args.bench_step, "--no-ops", "--json", path, "--device", args.device, "--threads", str(threads)]
        for name in ("precision", "steps", "batch"):
            command += [f"--{name}", str(getattr(args, name))]
        command += MODELS[args.model].options(args)
        try:
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        except OSError as error:
            raise Failure(f"cannot run {args.bench_step}: {error.strerror}", EX_USAGE) from None
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["it said nothing"]
            # 69 is of PyTorch alone.
            code = done.returncode if done.returncode > 0 and done.returncode != EX_UNAVAILABLE else EX_SOFTWARE
            raise Failure(f"{args.bench_step} exited with {done.returncode}: {lines[-1]}", code)
        with open(path, encoding="utf-8") as file:
            return json.load(file)


def compare(torch, args):
    """Runs all rounds; the result as it is written."""
    with on_their_side():
        theirs = Torch(torch, args)
    ours_rounds, torch_rounds, report = [], [], {}
    for i in range(args.rounds):
        report = bench_step(args, torch.get_num_threads())
        if report["parameters"] != theirs.num_parameters:
            raise Failure(f"not the same model: {report['parameters']} parameters and {theirs.num_parameters} in PyTorch",
                              EX_SOFTWARE)
        ours_rounds.append(report["step_ms"])
        with on_their_side():
            torch_rounds.append(theirs.round())
        print(f"round {i + 1}: ours {ours_rounds[-1]:.2f} ms (loss {report['loss']:.4f}), torch {torch_rounds[-1]:.2f} ms", flush=True)
    ours, other, units = statistics.median(ours_rounds), statistics.median(torch_rounds), MODELS[args.model].units(args)
    return {"torch": torch.__version__, "device": report["device"], "precision": args.precision,
            "mode": "compile" if args.compile else "eager", "ours_ms": ours, "torch_ms": other, "ratio": other / ours,
            "unit": MODELS[args.model].unit, "ours_per_s": units / ours * 1e3, "torch_per_s": units / other * 1e3,
            "ours_rounds": ours_rounds, "torch_rounds": torch_rounds, "compile_s": theirs.compile_s}


def parse():
    def positive(text):
        if not text.isdecimal() or int(text) == 0:
            raise argparse.ArgumentTypeError(f"{text} is no positive number")
        return int(text)

    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n\n")[0])
    parser.error = lambda message: (print(f"bench_vs_torch.py: {message}", file=sys.stderr), sys.exit(EX_USAGE))
    parser.add_argument("--bench-step", required=True)
    parser.add_argument("--model", choices=MODELS, default="gpt2")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--precision", choices=("bf16", "fp16", "tf32", "fp32"), default="bf16")
    parser.add_argument("--compile", action="store_true")
    for name, default in {"batch": 16, "rounds": 3, "steps": 10}.items():
        parser.add_argument(f"--{name}", type=positive, default=default)
    for name in dict.fromkeys(size for model in MODELS.values() for size in model.sizes):
        parser.add_argument(f"--{name}", type=positive)
    parser.add_argument("--dropout", type=float, default=0.1, help="of BERT")
    parser.add_argument("--json")
    args = parser.parse_args()
    if args.device == "cpu" and args.precision == "tf32":
        parser.error("--precision tf32 needs --device cuda")
    for name, usual in MODELS[args.model].sizes.items():
        if getattr(args, name) is None:
            setattr(args, name, usual)
    return args


def load_torch(args):
    try:
        import torch
    except (ImportError, OSError) as error:
        raise Failure(f"PyTorch cannot be imported: {str(error).splitlines()[0]}") from None
    if int(torch.__version__.split(".")[0]) < 2:
        raise Failure(f"PyTorch {torch.__version__} is too old: 2.0 is the first that will do")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise Failure(f"PyTorch {torch.__version__} sees no GPU")
    return torch


def main():
    args = parse()
    try:
        result = compare(load_torch(args), args)
    except Failure as error:
        print(f"bench_vs_torch.py: {error}", file=sys.stderr)
        return error.code
    spread = {name: f"{min(r):.2f} to {max(r):.2f}" for name, r in result.items() if name.endswith("_rounds")}
    size = f"B={args.batch}" + (f", T={args.context}" if args.model != "resnet50" else "")
    print(f"{args.model} on {result['device']}, {args.precision}, {size}, medians of {args.rounds} rounds of {args.steps} steps: "
          f"ours {result['ours_ms']:.2f} ms ({spread['ours_rounds']}), PyTorch {result['torch']} {result['mode']} "
          f"{result['torch_ms']:.2f} ms ({spread['torch_rounds']}): {result['ratio']:.2f}x; "
          f"{result['ours_per_s']:.4g} and {result['torch_per_s']:.4g} {result['unit']}/s")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=2)
            file.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
