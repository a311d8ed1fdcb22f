"""`check` and `rollback` as a user types them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from cosybuild.__main__ import main
from cosybuild.config.groups.deploy import DeploySettings, Service
from cosybuild.deploy.deploy import deploy
from cosybuild.system.environment import Environment
from tests.deploy.delivering import estimator_shapes, put_graph, put_plan

E = "flow.decoder.estimator"


@pytest.fixture
def service(tmp_path: Path) -> Path:
    """Return a model directory with a graph and a plan in service."""
    artifacts, target = tmp_path / "artifacts", tmp_path / "service"
    artifacts.mkdir()
    put_graph(artifacts / f"{E}.fp32.onnx", estimator_shapes())
    put_plan(artifacts / f"{E}.fp16.mygpu.plan", estimator_shapes(), dtype="float16")
    settings = DeploySettings(service=Service.cosyvoice, dir=str(target), target_sm=89)
    deploy(artifacts, settings, Environment(gpu_list=()))
    return target


def states(service: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, tuple[str, str]]]:
    capsys.readouterr()
    code = main(["check", str(service), "--json"])
    found = json.loads(capsys.readouterr().out)
    return code, {each["name"]: (each["state"], each["reason"]) for each in found}


def test_a_deployed_file_is_current(service: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = states(service, capsys)
    assert {name: state for name, (state, _) in found.items()} == {
        f"{E}.fp32.onnx": "current",
        f"{E}.fp16.mygpu.plan": "current",
    }
    assert code == 6  # a plan of TensorRT 10.13.3 for sm_89 does not load on the machine of this test


def test_a_graph_loads_on_every_machine(service: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(service / f"{E}.fp32.onnx")]) == 0
    assert capsys.readouterr().out.split() == ["current", f"{E}.fp32.onnx"]


def test_a_deployed_file_is_shown_with_its_run_and_the_time_of_the_deployment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifacts, target = tmp_path / "artifacts", tmp_path / "service"
    artifacts.mkdir()
    put_graph(artifacts / f"{E}.fp32.onnx", estimator_shapes(), config_digest="1f0c9a3b" + "0" * 56)
    assert main(["check", str(artifacts)]) == 0
    assert "run *-" not in capsys.readouterr().out, "nothing is deployed"
    deploy(artifacts, DeploySettings(service=Service.cosyvoice, dir=str(target)), Environment(gpu_list=()))
    os.utime(target / f"{E}.fp32.onnx.manifest.json", (0, 0))
    assert main(["check", str(target)]) == 0
    assert f"{E}.fp32.onnx  (run *-1f0c9a3b, deployed 1970-01-01 00:00:00 UTC)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "state", "words"),
    [
        (lambda path: path.write_bytes(b""), "damaged", "it is empty"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "damaged", "it is incomplete"),
        (lambda path: Path(f"{path}.manifest.json").write_text("{"), "damaged", "is not JSON"),
    ],
)
def test_a_damaged_graph_is_reported_as_damaged(
    service: Path, capsys: pytest.CaptureFixture[str], spoil: object, state: str, words: str
) -> None:
    spoil(service / f"{E}.fp32.onnx")  # type: ignore[operator]
    code, found = states(service, capsys)
    assert code == 5
    assert found[f"{E}.fp32.onnx"][0] == state
    assert words in found[f"{E}.fp32.onnx"][1]


def test_a_replaced_plan_is_reported_as_stale(service: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = service / f"{E}.fp16.mygpu.plan"
    path.write_bytes(path.read_bytes()[::-1])
    code, found = states(service, capsys)
    assert (code, found[path.name][0]) == (5, "stale")
    assert "replaced or damaged" in found[path.name][1]


def test_a_plan_of_other_weights_than_the_graph_is_reported_as_stale(
    service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_graph(service / f"{E}.fp32.onnx", estimator_shapes(), model={"weights_digest": "2" * 64})
    code, found = states(service, capsys)
    assert (code, found[f"{E}.fp16.mygpu.plan"][0]) == (5, "stale")


def test_a_file_that_was_not_deployed_is_foreign(service: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (service / f"{E}.fp32.mygpu.plan").write_bytes(b"ftrt built by the runtime")
    code, found = states(service, capsys)
    assert (code, found[f"{E}.fp32.mygpu.plan"][0]) == (10, "foreign")


def test_a_truncated_file_without_a_manifest_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = put_graph(tmp_path / "bare.onnx", estimator_shapes())
    Path(f"{path}.manifest.json").unlink()
    path.write_bytes(path.read_bytes()[:-9])
    assert states(path, capsys)[1]["bare.onnx"][0] == "damaged"


def test_a_missing_path_is_an_error_of_the_user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "none")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_rollback_lists_and_restores_backups_and_refuses_unknown_ones(
    service: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rollback", str(service), "--list"]) == 0
    listed = capsys.readouterr().out
    assert re.fullmatch(rf"0001  [-\d]+ [:\d]+ UTC  before a deploy of {E}\.fp32\.onnx, .*\n", listed)
    assert ".manifest.json" not in listed
    assert main(["rollback", str(service), "--to", "1"]) == 0
    printed = capsys.readouterr().out
    assert f"{E}.fp32.onnx.manifest.json is removed; it was not there before\n" in printed
    assert ".next" not in printed, "this file exists only during a deployment"
    assert not (service / f"{E}.fp32.onnx").exists()
    assert main(["rollback", str(service), "--to", "9"]) == 10
    assert main(["rollback", str(tmp_path)]) == 10
    assert "has not deployed anything there" in capsys.readouterr().err


def test_a_name_with_a_line_feed_adds_no_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a\n current  b.onnx").write_bytes(b"")
    assert main(["check", str(tmp_path)]) != 0
    (line,) = capsys.readouterr().out.splitlines()
    assert r"a\n current  b.onnx" in line


@pytest.mark.attack("stale", "both files are stale, because services choose files by their names")
def test_files_that_were_exchanged_together_with_their_manifests_are_stale(
    service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = f"{E}.fp32.onnx", f"{E}.fp16.mygpu.plan"
    renamed = {one: f"{E}.streaming.fp32.onnx", other: f"{E}.fp32.mygpu.plan"}
    assert {state for state, _ in states(service, capsys)[1].values()} == {"current"}
    for old, new in renamed.items():
        for suffix in ("", ".manifest.json"):
            (service / f"{old}{suffix}").rename(service / f"{new}{suffix}")
    found = states(service, capsys)[1]
    for old, new in renamed.items():
        assert found[new][0] == "stale"
        assert f"its manifest is that of {old}" in found[new][1]
