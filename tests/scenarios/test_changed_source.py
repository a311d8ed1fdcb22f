"""Sources change after the plan: the command ends with an error and keeps nothing, and the next command is right."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from cosybuild.building.stage import RunContext
from cosybuild.stages.export import ExportStage
from cosybuild.stages.import_onnx import ImportOnnxStage
from cosybuild.stages.precision import PrecisionStage
from cosybuild.stages.reference import ReferenceStage
from cosybuild.store.result import StageResult
from tests.onnxgraph.graphs import linear, save_split
from tests.scenarios.commands import QUICK, Answer, Place

GRAPH = (
    *("model=onnx", "model.path=mine.onnx", "simplify=none", "trt=none", "verify=off"),
    *("model.inputs=[{name: x, shape: [n, 4]}]", "model.outputs=[{name: y, shape: [n, 300]}]"),
    "trt_profile.profiles=[{n: {min: 1, opt: 2, max: 3}}]",
)
Run = Callable[[Any, RunContext], StageResult]


def meddle(monkeypatch: pytest.MonkeyPatch, stage: type, path: Path, content: bytes) -> None:
    """Replace a file once, directly before a step runs."""
    run: Run = stage.run  # type: ignore[attr-defined]  # every stage has it
    pending = [content]

    def run_late(self: Any, context: RunContext) -> StageResult:
        if pending:
            other = path.with_name("download.part")
            other.write_bytes(pending.pop())
            other.replace(path)
        return run(self, context)

    monkeypatch.setattr(stage, "run", run_late)


def other_weights(path: Path) -> bytes:
    """Write a file with the same tensors and other values."""
    state = torch.load(path, weights_only=True)
    torch.save({name: value + 1e-3 for name, value in state.items()}, path.with_name("other.pt"))
    return path.with_name("other.pt").read_bytes()


def report_of(place: Path) -> dict[str, Any]:
    """Return the report of the only run; if it failed, check that it left no artifacts."""
    (run,) = (place / "outputs" / "runs").iterdir()
    report: dict[str, Any] = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert not (run / "artifacts").exists() or report["failure"] is None
    return report


@pytest.mark.attack("stale", "the error SourceChanged, nothing is published")
@pytest.mark.parametrize("stage", [ExportStage, ReferenceStage])
def test_weights_that_are_replaced_before_the_step_reads_them_are_an_error(
    built_place: Place,
    tmp_path: Path,
    command: Callable[..., Answer],
    monkeypatch: pytest.MonkeyPatch,
    stage: type,
) -> None:
    shutil.copytree(built_place.directory / "model", tmp_path / "here" / "model")
    weights = Path("model/flow.pt")
    old = weights.read_bytes()
    meddle(monkeypatch, stage, weights, other_weights(weights))
    words = QUICK if stage is ReferenceStage else (*QUICK, "verify=off")
    answer = command(*words)
    answer.says(4, "changed source error: The file model/flow.pt changed while the build used it: it was replaced")
    report = report_of(answer.here)
    assert (report["status"], report["failure"]["kind"]) == ("failed", "changed source")
    assert report["artifacts"] == []
    assert {s["label"]: s["action"] for s in report["steps"]}[stage.name] == "failed"
    weights.write_bytes(old)
    again = command(*words)
    assert again.code == 0
    assert "Nothing to do" not in again.out, "what could not be kept is built now"
    digest = report_of(answer.here)["artifacts"][0]["digest"]
    (run,) = built_place.runs()
    clean = json.loads((run / "report.json").read_text(encoding="utf-8"))
    if stage is ReferenceStage:
        assert digest == clean["artifacts"][0]["digest"]


@pytest.mark.attack("stale", "the error SourceChanged, nothing is published")
def test_a_graph_that_is_replaced_before_the_step_reads_it_is_an_error(
    command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = linear(weight=np.ones((4, 300), np.float32))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 300
    save_split(model, Path("mine.onnx"))
    old = {path: path.read_bytes() for path in (Path("mine.onnx"), Path("mine.onnx.data"))}
    for path, content in old.items():
        with monkeypatch.context() as patch:
            meddle(patch, ImportOnnxStage, path, content[::-1])
            command(*GRAPH).says(4, f"The file {path} changed while the build used it")
        path.write_bytes(content)
    assert command(*GRAPH).code == 0
    assert "Nothing to do" in command(*GRAPH).out
    before = report_of(Path())["artifacts"][0]["digest"]
    Path("mine.onnx.data").write_bytes(old[Path("mine.onnx.data")][:-4] + b"\0\0\0\0")
    again = command(*GRAPH)
    assert again.code == 0
    assert "Nothing to do" not in again.out, "weights beside the graph belong to it"
    artifact = report_of(Path())["artifacts"][0]
    assert artifact["digest"] != before
    laid_out = Path(next(Path("outputs/runs").iterdir())) / artifact["path"]
    assert onnx.load(laid_out).graph.initializer[0].raw_data[-4:] == b"\0\0\0\0"


@pytest.mark.attack("stale", "the error SourceChanged, nothing is published")
def test_calibration_data_that_are_replaced_before_the_step_reads_them_are_an_error(
    built_place: Place, tmp_path: Path, command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(built_place.directory / "model", tmp_path / "here" / "model")
    np.savez("one.npz", x=np.zeros(3, np.float32))
    np.savez("two.npz", x=np.ones(3, np.float32))
    meddle(monkeypatch, PrecisionStage, Path("one.npz"), Path("two.npz").read_bytes())
    answer = command(*QUICK, "verify=off", "precision=fp16", "precision.calibration=one.npz")
    answer.says(4, "The file one.npz changed while the build used it")


@pytest.mark.attack("read or write", "the graph is refused")
@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd", "link.bin", "sub/w.bin", "missing.bin", ""])
def test_weights_of_a_graph_outside_its_directory_are_refused(command: Callable[..., Answer], location: str) -> None:
    model = linear(weight=np.ones((4, 300), np.float32))
    Path("sub").mkdir()
    Path("sub/w.bin").write_bytes(b"\0" * 4800)
    Path("../w.bin").write_bytes(b"\0" * 4800)
    Path("link.bin").symlink_to("sub/w.bin")
    save_split(model, Path("mine.onnx"))
    model.graph.initializer[0].external_data[0].value = location
    Path("mine.onnx").write_bytes(model.SerializeToString())
    answer = command(*GRAPH)
    answer.says(3, f"model error: mine.onnx keeps weights in {location!r}; expected is a file in the directory")
    assert not Path("outputs").exists()
