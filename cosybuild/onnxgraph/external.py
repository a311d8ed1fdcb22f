"""External data: tensors of an ONNX file whose values are stored in other files, the data files.

The tensors are found without importing onnx and without reading weights, so that planning can list the data files. They
are checked before onnx or a runtime opens the data files, because a file name could point anywhere, and an offset could
be beyond the end of the file. The field numbers in this module are those of onnx.proto.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from cosybuild.errors import ModelError
from cosybuild.filename import is_plain_name
from cosybuild.onnxgraph.wire import fields, map_file, text, varints

# For each kind of message: field number -> kind of message in the field, for all fields that can contain tensors.
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_DIMS, _DATA_TYPE, _NAME, _EXTERNAL_DATA, _DATA_LOCATION = 1, 2, 8, 13, 14
_DEEPEST = 100

# TensorProto.DataType -> number of bits of an element; strings are left out, because they have no fixed size.
_BITS = {
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20, 24), 8),
    **dict.fromkeys((4, 5, 10, 16), 16),
    **dict.fromkeys((1, 6, 12), 32),
    **dict.fromkeys((7, 11, 13, 14), 64),
    15: 128,
    **dict.fromkeys((27, 28), 6),
    **dict.fromkeys((21, 22, 23), 4),
    **dict.fromkeys((25, 26), 2),
}
_STRING = 8
_SHOWN = 100  # the largest number of characters of a name from the file in a message
_LARGEST = 2**63
_MOST_AXES = 64
"""The largest permitted number of axes. ONNX Runtime and numpy support at most 64.

The limit also protects `_range_fault`, which would take hours to multiply millions of sizes.
"""


@dataclass(frozen=True)
class ExternalTensor:
    """A tensor whose values are stored in another file.

    Attributes:
        name: the tensor's name; empty if it has none.
        shape: the size of each axis.
        dtype: the number of the element type in TensorProto.DataType.
        entries: the properties of the external data, as stated in the file: `location`, `offset`, `length` and others.
        repeated: True if a property is stated twice, which different readers interpret differently.
    """

    name: str
    shape: tuple[int, ...]
    dtype: int
    entries: Mapping[str, str]
    repeated: bool

    @property
    def location(self) -> str:
        """The name of the data file, relative to the directory of the ONNX file; empty if it is not stated."""
        return self.entries.get("location", "")


def external_tensors(path: Path) -> tuple[ExternalTensor, ...]:
    """Return the tensors with external data, including those in nodes, subgraphs, functions and sparse tensors.

    Raises:
        ValueError: the file is not an ONNX model, or it is truncated.
        OSError: the file cannot be read.
    """
    with map_file(path) as data:
        return tuple(_tensors(data, "model", 0, len(data), 0))


def external_locations(path: Path) -> set[str]:
    """Return the names of the data files of an ONNX file; empty if all values are in the file itself.

    Raises:
        ValueError: the file is not an ONNX model, or it is truncated.
        OSError: the file cannot be read.
    """
    return {tensor.location for tensor in external_tensors(path)}


def unsafe_data(path: Path) -> str | None:
    """Return the reason why a runtime must not open an ONNX file; None if it may.

    The reason is the predicate of a sentence that begins with the file's name, e.g. `cannot be read: ...`.
    """
    try:
        return external_fault(path)
    except (ValueError, OSError) as error:
        return f"cannot be read: {error}"


def external_fault(path: Path, listed: Collection[str] | None = None) -> str | None:
    """Return the reason why the external data of an ONNX file must not be read; None if it may be read.

    The reason is the predicate of a sentence that begins with the file's name.

    Args:
        path: the ONNX file.
        listed: the names of the data files that are allowed; None allows every file in the directory of the ONNX file.

    Raises:
        ValueError: the file is not an ONNX model, or it is truncated.
        OSError: the file cannot be read.
    """
    sizes: dict[str, int | None] = {}
    for tensor in external_tensors(path):
        place = tensor.location
        if place not in sizes:
            sizes[place] = _size_beside(path, place)
        size = sizes[place]
        if size is None:
            return (
                f"keeps weights in {_shown(place)}; expected is a file in the directory of the graph itself, which is "
                "neither a link nor missing"
            )
        if listed is not None and place not in listed:
            return f"keeps weights in {_shown(place)}, which is not among its files"
        fault = _range_fault(tensor, size)
        if fault is not None:
            return f"{fault}, in {_shown(place)}"
    return None


def check_external_data(path: Path, listed: Collection[str] | None = None) -> tuple[str, ...]:
    """Check that the external data of an ONNX file may be read, and return the names of its data files, sorted.

    Args:
        path: the ONNX file.
        listed: see `external_fault`.

    Raises:
        ModelError: the external data must not be read (the message states the first fault), or the file is not an ONNX
            model or cannot be read.
    """
    try:
        fault = external_fault(path, listed)
        names = tuple(sorted(external_locations(path)))
    except ValueError as error:
        raise ModelError(
            f"{path} is not a complete ONNX file: {error}.",
            hint="Next: download it again, or compare its size with the original's.",
        ) from error
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror or error}.", hint="Next: check the path and its mode"
        ) from error
    if fault is not None:
        raise ModelError(
            f"{path} {fault}.",
            hint="Next: write it again with onnx.save(model, path, save_as_external_data=True, location=NAME), or copy "
            "the graph and all its data files into one directory again",
        )
    return names


def _size_beside(graph: Path, name: str) -> int | None:
    """Return the size of a data file in bytes; None if it is not a regular file in the graph's directory.

    The graph itself is not accepted as its data file. A symbolic link is accepted only in the cache of a hub's client,
    where every file is a link to a blob of the same repository.
    """
    if not is_plain_name(name) or name == graph.name:
        return None
    path = graph.parent / name
    try:
        if path.is_symlink():
            path = path.resolve(strict=True)
            if not _is_hub_content(graph, path):
                return None
        stat = path.lstat()
    except (OSError, RuntimeError):  # before Python 3.13, a circle of links raises a RuntimeError
        return None
    return stat.st_size if S_ISREG(stat.st_mode) else None


def _is_hub_content(graph: Path, path: Path) -> bool:
    """Return True if `path` and `graph` belong to the same repository in the cache of huggingface_hub.

    In this cache, REPOSITORY/snapshots/REVISION/... contains links to REPOSITORY/blobs/DIGEST.

    Args:
        graph: the ONNX file in the cache.
        path: a file, with all links resolved.
    """
    snapshots = next((place for place in graph.absolute().parents if place.name == "snapshots"), None)
    return snapshots is not None and path.parent == snapshots.parent.resolve() / "blobs"


def _range_fault(tensor: ExternalTensor, size: int) -> str | None:
    """Return the fault of a tensor's byte range in a data file, or None.

    The fault is the predicate of a sentence that begins with the name of the ONNX file.

    Args:
        tensor: the tensor.
        size: the size of the data file in bytes.
    """
    which = f"the tensor {_shown(tensor.name)}"
    if tensor.repeated:
        return f"states a property of the location of {which} twice"
    numbers = {}
    for key in ("offset", "length"):
        stated = tensor.entries.get(key)
        if stated is not None and not (stated.isascii() and stated.isdigit() and len(stated) < 20):
            return f"states the {key} {_shown(stated)} for {which}, where a number of bytes is expected"
        numbers[key] = None if stated is None else int(stated)
    offset = numbers["offset"] or 0
    length = size - offset if numbers["length"] is None else numbers["length"]
    if offset + length > size or length < 0:
        return f"has {which} at bytes {offset} to {offset + max(length, 0)} of a file that ends at byte {size}"
    if len(tensor.shape) > _MOST_AXES:
        return f"has {which} of {len(tensor.shape)} axes, where at most {_MOST_AXES} are expected"
    bits = _BITS.get(tensor.dtype)
    if bits is None or any(dim >= _LARGEST for dim in tensor.shape):
        kind = "text" if tensor.dtype == _STRING else f"type number {tensor.dtype} and shape {list(tensor.shape)}"
        return f"has {which} of {kind}, whose size in a file is not known"
    needed = -(-math.prod(tensor.shape) * bits // 8)
    if length != needed:
        return f"states {length} bytes for {which}; its shape {list(tensor.shape)} and its type need {needed}"
    return None


def _tensors(data: mmap.mmap, kind: str, begin: int, end: int, depth: int) -> Iterator[ExternalTensor]:
    if depth > _DEEPEST:
        raise ValueError(f"its graphs are nested more than {_DEEPEST} deep")
    inside = _MESSAGES[kind]
    for number, _, b, e in fields(data, begin, end):
        message = inside.get(number)
        if message == "tensor":
            tensor = _tensor(data, b, e)
            if tensor is not None:
                yield tensor
        elif message is not None:
            yield from _tensors(data, message, b, e, depth + 1)


def _tensor(data: mmap.mmap, begin: int, end: int) -> ExternalTensor | None:
    """Return the tensor in the bytes from `begin` to `end`; None if its values are stored in the message itself."""
    name, dtype, external = "", 0, False
    shape: list[int] = []
    pairs: list[tuple[str, str]] = []
    for number, value, b, e in fields(data, begin, end):
        if number == _DIMS:
            shape += varints(data, b, e)
        elif number == _DATA_TYPE:
            dtype = value
        elif number == _NAME:
            name = text(data, b, e)
        elif number == _EXTERNAL_DATA:
            entry = {n: text(data, x, y) for n, _, x, y in fields(data, b, e) if n in (1, 2)}
            pairs.append((entry.get(1, ""), entry.get(2, "")))
        elif number == _DATA_LOCATION:
            external = value != 0
    if not pairs and not external:
        return None
    entries = dict(pairs)
    return ExternalTensor(name, tuple(shape), dtype, entries, len(entries) != len(pairs))


def _shown(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…")
