"""The digest of a module's state, and the refusal of a graph and a reference of two states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from cosybuild.errors import ModelError
from cosybuild.models.module_state import METRIC, check_same_state, module_facts


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(6.0).reshape(2, 3))
        self.scale = nn.Parameter(torch.tensor(1.5, dtype=torch.bfloat16))
        self.register_buffer("table", torch.zeros(0, 4))
        self.register_buffer("hidden", torch.tensor([True, False]), persistent=False)


def changed(change: Callable[[Net], object]) -> str:
    net = Net().requires_grad_(False)
    change(net)
    return module_facts(net)["sha256"]


def test_equal_modules_have_one_digest_whatever_the_layout_in_memory() -> None:
    own = module_facts(Net())
    assert own == module_facts(Net())
    assert changed(lambda net: setattr(net, "weight", nn.Parameter(net.weight.T.contiguous().T))) == own["sha256"]


CHANGES: dict[str, Callable[[Net], object]] = {
    "one value by one unit in the last place": lambda net: net.weight[1, 2].copy_(
        torch.tensor(5.0).nextafter(net.weight[1, 2] * 2)
    ),
    "the sign of a zero": lambda net: net.weight[0, 0].neg_(),
    "a narrow type": lambda net: net.scale.mul_(2),
    "a buffer that is not saved": lambda net: net.hidden.logical_not_(),
    "the shape of an empty tensor": lambda net: setattr(net, "table", torch.zeros(0, 5)),
    "the type of an empty tensor": lambda net: setattr(net, "table", torch.zeros(0, 4, dtype=torch.int32)),
    "the name of a tensor": lambda net: net.register_buffer("table2", net.__dict__["_buffers"].pop("table")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_of_the_state_changes_the_digest(name: str) -> None:
    assert changed(CHANGES[name]) != module_facts(Net())["sha256"]


def test_a_module_with_tensors_without_plain_values_has_no_digest() -> None:
    net = Net()
    net.register_buffer("sparse", torch.eye(3).to_sparse())
    assert module_facts(net) == {}


def of(digit: str, processor: str = "a CPU") -> dict[str, Any]:
    return {METRIC: {"sha256": digit * 64, "processor": processor}}


@pytest.mark.attack("stale", "the graph is refused")
def test_two_states_on_one_processor_are_refused() -> None:
    with pytest.raises(ModelError, match=r"net\.Net had other parameters or buffers .*digest a{12}.*digest b{12}"):
        check_same_state(of("a"), of("b"), "net.Net")


@pytest.mark.parametrize(
    ("graph", "reference"),
    [
        (of("a"), of("a")),
        (of("a"), of("b", "another CPU")),
        ({}, of("a")),
        (of("a"), {}),
        ({METRIC: {}}, of("a")),
        (of("a"), {METRIC: "text"}),
        (of("a"), {METRIC: {"sha256": ["b"], "processor": "a CPU"}}),
        (of("a"), {METRIC: {"sha256": "\x1b[2J", "processor": "a CPU"}}),
    ],
)
def test_equal_incomparable_and_unknown_states_pass(graph: dict[str, Any], reference: dict[str, Any]) -> None:
    check_same_state(graph, reference, "net.Net")
