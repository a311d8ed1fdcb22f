"""The sha256 of a file's content. The module imports the standard library only, because serving processes use it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from io import BufferedReader, FileIO

_BLOCK = 2**20


def digest_of(path: Path) -> str:
    """Return the sha256 of a file's content, 64 hex digits.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        return digest_of_open(file)


def digest_of_open(file: FileIO | BufferedReader) -> str:
    """Return the sha256, 64 hex digits, of an open file's content from its present position to its end.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_BLOCK))
    while count := file.readinto(buffer):
        digest.update(buffer[:count])
    return digest.hexdigest()
