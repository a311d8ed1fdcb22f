"""The call that certifies one file, in a process of its own.

It imports torch and ONNX Runtime only for a file whose network is known.
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
    """Return the verdict on a graph or on a recording. Errors in the file become verdicts.

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
    """Return True if a file is a recorded run of a pipeline."""
    return path.suffix == ".npz"
