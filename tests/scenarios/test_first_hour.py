"""The output of the first build, while it runs and at its end."""

from __future__ import annotations

import shlex
import sys

from tests.scenarios.commands import QUICK, Place


def test_the_first_build_prints_its_actions_and_the_next_commands(used_place: Place, built_place: Place) -> None:
    lines = built_place.last.out.splitlines()
    assert lines[0] == "starting  reading the configuration"
    assert "building  export  never built; writes the model as an ONNX graph (first time here)" in lines
    following = lines[lines.index("Next:") + 1 :]
    commands = [shlex.split(line[line.index("python -m") :])[1:] for line in following]
    assert [command[2] for command in commands] == ["explain", QUICK[0]]
    # Both commands work; the second is not a first build, so it prints no commands to try.
    assert "never built" in used_place.run(sys.executable, *commands[0]).out
    deployed = used_place.run(sys.executable, *commands[1]).out
    assert "deployed to model (cosyvoice)" in deployed
    assert "Next:" not in deployed
    assert "starting" not in deployed
