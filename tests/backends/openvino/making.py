"""IRs of the tiny models, made in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cosybuild.backends.openvino.convert import IrTask, convert, interface
from cosybuild.config.groups.openvino import OvPrecision, OvSettings
from cosybuild.manifest import write_manifest
from cosybuild.models.shape_profile import Profile, SizeRange, listed_sizes
from cosybuild.models.spec import ModelSpec, TensorSpec
from tests.runtime import tiny

SHAPES: dict[str, tuple[int | str, ...]] = {
    "x": (2, 8, "seq_len"),
    "mask": (2, 1, "seq_len"),
    "mu": (2, 8, "seq_len"),
    "t": (2,),
    "spks": (2, 8),
    "cond": (2, 8, "seq_len"),
}
SPEC = ModelSpec(
    tuple(TensorSpec(name, shape) for name, shape in SHAPES.items()),
    (TensorSpec("estimator_out", (2, 8, "seq_len")),),
)
PROFILE: Profile = {"seq_len": SizeRange(4, 24, 64)}


def ignore(kind: str, **facts: Any) -> None:
    pass


def make_ir(
    graph: Path,
    path: Path,
    precision: str = "fp32",
    *,
    keep: tuple[str, ...] = (),
    profiles: tuple[Profile, ...] = (PROFILE,),
    **settings: Any,
) -> dict[str, Any]:
    """Write an IR of a graph of `tests.runtime.tiny` and return its report."""
    asked = OvSettings(precision=OvPrecision(precision), keep_fp32=keep, **settings)
    return convert(IrTask(graph, path, asked, profiles, SPEC), ignore)


def certify(path: Path, report: dict[str, Any], profiles: tuple[Profile, ...] = (PROFILE,), **facts: Any) -> Path:
    """Write the manifest of a verified IR."""
    own = {
        "verified": True,
        "model": {"streaming": False},
        "openvino": {"version": report["version"], "precision": report["precision"]},
        "profiles": [listed_sizes(profile) for profile in profiles],
        "interface": interface(SPEC),
    }
    write_manifest(path, {**own, **facts}, [path.with_suffix(".bin")])
    return path


def inputs(frames: int, *, t: float | None = None, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Draw inputs, all rows at the time `t` if it is given."""
    drawn = {name: tensor.numpy() for name, tensor in tiny.inputs(frames, seed).items()}
    return drawn if t is None else {**drawn, "t": np.full(2, t, np.float32)}


def snr_db(actual: Any, expected: Any) -> float:
    error = np.asarray(actual, np.float64) - np.asarray(expected, np.float64)
    return float(10 * np.log10((np.asarray(expected, np.float64) ** 2).sum() / (error**2).sum()))
