"""Modules whose arguments and answers are not flat lists of tensors."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cosybuild.errors import ModelError
from cosybuild.models.calling import make_flat, tensors_in

Pair = namedtuple("Pair", "left right")  # as old code has them


@dataclass
class Output:
    logits: Tensor
    loss: Tensor | None = None
    hidden: tuple[Any, ...] = ()


class Net(nn.Module):
    def forward(
        self, x: Tensor, *, mask: Tensor | None = None, state: Mapping[str, Any] | None = None, double: bool = False
    ) -> Output:
        y = x if mask is None else x * mask
        y = y if state is None else y + state["a"] + state["b"][1]
        return Output(2 * y if double else y, None, (x, {"deep": -y}))


def call(module: nn.Module, inputs: Mapping[str, Tensor], *outputs: str, **fixed: Any) -> Any:
    make_flat(module, "Net", list(inputs), outputs, fixed)
    return module(*inputs.values())


X, M, A, B = (torch.full((2,), value) for value in (3.0, 5.0, 7.0, 11.0))


def test_keywords_tuples_and_mappings_are_assembled_from_names() -> None:
    inputs = {"x": X, "mask": M, "state.b.0": X, "state.b.1": B, "state.a": A}
    assert torch.equal(call(Net(), inputs, "logits"), X * M + A + B)


def test_optional_inputs_can_be_left_out_and_arguments_that_are_no_tensors_are_stated() -> None:
    logits, first, deep = call(Net(), {"x": X}, "y", "h", "d", double=True)
    assert (torch.equal(logits, 2 * X), torch.equal(first, X), torch.equal(deep, -X)) == (True, True, True)


def test_outputs_are_found_by_their_paths_in_any_order() -> None:
    deep, logits = call(Net(), {"x": X, "mask": M}, "hidden.1.deep", "logits")
    assert torch.equal(deep, -logits)


def test_names_that_are_no_parameters_are_passed_by_position() -> None:
    class Two(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return a - b

    assert torch.equal(call(Two(), {"p": A, "q": B}, "y"), A - B)
    assert torch.equal(call(Two(), {"b": B, "a": A}, "y"), A - B)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_layers_return_their_states_as_flat_outputs(kind: type[nn.LSTM | nn.GRU]) -> None:
    module, x = kind(4, 5), torch.randn(3, 1, 4)
    expected = [tensor for _, tensor in tensors_in(module(x))]
    names = ["y", "h", "c"][: len(expected)]
    assert all(map(torch.equal, call(module, {"input": x}, *names), expected))


def test_an_initial_state_is_a_tuple_of_inputs() -> None:
    module, x, h, c = nn.LSTM(4, 5), torch.randn(3, 1, 4), torch.randn(1, 1, 5), torch.randn(1, 1, 5)
    expected = module(x, (h, c))[1][1]
    assert torch.equal(call(module, {"input": x, "hx.0": h, "hx.1": c}, "output_1.1"), expected)


def test_attention_without_weights_has_one_output() -> None:
    module, x = nn.MultiheadAttention(8, 2).eval(), torch.randn(3, 1, 8)
    mask = torch.zeros(3, 3)
    expected = module(x, x, x, need_weights=False, attn_mask=mask)[0]
    inputs = {"query": x, "key": x, "value": x, "attn_mask": mask}
    assert torch.equal(call(module, inputs, "y", need_weights=False), expected)


def test_paths_are_keys_fields_and_positions() -> None:
    answer = {"a": [X, None, (M, 3)], "p": Pair(A, "text")}
    assert [path for path, _ in tensors_in(answer)] == ["a.0", "a.2.0", "p.left"]
    assert [path for path, _ in tensors_in((X, (M,)))] == ["output_0", "output_1.0"]


def test_a_wrong_number_of_outputs_names_what_the_module_returns() -> None:
    with pytest.raises(ModelError, match=r"returns 3 tensors: logits \(2,\), hidden\.0 \(2,\), hidden\.1\.deep \(2,\)"):
        call(Net(), {"x": X}, "y")
    with pytest.raises(ModelError, match="returns 3 tensors"):
        call(Net(), {"x": X}, "y", "z")


def test_inputs_that_forward_does_not_take_are_refused() -> None:
    with pytest.raises(ModelError, match=r"model\.inputs declares 2 inputs"):
        call(Net(), {"x": X, "masks": M}, "logits")
    with pytest.raises(ModelError, match=r"model\.inputs declares 1 inputs"):
        call(Net(), {"mask": M}, "logits")
