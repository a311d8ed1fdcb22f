"""The typed, frozen configuration of a run."""

from __future__ import annotations

from dataclasses import dataclass

from cosybuild.config.groups.benchmark import BenchmarkSettings
from cosybuild.config.groups.component import ComponentSettings
from cosybuild.config.groups.deploy import DeploySettings
from cosybuild.config.groups.export import ExportSettings
from cosybuild.config.groups.field import setting
from cosybuild.config.groups.model import ModelSettings
from cosybuild.config.groups.objective import Objective
from cosybuild.config.groups.openvino import OvSettings
from cosybuild.config.groups.precision import PrecisionSettings
from cosybuild.config.groups.simplify import SimplifySettings
from cosybuild.config.groups.store import StoreSettings
from cosybuild.config.groups.trt import TrtSettings
from cosybuild.config.groups.trt_profile import ProfileSettings
from cosybuild.config.groups.verify import VerifySettings
from cosybuild.config.groups.vocoder import VocoderSettings


@dataclass(frozen=True)
class Settings:
    """All settings of a run. If the value of a group is None, the group is switched off."""

    model_dir: str | None = setting(
        None, "A CosyVoice model directory, or a hub id such as FunAudioLLM/CosyVoice2-0.5B.", local=True
    )
    model: ModelSettings = setting(ModelSettings, "The model to build.")
    component: ComponentSettings = setting(ComponentSettings, "The network of the model to build.")
    vocoder: VocoderSettings = setting(VocoderSettings, "The variant of the vocoder's graph.")
    export: ExportSettings = setting(ExportSettings, "The export from PyTorch to ONNX.")
    simplify: SimplifySettings | None = setting(None, "The simplification of the graph.")
    verify: VerifySettings | None = setting(None, "The comparison of artifacts with PyTorch.")
    precision: PrecisionSettings = setting(PrecisionSettings, "The number types in which the graph computes.")
    trt_profile: ProfileSettings = setting(ProfileSettings, "The sizes that an engine serves and verification covers.")
    trt: TrtSettings | None = setting(None, "The build of engines from the graph.")
    ov: OvSettings | None = setting(None, "The build of an OpenVINO IR from the graph.")
    benchmark: BenchmarkSettings | None = setting(None, "The timing of the artifacts on this machine.")
    deploy: DeploySettings | None = setting(None, "The deployment of artifacts into a service's directory.", local=True)
    store: StoreSettings | None = setting(None, "The store of finished results.", local=True)
    dry_run: bool = setting(
        False, "Print the plan with its reasons, and stop; on the command line, dry_run=json prints JSON."
    )
    lock: bool = setting(False, "Write cosybuild.lock in the run directory.")
    hold_to: str | None = setting(
        None, "A lock file with which the build must agree; any difference is an error.", local=True
    )
    objective: tuple[Objective, ...] = setting(
        tuple, "The figures that a searching sweeper minimises: error, memory, size, latency, build_time; empty: error."
    )
    must_produce: dict[str, str] = setting(
        dict,
        "The required sha256 of each artifact, or its first digits, by name; any other digest is drift. Recipes "
        "use it.",
    )
