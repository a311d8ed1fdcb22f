"""Builds that use finished results: the steps that run, and the files that they make."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from cosybuild.store.check import check
from cosybuild.store.store import Store
from tests.scenarios.commands import actions
from tests.scenarios.rebuilding import ENGINE, WITH_ENGINE, Project, flip

EVERYTHING = ["export", "reference", "simplify", "verify", "precision", "verify lowered"]
EVERYTHING += [ENGINE] if WITH_ENGINE else []


def built(report: Mapping[str, Any]) -> list[str]:
    return [label for label, action in actions(dict(report)).items() if action == "built"]


def reason(report: Mapping[str, Any], label: str) -> str:
    return next(str(step["reason"]) for step in report["steps"] if step["label"] == label)


def digests(report: Mapping[str, Any]) -> dict[str, str]:
    """Return name -> digest, of the artifacts that are the same after each build."""
    return {a["name"]: a["digest"] for a in report["artifacts"] if a["deterministic"]}


def test_a_repeated_command_keeps_the_record(project: Project) -> None:
    before = (project.run / "report.json").stat()
    report = project.build()
    assert report["nothing_to_do"]
    after = (project.run / "report.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns), "the record of the build stays"


def test_another_seed_of_verification_reruns_only_verification(project: Project) -> None:
    old = digests(project.build())
    report = project.build("verify.seed=3")
    assert built(report) == ["reference", "verify", "verify lowered"]
    assert reason(report, "reference").startswith("settings.seed: 0 -> 3")
    assert digests(report) == old


def test_the_same_tensors_in_another_format_rerun_only_the_steps_that_read_the_file(project: Project) -> None:
    """The export runs and gives the same graph, so later steps run only if they read the weights too."""
    old = digests(project.build())
    save_file(torch.load(project.weights, weights_only=True), project.weights.with_suffix(".safetensors"))
    project.weights.unlink()
    report = project.build()
    assert built(report) == ["export", "reference"], "the outputs are the same, so nothing is compared again"
    assert reason(report, "simplify") == "already built: no change in graph"
    assert digests(report) == old


def test_other_weights_rerun_every_step(project: Project) -> None:
    old = digests(project.build())
    state = torch.load(project.weights, weights_only=True)
    state["decoder.estimator.final_proj.bias"] += 0.25
    torch.save(state, project.weights)
    report = project.build()
    assert built(report) == EVERYTHING
    new = digests(report)
    assert set(new) == set(old)
    assert not set(new.values()) & set(old.values())


def test_another_name_gives_artifacts_of_that_name(project: Project) -> None:
    report = project.build("model.name=mine", "simplify.check_runs=1")
    assert {name.partition(".")[0] for name in digests(report)} == {"mine"}


GRAPH = "flow.decoder.estimator.fp32.onnx"


@pytest.mark.parametrize(
    "name",
    [
        f"artifacts/{GRAPH}",
        f"artifacts/{GRAPH}.manifest.json",
        "evidence/verification.json",
        "report.md",
        "report.json",
    ],
)
def test_files_deleted_from_a_run_are_written_again(project: Project, name: str) -> None:
    """No step runs."""
    (project.run / name).unlink()
    report = project.build()
    assert built(report) == []
    assert not report["nothing_to_do"]
    assert (project.run / name).stat().st_size > 0
    assert project.build()["nothing_to_do"]


def test_an_artifact_that_was_changed_is_written_again(project: Project) -> None:
    """Writing to an artifact of a run does not change the store."""
    graph = project.run / "artifacts" / GRAPH
    content = graph.read_bytes()
    graph.chmod(0o644)
    with graph.open("r+b") as file:
        file.write(b"spoiled")
    assert not check(Store(project.directory / "store"), repair=False).faults
    assert built(project.build()) == []
    assert graph.read_bytes() == content


def files_of(project: Project) -> dict[str, Path]:
    """Return one file of each kind in the store."""
    store = project.directory / "store"
    kinds = {f"entry of {stage.name}": next(stage.iterdir()) for stage in (store / "entries").iterdir()}
    for step in project.plan().steps:
        assert step.entry is not None
        kinds.update({f"content of {step.label}: {slot}": a.path for slot, a in step.entry.outputs.items()})
    return {**kinds, "cache of digests": store / "digests"}


@pytest.mark.parametrize("at", [0, -2])
def test_flipped_bytes_in_all_files_are_found_and_repaired_at_once(project: Project, at: int) -> None:
    """Each damage is found and named, and the files are built again with the same content."""
    old = digests(project.build())
    for path in files_of(project).values():
        flip(path, at)
    report = project.build()
    assert built(report) == EVERYTHING
    for label in ("export", "verify"):
        assert "its stored result is damaged" in reason(report, label)
    assert digests(report) == old
    assert not check(Store(project.directory / "store"), repair=False).faults
    assert project.build()["nothing_to_do"]


def test_damage_that_keeps_the_times_is_found_with_verify(project: Project) -> None:
    """Only reading finds this damage: `store.verify=true` or `store verify`."""
    old = digests(project.build())
    entry = project.plan().step("precision").entry
    assert entry is not None
    path = entry.files[0].path
    stat = path.stat()
    flip(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    report = project.build("store.verify=true")
    assert built(report) == ["precision"]
    assert f"its stored result is damaged: {entry.files[0].name}" in reason(report, "precision")
    assert digests(report) == old
