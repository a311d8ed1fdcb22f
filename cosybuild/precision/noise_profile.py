"""The noise profile of a lowered graph: the error of every tensor, and the noise that each node adds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from cosybuild import figure
from cosybuild.numerics.inputs import Array
from cosybuild.onnxgraph.clean import module_path
from cosybuild.precision.emulation import emulate, float_names
from cosybuild.precision.graph import MOVES, is_float, name_of
from cosybuild.precision.probe import Probe

_AT_ONCE = 512
"""Number of tensors that one run returns. It limits the memory."""


_LISTED = 12
"""Largest number of modules, and of nodes, in a report."""


@dataclass(frozen=True)
class Point:
    """The noise of one node of the float32 graph.

    Attributes:
        node: the node's name.
        op: its operator.
        module: its module path.
        tensor: its float32 output, the noisiest one if it has several.
        noise: the sum of |error|^2 divided by the sum of |value|^2, over all elements of the tensor; infinite if an
            element is finite in the float32 graph only.
        fresh: the noise that the node adds: `noise` minus the noise of its noisiest input. It is negative if the node
            reduces noise. It is 0 if the node only moves values or if an input's noise is infinite.
        lowered: True if the tensor is stored in the 16-bit type.
    """

    node: str
    op: str
    module: str
    tensor: str
    noise: float
    fresh: float
    lowered: bool


def profile(lowered: ir.Model, reference: ir.Model, inputs: Mapping[str, Array], threads: int = 1) -> tuple[Point, ...]:
    """Compute the noise profile: one point for each node that both graphs have, in the order of the float32 graph.

    Args:
        lowered: the lowered graph; it is run emulated, with tensors rounded to their storage type.
        reference: the float32 graph, prepared by `graph.prepare`.
        inputs: inputs by name, in float32.
        threads: ONNX Runtime's intra_op_num_threads.
    """
    emulated = emulate(lowered)
    stored = {name_of(v) for n in lowered.graph for v in n.outputs if v.name and not is_float(v)}
    there = set(float_names(emulated))
    made = {node: [name_of(v) for v in node.outputs if is_float(v) and v.name in there] for node in reference.graph}
    tensors = [name for names in made.values() for name in names]
    noise = dict(_noises(emulated, reference, tensors, inputs, threads))
    points = []
    for node, names in made.items():
        if not names:
            continue
        worst = max(names, key=lambda name: noise[name])
        before = max((noise.get(name_of(v), 0.0) for v in node.inputs if v is not None and v.name), default=0.0)
        calm = node.op_type in MOVES or math.isinf(before)
        fresh = 0.0 if calm else noise[worst] - before
        name = name_of(node)
        points.append(Point(name, node.op_type, module_path(name), worst, noise[worst], fresh, worst in stored))
    return tuple(points)


def noise_by_module(points: Sequence[Point]) -> dict[str, float]:
    """Return module path -> largest noise that one of the module's nodes adds."""
    found: dict[str, float] = {}
    for point in points:
        found[point.module] = max(found.get(point.module, 0.0), point.fresh)
    return found


def profile_facts(points: Sequence[Point], case: str) -> dict[str, Any]:
    """Return the noise profile as JSON data, for reports.

    Args:
        points: the noise profile.
        case: the name of the case on which it was measured.

    Returns:
        `curve`: the signal-to-noise ratio after each node in dB, in graph order (`"Infinity"` if nothing is lost,
            `"-Infinity"` if a value is not finite); `blocks`: [index of the first node, outermost module] for each
            change of the outermost module; `modules` and `nodes`: those that add the most noise, in descending order.
    """
    blocks: list[tuple[int, str]] = []
    for index, point in enumerate(points):
        block = point.module.split(".attn", 1)[0].split(".", 2)[:2]
        name = ".".join(block) if len(block) > 1 and block[1].isdigit() else (block or [""])[0]
        if name and (not blocks or blocks[-1][1] != name):
            blocks.append((index, name))
    fresh = [(module, value) for module, value in noise_by_module(points).items() if value > 0]
    last = {point.module: point.noise for point in points}
    worst = sorted((p for p in points if p.fresh > 0), key=lambda p: -p.fresh)[:_LISTED]
    return {
        "case": case,
        "curve": [_plain(point.noise) for point in points],
        "blocks": [list(block) for block in blocks],
        "modules": [
            {"module": module, "fresh_db": _plain(value), "snr_db": _plain(last[module])}
            for module, value in sorted(fresh, key=lambda pair: -pair[1])[:_LISTED]
        ],
        "nodes": [
            {"node": p.node, "op": p.op, "module": p.module, "fresh_db": _plain(p.fresh), "snr_db": _plain(p.noise)}
            for p in worst
        ],
    }


def _plain(noise: float) -> Any:
    return figure.plain(round(decibels(noise), 2))


def decibels(noise: float) -> float:
    """Return the signal-to-noise ratio in dB of a relative noise power; infinity if it is 0."""
    return -10 * math.log10(noise) if noise > 0 else math.inf


def _noises(
    emulated: ir.Model, reference: ir.Model, tensors: Sequence[str], inputs: Mapping[str, Array], threads: int
) -> Iterator[tuple[str, float]]:
    for begin in range(0, len(tensors), _AT_ONCE):
        some = tensors[begin : begin + _AT_ONCE]
        actual = Probe(emulated, extra=some, threads=threads).run(inputs)
        expected = Probe(reference, extra=some, threads=threads).run(inputs)
        for name in some:
            yield name, _noise(actual[name], expected[name])


def _noise(actual: Array, expected: Array) -> float:
    """Return sum |actual - expected|^2 / sum |expected|^2 over the elements that are finite in the float32 graph.

    Other elements, such as those of a mask, may be infinite on purpose.
    """
    known = np.isfinite(expected)
    if not np.isfinite(actual[known]).all():
        return math.inf
    wide = expected[known].astype(np.float64)
    power = float(np.sum(wide**2))
    error = float(np.sum((actual[known] - wide) ** 2))
    return error / power if power else (0.0 if error == 0 else math.inf)
