"""The front end is exported, simplified and verified; each known fault of other implementations is caught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cosybuild.config.groups.component import ComponentName, ComponentSettings
from cosybuild.config.groups.export import Exporter
from cosybuild.config.groups.model import Family, ModelSettings
from cosybuild.errors import VerificationError
from cosybuild.models.cosyvoice.frontend import attention, conformer, frontend, lookahead
from cosybuild.models.resolve import resolve_subject
from cosybuild.request import Request
from tests.stages.building import Bench, artifact, graph_of, request

VARIANTS = [(1, False), (2, False), (2, True), (3, False)]

pytestmark = pytest.mark.arithmetic


def front_end_request(version: int, streaming: bool) -> Request:
    directory = Path(__file__).parents[1] / "data" / f"token2wav{version}_tiny"
    model, name = ModelSettings(streaming=streaming), ComponentName.frontend
    subject = resolve_subject(model, str(directory), False, name)
    return Request(replace(request(model, directory).settings, component=ComponentSettings(name)), subject)


@pytest.mark.parametrize(("version", "streaming"), VARIANTS)
def test_a_front_end_is_exported_simplified_and_verified(version: int, streaming: bool, tmp_path: Path) -> None:
    bench = Bench(front_end_request(version, streaming), tmp_path)
    exported = graph_of(bench.export())
    assert exported.path.name == f"flow.frontend{'.streaming' if streaming else ''}.fp32.onnx"
    verified = bench.verify(graph_of(bench.simplify(exported)), exported)
    assert not [facts for kind, facts in bench.events if kind == "warning"]
    properties = {finding["property"]: finding["holds"] for finding in verified.metrics["contract"]["properties"]}
    assert properties == dict.fromkeys(("interface", *(("norms",) if version < 3 else ()), "axes"), True)
    assert verified.metrics["solver"] == []


@pytest.mark.full_size
@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_full_size_one_is_exported_and_verified(version: int, tmp_path: Path) -> None:
    model, name = ModelSettings(family=Family(f"cosyvoice{version}")), ComponentName.frontend
    settings = replace(request(model).settings, component=ComponentSettings(name))
    bench = Bench(Request(settings, resolve_subject(model, None, False, name)), tmp_path)
    exported = graph_of(bench.export())
    verified = bench.verify(graph_of(bench.simplify(exported)), exported)
    assert verified.metrics["cases"] > 5


SMALL = {"vocab_size": 40, "input_size": 16, "spk_embed_dim": 8, "output_size": 16}
LAYERS = {"encoder_size": 16, "attention_heads": 2, "linear_units": 16, "num_blocks": 1}
OTHERS: dict[int, dict[str, Any]] = {1: {**SMALL, **LAYERS}, 2: {**SMALL, **LAYERS, "up_blocks": 1}, 3: SMALL}

WRITTEN = [
    (1, Exporter.torchscript, 17),
    (2, Exporter.torchscript, 20),
    (2, Exporter.torchscript, 23),
    (3, Exporter.torchscript, 17),
    (1, Exporter.dynamo, 18),
    (2, Exporter.dynamo, 23),
    (3, Exporter.dynamo, 20),
]


@pytest.mark.parametrize(("version", "exporter", "opset"), WRITTEN)
def test_both_exporters_write_one_graph_for_all_lengths(
    version: int, exporter: Exporter, opset: int, tmp_path: Path
) -> None:
    name, family = ComponentName.frontend, Family(f"cosyvoice{version}")
    model = ModelSettings(family=family, hyperparameters=OTHERS[version], streaming=version == 2)
    settings = replace(
        request(ModelSettings(family=family), exporter=exporter, opset=opset).settings,
        model=model,
        component=ComponentSettings(name),
    )
    bench = Bench(Request(settings, resolve_subject(model, None, False, name)), tmp_path)
    verified = bench.verify(graph_of(bench.export()))
    assert verified.metrics["cases"] > 10
    assert not [facts for kind, facts in bench.events if kind == "warning"]


Plant = Callable[[pytest.MonkeyPatch], None]


def _shift(patch: pytest.MonkeyPatch) -> None:
    """Shift the scores, so that each stands beside its key."""
    right = attention.relative_shift
    patch.setattr(attention, "relative_shift", lambda scores, _=None: torch.roll(right(scores), 1, dims=3))


def _no_look_ahead(patch: pytest.MonkeyPatch) -> None:
    """Set the look-ahead tokens to zero in every call."""
    right = lookahead.LookAhead.forward

    def forward(self: lookahead.LookAhead, x: Tensor, count: int, _: object = None) -> Tensor:
        return right(self, torch.cat((x[:, :count], torch.zeros_like(x[:, count:])), dim=1), count)

    patch.setattr(lookahead.LookAhead, "forward", forward)


def _epsilon(patch: pytest.MonkeyPatch) -> None:
    """Give the layers torch's default epsilon."""
    patch.setattr(conformer, "LAYER_EPSILON", 1e-5)


def _stretched(patch: pytest.MonkeyPatch) -> None:
    """Stretch the prompt's mel to the number of frames, as if it had another hop."""
    right = frontend.FrontEnd.conditions

    def conditions(self: frontend.FrontEnd, hidden: Tensor, feat: Tensor, embedding: Tensor) -> frontend.Conditions:
        feat = torch.cat((feat, feat[:, :1], feat[:, :1]), dim=1)
        coarse = feat[:, ::2].transpose(1, 2)
        stretched = interpolate(coarse, scale_factor=2.0, mode="linear").transpose(1, 2)
        return right(self, hidden, stretched[:, : feat.shape[1] - 2], embedding)

    patch.setattr(frontend.FrontEnd, "conditions", conditions)


FAULTS: dict[str, tuple[Plant, int, str]] = {
    "relative shift off by one": (_shift, 1, r"Case tokens=.* mu"),
    "relative shift off by one, streaming": (_shift, 2, r"Case tokens=.* mu"),
    "look-ahead dropped, version 2": (_no_look_ahead, 2, r"Case tokens=.*lookahead=[123].* mu"),
    "look-ahead dropped, version 3": (_no_look_ahead, 3, r"Case tokens=.*lookahead=[123].* mu"),
    "epsilon 1e-5 for 1e-12": (
        _epsilon,
        2,
        r"property norms .*15 have epsilon 1e-05, 3 are expected; 0 have epsilon 1e-12",
    ),
    "stretched prompt mel": (_stretched, 3, r"Case tokens=.* cond"),
}
"""Fault -> the function that plants it, the version, and the gate that catches it."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_code_of_a_front_end_is_caught_by_its_gate(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant, version, gate = FAULTS[fault]
    bench = Bench(front_end_request(version, "streaming" in fault), tmp_path)
    reference = artifact("reference", bench.reference().outputs["reference"])
    with monkeypatch.context() as patch:
        plant(patch)
        graph = graph_of(bench.export())
    with pytest.raises(VerificationError, match=gate):
        bench.verify(graph, reference=reference)
