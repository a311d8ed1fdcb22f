"""A wider bound on the signal-to-noise ratio of models for which the usual bound was not measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cosybuild.config.groups.model import Family
from cosybuild.config.groups.precision import Target
from cosybuild.models.subject import Subject
from cosybuild.numerics.gates import ENGINE, Miss
from cosybuild.numerics.inputs import Array
from cosybuild.numerics.tolerance import Tolerance


@dataclass(frozen=True)
class Spare:
    """The condition under which an output passes with a warning if it misses the ratio alone.

    Rounding errors are relative to the values from which an output is computed. An output that is almost everywhere
    zero, such as a map of detections, has a small root mean square, so that the same errors are a larger part of it.

    Attributes:
        snr_db: the least ratio, in dB.
        tolerance: the bound that each element must meet.
    """

    snr_db: float
    tolerance: Tolerance

    def accepts(self, missed: Sequence[Miss], actual: Array, reference: Array) -> bool:
        """Return True if the output misses only the ratio, by a little, and no element is outside the tolerance."""
        only_ratio = all(miss.metric == "snr_db" and miss.value >= self.snr_db for miss in missed)
        return only_ratio and bool((np.abs(actual - reference) <= self.tolerance.allowed(reference)).all())


def spare_of(subject: Subject, tolerance: Tolerance | None, stated: float | None) -> Spare | None:
    """Return the condition for a model of a user.

    Args:
        subject: the model.
        tolerance: the bound on each element of a float32 output.
        stated: the ratio that the user states, in dB; None for the default.

    Returns:
        None for the networks of CosyVoice, with which the default was measured, and if the user states a ratio.
    """
    if subject.family not in (Family.module, Family.onnx) or tolerance is None or stated is not None:
        return None
    return Spare(ENGINE[Target.fp32]["snr_db"], tolerance)
