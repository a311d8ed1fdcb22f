"""The front end's hyper-parameters, which are read from a model directory's yaml and not assumed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cosybuild.errors import ModelDirectoryError
from cosybuild.models.cosyvoice.frontend.hyperparameters import PUBLISHED
from cosybuild.models.directory.frontend import front_end_hyperparameters
from cosybuild.models.directory.reader import read_model_directory
from tests.models.fixtures import DATA, VERSIONS, tiny_directory

ENCODER = {"encoder_size": 32, "attention_heads": 2, "linear_units": 48, "num_blocks": 2}
SHARED = {"vocab_size": 40, "input_size": 32, "output_size": 80, "spk_embed_dim": 192}
EXPECTED = {
    1: {**SHARED, **ENCODER, "sampling_ratios": (1, 1, 1, 1), "input_frame_rate": 50},
    2: {**SHARED, **ENCODER, "up_blocks": 4, "token_mel_ratio": 2, "pre_lookahead_len": 3, "chunk_size": 5},
    3: {**SHARED, "input_size": 80, "channels": 24, "token_mel_ratio": 2, "pre_lookahead_len": 3},
}


def edited(place: Path, version: int, pattern: str, replacement: str) -> Path:
    """Return a copy of a tiny model directory with one change in its yaml."""
    (source,) = (DATA / f"token2wav{version}_tiny").glob("*.yaml")
    text, count = re.subn(pattern, replacement, source.read_text(), count=1)
    assert count == 1, pattern
    (place / source.name).write_text(text)
    return place


@pytest.mark.parametrize("version", VERSIONS)
def test_every_value_of_the_yaml_is_read(version: int) -> None:
    found = read_model_directory(DATA / f"token2wav{version}_tiny", front_end_hyperparameters)
    assert found.hyperparameters == EXPECTED[version]
    assert list(found.hyperparameters) == list(PUBLISHED[found.family])


def test_without_a_chunk_the_published_value_is_used(tmp_path: Path) -> None:
    path = edited(tmp_path, 2, r" +static_chunk_size: !ref <chunk_size>\n", "")
    assert read_model_directory(path, front_end_hyperparameters).hyperparameters["chunk_size"] == 25


BROKEN = [
    (1, "flow.MaskedDiffWithXvec", "flow.OtherFlow", "flow is a OtherFlow, where a MaskedDiffWithXvec"),
    (2, "UpsampleConformerEncoder", "ConformerEncoder", "flow -> encoder is a ConformerEncoder"),
    (2, "encoder: !new", "encader: !new", "flow -> encoder is not a `!new:` node"),
    (2, "vocab_size: 40", "vocab_size: many", "vocab_size is 'many', where a positive whole number"),
    (2, " +vocab_size: 40\n", "", "the front end lacks vocab_size"),
    (
        2,
        "attention_heads: 2",
        "attention_heads: 3",
        "where an even multiple of attention_heads = 3",
    ),
    (2, "num_blocks: 2", "num_bloks: 2", "not known here: num_bloks"),
    (2, "macaron_style: False", "macaron_style: True", "macaron_style is True, where False"),
    (1, " +use_cnn_module: False\n", "", "use_cnn_module is True, where False"),
    (2, "'rel_pos_espnet'", "'rel_pos'", "pos_enc_layer_type is 'rel_pos'"),
    (2, r"(encoder.*\n(?:.*\n)*? +)input_size: 32", r"\1input_size: 16", "flow -> encoder -> input_size is 16"),
    (1, "channels: 80", "channels: 40", "flow -> length_regulator -> channels is 40"),
    (1, r"sampling_ratios: \[1, 1, 1, 1\]", "sampling_ratios: 4", "sampling_ratios is 4"),
    (
        1,
        "macaron_style: False",
        "macaron_style: False\n        static_chunk_size: 5",
        "which version 1 does not have",
    ),
    (3, "in_channels: 80\n +channels", "in_channels: 40\n        channels", "pre_lookahead_layer -> in_channels is 40"),
    (3, "input_size: 80", "input_size: 70", "in_channels is 80, where the flow's own value, 70"),
    (3, "output_size: 80", "output_size: 70", "input_size is 80, where output_size = 70"),
]


@pytest.mark.parametrize(("version", "pattern", "replacement", "expected"), BROKEN)
def test_hyperparameters_that_the_modules_do_not_support_are_refused(
    tmp_path: Path, version: int, pattern: str, replacement: str, expected: str
) -> None:
    with pytest.raises(ModelDirectoryError) as caught:
        read_model_directory(edited(tmp_path, version, pattern, replacement), front_end_hyperparameters)
    assert expected in caught.value.message


def test_a_directory_of_an_estimator_alone_is_refused() -> None:
    with pytest.raises(ModelDirectoryError, match="flow -> encoder is not a `!new:` node"):
        read_model_directory(tiny_directory(2), front_end_hyperparameters)
