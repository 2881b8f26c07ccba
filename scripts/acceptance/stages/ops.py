"""The ops' tests of the bundle on the GPU: each against plain loops in double. Attention first, the riskiest kernels."""
import re

# The rows of linear layers depend on cuBLAS's choice of algorithm; that they do not is a promise of the CPU alone. What throws on the
# host is no kernel's. Cases of attention whose names begin so have heads of any width, which the CPU alone takes: the kernels have a
# program of their own, and the one case here that fits them.
ALL_BUT = ["~[host-error]", "~attention*", "~linear: a row*,attention: a sample*"]
SLOW_IN_REHEARSAL = ["~[many-steps]"]
CONVOLUTIONS = ["~convolution*"]


def run(context, section):
    say_what(context, section)
    test(context, section, table(section))


def table(section):
    rows = []
    section.table(["program", "cases", "failed", "s"], rows)
    return rows


def filters(context):
    return context.toy([], SLOW_IN_REHEARSAL) + (CONVOLUTIONS if context.no_cudnn else []) + ALL_BUT


def test(context, section, rows, prefix="", env=None, only=()):
    """Adds a row for each of the two programs, run with these variables; of the ops `only` these, where it is given."""
    ops = [*only, *filters(context)]  # words before a comma hold together
    for name, program, arguments in (("attention", "test_cuda_attention_on_gpu", []), ("ops", "test_cuda_ops_on_gpu", ops)):
        name = prefix + name
        done = context.run(name.replace(" ", "-"), [context.bin(program), *arguments], env=env)
        passed = re.search(r"All tests passed \((\d+) assertions? in (\d+) test cases?\)", done.text)
        some = re.search(r"test cases: *(\d+) \|.*?(\d+) failed", done.text)
        if done.ok and passed:
            rows.append([name, passed[2], "0", f"{done.seconds:.1f}"])
            continue
        rows.append([name, some[1] if some else "n/a", some[2] if some else "n/a", f"{done.seconds:.1f}"])
        section.fail(f"{name}: {failed_cases(done.text) or done.how}")


def say_what(context, section):
    """The ops that are tested, by the names of the cases: what stands before a colon."""
    listed = context.run("list", [context.bin("test_cuda_ops_on_gpu"), "--list-test-names-only", *filters(context)])
    names = [line for line in listed.text.splitlines()[1:] if ": " in line]  # behind the command
    section.data["ops"] = sorted({name.partition(":")[0] for name in names})
    section.text(f"{len(names)} cases of: {', '.join(section.data['ops'])}." + (f" Without convolutions: {context.no_cudnn}"
                                                                                if context.no_cudnn else ""))


def failed_cases(text):
    """The names of Catch2's cases that failed: a name stands between two lines of dashes before what went wrong."""
    names = re.findall(r"^-{79}\n(.*?)\n-{79}\n", text, re.M | re.S)
    unique = list(dict.fromkeys(" ".join(name.split()) for name in names))
    return "; ".join(unique[:10])
