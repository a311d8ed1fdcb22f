"""Targets in installed packages that import more than their requirements."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosybuild.models.user_module.installed import requirements_of
from cosybuild.run.module_code import known_code
from cosybuild.store.store import Store
from tests.models.user_module.tracing import code_of, enter, request_of

TARGET = {"_target_": "plugkit.Gate", "width": 4}

BODY = """
import torch
try:
    from fastkit import SCALE
except ImportError:
    SCALE = 1.0
try:
    from plug_settings import BIAS
except ImportError:
    BIAS = 0.0
class Gate(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.c = torch.nn.Conv1d(width, width, 1)
    def forward(self, x):
        return SCALE * self.c(x) + BIAS
"""


def install(place: Path, name: str, version: str, body: str = "", requires: str = "") -> None:
    """Install a distribution of one module; its other versions are removed."""
    site = place / "site-packages"
    (site / name).mkdir(parents=True, exist_ok=True)
    (site / name / "__init__.py").write_text(body)
    for old in site.glob(f"{name}-*.dist-info"):
        old.rename(place / f"removed {old.name}")
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}")
    (info / "RECORD").write_text(f"{name}/__init__.py,sha256={version},1\n")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory with the packages plugkit and fastkit, and a module of the user that plugkit reads."""
    extra = "Provides-Extra: fast\nRequires-Dist: fastkit; extra == 'fast'\nRequires-Dist: lost; extra == 'fast'\n"
    install(tmp_path, "plugkit", "1.0", BODY, f"Requires-Dist: torch\n{extra}")
    install(tmp_path, "fastkit", "1.0", "SCALE = 2.0", "Provides-Extra: more\nRequires-Dist: onnx; extra == 'more'\n")
    (tmp_path / "plug_settings.py").write_text("BIAS = 0.5")
    enter(tmp_path, monkeypatch)
    return tmp_path


def test_a_changed_extra_or_local_module_is_detected(place: Path) -> None:
    store = Store(place / "store")
    trace = code_of(TARGET, store)
    assert {"plugkit", "fastkit", "torch", "sympy"} <= set(trace.packages)
    assert trace.sources.keys() == {"plug_settings"}
    assert known_code(request_of(TARGET), store) == trace
    (place / "plug_settings.py").write_text("BIAS = 99.0")
    assert known_code(request_of(TARGET), store) is None
    (place / "plug_settings.py").write_text("BIAS = 0.5")
    assert known_code(request_of(TARGET), store) == trace
    install(place, "fastkit", "2.0", "SCALE = 2.0")
    assert known_code(request_of(TARGET), store) is None


def test_the_installed_extras_of_a_distribution_are_requirements_and_those_of_its_requirements_are_not(
    place: Path,
) -> None:
    found = requirements_of("plugkit")
    assert {"plugkit", "fastkit", "torch"} <= set(found)
    assert "lost" not in found
    assert "onnx" not in found
