"""The cached front end of version 2: it gives, call by call, the frames that the uncached one gives for all tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family, ModelSettings
from cosybuild.errors import ConfigurationError
from cosybuild.models.artifact_name import artifact_name
from cosybuild.models.load import load_module
from cosybuild.models.resolve import resolve_subject
from tests.exact import exact_beside
from tests.models.frontends import AHEAD, front_end_subject, full_size_front_end, golden, tiny_front_end

PROMPT, CHUNK, RATIO = 7, 5, 2
CACHED = {"streaming": True, "cache": True}
ENDS = {
    "chunk by chunk": (10, 15, 20, 25),
    "several chunks in a call": (20, 35),
    "a last call within a chunk": (10, 12),
    "a last call of one token": (10, 15, 16),
    "everything at once": (43,),
}

State = tuple[Tensor, Tensor]
Change = Callable[[State], State]


def cached(dtype: torch.dtype) -> nn.Module:
    subject = front_end_subject(2, **CACHED)
    return load_module(subject, subject.weights).to(dtype)


def ids(count: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(3).integers(0, 40, (1, count)))


def condition(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the prompt's mel and the speaker vector."""
    mel = golden(2)["prompt_feat"]
    frames = np.resize(mel, (1, PROMPT * RATIO, mel.shape[2]))
    return torch.from_numpy(frames).to(dtype), torch.from_numpy(golden(2)["embedding"]).to(dtype)


@torch.no_grad()
def calls(module: nn.Module, ends: Sequence[int], dtype: torch.dtype, change: Change) -> Iterator[tuple[Tensor, ...]]:
    """Yield mu, spks and cond of each call; `change` plants a fault in the state that a call takes over."""
    conv, att = front_end_subject(2, **CACHED).spec.inputs[-2:]
    assert (conv.name, att.name) == ("conv_cache", "att_cache")
    state = torch.zeros(conv.resolve({}), dtype=dtype), torch.zeros(att.resolve({"history": 0}), dtype=dtype)
    row, (mel, speaker) = ids(ends[-1]), condition(dtype)
    for begin, end in pairwise((0, *ends)):
        prompt, shown = (row[:, :PROMPT], mel) if not begin else (row[:, :0], mel[:, :0])
        ahead = torch.empty((1, 0), dtype=torch.int64) if end == ends[-1] else row[:, end : end + AHEAD]
        given = state if not begin else change(state)
        *made, contexts, added = module(row[:, begin + prompt.shape[1] : end], prompt, shown, speaker, ahead, *given)
        state = contexts, torch.cat((state[1], added))
        assert state[1].shape[0] == end
        yield tuple(made)


def unchanged(state: State) -> State:
    return state


@torch.no_grad()
def whole(count: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return the outputs of the uncached front end for all tokens in one call."""
    module, row = tiny_front_end(2, streaming=True).to(dtype), ids(count)
    made: tuple[Tensor, ...] = module(row[:, PROMPT:], row[:, :PROMPT], *condition(dtype), row[:, :0])
    return made


def largest_error(ends: Sequence[int], change: Change = unchanged) -> float:
    """Return the largest difference of mu in float64, by its largest value."""
    expected = whole(ends[-1], torch.float64)
    found = torch.cat([mu for mu, *_ in calls(cached(torch.float64), ends, torch.float64, change)], dim=2)
    assert found.shape == expected[0].shape
    return float((found - expected[0]).abs().max() / expected[0].abs().max())


@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
def test_every_call_gives_the_frames_of_all_tokens(ends: Sequence[int]) -> None:
    assert largest_error(ends) < 1e-12
    mu, spks, cond = whole(ends[-1], torch.float64)
    made = list(calls(cached(torch.float64), ends, torch.float64, unchanged))
    assert torch.equal(torch.cat([each[2] for each in made], dim=2), cond)
    assert all(torch.equal(each[1], spks) for each in made)
    assert mu.abs().max() > 0.1


@pytest.mark.arithmetic
def test_the_float32_error_is_that_of_the_uncached_front_end() -> None:
    ends = (10, 20, 30, 41)
    exact, plain = whole(ends[-1], torch.float64)[0], whole(ends[-1], torch.float32)[0]
    found = torch.cat([mu for mu, *_ in calls(cached(torch.float32), ends, torch.float32, unchanged)], dim=2)
    exact_beside(exact.numpy(), plain).check(found)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: (torch.zeros_like(state[0]), state[1]),
        lambda state: (state[0].flip(2), state[1]),
        lambda state: (state[0], state[1][:0]),
        lambda state: (state[0], state[1].flip(0)),
        lambda state: (state[0], state[1][:-1]),
        lambda state: (state[0], torch.cat((state[1][:, 2:], state[1][:, :2]), dim=1)),
    ],
    ids=["no contexts", "contexts in reverse", "no history", "history in reverse", "a token lost", "layers shifted"],
)
def test_a_planted_fault_shows(change: Change) -> None:
    assert largest_error((10, 20, 30), change) > 1e-6


def test_the_full_size_front_end_states_its_caches() -> None:
    subject = full_size_front_end(2, **CACHED, cache_frames=500)
    conv, att = subject.spec.inputs[-2:]
    assert (conv.shape, att.shape) == ((1, 1024, 2), ("history", 28, 1, 8, 64))
    assert subject.spec.axis("history").most == 250
    assert artifact_name(subject) == "flow.frontend.cached.fp32.onnx"
    assert load_module(front_end_subject(2, **CACHED), None).training is False


@pytest.mark.parametrize(
    ("version", "settings", "reason"),
    [
        (1, CACHED, "cosyvoice1 cannot compute chunks"),
        (2, {"cache": True}, "with full attention"),
        (2, {**CACHED, "cache_frames": 75}, "a positive multiple of the chunk of 50 frames"),
        (3, CACHED, "frontend of cosyvoice3 has no cache: it computes windows of a stream"),
    ],
)
def test_a_cache_that_a_front_end_cannot_have_is_refused(
    version: int, settings: dict[str, bool | int], reason: str
) -> None:
    model = ModelSettings(family=Family(f"cosyvoice{version}"), **settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=reason):
        resolve_subject(model, None, False, ComponentName.frontend)
