"""A reference is read as it was written, and equal references give equal bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cosybuild.numerics.inputs import Draw
from cosybuild.verification.cases import strict_cases
from cosybuild.verification.reference import Reference, read_reference, write_reference
from cosybuild.verification.solver_runs import Course, Rollout
from tests.numerics.specs import DEFAULT, estimator_spec


def reference(exact: bool) -> Reference:
    cases = strict_cases(estimator_spec(), [DEFAULT], 0)[:3]
    random = np.random.default_rng(0)
    outputs = tuple({"a/b": random.random((2, 3), np.float32), "c": random.random(4, np.float32)} for _ in cases)
    rollouts = (Rollout("short", (4,), 0), Rollout("in chunks", (4, 7), 0))
    courses = tuple(Course(tuple(random.random((10, 1, 8, n), np.float32) for n in r.lengths)) for r in rollouts)
    doubled = tuple({name: array.astype(np.float64) for name, array in one.items()} for one in outputs)
    return Reference("torch", cases, outputs, rollouts, courses, doubled if exact else (), courses if exact else ())


def test_a_reference_is_equal_after_it_is_written_and_read(tmp_path: Path) -> None:
    for exact in (False, True):
        wrote = reference(exact)
        read = read_reference(write_reference(tmp_path / "reference.npz", wrote))
        assert (read.said, read.cases, read.rollouts) == (wrote.said, wrote.cases, wrote.rollouts)
        for a, b in zip(read.outputs + read.exact_outputs, wrote.outputs + wrote.exact_outputs, strict=True):
            assert list(a) == list(b)
            assert all(a[n].dtype == b[n].dtype and (a[n] == b[n]).all() for n in b)
        for x, y in zip(read.courses + read.exact_courses, wrote.courses + wrote.exact_courses, strict=True):
            assert all((p == q).all() for p, q in zip(x.states, y.states, strict=True))


def test_the_same_reference_gives_the_same_bytes(tmp_path: Path) -> None:
    files = [write_reference(tmp_path / name, reference(True)).read_bytes() for name in ("a", "b")]
    assert files[0] == files[1]


def test_a_file_of_another_schema_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cosybuild.verification.reference.SCHEMA", 0)
    path = write_reference(tmp_path / "reference.npz", reference(False))
    monkeypatch.undo()
    with pytest.raises(AssertionError, match="0"):
        read_reference(path)


def test_outputs_are_found_by_the_inputs_of_a_case() -> None:
    wrote = reference(True)
    for case, outputs, exact in zip(wrote.cases, wrote.outputs, wrote.exact_outputs, strict=True):
        assert wrote.find(case.draw) is outputs
        assert wrote.find_exact(case.draw) is exact
    assert wrote.find(Draw({"seq_len": 4}, 999)) is None
    assert reference(False).find_exact(wrote.cases[0].draw) is None
