"""What the engine step does in a process of its own: everything that calls the TensorRT family, which may crash."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cosybuild.backends.tensorrt.choice import Target
from cosybuild.backends.tensorrt.flavour import installed_version, title
from cosybuild.config.groups.trt import TrtSettings
from cosybuild.core.apart import Answer, Died, call_apart
from cosybuild.core.environment import Environment
from cosybuild.core.stage import Emit
from cosybuild.errors import EngineError
from cosybuild.models.profile import Profile
from cosybuild.models.spec import ModelSpec


def build_apart(
    target: Target,
    graph: Path,
    engine: Path,
    settings: TrtSettings,
    *,
    precision: str,
    io: str,
    profiles: tuple[Profile, ...],
    spec: ModelSpec,
    timing: Path | None,
    environment: Environment,
    emit: Emit,
) -> Answer[dict[str, Any]]:
    """Build `engine` from `graph` and read what came out; the report on it.

    Args:
        io: the one type of all floating inputs and outputs.
        timing: where measured kernel times are kept.

    Raises:
        EngineError: the library refuses the graph, built something else, or crashed.
        KeyboardInterrupt: Ctrl-C; the library is stopped wherever it is.
    """
    doing = "it had not begun"

    def watched(kind: str, /, **facts: Any) -> None:
        nonlocal doing
        if kind == "progress":
            doing = f"it was at '{facts['what']}'"
        emit(kind, **facts)

    arguments = (target, graph, engine, settings, precision, io, profiles, spec, timing, environment)
    try:
        return call_apart(_build, *arguments, emit=watched)
    except Died as died:
        who = title(target.flavour, installed_version(target.flavour, environment))
        raise EngineError(
            f"{who} crashed while it built {engine.name}: {died} ({doing}).",
            hint="Next: the same command once more, in case memory was short. If it crashes again, this version cannot "
            "compile this graph: try another precision=, export= or export.attention=, or another version of it.",
        ) from died


def _build(
    target: Target,
    graph: Path,
    engine: Path,
    settings: TrtSettings,
    precision: str,
    io: str,
    profiles: tuple[Profile, ...],
    spec: ModelSpec,
    timing: Path | None,
    environment: Environment,
    emit: Emit,
) -> dict[str, Any]:
    from cosybuild.backends.tensorrt.builder import build_engine
    from cosybuild.backends.tensorrt.builder_config import shapes_from_profile
    from cosybuild.backends.tensorrt.flavour import open_flavour
    from cosybuild.backends.tensorrt.report import engine_report, open_where_possible
    from cosybuild.backends.tensorrt.timing import TimingCache
    from cosybuild.backends.tensorrt.verdicts import check_tensors

    flavour = open_flavour(target.flavour)
    built = build_engine(
        flavour,
        graph,
        engine,
        settings,
        precision=precision,
        sm=target.sm if flavour.ahead_of_time else None,
        profiles=[shapes_from_profile(profile, spec) for profile in profiles],
        timing=None if timing is None else TimingCache(timing),
        emit=emit,
    )
    check_tensors(built.facts, spec, io)
    opened = open_where_possible(flavour, engine, target, environment)
    return engine_report(built, target, flavour, settings, precision, opened)
