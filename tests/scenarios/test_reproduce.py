"""The commands that explain, compare, repeat and pin runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from cosybuild.errors import Pending
from cosybuild.lazy import is_installed
from cosybuild.system.environment import Environment
from cosybuild.system.json_records import write_record
from tests.scenarios.commands import QUICK, Place, actions
from tests.scenarios.rebuilding import flip

GRAPH = "flow.decoder.estimator.fp32.onnx"
PROFILE = QUICK[-1]


def other_weights(place: Place) -> None:
    path = place.directory / "model" / "flow.pt"
    state = torch.load(path, weights_only=True)
    state["decoder.estimator.final_proj.bias"] += 0.25
    torch.save(state, path)


def only_run(place: Place) -> Path:
    (run,) = place.runs()
    return run


def pretend_installed(place: Place, monkeypatch: pytest.MonkeyPatch, name: str, version: str) -> None:
    """Shadow an installed package by one with another version."""
    other = place.directory / "site" / f"{name}-{version}.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(other.parent))


class Repeated:
    """A run, its replay in another directory, and a run with other settings."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.first = only_run(place)
        place.cosybuild(*QUICK, "export=opset20", "verify.seed=3")
        (self.other,) = set(place.runs()) - {self.first}


@pytest.fixture(scope="module")
def repeated(built_place: Place, tmp_path_factory: pytest.TempPathFactory) -> Repeated:
    directory = tmp_path_factory.mktemp("repeated") / "place"
    shutil.copytree(built_place.directory, directory)
    return Repeated(Place(directory))


def test_a_dry_run_prints_each_step_with_reason_and_time_and_device(repeated: Repeated) -> None:
    before = repeated.place.files()
    nothing = repeated.place.cosybuild(*QUICK, "dry_run=true").out
    assert "Nothing to do" in nothing
    out = repeated.place.cosybuild(*QUICK, "dry_run=true", "export.constant_folding=false").out
    table = {line.split()[0]: line for line in out.splitlines() if line.split()}
    assert table["step"].split() == ["step", "expected", "size", "device", "why"]
    assert "settings.constant_folding: true -> false" in table["export"]
    assert "waits for the content of graph" in table["simplify"]
    for step in ("export", "simplify", "verify"):
        assert " cpu " in table[step]
        assert " s " in table[step], "expected seconds"
        assert "kB" in table[step]
    assert "no history yet" not in out
    assert repeated.place.files() == before


def test_a_dry_run_without_history_prints_no_times(repeated: Repeated, tmp_path: Path) -> None:
    before = repeated.place.files()
    out = repeated.place.cosybuild(*QUICK, "dry_run=true", f"store.path={tmp_path / 'none'}").out
    export = next(line for line in out.splitlines() if line.startswith("export"))
    assert export.split()[1:5] == ["run", "no", "history", "yet"]
    assert repeated.place.files() == before
    assert not (tmp_path / "none").exists()


@pytest.mark.skipif(bool(Environment().gpus), reason="there is a GPU")
def test_a_dry_run_names_the_kind_of_gpu(repeated: Repeated) -> None:
    words = [*QUICK, "trt=fp16", "trt.backend=tensorrt", "trt.sm=[89,120]", "dry_run=true"]
    out = repeated.place.cosybuild(*words, code=Pending.exit_code).out
    assert out.endswith("4 steps blocked: the run would end as pending, with exit code 9.\n")
    for kind in ("sm_89", "sm_120"):
        line = next(line for line in out.splitlines() if line.startswith(f"engine {kind}"))
        assert line.split()[2:5] == ["blocked", "gpu", kind]
        assert f"needs a GPU ({kind})" in line


def test_explain_prints_the_reason_for_each_step(repeated: Repeated) -> None:
    first = repeated.place.cosybuild("explain", str(repeated.first)).out
    assert first.count("never built") >= 3
    by_prefix = repeated.place.cosybuild("explain", repeated.other.name, "--keys").out
    assert "settings.opset: 18 -> 20" in by_prefix
    assert "settings.seed" in by_prefix
    assert "input.weights = " in by_prefix


def test_explain_refuses_an_unknown_run(repeated: Repeated) -> None:
    refused = repeated.place.cosybuild("explain", "modle", code=2)
    assert "There is no run 'modle'" in refused.err
    assert repeated.first.name in refused.err
    ambiguous = repeated.place.cosybuild("explain", "model", code=2)
    assert "could be any of 2 runs" in ambiguous.err


def test_diff_prints_the_differences_of_two_runs(repeated: Repeated) -> None:
    out = repeated.place.cosybuild("diff", repeated.first.name, str(repeated.other)).out
    sections = [line for line in out.splitlines() if not line.startswith(" ")]
    assert sections == ["settings:", "model:", "graph:", "figures:", "artifacts:"]
    assert "  export.opset  18 -> 20" in out
    assert "Gelu      (absent) -> 3" in out
    assert f"  {GRAPH}  " in out
    assert len(out.splitlines()) < 30
    everything = repeated.place.cosybuild("diff", repeated.first.name, str(repeated.other), "--all").out
    assert "config.export.opset  18 -> 20" in everything
    assert "export.ir_version" in everything
    found = json.loads(repeated.place.cosybuild("diff", repeated.first.name, str(repeated.other), "--json").out)
    assert found["configuration"] == {"config.export.opset": [18, 20], "config.verify.seed": [0, 3]}
    assert found["graph"]["Gelu"] == ["(absent)", 3]
    assert set(found["model"]) == {"model.origin"}, "the first run was made before the directory was copied"
    assert repeated.place.cosybuild("diff", str(repeated.first), str(repeated.first)).out == "No difference.\n"


def comparison(out: str) -> dict[str, str]:
    return {row["name"]: row["verdict"] for row in json.loads(out)}


def test_replay_works_from_another_directory(repeated: Repeated, tmp_path: Path) -> None:
    """The store is empty; relative paths of the record are relative to the directory of the run."""
    elsewhere = Place(tmp_path / "elsewhere")
    elsewhere.directory.mkdir()
    ran = elsewhere.cosybuild("replay", str(repeated.first), "--into", "again", "--json")
    assert comparison(ran.out) == {GRAPH: "same"}
    again = elsewhere.directory / "again"
    assert (again / "artifacts" / GRAPH).read_bytes() == (repeated.first / "artifacts" / GRAPH).read_bytes()
    assert set(actions(json.loads((again / "report.json").read_text())).values()) == {"built"}


def test_replay_writes_beside_the_run(used_place: Place) -> None:
    run = only_run(used_place)
    out = used_place.cosybuild("replay", run.name).out
    assert out.splitlines()[-1].split() == ["same", GRAPH]
    assert "warning" not in out
    assert {path.name for path in used_place.runs()} == {run.name, f"{run.name}.replay"}
    assert "never built" in used_place.cosybuild("explain", run.name).out, "the name still means the run itself"


def test_replay_with_other_weights_or_versions_reports_the_difference(
    used_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = only_run(used_place)
    other_weights(used_place)
    pretend_installed(used_place, monkeypatch, "sympy", "99.1")
    refused = used_place.cosybuild("replay", str(run), code=8)
    recorded = facts(run / "report.json")["environment"]["versions"]["sympy"]
    command = f"`python -m cosybuild requirements {run}`"
    warning = next(line for line in refused.out.splitlines() if line.startswith(" warning"))
    assert f"sympy {recorded} -> 99.1" in warning
    assert command in warning
    assert refused.out.index(warning) < refused.out.index("building"), "the warning comes before the build"
    assert command in refused.err.splitlines()[-1]
    assert f"differs: {GRAPH}" in refused.err
    assert "model.weights_digest" in refused.err
    assert "python -m cosybuild diff" in refused.err


@pytest.mark.skipif(not is_installed("tensorrt_rtx"), reason="TensorRT-RTX is not installed")
def test_replay_accepts_another_engine_with_equal_traits(used_place: Place) -> None:
    """The bytes of an engine may differ between builds, its inputs and target may not."""
    words = [word for word in QUICK if word != "trt=none"]
    words += [
        "verify=off",
        "trt=fp32",
        "precision=fp32",
        "trt.backend=tensorrt_rtx",
        "trt.sm=[89]",
    ]
    old = set(used_place.runs())
    used_place.cosybuild(*words)
    (run,) = set(used_place.runs()) - old
    found = comparison(used_place.cosybuild("replay", str(run), "--json").out)
    (engine,) = (a["name"] for a in facts(run / "report.json")["artifacts"] if not a["deterministic"])
    assert found[engine] in ("same", "equivalent")
    assert found[GRAPH] == "same"


def test_replay_does_not_deploy(used_place: Place) -> None:
    service = used_place.directory / "service"
    old = set(used_place.runs())
    used_place.cosybuild(*QUICK, "deploy=cosyvoice", f"deploy.dir={service}", "deploy.create=true", "verify.seed=4")
    (run,) = set(used_place.runs()) - old
    deployed = {path: path.stat().st_mtime_ns for path in service.rglob("*")}
    assert deployed
    used_place.cosybuild("replay", str(run))
    assert {path: path.stat().st_mtime_ns for path in service.rglob("*")} == deployed


def test_requirements_prints_the_packages_of_a_run(repeated: Repeated) -> None:
    printed = repeated.place.cosybuild("requirements", repeated.first.name).out
    versions = facts(repeated.first / "report.json")["environment"]["versions"]
    assert f"cosybuild=={versions['cosybuild']}\n" in printed
    assert f"onnx=={versions['onnx']}\n" in printed
    assert repeated.place.cosybuild("requirements", str(repeated.first), "--output", "r.txt").out == ""
    assert (repeated.place.directory / "r.txt").read_text(encoding="utf-8") == printed


class Locked:
    """A run with a lock file."""

    def __init__(self, place: Place) -> None:
        self.place = place
        ran = place.cosybuild(*QUICK, "lock=true")
        self.lock = only_run(place) / "cosybuild.lock"
        assert f"{only_run(place).name}/cosybuild.lock" in ran.out

    def held(self, *words: str, code: int = 0) -> str:
        return self.place.cosybuild(*QUICK, f"hold_to={self.lock}", *words, code=code).err

    def stored(self) -> set[Path]:
        return set(self.place.directory.glob("outputs/store/entries/*/*"))


@pytest.fixture
def locked(used_place: Place) -> Locked:
    return Locked(used_place)


def test_a_lock_file_accepts_the_same_build_and_lists_drift(locked: Locked) -> None:
    assert "never built" in locked.place.cosybuild("explain", locked.lock.parent.name).out, "reasons stay"
    stored = locked.stored()
    locked.held()
    drifted = locked.held("export.opset=20", "verify.seed=9", code=8)
    assert drifted.startswith("drift error: ")
    assert "config.export.opset: 18 -> 20" in drifted
    assert "config.verify.seed: 0 -> 9" in drifted
    other_weights(locked.place)
    drifted = locked.held(code=8)
    assert "\n  weights: " in drifted
    assert drifted.count(" -> ") == 1
    assert len(list(locked.place.directory.glob("outputs/runs/*/report.json"))) == 1
    assert locked.stored() == stored, "nothing was built under drift"


def test_a_lock_file_refuses_another_version_of_a_package(locked: Locked, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_installed(locked.place, monkeypatch, "onnxsim", "99.1")
    assert "version.onnxsim: " in locked.held(code=8)
    # A lock file of an earlier cosybuild names fewer packages, and only those are compared.
    kept = facts(locked.lock)
    ingredients = {name: value for name, value in kept["ingredients"].items() if name != "version.onnxsim"}
    write_record(locked.lock, "lock", {"ingredients": ingredients, "artifacts": kept["artifacts"]})
    locked.held()


@pytest.mark.parametrize("at", [30, 700, -20])
def test_the_error_names_a_damaged_lock_file_or_report(locked: Locked, at: int) -> None:
    flip(locked.lock, at)
    refused = locked.held(code=2)
    assert str(locked.lock) in refused
    assert "Next: " in refused
    report = locked.lock.with_name("report.json")
    flip(report, at)
    for words in (["explain"], ["diff", str(report.parent)], ["replay"], ["requirements"], ["bundle"]):
        refused = locked.place.cosybuild(*words, str(report.parent), code=2).err
        assert "report.json" in refused
    refused = locked.place.cosybuild("gc", "--dry-run", code=2).err
    assert "report.json" in refused, "gc must not take a run it cannot read for one that needs nothing"


def test_a_missing_lock_file_is_refused(used_place: Place) -> None:
    refused = used_place.cosybuild(*QUICK, "hold_to=nowhere.lock", code=2)
    assert "nowhere.lock" in refused.err


def facts(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_event_log_agrees_with_the_report(repeated: Repeated) -> None:
    """The log and the report name the same steps and results."""
    lines = (repeated.other / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    report = facts(repeated.other / "report.json")
    built = {event["step"]: event["seconds"] for event in events if event["kind"] == "finished"}
    assert built == {step["label"]: step["seconds"] for step in report["steps"] if step["action"] == "built"}
    assert [e["step"] for e in events if e["kind"] == "planned"] == [step["label"] for step in report["steps"]]
    assert [e["at"] for e in events] == sorted(e["at"] for e in events)
    plan = facts(repeated.other / "plan.json")
    assert [step["label"] for step in plan["steps"]] == [step["label"] for step in report["steps"]]
