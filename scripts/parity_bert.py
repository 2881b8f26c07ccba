#!/usr/bin/env python3
"""Compares BERT-base with that of Hugging Face's transformers, from the same random weights on the same batch, in fp32 on the CPU:
BertForMaskedLM on masked tokens, and BertForSequenceClassification on texts of several lengths, which attention_mask tells apart.

  - the logits of an evaluation within 1e-4 of the largest, and the training loss within 2e-6 of itself, of PyTorch in double;
  - the gradient of each tensor: its error against PyTorch in double at most twice that of PyTorch's own fp32 (the worse of its two
    attentions, eager and sdpa), or below 1e-6 of the whole gradient's norm: a key's bias moves all scores of a row alike, so that its
    gradient is 0 but for rounding;
  - the losses of 12 steps of AdamW as BERT has it, within 1e-4 of PyTorch's fp32;
  - the file that transformers writes is the one that we start from, and a checkpoint of ddp-launch is a state_dict that transformers'
    model takes, without what it ties: with the weights that the run started from, and the logits that they had.

usage: scripts/parity_bert.py [--build FOLDER] [--preset bert-base|bert-tiny|...] [--context T] [--threads N]
Needs PyTorch 2 and transformers 5 (scripts/README.md). Builds what it runs in FOLDER.
"""
import json
import os
import sys
import tempfile

import numpy
import torch
import transformers

import parity

BATCH, PLACES, CLASSES, VOCAB, SIGMA = 4, 20, 3, 30522, 0.04
LR, BETAS, EPS, DECAY, STEPS = 1e-4, (0.9, 0.999), 1e-6, 0.01, 12
SIZES = {"bert-tiny": (2, 2, 128), "bert-mini": (4, 4, 256), "bert-base": (12, 12, 768), "bert-large": (24, 16, 1024)}
ATTENTIONS = "eager", "sdpa"


class Masked:
    """Masked tokens of whole texts; the second text and those after it have fewer than there are places for."""
    name, model, data_format = "mlm", transformers.BertForMaskedLM, "tokens"

    def __init__(self, random, context):
        self.tokens, self.types = random_text(random, context)
        self.positions = numpy.full((BATCH, PLACES), -1, numpy.int32)
        self.targets = self.positions.copy()
        for i, count in enumerate((PLACES, PLACES - 7, 1, PLACES - 1)):
            self.positions[i, :count] = numpy.sort(random.choice(context, count, replace=False))
            self.targets[i, :count] = random.integers(0, VOCAB, count)
        self.inputs = [self.tokens, self.types, self.positions, self.targets]
        self.sample, self.place = numpy.nonzero(self.positions >= 0)
        self.position = self.positions[self.sample, self.place]
        labels = numpy.full((BATCH, context), -100, numpy.int32)
        labels[self.sample, self.position] = self.targets[self.sample, self.place]
        self.arguments = {"labels": labels}

    def write_data(self, file):
        """For ddp-launch, which masks by itself."""
        self.tokens[:, 1:-1].astype(numpy.uint16).tofile(file)
        special = {"pad": 0, "unk": 100, "cls": 101, "sep": 102, "mask": 103}
        with open(os.path.join(os.path.dirname(file), "meta.json"), "w") as meta:
            json.dump({"tokenizer": "wordpiece", "vocab": VOCAB, "special": special, "files": {}}, meta)

    def our_logits(self, logits):
        return logits.view(BATCH, PLACES, -1)[self.sample, self.place, :VOCAB]

    def their_logits(self, logits):
        return logits[self.sample, self.position]


class Classify:
    """Texts of all lengths; what lies behind a text's end is random, and nobody may look at it."""
    name, model, data_format = "classify", transformers.BertForSequenceClassification, "labelled"

    def __init__(self, random, context):
        self.tokens, self.types = random_text(random, context)
        lengths = numpy.array([context, 1, context // 2 + 1, context - 3], numpy.int32)
        label = random.integers(0, CLASSES, BATCH, dtype=numpy.int32)
        self.inputs = [self.tokens, self.types, lengths, label]
        self.arguments = {"labels": label, "attention_mask": numpy.arange(context) < lengths[:, None]}

    def write_data(self, file):
        names = "tokens", "types", "lengths", "labels"
        parity.save_safetensors(file, {name: torch.from_numpy(values) for name, values in zip(names, self.inputs)})

    def our_logits(self, logits):
        return logits[:, :CLASSES]

    def their_logits(self, logits):
        return logits


def random_text(random, context):
    """Tokens, and their types: of the first part of a text and of its second."""
    types = numpy.arange(context) >= random.integers(1, context, BATCH)[:, None]
    return random.integers(0, VOCAB, (BATCH, context), dtype=numpy.int32), types.astype(numpy.int32)


def random_model(args, task, attention=ATTENTIONS[0], dtype=torch.float32, **options):
    """With norms and biases away from their neutral values, and weights so large that attention has its favourites."""
    layers, heads, width = SIZES[args.preset]
    torch.manual_seed(7)
    model = task.model(transformers.BertConfig(
        vocab_size=VOCAB, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        **{"intermediate_size": 4 * width, **options}, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=SIGMA, num_labels=CLASSES,
        attn_implementation=attention))
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data.add_(torch.randn(parameter.shape), alpha=0.1)
    return model.to(dtype)


class Torch:
    """One of PyTorch's ways to compute it."""

    def __init__(self, model, task):
        self.model, self.task = model, task
        self.arguments = {name: torch.from_numpy(values).long()
                          for name, values in {"input_ids": task.tokens, "token_type_ids": task.types, **task.arguments}.items()}

    def logits(self):
        with torch.no_grad():
            return self.task.their_logits(self.model.eval()(**self.arguments).logits)

    def loss(self):
        return self.model.train()(**self.arguments).loss

    def gradients(self):
        loss = self.loss()
        loss.backward()
        return loss.item(), {name: p.grad.double() for name, p in self.model.named_parameters()}

    def steps(self):
        weights, others = ([p for p in self.model.parameters() if (p.dim() == 1) == is_other] for is_other in (False, True))
        optimizer = torch.optim.AdamW([{"params": weights}, {"params": others, "weight_decay": 0.0}], lr=LR, betas=BETAS, eps=EPS,
                                      weight_decay=DECAY)
        return parity.torch_steps(optimizer, self.loss, STEPS)


def ours(args, folder, task):
    task.write_data(f"{folder}/data")
    return parity.one_batch(args, folder, f"""
model: {{name: bert, preset: {args.preset}, task: {task.name}, context: {args.context}, predictions: {PLACES}, classes: {CLASSES},
        dropout: 0, init_from: {folder}/model.safetensors}}
data: {{format: {task.data_format}, train: {folder}/data}}
train: {{steps: {STEPS}, micro_batch: {BATCH}, global_batch: {BATCH}, clip_norm: 0}}
optimizer: {{name: adamw, lr: {LR}, betas: [{BETAS[0]}, {BETAS[1]}], eps: {EPS}, weight_decay: {DECAY}}}
schedule: {{name: constant}}
""", task.inputs, STEPS)


def compare(args, verdict, folder, task):
    random_model(args, task).save_pretrained(folder)
    out = ours(args, folder, task)
    build = lambda *how: Torch(random_model(args, task, *how), task)
    logits = build(ATTENTIONS[0], torch.float64).logits()
    verdict.check("logits of an evaluation, of the largest", parity.largest_difference(task.our_logits(out.logits), logits), 1e-4)
    loss, double = build(ATTENTIONS[0], torch.float64).gradients()
    singles = [build(attention).gradients() for attention in ATTENTIONS]
    theirs = max(abs(single[0] - loss) / loss for single in singles)
    verdict.check(f"loss {loss:.6f}, relative (PyTorch's fp32 {theirs:.1e})", abs(out.losses[0] - loss) / loss, 2e-6)
    parity.compare_gradients(verdict, out.gradients, double, [single[1] for single in singles])
    curves = [build(attention).steps() for attention in ATTENTIONS]
    print(f"losses {' '.join(f'{x:.6f}' for x in out.losses)}; PyTorch's two attentions part by {parity.apart(*curves):.1e}")
    verdict.check(f"losses of {STEPS} steps", max(parity.apart(out.losses, curve) for curve in curves), 1e-4)
    compare_saved(args, verdict, folder, task)


def compare_saved(args, verdict, folder, task):
    started = Torch(random_model(args, task), task)
    loaded = Torch(random_model(args, task), task)
    for parameter in loaded.model.parameters():
        parameter.data.zero_()
    tied = task.model._tied_weights_keys or {}
    missing, unexpected = loaded.model.load_state_dict(parity.saved_by_ddp_launch(args, folder), strict=False)
    verdict.check(f"names of a saved model that differ from transformers', which ties {', '.join(tied) or 'nothing'}",
                  len(set(missing) - set(tied)) + len(unexpected), 0)
    ours, theirs = loaded.model.state_dict(), started.model.state_dict()
    differ = sum(not torch.equal(x, ours[name]) for name, x in theirs.items())
    verdict.check("tensors that differ once transformers has loaded it", differ, 0)
    verdict.check("logits that differ", int((loaded.logits() != started.logits()).sum()), 0)


def main():
    parser = parity.parser(__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=SIZES, default="bert-base")
    parser.add_argument("--context", type=int, default=128)
    args = parser.parse_args()
    parity.build(args)
    transformers.utils.logging.disable_progress_bar()
    verdict = parity.Verdict()
    print(f"{args.preset}, {BATCH} texts of {args.context}, torch {torch.__version__}, transformers {transformers.__version__}")
    for kind in (Masked, Classify):
        task = kind(numpy.random.default_rng(3), args.context)
        print(f"{task.name}: {task.model.__name__}")
        with tempfile.TemporaryDirectory() as folder:
            compare(args, verdict, folder, task)
    return 1 if verdict.failed else 0


if __name__ == "__main__":
    sys.exit(main())
