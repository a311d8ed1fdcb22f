"""Remove metadata that depends on the machine from an exported graph, and name its nodes after their modules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto

from cosybuild.onnxgraph.scopes import name_from_metadata
from cosybuild.onnxgraph.summary import graphs_of

PRODUCER = "cosybuild"


def clean_model(model: ModelProto, *, prefix: str = "") -> None:
    """Remove doc strings, metadata, inferred shapes and producer versions, in place, and give nodes unique names.

    A node is named after the module that it comes from, e.g. `/mid_blocks.7/1.2/attn1/MatMul`. For graphs of torch's
    dynamo exporter, this name is read from the node's metadata before the metadata is removed. (The metadata also
    contains paths of source files.)

    Args:
        model: the graph to change.
        prefix: the attribute under which the exported wrapper holds the network, e.g. `estimator`; it is removed from
            all names. Empty for no prefix.
    """
    model.producer_name = PRODUCER
    for field in ("producer_version", "doc_string", "metadata_props", "model_version"):
        model.ClearField(field)
    graph = model.graph
    graph.name = "main_graph"
    _name_nodes(graph.node, prefix)
    if prefix:
        _rename_values(graph, prefix)
    _strip(graph)
    for function in model.functions:
        _strip(function)


def module_path(node_name: str) -> str:
    """Return the dotted path of the PyTorch module in a node's name; empty for nodes outside all modules.

    Example: `/mid_blocks.7/1.2/attn1/MatMul_3` -> `mid_blocks.7.1.2.attn1`.
    """
    return ".".join(part for part in node_name.split("/")[:-1] if part)


def _strip(graph: GraphProto | FunctionProto) -> None:
    for field in ("doc_string", "metadata_props", "value_info"):
        graph.ClearField(field)
    items: list[Any] = list(graph.node)
    if isinstance(graph, GraphProto):
        items += [*graph.input, *graph.output, *graph.initializer]
    for item in items:
        item.ClearField("doc_string")
        item.ClearField("metadata_props")
    for node in graph.node:
        for nested in graphs_of(node):
            _strip(nested)


def _name_nodes(nodes: Iterable[NodeProto], prefix: str) -> None:
    taken: set[str] = set()
    numbers: Counter[str] = Counter()
    for node in nodes:
        base = _without(prefix, name_from_metadata(node) or node.name or f"/{node.op_type}")
        name = base
        while name in taken:
            numbers[base] += 1
            name = f"{base}_{numbers[base]}"
        taken.add(name)
        node.name = name


def _rename_values(graph: GraphProto, prefix: str) -> None:
    for item in (*graph.input, *graph.output, *graph.initializer):
        item.name = _without(prefix, item.name)
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = _without(prefix, name)
        for nested in graphs_of(node):
            _rename_values(nested, prefix)


def _without(prefix: str, name: str) -> str:
    """Remove the prefix: `/estimator/a/MatMul` -> `/a/MatMul` and `estimator.a.weight` -> `a.weight`."""
    if prefix and name.startswith(f"/{prefix}/"):
        return name[len(prefix) + 1 :]
    return name.removeprefix(f"{prefix}.") if prefix else name
