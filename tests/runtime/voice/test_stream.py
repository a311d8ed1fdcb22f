"""A stream gives the samples of the whole utterance, in all divisions of its tokens."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cosybuild.errors import ServingError, VariantRefused
from cosybuild.runtime.voice import Noise
from cosybuild.runtime.voice.arrays import Array
from cosybuild.runtime.voice.stream import calls
from cosybuild.runtime.voice.vocoding import VocoderStream
from tests.exact import check_same, exact_beside
from tests.runtime.voice.voices import VERSIONS, module_voice, prompt, source_noise, tokens

COUNT = 31
"""Tokens of the target. With 25 new tokens for each call, there are two calls."""
CHUNKS = (1, 5, 7, 25)


@cache
def whole_utterance(version: int) -> Array:
    return module_voice(version)(tokens(version, COUNT), *prompt(version), noise=3, streaming=True)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("chunk", CHUNKS)
def test_the_joined_pieces_are_the_whole(version: int, chunk: int) -> None:
    voice, row = module_voice(version), tokens(version, COUNT)
    pieces = list(voice.stream(iter(row.tolist()), *prompt(version), noise=3, chunk=chunk))
    assert len(pieces) > 1
    check_same(np.concatenate(pieces), whole_utterance(version))


@pytest.mark.arithmetic
@pytest.mark.parametrize("version", [2, 3])
def test_a_float32_stream_has_the_error_of_the_whole_in_float32(version: int) -> None:
    """One mel for both, because its rounding moves the phases of all later samples."""
    voice, narrow = module_voice(version), module_voice(version, torch.float32)
    mel = narrow.mel(tokens(version, COUNT), *prompt(version), streaming=True)
    whole = exact_beside(voice.vocode(mel.astype(np.float64), noise=3), narrow.vocode(mel, noise=3))
    stream = VocoderStream(narrow.vocoder, narrow.facts, Noise(3, 3))
    parts = [stream.push(mel[:, :, at : at + 10], last=at + 10 >= mel.shape[2]) for at in range(0, mel.shape[2], 10)]
    whole.check(np.concatenate(parts))


@pytest.mark.parametrize("version", VERSIONS)
def test_pieces_of_a_mel_have_the_samples_of_the_whole_mel(version: int) -> None:
    """With arrays as noise, shorter than the utterance, and with pieces of every size."""
    voice = module_voice(version)
    mel = np.random.default_rng(1).normal(-4, 2, (1, 80, 90))
    noise = Noise(source=source_noise(version, 7).source, phase=np.linspace(-0.4, 0.4, 9)[np.newaxis])
    stream, parts, at = VocoderStream(voice.vocoder, voice.facts, noise), [], 0
    for size in (0, 1, 40, 3, 0, 26, 20):
        parts.append(stream.push(mel[:, :, at : at + size], last=at + size == 90))
        at += size
    check_same(np.concatenate(parts), voice.vocode(mel, noise=noise))


def test_the_vocoder_computes_windows_of_constant_length() -> None:
    voice, lengths = module_voice(2), []

    def counting(**given: Any) -> Any:
        lengths.append(given["mel"].shape[2])
        return voice.vocoder(**given)

    stream = VocoderStream(counting, voice.facts, Noise())
    for _ in range(8):
        stream.push(np.zeros((1, 80, 25)))
    assert set(lengths[2:]) == {sum(voice.facts.context) + 25}


def test_samples_come_as_soon_as_their_tokens_are_there() -> None:
    """A chunk has 5 tokens and the prompt 10; a call reads 3 tokens ahead."""
    voice, read = module_voice(3), []

    def arriving() -> Iterator[int]:
        for token in tokens(3, 24):
            read.append(token)
            yield int(token)

    stream = voice.stream(arriving(), *prompt(3), chunk=1)
    arrived = [(len(read), piece.size // voice.facts.hop) for piece in stream]
    assert [count for count, _ in arrived] == [8, 13, 18, 23, 24]
    assert sum(frames for _, frames in arrived) == 48


def test_calls_end_at_chunks_counted_from_the_prompt() -> None:
    facts = module_voice(2).facts
    planned = list(calls([np.arange(12), 12, np.arange(13, 30)], 8, facts, 6))
    assert [(c.target.shape[1], c.ahead.tolist(), c.last) for c in planned] == [
        (7, [[7, 8, 9]], False),
        (17, [[17, 18, 19]], False),
        (27, [[27, 28, 29]], False),
        (30, [[]], True),
    ]
    assert all(c.target.tolist() == [list(range(c.target.shape[1]))] for c in planned)


@given(count=st.integers(1, 60), prompt=st.integers(0, 30), least=st.integers(1, 40), cuts=st.lists(st.integers(0, 60)))
def test_every_division_gives_the_same_calls(count: int, prompt: int, least: int, cuts: list[int]) -> None:
    facts, row = module_voice(2).facts, np.arange(count)
    whole = list(calls([row], prompt, facts, least))
    parts = list(calls(np.split(row, sorted(cut for cut in cuts if cut <= count)), prompt, facts, least))
    assert [(c.target.tolist(), c.ahead.tolist(), c.last) for c in parts] == [
        (c.target.tolist(), c.ahead.tolist(), c.last) for c in whole
    ]
    *early, last = whole
    assert last.target.shape == (1, count)
    ends = [0, *(c.target.shape[1] for c in early)]
    assert all((prompt + end) % facts.chunk == 0 for end in ends[1:])
    assert all(least <= after - before < least + facts.chunk for before, after in pairwise(ends))


def test_arrays_of_tokens_give_the_stream_of_single_tokens() -> None:
    voice, row = module_voice(2), tokens(2, 20)
    one, other = (
        np.concatenate(list(voice.stream(items, *prompt(2), chunk=5))) for items in (row, np.split(row, [1, 9, 17]))
    )
    assert np.array_equal(one, other)


@pytest.mark.parametrize("item", [None, "12", [[1], [2, 3]], 2.5, True, {1: 2}])
def test_an_item_that_is_no_token_is_refused(item: Any) -> None:
    with pytest.raises(ServingError, match="tokens has "):
        list(module_voice(2).stream([1, item], *prompt(2)))


def test_version_1_refuses_to_stream() -> None:
    with pytest.raises(VariantRefused, match="cosyvoice1 cannot stream: each of its frames depends on all tokens"):
        module_voice(1).stream([1, 2, 3], *prompt(1))


@pytest.mark.parametrize("chunk", [0, 2.5, True])
def test_a_chunk_without_tokens_is_refused_at_once(chunk: Any) -> None:
    with pytest.raises(ServingError, match="a positive whole number of tokens is expected"):
        module_voice(2).stream([1, 2, 3], *prompt(2), chunk=chunk)


def test_a_stream_without_tokens_is_refused() -> None:
    with pytest.raises(ServingError, match="there are no tokens"):
        list(module_voice(2).stream([], *prompt(2)))
