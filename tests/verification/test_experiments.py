"""Each experiment finds its fault, and no other, in estimators of a few lines of numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cosybuild.numerics.inputs import Array
from cosybuild.verification.experiments import Infer, Inputs, try_properties
from cosybuild.verification.properties import LEAST_CHANGE, MOST_CHANGE, MOST_CHANGE_RESIZED
from tests.numerics.specs import text_spec
from tests.verification.trials import broken, chunked, full, plus, velocity

ROWS = ("finite", "zero_row", "independent_rows", "independent_rows", "row_order")
TRIED = (*ROWS, "masked_frames", "mask_used", *["inputs_used"] * 5)


@pytest.mark.parametrize("batch", [2, 3, 4])
@pytest.mark.parametrize("seed", [0, 7])
def test_every_property_is_tried_and_holds(batch: int, seed: int) -> None:
    whole = [*try_properties(full(batch=batch, seed=seed, larger_batch=batch + 1, in_place=velocity))]
    streamed = [*try_properties(chunked(batch=batch, seed=seed))]
    assert [f.name for f in whole] == [*ROWS, "batch_size", "masked_frames", "mask_used", "in_place",
                                       *["inputs_used"] * 5, "attention_span"]  # fmt: skip
    assert [f.name for f in streamed] == [*TRIED, "future_chunks", "attention_span"]
    assert all(f.holds for f in whole + streamed)
    assert all(f.value > 1e4 * f.bound if f.must_change else f.value < 1e-12 for f in whole + streamed)
    stays = {f.bound for f in whole + streamed if f.name != "batch_size"}
    assert stays == {0.0, LEAST_CHANGE, MOST_CHANGE["float32"]}
    assert [f.bound for f in whole if f.name == "batch_size"] == [MOST_CHANGE_RESIZED["float32"]]


@pytest.mark.parametrize(("change", "expected"), [(1e-4, []), (1e-2, ["batch_size"])])
def test_a_row_of_a_larger_batch_may_be_rounded_otherwise(change: float, expected: list[str]) -> None:
    def infer(inputs: Inputs) -> Array:
        return velocity(inputs) * (1 + change * (len(inputs["x"]) > 2))

    assert broken(full(infer, larger_batch=5)) == expected


def test_every_seed_draws_other_inputs() -> None:
    first, other = (trial.inputs(1)["x"] for trial in (full(), full(seed=5)))
    assert not np.array_equal(first, other)
    assert np.array_equal(full(seed=1).inputs(0)["x"], first)


def test_the_description_of_an_experiment_names_frames_and_rows() -> None:
    tried = [f.tried for f in try_properties(chunked(larger_batch=5, in_place=lambda inputs: velocity(inputs, 10)))]
    assert tried[:5] == [
        "a guidance pair",
        "mu, spks and cond of row 0 exchanged, row 1 compared",
        "all of row 1 exchanged, row 0 compared",
        "all of row 0 exchanged, row 1 compared",
        "rows 0 and 1 changed places",
    ]
    assert "2 rows against 5" in tried
    assert "the output bound to x's memory" in tried
    assert "x, mu and cond of masked frames 5..23 exchanged, the valid ones compared" in tried
    assert "frames 5.. masked or not" in tried
    assert [f"{name} exchanged" in tried for name in ("x", "mu", "t", "spks", "cond", "mask")] == [*[True] * 5, False]
    assert "x, mu and cond of frames 10..15 exchanged, frames 0..9 compared" in tried
    assert "x, mu and cond of frame 9 (the last of its chunk) exchanged, frame 0 compared" in tried
    whole = [f.tried for f in try_properties(full())]
    assert whole[-1] == "x, mu and cond of frame 23 (the last of all) exchanged, frame 0 compared"


def test_no_experiment_on_chunks_runs_if_chunks_cannot_be_distinguished() -> None:
    assert [f.name for f in try_properties(chunked(chunked_length=0))] == list(TRIED)


@pytest.mark.parametrize(("chunk", "length", "valid"), [(0, 24, 12), (10, 24, 5), (40, 24, 12), (0, 1, 1), (2, 1, 1)])
def test_valid_frames_end_within_a_chunk(chunk: int, length: int, valid: int) -> None:
    assert full(chunk=chunk, length=length).valid == valid


def _of_row(source: int, target: int, name: str) -> Callable[[Inputs], Array]:
    def leak(inputs: Inputs) -> Array:
        leaked = np.zeros_like(inputs["x"])
        leaked[target] = inputs[name][source, :, None] if inputs[name].ndim < 3 else inputs[name][source]
        return leaked

    return leak


@pytest.mark.parametrize("name", ["mu", "spks", "cond"])
def test_conditions_of_row_zero_that_reach_row_one_are_found(name: str) -> None:
    assert broken(full(plus(_of_row(0, 1, name)))) == ["zero_row", "independent_rows", "row_order"]


def test_conditions_of_row_zero_in_place_of_zeros_are_found() -> None:
    """A default for rows without conditions has this effect; only a guidance pair shows it."""

    def infer(inputs: Inputs) -> Array:
        unset = not inputs["spks"][1].any()
        return velocity({**inputs, "spks": inputs["spks"][[0, 0]]} if unset else inputs)

    (finding,) = (f for f in try_properties(full(infer)) if not f.holds)
    assert (finding.name, finding.tried) == ("zero_row", "mu, spks and cond of row 0 exchanged, row 1 compared")


def test_inputs_shared_by_a_pair_do_not_count_for_the_zero_row() -> None:
    assert broken(full(plus(_of_row(0, 1, "x")))) == ["independent_rows", "row_order"]


@pytest.mark.parametrize("name", ["x", "mu", "spks", "cond"])
def test_an_input_of_row_one_that_reaches_row_zero_is_found(name: str) -> None:
    (first, *others) = (f for f in try_properties(full(plus(_of_row(1, 0, name)))) if not f.holds)
    assert (first.name, first.tried) == ("independent_rows", "all of row 1 exchanged, row 0 compared")
    assert [f.name for f in others] == ["row_order"]


def test_an_input_of_row_one_that_reaches_a_later_row_is_found() -> None:
    """When row 1 is exchanged, only row 0 is compared; the exchange of both rows shows the other faults."""
    assert broken(full(plus(_of_row(1, 2, "x")), batch=4)) == ["row_order"]


def test_every_row_except_the_first_is_tried_as_the_zero_row() -> None:
    assert "zero_row" in broken(full(plus(_of_row(0, 3, "spks")), batch=4))


def test_a_bias_of_one_row_is_found() -> None:
    bias = np.array([0.0, 1.0]).reshape(2, 1, 1)
    assert broken(full(plus(lambda inputs: bias))) == ["row_order"]


def test_other_rows_stay_where_they_are_when_two_change_places() -> None:
    bias = np.array([0.0, 0.0, 1.0, 2.0]).reshape(4, 1, 1)
    assert broken(full(plus(lambda inputs: bias), batch=4)) == []


@pytest.mark.parametrize(("batch", "larger"), [(2, 5), (2, 3), (4, 3)])
def test_a_factor_that_depends_on_the_batch_size_is_found(batch: int, larger: int) -> None:
    def infer(inputs: Inputs) -> Array:
        result: Array = velocity(inputs) * (1 + 1e-3 * inputs["x"].shape[0])
        return result

    assert broken(full(infer, batch=batch, larger_batch=larger)) == ["batch_size"]
    assert broken(full(infer, batch=batch)) == []
    assert broken(full(batch=batch, larger_batch=larger)) == []


@pytest.mark.parametrize("batch", [2, 3, 4])
@pytest.mark.parametrize("name", ["x", "mu", "cond"])
def test_masked_frames_that_reach_valid_ones_are_found(name: str, batch: int) -> None:
    def mean(inputs: Inputs) -> Array:
        return np.asarray(inputs[name].mean(axis=2, keepdims=True))

    assert broken(full(plus(mean), batch=batch)) == ["masked_frames"]


def test_a_masked_frame_that_reaches_one_frame_is_found() -> None:
    for target in (0, 11):

        def leak(inputs: Inputs, target: int = target) -> Array:
            leaked = np.zeros_like(inputs["x"])
            leaked[..., target] = inputs["x"][..., -1]
            return leaked

        assert broken(full(plus(leak))) == ["masked_frames"]


@pytest.mark.parametrize(
    ("source", "target", "failing"),
    [(0, 1, ["independent_rows", "row_order"]), (1, 0, ["independent_rows", "row_order"]), (1, 2, ["row_order"])],
)
def test_masked_frames_of_another_row_count_for_the_rows_only(source: int, target: int, failing: list[str]) -> None:
    def leak(inputs: Inputs) -> Array:
        leaked = np.zeros_like(inputs["x"])
        leaked[target] = inputs["x"][source, :, -1:]
        return leaked

    assert broken(full(plus(leak), batch=4)) == failing


def test_values_in_masked_frames_of_the_output_are_ignored() -> None:
    assert broken(full(plus(lambda inputs: inputs["x"]))) == []


def test_only_masked_frames_are_exchanged() -> None:
    """The last valid frame is not exchanged, and every masked frame is."""

    def frame(index: int) -> Callable[[Inputs], Array]:
        return lambda inputs: np.asarray(inputs["x"][..., index, None])

    assert broken(full(plus(frame(11)))) == []
    assert broken(full(plus(frame(12)))) == ["masked_frames"]
    assert broken(full(plus(frame(23)))) == ["masked_frames"]


def test_a_mask_without_effect_is_found() -> None:
    def infer(inputs: Inputs) -> Array:
        return velocity({**inputs, "mask": np.ones_like(inputs["mask"])})

    assert broken(full(infer)) == ["masked_frames", "mask_used"]


def test_a_mask_that_only_hides_the_output_is_found() -> None:
    """Valid frames are compared, because silent masked frames do not show that the mask is used."""

    def infer(inputs: Inputs) -> Array:
        return velocity({**inputs, "mask": np.ones_like(inputs["mask"])}) * inputs["mask"]

    assert broken(full(infer)) == ["masked_frames", "mask_used"]


@pytest.mark.parametrize("name", ["x", "mu", "t", "spks", "cond"])
def test_an_input_without_effect_is_found(name: str) -> None:
    def infer(inputs: Inputs) -> Array:
        return velocity({**inputs, name: np.zeros_like(inputs[name])})

    unused = [f for f in try_properties(full(infer)) if not f.holds]
    assert [(f.name, f.tried) for f in unused] == [("inputs_used", f"{name} exchanged")]
    assert unused[0].bound == LEAST_CHANGE


def test_an_output_that_overwrites_an_input_still_in_use_is_found() -> None:
    seen: list[Inputs] = []

    def in_place(inputs: Inputs) -> Array:
        seen.append(inputs)
        inputs["x"][..., 0] = 0
        result: Array = inputs["x"]
        result[...] = velocity(inputs)
        return result

    assert broken(full(in_place=in_place)) == ["in_place"]
    assert set(seen[0]) == {"x", "mask", "mu", "t", "spks", "cond"}


@pytest.mark.parametrize(
    ("chunk", "failing"),
    [
        (10, []),
        (20, ["future_chunks"]),
        (11, ["future_chunks"]),
        (9, ["future_chunks", "attention_span"]),  # frame 9 depends on frames 10 to 15
        (5, ["mask_used", "attention_span"]),
        (2, ["attention_span"]),
    ],
)
def test_chunks_of_another_length_are_found(chunk: int, failing: list[str]) -> None:
    assert broken(chunked(chunk)) == failing


@pytest.mark.parametrize("name", ["x", "mu", "cond"])
def test_a_later_chunk_that_has_an_effect_through_one_input_is_found(name: str) -> None:
    def last(inputs: Inputs) -> Array:
        return np.asarray(inputs[name][..., -1:] * inputs["mask"][..., -1:])

    assert broken(chunked(infer=plus(last, 10))) == ["future_chunks"]


def test_every_frame_of_the_first_chunk_is_compared() -> None:
    for target in (0, 9):

        def leak(inputs: Inputs, target: int = target) -> Array:
            leaked = np.zeros_like(inputs["x"])
            leaked[..., target] = inputs["x"][..., -1] * inputs["mask"][..., -1]
            return leaked

        assert broken(chunked(infer=plus(leak, 10))) == ["future_chunks"]


def test_chunks_longer_than_the_other_experiments_are_tried() -> None:
    assert broken(chunked(40, chunk=40, chunked_length=61)) == []
    assert broken(chunked(30, chunk=40, chunked_length=61)) == ["future_chunks", "attention_span"]


def _deaf(frame: int, heard: int) -> Infer:
    """Return an estimator whose frame 0 does not depend on `frame`, and a little on `heard`."""

    def infer(inputs: Inputs) -> Array:
        result = velocity(inputs, 10)
        hidden = {**inputs, "mask": inputs["mask"].copy()}
        hidden["mask"][..., frame] = 0
        result[..., 0] = velocity(hidden, 10)[..., 0]
        result[..., 0] += 1e-3 * (inputs["x"] * inputs["mask"])[..., heard]
        return result

    return infer


def test_the_first_frame_must_depend_on_the_last_frame_of_its_chunk() -> None:
    assert broken(chunked(infer=_deaf(9, heard=8))) == ["attention_span"], "frame 1 hears it, frame 0 hears frame 8"
    assert broken(chunked(infer=_deaf(9, heard=10))) == ["future_chunks", "attention_span"]


def test_full_attention_that_ends_a_frame_early_is_found() -> None:
    def short(inputs: Inputs) -> Array:
        hidden = {**inputs, "mask": inputs["mask"].copy()}
        hidden["mask"][..., -1] = 0
        return velocity(hidden)

    assert broken(full(short)) == ["attention_span"]


def test_nothing_is_compared_after_values_that_are_not_finite() -> None:
    def infer(inputs: Inputs) -> Array:
        result = velocity(inputs)
        result[0, 2, 3:5] = np.inf, np.nan
        return result

    (finding,) = try_properties(full(infer))
    assert (finding.name, finding.value, finding.bound) == ("finite", 1.0, 0.0)
    assert str(finding) == (
        "finite (the output of finite inputs is finite) does not hold, a guidance pair: "
        "2 of 384 elements are not finite"
    )


def test_values_that_are_finite_only_for_a_guidance_pair_are_found() -> None:
    """The output becomes infinite if row 1 has conditions."""

    def infer(inputs: Inputs) -> Array:
        return np.full_like(inputs["x"], np.inf) if inputs["spks"][1].any() else velocity(inputs)

    assert "independent_rows" in broken(full(infer))


@pytest.mark.parametrize("computed_in", MOST_CHANGE)
def test_the_allowed_change_depends_on_the_type(computed_in: str) -> None:
    def leaking(amount: float) -> Infer:
        return lambda inputs: (
            velocity(inputs) + amount * np.sign(inputs["x"].mean()) * np.sqrt(np.mean(velocity(inputs) ** 2))
        )

    bound = MOST_CHANGE[computed_in]
    assert broken(full(leaking(bound / 10), computed_in=computed_in)) == []
    assert broken(full(leaking(-20 * bound), computed_in=computed_in))


def test_a_trial_needs_an_estimator_and_two_rows() -> None:
    with pytest.raises(AssertionError):
        next(try_properties(full(spec=text_spec())))
    with pytest.raises(AssertionError):
        next(try_properties(full(batch=1)))
