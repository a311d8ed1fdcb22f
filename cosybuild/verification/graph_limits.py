"""The limits of a graph before it is lowered."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cosybuild.config.groups.precision import Target
from cosybuild.config.groups.verify import VerifySettings
from cosybuild.models.subject import Subject
from cosybuild.numerics.gates import LOWERED
from cosybuild.verification.judge import Limits
from cosybuild.verification.scope import float32_limits, kinds_of, own_limits, stated_ratio
from cosybuild.verification.spare import spare_of

if TYPE_CHECKING:
    from onnx import ModelProto


def graph_limits(graph: ModelProto, verify: VerifySettings, subject: Subject) -> Limits:
    """Return the limits of a graph before it is lowered.

    They are the limits of float32, or of the narrower type in which the user's model itself computes. A graph that
    rounds to integers gets those of fp16, because a rounding error just before a quantisation can move a value by a
    whole step.
    """
    from cosybuild.onnxgraph.summary import is_quantised, narrowest_float

    target = {"float16": Target.fp16, "bfloat16": Target.bf16}.get(narrowest_float(graph))
    if target is None and is_quantised(graph):
        target = Target.fp16
    kinds = kinds_of(subject.spec)
    if target is None:
        limits = float32_limits(verify, kinds)
        return replace(limits, spare=spare_of(subject, limits.tolerance, stated_ratio(verify)))
    return Limits(LOWERED[target], target=target, kinds=kinds, own=own_limits(verify))
