"""The call that certifies one file; it imports the heavy packages when it runs, in a process of its own."""

from __future__ import annotations

from cosybuild.building.stage import Emit
from cosybuild.certifying.task import Task
from cosybuild.certifying.verdict import Verdict


def run_task(task: Task, emit: Emit) -> Verdict:
    """Return the verdict on the file, see `certify.certify`."""
    from cosybuild.certifying.certify import certify

    return certify(task, emit)
