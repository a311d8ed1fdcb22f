"""Faults planted in an exported graph: pairs of nodes that change little in fp32 and much in half precision."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from cosybuild.onnxgraph.files import load_model, save_model


def detour(source: Path, target: Path, module: str, op: str, operator: str, value: float, inverse: float) -> Path:
    """Return the graph with `operator` by `value` and then by `inverse`, after the first `op` of a module.

    The new nodes are `/MODULE/planted/up` and `/MODULE/planted/down`.
    """
    model = load_model(source)
    index, node = next(
        (i, n) for i, n in enumerate(model.graph.node) if n.op_type == op and n.name.startswith(f"/{module}/")
    )
    name, (before, between, after) = node.output[0], (f"{node.output[0]}.{part}" for part in ("raw", "up", "down"))
    for reader in model.graph.node:
        for position, read in enumerate(reader.input):
            if read == name:
                reader.input[position] = after
    node.output[0] = before
    for part, constant in (("up", value), ("down", inverse)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(constant), f"{module}.{part}"))
    steps = [(before, "up", between), (between, "down", after)]
    for offset, (read, part, written) in enumerate(steps, 1):
        new = onnx.helper.make_node(operator, [read, f"{module}.{part}"], [written], name=f"/{module}/planted/{part}")
        model.graph.node.insert(index + offset, new)
    return save_model(model, target)[0]


def overflowing(source: Path, target: Path, module: str) -> Path:
    """Return the graph with a layer whose output is too large for fp16, followed by the inverse."""
    return detour(source, target, module, "MatMul", "Mul", 6e4, 1 / 6e4)


def coarse(source: Path, target: Path, offsets: Mapping[str, float]) -> Path:
    """Return the graph with layers whose outputs lose digits, because an offset is added and subtracted."""
    for module, offset in offsets.items():
        source = detour(source, target, module, "MatMul", "Add", offset, -offset)
    return source
