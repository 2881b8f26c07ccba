"""The command `ddp-launch` of the wheel: becomes the program of this package. It imports nothing that Python has not loaded already."""
import os
import sys


def environment():
    """This process's, with the folders in which this Python has NVIDIA's libraries, as PyTorch brings them: ddp-launch looks there too."""
    folders = [os.path.abspath(folder) for folder in sys.path if os.path.isdir(os.path.join(folder, "nvidia"))]
    folders = [folder for folder in folders if folder.isprintable()]  # ddp-launch refuses a variable that is not one line of text
    return {**os.environ, "DDP_SITE_PACKAGES": ":".join(filter(None, [os.environ.get("DDP_SITE_PACKAGES"), *folders]))}


def main():
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin", "ddp-launch")
    try:
        os.execve(program, [sys.argv[0], *sys.argv[1:]], environment())
    except OSError as e:
        sys.exit(f"ddp-launch: cannot execute {program}: {e.strerror}; install the wheel again")
