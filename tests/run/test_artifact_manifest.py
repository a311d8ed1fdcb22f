"""The manifest of an artifact: its interface, and the verdict of the steps that verified this content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cosybuild.building.record import Action, Input, Outcome, StepRecord
from cosybuild.building.status import Hit
from cosybuild.manifest import SUFFIX, manifest_text
from cosybuild.run.artifact_manifest import sidecar_text
from cosybuild.store.artifact import Artifact, StoredFile
from tests.onnxgraph.graphs import linear

ENGINE = {
    "built_for": {
        "flavour": "tensorrt",
        "version": "10.13",
        "sm": 89,
        "hardware_compatibility": "none",
        "version_compatible": False,
    },
    "tensors": [
        {"name": "x", "mode": "input", "dtype": "HALF", "shape": [2, -1], "format": "linear"},
        {"name": "y", "mode": "output", "dtype": "FP8", "shape": [2, 3], "format": "linear"},
    ],
}


def stored(path: Path, content: bytes, digest: str) -> StoredFile:
    """Return a file of the store; its path contains its digest instead of its name."""
    path.with_name(digest).write_bytes(content)
    return StoredFile(path.name, path.with_name(digest), digest * 64, len(content))


def graph(place: Path) -> Artifact:
    return Artifact("graph", (stored(place / "a.bin", linear().SerializeToString(), "1"),))


def step(label: str, action: Action, seen: str = "1", stage: str = "verify", reason: str = "") -> StepRecord:
    return StepRecord(label, stage, Hit(), action, reason, inputs={"graph": Input("export", seen * 64)})


def manifest(artifact: Artifact, *records: StepRecord) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(sidecar_text(artifact, Outcome(records), {"slot": artifact.name}))
    return plain


@pytest.mark.parametrize(("records", "verified", "by", "pending"), [
    ((), None, [], []),
    ((step("verify", "built"),), True, ["verify"], []),
    ((step("verify", "hit"), step("verify b", "pulled")), True, ["verify", "verify b"], []),
    ((step("verify", "built"), step("verify b", "failed")), False, ["verify"], []),
    ((step("verify", "failed"),), False, [], []),
    ((step("verify", "built", seen="2"),), None, [], []),
    ((step("benchmark", "built", stage="benchmark"),), None, [], []),
    ((step("verify engine", "blocked", reason="a GPU"),), None, [], ["verify engine: a GPU"]),
    ((step("verify", "built"), step("b", "blocked", reason="a GPU")), None, ["verify"], ["b: a GPU"]),
    ((step("verify", "failed"), step("b", "blocked", reason="a GPU")), False, [], ["b: a GPU"]),
])  # fmt: skip
def test_the_manifest_has_the_verdict_of_all_steps_that_verified_this_content(
    tmp_path: Path, records: tuple[StepRecord, ...], verified: bool | None, by: list[str], pending: list[str]
) -> None:
    found = manifest(graph(tmp_path), *records)
    assert (found["verified"], found["verified_by"], found["pending"]) == (verified, by, pending)


def test_the_interface_of_a_graph_is_read_from_the_file(tmp_path: Path) -> None:
    file = graph(tmp_path).files[0]
    named = Artifact("graph", (StoredFile("a.onnx", file.path, file.digest, file.size),))
    assert manifest(named)["interface"] == {
        "inputs": [{"name": "x", "dtype": "float32", "shape": ["n", 4]}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": ["n", 3]}],
    }
    assert manifest(graph(tmp_path))["interface"] is None, "it is no .onnx file and has no manifest of its stage"


def test_the_manifest_of_the_stage_becomes_a_part_of_it(tmp_path: Path) -> None:
    main = stored(tmp_path / "a.plan", b"engine", "2")
    own = manifest_text({"name": "a.plan", "size": 6, "sha256": "2" * 64}, [], {**ENGINE, "slot": "engine_sm89"})
    beside = stored(tmp_path / f"a.plan{SUFFIX}", own.encode(), "3")
    data = stored(tmp_path / "a.data", b"weights", "4")
    found = manifest(Artifact("engine", (main, beside, data)))
    assert found["built_for"] == ENGINE["built_for"]
    assert found["slot"] == "engine", "facts of the run count"
    assert [companion["name"] for companion in found["companions"]] == ["a.data"]
    assert found["interface"] == {
        "inputs": [{"name": "x", "dtype": "float16", "shape": [2, -1]}],
        "outputs": [{"name": "y", "dtype": "FP8", "shape": [2, 3]}],
    }
    # An engine for a GPU that is not here has no verification in the plan.
    assert (found["verified"], found["pending"]) == (None, ["verify engine: needs a GPU (sm_89)"])
