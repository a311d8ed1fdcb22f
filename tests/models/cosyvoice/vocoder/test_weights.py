"""Keys and weights of vocoders: upstream's names, weight norm in both spellings, prefixes, random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from cosybuild.errors import CheckpointError
from cosybuild.models.cosyvoice.vocoder.f0_predictor import F0Predictor
from cosybuild.models.cosyvoice.vocoder.hift import Hift
from cosybuild.models.cosyvoice.vocoder.load import load_vocoder
from cosybuild.models.cosyvoice.vocoder.weight_norm import stored_tensors
from cosybuild.models.directory.vocoder import read_vocoder
from tests.models.cosyvoice.vocoder.vocoders import VERSIONS, call, contract, directory, draw, like, published, tiny

PARAMETERS = {1: 20_460_591, 2: 20_821_295, 3: 20_779_887}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_state_dict_has_the_published_names_and_shapes(version: int) -> None:
    with torch.device("meta"):
        module = Hift(published(version))
    stored = stored_tensors(module)
    assert {name: list(tensor.shape) for name, tensor in stored.items()} == contract(version)
    assert sum(tensor.numel() for tensor in stored.values()) == PARAMETERS[version]


def saved(version: int) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(directory(version) / "hift.pt", weights_only=True)
    return state


def older(name: str) -> str:
    for new, old in (("original0", "weight_g"), ("original1", "weight_v")):
        name = name.replace(f"parametrizations.weight.{new}", old)
    return name


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("prefix", ["", "generator.", "hift."])
def test_other_spellings_and_prefixes_give_the_same_weights(version: int, prefix: str, tmp_path: Path) -> None:
    state = {prefix + older(name): tensor for name, tensor in saved(version).items()}
    assert any(name.endswith(".weight_g") for name in state)
    torch.save(state, tmp_path / "hift.pt")
    found = load_vocoder(read_vocoder(directory(version)).parameters, tmp_path / "hift.pt").state_dict()
    expected = tiny(version).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(("kind", "arguments"), [(nn.Conv1d, (3, 5, 7)), (nn.ConvTranspose1d, (3, 5, 7))])
def test_folded_weights_equal_those_of_torch(kind: type[nn.Module], arguments: tuple[int, ...]) -> None:
    """Folding gives the result of torch's own parametrization in float64."""
    from cosybuild.models.cosyvoice.vocoder.convolution import NormedConvolution, NormedTransposedConvolution
    from cosybuild.models.cosyvoice.vocoder.weight_norm import fold

    normed = weight_norm(kind(*arguments)).double()
    ours = nn.ModuleDict(
        {
            "one": NormedConvolution(3, 5, 7, left=0, right=0)
            if kind is nn.Conv1d
            else NormedTransposedConvolution(3, 5, 7, 3)
        }
    )
    with torch.no_grad():
        normed.parametrizations.weight.original0.uniform_(0.5, 2)
    stored = {f"one.{name}": tensor.detach() for name, tensor in normed.state_dict().items()}
    folded = fold(ours, stored, torch.float64)
    assert torch.allclose(folded["one.weight"], normed.weight, rtol=1e-14, atol=0)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    state = saved(2)
    del state["conv_post.bias"]
    torch.save(state, tmp_path / "hift.pt")
    with pytest.raises(CheckpointError, match=r"1 missing:\n +conv_post\.bias"):
        load_vocoder(read_vocoder(directory(2)).parameters, tmp_path / "hift.pt")
    torch.save({"decoder.estimator.x": torch.ones(1)}, tmp_path / "flow.pt")
    with pytest.raises(CheckpointError, match=r"no weights of this model") as caught:
        load_vocoder(read_vocoder(directory(2)).parameters, tmp_path / "flow.pt")
    assert "vocoder (hift.pt)" in str(caught.value.hint)


def test_random_weights_follow_from_the_seed_and_do_not_change_the_generator_of_torch() -> None:
    parameters = like(published(2))
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, second = (load_vocoder(parameters, None, seed=1).state_dict() for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["conv_pre.weight"], load_vocoder(parameters, None).state_dict()["conv_pre.weight"])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.full_size
def test_random_full_size_weights_give_sensible_values(version: int) -> None:
    module = load_vocoder(published(version), None)
    inputs = draw(module.values, 100)
    assert isinstance(module.f0_predictor, F0Predictor)
    f0 = module.f0_predictor(inputs["mel"])
    assert 0.05 < (f0 > module.values.nsf_voiced_threshold).float().mean() <= 1
    assert 20 < f0.mean() < 800
    waveform = call(module, inputs)[0]
    assert waveform.shape == (1, 100 * module.values.samples_per_frame)
    assert 1e-3 < waveform.std() < 0.5
