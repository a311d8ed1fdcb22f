"""The calibration inputs, on which the ranges of tensors are measured: generated, or read from the user's files."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cosybuild.config.groups.precision import PrecisionSettings
from cosybuild.errors import ConfigurationError
from cosybuild.models.shape_profile import BATCH, Profile
from cosybuild.models.spec import ModelSpec
from cosybuild.numerics.inputs import Array, Draw, Time, draw_inputs, numpy_dtype

_LENGTHS = (4, 128)
"""Default sizes of the generated inputs, a short and a medium one. Longer inputs hardly widen the measured ranges but
take more time. The sizes do not depend on the profiles, so that all profiles that cover them share one lowered graph.
"""
_BATCH = 2


def calibration_sizes(
    settings: PrecisionSettings, spec: ModelSpec, profiles: Sequence[Profile]
) -> tuple[dict[str, int], ...]:
    """Return the sizes of all dynamic axes (symbol -> size), one mapping for each generated input.

    Every axis except the batch takes the sizes in `settings.calibration_sizes`. If the setting is empty, it takes 4 and
    128, or the nearest sizes that the first profile covers. The batch is 2, or the nearest size that the first profile
    covers.
    """
    profile = profiles[0] if profiles else {}
    lengths = settings.calibration_sizes or _LENGTHS
    if set(spec.symbols) <= {BATCH}:
        lengths = lengths[:1]
    found: list[dict[str, int]] = []
    for length in lengths:
        sizes = {s: _BATCH if s == BATCH else length for s in spec.symbols}
        for symbol, within in profile.items():
            if symbol == BATCH or not settings.calibration_sizes:
                sizes[symbol] = within.nearest(sizes[symbol])
        if sizes not in found:
            found.append(sizes)
    return tuple(found)


def generated_samples(
    settings: PrecisionSettings, spec: ModelSpec, profiles: Sequence[Profile]
) -> Iterator[Mapping[str, Array]]:
    """Draw the generated calibration inputs, one set for each size: input name -> array.

    Three kinds alternate: padded inputs and guidance pairs, both with `t` at the end of the time axis, and plain inputs
    with `t` at its start. The phases of the time embedding are largest at the end.
    """
    kinds = ({"time": Time.end, "padded": True}, {"time": Time.end, "guidance": True}, {"time": Time.start})
    for index, sizes in enumerate(calibration_sizes(settings, spec, profiles)):
        kind: dict[str, Any] = dict(kinds[index % len(kinds)])
        yield draw_inputs(spec, Draw(sizes, settings.calibration_seed + index, **kind))


def calibration_files(path: str) -> tuple[Path, ...]:
    """Return the `.npz` file at `path`; if `path` is a directory, all `.npz` files in it, sorted by name.

    Raises:
        ConfigurationError: there is no such file.
    """
    place = Path(path)
    files = tuple(sorted(place.glob("*.npz"))) if place.is_dir() else (place,) if place.is_file() else ()
    if not files:
        raise ConfigurationError(
            f"precision.calibration={path} is neither an .npz file nor a directory with .npz files.",
            hint="Next: save one array for each input with numpy.savez, or remove precision.calibration.",
        )
    return files


def file_samples(files: Sequence[Path], spec: ModelSpec) -> Iterator[Mapping[str, Array]]:
    """Yield the arrays of each calibration file by name, converted to the inputs' types.

    Raises:
        ConfigurationError: a file cannot be read, lacks an input, holds an array that is no input, or holds a shape
            that the input cannot have.
    """
    for path in files:
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ConfigurationError(
                f"The calibration file {path} cannot be read as .npz: {error}",
                hint="Next: write it with numpy.savez, with one array for each input.",
            ) from error
        yield _checked(path, arrays, spec)


def _checked(path: Path, arrays: Mapping[str, Array], spec: ModelSpec) -> dict[str, Array]:
    names = [tensor.name for tensor in spec.inputs]
    if set(arrays) != set(names):
        raise ConfigurationError(
            f"The calibration file {path} holds {', '.join(sorted(arrays)) or 'nothing'}; the model takes "
            f"{', '.join(names)}.",
            hint="Next: save exactly one array for each input, with the name of the input.",
        )
    sizes: dict[str, int] = {}
    for tensor in spec.inputs:
        shape = arrays[tensor.name].shape
        fits = len(shape) == len(tensor.shape) and all(
            actual == (sizes.setdefault(axis, actual) if isinstance(axis, str) else axis)
            for actual, axis in zip(shape, tensor.shape, strict=True)
        )
        if not fits:
            known = f" with {sizes}" if sizes else ""
            raise ConfigurationError(
                f"{tensor.name} in the calibration file {path} has shape {shape}; expected {tensor.shape}{known}.",
                hint="Next: give every input the shape that the model expects, and each dynamic axis one size.",
            )
    return {t.name: np.ascontiguousarray(arrays[t.name], numpy_dtype(t.dtype)) for t in spec.inputs}
