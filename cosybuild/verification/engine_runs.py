"""Runs of a compiled artifact (engine or IR) on the cases that its profiles cover, compared with the reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from cosybuild import figure
from cosybuild.building.stage import Emit
from cosybuild.config.groups.precision import Target
from cosybuild.models.shape_profile import BATCH, FRAMES, Profile, admits
from cosybuild.numerics.gates import Gate, gates_of_kinds, plain_gate, worst
from cosybuild.request import Request
from cosybuild.verification.calls import infer_case
from cosybuild.verification.cases import with_batch
from cosybuild.verification.hops import Hop
from cosybuild.verification.judge import Advice, Judged, Limits, judge
from cosybuild.verification.reference import Reference
from cosybuild.verification.scope import kinds_of, own_limits, rollouts_of, verify_settings
from cosybuild.verification.solver_comparison import Bounds, compare_solver_runs

if TYPE_CHECKING:
    from cosybuild.backends.session import Session
    from cosybuild.numerics.inputs import Array
    from cosybuild.verification.cases import Case


class Opened(Protocol):
    """A function that opens a session on one compiled artifact."""

    def __call__(self, profile: int, *, in_place: bool) -> tuple[Session, Mapping[str, str]]:
        """Return a session on one optimisation profile, and the type of each input by name.

        Args:
            profile: index of the optimisation profile.
            in_place: True if the session writes the output into the memory of the input that has the output's shape.
        """


@dataclass(frozen=True)
class Conditions:
    """The conditions that a compiled artifact must meet.

    Attributes:
        hop: the name of the artifact's conversion in the error budget, e.g. `engine`.
        target: the number type in which the artifact computes.
        gate: the bounds on the metrics of each output.
        snr_db: the signal-to-noise ratio that the user requires, in dB; None for the bound of `target`.
        bounds: the bounds of the solver runs; None to run none.
        advice: the hints of a verification error.
        in_place: output -> the input in whose memory the output is written in additional runs; empty for no such runs.
    """

    hop: str
    target: Target
    gate: Gate
    snr_db: float | None
    bounds: Bounds | None
    advice: Advice
    in_place: Mapping[str, str] = field(default_factory=dict)


def examine(
    opened: Opened, request: Request, reference: Reference, conditions: Conditions, emit: Emit
) -> dict[str, Any]:
    """Compare an artifact with the reference on every case of each profile, then in solver runs.

    If `conditions.in_place` is set, each case is run twice: with an output buffer of its own, and with the output in
    the memory of an input.

    Args:
        opened: function that opens a session on the artifact.
        request: the request of the build.
        reference: the expected outputs.
        conditions: the conditions to meet.
        emit: function that reports progress.

    Returns:
        The findings as JSON data, for the report.

    Raises:
        VerificationError: an output or the mel misses its gate, or a case cannot be computed; the message names the
            case.
    """
    spec = request.subject.spec
    of_kind = gates_of_kinds(conditions.target, conditions.snr_db)
    own = own_limits(verify_settings(request), lowered=True)
    limits = Limits(conditions.gate, target=conditions.target, kinds=kinds_of(spec), of_kind=of_kind, own=own)
    profiles = request.profiles
    records: list[Judged] = []
    ways = (False, True) if conditions.in_place else (False,)
    planned = [(index, way) for index in range(len(profiles)) for way in ways]
    for done, (index, way) in enumerate(planned):
        session, dtypes = opened(index, in_place=way)
        how = f"{session.device}, profile {index}" + (", in place" if way else "")
        for case in _within(reference.cases, profiles[index]):
            expected = reference.find(case.draw)
            assert expected is not None, case.name
            outputs = infer_case(session, case, cast_inputs(with_batch(case, request.given).inputs(spec), dtypes))
            records.append(judge(case, how, outputs, expected, limits))
            records[-1].check(conditions.advice)
        emit("progress", done=done + 1, total=len(planned), what=how)
    session, dtypes = opened(0, in_place=False)
    return {
        "device": session.device,
        "gate": plain_gate(conditions.gate),
        "cases": [record.facts() for record in records],
        "worst": figure.plain(worst(record.figures for record in records)),
        "warnings": [line for record in records for line in record.warnings],
        "hops": [_hop(records, conditions, reference).facts()],
        "solver": _solved(session, dtypes, reference, request, conditions.bounds, emit),
    }


def cast_inputs(inputs: Mapping[str, Array], dtypes: Mapping[str, str]) -> dict[str, Array]:
    """Cast inputs to the artifact's types.

    No value changes, because the numbers of the cases are exact in every type.
    """
    import ml_dtypes
    import numpy as np

    known = {"bfloat16": np.dtype(ml_dtypes.bfloat16)}
    return {name: values.astype(known.get(dtypes[name], dtypes[name])) for name, values in inputs.items()}


def _within(cases: Sequence[Case], profile: Profile) -> Iterator[Case]:
    for case in cases:
        if admits([profile], case.draw.sizes):
            yield case


def _hop(records: Sequence[Judged], conditions: Conditions, reference: Reference) -> Hop:
    """Return the error of the artifact against the reference. It includes the error of the lowering."""
    own = worst(record.figures for record in records)
    least = min(records, key=lambda record: record.figures["snr_db"])
    return Hop(conditions.hop, reference.said, own, own, least.case.name, conditions.gate, ())


def _solved(
    session: Session,
    dtypes: Mapping[str, str],
    reference: Reference,
    request: Request,
    bounds: Bounds | None,
    emit: Emit,
) -> list[dict[str, Any]]:
    import numpy as np

    profile = request.profiles[0]

    def infer(inputs: Mapping[str, Array]) -> dict[str, Array]:
        outputs = session.infer(cast_inputs(inputs, dtypes))
        return {name: np.asarray(values, np.float32) for name, values in outputs.items()}

    if BATCH in profile and profile[BATCH].min > 2:
        return []  # a solver run is one utterance, which has two rows
    covered = tuple(
        one
        for one in rollouts_of(request)
        if profile[FRAMES].min <= one.lengths[0] and one.lengths[-1] <= profile[FRAMES].max
    )
    return compare_solver_runs(infer, session.device, covered, reference, bounds, request, emit)
