"""Streams: windows with the state of the stream give the waveform of the whole utterance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from cosybuild.models.cosyvoice.vocoder.context import context_frames
from cosybuild.models.cosyvoice.vocoder.hift import Hift
from cosybuild.models.cosyvoice.vocoder.parameters import VocoderParameters
from cosybuild.numerics.metrics import snr_db
from tests.exact import SAME_DB
from tests.models.cosyvoice.vocoder.vocoders import VERSIONS, call, draw, like, published, tiny

FRAMES = 100


def whole_and_streamed(
    module: Hift, hops: list[int], left: int, right: int, frames: int = FRAMES
) -> tuple[np.ndarray, np.ndarray]:
    """Return the waveform of one call, and that of calls for each hop with `left` and `right` frames of context."""
    inputs = {**draw(module.values, frames, noise=7001), "first": torch.tensor([0]), "end": torch.tensor([frames])}
    whole = call(module, inputs, torch.float64)[0]
    samples, parts, begin = module.values.samples_per_frame, [], 0
    state: dict[str, Tensor] = {name: inputs[name] for name in ("noise_offset", "phase")}
    for hop in hops:
        low, high = max(begin - left, 0), min(begin + hop + right, frames)
        first, end = begin - low, begin + hop - low
        window = {**inputs, "mel": inputs["mel"][:, :, low:high], **state}
        window |= {"first": torch.tensor([first]), "end": torch.tensor([end])}
        waveform, _, phase, offset = call(module, window, torch.float64)
        parts.append(waveform[:, first * samples : end * samples])
        state, begin = {"noise_offset": offset, "phase": phase}, begin + hop
    assert begin == frames
    return whole.numpy(), torch.cat(parts, dim=1).numpy()


HOPS = [1, 2, 42, 7, 30, 18]


@pytest.mark.parametrize("version", VERSIONS)
def test_windows_with_the_state_of_the_stream_give_the_whole(version: int) -> None:
    module = tiny(version, torch.float64)
    assert sum(HOPS) == FRAMES
    whole, streamed = whole_and_streamed(module, HOPS, *context_frames(module.values))
    assert streamed.shape == whole.shape
    assert snr_db(streamed, whole) >= SAME_DB


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("side", [0, 1])
def test_a_smaller_context_gives_a_wrong_result(version: int, side: int) -> None:
    """The outermost frames have almost no weight in versions 1 and 2, so two frames are removed there."""
    module = tiny(version, torch.float64)
    context = list(context_frames(module.values))
    context[side] -= 3
    assert snr_db(*reversed(whole_and_streamed(module, HOPS, *context))) < SAME_DB


OTHER: list[VocoderParameters] = [
    like(published(1), upsample_rates=[4, 6], upsample_kernel_sizes=[8, 10], n_fft=20, hop_len=5, nb_harmonics=3),
    like(
        published(2),
        upsample_rates=[6],
        upsample_kernel_sizes=[8],
        source_resblock_kernel_sizes=[5],
        source_resblock_dilation_sizes=[[1, 2]],
        resblock_kernel_sizes=[3, 5],
        resblock_dilation_sizes=[[1], [2, 1]],
        n_fft=12,
        hop_len=3,
        in_channels=20,
    ),
    like(
        published(3), upsample_rates=[3, 2, 2], upsample_kernel_sizes=[4, 5, 2], conv_pre_look_right=2, nb_harmonics=0
    ),
]


@pytest.mark.parametrize("parameters", OTHER, ids=["exact", "linear", "nearest"])
def test_vocoders_with_other_hyperparameters_are_computed_in_windows(parameters: VocoderParameters) -> None:
    from cosybuild.models.cosyvoice.vocoder.load import load_vocoder

    module = load_vocoder(parameters, None, dtype=torch.float64)
    whole, streamed = whole_and_streamed(module, HOPS, *context_frames(parameters))
    assert whole.shape == (1, FRAMES * parameters.samples_per_frame)
    assert np.isfinite(whole).all()
    assert whole.std() > 1e-4
    assert snr_db(streamed, whole) >= SAME_DB


def test_the_rows_of_a_short_table_of_noise_are_used_repeatedly() -> None:
    module = tiny(2, torch.float64)
    inputs = draw(module.values, 5, noise=333)
    size = 5 * module.values.samples_per_frame
    offset = int(inputs["noise_offset"]) - int(inputs["first"]) * module.values.samples_per_frame
    rows = torch.from_numpy((np.arange(size) + offset) % 333)
    long = {
        **inputs,
        "noise": inputs["noise"][:, rows],
        "noise_offset": inputs["first"] * module.values.samples_per_frame,
    }
    assert torch.equal(call(module, inputs, torch.float64)[0], call(module, long, torch.float64)[0])
