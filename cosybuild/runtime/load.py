"""Loading of built estimators, from a file or a directory, as one PyTorch module."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cosybuild.backends.openvino.requirements import FIELD, OPENVINO
from cosybuild.directory_in_service import View
from cosybuild.dtypes import FLOATS
from cosybuild.errors import ArtifactRefused, MissingRequirement, ServingError
from cosybuild.runtime.admission import ENGINE_SUFFIXES, GRAPH_SUFFIX, IR_SUFFIX, Admitted, admit
from cosybuild.runtime.arguments import check_arguments
from cosybuild.runtime.context import Context, Driver
from cosybuild.runtime.directory import candidates, read_consistently, read_in_service
from cosybuild.runtime.engine import open_engine
from cosybuild.runtime.estimator import BuiltEstimator, Served, Slot
from cosybuild.runtime.graph import open_graph
from cosybuild.runtime.interface import INPUTS, OUTPUT, RANKS, Interface
from cosybuild.runtime.ir import COMPUTED_IN, open_ir
from cosybuild.runtime.pool import Pool


@dataclass(frozen=True)
class _Options:
    concurrency: int
    timeout: float | None
    threads: int
    trust: bool


def load_estimator(
    path: str | Path,
    device: str | torch.device = "cpu",
    *,
    concurrency: int = 1,
    fallback: nn.Module | None = None,
    timeout: float | None = 30.0,
    threads: int = 0,
    precision: str | None = None,
    trust: bool = False,
) -> BuiltEstimator:
    """Load built estimators as one PyTorch module that upstream's solver can call.

    From a directory, every artifact that `device` can run is loaded, such as those of both attention variants and of
    several profiles. A call is run by the first artifact that covers it. Engines and OpenVINO IRs come before graphs,
    float32 comes before smaller types, and smaller profiles come before larger ones. An artifact is dropped if an
    earlier one covers all its calls. A directory with estimators of two builds is refused.

    A deployment may be running or have been interrupted. Until it has written its journal, the files from before it are
    loaded; from then on, its new files. This also holds if `path` is one file of the directory. Artifacts from before
    and after a deployment are never loaded together.

    Args:
        path: an .onnx file, an OpenVINO IR (.xml), an engine (.plan, .engine, .trt), or a directory of such files. Each
            file needs its manifest beside it.
        device: `cpu` (graphs and IRs only), `cuda` or `cuda:N` (graphs and engines).
        concurrency: number of execution contexts of each artifact; further callers wait.
        fallback: module that runs the calls that no artifact covers; None to raise an error for such calls.
        timeout: seconds that a caller waits for a context; None waits without limit.
        threads: CPU threads of one run; 0 leaves the number to ONNX Runtime or OpenVINO.
        precision: load only artifacts of this type: `float32`, `float16` or `bfloat16`; None for all. It is the type of
            the tensors of a graph or engine, and the type in which an IR computes matrix products. It applies to a
            directory only.
        trust: also load artifacts that have no manifest or were not verified.

    Raises:
        ArtifactRefused: no artifact may be loaded; the message gives the reason for each candidate.
        MissingRequirement: `device` does not exist, or the library that runs the artifact does not load on this
            machine.
        ServingError: an argument has an invalid value.
    """
    path, place = Path(path), _device(device)
    check_arguments(concurrency, timeout, threads)
    if precision not in (None, *FLOATS):
        raise ServingError(f"precision={precision!r}; {', '.join(FLOATS)} or None is expected.")
    options = _Options(concurrency, timeout, threads, trust)
    if not path.is_dir():
        return BuiltEstimator([read_in_service(path, lambda file: _load(file, place, options))], place, fallback)
    served = read_consistently(path, lambda view: _load_all(view, place, options, precision))
    return BuiltEstimator(reachable(sorted(served, key=_preference)), place, fallback)


def _load_all(view: View, place: torch.device, options: _Options, precision: str | None) -> list[Served]:
    """Load all artifacts of a directory that may be loaded, in the order of their file names."""
    served: list[Served] = []
    refusals: list[str] = []
    for candidate in candidates(view, place):
        try:
            loaded = _load(candidate, place, options)
        except (ArtifactRefused, MissingRequirement) as error:
            refusals.append(f"- {error.message}")
            continue
        if precision is None or loaded.computed_in == precision:
            served.append(loaded)
        else:
            refusals.append(f"- {candidate} is {loaded.computed_in}")
    if not served:
        known = ", ".join((GRAPH_SUFFIX, IR_SUFFIX, *ENGINE_SUFFIXES))
        reasons = "\n".join(refusals) or f"- there is none ({known})"
        raise ArtifactRefused(
            f"{view.root} has no estimator that loads on {place}:\n{reasons}",
            hint=f"Next: python -m cosybuild check {view.root}",
        )
    return served


def reachable(served: Sequence[Served]) -> list[Served]:
    """Return the artifacts without those that no call can reach.

    An artifact is unreachable if an earlier one with the same attention covers all its profiles.
    """
    kept: list[Served] = []
    for each in served:
        if not any(k.streaming == each.streaming and k.interface.covers(each.interface) for k in kept):
            kept.append(each)
    return kept


def _preference(served: Served) -> tuple[bool, bool, float, str]:
    interface = served.interface
    is_graph = served.name.endswith(GRAPH_SUFFIX)
    largest = max(interface.volume(index) for index in range(len(interface.profiles)))
    return is_graph, served.computed_in != "float32", largest, served.name


def _load(path: Path, device: torch.device, options: _Options) -> Served:
    if path.suffix in ENGINE_SUFFIXES and device.type != "cuda":
        raise ArtifactRefused(
            f"{path} is refused: an engine runs on a GPU, but device={device} is requested.",
            hint="Next: load with device='cuda', or load the .onnx file.",
        )
    admitted = admit(path, device, trust=options.trust)
    interface, drivers, streams = _open(admitted, device, options.concurrency, options.threads)
    _check_contract(path, interface)
    contexts = [Context(interface, driver, device, path.name) for driver in drivers]
    slots = [Slot(c, s) for c, s in zip(contexts, streams or [nullcontext()] * len(contexts), strict=True)]
    precision = admitted.manifest[FIELD]["precision"] if admitted.library == OPENVINO else None
    computed_in = interface.dtype if precision is None else COMPUTED_IN[precision]
    return Served(path.name, interface, admitted.streaming, Pool(slots, path.name, options.timeout), computed_in)


def _open(
    admitted: Admitted, device: torch.device, concurrency: int, threads: int
) -> tuple[Interface, Sequence[Driver], list[Any]]:
    if admitted.library is None:
        return open_graph(admitted.path, device, concurrency, threads)
    if admitted.library == OPENVINO:
        return (*open_ir(admitted.path, admitted.manifest, concurrency, threads), [])
    return open_engine(admitted.path, admitted.library, device, concurrency)


def _check_contract(path: Path, interface: Interface) -> None:
    if interface.names != (*INPUTS, OUTPUT):
        raise ArtifactRefused(
            f"{path} is not an estimator: it has {', '.join(interface.names)}; {', '.join((*INPUTS, OUTPUT))} are "
            "expected, in this order."
        )
    ports = zip(RANKS, (*interface.inputs, *interface.outputs), strict=True)
    for rank, port in ports:
        if len(port.shape) != rank:
            raise ArtifactRefused(
                f"{path} is not an estimator: {port.name} has {len(port.shape)} axes; {rank} are expected."
            )
    types = {port.dtype for port in (*interface.inputs, *interface.outputs)}
    if len(types) > 1:
        raise ArtifactRefused(
            f"{path} mixes the types {', '.join(sorted(types))}; one type for all tensors is expected."
        )


def _device(device: str | torch.device) -> torch.device:
    """Return `device` as a `torch.device`, for CUDA with an index.

    With the index it can be compared with the device of a tensor.

    Raises:
        ServingError: `device` names no device.
        MissingRequirement: this machine or this torch does not have the device.
    """
    try:
        place = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ServingError(f"device={device!r} is not a device; cpu, cuda or cuda:N is expected.") from error
    if place.type == "cpu":
        return torch.device("cpu")
    if place.type != "cuda" or not torch.cuda.is_available():
        raise MissingRequirement(
            f"device={device} is requested, but torch {torch.__version__} finds no such device here; cpu and cuda are "
            "supported.",
            hint="Next: load with device='cpu', or install a CUDA build of torch on a machine with a GPU.",
        )
    return place if place.index is not None else torch.device("cuda", torch.cuda.current_device())
