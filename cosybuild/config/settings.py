"""The run configuration, frozen and typed."""

from __future__ import annotations

from dataclasses import dataclass

from cosybuild.config.groups.benchmark import BenchmarkSettings
from cosybuild.config.groups.component import ComponentSettings
from cosybuild.config.groups.deploy import DeploySettings
from cosybuild.config.groups.export import ExportSettings
from cosybuild.config.groups.field import setting
from cosybuild.config.groups.model import ModelSettings
from cosybuild.config.groups.objective import Objective
from cosybuild.config.groups.precision import PrecisionSettings
from cosybuild.config.groups.profile import ProfileSettings
from cosybuild.config.groups.simplify import SimplifySettings
from cosybuild.config.groups.store import StoreSettings
from cosybuild.config.groups.trt import TrtSettings
from cosybuild.config.groups.verify import VerifySettings


@dataclass(frozen=True)
class Settings:
    """All settings of a run. A group that is None is switched off."""

    model_dir: str | None = setting(
        None, "A CosyVoice model directory, or a hub id such as FunAudioLLM/CosyVoice2-0.5B.", local=True
    )
    model: ModelSettings = setting(ModelSettings, "What is built.")
    component: ComponentSettings = setting(ComponentSettings, "Which network of the model is built.")
    export: ExportSettings = setting(ExportSettings, "From PyTorch to ONNX.")
    simplify: SimplifySettings | None = setting(None, "Fewer nodes, the same function.")
    verify: VerifySettings | None = setting(None, "The artifact against PyTorch.")
    precision: PrecisionSettings = setting(PrecisionSettings, "Which number type the graph computes in.")
    trt_profile: ProfileSettings = setting(ProfileSettings, "Which sizes an engine serves and verification covers.")
    trt: TrtSettings | None = setting(None, "From the graph to engines.")
    benchmark: BenchmarkSettings | None = setting(None, "How fast what was built is, here.")
    deploy: DeploySettings | None = setting(None, "Where artifacts go into service.", local=True)
    store: StoreSettings | None = setting(None, "Where finished work is kept.", local=True)
    dry_run: bool = setting(False, "Print the plan with its reasons, and stop.")
    lock: bool = setting(False, "Write cosybuild.lock in the run directory.")
    hold_to: str | None = setting(None, "A lock file; any drift from it is an error.", local=True)
    objective: tuple[Objective, ...] = setting(
        tuple, "What a sweeper that searches is told of a job: error, memory, size, latency, build_time; none: error."
    )
    must_produce: dict[str, str] = setting(
        dict, "Artifact name -> sha256 it must have (or how that begins); anything else is drift. Recipes state it."
    )
