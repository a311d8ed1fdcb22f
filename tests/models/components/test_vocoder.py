"""The component `vocoder`: from a directory, with random weights, and built by one command."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family, ModelSettings
from cosybuild.config.groups.vocoder import Cut, F0Type, VocoderSettings
from cosybuild.errors import ConfigurationError
from cosybuild.models.artifact_name import artifact_name
from cosybuild.models.cosyvoice.vocoder.f0_predictor import WideF0Predictor
from cosybuild.models.cosyvoice.vocoder.hift import Hift
from cosybuild.models.load import load_module
from cosybuild.models.resolve import resolve_subject
from cosybuild.models.subject import Subject
from cosybuild.stages.export import subject_settings
from tests.models.cosyvoice.vocoder.vocoders import VERSIONS, call, directory, draw, like, published, tiny


def subject(version: int, **settings: object) -> Subject:
    return resolve_subject(ModelSettings(**settings), str(directory(version)), False, ComponentName.vocoder)  # type: ignore[arg-type]  # fields


@pytest.mark.parametrize("version", VERSIONS)
def test_the_vocoder_of_a_directory_is_loaded(version: int) -> None:
    found = subject(version)
    assert found.hyperparameters == asdict(like(published(version)))
    assert found.weights == directory(version) / "hift.pt"
    assert (found.stem, found.solver) == ("hift", None)
    rate = found.hyperparameters["sampling_rate"]
    assert found.spec.frames_per_second == pytest.approx(rate / tiny(version).values.samples_per_frame)
    module = load_module(found, found.weights)
    inputs = draw(tiny(version).values, 7)
    assert all(torch.equal(a, b) for a, b in zip(call(module, inputs), call(tiny(version), inputs), strict=True))


@pytest.mark.parametrize("version", VERSIONS)
def test_without_a_directory_weights_are_random(version: int) -> None:
    values = {"base_channels": 16, "f0_channels": 8, "nb_harmonics": 2}
    model = ModelSettings(family=Family(f"cosyvoice{version}"), hyperparameters=values, seed=3)
    found = resolve_subject(model, None, False, ComponentName.vocoder)
    first, second = load_module(found, None), load_module(found, None)
    inputs = draw(like(published(version), **values), 5)
    assert call(first, inputs)[0].shape == (1, 5 * published(version).samples_per_frame)
    assert torch.equal(call(first, inputs)[0], call(second, inputs)[0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"interpolation": "cubic"}, "interpolation is 'cubic', where one of exact, linear, nearest is expected"),
        ({"causal": 1}, "causal is 1, where true or false is expected"),
        ({"n_fft": 17}, "n_fft is 17 and hop_len 4"),
        ({"harmonics": 3}, "has no such hyper-parameter"),
    ],
)
def test_invalid_hyperparameters_are_refused(values: dict[str, object], message: str) -> None:
    model = ModelSettings(family=Family.cosyvoice2, hyperparameters=values)
    with pytest.raises(ConfigurationError, match=message):
        resolve_subject(model, None, False, ComponentName.vocoder)


def test_settings_choose_the_form_of_the_graph() -> None:
    form = VocoderSettings(Cut.spectrum, F0Type.float64)
    model, home = ModelSettings(), str(directory(3))
    found = resolve_subject(model, home, False, ComponentName.vocoder, form)
    assert [output.name for output in found.spec.outputs][:2] == ["spectrum_magnitude", "spectrum_phase"]
    assert artifact_name(found) == "hift.spectrum.f0_float64.fp32.onnx"
    module = load_module(found, found.weights)
    assert isinstance(module, Hift)
    assert isinstance(module.f0_predictor, WideF0Predictor)
    default = subject(3)
    assert artifact_name(default) == "hift.fp32.onnx"
    assert subject_settings(found)["form"] == ["spectrum", "f0_float64"]
    assert "form" not in subject_settings(default), "keys of earlier releases"
    other = resolve_subject(model, home, False, ComponentName.frontend, form)
    assert other == resolve_subject(model, home, False, ComponentName.frontend)


def test_a_streaming_form_is_refused(tmp_path: Path) -> None:
    """One graph serves a stream and a whole utterance."""
    with pytest.raises(ConfigurationError, match="streaming"):
        subject(2, streaming=True)


def test_specifications_of_earlier_releases_keep_their_keys() -> None:
    facts = subject(2).spec.facts()
    assert [output.get("kind") for output in facts["outputs"]] == ["waveform", "f0", "phase", None]
    assert not any("kind" in tensor for tensor in facts["inputs"])
    estimator = resolve_subject(ModelSettings(), str(directory(2)), False).spec.facts()
    assert not any("kind" in tensor for tensor in (*estimator["inputs"], *estimator["outputs"]))
