"""Name the nodes of a graph after the PyTorch modules that they come from, equally for both exporters of torch.

A name is, for example, `/mid_blocks.7/1.2/attn1/MatMul`: the path of each called module, relative to the module that
calls it, and the operator.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable

from onnx import ModelProto, NodeProto

# The metadata key under which torch's dynamo exporter stores the modules of a node, the outermost module first.
_NOTED = "pkg.torch.onnx.name_scopes"
# The entry that torch stores for nodes outside all modules, e.g. those that compute sizes of axes.
_NOWHERE = "_empty_nn_module_stack_from_metadata_hook"

_LONGEST = 10_000
"""The largest number of characters of the metadata entry that is read; real entries have a few hundred."""


def name_from_metadata(node: NodeProto) -> str | None:
    """Return the name for a node from the metadata of torch's dynamo exporter.

    The result is None if the node has no such metadata, or if the metadata cannot be read.
    """
    noted = next((entry.value for entry in node.metadata_props if entry.key == _NOTED), None)
    if noted is None:
        return None
    # ['', 'mid_blocks.7', 'mid_blocks.7.1.2', 'mid_blocks.7.1.2.attn1', 'linear_4']
    texts = _texts(noted)
    scopes = [scope for scope in texts[:-1] if scope and scope != _NOWHERE]
    return _name(scopes, node.op_type) if texts else None


def _texts(noted: str) -> list[str]:
    """Return the list of strings that a Python literal describes; empty if the text is anything else."""
    if len(noted) > _LONGEST:
        return []
    try:
        found = ast.literal_eval(noted)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return []
    return found if isinstance(found, list) and all(isinstance(one, str) for one in found) else []


def qualify_names(model: ModelProto, modules: Iterable[str]) -> None:
    """Complete the module names in the node names of torch's TorchScript exporter, in place.

    The exporter shortens the dotted name of a module. It keeps the last part that is not a number and the numbers after
    it: `proj` for `net.0.proj`, and `blocks.0.1` for `decoder.blocks.0.1`. A short name that fits several modules stays
    as it is.

    Args:
        model: the graph to change.
        modules: the dotted names of all modules inside the exported module.
    """
    by_tail: dict[str, list[str]] = defaultdict(list)
    for module in modules:
        by_tail[_tail(module)].append(module)
    for node in model.graph.node:
        *parts, operator = node.name.split("/")
        scopes: list[str] = []
        for part in filter(None, parts):
            outer = f"{scopes[-1]}." if scopes else ""
            inside = [module for module in by_tail[part] if module.startswith(outer)]
            scopes.append(inside[0] if len(inside) == 1 else outer + part)
        if scopes:
            node.name = _name(scopes, operator)


def _name(scopes: list[str], operator: str) -> str:
    parts, outer = [], ""
    for scope in scopes:
        parts.append(scope.removeprefix(f"{outer}.") if outer else scope)
        outer = scope
    return "/" + "/".join([*parts, operator])


def _tail(module: str) -> str:
    atoms = module.split(".")
    start = next((i for i in reversed(range(len(atoms))) if not atoms[i].isnumeric()), 0)
    return ".".join(atoms[start:])
