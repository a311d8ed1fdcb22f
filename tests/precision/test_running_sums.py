from __future__ import annotations

import onnx
import onnx_ir as ir

from cosybuild.precision.rules import RuleInputs
from cosybuild.precision.running_sums import running_sums

GRAPH = """
<ir_version: 8, opset_import: ["" : 18]>
g (float[1, 4, T] mel, float[4, 4, 1] weight, float[1, 4, T] other) => (float[1, 4, T] y)
{
    hidden = Conv(mel, weight)
    f0 = Abs(hidden)
    axis = Constant<value = int64 {2}>()
    phase = CumSum(f0, axis)
    sine = Sin(phase)
    beside = Tanh(other)
    branch = Mul(mel, beside)
    y = Add(sine, branch)
}
"""


def test_only_nodes_that_feed_a_running_sum_are_kept_by_the_rule() -> None:
    model = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(GRAPH))
    nodes = list(ir.from_proto(model).graph)
    view = RuleInputs(nodes, 18, None, {}, {}, None, 0.0, 0.0, 0.0)  # type: ignore[arg-type]  # the rule reads the nodes only
    kept = {node.op_type: reason for node, reason in running_sums(view)}
    assert set(kept) - {"Constant"} == {"CumSum", "Abs", "Conv"}
    assert "running sum" in kept["Conv"]
