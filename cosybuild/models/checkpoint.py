"""Readers of weights files: they return exactly the tensors that a module needs, checked, and execute no code."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cosybuild.errors import CheckpointError

_PARTS = {"flow.pt": "flow model", "hift.pt": "vocoder"}
"""Usual name of a weights file -> the part of a model whose weights it has."""

_WRAPPERS = ("state_dict", "model")
_SHOWN = 8
_AGAIN = "Next: download it again, or compare its size with the original's."


@dataclass(frozen=True)
class Weights:
    """A module's tensors by name, with all floating ones finite and in float32, and notes for the user."""

    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def read_weights(
    path: Path,
    wanted: Mapping[str, Tensor],
    prefixes: Sequence[str],
    *,
    spelled: Callable[[str], str] = str,
    file: str = "flow.pt",
    foreign: tuple[str, ...] = (),
) -> Weights:
    """Read the tensors that `wanted` names, and no others; a zip file is mapped, not copied.

    Args:
        path: a safetensors file, or a state dict written by `torch.save` (also under `state_dict` or `model`); the
            content decides, not the suffix.
        wanted: a module's state dict; its values may be on the meta device.
        prefixes: possible prefixes of the names in the file; the first that fits is used.
        spelled: maps a name in the file to the spelling of `wanted`; the names themselves by default.
        file: the usual name of such a file, for messages.
        foreign: names that begin so, behind the prefix, belong to other networks and are left out.

    Raises:
        CheckpointError: the file cannot be read, contains more than tensors, or does not fit the module.
    """
    if not path.is_file():
        raise CheckpointError(
            f"There is no weights file at {path}." if not path.exists() else f"{path} is not a file.",
            hint="Next: check model_dir or model.weights.",
        )
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty.", hint="Next: download it again; the last download was incomplete.")
    with _opened(path) as source:
        names = {spelled(name): name for name in source.names}
        prefix = _prefix(path, list(names), wanted, prefixes, file)
        present = {name.removeprefix(prefix): stored for name, stored in names.items() if name.startswith(prefix)}
        present = {name: stored for name, stored in present.items() if not name.startswith(foreign)}
        shapes = {name: source.shape(full) for name, full in present.items() if name in wanted}
        _compare(path, present, shapes, wanted)
        casts = Counter[str]()
        tensors = {
            name: _float32(path, name, source.tensor(present[name]), value, casts) for name, value in wanted.items()
        }
    notes = tuple(
        f"{count} tensors of {path.name} were converted from {dtype} to float32" for dtype, count in casts.items()
    )
    return Weights(tensors, notes)


@dataclass(frozen=True)
class _Source:
    """The tensors of an open file; each is read only when it is requested."""

    names: list[str]
    shape: Callable[[str], tuple[int, ...]]
    tensor: Callable[[str], Tensor]


@contextmanager
def _opened(path: Path) -> Iterator[_Source]:
    if not _is_safetensors(path):
        state = _state_dict(path, _loaded(path))
        yield _Source(list(state), lambda name: tuple(_with_values(path, name, state[name]).shape), state.__getitem__)
        return
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield _Source(list(file.keys()), lambda name: tuple(file.get_slice(name).get_shape()), file.get_tensor)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not a complete safetensors file: {error}.", hint=_AGAIN) from error


def _is_safetensors(path: Path) -> bool:
    """Return True if a file begins as the safetensors format does: a length of eight bytes, then a JSON object.

    The content alone decides, not the suffix, because keys hold the content alone. At this place a zip archive has the
    method of compression, and a pickle of torch has a byte of its magic number; neither can be a brace.
    """
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _loaded(path: Path) -> Any:
    with path.open("rb") as file:
        magic = file.read(2)
    if magic != b"PK" and magic[:1] != b"\x80":
        raise CheckpointError(
            f"{path} is not a PyTorch file: it is neither a zip archive nor a pickle, nor is it a safetensors file.",
            hint="Next: download it again; the file may be a web page or a Git LFS pointer.",
        )
    try:
        if path.suffix == ".safetensors":  # torch chooses its reader by the suffix of a path, but not of an open file
            with path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=_can_be_mapped(path))
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        # torch's message also advises loading without the restriction; only its finding is passed on.
        # For a newer pickle protocol torch reports the number of an instruction, before it reads any name.
        refused = re.search(r"(?:(?:GLOBAL|global:?|class) |Unsupported (?=operand))([\w.]+(?: \d+)?)", str(error))
        if isinstance(error, pickle.UnpicklingError) and refused is not None:
            raise CheckpointError(
                f"{path} contains other objects than tensors ({refused[1]}), and cosybuild does not run code from a "
                "weights file.",
                hint="Next: if you trust the file, save only its state dict: torch.save(model.state_dict(), path).",
            ) from error
        reason = str(error).partition("\n")[0].partition("Weights only load failed")[0].strip() or type(error).__name__
        raise CheckpointError(
            f"{path} cannot be read as PyTorch weights; it may be incomplete: {reason}.", hint=_AGAIN
        ) from error


def _can_be_mapped(path: Path) -> bool:
    """Return True for a zip archive without compression; in others torch would read compressed bytes as values."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return all(record.compress_type == zipfile.ZIP_STORED for record in archive.infolist())


def _state_dict(path: Path, loaded: Any) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
            break
    if not isinstance(loaded, Mapping):
        raise CheckpointError(
            f"{path} contains a {type(loaded).__name__}, not a state dict (names and tensors).",
            hint="Next: save only the state dict: torch.save(model.state_dict(), path).",
        )
    # Counters and options that training stored beside the tensors are ignored.
    return {name: value for name, value in loaded.items() if isinstance(name, str) and isinstance(value, Tensor)}


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


def _prefix(path: Path, names: list[str], wanted: Mapping[str, Tensor], prefixes: Sequence[str], file: str) -> str:
    found = set(names)
    for prefix in prefixes:
        if any(prefix + name in found for name in wanted):
            return prefix
    tops = Counter(".".join(name.split(".")[:2]) for name in names)
    listing = ", ".join(f"{top}.* ({count})" for top, count in tops.most_common(_SHOWN)) or "no tensors at all"
    begin = f"no name starts with '{prefixes[0]}', and " if prefixes[0] else ""
    raise CheckpointError(
        f"{path} has no weights of this model: {begin}none is among the {len(wanted)} expected names, such as "
        f"'{next(iter(wanted), '')}'. It has {listing}.",
        hint=f"Next: give the weights of the {_PARTS.get(file, 'part')} ({file}) and the version of their model.",
    )


def _compare(
    path: Path, present: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]], wanted: Mapping[str, Tensor]
) -> None:
    misshaped = [
        f"{name}: {shapes[name]}, expected {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in shapes and shapes[name] != tensor.shape
    ]
    missing = [name for name in wanted if name not in present]
    unexpected = [name for name in present if name not in wanted]
    if not misshaped and not missing and not unexpected:
        return
    parts = [f"{path} does not fit the model."]
    for title, entries in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshaped)):
        if entries:
            more = [f"... and {len(entries) - _SHOWN} more"] if len(entries) > _SHOWN else []
            parts.append(f"{len(entries)} {title}:\n    " + "\n    ".join(entries[:_SHOWN] + more))
    adapters = any("lora" in name.lower() for name in unexpected)
    raise CheckpointError(
        "\n  ".join(parts),
        hint="Next: merge the adapter into the weights first (peft: merge_and_unload)."
        if adapters
        else "Next: compare the hyper-parameters in the model directory's yaml with those of the training.",
    )


def _float32(path: Path, name: str, tensor: Tensor, wanted: Tensor, casts: Counter[str]) -> Tensor:
    """Check that a tensor has a permitted type and finite values; return it, in float32 if it is floating."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_floating_point() != wanted.is_floating_point():
        raise CheckpointError(
            f"{path}: '{name}' is {dtype}; {str(wanted.dtype).removeprefix('torch.')} is expected.",
            hint="Next: give weights that are not quantized; cosybuild lowers the precision itself (precision=...).",
        )
    if not tensor.is_floating_point():
        return tensor
    try:
        cast = tensor.to(torch.float32)
    except (NotImplementedError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: '{name}' is {dtype}, which cannot be converted to float32.",
            hint="Next: give weights that are not quantized; cosybuild lowers the precision itself (precision=...).",
        ) from error
    faulty = int((~torch.isfinite(cast)).sum())
    if faulty:
        raise CheckpointError(
            f"{path}: {faulty} of {tensor.numel()} values in '{name}' {'is' if faulty == 1 else 'are'} NaN or "
            "infinite.",
            hint="Next: use an earlier checkpoint; the training diverged, or the file is damaged.",
        )
    if tensor.dtype is not torch.float32:
        casts[dtype] += 1
    return cast
