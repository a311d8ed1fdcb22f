"""The composition around PyTorch modules: upstream's mels, and the refusals of a call."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from cosybuild.errors import ServingError, ShapeRefused, VariantRefused
from cosybuild.models.cosyvoice.frontend.regulator import frames_of
from cosybuild.numerics.metrics import snr_db
from cosybuild.runtime.voice import Flow, Noise, Voice
from tests.exact import exact_beside
from tests.runtime.voice.voices import VERSIONS, forms, golden, golden_mel, module_voice, prompt, tokens

STORED_DB = 135.0
"""Agreement of float64 with upstream's float64 mels. They are stored in float32 (150 dB), and part of upstream's
computation is in float32 there too (version 3: 140 dB). Float32 itself leaves 125 to 129 dB."""


@pytest.mark.parametrize(("version", "form"), [(v, form) for v in VERSIONS for form in forms(v)])
def test_the_mel_is_upstreams(version: int, form: str) -> None:
    mel = golden_mel(module_voice(version), version, form)
    assert mel.shape == golden(version)[form].shape
    assert snr_db(mel, golden(version)[form].astype(np.float64)) >= STORED_DB


@pytest.mark.arithmetic
@pytest.mark.parametrize("version", VERSIONS)
def test_a_float32_voice_stays_float32_and_has_its_error(version: int) -> None:
    voice, other = module_voice(version, torch.float32), module_voice(version)
    mel = golden_mel(voice, version, "full")
    assert mel.dtype == np.float32
    exact_beside(golden_mel(other, version, "full"), mel).check(golden(version)["full"], "upstream's mel")
    assert snr_db(mel, golden_mel(other, version, "full")) > 100


@pytest.mark.parametrize("change", [{"steps": 9}, {"guidance": 0.0}, {"schedule": "linear"}])
def test_another_solver_gives_another_mel(change: dict[str, Any]) -> None:
    voice = module_voice(2)
    assert voice._full is not None
    other = Voice(
        voice._full.frontend, voice._full.estimator, voice.vocoder, dataclasses.replace(voice.facts, **change)
    )
    assert snr_db(golden_mel(other, 2, "full"), golden(2)["full"].astype(np.float64)) < 60


@pytest.mark.parametrize("version", VERSIONS)
def test_a_voice_is_its_two_halves(version: int) -> None:
    voice, row = module_voice(version), tokens(version, 9)
    whole = voice(row, *prompt(version), noise=4)
    mel = voice.mel(row, *prompt(version), noise=4)
    assert mel.shape == (1, voice.facts.mel, voice.facts.frames_of(9))
    assert whole.shape == (mel.shape[2] * voice.facts.hop,)
    assert np.array_equal(whole, voice.vocode(mel, noise=4))
    assert not np.array_equal(whole, voice(row, *prompt(version), noise=5))
    assert np.array_equal(whole, voice(list(row), *(values[0] for values in prompt(version)), noise=Noise(4, 4)))


@pytest.mark.parametrize("rate", [25, 50])
def test_version_1_has_the_frames_of_its_length_regulator(rate: int) -> None:
    facts = dataclasses.replace(module_voice(1).facts, token_rate=float(rate))
    assert [facts.frames_of(count) for count in range(1, 500)] == [frames_of(count, rate) for count in range(1, 500)]


def test_without_a_prompt_the_target_is_computed_alone() -> None:
    voice = module_voice(2)
    nothing = np.zeros((0, voice.facts.mel), np.float32)
    assert voice.mel([1, 2, 3], (), nothing, prompt(2)[2]).shape == (1, 80, 6)


def test_none_draws_a_new_seed_for_each_utterance() -> None:
    voice = module_voice(1)
    first, second = (voice.mel([1, 2, 3, 4], *prompt(1), noise=None) for _ in range(2))
    assert not np.array_equal(first, second)


BAD: dict[str, tuple[dict[str, Any], type[ServingError], str]] = {
    "no tokens": ({"tokens": []}, ServingError, "there are no tokens"),
    "fractions": ({"tokens": [1.5]}, ServingError, "tokens has values of the type float64; whole numbers"),
    "two rows": ({"tokens": np.zeros((2, 3), np.int64)}, ShapeRefused, r"tokens has the shape \(2, 3\)"),
    "rows of several lengths": ({"tokens": [[1], [2, 3]]}, ShapeRefused, "tokens has rows of several lengths"),
    "one number": ({"tokens": 5}, ServingError, "tokens is 5; whole numbers in one row are expected"),
    "infinity": ({"speaker": np.full(192, np.inf)}, ServingError, r"speaker\[0, 0\] is inf; finite numbers"),
    "not a number": ({"prompt_mel": np.full((20, 80), np.nan)}, ServingError, r"prompt_mel\[0, 0, 0\] is nan"),
    "speaker": ({"speaker": np.zeros((1, 1, 192))}, ShapeRefused, r"speaker has the shape \(1, 1, 192\)"),
    "whole numbers": ({"speaker": np.zeros(192, np.int64)}, ServingError, "speaker has values of the type int64"),
    "a huge speaker": ({"speaker": np.full(192, 1e300)}, ServingError, r"speaker\[0, 0\] is 1e\+300; finite numbers"),
    "an id that is too large": ({"tokens": [1, 40]}, ServingError, r"tokens\[0, 1\] is 40; .* from 0 to 39"),
    "an id of 64 bits": ({"tokens": np.array([2**63], np.uint64)}, ServingError, "the id 9223372036854775808"),
    "a negative id": ({"prompt_tokens": [-1] * 10}, ServingError, r"prompt_tokens\[0, 0\] is -1; .* from 0 to 39"),
    "noise that is not finite": (
        {"noise": Noise(np.full((1, 80, 40), np.nan))},
        ServingError,
        r"the flow's noise\[0, 0, 0\] is nan",
    ),
    "source that is not finite": (
        {"noise": Noise(0, np.full((1, 5, 9), np.inf))},
        ServingError,
        r"the source's noise\[0, 0, 0\] is inf",
    ),
    "noise of whole numbers": ({"noise": Noise(np.zeros((1, 80, 40), int))}, ServingError, "the type int64"),
    "a list of phases": ({"noise": Noise(0, 0, [[0.0] * 9])}, ServingError, "the phases has values of the type list"),
    "bins": ({"prompt_mel": np.zeros((20, 81))}, ShapeRefused, r"\(20, 81\); \(frames, 80\) is expected"),
    "frames": ({"prompt_mel": np.zeros((19, 80))}, ShapeRefused, "19 frames; 20 are expected for 10 prompt tokens"),
    "seed": ({"noise": -1}, ServingError, "noise=-1 is not a seed"),
    "flag": ({"noise": True}, ServingError, "noise=True is not a seed"),
    "noise": ({"noise": Noise(np.zeros((1, 80, 25)))}, ShapeRefused, r"\(1, 80, 25\); \(1, 80, 26\) is expected"),
    "source": ({"noise": Noise(0, np.zeros((1, 5, 8)))}, ShapeRefused, r"\(1, 5, 8\); \(1, rows, 9\) is expected"),
    "phases": ({"noise": Noise(0, 0, np.zeros((9,)))}, ShapeRefused, r"\(9,\); \(1, 9\) is expected"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_input_is_refused_with_its_value_and_the_expectation(name: str) -> None:
    change, kind, message = BAD[name]
    given: dict[str, Any] = dict(zip(("prompt_tokens", "prompt_mel", "speaker"), prompt(2), strict=True))
    given |= {"tokens": [1, 2, 3]}
    with pytest.raises(kind, match=message):
        module_voice(2)(**{**given, **change})


def test_a_mel_of_another_shape_is_refused() -> None:
    for shape in ((1, 81, 4), (80, 4), (1, 80, 0)):
        with pytest.raises(ShapeRefused, match=r"\(1, 80, frames\) is expected"):
            module_voice(2).vocode(np.zeros(shape, np.float32))


@pytest.mark.attack("forge", "an error says that the result is not finite")
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_samples_and_mels_that_are_not_finite_are_an_error() -> None:
    voice = module_voice(2, torch.float32)
    with pytest.raises(ServingError, match=r"mel\[0, 0, 0\] is 9.99.*e\+37; finite numbers of at most 1e\+18"):
        voice.vocode(np.full((1, 80, 4), 1e38, np.float32))
    assert voice._full is not None

    def overflowing(**inputs: Any) -> dict[str, Any]:
        return {"estimator_out": np.full_like(inputs["x"], np.inf)}

    broken = Voice(voice._full.frontend, overflowing, voice.vocoder, voice.facts)
    with pytest.raises(ServingError, match="values of mel are not finite"):
        broken([1, 2, 3], *prompt(2))

    def silent(**inputs: Any) -> dict[str, Any]:
        made = dict(voice.vocoder(**inputs))
        return {**made, "waveform": made["waveform"] * np.nan}

    mute = Voice(voice._full.frontend, voice._full.estimator, silent, voice.facts)
    with pytest.raises(ServingError, match="values of the waveform are not finite"):
        mute([1, 2, 3], *prompt(2))


def test_a_stream_of_no_iterable_is_refused() -> None:
    with pytest.raises(ServingError, match="tokens is 5; an iterable of whole numbers is expected"):
        module_voice(2).stream(5, *prompt(2))  # type: ignore[arg-type]  # as a caller without types may


@pytest.mark.attack("fill or wait", "the utterance is refused before any network computes")
def test_version_1_has_a_longest_utterance() -> None:
    with pytest.raises(ShapeRefused, match="an utterance has at most 15000"):
        module_voice(1).mel(np.zeros(10**6, np.int64), *prompt(1))


def test_more_frames_than_the_table_of_noise_are_refused() -> None:
    voice = module_voice(3)
    with pytest.raises(ShapeRefused, match="15020 mel frames; the table of noise has 15000"):
        voice.mel(np.zeros(7500, np.int64), *prompt(3))


def test_lookahead_is_refused_where_there_is_none() -> None:
    with pytest.raises(ShapeRefused, match="cosyvoice1 has no look-ahead, but lookahead has 2 tokens"):
        module_voice(1).mel([1, 2, 3], *prompt(1), lookahead=[4, 5])


def test_attention_that_the_voice_does_not_have_is_refused() -> None:
    full = module_voice(2)
    assert full._full is not None
    alone = Voice(full._full.frontend, full._full.estimator, full.vocoder, full.facts)
    with pytest.raises(VariantRefused, match="streaming attention is requested"):
        alone([1, 2, 3], *prompt(2), streaming=True)
    with pytest.raises(VariantRefused, match="full attention is requested"):
        Voice(None, None, full.vocoder, full.facts, streaming=full._streaming)([1, 2, 3], *prompt(2))


@pytest.mark.attack("fill or wait", "the request is refused before a network allocates memory for it")
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_million_tokens_are_refused_before_the_front_end_computes(version: int, streaming: bool) -> None:
    """The attention of 2,000,000 frames takes terabytes, and a system may end the whole server for them."""
    given = module_voice(version)

    def never(**_: Any) -> dict[str, Any]:
        raise AssertionError("a network was called")

    voice = Voice(never, never, never, given.facts, streaming=Flow(never, never))
    row = np.zeros(1_000_000, np.int64)
    with pytest.raises(ShapeRefused, match=r"the table of noise has 15000"):
        voice(row, *prompt(version), noise=0, streaming=streaming)
    with pytest.raises(ShapeRefused, match=r"the flow's noise has the shape"):
        voice.mel(row, *prompt(version), noise=np.zeros((1, given.facts.mel, 10), np.float32), streaming=streaming)
