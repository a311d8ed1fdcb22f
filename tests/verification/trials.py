"""An estimator of a few lines of numpy, and trials with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cosybuild.numerics.inputs import Array
from cosybuild.verification.experiments import Infer, Inputs, Trial, try_properties
from tests.numerics.specs import estimator_spec


def velocity(inputs: Inputs, chunk: int = 0) -> Array:
    """Each frame depends on the mean of the valid frames of its chunk and earlier ones, or of all frames."""
    said = sum(factor * inputs[name] for name, factor in (("x", 1.0), ("mu", 0.5), ("cond", 0.25))) * inputs["mask"]
    length = said.shape[2]
    heard = np.empty_like(said)
    for begin in range(0, length, chunk or length):
        end = min(begin + (chunk or length), length)
        heard[..., begin:end] = said[..., :end].sum(axis=2, keepdims=True) / inputs["mask"][..., :end].sum(2)[..., None]
    result: Array = (said + heard + inputs["spks"][..., None] + inputs["t"][:, None, None]) * inputs["mask"]
    return result


def full(infer: Infer = velocity, **fields: Any) -> Trial:
    given: dict[str, Any] = {"spec": estimator_spec("batch"), "infer": infer, "in_place": None}
    return Trial(**{**given, "computed_in": "float32", "length": 24, **fields})


def chunked(frames: int = 10, **fields: Any) -> Trial:
    """Return a trial of a model with chunks of this number of frames; 10 are declared."""
    given: dict[str, Any] = {"infer": lambda inputs: velocity(inputs, frames), "chunk": 10, "chunked_length": 16}
    return full(**{**given, **fields})


def broken(trial: Trial) -> list[str]:
    """Return the properties that do not hold, once for each failed trial."""
    return [finding.name for finding in try_properties(trial) if not finding.holds]


def plus(leak: Callable[[Inputs], Array], chunk: int = 0) -> Infer:
    """Return the estimator plus a thousandth of a value that must not affect it."""
    return lambda inputs: velocity(inputs, chunk) + 1e-3 * leak(inputs)
