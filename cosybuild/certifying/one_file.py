"""Certify one file. The command `certify` calls this in a separate process.

torch and ONNX Runtime are imported only if the file has the inputs and outputs of a known network.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cosybuild.building.stage import Emit
from cosybuild.certifying.match import NotCompared, Unmatched, match
from cosybuild.certifying.task import Task
from cosybuild.certifying.verdict import Outcome, Verdict
from cosybuild.digest import digest_of
from cosybuild.errors import ModelError
from cosybuild.onnxgraph.external import check_external_data
from cosybuild.onnxgraph.header import read_header


def run_task(task: Task, emit: Emit) -> Verdict:
    """Compare an ONNX file, or a recorded run of a pipeline, with the model directory, and return the verdict.

    If the file is damaged or unknown, the verdict says so; no error is raised.

    Args:
        task: the file and the settings.
        emit: receives warnings and progress.

    Raises:
        CosybuildError: the model directory or a setting cannot be used.
    """
    if is_recording(task.path):
        from cosybuild.certifying.recording import certify_recording

        return certify_recording(task, emit)
    blank = Verdict(task.shown, Outcome.unreadable)
    try:
        check_external_data(task.path)
        header = read_header(task.path)
        blank = replace(blank, sha256=digest_of(task.path))
    except ModelError as error:
        return replace(blank, reason=error.message)
    except (ValueError, OSError) as error:
        return replace(blank, reason=str(error))
    try:
        found = match(task.path.name, header, task.settings)
    except Unmatched as error:
        return replace(blank, outcome=Outcome.unmatched, reason=str(error))
    except NotCompared as error:
        return replace(blank, outcome=Outcome.not_compared, reason=str(error))
    blank = replace(blank, component=found.component.value, ports=found.ports.facts(), by_name=found.ports.by_name)
    from cosybuild.certifying.certify import certify

    return certify(task, found, blank, emit)


def is_recording(path: Path) -> bool:
    """Return True if the name of a file says that it is a recorded run of a pipeline (`.npz`)."""
    return path.suffix == ".npz"
