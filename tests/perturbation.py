"""A pytest plugin: `--perturb-ulp N` simulates another processor, whose float32 results differ in the last places.

Every float32 element that a torch module or an ONNX Runtime session gives is moved by up to N units in the last place,
up or down. A test that passes only because two results agree to the bit on this processor then fails.

- The same value at the same index is always moved equally, as a processor gives equal results for equal inputs.
- Whole numbers are not moved: their sums are exact in any order, and a mask must stay a mask.
- Nothing is moved while a model is exported: a value that is traced there becomes part of the graph.
- Processes that a test starts are not changed.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

# Import torch and ONNX Runtime only where results are perturbed, because every test loads this file.

Array = np.ndarray[Any, np.dtype[Any]]

_SMALLEST_NORMAL, _INFINITE = 0x00800000, 0x7F800000
_SEED = np.uint32(12)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--perturb-ulp",
        type=int,
        default=0,
        metavar="N",
        help="move float32 results of torch modules and ONNX Runtime sessions by up to N units in the last place",
    )


@pytest.fixture(scope="session", autouse=True)
def _perturbed_results(pytestconfig: pytest.Config) -> Iterator[None]:
    ulp = pytestconfig.getoption("--perturb-ulp")
    if not ulp:
        yield
        return
    with perturbed_results(ulp):
        yield


@contextmanager
def perturbed_results(ulp: int) -> Iterator[None]:
    """Perturb the results of modules and sessions, in all threads."""
    from torch.nn.modules.module import register_module_forward_hook

    hook = register_module_forward_hook(lambda module, inputs, result: _perturbed_module_result(result, ulp))
    try:
        with pytest.MonkeyPatch.context() as patch:
            _patch_sessions(patch, ulp)
            yield
    finally:
        hook.remove()


def perturb(values: Array, ulp: int) -> None:
    """Move each element by -ulp..ulp units in the last place, in place.

    The distance depends on the value and the index.

    Args:
        values: contiguous, float32. Whole numbers, subnormal numbers and values that are not finite are not moved.
    """
    bits = values.view(np.int32)
    sizes = bits & np.int32(0x7FFFFFFF)
    is_moved = (sizes >= _SMALLEST_NORMAL + ulp) & (sizes < _INFINITE - ulp) & (values != np.rint(values))
    index = np.arange(values.size, dtype=np.uint32).reshape(values.shape)
    steps = (_mixed(bits.view(np.uint32) ^ _mixed(index + _SEED)) % (2 * ulp + 1)).astype(np.int32) - ulp
    bits += np.where(is_moved, steps, 0).astype(np.int32)


def _mixed(numbers: Array) -> Array:
    """Return a pseudo-random number for each uint32, by the last steps of MurmurHash3."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        numbers = (numbers ^ (numbers >> np.uint32(shift))) * np.uint32(factor)
    result: Array = numbers ^ (numbers >> np.uint32(16))
    return result


def _perturbed_module_result(result: Any, ulp: int) -> Any:
    """Perturb the result of a module (a hook); None leaves the result unchanged."""
    import torch

    exported = torch.jit.is_tracing() or torch.onnx.is_in_onnx_export() or torch.compiler.is_compiling()
    if exported or type(result) is not torch.Tensor:
        return None
    if result.dtype != torch.float32 or result.device.type != "cpu":
        return None
    moved = result.detach().clone(memory_format=torch.contiguous_format)
    perturb(moved.numpy(), ulp)
    # Adding the difference keeps the gradient of a result; the two values are so close that it is exact.
    return result + (moved - result.detach()) if result.requires_grad else moved


def _patch_sessions(patch: pytest.MonkeyPatch, ulp: int) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession
    run, run_values, run_bound = session.run, session.run_with_ort_values, session.run_with_iobinding

    def perturbed_run(self: Any, *args: Any, **named: Any) -> Any:
        answers = run(self, *args, **named)
        for answer in answers:
            if isinstance(answer, np.ndarray) and answer.dtype == np.float32:
                perturb(answer, ulp)
        return answers

    def perturbed_run_values(self: Any, *args: Any, **named: Any) -> Any:
        answers = run_values(self, *args, **named)
        _perturb_values(answers, ulp)
        return answers

    def perturbed_run_bound(self: Any, binding: Any, *args: Any, **named: Any) -> None:
        run_bound(self, binding, *args, **named)
        _perturb_values(binding.get_outputs(), ulp)

    patch.setattr(session, "run", perturbed_run)
    patch.setattr(session, "run_with_ort_values", perturbed_run_values)
    patch.setattr(session, "run_with_iobinding", perturbed_run_bound)


def _perturb_values(values: Iterable[Any], ulp: int) -> None:
    for value in values:
        if value.data_type() == "tensor(float)" and value.device_name() == "cpu" and 0 not in value.shape():
            memory = (ctypes.c_float * math.prod(value.shape())).from_address(value.data_ptr())
            perturb(np.ctypeslib.as_array(memory), ulp)
