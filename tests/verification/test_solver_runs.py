"""Whole runs of the solver on estimators whose result is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from cosybuild.figure import plain
from cosybuild.models.shape_profile import FRAMES
from cosybuild.models.spec import ModelSpec
from cosybuild.models.subject import Solver
from cosybuild.numerics.inputs import Array
from cosybuild.verification.solver_runs import (
    Infer,
    Rollout,
    compare_courses,
    conditions,
    is_solvable,
    prefixes,
    run,
)
from tests.numerics.specs import estimator_spec, text_spec

SPEC, SOLVER = estimator_spec(), Solver()


def constant(seen: list[dict[str, Array]] | None = None, wrong_at: int | None = None, by: float = 0.0) -> Infer:
    """Return a velocity with a known integral: x changes by (1 + g) (mu + 3) - g 3; `by` is added in one call."""
    calls: list[int] = []

    def infer(inputs: Mapping[str, Array]) -> dict[str, Array]:
        calls.append(1)
        if seen is not None:
            seen.append({name: values.copy() for name, values in inputs.items()})
        return {"estimator_out": inputs["mu"] + 3 + (by if len(calls) == wrong_at else 0)}

    return infer


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_step_is_kept_and_the_last_is_the_mel(dtype: str) -> None:
    rollout = Rollout("short", (12,), 5)
    course = run(constant(), rollout, SPEC, SOLVER, dtype)
    (states,) = course.states
    assert (states.shape, states.dtype) == ((10, 1, 8, 12), np.dtype(dtype))
    drawn = conditions(SPEC, rollout)
    assert course.mel == pytest.approx(drawn["x"] + 1.7 * (drawn["mu"] + 3) - 0.7 * 3, abs=1e-4)
    first = (1 - np.cos(np.pi / 20)) * (1.7 * (drawn["mu"] + 3) - 0.7 * 3)
    assert states[0] == pytest.approx(drawn["x"] + first, abs=1e-5)


def test_each_call_has_a_guidance_pair_as_in_the_runtime() -> None:
    seen: list[dict[str, Array]] = []
    run(constant(seen), Rollout("short", (12,), 5), estimator_spec("batch"), Solver(steps=4, schedule="linear"))
    assert [call["t"].tolist() for call in seen] == [pytest.approx([t, t]) for t in (0, 0.25, 0.5, 0.75)]
    for call in seen:
        assert not any(call[name][1].any() for name in ("mu", "spks", "cond"))
        assert all(call[name][0].any() for name in ("mu", "spks", "cond"))
        assert (call["x"][0] == call["x"][1]).all()
        assert call["mask"].all()


def test_each_call_in_chunks_gets_all_frames_so_far_with_the_same_noise() -> None:
    seen: list[dict[str, Array]] = []
    rollout = Rollout("in chunks", (10, 20, 27), 5)
    course = run(constant(seen), rollout, SPEC, Solver(steps=2))
    assert [call["x"].shape[2] for call in seen] == [10, 10, 20, 20, 27, 27]
    assert (seen[4]["x"][..., :10] == seen[0]["x"]).all()
    assert course.mel.shape == (1, 8, 27)
    assert rollout.name == "solver T=10+10+7 (in chunks)"


def test_conditions_follow_the_seed_and_the_length_of_the_utterance() -> None:
    first, again, other = (conditions(SPEC, Rollout("short", (4, 12), seed)) for seed in (5, 5, 6))
    assert {name: values.shape for name, values in first.items()} == {
        "x": (1, 8, 12), "mask": (1, 1, 12), "mu": (1, 8, 12), "spks": (1, 8), "cond": (1, 8, 12)}  # fmt: skip
    assert all((first[name] == again[name]).all() for name in first)
    assert not any((first[name] == other[name]).all() for name in ("x", "mu", "spks", "cond"))
    assert conditions(estimator_spec("batch"), Rollout("short", (12,), 5))["x"].shape == (1, 8, 12)


def test_the_speaker_vector_is_not_masked() -> None:
    seen: list[dict[str, Array]] = []
    run(constant(seen), Rollout("in chunks", (4, 12), 5), SPEC, Solver(steps=1))
    assert [call["spks"].shape for call in seen] == [(2, 8), (2, 8)]
    assert (seen[0]["spks"] == seen[1]["spks"]).all()


def test_prefixes_end_a_quarter_of_a_chunk_early() -> None:
    assert prefixes(50, 2) == (50, 88)
    assert prefixes(10, 3) == (10, 20, 28)
    assert prefixes(10, 1) == (8,)


@pytest.mark.parametrize("wrong_at", [1, 4, 10])
def test_the_first_step_that_misses_its_bound_is_named(wrong_at: int) -> None:
    rollout = Rollout("short", (12,), 5)
    reference = run(constant(), rollout, SPEC, SOLVER)
    result = compare_courses(run(constant(None, wrong_at, 0.05), rollout, SPEC, SOLVER), reference, {}, 80.0)
    assert result.left_at == wrong_at
    assert not result.passes
    assert all(value == np.inf for value in result.steps[: wrong_at - 1])
    assert result.facts()["steps_snr_db"][: wrong_at - 1] == ["Infinity"] * (wrong_at - 1)


def test_the_mel_has_a_gate_of_its_own() -> None:
    rollout = Rollout("short", (12,), 5)
    reference = run(constant(), rollout, SPEC, SOLVER)
    actual = run(constant(None, 10, 1e-3), rollout, SPEC, SOLVER)
    result = compare_courses(actual, reference, {"max_abs": 1e-9, "lsd_db": 1e-9, "cosine": 0.5}, 40.0)
    assert result.left_at is None
    assert [miss.metric for miss in result.missed] == ["max_abs", "lsd_db"]
    assert not result.passes
    assert compare_courses(actual, reference, {"max_abs": 1e-2, "lsd_db": 1e-2}, 40.0).passes


def test_a_step_equal_to_its_bound_passes() -> None:
    rollout = Rollout("short", (12,), 5)
    reference = run(constant(), rollout, SPEC, SOLVER)
    actual = run(constant(None, 4, 1e-3), rollout, SPEC, SOLVER)
    worst = min(compare_courses(actual, reference, {}, 0.0).steps)
    assert compare_courses(actual, reference, {}, worst).left_at is None
    assert compare_courses(actual, reference, {}, np.nextafter(worst, np.inf)).left_at == 4


def test_a_result_as_data_has_every_figure() -> None:
    rollout = Rollout("in chunks", (10, 20), 5)
    reference = run(constant(), rollout, SPEC, SOLVER)
    result = compare_courses(run(constant(None, 10, 1e-3), rollout, SPEC, SOLVER), reference, {"max_abs": 1e-9}, 200.0)
    facts = result.facts()
    assert facts == {
        "steps_snr_db": [*["Infinity"] * 9, pytest.approx(result.steps[9])],
        "left_at": 10,
        "mel": plain(result.mel),
        "seam": result.seam,
        "missed": [str(miss) for miss in result.missed],
    }
    assert facts["mel"]["max_abs"] > 1e-4
    assert "where at most 1e-09" in facts["missed"][0]
    assert facts["seam"] > 1e-4


def test_courses_of_other_calls_are_not_compared() -> None:
    one, two = (run(constant(), Rollout("in chunks", lengths, 5), SPEC, SOLVER) for lengths in ((10,), (10, 20)))
    with pytest.raises(ValueError, match=r"shorter|longer"):
        compare_courses(two, one, {}, 80.0)


def test_a_mel_that_is_not_finite_misses_the_bound_at_the_first_step() -> None:
    rollout = Rollout("short", (12,), 5)
    reference = run(constant(), rollout, SPEC, SOLVER)
    result = compare_courses(run(constant(None, 3, np.inf), rollout, SPEC, SOLVER), reference, {"max_abs": 1e9}, -1e9)
    assert result.left_at == 3
    assert result.missed


def test_a_later_call_that_is_not_finite_decides_the_result() -> None:
    rollout = Rollout("in chunks", (10, 20), 5)
    reference = run(constant(), rollout, SPEC, SOLVER)
    result = compare_courses(run(constant(None, 13, np.inf), rollout, SPEC, SOLVER), reference, {}, 80.0)
    assert result.left_at == 3
    assert result.steps == (np.inf, np.inf, *[-np.inf] * 8)


def test_a_velocity_of_another_type_is_integrated_in_the_type_of_the_solver() -> None:
    rollout, third = Rollout("short", (12,), 5), np.float16(1 / 3)

    def infer(inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"estimator_out": np.full(inputs["x"].shape, third)}

    mel = run(infer, rollout, SPEC, SOLVER, "float64").mel
    assert mel == pytest.approx(conditions(SPEC, rollout)["x"].astype(np.float64) + float(third), abs=1e-6)


def test_the_seam_is_the_change_of_played_frames_when_more_audio_arrives() -> None:
    rollout = Rollout("in chunks", (10, 20), 5)
    course = run(constant(), rollout, SPEC, SOLVER)
    assert compare_courses(course, course, {}, 80.0).seam == 0

    def looking_ahead(inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"estimator_out": inputs["mu"] * 0 + inputs["x"].shape[2]}

    course = run(looking_ahead, rollout, SPEC, SOLVER)
    assert compare_courses(course, course, {}, 80.0).seam == pytest.approx(10, rel=1e-5)
    thrice = run(looking_ahead, Rollout("in chunks", (10, 15, 40), 5), SPEC, SOLVER)
    assert compare_courses(thrice, thrice, {}, 80.0).seam == pytest.approx(30, rel=1e-5), "frames 0 to 9, at the end"
    once = run(looking_ahead, Rollout("short", (10,), 5), SPEC, SOLVER)
    assert compare_courses(once, once, {}, 80.0).seam is None


def test_only_estimators_are_run_in_the_solver() -> None:
    assert is_solvable(SPEC, SOLVER)
    assert not is_solvable(SPEC, None)
    assert not is_solvable(text_spec(), SOLVER)
    fixed = ModelSpec(tuple(replace(t, shape=t.resolve({FRAMES: 8})) for t in SPEC.inputs), SPEC.outputs)
    assert not is_solvable(fixed, SOLVER)
