"""What a call may be, what it gives, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cosybuild.errors import ServingError, ShapeRefused, VariantRefused
from cosybuild.runtime import load_estimator
from tests.runtime.tiny import certify, inputs, module, write_graph


def test_streaming_asked_of_full_attention_raises(graphs: dict[str, Path]) -> None:
    with pytest.raises(VariantRefused, match=r"streaming attention is asked for.*cosyvoice2\.onnx computes full"):
        load_estimator(graphs["cosyvoice2"])(**inputs(20), streaming=True)


def test_full_attention_asked_of_streaming_raises(graphs: dict[str, Path]) -> None:
    with pytest.raises(VariantRefused, match="full attention is asked for") as caught:
        load_estimator(graphs["streaming"])(**inputs(20))
    assert "model.streaming=false" in str(caught.value.hint)


def test_a_batch_that_is_not_served_raises_with_the_profile_and_never_runs(graphs: dict[str, Path]) -> None:
    with pytest.raises(ShapeRefused, match=r"does not serve x 4x8x20.*its profile is x 2x8x1\.\.any"):
        load_estimator(graphs["cosyvoice2"])(**inputs(20, batch=4))


def test_what_is_not_served_goes_to_the_fallback(graphs: dict[str, Path]) -> None:
    torch_module = module(2)
    estimator = load_estimator(graphs["cosyvoice2"], fallback=torch_module)
    given = inputs(20, batch=4)
    torch.testing.assert_close(estimator(**given), torch_module(**given), rtol=0, atol=0)
    given = inputs(20)
    torch.testing.assert_close(
        estimator(**given, streaming=True), torch_module(**given, streaming=True), rtol=0, atol=0
    )


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
        torch.testing.assert_close(result, reference(**given, streaming=streaming), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "shape"), [("mask", (2, 1, 19)), ("mu", (2, 8, 21)), ("t", (3,)), ("spks", (1, 8))])
def test_inputs_that_do_not_fit_together_are_named(graphs: dict[str, Path], name: str, shape: tuple[int, ...]) -> None:
    given = {**inputs(20), name: torch.ones(shape)}
    with pytest.raises(ShapeRefused, match=rf"^{name} has the shape"):
        load_estimator(graphs["cosyvoice2"])(**given)


def test_inputs_on_another_device_are_refused(graphs: dict[str, Path]) -> None:
    given = {**inputs(20), "mu": torch.empty(2, 8, 20, device="meta")}
    with pytest.raises(ServingError, match="mu lies on meta"):
        load_estimator(graphs["cosyvoice2"])(**given)


def test_one_time_for_all_rows_and_views_are_taken(graphs: dict[str, Path]) -> None:
    given = inputs(20)
    given["t"] = torch.full((2,), 0.25)
    wide = torch.randn(2, 20, 8)
    given["x"] = wide.transpose(1, 2)
    expected = module(2)(**given)
    result = load_estimator(graphs["cosyvoice2"])(**{**given, "t": torch.tensor(0.25)})
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)


def test_it_gives_no_gradient_and_memory_of_its_own(graphs: dict[str, Path]) -> None:
    given = inputs(20)
    x = given["x"].requires_grad_()
    estimator = load_estimator(graphs["cosyvoice2"])
    first = estimator(**given)
    kept = first.clone()
    estimator(**inputs(20, seed=1))
    assert not first.requires_grad
    assert first.data_ptr() != x.data_ptr()
    torch.testing.assert_close(first, kept, rtol=0, atol=0)


@pytest.mark.parametrize("held", [torch.float16, torch.float32])
@pytest.mark.parametrize("called", [torch.float16, torch.float32, torch.bfloat16])
def test_types_are_cast_to_the_artifact_and_back(tmp_path: Path, held: torch.dtype, called: torch.dtype) -> None:
    path = certify(write_graph(tmp_path / "estimator.onnx", dtype=held))
    given: dict[str, Any] = {name: tensor.to(called) for name, tensor in inputs(20).items()}
    # What is left of the inputs after both casts is what the graph computes on.
    reference = module(2)(**{name: tensor.to(held).float() for name, tensor in given.items()})
    result = load_estimator(path)(**given)
    assert result.dtype == called
    torch.testing.assert_close(result, reference.to(held).to(called), rtol=1e-2, atol=1e-2 if called != held else 2e-3)
