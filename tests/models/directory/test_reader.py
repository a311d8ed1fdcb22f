"""Model directories: their version, the data of the yaml, and the errors of other directories."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from cosybuild.config.groups.model import Family
from cosybuild.errors import ModelDirectoryError
from cosybuild.models.directory.reader import read_model_directory
from cosybuild.models.subject import Solver
from tests.models.fixtures import VERSIONS, tiny_directory

# Has the structure of the published cosyvoice2.yaml: other parts, training, processors, references between them.
PUBLISHED = """
__set_seed1: !apply:random.seed [1986]
__set_seed2: !apply:torch.cuda.manual_seed_all [1986]
sample_rate: 24000
llm_input_size: 896
pretrain_path: ''
token_frame_rate: 25
token_mel_ratio: 2
chunk_size: 25 # in tokens
left_chunks: -1
llm: !new:some.llm.Model
    input_size: !ref <llm_input_size>
    mix_ratio: [5, 15]
    llm: !new:some.llm.Encoder
        path: !ref <pretrain_path>
    sampling: !name:some.sampling
        top_p: 0.8
flow: !new:some.flow.Flow
    encoder: !new:some.Encoder
        static_chunk_size: !ref <chunk_size>
    decoder: !new:some.flow_matching.CFM
        in_channels: 240
        cfm_params: !new:omegaconf.DictConfig
            content:
                sigma_min: 1e-06
                t_scheduler: 'linear'
                inference_cfg_rate: 0.5
        estimator: !new:some.flow.decoder.CausalConditionalDecoder
            in_channels: 320
            out_channels: 80
            channels: [256]
            dropout: 0.0
            attention_head_dim: 64
            n_blocks: 4
            num_mid_blocks: 12
            num_heads: 8
            act_fn: 'gelu'
            static_chunk_size: !ref <chunk_size> * <token_mel_ratio> # in frames
            num_decoding_left_chunks: !ref <left_chunks>
hift: !new:some.Generator
    upsample_rates: [8, 5, 3]
    f0_predictor: !new:some.Predictor
        num_class: 1
mel_transform: !name:some.mel_spectrogram
    sampling_rate: !ref <sample_rate>
    fmax: null
    center: False
gan: !new:some.Gan
    generator: !ref <hift>
    mel_transform: [
        !ref <mel_transform>
    ]
open: !name:some.processor.open
tokenize: !name:some.processor.tokenize
    open: !ref <open>
data_pipeline: [
    !ref <open>,
    !ref <tokenize>,
]
train_conf:
    optim_conf:
        lr: 1e-5
"""


def directory(tmp_path: Path, text: str, name: str = "cosyvoice2.yaml") -> Path:
    (tmp_path / name).write_text(text)
    return tmp_path


def edited(tmp_path: Path, version: int, pattern: str, replacement: str) -> Path:
    """Return a tiny model directory with one change in its yaml."""
    shutil.copytree(tiny_directory(version), tmp_path / "model")
    (yaml,) = (tmp_path / "model").glob("*.yaml")
    text, count = re.subn(pattern, replacement, yaml.read_text(), count=1)
    assert count == 1
    yaml.write_text(text)
    return tmp_path / "model"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_tiny_directories_are_read(version: int) -> None:
    found = read_model_directory(tiny_directory(version))
    assert found.family is Family(f"cosyvoice{version}")
    assert found.solver == Solver(steps=10, schedule="cosine", guidance=0.7)
    assert found.frames_per_second == (22050 / 256 if version == 1 else 50)
    assert found.path == tiny_directory(version)
    expected = {
        1: {"channels": (16, 16), "n_blocks": 2, "out_channels": 8},
        2: {"channels": (16,), "static_chunk_size": 10, "num_heads": 2},
        3: {"dim": 32, "static_chunk_size": 10, "dim_head": 16},
    }
    assert expected[version].items() <= dict(found.hyperparameters).items()


def test_a_yaml_like_the_published_one_is_read(tmp_path: Path) -> None:
    found = read_model_directory(directory(tmp_path, PUBLISHED))
    assert found.hyperparameters["static_chunk_size"] == 50
    assert found.hyperparameters["channels"] == (256,)
    assert found.solver == Solver(schedule="linear", guidance=0.5)


def test_the_chunk_size_alone_may_be_missing(tmp_path: Path) -> None:
    path = edited(tmp_path, 2, r" +static_chunk_size:.*\n", "")
    assert read_model_directory(path).hyperparameters["static_chunk_size"] == 50


def test_another_frame_rate_is_read(tmp_path: Path) -> None:
    assert (
        read_model_directory(edited(tmp_path, 2, "token_frame_rate: 25", "token_frame_rate: 40")).frames_per_second
        == 80
    )


def refused(path: Path) -> str:
    with pytest.raises(ModelDirectoryError) as caught:
        read_model_directory(path)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint is not None
    return caught.value.message


BROKEN = [
    (2, "n_blocks: 2\n", "n_blocks: two\n", "n_blocks is 'two', where a positive whole number is expected"),
    (2, "n_blocks: 2\n", "n_blocks: 0\n", "n_blocks is 0"),
    (2, "n_blocks: 2\n", "n_blocks: true\n", "n_blocks is True"),
    (2, " +n_blocks: 2\n", "", "lacks n_blocks"),
    (2, "n_blocks: 2\n", "n_bloks: 2\n", "unknown arguments: n_bloks"),
    (2, "n_blocks: 2\n", "n_blocks: 2\n            1: 2\n            ~: 2\n", "unknown arguments: 1, None"),
    (2, "n_blocks: 2\n", 'n_blocks: 2\n            "a\\\\nb": 2\n', r"unknown arguments: a\nb"),
    (2, "n_blocks: 2\n", "n_blocks: 1000000\n", "n_blocks is 1000000, where at most 1,000"),
    (3, "depth: [0-9]+", "depth: 1001", "depth is 1001, where at most 1,000"),
    (2, r"channels: \[16\]", f"channels: [{'16, ' * 1001}]", "channels has 1,001 entries"),
    (2, r"channels: \[16\]", "channels: []", "channels is []"),
    (2, r"channels: \[16\]", "channels: 16", "channels is 16"),
    (2, r"channels: \[16\]", "channels: [16.5]", "channels is [16.5]"),
    (1, r"channels: \[16, 16\]", "channels: [16, 12]", "multiples of 8"),
    (2, "in_channels: 32", "in_channels: 31", "in_channels is 31"),
    (2, "in_channels: 32", "in_channels: 16", "in_channels is 16"),
    (2, "act_fn: 'gelu'", "act_fn: 'snake'", "act_fn is 'snake', where one of gelu"),
    (3, "dim: 32", "dim: 40", "dim is 40, where a multiple of 16"),
    (3, "dim_head: 16", "dim_head: 7", "dim_head is 7"),
    (3, "ff_mult: 2", "ff_mult: -1", "ff_mult is -1"),
    (2, "decoder.CausalConditionalDecoder", "decoder.ConditionalDecoder", "unknown arguments: static_chunk_size"),
    (3, "DiT.dit.DiT", "other.Transformer", "the estimator is a Transformer, where cosyvoice3 has a DiT"),
    (2, "estimator: !new:.*\n", "estimator:\n", "not a `!new:` node"),
    (2, "estimator: !new", "estimater: !new", "not a `!new:` node"),
    (2, "flow: !new", "flaw: !new", "flow is missing"),
    (2, "decoder: !new", "decader: !new", "flow -> decoder is missing"),
    (2, "t_scheduler: 'cosine'", "t_scheduler: 'square'", "t_scheduler is 'square'"),
    (2, "inference_cfg_rate: 0.7", "inference_cfg_rate: much", "inference_cfg_rate is 'much'"),
    (2, "inference_cfg_rate: 0.7", "inference_cfg_rate: .nan", "inference_cfg_rate is nan"),
    (2, "!ref <chunk_size> *", "!ref <chunk_sise> *", "'chunk_sise', which does not exist"),
    (2, "chunk_size: 5\n", "chunk_size: -5\n", "static_chunk_size is -10"),
]


@pytest.mark.parametrize(("version", "pattern", "replacement", "expected"), BROKEN)
def test_a_broken_yaml_is_refused_with_the_fault(
    tmp_path: Path, version: int, pattern: str, replacement: str, expected: str
) -> None:
    assert expected in refused(edited(tmp_path, version, pattern, replacement))


def test_a_directory_with_no_yaml_or_two_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    message = refused(tmp_path)
    assert "cosyvoice.yaml, cosyvoice2.yaml, cosyvoice3.yaml" in message
    assert "It has: config.json" in message
    for version in (1, 3):
        (yaml,) = tiny_directory(version).glob("*.yaml")
        shutil.copy(yaml, tmp_path)
    assert "cosyvoice.yaml (cosyvoice1) and cosyvoice3.yaml (cosyvoice3)" in refused(tmp_path)


def test_a_truncated_yaml_is_refused_or_complete(tmp_path: Path) -> None:
    """A truncated yaml is refused, or still states the complete estimator."""
    whole = read_model_directory(directory(tmp_path, PUBLISHED))
    for end in range(0, len(PUBLISHED), 37):
        directory(tmp_path, PUBLISHED[:end])
        try:
            found = read_model_directory(tmp_path)
        except ModelDirectoryError:
            continue
        # A value that is cut off inside a number or a word may still be valid.
        assert found.family is whole.family
        assert set(found.hyperparameters) == set(whole.hyperparameters)
        assert end > PUBLISHED.index("act_fn")
