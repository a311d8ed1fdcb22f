"""The components `speaker` and `tokenizer`: ONNX files of a model directory, found by name and read by position."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cosybuild.config.groups.component import ComponentName, ComponentSettings
from cosybuild.config.groups.export import ExportSettings
from cosybuild.config.groups.model import Family, ModelSettings
from cosybuild.config.groups.trt_profile import ProfileSettings, RangeSettings
from cosybuild.config.settings import Settings
from cosybuild.errors import ConfigurationError, ModelDirectoryError, ModelError
from cosybuild.models.components.registry import GRAPH_FILES
from cosybuild.models.resolve import resolve_subject
from cosybuild.models.shape_profile import SizeRange
from cosybuild.numerics.inputs import Draw, draw_inputs
from cosybuild.onnxgraph.file_spec import spec_of_file
from cosybuild.request import Request
from cosybuild.run.prepare import request_from_settings
from tests.models.fixtures import DATA, VERSIONS
from tests.models.speech_graphs import NAMES, speaking_directory, write_speaker, write_tokenizer

SPEAKER, TOKENIZER = ComponentName.speaker, ComponentName.tokenizer


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    base = tmp_path_factory.mktemp("models")
    return {version: speaking_directory(version, base / str(version)) for version in VERSIONS}


def asked(component: ComponentName, directory: Path, *sizes: object) -> Request:
    ranges = {"seq_len": RangeSettings(*(sizes or (4, 500, 3000)))}  # type: ignore[arg-type]  # durations too
    return request_from_settings(
        Settings(
            model_dir=str(directory),
            model=ModelSettings(),
            component=ComponentSettings(component),
            export=ExportSettings(),
            trt_profile=ProfileSettings(profiles=(ranges,)),
        )
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_a_directory_gives_its_files(version: int, directories: dict[int, Path]) -> None:
    directory = directories[version]
    speaker, tokenizer = (asked(component, directory).subject for component in (SPEAKER, TOKENIZER))
    assert (speaker.graph, speaker.stem) == (directory / "campplus.onnx", "campplus")
    assert (tokenizer.graph, tokenizer.stem) == (directory / NAMES[version], f"speech_tokenizer_v{version}")
    assert [(t.name, t.shape, t.dtype) for t in (*tokenizer.spec.inputs, *tokenizer.spec.outputs)] == [
        ("feats", (1, 128, "seq_len"), "float32"),
        ("feats_length", (1,), "int32"),
        ("indices", (1, "tokens"), "int32"),
    ]
    drawn = draw_inputs(tokenizer.spec, Draw({"seq_len": 77}))
    assert drawn["feats_length"].tolist() == [77]
    assert abs(draw_inputs(speaker.spec, Draw({"seq_len": 77}))["input"].mean()) < 1e-5


def test_profiles_are_stated_in_frames_or_seconds(directories: dict[int, Path]) -> None:
    in_seconds = asked(TOKENIZER, directories[2], "1 s", "5 s", "30 s")
    assert in_seconds.profiles == ({"seq_len": SizeRange(100, 500, 3000)},)
    with pytest.raises(ConfigurationError, match=r"max 3001 is more than 3000 \(30 s\)"):
        asked(TOKENIZER, directories[2], 4, 500, 3001)
    assert asked(SPEAKER, directories[2], 4, 500, 3001).profiles == ({"seq_len": SizeRange(4, 500, 3001)},)


def test_a_second_name_of_the_tokenizer_is_found(tmp_path: Path, directories: dict[int, Path]) -> None:
    other = tmp_path / "model"
    speaking_directory(2, other)
    (other / NAMES[2]).rename(other / "speech_tokenizer_v2_25hz.onnx")
    assert asked(TOKENIZER, other).subject.stem == "speech_tokenizer_v2_25hz"


def test_a_missing_file_is_named_with_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(ModelDirectoryError, match=r"component=speaker needs campplus\.onnx.*does not have"):
        asked(SPEAKER, DATA / "token2wav3_tiny")
    other = speaking_directory(2, tmp_path / "model")
    (other / NAMES[2]).rename(other / NAMES[3])
    with pytest.raises(ModelDirectoryError, match=r"has speech_tokenizer_v3\.onnx, which belongs to another version"):
        asked(TOKENIZER, other)


@pytest.mark.parametrize("setting", ["streaming", "weights", "hyperparameters"])
def test_settings_that_cannot_change_a_finished_graph_are_refused(setting: str, directories: dict[int, Path]) -> None:
    values = {"streaming": True, "weights": "flow.pt", "hyperparameters": {"depth": 1}}
    model = ModelSettings(**{setting: values[setting]})  # type: ignore[arg-type]  # fields
    with pytest.raises(ConfigurationError, match=f"model.{setting}=.* cannot change component=speaker"):
        resolve_subject(model, str(directories[2]), False, SPEAKER)
    with pytest.raises(ConfigurationError, match=r"export\.dynamic_batch=True cannot change component=speaker"):
        resolve_subject(ModelSettings(), str(directories[2]), True, SPEAKER)
    with pytest.raises(ConfigurationError, match="model_dir is not set"):
        resolve_subject(ModelSettings(), None, False, SPEAKER)
    with pytest.raises(ModelDirectoryError, match="model=cosyvoice1 is set"):
        resolve_subject(ModelSettings(family=Family.cosyvoice1), str(directories[2]), False, SPEAKER)


def test_the_file_determines_names_and_may_have_a_dynamic_batch(tmp_path: Path) -> None:
    spec = spec_of_file(write_speaker(tmp_path / "a.onnx", batch=True), GRAPH_FILES[SPEAKER].spec)
    assert spec.inputs[0].shape == ("rows", "seq_len", 80)
    assert spec.axes["rows"].sizes == (1, 1, 1)
    assert spec.inputs[0].generator == "fbank"


def test_the_file_may_fix_the_number_of_frames(tmp_path: Path) -> None:
    spec = spec_of_file(write_tokenizer(tmp_path / "a.onnx", levels=True, frozen=48), GRAPH_FILES[TOKENIZER].spec)
    assert spec.inputs[0].shape == (1, 128, 48)
    assert spec.symbols == ()
    assert spec.axes == {}
    assert draw_inputs(spec, Draw({}))["feats_length"].tolist() == [48]
    assert spec.outputs[0].shape == (1, 12)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("another model", "it has 1 inputs, 2 are expected"),
        ("another size", r"output output has 100 on axis 1, 192 is expected"),
        ("no model", "not a complete ONNX file"),
    ],
)
def test_another_file_under_the_name_is_refused(fault: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    if fault == "no model":
        path.write_bytes(b"\x08\x08\x3a\x7f")
    else:
        write_speaker(path, size=100 if fault == "another size" else 192)
    expected = GRAPH_FILES[TOKENIZER if fault == "another model" else SPEAKER].spec
    with pytest.raises(ModelError, match=message):
        spec_of_file(path, expected)


def test_the_limit_of_an_axis_is_recorded_only_where_there_is_one(directories: dict[int, Path]) -> None:
    tokenizer = asked(TOKENIZER, directories[2]).subject.spec
    assert tokenizer.facts()["axes"]["seq_len"]["most"] == 3000
    free = replace(tokenizer, axes={"seq_len": replace(tokenizer.axes["seq_len"], most=None)})
    assert "most" not in free.facts()["axes"]["seq_len"]
    assert np.dtype(tokenizer.outputs[0].dtype).kind == "i"
