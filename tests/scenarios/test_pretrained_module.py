"""A module whose code reads its weights, as `from_pretrained` does, counts as trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.scenarios.commands import Place

CODE = """
from pathlib import Path
import torch
from safetensors.torch import load_file
from torch import nn


class Net(nn.Module):
    def __init__(self, size=4):
        super().__init__()
        self.layer = nn.Linear(size, 3)

    @classmethod
    def from_pretrained(cls, place):
        net = cls()
        (path,) = Path(place).glob("model.*")
        read = load_file if path.suffix == ".safetensors" else torch.load
        net.load_state_dict(read(str(path)))
        return net

    def forward(self, x):
        return self.layer(x)
"""
WORDS = (
    "model=module",
    "model.inputs=[{name: x, shape: [n, 4]}]",
    "model.outputs=[{name: y, shape: [n, 3]}]",
    "trt=none",
    "simplify=none",
    "deploy=bundle",
    "deploy.dir=service",
    "deploy.create=true",
)


@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
def test_a_pretrained_directory_is_deployed_and_random_weights_are_not(place: Place, suffix: str) -> None:
    (place.directory / "net.py").write_text(CODE, encoding="utf-8")
    refused = place.cosybuild(*WORDS, "model.target={_target_: net.Net}", code=10)
    assert "deploy=bundle is refused: net has random weights" in refused.err
    assert "give model.weights" in refused.err
    assert not (place.directory / "service").exists()
    (place.directory / "trained").mkdir()
    weights = {"layer.weight": torch.full((3, 4), 0.25), "layer.bias": torch.zeros(3)}
    path = place.directory / "trained" / f"model.{suffix}"
    (torch.save if suffix == "bin" else save_file)(weights, path)
    place.cosybuild(*WORDS, "model.target={_target_: net.Net.from_pretrained, place: trained}")
    report = max(place.runs(), key=lambda run: run.stat().st_mtime) / "report.md"
    assert f"model.{suffix} (read by the code)" in report.read_text(encoding="utf-8")
    assert list((place.directory / "service").glob("*.onnx"))


def test_a_table_that_the_code_reads_is_no_weights(place: Place) -> None:
    """Random weights beside a table, such as mel filters, are still random."""
    code = CODE.replace("super().__init__()", "super().__init__(); import numpy; numpy.load('filters.npz')", 1)
    assert code != CODE
    (place.directory / "net.py").write_text(code, encoding="utf-8")
    np.savez(place.directory / "filters.npz", mel=np.ones(3))
    refused = place.cosybuild(*WORDS, "model.target={_target_: net.Net}", code=10)
    assert "deploy=bundle is refused: net has random weights" in refused.err
