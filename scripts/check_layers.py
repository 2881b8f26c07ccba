#!/usr/bin/env python3
"""Enforces the layers of ARCHITECTURE.md: a file includes only from its own folder or from lower levels.

usage: check_layers.py ROOT. Prints each forbidden #include as file:line and exits 1 when there is one.
"""
import re
import sys

from source_lines import source_lines

# Folder -> level. The longest matching pattern decides; * stands for the name of a model.
LEVELS = {
    "runtime/base": 0,
    "runtime/config": 0,
    "runtime/board": 0,
    "runtime/device": 1,
    "kernels": 2,
    "runtime/comm": 2,
    "runtime/state": 2,
    "models": 3,
    "models/*/options": 0,
    "models/list": 0,  # these are not folders but a header, and headers with their sources
    "models/config_json": 0,
    "models/image_options": 0,
    "models/options_registry": 0,
    "models/transformer_options": 0,
    "runtime/reduce": 3,
    "runtime/optim": 3,
    "runtime/data": 3,
    "runtime/checkpoint": 3,
    "runtime/metrics": 3,
    "runtime/train": 4,
    "runtime/rank": 5,  # what it composes
    "launcher": 1,
}
# Folders of one level that may see each other, (from, to).
SIBLINGS = {
    ("runtime/board", "runtime/base"),
    ("runtime/config", "runtime/base"),
    ("models/*/options", "models/config_json"),
    ("models/*/options", "models/image_options"),
    ("models/*/options", "models/transformer_options"),
    ("models/*/options", "runtime/config"),
    ("models/config_json", "models/transformer_options"),
    ("models/config_json", "runtime/config"),
    ("models/image_options", "runtime/config"),
    ("models/transformer_options", "runtime/config"),
    ("models/options_registry", "models/list"),
    ("models/options_registry", "runtime/config"),
}
# The launcher knows nothing of devices: level 0 only. Models never see communication.
FORBIDDEN = {("launcher", "runtime/device"), ("models", "runtime/comm")}
# Headers of a backend, and the only places that may include them.
BACKENDS = [
    (re.compile(r"cuda|cublas|cudnn|nccl"), re.compile(r"^(kernels/cuda/|runtime/device/cuda_|runtime/comm/nccl_)")),
    (re.compile(r"^dnnl"), re.compile(r"^kernels/cpu/")),
]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def folder_of(path):
    def holds(folder):
        return re.match(re.escape(folder).replace(r"\*", "[^/]+") + "[/.]", path)

    return max(filter(holds, LEVELS), key=len, default="")


def allowed(source, target):
    if source == target:
        return True
    if (source, target) in FORBIDDEN:
        return False
    if (source, target) in SIBLINGS:
        return True
    return LEVELS[target] < LEVELS[source]


def violations(root):
    for path, number, line in source_lines(root):
        match = INCLUDE.match(line)
        if not match:
            continue
        quote, header = match.groups()
        if quote == "<":
            for pattern, place in BACKENDS:
                if pattern.search(header) and not place.match(path):
                    yield path, number, header, "a backend's header belongs elsewhere"
            continue
        source, target = folder_of(path), folder_of(header)
        if not target:
            yield path, number, header, "not a path from the root"
        elif not allowed(source, target):
            yield path, number, header, f"{source} may not include {target}"


def main():
    found = 0
    for path, number, header, why in violations(sys.argv[1]):
        print(f"{path}:{number}: #include {header}: {why}")
        found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
