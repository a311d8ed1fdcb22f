"""The comparison with float64 accepts other float32 kernels and refuses relevant faults."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.exact import FLOOR, Exact, check_same, exact, exact_beside, in_float64, widened
from tests.models.fixtures import VERSIONS, golden_inputs, tiny_estimator
from tests.perturbation import perturb, perturbed_results

pytestmark = pytest.mark.arithmetic


def called(version: int, frames: int = 37) -> tuple[nn.Module, list[Tensor], Exact]:
    estimator, inputs = tiny_estimator(version), golden_inputs(version, frames)
    return estimator, inputs, exact(estimator, *inputs)


def linear_layers(module: nn.Module) -> list[nn.Linear]:
    return [part for part in module.modules() if isinstance(part, nn.Linear)]


def one_layer_in_half_precision(module: nn.Module) -> None:
    layers = linear_layers(module)
    layer = layers[len(layers) // 2]
    layer.register_forward_hook(lambda _, inputs, result: result.half().float())


def a_scale_that_is_missing(module: nn.Module) -> None:
    for part in module.modules():
        if hasattr(part, "dim_head"):
            part.scale = 1.0


def a_weight_off_by_a_thousandth(module: nn.Module) -> None:
    with torch.no_grad():
        linear_layers(module)[-1].weight.mul_(1.001)


def a_frame_that_is_missing(module: nn.Module) -> None:
    def blank(_: nn.Module, inputs: object, result: Tensor) -> Tensor:
        result = result.clone()
        result[0, :, 5] = 0
        return result

    module.register_forward_hook(blank)


FAULTS = [
    one_layer_in_half_precision, a_scale_that_is_missing, a_weight_off_by_a_thousandth, a_frame_that_is_missing
]  # fmt: skip


@pytest.mark.parametrize("plant", FAULTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_result_with_a_fault_is_refused(version: int, plant: Callable[[nn.Module], None]) -> None:
    estimator, inputs, expected = called(version)
    expected.check(estimator(*inputs))
    faulty = copy.deepcopy(estimator)
    plant(faulty)
    with pytest.raises(AssertionError, match="error against float64"):
        expected.check(faulty(*inputs))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_result_with_another_epsilon_is_refused(version: int) -> None:
    """With large inputs float32's rounding hides the fault; float64 shows it."""
    estimator, inputs, expected = called(version)
    wide = widened(estimator)
    for part in wide.modules():
        if hasattr(part, "eps"):
            part.eps *= 10
    with pytest.raises(AssertionError, match="dB in float64"):
        check_same(in_float64(wide, *inputs), expected.values)


@pytest.mark.parametrize("version", VERSIONS)
def test_results_of_other_kernels_pass(version: int) -> None:
    """Results that are changed by four units in the last place stand for other kernels."""
    estimator, inputs, expected = called(version)
    with perturbed_results(4):
        moved = estimator(*inputs)
        expected.check(moved)
        # Both sides may have other rounding errors.
        exact(estimator, *inputs).check(moved)


def test_an_exact_reference_leaves_room_for_rounding() -> None:
    values = np.linspace(1, 2, 100)
    by_luck = exact_beside(values, values)
    assert by_luck.largest == 2 * FLOOR
    by_luck.check(values.astype(np.float32))
    with pytest.raises(AssertionError, match="largest error"):
        by_luck.check(values + np.eye(1, 100)[0] * 1e-5)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(wrong: float) -> None:
    with pytest.raises(AssertionError):
        exact_beside(np.ones(4), np.ones(4)).check(np.array([1, 1, 1, wrong]))


def test_a_result_of_another_shape_is_refused() -> None:
    with pytest.raises(AssertionError):
        exact_beside(np.ones((2, 3)), np.ones((2, 3))).check(np.ones((3,)))


def test_perturbation_changes_only_rounded_results() -> None:
    values = np.array([0, 1, -3, 0.3, -0.3, 1e-42, np.inf, np.nan, *np.full(50, 0.7)], np.float32)
    moved, again = values.copy(), values.copy()
    perturb(moved, 4)
    perturb(again, 4)
    assert np.array_equal(moved, again, equal_nan=True)
    whole = [0, 1, 2, 5, 6, 7]
    assert np.array_equal(moved[whole], values[whole], equal_nan=True)
    steps = (moved[8:].view(np.int32) - values[8:].view(np.int32)).tolist()
    assert set(steps) == set(range(-4, 5))
    assert np.sign(moved[4]) == -1
