"""The front ends compared with upstream's values and key lists, and their properties for all weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cosybuild.models.cosyvoice.frontend.regulator import frames_of
from cosybuild.models.load import load_network
from tests.exact import check_same, exact_beside
from tests.models.fixtures import VERSIONS
from tests.models.frontends import (
    AHEAD,
    GOLDEN_DB,
    agreement,
    computed,
    contract,
    forms,
    front_end_subject,
    full_size_front_end,
    golden_inputs,
    tiny_front_end,
)

PARAMETERS = {1: 22_995_888, 2: 41_246_880, 3: 1_114_864}
"""The parameters of the flow models (104,874,752, 112,549,360 and 332,257,088) minus those of the estimators."""

pytestmark = pytest.mark.arithmetic


@pytest.mark.parametrize("version", VERSIONS)
def test_every_recorded_output_is_reproduced_in_float32_and_float64(version: int) -> None:
    found = list(forms(version))
    assert found == (["full"] if version == 1 else ["full", "full_more", "streaming", "streaming_more"])
    for form in found:
        streaming, inputs = form.startswith("streaming"), golden_inputs(version, form)
        wide = computed(tiny_front_end(version, streaming), inputs, torch.float64)
        narrow = computed(tiny_front_end(version, streaming), inputs)
        assert agreement(wide, version, form) >= GOLDEN_DB, form
        assert agreement(narrow, version, form) >= GOLDEN_DB, form


@pytest.mark.parametrize("version", VERSIONS)
def test_a_full_size_front_end_has_the_tensors_of_upstream(version: int) -> None:
    with torch.device("meta"):
        network = load_network(full_size_front_end(version), None)
    assert {name: list(tensor.shape) for name, tensor in network.state_dict().items()} == contract(version)
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[version]


@pytest.mark.parametrize("version", [2, 3])
def test_a_call_before_the_last_equals_the_beginning_of_the_whole_in_streaming(version: int) -> None:
    module = tiny_front_end(version, streaming=True)
    inputs = golden_inputs(version, "streaming")
    whole = computed(module, inputs, torch.float64)
    chunk = 5
    prompt, token = inputs["prompt_token"].shape[1], inputs["token"]
    for end in range(chunk - prompt % chunk, token.shape[1] - AHEAD, chunk):
        part = {**inputs, "token": token[:, :end], "lookahead_token": token[:, end : end + AHEAD]}
        result = computed(module, part, torch.float64)
        assert result["mu"].shape[2] == 2 * (prompt + end)
        check_same(result["mu"], whole["mu"][:, :, : result["mu"].shape[2]], end)


@pytest.mark.parametrize("version", [2, 3])
def test_tokens_behind_the_look_ahead_have_no_effect(version: int) -> None:
    module, inputs = tiny_front_end(version), golden_inputs(version, "full_more")
    more = {**inputs, "lookahead_token": np.concatenate((inputs["lookahead_token"], inputs["token"]), axis=1)}
    expected = computed(module, inputs, torch.float64)["mu"]
    check_same(computed(module, more, torch.float64)["mu"], expected)
    fewer = {**inputs, "lookahead_token": inputs["lookahead_token"][:, :-1]}
    with pytest.raises(AssertionError, match="dB in float64"):
        check_same(computed(module, fewer, torch.float64)["mu"], expected)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_mel_of_the_prompt_is_copied_and_the_rest_is_zero(version: int) -> None:
    inputs = golden_inputs(version, "full")
    cond = computed(tiny_front_end(version), inputs)["cond"]
    frames = inputs["prompt_feat"].shape[1]
    np.testing.assert_array_equal(cond[:, :, :frames], inputs["prompt_feat"].transpose(0, 2, 1))
    assert not cond[:, :, frames:].any()


@pytest.mark.parametrize("version", VERSIONS)
def test_ids_outside_the_vocabulary_read_its_first_or_last_row(version: int) -> None:
    module, inputs = tiny_front_end(version), golden_inputs(version, "full")
    for wrong, read in ((-1, 0), (40, 39), (2**40, 39)):
        outside, inside = ({**inputs, "token": np.full((1, 4), one)} for one in (wrong, read))
        np.testing.assert_array_equal(computed(module, outside)["mu"], computed(module, inside)["mu"])


@pytest.mark.parametrize("version", VERSIONS)
def test_without_a_prompt_one_token_is_enough(version: int) -> None:
    inputs = golden_inputs(version, "full")
    empty = {name: inputs[name][:, :0] for name in ("prompt_token", "prompt_feat")}
    result = computed(tiny_front_end(version), {**inputs, **empty, "token": inputs["token"][:, :1]})
    assert result["mu"].shape == (1, 80, 1 if version == 1 else 2)
    assert np.isfinite(result["mu"]).all()
    assert not result["cond"].any()


@pytest.mark.parametrize("length", [1, 2, 9, 5003])
def test_positions_equal_the_table_of_upstream_and_continue_beyond_it(length: int) -> None:
    from cosybuild.models.cosyvoice.frontend.positions import RelativePositions

    dim = 8
    found = RelativePositions(dim)(torch.zeros(1, length, dim, dtype=torch.float64))
    assert found.shape == (1, 2 * length, dim)
    distances = np.arange(length - 1, -length - 1, -1)
    frequencies = np.exp(np.arange(0, dim, 2, dtype=np.float32) * np.float32(-np.log(10000.0) / dim))
    phase = (distances[:, None].astype(np.float32) * frequencies).astype(np.float64)
    # numpy's and torch's exponentials may differ in the last place.
    tolerance = 2.0**-22 * np.abs(phase).max()
    np.testing.assert_allclose(found[0, :, 0::2], np.sin(phase), rtol=0, atol=tolerance)
    np.testing.assert_allclose(found[0, :, 1::2], np.cos(phase), rtol=0, atol=tolerance)


@pytest.mark.parametrize("length", [1, 2, 7])
def test_every_score_moves_to_the_key_at_its_distance(length: int) -> None:
    from cosybuild.models.cosyvoice.frontend.attention import relative_shift

    distances = torch.arange(length - 1, -length - 1, -1).expand(1, 2, length, -1)
    steps = torch.arange(length)
    expected = (steps.unsqueeze(1) - steps.unsqueeze(0)).expand(1, 2, -1, -1)
    assert torch.equal(relative_shift(distances), expected)


@pytest.mark.parametrize(("rate", "exception"), [(50, ()), (25, (4480,))])
def test_the_number_of_frames_equals_that_of_upstream(rate: int, exception: tuple[int, ...]) -> None:
    different = [n for n in range(1, 6001) if frames_of(n, rate) != int(n / rate * 22050 / 256)]
    assert different == list(exception)
    assert all(frames_of(n, rate) == int(n / rate * 22050 / 256) + 1 for n in exception)


@pytest.mark.parametrize("tokens", [40, 41, 60])
def test_a_long_target_is_interpolated_in_three_pieces(tokens: int) -> None:
    from torch.nn.functional import interpolate

    from cosybuild.models.cosyvoice.frontend.regulator import LengthRegulator

    regulator = LengthRegulator(8, (), 50).double()
    regulator.model = torch.nn.Sequential()
    x = torch.randn(1, 10 + tokens, 8, generator=torch.Generator().manual_seed(tokens), dtype=torch.float64)

    def piece(part: Tensor, frames: int) -> Tensor:
        return interpolate(part.transpose(1, 2), size=frames, mode="linear").transpose(1, 2)

    target, frames = x[:, 10:], frames_of(tokens, 50)
    if tokens <= 40:
        pieces = [piece(target, frames)]
    else:
        middle = piece(target[:, 20:-20], frames - 68)
        pieces = [piece(target[:, :20], 34), middle, piece(target[:, -20:], 34)]
    expected = torch.cat((piece(x[:, :10], 25), *pieces), dim=1)
    check_same(regulator(x, 10, 25).numpy(), expected.numpy())


@pytest.mark.parametrize(
    ("version", "changed"),
    [
        (1, {"num_blocks": 1, "attention_heads": 4, "sampling_ratios": [1, 1], "input_frame_rate": 25}),
        (2, {"num_blocks": 1, "up_blocks": 2, "token_mel_ratio": 3, "pre_lookahead_len": 2, "encoder_size": 24}),
        (3, {"channels": 7, "token_mel_ratio": 4, "pre_lookahead_len": 5}),
    ],
)
def test_front_ends_with_other_hyperparameters_are_computed_and_exported(version: int, changed: dict[str, Any]) -> None:
    small = {"vocab_size": 11, "spk_embed_dim": 6, "output_size": 10, "input_size": 10}
    encoder = {"encoder_size": 16, "attention_heads": 2, "linear_units": 12, "num_blocks": 2}
    given = {**small, **(encoder if version < 3 else {}), **changed}
    network = load_network(full_size_front_end(version, hyperparameters=given), None)
    inputs = {
        "token": np.array([[1, 2, 3, 4]]),
        "prompt_token": np.array([[5, 6]]),
        "prompt_feat": np.ones((1, 3, 10), np.float32),
        "embedding": np.ones((1, 6), np.float32),
        **({} if version == 1 else {"lookahead_token": np.array([[7, 8]])}),
    }
    exact = computed(network.double(), inputs, torch.float64)
    frames = 3 + 4 * 22050 // (25 * 256) if version == 1 else 6 * given["token_mel_ratio"]
    assert exact["mu"].shape == exact["cond"].shape == (1, 10, frames)
    again = computed(network.float(), inputs)
    exact_beside(exact["mu"], again["mu"]).check(again["mu"])


def test_version_1_has_no_streaming_form() -> None:
    with pytest.raises(Exception, match="no streaming variant"):
        front_end_subject(1, streaming=True)
