"""Calls of the estimator: accepted inputs, outputs and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cosybuild.errors import ServingError, ShapeRefused, VariantRefused
from cosybuild.runtime import load_estimator
from tests.exact import FACTOR, exact
from tests.runtime.tiny import certify, inputs, module, write_graph


def test_requesting_streaming_from_a_full_attention_artifact_raises(graphs: dict[str, Path]) -> None:
    with pytest.raises(VariantRefused, match=r"streaming attention is requested.*cosyvoice2\.onnx computes full"):
        load_estimator(graphs["cosyvoice2"])(**inputs(20), streaming=True)


def test_requesting_full_attention_from_a_streaming_artifact_raises(graphs: dict[str, Path]) -> None:
    with pytest.raises(VariantRefused, match="full attention is requested") as caught:
        load_estimator(graphs["streaming"])(**inputs(20))
    assert "model.streaming=false" in str(caught.value.hint)


def test_a_batch_that_is_not_served_raises_with_the_profile_and_never_runs(graphs: dict[str, Path]) -> None:
    with pytest.raises(ShapeRefused, match=r"does not serve x 4x8x20.*its profile is x 2x8x1\.\.any"):
        load_estimator(graphs["cosyvoice2"])(**inputs(20, batch=4))


def test_calls_that_no_artifact_covers_go_to_the_fallback(graphs: dict[str, Path]) -> None:
    torch_module = module(2)
    estimator = load_estimator(graphs["cosyvoice2"], fallback=torch_module)
    given = inputs(20, batch=4)
    torch.testing.assert_close(estimator(**given), torch_module(**given), rtol=0, atol=0)
    given = inputs(20)
    torch.testing.assert_close(
        estimator(**given, streaming=True), torch_module(**given, streaming=True), rtol=0, atol=0
    )


@pytest.mark.arithmetic
def test_a_directory_serves_both_variants_and_every_batch(tmp_path: Path, graphs: dict[str, Path]) -> None:
    for name in ("cosyvoice2", "streaming", "batch"):
        for suffix in ("", ".manifest.json"):
            source = graphs[name].with_name(graphs[name].name + suffix)
            (tmp_path / source.name).write_bytes(source.read_bytes())
    estimator, reference = load_estimator(tmp_path), module(2)
    # The static graph of full attention is covered by the dynamic one only afterwards in the order.
    assert [served.name for served in estimator.served] == ["batch.onnx", "streaming.onnx"]
    for batch, streaming in ((2, False), (6, False), (2, True)):
        given = inputs(31, batch=batch)
        result = estimator(**given, streaming=streaming)
        exact(reference, **given, streaming=streaming).check(result, (batch, streaming))


@pytest.mark.parametrize(("name", "shape"), [("mask", (2, 1, 19)), ("mu", (2, 8, 21)), ("t", (3,)), ("spks", (1, 8))])
def test_the_error_names_inputs_that_do_not_fit_together(
    graphs: dict[str, Path], name: str, shape: tuple[int, ...]
) -> None:
    given = {**inputs(20), name: torch.ones(shape)}
    with pytest.raises(ShapeRefused, match=rf"^{name} has the shape"):
        load_estimator(graphs["cosyvoice2"])(**given)


def test_inputs_on_another_device_are_refused(graphs: dict[str, Path]) -> None:
    given = {**inputs(20), "mu": torch.empty(2, 8, 20, device="meta")}
    with pytest.raises(ServingError, match="mu is on meta"):
        load_estimator(graphs["cosyvoice2"])(**given)


@pytest.mark.arithmetic
def test_one_time_for_all_rows_and_views_are_accepted(graphs: dict[str, Path]) -> None:
    given = inputs(20)
    given["t"] = torch.full((2,), 0.25)
    wide = torch.randn(2, 20, 8)
    given["x"] = wide.transpose(1, 2)
    result = load_estimator(graphs["cosyvoice2"])(**{**given, "t": torch.tensor(0.25)})
    exact(module(2), **given).check(result)


def test_the_result_has_no_gradient_and_has_new_memory(graphs: dict[str, Path]) -> None:
    given = inputs(20)
    x = given["x"].requires_grad_()
    estimator = load_estimator(graphs["cosyvoice2"])
    first = estimator(**given)
    kept = first.clone()
    estimator(**inputs(20, seed=1))
    assert not first.requires_grad
    assert first.data_ptr() != x.data_ptr()
    torch.testing.assert_close(first, kept, rtol=0, atol=0)


@pytest.mark.arithmetic
@pytest.mark.parametrize("held", [torch.float16, torch.float32])
@pytest.mark.parametrize("called", [torch.float16, torch.float32, torch.bfloat16])
def test_types_are_cast_to_those_of_the_artifact_and_back(
    tmp_path: Path, held: torch.dtype, called: torch.dtype
) -> None:
    path = certify(write_graph(tmp_path / "estimator.onnx", dtype=held))
    given: dict[str, Any] = {name: tensor.to(called) for name, tensor in inputs(20).items()}
    # The graph computes with the inputs after both casts.
    expected = exact(module(2), **{name: tensor.to(held).float() for name, tensor in given.items()})
    result = load_estimator(path)(**given)
    assert result.dtype == called
    # The result is rounded to each type once. A rounding is at most half a unit in the last place, eps / 2.
    roundings = (torch.finfo(held).eps + torch.finfo(called).eps) * abs(expected.values)
    assert (abs(result.double().numpy() - expected.values) <= roundings + FACTOR * expected.largest).all()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"mu": torch.ones(2, 8, 20, dtype=torch.int64)}, r"^mu has the type int64; float32, .* is expected"),
    ({"x": torch.ones(2, 8, 20, dtype=torch.complex64)}, r"^x has the type complex64"),
    ({"t": torch.ones(2, dtype=torch.int32)}, r"^t has the type int32"),
    ({"spks": torch.ones(2, 8, dtype=torch.bool)}, r"^spks has the type bool"),
    ({"mask": torch.ones(2, 1, 20, dtype=torch.uint8)}, r"^mask has the type uint8; .* or bool is expected"),
    ({"x": None}, r"^x is None; a torch\.Tensor"),
    ({"mask": None}, r"^mask is None; a torch\.Tensor"),
    ({"t": 0.5}, r"^t is a float; a torch\.Tensor"),
    ({"cond": [[0.0]]}, r"^cond is a list; a torch\.Tensor"),
    ({"mu": torch.ones(2, 8, 20).to_sparse()}, r"^mu has the layout torch\.sparse_coo; a dense tensor"),
    ({"streaming": None}, r"^streaming is None; True or False is expected"),
    ({"streaming": "yes"}, r"^streaming is 'yes'; True or False is expected"),
]


@pytest.mark.parametrize(("change", "words"), WRONG)
@pytest.mark.parametrize("with_fallback", [False, True])
def test_a_wrong_kind_of_input_is_refused_with_name_value_and_expectation(
    graphs: dict[str, Path], change: dict[str, Any], words: str, with_fallback: bool
) -> None:
    estimator = load_estimator(graphs["cosyvoice2"], fallback=module(2) if with_fallback else None)
    with pytest.raises(ServingError, match=words):
        estimator(**{**inputs(20), **change})


@pytest.mark.parametrize(
    ("name", "shape"),
    [("x", ()), ("x", (8, 20)), ("mask", (2, 20)), ("mu", (2, 80, 8, 20)), ("t", (2, 1)), ("spks", (8,)), ("cond", ())],
)
def test_a_wrong_rank_is_refused(graphs: dict[str, Path], name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeRefused, match=rf"^{name} has the shape"):
        load_estimator(graphs["cosyvoice2"])(**{**inputs(20), name: torch.ones(shape)})


def test_no_frames_at_all_are_refused(graphs: dict[str, Path]) -> None:
    with pytest.raises(ShapeRefused, match="does not serve x 2x8x0"):
        load_estimator(graphs["cosyvoice2"])(
            **{name: tensor[..., :0] if tensor.ndim == 3 else tensor for name, tensor in inputs(20).items()}
        )


def test_a_boolean_mask_is_accepted(graphs: dict[str, Path]) -> None:
    given = inputs(20)
    estimator = load_estimator(graphs["cosyvoice2"])
    result = estimator(**{**given, "mask": given["mask"].bool()})
    torch.testing.assert_close(result, estimator(**given), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("shape", (2, 8, 20.5), "whole numbers"),
        ("shape", None, "whole numbers"),
        ("shape", (2, 8), "does not serve x 2x8;"),
        ("address", None, "data_ptr"),
        ("address", 0, "data_ptr"),
        ("address", 1.5, "data_ptr"),
    ],
)
def test_the_calls_of_upstream_are_checked_too(graphs: dict[str, Path], name: str, value: Any, words: str) -> None:
    (context, _), _ = load_estimator(graphs["cosyvoice2"]).acquire_estimator()
    with pytest.raises(ServingError, match=words):
        context.set_input_shape("x", value) if name == "shape" else context.set_tensor_address("x", value)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ({"precision": "fp16"}, "precision='fp16'; float32, float16, bfloat16 or None is expected"),
        ({"concurrency": "2"}, "concurrency='2'"),
        ({"timeout": -1}, "timeout=-1"),
        ({"threads": -1}, "threads=-1"),
        ({"device": "gpu"}, "device='gpu' is not a device"),
    ],
)
def test_a_wrong_argument_is_refused_when_loading(graphs: dict[str, Path], argument: Any, words: str) -> None:
    with pytest.raises(ServingError, match=words):
        load_estimator(graphs["cosyvoice2"], **argument)
