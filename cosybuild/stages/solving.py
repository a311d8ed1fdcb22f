"""An artifact inside the solver, held to the reference's runs; and what is said of one that does not pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cosybuild.core.stage import Emit
from cosybuild.errors import VerificationError
from cosybuild.numerics.reference import Reference
from cosybuild.numerics.rollout import RolloutResult, compare_courses, run
from cosybuild.stages.cases import verify_settings
from cosybuild.stages.request import Request

if TYPE_CHECKING:
    from cosybuild.backends.session import Session


def solved(session: Session, reference: Reference, request: Request, emit: Emit) -> list[dict[str, Any]]:
    """The figures of a float32 artifact, one entry a run.

    Raises:
        VerificationError: a step or the mel leaves its bound.
    """
    verify, subject = verify_settings(request), request.subject
    found = []
    for rollout, course in zip(reference.rollouts, reference.courses, strict=True):
        assert verify.solver is not None
        assert subject.solver is not None
        emit("progress", what=rollout.name)
        actual = run(session.infer, rollout, subject.spec, subject.solver)
        result = compare_courses(actual, course, verify.solver.gates, verify.solver.step_snr_db)
        found.append({"run": rollout.name, "lengths": list(rollout.lengths), **result.facts()})
        if not result.passes:
            emit("note", message=f"the solver fails: {rollout.name}", **found[-1])
            raise solver_error(rollout.name, result, verify.solver.step_snr_db, session.device, "verify.solver.gates")
    return found


def solver_error(name: str, result: RolloutResult, step_snr_db: float, how: str, gates: str) -> VerificationError:
    """What is said of a run that does not pass.

    Args:
        how: what computed it, for people.
        gates: the setting that holds the gates.
    """
    words = []
    if result.left_at is not None:
        words.append(
            f"the state leaves its bound at step {result.left_at} of {len(result.steps)}: "
            f"{result.steps[result.left_at - 1]:.1f} dB where at least {step_snr_db:g} dB is asked for"
        )
    words += [f"the mel has {miss}" for miss in result.missed]
    return VerificationError(
        f"{name[0].upper()}{name[1:]}, {how}: {'; '.join(words)}.",
        hint="Next: single calls pass and their sum does not: the report's steps_snr_db shows where it grows. "
        f"{gates} holds the bounds; docs/verification.md says how they were set.",
    )
