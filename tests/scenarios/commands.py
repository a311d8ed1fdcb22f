"""Commands as a user types them, each in a process and a directory of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.warm.processes import run_python

DATA = Path(__file__).parents[1] / "data"
QUICK = (
    "model_dir=model",
    "trt=none",
    "verify=upstream",
    "trt_profile.profiles=[{seq_len: {min: 4, opt: 8, max: 12}}]",
)
"""A build of the model directory `model` that takes a second or two: export, simplify, verify."""


@dataclass(frozen=True)
class Ran:
    """The files and output of a command.

    Attributes:
        code: its exit code.
        out, err: what it printed.
    """

    code: int
    out: str
    err: str


class Place:
    """A working directory in which commands are run.

    Attributes:
        last: the last command that the fixture has run there.
    """

    last: Ran

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def cosybuild(self, *words: str, code: int | None = 0, env: dict[str, str] | None = None) -> Ran:
        """Run `python -m cosybuild` with these words and check the exit code; None accepts any.

        The process is forked from one that has imported the heavy packages (`tests.warm`); a test of imports
        must use `run`.
        """
        command = ("-m", "cosybuild", *words)
        return _checked(command, code, *run_python(command, self.directory, _environment(env)))

    def run(self, *command: str, code: int | None = 0, env: dict[str, str] | None = None) -> Ran:
        """Run any command in the directory."""
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=_environment(env),
            capture_output=True,
            text=True,
            timeout=540,
            check=False,
        )
        return _checked(command, code, done.returncode, done.stdout, done.stderr)

    def runs(self) -> list[Path]:
        """Return the run directories."""
        return sorted(path for path in self.directory.glob("outputs/runs/*") if path.is_dir())

    def report(self) -> dict[str, Any]:
        """Return the report of the only run."""
        (run,) = self.runs()
        report: dict[str, Any] = json.loads((run / "report.json").read_text(encoding="utf-8"))
        return report

    def files(self) -> set[str]:
        """Return the relative path of every file."""
        return {str(p.relative_to(self.directory)) for p in self.directory.rglob("*") if p.is_file()}


def _environment(more: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **(more or {})}


def _checked(command: Sequence[str], code: int | None, ended: int, out: str, err: str) -> Ran:
    assert code is None or ended == code, f"{command} ended with {ended}:\n{out}\n{err}"
    assert "Traceback" not in err, err
    return Ran(ended, out, err)


class Answer:
    """The output and exit code of a command, and the directory `here` in which it ran."""

    def __init__(self, code: int, out: str, err: str, here: Path) -> None:
        self.code = code
        self.out = out
        self.err = err
        self.here = here

    def says(self, code: int, *parts: str) -> None:
        """Check the exit code, that the message has all these parts, and that the message is readable."""
        assert self.code == code, self.err
        for part in parts:
            assert part in self.err, self.err
        assert "Traceback" not in self.err
        lines = self.err.strip().splitlines()
        assert re.match(r"[a-z ]+ error: \S", lines[0]), self.err
        assert sum(len(line) > 700 for line in lines) == 0
        if len(lines) > 1:
            assert lines[-1].startswith("Next: "), self.err


def actions(report: dict[str, Any]) -> dict[str, str]:
    """Return step -> action."""
    return {step["label"]: step["action"] for step in report["steps"]}
