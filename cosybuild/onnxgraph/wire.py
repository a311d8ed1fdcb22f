"""Read protobuf messages from a mapped file field by field, without a schema and without the package protobuf."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

Field = tuple[int, int, int, int]
"""One field of a message: its number, its value if it is a varint (else 0), and the begin and end of its content.

Begin and end are offsets in bytes; the end is exclusive.
"""


@contextmanager
def map_file(path: Path) -> Iterator[mmap.mmap]:
    """Map a file into memory for reading.

    Raises:
        ValueError: the file is empty.
        OSError: the file cannot be read.
    """
    if path.stat().st_size == 0:
        raise ValueError("it is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def fields(data: mmap.mmap, begin: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message that occupies the bytes from `begin` to `end` (exclusive).

    Raises:
        ValueError: the bytes are not a message, or the message is truncated.
    """
    at = begin
    while at < end:
        tag, at = _varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        value, start = 0, at
        if kind == VARINT:
            value, at = _varint(data, at, end)
        elif kind == BYTES:
            length, start = _varint(data, at, end)
            at = start + length
        elif kind in (FIXED64, FIXED32):
            at += 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"it is not an ONNX file: unknown encoding at byte {start}")
        if number == 0 or at > end:
            raise ValueError(
                "it is not an ONNX file"
                if number == 0
                else f"it is incomplete: it refers to byte {at} and ends at byte {end}"
            )
        yield number, value, start, at


def varints(data: mmap.mmap, begin: int, end: int) -> Iterator[int]:
    """Yield the integers in one field of a repeated integer, which holds one integer or several in packed form.

    Raises:
        ValueError: an integer does not end within the field.
    """
    at = begin
    while at < end:
        value, at = _varint(data, at, end)
        yield value


def text(data: mmap.mmap, begin: int, end: int) -> str:
    """Return the bytes from `begin` to `end` as text; bytes that are not UTF-8 become U+FFFD."""
    return data[begin:end].decode("utf-8", "replace")


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise ValueError(f"it is incomplete and ends at byte {end}")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"it is not an ONNX file: no number ends at byte {at}")
