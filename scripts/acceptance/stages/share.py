"""Ranks that share the one GPU, with the real NCCL between them: what they compute, never how fast."""
import os
import signal
import time

import machine
import verdicts

IMPOSSIBLE = "not possible with this NCCL"  # as nccl_comm.cpp says where it refuses ranks on one GPU
STEPS = 10
GONE_S = 10  # within which the others are to be gone
STOPPED_S = 0.5  # for so long the rank is stopped before it is killed, so that the others have come to wait for it
ENDLESS = 100_000  # steps of the run whose rank is killed


def run(context, section):
    context.env["DDP_SHARE_GPU"] = "1"
    try:
        check(context, section)
    finally:
        del context.env["DDP_SHARE_GPU"]


def check(context, section):
    curves, rows = {}, []
    section.table(["ranks", "against 1 rank", "largest relative difference", "holds"], rows)
    section.data["losses"] = curves
    base = ["--set", "train.deterministic=true"]
    reduce = ["--set", "train.deterministic=false"]
    graphs = ["--set", "train.cuda_graph=true"]
    runs = [("1", 1, base, None), ("2", 2, base, ("1", 0)), ("4", 4, base, ("1", 0)), ("2 as graphs", 2, base + graphs, ("1", 0)),
            ("4 all-reduce", 4, reduce, ("1", verdicts.FP32)), ("4 all-reduce again", 4, reduce, ("1", verdicts.FP32))]
    nccl = set()

    def watch(pids):
        for pid in pids:
            nccl.update(path for path in machine.mapped_libraries(pid) if "libnccl" in path)

    for name, ranks, options, demanded in runs:
        done, folder = train(context, name, ranks, options, watch=watch)
        if IMPOSSIBLE in done.text:
            section.unavailable(next(line.strip() for line in done.text.splitlines() if IMPOSSIBLE in line))
            break
        curves[name] = verdicts.losses(folder)
        if not done.ok:
            section.fail(f"{name}: {done.how}")
        if demanded is None:
            continue
        found, holds = verdicts.compare(curves[name], curves[demanded[0]], demanded[1])
        rows.append([name, verdicts.demand(demanded[1]), found, "yes" if holds else "**no**"])
        if done.ok and not holds:
            section.fail(f"{name} ranks against 1: {found}, not {verdicts.demand(demanded[1])}")
    for path in sorted(nccl):
        section.text(f"NCCL {machine.version_of(path) or 'of a version that it does not tell'}, {path}")
    if section.status != "running":
        return
    pair = curves["4 all-reduce"], curves["4 all-reduce again"]
    section.text(f"NCCL's own order of sums repeats bit for bit: {'yes' if pair[0] and pair[0] == pair[1] else 'no'}.")
    kill_one(context, section)


def train(context, name, ranks, options, steps=None, watch=None):
    steps = steps or context.toy(STEPS, 3)
    return context.train("ranks-" + name.replace(" ", "-"), context.script("acceptance/curve.yaml"), "--gpus", ",".join(["0"] * ranks),
                         *options, "--set", f"train.steps={steps}", "--set", "schedule.warmup_steps=2", "--set", "checkpoint.last=false",
                         "--set", "train.micro_batch=" + context.toy("8", "1"), "--set", "train.global_batch=" + context.toy("32", "4"),
                         watch=watch)


def kill_one(context, section):
    """Stops rank 1 in the midst of training until the other waits for it in an all-reduce, and kills it there."""
    folder = os.path.join(context.folder, "ranks-2-killed")
    stopped, killed = [], []

    def watch(pids):
        if not stopped and len(verdicts.losses(folder)) >= 2:
            stopped.extend((pid, time.monotonic()) for pid in pids if rank_of(pid) == "1")
            for pid, _ in stopped:
                os.kill(pid, signal.SIGSTOP)
        elif stopped and not killed and time.monotonic() - stopped[0][1] >= STOPPED_S:
            killed.append(time.monotonic())
            os.kill(stopped[0][0], signal.SIGKILL)

    done, _ = train(context, "2 killed", 2, ["--set", "train.deterministic=false"], ENDLESS, watch)
    if not killed:
        section.fail(f"one rank of two killed: the run ended before: {done.how}")
        return
    seconds = time.monotonic() - killed[0]
    said = done.last_line.partition("; resume:")[0]
    section.text(f"Rank 1 of 2 killed while the other waited in an all-reduce: exit code {done.code}, all gone after {seconds:.1f} s: "
                 f"`{said}`")
    if done.code != 128 + signal.SIGKILL or "rank 1" not in said or seconds > GONE_S:
        section.fail(f"one rank of two killed: exit code {done.code} after {seconds:.1f} s: {said}")


def rank_of(pid):
    """RANK of a ddp-rank; None of another process."""
    try:
        if not os.path.basename(os.readlink(f"/proc/{pid}/exe")).startswith("ddp-rank"):
            return None
        with open(f"/proc/{pid}/environ", "rb") as file:
            names = dict(entry.partition(b"=")[::2] for entry in file.read().split(b"\0"))
        return names.get(b"RANK", b"").decode()
    except OSError:
        return None
