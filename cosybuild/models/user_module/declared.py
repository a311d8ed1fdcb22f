"""Read and check the inputs and outputs that a user declares for `model=module` and `model=onnx`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from cosybuild.config.groups.model import ModelSettings, TensorSettings
from cosybuild.dtypes import DTYPES
from cosybuild.errors import ConfigurationError
from cosybuild.models.dimension import terms_of
from cosybuild.models.guesses import Guess, guessed_values
from cosybuild.models.spec import ModelSpec, TensorSpec

GENERATORS = (
    "normal",
    "uniform",
    "mel",
    "speech",
    "speech_frames",
    "fbank",
    "whisper",
    "mask",
    "time",
    "integer",
    "length",
    "ones",
)


def is_declared(tensors: Sequence[TensorSettings]) -> bool:
    """Return True if there is at least one tensor and every tensor has a shape, so that no ONNX file has to add it.

    Args:
        tensors: the setting `model.inputs` or `model.outputs`.
    """
    return bool(tensors) and all(tensor.shape is not None for tensor in tensors)


def declared_spec(model: ModelSettings, tables: Mapping[str, int] | None = None) -> ModelSpec:
    """Return the inputs and outputs that the settings declare.

    Args:
        model: the settings of the group `model`.
        tables: for inputs whose values index a table, the number of rows of the table by the input's name; None if
            nothing is known.

    Raises:
        ConfigurationError: a name occurs twice, a shape, dtype or generator is not valid, or a range is empty.
    """
    known = tables or {}
    inputs = tuple(_tensor("model.inputs", index, one, known) for index, one in enumerate(model.inputs))
    outputs = tuple(_tensor("model.outputs", index, one, {}) for index, one in enumerate(model.outputs))
    for where, tensors in (("model.inputs", inputs), ("model.outputs", outputs)):
        if not tensors:
            raise ConfigurationError(
                f"{where} is empty; model={model.family.value} needs declarations of its tensors, in binding order.",
                hint=f"Next: {where}=[{{name: x, shape: [1, 80, frames]}}], a name for each axis that varies.",
            )
    names = [tensor.name for tensor in (*inputs, *outputs)]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(
                f"model.inputs and model.outputs use the name '{name}' {names.count(name)} times; "
                "each tensor of a graph needs its own name.",
                hint="Next: rename one of them.",
            )
    fps = model.frames_per_second
    if fps is not None and not fps > 0:
        raise ConfigurationError(f"model.frames_per_second={fps}; a positive number is expected.")
    return ModelSpec(inputs, outputs, frames_per_second=fps)


def _tensor(where: str, index: int, tensor: TensorSettings, tables: Mapping[str, int]) -> TensorSpec:
    place = f"{where}[{index}] ('{tensor.name}')"
    if not tensor.name.isprintable() or not tensor.name or '"' in tensor.name:
        raise ConfigurationError(
            f"{place}: the name must have at least one character, and neither quotation marks nor control characters."
        )
    if not isinstance(tensor.shape, list | tuple):
        raise ConfigurationError(
            f"{place} has no shape.", hint="Next: give one entry per axis, e.g. shape: [1, 80, frames]; [] is a scalar."
        )
    dtype = tensor.dtype or "float32"
    guess = guessed_values(tensor.name, dtype, tables.get(tensor.name)) if where == "model.inputs" else Guess()
    if tensor.generator is not None and tensor.generator != guess.generator:
        guess = Guess(tensor.generator, is_index=True)
    elif tensor.high is not None:
        guess = replace(guess, is_index=True)
    low, high = guess.low if tensor.low is None else tensor.low, guess.high if tensor.high is None else tensor.high
    for known, value, what in ((DTYPES, dtype, "dtype"), (GENERATORS, guess.generator, "generator")):
        if value not in known:
            raise ConfigurationError(f"{place}: {what} is '{value}'; expected one of {', '.join(known)}.")
    if guess.generator in ("uniform", "time", "integer") and not low < high:
        raise ConfigurationError(f"{place}: low {low} is not below high {high}.")
    shape = tuple(_dim(place, dim) for dim in tensor.shape)
    return TensorSpec(tensor.name, shape, dtype, guess.generator, low, high, is_index=guess.is_index)


def _dim(place: str, dim: Any) -> int | str:
    if isinstance(dim, str) and terms_of(dim) is not None:
        return dim
    if isinstance(dim, int) and not isinstance(dim, bool) and dim > 0:
        return dim
    raise ConfigurationError(
        f"{place}: {dim!r} is not an axis; expected a positive whole number, a name for an axis that varies, or a sum "
        "of them, such as `past + 1`."
    )


def targets_in(node: Any) -> list[str]:
    """Return every `_target_` in nested mappings and lists, the outermost first."""
    if isinstance(node, Mapping):
        own = [str(node["_target_"])] if "_target_" in node else []
        return own + [name for value in node.values() for name in targets_in(value)]
    if isinstance(node, (list, tuple)):
        return [name for value in node for name in targets_in(value)]
    return []


def file_of_target(target: Any) -> Path:
    """Return the source file with the class or function that `_target_` names. Nothing is imported.

    The module is searched on the import path and in the working directory, as `python -m` does.

    Args:
        target: the setting `model.target`, a mapping with the dotted name `_target_`.

    Raises:
        ConfigurationError: `target` has no `_target_`, there is no such module, or the module is in a run directory.
    """
    name = target.get("_target_") if isinstance(target, dict) else None
    if not isinstance(name, str) or "." not in name:
        raise ConfigurationError(
            f"model.target={target!r} does not name what to construct.",
            hint="Next: model.target={_target_: package.module.Class, argument: value}.",
        )
    file = source_file(name.split(".")[:-1])
    if file is None:
        raise ConfigurationError(
            f"model.target names {name}, but the import path has no Python module for it.",
            hint="Next: install the package, or run from the directory that holds it.",
        )
    if any((above / ".hydra").is_dir() and (above / "report.json").is_file() for above in file.absolute().parents):
        raise ConfigurationError(
            f"model.target names {name}, which is in {file.parent}, the directory of a run; code must not be there.",
            hint="Next: move the file beside your other modules.",
        )
    return file


def source_file(parts: Sequence[str]) -> Path | None:
    """Return the file of the longest part of a dotted name that is a module; None if no part is a module with a file.

    Args:
        parts: the parts of the dotted name, e.g. `("package", "module", "Class")`.
    """
    path: Sequence[str] = ["", *sys.path]
    found = None
    for part in parts:
        # Search the part by its own name: with a dotted name, a package without __init__.py would need its imported
        # parent.
        spec = PathFinder.find_spec(part, path)
        if spec is None:
            break
        if spec.has_location and spec.origin is not None:
            found = Path(spec.origin)
        if spec.submodule_search_locations is None:
            break
        path = list(spec.submodule_search_locations)
    return found
