"""Artifacts: the files that stages pass to one another, identified by their content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

Identity = tuple[int, int, int, int, int]
"""The device, size in bytes, mtime in ns, ctime in ns, and inode of a file."""


@dataclass(frozen=True)
class StoredFile:
    """One file of an artifact.

    Attributes:
        name: the file's name, without a directory. The files of an artifact are always placed in one directory, because
            they may refer to each other by name: an ONNX graph names its external data.
        path: the present path of the file.
        digest: the sha256 of the content as 64 hexadecimal digits.
        size: the size in bytes.
        identity: for a source file of the user, its identity at the time when `digest` was computed; None for a file in
            the store.
    """

    name: str
    path: Path
    digest: str
    size: int
    identity: Identity | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Artifact:
    """A named input or output of a step: one file, or a main file and its companions.

    Attributes:
        name: the slot that the artifact fills, e.g. `graph`, `weights` or `engine`.
        files: the files, the main file first.
    """

    name: str
    files: tuple[StoredFile, ...]

    @property
    def path(self) -> Path:
        """The path of the main file."""
        return self.files[0].path

    @property
    def size(self) -> int:
        """The total size of all files in bytes."""
        return sum(file.size for file in self.files)

    @property
    def digest(self) -> str:
        """The sha256 of the file's content; for several files, the sha256 of the list of their names and digests."""
        if len(self.files) == 1:
            return self.files[0].digest
        lines = sorted(f"{file.name} {file.digest}" for file in self.files)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()
