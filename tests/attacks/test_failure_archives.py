"""Failure archives with a valid index, and graphs or facts that no failed build has written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from onnx import TensorProto, helper

from cosybuild.errors import ConfigurationError
from tests.attacks.filling import failure_archive
from tests.attacks.ground import Ground

Change = Callable[[dict[str, Any]], None]


def graph(*, op: str = "Relu", opset: int = 18, ir_version: int = 8) -> bytes:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    made = helper.make_graph([helper.make_node(op, ["x"], ["y"])], "part", values[:1], values[1:])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    content: bytes = model.SerializeToString()
    return content


def lowered(index: dict[str, Any]) -> None:
    index["config"]["precision"]["target"] = "fp16"


def not_lowered(index: dict[str, Any]) -> None:
    index["config"]["precision"]["target"] = "fp32"


def of_other_inputs(index: dict[str, Any]) -> None:
    lowered(index)
    index["cut"]["inputs"] = {"other": "input0"}


@pytest.mark.attack("malformed", "the archive is refused; the command does not ask for another export")
@pytest.mark.parametrize(
    ("change", "part"),
    [
        pytest.param(lowered, graph(opset=99), id="opset 99"),
        pytest.param(lowered, graph(ir_version=200), id="IR version 200"),
        pytest.param(lowered, graph(op="Unknown"), id="an unknown operator"),
        pytest.param(not_lowered, graph(), id="a part of a build that lowers nothing"),
        pytest.param(of_other_inputs, graph(), id="other inputs"),
    ],
)
def test_a_part_that_cannot_be_run_makes_the_archive_refused(ground: Ground, change: Change, part: bytes) -> None:
    said = ground.command("replay", str(failure_archive(ground, change, part)), "--max-seconds", "120")
    assert said.code == ConfigurationError.exit_code
    assert "capsule.tar.gz is refused: its graphs cannot be run" in said.text
    assert "Traceback" not in said.text
