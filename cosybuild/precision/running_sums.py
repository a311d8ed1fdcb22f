"""The rule for running sums (CumSum), such as the phase of a vocoder's source."""

from __future__ import annotations

import onnx_ir as ir

from cosybuild.precision.graph import computed_inputs
from cosybuild.precision.rules import RuleInputs, Verdicts


def running_sums(given: RuleInputs) -> Verdicts:
    """Keep in float32 each CumSum and all nodes that it depends on, including matrix products and convolutions.

    A rounding error of one summand stays in all later sums. In a vocoder this rule keeps the predictor of f0 in
    float32. In fp16, f0 would be wrong by 5 cents. Summed over one second, this error shifts the phase of the ninth
    harmonic by at least a whole cycle.
    """
    for node in given.nodes:
        if node.op_type != "CumSum":
            continue
        yield node, "a running sum keeps every rounding error"
        stack: list[ir.Node] = [node]
        seen = {node}
        while stack:
            for value in computed_inputs(stack.pop()):
                source = value.producer()
                if source is not None and source not in seen:
                    seen.add(source)
                    stack.append(source)
                    yield source, "feeds a running sum, which keeps every rounding error"
