"""Compare results with float64, so that a verdict is the same on every processor.

A module is computed in float64 beside its float32 form. The float32 error that is measured in the same run is the
yardstick: another float32 computation of the same function may have a few times that error, because its sums have
another order. No bound is a number that was measured on one machine.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cosybuild.models.cosyvoice.estimator.layers import TimeEmbedding
from cosybuild.numerics.metrics import snr_db

Array = np.ndarray[Any, np.dtype[Any]]

FACTOR = 8.0
"""The factor between the errors of two float32 computations that is permitted. Measured between PyTorch, ONNX Runtime
and upstream's recorded values: at most 2; with every module's result moved by up to 4 units in the last place: at most
7. If the result of the middle layer is rounded to half precision, the error is 20 to 270 times as large."""

FLOOR = 2.0**-23
"""Smallest yardstick, relative to the values' size: the unit in the last place of float32. Without it a result that is
exact by luck would ask for exactness."""

SAME_DB = 200.0
"""Two float64 computations of one function agree to this signal-to-noise ratio, in dB. Float64 has 29 more bits than
float32, 175 dB, and the worst tiny model leaves 100 dB in float32."""


@dataclass(frozen=True)
class Exact:
    """The exact result of a function, and the error of its float32 form here.

    Attributes:
        values: float64.
        noise: root mean square error of the float32 form.
        largest: largest error of one element of it.
    """

    values: Array
    noise: float
    largest: float

    def check(self, actual: Tensor | Array, what: object = "the result") -> None:
        """Refuse a float32 result whose error is more than `FACTOR` times that of the module in float32.

        Both the root mean square and the worst element are compared.

        Raises:
            AssertionError: gives both errors.
        """
        values = _wide(actual)
        assert values.shape == self.values.shape, (what, values.shape, self.values.shape)
        noise, largest = _errors(values, self.values)
        for name, error, own in (("rms", noise, self.noise), ("largest", largest, self.largest)):
            # In this form, an error that is NaN fails.
            assert error <= FACTOR * own, (
                f"{what}: the {name} error against float64 is {error:.3g}; at most {FACTOR:g} times the float32 error "
                f"of the module, {own:.3g}, is expected"
            )


def exact(module: Callable[..., Tensor], *inputs: Tensor, **options: Any) -> Exact:
    """Compute a module in float64 and in float32.

    Args:
        module: a torch module, or a function of tensors which computes in their type.
        inputs: positional tensors; floating ones are widened for the float64 form.
        options: further arguments, tensors among them.
    """
    return exact_beside(in_float64(module, *inputs, **options), module(*inputs, **options))


def exact_beside(values: Array, float32: Tensor | Array) -> Exact:
    """Return the yardstick for `values`, from a float32 result of this run."""
    noise, largest = _errors(_wide(float32), values)
    size = float(np.sqrt(np.mean(values**2)))
    return Exact(values, max(noise, FLOOR * size), max(largest, FLOOR * float(np.max(np.abs(values)))))


def in_float64(module: Callable[..., Tensor], *inputs: Tensor, **options: Any) -> Array:
    """Compute a module in float64, with the float32 weights and inputs."""
    wide = widened(module) if isinstance(module, nn.Module) else module
    named = {name: _double(value) for name, value in options.items()}
    with torch.no_grad():
        result = wide(*map(_double, inputs), **named)
    assert result.dtype == torch.float64, f"the module gave {result.dtype}"
    values: Array = result.numpy()
    return values


def widened(module: nn.Module) -> nn.Module:
    """Return a copy of the module in float64, except for the phase of the time embedding.

    A phase of up to 1000 rad is rounded by up to 3e-5 rad in float32, which is by far the largest error of a call. It
    is made of two products, so IEEE 754 fixes it, and the frequencies are the same on every processor.
    """
    wide = copy.deepcopy(module).double()
    for own, part in zip(module.modules(), wide.modules(), strict=True):
        if isinstance(own, TimeEmbedding):
            part.phase = partial(_phase_in_float32, own)
    return wide


def _phase_in_float32(embedding: TimeEmbedding, t: Tensor) -> Tensor:
    return embedding.phase(t.float()).to(t.dtype)


def check_same(actual: Array, expected: Array, what: object = "the result") -> None:
    """Refuse two float64 results of different functions.

    Raises:
        AssertionError: gives the signal-to-noise ratio.
    """
    assert actual.dtype == expected.dtype == np.float64, (what, actual.dtype, expected.dtype)
    assert actual.shape == expected.shape, (what, actual.shape, expected.shape)
    ratio = snr_db(actual, expected)
    assert ratio >= SAME_DB, f"{what}: {ratio:.1f} dB in float64, at least {SAME_DB:g} dB is expected"


def _double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def _wide(values: Tensor | Array) -> Array:
    return np.asarray(values.detach().numpy() if isinstance(values, Tensor) else values, np.float64)


def _errors(actual: Array, expected: Array) -> tuple[float, float]:
    error = np.abs(actual - expected)
    return float(np.sqrt(np.mean(error**2))), float(np.max(error))
