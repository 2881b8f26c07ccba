"""Does anything run at all, and with which libraries? If not: what the loader did, and which libraries are where. And is there a cuDNN,
without which no model convolves?"""
import os
import shutil

import machine
import models
import verdicts

STEPS = 3
RUN_S = 25  # with a cold disk; the rest of the stage's time is to explain a failure
NCCL, CUDNN = "libnccl.so.2", "libcudnn.so.9"
USAGE = 64  # ddp-launch's exit code where a library is not there, or does not load


def run(context, section):
    seen = set()

    def watch(pids):
        for pid in pids:
            seen.update(machine.mapped_libraries(pid))

    options = ["--gpus", "0", "--set", f"train.steps={STEPS}", "--set", "schedule.warmup_steps=1", "--set", "checkpoint.last=false",
               *small(context)]
    done, folder = context.train("run", context.script("acceptance/curve.yaml"), *options, limit=RUN_S, watch=watch)
    curve = verdicts.losses(folder)
    if done.ok and len(curve) == STEPS and None not in curve:
        section.text(f"{STEPS} steps in {done.seconds:.1f} s, the start included: loss {curve[0]:.4f} to {curve[-1]:.4f}.")
    else:
        section.fail(f"a run of {STEPS} steps: {done.how}" if not done.ok else f"a run of {STEPS} steps wrote the losses {curve}")
    if not section.failures:
        look_for_cudnn(context, section, watch)
    libraries(section, seen)
    if section.failures:
        explain(context, section, options)


def look_for_cudnn(context, section, watch):
    """A step of a model that convolves. Sets context.no_cudnn where there is no cuDNN for it; another failure is for the stages to tell."""
    config = models.written(context, "convolving", models.case("resnet").config(context.folder, 1))
    done, _ = context.train("convolving", config, "--gpus", "0", "--set", "checkpoint.last=false", limit=RUN_S, watch=watch)
    if done.code == USAGE and CUDNN in done.last_line:
        context.no_cudnn = done.last_line
        section.text(f"No cuDNN, so no model that convolves: {done.last_line}")
    else:
        section.text("A step of a model that convolves: " + (f"{done.seconds:.1f} s." if done.ok else done.how))


def small(context):
    return context.toy([], ["--set", "train.micro_batch=1", "--set", "train.global_batch=2"])


def libraries(section, seen):
    """The table of what was loaded, and NCCL, which a single rank does not load, as it would be found."""
    rows = []
    for path in sorted(seen):
        rows.append([os.path.basename(os.path.realpath(path)), machine.version_of(path) or "", path])
    if not any("libnccl" in path for path in seen):
        for path in machine.library_files(NCCL)[:1]:
            rows.append([os.path.basename(os.path.realpath(path)), machine.version_of(path) or "",
                         path + " (found; a single rank does not load it)"])
    section.table(["library", "its version", "file"], rows, "Libraries that the rank had loaded:")
    section.data["libraries"] = [dict(zip(("file", "version", "path"), row)) for row in rows]
    if not rows:
        section.text("None of NVIDIA's libraries was seen in a rank.")


def explain(context, section, options):
    """What a failure's log must hold: the loader's own account, and every place where a library is."""
    rows = [[name, path] for name in ("libcublasLt.so.13", "libcublasLt.so.12", NCCL, CUDNN, "libcuda.so.1")
            for path in machine.library_files(name) or ["in no folder that ddp-rank looks in, but for the loader's own"]]
    section.table(["library", "where it is"], rows)
    again = os.path.join(context.folder, "again")
    done = context.run("loader", [context.bin("ddp-launch"), *options, "--output-dir", again, context.script("acceptance/curve.yaml")],
                       env={"LD_DEBUG": "libs", "LD_DEBUG_OUTPUT": os.path.join(context.folder, "ld-debug")})
    for name in sorted(os.listdir(context.folder)):  # ld-debug.PID
        if name.startswith("ld-debug."):
            shutil.move(os.path.join(context.folder, name), os.path.join(context.folder, name + ".log"))
    section.text("Again with LD_DEBUG=libs (ld-debug.*.log in log.tar.gz): " + ("it ran." if done.ok else done.how))
