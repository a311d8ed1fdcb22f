"""TensorRT-RTX builds the front ends, whose axes may be empty, and the vocoders with their transposed convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorrt_rtx")

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family, ModelSettings
from cosybuild.config.groups.precision import PrecisionSettings
from cosybuild.config.groups.precision import Target as Precision
from cosybuild.config.groups.trt import TrtSettings
from cosybuild.models.resolve import resolve_subject
from cosybuild.models.subject import Subject
from cosybuild.request import Request
from cosybuild.store.store import Store
from tests.models.fixtures import VERSIONS
from tests.stages.building import Bench, graph_of, request
from tests.stages.test_engine import run
from tests.stages.test_frontend import OTHERS

NARROW = {"base_channels": 16, "f0_channels": 8, "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3]]}


def built(
    component: ComponentName, version: int, hyperparameters: Mapping[str, Any], tmp_path: Path
) -> tuple[Subject, dict[str, Any]]:
    """Export a component and build its engine; return the model and the sizes of the engine's only profile."""
    family = Family(f"cosyvoice{version}")
    model = ModelSettings(family=family, hyperparameters=dict(hyperparameters))
    subject = resolve_subject(model, None, False, component)
    settings = replace(
        request(ModelSettings(family=family)).settings,
        precision=PrecisionSettings(target=Precision.fp32),
        trt=TrtSettings(),
    )
    exported = graph_of(Bench(Request(settings, subject), tmp_path / "bench").export())
    outcome = run(Request(settings, replace(subject, graph=exported.path)), Store(tmp_path / "store"))
    assert outcome.failure is None
    (record,) = outcome.records
    assert record.metrics["unmet"] == []
    (profile,) = record.metrics["profiles"]
    return subject, profile


@pytest.mark.parametrize("version", VERSIONS)
def test_an_engine_of_a_front_end_is_built_for_empty_prompts_and_both_calls(version: int, tmp_path: Path) -> None:
    _, profile = built(ComponentName.frontend, version, OTHERS[version], tmp_path)
    assert [profile["prompt_tokens"][0], profile["prompt_frames"][0], profile["tokens"][0]] == [0, 0, 1]
    assert profile.get("lookahead") == (None if version == 1 else [0, 3, 3])


@pytest.mark.parametrize("version", VERSIONS)
def test_an_engine_of_a_vocoder_is_built(version: int, tmp_path: Path) -> None:
    subject, profile = built(ComponentName.vocoder, version, NARROW, tmp_path)
    samples = subject.hyperparameters["sampling_rate"] / subject.spec.frames_per_second
    assert profile["noise_len"][2] == profile["seq_len"][2] * samples
