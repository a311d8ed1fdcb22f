"""Checkpoints as trainers write them: wrappers, nestings, averages, shards, and objects beside tensors."""

from __future__ import annotations

import argparse
import datetime
import json
import pathlib
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cosybuild.errors import CheckpointError
from cosybuild.models.checkpoint import Weights, read_weights
from cosybuild.models.cosyvoice.families import PREFIXES
from cosybuild.models.load import load_network
from tests.models.fixtures import tiny_directory, tiny_subject

State = dict[str, Tensor]


def estimator(scale: float = 1.0) -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    with torch.no_grad():
        network[0].weight.mul_(scale)
    return network


class Decoder(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.estimator = network


class Flow(nn.Module):
    """The parts of a flow model that matter for the names."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.input_embedding = nn.Embedding(5, 3)
        self.decoder = Decoder(network)


def read(path: Path, asked: str | None = None) -> Weights:
    return read_weights(path, estimator().state_dict(), PREFIXES, file="flow.pt", asked=asked)


def hold_equal(weights: Weights, scale: float = 1.0) -> None:
    expected = estimator(scale).state_dict()
    assert set(weights.tensors) == set(expected)
    for name, value in expected.items():
        assert torch.equal(weights.tensors[name], value), name


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


def flow(scale: float = 1.0) -> State:
    return dict(Flow(estimator(scale)).state_dict())


def compiled_estimator() -> State:
    return dict(Flow(torch.compile(estimator())).state_dict())  # type: ignore[arg-type]  # a module, too


CHECKPOINTS: dict[str, tuple[Any, str]] = {
    "DistributedDataParallel": (prefixed("module.", flow()), "'module.' was removed from the names of 7 tensors"),
    "torch.compile": (dict(torch.compile(Flow(estimator())).state_dict()), "'_orig_mod.' was removed"),
    "a compiled estimator": (compiled_estimator(), "'_orig_mod.' was removed"),
    "both": (prefixed("module.", compiled_estimator()), "'module.' was removed"),
    "both, the other way": (prefixed("_orig_mod.module.", flow()), "'_orig_mod.' was removed"),
    "a bare compiled estimator": (prefixed("module._orig_mod.", estimator().state_dict()), "'_orig_mod.' was removed"),
    "FSDP with checkpointing": (
        {name.replace("0.", "_fsdp_wrapped_module._checkpoint_wrapped_module.0."): v for name, v in flow().items()},
        "'_checkpoint_wrapped_module.' was removed",
    ),
    "DeepSpeed": (
        {
            "module": flow(),
            "model": "flow",
            "buffer_names": [],
            "param_shapes": [OrderedDict(a=torch.Size([3]))],
            "ds_config": {"fp16": {"enabled": False}},
            "optimizer": None,
        },
        "under 'module' of flow.pt",
    ),
    "Lightning": (
        {"state_dict": prefixed("model.", flow()), "pytorch-lightning_version": "2.5", "optimizer_states": [{}]},
        "under 'state_dict.model' of flow.pt",
    ),
    "model_state_dict": ({"model_state_dict": flow(), "loss": 0.1}, "under 'model_state_dict' of"),
    "net": ({"net": flow()}, "under 'net' of"),
    "a GAN": (
        {"generator": estimator().state_dict(), "discriminator": {"0.weight": torch.zeros(9), "1.x": torch.zeros(1)}},
        "under 'generator' of",
    ),
    "a moving average only": ({"ema": flow(), "step": 7}, "the weights of this model, a moving average, are those"),
    "AveragedModel": (
        dict(torch.optim.swa_utils.AveragedModel(estimator()).state_dict()),
        "'module.' was removed from the names of 7 tensors",
    ),
    "an optimizer beside": (
        {"model": flow(), "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}},
        "under 'model'",
    ),
    "nested twice": (
        {"checkpoint": 3, "state_dict": {"generator": prefixed("module.", flow())}},
        "state_dict.generator",
    ),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_of_a_trainer_is_understood_and_described(tmp_path: Path, name: str, zipped: bool) -> None:
    saved, note = CHECKPOINTS[name]
    torch.save(saved, tmp_path / "flow.pt", _use_new_zipfile_serialization=zipped)
    weights = read(tmp_path / "flow.pt")
    hold_equal(weights)
    assert note in "; ".join(weights.notes)


@pytest.mark.parametrize("combination", ["module.", "_orig_mod.", "module._orig_mod.", "model.module."])
def test_a_real_directory_with_wrapped_names_gives_the_same_network(tmp_path: Path, combination: str) -> None:
    subject = tiny_subject(2)
    stored = torch.load(tiny_directory(2) / "flow.pt", weights_only=True)
    torch.save(prefixed(combination, stored), tmp_path / "flow.pt")
    expected = load_network(subject, subject.weights).state_dict()
    found = load_network(subject, tmp_path / "flow.pt").state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("saved", "other"),
    [
        ({"ema": flow(2.0), "model": flow()}, "ema"),
        ({"state_dict": {**prefixed("ema_model.", flow(2.0)), **prefixed("model.", flow())}}, "state_dict.ema_model"),
        ({"generator": flow(), "ema": {"shadow": flow(2.0)}}, "ema.shadow"),
    ],
)
def test_weights_precede_their_average_and_the_setting_takes_the_average(
    tmp_path: Path, saved: Any, other: str
) -> None:
    path = tmp_path / "flow.pt"
    torch.save(saved, path)
    weights = read(path)
    hold_equal(weights)
    assert f"complete weights of this model also under '{other}'; model.weights_from={other} takes" in weights.notes[1]
    average = read(path, asked=other)
    hold_equal(average, 2.0)
    assert average.notes[0] == (f"the weights of this model, a moving average, are those under '{other}' of flow.pt")


def test_an_unusual_place_needs_the_setting(tmp_path: Path) -> None:
    path = tmp_path / "flow.pt"
    torch.save({"callbacks": {"Best": {"acoustic": flow()}}}, path)
    with pytest.raises(CheckpointError, match=r"only under the unusual prefix 'callbacks\.Best\.acoustic'") as caught:
        read(path)
    assert caught.value.hint == ("Next: model.weights_from=callbacks.Best.acoustic.")
    hold_equal(read(path, asked="callbacks.Best.acoustic"))


def test_a_place_without_weights_is_refused_with_the_places_that_have_some(tmp_path: Path) -> None:
    path = tmp_path / "flow.pt"
    torch.save({"model": flow(), "ema": flow()}, path)
    with pytest.raises(CheckpointError, match=r"model\.weights_from=best") as caught:
        read(path, asked="best")
    assert caught.value.hint == "Next: model.weights_from=model (or ema)."


def test_two_tensors_for_one_name_are_refused(tmp_path: Path) -> None:
    torch.save({**flow(), **prefixed("module.", flow(2.0))}, tmp_path / "flow.pt")
    with pytest.raises(CheckpointError, match="two tensors for one name"):
        read(tmp_path / "flow.pt")


def test_an_attribute_named_module_is_not_taken_for_a_wrapper(tmp_path: Path) -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = estimator()

    for prefix in ("", "module."):
        torch.save(prefixed(prefix, dict(Outer().state_dict())), tmp_path / "a.pt")
        found = read_weights(tmp_path / "a.pt", Outer().state_dict(), ("",))
        assert set(found.tensors) == set(Outer().state_dict())


HARMLESS: dict[str, tuple[Any, str | None]] = {
    "arguments": (argparse.Namespace(rate=0.1, path=pathlib.PurePosixPath("a")), "argparse.Namespace"),
    "a date": (datetime.datetime(2025, 4, 1, tzinfo=datetime.timezone.utc), "datetime.datetime"),
    "a numpy scalar": (np.float64(0.5), "numpy scalar"),
    "a numpy array": (np.arange(3), "numpy array"),
    "a path": (Path("x"), "PosixPath"),
    "torch's version": (torch.__version__, "torch.torch_version.TorchVersion"),
    "a dictionary with defaults": (defaultdict(list, a=[1]), "collections.defaultdict"),
    "a set of numbers": ({1, 2}, None),
}


@pytest.mark.parametrize("name", HARMLESS)
@pytest.mark.parametrize("zipped", [True, False])
def test_harmless_objects_are_skipped_and_named(tmp_path: Path, name: str, zipped: bool) -> None:
    thing, said = HARMLESS[name]
    path = tmp_path / "flow.pt"
    torch.save({"model": flow(), "extra": thing}, path, _use_new_zipfile_serialization=zipped)
    weights = read(path)
    hold_equal(weights)
    notes = "; ".join(weights.notes)
    told = notes.partition("objects that are no tensors, which were not read: ")[2]
    assert said in told if said else not told
    assert "numpy.dtype" not in notes


def test_an_omegaconf_configuration_is_skipped(tmp_path: Path) -> None:
    omegaconf = pytest.importorskip("omegaconf")
    configuration = omegaconf.OmegaConf.create({"lr": 0.1, "layers": [1, 2], "nested": {"a": None}})
    torch.save({"model": flow(), "hyper_parameters": configuration}, tmp_path / "flow.pt")
    weights = read(tmp_path / "flow.pt")
    hold_equal(weights)
    assert "omegaconf.dictconfig.DictConfig" in weights.notes[1]


class Lazy:
    """A class of the user."""


@pytest.mark.attack("execute", "the weights are refused, nothing runs")
def test_other_objects_are_refused_with_their_type(tmp_path: Path) -> None:
    torch.save({"model": flow(), "extra": Lazy()}, tmp_path / "flow.pt")
    with pytest.raises(CheckpointError, match=rf"other objects than tensors \({__name__}\.Lazy\)"):
        read(tmp_path / "flow.pt")


def test_the_weights_of_another_version_are_named() -> None:
    for version, other in ((1, 2), (2, 1), (3, 2), (1, 3)):
        with pytest.raises(CheckpointError, match=f"These are weights of CosyVoice {other}") as caught:
            load_network(tiny_subject(version), tiny_directory(other) / "flow.pt")
        assert caught.value.hint is not None
        assert "of the same version" in caught.value.hint


def test_parts_of_zero_3_have_the_command_that_joins_them(tmp_path: Path) -> None:
    empty = {name: torch.zeros(0) for name in flow()}
    torch.save({"module": empty}, tmp_path / "mp_rank_00_model_states.pt")
    with pytest.raises(CheckpointError) as caught:
        read(tmp_path / "mp_rank_00_model_states.pt")
    assert "zero_to_fp32.py" in str(caught.value.hint)


def write_shards(directory: Path, suffix: str) -> Path:
    """Write a flow model as two shards and their index, as Hugging Face's libraries do."""
    names = list(flow())
    index: dict[str, str] = {}
    for number, own in enumerate((names[:3], names[3:]), start=1):
        file = f"model-0000{number}-of-00002{suffix}"
        tensors = {name: flow()[name] for name in own}
        if suffix == ".bin":
            torch.save(tensors, directory / file)
        else:
            save_file(tensors, directory / file)
        index |= dict.fromkeys(own, file)
    path = directory / f"model{suffix}.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": index}), "utf-8")
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_shards_are_read_by_their_index(tmp_path: Path, suffix: str) -> None:
    hold_equal(read(write_shards(tmp_path, suffix)))


def test_an_index_that_does_not_fit_its_shards_is_refused(tmp_path: Path) -> None:
    index = write_shards(tmp_path, ".safetensors")
    document = json.loads(index.read_text("utf-8"))
    document["weight_map"]["decoder.estimator.0.extra"] = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps(document), "utf-8")
    with pytest.raises(CheckpointError, match="which does not have it"):
        read(index)


def test_messages_on_a_module_of_the_user_name_its_target(tmp_path: Path) -> None:
    for saved, hint in (
        ({"0.weight": torch.zeros(2, 2)}, "Next: compare the arguments of model.target with those of the training."),
        ({"x": torch.zeros(1)}, "Next: give the weights of the module that model.target names."),
    ):
        torch.save(saved, tmp_path / "mine.pt")
        with pytest.raises(CheckpointError) as caught:
            read_weights(tmp_path / "mine.pt", estimator().state_dict(), ("",))
        assert caught.value.hint == hint
        assert "flow" not in caught.value.message
        assert "decoder.estimator" not in caught.value.message
