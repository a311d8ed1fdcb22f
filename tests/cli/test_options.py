"""The command `options`, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cosybuild.__main__ import main


def test_groups_come_in_the_order_of_the_build(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["options"]) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = [line for line in lines if not line.startswith(" ")]
    assert heads[:5] == ["model", "component", "vocoder", "export", "simplify"]
    assert "  * opset18  Opset 18: the opset of CosyVoice's own exports." in lines


def test_a_group_is_listed_with_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["options", "export"]) == 0
    assert "export.opset " in capsys.readouterr().out


def test_a_setting_is_listed_with_its_type_default_choices_and_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["options", "trt.typing"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  trt.typing  strong, weak (default: strong)",
        "      strong: the types of the graph; weak: TensorRT 10 chooses the types, with BuilderFlag.FP16 or BF16.",
    ]
    assert main(["options", "verify.solver"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  verify")]
    assert "verify.solver.steps" in names
    assert all(name.startswith("verify.solver.") for name in names)


def test_settings_of_no_group_are_listed_last(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["options"]) == 0
    assert "  dry_run  true, false (default: false)" in capsys.readouterr().out
    assert main(["options", "dry_run"]) == 0
    assert capsys.readouterr().out.count("default:") == 1


def test_an_option_is_shown_as_it_composes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["options", "trt_profile=streaming"]) == 0
    assert "name: streaming" in capsys.readouterr().out


def test_an_option_for_another_sweeper_is_shown_as_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    """It composes only together with the sweeper, whose package may be absent."""
    assert main(["options", "sweep=search"]) == 0
    assert "direction: [minimize, minimize]" in capsys.readouterr().out
    assert main(["options", "sweep=matrix"]) == 0
    assert "trt_profile: " in capsys.readouterr().out


def test_a_schema_for_editors_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["options", "--json-schema"]) == 0
    assert json.loads(capsys.readouterr().out)["properties"]["trt_profile"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optset"], "There is no group 'optset'. There are: model"),
        (["exprot"], "There is no group 'exprot'. Did you mean export?"),
        (["trt.sms"], "trt.sms: 'trt' has no setting 'sms'. Did you mean trt.sm?"),
        (["export=opset99"], "There is no option of export 'opset99'"),
        (["--json-schema", "nonsense"], "There is no group with settings 'nonsense'"),
        (["--config-dir", "nowhere"], "is not a directory"),
    ],
)
def test_the_error_names_an_unknown_group_or_option(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["options", *words]) == 2
    assert said in capsys.readouterr().err
