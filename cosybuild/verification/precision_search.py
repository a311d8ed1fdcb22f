"""The search of `precision=auto` for the smallest set of nodes that must stay in fp32.

Imports onnx only when it runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosybuild.building.stage import Emit, RunContext
from cosybuild.config.groups.precision import PrecisionSettings
from cosybuild.errors import PrecisionError
from cosybuild.request import Request
from cosybuild.system.typed_json import to_json
from cosybuild.verification.lowered_gates import fault_of, to_float32, typed_inputs
from cosybuild.verification.scope import lowered_cases_of

if TYPE_CHECKING:
    import onnx_ir as ir

    from cosybuild.precision.decide import Decisions
    from cosybuild.precision.lower import Lowered
    from cosybuild.precision.ranges import Ranges
    from cosybuild.precision.trials import Sample, Trials

OPTION = "precision.yaml"
"""Name of the file that holds the result of the search as an option of the configuration group `precision`."""

_PATIENCE = 8
"""Limit on evaluations, as a multiple of the number that finding a set of one or two nodes takes.

At the limit the search returns a set that passes but may not be minimal.
"""


def search(
    context: RunContext, model: ir.Model, ranges: Ranges, decisions: Decisions
) -> tuple[Decisions, Lowered, dict[str, Any]]:
    """Find the nodes that must stay in fp32 for the gates to pass, in addition to those that the rules keep.

    One evaluation lowers the whole graph and runs it with emulated storage types. The first evaluation runs the graph
    that the rules alone give, on all inputs of the step `verify lowered`. The search then uses only the first input
    that fails, and its result is checked on all inputs. If another input fails, the search is repeated with all inputs
    that failed so far. Modules are searched in the order of the noise that their nodes add, so that few evaluations are
    enough.

    Args:
        context: the run's context, with the float32 graph as input `graph`.
        model: the float32 graph.
        ranges: the measured ranges and shapes of the graph's tensors.
        decisions: the decisions of the rules.

    Returns:
        The final decisions, the lowered graph, and the figures of the search.

    Raises:
        PrecisionError: the gates fail even with every node in fp32, so the type of inputs and outputs is the cause.
    """
    from cosybuild.onnxgraph.clean import module_path
    from cosybuild.precision.bisection import bisect, evaluation_bound
    from cosybuild.precision.trials import Trials

    request: Request = context.request
    verify = request.settings.verify
    assert verify is not None, "a rule refuses precision.method=search without verification"
    trials = Trials(model, decisions, verify.threads)
    candidates = trials.candidates
    samples = _Samples(request, trials, context.inputs["graph"].path)
    limit = int(_PATIENCE * evaluation_bound(len(candidates)))
    found: tuple[str, ...] = ()
    failed: list[dict[str, str]] = []
    active: list[Sample] = []
    evaluations, minimal = 1, True
    context.emit("progress", done=1, what="checking the graph of the rules against the gates")
    while (missed := trials.failing(found, samples)) is not None:
        if any(sample.name == missed[0].name for sample in active):
            raise AssertionError(f"{found} passes {missed[0].name} in the search and not after it")
        failed.append({"case": missed[0].name, "missed": missed[1]})
        active.append(missed[0])
        # Only the first failing input is known to fail if no node is kept in fp32.
        oracle = _Oracle(trials, active, context.emit, evaluations, empty_fails=len(active) == 1)
        suspects = trials.suspects(missed[0])
        answer = bisect(suspects, [module_path(name) for name in suspects], oracle, limit)
        if answer is None:
            raise PrecisionError(
                f"The graph fails even with every node in fp32: {missed[0].name}: {missed[1]}.",
                hint="Next: precision.io=keep, so that inputs and outputs stay in float32; or precision.snr_db=N.",
            )
        found, minimal, evaluations = answer.units, answer.minimal, oracle.count
    final, lowered = trials.lowered(found)
    figures = {
        "evaluations": evaluations,
        "candidates": len(candidates),
        "promised": round(evaluation_bound(len(candidates)), 1),
        "minimal": minimal,
        "failed": failed,
        "nodes": list(_described(model, found)),
        "cost": _cost(model, ranges, (trials.lowered(())[0], trials.lowered(())[1].casts), (final, lowered.casts)),
    }
    return final, lowered, figures


class _Oracle:
    """The predicate of the bisection: True if all gates pass with a given set of nodes in fp32.

    Each call emits an event.
    """

    def __init__(self, trials: Trials, samples: Sequence[Sample], emit: Emit, count: int, *, empty_fails: bool) -> None:
        self.count = count
        self._trials, self._samples, self._emit = trials, samples, emit
        self._empty_fails = empty_fails

    def __call__(self, names: frozenset[str]) -> bool:
        if self._empty_fails and not names:
            return False
        self.count += 1
        passes = self._trials.passes(names, self._samples)
        verdict = "passes" if passes else "fails"
        self._emit("progress", done=self.count, what=f"{len(names)} nodes kept in fp32: {verdict}")
        return passes


class _Samples:
    """The inputs of the step `verify lowered`, drawn on demand.

    Each has a check that compares the outputs of a lowered graph with those of the float32 graph.
    """

    def __init__(self, request: Request, trials: Trials, graph: Path) -> None:
        from cosybuild.backends.isolated import open_session

        verify = request.settings.verify
        assert verify is not None
        self._request = request
        self._interface = trials.lowered(())[1].model
        self._reference = open_session(graph, request.subject, verify.provider, verify.threads)
        self._fault = fault_of(request)

    def __iter__(self) -> Iterator[Sample]:
        from cosybuild.precision.trials import Sample

        for case in lowered_cases_of(self._request):
            typed = typed_inputs(case.inputs(self._request.subject.spec), self._interface)
            inputs = {name: to_float32(values) for name, values in typed.items()}
            yield Sample(case.name, inputs, partial(self._fault, expected=self._reference.infer(inputs)))


def option_text(request: Request, figures: Mapping[str, Any]) -> str:
    """Return a configuration file that gives the same graph without a search.

    It is an option of the configuration group `precision`.
    """
    from cosybuild.precision.patterns import literal

    precision = request.settings.precision
    nodes = figures["nodes"]
    lines = [
        f"# {precision.target.value} with what the gates need in float32, as precision=auto found it"
        f"{'' if nodes else ' (nothing beyond the rules)'}.",
        "# Keep it as precision/NAME.yaml among your configurations, and build with precision=NAME.",
    ]
    default = PrecisionSettings()
    for field in fields(precision):
        value = getattr(precision, field.name)
        if field.name not in ("method", "keep_fp32") and value != getattr(default, field.name):
            lines.append(f"{field.name}: {json.dumps(to_json(value))}")
    kept = [(pattern, "") for pattern in precision.keep_fp32]
    kept += [
        (literal(node["node"]), f" # {node['op']} of {node['module'] or 'the outermost module'}") for node in nodes
    ]
    lines += ["keep_fp32:" if kept else "keep_fp32: []"]
    lines += [f"  - {json.dumps(pattern)}{comment}" for pattern, comment in kept]
    return "\n".join(lines) + "\n"


def _described(model: ir.Model, names: Sequence[str]) -> Iterator[dict[str, str]]:
    from cosybuild.onnxgraph.clean import module_path

    operators = {node.name: node.op_type for node in model.graph}
    for name in names:
        yield {"node": name, "op": operators[name], "module": module_path(name)}


def _cost(
    model: ir.Model, ranges: Ranges, before: tuple[Decisions, int], after: tuple[Decisions, int]
) -> dict[str, float]:
    """Return the cost of the nodes kept in fp32: their share of the matrix arithmetic, added casts, number of nodes.

    The number includes nodes that are kept because their neighbours are kept.
    """
    from cosybuild.precision.flops import lowered_share
    from cosybuild.precision.graph import nodes_to_decide

    nodes = nodes_to_decide(model)
    shares = [lowered_share(nodes, decisions.kept, ranges.shapes) for decisions, _ in (before, after)]
    return {
        "flops_share": round(shares[0] - shares[1], 6),
        "casts": after[1] - before[1],
        "nodes": len(after[0].kept) - len(before[0].kept),
    }
