"""The ranges of all tensors, measured by running the fp32 graph on the calibration inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
import onnx_ir as ir

from cosybuild.errors import PrecisionError
from cosybuild.numerics.inputs import Array
from cosybuild.precision.graph import (
    CONTRACTIONS,
    MOVES,
    constant_of,
    float_inputs,
    float_outputs,
    is_float,
    name_of,
)
from cosybuild.precision.probe import Probe, scalar_name

_EXTREMES = ("ReduceMin", "ReduceMax")


@dataclass(frozen=True)
class Range:
    """The smallest and the largest value of a tensor; infinite if the tensor contains infinities."""

    low: float
    high: float

    @property
    def max_abs(self) -> float:
        return max(abs(self.low), abs(self.high))

    def union(self, other: Range) -> Range:
        return Range(min(self.low, other.low), max(self.high, other.high))


@dataclass(frozen=True)
class Ranges:
    """The result of measuring a graph on the calibration inputs.

    Attributes:
        tensors: name -> range, for every float32 input and every float32 tensor that a node computes.
        shapes: name -> shape in the last run, for inputs and outputs of matrix products, convolutions and attentions.
            From these shapes their floating-point operations are counted.
    """

    tensors: Mapping[str, Range]
    shapes: Mapping[str, tuple[int, ...]]


def measure_ranges(model: ir.Model, samples: Iterable[Mapping[str, Array]], threads: int = 1) -> Ranges:
    """Run the graph on every sample, and return the smallest and largest value of each tensor.

    A ReduceMin and a ReduceMax are added for each tensor. So the run returns only scalars, and needs no more memory
    than an ordinary run. Nodes that only move values are not measured: they get the range of their inputs.

    Args:
        model: the float32 graph, prepared by `graph.prepare`.
        samples: the calibration inputs, each a mapping input name -> array.
        threads: ONNX Runtime's intra_op_num_threads.

    Raises:
        PrecisionError: an output of the fp32 graph contains a NaN.
    """
    measured = [name_of(value) for value in model.graph.inputs if is_float(value)]
    contracted: dict[str, None] = {}
    for node in model.graph:
        if node.op_type not in MOVES:
            measured += [name_of(value) for value in float_outputs(node)]
        if node.op_type in CONTRACTIONS:
            contracted.update(dict.fromkeys(name_of(value) for value in (*float_inputs(node), *float_outputs(node))))
    outputs = [name_of(value) for value in model.graph.outputs if is_float(value)]
    probe = Probe(model, reductions=_EXTREMES, tensors=measured, shapes=list(contracted), threads=threads)
    ranges: dict[str, Range] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for sample in samples:
        found = probe.run(sample)
        if any(np.isnan(found[name]).any() for name in outputs):
            raise _not_a_number(model, sample, threads)
        shapes = {name: tuple(int(n) for n in found[scalar_name(name, "Shape")]) for name in contracted}
        for name in measured:
            low, high = (float(found[scalar_name(name, reduction)]) for reduction in _EXTREMES)
            ranges[name] = ranges[name].union(Range(low, high)) if name in ranges else Range(low, high)
    for node in model.graph:
        if node.op_type in MOVES and float_outputs(node):
            moved = _moved(node, ranges)
            ranges.update({name_of(value): moved for value in float_outputs(node)})
    return Ranges(ranges, shapes)


def _moved(node: ir.Node, ranges: Mapping[str, Range]) -> Range:
    """Return the union of the ranges of the values that the node moves. For Pad it includes 0."""
    sources = []
    for value in float_inputs(node):
        tensor = constant_of(value)
        if tensor is None:
            sources.append(ranges[name_of(value)])
        elif tensor.size:
            values = tensor.numpy()
            sources.append(Range(float(values.min()), float(values.max())))
    if node.op_type == "Pad" or not sources:
        sources.append(Range(0.0, 0.0))
    return reduce(Range.union, sources)


def _not_a_number(model: ir.Model, sample: Mapping[str, Array], threads: int) -> PrecisionError:
    """Return the error for a NaN in an output. It names the calibration input or the first node that has a NaN."""
    for value in model.graph.inputs:
        if is_float(value) and np.isnan(sample[name_of(value)]).any():
            return PrecisionError(
                f"The calibration input '{value.name}' has values that are NaN.",
                hint="Next: correct the file named by precision.calibration.",
            )
    nodes = [node for node in model.graph if float_outputs(node)]
    # ONNX Runtime's ReduceMin and ReduceMax ignore NaNs; ReduceSum does not.
    tensors = [name_of(value) for node in nodes for value in float_outputs(node)]
    sums = Probe(model, reductions=("ReduceSum",), tensors=tensors, threads=threads).run(sample)
    first = next(
        node for node in nodes if any(np.isnan(sums[scalar_name(name_of(v), "ReduceSum")]) for v in float_outputs(node))
    )
    return PrecisionError(
        f"The fp32 graph gives NaN in {first.outputs[0].name}, made by {first.op_type} "
        f"{first.name}, on its calibration inputs; a lower precision cannot correct that.",
        hint="Next: check the weights and the calibration inputs, or build with precision=fp32.",
    )
