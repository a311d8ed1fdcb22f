"""Probabilities of classes: their metrics, their recognition and their gate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cosybuild.config.groups.precision import Target
from cosybuild.config.groups.verify import OutputLimits, VerifyMode, VerifySettings
from cosybuild.numerics.gates import LOWERED
from cosybuild.numerics.inputs import Array
from cosybuild.numerics.metrics import METRICS, is_distribution
from cosybuild.numerics.tolerance import Tolerance
from cosybuild.verification.judge import Limits, OwnLimits, compare
from cosybuild.verification.scope import own_limits


def softmax(scores: Array) -> Array:
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(-1, keepdims=True), np.float32)


def test_only_the_probability_that_is_given_up_counts() -> None:
    reference = np.array([[0.5, 0.3, 0.2], [0.34, 0.33, 0.33]])
    same = np.array([[0.9, 0.1, 0.0], [0.4, 0.3, 0.3]])
    close = np.array([[0.5, 0.3, 0.2], [0.33, 0.34, 0.33]])
    other = np.array([[0.2, 0.3, 0.5], [0.34, 0.33, 0.33]])
    found = [METRICS["top1_loss"](actual, reference) for actual in (same, close, other)]
    assert found == pytest.approx([0, 0.01, 0.3])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (softmax(np.random.default_rng(0).standard_normal((3, 7))), True),
        (np.array([[0.5, 0.5]]), True),
        (np.array([[1.5, -0.5]]), False),
        (np.array([1.0]), False),
        (np.array([[0, 1]]), False),
        (np.random.default_rng(0).random((3, 7)), False),
    ],
)
def test_distributions_are_recognised_by_their_values(values: Array, expected: bool) -> None:
    assert is_distribution(values) is expected


def test_a_softmax_of_thousands_of_classes_is_judged_by_its_classes() -> None:
    """The root mean square of 6,000 probabilities is so small that a small error of one exceeds `max_rel`."""
    scores = np.random.default_rng(1).standard_normal((1, 6000)) * 2
    scores[0, 17] = 12.0
    reference = softmax(scores)
    actual = reference.copy()
    actual[0, 17] *= 0.985
    limits = Limits(LOWERED[Target.fp16], target=Target.fp16)
    good = compare("probabilities", actual, reference, limits)
    assert good.figures["max_rel"] > LOWERED[Target.fp16]["max_rel"]
    assert good.fault is None
    reference[0, :2], actual[0, :2] = (0.6, 0.01), (0.01, 0.6)
    reference[0, 2:] *= 0.39 / reference[0, 2:].sum()
    actual[0, 2:] = reference[0, 2:]
    wrong = compare("probabilities", actual, reference, limits)
    assert wrong.fault is not None
    assert "top5_loss" in METRICS


def test_an_output_has_the_limits_that_the_user_states() -> None:
    reference = np.array([1e-5, 2e-5, 3e-5])
    actual = reference + 4e-6
    limits = Limits({"snr_db": 94.0}, Tolerance(1e-4, 1e-8))
    assert compare("y", actual, reference, limits).fault is not None
    for own in (OwnLimits(floor=5e-6), OwnLimits({"snr_db": 10.0}, Tolerance(0.5, 0))):
        stated = Limits({"snr_db": 94.0}, Tolerance(1e-4, 1e-8), own={"y": own})
        assert compare("y", actual, reference, stated).fault is None
        assert compare("z", actual, reference, stated).fault is not None
    assert compare("y", actual + 2e-6, reference, Limits({}, Tolerance(0, 0), own={"y": OwnLimits(floor=5e-6)})).fault


def test_a_relative_tolerance_of_one_output_keeps_the_scale_of_the_absolute_one() -> None:
    """In the mode `strict` the absolute tolerance scales with the output; one that is stated for an output does not."""
    verify = VerifySettings(outputs={"a": OutputLimits(rtol=0.5), "b": OutputLimits(atol=0.5)})
    found = own_limits(verify)
    assert found["a"].tolerance == Tolerance(0.5, verify.atol, scaled=True)
    assert found["b"].tolerance == Tolerance(verify.rtol, 0.5, scaled=False)
    upstream = own_limits(replace(verify, mode=VerifyMode.upstream))
    assert upstream["a"].tolerance == Tolerance(0.5, verify.atol, scaled=False)
