"""The attention bias is finite in float16, hides exactly the right keys, and leaves no row without a visible key."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cosybuild.models.cosyvoice.estimator.layers import attend
from cosybuild.models.cosyvoice.estimator.mask import HIDDEN, attention_bias, kept_frames

masks = st.integers(1, 24).flatmap(
    lambda length: st.lists(
        st.lists(st.sampled_from([0.0, 1.0]), min_size=length, max_size=length), min_size=1, max_size=3
    )
)
chunks = st.one_of(st.none(), st.integers(1, 30))


def visible_by_definition(mask: list[list[float]], chunk: int | None) -> Tensor:
    """Return the keys that a query sees by the definition in the contract."""
    length = len(mask[0])
    rows = []
    for valid in mask:
        for query in range(length):
            limit = length if chunk is None else (query // chunk + 1) * chunk
            seen = [bool(valid[key]) and key < limit for key in range(length)]
            rows.append(seen if any(seen) else [True] * length)
    return torch.tensor(rows).reshape(len(mask), 1, length, length)


@given(mask=masks, chunk=chunks)
def test_the_bias_hides_the_keys_that_the_contract_hides(mask: list[list[float]], chunk: int | None) -> None:
    tensor = torch.tensor(mask).unsqueeze(1)
    bias = attention_bias(tensor, chunk)
    visible = visible_by_definition(mask, chunk)
    assert torch.equal(bias.expand_as(visible) == 0, visible)
    assert torch.equal(bias.expand_as(visible) == -HIDDEN, ~visible)
    last = visible[:, 0, -1].unsqueeze(2)
    assert torch.equal(kept_frames(tensor) == 1, last)
    assert torch.equal(kept_frames(tensor) == 0, ~last)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@given(mask=masks, chunk=chunks)
def test_the_bias_in_half_precision_is_finite_and_hides_the_same_keys(
    dtype: torch.dtype, mask: list[list[float]], chunk: int | None
) -> None:
    tensor = torch.tensor(mask).unsqueeze(1)
    half = attention_bias(tensor.to(dtype), chunk)
    assert half.isfinite().all()
    assert torch.equal(half == 0, attention_bias(tensor, chunk) == 0)
    # The largest score that does not overflow in float16.
    scores = torch.full_like(half, 30000.0) * torch.where(half == 0, -1.0, 1.0).to(dtype)
    probabilities = torch.softmax((scores + half).float(), dim=-1)
    assert probabilities.isfinite().all()


def test_chunks_are_counted_exactly_beyond_what_float16_can_count() -> None:
    mask = torch.ones(1, 1, 2100, dtype=torch.float16)
    bias = attention_bias(mask, 3)
    assert torch.equal((bias[0, 0, 2097] == 0).sum(), torch.tensor(2100))
    assert torch.equal((bias[0, 0, 2096] == 0).sum(), torch.tensor(2097))


def test_a_mask_with_the_usual_constant_gives_nan() -> None:
    """With an infinite constant, an all-ones mask would give 0 * -inf."""
    mask = torch.ones(1, 1, 4, dtype=torch.float16)
    assert ((1 - mask) * torch.tensor(-1e10).half()).isnan().all()
    assert attention_bias(mask).eq(0).all()


@given(mask=masks, seed=st.integers(0, 100))
def test_a_hidden_key_has_no_weight_at_all(mask: list[list[float]], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensor = torch.tensor(mask).unsqueeze(1)
    query, key, value = (torch.randn(len(mask), 2, tensor.shape[2], 4, generator=generator) for _ in range(3))
    bias = attention_bias(tensor)
    hidden = (bias != 0).transpose(2, 3)
    other = torch.where(hidden, torch.full_like(value, 1e6), value)
    assert torch.equal(attend(query, key, value, bias, 0.5), attend(query, key, other, bias, 0.5))
