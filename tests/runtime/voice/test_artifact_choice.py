"""The forms of the parts of a voice: which artifact is loaded, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cosybuild.errors import ArtifactRefused, MissingRequirement, ServingError
from cosybuild.manifest import manifest_path, read_manifest, write_manifest
from cosybuild.runtime import load_estimator, load_voice
from cosybuild.runtime.voice import Voice
from cosybuild.runtime.voice.engine_part import EnginePart
from cosybuild.runtime.voice.load import load_part
from tests.runtime.voice.services import edit
from tests.runtime.voice.voices import prompt

FRONT_END, ESTIMATOR, VOCODER = "flow.frontend.fp32.onnx", "flow.decoder.estimator.fp32.onnx", "hift.fp32.onnx"
STREAMING = ESTIMATOR.replace(".fp32", ".streaming.fp32")


def add_form(service: Path, name: str, other: str, slot: str = "lowered") -> Path:
    """Copy a graph as another form of the same part."""
    path = Path(shutil.copy(service / name, service / other))
    shutil.copy(manifest_path(service / name), manifest_path(path))
    edit(path, lambda manifest: manifest.update(slot=slot))
    return path


def add_engine(service: Path, name: str, library: str = "tensorrt", **facts: Any) -> Path:
    """Write a file in place of an engine, with the manifest that a build would give it."""
    manifest = read_manifest(service / name)
    assert manifest is not None
    path = service / name.replace(".fp32.onnx", ".fp16.sm89.plan")
    path.write_bytes(b"ftrt" + bytes(100))
    target = {"flavour": library, "version": "10.13.3", "sm": 89, "hardware_compatibility": "none"}
    built_for = {**target, "version_compatible": False}
    write_manifest(path, {**manifest, "slot": "engine_sm89", "built_for": built_for, **facts})
    return path


def names(voice: Voice) -> dict[str, str]:
    """Return the file of each part."""
    parts: dict[str, Any] = {"vocoder": voice.vocoder}
    for prefix, flow in (("", voice._full), ("streaming ", voice._streaming)):
        if flow is not None:
            parts |= {f"{prefix}frontend": flow.frontend, f"{prefix}estimator": flow.estimator}
    return {part: loaded.name for part, loaded in parts.items()}


@pytest.fixture
def forms(service: Path) -> Path:
    """Return a directory with a lowered form of each part."""
    for name in (FRONT_END, ESTIMATOR, VOCODER, STREAMING, FRONT_END.replace(".fp32", ".streaming.fp32")):
        add_form(service, name, name.replace("fp32", "fp16"))
    return service


@pytest.mark.parametrize(
    ("asked", "lowered"),
    [
        ({}, []),
        ({"estimator": "lowered"}, ["estimator", "streaming estimator"]),
        ({"estimator": "lowered", "vocoder": "graph"}, ["estimator", "streaming estimator"]),
        ({"vocoder": "lowered"}, ["vocoder"]),
        ({"vocoder": VOCODER.replace("fp32", "fp16")}, ["vocoder"]),
        ({"estimator": ESTIMATOR.replace("fp32", "fp16")}, ["estimator"]),
        ({"estimator": STREAMING.replace("fp32", "fp16")}, ["streaming estimator"]),
        (
            dict.fromkeys(("frontend", "estimator", "vocoder"), "lowered"),
            ["frontend", "estimator", "vocoder", "streaming frontend", "streaming estimator"],
        ),
    ],
)
def test_each_part_has_the_form_that_was_asked_for(forms: Path, asked: Mapping[str, str], lowered: list[str]) -> None:
    voice = load_voice(forms, threads=1, forms=asked)
    assert {part for part, name in names(voice).items() if "fp16" in name} == set(lowered)
    assert voice([1, 2, 3], *prompt(2)).size


def test_a_form_that_is_missing_is_named_with_those_that_are_there(service: Path) -> None:
    with pytest.raises(ArtifactRefused, match=r"no vocoder of the form 'lowered'; it has hift\.fp32\.onnx \(graph\)"):
        load_voice(service, forms={"vocoder": "lowered"})
    with pytest.raises(ArtifactRefused, match=r"no vocoder of the form 'hift\.fp8\.onnx'"):
        load_voice(service, forms={"vocoder": "hift.fp8.onnx"})
    add_form(service, ESTIMATOR, "flow.decoder.estimator.fp16.onnx")
    with pytest.raises(ArtifactRefused, match="no estimator with streaming attention of the form 'lowered'") as caught:
        load_voice(service, forms={"estimator": "lowered"})
    assert "leave 'estimator' out" in str(caught.value.hint)


@pytest.mark.parametrize(("asked", "message"), [({"decoder": "graph"}, "'decoder'"), ({"vocoder": 16}, "is 16")])
def test_other_parts_and_values_are_refused(service: Path, asked: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ServingError, match=message):
        load_voice(service, forms=asked)


@pytest.fixture
def engines(service: Path) -> Path:
    """Return a directory with engines of both estimators."""
    for name in (ESTIMATOR, STREAMING):
        add_engine(service, name)
    return service


def test_an_engine_is_loaded_only_if_it_is_asked_for(engines: Path) -> None:
    assert all(name.endswith(".onnx") for name in names(load_voice(engines, threads=1)).values())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_an_engine_is_refused_with_what_is_missing(engines: Path) -> None:
    with pytest.raises(
        ArtifactRefused, match=r"built for sm_89, TensorRT 10\.13\.3; here no GPU.*there is no GPU"
    ) as c:
        load_voice(engines, forms={"estimator": "engine"})
    assert "forms={'estimator': 'graph'}" in str(c.value.hint)


def test_a_damaged_engine_is_refused_as_damaged(engines: Path) -> None:
    (engines / ESTIMATOR.replace(".fp32.onnx", ".fp16.sm89.plan")).write_bytes(b"ftrt" + bytes(99) + b"1")
    with pytest.raises(ArtifactRefused, match="is not the file that its manifest describes"):
        load_voice(engines, forms={"estimator": "engine"})


def test_an_engine_of_other_weights_makes_the_directory_no_voice(engines: Path) -> None:
    path = engines / ESTIMATOR.replace(".fp32.onnx", ".fp16.sm89.plan")
    edit(path, lambda manifest: manifest["model"].update(weights_digest="a" * 64))
    with pytest.raises(ArtifactRefused, match=r"the estimator of 2 builds: .*\.plan from .*sha256 aaa"):
        load_voice(engines)


def test_an_engine_of_another_part_is_refused(service: Path) -> None:
    add_engine(service, VOCODER)
    with pytest.raises(ArtifactRefused, match="a voice takes an engine of the estimator only, and it is a vocoder"):
        load_voice(service, forms={"vocoder": "engine"})


def test_an_engine_needs_pytorch(engines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, purpose: str) -> None:
        raise MissingRequirement(f"{purpose} needs the Python package '{name}'")

    monkeypatch.setattr("cosybuild.runtime.voice.engine_part.require", absent)
    with pytest.raises(MissingRequirement, match=r"flow\.decoder\.estimator.* needs the Python package 'torch'"):
        load_voice(engines, forms={"estimator": "engine"})


@pytest.mark.parametrize("streaming", [False, True])
def test_an_estimator_of_pytorch_gives_the_velocity_of_the_part(service: Path, streaming: bool) -> None:
    """The adapter of engines, around the estimator that runs here: a graph on the CPU."""
    path = service / (STREAMING if streaming else ESTIMATOR)
    adapter = EnginePart(path.name, load_estimator(path, threads=1), streaming, torch)
    random = np.random.default_rng(0)
    wide = {name: random.normal(size=(2, 80, 20)).astype(np.float32) for name in ("x", "mu", "cond")}
    given = {**wide, "mask": np.ones((2, 1, 20), np.float32), "t": np.full(2, 0.5, np.float32)}
    given["spks"] = random.normal(size=(2, 80)).astype(np.float32)
    expected = load_part(path, threads=1)(**given)["estimator_out"]
    assert np.array_equal(adapter(**given)["estimator_out"], expected)
