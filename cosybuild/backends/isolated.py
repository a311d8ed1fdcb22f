"""ONNX Runtime in a subprocess, for graphs that nobody here has tried: some of them crash it, or never load.

The layout optimisation of ONNX Runtime 1.31 ends its process for the float16 graphs of torch.nn.TransformerDecoderLayer
and of torchvision's VisionTransformer. The start of the subprocess takes about half a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cosybuild.backends.onnxruntime_backend import Level, OnnxRuntimeSession, load
from cosybuild.backends.session import Array, InferenceFailed
from cosybuild.building.remote_object import RemoteObject
from cosybuild.building.stage import Emit
from cosybuild.building.subprocess import Died
from cosybuild.config.groups.model import Family
from cosybuild.config.groups.verify import Provider
from cosybuild.errors import ExportError
from cosybuild.models.subject import Subject

_SECONDS, _SECONDS_PER_GB = 120.0, 120.0
"""Limit of one load; ONNX Runtime loads a graph with 1 GB of weights in a few seconds."""

_LEVELS = (Level.all, Level.extended, Level.none)
"""Levels in the order in which they are tried."""


class IsolatedSession:
    """A session on a graph in a subprocess.

    Args:
        path: see `load`.
        provider: see `load`.
        threads: see `load`.
        level: the graph optimisations to try first. If ONNX Runtime crashes, lower levels are tried.

    Attributes:
        device: see `Session`.
        level: the optimisations with which ONNX Runtime loads the graph.
        warning: a text for the user if ONNX Runtime crashed at the requested level, so that `level` is lower; else
            empty.

    Raises:
        ExportError: ONNX Runtime refuses the graph, or crashes or hangs at every level.
        MissingRequirement: see `load`.
    """

    def __init__(self, path: Path, provider: Provider, threads: int, level: Level = Level.all) -> None:
        size = sum(file.stat().st_size for file in path.parent.iterdir() if file.is_file())
        limit = _SECONDS + _SECONDS_PER_GB * size / 1e9
        crashes: dict[Level, Died] = {}
        for tried in _LEVELS[_LEVELS.index(level) :]:
            try:
                self._remote = RemoteObject(_Server, path, provider, threads, tried, seconds=limit)
            except Died as died:
                crashes[tried] = died
                continue
            self.level = tried
            break
        else:
            raise ExportError(
                f"ONNX Runtime {_version()} crashes when it loads the graph, with and without its optimisations: "
                f"{crashes[Level.none]}.",
                hint="Next: export with another opset or exporter, e.g. export=opset18 export.exporter=dynamo; "
                "verify=off builds without a comparison, but a service with ONNX Runtime cannot load the graph either.",
            )
        self.device: str = self._remote.call("device")
        self.warning = ""
        if crashes:
            self.warning = (
                f"{self.device} cannot optimise the graph: {next(iter(crashes.values()))}. It is verified with "
                f"{self.level.value}, and a service must open it with graph_optimization_level={self.level.value}"
            )

    @property
    def dtypes(self) -> dict[str, str]:
        found: dict[str, str] = self._remote.call("dtypes")
        return found

    @property
    def peak_bytes(self) -> int:
        """The largest resident memory of the subprocess."""
        return self._remote.peak_bytes

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        found: dict[str, Array] = self._answer("infer", dict(inputs))
        return found

    def infer_in_place(self, inputs: Mapping[str, Array], over: str) -> Array:
        """See `OnnxRuntimeSession.infer_in_place`."""
        found: Array = self._answer("infer_in_place", dict(inputs), over)
        return found

    def _answer(self, method: str, *arguments: Any) -> Any:
        try:
            found = self._remote.call(method, *arguments)
        except Died as died:
            raise InferenceFailed(f"it crashed: {died}") from died
        if isinstance(found, _Failure):
            raise InferenceFailed(found.words)
        return found


def open_session(
    path: Path, subject: Subject, provider: Provider = Provider.cpu, threads: int = 1, level: Level = Level.all
) -> OnnxRuntimeSession | IsolatedSession:
    """Open a session on a graph of the model `subject`: in a subprocess if a user wrote the model.

    Raises:
        ExportError, MissingRequirement: see `IsolatedSession`.
    """
    if subject.family in (Family.module, Family.onnx):
        return IsolatedSession(path, provider, threads, level)
    return load(path, provider=provider, threads=threads, level=level)


def peak_of(session: OnnxRuntimeSession | IsolatedSession | None) -> int:
    """Return the peak memory of the session's subprocess, in bytes; 0 if it has none."""
    return session.peak_bytes if isinstance(session, IsolatedSession) else 0


def warnings_of(session: OnnxRuntimeSession | IsolatedSession, emit: Emit) -> list[str]:
    """Return the warnings of a session, and emit them."""
    found = [session.warning] if isinstance(session, IsolatedSession) and session.warning else []
    for line in found:
        emit("warning", message=line)
    return found


class _Failure:
    """The answer of an inference that failed, because InferenceFailed would arrive as an internal error."""

    def __init__(self, words: str) -> None:
        self.words = words


class _Server:
    """The session in the subprocess."""

    def __init__(self, path: Path, provider: Provider, threads: int, level: Level) -> None:
        self._session: OnnxRuntimeSession = load(path, provider=provider, threads=threads, level=level)

    def device(self) -> str:
        return self._session.device

    def dtypes(self) -> dict[str, str]:
        return self._session.dtypes

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array] | _Failure:
        try:
            return self._session.infer(inputs)
        except InferenceFailed as error:
            return _Failure(str(error))

    def infer_in_place(self, inputs: Mapping[str, Array], over: str) -> Array | _Failure:
        try:
            return self._session.infer_in_place(inputs, over)
        except InferenceFailed as error:
            return _Failure(str(error))


def _version() -> str:
    import onnxruntime

    version: str = onnxruntime.__version__
    return version
