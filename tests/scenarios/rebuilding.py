"""A model directory and a store with all results of one build; a test changes one thing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cosybuild.building.events import Event
from cosybuild.building.plan import Plan, make_plan
from cosybuild.config.groups.store import StoreSettings
from cosybuild.lazy import is_installed
from cosybuild.run.execute import Invocation, run_build
from cosybuild.run.prepare import request_from_settings, sources_of
from cosybuild.stages.pipeline import stages_for
from cosybuild.store.store import Store
from cosybuild.system.environment import Environment
from tests.config.composing import settings_of

DATA = Path(__file__).parents[1] / "data"
# Tensors of the second middle block, and of the second transformer block of each block.
_SECOND = re.compile(r"\.estimator\.(mid_blocks\.1\.|\w+_blocks\.\d+\.1\.1\.)")
WITH_ENGINE = is_installed("tensorrt_rtx")
ENGINE = "engine sm_89"
WORDS = (
    "trt_profile.profiles=[{seq_len: {min: 4, opt: 8, max: 12}}]",
    "precision=fp16",
    *(["trt=fp16", "trt.backend=tensorrt_rtx", "trt.sm=[89]"] if WITH_ENGINE else ["trt=none"]),
)
"""Settings of a small build that has every stage."""


@dataclass(frozen=True)
class Project:
    """A directory with `model/` and `store/`; runs are written to `run/`."""

    directory: Path

    @property
    def model(self) -> Path:
        return self.directory / "model"

    @property
    def yaml(self) -> Path:
        return self.model / "cosyvoice2.yaml"

    @property
    def weights(self) -> Path:
        return self.model / "flow.pt"

    @property
    def run(self) -> Path:
        return self.directory / "run"

    def words(self, *more: str, without: Sequence[str] = ()) -> list[str]:
        """Return the command line of the build, changed by `more`, without the words for `without`."""
        chosen = {word.partition("=")[0]: word for word in (*self._always(), *more)}
        return [word for name, word in chosen.items() if name not in without]

    def _always(self) -> Sequence[str]:
        return (f"model_dir={self.model}", f"store.path={self.directory / 'store'}", *WORDS)

    def plan(self, *more: str, environment: Environment | None = None, without: Sequence[str] = ()) -> Plan:
        """Return the plan's verdicts on a build with `more` and without the words for `without`."""
        settings = settings_of(*self.words(*more, without=without))
        request = request_from_settings(settings)
        assert isinstance(settings.store, StoreSettings)
        store = Store(Path(settings.store.path), verify=settings.store.verify, warn=lambda message: None)
        environment = environment or Environment()
        return make_plan(stages_for(request), request, sources_of(request, store), environment, store)

    def build(self, *more: str, without: Sequence[str] = ()) -> dict[str, Any]:
        """Run the build, which must succeed, and return its report."""
        request = request_from_settings(settings_of(*self.words(*more, without=without)))
        report = run_build(request, Invocation(more, self.run), _ignore)
        assert report["failure"] is None, report["failure"]
        return report

    def copy(self, directory: Path) -> Project:
        """Return a copy of this project."""
        shutil.copytree(self.directory, directory, dirs_exist_ok=True)
        return Project(directory)

    def edit_yaml(self, old: str, new: str) -> None:
        text = self.yaml.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {self.yaml}"
        self.yaml.write_text(text.replace(old, new), encoding="utf-8")


def make_small_model(directory: Path) -> Path:
    """Make a model directory like `cosyvoice2_tiny`, with one block of each kind instead of two."""
    directory.mkdir()
    text = (DATA / "cosyvoice2_tiny" / "cosyvoice2.yaml").read_text(encoding="utf-8")
    for name in (" n_blocks", " num_mid_blocks"):
        assert f"{name}: 2" in text
        text = text.replace(f"{name}: 2", f"{name}: 1")
    (directory / "cosyvoice2.yaml").write_text(text, encoding="utf-8")
    state = torch.load(DATA / "cosyvoice2_tiny" / "flow.pt", weights_only=True)
    kept = {name: value for name, value in state.items() if not _SECOND.search(name)}
    torch.save(kept, directory / "flow.pt")
    return directory


def _ignore(event: Event) -> None:
    """Print nothing on the console."""


def prepared(directory: Path) -> Project:
    """Return a project in which everything is built."""
    make_small_model(directory / "model")
    project = Project(directory)
    report = project.build()
    assert {step["action"] for step in report["steps"]} == {"built"}
    return project


def flip(path: Path, at: int = -1) -> None:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.chmod(0o644)
    path.write_bytes(data)
