"""Reports of invented runs, in the form that the reader accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cosybuild.building.record import Outcome
from cosybuild.building.record_json import json_from_outcome
from cosybuild.run.recorded import PLAN
from cosybuild.run.run_names import REPORT
from cosybuild.system.json_records import write_record

NOTHING = Outcome(())
MODEL = {
    "family": "cosyvoice2",
    "name": "flow.decoder.estimator",
    "hyperparameters": {"depth": 2},
    "code": {"part": "4"},
    "weights": "flow.pt",
    "weights_digest": "a" * 64,
    "random_weights": False,
    "streaming": False,
    "origin": "CosyVoice 2",
    "inputs": [],
    "outputs": [],
    "frames_per_second": 50.0,
    "notes": [],
}


def report(outcome: Outcome = NOTHING, **changes: Any) -> dict[str, Any]:
    """Return the content of report.json."""
    return {
        "cosybuild": "0",
        "working_directory": "/nowhere",
        "overrides": [],
        "config": {"export": {"opset": 18}, "model_dir": "/models/a", "dry_run": False},
        "config_digest": "c" * 64,
        "model": MODEL,
        "environment": {
            "machine": {"python": "3.11.7", "system": "Linux"},
            "versions": {"torch": "2.13.0", "onnx": "1.23.2"},
        },
        **json_from_outcome(outcome),
        "status": "ok",
        "started": 0.0,
        "seconds": 1.0,
        "verified": None,
        "artifacts": [],
        **changes,
    }


def write_run(directory: Path, outcome: Outcome = NOTHING, **changes: Any) -> Path:
    """Write a run directory with report.json and plan.json."""
    write_record(directory / REPORT, "report", report(outcome, **changes))
    write_record(directory / PLAN, "plan", {"steps": []})
    return directory
