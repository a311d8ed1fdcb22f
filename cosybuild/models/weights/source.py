"""Read the tensors of a weights file one by one. No code in the file is executed."""

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
from cosybuild.models.weights.harmless_objects import skipped, stand_in
from cosybuild.models.weights.shards import INDEX_SUFFIX, read_index
from cosybuild.printable import one_line

AGAIN = "Next: download it again, or compare its size with the original's."

_DEEPEST = 4
"""The largest number of mappings around a state dict; `callbacks.EMA.ema.model` is an example of four."""

_MOST_MAPPINGS = 100_000

_MOST_STAND_INS = 64

_UNPACKED, _RATIO = 16 * 2**20, 20
"""The limit for the unpacked size of a compressed file: 16 MiB, or 20 times its own size if that is larger."""


@dataclass(frozen=True)
class Source:
    """The state dicts of an open weights file. A tensor is read only when `tensor` is called.

    Attributes:
        states: the names of the tensors of each state dict, by the path of the state dict. A path joins the keys that
            lead to the state dict by dots. It is empty for a state dict that is the whole content of the file.
        shape: (path, name of a tensor) -> shape.
        tensor: (path, name of a tensor) -> tensor.
        skipped: the classes of objects that were not read, as texts for the user.
    """

    states: Mapping[str, list[str]]
    shape: Callable[[str, str], tuple[int, ...]]
    tensor: Callable[[str, str], Tensor]
    skipped: tuple[str, ...] = ()


@contextmanager
def open_weights(path: Path) -> Iterator[Source]:
    """Open a weights file for reading; for an index (`*.index.json`), open its shards.

    Except for an index, the format is recognised by the content, not by the suffix.

    Args:
        path: a safetensors file, a file of `torch.save`, or an index of sharded weights.

    Raises:
        CheckpointError: a file is empty, damaged, or contains objects other than tensors.
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
    """Return True if a file begins like a safetensors file: a length of eight bytes, then a JSON object.

    The suffix is not used, because a key depends on the content of a file and not on its name. The ninth byte is
    sufficient. In a safetensors file it is the opening brace of the JSON object. In a zip archive it is part of the
    compression method, and in a pickle of torch it is part of the magic number; both are never a brace.
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
    """Yield every mapping that contains tensors: its path (keys joined by dots) and its tensors by name.

    Values that are neither tensors nor mappings are ignored.

    Raises:
        CheckpointError: there are more than `_MOST_MAPPINGS` mappings. A small file can refer to one mapping in very
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
    """Return the content of a file of `torch.save`, and the full names of the classes that were replaced.

    torch names one unknown class in each error. The file is read again with a replacement for this class (`stand_in`),
    until torch accepts the file or a class has no replacement.
    """
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
    """Return the full name of the class or function that torch refused, or another phrase in torch's error.

    The result is None if the error is not such a refusal.
    """
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
    """Return True if the file can be mapped into memory: it is a zip archive without compressed entries.

    If torch mapped a compressed entry, it would read the compressed bytes as values.

    Raises:
        CheckpointError: the compressed entries unpack to much more than the size of the file.
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
    """Check that a tensor has a value for each element, and return it.

    Raises:
        CheckpointError: the tensor is on the meta device, sparse, or nested.
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
