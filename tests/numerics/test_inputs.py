from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.numerics.inputs import CONDITIONING, GENERATORS, Draw, Time, draw_inputs
from tests.numerics.specs import estimator_spec, text_spec

SIZES = {"seq_len": 40}


def one(generator: str, shape: tuple[int, ...], draw: Draw, **fields: object) -> np.ndarray:
    tensor = TensorSpec("only", shape, generator=generator, **fields)  # type: ignore[arg-type]  # fields of TensorSpec
    return draw_inputs(ModelSpec((tensor,), ()), draw)["only"]


def test_names_order_shapes_and_dtypes_follow_the_specification() -> None:
    arrays = draw_inputs(text_spec(), Draw({"batch": 3, "length": 5, "frames": 7}))
    assert [(n, a.shape, a.dtype.name) for n, a in arrays.items()] == [
        ("tokens", (3, 5), "int64"),
        ("keep", (3, 5), "bool"),
        ("memory", (3, 7, 16), "float32"),
    ]
    assert arrays["tokens"].min() >= 0
    assert arrays["tokens"].max() < 100
    assert arrays["keep"].all()
    assert arrays["memory"].min() >= -2
    assert arrays["memory"].max() < -1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32"])
def test_inputs_of_other_dtypes_are_drawn(dtype: str) -> None:
    assert one("normal", (4, 4), Draw({}), dtype=dtype).dtype.name == dtype


def test_the_same_seed_gives_the_same_values_and_another_seed_others() -> None:
    first, again, other = (draw_inputs(estimator_spec(), Draw(SIZES, seed)) for seed in (1, 1, 2))
    for name in first:
        assert np.array_equal(first[name], again[name])
    assert not np.array_equal(first["x"], other["x"])


@pytest.mark.parametrize(
    ("generator", "expected"),
    [("normal", [0.672093, -0.580044, 0.00474475]), ("mel", [-4.655814, -5.295903, -5.362176]),
     ("uniform", [0.381156, 0.655860, 0.769409]), ("mask", [1, 1, 0])],
)  # fmt: skip
def test_a_seed_draws_the_same_in_every_version(generator: str, expected: list[float]) -> None:
    """Stored references were computed from these inputs."""
    assert one(generator, (1, 4), Draw({}, 3, padded=True))[0, :3] == pytest.approx(expected, rel=1e-5)


def test_a_further_input_does_not_change_the_values_of_the_others() -> None:
    spec = estimator_spec()
    shorter = ModelSpec(spec.inputs[2:], spec.outputs, spec.guidance)
    for name, values in draw_inputs(shorter, Draw(SIZES, 3)).items():
        assert np.array_equal(values, draw_inputs(spec, Draw(SIZES, 3))[name])


def test_mel_is_like_log_mel() -> None:
    values = one("mel", (4, 80, 1000), Draw({}, 0))
    assert abs(values.mean() + 6) < 0.1
    assert abs(values.std() - 2) < 0.1
    steps = np.diff(values, axis=-1)
    assert steps.std() < 0.5 * values.std()  # white noise would have 1.41


def test_mel_is_an_autoregression_that_begins_with_its_noise() -> None:
    values = (one("mel", (20000, 3), Draw({}, 0)) + 6) / 2
    assert values.std(axis=0) == pytest.approx([1, 1, 1], abs=0.03), "from the first frame to the last"
    first, second, third = values.T
    assert np.corrcoef(values.T) == pytest.approx(np.array([[1, 0.9, 0.81], [0.9, 1, 0.9], [0.81, 0.9, 1]]), abs=0.01)
    fresh = np.corrcoef(second - 0.9 * first, third - 0.9 * second)
    assert fresh[0, 1] == pytest.approx(0, abs=0.03), "each frame adds a noise of its own"


@pytest.mark.parametrize("generator", ["normal", "uniform", "mel", "time", "mask", "ones"])
def test_coarse_values_are_exact_in_float16_and_bfloat16(generator: str) -> None:
    import ml_dtypes

    fields = {"low": 0.1, "high": 0.7} if generator in ("uniform", "time") else {}
    plain, coarse = (one(generator, (2, 200), Draw({}, 0, coarse=coarse), **fields) for coarse in (False, True))
    assert coarse.dtype == np.float32
    assert (coarse == coarse.astype(np.float16)).all()
    assert (coarse == coarse.astype(ml_dtypes.bfloat16).astype(np.float32)).all()
    assert coarse == pytest.approx(plain, rel=2**-8, abs=1e-7)
    tiny = one(generator, (2, 20000), Draw({}, 0, coarse=True, quiet=True), **fields)
    assert (tiny == tiny.astype(np.float16)).all(), "what float16 holds with fewer bits"


def test_values_beyond_the_range_of_float16_stay_finite() -> None:
    import ml_dtypes

    plain, coarse = (one("uniform", (1000,), Draw({}, 0, coarse=coarse), low=0, high=200_000) for coarse in (0, 1))
    assert (coarse > 65504).any()
    assert (coarse == coarse.astype(ml_dtypes.bfloat16).astype(np.float32)).all()
    assert coarse == pytest.approx(plain, rel=2**-8)
    within = coarse[coarse <= 65504]
    assert (within == within.astype(np.float16)).all()


def test_integers_are_not_made_coarse() -> None:
    plain, coarse = (one("integer", (100,), Draw({}, 0, coarse=coarse), dtype="int64", low=0, high=10**6)
                     for coarse in (False, True))  # fmt: skip
    assert (plain == coarse).all()
    assert plain.max() > 2**11


def test_a_plain_mask_hides_nothing() -> None:
    assert (one("mask", (3, 1, 20), Draw({})) == 1).all()


@given(rows=st.integers(1, 5), length=st.integers(1, 50), seed=st.integers(0, 10**6))
def test_a_padded_mask_hides_tails_and_keeps_one_row_complete(rows: int, length: int, seed: int) -> None:
    mask = one("mask", (rows, 1, length), Draw({}, seed, padded=True))[:, 0]
    assert (np.diff(mask, axis=1) <= 0).all()  # ones, then zeros
    assert (mask[:, 0] == 1).all()
    if length > 1:
        assert (mask == 0).any() or rows > 1
        assert rows == 1 or (mask.sum(axis=1) == length).any()


def test_masks_of_one_and_two_axes_have_tails_of_random_length() -> None:
    for seed in range(3):
        alone = one("mask", (30,), Draw({}, seed, padded=True))
        assert alone.sum() < 30
        assert (np.diff(alone) <= 0).all(), "ones, then zeros"
    assert one("mask", (2, 30), Draw({}, 1, padded=True)).sum() < 60
    lengths = one("mask", (40, 30), Draw({}, 1, padded=True)).sum(axis=1)
    assert len(set(lengths)) > 10
    assert (lengths == 30).any()


@pytest.mark.parametrize(("time", "expected"), [(Time.start, 0.25), (Time.end, 0.75)])
def test_time_is_drawn_at_its_start_and_end(time: Time, expected: float) -> None:
    assert (one("time", (4,), Draw({}, 0, time=time), low=0.25, high=0.75) == expected).all()


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("batch", [2, 6])
def test_guidance_pairs_have_equal_rows_without_conditions_in_the_second(batch: int, padded: bool) -> None:
    arrays = draw_inputs(estimator_spec(batch), Draw(SIZES, 5, padded=padded, guidance=True))
    half = batch // 2
    for name, values in arrays.items():
        if name in CONDITIONING:
            assert not values[half:].any()
            assert values[:half].any()
        else:
            assert np.array_equal(values[:half], values[half:])
    assert (arrays["mask"] == 0).any() == padded


def test_a_row_without_a_partner_is_drawn_like_any_other() -> None:
    arrays = draw_inputs(estimator_spec(5), Draw(SIZES, 5, guidance=True))
    assert np.array_equal(arrays["x"][:2], arrays["x"][2:4])
    assert [row.any() for row in arrays["mu"]] == [True, True, False, False, True]


def test_guidance_pairs_are_drawn_only_for_models_that_have_them() -> None:
    spec = estimator_spec()
    without = ModelSpec(spec.inputs, spec.outputs)
    assert draw_inputs(without, Draw(SIZES, 5, guidance=True))["mu"][1].any()


def test_every_generator_draws_values() -> None:
    from cosybuild.models.user_module.declared import GENERATORS as DECLARED

    assert set(GENERATORS) == set(DECLARED)
