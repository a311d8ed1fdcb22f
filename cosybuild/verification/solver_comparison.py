"""Solver runs with an artifact, compared with the solver runs of the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cosybuild.building.stage import Emit
from cosybuild.config.groups.precision import Target
from cosybuild.errors import VerificationError
from cosybuild.numerics.gates import LOWERED_SOLVER, Gate, plain_gate
from cosybuild.request import Request
from cosybuild.verification.reference import Reference
from cosybuild.verification.scope import verify_settings
from cosybuild.verification.solver_runs import Infer, Rollout, RolloutResult, compare_courses, run


@dataclass(frozen=True)
class Bounds:
    """The bounds of a solver run.

    Attributes:
        gate: the gate of the mel.
        step_snr_db: smallest allowed signal-to-noise ratio of the state after each step, in dB; None for no bound.
        setting: name of the setting that holds the gate, for hints.
    """

    gate: Gate
    step_snr_db: float | None
    setting: str

    def facts(self) -> dict[str, dict[str, float] | float | None]:
        """Return the bounds as plain data, for the keys of steps."""
        return {"gates": plain_gate(self.gate), "step_snr_db": self.step_snr_db}


def bounds_of(request: Request, target: Target, *, engine: bool = False) -> Bounds | None:
    """Return the bounds of the solver runs of an artifact that computes in `target`; None if the solver is not run.

    Args:
        request: the request, whose group `verify` holds the gates.
        target: the number type in which the artifact computes.
        engine: True for an engine. Its kernels and device differ from the reference's, so a float32 engine gets wider
            bounds than a float32 graph on the CPU.
    """
    solver = verify_settings(request).solver
    if solver is None:
        return None
    if target is Target.fp32 and not engine:
        return Bounds(solver.gates, solver.step_snr_db, "verify.solver.gates")
    return Bounds(solver.lowered or LOWERED_SOLVER[target], None, "verify.solver.lowered")


def compare_solver_runs(
    infer: Infer,
    how: str,
    rollouts: tuple[Rollout, ...],
    reference: Reference,
    bounds: Bounds | None,
    request: Request,
    emit: Emit,
) -> list[dict[str, Any]]:
    """Run the solver with an artifact, compare each run with the reference, and return the figures of each run.

    Args:
        infer: function that calls the artifact once, with float32 inputs and outputs.
        how: name of the backend, for messages.
        rollouts: the runs to make; each must be a run of the reference.
        reference: the reference, which holds the expected states.
        bounds: the bounds of each run; None to run nothing.
        request: the request, which names the model and its solver.
        emit: function that reports events.

    Raises:
        VerificationError: the state after a step, or the mel, misses its bound.
    """
    found: list[dict[str, Any]] = []
    if bounds is None:
        return found
    subject = request.subject
    for rollout, course in zip(reference.rollouts, reference.courses, strict=True):
        if rollout not in rollouts:
            continue
        assert subject.solver is not None
        emit("progress", what=rollout.name)
        step = float("-inf") if bounds.step_snr_db is None else bounds.step_snr_db
        result = compare_courses(run(infer, rollout, subject.spec, subject.solver), course, bounds.gate, step)
        found.append({"run": rollout.name, "lengths": list(rollout.lengths), **result.facts()})
        if not result.passes:
            emit("note", message=f"the solver fails: {rollout.name}", **found[-1])
            raise _error(rollout.name, result, bounds, how)
    return found


def _error(name: str, result: RolloutResult, bounds: Bounds, how: str) -> VerificationError:
    words = []
    if result.left_at is not None:
        asked = "finite values are" if bounds.step_snr_db is None else f"at least {bounds.step_snr_db:g} dB is"
        words.append(
            f"the state misses its bound at step {result.left_at} of {len(result.steps)}: "
            f"{result.steps[result.left_at - 1]:.1f} dB where {asked} asked for"
        )
    words += [f"the mel has {miss}" for miss in result.missed]
    return VerificationError(
        f"{name[0].upper()}{name[1:]}, {how}: {'; '.join(words)}.",
        hint="Next: single calls pass, but their errors add up; steps_snr_db in the report shows at which step. "
        f"{bounds.setting} has the bounds, and docs/verification.md explains them.",
    )
