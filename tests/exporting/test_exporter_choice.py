"""Modules whose graph the dynamo exporter writes, because that of the torchscript exporter is missing or wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cosybuild.config.groups.export import Exporter, ExportSettings
from cosybuild.errors import ExportError
from cosybuild.exporting.exporter_choice import export_by_either
from cosybuild.models.shape_profile import SizeRange
from cosybuild.models.spec import ModelSpec, TensorSpec

SPEC = ModelSpec((TensorSpec("x", ("n", 4)),), (TensorSpec("y", ("n", 4)),))
PROFILE = {"n": SizeRange(2, 8, 16)}


class Plain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2


class Lacking(nn.Module):
    """Calls an operator for which the torchscript exporter has no ONNX operator."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.diff(x, dim=1, prepend=x[:, :1])


class Frozen(nn.Module):
    """Computes a size as a Python number, which the trace keeps as a constant."""

    def forward(self, x: Tensor) -> Tensor:
        return x + float(x.shape[0])


class FrozenDivisor(nn.Module):
    """Divides by a Python number that is zero at the size of the trace, so that the traced graph gives infinity."""

    def forward(self, x: Tensor) -> Tensor:
        return x.abs() / float(x.shape[0] - 23)


class Impossible(nn.Module):
    """Branches on a value, which neither exporter can write, after an operator that only one of them has."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.diff(x, dim=1, prepend=x[:, :1])
        return y if y.sum() > 0 else -y


def exported(module: nn.Module, place: Path) -> tuple[Exporter, tuple[str, ...]]:
    found = export_by_either(module.eval(), SPEC, ExportSettings(), {"n": 23}, [PROFILE], place)
    return found.exporter, found.remarks


def test_the_first_exporter_writes_what_it_can(tmp_path: Path) -> None:
    assert exported(Plain(), tmp_path) == (Exporter.torchscript, ())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Lacking(), "cannot export Lacking"),
        (Frozen(), "computes y wrongly with n 2"),
        (FrozenDivisor(), "computes y wrongly with n 2"),
    ],
    ids=["operator", "size", "infinite"],
)
def test_the_other_exporter_writes_the_rest(module: nn.Module, said: str, tmp_path: Path) -> None:
    exporter, (remark,) = exported(module, tmp_path)
    assert exporter is Exporter.dynamo
    assert said in remark
    assert remark.endswith("; the dynamo exporter wrote the graph")


def test_the_first_error_stands_if_both_fail(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="torchscript exporter cannot export Impossible"):
        exported(Impossible(), tmp_path)
