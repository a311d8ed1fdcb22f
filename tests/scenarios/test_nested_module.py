"""Modules of torch with nested inputs and outputs, lists as arguments, and 16-bit parameters."""

from __future__ import annotations

import onnx
import pytest

from tests.scenarios.commands import Place

CODE = """
import torch
from torch import nn


class Half(nn.Module):
    def __init__(self, sizes, options):
        super().__init__()
        assert type(sizes) is list and type(options) is dict
        self.layer = nn.Linear(*sizes).half()

    def forward(self, x, *, gain=None):
        y = self.layer(x)
        return {"y": y if gain is None else y * gain, "nothing": None, "parts": (y + 1,)}
"""

LSTM = (
    "model.target={_target_: torch.nn.LSTM, input_size: 4, hidden_size: 5}",
    "model.inputs=[{name: input, shape: [t, 1, 4]}, {name: hx.0, shape: [1, 1, 5]}, {name: hx.1, shape: [1, 1, 5]}]",
    "model.outputs=[{name: y, shape: [t, 1, 5]}, {name: h, shape: [1, 1, 5]}, {name: c, shape: [1, 1, 5]}]",
)
HALF = (
    "model.target={_target_: half.Half, sizes: [4, 3], options: {a: 1}}",
    "model.inputs=[{name: x, shape: [n, 4]}, {name: gain, shape: []}]",
    "model.outputs=[{name: parts.0, shape: [n, 3]}, {name: y, shape: [n, 3]}]",
)


@pytest.mark.parametrize("words", [LSTM, HALF], ids=["lstm", "half"])
def test_a_module_with_nested_values_is_built(place: Place, words: tuple[str, ...]) -> None:
    (place.directory / "half.py").write_text(CODE, encoding="utf-8")
    place.cosybuild("model=module", "simplify=none", "trt=none", *words)
    (path,) = place.directory.glob("outputs/runs/*/artifacts/*.onnx")
    graph = onnx.load(path).graph
    assert [len(graph.input), len(graph.output)] == ([3, 3] if words is LSTM else [2, 2])
    if words is HALF:
        report = (path.parents[1] / "report.md").read_text(encoding="utf-8")
        assert "float16 parameters were converted to float32" in " ".join(report.split())
