"""The judge of outputs: values that pass or miss a gate and a tolerance, and values that are not compared."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cosybuild.config.groups.model import Family
from cosybuild.config.groups.precision import Target
from cosybuild.config.groups.verify import VerifySettings
from cosybuild.errors import VerificationError
from cosybuild.figure import plain
from cosybuild.models.spec import ModelSpec, TensorSpec
from cosybuild.models.subject import Subject
from cosybuild.numerics.gates import OF_KIND, RESOLUTION
from cosybuild.numerics.inputs import Draw
from cosybuild.numerics.metrics import Kind
from cosybuild.numerics.tolerance import Tolerance
from cosybuild.verification.cases import Case
from cosybuild.verification.graph_limits import graph_limits
from cosybuild.verification.judge import Advice, Comparison, Fault, Limits, OwnLimits, compare, judge
from cosybuild.verification.scope import float32_limits, stated_gates
from cosybuild.verification.spare import Spare
from tests.onnxgraph.graphs import linear

FLOATS = arrays(np.float32, (3, 4), elements=st.floats(-100, 100, width=32))
CASE = Case("profile min", Draw({"seq_len": 4}))
ADVICE = Advice("Next: values.", "Next: not finite.")


def against(actual: Any, reference: Any, tolerance: Tolerance | None = None, **gate: float) -> Comparison:
    return compare("y", np.asarray(actual), np.asarray(reference), Limits(gate, tolerance))


def fault(*arguments: Any, **gate: float) -> Fault:
    found = against(*arguments, **gate).fault
    assert found is not None
    return found


@given(FLOATS, FLOATS, st.sampled_from([0.0, 1e-3, 1.0]), st.sampled_from([0.0, 1e-2, 10.0]))
def test_the_tolerance_equals_allclose_of_numpy(
    actual: np.ndarray, reference: np.ndarray, rtol: float, atol: float
) -> None:
    wide = actual.astype(np.float64), reference.astype(np.float64)
    passes = against(actual, reference, Tolerance(rtol, atol)).fault is None
    assert passes == np.allclose(*wide, rtol=rtol, atol=atol)


def test_a_fault_describes_the_worst_element_and_the_errors() -> None:
    reference = np.zeros((2, 3, 50), np.float32)
    reference[1, 2, 7] = 2.0
    actual = reference.copy()
    actual[1, 2, 7] = 2.5
    actual[0, 0, 0] = 0.1
    found = fault(actual, reference, Tolerance(1e-2, 1e-3))
    assert found.text == (
        "y has 2 of 300 elements outside rtol 0.01, atol 0.001. The worst element y[1, 2, 7] is 2.5, the reference 2: "
        "apart by 0.5 where 0.021 is allowed; error p50 0, p90 0, p99 0, p100 0.5"
    )
    assert found.output == "y"
    assert json.loads(json.dumps(found.facts)) == {
        "index": [1, 2, 7],
        "actual": 2.5,
        "reference": 2.0,
        "failing": 2,
        "total": 300,
        "percentiles": {"p50": 0.0, "p90": 0.0, "p99": 0.0, "p100": 0.5},
        "snr_db": pytest.approx(11.87, abs=0.01),
    }


def test_the_reported_element_is_the_furthest_outside_its_tolerance() -> None:
    found = fault([101.0, 0.5], [100.0, 0.0], Tolerance(rtol=0.02, atol=0.01))
    assert (found.facts["index"], found.facts["failing"]) == ([1], 1)
    # With two errors, half of them are at least the larger: a percentile is an error that occurred.
    assert found.facts["percentiles"] == {"p50": 1.0, "p90": 1.0, "p99": 1.0, "p100": 1.0}


def test_without_a_tolerance_the_reported_element_has_the_largest_error() -> None:
    found = fault([1.0, 2.0, 3.5], [1.0, 2.1, 3.0], max_abs=0.4)
    assert found.text == (
        "y has max_abs 0.5 where at most 0.4 is asked for. The worst element y[2] is 3.5, the reference 3: apart by "
        "0.5; error p50 0.1, p90 0.5, p99 0.5, p100 0.5"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_not_finite_where_the_reference_is_never_passes(value: float) -> None:
    good = np.ones((2, 2), np.float32)
    bad = good.copy()
    bad[1, 0] = value
    compared = against(bad, good, Tolerance(1e3, 1e3), snr_db=-1e3)
    assert compared.fault is not None
    assert not compared.fault.finite
    assert [miss.metric for miss in compared.missed] == ["snr_db"]
    assert (
        f"1 of 4 values of y are NaN or infinite, and their reference is not: the first is y[1, 0], which is {value}"
        in (compared.fault.text)
    )
    facts = json.loads(json.dumps(compared.fault.facts, allow_nan=False))
    assert (facts["index"], facts["actual"], facts["reference"]) == ([1, 0], plain(value), 1.0)
    assert (facts["snr_db"], facts["failing"], facts["percentiles"]["p100"]) == ("NaN", 1, "Infinity")


def test_where_the_reference_is_nan_nothing_is_compared() -> None:
    reference = np.array([np.nan, 1.0, 2.0])
    for undefined in (np.nan, 0.0, np.inf):
        compared = against([undefined, 1.0, 2.5], reference, Tolerance(0.5, 0.0))
        assert compared.fault is None
        assert compared.figures["max_abs"] == 0.5
    found = fault([np.nan, 1.0, 2.5], reference, Tolerance(0.1, 0.0), snr_db=90.0)
    assert found.facts["index"] == [2]
    assert "1 of 3 elements outside" in found.text


def test_an_infinity_of_the_reference_must_be_equal() -> None:
    reference = np.array([np.inf, -np.inf, 1.0])
    with np.errstate(all="raise"):
        assert against(reference, reference, Tolerance(0, 0), snr_db=100.0).fault is None
    for other in (3.0, -np.inf, np.nan):
        found = fault([other, -np.inf, 1.0], reference, Tolerance(0, 0))
        assert (found.finite, found.facts["index"]) == (False, [0])
    assert "1 of 3 values of y are finite where the reference is infinite" in fault([3.0, -np.inf, 1.0], reference).text


@pytest.mark.filterwarnings("error")
def test_an_empty_output_and_one_without_numbers_pass() -> None:
    empty = np.zeros((2, 0), np.float32)
    assert against(empty, empty, Tolerance(1e-4, 1e-4, scaled=True), snr_db=90.0).fault is None
    nowhere = np.full(3, np.nan)
    assert against(nowhere, nowhere, Tolerance(1e-4, 1e-4, scaled=True), snr_db=90.0).fault is None


def test_another_shape_never_passes() -> None:
    found = fault(np.zeros((2, 3)), np.zeros((2, 4)), Tolerance(1, 1))
    assert found.text == "y has shape (2, 3), the reference (2, 4)"
    assert found.facts == {"shapes": [[2, 3], [2, 4]]}


def test_a_scaled_tolerance_follows_large_outputs_and_not_small_ones() -> None:
    tolerance = Tolerance(0.0, 1e-3, scaled=True)
    large, small = np.full(8, 50.0), np.full(8, 1e-3)
    assert against(large + 0.04, large, tolerance).fault is None
    assert against(large + 0.06, large, tolerance).fault is not None
    assert against(small + 9e-4, small, tolerance).fault is None
    assert against(small + 1.1e-3, small, tolerance).fault is not None


def test_a_small_error_everywhere_fails_the_gate_and_no_element() -> None:
    reference = np.ones((10, 10))
    actual = reference + 1e-4 * np.where(np.arange(100).reshape(10, 10) % 2, 1, -1)  # 80 dB
    assert against(actual, reference, Tolerance(1e-3, 0)).fault is None
    assert against(actual, reference, Tolerance(1e-3, 0), snr_db=79.0).fault is None
    found = fault(actual, reference, Tolerance(1e-3, 0), snr_db=81.0)
    assert (found.facts["failing"], found.facts["snr_db"]) == (0, pytest.approx(80, abs=0.1))
    assert found.text.startswith("y has snr_db 80 dB where at least 81 dB is asked for. The worst element y[0, 0] is ")


def test_a_reference_of_zeros_is_judged_by_the_tolerance_only() -> None:
    zero = np.zeros(4)
    assert against(zero + 1e-6, zero, Tolerance(0, 1e-5), snr_db=90.0).fault is None
    assert against(zero + 1e-4, zero, Tolerance(0, 1e-5), snr_db=90.0).fault is not None
    assert against(zero + 1e-4, zero, snr_db=90.0).fault is not None, "else nothing would bound it"


@pytest.mark.parametrize("target", [Target.fp32, Target.fp16, Target.bf16])
def test_a_ratio_is_not_applied_below_the_rounding_of_the_type(target: Target) -> None:
    resolution = RESOLUTION[target]
    # The last element is much smaller than the rms, so its unit is small; the second is much larger.
    reference = np.array([1.0, 1000.0, *[1.0] * 5000, 1e-3])
    limits = Limits({"snr_db": 400.0, "max_rel": 0.0}, target=target)
    rms = float(np.sqrt(np.mean(reference**2)))
    within = 1.9 * resolution * np.maximum(reference, rms)
    compared = compare("y", reference + within, reference, limits)
    assert (compared.fault, compared.missed, compared.warning) == (None, (), "")
    beyond = np.where(np.arange(reference.size) == 0, 2.1 * resolution * rms, 0.0)
    assert compare("y", reference + beyond, reference, limits).fault is not None
    largest = np.where(np.arange(reference.size) == 1, 2.1 * resolution * 1000.0, 0.0)
    assert compare("y", reference + largest, reference, limits).fault is not None


def test_an_output_of_rounding_errors_alone_passes_with_a_warning() -> None:
    """The difference of two equal values of size 1 is 2.98e-8 in one computation and 0 in another."""
    noise = np.array([2.0**-25, 0.0, 2.0**-25])
    compared = against(noise[::-1] * [0, 1, 1], noise, Tolerance(1e-4, 3e-4, scaled=True), snr_db=94.0)
    assert compared.fault is None
    assert compared.warning == (
        "y is at most 2.98e-08, and differs by at most 2.98e-08, which float32 rounds away in values of size 1; its "
        "signal-to-noise ratio of 3.0 dB was not required"
    )
    judged = judge(CASE, "here", {"y": noise * 0}, {"y": noise}, Limits({"snr_db": 94.0}))
    assert judged.warnings == [f"Case {CASE.name}, here: {judged.outputs['y'].warning}"]
    assert against(noise * 1e3, noise, snr_db=94.0).fault is not None


@pytest.mark.parametrize(("error", "passes"), [(2e-6, True), (1e-4, False)])
def test_a_sparse_output_of_another_model_may_miss_the_ratio_alone(error: float, passes: bool) -> None:
    """A map of detections is zero almost everywhere, so that usual rounding errors are much of its root mean square."""
    reference, rng = np.zeros(100_000), np.random.default_rng(0)
    reference[:10] = 0.5
    actual = reference.copy()
    actual[:2000] += error * rng.uniform(-1, 1, 2000)
    tolerance = Tolerance(1e-4, 3e-4)
    measured = Limits({"snr_db": 94.0}, tolerance)
    other = Limits({"snr_db": 94.0}, tolerance, spare=Spare(80.0, tolerance))
    assert compare("y", actual, reference, measured).fault is not None
    found = compare("y", actual, reference, other)
    assert (found.fault is None) == passes
    assert bool(found.warning) == passes
    if passes:
        assert "where 94 dB is usual" in found.warning
    tight = Limits({"snr_db": 94.0}, tolerance, spare=Spare(80.0, Tolerance(0.0, 1e-7)))
    assert compare("y", actual, reference, tight).fault is not None


def test_a_gate_that_the_user_states_for_an_output_is_not_relaxed() -> None:
    reference, rng = np.zeros(100_000), np.random.default_rng(0)
    reference[:10] = 0.5
    actual = reference.copy()
    actual[:2000] += 2e-6 * rng.uniform(-1, 1, 2000)
    tolerance = Tolerance(1e-4, 3e-4)
    spare = Spare(80.0, tolerance)
    own = {"y": OwnLimits({"snr_db": 120.0})}
    assert compare("y", actual, reference, Limits({"snr_db": 94.0}, tolerance, spare=spare)).fault is None
    assert compare("y", actual, reference, Limits({"snr_db": 94.0}, tolerance, spare=spare, own=own)).fault is not None


def test_only_models_of_users_without_a_stated_ratio_have_a_spare_ratio() -> None:
    verify, stated = VerifySettings(), VerifySettings(snr_db=95.0)
    spec = ModelSpec((TensorSpec("x", ("n", 4)),), (TensorSpec("y", ("n", 3)),))
    spared = {
        (family, ratio) for family in Family for ratio, settings in ((94.0, verify), (95.0, stated))
        if graph_limits(linear(), settings, Subject(family, spec, {})).spare is not None
    }  # fmt: skip
    assert spared == {(Family.module, 94.0), (Family.onnx, 94.0)}


def test_a_bound_in_the_units_of_the_output_is_always_applied() -> None:
    exact = np.ones(3)
    assert against(exact, exact, max_abs=-1.0).fault is not None
    found = fault(exact * (1 + 2.0**-23), exact, max_abs=0.0, snr_db=200.0)
    assert "snr_db" not in found.text.partition(".")[0]


def test_the_record_of_a_case_has_one_form_for_every_runtime() -> None:
    y = np.arange(4, dtype=np.float32)
    judged = judge(CASE, "as stored", {"y": y, "z": y + 1}, {"y": y, "z": y}, Limits({"max_abs": 2.0}))
    judged.check(ADVICE)
    facts = json.loads(json.dumps(judged.facts(), allow_nan=False))
    assert facts["case"] == "seq_len=4 (profile min)"
    assert {name: facts[name] for name in CASE.facts()} == CASE.facts()
    assert (facts["how"], set(facts["outputs"])) == ("as stored", {"y", "z"})
    assert (facts["outputs"]["y"]["snr_db"], facts["outputs"]["z"]["max_abs"]) == ("Infinity", 1.0)
    assert judged.figures["max_abs"] == 1.0, "the worst of all outputs"


@pytest.mark.parametrize(("value", "hint"), [(3.0, "Next: values."), (np.nan, "Next: not finite.")])
def test_a_fault_is_an_error_with_the_advice_for_its_kind(value: float, hint: str) -> None:
    good = np.ones(3)
    judged = judge(
        CASE, "GPU, profile 0", {"x": good, "y": good * value}, {"x": good, "y": good}, Limits({"max_abs": 1.0})
    )
    assert judged.fault is not None
    with pytest.raises(VerificationError) as caught:
        judged.check(ADVICE, "and more")
    assert caught.value.message == f"Case seq_len=4 (profile min), GPU, profile 0: {judged.fault.text}; and more."
    assert caught.value.hint == hint


@pytest.mark.parametrize("target", [Target.fp32, Target.fp16, Target.bf16])
def test_another_token_is_no_rounding_of_the_right_one(target: Target) -> None:
    """A rounded sum of powers gives a neighbouring token, which the rounding of fp16 would explain."""
    tokens = np.random.default_rng(0).integers(0, 6561, (1, 200))
    limits = Limits({}, target=target, kinds={"y": Kind.tokens})
    assert compare("y", tokens, tokens, limits).fault is None
    assert compare("y", tokens + 1, tokens, limits).fault is not None


def test_a_vector_is_held_to_its_direction_in_16_bits_and_to_every_digit_in_float32() -> None:
    vector = np.random.default_rng(0).standard_normal((1, 192))
    limits = Limits({"snr_db": 94.0}, kinds={"y": Kind.embedding})
    longer = vector * 1.01
    assert compare("y", longer, vector, limits).fault is not None
    lowered = Limits({"snr_db": 94.0}, target=Target.fp16, kinds={"y": Kind.embedding})
    assert compare("y", longer, vector, lowered).fault is None
    turned = vector + 0.1 * np.random.default_rng(1).standard_normal((1, 192))
    assert compare("y", turned, vector, lowered).fault is not None


WAVES = {"y": Kind.waveform, "f": Kind.f0, "z": Kind.any}


@pytest.mark.parametrize(("asked", "ratio"), [(94.0, 25.0), (None, 25.0), (60.0, 60.0), (10.0, 10.0)])
def test_a_stated_ratio_holds_for_waveforms_too(asked: float | None, ratio: float) -> None:
    limits = float32_limits(VerifySettings(snr_db=asked), WAVES)
    assert limits.of("y").gate["snr_db"] == ratio
    assert limits.of("y").gate["log_mel_db"] == OF_KIND[Kind.waveform]["log_mel_db"]
    assert limits.of("f").gate == OF_KIND[Kind.f0]
    assert limits.of("z").gate == ({} if asked is None else {"snr_db": asked})


def test_the_key_names_the_gates_that_a_stated_ratio_changes() -> None:
    spec = ModelSpec((), (TensorSpec("y", (1, "n"), kind="waveform"), TensorSpec("f", (1, "n"), kind="f0")))
    assert stated_gates(VerifySettings(), spec) == {}
    assert stated_gates(VerifySettings(snr_db=None), spec) == {}
    assert stated_gates(VerifySettings(snr_db=60.0), ModelSpec((), spec.outputs[1:])) == {}
    (gates,) = stated_gates(VerifySettings(snr_db=60.0), spec).values()
    assert {kind: gate["snr_db"] for kind, gate in gates.items()} == {"waveform": 60.0}
