"""Artifacts: the files that stages pass to one another, identified by their content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

Identity = tuple[int, int, int, int, int]
"""Device, size in bytes, mtime and ctime in ns, and inode of a file."""


@dataclass(frozen=True)
class StoredFile:
    """One file of an artifact.

    Attributes:
        name: the file's name, without a directory. Files of one artifact may refer to each other by
            it (an ONNX graph names its external data), so they are always placed in one directory.
        path: its present path.
        digest: sha256 of the content, 64 hex digits.
        size: bytes.
        identity: for a source, the file's identity at the time when `digest` was computed; None for a file of the
            store.
    """

    name: str
    path: Path
    digest: str
    size: int
    identity: Identity | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Artifact:
    """A named value of the build: one file, or a main file and its companions.

    Attributes:
        name: the slot it fills in the pipeline, e.g. `graph`, `weights`, `engine`.
        files: the main file first.
    """

    name: str
    files: tuple[StoredFile, ...]

    @property
    def path(self) -> Path:
        """The main file."""
        return self.files[0].path

    @property
    def size(self) -> int:
        """The total size of all files in bytes."""
        return sum(file.size for file in self.files)

    @property
    def digest(self) -> str:
        """The sha256 of the content, or of the list of names and digests if there are several files."""
        if len(self.files) == 1:
            return self.files[0].digest
        lines = sorted(f"{file.name} {file.digest}" for file in self.files)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()
