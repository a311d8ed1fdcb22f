"""Runs of the solver with a cached estimator, compared with runs of the uncached one on the whole prefix."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import pytest

from cosybuild.backends import torch_backend
from cosybuild.config.groups.verify import SolverCheck
from cosybuild.models.cosyvoice.caching import uncached_spec
from cosybuild.models.cosyvoice.estimator.exportable import ExportableEstimator
from cosybuild.models.load import load_module
from cosybuild.models.spec import ModelSpec
from cosybuild.models.subject import Solver, Subject
from cosybuild.numerics.inputs import Array
from cosybuild.verification.solver_runs import (
    Course,
    Infer,
    Rollout,
    compare_courses,
    conditions,
    is_solvable,
    prefixes,
    run,
)
from tests.models.fixtures import tiny_subject

CHUNK, SOLVER = 10, Solver()
ROLLOUT = Rollout("in chunks", prefixes(CHUNK, 4), 3)
STEP_SNR = SolverCheck().step_snr_db


def subject_of(version: int) -> Subject:
    return tiny_subject(version, streaming=True, cache=True)


def session_of(version: int, *, cached: bool) -> tuple[Infer, ModelSpec]:
    subject = subject_of(version)
    module, spec = load_module(subject, subject.weights), subject.spec
    if not cached:
        module, spec = ExportableEstimator(module.estimator, streaming=True), uncached_spec(spec)  # type: ignore[arg-type]
    names = ([tensor.name for tensor in side] for side in (spec.inputs, spec.outputs))
    return torch_backend.load(module, *names).infer, spec


@cache
def reference(version: int) -> Course:
    infer, spec = session_of(version, cached=False)
    return run(infer, ROLLOUT, spec, SOLVER)


@pytest.mark.parametrize("version", [2, 3])
def test_each_step_of_each_call_is_that_of_the_whole_prefix(version: int) -> None:
    infer, spec = session_of(version, cached=True)
    lengths: list[tuple[int, int]] = []

    def counted(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        lengths.append((inputs["x"].shape[2], inputs["att_cache"].shape[0]))
        return infer(inputs)

    course = run(counted, ROLLOUT, spec, SOLVER)
    assert lengths == [(new, before) for new, before in ((10, 0), (10, 10), (10, 20), (8, 30)) for _ in range(10)]
    assert [states.shape for states in course.states] == [states.shape for states in reference(version).states]
    result = compare_courses(course, reference(version), {"snr_db": 100.0}, 100.0)
    assert result.passes, result.facts()


def test_the_reference_has_the_same_conditions() -> None:
    spec = subject_of(3).spec
    assert is_solvable(spec, SOLVER)
    own, other = conditions(spec, ROLLOUT), conditions(uncached_spec(spec), ROLLOUT)
    assert own.keys() == other.keys()
    assert all((own[name] == other[name]).all() for name in own)
    assert uncached_spec(spec) == tiny_subject(3, streaming=True).spec


def stale(inputs: dict[str, Array], _: dict[str, Array]) -> None:
    """Repeat the first chunk in place of the newest one."""
    history = inputs["att_cache"]
    if len(history) > CHUNK:
        inputs["att_cache"] = np.concatenate((history[:-CHUNK], history[:CHUNK]))


def shifted(inputs: dict[str, Array], _: dict[str, Array]) -> None:
    if inputs["x_offset"][0]:
        inputs["x_offset"] = inputs["x_offset"] + 1


def of_another_step(inputs: dict[str, Array], before: dict[str, Array]) -> None:
    if before and before["att_cache"].shape == inputs["att_cache"].shape:
        inputs["att_cache"] = before["att_cache"]


def without_context(inputs: dict[str, Array], _: dict[str, Array]) -> None:
    inputs["conv_cache"] = np.zeros_like(inputs["conv_cache"])


FAULTS = (stale, of_another_step, without_context)


@pytest.mark.parametrize(
    ("version", "fault"), [*((version, fault) for version in (2, 3) for fault in FAULTS), (3, shifted)]
)
def test_a_fault_of_the_caches_is_found(
    version: int, fault: Callable[[dict[str, Array], dict[str, Array]], None]
) -> None:
    infer, spec = session_of(version, cached=True)
    before: dict[str, Array] = {}

    def faulty(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        own = dict(inputs)
        fault(own, before)
        before.update(inputs)
        return infer(own)

    result = compare_courses(run(faulty, ROLLOUT, spec, SOLVER), reference(version), {}, STEP_SNR)
    assert not result.passes, result.steps
