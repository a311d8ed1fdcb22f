"""The exported vocoders have no random, complex or refused operator, and give equal values in ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from cosybuild.config.groups.export import Exporter, ExportSettings
from cosybuild.config.groups.vocoder import Cut
from cosybuild.exporting.torch_exporters import example_sizes, export_graph
from cosybuild.models.cosyvoice.vocoder.interface import vocoder_spec
from cosybuild.models.cosyvoice.vocoder.load import exportable
from tests.exact import FACTOR, Exact, exact_beside
from tests.models.cosyvoice.vocoder.vocoders import VERSIONS, call, draw, tiny

pytestmark = pytest.mark.arithmetic

FRAMES = (4, 5, 24)
REFUSED = {"STFT", "DFT", "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "ScatterND", "Mod"}
"""Random draws would differ from PyTorch's, and the others are refused by a runtime in some form."""


def export(
    version: int,
    opset: int,
    exporter: Exporter = Exporter.torchscript,
    cut: Cut = Cut.none,
    *,
    wide_f0: bool = False,
) -> onnx.ModelProto:
    module = exportable(tiny(version), cut, wide_f0=wide_f0)
    settings = ExportSettings(opset=opset, exporter=exporter)
    spec = vocoder_spec(tiny(version).values, cut)
    model, chatter = export_graph(module, spec, settings, example_sizes(spec, {}, ()))
    assert chatter.warnings == []
    return model


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def check(model: onnx.ModelProto, version: int, cut: Cut = Cut.none) -> None:
    run = session(model)
    exact_form, narrow = exportable(tiny(version, torch.float64), cut), exportable(tiny(version), cut)
    for frames in FRAMES:
        inputs = draw(tiny(version).values, frames)
        found = run.run(None, {name: value.numpy() for name, value in inputs.items()})
        exact = call(exact_form, inputs, torch.float64)
        own = call(narrow, inputs)
        *results, phase, offset = (
            exact_beside(e.numpy(), o) if e.dtype == torch.float64 else e for e, o in zip(exact, own, strict=True)
        )
        for yardstick, value in zip(results, found, strict=False):
            assert isinstance(yardstick, Exact)
            # The worst sample depends on the last digits of f0, which shift the phase; the whole signal does not.
            error = float(np.sqrt(np.mean((value - yardstick.values) ** 2)))
            assert value.shape == yardstick.values.shape
            assert error <= FACTOR * yardstick.noise, (version, frames, error, yardstick.noise)
        assert isinstance(phase, Exact)
        drift = found[-2] - phase.values
        # A phase at a whole cycle may be 0 or 1. The steps of float32 are 2^-24 there, and f0 has an error too.
        assert np.abs(drift - np.round(drift)).max() < 1e-3
        assert found[-1].tolist() == offset.tolist()


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_torchscript_exporter_gives_an_equal_and_portable_graph(version: int) -> None:
    model = export(version, 18)
    check(model, version)
    found = operators(model)
    assert not REFUSED & set(found)
    assert found["CumSum"] == 1
    assert found["Pad"] == 1, "only the reflection of the source; convolutions pad by themselves"
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert onnx.TensorProto.DOUBLE not in kinds


@pytest.mark.parametrize(("version", "opset"), [(1, 17), (2, 23), (3, 20)])
def test_graphs_of_all_opsets_give_equal_outputs(version: int, opset: int) -> None:
    model = export(version, opset)
    assert [imported.version for imported in model.opset_import if not imported.domain] == [opset]
    check(model, version)


@pytest.mark.parametrize("version", [2, 3])
def test_a_graph_that_ends_with_magnitude_and_phase_gives_equal_outputs(version: int) -> None:
    model = export(version, 18, cut=Cut.spectrum)
    assert [output.name for output in model.graph.output][:2] == ["spectrum_magnitude", "spectrum_phase"]
    check(model, version, Cut.spectrum)
    assert operators(model)["ConvTranspose"] == (3 if version == 2 else 0)


def test_a_graph_with_f0_in_float64_has_a_smaller_error() -> None:
    model = export(3, 18, wide_f0=True)
    check(model, 3)
    frames = 24
    inputs: dict[str, Any] = {**draw(tiny(3).values, frames), "first": torch.tensor([0]), "end": torch.tensor([frames])}
    phases = call(tiny(3, torch.float64), inputs, torch.float64)[2].numpy()
    errors = []
    for graph in (model, export(3, 18)):
        error = session(graph).run(None, {name: value.numpy() for name, value in inputs.items()})[2] - phases
        errors.append(float(np.sqrt(np.mean((error - np.round(error)) ** 2))))
    assert errors[0] < errors[1]


@pytest.mark.full_size  # slow, not large
@pytest.mark.parametrize("version", VERSIONS)
def test_the_dynamo_exporter_gives_an_equal_graph(version: int) -> None:
    check(export(version, 18, Exporter.dynamo), version)
