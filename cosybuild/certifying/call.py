"""The call that certifies one file; it imports the heavy packages when it runs, in a process of its own."""

from __future__ import annotations

from pathlib import Path

from cosybuild.building.stage import Emit
from cosybuild.certifying.task import Task
from cosybuild.certifying.verdict import Verdict


def run_task(task: Task, emit: Emit) -> Verdict:
    """Return the verdict on a graph (`certify.certify`), or on a recording (`recording.certify_recording`)."""
    if is_recording(task.path):
        from cosybuild.certifying.recording import certify_recording

        return certify_recording(task, emit)
    from cosybuild.certifying.certify import certify

    return certify(task, emit)


def is_recording(path: Path) -> bool:
    """Return True if a file is a recorded run of a pipeline."""
    return path.suffix == ".npz"
