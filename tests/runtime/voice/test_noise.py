"""The draws of a seed are PyTorch's, and the noise of the source does not depend on how it is read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cosybuild.runtime.voice import Noise
from cosybuild.runtime.voice.noise import TABLE_FRAMES, SourceNoise, flow_noise
from cosybuild.runtime.voice.random import Generator
from tests.runtime.voice.voices import VERSIONS, module_voice

UNITS = 4
"""Units in the last place between numpy's logarithm, sine and cosine, rounded once, and PyTorch's vector forms."""

ANGLE = 6 * np.spacing(np.float32(2 * np.pi))
"""PyTorch without AVX2 rounds the angle of a pair in another way: by one unit of at most 2 pi, times the radius of at
most sqrt(2 log 2^24) < 6."""


def check_normal(actual: np.ndarray, expected: torch.Tensor) -> None:
    assert actual.dtype == np.float32
    units = UNITS * np.spacing(np.maximum(np.abs(expected.numpy()), np.float32(1)))
    assert np.all(np.abs(actual - expected.numpy()) <= units + ANGLE)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**63 - 1), count=st.integers(1, 3000))
def test_uniform_draws_are_pytorchs(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    assert np.array_equal(Generator(seed).uniform(count), torch.rand(count, generator=generator).numpy())


@pytest.mark.arithmetic
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**63 - 1), count=st.integers(1, 3000) | st.integers(1, 40))
def test_normal_draws_are_pytorchs(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    check_normal(Generator(seed).normal(count), torch.randn(count, generator=generator))


@pytest.mark.arithmetic
def test_draws_follow_each_other_as_in_pytorch() -> None:
    generator, other = torch.Generator().manual_seed(7), Generator(7)
    for count in (5, 100, 17, 32, 3):
        check_normal(other.normal(count), torch.randn(count, generator=generator))
        assert np.array_equal(other.uniform(count), torch.rand(count, generator=generator).numpy())


@pytest.mark.arithmetic
@pytest.mark.parametrize("version", VERSIONS)
def test_the_solver_begins_with_upstreams_draw(version: int) -> None:
    """Versions 2 and 3 take the first frames of one table; version 1 draws as many frames as there are."""
    facts = module_voice(version).facts
    frames = 61 if version == 1 else TABLE_FRAMES
    expected = torch.randn(1, 80, frames, generator=torch.Generator().manual_seed(0))
    check_normal(flow_noise(0, facts, 61), expected[:, :, :61])


@pytest.mark.arithmetic
@pytest.mark.parametrize("version", VERSIONS)
def test_the_source_takes_the_draws_that_the_module_states(version: int) -> None:
    facts, generator = module_voice(version).facts, torch.Generator().manual_seed(11)
    source, samples = SourceNoise(Noise(11, 11), facts), 3 * facts.hop
    if version == 1:
        phase = torch.rand(9, generator=generator).numpy() - np.float32(0.5)
        assert source.phase[0, 0] == 0
        assert np.array_equal(source.phase[0, 1:], phase[1:])
    else:
        assert not source.phase.any()
    draw = torch.rand if version == 3 else torch.randn
    check_normal(source.rows(0, samples), draw(1, samples, 9, generator=generator))


@settings(deadline=None, max_examples=30)
@given(steps=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 60)), min_size=1, max_size=8), table=st.booleans())
def test_rows_do_not_depend_on_the_ranges_that_are_read(steps: list[tuple[int, int]], table: bool) -> None:
    facts = module_voice(2).facts
    noise = Noise(0, np.random.default_rng(0).normal(size=(1, 23, 9)).astype(np.float32)) if table else Noise(0, 2)
    whole, parts = SourceNoise(noise, facts).rows(0, 2000), SourceNoise(noise, facts)
    begin = end = 0
    for forward, length in steps:
        begin = min(begin + forward, end)
        end = max(end, begin + length)
        assert np.array_equal(parts.rows(begin, end), whole[:, begin:end])
