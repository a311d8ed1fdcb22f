"""The sha256 of a file: of its whole content, or from the present position."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from cosybuild.digest import digest_of, digest_of_open

BLOCK = 2**20


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK])
def test_the_digest_is_the_sha256_of_the_content(tmp_path: Path, size: int) -> None:
    content = bytes(index * 7 % 251 for index in range(size))
    path = tmp_path / "file"
    path.write_bytes(content)
    assert digest_of(path) == hashlib.sha256(content).hexdigest()
    with path.open("rb") as file:
        begin = file.read(100)
        assert digest_of_open(file) == hashlib.sha256(content[len(begin) :]).hexdigest()
        assert file.tell() == size
