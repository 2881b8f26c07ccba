"""A small BERT on made-up text, for the tests on CPU ranks and on simulated GPUs: a token file in which each word follows from the one
before it, and texts whose class is told by their words."""
import json
import os
import random
import struct

VOCAB, CONTEXT, CLASSES = 60, 16, 4
PAD, UNK, CLS, SEP, MASK = range(5)

CONFIG = """
model: {{name: bert, task: {task}, layers: 2, heads: 2, width: 32, context: {context}, vocab: {vocab}, classes: {classes}, predictions: 3,
  dropout: {dropout}}}
data: {{format: {format}, train: {folder}/{train}, valid: {folder}/{valid}}}
train: {{steps: {steps}, micro_batch: 4, global_batch: 16, seed: 3, deterministic: {deterministic}, bucket_mb: 0.02, clip_norm: 1.0}}
optimizer: {{name: adamw, lr: {lr}, betas: [0.9, 0.98], weight_decay: 0.01}}
schedule: {{name: linear, warmup_steps: {warmup}}}
eval: {{every: {eval_every}, samples: 24}}
checkpoint: {{every: 0}}
output_dir: {folder}/run
"""


def words(first, count):
    """An arithmetic walk over the vocabulary, without its special tokens."""
    return [5 + (first + 7 * i) % (VOCAB - 5) for i in range(count)]


def write_tokens(folder):
    draw = random.Random(1)
    meta = {"tokenizer": "wordpiece", "vocab": VOCAB, "special": {"pad": PAD, "unk": UNK, "cls": CLS, "sep": SEP, "mask": MASK}, "files": {}}
    for name, documents in (("train.bin", 120), ("valid.bin", 30)):
        tokens = []
        for _ in range(documents):
            tokens += words(draw.randrange(VOCAB), draw.randrange(20, 60)) + [SEP]
        with open(os.path.join(folder, name), "wb") as file:
            file.write(struct.pack(f"<{len(tokens)}H", *tokens))
        meta["files"][name] = {"documents": documents, "tokens": len(tokens), "bytes": 5 * len(tokens)}
    with open(os.path.join(folder, "meta.json"), "w", encoding="utf-8") as file:
        json.dump(meta, file)


def write_texts(folder):
    draw = random.Random(2)
    for name, count in (("train.safetensors", 600), ("valid.safetensors", 60)):
        labels = [draw.randrange(CLASSES) for _ in range(count)]
        lengths = [draw.randrange(3, CONTEXT + 1) for _ in range(count)]
        tokens, types = [], []
        for label, length in zip(labels, lengths):
            text = [5 + CLASSES * draw.randrange((VOCAB - 5) // CLASSES) + label for _ in range(length - 2)]
            second = draw.randrange(1, length)
            tokens += [CLS, *text, SEP] + [PAD] * (CONTEXT - length)
            types += [0] * second + [1] * (length - second) + [0] * (CONTEXT - length)
        write_safetensors(os.path.join(folder, name), {"tokens": ((count, CONTEXT), tokens), "types": ((count, CONTEXT), types),
                                                       "lengths": ((count,), lengths), "labels": ((count,), labels)})


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        raw = struct.pack(f"<{len(values)}i", *values)
        header[name] = {"dtype": "I32", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def config(folder, steps, task="mlm", deterministic="true", lr=2e-3, dropout=0.1, eval_every=0):
    """Of a run on the data that write_tokens and write_texts have put into the folder."""
    suffix, format = ("bin", "tokens") if task == "mlm" else ("safetensors", "labelled")
    return CONFIG.format(folder=folder, steps=steps, task=task, context=CONTEXT, vocab=VOCAB, classes=CLASSES, format=format,
                         train=f"train.{suffix}", valid=f"valid.{suffix}", deterministic=deterministic, lr=lr, dropout=dropout,
                         eval_every=eval_every, warmup=min(20, steps))
