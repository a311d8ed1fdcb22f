"""Find the weights file of a build, from the settings or in the model directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cosybuild.config.groups.model import ModelSettings
from cosybuild.errors import CheckpointError, ConfigurationError
from cosybuild.models.directory.reader import ModelDirectory
from cosybuild.models.weights.shards import INDEX_SUFFIX, weights_parts


def weights_fields(model: ModelSettings, name: str, directory: ModelDirectory | None) -> dict[str, Any]:
    """Return the fields `weights`, `weights_data` and `weights_from` of a `Subject`; empty for random weights.

    Args:
        model: the settings of the group `model`.
        name: the usual name of the weights file in a model directory, e.g. `flow.pt`.
        directory: the model directory; None if there is none.

    Raises:
        CheckpointError: the weights file is missing.
        ConfigurationError: `model.weights_from` is set, but there is no weights file.
    """
    path = _weights_file(model, name, directory)
    if path is None:
        if model.weights_from is not None:
            raise ConfigurationError(
                f"model.weights_from={model.weights_from} has no effect on random weights.",
                hint="Next: add model.weights=FILE or model_dir, or remove model.weights_from.",
            )
        return {}
    main, *others = weights_parts(path)
    return {"weights": main, "weights_data": tuple(others), "weights_from": model.weights_from}


def _weights_file(model: ModelSettings, name: str, directory: ModelDirectory | None) -> Path | None:
    if model.weights is not None:
        path = Path(model.weights).expanduser()
        if not path.exists():
            raise CheckpointError(
                f"model.weights={model.weights} is not a file.", hint="Next: give a .pt or .safetensors file."
            )
        return path
    if directory is None:
        return None
    weights = directory.path / name
    tensors = weights.with_suffix(".safetensors")
    for path in (weights, tensors, tensors.with_name(tensors.name + INDEX_SUFFIX)):
        if path.is_file():
            return path
    raise CheckpointError(
        f"{directory.path} has {directory.yaml.name} but neither {weights.name} nor {tensors.name}.",
        hint="Next: download the weights, or give them with model.weights=FILE.",
    )
