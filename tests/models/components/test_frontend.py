"""The front end as a component: its inputs, sizes, weights and names. The estimator is unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family, ModelSettings
from cosybuild.config.groups.trt_profile import ProfileSettings, RangeSettings
from cosybuild.errors import CheckpointError, ConfigurationError
from cosybuild.models.artifact_name import artifact_name
from cosybuild.models.components.registry import COMPONENTS, GRAPH_FILES
from cosybuild.models.load import load_network
from cosybuild.models.resolve import resolve_subject
from cosybuild.models.shape_profile import Profile, SizeRange, expand_profiles
from cosybuild.models.spec import ModelSpec
from cosybuild.numerics.inputs import Draw, draw_inputs
from cosybuild.system.typed_json import from_json
from cosybuild.verification.cases import strict_cases, upstream_cases
from tests.models.fixtures import VERSIONS, tiny_subject
from tests.models.frontends import front_end_subject, full_size_front_end


def expanded(spec: ModelSpec, **ranges: tuple[Any, Any, Any]) -> Profile:
    stated = {symbol: RangeSettings(*sizes) for symbol, sizes in ranges.items()}
    (profile,) = expand_profiles(ProfileSettings("mine", (stated,)), spec)
    return profile


def test_every_component_is_registered_under_its_name() -> None:
    assert {*COMPONENTS, *GRAPH_FILES, ComponentName.token2wav} == set(ComponentName)
    assert len({component.stem for component in COMPONENTS.values()}) == len(COMPONENTS)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_specification_has_the_inputs_and_outputs_of_the_version(version: int) -> None:
    subject = full_size_front_end(version)
    spec = subject.spec
    ahead = {} if version == 1 else {"lookahead_token": (1, "lookahead")}
    assert {tensor.name: tensor.shape for tensor in spec.inputs} == {
        "token": (1, "tokens"),
        "prompt_token": (1, "prompt_tokens"),
        "prompt_feat": (1, "prompt_frames", 80),
        "embedding": (1, 192),
        **ahead,
    }
    vocabulary = 4096 if version == 1 else 6561
    assert {tensor.high for tensor in spec.inputs if tensor.dtype == "int64"} == {vocabulary}
    assert [(tensor.name, tensor.shape) for tensor in spec.outputs] == [
        ("mu", (1, 80, "seq_len")),
        ("spks", (1, 80)),
        ("cond", (1, 80, "seq_len")),
    ]
    assert subject.solver is None
    assert artifact_name(subject) == "flow.frontend.fp32.onnx"


def test_one_profile_in_mel_frames_gives_the_sizes_of_every_axis() -> None:
    frames = (4, 500, 3000)
    assert expanded(full_size_front_end(2).spec, seq_len=frames) == {
        "tokens": SizeRange(1, 125, 750),
        "prompt_tokens": SizeRange(0, 125, 750),
        "prompt_frames": SizeRange(0, 250, 1500),
        "lookahead": SizeRange(0, 3, 3),
    }
    assert expanded(full_size_front_end(1).spec, seq_len=frames) == {
        "tokens": SizeRange(1, 146, 871),
        "prompt_tokens": SizeRange(0, 146, 871),
        "prompt_frames": SizeRange(0, 250, 1500),
    }
    assert expanded(tiny_subject(2).spec, seq_len=frames) == {"seq_len": SizeRange(*frames)}


def test_sizes_are_stated_in_tokens_or_seconds() -> None:
    stated: dict[str, tuple[Any, Any, Any]] = {
        "tokens": (2, "4 s", "10 s"),
        "prompt_tokens": (0, "3 s", "10 s"),
        "prompt_frames": (0, "3 s", "10 s"),
    }
    assert expanded(full_size_front_end(3).spec, **stated) == {
        "tokens": SizeRange(2, 100, 250),
        "prompt_tokens": SizeRange(0, 75, 250),
        "prompt_frames": SizeRange(0, 150, 500),
        "lookahead": SizeRange(0, 3, 3),
    }
    with pytest.raises(ConfigurationError, match=r"tokens\.min is 0; a whole number of at least 1"):
        expanded(full_size_front_end(3).spec, **{**stated, "tokens": (0, 1, 2)})
    with pytest.raises(ConfigurationError, match="gives no range for the axis 'tokens'"):
        expanded(full_size_front_end(3).spec, prompt_tokens=(0, 1, 2))


def test_cases_reach_every_length_and_its_boundaries() -> None:
    spec = front_end_subject(2, streaming=True).spec
    profile = expanded(spec, seq_len=(4, 24, 64))
    cases = strict_cases(spec, [profile], 0, {symbol: axis.boundaries for symbol, axis in spec.axes.items()})
    sizes = [case.draw.sizes for case in cases]
    assert {1, 4, 5, 6, 11} <= {one["tokens"] for one in sizes}
    assert {one["lookahead"] for one in sizes} >= {0, 3}
    assert {one["lookahead"] for one in [*sizes, *(c.draw.sizes for c in upstream_cases(spec, [profile], 0))]} <= {
        0,
        1,
        2,
        3,
    }
    assert {0} < {one["prompt_tokens"] for one in sizes}
    split = {case.draw.sizes["tokens"] for case in strict_cases(
        front_end_subject(1).spec, [expanded(front_end_subject(1).spec, seq_len=(4, 500, 3000))], 0,
        {"tokens": front_end_subject(1).spec.axes["tokens"].boundaries})}  # fmt: skip
    assert {40, 41} <= split


def test_drawn_tokens_are_in_the_vocabulary_and_the_prompt_is_like_speech() -> None:
    spec = front_end_subject(2).spec
    sizes = {"tokens": 300, "prompt_tokens": 200, "prompt_frames": 400, "lookahead": 0}
    drawn = draw_inputs(spec, Draw(sizes))
    assert drawn["token"].dtype == np.int64
    assert (int(drawn["token"].min()), int(drawn["token"].max())) == (0, 39)
    assert drawn["lookahead_token"].shape == (1, 0)
    assert drawn["prompt_feat"].shape == (1, 400, 80)


@pytest.mark.parametrize("version", VERSIONS)
def test_tensors_of_other_networks_are_ignored_and_none_of_its_own_may_be_missing(version: int, tmp_path: Path) -> None:
    subject = front_end_subject(version)
    assert subject.weights is not None
    state = torch.load(subject.weights, weights_only=True)
    assert any(name.startswith("decoder.") for name in state)
    network = load_network(subject, subject.weights)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    whole = {f"flow.{name}": tensor for name, tensor in state.items()}
    torch.save({**whole, "hift.bias": torch.zeros(1)}, tmp_path / "model.pt")
    again = load_network(subject, tmp_path / "model.pt").state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in network.state_dict().items())
    del state["spk_embed_affine_layer.bias"]
    torch.save({**state, "spk_embed_affine_layer.more": torch.zeros(1)}, tmp_path / "flow.pt")
    with pytest.raises(CheckpointError, match=r"1 missing:\s+spk_embed_affine_layer.bias\s+1 unexpected:"):
        load_network(subject, tmp_path / "flow.pt")


def test_random_weights_follow_the_seed() -> None:
    small = {"vocab_size": 9, "channels": 8}
    first, second, other = (
        load_network(full_size_front_end(3, hyperparameters=small, seed=seed), None).state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert not torch.equal(first["input_embedding.weight"], other["input_embedding.weight"])


def test_settings_that_the_component_does_not_support_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="component=frontend has a fixed batch of one"):
        resolve_subject(ModelSettings(), None, True, ComponentName.frontend)
    with pytest.raises(ConfigurationError, match="of cosyvoice1 has no streaming variant"):
        full_size_front_end(1, streaming=True)
    with pytest.raises(ConfigurationError, match="component=frontend is a network of CosyVoice"):
        resolve_subject(ModelSettings(family=Family.onnx, path="x.onnx"), None, False, ComponentName.frontend)
    with pytest.raises(ConfigurationError, match=r"num_bloks: cosyvoice2 has no such hyper-parameter; .* num_blocks"):
        full_size_front_end(2, hyperparameters={"num_bloks": 1})
    with pytest.raises(ConfigurationError, match="encoder_size is 500, where an even multiple"):
        full_size_front_end(2, hyperparameters={"encoder_size": 500})


@pytest.mark.parametrize("version", VERSIONS)
def test_a_specification_is_equal_after_it_is_recorded_and_read(version: int) -> None:
    spec = front_end_subject(version).spec
    assert from_json(json.loads(json.dumps(spec.facts())), ModelSpec, "index.json") == spec


def test_the_record_of_the_specification_of_the_estimator_is_unchanged() -> None:
    facts = tiny_subject(2).spec.facts()
    assert list(facts) == ["inputs", "outputs", "guidance", "frames_per_second"]
    assert from_json(json.loads(json.dumps(facts)), ModelSpec, "index.json") == tiny_subject(2).spec
