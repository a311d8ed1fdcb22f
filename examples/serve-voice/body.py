"""Body of a request as lines of JSON, as they arrive; every fault is a ServingError."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from cosybuild.errors import ServingError

LARGEST = 1 << 24
"""Largest body in bytes."""


def lines(file: BinaryIO, headers: Mapping[str, str]) -> Iterator[bytes]:
    """Yield the non-empty lines of a body, each as soon as its end has arrived."""
    begun: list[bytes] = []
    for piece in _pieces(file, headers):
        first, *further = piece.split(b"\n")
        begun.append(first)
        for start in further:
            yield from filter(bytes.strip, [b"".join(begun)])
            begun = [start]
    yield from filter(bytes.strip, [b"".join(begun)])


def _pieces(file: BinaryIO, headers: Mapping[str, str]) -> Iterator[bytes]:
    if headers.get("Transfer-Encoding", "").lower() != "chunked":
        yield _read(file, _size(headers.get("Content-Length", ""), 10, LARGEST))
        return
    left = LARGEST
    while size := _size(file.readline(100).split(b";")[0].decode("latin-1"), 16, left):
        left -= size
        yield _read(file, size)
        file.readline(100)
    while file.readline(1000).strip():
        pass


def _size(text: str, base: int, largest: int) -> int:
    try:
        size = int(text, base)
    except ValueError as error:
        raise ServingError(f"{text!r} is not a length; a body with Content-Length or in chunks is expected.") from error
    if not 0 <= size <= largest:
        raise ServingError(f"the body has more than {LARGEST} bytes, or a negative length.")
    return size


def _read(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise ConnectionError("the body ended early")
    return data


def parsed(line: bytes) -> Any:
    """Return the JSON value of a line."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ServingError(f"{line[:40]!r} is not JSON: {error}.") from error


class Request(dict[str, Any]):
    """The object of a request."""

    @classmethod
    def of(cls, value: Any) -> "Request":
        if not isinstance(value, dict):
            raise ServingError(f"the request is a {type(value).__name__}; an object with tokens is expected.")
        return cls(value)

    def floats(self, name: str, missing: Any = None) -> np.ndarray:
        """Return an array of float32."""
        if name not in self and missing is None:
            raise ServingError(f"the request has no {name}.")
        try:
            return np.asarray(self.get(name, missing), np.float32)
        except (ValueError, TypeError, OverflowError) as error:
            raise ServingError(f"{name} is not an array of numbers: {error}.") from error
