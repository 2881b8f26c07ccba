"""Which ddp-launch is run."""
import os
import pathlib
import shutil


class ProgramNotFound(Exception):
    """There is no ddp-launch: neither in this package, nor as $DDP_LAUNCH, nor on PATH."""

    __module__ = __package__  # as who catches it knows it


def find_program():
    """The path of ddp-launch: this package's own, else $DDP_LAUNCH, else the one on PATH. Raises ProgramNotFound."""
    own = pathlib.Path(__file__).resolve().parent / "bin" / "ddp-launch"
    if own.exists():
        return str(own)
    given = os.environ.get("DDP_LAUNCH")
    found = shutil.which(given or "ddp-launch")
    if found is None:
        raise ProgramNotFound(f"$DDP_LAUNCH, {given}, is no program that can be run" if given else
                              f"no ddp-launch: not at {own}, not on PATH, and $DDP_LAUNCH is not set; "
                              "install the wheel, or set DDP_LAUNCH to the program of a build (build/launcher/ddp-launch)")
    return os.path.abspath(found)
