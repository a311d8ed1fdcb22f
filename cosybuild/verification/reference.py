"""The reference of a model: the expected outputs of every case and every solver run, stored in one file.

PyTorch computes the reference; for an ONNX file of the user, ONNX Runtime does, without graph optimisations. The
reference is computed once, and read by every step that compares with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cosybuild.numerics.inputs import Array, Draw
from cosybuild.numerics.npz import with_bfloat16
from cosybuild.verification.cases import Case, case_from_facts
from cosybuild.verification.solver_runs import Course, Rollout

SCHEMA = 1

Outputs = Mapping[str, Array]


@dataclass(frozen=True)
class Reference:
    """The outputs of a model on all cases and all solver runs.

    Attributes:
        said: the name of the computation that made the outputs, for reports.
        cases: the cases.
        outputs: for each case its outputs by name.
        rollouts: the solver runs.
        courses: for each solver run, the states of the solver.
        exact_outputs: like `outputs`, computed in float64; empty if not requested.
        exact_courses: like `courses`, computed in float64; empty if not requested.
    """

    said: str
    cases: tuple[Case, ...]
    outputs: tuple[Outputs, ...]
    rollouts: tuple[Rollout, ...] = ()
    courses: tuple[Course, ...] = ()
    exact_outputs: tuple[Outputs, ...] = ()
    exact_courses: tuple[Course, ...] = ()

    def find(self, draw: Draw) -> Outputs | None:
        """Return the expected outputs of the case whose inputs `draw` describes; None if there is no such case."""
        return self._of(draw, self.outputs)

    def find_exact(self, draw: Draw) -> Outputs | None:
        """Return the float64 outputs of the case whose inputs `draw` describes; None if the reference has none."""
        return self._of(draw, self.exact_outputs)

    def _of(self, draw: Draw, several: Sequence[Outputs]) -> Outputs | None:
        # `several` is `exact_outputs` in one use, which is empty if float64 was not requested.
        pairs = zip(self.cases, several, strict=False)
        return next((outputs for case, outputs in pairs if case.draw == draw), None)


def write_reference(path: Path, reference: Reference) -> Path:
    """Write a reference to one uncompressed .npz file, and return its path. Equal references give equal bytes."""
    index = {
        "schema": SCHEMA,
        "said": reference.said,
        "cases": [case.facts() for case in reference.cases],
        "rollouts": [{"why": r.why, "lengths": list(r.lengths), "seed": r.seed} for r in reference.rollouts],
        "exact": bool(reference.exact_outputs),
    }
    arrays: dict[str, Array] = {"index": np.frombuffer(json.dumps(index).encode(), np.uint8)}
    arrays.update(_named("case", reference.outputs))
    arrays.update(_named("exact_case", reference.exact_outputs))
    for prefix, courses in (("rollout", reference.courses), ("exact_rollout", reference.exact_courses)):
        for number, course in enumerate(courses):
            arrays.update({f"{prefix}/{number}/{call}": states for call, states in enumerate(course.states)})
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for options
    return path


def read_reference(path: Path) -> Reference:
    """Read the reference from a file that `write_reference` wrote."""
    with np.load(path) as stored:
        index = json.loads(stored["index"].tobytes())
        assert index["schema"] == SCHEMA, index["schema"]
        arrays = {name: with_bfloat16(stored[name]) for name in stored.files}
    cases = tuple(case_from_facts(facts) for facts in index["cases"])
    rollouts = tuple(Rollout(r["why"], tuple(r["lengths"]), r["seed"]) for r in index["rollouts"])
    exact = index["exact"]
    return Reference(
        said=index["said"],
        cases=cases,
        outputs=tuple(_outputs(arrays, "case", len(cases))),
        rollouts=rollouts,
        courses=tuple(_courses(arrays, "rollout", rollouts)),
        exact_outputs=tuple(_outputs(arrays, "exact_case", len(cases))) if exact else (),
        exact_courses=tuple(_courses(arrays, "exact_rollout", rollouts)) if exact else (),
    )


def _named(prefix: str, several: Sequence[Outputs]) -> dict[str, Array]:
    return {f"{prefix}/{i}/{name}": array for i, outputs in enumerate(several) for name, array in outputs.items()}


def _outputs(arrays: Mapping[str, Array], prefix: str, count: int) -> Iterator[dict[str, Array]]:
    for number in range(count):
        begin = f"{prefix}/{number}/"
        yield {name.removeprefix(begin): array for name, array in arrays.items() if name.startswith(begin)}


def _courses(arrays: Mapping[str, Any], prefix: str, rollouts: Sequence[Rollout]) -> Iterator[Course]:
    for number, rollout in enumerate(rollouts):
        yield Course(tuple(arrays[f"{prefix}/{number}/{call}"] for call in range(len(rollout.lengths))))
