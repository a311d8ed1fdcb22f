"""The encoders as TorchScript: loaded again, called as upstream calls them, and equal to the module."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from cosybuild.models.components.registry import script_of
from cosybuild.models.cosyvoice.frontend.torchscript import Call
from cosybuild.models.load import load_network
from tests.models.frontends import front_end_subject


@cache
def calls(version: int) -> list[Call]:
    subject = front_end_subject(version)
    script = script_of(subject.component, subject.family)
    assert script is not None
    return list(script.calls(load_network(subject, subject.weights), subject.variant, 0))


def loaded(version: int, half: bool, tmp_path: Path) -> torch.jit.ScriptModule:
    subject = front_end_subject(version)
    script = script_of(subject.component, subject.family)
    assert script is not None
    path = tmp_path / "flow.encoder.zip"
    script.make(load_network(subject, subject.weights), subject.variant, half).save(str(path))
    module: torch.jit.ScriptModule = torch.jit.load(str(path))
    return module


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("half", "least"), [(False, 94.0), (True, 34.0)])
def test_the_loaded_file_computes_what_the_module_computes(
    version: int, half: bool, least: float, tmp_path: Path
) -> None:
    module = loaded(version, half, tmp_path)
    assert len(calls(version)) == (3 if version == 1 else 12)
    for call in calls(version):
        assert call.snr_db(module, half) > least, call.name


@pytest.mark.parametrize("version", [1, 2])
def test_the_file_keeps_no_device(version: int, tmp_path: Path) -> None:
    """A trace would keep the CPU on which it was made, and upstream moves the file to a GPU."""
    graph = str(loaded(version, False, tmp_path).inlined_graph)
    assert "aten::arange" in graph
    assert 'value="cpu"' not in graph


def test_a_lost_look_ahead_and_a_lost_mask_are_noticed(tmp_path: Path) -> None:
    module = loaded(2, False, tmp_path)
    more = next(call for call in calls(2) if "not the last call" in call.name)
    without = {name: value for name, value in more.options.items() if name != "context"}
    assert replace(more, options=without).snr_db(module, False) < 60
    streamed = next(call for call in calls(2) if call.name.startswith("26 tokens, streaming=True"))
    assert replace(streamed, options={"streaming": False}).snr_db(module, False) < 60
    shorter = (streamed.inputs[0], streamed.inputs[1] - 1)
    assert replace(streamed, inputs=shorter).snr_db(module, False) == -torch.inf, "its mask hides a frame"


def test_version_3_has_no_encoder() -> None:
    subject = front_end_subject(3)
    assert script_of(subject.component, subject.family) is None
