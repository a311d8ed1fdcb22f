"""A module of a user with ingredients of every kind, for tests of traces."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cosybuild.config.groups.export import ExportSettings
from cosybuild.config.groups.model import Family, ModelSettings, TensorSettings
from cosybuild.config.settings import Settings
from cosybuild.models.resolve import resolve_subject
from cosybuild.models.user_module.trace import Trace
from cosybuild.request import Request
from cosybuild.run.module_code import known_code, with_code
from cosybuild.store.store import Store

SOURCES = {
    "net.py": """
import os, pathlib
import contextlib, safetensors, torch
from pkg import Block
try:
    import extra_speed
except ImportError:
    extra_speed = None
class Net(torch.nn.Module):
    def __init__(self, width, table, native):
        super().__init__()
        self.block = Block(width)
        self.k = float(open("data/table.txt").read()) + float(pathlib.Path(table).read_text())
        self.k += len(os.listdir("data/parts"))
        with contextlib.suppress(Exception):
            safetensors.safe_open(filename="elsewhere/tensors.txt", framework="pt")
        try:
            self.k += float(open("data/tuned.txt").read())
        except FileNotFoundError:
            pass
    def forward(self, x):
        import lazily
        return self.block(x) * self.k * lazily.K
""",
    "pkg/__init__.py": "from pkg.block import Block\n",
    "pkg/block.py": """
import torch, acme
class Block(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.c = torch.nn.Conv1d(width, width, acme.SIZE, padding=acme.SIZE // 2)
    def forward(self, x):
        return self.c(x)
""",
    "lazily.py": "K = 2.0\n",
    "data/table.txt": "3.0\n",
    "data/parts/a": "",
    "site-packages/acme/__init__.py": "SIZE = 3\n",
    "site-packages/acme-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n",
    "site-packages/acme-1.0.dist-info/RECORD": "acme/__init__.py,sha256=x,9\nacme-1.0.dist-info/METADATA,,\n",
    "elsewhere/scale.txt": "1.0\n",
    "elsewhere/other.txt": "2.0\n",
    "elsewhere/native.bin": "opened by nobody",
    "elsewhere/tensors.txt": "in place of tensors",
}


def write_sources(place: Path) -> None:
    for name, text in SOURCES.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    (place / "scale").symlink_to("elsewhere/scale.txt")


def request_of(target: object) -> Request:
    tensors = (TensorSettings(name="x", shape=(1, 4, "frames")),)
    outputs = (TensorSettings(name="y", shape=(1, 4, "frames")),)
    model = ModelSettings(family=Family.module, target=target, inputs=tensors, outputs=outputs)
    return Request(Settings(model=model, export=ExportSettings()), resolve_subject(model, None, False))


NET = {"_target_": "net.Net", "width": 4, "table": "scale", "native": "elsewhere/native.bin"}


INSTALLED = {"_target_": "torch.nn.Conv1d", "in_channels": 4, "out_channels": 4, "kernel_size": 3, "padding": "same"}


def code_of(target: object, store: Store, told: list[str] | None = None) -> Trace:
    told = [] if told is None else told
    trace = with_code(request_of(target), store, told.append, remember=True).subject.code
    assert trace is not None
    return trace


def enter(place: Path, patch: pytest.MonkeyPatch) -> None:
    patch.chdir(place)
    patch.syspath_prepend(str(place / "site-packages"))
    patch.syspath_prepend(str(place))


class Net:
    """A copy of the directory that a test may change, and its trace."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.store = Store(place / "store")

    def known(self) -> Trace | None:
        return known_code(request_of(NET), self.store)

    def write(self, name: str, text: str) -> None:
        """Write a file and restore its time."""
        path = self.place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        times = path.stat() if path.exists() else None
        path.write_text(text)
        if times is not None:
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
