"""ddp_launch: trains by ddp-launch from Python, as from a notebook.

    import ddp_launch

    for line in ddp_launch.run("train.yaml", gpus="all", train={"steps": 2000}):
        print(line)

    ddp_launch.read_metrics("runs/a")
    ddp_launch.plot("runs/a", "runs/b")

The trainer is a program of its own (help(ddp_launch.run)); no part of it runs in this Python.
"""
_HOME = {"run": "_run", "Run": "_run", "RunFailed": "_run", "ProgramNotFound": "_program", "find_program": "_program",
         "read_metrics": "_metrics", "plot": "_plot"}
__all__ = sorted(_HOME)


def __getattr__(name):
    # Imported when it is asked for: the command `ddp-launch` of the wheel imports this file, and should not wait for the rest.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module
    return getattr(import_module("." + _HOME[name], __name__), name)


def __dir__():
    return __all__
