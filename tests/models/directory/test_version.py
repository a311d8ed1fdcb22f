"""The version of a model directory: the class of the estimator decides, whatever the yaml is called."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family, ModelSettings
from cosybuild.errors import ConfigurationError, ModelDirectoryError
from cosybuild.models.directory.reader import read_model_directory
from cosybuild.models.load import load_module
from cosybuild.models.resolve import resolve_subject
from tests.models.fixtures import VERSIONS, random_inputs, tiny_directory, tiny_subject


def copied(version: int, directory: Path, yaml: str | None = None) -> Path:
    """Return a tiny model directory whose yaml has another name."""
    shutil.copytree(tiny_directory(version), directory)
    (own,) = directory.glob("*.yaml")
    own.rename(directory / (yaml or own.name))
    return directory


def early(directory: Path, yaml: str) -> Path:
    """Make a directory of version 2 as before April 2025: the class of version 1 with `causal: True`, no chunk size."""
    path = copied(2, directory, yaml) / yaml
    path.write_text(as_early(path.read_text(encoding="utf-8")), encoding="utf-8")
    return directory


def as_early(text: str) -> str:
    """Return the text of a yaml as it was before April 2025."""
    text = text.replace("decoder.CausalConditionalDecoder\n", "decoder.ConditionalDecoder\n            causal: True\n")
    text, count = re.subn(r"\n +(static_chunk_size: !ref .* \* |num_decoding_left_chunks: !ref ).*", "", text)
    assert count == 2
    return text


@pytest.mark.parametrize("yaml", ["cosyvoice.yaml", "cosyvoice2.yaml"])
def test_version_2_from_before_april_2025_is_the_causal_estimator(tmp_path: Path, yaml: str) -> None:
    subject = resolve_subject(ModelSettings(), str(early(tmp_path / "model", yaml)), False)
    assert subject.family is Family.cosyvoice2
    present = tiny_subject(2)
    inputs = random_inputs(present, 2, 30)
    expected = load_module(present, present.weights)(*inputs)
    assert torch.equal(load_module(subject, subject.weights)(*inputs), expected)
    with pytest.raises(ConfigurationError, match="before April 2025"):
        resolve_subject(ModelSettings(streaming=True), str(tmp_path / "model"), False)


def test_causal_false_is_version_1(tmp_path: Path) -> None:
    path = copied(1, tmp_path / "model") / "cosyvoice.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace("decoder.ConditionalDecoder\n", "decoder.ConditionalDecoder\n            causal: False\n")
    )
    assert read_model_directory(tmp_path / "model").family is Family.cosyvoice1


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("yaml", ["cosyvoice.yaml", "cosyvoice2.yaml", "cosyvoice3.yaml", "mine.yaml", "model.yml"])
def test_the_class_decides_and_not_the_name(tmp_path: Path, version: int, yaml: str) -> None:
    directory = copied(version, tmp_path / "model", yaml)
    (directory / "zz.yaml").write_text("training: {lr: 1}\n")
    (directory / "broken.yaml").write_text("a: [\n")
    found = read_model_directory(directory)
    assert (found.family, found.yaml.name) == (Family(f"cosyvoice{version}"), yaml)


def test_the_setting_decides_between_files_of_two_versions(tmp_path: Path) -> None:
    directory = copied(2, tmp_path / "model")
    shutil.copy(tiny_directory(1) / "cosyvoice.yaml", directory)
    with pytest.raises(ModelDirectoryError, match=r"cosyvoice\.yaml \(cosyvoice1\) and cosyvoice2\.yaml") as caught:
        read_model_directory(directory)
    assert "model=cosyvoice1 or model=cosyvoice2" in str(caught.value.hint)
    for family, name in ((Family.cosyvoice1, "cosyvoice.yaml"), (Family.cosyvoice2, "cosyvoice2.yaml")):
        found = read_model_directory(directory, asked=family)
        assert (found.family, found.yaml.name) == (family, name)


def test_a_duplicated_file_needs_no_decision(tmp_path: Path) -> None:
    directory = copied(2, tmp_path / "model")
    shutil.copy(directory / "cosyvoice2.yaml", directory / "cosyvoice.yaml")
    assert read_model_directory(directory).yaml.name == "cosyvoice2.yaml"


STEP_AUDIO = """
flow: !new:cosyvoice2.flow.flow.CausalMaskedDiffWithXvec
  input_size: 512
  decoder: !new:cosyvoice2.flow.flow_matching.CausalConditionalCFM
    estimator: !new:cosyvoice2.flow.decoder_dit.DiT
      in_channels: 320
      out_channels: 80
      mlp_ratio: 4.0
      depth: 16
      num_heads: 8
      head_dim: 64
      hidden_size: 512
"""


def test_a_directory_of_step_audio_2_is_named(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text(STEP_AUDIO)
    with pytest.raises(ModelDirectoryError, match=r"is the token2wav of Step-Audio 2, because flow\.yaml") as caught:
        read_model_directory(tmp_path)
    assert "component=vocoder" in str(caught.value.hint)


@pytest.mark.parametrize(("encoding", "said"), [("gbk", "GBK"), ("utf-16", "UTF-16")])
def test_a_yaml_in_another_encoding_is_named_with_the_command_that_converts_it(
    tmp_path: Path, encoding: str, said: str
) -> None:
    path = copied(2, tmp_path / "model") / "cosyvoice2.yaml"
    path.write_text("# 模型\n" + path.read_text(encoding="utf-8"), encoding=encoding)
    with pytest.raises(ModelDirectoryError, match=f"is not UTF-8 text .* can be read as {said}") as caught:
        read_model_directory(tmp_path / "model")
    assert f"iconv -f {said} -t UTF-8" in str(caught.value.hint)


@pytest.mark.parametrize("component", [ComponentName.frontend, ComponentName.vocoder])
def test_other_components_of_an_early_directory_are_those_of_version_2(
    tmp_path: Path, component: ComponentName
) -> None:
    source = tiny_directory(2).with_name("token2wav2_tiny")
    shutil.copytree(source, tmp_path / "model")
    (own,) = (tmp_path / "model").glob("*.yaml")
    text = own.read_text(encoding="utf-8")
    own.rename(tmp_path / "model" / "cosyvoice.yaml").write_text(as_early(text), encoding="utf-8")
    subject = resolve_subject(ModelSettings(), str(tmp_path / "model"), False, component)
    expected = resolve_subject(ModelSettings(), str(source), False, component)
    assert (subject.family, subject.hyperparameters) == (expected.family, expected.hyperparameters)
