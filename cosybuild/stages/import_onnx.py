"""The stage that takes a user's ONNX file into the pipeline: it checks the file and copies it under another name."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosybuild.building.stage import RunContext, Stage
from cosybuild.errors import ConfigurationError, ModelError
from cosybuild.onnxgraph.external import check_external_data
from cosybuild.request import Request
from cosybuild.stages.export import graph_name
from cosybuild.store.artifact import Artifact
from cosybuild.store.result import StageResult

if TYPE_CHECKING:
    from onnx import ModelProto


class ImportOnnxStage(Stage[Request]):
    """The stage that replaces the export if the model is an ONNX file.

    It checks the file, and fills `graph` with a copy.
    """

    name = "adopt"
    does = "checks the given ONNX file"
    version = 1
    needs = ("graph",)
    makes = ("graph",)
    packages = ("onnx",)

    def settings(self, request: Request) -> Mapping[str, Any]:
        # The artifact is delivered under this file name, so the name is in the key.
        return {"spec": request.subject.spec.facts(), "file": graph_name(request)}

    def run(self, context: RunContext) -> StageResult:
        request: Request = context.request
        from cosybuild.onnxgraph.summary import count_ops, default_opset

        graph = context.inputs["graph"]
        check_external_data(graph.path, {file.name for file in graph.files[1:]})
        model = _read(graph.path)
        _check(model, graph.path, request)
        ops = count_ops(model)
        metrics = {
            "opset": default_opset(model),
            "ir_version": model.ir_version,
            "producer": " ".join(filter(None, (model.producer_name, model.producer_version))),
            "nodes": sum(ops.values()),
            "ops": ops,
            "external_data": len(graph.files) > 1,
        }
        return StageResult({"graph": copied_graph(graph, context.workdir, graph_name(request))}, metrics)


def copied_graph(graph: Artifact, workdir: Path, name: str) -> list[Path]:
    """Copy a graph under another name. Its files of external data keep the names by which the graph refers to them.

    Returns:
        The copied files, the graph first.

    Raises:
        ConfigurationError: a file of external data has the graph's new name.
    """
    beside = [file.name for file in graph.files[1:]]
    if name in beside:
        raise ConfigurationError(
            f"The graph cannot have the name {name}, because its weight file has that name.",
            hint="Next: model.name=NAME with another name.",
        )
    return [
        Path(shutil.copyfile(file.path, workdir / own)) for file, own in zip(graph.files, [name, *beside], strict=True)
    ]


def _read(path: Path) -> ModelProto:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf has no type stubs here

    from cosybuild.onnxgraph.files import load_structure

    try:
        model = load_structure(path)
    except DecodeError as error:
        raise ModelError(
            f"{path} is not an ONNX file, or only a part of one: {error}.",
            hint="Next: download it again, or compare its size with the original's.",
        ) from error
    if not model.graph.node:
        raise ModelError(f"{path} has no graph.", hint="Next: name an ONNX file with model.path.")
    return model


def _check(model: ModelProto, path: Path, request: Request) -> None:
    from cosybuild.onnxgraph.check import InvalidGraph, check_model
    from cosybuild.onnxgraph.interface import describe_interface, interface_faults

    faults = interface_faults(model, request.subject.spec, output_shapes=False)
    if faults:
        raise ModelError(
            f"{path} differs from model.inputs and model.outputs: {'; '.join(faults)}. "
            f"It has {describe_interface(model)}.",
            hint="Next: declare the inputs and outputs of the file.",
        )
    try:
        check_model(model, output_shapes=False)
    except InvalidGraph as error:
        raise ModelError(
            f"{path} is refused by ONNX's checker{error.detail}",
            hint="Next: export it again with a current exporter.",
        ) from error
