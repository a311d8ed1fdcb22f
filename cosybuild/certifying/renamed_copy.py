"""Copy an ONNX file from elsewhere so that its inputs and outputs have the network's names, order, types and shapes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from onnx import GraphProto, NodeProto, compose, helper

from cosybuild.certifying.ports import Ports
from cosybuild.dtypes import DTYPES
from cosybuild.models.spec import ModelSpec
from cosybuild.onnxgraph.external import check_external_data
from cosybuild.onnxgraph.files import load_structure
from cosybuild.onnxgraph.interface import interface_faults

_PREFIX = "file/"
"""The prefix that all names of the file get in the copy, so that none of them equals a name of the network."""


def rename_interface(path: Path, ports: Ports, spec: ModelSpec, directory: Path) -> Path:
    """Return the path of a graph that computes the file's function and has the network's inputs and outputs.

    If the file has them already, this is the file itself. Otherwise it is a copy in which a Cast or an Identity
    connects each input and output of the network with one of the file.

    Args:
        path: the ONNX file.
        ports: the meaning of the file's inputs and outputs.
        spec: the inputs and outputs of the network, with the fixed axes of the file.
        directory: an empty directory for the copy and its external data.

    Raises:
        ModelError: the external data must not be read.
    """
    model = load_structure(path)
    if not interface_faults(model, spec):
        return path
    for name in check_external_data(path):
        _place((path.parent / name).resolve(), directory / name)
    # From IR version 4 on, initializers need not also be listed as inputs.
    model.ir_version = max(model.ir_version, 4)
    compose.add_prefix(model, _PREFIX, inplace=True)
    _rewire(model.graph, ports, spec)
    copy = directory / "own-names.onnx"
    copy.write_bytes(model.SerializeToString(deterministic=True))
    return copy


def _rewire(graph: GraphProto, ports: Ports, spec: ModelSpec) -> None:
    graph.ClearField("input")
    graph.ClearField("output")
    begin, end = [], []
    for tensor in spec.inputs:
        graph.input.append(helper.make_tensor_value_info(tensor.name, DTYPES[tensor.dtype].onnx, tensor.shape))
        port = ports.inputs.get(tensor.name)
        if port is None:
            continue  # the file does not use this input
        begin.append(_between(tensor.name, _PREFIX + port.name, tensor.dtype, port.dtype))
    for tensor in spec.outputs:
        graph.output.append(helper.make_tensor_value_info(tensor.name, DTYPES[tensor.dtype].onnx, tensor.shape))
        port = ports.outputs[tensor.name]
        end.append(_between(_PREFIX + port.name, tensor.name, port.dtype, tensor.dtype))
    nodes = list(graph.node)
    graph.ClearField("node")
    graph.node.extend([*begin, *nodes, *end])


def _between(source: str, target: str, before: str, after: str) -> NodeProto:
    name = f"certify/{target}"
    if before == after:
        return helper.make_node("Identity", [source], [target], name=name)
    return helper.make_node("Cast", [source], [target], name=name, to=DTYPES[after].onnx)


def _place(source: Path, target: Path) -> None:
    """Make a hard link to a file, or copy the file if the file system does not allow that."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
