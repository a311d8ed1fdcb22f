"""The estimators compared with upstream's outputs and key lists, and their invariants."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from cosybuild.config.groups.model import Family
from cosybuild.models.cosyvoice.estimator.layers import sinusoid_frequencies
from cosybuild.models.cosyvoice.solver import solve
from cosybuild.models.load import load_module, load_network, prepare_for_export
from cosybuild.models.subject import Subject
from cosybuild.numerics.metrics import Array
from tests.exact import check_same, exact_beside, in_float64, widened
from tests.models.fixtures import (
    VERSIONS,
    contract,
    full_size_subject,
    golden,
    golden_calls,
    golden_inputs,
    random_inputs,
    recorded_estimator,
    tiny_estimator,
    tiny_subject,
)

PARAMETERS = {1: 81_878_864, 2: 71_302_480, 3: 331_142_224}

pytestmark = pytest.mark.arithmetic


@pytest.mark.parametrize("version", VERSIONS)
def test_every_recorded_call_is_reproduced(version: int) -> None:
    estimator = recorded_estimator(version)
    calls = list(golden_calls(version))
    assert {streaming for _, streaming, _ in calls} == ({False} if version == 1 else {False, True})
    for length, streaming, recorded in calls:
        variant = {"streaming": True} if streaming else {}
        inputs = golden_inputs(version, length)
        check_recorded(
            in_float64(estimator, *inputs, **variant), estimator(*inputs, **variant), recorded, (length, streaming)
        )


@pytest.mark.parametrize("version", VERSIONS)
def test_the_recorded_solver_run_is_reproduced(version: int) -> None:
    data = golden(version)
    solver = tiny_subject(version).solver
    assert solver is not None

    def run(estimator: nn.Module, dtype: torch.dtype) -> Tensor:
        noise, mu, spks, cond = (data[f"euler/{name}"].to(dtype) for name in ("z", "mu", "spks", "cond"))
        return solve(estimator, noise, mu, spks, cond, torch.ones_like(noise[:, :1]), solver)

    estimator = recorded_estimator(version)
    exact = run(widened(estimator), torch.float64)
    check_recorded(exact.numpy(), run(estimator, torch.float32), data["euler/mel"], "the mel")


def check_recorded(exact: Array, own: Tensor, recorded: Tensor, what: object) -> None:
    """Check that the errors of upstream's float32 result and of ours are of similar size."""
    exact_beside(exact, own).check(recorded, what)
    exact_beside(exact, recorded).check(own, what)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_full_size_model_has_the_tensors_of_upstream(version: int) -> None:
    with torch.device("meta"):
        estimator = _on_meta(full_size_subject(version))
    assert {name: list(tensor.shape) for name, tensor in estimator.state_dict().items()} == contract(version)
    assert sum(parameter.numel() for parameter in estimator.parameters()) == PARAMETERS[version]
    state = {name: torch.empty(shape, device="meta") for name, shape in contract(version).items()}
    estimator.load_state_dict(state, strict=True, assign=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_fusing_layers_for_export_keeps_the_function(version: int) -> None:
    plain = tiny_estimator(version)
    wide = prepare_for_export(widened(plain))
    estimator = prepare_for_export(tiny_estimator(version))
    for length, streaming, _ in golden_calls(version):
        variant = {"streaming": True} if streaming else {}
        inputs = golden_inputs(version, length)
        exact = in_float64(plain, *inputs, **variant)
        check_same(in_float64(wide, *inputs, **variant), exact, (length, streaming))
        exact_beside(exact, plain(*inputs, **variant)).check(estimator(*inputs, **variant), (length, streaming))
    again = [name for name, _ in prepare_for_export(estimator).named_parameters()]
    assert again == [name for name, _ in estimator.named_parameters()]
    assert not any(".to_q." in name or ".to_k." in name for name in again)


@pytest.mark.parametrize("version", VERSIONS)
def test_frames_behind_the_mask_change_nothing_in_front_of_it(version: int) -> None:
    estimator = tiny_estimator(version)
    inputs = dict(zip(("x", "mask", "mu", "t", "spks", "cond"), golden_inputs(version, 37), strict=True))
    valid = inputs["mask"].bool()
    assert not valid.all()
    before = in_float64(estimator, **inputs)
    for name in ("x", "mu", "cond"):
        inputs[name] = torch.where(valid, inputs[name], torch.full_like(inputs[name], 50.0))
    after = in_float64(estimator, **inputs)
    if version == 1:
        # Its group norm and down-sampling read all frames, and masked frames are zero.
        check_same(after, before)
    check_same(after * valid.numpy(), before * valid.numpy())


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("length", [23, 41])
def test_streaming_a_later_chunk_does_not_change_an_earlier_one(version: int, length: int) -> None:
    subject = tiny_subject(version, streaming=True)
    module = load_module(subject, subject.weights)
    chunk = subject.hyperparameters["static_chunk_size"]
    x, _, mu, t, spks, cond = random_inputs(subject, 2, length)
    mask = torch.ones(2, 1, length)
    whole = in_float64(module, x, mask, mu, t, spks, cond)
    for end in range(chunk, length, chunk):
        prefix = in_float64(module, x[..., :end], mask[..., :end], mu[..., :end], t, spks, cond[..., :end])
        check_same(prefix, whole[..., :end], end)
    full = load_module(replace(subject, streaming=False), subject.weights)
    assert abs(whole - in_float64(full, x, mask, mu, t, spks, cond)).max() > 1e-2


@pytest.mark.parametrize("version", VERSIONS)
def test_long_inputs_use_the_attention_of_torch_and_agree_with_the_plain_form(
    version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimator = tiny_estimator(version)
    inputs = random_inputs(tiny_subject(version), 2, 40)
    exact, plain = in_float64(estimator, *inputs), estimator(*inputs)
    monkeypatch.setattr("cosybuild.models.cosyvoice.estimator.layers._PLAIN_FRAMES", 4)
    check_same(in_float64(estimator, *inputs), exact)
    exact_beside(exact, plain).check(estimator(*inputs))


OTHER_SHAPES = [
    (1, {"channels": [24], "num_heads": 3, "n_blocks": 1, "num_mid_blocks": 1, "in_channels": 24, "out_channels": 6}),
    (1, {"channels": [8, 16, 24], "num_heads": 1, "attention_head_dim": 4, "n_blocks": 1, "num_mid_blocks": 1}),
    (2, {"channels": [16, 8], "num_heads": 2, "attention_head_dim": 6, "n_blocks": 2, "static_chunk_size": 3}),
    (2, {"channels": [8], "num_heads": 1, "n_blocks": 1, "act_fn": "gelu-approximate", "num_mid_blocks": 3}),
    (2, {"channels": [8], "in_channels": 60, "out_channels": 20, "num_mid_blocks": 1, "static_chunk_size": 7}),
    (3, {"dim": 48, "depth": 3, "heads": 3, "dim_head": 10, "ff_mult": 1.5, "mel_dim": 7, "mu_dim": 5, "spk_dim": 3}),
    (3, {"dim": 32, "depth": 1, "heads": 1, "dim_head": 8, "static_chunk_size": 4}),
]


@pytest.mark.parametrize(("version", "values"), OTHER_SHAPES)
@pytest.mark.parametrize("length", [4, 5, 11])
def test_estimators_with_other_hyperparameters_are_computed_and_exported(
    version: int, values: dict[str, object], length: int
) -> None:
    for streaming in (False, True) if version > 1 else (False,):
        subject = full_size_subject(version, hyperparameters=values, streaming=streaming)
        module = load_module(subject, None)
        inputs = random_inputs(subject, 2, length)
        velocity = module(*inputs)
        assert velocity.shape == subject.spec.outputs[0].resolve({"seq_len": length})
        assert velocity.isfinite().all()
        assert 1e-3 < velocity[:1].std().item() < 30
        check_same(in_float64(prepare_for_export(widened(module)), *inputs), in_float64(module, *inputs))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.full_size
def test_random_full_size_weights_give_sensible_values(version: int) -> None:
    subject = full_size_subject(version)
    velocity = load_module(subject, None)(*random_inputs(subject, 2, 50))
    assert 0.05 < velocity.std().item() < 5


def _on_meta(subject: Subject) -> nn.Module:
    from cosybuild.models.cosyvoice.estimator.dit import DiT
    from cosybuild.models.cosyvoice.estimator.unet import UNet

    values = dict(subject.hyperparameters)
    if subject.family is Family.cosyvoice3:
        return DiT(**values)
    return UNet(**values, causal=subject.family is Family.cosyvoice2)


def test_seeded_weights_are_reproducible_and_do_not_change_the_generator_of_torch() -> None:
    values = {"channels": [8], "n_blocks": 1, "num_mid_blocks": 1}
    subject = full_size_subject(2, hyperparameters=values)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, second = load_network(subject, None).state_dict(), load_network(subject, None).state_dict()
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = load_network(replace(subject, seed=1), None).state_dict()
    assert not torch.equal(first["final_proj.weight"], other["final_proj.weight"])


def test_frequencies_are_rounded_correctly_on_every_processor() -> None:
    exponents = (torch.arange(128, dtype=torch.float32) * -(math.log(10000) / 127)).tolist()
    nearest = torch.tensor([math.exp(exponent) for exponent in exponents], dtype=torch.float64).float()
    assert torch.equal(sinusoid_frequencies(128), nearest)
