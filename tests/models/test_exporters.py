"""Exported estimators: the tracer gives no warning, and ONNX Runtime gives equal outputs at every length."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from typing import Any

import onnx
import onnxruntime
import pytest
import torch

from cosybuild.models.cosyvoice.estimator.operators import one_attention_operator
from cosybuild.models.load import load_module, prepare_for_export
from cosybuild.models.subject import Subject
from tests.exact import exact
from tests.models.fixtures import random_inputs, tiny_subject

pytestmark = pytest.mark.arithmetic

VARIANTS = [(1, False), (2, False), (2, True), (3, False), (3, True)]
SIZES = [(2, 4), (2, 5), (2, 6), (2, 16), (2, 33), (2, 64)]


def export(subject: Subject, *, opset: int, dynamic_batch: bool, dynamo: bool) -> onnx.ModelProto:
    """Return the graph that torch's exporter writes; a warning about code of cosybuild is an error."""
    module = prepare_for_export(load_module(subject, subject.weights))
    names = [tensor.name for tensor in subject.spec.inputs]
    axes: dict[str, dict[int, Any]] = {
        tensor.name: dict(tensor.dynamic_axes) | ({0: "batch"} if dynamic_batch else {})
        for tensor in (*subject.spec.inputs, *subject.spec.outputs)
    }
    inputs = tuple(random_inputs(subject, 3 if dynamic_batch else 2, 11))
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        warnings.filterwarnings("error", module=r"cosybuild")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        common: dict[str, Any] = {"input_names": names, "output_names": ["estimator_out"], "opset_version": opset}
        if dynamo:
            sizes = {name: torch.export.Dim(name, min=2, max=10000) for name in ("batch", "seq_len")}
            shapes = tuple({axis: sizes[symbol] for axis, symbol in axes[name].items()} for name in names)
            program = torch.onnx.export(module, inputs, dynamo=True, dynamic_shapes=shapes, verbose=False, **common)
            assert program is not None
            program.save(file)
        else:
            torch.onnx.export(module, inputs, file, dynamo=False, dynamic_axes=axes, **common)
    return onnx.load_from_string(file.getvalue())


@pytest.mark.parametrize(("version", "streaming"), VARIANTS)
@pytest.mark.parametrize("dynamic_batch", [False, True])
def test_attention_can_be_exported_as_one_operator(version: int, streaming: bool, dynamic_batch: bool) -> None:
    subject = tiny_subject(version, streaming=streaming)
    spelled = export(subject, opset=23, dynamic_batch=dynamic_batch, dynamo=False)
    with one_attention_operator():
        model = export(subject, opset=23, dynamic_batch=dynamic_batch, dynamo=False)
    ops = Counter(node.op_type for node in model.graph.node)
    softmaxes = Counter(node.op_type for node in spelled.graph.node)["Softmax"]
    assert (ops["Attention"], ops["Softmax"]) == (softmaxes, 0)
    assert softmaxes > 0
    check(model, subject, SIZES + ([(1, 9), (5, 16)] if dynamic_batch else []))


def check(model: onnx.ModelProto, subject: Subject, sizes: list[tuple[int, int]]) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    reference = load_module(subject, subject.weights)
    for batch, length in sizes:
        inputs = random_inputs(subject, batch, length, seed=length)
        feed = {tensor.name: value.numpy() for tensor, value in zip(subject.spec.inputs, inputs, strict=True)}
        velocity = torch.from_numpy(session.run(None, feed)[0])
        exact(reference, *inputs).check(velocity, (batch, length))


@pytest.mark.parametrize(("version", "streaming"), VARIANTS)
@pytest.mark.parametrize("dynamic_batch", [False, True])
def test_the_torchscript_exporter_gives_equal_outputs(version: int, streaming: bool, dynamic_batch: bool) -> None:
    subject = tiny_subject(version, streaming=streaming)
    model = export(subject, opset=18, dynamic_batch=dynamic_batch, dynamo=False)
    check(model, subject, [*SIZES, *([(1, 9), (4, 12)] if dynamic_batch else [])])


@pytest.mark.parametrize("opset", [17, 20, 23])
def test_graphs_of_all_opsets_give_equal_outputs(opset: int) -> None:
    subject = tiny_subject(2)
    model = export(subject, opset=opset, dynamic_batch=False, dynamo=False)
    check(model, subject, SIZES[:3])
    ops = Counter(node.op_type for node in model.graph.node)
    # ONNX Runtime and TensorRT-RTX refuse that operator in the form torch writes.
    assert "Attention" not in ops
    assert ("Mish" in ops) == (opset >= 18)
    assert ("Gelu" in ops) == (opset >= 20)
    assert "Pad" not in ops


def test_the_dynamo_exporter_gives_equal_outputs_for_a_dit() -> None:
    subject = tiny_subject(3, streaming=True)
    model = export(subject, opset=23, dynamic_batch=True, dynamo=True)
    check(model, subject, [*SIZES, (4, 12)])
    assert "Attention" not in {node.op_type for node in model.graph.node}


@pytest.mark.full_size
@pytest.mark.parametrize("version", [1, 2])
def test_the_dynamo_exporter_gives_equal_outputs_for_a_u_net(version: int) -> None:
    subject = tiny_subject(version, streaming=version == 2)
    check(export(subject, opset=18, dynamic_batch=True, dynamo=True), subject, [*SIZES, (4, 12)])
