"""Modules made from subjects: weights, seeds, targets, digests."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cosybuild.config.groups.model import Family, ModelSettings, TensorSettings
from cosybuild.errors import CheckpointError, ModelError
from cosybuild.models.load import construct_module, load_module, load_network
from cosybuild.models.resolve import resolve_subject
from cosybuild.models.subject import Subject
from tests.models.fixtures import VERSIONS, random_inputs, state_dict_digest, tiny_directory, tiny_subject


@pytest.mark.parametrize("version", VERSIONS)
def test_a_module_is_ready_for_inference_and_takes_the_declared_inputs(version: int) -> None:
    subject = tiny_subject(version)
    module = load_module(subject, subject.weights)
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert all(tensor.dtype is torch.float32 for tensor in module.state_dict().values())
    assert not any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers()))
    names = [tensor.name for tensor in subject.spec.inputs]
    inputs = dict(zip(names, random_inputs(subject, 2, 9), strict=True))
    assert module(**inputs).shape == (2, 8, 9)


@pytest.mark.parametrize("version", [2, 3])
def test_the_streaming_variant_is_fixed_in_the_module(version: int) -> None:
    subject = tiny_subject(version, streaming=True)
    inputs = random_inputs(subject, 2, 30)
    estimator = load_network(subject, subject.weights)
    streaming = load_module(subject, subject.weights)(*inputs)
    assert torch.equal(streaming, estimator(*inputs, streaming=True))
    assert not torch.equal(streaming, estimator(*inputs))


def test_weights_of_another_version_are_refused(tmp_path: Path) -> None:
    subject = tiny_subject(1)
    with pytest.raises(CheckpointError, match="missing"):
        load_module(subject, tiny_directory(2) / "flow.pt")


def test_a_conversion_of_the_weights_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "flow.pt"
    stored = torch.load(tiny_directory(2) / "flow.pt", weights_only=True)
    torch.save({name: tensor.half() for name, tensor in stored.items()}, path)
    told: list[str] = []
    module = load_module(tiny_subject(2), path, told.append)
    assert told == [f"{len(module.state_dict())} tensors of flow.pt were converted from float16 to float32"]


def test_random_weights_are_the_same_in_another_process() -> None:
    code = (
        "from tests.models.fixtures import full_size_subject, state_dict_digest\n"
        "from cosybuild.models.load import load_module\n"
        "import torch; torch.manual_seed(99)\n"
        "values = {'channels': [8], 'n_blocks': 1, 'num_mid_blocks': 1}\n"
        "print(state_dict_digest(load_module(full_size_subject(2, hyperparameters=values, seed=5), None)))"
    )
    digests = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(digests) == 1


class Scale(nn.Module):
    def __init__(self, width: int, fail: bool = False) -> None:
        super().__init__()
        if fail:
            raise ZeroDivisionError("the width is no width")
        self.factor = nn.Parameter(torch.randn(width))

    def forward(self, signal: Tensor, gain: Tensor) -> Tensor:
        return signal * self.factor * gain


def module_subject(name: str = "Scale", inputs: tuple[str, ...] = ("signal", "gain"), **arguments: Any) -> Subject:
    settings = ModelSettings(
        family=Family.module,
        target={"_target_": f"tests.models.test_load.{name}", **arguments},
        inputs=tuple(TensorSettings(name=each, shape=(1, 4)) for each in inputs),
        outputs=(TensorSettings(name="out", shape=(1, 4)),),
    )
    return resolve_subject(settings, None, False)


def test_a_target_is_constructed_with_seeded_weights() -> None:
    first, second = (load_module(module_subject(width=4), None) for _ in range(2))
    assert type(first).__name__ == "Scale"
    assert not first.training
    assert state_dict_digest(first) == state_dict_digest(second)
    assert state_dict_digest(first) != state_dict_digest(load_module(replace(module_subject(width=4), seed=1), None))


def test_the_weights_of_a_target_are_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"factor": torch.arange(4.0)}, path)
    module = load_module(module_subject(width=4), path)
    assert module(torch.ones(1, 4), torch.ones(1)).tolist() == [[0, 1, 2, 3]]
    with pytest.raises(CheckpointError, match="of another shape"):
        load_module(module_subject(width=5), path)


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv1d(4, 1))


def script() -> nn.Module:
    return torch.jit.ScriptModule()


def not_a_module(width: int) -> dict[str, int]:
    return {"width": width}


REFUSED = {
    "raises": (module_subject(width=4, fail=True), "ZeroDivisionError: the width is no width"),
    "other arguments": (module_subject(length=4), "length"),
    "no such class": (module_subject("Missing", width=4), "Missing"),
    "no module": (module_subject("not_a_module", width=4), "returned a dict"),
    "a lazy layer": (module_subject("lazy"), "0.weight, 0.bias"),
    "a script without code": (module_subject("script"), "a ScriptModule without a method forward"),
    "a wrong argument of Hydra": (module_subject(width=4, _recursive_="x"), "_recursive_"),
    "too few inputs": (module_subject(inputs=("signal",), width=4), "'gain'"),
    "too many inputs": (module_subject(inputs=("a", "b", "c"), width=4), "declares 3 inputs"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_targets_that_return_no_suitable_module_are_refused(case: str) -> None:
    subject, text = REFUSED[case]
    with pytest.raises(ModelError) as caught:
        load_module(subject, None)
    assert text in str(caught.value)
    assert caught.value.hint is not None


def test_a_constructor_that_draws_from_numpy_and_python_follows_the_seed() -> None:
    """LocalTransformer of the package local-attention draws from Python's generator."""
    target = {"_target_": "tests.stages.modules.DrawnByOthers"}
    before = random.getstate(), np.random.get_state()[1].tolist()
    first, again, other = (construct_module(target, seed).state_dict()["weight"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert bool((first != other).all())
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
