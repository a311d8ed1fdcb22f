"""Files of `verify.inputs` that are damaged or were made to deceive the reader."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosybuild.errors import ConfigurationError
from cosybuild.models.real_inputs import given_batches, given_files
from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.numerics.real_inputs import read_batch

SPEC = ModelSpec((TensorSpec("x", (1, 4, "n")),), (TensorSpec("y", (1, 4, "n")),))
PICKLE = b"\x80\x04cos\nsystem\n(S'touch executed'\ntR."


def npy(array: Any) -> bytes:
    memory = io.BytesIO()
    np.lib.format.write_array(memory, np.asanyarray(array), allow_pickle=False)
    return memory.getvalue()


def header(shape: str, descr: str = "<f4", more: str = "", *, version: int = 1, length: int | None = None) -> bytes:
    """Return an array with this header, and 160 bytes of values."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}{more}}}\n".encode()
    return plain(text, version, length)


def plain(text: bytes, version: int = 1, length: int | None = None) -> bytes:
    size = struct.pack("<H" if version == 1 else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + bytes(160)


def archive(*members: tuple[str, bytes]) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as file:
        for name, content in members:
            file.writestr(name, content)
    return memory.getvalue()


def with_flags(content: bytes, *, encrypted: int = 0, method: int = 0) -> bytes:
    changed, index = bytearray(content), content.index(b"PK\x01\x02")
    changed[6] |= encrypted
    changed[index + 8] |= encrypted
    changed[8] = changed[index + 10] = method
    return bytes(changed)


GOOD = npy(np.ones((1, 4, 10), np.float32))
HOSTILE = {
    "nothing": b"",
    "text": b"hello",
    "a pickle": PICKLE,
    "an array": GOOD,
    "an object array": archive(("x.npy", header("(1, 4, 10)", "|O")[:-160] + PICKLE)),
    "values are missing": archive(("x.npy", GOOD[:-20])),
    "the header is missing": archive(("x.npy", header("(1, 4, 10)", length=60000))),
    "a shape of fractions": archive(("x.npy", header("(1.0, 4.0, 10.0)"))),
    "a shape of text": archive(("x.npy", header("(1, '4', 10)"))),
    "a shape of nothing": archive(("x.npy", header("(1, None, 10)"))),
    "a nested shape": archive(("x.npy", header("((1,), 4, 10)"))),
    "a shape of truth values": archive(("x.npy", header("(True, 4, 10)"))),
    "a negative shape": archive(("x.npy", header("(1, 4, -10)"))),
    "an unknown type": archive(("x.npy", header("(1, 4, 10)", "zzz"))),
    "a field more": archive(("x.npy", header("(1, 4, 10)", more=", 'more': 1"))),
    "another version": archive(("x.npy", header("(1, 4, 10)", version=9))),
    "a nested header": archive(("x.npy", plain(b"(" * 60000))),
    "a header of signs": archive(("x.npy", plain(b"-" * 60000 + b"1"))),
    "a header of digits": archive(("x.npy", plain(b"9" * 60000))),
    "a header of 1 GB": archive(("x.npy", plain(b"{}", 2, 1 << 30))),
    "words": archive(("x.npy", npy(np.full((1, 4, 10), "abc")))),
    "complex numbers": archive(("x.npy", npy(np.ones((1, 4, 10), np.complex64)))),
    "two arrays of one name": archive(("x.npy", GOOD), ("x", npy(np.ones((1, 4, 20), np.float32)))),
    "an array outside": archive(("x.npy", GOOD), ("../../y.npy", GOOD)),
    "a password": with_flags(archive(("x.npy", GOOD)), encrypted=1),
    "an unknown compression": with_flags(archive(("x.npy", GOOD)), method=99),
    "text before the archive": b"#!/bin/sh\n" + archive(("x.npy", GOOD)),
}


@pytest.mark.attack("malformed", "a configuration error names the file; nothing of it is executed")
@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_of_inputs_is_refused(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.npz").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"in\.npz"):
        read_batch(given_batches(given_files("in.npz"), SPEC)[0], SPEC)
    assert not Path("executed").exists()


@pytest.mark.attack("fill or wait", "a configuration error at once, without waiting for a writer")
def test_a_pipe_in_the_directory_of_inputs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(archive(("x.npy", GOOD)))
    os.mkfifo(tmp_path / "b.npz")
    with pytest.raises(ConfigurationError, match=r"b\.npz.*not a regular file"):
        given_batches(given_files(str(tmp_path)), SPEC)
