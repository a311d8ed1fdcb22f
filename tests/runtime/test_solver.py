"""The loaded module in upstream's solver, compared with upstream's results."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cosybuild.models.load import load_network as load_module
from cosybuild.runtime import load_estimator
from tests.exact import exact_beside
from tests.models.fixtures import full_size_subject
from tests.runtime.tiny import golden_call, golden_run, module, solve_as_upstream
from tests.scenarios.commands import Place

pytestmark = pytest.mark.arithmetic


@pytest.mark.parametrize("version", [1, 2, 3])
def test_ten_steps_with_guidance_give_the_golden_mel(graphs: dict[str, Path], version: int) -> None:
    given, expected = golden_run(version)
    expected.check(solve_as_upstream(load_estimator(graphs[f"cosyvoice{version}"]), *given))


def test_the_loaded_estimator_can_replace_the_estimator_of_a_module(graphs: dict[str, Path]) -> None:
    decoder = torch.nn.Module()
    decoder.estimator = module(2)
    decoder.estimator = load_estimator(graphs["cosyvoice2"])
    assert isinstance(decoder.estimator, torch.nn.Module)
    given, expected = golden_call(2, 37)
    expected.check(decoder.eval().half().estimator(*given, streaming=False))


@pytest.mark.parametrize("variant", ["full", "streaming"])
def test_each_variant_gives_the_values_of_upstream(graphs: dict[str, Path], variant: str) -> None:
    is_streaming = variant == "streaming"
    loaded = load_estimator(graphs["streaming" if is_streaming else "cosyvoice2"])
    given, expected = golden_call(2, 123, variant)
    expected.check(loaded(*given, streaming=is_streaming))


@pytest.mark.full_size
@pytest.mark.timeout(1800)
def test_a_full_size_estimator_solves_like_its_module(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.cosybuild("model=cosyvoice2", "verify=upstream", "trt=none")
    (graph,) = place.runs()[0].glob("artifacts/*.onnx")
    random = torch.Generator().manual_seed(0)
    noise, mu, cond = (torch.randn(1, 80, 64, generator=random) for _ in range(3))
    given = (noise, mu, torch.randn(1, 80, generator=random), cond)
    estimator = load_module(full_size_subject(2), None)
    own = solve_as_upstream(estimator, *given)
    values = solve_as_upstream(estimator.double(), *(tensor.double() for tensor in given))
    exact_beside(values.numpy(), own).check(solve_as_upstream(load_estimator(graph), *given))
