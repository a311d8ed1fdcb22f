"""The stage that builds one engine for one compute capability. TensorRT is imported only when it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any

from cosybuild.backends.tensorrt.build_subprocess import EngineTask, build_in_subprocess
from cosybuild.backends.tensorrt.choice import Target, choose_targets, missing_requirements
from cosybuild.backends.tensorrt.library import RTX, TENSORRT, installed_version
from cosybuild.building.stage import RunContext, Stage
from cosybuild.config.groups.trt import TrtSettings, Unmet
from cosybuild.errors import EngineError
from cosybuild.models.artifact_name import artifact_name
from cosybuild.models.shape_profile import Profile, listed_sizes
from cosybuild.precision.interface import interface_dtype
from cosybuild.request import Request
from cosybuild.store.result import StageResult
from cosybuild.system.environment import Environment

# Fields of the group `trt` that this stage leaves out of the key: `backend` and `sm` are in the target, and the others
# do not change the engine.
_NOT_OF_THE_ENGINE = frozenset(["precision", "optional", "backend", "sm", "timing_cache"])


@dataclass(frozen=True)
class EngineStage(Stage[Request]):
    """The stage that builds an engine. It fills a slot such as `engine_sm89` with the engine and its manifest.

    Attributes:
        target: the library that builds, and the compute capability. Each capability has a step of its own, so that a
            changed `trt.sm` builds only the new engines.
    """

    target: Target

    name = "engine"
    does = "builds an engine of the graph"
    version = 3
    needs = ("lowered|graph",)
    deterministic = False

    @property
    def label(self) -> str:
        return f"engine sm_{self.target.sm}" if self.target.sm is not None else f"engine {self.target.library}"

    @property
    def makes(self) -> tuple[str, ...]:
        return (f"engine_sm{self.target.sm}" if self.target.sm is not None else "engine",)

    @property
    def device(self) -> str:
        if self.target.library == RTX:
            return "cpu"
        return "gpu" if self.target.sm is None else f"gpu sm_{self.target.sm}"

    def settings(self, request: Request) -> Mapping[str, Any]:
        trt = engine_settings(request)
        return {
            "flavour": self.target.library,
            "sm": self.target.sm,
            "precision": request.settings.precision.target.value,
            "io": io_dtype(request),
            "profiles": [listed_sizes(profile) for profile in request.profiles],
            "file": engine_name(request, self.target),
            **{name: value for name, value in _plain(trt) if name not in _NOT_OF_THE_ENGINE},
        }

    def environment(self, environment: Environment) -> Mapping[str, str]:
        version = installed_version(self.target.library, environment) or "absent"
        if self.target.library == RTX:
            return {RTX: version}
        # TensorRT chooses kernels by measuring their time on this GPU with this driver.
        gpu = next((gpu.name for gpu in environment.gpus if gpu.sm == self.target.sm), "absent")
        return {TENSORRT: version, "gpu": gpu, "driver": environment.driver or "absent"}

    def missing(self, request: Request, environment: Environment) -> tuple[str, ...]:
        return missing_requirements(self.target, engine_settings(request), environment)

    def run(self, context: RunContext) -> StageResult:
        from cosybuild.backends.tensorrt.report import engine_manifest
        from cosybuild.manifest import write_manifest

        request: Request = context.request
        trt, precision = engine_settings(request), request.settings.precision.target.value
        profiles, spec = request.profiles, request.subject.spec
        path = context.workdir / engine_name(request, self.target)
        graph = context.inputs["lowered"]
        task = EngineTask(
            target=self.target,
            graph=graph.path,
            engine=path,
            settings=trt,
            precision=precision,
            io=io_dtype(request),
            profiles=profiles,
            spec=spec,
            timing=_timing(request, self.target, request.environment),
            environment=request.environment,
        )
        answer = build_in_subprocess(task, context.emit)
        report = answer.value
        report["profiles"] = [_described_profile(profile, spec.frames_per_second) for profile in profiles]
        # Facts that two builds of one key have in common. Their bytes may differ, because kernels are chosen by timing.
        common = (
            "flavour",
            "builder",
            "built_for",
            "precision",
            "typing",
            "tensors",
            "profiles",
            "layers",
            "arithmetic",
        )
        report["traits"] = {name: report[name] for name in common}
        _check_request(report, trt, context)
        manifest = engine_manifest(
            report,
            self.target,
            request.environment,
            {
                "onnx_sha256": graph.digest,
                "weights": request.subject.weights_label,
                "weights_sha256": context.sources.get("weights"),
                "model": request.subject.origin,
                "settings": dict(self.settings(request)),
            },
        )
        return StageResult({self.makes[0]: (path, write_manifest(path, manifest))}, report, answer.peak_bytes or 0)


def expand_engine_stages(request: Request) -> tuple[EngineStage, ...]:
    """Return one step for each compute capability that the settings select on this machine; none if trt=none.

    With `trt.optional`, steps that this machine cannot run are left out.

    Raises:
        ConfigurationError: the settings need a feature that the chosen library lacks.
    """
    if request.settings.trt is None:
        return ()
    precision = request.settings.precision.target.value
    targets = choose_targets(request.settings.trt, precision, request.environment)
    stages = tuple(EngineStage(target) for target in targets)
    if request.settings.trt.optional:
        return tuple(stage for stage in stages if not stage.missing(request, request.environment))
    return stages


def engine_settings(request: Request) -> TrtSettings:
    """Return the settings of the configuration group `trt`. A build with an engine step always has them."""
    assert request.settings.trt is not None
    return request.settings.trt


def engine_name(request: Request, target: Target) -> str:
    """Return the file name of an engine.

    A TensorRT plan gets the name under which CosyVoice's runtime looks for it; a TensorRT-RTX engine gets another name.
    """
    suffix = ".mygpu.plan" if target.library == TENSORRT else f".sm{target.sm}.rtx.engine"
    precision = request.settings.precision.target.value
    return artifact_name(request.subject, precision, suffix, request.settings.export.dynamic_batch)


def io_dtype(request: Request) -> str:
    """Return the type of all floating-point inputs and outputs of the lowered graph."""
    return interface_dtype(request.settings.precision, request.subject.spec)


def _plain(trt: TrtSettings) -> Iterator[tuple[str, Any]]:
    for field in fields(trt):
        value = getattr(trt, field.name)
        yield field.name, value.value if isinstance(value, Enum) else value


def _described_profile(profile: Profile, frames_per_second: float | None) -> dict[str, list[int] | list[float]]:
    """Return the sizes of a profile as plain data, and for the axis `seq_len` also the seconds of audio."""
    plain: dict[str, list[int] | list[float]] = {**listed_sizes(profile)}
    if frames_per_second is not None and "seq_len" in profile:
        plain["seconds"] = [round(frames / frames_per_second, 2) for frames in plain["seq_len"]]
    return plain


def _timing(request: Request, target: Target, environment: Environment) -> Path | None:
    """Return the file of the timing cache; None if the build uses none.

    No cache is used with TensorRT-RTX (it does not time kernels), with `trt.timing_cache=false`, without a store, or if
    no GPU of this machine has the target's compute capability.
    """
    from cosybuild.backends.tensorrt.library import library_title
    from cosybuild.backends.tensorrt.timing_cache import timing_path

    store, wanted = request.settings.store, engine_settings(request).timing_cache
    gpu = next((gpu for gpu in environment.gpus if gpu.sm == target.sm), None)
    if target.library == RTX or wanted is False or store is None or gpu is None:
        return None
    who = library_title(TENSORRT, installed_version(TENSORRT, environment))
    return timing_path(Path(store.path), who, gpu, environment)


def _check_request(report: Mapping[str, Any], trt: TrtSettings, context: RunContext) -> None:
    for shortcoming, reaction, setting in (
        ("unmet", trt.on_unmet, "trt.on_unmet"),
        ("unfused", trt.on_unfused, "trt.on_unfused"),
    ):
        for line in report[shortcoming]:
            if reaction is Unmet.fail:
                raise EngineError(
                    f"The engine does not meet its settings: {line}.",
                    hint=f"Next: {setting}=warn to keep it; or precision=fp16 with fewer nodes in fp32.",
                )
            context.emit("warning", message=line)
