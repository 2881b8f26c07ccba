"""Loss curves of curve.yaml: the GPU against the CPU, a run against its repetition and as graphs, and each precision."""
import verdicts

STEPS = 50


def run(context, section):
    config = context.script("acceptance/curve.yaml")
    steps = context.toy(STEPS, 3)
    common = ["--set", f"train.steps={steps}", "--set", f"schedule.warmup_steps={context.toy(20, 2)}", "--set", "checkpoint.last=false"]
    common += context.toy([], ["--set", "train.micro_batch=1", "--set", "train.global_batch=2"])

    def precision(name):
        return ["--set", f"train.precision={name}"]

    graphs = ["--set", "train.cuda_graph=true"]
    runs = [("cpu", ["--nproc", "1", "--device", "cpu"], None), ("gpu", [], ("cpu", verdicts.FP32)), ("gpu again", [], ("gpu", 0)),
            ("gpu graphs", graphs, ("gpu", 0))]
    for name in ("tf32", "fp16", "bf16"):
        if name in context.gpu.precisions():
            runs.append((f"gpu {name}", precision(name), ("cpu", verdicts.OF_PRECISION[name])))
            runs.append((f"gpu {name} graphs", precision(name) + graphs, (f"gpu {name}", 0)))
    curves, rows = {}, []
    section.text(f"{steps} steps of GPT-2 with 2 layers, width 128, context 64, `deterministic: true`; fp32 unless the name says other.")
    section.table(["run", "against", "demanded", "largest relative difference", "holds", "last loss", "s"], rows)
    section.data["losses"] = curves
    for name, options, demanded in runs:
        where = [] if name == "cpu" else ["--gpus", "0"]
        done, folder = context.train(name.replace(" ", "-"), config, *where, *options, *common)
        curves[name] = verdicts.losses(folder)
        if not done.ok:
            section.fail(f"{name}: {done.how}")
        last = f"{curves[name][-1]:.6f}" if curves[name] and curves[name][-1] is not None else "n/a"
        if demanded is None:
            rows.append([name, "", "", "", "", last, f"{done.seconds:.1f}"])
            continue
        against, tolerance = demanded
        found, holds = verdicts.compare(curves[name], curves[against], tolerance)
        rows.append([name, against, verdicts.demand(tolerance), found, "yes" if holds else "**no**", last, f"{done.seconds:.1f}"])
        if done.ok and not holds:
            section.fail(f"{name} against {against}: {found}, not {verdicts.demand(tolerance)}")
