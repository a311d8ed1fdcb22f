"""Takes out of an exported graph what tells of the machine and not of the model."""

from __future__ import annotations

import ast
from collections import Counter

from onnx import ModelProto, NodeProto

PRODUCER = "cosybuild"

# The key under which torch's dynamo exporter notes the modules a node came from, the outermost first.
_SCOPES = "pkg.torch.onnx.name_scopes"


def clean_model(model: ModelProto, *, prefix: str = "") -> None:
    """Remove doc strings, metadata, inferred shapes and producer versions, in place.

    Nodes are named after the module they came from, as `/mid_blocks.7/1.2/attn1/MatMul`: torch's
    TorchScript exporter does so itself, for the dynamo exporter the name is made from the metadata
    before that goes (it holds the source paths of the machine). Names are unique afterwards.

    Args:
        prefix: leading part of the module path that belongs to a wrapper, e.g. `estimator`.
    """
    model.producer_name = PRODUCER
    model.ClearField("producer_version")
    model.ClearField("doc_string")
    model.ClearField("metadata_props")
    model.ClearField("model_version")
    graph = model.graph
    graph.name = "main_graph"
    for field in ("doc_string", "metadata_props", "value_info"):
        graph.ClearField(field)
    _name_nodes(graph.node, prefix)
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        item.ClearField("doc_string")
        item.ClearField("metadata_props")
    for function in model.functions:
        for field in ("doc_string", "metadata_props", "value_info"):
            function.ClearField(field)
        for node in function.node:
            node.ClearField("doc_string")
            node.ClearField("metadata_props")


def module_path(node_name: str) -> str:
    """`/mid_blocks.7/1.2/attn1/MatMul_3` -> `mid_blocks.7.1.2.attn1`; empty for nodes outside all modules."""
    return ".".join(part for part in node_name.split("/")[:-1] if part)


def _name_nodes(nodes: list[NodeProto], prefix: str) -> None:
    taken: set[str] = set()
    numbers: Counter[str] = Counter()
    for node in nodes:
        base = _scoped_name(node) or node.name or f"/{node.op_type}"
        if prefix and base.startswith(f"/{prefix}/"):
            base = base[len(prefix) + 1 :]
        name = base
        while name in taken:
            numbers[base] += 1
            name = f"{base}_{numbers[base]}"
        taken.add(name)
        node.name = name


def _scoped_name(node: NodeProto) -> str | None:
    """The name in TorchScript's form, or None where the exporter left no metadata."""
    noted = next((entry.value for entry in node.metadata_props if entry.key == _SCOPES), None)
    if noted is None:
        return None
    # ['', 'mid_blocks.7', 'mid_blocks.7.1.2', 'mid_blocks.7.1.2.attn1', 'linear_4']
    scopes = [scope for scope in ast.literal_eval(noted)[:-1] if scope]
    parts, outer = [], ""
    for scope in scopes:
        parts.append(scope.removeprefix(f"{outer}.") if outer else scope)
        outer = scope
    return "/" + "/".join([*parts, node.op_type])
