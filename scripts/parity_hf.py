#!/usr/bin/env python3
"""Compares weights that lie in a folder of Hugging Face's transformers, with config.json and all, there and here: the YAML names the folder and
no size. GPT-2 tied, untied, in shards, in fp16, and of other heads, epsilon, activation and MLP; BERT for masked tokens, also of another
form, and for classes.

  - the loss of a batch within 2e-6 of itself, of transformers in double;
  - the gradient of each tensor: its error against double at most twice that of transformers' own fp32 (the worse of its two attentions), or below
    1e-6 of the whole gradient's norm;
  - the folder of our checkpoint loads by from_pretrained with no name missing and none left over, and has the same loss, bit for bit;
  - saved there once more and loaded here, every tensor has the bits that it had.

usage: scripts/parity_hf.py [--build FOLDER] [--threads N] [NAME ...]
Needs PyTorch and transformers, 4.46 or 5 (scripts/README.md). Builds what it runs in FOLDER.
"""
import os
import subprocess
import sys
import tempfile

try:
    import numpy
    import torch
    import transformers
except ImportError as missing:
    print(f"parity_hf.py: skipped: {missing}")
    sys.exit(77)

import parity
import parity_bert

BATCH, CONTEXT, VOCAB = 3, 11, 300
ATTENTIONS = "eager", "sdpa"
SMALL = {"n_layer": 2, "n_head": 2, "n_embd": 24, "n_positions": CONTEXT, "vocab_size": VOCAB, "bos_token_id": None, "eos_token_id": None}
CASES = {
    "tied": ({}, {}),
    "untied": ({"tie_word_embeddings": False}, {}),
    "shards": ({}, {"max_shard_size": "20KB"}),
    "fp16": ({}, {"half": True}),
    "other": ({"n_head": 4, "n_inner": 35, "activation_function": "relu", "layer_norm_epsilon": 1e-2}, {}),
}


class Gpt2:
    """One of transformers' ways to compute a batch of tokens."""
    architecture, data_format, keys = transformers.GPT2LMHeadModel, "tokens", ""

    def __init__(self, name):
        self.name = name
        random = numpy.random.default_rng(5)
        self.tokens = random.integers(0, VOCAB, (BATCH, CONTEXT + 1), dtype=numpy.int32)
        self.inputs = [self.tokens[:, :-1].copy(), self.tokens[:, 1:].copy()]

    def save(self, folder):
        options, how = CASES[self.name]
        torch.manual_seed(7)
        model = self.architecture(transformers.GPT2Config(**{**SMALL, **options}))
        for parameter in model.parameters():
            parameter.data.add_(torch.randn(parameter.shape), alpha=0.1)
        if how.get("half"):
            model = model.half()
        model.save_pretrained(folder, **{key: value for key, value in how.items() if key != "half"})
        shards = len([name for name in os.listdir(folder) if name.endswith(".safetensors")])
        assert (shards > 1) == (self.name == "shards"), shards

    def write_data(self, file):
        self.tokens.astype(numpy.uint16).tofile(file)

    def loss(self, model):
        logits = model(torch.from_numpy(self.inputs[0]).long()).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(self.inputs[1]).long().flatten())

    @staticmethod
    def our_name(name):
        return name.removeprefix("transformer.")


class Bert:
    data_format = property(lambda self: self.task.data_format)
    architecture = property(lambda self: self.task.model)

    def __init__(self, kind, **options):
        self.task, self.options = kind(numpy.random.default_rng(3), 32), options
        self.inputs = self.task.inputs
        self.keys = f", name: bert, context: 32, predictions: {parity_bert.PLACES}"

    def save(self, folder):
        args = parity.argparse.Namespace(preset="bert-tiny")
        parity_bert.random_model(args, self.task, **self.options).save_pretrained(folder)

    def write_data(self, file):
        self.task.write_data(file)

    def loss(self, model):
        return model(**parity_bert.Torch(model, self.task).arguments).loss

    @staticmethod
    def our_name(name):
        return name


def loaded(case, folder, attention=ATTENTIONS[0]):
    """Without dropout, in fp32, and every name where it belongs."""
    model, info = case.architecture.from_pretrained(folder, attn_implementation=attention, output_loading_info=True)
    wrong = [f"{kind}: {sorted(map(str, info[kind]))}" for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") if info.get(kind)]
    assert not wrong, wrong
    return model.float().eval()


def gradients(case, model):
    loss = case.loss(model)
    loss.backward()
    return loss.item(), {case.our_name(name): p.grad.double() for name, p in model.named_parameters()}


def run_of_no_update(args, case, folder, weights, name):
    """Its resolved configuration and its checkpoint."""
    batch = len(case.inputs[0])
    with open(f"{folder}/{name}.yaml", "w") as file:
        file.write(f"""
model: {{init_from: {weights}, dropout: 0{case.keys}}}
data: {{format: {case.data_format}, train: {folder}/data}}
train: {{steps: 1, micro_batch: {batch}, global_batch: {batch}, clip_norm: 0}}
optimizer: {{lr: 0}}
output_dir: {folder}/{name}
""")
    done = subprocess.run([f"{args.build}/launcher/ddp-launch", "--device", "cpu", "--nproc", "1", f"{folder}/{name}.yaml"],
                          capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    with open(f"{folder}/{name}/config.yaml") as file:
        return file.read(), f"{folder}/{name}/checkpoints/step-00000001"


def compare(args, verdict, case, folder):
    theirs, again = f"{folder}/theirs", f"{folder}/again"
    case.save(theirs)
    case.write_data(f"{folder}/data")
    config, checkpoint = run_of_no_update(args, case, folder, theirs, "run")
    ours = parity.one_batch(args, folder, config, case.inputs, 1)
    true_loss, true = gradients(case, loaded(case, theirs).double())
    singles = [gradients(case, loaded(case, theirs, attention)) for attention in ATTENTIONS]
    verdict.check(f"loss {true_loss:.6f}, relative", abs(ours.losses[0] - true_loss) / true_loss, 2e-6)
    parity.compare_gradients(verdict, ours.gradients, true, [single[1] for single in singles])

    from_ours = loaded(case, checkpoint)
    verdict.check("difference of transformers' losses of its folder and of our checkpoint's", abs(case.loss(from_ours).item() - singles[0][0]), 0)
    auto = {"GPT2LMHeadModel": "AutoModelForCausalLM", "BertForMaskedLM": "AutoModelForMaskedLM"}.get(
        case.architecture.__name__, "AutoModelForSequenceClassification")
    verdict.check(f"{auto} of our checkpoint's that is not {case.architecture.__name__}",
                  int(type(getattr(transformers, auto).from_pretrained(checkpoint)) is not case.architecture), 0)
    from_ours.save_pretrained(again)
    _, last = run_of_no_update(args, case, folder, again, "last")
    files = [open(f"{place}/model.safetensors", "rb").read() for place in (checkpoint, last)]
    verdict.check("bytes of a round trip that differ", int(files[0] != files[1]), 0)


def main():
    cases = {**{name: lambda name=name: Gpt2(name) for name in CASES},
             "mlm": lambda: Bert(parity_bert.Masked), "classify": lambda: Bert(parity_bert.Classify),
             "mlm other": lambda: Bert(parity_bert.Masked, intermediate_size=35, hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-2)}
    parser = parity.parser(__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(cases))
    args = parser.parse_args()
    parity.build(args)
    transformers.utils.logging.disable_progress_bar()
    verdict = parity.Verdict()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    for name in args.names or cases:
        print(f"{name}:")
        with tempfile.TemporaryDirectory() as folder:
            compare(args, verdict, cases[name](), folder)
    return 1 if verdict.failed else 0


if __name__ == "__main__":
    sys.exit(main())
