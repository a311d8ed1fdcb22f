"""A model of the user with a fault that only half precision shows, for scenarios."""

from __future__ import annotations

from pathlib import Path

from tests.importing import importing
from tests.scenarios.commands import Place

MODULE = '''"""Linear layers; what the middle one gives is far beyond half precision, and is brought back."""

import os

import torch


class Net(torch.nn.Module):
    def __init__(self, factor=1.0, restless=False, exported_off=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.ModuleList(torch.nn.Linear(16, 16) for _ in range(4))
        self.factor = factor
        self.exported_off = exported_off
        # No parameter or buffer: a different one would end the build before its steps are repeated.
        self.shift = int.from_bytes(os.urandom(4), "big") * 1e-15 if restless else None

    def forward(self, x):
        if self.shift is not None:
            x = x + self.shift
        for index, layer in enumerate(self.layers):
            y = layer(x)
            if index == 2:
                y = y * self.factor / self.factor
            x = torch.tanh(y) * 3
        return x * (1 + self.exported_off) if torch.onnx.is_in_onnx_export() else x
'''


def words(factor: float, *, restless: bool = False, exported_off: float = 0.0) -> tuple[str, ...]:
    """Return the command that builds the planted model with rules for phases only.

    Args:
        exported_off: relative error of the exported graph, on every processor.
    """
    arguments = f"factor: {factor}, restless: {str(restless).lower()}, exported_off: {exported_off}"
    return (
        "model=module",
        f"model.target={{_target_: planted.Net, {arguments}}}",
        "model.inputs=[{name: x, shape: [1, frames, 16]}]",
        "model.outputs=[{name: y, shape: [1, frames, 16]}]",
        "trt_profile.profiles=[{frames: {min: 4, opt: 8, max: 16}}]",
        "trt=none",
        "precision.data_max=1e30",
        "precision.init_min=0",
    )


OVERFLOWING = words(3e4)
SOUND = words(2.0)


class Workshop(Place):
    """A working directory with the module."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        (directory / "planted.py").write_text(MODULE, encoding="utf-8")

    @property
    def env(self) -> dict[str, str]:
        return importing(self.directory)
