"""Lock files: the same ingredients and artifacts pass, and everything else is listed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cosybuild.errors import ConfigurationError, DriftError
from cosybuild.run.lock_file import check_digests, ingredients, read_lock, write_lock
from tests.run.records import MODEL, report

GRAPH = {"name": "a.onnx", "digest": "1" * 64, "deterministic": True}
PLAN = {"name": "a.plan", "digest": "2" * 64, "deterministic": False}


def versions(**changes: str) -> dict[str, Any]:
    return {"machine": {}, "versions": {"torch": "2.13.0", "onnx": "1.23.2", **changes}}


def test_the_same_build_passes(tmp_path: Path) -> None:
    lock = read_lock(write_lock(tmp_path, report(artifacts=[GRAPH, PLAN])))
    lock.check_ingredients(report())
    lock.check_artifacts(report(artifacts=[PLAN, GRAPH]))


@pytest.mark.parametrize(("changes", "line"), [
    ({"config": {"export": {"opset": 19}, "model_dir": "/models/a"}}, "config.export.opset: 18 -> 19"),
    ({"config": {"export": {"opset": 18, "exporter": "dynamo"}}}, 'config.export.exporter: (absent) -> "dynamo"'),
    ({"model": {**MODEL, "weights_digest": "b" * 64}}, f"weights: {'a' * 64} -> {'b' * 64}"),
    ({"model": {**MODEL, "hyperparameters": {"depth": 3}}}, "model.hyperparameters.depth: 2 -> 3"),
    ({"model": {**MODEL, "code": {"part": "5"}}}, 'model.code.part: "4" -> "5"'),
    ({"environment": versions(torch="2.14.0")}, "version.torch: 2.13.0 -> 2.14.0"),
])  # fmt: skip
def test_the_error_names_a_changed_ingredient(tmp_path: Path, changes: dict[str, Any], line: str) -> None:
    lock = read_lock(write_lock(tmp_path, report()))
    with pytest.raises(DriftError) as raised:
        lock.check_ingredients(report(**changes))
    head, *lines = raised.value.message.splitlines()
    assert str(lock.path) in head
    assert lines == [f"  {line}"]


@pytest.mark.parametrize("changes", [
    {"config": {"export": {"opset": 18}, "model_dir": "/elsewhere"}},
    {"config": {"export": {"opset": 18}, "dry_run": True}},
    {"environment": versions(onnxsim="0.8.1")},
])  # fmt: skip
def test_settings_that_change_no_artifact_are_not_compared(tmp_path: Path, changes: dict[str, Any]) -> None:
    read_lock(write_lock(tmp_path, report())).check_ingredients(report(**changes))


def test_weights_without_a_file_are_compared_by_their_label(tmp_path: Path) -> None:
    random = {**MODEL, "weights": "random weights, seed 0", "weights_digest": None}
    assert ingredients(report(model=random))["weights"] == "random weights, seed 0"


def test_the_error_names_changed_and_missing_artifacts_except_tuned_ones(tmp_path: Path) -> None:
    lock = read_lock(write_lock(tmp_path, report(artifacts=[GRAPH, PLAN])))
    lock.check_artifacts(report(artifacts=[GRAPH, {**PLAN, "digest": "3" * 64}]))
    other = {"name": "b.onnx", "digest": "4" * 64, "deterministic": True}
    with pytest.raises(DriftError) as raised:
        lock.check_artifacts(report(artifacts=[other]))
    assert raised.value.message.splitlines()[1:] == [
        f"  a.onnx: {'1' * 64} -> (absent)",
        f"  b.onnx: (absent) -> {'4' * 64}",
    ]


def test_a_lock_is_read_once(tmp_path: Path) -> None:
    path = write_lock(tmp_path, report())
    lock = read_lock(path)
    path.unlink()
    lock.check_ingredients(report())
    with pytest.raises(ConfigurationError, match="cannot be read as the lock of a run"):
        read_lock(path)


def test_a_damaged_lock_is_refused(tmp_path: Path) -> None:
    path = write_lock(tmp_path, report())
    path.write_text(path.read_text().replace("2.13.0", "2.13.1"))
    with pytest.raises(ConfigurationError, match="does not match its checksum"):
        read_lock(path)


@pytest.mark.parametrize("digest", ["1" * 64, "1" * 8])
def test_a_recipe_states_a_digest_or_its_first_digits(digest: str) -> None:
    check_digests({"a.onnx": digest}, report(artifacts=[GRAPH]))


@pytest.mark.parametrize(("name", "digest", "found"), [
    ("a.onnx", "2" * 8, "1" * 64), ("a.onnx", "", "1" * 64), ("c.onnx", "1" * 64, "(absent)"),
])  # fmt: skip
def test_the_error_names_the_artifacts_that_differ_from_the_recipe(name: str, digest: str, found: str) -> None:
    with pytest.raises(DriftError) as raised:
        check_digests({name: digest}, report(artifacts=[GRAPH]))
    head, *lines = raised.value.message.splitlines()
    assert "must_produce" in head
    assert lines == [f"  {name}: {digest} -> {found}"]
