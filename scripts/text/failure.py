"""What ends prepare_text.py: one line, and an exit code of the README's table."""

USAGE, DATA, NO_INPUT, UNAVAILABLE, IO = 64, 65, 66, 69, 74


class Failure(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code
