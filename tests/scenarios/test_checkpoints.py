"""Builds from checkpoints of trainers; the report says which forms were found."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import torch

from tests.models.fixtures import tiny_directory
from tests.scenarios.commands import QUICK, Place
from tests.scenarios.rebuilding import make_small_model

ONLY_EXPORT = (*QUICK[:2], "simplify=none", "verify=off", *QUICK[3:])


def notes(place: Place, *words: str) -> list[str]:
    """Build, and return the notes on the weights in report.md."""
    printed = place.cosybuild(*ONLY_EXPORT, *words).out
    (report,) = re.findall(r"^(\S+/report\.md)$", printed, re.M)
    text = (place.directory / report).read_text(encoding="utf-8")
    return re.findall(r"^\| note \| (.*) \|$", text, re.M)


def graph(place: Place) -> bytes:
    """Return the graph of the newest run."""
    runs = sorted((place.directory / "outputs" / "runs").iterdir(), key=lambda run: run.stat().st_mtime)
    return next(runs[-1].glob("artifacts/*.onnx")).read_bytes()


def test_the_report_says_what_was_understood_and_the_setting_chooses(place: Place) -> None:
    model = place.directory / "model"
    make_small_model(model)
    state = torch.load(model / "flow.pt", weights_only=True)
    plain = notes(place)
    assert plain == []
    expected = graph(place)
    halves = {f"module.{name}": value.half() for name, value in state.items()}
    torch.save({"ema": state, "model": halves, "args": argparse.Namespace(lr=1)}, place.directory / "epoch_3.pt")
    told = notes(place, "model.weights=epoch_3.pt")
    used = sum(name.startswith("decoder.estimator.") for name in state)
    assert told[:3] == [
        "the weights of this model are those under 'model' of epoch_3.pt",
        "epoch_3.pt has complete weights of this model also under 'ema'; model.weights_from=ema takes those",
        f"'module.' was removed from the names of {used} tensors of epoch_3.pt",
    ]
    assert told[3].endswith("tensors of epoch_3.pt were converted from float16 to float32")
    assert told[4] == "epoch_3.pt also has objects that are no tensors, which were not read: argparse.Namespace"
    assert graph(place) != expected
    average = notes(place, "model.weights=epoch_3.pt", "model.weights_from=ema")
    assert average[0] == "the weights of this model, a moving average, are those under 'ema' of epoch_3.pt"
    assert graph(place) == expected


def test_a_directory_with_shards_is_built_and_a_changed_shard_builds_again(place: Place) -> None:
    from safetensors.torch import save_file

    make_small_model(place.directory / "model")
    state = torch.load(place.directory / "model" / "flow.pt", weights_only=True)
    shards = place.directory / "shards"
    shards.mkdir()
    names = list(state)
    files = {"model-1.safetensors": names[:40], "model-2.safetensors": names[40:]}
    for file, own in files.items():
        save_file({name: state[name] for name in own}, shards / file)
    index = {name: file for file, own in files.items() for name in own}
    (shards / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}), encoding="utf-8")
    place.cosybuild(*ONLY_EXPORT)
    expected = graph(place)
    place.cosybuild(*ONLY_EXPORT, "model.weights=shards")
    assert graph(place) == expected
    assert "Nothing to do" in place.cosybuild(*ONLY_EXPORT, "model.weights=shards").out
    save_file({name: state[name] * 2 for name in names[40:]}, shards / "model-2.safetensors")
    assert "input.weights" in place.cosybuild(*ONLY_EXPORT, "model.weights=shards").out
    assert graph(place) != expected


def test_weights_from_without_weights_is_refused(place: Place) -> None:
    answer = place.cosybuild("model.weights_from=ema", "trt=none", code=2)
    assert "has no effect on random weights" in answer.err


def test_weights_of_another_version_are_named(place: Place) -> None:
    make_small_model(place.directory / "model")
    other: Path = tiny_directory(3) / "flow.pt"
    answer = place.cosybuild(*ONLY_EXPORT, f"model.weights={other}", code=3)
    assert "These are weights of CosyVoice 3." in answer.err
