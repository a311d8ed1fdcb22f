"""Files as other people make them: exports of right and changed modules, with names and types of their own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from cosybuild.certifying.match import locate_model
from cosybuild.certifying.one_file import run_task
from cosybuild.certifying.task import Task
from cosybuild.certifying.verdict import Verdict
from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.export import Exporter, ExportSettings
from cosybuild.config.groups.model import ModelSettings
from cosybuild.exporting.torch_exporters import example_sizes, export_graph
from cosybuild.models.load import load_module, prepare_for_export
from cosybuild.models.resolve import resolve_subject
from cosybuild.models.subject import Subject
from tests.config.composing import settings_of
from tests.models.fixtures import DATA

Change = Callable[[Any], nn.Module | None]
"""Changes the exportable module, or returns another one."""

PROFILE = "trt_profile.profiles=[{seq_len: {min: 4, opt: 8, max: 12}}]"


class Wrapped(nn.Module):
    """A module behind a function of its inputs."""

    def __init__(self, inner: nn.Module, before: Callable[..., Any]) -> None:
        super().__init__()
        self.estimator = inner
        self.before = before

    def forward(self, *given: Tensor) -> Any:
        return self.estimator(*self.before(*given))


def subject_of(
    directory: Path, component: ComponentName = ComponentName.estimator, *, streaming: bool = False, **others: Any
) -> Subject:
    return resolve_subject(ModelSettings(streaming=streaming), str(directory), False, component, **others)


def write(path: Path, subject: Subject, change: Change = lambda _: None, *, exporter: Exporter | None = None) -> Path:
    """Export the subject's module with a change, under the names of the interface."""
    module = load_module(subject, subject.weights)
    module = change(module) or module
    settings = ExportSettings(exporter=exporter or Exporter.torchscript)
    if settings.exporter is Exporter.torchscript:
        prepare_for_export(module)
    model, _ = export_graph(module.eval(), subject.spec, settings, example_sizes(subject.spec, {}, ()))
    onnx.save(model, str(path))
    return path


def verdict_on(path: Path, directory: Path, *words: str, streaming: bool | None = None) -> Verdict:
    """Return the verdict, without a process of its own."""
    settings = locate_model(
        settings_of(f"model_dir={directory}", "trt=none", "store=off", "verify=upstream", PROFILE, *words)
    )
    return run_task(Task(path, path.name, settings, streaming), lambda kind, **facts: None)


def copied(version: int, target: Path, kind: str = "cosyvoice") -> Path:
    """Copy a tiny model directory without its golden data."""
    shutil.copytree(DATA / f"{kind}{version}_tiny", target, ignore=shutil.ignore_patterns("*.npz"))
    return target


def with_other_weights(version: int, target: Path, kind: str = "cosyvoice", file: str = "flow.pt") -> Path:
    """Copy a tiny model directory and change every weight of one file a little."""
    copied(version, target, kind)
    path = target / file
    state = torch.load(path, weights_only=True)
    torch.save({n: v if n.endswith("inv_freq") else v * 1.01 for n, v in state.items()}, path)
    return target
