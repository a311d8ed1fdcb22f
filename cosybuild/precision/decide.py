"""The decision on which nodes stay in fp32, by the rules and then for cheap nodes between such nodes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from cosybuild.config.groups.precision import PrecisionSettings, Target
from cosybuild.models.spec import ModelSpec
from cosybuild.precision import patterns, range_rules, rules
from cosybuild.precision.constants import ConstantFacts, examine
from cosybuild.precision.graph import (
    CONTRACTIONS,
    NORMALISATIONS,
    computed_inputs,
    float_outputs,
    is_float,
    name_of,
    nodes_to_decide,
    opset_of,
)
from cosybuild.precision.indices import indices
from cosybuild.precision.interface import interface_dtype
from cosybuild.precision.masks import SOFTMAXES, find_masks
from cosybuild.precision.ranges import Ranges
from cosybuild.precision.running_sums import running_sums
from cosybuild.precision.storage import Storage, storage_of

_RANGE_RULES = (
    range_rules.exponentials,
    range_rules.logarithms,
    range_rules.constants,
    range_rules.magnitudes,
    range_rules.sums_of_products,
)


@dataclass(frozen=True)
class Decisions:
    """The decisions for one graph.

    Attributes:
        storage: the 16-bit type.
        kept: name of a node that stays in fp32 -> reason, in graph order.
        match_io: True if the graph's inputs and outputs get the 16-bit type.
        clipped: name of a mask constant -> magnitude to which it is clipped.
    """

    storage: Storage
    kept: Mapping[str, str]
    match_io: bool
    clipped: Mapping[str, float] = field(default_factory=dict)


def decide(
    model: ir.Model,
    ranges: Ranges,
    settings: PrecisionSettings,
    constants: Mapping[str, ConstantFacts] | None = None,
    spec: ModelSpec | None = None,
) -> Decisions:
    """Apply all rules to a graph. If several rules keep a node, the first one gives the reason.

    Args:
        model: the float32 graph, prepared by `graph.prepare`. It is not changed.
        ranges: measured ranges of all tensors.
        settings: the target (fp16, bf16 or mixed), the limits and the patterns.
        constants: facts of all float32 initialisers; None to compute them here.
        spec: the model's specification, which names modules to keep in float32; None if there is none.

    Raises:
        PrecisionError: a pattern of `keep_fp32` matches no node.
    """
    storage = storage_of(settings.target)
    assert storage is not None, settings.target
    masks = find_masks(model, ranges.tensors, storage)
    given = rules.RuleInputs(
        nodes=nodes_to_decide(model),
        opset=opset_of(model),
        storage=storage,
        ranges={**ranges.tensors, **masks.ranges},
        constants=examine_all(model, storage) if constants is None else constants,
        masks=masks,
        data_max=-storage.masked if settings.data_max is None else settings.data_max,
        init_max=storage.max if settings.init_max is None else settings.init_max,
        init_min=storage.smallest_normal if settings.init_min is None else settings.init_min,
    )
    kept: dict[ir.Node, str] = {}
    _collect(kept, rules.types(given))
    _collect(kept, patterns.patterns(given, settings.keep_fp32))
    if spec is not None:
        _collect(kept, patterns.modules(given, spec.float32_modules))
    for rule in (rules.integers, indices, rules.phases, running_sums, rules.statistics, rules.softmaxes):
        _collect(kept, rule(given))
    for rule in _RANGE_RULES:
        _collect(kept, rule(given))
    if settings.target is Target.mixed:
        _collect(kept, rules.not_contractions(given))
    match_io = interface_dtype(settings, spec) != "float32"
    _close(kept, given.nodes, match_io)
    return Decisions(storage, {name_of(n): kept[n] for n in given.nodes if n in kept}, match_io, masks.clipped)


def with_kept_nodes(decisions: Decisions, model: ir.Model, names: Collection[str], reason: str) -> Decisions:
    """Return the decisions with additional nodes in fp32, and with the cheap nodes that then lie between such nodes.

    Args:
        decisions: the decisions so far. Nodes that already stay in fp32 keep their reason.
        model: the graph of the decisions.
        names: names of the additional nodes.
        reason: the reason for the additional nodes.
    """
    nodes = nodes_to_decide(model)
    kept = {node: decisions.kept[name_of(node)] for node in nodes if node.name in decisions.kept}
    for node in nodes:
        if node.name in names:
            kept.setdefault(node, reason)
    _close(kept, nodes, decisions.match_io)
    return replace(decisions, kept={name_of(n): kept[n] for n in nodes if n in kept})


def examine_all(model: ir.Model, storage: Storage) -> dict[str, ConstantFacts]:
    """Return name -> facts for every float32 initialiser."""
    return {
        name: examine(value.const_value, storage)
        for name, value in model.graph.initializers.items()
        if value.const_value is not None and is_float(value)
    }


def _collect(kept: dict[ir.Node, str], verdicts: Iterable[tuple[ir.Node, str]]) -> None:
    for node, reason in verdicts:
        kept.setdefault(node, reason)


def _close(kept: dict[ir.Node, str], nodes: Sequence[ir.Node], match_io: bool) -> None:
    """Keep cheap nodes in fp32 if all their neighbours are. Lowering them would only add casts, which lose digits."""
    costly = CONTRACTIONS | NORMALISATIONS | SOFTMAXES
    candidates = [node for node in nodes if node not in kept and node.op_type not in costly]
    changed = True
    while changed:
        changed = False
        for node in candidates:
            if node in kept or not computed_inputs(node) or not float_outputs(node):
                continue
            sources = [value.producer() for value in computed_inputs(node)]
            users = [user for value in float_outputs(node) for user, _ in value.uses()]
            ends = any(value.is_graph_output() for value in node.outputs)
            if all((s in kept) if s is not None else not match_io for s in sources) and (
                all(user in kept for user in users) and not (ends and match_io)
            ):
                kept[node] = "is between nodes that stay in fp32"
                changed = True
