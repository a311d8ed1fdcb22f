"""The vocoders compared with upstream's recorded f0, source and waveform."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from cosybuild.models.cosyvoice.vocoder.hift import with_wide_f0
from cosybuild.numerics.metrics import snr_db
from tests.exact import exact_beside
from tests.models.cosyvoice.vocoder.vocoders import VERSIONS, call, golden, golden_draws, tiny

pytestmark = pytest.mark.arithmetic

F0_DB = 100.0
SOURCE_DB = 90.0
WAVEFORM_DB = 90.0


def ratio(actual: Tensor, recorded: Tensor) -> float:
    assert actual.shape == recorded.shape
    return snr_db(actual.numpy(), recorded.numpy())


@pytest.mark.parametrize("version", VERSIONS)
def test_f0_equals_the_golden_values(version: int) -> None:
    data = golden(version)
    exact = tiny(version, torch.float64).f0_predictor(data["vmel"].double())
    narrow = tiny(version).f0_predictor(data["vmel"])
    assert ratio(exact[:, 0], data["f0"]) >= F0_DB
    assert ratio(narrow[:, 0], data["f0"]) >= F0_DB


def test_version_3_computes_f0_in_float64_where_it_is_requested() -> None:
    data = golden(3)
    exact = tiny(3, torch.float64).f0_predictor(data["vmel"].double()).numpy()
    wide = with_wide_f0(tiny(3)).f0_predictor(data["vmel"])
    assert wide.dtype == torch.float32
    # The remaining errors are the rounding of the weights to float32 after folding, and the last rounding.
    narrow = tiny(3).f0_predictor(data["vmel"]).numpy()
    assert snr_db(wide.numpy(), exact) > snr_db(narrow, exact) + 6


@pytest.mark.parametrize("version", VERSIONS)
def test_the_source_signal_equals_the_golden_values(version: int) -> None:
    data = golden(version)
    for dtype in (torch.float64, torch.float32):
        f0, draws = data["f0"].unsqueeze(1).to(dtype), golden_draws(version, dtype)
        source, *_ = tiny(version, dtype).m_source(f0, *draws.values())
        assert ratio(source, data["source"]) >= SOURCE_DB


@pytest.mark.parametrize("version", VERSIONS)
def test_the_waveform_equals_the_golden_values(version: int) -> None:
    data = golden(version)
    exact = tiny(version, torch.float64).decode(data["vmel"].double(), data["source"].double())
    assert ratio(exact, data["wav64"]) >= 140, "the same function in float64, but for its float32 weights"
    waveform = tiny(version).decode(data["vmel"], data["source"])
    assert ratio(waveform, data["wav64"]) >= WAVEFORM_DB
    exact_beside(data["wav64"].double().numpy(), waveform).check(exact.float(), "the float64 waveform, rounded")


@pytest.mark.parametrize("version", VERSIONS)
def test_one_call_gives_the_results_of_all_parts(version: int) -> None:
    data = golden(version)
    whole = tiny(version, torch.float64)
    found, f0, phase, offset = call(whole, {"mel": data["vmel"], **golden_draws(version)}, torch.float64)
    draws = golden_draws(version, torch.float64)
    source, *state = whole.m_source(whole.f0_predictor(data["vmel"].double()), *draws.values())
    assert torch.equal(found, whole.decode(data["vmel"].double(), source))
    assert torch.equal(f0, whole.f0_predictor(data["vmel"].double())[:, 0])
    assert torch.equal(phase, state[0])
    assert offset.tolist() == [data["wav64"].shape[1]]
    # Upstream's f0 and phases are float32, and the tiny weights amplify their rounding.
    assert ratio(found, data["wav64"]) >= 70


def test_an_earlier_call_equals_the_beginning_of_the_last() -> None:
    """Version 3 returns eight frames less before the last call."""
    data, module = golden(3), tiny(3, torch.float64)
    draws = golden_draws(3, torch.float64)
    source, *_ = module.m_source(data["f0"].unsqueeze(1).double(), *draws.values())
    recorded = data["source_more"]
    held_back = 3 * module.values.samples_per_frame
    assert recorded.shape[2] == source.shape[2] - held_back
    assert snr_db(source[:, :, :-held_back].numpy(), recorded.numpy()) >= SOURCE_DB
    samples = data["wav_more32"].shape[1]
    assert samples == (data["vmel"].shape[2] - 8) * module.values.samples_per_frame
    for dtype in (torch.float64, torch.float32):
        waveform = tiny(3, dtype).decode(data["vmel"].to(dtype), data["source"].to(dtype))
        assert ratio(waveform[:, :samples], data["wav_more32"]) >= WAVEFORM_DB
    assert not np.allclose(waveform[:, samples:].numpy(), 0)
