"""Small sweeps for scenarios: a module that is exported in a second, and ways to read the results of its cells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.scenarios.commands import Place

TINY = (
    "model=module",
    "model.target={_target_: torch.nn.Conv1d, in_channels: 4, out_channels: 4, kernel_size: 3, padding: 1}",
    "model.inputs=[{name: x, shape: [1, 4, frames]}]",
    "model.outputs=[{name: y, shape: [1, 4, frames]}]",
    "trt_profile.profiles=[{frames: {min: 4, opt: 8, max: 16}}]",
    "trt=none",
)
"""One convolution; each cell takes about a second beyond the import of torch."""


EXACT = (
    *(word for word in TINY if not word.startswith("model.target")),
    "model.target={_target_: torch.nn.ReLU}",
    "simplify=none",
)
"""A module without rounding: PyTorch and ONNX Runtime give the same bits on every machine."""


def sweep_directory(place: Place) -> Path:
    """Return the directory of the only sweep."""
    (directory,) = (place.directory / "outputs" / "sweeps").iterdir()
    return directory


def read_sweep(place: Place) -> dict[str, Any]:
    """Return sweep.json of the only sweep."""
    found: dict[str, Any] = json.loads((sweep_directory(place) / "sweep.json").read_text(encoding="utf-8"))
    return found


def column(sweep: dict[str, Any], name: str) -> list[Any]:
    """Return one field of every cell, in the cells' order."""
    return [cell[name] for cell in sweep["cells"]]


def built(sweep: dict[str, Any], step: str) -> int:
    """Return the number of cells in which a step was run."""
    return sum(cell["actions"].get(step) == "built" for cell in sweep["cells"])


def digests(sweep: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Return cell -> artifact -> digest."""
    return {cell["id"]: {name: a["digest"] for name, a in cell["artifacts"].items()} for cell in sweep["cells"]}
