"""The lines of the product's sources, for the checks that read them."""
import os

FOLDERS = ("launcher", "runtime", "kernels", "models")
SUFFIXES = (".h", ".cpp", ".cu", ".cuh")


def source_lines(root):
    """Yields (path from the root, line number from 1, line), in a fixed order."""
    for top in FOLDERS:
        for directory, folders, names in os.walk(os.path.join(root, top)):
            folders.sort()
            for name in sorted(names):
                if not name.endswith(SUFFIXES):
                    continue
                path = os.path.join(directory, name)
                with open(path, encoding="utf-8") as file:
                    for number, line in enumerate(file, 1):
                        yield os.path.relpath(path, root), number, line
