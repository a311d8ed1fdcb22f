"""Where a lowered graph loses digits: the error of every tensor, and how much of it its own node brought in."""

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
from cosybuild.precision.emulate import emulate, float_names
from cosybuild.precision.graph import MOVES, is_float, name_of
from cosybuild.precision.probe import Probe

_AT_ONCE = 512
"""Tensors that leave the runtime in one run, so that memory stays that of some hundred."""


_LISTED = 12
"""Modules and nodes that a report lists."""


@dataclass(frozen=True)
class Point:
    """One node of the float32 graph.

    Attributes:
        node, op, module: who it is.
        tensor: its float32 output; the noisiest of several.
        noise: |error|^2 over |values|^2 of the tensor, both summed over all elements; infinite where an element that
            is finite in float32 is not.
        fresh: how much of that no input had: noise less that of the noisiest input. Negative where a node calms;
            zero where it only moves values, and where an input is beyond all bounds already.
        lowered: whether the tensor is stored in the lower type.
    """

    node: str
    op: str
    module: str
    tensor: str
    noise: float
    fresh: float
    lowered: bool


def profile(lowered: ir.Model, reference: ir.Model, inputs: Mapping[str, Array], threads: int = 1) -> tuple[Point, ...]:
    """Every node that both graphs have, in the order of the float32 graph.

    Args:
        lowered: the typed graph; it runs as its storage type stores it.
        reference: the float32 graph in normal form.
        inputs: in float32.
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


def suspicion(points: Sequence[Point]) -> dict[str, float]:
    """Module -> the most fresh noise of any of its nodes."""
    found: dict[str, float] = {}
    for point in points:
        found[point.module] = max(found.get(point.module, 0.0), point.fresh)
    return found


def profile_facts(points: Sequence[Point], case: str) -> dict[str, Any]:
    """A profile as plain data, for reports.

    Attributes of the result: `curve`, the signal-to-noise ratio after each node in dB, in the order of the graph
    (`"Infinity"` where nothing is lost, `"-Infinity"` where a value is not finite); `blocks`, [first node, outermost
    module] where that changes; `modules`, those that bring in noise, the most first; `nodes`, likewise.
    """
    blocks: list[tuple[int, str]] = []
    for index, point in enumerate(points):
        block = point.module.split(".attn", 1)[0].split(".", 2)[:2]
        name = ".".join(block) if len(block) > 1 and block[1].isdigit() else (block or [""])[0]
        if name and (not blocks or blocks[-1][1] != name):
            blocks.append((index, name))
    fresh = [(module, value) for module, value in suspicion(points).items() if value > 0]
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
    """The signal-to-noise ratio that a noise stands for; infinite where there is none."""
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
    """|a - e|^2 / |e|^2 over what is finite in float32 (masks are infinite there on purpose)."""
    known = np.isfinite(expected)
    if not np.isfinite(actual[known]).all():
        return math.inf
    wide = expected[known].astype(np.float64)
    power = float(np.sum(wide**2))
    error = float(np.sum((actual[known] - wide) ** 2))
    return error / power if power else (0.0 if error == 0 else math.inf)
