"""python3 -m ddp_launch.examples [FOLDER]: copies what an installed package has to start from into FOLDER, by default this one: the recipes
(configs), the King James text (data), and the scripts that prepare texts and pictures (scripts). What is there already stays as it is."""
import argparse
import os
import pathlib
import shlex
import shutil
import stat
import sys

FOLDERS = ("configs", "data", "scripts")


def copy(folder):
    """(copied, left): the names, relative to `folder`, of what was copied and of what was there already."""
    package, copied, left = pathlib.Path(__file__).resolve().parent, [], []
    for name in FOLDERS:
        for source in sorted((package / name).rglob("*")):
            target = pathlib.Path(folder) / source.relative_to(package)
            if source.is_dir() or "__pycache__" in source.parts:
                continue
            if target.exists() or target.is_symlink():
                left.append(target)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
            target.chmod(target.stat().st_mode | stat.S_IWUSR)  # to be changed, where the package itself may not be
            copied.append(target)
    return copied, left


def main():
    parser = argparse.ArgumentParser(prog="python3 -m ddp_launch.examples", description=__doc__.partition(": ")[2])
    parser.add_argument("folder", nargs="?", default=".")
    folder = parser.parse_args().folder or "."
    try:
        copied, left = copy(folder)
    except OSError as error:
        sys.exit(f"ddp_launch.examples: {error.filename or folder}: {error.strerror}")
    if not copied and not left:
        sys.exit("ddp_launch.examples: this package holds no examples; they come with the wheel")
    print(f"{len(copied)} files in {', '.join(os.path.join(folder, name) for name in FOLDERS)}"
          + (f"; {len(left)} were there and stay as they are" if left else ""))
    print("to begin: " + ("" if folder == "." else f"cd {shlex.quote(folder)} && ") + "ddp-launch --nproc 4 configs/gpt2-tiny.yaml")


if __name__ == "__main__":
    main()
