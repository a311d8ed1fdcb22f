"""The check that a Triton model does not replace a different model that happens to have the same name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cosybuild.deploy.deliverable import Deliverable
from cosybuild.deploy.retirement import present_artifacts
from cosybuild.errors import DeployError
from cosybuild.identity import build_of

_OPEN = ("onnx", "module")
"""The model families whose names come from a file or a class. Many models have a file called `model.onnx`."""


def check_namesake(root: Path, item: Deliverable, folder: str, name: str | None) -> None:
    """Raise an error if the deployment would replace a model of another origin, unless the user gave the name.

    A later version of a model with the same origin may replace the earlier one.

    Args:
        root: the directory of the model in the repository.
        item: the artifact that is deployed.
        folder: the version directory below `root`.
        name: the setting `deploy.triton.model`; None if it is not set.

    Raises:
        DeployError: names both origins, and the settings that give a name.
    """
    if name is not None or item.model.get("family") not in _OPEN or not _is_derived(item.model):
        return
    mine = item.model.get("origin")
    for present in present_artifacts(root, [folder], {}):
        theirs: dict[str, Any] = dict((present.manifest or {}).get("model") or {})
        if present.manifest is None or theirs.get("origin") == mine:
            continue
        if build_of(present.manifest).key == build_of(item.manifest).key:
            continue  # the same model from another place
        raise DeployError(
            f"{root} serves the model of {theirs.get('origin') or 'an unknown place'}, and this build is of {mine}: "
            f"both are called {root.name}, because no name was given.",
            hint=f"Next: model.name=NAME gives this model a name of its own; deploy.triton.model={root.name} replaces "
            "the other model.",
        )


def _is_derived(model: dict[str, Any]) -> bool:
    """Return True if the name of the model was derived from its file or its class."""
    if model.get("family") == "onnx":
        return str(model.get("name")) == Path(str(model.get("origin"))).stem
    target = (model.get("hyperparameters") or {}).get("target") or {}
    return str(model.get("name")) == str(target.get("_target_", "")).rpartition(".")[2].lower()
