"""Batches of real inputs in .npz files of the user: their digests and sizes, read without importing numpy."""

from __future__ import annotations

import ast
import lzma
import math
import statistics
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from cosybuild.config.groups.trt_profile import ProfileSettings, RangeSettings
from cosybuild.digest import digest_of
from cosybuild.errors import ConfigurationError
from cosybuild.models.dimension import size_of, symbols_of, terms_of
from cosybuild.models.shape_profile import Profile, admits
from cosybuild.models.spec import ModelSpec

Shape = tuple[int, ...]

UNREADABLE = (
    *(OSError, ValueError, TypeError, LookupError, SyntaxError, EOFError, MemoryError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
"""The exceptions with which zipfile, ast and numpy refuse an archive or an array. RuntimeError: a password, a
compression without a module, or a header that is nested too deeply."""

_MAGIC = b"\x93NUMPY"
_FIELDS = {"descr", "fortran_order", "shape"}
_ARCHIVE = (b"PK\x03\x04", b"PK\x05\x06")
_SAVE = "Next: save one array for each input with numpy.savez, under the name of the input."


@dataclass(frozen=True)
class GivenBatch:
    """One set of inputs for the model, in an .npz file.

    Attributes:
        name: the file's name, for reports.
        path: an .npz file with one array for each input.
        digest: the sha256 of the file.
        sizes: the size of each dynamic axis in this batch.
    """

    name: str
    path: Path
    digest: str
    sizes: Mapping[str, int]


def given_files(text: str) -> tuple[Path, ...]:
    """Return the .npz files that the setting `verify.inputs` names, sorted.

    Args:
        text: the path of an .npz file, or of a directory with .npz files.

    Raises:
        ConfigurationError: there is no such file.
    """
    place = Path(text).expanduser()
    files = tuple(sorted(place.glob("*.npz"))) if place.is_dir() else (place,) if place.is_file() else ()
    if not files:
        raise ConfigurationError(
            f"verify.inputs={text} is neither an .npz file nor a directory with .npz files.",
            hint=f"{_SAVE} Or name code that yields batches: verify.inputs={{_target_: package.function}}.",
        )
    return files


def given_batches(files: Sequence[Path], spec: ModelSpec, *, yielded: bool = False) -> tuple[GivenBatch, ...]:
    """Return one batch for each file.

    Args:
        files: the .npz files.
        spec: the inputs of the model.
        yielded: True if the user's code generated the batches. Messages then leave out the temporary directory.

    Raises:
        ConfigurationError: a file cannot be read, its arrays are not exactly the inputs of the model, or an array has a
            shape that its input cannot have.
    """
    return tuple(_batch(path, path.stem if yielded else str(path), spec) for path in files)


def _batch(path: Path, shown: str, spec: ModelSpec) -> GivenBatch:
    try:
        shapes, digest = _shapes(path), digest_of(path)
    except UNREADABLE as error:
        said = str(error).rstrip(".") or type(error).__name__
        raise ConfigurationError(f"{shown} in verify.inputs cannot be read as .npz: {said}.", hint=_SAVE) from error
    names = [tensor.name for tensor in spec.inputs]
    if set(shapes) != set(names):
        raise ConfigurationError(
            f"{shown} in verify.inputs has the arrays {', '.join(sorted(shapes)) or 'none'}; the model takes "
            f"{', '.join(names)}.",
            hint=_SAVE,
        )
    return GivenBatch(path.name, path, digest, _sizes(shown, shapes, spec))


def _sizes(shown: str, shapes: Mapping[str, Shape], spec: ModelSpec) -> dict[str, int]:
    """Return the size of each dynamic axis, derived from the shapes of the arrays.

    Raises:
        ConfigurationError: an array has a shape that its input cannot have.
    """
    found: dict[str, int] = {}
    for tensor in spec.inputs:
        if len(shapes[tensor.name]) == len(tensor.shape):
            for size, dim in zip(shapes[tensor.name], tensor.shape, strict=True):
                if isinstance(dim, str) and symbols_of(dim) == (dim,):
                    found.setdefault(dim, size)
    for symbol in spec.symbols:  # axes that occur in sums only, such as `past + 1`
        if symbol not in found:
            found[symbol] = _solved(symbol, shapes, spec, found)
    sizes = ", ".join(f"{axis} {size}" for axis, size in found.items())
    for tensor in spec.inputs:
        shape = shapes[tensor.name]
        expected = tuple(size_of(dim, found) for dim in tensor.shape)
        if shape != expected:
            raise ConfigurationError(
                f"{tensor.name} in {shown} (verify.inputs) has the shape {shape}; the model takes "
                f"({', '.join(map(str, tensor.shape))}){f' with {sizes}' if found else ''}.",
                hint="Next: give every input the shape that the model takes; or, if different axes have one name, name "
                f"them: model.inputs=[{{name: {tensor.name}, shape: [...]}}].",
            )
    return {symbol: found[symbol] for symbol in spec.symbols}


def _solved(symbol: str, shapes: Mapping[str, Shape], spec: ModelSpec, known: Mapping[str, int]) -> int:
    """Return the size of an axis that occurs only in sums such as `past + 1`; 0 if no sum determines it."""
    for tensor in spec.inputs:
        for size, dim in zip(shapes[tensor.name], tensor.shape, strict=False):
            terms = terms_of(dim) if isinstance(dim, str) else None
            others = {name for name in terms or {} if name and name != symbol}
            if terms and symbol in terms and others <= set(known):
                rest = size_of(str(dim), {**known, symbol: 0})
                return (size - rest) // terms[symbol]
    return 0


def ranges_of(batches: Sequence[GivenBatch], spec: ModelSpec) -> dict[str, RangeSettings]:
    """Return the range of each axis: the smallest, the median and the largest size in the batches.

    The step of a range, `multiple_of`, is the greatest common divisor of the sizes.
    """
    found = {}
    for symbol in spec.symbols:
        sizes = sorted(batch.sizes[symbol] for batch in batches)
        step = max(1, math.gcd(*sizes))
        found[symbol] = RangeSettings(sizes[0], statistics.median_low(sizes), sizes[-1], step)
    return found


def default_profile(settings: ProfileSettings, batches: Sequence[GivenBatch], spec: ModelSpec) -> ProfileSettings:
    """Return the profile that is used if the user gives real inputs and no profile: it covers all batches."""
    return ProfileSettings(settings.name, (ranges_of(batches, spec),))


def check_inside(batches: Sequence[GivenBatch], profiles: Sequence[Profile], spec: ModelSpec) -> None:
    """Check that every batch has sizes that one of the profiles covers.

    Raises:
        ConfigurationError: no profile covers a batch. The message proposes a profile that covers all batches.
    """
    for batch in batches:
        if not admits(profiles, batch.sizes):
            sizes = ", ".join(f"{axis} {size}" for axis, size in batch.sizes.items())
            wide = ", ".join(
                f"{axis}: {{min: {one.min}, opt: {one.opt}, max: {one.max}}}"
                for axis, one in ranges_of(batches, spec).items()
            )
            raise ConfigurationError(
                f"verify.inputs has the batch {batch.name} with {sizes}, which no trt_profile holds.",
                hint=f"Next: trt_profile.profiles=[{{{wide}}}] holds all its batches; or leave the batch out.",
            )


def _shapes(path: Path) -> dict[str, Shape]:
    """Return the shape of each array of an .npz file by its name. Only the headers are read."""
    if not S_ISREG(path.stat().st_mode):
        raise ValueError("it is not a regular file")
    found: dict[str, Shape] = {}
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        file.seek(0)
        if file.read(4) not in _ARCHIVE:
            raise ValueError("it does not begin as a zip archive")  # numpy would read something else
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            if name in found:
                raise ValueError(f"it has two arrays {name!a:.100}")
            found[name] = _shape(archive, entry)
    return found


def _shape(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Shape:
    with archive.open(entry) as file:
        start = file.read(8)
        if start[:6] != _MAGIC or start[6] not in (1, 2, 3):
            raise ValueError(f"{entry.filename!a:.100} is not an array of numpy")
        length = int.from_bytes(file.read(2 if start[6] == 1 else 4), "little")
        text = file.read(length) if length <= 1 << 16 else b""
        if len(text) != length:
            raise ValueError(f"{entry.filename!a:.100} has a header of {length} bytes")
        header = ast.literal_eval(text.decode("utf-8" if start[6] == 3 else "latin-1"))
    shape = header.get("shape") if isinstance(header, dict) and set(header) == _FIELDS else None
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"{entry.filename!a:.100} has no valid header")
    return shape
