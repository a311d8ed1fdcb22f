"""The comparison of artifacts that one build made several times: bytes, operators, outputs and latency."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosybuild import figure
from cosybuild.benchmarking.runners import ENGINE
from cosybuild.errors import CosybuildError
from cosybuild.request import Request
from cosybuild.store.artifact import Artifact

if TYPE_CHECKING:
    from cosybuild.numerics.inputs import Array

_SECONDS = 5.0
"""Largest time in seconds for measuring the latency of the artifacts of one slot."""
_CONFIDENCE = 0.95
_MARGIN = 0.02

Infer = Callable[[Mapping[str, "Array"]], Mapping[str, "Array"]]


@dataclass(frozen=True)
class _Runnable:
    infer: Infer
    dtypes: Mapping[str, str]


def compare_builds(slot: str, first: Artifact, others: Sequence[Artifact], request: Request) -> dict[str, Any]:
    """Compare one artifact with its rebuilds and return the differences as plain data.

    Artifacts with equal bytes compute the same outputs, so artifacts are run only if their bytes differ.

    Args:
        slot: the slot that the artifacts fill.
        first: the artifact of the build.
        others: the artifacts of the repeated builds.
        request: the request of the build.
    """
    several = [first, *others]
    digests = [artifact.digest for artifact in several]
    facts: dict[str, Any] = {
        "slot": slot,
        "name": first.files[0].name,
        "same_bytes": len(set(digests)) == 1,
        "distinct": len(set(digests)),
        "digests": digests,
        "sizes": [artifact.size for artifact in several],
    }
    if facts["same_bytes"]:
        return facts
    # Files in the store are named after their digests. Only the artifact's own file name has the suffix of its format.
    is_graph = first.files[0].name.endswith(".onnx")
    if is_graph:
        facts["operators"] = _operators([artifact.path for artifact in several])
    elif not slot.startswith(ENGINE):
        return facts
    sessions = [_open(artifact.path, is_graph, request) for artifact in several]
    refused = next((session for session in sessions if isinstance(session, str)), None)
    if refused is not None:
        return {**facts, "not_run": refused}
    runnable = [session for session in sessions if isinstance(session, _Runnable)]
    inputs = _inputs(request, runnable[0].dtypes)
    return {**facts, "outputs": _outputs(runnable, inputs), "latency": _latency(runnable, inputs)}


def _operators(paths: Sequence[Path]) -> dict[str, int]:
    """Return operator -> change of its number of nodes from the first graph to another one; positive for an increase.

    If several graphs are compared with the first, the change with the largest absolute value is returned.
    """
    from cosybuild.onnxgraph.files import load_structure
    from cosybuild.onnxgraph.summary import count_ops, op_difference

    counts = [count_ops(load_structure(path)) for path in paths]
    found: dict[str, int] = {}
    for count in counts[1:]:
        for op, change in op_difference(counts[0], count).items():
            found[op] = max(found.get(op, 0), change, key=abs)
    return found


def _open(path: Path, is_graph: bool, request: Request) -> _Runnable | str:
    """Open a session on an artifact, or return the reason why this machine cannot run it."""
    assert request.settings.verify is not None
    try:
        if is_graph:
            from cosybuild.backends.isolated import open_session

            verify = request.settings.verify
            session = open_session(path, request.subject, verify.provider, verify.threads)
            return _Runnable(session.infer, session.dtypes)
        from cosybuild.backends.tensorrt import execution
        from cosybuild.backends.tensorrt.library import import_library
        from cosybuild.backends.tensorrt.loadability import check_plan, engine_library

        verdict, library = check_plan(path, request.environment), engine_library(path)
        if verdict.loads is False or library is None or not request.environment.gpus:
            return verdict.explain() if request.environment.gpus else "no GPU here"
        engine = execution.load(import_library(library), path)
        return _Runnable(engine.infer, engine.dtypes)
    except CosybuildError as error:
        return " ".join(error.message.split())


def _inputs(request: Request, dtypes: Mapping[str, str]) -> dict[str, Array]:
    from cosybuild.numerics.inputs import Draw, draw_inputs, numpy_dtype

    spec = request.subject.spec
    profiles = request.profiles
    sizes = {symbol: profiles[0][symbol].opt if profiles else 2 for symbol in spec.symbols}
    drawn = draw_inputs(spec, Draw(sizes))
    return {name: values.astype(numpy_dtype(dtypes.get(name, values.dtype.name))) for name, values in drawn.items()}


def _outputs(sessions: Sequence[_Runnable], inputs: Mapping[str, Array]) -> dict[str, dict[str, float | str]]:
    """Return output -> metric -> worst value over all rebuilds, each compared with the first build."""
    import numpy as np

    from cosybuild.numerics.gates import worst
    from cosybuild.numerics.metrics import measure

    first, *others = [session.infer(inputs) for session in sessions]
    found = {}
    for name, values in first.items():
        figures = worst(measure(np.float32(other[name]), np.float32(values)) for other in others)
        found[name] = figure.plain(figures)
    return found


def _latency(sessions: Sequence[_Runnable], inputs: Mapping[str, Array]) -> dict[str, Any]:
    """Measure the latency of each build in seconds, in alternating rounds, and compare rebuilds with the first."""
    from cosybuild.benchmarking.rounds import Budget, measure_rounds
    from cosybuild.benchmarking.timing import family_confidence, judge, median

    def call(session: _Runnable) -> Callable[[], None]:
        def once() -> None:
            session.infer(inputs)

        return once

    calls = {str(index): call(session) for index, session in enumerate(sessions)}
    samples = measure_rounds(calls, Budget(max_seconds=_SECONDS)).samples
    confidence = family_confidence(_CONFIDENCE, len(sessions) - 1)
    verdicts = [judge(samples[n], samples["0"], confidence=confidence, margin=_MARGIN) for n in list(samples)[1:]]
    return {
        "medians": [median(values) for values in samples.values()],
        "against_first": [{"ratio": v.ratio.median, "outcome": v.outcome.value} for v in verdicts],
    }
