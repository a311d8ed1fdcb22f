"""TensorRT-RTX builds the front ends, with axes that may be empty."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("tensorrt_rtx")

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import Family, ModelSettings
from cosybuild.config.groups.precision import PrecisionSettings
from cosybuild.config.groups.precision import Target as Precision
from cosybuild.config.groups.trt import TrtSettings
from cosybuild.models.resolve import resolve_subject
from cosybuild.request import Request
from cosybuild.store.store import Store
from tests.models.fixtures import VERSIONS
from tests.stages.building import Bench, graph_of, request
from tests.stages.test_engine import run
from tests.stages.test_front_end import OTHERS


@pytest.mark.parametrize("version", VERSIONS)
def test_it_builds_with_empty_prompts_and_both_calls(version: int, tmp_path: Path) -> None:
    family = Family(f"cosyvoice{version}")
    model = ModelSettings(family=family, hyperparameters=OTHERS[version])
    subject = resolve_subject(model, None, False, ComponentName.frontend)
    settings = replace(
        request(ModelSettings(family=family)).settings,
        precision=PrecisionSettings(target=Precision.fp32),
        trt=TrtSettings(),
    )
    exported = graph_of(Bench(Request(settings, subject), tmp_path / "bench").export())
    outcome = run(Request(settings, replace(subject, graph=exported.path)), Store(tmp_path / "store"))
    assert outcome.failure is None
    (record,) = outcome.records
    (profile,) = record.metrics["profiles"]
    assert [profile["prompt_tokens"][0], profile["prompt_frames"][0], profile["tokens"][0]] == [0, 0, 1]
    assert profile.get("lookahead") == (None if version == 1 else [0, 3, 3])
    assert record.metrics["unmet"] == []
