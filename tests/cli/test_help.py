"""`help`, `help COMMAND` and `--version`."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import cosybuild
from cosybuild.__main__ import main
from cosybuild.cli.verbs import VERBS
from tests.scenarios.commands import Place


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_the_help_of_a_command_is_printed(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", verb] if verb != "help" else ["help", "help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: python -m cosybuild {verb} ")


def test_an_unknown_command_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "explian"]) == 2
    assert "Did you mean explain?" in capsys.readouterr().err


def test_versions_are_printed_without_imports(tmp_path: Path) -> None:
    program = (
        "import sys; from cosybuild.__main__ import main; code = main(['--version']); "
        "loaded = {'torch', 'onnx', 'hydra'} & set(sys.modules); sys.exit(repr(loaded) if loaded else code)"
    )
    lines = Place(tmp_path).run(sys.executable, "-c", program).out.splitlines()
    assert lines[0] == f"cosybuild {cosybuild.__version__}"
    assert f"torch {version('torch')}" in lines
    assert f"onnx {version('onnx')}" in lines
