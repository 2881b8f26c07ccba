"""compute-sanitizer's tools on a short run of one layer; our kernels alone, not the libraries'."""
import machine

FOUND = 99  # the tool's exit code where it found an error
RUNS = (("memcheck", "fp32"), ("memcheck", "fp16"), ("memcheck", "bf16"), ("racecheck", "fp16"), ("racecheck", "fp32"),
        ("synccheck", "fp16"), ("synccheck", "fp32"), ("initcheck", "fp16"))
OPTIONS = {"memcheck": ["--report-api-errors", "no"]}  # the program checks each call itself, and expects some to fail
SPARE_S = 2  # of the stage, so that the last run ends at its own limit and not at the stage's
LEAST_S = 0.1
OWN = "========="  # how a line begins that is the tool's and not the program's
# What it says where it cannot work on this machine at all.
CANNOT = ("not supported", "Unable to", "Internal Sanitizer Error", "Target application terminated before first instrumented API call")


def run(context, section):
    program = machine.tool("compute-sanitizer")
    if program is None:
        section.unavailable("no compute-sanitizer on PATH, in the toolkit or in Python's packages")
        return
    version = context.run("version", [program, "--version"])
    if not version.ok:
        section.unavailable(f"{program}: {version.how}")
        return
    rows, ran = [], 0
    section.table(["tool", "precision", "result", "what it says", "s"], rows)
    wanted = [(tool, p) for tool, p in RUNS if p in ("fp32", *context.gpu.precisions())]
    for i, (tool, precision) in enumerate(wanted):
        share = max(LEAST_S, (context.left() - SPARE_S) / (len(wanted) - i))  # so that none takes the time of the others
        done, _ = check(context, program, tool, precision, share)
        ran += done.ok
        verdict = "clean"
        if done.code is None:
            verdict = "did not end"
        elif done.code == FOUND:
            verdict = "**errors**"
            section.fail(f"{tool} in {precision}: {summary(done)}")
        elif not done.ok:
            cannot = any(line.startswith(OWN) and any(text in line for text in CANNOT) for line in done.text.splitlines())
            verdict = "not available" if cannot else "**failed**"
            if not cannot:
                section.fail(f"{tool} in {precision}: {done.how}")
        rows.append([tool, precision, verdict, summary(done) if done.ok or done.code == FOUND else done.how, f"{done.seconds:.1f}"])
    if not ran and not section.failures:
        section.unavailable(f"{program} ran none of them to its end")


def check(context, program, tool, precision, limit):
    name = f"{tool}-{precision}"
    # The launcher's own program, without the static entry: nothing can be injected into that.
    return context.run(name, [
        program, "--tool", tool, "--target-processes", "all", "--kernel-name", "kns=ddp", "--require-cuda-init", "no",
        "--error-exitcode", str(FOUND), "--print-limit", "20", *OPTIONS.get(tool, []), context.bin("ddp-launcher"), "--gpus", "0",
        "--output-dir", f"{context.folder}/{name}", "--set", f"train.precision={precision}", "--set", "model.layers=1",
        "--set", "train.steps=2", "--set", "schedule.warmup_steps=1", "--set", "train.micro_batch=1", "--set", "train.global_batch=2",
        "--set", "checkpoint.last=false", context.script("acceptance/curve.yaml")], limit=limit), name


def summary(done):
    lines = [line.strip("= \n") for line in done.text.splitlines() if "SUMMARY" in line]
    return lines[-1] if lines else done.last_line
