"""The joint request of all parts: each part has the request of a build of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cosybuild.config.groups.component import ComponentName, ComponentSettings
from cosybuild.config.groups.deploy import DeploySettings, Service
from cosybuild.config.groups.export import ExportSettings
from cosybuild.config.groups.model import Family, ModelSettings
from cosybuild.config.groups.precision import PrecisionSettings
from cosybuild.config.groups.trt_profile import ProfileSettings, RangeSettings
from cosybuild.config.groups.verify import VerifySettings
from cosybuild.config.groups.vocoder import Cut, VocoderSettings
from cosybuild.config.settings import Settings
from cosybuild.errors import ConfigurationError, DeployError, ModelDirectoryError
from cosybuild.models.shape_profile import SizeRange
from cosybuild.request import Request
from cosybuild.run.prepare import request_from_settings, sources_of
from cosybuild.stages.pipeline import stages_for
from cosybuild.store.store import Store
from tests.models.fixtures import DATA, VERSIONS
from tests.models.speech_graphs import speaking_directory

NETWORKS = ["frontend", "estimator", "vocoder"]
DEFAULT = {"seq_len": RangeSettings(4, 500, 3000)}


def settings(model_dir: Path | None, *profiles: dict[str, RangeSettings], **more: Any) -> Settings:
    return Settings(
        **{
            "model_dir": None if model_dir is None else str(model_dir),
            "component": ComponentSettings(ComponentName.token2wav),
            "verify": VerifySettings(),
            "trt_profile": ProfileSettings(profiles=profiles or (DEFAULT,)),
            **more,
        }
    )


def tiny(version: int) -> Path:
    return DATA / f"token2wav{version}_tiny"


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speaking_directory(2, tmp_path_factory.mktemp("models") / "2")


@pytest.mark.parametrize("version", VERSIONS)
def test_each_part_has_the_request_of_a_build_of_its_own(version: int) -> None:
    joint = settings(tiny(version))
    request = request_from_settings(joint)
    assert list(request.parts) == NETWORKS
    for name, part in request.parts.items():
        alone = request_from_settings(replace(joint, component=ComponentSettings(ComponentName(name))))
        assert part == alone
        assert part.profiles == alone.profiles
    assert request.subject.family is Family(f"cosyvoice{version}")
    assert request.profiles == ()
    assert request.each == tuple(request.parts.values())


def test_files_that_the_directory_ships_are_parts_and_missing_ones_are_noted(speaking: Path) -> None:
    request = request_from_settings(settings(speaking))
    assert list(request.parts) == [*NETWORKS, "speaker", "tokenizer"]
    assert request.subject.notes == ()
    (note, other) = request_from_settings(settings(tiny(2))).subject.notes
    assert "speaker is not built: it is campplus.onnx, and" in note
    assert "tokenizer is not built: it is speech_tokenizer_v2.onnx or speech_tokenizer_v2_25hz.onnx, and" in other


@pytest.mark.parametrize(
    ("model_dir", "verify", "reasons"),
    [
        (
            None,
            VerifySettings(),
            "frontend has random weights; estimator has random weights; vocoder has random weights",
        ),
        (tiny(2), None, r"nothing is verified \(verify=off\)"),
    ],
)
def test_a_deployment_that_cannot_succeed_is_refused_before_the_build(
    tmp_path: Path, model_dir: Path | None, verify: VerifySettings | None, reasons: str
) -> None:
    deploy = DeploySettings(Service.bundle, dir=str(tmp_path))
    given = settings(model_dir, verify=verify, deploy=deploy)
    with pytest.raises(DeployError, match=rf"^deploy=bundle is refused: {reasons}\."):
        request_from_settings(given)
    request_from_settings(replace(given, deploy=replace(deploy, force=True)))


def test_a_vocoder_without_a_waveform_leaves_the_whole_voice_unverified() -> None:
    labels = [step.label for step in stages_for(request_from_settings(settings(tiny(2))))]
    assert labels[-1] == "verify voice"
    request = request_from_settings(settings(tiny(2), vocoder=VocoderSettings(cut=Cut.spectrum)))
    assert "verify voice" not in [step.label for step in stages_for(request)]
    assert any("the whole voice is not verified" in note for note in request.subject.notes)


def test_without_a_directory_the_networks_have_random_weights() -> None:
    request = request_from_settings(settings(None))
    assert list(request.parts) == NETWORKS
    assert all("there is no model_dir" in note for note in request.subject.notes)


def test_steps_and_sources_are_those_of_the_parts(speaking: Path, tmp_path: Path) -> None:
    request = request_from_settings(settings(speaking))
    steps = stages_for(request)
    labels = [step.label for step in steps]
    assert [label for label in labels if label.startswith("vocoder")] == [
        "vocoder export", "vocoder reference", "vocoder verify"
    ]  # fmt: skip
    assert "speaker adopt" in labels
    assert [step.label for step in stages_for(request.of("vocoder"))] == ["export", "reference", "verify"]
    sources = sources_of(request, Store(tmp_path / "store"))
    assert list(sources) == [
        "frontend.weights", "estimator.weights", "vocoder.weights", "speaker.graph", "tokenizer.graph"
    ]  # fmt: skip
    assert sources["frontend.weights"].digest == sources["estimator.weights"].digest


def test_a_part_takes_of_a_profile_what_it_has(speaking: Path) -> None:
    wide = {"seq_len": RangeSettings(4, 500, 5000), "batch": RangeSettings(2, 4, 8)}
    request = request_from_settings(settings(speaking, wide, export=ExportSettings(dynamic_batch=True)))
    largest = {name: part.profiles[0].get("seq_len") for name, part in request.parts.items()}
    assert largest["estimator"] == largest["vocoder"] == largest["speaker"] == SizeRange(4, 500, 5000)
    assert largest["tokenizer"] == SizeRange(4, 500, 3000), "30 s"
    assert request.parts["estimator"].profiles[0]["batch"] == SizeRange(2, 4, 8)
    assert "batch" not in request.parts["vocoder"].profiles[0]
    assert not request.parts["vocoder"].settings.export.dynamic_batch


def test_a_streaming_build_has_the_streaming_form_of_the_parts_that_have_one(speaking: Path) -> None:
    request = request_from_settings(settings(speaking, model=ModelSettings(streaming=True)))
    assert {name: part.subject.streaming for name, part in request.parts.items()} == {
        "frontend": True, "estimator": True, "vocoder": False, "speaker": False, "tokenizer": False
    }  # fmt: skip
    with pytest.raises(ConfigurationError, match="of cosyvoice1 has no streaming variant"):
        request_from_settings(settings(tiny(1), model=ModelSettings(streaming=True)))


def test_lengths_in_service_are_those_of_mels(speaking: Path, tmp_path: Path) -> None:
    file = tmp_path / "lengths.txt"
    file.write_text("100\n")
    request = request_from_settings(settings(speaking, verify=VerifySettings(lengths=str(file))))
    assert [name for name, part in request.parts.items() if part.served] == ["estimator", "vocoder"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"model": ModelSettings(weights="flow.pt")}, "model.weights=flow.pt is about one network"),
        ({"export": ExportSettings(static={"seq_len": 500})}, "export.static=.* is about one network"),
        ({"model": ModelSettings(name="x")}, "model.name=x is about one network"),
        ({"precision": PrecisionSettings(keep_fp32=("Conv",))}, r"precision.keep_fp32=\['Conv'\] is about one network"),
        (
            {
                "deploy": DeploySettings(service=Service.triton, force=True),
                "vocoder": VocoderSettings(cut=Cut.spectrum),
            },
            "deploy=triton needs a vocoder with a waveform",
        ),
        ({"model": ModelSettings(family=Family.onnx, path="x")}, "component=token2wav is a network of CosyVoice"),
        ({"trt_profile": ProfileSettings(profiles=({"seq_length": RangeSettings(1, 2, 3)},))}, "axis 'seq_length'"),
    ],
)
def test_settings_of_one_network_are_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        request_from_settings(settings(tiny(2), **more))


def test_the_directory_must_be_of_the_version_that_is_asked_for() -> None:
    with pytest.raises(ModelDirectoryError, match="model=cosyvoice1 is set"):
        request_from_settings(settings(tiny(2), model=ModelSettings(family=Family.cosyvoice1)))


def test_requests_differ_in_their_parts(speaking: Path) -> None:
    def without_batch(request: Request) -> Request:
        return replace(request, parts={name: part for name, part in request.parts.items() if name != "speaker"})

    request = request_from_settings(settings(speaking))
    assert request == request_from_settings(settings(speaking))
    assert request != without_batch(request)
