"""The calls that upstream makes of TensorRT: acquire, set shapes and addresses by name, execute, release."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from cosybuild.errors import PoolExhausted, ServingError, ShapeRefused
from cosybuild.runtime import load_estimator
from cosybuild.runtime.estimator import BuiltEstimator
from tests.exact import exact
from tests.runtime.tiny import NAMES, inputs, module


def run_as_upstream(estimator: BuiltEstimator, given: dict[str, Tensor], output: Tensor) -> None:
    (context, stream), engine = estimator.acquire_estimator()
    with stream:
        for name in NAMES:
            context.set_input_shape(name, tuple(given[name].shape))
        pointers = [given[name].data_ptr() for name in NAMES] + [output.data_ptr()]
        for index, pointer in enumerate(pointers):
            context.set_tensor_address(engine.get_tensor_name(index), pointer)
        assert context.execute_async_v3(0) is True
    estimator.release_estimator(context, stream)


@pytest.mark.arithmetic
def test_the_calls_of_upstream_give_the_result_of_the_module(graphs: dict[str, Path]) -> None:
    given = inputs(29)
    output = torch.empty_like(given["x"])
    run_as_upstream(load_estimator(graphs["cosyvoice2"]), given, output)
    exact(module(2), **given).check(output)


@pytest.mark.arithmetic
@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("shared", ["x", "mu", "cond"])
def test_the_output_may_be_an_input(graphs: dict[str, Path], version: int, shared: str) -> None:
    given = inputs(29)
    expected = exact(module(version), **given)
    run_as_upstream(load_estimator(graphs[f"cosyvoice{version}"]), given, given[shared])
    expected.check(given[shared])


@pytest.mark.arithmetic
def test_the_output_may_overlap_an_input_in_part(graphs: dict[str, Path]) -> None:
    given = inputs(29)
    expected = exact(module(2), **given)
    memory = torch.empty(given["x"].numel() + 5)
    memory[: given["x"].numel()] = given["x"].flatten()
    given["x"], output = memory[:-5].view_as(given["x"]), memory[5:].view_as(given["x"])
    run_as_upstream(load_estimator(graphs["cosyvoice2"]), given, output)
    expected.check(output)


def test_the_engine_names_its_tensors_in_binding_order(graphs: dict[str, Path]) -> None:
    _, engine = load_estimator(graphs["cosyvoice2"]).acquire_estimator()
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    assert names == [*NAMES, "estimator_out"]


def test_a_shape_outside_the_profile_raises_an_error(graphs: dict[str, Path]) -> None:
    (context, _), _ = load_estimator(graphs["cosyvoice2"]).acquire_estimator()
    with pytest.raises(ShapeRefused, match=r"does not serve x 3x8x20"):
        context.set_input_shape("x", (3, 8, 20))


def test_a_context_is_cleared_for_the_next_caller(graphs: dict[str, Path]) -> None:
    estimator = load_estimator(graphs["cosyvoice2"])
    run_as_upstream(estimator, inputs(20), torch.empty(2, 8, 20))
    (context, _), _ = estimator.acquire_estimator()
    with pytest.raises(ServingError, match="before the shape and address"):
        context.execute_async_v3(0)


def test_no_more_contexts_are_lent_than_exist(graphs: dict[str, Path]) -> None:
    estimator = load_estimator(graphs["cosyvoice2"], concurrency=2, timeout=0.01)
    (context, stream), _ = estimator.acquire_estimator()
    estimator.acquire_estimator()
    with pytest.raises(PoolExhausted, match=r"all 2 execution contexts of cosyvoice2\.onnx were busy"):
        estimator.acquire_estimator()
    estimator.release_estimator(context, stream)
    estimator.acquire_estimator()


def test_returning_a_context_twice_is_refused(graphs: dict[str, Path]) -> None:
    estimator = load_estimator(graphs["cosyvoice2"])
    (context, stream), _ = estimator.acquire_estimator()
    estimator.release_estimator(context, stream)
    with pytest.raises(ServingError, match="not in use"):
        estimator.release_estimator(context, stream)
