"""The batches of `verify.inputs`: files of the user, or files that a subprocess writes with code of the user."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cosybuild.building.stage import Emit
from cosybuild.building.subprocess import Died, call_in_subprocess
from cosybuild.errors import ConfigurationError, ModelError
from cosybuild.models.real_inputs import GivenBatch, given_batches, given_files
from cosybuild.models.spec import ModelSpec
from cosybuild.models.user_module.declared import source_file


class GivenDirectory:
    """A temporary directory with the batches that code of the user yields. It is removed with this object.

    Attributes:
        path: the directory.
    """

    def __init__(self) -> None:
        self._place = tempfile.TemporaryDirectory(prefix="cosybuild-inputs-")
        self.path = Path(self._place.name)


def read_given(inputs: Any, spec: ModelSpec) -> tuple[tuple[GivenBatch, ...], GivenDirectory | None]:
    """Return the batches of the setting `verify.inputs`, and the directory that holds them if code made them.

    Args:
        inputs: a path, or a mapping with `_target_` and the arguments of a function that yields batches.
        spec: the inputs and outputs of the model.

    Raises:
        ConfigurationError: the setting names no file and no code, or a batch does not fit the model.
        ModelError: the code fails.
    """
    if isinstance(inputs, str):
        return given_batches(given_files(inputs), spec), None
    name = inputs.get("_target_") if isinstance(inputs, Mapping) else None
    if not isinstance(name, str) or "." not in name:
        raise ConfigurationError(
            f"verify.inputs={inputs!r} names neither a file nor code.",
            hint="Next: verify.inputs=FILE.npz, a directory of them, or {_target_: package.function, argument: value}.",
        )
    if source_file(name.split(".")[:-1]) is None:
        raise ConfigurationError(
            f"verify.inputs names {name}, but the import path has no Python module for it.",
            hint="Next: install the package, or run from the directory that holds it.",
        )
    place = GivenDirectory()
    try:
        call_in_subprocess(write_yielded, dict(inputs), [tensor.name for tensor in spec.inputs], place.path)
    except (Died, RuntimeError) as error:
        raise ModelError(
            f"verify.inputs could not be read: {name}: {error}",
            hint="Next: call it in Python with the same arguments, and iterate over the result.",
        ) from error
    return given_batches(given_files(str(place.path)), spec, yielded=True), place


def write_yielded(target: Mapping[str, Any], names: list[str], place: Path, emit: Emit) -> int:
    """Call the user's code, write the batches that it yields, and return their number (runs in a subprocess).

    Args:
        target: the mapping with `_target_` and arguments.
        names: the names of the model's inputs.
        place: the directory to write to.
        emit: not used; every function of a subprocess takes it.

    Raises:
        ModelError: the code fails.
    """
    from hydra.errors import HydraException
    from hydra.utils import instantiate

    from cosybuild.numerics.real_inputs import write_batches

    try:
        return write_batches(instantiate({"_convert_": "all", **target}), names, place)
    except (HydraException, TypeError, ValueError, AttributeError, LookupError, OSError) as error:
        cause = error.__cause__ or error
        raise ModelError(
            f"verify.inputs could not be read: {target['_target_']} raised {type(cause).__name__}: "
            f"{' '.join(str(cause).split())}",
            hint="Next: call it in Python with the same arguments, and iterate over the result.",
        ) from error
