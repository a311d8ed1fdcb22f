"""`init` writes a package that installs and composes; examples/ has the package that it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosybuild.__main__ import main

EXAMPLE = Path(__file__).parents[2] / "examples" / "acme-cosy-conf"


def contents(directory: Path) -> dict[str, str]:
    files = (path for path in directory.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(directory)): path.read_text(encoding="utf-8") for path in files}


def test_init_writes_the_package_of_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "acme"]) == 0
    assert contents(tmp_path / "acme-cosy-conf") == contents(EXAMPLE)


def test_a_team_name_with_a_hyphen_gives_a_package_with_an_underscore(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "my-team", "--into", str(tmp_path / "conf")]) == 0
    assert (tmp_path / "conf" / "my_team_cosy_conf" / "conf" / "trt_profile" / "my-team" / "edge.yaml").is_file()
    assert main(["options", "--config-dir", str(tmp_path / "conf" / "my_team_cosy_conf" / "conf"), "sweep"]) == 0
    assert "my-team/release" in capsys.readouterr().out


@pytest.mark.parametrize("team", ["Acme", "a b", "../x", "1st", "a--b", "a-", ""])
def test_an_invalid_team_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, team: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", team]) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_directory_with_files_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    assert main(["init", "acme", "--into", str(tmp_path)]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
