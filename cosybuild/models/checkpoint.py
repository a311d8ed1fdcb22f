"""Weights out of a file: exactly the tensors a module needs, checked, and nothing executed."""

from __future__ import annotations

import pickle
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cosybuild.errors import CheckpointError

ESTIMATOR_PREFIXES = ("decoder.estimator.", "flow.decoder.estimator.", "")
"""Where an estimator's tensors stand: in a whole flow model, in a whole model, alone."""

_WRAPPERS = ("state_dict", "model")
_SHOWN = 8


@dataclass(frozen=True)
class Weights:
    """A module's tensors by name, all finite, floating ones in float32, and what a person should know of them."""

    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def read_weights(path: Path, wanted: Mapping[str, torch.Size], prefixes: Iterable[str] = ESTIMATOR_PREFIXES) -> Weights:
    """The tensors that `wanted` names. Only they are read; a zip file is mapped, not copied.

    Args:
        path: `.safetensors`, or what `torch.save` wrote of a state dict (also under `state_dict` or `model`).
        wanted: name -> shape, a module's state dict.
        prefixes: what may stand before the names in the file; the first that fits is taken.

    Raises:
        CheckpointError: it cannot be read, holds something else, or does not fit.
    """
    if not path.is_file():
        raise CheckpointError(
            f"There is no weights file at {path}." if not path.exists() else f"{path} is not a file.",
            hint="Next: look at model_dir or model.weights.",
        )
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty.", hint="Next: fetch it again; the download was cut off.")
    with _opened(path) as (names, tensor_of):
        prefix = _prefix(path, names, wanted, prefixes)
        present = {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}
        shapes = {name: tensor_of(full).shape for name, full in present.items() if name in wanted}
        _compare(path, present, shapes, wanted)
        tensors, casts = {}, Counter[str]()
        for name in wanted:
            tensors[name] = _float32(path, name, tensor_of(present[name]), casts)
    notes = tuple(f"{count} tensors of {path.name} were {dtype} and are float32 now" for dtype, count in casts.items())
    return Weights(tensors, notes)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[list[str], Callable[[str], Tensor]]]:
    """All names of tensors in the file, and how to get one."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                yield list(file.keys()), file.get_tensor
        except SafetensorError as error:
            raise CheckpointError(
                f"{path} is not a safetensors file, or only a part of one: {error}.",
                hint="Next: fetch it again, or compare its size with the original's.",
            ) from error
        return
    state = _state_dict(path, _loaded(path))
    yield list(state), state.__getitem__


def _loaded(path: Path) -> Any:
    try:
        # Only the zip format can be mapped.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        if path.open("rb").read(1) not in (b"P", b"\x80"):
            raise CheckpointError(
                f"{path} is not a PyTorch file: neither a zip archive nor a pickle.",
                hint="Next: fetch it again; a web page or a Git LFS pointer may have been saved in its place.",
            ) from error
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            f"{path} holds more than tensors, and cosybuild runs no code from a weights file: {reason}",
            hint="Next: save the state dict alone, torch.save(model.state_dict(), path), where you trust the file.",
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, OSError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(
            f"{path} cannot be read as PyTorch weights; it may be cut off: {reason}",
            hint="Next: fetch it again, or compare its size with the original's.",
        ) from error


def _state_dict(path: Path, loaded: Any) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
            break
    if not isinstance(loaded, Mapping):
        raise CheckpointError(
            f"{path} holds one {type(loaded).__name__}, not a state dict (names and tensors).",
            hint="Next: save the state dict alone, torch.save(model.state_dict(), path).",
        )
    # Counters and options that training left beside the tensors are not ours.
    return {name: value for name, value in loaded.items() if isinstance(name, str) and isinstance(value, Tensor)}


def _prefix(path: Path, names: list[str], wanted: Mapping[str, torch.Size], prefixes: Iterable[str]) -> str:
    found = set(names)
    for prefix in prefixes:
        if any(prefix + name in found for name in wanted):
            return prefix
    tops = Counter(".".join(name.split(".")[:2]) for name in names)
    listing = ", ".join(f"{top}.* ({count})" for top, count in tops.most_common(_SHOWN)) or "no tensors at all"
    raise CheckpointError(
        f"{path} has no weights of this model: no name begins with '{ESTIMATOR_PREFIXES[0]}', and none is one of "
        f"the {len(wanted)} expected, such as '{next(iter(wanted), '')}'. It holds {listing}.",
        hint="Next: give the flow model's weights (flow.pt), with the model version that they are of.",
    )


def _compare(
    path: Path, present: Mapping[str, str], shapes: Mapping[str, torch.Size], wanted: Mapping[str, torch.Size]
) -> None:
    misshaped = [
        f"{name}: {tuple(shapes[name])}, expected {tuple(shape)}"
        for name, shape in wanted.items()
        if name in shapes and shapes[name] != shape
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
        else "Next: compare the hyper-parameters in the model directory's yaml with the weights it was trained to.",
    )


def _float32(path: Path, name: str, tensor: Tensor, casts: Counter[str]) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    faulty = int((~torch.isfinite(tensor)).sum())
    if faulty:
        raise CheckpointError(
            f"{path} has {faulty} of {tensor.numel()} values in '{name}' that are NaN or infinite.",
            hint="Next: take an earlier checkpoint; training diverged, or the file is damaged.",
        )
    if tensor.dtype is not torch.float32:
        casts[str(tensor.dtype).removeprefix("torch.")] += 1
    return tensor.to(torch.float32)
