"""Readers of weights files: they read tensors one by one, and execute no code of a file."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cosybuild.errors import CheckpointError
from cosybuild.models.weights.inert import skipped, stand_in
from cosybuild.models.weights.shards import INDEX_SUFFIX, read_index
from cosybuild.printable import one_line

AGAIN = "Next: download it again, or compare its size with the original's."

_DEEPEST = 4
"""The most mappings around a state dict; `callbacks.EMA.ema.model` is an example of four."""

_MOST_MAPPINGS = 100_000

_MOST_STAND_INS = 64

_UNPACKED, _RATIO = 16 * 2**20, 20
"""A compressed file may unpack to this number of bytes, or to this multiple of its size, whichever is larger."""


@dataclass(frozen=True)
class Source:
    """The state dicts of an open file; each tensor is read only when it is requested.

    Attributes:
        states: path of a state dict -> names of its tensors. The path consists of the keys of the mappings around the
            state dict, joined by dots; it is empty for a state dict that is the file's whole content.
        shape: (path, name) -> shape.
        tensor: (path, name) -> tensor.
        skipped: classes of objects that were not read.
    """

    states: Mapping[str, list[str]]
    shape: Callable[[str, str], tuple[int, ...]]
    tensor: Callable[[str, str], Tensor]
    skipped: tuple[str, ...] = ()


@contextmanager
def open_weights(path: Path) -> Iterator[Source]:
    """Open weights by their content, not by their suffix; an index (`*.index.json`) opens its shards.

    Raises:
        CheckpointError: a file is empty, damaged, or contains other objects than tensors.
    """
    if path.name.endswith(INDEX_SUFFIX):
        with _sharded(path) as source:
            yield source
        return
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty.", hint="Next: download it again; the last download was incomplete.")
    if not _is_safetensors(path):
        yield _of_torch(path)
        return
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield Source(
                {"": list(file.keys())},
                lambda _, name: tuple(file.get_slice(name).get_shape()),
                lambda _, name: file.get_tensor(name),
            )
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a complete safetensors file: {error}.", hint=AGAIN) from error


@contextmanager
def _sharded(path: Path) -> Iterator[Source]:
    index = read_index(path)
    with ExitStack() as stack:
        shards = {file: stack.enter_context(open_weights(path.parent / file)) for file in sorted(set(index.values()))}
        there = {file: set(shard.states.get("", ())) for file, shard in shards.items()}
        for name, file in index.items():
            if name not in there[file]:
                raise CheckpointError(
                    f"{path} says that '{one_line(name)}' is in {file}, which does not have it.",
                    hint="Next: download both again.",
                )
        yield Source(
            {"": list(index)},
            lambda _, name: shards[index[name]].shape("", name),
            lambda _, name: shards[index[name]].tensor("", name),
            tuple(sorted({name for shard in shards.values() for name in shard.skipped})),
        )


def _is_safetensors(path: Path) -> bool:
    """Return True if a file begins as the safetensors format does: a length of eight bytes, then a JSON object.

    The suffix is not read, because a cache key depends on the content of a file and not on its name. The ninth byte
    tells the formats apart: it is the opening brace of the JSON object here, the compression method in a zip archive,
    and part of the magic number in a pickle of torch; the last two are never a brace.
    """
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _of_torch(path: Path) -> Source:
    loaded, classes = _loaded(path)
    if not isinstance(loaded, dict):
        raise CheckpointError(
            f"{path} contains a {type(loaded).__name__}, not a state dict (names and tensors).",
            hint="Next: save only the state dict: torch.save(model.state_dict(), path).",
        )
    states = dict(_state_dicts(path, loaded))
    return Source(
        {place: list(state) for place, state in states.items()},
        lambda place, name: tuple(_with_values(path, name, states[place][name]).shape),
        lambda place, name: states[place][name],
        tuple(skipped(classes)),
    )


def _state_dicts(path: Path, content: dict[Any, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield keys (joined by dots) and tensors of every mapping with tensors; counters and options are ignored.

    Raises:
        CheckpointError: there are more mappings than any trainer writes. A small file can contain one mapping in very
            many places.
    """
    waiting: list[tuple[tuple[str, ...], dict[Any, Any]]] = [((), content)]
    seen = 0
    while waiting:
        place, value = waiting.pop()
        # Not `value.items`: the state of an OrderedDict in a file can replace its methods.
        named = [(name, item) for name, item in dict.items(value) if isinstance(name, str)]
        own = {name: item for name, item in named if isinstance(item, Tensor)}
        if own:
            yield ".".join(place), own
        if len(place) < _DEEPEST:
            inner = [((*place, name), item) for name, item in named if isinstance(item, dict)]
            waiting.extend(reversed(inner))
            seen += len(inner)
        if seen > _MOST_MAPPINGS:
            raise CheckpointError(
                f"{path} has more than {_MOST_MAPPINGS:,} nested mappings.",
                hint="Next: save only the state dict: torch.save(model.state_dict(), path).",
            )


def _loaded(path: Path) -> tuple[Any, list[str]]:
    """Return the content of torch's file and the classes that had inert stand-ins."""
    with path.open("rb") as file:
        magic = file.read(2)
    if magic != b"PK" and magic[:1] != b"\x80":
        raise CheckpointError(
            f"{path} is not a PyTorch file: it is neither a zip archive nor a pickle, nor is it a safetensors file.",
            hint="Next: download it again; the file may be a web page or a Git LFS pointer.",
        )
    stand_ins: dict[str, type] = {}
    while True:
        try:
            with torch.serialization.safe_globals([(made, name) for name, made in stand_ins.items()]):
                return _torch_load(path), list(stand_ins)
        except (MemoryError, CheckpointError):
            raise
        except Exception as error:  # a damaged pickle may raise anything
            refused = _refused_class(error)
            made = None if refused is None or refused in stand_ins else stand_in(refused)
            if refused is None or made is None or len(stand_ins) == _MOST_STAND_INS:
                raise _unreadable(path, error, refused) from error
            stand_ins[refused] = made


def _torch_load(path: Path) -> Any:
    is_mapped = _can_be_mapped(path)
    if path.suffix == ".safetensors":  # torch chooses its reader by the suffix of a path, but not of an open file
        with path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=is_mapped)


def _refused_class(error: Exception) -> str | None:
    """Return the full name of the class or function that torch refused, or another phrase for what it refused."""
    if not isinstance(error, pickle.UnpicklingError):
        return None
    # For a newer pickle protocol torch reports the number of an instruction, before it reads any name.
    found = re.search(r"(?:GLOBAL|class) '?([\w.]+)|Unsupported (operand \d+)", str(error))
    if found is None:
        return None
    name = next(group for group in found.groups() if group)
    return name if "." in name or " " in name else f"builtins.{name}"


def _unreadable(path: Path, error: Exception, refused: str | None) -> CheckpointError:
    # torch's message also advises loading without the restriction; only its finding is passed on.
    if refused is not None:
        return CheckpointError(
            f"{path} contains other objects than tensors ({refused}), and cosybuild does not run code from a "
            "weights file.",
            hint="Next: if you trust the file, save only its state dict: torch.save(model.state_dict(), path).",
        )
    reason = str(error).partition("\n")[0].partition("Weights only load failed")[0].strip() or type(error).__name__
    return CheckpointError(f"{path} cannot be read as PyTorch weights; it may be incomplete: {reason}.", hint=AGAIN)


def _can_be_mapped(path: Path) -> bool:
    """Return True for a zip archive without compression; torch would read compressed bytes as values.

    Raises:
        CheckpointError: its compressed records unpack to far more than its own size.
    """
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        sizes = [each.file_size for each in archive.infolist() if each.compress_type != zipfile.ZIP_STORED]
    size, most = sum(sizes), max(_UNPACKED, _RATIO * path.stat().st_size)
    if size > most:
        raise CheckpointError(
            f"{path} is compressed and unpacks to {size:,} bytes, where at most {most:,} are expected of a file of its "
            "size, because weights hardly compress.",
            hint="Next: get the file from another source, or save it with torch.save, which does not compress.",
        )
    return not sizes


def _with_values(path: Path, name: str, tensor: Tensor) -> Tensor:
    """Refuse a tensor that does not have a value for each element.

    Raises:
        CheckpointError: it is on the meta device, sparse, or nested.
    """
    if tensor.is_meta:
        raise CheckpointError(
            f"{path}: '{name}' has a shape but no values, because it was saved from the meta device.",
            hint="Next: load the weights into the model before you save it, or give the original weights file.",
        )
    if tensor.is_nested or tensor.layout is not torch.strided:
        kind = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
        raise CheckpointError(
            f"{path}: '{name}' is a {kind} tensor; a dense tensor is expected.",
            hint="Next: save it as tensor.to_dense() in the state dict.",
        )
    return tensor
