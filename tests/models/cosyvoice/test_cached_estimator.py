"""The cached estimator: it gives, chunk by chunk, what the uncached one gives for the whole prefix."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family, ModelSettings
from cosybuild.errors import ConfigurationError
from cosybuild.models.artifact_name import artifact_name
from cosybuild.models.components.estimator import _network
from cosybuild.models.cosyvoice.estimator.blocks import CausalConv1d
from cosybuild.models.cosyvoice.estimator.cached import CachedEstimator
from cosybuild.models.cosyvoice.estimator.layers import SelfAttention
from cosybuild.models.load import load_module, load_network, prepare_for_export
from cosybuild.models.resolve import resolve_subject
from cosybuild.models.subject import Subject
from tests.exact import exact_beside, widened
from tests.models.fixtures import full_size_subject, random_inputs, tiny_subject

CHUNK = 10
CACHED = {"streaming": True, "cache": True}
ENDS = {
    "chunk by chunk": (10, 20, 30, 40),
    "a prompt and its first chunk at once": (30, 40, 50),
    "a last call within a chunk": (20, 27),
    "a last call shorter than the context": (20, 30, 31),
    "everything at once": (43,),
}

State = tuple[Tensor, Tensor]


def tiny_cached(version: int) -> CachedEstimator:
    subject = tiny_subject(version, **CACHED)
    module = load_module(subject, subject.weights)
    assert isinstance(module, CachedEstimator)
    return module


def drawn(version: int, length: int, dtype: torch.dtype) -> list[Tensor]:
    """Return x, mask, mu, t, spks and cond of a prefix whose frames are all valid."""
    inputs = random_inputs(tiny_subject(version, streaming=True), 2, length, seed=version)
    inputs[1] = torch.ones_like(inputs[1])
    return [values.to(dtype) for values in inputs]


def part(inputs: Sequence[Tensor], begin: int, end: int) -> list[Tensor]:
    return [values[..., begin:end] if values.dim() == 3 else values for values in inputs]


def empty(version: int, dtype: torch.dtype) -> State:
    *_, conv, att = (tensor for tensor in tiny_subject(version, **CACHED).spec.inputs if tensor.name != "x_offset")
    assert (conv.name, att.name) == ("conv_cache", "att_cache")
    return torch.zeros(conv.resolve({}), dtype=dtype), torch.zeros(att.resolve({"history": 0}), dtype=dtype)


Change = Callable[[State, Tensor], tuple[State, Tensor]]


def unchanged(state: State, offset: Tensor) -> tuple[State, Tensor]:
    return state, offset


def chunks(
    module: nn.Module, version: int, ends: Sequence[int], inputs: Sequence[Tensor], change: Change = unchanged
) -> Iterator[Tensor]:
    """Yield the velocity of each call; `change` plants a fault in what a call takes over."""
    state = empty(version, inputs[0].dtype)
    for begin, end in pairwise((0, *ends)):
        given, offset = change(state, torch.tensor([begin])) if begin else (state, torch.tensor([begin]))
        positions = (offset,) if version == 3 else ()
        velocity, contexts, added = module(*part(inputs, begin, end), *given, *positions)
        state = contexts, torch.cat((state[1], added))
        assert state[1].shape[0] == end
        yield velocity


def whole(module: CachedEstimator, inputs: Sequence[Tensor], end: int) -> Tensor:
    velocity: Tensor = module.estimator(*part(inputs, 0, end), streaming=True)
    return velocity


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("ends", ENDS.values(), ids=ENDS)
def test_every_call_gives_the_frames_of_the_whole_prefix(version: int, ends: Sequence[int]) -> None:
    module = widened(tiny_cached(version))
    inputs = drawn(version, ends[-1], torch.float64)
    for (begin, end), velocity in zip(pairwise((0, *ends)), chunks(module, version, ends, inputs), strict=True):
        expected = whole(module, inputs, end)[..., begin:]
        assert expected.abs().max() > 0.1
        assert (velocity - expected).abs().max() < 1e-12 * expected.abs().max(), end


@pytest.mark.arithmetic
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("fused", [False, True])
def test_the_float32_error_is_that_of_the_uncached_estimator(version: int, fused: bool) -> None:
    module, wide, ends = tiny_cached(version), widened(tiny_cached(version)), (20, 30, 40, 47)
    inputs = drawn(version, ends[-1], torch.float32)
    plain = tiny_cached(version)
    given = prepare_for_export(module) if fused else module
    for (begin, end), velocity in zip(pairwise((0, *ends)), chunks(given, version, ends, inputs), strict=True):
        exact = whole(wide, [values.double() for values in inputs], end)[..., begin:]
        exact_beside(exact.numpy(), whole(plain, inputs, end)[..., begin:]).check(velocity, end)


def test_earlier_frames_keep_their_velocity_when_chunks_follow() -> None:
    """The reason why a cache is exact."""
    for version in (2, 3):
        module, inputs = widened(tiny_cached(version)), drawn(version, 40, torch.float64)
        assert torch.allclose(whole(module, inputs, 40)[..., :20], whole(module, inputs, 20), rtol=0, atol=1e-12)


def without_newest_chunk(state: State, offset: Tensor) -> tuple[State, Tensor]:
    return (state[0], torch.cat((state[1][:-CHUNK], state[1][:CHUNK]))), offset


def shifted(state: State, offset: Tensor) -> tuple[State, Tensor]:
    return state, offset + 1


def without_context(state: State, offset: Tensor) -> tuple[State, Tensor]:
    return (torch.zeros_like(state[0]), state[1]), offset


def without_history(state: State, offset: Tensor) -> tuple[State, Tensor]:
    return (state[0], state[1][:0]), offset


@pytest.mark.parametrize(
    ("version", "change"),
    [
        *((version, change) for version in (2, 3) for change in (without_newest_chunk, without_context)),
        *((version, without_history) for version in (2, 3)),
        (3, shifted),
    ],
)
def test_what_a_call_takes_over_matters(version: int, change: Change) -> None:
    """Each fault changes the result far more than rounding, so that a comparison finds it."""
    module, inputs, ends = widened(tiny_cached(version)), drawn(version, 40, torch.float64), (20, 30, 40)
    *_, velocity = chunks(module, version, ends, inputs, change)
    expected = whole(module, inputs, 40)[..., 30:]
    assert (velocity - expected).abs().max() > 1e-5 * expected.abs().max()


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("make", [tiny_subject, full_size_subject])
def test_the_declared_caches_fit_the_network(version: int, make: Callable[..., Subject]) -> None:
    subject = make(version, **CACHED)
    with torch.device("meta"):
        network = _network(subject.variant)
    convolutions = [layer for layer in network.modules() if isinstance(layer, CausalConv1d)]
    attentions = [layer for layer in network.modules() if isinstance(layer, SelfAttention)]
    declared = {tensor.name: tensor.shape for tensor in (*subject.spec.inputs, *subject.spec.outputs)}
    (width,) = {layer.kernel_size[0] for layer in convolutions}
    first = attentions[0]
    contexts = (2, sum(layer.in_channels for layer in convolutions), width - 1)
    kept = (2 * len(attentions), 2, first.heads, first.dim_head)
    assert declared["conv_cache"] == declared["new_conv_cache"] == contexts
    assert declared["att_cache"] == ("history", *kept)
    assert declared["new_att_cache"] == ("seq_len", *kept)
    assert ("x_offset" in declared) == (version == 3)


def test_the_cached_form_has_names_and_weights_of_the_same_model() -> None:
    for version in (2, 3):
        subject = tiny_subject(version, **CACHED)
        assert artifact_name(subject) == "flow.decoder.estimator.cached.fp32.onnx"
        own, other = tiny_cached(version).estimator.state_dict(), load_network(subject, subject.weights).state_dict()
        assert own.keys() == other.keys()
        assert all(torch.equal(own[name], other[name]) for name in own)


@pytest.mark.parametrize(
    ("settings", "component", "said"),
    [
        ({"family": Family.cosyvoice1, "cache": True}, ComponentName.estimator, "read all frames"),
        ({"family": Family.cosyvoice2, "cache": True}, ComponentName.estimator, "model.streaming=false"),
        (
            {"family": Family.cosyvoice2, **CACHED},
            ComponentName.vocoder,
            "component=vocoder of cosyvoice2 has no cache",
        ),
        ({"family": Family.cosyvoice2, "cache_frames": 50}, ComponentName.estimator, "without model.cache=true"),
        ({"family": Family.cosyvoice3, **CACHED, "cache_frames": 75}, ComponentName.estimator, "multiple of the chunk"),
        ({"family": Family.cosyvoice3, **CACHED, "cache_frames": 0}, ComponentName.estimator, "multiple of the chunk"),
        (
            {"family": Family.cosyvoice2, **CACHED, "hyperparameters": {"channels": [64, 64]}},
            ComponentName.estimator,
            "more than one resolution",
        ),
    ],
)
def test_a_cache_that_cannot_be_is_refused(settings: dict[str, object], component: ComponentName, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        resolve_subject(ModelSettings(**settings), None, False, component)  # type: ignore[arg-type]


def test_a_cap_limits_the_axis_of_the_history() -> None:
    spec = full_size_subject(3, **CACHED, cache_frames=200).spec
    assert (spec.axis("history").most, spec.axis("history").sizes) == (200, (0, 200, 200))
    assert full_size_subject(3, **CACHED).spec.axis("history").most is None
