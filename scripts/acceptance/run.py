#!/usr/bin/env python3
"""The acceptance run on a GPU: stages in the order of their worth, each with a limit of its own, each in the report as it ends."""
import argparse
import contextlib
import fnmatch
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback

import machine
import process
from report import Report, Section
from stages import STAGES

USAGE = 64
LEAST_S = 3  # a stage that has less is not begun

SIMULATED = {"DDP_SIM_GPUS": "1", "DDP_SIM_CAPABILITY": "9.0", "DDP_SIM_STREAMS": "eager"}


class Parser(argparse.ArgumentParser):
    def error(self, message):
        print(f"gpu_acceptance: {message}; --help lists the options", file=sys.stderr)
        sys.exit(USAGE)


class Interrupted(BaseException):
    pass


class Context:
    """What a stage may use. Commands run in the bundle's folder and end, with all their children, at the stage's limit at the latest."""

    def __init__(self, top, work, gpu, simulated):
        self.top, self.work, self.gpu, self.simulated = top, work, gpu, simulated
        self.env = {**os.environ, "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "TMPDIR": work,
                    "TORCHINDUCTOR_CACHE_DIR": os.path.join(work, "inductor"), "TRITON_CACHE_DIR": os.path.join(work, "triton")}
        if simulated:
            self.env.update(SIMULATED, DDP_CUDA_MODULE=self.lib("libddp-cuda-sim.so"), DDP_NVML=self.lib("libsim-nvml.so"),
                            DDP_CUDA_LIBRARIES=os.path.join(top, "simulated"))
        self.no_cudnn = None  # why there is none, where the gate found none
        self.site_packages = ":".join(machine.site_packages())
        self.deadline = 0.0
        self.folder = work

    def enter(self, stage, limit):
        self.deadline = time.monotonic() + limit
        self.folder = os.path.join(self.work, stage)
        os.makedirs(self.folder)

    def lib(self, name):
        return os.path.join(self.top, "lib", name)

    def bin(self, name):
        return os.path.join(self.top, "bin", name)

    def script(self, name):
        return os.path.join(self.top, "scripts", name)

    def left(self):
        return self.deadline - time.monotonic()

    def toy(self, real, small):
        """The size of something: the real one, or a rehearsal's."""
        return small if self.simulated else real

    def run(self, name, argv, limit=None, env=None, watch=None):
        """Done. process.OutOfTime when the stage has no time for it left, or its limit ended it; `limit` is of this command."""
        left = self.left()
        if left <= 0:
            raise process.OutOfTime(f"no time was left for {name}")
        env = {**self.env, **(env or {})}
        # ddp-launch asks Python itself where NVIDIA's libraries are; programs that open the backend without it are told.
        if self.site_packages and not os.path.basename(argv[0]).startswith("ddp-launch"):
            env["DDP_SITE_PACKAGES"] = self.site_packages
        done = process.run(argv, os.path.join(self.folder, name + ".log"), min(left, limit or left), self.top, env, watch)
        if done.code is None and self.left() <= 0:
            raise process.OutOfTime(f"{name} {done.how}")
        return done

    def train(self, name, config, *options, env=None, limit=None, watch=None):
        """(Done, the run's folder) of ddp-launch."""
        folder = os.path.join(self.folder, name)
        return self.run(name, [self.bin("ddp-launch"), *options, "--output-dir", folder, config], limit, env, watch), folder


def parse(argv):
    names = [stage.name for stage in STAGES]
    parser = Parser(prog="gpu_acceptance.sh", description=__doc__, epilog="Stages, in this order: " + "; ".join(
        f"{s.name} ({s.limit} s{'' if s.is_usual else ', only where asked for'}): {s.title}" for s in STAGES))
    parser.add_argument("--bundle", required=True, help="what scripts/bundle.sh --tests made: the .tar.xz, or its unpacked folder")
    parser.add_argument("--out", default=".", help="where report.md, report.json and log.tar.gz go (the working folder)")
    parser.add_argument("--stages", help="these alone, a list with commas of names and patterns like 'curve-*'; the gate goes first")
    parser.add_argument("--minutes", type=float, default=6, help="all stages together; what does not fit is not run (6)")
    parser.add_argument("--limit", action="append", default=[], metavar="STAGE=SECONDS", help="another limit for a stage")
    parser.add_argument("--simulate", action="store_true", help="a rehearsal without a GPU, at toy size, on the simulated module")
    options = parser.parse_args(argv)
    wanted = options.stages.split(",") if options.stages else [stage.name for stage in STAGES if stage.is_usual]
    for pattern in wanted:
        if not fnmatch.filter(names, pattern):
            parser.error(f"there is no stage {pattern!r}; there are {', '.join(names)}")
    options.stages = [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in wanted)]
    limits = {stage.name: float(stage.limit) for stage in STAGES}
    for text in options.limit:
        name, _, seconds = text.partition("=")
        if name not in names or not seconds.isdigit() or int(seconds) == 0:
            parser.error(f"--limit {text}: a stage and seconds, as in gate=20")
        limits[name] = float(seconds)
    options.limits = limits
    if options.minutes <= 0:
        parser.error("--minutes is above 0")
    return options


def say(text):
    print(text, flush=True)


def run_stage(stage, section, context, limit):
    """Fills the section; no error of a stage goes further than this."""
    begin = time.monotonic()
    context.enter(stage.name, limit)
    try:
        stage.run(context, section)
        if section.status == "running":
            section.status = "failed" if section.failures else "passed"
    except process.OutOfTime as error:
        section.fail(f"limit of {limit:.0f} s: {error}")
        section.status = "failed"
    except Interrupted:
        section.status, section.why = "interrupted", "the run was ended by a signal"
        raise
    except Exception as error:  # a bug of a stage ends that stage alone
        section.fail(f"{type(error).__name__}: {error}")
        section.status = "failed"
        with open(os.path.join(context.folder, "error.log"), "w", encoding="utf-8") as file:
            traceback.print_exc(file=file)
    finally:
        if section.failures and section.status != "interrupted":
            section.status = "failed"
        section.seconds = time.monotonic() - begin


def run_stages(options, context, report):
    """After a gate that failed only the ops' tests are worth their time: they say whether it is the kernels or what is around them."""
    end = time.monotonic() + options.minutes * 60
    wanted = [stage for stage in STAGES if stage.name in options.stages or stage.name == "gate"]
    sections = {stage.name: Section(stage.name, stage.title) for stage in wanted}
    report.sections = list(sections.values())
    gate_failed = False
    for stage in wanted:
        section = sections[stage.name]
        limit = min(options.limits[stage.name], end - time.monotonic())
        if stage.convolves and context.no_cudnn:
            section.unavailable(context.no_cudnn)
            report.write()
            say(f"{stage.name}: not available: {context.no_cudnn}")
            continue
        if gate_failed and stage.name != "ops":
            section.why = "the gate failed"
        elif limit < min(LEAST_S, options.limits[stage.name]):
            section.why = f"no time was left of {options.minutes:g} minutes"
        if section.why:
            say(f"{stage.name}: not run, {section.why}")
            continue
        section.status = "running"
        report.write()
        say(f"{stage.name}: {stage.title}, at most {limit:.0f} s")
        try:
            run_stage(stage, section, context, limit)
        finally:
            report.write()
        say(f"{stage.name}: {section.status} after {section.seconds:.1f} s" + (f": {section.remark()}" if section.remark() else ""))
        gate_failed = gate_failed or (stage.name == "gate" and section.status == "failed")
    report.write()


def work(options, folders):
    """All of it, in this process. Returns the exit code."""
    process.adopt_orphans()
    process.die_with_parent(signal.SIGTERM)

    def interrupt(signum, _):
        for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(s, signal.SIG_IGN)
        raise Interrupted(signum)

    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, interrupt)
    with contextlib.ExitStack() as stack:
        for folder in folders:
            stack.callback(shutil.rmtree, folder, True)
        stack.callback(process.kill_descendants)
        command = f"scripts/gpu_acceptance.sh --bundle {shlex.quote(options.bundle)} --out {shlex.quote(options.out)}"
        command += " --simulate" if options.simulate else ""
        try:
            try:
                top = machine.unpack(options.bundle, folders[0])
                os.makedirs(options.out, exist_ok=True)
            except (ValueError, OSError) as error:
                print(f"gpu_acceptance: {error}", file=sys.stderr)
                return USAGE
            if options.simulate:
                os.environ.update(SIMULATED)
            gpu = machine.Gpu(options.simulate)
            sys.path.append(os.path.join(top, "scripts", "acceptance"))  # of models.case, where this file is not the bundle's
            report = Report(os.path.abspath(options.out), options.simulate, command)
            report.not_asked_for = [stage.name for stage in STAGES if stage.name not in options.stages and stage.name != "gate"]
            report.work = folders[1:]
            report.build = machine.build_facts(top)
            report.machine = [*gpu.facts, ("GPUs", str(gpu.count)), ("processors", str(len(os.sched_getaffinity(0)))),
                              ("Python", sys.version.split()[0]), ("Linux", os.uname().release)]
            run_stages(options, Context(top, folders[1], gpu, options.simulate), report)
        except Interrupted as error:
            say("interrupted; the report has what was done")
            return 128 + error.args[0]
        failed = report.failed()
        say(f"report: {os.path.join(report.out, 'report.md')}")
        left_out = [s.name for s in report.sections if s.status == "not run"]
        if left_out:
            say(f"not run: {', '.join(left_out)}")
        say(f"FAILED: {', '.join(failed)}" if failed else "no stage failed")
        return 1 if failed else 0


def main(argv):
    """A guardian and a worker, each of which cleans up after the other's sudden end."""
    options = parse(argv)
    prefix = f"ddp-acceptance-{os.getpid()}-"
    folders = [tempfile.mkdtemp(prefix=prefix), tempfile.mkdtemp(prefix=prefix, dir=machine.folder_for_runs())]
    process.adopt_orphans()
    worker = os.fork()
    if worker == 0:
        code = 70
        try:
            code = work(options, folders)
        except BaseException:  # pylint: disable=broad-except
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, lambda received, _: os.kill(worker, received))
    code = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    process.kill_descendants()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
