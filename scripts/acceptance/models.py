"""What the stages speed, memory and torch measure: models at full size, and toys of them for a rehearsal."""
import collections
import importlib
import json
import os

# config, settings: of ddp-launch. {folder} in a setting is the stage's folder, in which `prepare` has left data. bench: options of
# bench_step, torch: of bench_vs_torch.py. batch: the usual micro-batch; of a rehearsal the toy's.
Measured = collections.namedtuple("Measured", "name title batch config settings prepare bench torch toy_batch toy_settings toy_bench "
                                              "toy_torch")


def sets(**values):
    """As --set takes them: model_width=8 is model.width=8."""
    return [word for key, value in values.items() for word in ("--set", f"{key.replace('_', '.', 1)}={value}")]


def case(name):
    """bert_case or resnet_case of the tests, which a bundle with tests has beside this file: small models, and BERT's data."""
    return importlib.import_module(name + "_case")


def written(context, name, text):
    """The path of a configuration in the stage's folder."""
    path = os.path.join(context.folder, name + ".yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


GPT2 = Measured(
    "gpt2", "GPT-2 small, T = 1024", 16, "configs/gpt2-small.yaml",
    # Bytes are tokens too; the vocabulary stays GPT-2's.
    sets(data_format="bytes", data_train="data/kjv/train.txt", data_valid="data/kjv/valid.txt"), None,
    ["--context", "1024"], ["--context", "1024"],
    1, sets(model_layers=1, model_width=64, model_heads=1, model_context=64, model_vocab=256),
    ["--layers", "1", "--width", "64", "--heads", "1", "--vocab", "256", "--context", "64"],
    ["--layers", "1", "--width", "64", "--heads", "1", "--vocab", "256", "--context", "64"])


def bert(context, batch):
    toy = ["--layers", "1", "--width", "64", "--heads", "1", "--vocab", "256", "--context", str(context // 8)]
    return Measured(
        f"bert-{context}", f"BERT-base, masked, T = {context}", batch, "scripts/acceptance/bert-base.yaml",
        [*sets(model_context=context), *sets(data_train="{folder}/train.bin", data_valid="{folder}/valid.bin")],
        lambda folder: case("bert").write_tokens(folder),
        ["--model", "bert-base", "--context", str(context)], ["--model", "bert-base", "--context", str(context)],
        1, sets(model_layers=1, model_width=64, model_heads=1, model_vocab=256, model_context=context // 8),
        ["--model", "bert-base", *toy], ["--model", "bert-base", *toy])


BERT_128, BERT_512 = bert(128, 64), bert(512, 16)
RESNET50 = Measured(
    "resnet50", "ResNet-50, 224 pixels", 256, "configs/resnet50.yaml",
    sets(data_format="synthetic", data_train=100000, data_valid=1000, train_recompute="none"), None,
    ["--model", "resnet50"], ["--model", "resnet50"],
    2, sets(model_width=8, model_image_size=32, train_workspace_mb=1),
    ["--model", "resnet50", *sets(model_width=8, model_image_size=32)], ["--model", "resnet50", "--width", "8", "--image", "32"])


def settings(context, model):
    """Config and overrides of ddp-launch, with the data that they name."""
    if model.prepare:
        model.prepare(context.folder)
    words = [*model.settings, *context.toy([], model.toy_settings)]
    return [*(word.replace("{folder}", context.folder) for word in words), model.config]


def plan(context, name, *options):
    """(Done, what ddp-launch plan says of a run on a GPU)"""
    done = context.run(name, [context.bin("ddp-launch"), "plan", "--device", "cuda", "--json", *options])
    return done, json.loads(done.text[done.text.index("{"):]) if done.ok else None


def batch_that_fits(context, model, precision):
    """The usual micro-batch, or the largest below it that the plan allows in most of the GPU's memory."""
    done, planned = plan(context, f"plan-{model.name}-{precision}", "--memory", str(int(context.gpu.memory_bytes * 0.85)),
                         "--set", f"train.precision={precision}", *settings(context, model))
    largest = planned["largest_micro_batch"]["micro_batch"] if done.ok else model.batch
    return max(1, min(context.toy(model.batch, model.toy_batch), largest))
