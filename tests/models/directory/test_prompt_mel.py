"""The prompt's mel in a model directory's yaml: stated, not stated, and stated as another function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family, ModelSettings
from cosybuild.models.directory.prompt_mel import PUBLISHED
from cosybuild.models.directory.version import find_yaml
from cosybuild.models.resolve import resolve_subject
from tests.models.fixtures import DATA

STATED = """
feat_extractor: !name:matcha.utils.audio.mel_spectrogram
    n_fft: 1920
    num_mels: 80
    sampling_rate: !ref <sample_rate>
    hop_size: 480
    win_size: 1920
    fmin: 20
    fmax: null
    center: False
"""


def prompt_mel(directory: Path, stated: str, component: ComponentName = ComponentName.frontend) -> Any:
    """Read version 2's directory with these further lines in its yaml."""
    source = DATA / "token2wav2_tiny"
    for file in ("flow.pt", "hift.pt"):
        (directory / file).symlink_to(source / file)
    yaml = find_yaml(source).path
    (directory / yaml.name).write_text(yaml.read_text() + stated)
    return resolve_subject(ModelSettings(), str(directory), False, component).prompt_mel


def test_a_stated_mel_is_read(tmp_path: Path) -> None:
    expected = {"sampling_rate": 24000, "n_fft": 1920, "hop_size": 480, "num_mels": 80, "fmin": 20, "fmax": None}
    assert prompt_mel(tmp_path, STATED) == expected


def test_without_a_statement_it_is_the_published_mel(tmp_path: Path) -> None:
    assert prompt_mel(tmp_path, "") == PUBLISHED[Family.cosyvoice2]


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("center: False", "center: True"),
        ("win_size: 1920", "win_size: 1200"),
        ("mel_spectrogram", "log_spectrogram"),
        ("hop_size: 480", "hop_size: many"),
        ("fmin: 20", "fmin: -1"),
        ("fmax: null", "fmax: [1]"),
    ],
)
def test_another_function_is_not_stated_and_no_error(text: str, other: str, tmp_path: Path) -> None:
    assert prompt_mel(tmp_path, STATED.replace(text, other)) is None


def test_only_a_front_end_has_a_prompt(tmp_path: Path) -> None:
    assert prompt_mel(tmp_path, STATED, ComponentName.vocoder) is None
