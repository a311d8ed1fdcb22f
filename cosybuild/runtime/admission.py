"""Checks of an artifact against its manifest, before the artifact is loaded."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from cosybuild.backends.openvino import requirements
from cosybuild.backends.openvino.requirements import FIELD, OPENVINO, check_facts, fault_of_ir
from cosybuild.backends.tensorrt.loadability import check_plan, engine_library
from cosybuild.errors import ArtifactRefused
from cosybuild.manifest import damage, fitting_manifest, manifest_path
from cosybuild.onnxgraph.external import external_fault
from cosybuild.processor import read_cpu_features

GRAPH_SUFFIX = ".onnx"
IR_SUFFIX = requirements.SUFFIX
ENGINE_SUFFIXES = (".plan", ".engine", ".trt")


class Device(Protocol):
    """The device on which an artifact is served, such as a `torch.device`; its `type` is `cpu` or `cuda`."""

    @property
    def type(self) -> str: ...


@dataclass(frozen=True)
class _Cpu:
    type: str = "cpu"


CPU: Device = _Cpu()
"""The CPU, for callers that do not import PyTorch."""


@dataclass(frozen=True)
class Admitted:
    """An artifact that passed the checks and may be loaded.

    Attributes:
        path: the artifact's file.
        library: the Python module that loads the file, `tensorrt`, `tensorrt_rtx` or `openvino`; None for an ONNX
            graph.
        streaming: True if the artifact was built with streaming attention (chunk mask), False for full attention.
        manifest: the content of the artifact's manifest; empty if the artifact has no manifest.
    """

    path: Path
    library: str | None
    streaming: bool
    manifest: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Gpu:
    sm: int


class _ThisProcess:
    """The versions, processor features and GPU of this process, in the form that the loadability check reads."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def version(self, distribution: str) -> str | None:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            return None

    @cached_property
    def cpu_features(self) -> frozenset[str]:
        return read_cpu_features()

    @cached_property
    def gpus(self) -> tuple[_Gpu, ...]:
        if self._device.type != "cuda":
            return ()
        import torch  # a caller that names a CUDA device has PyTorch

        major, minor = torch.cuda.get_device_capability(self._device)  # type: ignore[arg-type]  # it is a torch.device
        return (_Gpu(10 * major + minor),)


def admit(path: Path, device: Device, *, trust: bool) -> Admitted:
    """Check an artifact against its manifest, and return what a loader has to know of it.

    Args:
        path: an ONNX graph, an OpenVINO IR or an engine.
        device: the device on which the artifact will be served.
        trust: also accept an artifact that has no manifest or was not verified. An artifact that is damaged, or that
            was built for another GPU or library version, is refused with any `trust`, because its results would be
            wrong.

    Raises:
        ArtifactRefused: the artifact must not be loaded; the message gives the reason.
    """
    if not path.is_file() or path.stat().st_size == 0:
        raise _refused(path, "it is empty" if path.is_file() else "there is no such file")
    try:
        manifest = fitting_manifest(path)
    except ValueError as error:
        raise _refused(path, str(error)) from error
    if manifest is None and not trust:
        raise ArtifactRefused(
            f"{path} is refused: there is no manifest {manifest_path(path).name} beside it, so its origin and its "
            "target are not known.",
            hint="Next: deploy it with its manifest (deploy=...), or load it with trust=True if you know its origin.",
        )
    library = _library(path, device, manifest)
    if manifest is None:
        if library is None:
            _check_external_data(path, None)
        # Without a manifest, only the file name tells the attention variant: the naming convention puts `.streaming.`
        # into the name of a streaming artifact.
        return Admitted(path, library, ".streaming." in path.name)
    if library in (None, OPENVINO):
        harm = damage(path, manifest)
        if harm is not None:
            raise _refused(path, harm)
    if library is None:
        _check_external_data(path, manifest)
    if manifest.get("verified") is not True and not trust:
        forced = manifest.get("deployment", {}).get("forced", [])
        state = "failed its verification" if manifest.get("verified") is False else "was not verified"
        raise ArtifactRefused(
            f"{path} is refused: it {state}"
            + (f" and was deployed by force ({'; '.join(forced)})." if forced else "."),
            hint="Next: build it with verify=strict and deploy it again, or load with trust=True.",
        )
    streaming = manifest.get("model", {}).get("streaming")
    if streaming is None:
        raise _refused(path, "its manifest does not name its attention variant (model.streaming)")
    return Admitted(path, library, streaming, manifest)


def _check_external_data(path: Path, manifest: Mapping[str, Any] | None) -> None:
    """Refuse a graph with external data that must not be read.

    If there is a manifest, it must list every file of the external data.
    """
    listed = None if manifest is None else {fact["name"] for fact in manifest["companions"]}
    try:
        fault = external_fault(path, listed)
    except (ValueError, OSError) as error:
        raise _refused(path, str(error)) from error
    if fault is not None:
        raise _refused(path, f"it {fault}")


def _library(path: Path, device: Device, manifest: Mapping[str, Any] | None) -> str | None:
    if path.suffix == GRAPH_SUFFIX:
        return None
    return _ir(path, device, manifest) if path.suffix == IR_SUFFIX else _engine(path, device, manifest)


def _ir(path: Path, device: Device, manifest: Mapping[str, Any] | None) -> str:
    if device.type != "cpu":
        raise _refused(path, f"an OpenVINO IR runs on the CPU, but device={device.type} is requested")
    facts = (manifest or {}).get(FIELD)
    if facts is None:
        raise _refused(path, "no manifest of cosybuild states the precision for which it was verified")
    verdict = check_facts(facts, _ThisProcess(device))
    try:
        fault = verdict.explain() if verdict.loads is False else fault_of_ir(path, manifest or {})
    except ValueError as error:
        raise _refused(path, str(error)) from error
    if fault is not None:
        raise _refused(path, fault)
    return OPENVINO


def _engine(path: Path, device: Device, manifest: Mapping[str, Any] | None) -> str:
    verdict = check_plan(path, _ThisProcess(device))
    library = manifest["built_for"]["flavour"] if manifest and "built_for" in manifest else engine_library(path)
    if verdict.loads is False:
        raise _refused(path, verdict.explain())
    if library is None:
        raise _refused(path, "the library that reads it is not known")
    return str(library)


def _refused(path: Path, reason: str) -> ArtifactRefused:
    return ArtifactRefused(f"{path} is refused: {reason}.", hint=f"Next: python -m cosybuild check {path}")
