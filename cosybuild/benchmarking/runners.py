"""The artifacts of a build as functions that can be timed. Torch and the runtimes are imported only when needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosybuild.benchmarking.rounds import Call
from cosybuild.errors import CosybuildError
from cosybuild.request import Request
from cosybuild.store.artifact import Artifact
from cosybuild.system.environment import Environment

if TYPE_CHECKING:
    from torch import nn

    from cosybuild.numerics.inputs import Array

ENGINE = "engine"
"""Prefix of the names of slots that hold engines."""
OPENVINO = "openvino"
"""Name of the slot that holds an OpenVINO IR."""

Inputs = Mapping[str, "Array"]


class CannotRun(Exception):
    """A runner cannot run on the given inputs. The message is the reason in one line."""


@dataclass(frozen=True)
class TimedCall:
    """One runner: an implementation of the model that can be timed, such as PyTorch, a graph or an engine.

    Attributes:
        name: the name in reports, e.g. `onnxruntime fp16`.
        device: the backend with its version and device.
        dtypes: input -> type that the runner takes; empty if it takes the types of the specification.
        prepare: function that copies inputs to the device and returns the function to time, which copies no inputs.
    """

    name: str
    device: str
    dtypes: Mapping[str, str]
    prepare: Callable[[Inputs], Call]


@dataclass(frozen=True)
class Absent:
    """A runner that cannot be timed on this machine.

    Attributes:
        name: the name in reports.
        reason: the reason in one line.
    """

    name: str
    reason: str


def gather(request: Request, inputs: Mapping[str, Artifact]) -> list[TimedCall | Absent]:
    """Load all runners that the settings ask for, PyTorch first.

    Args:
        request: the request of the build.
        inputs: slot -> artifact of the benchmark step.
    """
    benchmark, subject = request.settings.benchmark, request.subject
    assert benchmark is not None
    found: list[TimedCall | Absent] = []
    if subject.graph is None and (benchmark.eager or benchmark.compile):
        found += _torch(request, inputs.get("weights"))
    for slot, artifact in inputs.items():
        path = artifact.path
        if slot in ("graph", "lowered"):
            name = f"onnxruntime {'fp32' if slot == 'graph' else request.settings.precision.target.value}"
            found.append(_attempt(name, partial(_onnxruntime, name, path, request)))
        elif slot == OPENVINO and request.settings.ov is not None:
            precision = request.settings.ov.precision.value
            name = f"openvino {precision}"
            found.append(_attempt(name, partial(_openvino, name, path, precision, benchmark.threads)))
        elif slot.startswith(ENGINE):
            name = slot.replace("_", " ")
            found.append(_attempt(name, partial(_engine, name, path, request.environment)))
    return found


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Set PyTorch's number of threads within a `with` block, and restore it afterwards. 0 leaves it unchanged."""
    import torch

    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _attempt(name: str, load: Callable[[], TimedCall]) -> TimedCall | Absent:
    try:
        return load()
    except CosybuildError as error:
        return Absent(name, " ".join(error.message.split()))
    except CannotRun as error:
        return Absent(name, str(error))


def _torch(request: Request, weights: Artifact | None) -> Iterator[TimedCall | Absent]:
    import torch

    from cosybuild.models.load import load_module

    benchmark = request.settings.benchmark
    assert benchmark is not None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module = load_module(request.subject, None if weights is None else weights.path).to(device)
    where = f"torch {torch.__version__} {torch.cuda.get_device_name() if device == 'cuda' else 'cpu'}"
    if benchmark.eager:
        yield TimedCall("torch eager", where, {}, lambda inputs: _torch_call(module, inputs, device))
    if benchmark.compile:
        yield _attempt("torch.compile", lambda: _compiled(module, where, device))


def _compiled(module: nn.Module, where: str, device: str) -> TimedCall:
    import torch

    # Sizes are dynamic, as in service, so that one compilation covers all of them.
    compiled = torch.compile(module, dynamic=True)
    return TimedCall("torch.compile", where, {}, lambda inputs: _torch_call(compiled, inputs, device))


def _torch_call(module: Any, inputs: Inputs, device: str) -> Call:
    import torch
    from torch._dynamo.exc import TorchDynamoException

    from cosybuild.backends.torch_backend import tensor_from_array

    tensors = [tensor_from_array(array).to(device) for array in inputs.values()]

    def call() -> None:
        try:
            with torch.inference_mode():
                module(*tensors)
        except TorchDynamoException as error:  # such as a missing C++ compiler or an unsupported operator
            raise CannotRun(_first_line(error)) from error
        if device == "cuda":
            torch.cuda.synchronize()

    return call


def _onnxruntime(name: str, graph: Path, request: Request) -> TimedCall:
    from cosybuild.backends import onnxruntime_backend
    from cosybuild.backends.isolated import open_session

    benchmark = request.settings.benchmark
    assert benchmark is not None
    provider, threads = benchmark.provider, benchmark.threads
    # Calls are timed in this process, after a subprocess has found the level at which the graph loads.
    level = getattr(open_session(graph, request.subject, provider, threads), "level", onnxruntime_backend.Level.all)
    session = onnxruntime_backend.load(graph, provider=provider, threads=threads, level=level)
    return TimedCall(name, session.device, session.dtypes, lambda inputs: _refusing(session.bound(inputs)))


def _openvino(name: str, ir: Path, precision: str, threads: int) -> TimedCall:
    from cosybuild.backends.openvino import session as openvino_session

    session = openvino_session.load(ir, precision, threads=threads)
    return TimedCall(name, session.device, session.dtypes, lambda inputs: _refusing(session.bound(inputs)))


def _refusing(run: Call) -> Call:
    """Wrap a timed function so that it raises CannotRun if the runtime refuses the inputs."""
    from cosybuild.backends.session import InferenceFailed

    def call() -> None:
        try:
            run()
        except InferenceFailed as error:
            raise CannotRun(str(error)) from error

    return call


def _engine(name: str, path: Path, environment: Environment) -> TimedCall:
    from cosybuild.backends.tensorrt.loadability import check_plan, engine_library

    verdict = check_plan(path, environment)
    library_name = engine_library(path)
    if verdict.loads is False or library_name is None or not environment.gpus:
        raise CannotRun(verdict.explain())
    from cosybuild.backends.tensorrt import execution
    from cosybuild.backends.tensorrt.library import import_library
    from cosybuild.backends.torch_backend import tensor_from_array
    from cosybuild.errors import EngineError

    session = execution.load(import_library(library_name), path)

    def prepare(inputs: Inputs) -> Call:
        tensors = {key: tensor_from_array(array).to("cuda").contiguous() for key, array in inputs.items()}

        def call() -> None:
            try:
                session.run(tensors)
            except EngineError as error:
                raise CannotRun(" ".join(error.message.split())) from error

        return call

    return TimedCall(name, session.device, session.dtypes, prepare)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
