"""Loss curves of small models: the GPU against the CPU, a run against its repetition and as graphs, and each precision."""
import models
import verdicts

STEPS = 50


def small_batch(context):
    """Of a rehearsal: two micro-steps of two samples, over which batch norm has a deviation."""
    return context.toy([], models.sets(train_micro_batch=2, train_global_batch=4))


def run_gpt2(context, section):
    rows, config, options = gpt2(context, section)
    follow(context, section, rows, "", config, verdicts.FP32, ["tf32", "fp16", "bf16"], *options)


def gpt2(context, section):
    """(rows of the table, configuration, options)"""
    steps = context.toy(STEPS, 3)
    toy = context.toy([], models.sets(train_micro_batch=1, train_global_batch=2))
    return (begin(section, f"{steps} steps of GPT-2 with 2 layers, width 128, context 64"), context.script("acceptance/curve.yaml"),
            [*models.sets(train_steps=steps, schedule_warmup_steps=context.toy(20, 2)), *toy])


def run_bert(context, section):
    bert = models.case("bert")
    steps = context.toy(STEPS, 2)
    bert.write_tokens(context.folder)
    bert.write_texts(context.folder)
    rows = begin(section, f"{steps} steps of BERT with 2 layers, width 32, context {bert.CONTEXT}: masked tokens, and the class of a text")
    for task in ("mlm", "classify"):
        config = models.written(context, task, bert.config(context.folder, steps, task=task))
        follow(context, section, rows, f"{task} ", config, verdicts.FP32, ["fp16", "bf16"], *small_batch(context))


def run_resnet(context, section):
    steps = context.toy(STEPS, 2)
    rows = begin(section, f"{steps} steps of a ResNet with 2 bottlenecks, width 8, images of 16 pixels")
    config = models.written(context, "resnet", models.case("resnet").config(context.folder, steps, lr=1e-3))
    follow(context, section, rows, "", config, verdicts.FP32_BATCH_NORM, ["tf32", "fp16", "bf16"], *small_batch(context))


def begin(section, what):
    rows, section.data["losses"] = [], {}
    section.text(f"{what}, `deterministic: true`; fp32 unless the name says other.")
    section.table(["run", "against", "demanded", "largest relative difference", "holds", "last loss", "s"], rows)
    return rows


def follow(context, section, rows, prefix, config, tolerance, precisions, *options):
    """Runs of one configuration, each beside what it must follow. `tolerance`: of the GPU's fp32 against the CPU's."""
    graphs = ["--set", "train.cuda_graph=true"]
    runs = [("cpu", ["--nproc", "1", "--device", "cpu"], None), ("gpu", ["--gpus", "0"], ("cpu", tolerance)),
            ("gpu again", ["--gpus", "0"], ("gpu", 0)), ("gpu graphs", ["--gpus", "0", *graphs], ("gpu", 0))]
    for name in precisions:
        if name in context.gpu.precisions():
            how = ["--gpus", "0", "--set", f"train.precision={name}"]
            runs += [(f"gpu {name}", how, ("cpu", verdicts.OF_PRECISION[name])), (f"gpu {name} graphs", how + graphs, (f"gpu {name}", 0))]
    train_each(context, section, rows, prefix, config, [(*run, {}) for run in runs], *options)


def train_each(context, section, rows, prefix, config, runs, *options):
    """`runs`: (name, options, what it is held to, variables): None, or the name of a run before it and how far it may be from that one."""
    curves = section.data["losses"]
    for name, how, demanded, env in runs:
        name = prefix + name
        done, folder = context.train(name.replace(" ", "-"), config, *how, *options, "--set", "checkpoint.last=false", env=env)
        curves[name] = verdicts.losses(folder)
        if not done.ok:
            section.fail(f"{name}: {done.how}")
        last = f"{curves[name][-1]:.6f}" if curves[name] and curves[name][-1] is not None else "n/a"
        if demanded is None:
            rows.append([name, "", "", "", "", last, f"{done.seconds:.1f}"])
            continue
        against, within = prefix + demanded[0], demanded[1]
        found, holds = verdicts.compare(curves[name], curves[against], within)
        rows.append([name, against, verdicts.demand(within), found, "yes" if holds else "**no**", last, f"{done.seconds:.1f}"])
        if done.ok and not holds:
            section.fail(f"{name} against {against}: {found}, not {verdicts.demand(within)}")
