"""The fixtures of stores, and a finished run that can be bundled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cosybuild.run.recorded import RecordedRun, read_run
from tests.building.fakes import Bench, pipeline
from tests.run.records import report, write_run
from tests.stores import bench, store, warnings

__all__ = ["bench", "finished", "store", "warnings"]

CONFIG = {**report()["config"], "model": {}, "store": {"path": "outputs/store"}}
ENVIRONMENT = {"machine": {"python": "3.12.1", "system": "Linux"}, "versions": {"torch": "2.13.0"}}


def written(bench: Bench, directory: Path, **changes: Any) -> RecordedRun:
    """A run of two steps with a graph, and with files that no bundle may contain."""
    write_run(directory, bench.build(pipeline()[:2]), **{"config": CONFIG, "environment": ENVIRONMENT, **changes})
    for name in (
        "artifacts/graph.onnx",
        "artifacts/run.py",
        "artifacts/.hidden.onnx",
        ".hydra/config.yaml",
        "events.jsonl",
    ):
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"the content of {name}")
    return read_run(str(directory))


@pytest.fixture
def finished(bench: Bench, tmp_path: Path) -> RecordedRun:
    return written(bench, tmp_path / "sent" / "finished")
