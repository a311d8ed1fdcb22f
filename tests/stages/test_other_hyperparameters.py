"""Vocoders and front ends with other hyper-parameters than the published ones are exported, simplified and verified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family, ModelSettings
from cosybuild.errors import ConfigurationError
from cosybuild.models.resolve import resolve_subject
from cosybuild.models.subject import Subject
from cosybuild.request import Request
from tests.stages.building import Bench, graph_of, request

pytestmark = pytest.mark.arithmetic

NARROW: dict[str, Any] = {"base_channels": 16, "f0_channels": 3}
VOCODERS: dict[str, tuple[int, dict[str, Any]]] = {
    "one stage, one sine, another spectrum": (
        1,
        {"upsample_rates": [4], "upsample_kernel_sizes": [8], "n_fft": 8, "hop_len": 2, "nb_harmonics": 0,
         "source_resblock_kernel_sizes": [5], "source_resblock_dilation_sizes": [[1, 2]], "sampling_rate": 16000},
    ),
    "a hop that does not divide the window": (
        1, {"upsample_rates": [6, 5], "upsample_kernel_sizes": [6, 9], "n_fft": 22, "hop_len": 3, "in_channels": 20}),
    "four stages, uneven blocks": (
        2,
        {"upsample_rates": [3, 1, 2, 2], "upsample_kernel_sizes": [5, 3, 2, 6], "n_fft": 12, "hop_len": 5,
         "resblock_kernel_sizes": [1, 9], "resblock_dilation_sizes": [[2], [1, 3, 2]],
         "source_resblock_kernel_sizes": [3, 1, 5, 7], "source_resblock_dilation_sizes": [[1], [2], [1, 4], [3]]},
    ),
    "no look-ahead, many harmonics": (
        3, {"conv_pre_look_right": 0, "nb_harmonics": 14, "upsample_rates": [2, 3, 2],
            "upsample_kernel_sizes": [1, 4, 6]}),
}  # fmt: skip
SMALL: dict[str, Any] = {"vocab_size": 11, "input_size": 10, "output_size": 10, "spk_embed_dim": 6}
LAYERS: dict[str, Any] = {**SMALL, "encoder_size": 24, "attention_heads": 3, "linear_units": 10, "num_blocks": 2}
FRONT_ENDS: dict[str, tuple[int, dict[str, Any]]] = {
    "one ratio, 25 tokens a second": (1, {**LAYERS, "sampling_ratios": [1], "input_frame_rate": 25}),
    "one head, three frames a token, another chunk": (
        2, {**LAYERS, "attention_heads": 1, "token_mel_ratio": 3, "pre_lookahead_len": 1, "chunk_size": 4,
            "up_blocks": 1}),
    "five tokens of look-ahead, one frame a token": (
        3, {**SMALL, "channels": 7, "token_mel_ratio": 1, "pre_lookahead_len": 5}),
}  # fmt: skip


def subject_of(component: ComponentName, version: int, values: dict[str, Any]) -> Subject:
    streaming = component is ComponentName.frontend and version == 2
    model = ModelSettings(family=Family(f"cosyvoice{version}"), hyperparameters=values, streaming=streaming)
    return resolve_subject(model, None, False, component)


def build(subject: Subject, directory: Path) -> Bench:
    asked = request(ModelSettings(family=subject.family), sizes={"seq_len": (4, 12, 24)})
    bench = Bench(Request(asked.settings, subject), directory)
    exported = graph_of(bench.export())
    verified = bench.verify(graph_of(bench.simplify(exported)), exported)
    assert verified.metrics["cases"] > 5
    return bench


@pytest.mark.parametrize("name", VOCODERS)
def test_a_vocoder_is_built_and_verified(name: str, tmp_path: Path) -> None:
    version, values = VOCODERS[name]
    subject = subject_of(ComponentName.vocoder, version, {**NARROW, **values})
    build(subject, tmp_path)
    assert subject.spec.frames_per_second is not None


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_a_front_end_is_built_and_verified(name: str, tmp_path: Path) -> None:
    version, values = FRONT_ENDS[name]
    bench = build(subject_of(ComponentName.frontend, version, values), tmp_path)
    assert not [facts for kind, facts in bench.events if kind == "warning"]


@pytest.mark.parametrize(
    ("version", "values", "message"),
    [
        (2, {"upsample_rates": [8, 5, 1]}, "upsample_rates ends with 1"),
        (1, {"upsample_rates": [2, 2], "n_fft": 32}, "n_fft is 32, where less than twice the 16 samples of a frame"),
    ],
)
def test_values_that_give_no_waveform_are_refused(version: int, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        subject_of(ComponentName.vocoder, version, values)
