"""The report of a lowering as JSON data: the nodes in fp32 with reasons, the constants that lose values, and shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

from cosybuild.onnxgraph.clean import module_path
from cosybuild.precision.constants import ConstantFacts
from cosybuild.precision.decide import Decisions
from cosybuild.precision.flops import lowered_share
from cosybuild.precision.graph import name_of, nodes_to_decide
from cosybuild.precision.lower import Lowered
from cosybuild.precision.ranges import Ranges
from cosybuild.precision.storage import Storage


def lowering_report(
    model: ir.Model,
    ranges: Ranges,
    decisions: Decisions,
    lowered: Lowered,
    constants: Mapping[str, ConstantFacts],
) -> dict[str, Any]:
    """Return the report of one lowering.

    Args:
        model: the float32 graph, prepared by `graph.prepare`.
        ranges: the measured ranges and shapes.
        decisions: the decisions on which nodes stay in fp32.
        lowered: the lowered graph.
        constants: facts of all float32 initialisers.
    """
    nodes = nodes_to_decide(model)
    return {
        "storage": decisions.storage.name,
        "io": "match" if decisions.match_io else "keep",
        "nodes": {"all": len(model.graph), "float": len(nodes), "kept_fp32": len(decisions.kept)},
        "casts": lowered.casts,
        "flops_lowered": round(lowered_share(nodes, decisions.kept, ranges.shapes), 6),
        "kept_fp32": group_by_reason(nodes, decisions.kept),
        "constants": constants_report(constants, lowered, decisions),
    }


def group_by_reason(nodes: list[ir.Node], kept: Mapping[str, str]) -> list[dict[str, Any]]:
    """Group the nodes in fp32 by reason, the most frequent reason first.

    Each entry lists its nodes in graph order, with operator and module path.
    """
    counts = Counter(kept.values())
    groups: dict[str, list[dict[str, str]]] = {reason: [] for reason, _ in counts.most_common()}
    for node in nodes:
        name = name_of(node)
        if name in kept:
            groups[kept[name]].append({"node": name, "op": node.op_type, "module": module_path(name)})
    return [{"reason": reason, "count": counts[reason], "nodes": members} for reason, members in groups.items()]


def constants_report(constants: Mapping[str, ConstantFacts], lowered: Lowered, decisions: Decisions) -> dict[str, Any]:
    """Return counts over the converted constants, and for each constant that loses elements their number."""
    storage: Storage = decisions.storage
    converted = {name: constants[name] for name in lowered.converted}
    clipped = {
        name: {"from": constants[name].max_abs, "to": limit}
        for name, limit in decisions.clipped.items()
        if name in constants and constants[name].max_abs > limit
    }
    overflowing = {name: f.overflowing for name, f in constants.items() if f.overflowing and name not in clipped}
    return {
        "converted": len(converted),
        "in_both_types": len(lowered.duplicated),
        "elements": sum(f.size for f in converted.values()),
        "overflowing": overflowing,
        "vanishing": {name: f.vanishing for name, f in converted.items() if f.vanishing},
        "subnormal_elements": sum(f.subnormal for f in converted.values()),
        "clipped_masks": {name: {k: _number(v) for k, v in c.items()} for name, c in clipped.items()},
        "largest": storage.max,
    }


def _number(value: float) -> float | str:
    return value if abs(value) != float("inf") else str(value)
