"""Probes: short cases on which an ONNX file is compared with a network, also with other weights and with mistakes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cosybuild.backends.session import Session
from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.precision import Target
from cosybuild.models.shape_profile import BATCH, FRAMES
from cosybuild.models.spec import ModelSpec
from cosybuild.models.subject import Subject
from cosybuild.numerics.inputs import Array, Draw
from cosybuild.numerics.metrics import Kind, snr_db
from cosybuild.verification.cases import Case
from cosybuild.verification.judge import Comparison, Limits, compare_outputs, first_fault

if TYPE_CHECKING:
    from torch import nn

Outputs = Mapping[str, Array]

ROUNDING_DB = 30.0
"""The signal-to-noise ratio of a right file may be this much worse than that of PyTorch in float32, in dB.

30 dB are a factor of 32. Other kernels add in another order, which costs only a few dB. The bound is needed for outputs
with a wide gate, such as waveforms: a mistake in a vocoder can be smaller than the gate of a long utterance.
"""

_FRAMES = 37
_SHORT = 12
_PROMPT = 7


@dataclass(frozen=True)
class Probes:
    """The short cases on which a file is compared first, with the right outputs.

    Attributes:
        spec: the inputs and outputs of the network.
        cases: the cases.
        right: for each case, the network's outputs in float32, by name.
        floors: for each output, the smallest permitted signal-to-noise ratio in dB: PyTorch's own in float32 against
            float64, minus `ROUNDING_DB`.
    """

    spec: ModelSpec
    cases: tuple[Case, ...]
    right: tuple[Outputs, ...]
    floors: Mapping[str, float]


@dataclass(frozen=True)
class Agreement:
    """The result of comparing two computations on all probes.

    Attributes:
        fault: a sentence about the first output that differs too much; None if all outputs agree.
        snr_db: the smallest signal-to-noise ratio of all cases and outputs, in dB.
    """

    fault: str | None
    snr_db: float


def probe_cases(subject: Subject) -> tuple[Case, ...]:
    """Return the three cases: rows of different lengths, a padded guidance pair, and quiet inputs.

    With quiet inputs, a wrong epsilon of a norm changes the outputs.
    """
    spec = subject.spec
    sizes = {symbol: _size(symbol, subject) for symbol in spec.symbols}
    draws = [
        Draw(sizes, 1, padded=True),
        Draw(sizes, 2, guidance=spec.guidance, padded=True),
        Draw(sizes, 3, quiet=True),
    ]
    return tuple(Case("probe", replace(draw, coarse=True)) for draw in draws)


def _size(symbol: str, subject: Subject) -> int:
    """Return the size of an axis in the probes.

    The main axis has more than two chunks. Axes that a wrong file could exchange have different sizes.
    """
    chunk = int(subject.hyperparameters.get("static_chunk_size", subject.hyperparameters.get("chunk_size", 0)))
    if symbol == BATCH:
        return 2
    if subject.component is ComponentName.estimator:
        return 2 * chunk + 3 if chunk else _FRAMES
    if subject.component is ComponentName.vocoder:
        return _SHORT if symbol == FRAMES else 1000
    ahead = int(subject.hyperparameters.get("pre_lookahead_len", 0))
    known = {"tokens": max(2 * chunk + 3, 11), "prompt_tokens": _PROMPT, "prompt_frames": 2 * _PROMPT - 1,
             "lookahead": ahead}  # fmt: skip
    return known.get(symbol, _SHORT)


def probes_of(module: nn.Module, subject: Subject) -> Probes:
    """Compute the right outputs and the floors of the probes with a PyTorch module.

    The module is converted to float64 and back in place, which does not change its float32 values.
    """
    cases = probe_cases(subject)
    session = session_of(module, subject.spec)
    right = outputs_of(session, cases, subject.spec)
    module.double()
    try:
        exact = [session.infer(_widened(case.inputs(subject.spec))) for case in cases]
    finally:
        module.float()
    floors = {
        name: min(snr_db(one[name], wide[name]) for one, wide in zip(right, exact, strict=True)) - ROUNDING_DB
        for name in right[0]
    }
    return Probes(subject.spec, cases, right, floors)


def session_of(module: nn.Module, spec: ModelSpec) -> Session:
    """Return a session that runs a PyTorch module with the input and output names of `spec`."""
    from cosybuild.backends import torch_backend

    return torch_backend.load(module, [t.name for t in spec.inputs], [t.name for t in spec.outputs])


def outputs_of(session: Session, cases: Sequence[Case], spec: ModelSpec) -> tuple[Outputs, ...]:
    """Run a session on each case, and return the outputs by name for each case.

    Raises:
        InferenceFailed: the session fails on a case.
    """
    return tuple(session.infer(case.inputs(spec)) for case in cases)


def agreement(actual: Sequence[Outputs], expected: Sequence[Outputs], probes: Probes, limits: Limits) -> Agreement:
    """Compare the outputs of all probes with the expected ones.

    Args:
        actual, expected: for each case, the outputs by name.
        probes: the cases. For a float32 graph, their `floors` also apply to outputs of a special kind.
        limits: the gates.
    """
    worst, fault = math.inf, None
    for case, mine, wanted in zip(probes.cases, actual, expected, strict=True):
        # In 16 bits, a small variance is less accurate, and no gate was measured for quiet inputs.
        if case.draw.quiet and limits.target is not Target.fp32:
            continue
        compared = compare_outputs(mine, wanted, limits)
        worst = min([worst, *(one.figures["snr_db"] for one in compared.values())])
        found = first_fault(compared)
        text = None if found is None else found.text
        if text is None and limits.target is Target.fp32:
            text = _below_floor(compared, probes, limits)
        if fault is None and text is not None:
            fault = f"{case.name}: {text}"
    return Agreement(fault, worst)


def _below_floor(compared: Mapping[str, Comparison], probes: Probes, limits: Limits) -> str | None:
    for name, one in compared.items():
        value = one.figures["snr_db"]
        if limits.kinds.get(name, Kind.any) is not Kind.any and value < probes.floors[name]:
            return (
                f"{name} has a signal-to-noise ratio of {value:.1f} dB, where rounding leaves at least "
                f"{probes.floors[name]:.1f} dB"
            )
    return None


def _widened(inputs: Mapping[str, Array]) -> dict[str, Array]:
    return {name: values.astype("float64") if values.dtype == "float32" else values for name, values in inputs.items()}
