"""The backends of CUDA 12 and 13 beside each other: those that the launcher did not choose pass the ops' tests, repeat their own bits, and train
as the one that it chose."""
import json
import os
import re

import verdicts

from . import curve, ops

GPU = ["--gpus", "0"]


def run(context, section):
    rows, config, options = curve.gpt2(context, section)
    curve.train_each(context, section, rows, "", config, [("chosen", GPU, None, {})], *options)
    chosen = opened_by(os.path.join(context.folder, "chosen"))
    others = usable_beside(context, chosen)
    section.text(f"Chosen: {chosen}.")
    if not others:
        section.unavailable("there is no other backend that this driver runs and whose libraries are here")
        return
    tested = ops.table(section)
    for name, path in others:
        env = {"DDP_CUDA_MODULE": path}
        runs = [(name, GPU, ("chosen", verdicts.FP32), env), (f"{name} again", GPU, (name, 0), env)]
        curve.train_each(context, section, rows, "", config, runs, *options)
        ops.test(context, section, tested, name + " ", env, only=context.toy([], ["gelu*"]))


def opened_by(run_folder):
    """The backend that rank 0 opened, as it noted."""
    with open(os.path.join(run_folder, "logs", "rank-0.log"), encoding="utf-8") as file:
        return re.search(r"CUDA backend: (.*)", file.read())[1]


def usable_beside(context, chosen):
    """(name, path) of the other backends. A rehearsal has one, which is the other one too."""
    if context.simulated:
        return [("once more", chosen)]
    cuda = json.loads(context.run("version", [context.bin("ddp-launch"), "--version", "--json"]).text)["cuda"]
    driver = int(cuda["driver"].partition(".")[0])
    not_needed = {"libnccl.so.2"} | ({"libcudnn.so.9"} if context.no_cudnn else set())
    return [(f"CUDA {backend['series']}", backend["path"]) for backend in cuda["modules"]
            if backend["path"] != chosen and backend["series"] <= driver
            and all(place or library in not_needed for library, place in backend["libraries"].items())]
