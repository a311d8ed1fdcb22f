"""Extraction of the smallest part of a lowered graph that fails by itself, with the inputs on which it fails."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from cosybuild.backends.session import InferenceFailed
from cosybuild.errors import ExportError
from cosybuild.numerics.inputs import Array
from cosybuild.precision.emulated_session import EmulatedSession
from cosybuild.precision.graph import is_float, made_names, name_of
from cosybuild.precision.noise_profile import Point
from cosybuild.precision.probe import Probe

_TRIED = 8
"""Number of nodes that are extracted and tried; those that add the most noise are tried first."""

Holds = Callable[[Mapping[str, Array], Mapping[str, Array]], str | None]
"""A function (outputs of the lowered graph, outputs of the float32 graph) that returns a description of the missed
gate, or None if the outputs pass.
"""


@dataclass(frozen=True)
class Cut:
    """A part of a lowered graph that fails by itself.

    Attributes:
        nodes: names of its nodes in the float32 graph.
        point: the noise of that node of the part which adds the most noise.
        lowered: the part of the lowered graph.
        reference: the same part of the float32 graph, with the same inputs and outputs.
        inputs: the part's inputs by name: the float32 graph's values, rounded to the storage type.
        missed: the description of the failure.
    """

    nodes: tuple[str, ...]
    point: Point
    lowered: ir.Model
    reference: ir.Model
    inputs: Mapping[str, Array]
    missed: str


def smallest_cut(
    lowered: ir.Model,
    reference: ir.Model,
    points: Sequence[Point],
    inputs: Mapping[str, Array],
    holds: Holds,
    threads: int = 1,
) -> Cut | None:
    """Find a single node that fails by itself, or else a module that does; None if none of the tried ones fails.

    Args:
        lowered: the lowered graph, made from `reference`.
        reference: the float32 graph, prepared by `graph.prepare`.
        points: the noise profile of both graphs on `inputs`.
        inputs: inputs by name on which the whole graph fails, in float32.
        holds: function that compares the outputs.
        threads: ONNX Runtime's intra_op_num_threads.
    """
    # Sorting is stable. So if several nodes have infinite noise, the first in graph order comes first.
    worst = sorted((p for p in points if p.fresh > 0), key=lambda p: -p.fresh)[:_TRIED]
    modules = {p.module: p for p in reversed(worst) if p.module}
    for nodes, point in [
        *(((p.node,), p) for p in worst),
        *((tuple(o.node for o in points if o.module == m), p) for m, p in reversed(modules.items())),
    ]:
        try:
            found = _failing(lowered, reference, nodes, point, inputs, holds, threads)
        except (ExportError, InferenceFailed):
            continue  # ONNX Runtime does not accept every extracted part
        if found is not None:
            return found
    return None


def part_fault(
    lowered: ir.Model, reference: ir.Model, inputs: Mapping[str, Array], holds: Holds, threads: int = 1
) -> str | None:
    """Run a part of the lowered graph, emulated, and the same part of the float32 graph, and compare their outputs.

    Returns:
        A description of the failure; None if the part passes on these inputs.
    """
    outputs, guilty = EmulatedSession(lowered, reference, threads).infer(inputs)
    return str(guilty) if guilty is not None else holds(outputs, Probe(reference, threads=threads).run(inputs))


def _failing(
    lowered: ir.Model,
    reference: ir.Model,
    nodes: tuple[str, ...],
    point: Point,
    inputs: Mapping[str, Array],
    holds: Holds,
    threads: int,
) -> Cut | None:
    inside = {node for node in reference.graph if node.name in nodes}
    outputs = [
        name_of(value)
        for node in reference.graph
        if node in inside
        for value in node.outputs
        if is_float(value) and (value.is_graph_output() or any(user not in inside for user, _ in value.uses()))
    ]
    own = {name_of(node) for node in reference.graph}
    parts = [extract_part(model, nodes, outputs, own) for model in (lowered, reference)]
    needed = {name_of(value) for part in parts for value in part.graph.inputs}
    known = {name_of(value) for value in reference.graph.inputs} | made_names(reference)
    if any(name not in known for name in needed):
        return None  # an input of the part is made by an inserted cast, so the float32 graph has no such tensor
    given = {name: values for name, values in inputs.items() if name in needed}
    found = Probe(reference, extra=sorted(needed - set(given)), threads=threads).run(inputs)
    values = {**given, **{name: found[name] for name in needed - set(given)}}
    rounded = {name: _stored(array, parts[0], name) for name, array in values.items()}
    for part in parts:
        used = {name_of(value) for value in part.graph.inputs}
        part.graph.inputs.extend(_input(name, parts, rounded[name]) for name in sorted(needed - used))
    missed = part_fault(parts[0], parts[1], rounded, holds, threads)
    return None if missed is None else Cut(nodes, point, parts[0], parts[1], rounded, missed)


def extract_part(model: ir.Model, nodes: Collection[str], outputs: Sequence[str], own: Collection[str]) -> ir.Model:
    """Return the part of `model` that computes `outputs` from the given nodes.

    Casts that the lowering inserted between these nodes belong to the part, too.

    Args:
        model: the lowered graph or the float32 graph.
        nodes: names of the nodes of the part.
        outputs: names of the part's outputs.
        own: names of all nodes of the float32 graph; any other node is an inserted cast.
    """
    makers = {name_of(value): node for node in model.graph for value in node.outputs if value.name}
    wanted, stack = set(), [makers[name] for name in outputs if name in makers]
    while stack:
        node = stack.pop()
        if node in wanted or (node.name in own and node.name not in nodes):
            continue
        wanted.add(node)
        stack += [maker for value in node.inputs if value is not None and (maker := value.producer()) is not None]
    return _sub_model(model, wanted, outputs)


def _sub_model(model: ir.Model, wanted: Collection[ir.Node], outputs: Sequence[str]) -> ir.Model:
    nodes = [node for node in model.graph if node in wanted]
    made = {value for node in nodes for value in node.outputs}
    taken = {value: None for node in nodes for value in node.inputs if value is not None and value not in made}
    inputs = [value for value in taken if not value.is_initializer()]
    graph = ir.convenience.extract(model.graph, inputs, outputs)
    # The shapes that are stated for the whole graph need not be right for the part.
    for value in (*graph.inputs, *(value for node in graph for value in node.outputs)):
        value.shape = None
    return ir.Model(graph, ir_version=model.ir_version)


def _stored(values: Array, part: ir.Model, name: str) -> Array:
    """Round values to the type of the lowered part's input `name`. Floating-point values are returned in float32."""
    taken = {value.name: value.dtype for value in part.graph.inputs}.get(name)
    if taken not in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
        return values
    with np.errstate(over="ignore"):
        return values.astype(taken.numpy()).astype(np.float32)


def _input(name: str, parts: list[ir.Model], values: Array) -> ir.Value:
    kinds = {value.name: value.type for part in parts for value in part.graph.inputs}
    kind = ir.TensorType(ir.DataType.FLOAT) if values.dtype == np.float32 else kinds[name]
    return ir.Value(name=name, type=kind, shape=None)
