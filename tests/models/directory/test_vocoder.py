"""The vocoder in a model directory: its hyper-parameters by class, and the errors of other files."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from cosybuild.errors import ModelDirectoryError
from cosybuild.models.cosyvoice.vocoder.parameters import Interpolation
from cosybuild.models.directory.vocoder import read_vocoder
from tests.models.cosyvoice.vocoder.vocoders import VERSIONS, directory, like, published


def changed(tmp_path: Path, version: int, *changes: tuple[str, str]) -> Path:
    copy = tmp_path / "model"
    shutil.copytree(directory(version), copy)
    (yaml,) = copy.glob("*.yaml")
    text = yaml.read_text(encoding="utf-8")
    for old, new in changes:
        assert len(re.findall(old, text)) == 1, old
        text = re.sub(old, new, text)
    yaml.write_text(text, encoding="utf-8")
    return copy


@pytest.mark.parametrize("version", VERSIONS)
def test_the_tiny_directories_state_the_published_values_except_for_their_widths(version: int) -> None:
    found = read_vocoder(directory(version))
    assert found.parameters == like(published(version))
    assert found.weights == directory(version) / "hift.pt"
    assert found.yaml.parent == directory(version)


def test_the_class_and_the_sampling_rate_determine_the_form(tmp_path: Path) -> None:
    linear = changed(tmp_path / "a", 1, ("sample_rate: 22050", "sample_rate: 16000"))
    assert read_vocoder(linear).parameters.interpolation is Interpolation.linear
    exact = changed(tmp_path / "b", 2, ("sample_rate: 24000", "sample_rate: 22050"))
    assert read_vocoder(exact).parameters.interpolation is Interpolation.exact
    assert read_vocoder(directory(3)).parameters.causal


def test_other_values_are_read(tmp_path: Path) -> None:
    place = changed(
        tmp_path,
        3,
        (r"upsample_rates: \[8, 5, 3\]", "upsample_rates: [4, 3, 2]"),
        (r"upsample_kernel_sizes: \[16, 11, 7\]", "upsample_kernel_sizes: [8, 7, 4]"),
        ("n_fft: 16", "n_fft: 32"),
        ("conv_pre_look_right: 4", "conv_pre_look_right: 2"),
        ("cond_channels: 16", "cond_channels: 24"),
    )
    found = read_vocoder(place).parameters
    assert found.samples_per_frame == 4 * 3 * 2 * 4
    assert (found.bins, found.conv_pre_look_right, found.f0_channels) == (17, 2, 24)


FAULTS = [
    ("HiFTGenerator", "OtherGenerator", r"the vocoder is a OtherGenerator, where one of HiFTGenerator"),
    ("hift: !new", "other: !new", r"hift is not a `!new:` node"),
    ("ConvRNNF0Predictor", "CausalConvRNNF0Predictor", r"no `!new:` node of ConvRNNF0Predictor"),
    ("    lrelu_slope: 0.1\n", "", r"the vocoder lacks lrelu_slope"),
    ("    lrelu_slope", "    slope: 1\n    lrelu_slope", r"arguments that are not known here: slope"),
    ("base_channels: 32", "base_channels: 30", r"base_channels is 30, where a multiple of 8 is expected"),
    ("base_channels: 32", "base_channels: wide", r"base_channels is 'wide', where a positive whole number"),
    ("n_fft: 16", "n_fft: 15", r"n_fft is 15 and hop_len 4"),
    (r"kernel_sizes: \[16, 11, 7\]", "kernel_sizes: [16, 11, 8]", r"up-sampling by 3 has a kernel of 8"),
    (r"kernel_sizes: \[16, 11, 7\]", "kernel_sizes: [16, 11]", r"upsample_kernel_sizes has 2 entries, where 3"),
    (r"    resblock_kernel_sizes: \[3, 7, 11\]", "    resblock_kernel_sizes: [3, 7, 10]", r"an even kernel size"),
    (r"\[\[1, 3, 5\], \[1, 3, 5\], \[1, 3, 5\]\]\n    lrelu", r"[1, 3, 5]\n    lrelu", r"a list of lists"),
    ("cond_channels: 16", "cond_channels: 0", r"f0_channels is 0, where"),
    ("num_class: 1", "num_class: 2", r"predicts more than one value"),
    ("nsf_sigma: 0.003", "nsf_sigma: -1", r"nsf_sigma is -1, where a number of at least 0"),
]


@pytest.mark.parametrize(("old", "new", "message"), FAULTS)
def test_a_vocoder_that_cannot_be_built_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelDirectoryError, match=message) as caught:
        read_vocoder(changed(tmp_path, 2, (old, new)))
    assert "cosyvoice2.yaml" in str(caught.value)
