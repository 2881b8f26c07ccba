"""report.md, report.json and log.tar.gz: written again, each as a whole, when a stage ends, so that a kill loses none that had ended."""
import datetime
import io
import json
import os
import tarfile

LOGGED = (".log", ".txt", ".json", ".jsonl", ".yaml")
LOGGED_BYTES = 8 << 20  # the end of a longer file


def cell(text):
    return " ".join(str(text).split()).replace("|", "\\|")


def is_number(text):
    return text in ("", "n/a") or text.lstrip("+-")[:1].isdigit()


class Section:
    """What a stage found. It fails when fail() was called."""

    def __init__(self, name, title):
        self.name, self.title = name, title
        self.status = "not run"  # then: running, and passed, failed, not available, interrupted
        self.seconds = 0.0
        self.why = ""  # of not run and not available
        self.failures, self.blocks, self.data = [], [], {}

    def fail(self, text):
        self.failures.append(text)

    def unavailable(self, why):
        self.status, self.why = "not available", why

    def text(self, text):
        self.blocks.append(text + "\n")

    def table(self, header, rows, caption=None):
        """Of text, `rows` as they are when the report is written: a stage adds to them, so that none is lost where it ends early."""
        self.blocks.append((header, rows, caption))

    @staticmethod
    def rendered(block):
        """A column of numbers is aligned to the right."""
        if isinstance(block, str):
            return block
        header, rows, caption = block
        if not rows:
            return ""
        line = "|".join("---:" if i > 0 and all(is_number(row[i]) for row in rows) else "---" for i in range(len(header)))
        lines = [f"{caption}\n"] if caption else []
        lines += ["| " + " | ".join(header) + " |", f"|{line}|"]
        lines += ["| " + " | ".join(map(cell, row)) + " |" for row in rows]
        return "\n".join(lines) + "\n"

    def verdict(self):
        return f"**{self.status}**" if self.status in ("failed", "interrupted") else self.status

    def remark(self):
        """In a line: the first failure, as the others often follow from it."""
        more = f" (and {len(self.failures) - 1} more)" if len(self.failures) > 1 else ""
        return self.failures[0] + more if self.failures else self.why


class Report:
    def __init__(self, out, simulated, command):
        self.out, self.simulated, self.command = out, simulated, command
        self.begin = datetime.datetime.now(datetime.timezone.utc)
        self.machine = []  # (what, value)
        self.build = {}
        self.sections = []
        self.not_asked_for = []  # names of stages
        self.work = []  # folders whose logs are kept

    def failed(self):
        return [s.name for s in self.sections if s.status in ("failed", "interrupted")]

    def write(self):
        os.makedirs(self.out, exist_ok=True)
        self._replace("report.md", self.markdown().encode())
        self._replace("report.json", (json.dumps(self.as_json(), indent=1) + "\n").encode())
        self._replace("log.tar.gz", None)

    def markdown(self):
        gpu = dict(self.machine).get("GPU", "no GPU was found")
        lines = [f"# GPU acceptance: {gpu}, {self.begin:%Y-%m-%d %H:%M} UTC\n"]
        if self.simulated:
            lines.append("**A rehearsal on a simulated GPU at toy size. It says nothing about hardware.**\n")
        failed = self.failed()
        lines.append(f"Failed: {', '.join(failed)}.\n" if failed else "No stage failed.\n")
        lines += ["| stage | what | result | s | remark |", "|---|---|---|---:|---|"]
        for s in self.sections:
            seconds = f"{s.seconds:.1f}" if s.seconds else ""
            lines.append(f"| {s.name} | {s.title} | {s.verdict()} | {seconds} | {cell(s.remark())} |")
        lines += ["\n## Machine\n", "| | |", "|---|---|"]
        lines += [f"| {what} | {cell(value)} |" for what, value in self.machine]
        lines += [f"| bundle: {key} | {cell(value)} |" for key, value in self.build.items()]
        for s in self.sections:
            if s.blocks or s.failures:
                lines.append(f"\n## {s.name}: {s.title}\n")
                lines += [f"- failed: {text}" for text in s.failures]
                lines += ([""] if s.failures else []) + ["\n".join(filter(None, map(s.rendered, s.blocks)))]
        again = [s.name for s in self.sections if s.status == "not run"]
        if again:
            lines.append(f"\n## Not run\n\nAlone: `{self.command} --stages {','.join(again)}`")
        if self.not_asked_for:
            lines.append(f"\n## Not asked for\n\n`{self.command} --stages {','.join(self.not_asked_for)}`")
        return "\n".join(lines).rstrip() + "\n"

    def as_json(self):
        return {"date": self.begin.strftime("%Y-%m-%dT%H:%M:%SZ"), "simulated": self.simulated, "failed": self.failed(),
                "machine": dict(self.machine), "build": self.build,
                "stages": [{"name": s.name, "status": s.status, "seconds": round(s.seconds, 2), "why": s.why, "failures": s.failures,
                            **s.data} for s in self.sections]}

    def _replace(self, name, data):
        """The file under its name is whole at any time; no other is left beside it."""
        path = os.path.join(self.out, name)
        partial = path + ".partial"
        if data is None:
            with tarfile.open(partial, "w:gz", compresslevel=3) as tar:
                for folder in self.work:
                    self._add_logs(tar, folder)
        else:
            with open(partial, "wb") as file:
                file.write(data)
        os.replace(partial, path)

    @staticmethod
    def _add_logs(tar, work):
        for folder, _, files in os.walk(work):
            for name in sorted(files):
                path = os.path.join(folder, name)
                if not name.endswith(LOGGED) or not os.path.isfile(path):
                    continue
                with open(path, "rb") as file:
                    file.seek(max(0, os.path.getsize(path) - LOGGED_BYTES))
                    data = file.read(LOGGED_BYTES)
                entry = tarfile.TarInfo(os.path.relpath(path, work))
                entry.size, entry.mtime = len(data), int(os.path.getmtime(path))
                tar.addfile(entry, io.BytesIO(data))
