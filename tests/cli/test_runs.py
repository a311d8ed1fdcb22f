"""`runs`, and the commands that take the newest run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cosybuild.__main__ import main
from cosybuild.run.run_names import RUNS
from tests.run.records import write_run

ARTIFACT = {
    "slot": "graph",
    "name": "net.onnx",
    "path": "artifacts/net.onnx",
    "size": 3000,
    "digest": "d" * 64,
    "made_by": "export",
    "traits": {},
    "deterministic": True,
    "files": {"net.onnx": "d" * 64},
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    failure = {"step": "export", "kind": "export", "message": "no", "hint": None, "exit_code": 4}
    write_run(RUNS / "zeta", started=0.0, verified=True, artifacts=[{**ARTIFACT, "verified_by": ["verify"]}])
    write_run(RUNS / "alpha", started=100.0, status="failed", failure=failure)
    write_run(RUNS / "beta", started=200.0)


def test_runs_are_listed_with_the_newest_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == ["run", "beta", "alpha", "zeta"]
    assert lines[1][1:] == ["1970-01-01", "00:03:20", "UTC", "ok,", "not", "verified", "-", "cosyvoice2"]
    assert lines[2][4] == "failed"
    assert lines[3][4:] == ["ok,", "verified", "3", "kB", "net.onnx"]


def test_a_run_with_an_artifact_that_no_step_verified_is_verified_in_part(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [{"label": "export", "inputs": {}}]
    write_run(RUNS / "gamma", started=300.0, verified=True, steps=steps, artifacts=[ARTIFACT])
    assert main(["runs", "--limit", "1"]) == 0
    assert "ok, verified in part " in capsys.readouterr().out
    assert main(["runs", "--limit", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["in_part"] is True


def test_a_limit_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "--limit", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [run["name"] for run in found] == ["beta", "alpha"]
    assert found[1]["failure"] == "no"


def test_a_damaged_record_does_not_hide_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    path = RUNS / "alpha" / "report.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"failed"', '"ok"'), encoding="utf-8")
    assert main(["runs"]) == 0
    out = capsys.readouterr().out
    assert "damaged" in out
    assert "zeta" in out


def test_a_directory_without_runs_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert main(["runs"]) == 0
    assert capsys.readouterr().out == "There is no run in outputs/runs. Next: python -m cosybuild\n"


def test_commands_take_the_newest_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == 0
    assert capsys.readouterr().out.startswith("outputs/runs/beta: ok")
    assert main(["explain", "LAST"]) == 0
    assert capsys.readouterr().out.startswith("outputs/runs/beta: ok")
    assert main(["diff", "zeta", "--json"]) == 0
    assert "net.onnx" in capsys.readouterr().out
    assert main(["diff", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {}


def test_a_missing_directory_is_not_taken_for_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    (RUNS / "zeta" / "artifacts").mkdir()
    assert main(["check", "zet"]) == 2
    assert "zet does not exist" in capsys.readouterr().err
    assert main(["check", "zeta"]) == 10
    assert "has neither graphs nor engines" in capsys.readouterr().out
