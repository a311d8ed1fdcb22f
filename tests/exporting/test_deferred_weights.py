from __future__ import annotations

import io
import warnings
from pathlib import Path

import onnx
import pytest
import torch

from cosybuild.config.groups.model import TensorSettings
from cosybuild.exporting.deferred_weights import attach_weights, deferred_weights
from cosybuild.models.load import load_module, prepare_for_export
from cosybuild.numerics.inputs import Draw, draw_inputs
from cosybuild.onnxgraph.external import external_fault
from tests.stages.building import TINY, Bench, module, tiny


def exported(family: str, target: io.BytesIO) -> None:
    subject = tiny(family).subject
    module = prepare_for_export(load_module(subject, subject.weights))
    arrays = draw_inputs(subject.spec, Draw({"seq_len": 23}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(torch.from_numpy(array) for array in arrays.values()),
            target,  # type: ignore[arg-type]  # this exporter also takes a stream
            dynamo=False,
            opset_version=18,
            input_names=list(arrays),
            dynamic_axes={"x": {2: "seq_len"}},
        )


@pytest.mark.parametrize("family", TINY)
def test_the_graph_equals_that_of_the_plain_exporter_bit_for_bit(family: str) -> None:
    plain, lean = io.BytesIO(), io.BytesIO()
    exported(family, plain)
    with deferred_weights() as weights:
        exported(family, lean)
    assert len(lean.getvalue()) < len(plain.getvalue()) / 2
    model = onnx.load_model_from_string(lean.getvalue())
    attach_weights(model, weights)
    assert weights == {}
    assert model == onnx.load_model_from_string(plain.getvalue())


def test_torch_is_restored_afterwards_even_if_the_export_fails() -> None:
    before = torch._C.Graph._export_onnx

    def failing_export() -> None:
        with deferred_weights():
            assert torch._C.Graph._export_onnx is not before
            raise RuntimeError("in between")

    with pytest.raises(RuntimeError, match="in between"):
        failing_export()
    assert torch._C.Graph._export_onnx is before


def test_an_unused_weight_is_a_defect(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="stray"):
        attach_weights(onnx.ModelProto(), {"stray": torch.zeros(1)})


@pytest.mark.full_size
def test_a_module_above_two_gibibytes_is_exported(tmp_path: Path) -> None:
    """It takes about 6 GB of memory."""
    inputs = [TensorSettings("x", ("n",), dtype="int64", generator="integer", low=0, high=1000)]
    asked = module("Large", inputs, [TensorSettings("y", ("n", 4))], sizes={"n": (2, 4, 8)})
    graph, data = Bench(asked, tmp_path).export().outputs["graph"]
    assert graph.stat().st_size < 2**20
    assert data.stat().st_size > 2**31
    assert external_fault(graph, {data.name}) is None
