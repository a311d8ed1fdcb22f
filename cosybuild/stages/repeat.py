"""The stage that repeats the build in subprocesses, and compares bytes, outputs and latencies of the artifacts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild import figure
from cosybuild.building.repeated_build import DIFFERENT, Made, Rebuilt, rebuild, verdict_of
from cosybuild.building.stage import RunContext, Stage
from cosybuild.building.subprocess import Died, call_in_subprocess
from cosybuild.errors import BuildError
from cosybuild.request import Request
from cosybuild.store.result import StageResult
from cosybuild.verification.repetition import compare_builds

SOURCES = ("weights", "calibration", "graph@source")


@dataclass(frozen=True)
class RepeatStage(Stage[Request]):
    """The stage that repeats the build. It fills the slot `repetition` with a record of the differences.

    Attributes:
        steps: the steps that build, in their order, without those that verify or measure.
        builds: slots of the artifacts that can be built on this machine.
    """

    steps: tuple[Stage[Request], ...]
    builds: tuple[str, ...]

    name = "repeat"
    does = "repeats the build and compares the results"
    version = 1
    makes = ("repetition",)
    cacheable = False
    deterministic = False

    @property
    def needs(self) -> tuple[str, ...]:
        return (*self.builds, *(f"{slot}?" for slot in SOURCES))

    def settings(self, request: Request) -> Mapping[str, Any]:
        assert request.settings.verify is not None
        return {"repeat": request.settings.verify.repeat}

    def run(self, context: RunContext) -> StageResult:
        request: Request = context.request
        assert request.settings.verify is not None
        times = request.settings.verify.repeat
        several: list[Rebuilt] = []
        with tempfile.TemporaryDirectory(prefix="repeat-", dir=context.workdir) as temporary:
            for number in range(times):
                context.emit("progress", done=number, total=times, what=f"build {number + 1} of {times}")
                several.append(_in_a_process(self.steps, request, _sources(context), Path(temporary) / str(number)))
                if (failure := several[-1].failure) is not None:
                    raise BuildError(
                        f"The repeated build failed at '{failure.step}': {failure.message}",
                        hint=failure.hint or "Next: run the command without verify.repeat.",
                    )
            context.emit("progress", done=times, total=times, what="comparing")
            facts = [
                compare_builds(slot, context.inputs[slot], [one.artifacts[slot] for one in several], request)
                for slot in self.builds
            ]
        metrics = {
            "repeats": times,
            "artifacts": facts,
            "seconds": {step: [one.seconds[step] for one in several] for step in several[0].seconds},
            "warnings": list(_warnings(facts, self.steps)),
        }
        path = context.workdir / "repetition.json"
        path.write_text(figure.dumps({"schema": 1, **metrics}, indent=1) + "\n", encoding="utf-8")
        return StageResult({"repetition": [path]}, metrics)


def _sources(context: RunContext) -> dict[str, list[Path]]:
    """Return slot -> source files of the first build."""
    given = {slot: artifact for slot, artifact in context.inputs.items() if slot in SOURCES}
    return {slot.partition("@")[0]: [file.path for file in artifact.files] for slot, artifact in given.items()}


def _in_a_process(
    steps: Sequence[Stage[Request]], request: Request, sources: Mapping[str, Sequence[Path]], home: Path
) -> Rebuilt:
    """Repeat the build in a new interpreter, which has another hash seed, other addresses and another order of imports.

    Any of these may change the bytes of an artifact.
    """
    try:
        return call_in_subprocess(rebuild, steps, request, sources, home).value
    except Died as died:
        raise BuildError(
            f"The repeated build crashed: {died}.",
            hint="Next: run the same command again, because memory may have been short, or run it without "
            "verify.repeat.",
        ) from died


def _warnings(facts: Sequence[Mapping[str, Any]], steps: Sequence[Stage[Request]]) -> Iterator[str]:
    promised = {slot: stage.deterministic for stage in steps for slot in stage.makes}
    for one in facts:
        first, *others = [Made(digest, promised[one["slot"]]) for digest in one["digests"]]
        if any(verdict_of(first, other) == DIFFERENT for other in others):
            yield (
                f"{one['name']} has different bytes, although its step should be deterministic: "
                f"{one['distinct']} contents in {len(one['digests'])} builds"
            )
