"""Export a user's module with torch's TorchScript exporter, or with its dynamo exporter if the first one fails.

The TorchScript exporter is faster, but it does not support some operators, and a size that Python code computes becomes
a constant in its graph.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cosybuild.config.groups.export import Exporter, ExportSettings
from cosybuild.errors import ExportError
from cosybuild.exporting.torch_exporters import export_graph
from cosybuild.models.shape_profile import Profile
from cosybuild.models.spec import ModelSpec
from cosybuild.numerics.inputs import Draw, draw_inputs

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import nn

OLDEST_OF_DYNAMO = 18
"""The oldest opset that the dynamo exporter writes."""

_LARGEST = 1 << 30
"""A graph with more bytes of weights than this is not run to check it."""

_FAR = 0.01
"""The largest permitted difference between graph and module, divided by the largest absolute value of the output."""


@dataclass(frozen=True)
class Export:
    """The result of an export.

    Attributes:
        model: the graph.
        warnings: the exporter's warnings about the model.
        exporter: the exporter that wrote the graph.
        remarks: one sentence if this is not the exporter of the settings; else empty.
    """

    model: ModelProto
    warnings: list[str]
    exporter: Exporter
    remarks: tuple[str, ...] = ()


def export_by_either(
    module: nn.Module,
    spec: ModelSpec,
    settings: ExportSettings,
    sizes: Mapping[str, int],
    profiles: Sequence[Profile],
    scratch: Path,
) -> Export:
    """Export a module with the TorchScript exporter, or with the dynamo exporter if that fails or its graph is wrong.

    To check the graph, the function runs it at the smallest sizes of the first profile and compares the outputs with
    those of the module.

    Args:
        module, spec, settings, sizes: see `export_graph`.
        profiles: the profiles of the build.
        scratch: a directory for a temporary file.

    Raises:
        ExportError: both exporters fail. The message is that of the TorchScript exporter.
    """
    refused: ExportError | None = None
    try:
        model, chatter = export_graph(module, spec, settings, sizes)
        fault = _fault_of(model, module, spec, profiles, scratch)
    except ExportError as error:
        refused, fault = error, error.message
    else:
        if fault is None:
            return Export(model, chatter.warnings, settings.exporter)
    other = replace(settings, exporter=Exporter.dynamo)
    try:
        model, chatter = export_graph(module, spec, other, sizes)
    except ExportError:
        if refused is not None:
            raise refused from None
        return Export(model, chatter.warnings, settings.exporter)  # the stage `verify` reports that the graph is wrong
    remark = f"{fault.removesuffix('.')}; the dynamo exporter wrote the graph"
    return Export(model, chatter.warnings, Exporter.dynamo, (remark,))


def tried_sizes(profiles: Sequence[Profile]) -> dict[str, int]:
    """Return the sizes at which a graph is run, the smallest of the first profile; they can change the exporter."""
    return {symbol: within.min for symbol, within in profiles[0].items()} if profiles else {}


def _fault_of(
    model: ModelProto, module: nn.Module, spec: ModelSpec, profiles: Sequence[Profile], scratch: Path
) -> str | None:
    """Run a graph at the smallest sizes of the first profile, and return a sentence if it fails or computes wrongly.

    The result is None if the graph is right, or if it cannot be checked: the model has no dynamic axes or no profile,
    the weights are too large, or the module itself does not accept these sizes.
    """
    import torch

    from cosybuild.backends import onnxruntime_backend, torch_backend
    from cosybuild.backends.session import InferenceFailed
    from cosybuild.onnxgraph.files import save_model

    weights = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    sizes = tried_sizes(profiles)
    if not sizes or weights > _LARGEST:
        return None
    inputs = draw_inputs(spec, Draw(sizes))
    names = [[tensor.name for tensor in side] for side in (spec.inputs, spec.outputs)]
    said = ", ".join(f"{symbol} {size}" for symbol, size in sizes.items())
    try:
        with torch.no_grad():
            expected = torch_backend.load(module, *names).infer(inputs)
    except InferenceFailed:
        return None  # the module does not accept these sizes, which the stage `verify` reports
    with tempfile.TemporaryDirectory(dir=scratch) as place:
        path = save_model(model, Path(place) / "graph.onnx")[0]
        try:
            found = onnxruntime_backend.load(path, level=onnxruntime_backend.Level.none).infer(inputs)
        except (InferenceFailed, RuntimeError) as error:
            line = " ".join(str(error).split())[:160]
            return f"the graph of the torchscript exporter cannot be run with {said} ({line})"
    wrong = [name for name, values in expected.items() if not _near(found[name], values)]
    return f"the graph of the torchscript exporter computes {wrong[0]} wrongly with {said}" if wrong else None


def _near(actual: np.ndarray, expected: np.ndarray) -> bool:
    if actual.shape != expected.shape:
        return False
    a, b = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    finite = np.isfinite(b)  # where only the graph is not finite, it is wrong
    largest = float(np.max(np.abs(b), initial=0.0, where=finite))
    return bool(np.all(np.abs(a[finite] - b[finite]) <= _FAR * max(largest, 1e-3)))
