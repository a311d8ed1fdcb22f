"""The speaker model and the tokenizer of a model directory, built by one command each."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.models.speech_graphs import NAMES, speaking_directory
from tests.scenarios.commands import Place, actions

SHORT = "trt_profile.profiles=[{seq_len: {min: 4, opt: 1 s, max: 3 s}}]"
ENGINE = "fp16" if find_spec("tensorrt_rtx") else "none"


@pytest.mark.parametrize("version", [1, 2])
def test_a_tokenizer_is_built_and_judged_by_its_tokens(version: int, place: Place) -> None:
    speaking_directory(version, place.directory / "model")
    ran = place.cosybuild("model_dir=model", "component=tokenizer", "precision=fp16", f"trt={ENGINE}", SHORT)
    assert "% equal tokens" in ran.out
    report = place.report()
    stem = NAMES[version].removesuffix(".onnx")
    names = {artifact["name"] for artifact in report["artifacts"]}
    assert {f"{stem}.onnx", f"{stem}.fp16.onnx"} <= names
    assert {"adopt", "verify", "verify lowered"} <= {step for step, done in actions(report).items() if done == "built"}
    assert any(name.endswith(".engine") for name in names) == (ENGINE != "none")
    (lowered,) = (step for step in report["steps"] if step["label"] == "verify lowered")
    assert lowered["metrics"]["kinds"] == {"indices": "tokens"}
    assert lowered["metrics"]["worst"]["equal_tokens"] > 0.9
    assert any(case["sizes"]["seq_len"] == 100 for case in lowered["metrics"]["cases"]), "a second of 100 frames"


def test_a_speaker_model_is_built_and_judged_by_the_angle_of_its_vector(place: Place) -> None:
    speaking_directory(3, place.directory / "model")
    ran = place.cosybuild("model_dir=model", "component=speaker", "precision=fp16", f"trt={ENGINE}", SHORT)
    assert "cosine of at least " in ran.out
    report = place.report()
    assert {"campplus.onnx", "campplus.fp16.onnx"} <= {artifact["name"] for artifact in report["artifacts"]}
    (lowered,) = (step for step in report["steps"] if step["label"] == "verify lowered")
    assert 0.9995 <= lowered["metrics"]["worst"]["cosine"] < 1
    assert place.cosybuild(
        "model_dir=model", "component=speaker", "precision=fp16", f"trt={ENGINE}", SHORT
    ).out.startswith("Nothing to do")


def test_a_directory_without_the_file_says_so(place: Place) -> None:
    directory = speaking_directory(3, place.directory / "model")
    (directory / NAMES[3]).unlink()
    ran = place.cosybuild("model_dir=model", "component=tokenizer", code=3)
    assert "component=tokenizer needs speech_tokenizer_v3.onnx, which model (cosyvoice3) does not have" in ran.err
    assert "Next: download the file into model" in ran.err
    assert place.runs() == []
