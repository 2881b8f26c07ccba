"""Labelled texts, or pairs of texts, to files of tensors for fine-tuning BERT."""
import array
import collections
import json
import math
import pathlib
import struct

from text import tokenizer as tokenizer_files
from text.corpus import lines
from text.failure import DATA, USAGE, Failure
from text.outputs import replaced

LABELS = "labels.json"


def read_rows(path, errors):
    """[(label, text, second text or None)]"""
    rows = []
    for number, line in enumerate(lines(path, errors), 1):
        fields = line.rstrip("\r\n").split("\t")
        if len(fields) not in (2, 3) or not fields[0]:
            raise Failure(DATA, f"{path}:{number}: {len(fields)} fields; a line is LABEL<TAB>TEXT or LABEL<TAB>TEXT<TAB>SECOND TEXT")
        rows.append((fields[0], fields[1], fields[2] if len(fields) == 3 else None))
    if not rows:
        raise Failure(DATA, f"{path} has no lines")
    return rows


def read_labels(path):
    try:
        labels = json.loads("".join(lines(path, "strict")))
    except ValueError as error:
        raise Failure(DATA, f"{path} is not JSON: {error}") from error
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels) or len(set(labels)) < len(labels):
        raise Failure(DATA, f"{path} is not a JSON list of different words")
    return labels


def truncate(first, second, room):
    """As BERT does: the longer one loses its last token until both fit; of two that are as long, the second."""
    while len(first) + len(second) > room:
        (first if len(first) > len(second) else second).pop()


class Rows:
    """Tokens, types and labels of the rows of a table."""

    def __init__(self, path, rows, tokenizer, labels, length):
        cls, sep, self._pad = (tokenizer.special[key] for key in ("cls", "sep", "pad"))
        self.tokens, self.types, self.labels, self.num_truncated = [], [], [], 0
        texts = tokenizer.encoded(rows, lambda row: row[1])
        second_texts = tokenizer.encoded(rows, lambda row: row[2] or "")
        for number, (((label, _, second_text), first), (_, second)) in enumerate(zip(texts, second_texts), 1):
            if label not in labels:
                raise Failure(DATA, f"{path}:{number}: label {label!r} is not one of {', '.join(labels)}")
            pair = second_text is not None
            room = length - (3 if pair else 2)
            self.num_truncated += len(first) + len(second) > room
            truncate(first, second, room)
            self.tokens.append(array.array("i", [cls, *first, sep, *second, *[sep] * pair]))
            self.types.append(array.array("i", [0] * (len(first) + 2) + [1] * (len(second) + pair)))
            self.labels.append(labels[label])
        self.width = max(map(len, self.tokens))

    def tensors(self):
        """name -> shape, rows of values"""
        def padded(rows, padding):
            return ([*row, *[padding] * (self.width - len(row))] for row in rows)

        n = len(self.tokens)
        return {
            "tokens": ([n, self.width], padded(self.tokens, self._pad)),
            "types": ([n, self.width], padded(self.types, 0)),
            "lengths": ([n], [[len(row) for row in self.tokens]]),
            "labels": ([n], [self.labels]),
        }


def write_safetensors(path, tensors):
    """All I32: 8 bytes with the header's length, the header in JSON, padded with spaces to a multiple of 8, and the values."""
    header, end = {}, 0
    for name, (shape, _) in tensors.items():
        begin = end
        end += 4 * math.prod(shape)
        header[name] = {"dtype": "I32", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, rows in tensors.values():
            for row in rows:
                file.write(struct.pack(f"<{len(row)}i", *row))


def report(path, rows, names):
    counts = collections.Counter(rows.labels)
    largest = min(counts, key=lambda label: (-counts[label], label))
    print(f"{path}: {len(rows.labels):,} texts of up to {rows.width} tokens, {rows.num_truncated:,} truncated; "
          f"{100 * counts[largest] / len(rows.labels):.1f}% are {names[largest]!r}")
    print("  " + ", ".join(f"{label} {name}: {counts[label]:,}" for label, name in enumerate(names)))


def prepare(arguments):
    stems = [pathlib.Path(path).stem for path in arguments.tables]
    if len(set(stems)) < len(stems):
        raise Failure(USAGE, f"two of the tables would become the same file: {', '.join(arguments.tables)}")
    tokenizer = tokenizer_files.read(arguments.tokenizer, arguments.cased)
    if tokenizer.kind != tokenizer_files.WORDPIECE:
        raise Failure(DATA, f"{arguments.tokenizer} is {tokenizer.kind}; labelled texts are for BERT and take WordPiece")
    tables = {f"{stem}.safetensors": (path, read_rows(path, arguments.errors)) for stem, path in zip(stems, arguments.tables)}
    if arguments.labels:
        names = read_labels(arguments.labels)
    else:
        names = sorted({label for _, rows in tables.values() for label, _, _ in rows})
    labels = {name: label for label, name in enumerate(names)}
    folder = pathlib.Path(arguments.out)
    files = {name: Rows(path, rows, tokenizer, labels, arguments.length) for name, (path, rows) in tables.items()}
    with replaced(folder, (*files, LABELS)) as aside:
        for name, rows in files.items():
            write_safetensors(aside / name, rows.tensors())
        (aside / LABELS).write_text(json.dumps(names, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, rows in files.items():
        report(folder / name, rows, names)
    print(f"{len(names)} classes in {folder / LABELS}; tables prepared later: --labels {folder / LABELS}")
