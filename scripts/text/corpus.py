"""Texts as documents, and documents as pieces, so that of a text no more than a line is ever held whole."""
import itertools
import math
import os
import re

from text.failure import DATA, NO_INPUT, Failure

PIECE = 1 << 16  # characters at least, where a document has more
BOUNDARY = re.compile(r"\S(?=[ \t\r\n])")
TRAIN, VALID = "train.bin", "valid.bin"


def lines(path, errors):
    """The lines of a UTF-8 file with their ends, without a byte order mark. `errors` as of bytes.decode."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise Failure(NO_INPUT, f"{path} is not a regular file")
    begin = 0
    try:
        with open(path, "rb") as file:
            for line in file:
                text = line.decode("utf-8", errors)
                yield text if begin else text.removeprefix("\ufeff")
                begin += len(line)
    except OSError as error:
        raise Failure(NO_INPUT, f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        at = error.start
        raise Failure(DATA, f"{path}: byte {begin + at} (0x{error.object[at]:02x}) is not UTF-8: {error.reason}; convert it "
                            "(iconv), or give --invalid-utf8 replace") from error


def pieces(paths, blank_lines, errors):
    """(text, whether it ends its document) of these files. Documents are parted by blank lines, or each file is one; the line end behind
    a document belongs to none. A long document is cut before white space that follows something else: there, words end for WordPiece
    and for byte-level BPE, so the tokens are those of the whole document."""
    for path in paths:
        for is_document, of_document in itertools.groupby(lines(path, errors), lambda line: not blank_lines or bool(line.strip())):
            if not is_document:
                continue
            held = ""
            for line in of_document:
                held += line
                begin = 0
                while boundary := BOUNDARY.search(held, begin + PIECE):
                    yield held[begin:boundary.end()], False
                    begin = boundary.end()
                held = held[begin:]
            yield held.rstrip("\r\n"), True


def held_out(document, num_documents, num_valid):
    """Whether a document is one of num_valid <= num_documents that lie evenly over the corpus."""
    def before(i):
        return (i * num_valid + num_documents // 2) // num_documents

    return before(document + 1) > before(document)


class Corpus:
    """Documents that are split into TRAIN and VALID: VALID are those of `valid_files`, or where there are none a share of all, rounded
    up. `pieces` may be called again and gives the same."""

    def __init__(self, files, valid_files, share, blank_lines, errors):
        self._of = lambda paths: pieces(paths, blank_lines, errors)
        self._files, self._valid_files = files, valid_files
        self._num_documents, self._num_valid = self._count(files), 0
        if valid_files:
            self._count(valid_files)
        elif share > 0:
            if self._num_documents == 1:
                raise Failure(DATA, f"{files[0]} is one document, and a part of it cannot be held out: part documents by blank lines, or "
                                    "give --valid-from FILE or --valid 0")
            self._num_valid = min(math.ceil(share * self._num_documents), self._num_documents - 1)

    def _count(self, paths):
        num_documents = sum(ends for _, ends in self._of(paths))
        if num_documents == 0:
            raise Failure(DATA, f"there is no text in {', '.join(paths)}")
        return num_documents

    def pieces(self):
        """(TRAIN or VALID, text, whether it ends its document)"""
        document = 0
        for text, ends in self._of(self._files):
            yield VALID if held_out(document, self._num_documents, self._num_valid) else TRAIN, text, ends
            document += ends
        for text, ends in self._of(self._valid_files):
            yield VALID, text, ends
