"""The command `ddp-launch` of the wheel: becomes the program of this package. It imports nothing that Python has not loaded already."""
import os
import sys


def main():
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin", "ddp-launch")
    try:
        os.execv(program, [sys.argv[0], *sys.argv[1:]])
    except OSError as e:
        sys.exit(f"ddp-launch: cannot execute {program}: {e.strerror}; install the wheel again")
