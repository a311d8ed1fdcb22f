"""Simulation of power cuts: what may be on a disk after each file operation that a piece of code makes.

`recorded` runs code and follows the names and contents below a directory. What was not synced by `fsync` may be lost:
the content of a file (it is then empty, or what it was), and each change of a name, independently of others and of
their order. `fsync` of a file keeps its content and not its name; `fsync` of a directory keeps its names. A rename is
lost or kept as a whole, unless one of its two directories was synced alone.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Disk = tuple[tuple[str, bytes | None], ...]
"""The tree after a power cut: (path below the root, content, or None for a directory), sorted."""

_CHANGES = {"open", "os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "os.truncate"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_Effect = tuple[int, str, int | None]  # directory, name, node; None if the name is removed


@dataclass
class _Disk:
    """The names and contents of one tree: those that the process sees, and those that are certainly on the disk."""

    root: Path
    live: dict[int, dict[str, int]] = field(default_factory=lambda: {0: {}})
    kept: dict[int, dict[str, int]] = field(default_factory=lambda: {0: {}})
    contents: dict[int, bytes] = field(default_factory=dict)
    synced: dict[int, bytes] = field(default_factory=dict)
    pending: list[list[_Effect]] = field(default_factory=list)
    found: dict[Disk, int] = field(default_factory=dict)
    moments: int = 0
    nodes: dict[int, int] = field(default_factory=dict)  # the inode's number -> the node
    named: set[int] = field(default_factory=set)  # nodes that had a name at the last look
    number: int = 0

    def begin(self) -> None:
        """Take the present content as synced."""
        self.look()
        self.kept = {node: dict(names) for node, names in self.live.items()}
        self.synced = dict(self.contents)
        self.pending = []

    def look(self) -> None:
        """Find the changes since the last look. They are one operation, so they form one unit."""
        before = {node: dict(names) for node, names in self.live.items()}
        self.named = {child for names in before.values() for child in names.values()}
        seen: dict[int, int] = {}
        self._scan(self.root, 0, seen)
        self.nodes = seen
        unit: list[_Effect] = []
        for node in self.live:
            old, new = before.get(node, {}), self.live[node]
            unit += [(node, name, child) for name, child in new.items() if old.get(name) != child]
            unit += [(node, name, None) for name in old if name not in new]
        if unit:
            self.pending.append(unit)

    def _scan(self, folder: Path, node: int, seen: dict[int, int]) -> None:
        names: dict[str, int] = {}
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            system = entry.inode()
            child = seen.get(system, self.nodes.get(system))
            is_directory = entry.is_dir(follow_symlinks=False)
            # An inode's number may be used again for another file.
            if child is None or (child in self.live) != is_directory or child not in self.named:
                self.number += 1
                child = self.number
            seen[system] = child
            names[entry.name] = child
            if is_directory:
                self.live.setdefault(child, {})
                self.kept.setdefault(child, {})
                self._scan(folder / entry.name, child, seen)
            else:
                self.contents[child] = (folder / entry.name).read_bytes()
        self.live[node] = names

    def sync(self, handle: int) -> None:
        """Handle `fsync` of an open file or directory."""
        node = self.nodes.get(os.fstat(handle).st_ino)
        if os.path.samestat(os.fstat(handle), self.root.stat()):
            node = 0
        if node is None:
            return
        if node not in self.live:
            self.synced[node] = self.contents[node]
            return
        for unit in self.pending:
            for effect in [effect for effect in unit if effect[0] == node]:
                _apply(self.kept, effect)
                unit.remove(effect)
        self.pending = [unit for unit in self.pending if unit]

    def cut(self) -> None:
        """Record every state that a power cut at this moment may leave."""
        for chosen in _subsets(len(self.pending)):
            names = {node: dict(entries) for node, entries in self.kept.items()}
            for index in chosen:
                for effect in self.pending[index]:
                    _apply(names, effect)
            for contents in ({node: self.synced.get(node, b"") for node in self.contents}, self.contents):
                self.found.setdefault(tuple(sorted(_walk(names, contents, 0, ""))), self.moments)
        self.moments += 1


def _apply(names: dict[int, dict[str, int]], effect: _Effect) -> None:
    folder, name, node = effect
    entries = names.setdefault(folder, {})
    if node is None:
        entries.pop(name, None)
    else:
        entries[name] = node


def _subsets(count: int) -> Iterator[tuple[int, ...]]:
    """Yield all subsets of few units; of many, those with one unit, without one unit, and all prefixes and suffixes."""
    everything = tuple(range(count))
    if count <= 4:
        yield from (tuple(i for i in everything if bits >> i & 1) for bits in range(1 << count))
        return
    found = {everything[:index] for index in range(count + 1)} | {everything[index:] for index in range(count + 1)}
    found |= {everything[:index] + everything[index + 1 :] for index in everything} | {(index,) for index in everything}
    yield from sorted(found)


def _walk(
    names: dict[int, dict[str, int]], contents: dict[int, bytes], node: int, prefix: str
) -> Iterator[tuple[str, bytes | None]]:
    for name, child in names.get(node, {}).items():
        if child in contents:
            yield prefix + name, contents[child]
        else:
            yield prefix + name, None
            yield from _walk(names, contents, child, f"{prefix}{name}/")


_active: list[_Disk] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    # An audit hook cannot be removed, so one hook serves all calls.
    if not _active or event not in _CHANGES:
        return
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & _WRITES):
        return
    disk = _active.pop()  # the code below opens files too
    try:
        disk.look()
        disk.cut()
    finally:
        _active.append(disk)


_installed: list[bool] = []


def recorded(root: Path, body: Callable[[], object]) -> tuple[dict[Disk, int], set[Disk]]:
    """Run `body` and record its operations below `root`.

    Returns:
        Each state that a power cut may leave -> the first moment that can leave it; and the states that a power cut
        after the end of `body` may leave.
    """
    if not _installed:
        sys.addaudithook(_hook)
        _installed.append(True)
    disk = _Disk(root)
    disk.begin()
    original = os.fsync

    def fsync(handle: Any) -> None:
        number = handle if isinstance(handle, int) else handle.fileno()
        waiting = _active.pop()
        try:
            waiting.look()
            waiting.cut()
            waiting.sync(number)
        finally:
            _active.append(waiting)

    _active.append(disk)
    os.fsync = fsync
    try:
        body()
    finally:
        os.fsync = original
        _active.clear()
    disk.look()
    before = dict(disk.found)
    disk.found = {}
    disk.cut()
    return {**disk.found, **before}, set(disk.found)


def restored(disk: Disk, root: Path) -> Path:
    """Write the state after a power cut into an empty directory."""
    root.mkdir()
    for name, content in disk:
        path = root / name
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)
    return root


@contextmanager
def in_memory(otherwise: Path) -> Iterator[Path]:
    """Yield a temporary directory in memory, or `otherwise` if the system has none."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield otherwise
        return
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        yield Path(directory)
