"""An audit hook that records which files Python code opens and which directories it lists."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

_LISTS = ("os.listdir", "os.scandir")
_HIDDEN = {
    "subprocess.Popen": "starts a process",
    "os.exec": "starts a process",
    "os.posix_spawn": "starts a process",
    "socket.connect": "opens a connection",
}
"""Audit event -> a phrase for an action whose effects no hook of this process sees."""
_EVENTS = frozenset(["open", "import", *_LISTS, *_HIDDEN])

# The import system lists every directory of the import path; these listings are ignored, since imports are recorded.
_IMPORT_SYSTEM = "importlib"


@dataclass
class Reads:
    """The files, directories and modules that code has read.

    Attributes:
        files: absolute path of every file that was opened for reading, even if that failed. A path that
            was written before it was read is left out.
        written: absolute path of every file that was opened for writing and not read before.
        listed: absolute path of every directory that was listed.
        imports: name of every module whose import began, even if it failed.
        hidden: phrases for actions that cannot be followed, such as starting a process.
    """

    files: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    listed: set[str] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)
    hidden: set[str] = field(default_factory=set)

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Record one audit event."""
        if event == "open":
            self._opened(*arguments)
        elif event in _LISTS:
            path = _absolute(os.curdir if arguments[0] is None else arguments[0])
            if path is not None:
                self.listed.add(path)
        elif event == "import":
            self.imports.add(arguments[0])
        elif event in _HIDDEN:
            self.hidden.add(_HIDDEN[event])

    def _opened(self, name: Any, mode: Any, flags: Any) -> None:
        path = _absolute(name)
        if path is None:
            return
        writes = set(mode) & set("wax") if isinstance(mode, str) else _flags(flags) & os.O_WRONLY
        if writes:
            if path not in self.files:
                self.written.add(path)
        elif path not in self.written:
            self.files.add(path)


def _flags(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _absolute(name: Any) -> str | None:
    """Return the path as given, made absolute; None for a descriptor."""
    if isinstance(name, int):
        return None
    try:
        return os.path.join(os.getcwd(), os.fsdecode(name))  # noqa: PTH109, PTH118  # called for every file opened
    except (TypeError, OSError):
        return None


@contextmanager
def watched() -> Iterator[Reads]:
    """Record the files that Python code of this process opens until the block ends; native code is not seen."""
    reads, active = Reads(), _active()
    active.append(reads)
    try:
        yield reads
    finally:
        active.remove(reads)


@cache
def _active() -> list[Reads]:
    """Return the active records. The hook cannot be removed, so the first call installs it, once."""
    active: list[Reads] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not active or event not in _EVENTS:
            return
        if event in _LISTS and _IMPORT_SYSTEM in sys._getframe(1).f_code.co_filename:
            return
        for reads in list(active):
            reads.see(event, arguments)

    sys.addaudithook(hook)
    return active
