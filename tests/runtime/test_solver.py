"""The loaded module in upstream's solver, against what upstream's code computed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cosybuild.models.load import load_estimator as load_module
from cosybuild.runtime import load_estimator
from tests.models.fixtures import full_size_subject
from tests.runtime.tiny import golden, module, solve_as_upstream
from tests.scenarios.commands import Place

GATE = {"rtol": 1e-4, "atol": 1e-5}
# Ten evaluations, each within GATE, whose errors add up; guidance weighs them with 1.7 and 0.7.
SOLVER_GATE = {"rtol": 1e-3, "atol": 1e-4}


@pytest.mark.parametrize("version", [1, 2, 3])
def test_ten_guided_steps_give_the_golden_mel(graphs: dict[str, Path], version: int) -> None:
    data = golden(version)
    noise, mu, spks, cond = (torch.from_numpy(data[f"euler/{name}"]) for name in ("z", "mu", "spks", "cond"))
    mel = solve_as_upstream(load_estimator(graphs[f"cosyvoice{version}"]), noise, mu, spks, cond)
    torch.testing.assert_close(mel, torch.from_numpy(data["euler/mel"]), **SOLVER_GATE)


def test_it_takes_the_place_of_the_estimator_in_a_module(graphs: dict[str, Path]) -> None:
    decoder = torch.nn.Module()
    decoder.estimator = module(2)
    decoder.estimator = load_estimator(graphs["cosyvoice2"])
    assert isinstance(decoder.estimator, torch.nn.Module)
    data = golden(2)
    given = [torch.from_numpy(data[f"T37/{name}"]) for name in ("x", "mask", "mu", "t", "spks", "cond")]
    result = decoder.eval().half().estimator(*given, streaming=False)
    torch.testing.assert_close(result, torch.from_numpy(data["T37/full"]), **GATE)


@pytest.mark.parametrize("variant", ["full", "streaming"])
def test_each_variant_gives_upstreams_values(graphs: dict[str, Path], variant: str) -> None:
    data, is_streaming = golden(2), variant == "streaming"
    loaded = load_estimator(graphs["streaming" if is_streaming else "cosyvoice2"])
    given = [torch.from_numpy(data[f"T123/{name}"]) for name in ("x", "mask", "mu", "t", "spks", "cond")]
    result = loaded(*given, streaming=is_streaming)
    torch.testing.assert_close(result, torch.from_numpy(data[f"T123/{variant}"]), **GATE)


@pytest.mark.full_size
@pytest.mark.timeout(1800)
def test_what_a_command_builds_in_full_size_solves_as_its_module_does(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.cosybuild("model=cosyvoice2", "verify=upstream", "trt=none")
    (graph,) = place.runs()[0].glob("artifacts/*.onnx")
    random = torch.Generator().manual_seed(0)
    noise, mu, cond = (torch.randn(1, 80, 64, generator=random) for _ in range(3))
    given = (noise, mu, torch.randn(1, 80, generator=random), cond)
    expected = solve_as_upstream(load_module(full_size_subject(2), None), *given)
    torch.testing.assert_close(solve_as_upstream(load_estimator(graph), *given), expected, **SOLVER_GATE)
