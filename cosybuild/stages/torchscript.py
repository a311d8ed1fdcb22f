"""The stages that write TorchScript files for CosyVoice's option `load_jit`, and compare the files with the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosybuild import figure
from cosybuild.building.stage import RunContext, Stage
from cosybuild.config.groups.deploy import Service
from cosybuild.config.groups.precision import Target
from cosybuild.errors import VerificationError
from cosybuild.models.components.component import Script
from cosybuild.models.components.registry import script_of
from cosybuild.numerics.gates import LOWERED
from cosybuild.request import Request
from cosybuild.stages.export import subject_settings
from cosybuild.store.result import StageResult

if TYPE_CHECKING:
    from torch import nn

_TYPES = {Target.fp32: "float32", Target.fp16: "float16"}
SLOTS = {target: f"torchscript_{target.value}" for target in _TYPES}


class TorchScriptStage(Stage[Request]):
    """The stage that writes that part of the network which upstream loads as TorchScript, in float32 and float16."""

    name = "torchscript"
    does = "writes TorchScript files for load_jit"
    version = 1
    needs = ("weights?",)
    makes = tuple(SLOTS.values())
    packages = ("torch",)
    # The files contain the paths of Python source files, which TorchScript uses in error messages.
    deterministic = False

    def settings(self, request: Request) -> Mapping[str, Any]:
        return {**subject_settings(request.subject), "file": _script(request).stem}

    def run(self, context: RunContext) -> StageResult:
        from cosybuild.manifest import write_manifest

        request: Request = context.request
        script, subject = _script(request), request.subject
        outputs: dict[str, Sequence[Path]] = {}
        sizes = {}
        for target, dtype in _TYPES.items():
            path = context.workdir / f"{script.stem}.{target.value}.zip"
            script.make(_network(context), subject.variant, target is Target.fp16).save(str(path))
            outputs[SLOTS[target]] = (path, write_manifest(path, {"interface": script.interface(dtype)}))
            sizes[target.value] = path.stat().st_size
        return StageResult(outputs, {"sizes": sizes})


class VerifyTorchScriptStage(Stage[Request]):
    """The stage that loads the TorchScript files, calls them as upstream does, and compares results with the model."""

    name = "verify_torchscript"
    label = "verify torchscript"
    does = "loads the TorchScript files and compares them with the model"
    version = 1
    needs = (*SLOTS.values(), "weights?")
    makes = ("torchscript_verification",)
    packages = ("torch",)
    # Rounding errors differ between CPUs.
    deterministic = False

    def settings(self, request: Request) -> Mapping[str, Any]:
        verify = request.settings.verify
        assert verify is not None
        gates = {target.value: gate for target, gate in _gates(request).items()}
        return {**subject_settings(request.subject), "seed": verify.seed, "snr_db": gates}

    def run(self, context: RunContext) -> StageResult:
        import torch

        request: Request = context.request
        verify = request.settings.verify
        assert verify is not None
        network = _network(context)
        cases: list[dict[str, Any]] = []
        worst: dict[str, float] = {}
        for target, gate in _gates(request).items():
            loaded = torch.jit.load(str(context.inputs[SLOTS[target]].path), map_location="cpu")  # type: ignore[no-untyped-call]  # no types
            for call in _script(request).calls(network, request.subject.variant, verify.seed):
                ratio = call.snr_db(loaded, target is Target.fp16)
                cases.append({"case": call.name, "file": target.value, "snr_db": ratio})
                worst[target.value] = min(ratio, worst.get(target.value, ratio))
                if not ratio >= gate:
                    raise VerificationError(
                        f"Case {call.name}, the {target.value} TorchScript file: signal-to-noise ratio {ratio:.1f} dB "
                        f"where at least {gate:g} dB is asked for.",
                        hint="Next: do not use the file, and report the case: a file traced from the model must agree.",
                    )
            context.emit("progress", what=f"compared the {target.value} file")
        path = context.workdir / "torchscript_verification.json"
        metrics = {"worst_snr_db": worst}
        path.write_text(figure.dumps({**metrics, "cases": cases}, indent=1) + "\n", encoding="utf-8")
        return StageResult({"torchscript_verification": [path]}, figure.plain(metrics))


def expand_torchscript_stages(request: Request) -> tuple[Stage[Request], ...]:
    """Return the steps that write and verify TorchScript files.

    There are none if the build is not deployed to CosyVoice, or if upstream loads no part of this network as
    TorchScript.
    """
    deploy, subject = request.settings.deploy, request.subject
    if deploy is None or deploy.service is not Service.cosyvoice or subject.graph is not None:
        return ()
    if script_of(subject.component, subject.family) is None:
        return ()
    return (TorchScriptStage(), *([VerifyTorchScriptStage()] if request.settings.verify is not None else []))


def _script(request: Request) -> Script:
    script = script_of(request.subject.component, request.subject.family)
    assert script is not None
    return script


def _gates(request: Request) -> dict[Target, float]:
    """Return the smallest allowed signal-to-noise ratio of the fp32 file and of the fp16 file, in dB.

    The fp32 file has the limit of a float32 graph, and the fp16 file that of a lowered graph.
    """
    verify = request.settings.verify
    assert verify is not None
    return {Target.fp32: verify.snr_db or 0.0, Target.fp16: LOWERED[Target.fp16]["snr_db"]}


def _network(context: RunContext) -> nn.Module:
    from cosybuild.models.load import load_network

    weights = context.inputs.get("weights")
    return load_network(context.request.subject, None if weights is None else weights.path)
