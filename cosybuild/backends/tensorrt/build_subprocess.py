"""The build of an engine in a subprocess, because TensorRT and TensorRT-RTX can crash."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosybuild.backends.tensorrt.choice import Target
from cosybuild.backends.tensorrt.library import installed_version, library_title
from cosybuild.building.stage import Emit
from cosybuild.building.subprocess import Answer, Died, call_in_subprocess
from cosybuild.config.groups.trt import TrtSettings
from cosybuild.errors import EngineError
from cosybuild.models.shape_profile import Profile
from cosybuild.models.spec import ModelSpec
from cosybuild.system.environment import Environment


@dataclass(frozen=True)
class EngineTask:
    """The task of the subprocess: the engine to build.

    Attributes:
        target: the library that builds, and the compute capability.
        graph: the ONNX file to read.
        engine: the engine file to write.
        settings: the settings of the configuration group `trt`.
        precision: the precision to which the graph was lowered.
        io: the type that all floating-point inputs and outputs have.
        profiles: the optimisation profiles; empty if all axes are fixed.
        spec: the model's inputs and outputs.
        timing: the file of the timing cache; None for no cache.
        environment: facts of this machine.
    """

    target: Target
    graph: Path
    engine: Path
    settings: TrtSettings
    precision: str
    io: str
    profiles: tuple[Profile, ...]
    spec: ModelSpec
    timing: Path | None
    environment: Environment


def build_in_subprocess(task: EngineTask, emit: Emit) -> Answer[dict[str, Any]]:
    """Build an engine in a subprocess, inspect it there, and return its report.

    Raises:
        EngineError: the library refuses the graph or crashed, or the engine has other inputs or outputs than the model.
        KeyboardInterrupt: the user pressed Ctrl-C; the subprocess is stopped at once.
    """
    doing = "before the build began"

    def watched(kind: str, /, **facts: Any) -> None:
        nonlocal doing
        if kind == "progress":
            doing = f"at '{facts['what']}'"
        emit(kind, **facts)

    try:
        return call_in_subprocess(_build, task, emit=watched)
    except Died as died:
        library = task.target.library
        who = library_title(library, installed_version(library, task.environment))
        raise EngineError(
            f"{who} crashed during the build of {task.engine.name}: {died} ({doing}).",
            hint="Next: run the same command again, because memory may have been short. If it crashes again, this "
            "version cannot compile this graph: try another precision=, export= or export.attention=, or another "
            "version of the library.",
        ) from died


def _build(task: EngineTask, emit: Emit) -> dict[str, Any]:
    from cosybuild.backends.tensorrt.builder import build_engine
    from cosybuild.backends.tensorrt.builder_config import shapes_from_profile
    from cosybuild.backends.tensorrt.library import import_library
    from cosybuild.backends.tensorrt.report import engine_report, open_where_possible
    from cosybuild.backends.tensorrt.timing_cache import TimingCache
    from cosybuild.backends.tensorrt.verdicts import check_tensors

    target = task.target
    library = import_library(target.library)
    built = build_engine(
        library,
        task.graph,
        task.engine,
        task.settings,
        precision=task.precision,
        sm=target.sm if library.ahead_of_time else None,
        profiles=[shapes_from_profile(profile, task.spec) for profile in task.profiles],
        timing=None if task.timing is None else TimingCache(task.timing),
        emit=emit,
    )
    check_tensors(built.facts, task.spec, task.io)
    opened = open_where_possible(library, task.engine, target, task.environment)
    return engine_report(built, target, library, task.settings, task.precision, opened)
