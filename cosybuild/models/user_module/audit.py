"""An audit hook that records which files Python code opens and which directories it lists."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

_LISTS = ("os.listdir", "os.scandir")
_PROCESS, _CONNECTION = "starts a process", "opens a connection"
_BY_DESCRIPTOR = "opens a file relative to an open directory"
_HIDDEN = {
    "subprocess.Popen": _PROCESS,
    "os.exec": _PROCESS,
    "os.fork": _PROCESS,
    "os.forkpty": _PROCESS,
    "os.posix_spawn": _PROCESS,
    "os.spawn": _PROCESS,
    "os.system": _PROCESS,
    "pty.spawn": _PROCESS,
    "socket.connect": _CONNECTION,
}
"""The audit events for actions whose effects a hook in this process cannot see: event -> phrase for messages."""
_DATABASE = "sqlite3.connect"
_LIBRARY = "ctypes.dlopen"
_EVENTS = frozenset(["open", "import", _DATABASE, _LIBRARY, *_LISTS, *_HIDDEN])

# The import system lists every directory of the import path. These listings are ignored; imports are recorded instead.
_IMPORT_SYSTEM = ("<frozen importlib", f"{os.path.dirname(importlib.__file__)}/")  # noqa: PTH120  # text only


@dataclass
class Reads:
    """The files, directories and modules that code has read.

    Attributes:
        files: absolute path of every file that was opened for reading, even if that failed. Files in `written` are left
            out.
        written: absolute path of every file that was created or emptied before it was read. Appending to an existing
            file keeps its content, so such a file is not included.
        listed: absolute path of every directory that was listed.
        imports: name of every module whose import began, even if it failed.
        hidden: phrases for actions that cannot be recorded, such as `starts a process`.
    """

    files: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    listed: set[str] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)
    hidden: set[str] = field(default_factory=set)

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Record one audit event of Python, given its name and its arguments."""
        if event == "open":
            self._opened(*arguments)
        elif event in _LISTS:
            path = _absolute(os.curdir if arguments[0] is None else arguments[0])
            if path is not None:
                self.listed.add(path)
        elif event == "import":
            self.imports.add(arguments[0])
        elif event == _DATABASE:
            self._opened(arguments[0], "rb", 0)
        elif event == _LIBRARY and arguments[0] is not None and os.path.exists(arguments[0]):  # noqa: PTH110  # text
            # A name without a directory does not exist as a path: the system's linker searches its own directories.
            self._opened(arguments[0], "rb", 0)
        elif event in _HIDDEN:
            self.hidden.add(_HIDDEN[event])

    def _opened(self, name: Any, mode: Any, flags: Any) -> None:
        path = _absolute(name)
        if path is None:
            return
        flags = flags if isinstance(flags, int) else 0
        if isinstance(mode, str):
            empties, appends = bool(set(mode) & set("wx")), "a" in mode
        else:
            empties, appends = bool(flags & os.O_TRUNC), flags & os.O_ACCMODE == os.O_WRONLY
            if not flags & os.O_CREAT and not os.path.isabs(name) and not os.path.lexists(path):  # noqa: PTH117
                # The event does not contain the descriptor of the directory that the name is relative to.
                self.hidden.add(_BY_DESCRIPTOR)
        if empties or (appends and not os.path.lexists(path)):
            if path not in self.files:
                self.written.add(path)
        elif not appends and path not in self.written:
            self.files.add(path)


def _absolute(name: Any) -> str | None:
    """Return a path of an audit event as an absolute path; None for a file descriptor, which has no path."""
    if isinstance(name, int):
        return None
    try:
        return os.path.join(os.getcwd(), os.fsdecode(name))  # noqa: PTH109, PTH118  # called for every file opened
    except (TypeError, OSError):
        return None


@contextmanager
def record_reads() -> Iterator[Reads]:
    """Record what the Python code of this process opens, lists and imports in the `with` block.

    Files that native code opens are not recorded.
    """
    reads, active = Reads(), _active()
    active.append(reads)
    try:
        yield reads
    finally:
        active.remove(reads)


@cache
def _active() -> list[Reads]:
    """Return the list of the `Reads` objects that record at present.

    The first call installs the audit hook. A hook cannot be removed, so it stays and does nothing if the list is empty.
    """
    active: list[Reads] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not active or event not in _EVENTS:
            return
        if event in _LISTS and sys._getframe(1).f_code.co_filename.startswith(_IMPORT_SYSTEM):
            return
        for reads in list(active):
            reads.see(event, arguments)

    sys.addaudithook(hook)
    return active
