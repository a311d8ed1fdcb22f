"""The small distribution: its wheel alone gives upstream's mels in a process without PyTorch and the build system."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from email import message_from_string
from pathlib import Path

import numpy as np
import pytest
import torch

import cosybuild
from tests.exact import exact_beside
from tests.runtime.voice.voices import VERSIONS, golden, golden_mel, module_voice

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "packaging/runtime"

PROGRAM = """
import sys

class Blocked:
    NAMES = "torch hydra omegaconf onnx onnxscript onnx_ir onnxsim scipy msgspec yaml rich fsspec safetensors".split()

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.NAMES:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
import numpy as np
import cosybuild
from cosybuild.errors import MissingRequirement
from cosybuild.runtime import load_voice

made = {"where": np.array(cosybuild.__file__)}
for version in (1, 2, 3):
    voice = load_voice(sys.argv[version], threads=1)
    given = dict(np.load(sys.argv[4] + f"/{version}.npz"))
    prompt = given["prompt_token"], given["prompt_feat"], given["embedding"]
    for streaming in (False, True)[: 1 if version == 1 else 2]:
        name = f"{version}/{'streaming' if streaming else 'full'}"
        mel = voice.mel(given["token"], *prompt, noise=given["z"], streaming=streaming)
        made[name] = mel
        made[name + "/waveform"] = voice.vocode(mel, noise=3)
    if version > 1:
        made[f"{version}/joined"] = np.concatenate(list(voice.stream(given["token"][0], *prompt, chunk=1)))
        made[f"{version}/whole"] = voice(given["token"], *prompt, streaming=True)
try:
    from cosybuild.runtime import load_estimator
except MissingRequirement as error:
    made["refusal"] = np.array(str(error))
np.savez(sys.argv[4] + "/made.npz", **made)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and return it."""
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    subprocess.run(command, cwd=SOURCE, check=True, capture_output=True)
    return next(directory.glob("cosybuild_runtime-*.whl"))


@pytest.mark.arithmetic
def test_the_wheel_alone_gives_upstreams_mels(wheel: Path, tmp_path: Path, services: Callable[[int], Path]) -> None:
    unpacked = tmp_path / "unpacked"
    zipfile.ZipFile(wheel).extractall(unpacked)
    for version in VERSIONS:
        np.savez(tmp_path / f"{version}.npz", **{k: v for k, v in golden(version).items() if "/" not in k})
    words = [*(str(services(version)) for version in VERSIONS), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    command = [sys.executable, "-c", PROGRAM, *words]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = dict(np.load(tmp_path / "made.npz"))
    assert str(made["where"]) == str(unpacked / "cosybuild/__init__.py")
    assert "cosybuild.runtime.load_estimator needs the Python package 'torch'" in str(made["refusal"])
    for version in VERSIONS:
        narrow, wide = module_voice(version, torch.float32), module_voice(version)
        for form in ("full", "streaming")[: 1 if version == 1 else 2]:
            mel = made[f"{version}/{form}"]
            exact_beside(golden(version)[form].astype(np.float64), golden_mel(narrow, version, form)).check(mel)
            waveform = exact_beside(wide.vocode(mel.astype(np.float64), noise=3), narrow.vocode(mel, noise=3))
            waveform.check(made[f"{version}/{form}/waveform"])
        if version > 1:
            assert made[f"{version}/joined"].shape == made[f"{version}/whole"].shape


def test_the_wheel_has_the_version_licence_and_requirements_of_cosybuild(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as files:
        names = files.namelist()
        metadata = message_from_string(files.read(next(n for n in names if n.endswith("METADATA"))).decode())
    assert metadata["Version"] == cosybuild.__version__
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if "__pycache__" in name or name.startswith("hydra_plugins")]
    needed = {re.split(r"[<>=]", line)[0] for line in metadata.get_all("Requires-Dist", [])}
    assert needed == {"numpy", "onnxruntime"}
    assert metadata.get_all("Provides-Extra") is None


def test_the_ranges_of_requirements_are_those_of_cosybuild() -> None:
    tomllib = pytest.importorskip("tomllib")  # since Python 3.11
    small, large = (
        tomllib.loads((directory / "pyproject.toml").read_text())["project"] for directory in (SOURCE, ROOT)
    )
    assert small["requires-python"] == large["requires-python"]
    ranges = {line.partition(";")[0] for line in large["dependencies"]}
    assert {line.partition(";")[0] for line in small["dependencies"]} <= ranges
