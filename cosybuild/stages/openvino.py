"""The stage that converts the float32 graph to an OpenVINO IR. OpenVINO is imported only when it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cosybuild.backends.openvino.requirements import (
    FIELD,
    OPENVINO,
    SUFFIX,
    instruction_sets,
    missing_requirements,
)
from cosybuild.building.stage import RunContext, Stage
from cosybuild.config.groups.openvino import OvSettings
from cosybuild.config.groups.trt import Unmet
from cosybuild.errors import OpenVinoError
from cosybuild.models.artifact_name import artifact_name
from cosybuild.models.shape_profile import listed_sizes
from cosybuild.request import Request
from cosybuild.store.result import StageResult
from cosybuild.system.environment import Environment

# Fields of the group `ov` that do not change the IR. `snr_db` belongs to the gate of its verification.
_NOT_OF_THE_IR = frozenset(["snr_db"])
_DESCRIBED = ("version", "device", "precision", "weights", "kept_operators", "executed")
"""The fields of the report that the manifest states too."""


class OpenVinoStage(Stage[Request]):
    """The stage that makes an OpenVINO IR. It fills the slot `openvino` with the IR, its weights and its manifest.

    A runtime compiles an IR when it loads it. The stage compiles it too, because only a compiled model shows in which
    types it computes. These types depend on the processor.
    """

    name = "openvino"
    does = "converts the graph to an OpenVINO IR"
    version = 1
    needs = ("graph",)
    makes = ("openvino",)

    def settings(self, request: Request) -> Mapping[str, Any]:
        settings = {name: value for name, value in asdict(ov_settings(request)).items() if name not in _NOT_OF_THE_IR}
        return {
            **{name: getattr(value, "value", value) for name, value in settings.items()},
            "keep_fp32": list(settings["keep_fp32"]),
            "profiles": [listed_sizes(profile) for profile in request.profiles],
            "spec": request.subject.spec.facts(),
            "file": ir_name(request),
        }

    def environment(self, environment: Environment) -> Mapping[str, str]:
        return openvino_environment(environment)

    def missing(self, request: Request, environment: Environment) -> tuple[str, ...]:
        return missing_requirements(ov_settings(request).precision.value, environment)

    def run(self, context: RunContext) -> StageResult:
        from cosybuild.backends.openvino.convert import IrTask, convert_in_subprocess, interface
        from cosybuild.manifest import write_manifest

        request: Request = context.request
        settings, spec = ov_settings(request), request.subject.spec
        path = context.workdir / ir_name(request)
        graph = context.inputs["graph"]
        task = IrTask(graph.path, path, settings, request.profiles, spec)
        answer = convert_in_subprocess(task, context.emit)
        report = answer.value
        for line in report["unmet"]:
            if settings.on_unmet is Unmet.fail:
                raise OpenVinoError(
                    f"The IR does not meet its settings: {line}.",
                    hint="Next: ov=fp32; or ov.on_unmet=warn to keep it.",
                )
            context.emit("warning", message=line)
        weights = path.with_suffix(".bin")
        profiles = [listed_sizes(profile) for profile in request.profiles]
        facts = {
            FIELD: {
                **{name: report[name] for name in _DESCRIBED},
                "instructions": instruction_sets(request.environment),
            },
            "built_from": {
                "onnx_sha256": graph.digest,
                "weights": request.subject.weights_label,
                "weights_sha256": context.sources.get("weights"),
                "model": request.subject.origin,
            },
            "profiles": profiles,
            "interface": interface(spec),
            "settings": dict(self.settings(request)),
        }
        manifest = write_manifest(path, facts, [weights])
        report["profiles"] = profiles
        return StageResult({"openvino": (path, weights, manifest)}, report, answer.peak_bytes or 0)


def expand_openvino_stages(request: Request) -> tuple[OpenVinoStage, ...]:
    """Return the step that makes the IR; none if ov=none."""
    return (OpenVinoStage(),) if request.settings.ov is not None else ()


def ov_settings(request: Request) -> OvSettings:
    """Return the settings of the configuration group `ov`. A build with this step always has them."""
    assert request.settings.ov is not None
    return request.settings.ov


def ir_name(request: Request) -> str:
    """Return the file name of the IR, e.g. `flow.decoder.estimator.bf16.openvino.xml`."""
    suffix = f".{OPENVINO}{SUFFIX}"
    precision = ov_settings(request).precision.value
    return artifact_name(request.subject, precision, suffix, request.settings.export.dynamic_batch)


def openvino_environment(environment: Environment) -> Mapping[str, str]:
    """Return the facts of the machine on which the types and kernels of a compiled IR depend, for the keys of steps."""
    version = environment.version(OPENVINO) or "absent"
    return {OPENVINO: version, "instructions": instruction_sets(environment)}
