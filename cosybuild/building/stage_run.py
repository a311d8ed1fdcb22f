"""One run of a stage: place its inputs under their own names, measure time and memory, and check its result."""

from __future__ import annotations

import gc
import platform
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cosybuild.building.attempt import Attempt
from cosybuild.building.events import EventBus
from cosybuild.building.failures import convert_machine_errors
from cosybuild.building.outputs import check_result
from cosybuild.building.sources import Sources
from cosybuild.building.stage import RunContext
from cosybuild.building.status import Stale
from cosybuild.building.wiring import SOURCE
from cosybuild.store.artifact import Artifact
from cosybuild.store.result import StageResult
from cosybuild.store.store import Store
from cosybuild.system.clock import Clock
from cosybuild.system.heap import trim_heap
from cosybuild.system.memory import PeakMemory


@dataclass(frozen=True)
class StageRun:
    """One run of the stage of a step.

    Attributes:
        attempt: the step, whose inputs are known. Its warnings and its peak memory are set here.
        why: the reason why the stage runs.
        request: the request of the build.
        store: the store with the inputs.
        events: receives the events of the stage.
        clock: measures the time.
        digests: slot -> digest of every source of the stage's part.
        metrics: slot -> metrics of the step that made this input.
    """

    attempt: Attempt
    why: Stale
    request: Any
    store: Store
    events: EventBus
    clock: Clock
    digests: Mapping[str, str]
    metrics: Mapping[str, Mapping[str, Any]]

    def run(self, workdir: Path) -> tuple[StageResult, dict[str, Any]]:
        """Run the stage in an empty directory, and return its result and the facts of the build (see `Entry.made`).

        Raises:
            SourceChanged: a source changed during the run.
            StageDefect: the result contradicts the stage's declaration.
            CosybuildError: the stage failed.
        """
        attempt, label, stage = self.attempt, self.attempt.step.label, self.attempt.step.stage
        warnings: list[str] = []
        attempt.warnings = warnings

        def emit(kind: str, /, **facts: Any) -> None:
            if kind == "warning":
                warnings.append(str(facts["message"]))
            self.events.emit(kind, label, **facts)

        expected = attempt.step.expected
        before = None if expected is None else expected.seconds
        emit("started", reason=self.why.explain(), does=stage.does, expected=before)
        at, begin = datetime.fromtimestamp(self.clock.now(), timezone.utc), self.clock.elapsed()
        with ExitStack() as inputs, Sources(label, self.store.digests) as sources, PeakMemory() as memory:
            try:
                with convert_machine_errors(label, workdir, memory):
                    placed = {
                        wire.slot: self._place_files(attempt.inputs[wire.slot], wire.producer, sources, inputs)
                        for wire in attempt.step.wires
                    }
                    with sources.checked():
                        context = RunContext(self.request, placed, workdir, emit, self.digests, self.metrics)
                        result = stage.run(context)
                    memory.add(result.subprocess_bytes)
                    check_result(stage, result, workdir)
            finally:
                attempt.peak_bytes = memory.so_far()
        # A model has many reference cycles. Free its memory now, so that it does not count in the next step's peak.
        gc.collect()
        trim_heap()
        seconds = self.clock.elapsed() - begin
        made = {"at": at.isoformat(), "seconds": seconds, "peak_bytes": attempt.peak_bytes, "host": platform.node()}
        if warnings:
            made["warnings"] = warnings
        return result, made

    def _place_files(self, artifact: Artifact, producer: str, sources: Sources, until_then: ExitStack) -> Artifact:
        """Place the files of an input in one directory under their own names, and return the artifact with these paths.

        This is done for sources and for artifacts with several files. In the store a file is named by its digest, but a
        graph finds its external data by name.
        """
        if len(artifact.files) == 1 and producer != SOURCE:
            return artifact
        directory = until_then.enter_context(self.store.workdir(f"{artifact.name}-input"))
        if producer == SOURCE:
            return sources.checkout(artifact, directory)
        paths = self.store.checkout(artifact, directory)
        return replace(artifact, files=tuple(replace(f, path=p) for f, p in zip(artifact.files, paths, strict=True)))
