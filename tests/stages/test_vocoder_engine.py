"""TensorRT-RTX builds the vocoders: the source, the spectra and the transposed convolutions included."""

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


@pytest.mark.parametrize("version", VERSIONS)
def test_it_builds(version: int, tmp_path: Path) -> None:
    family = Family(f"cosyvoice{version}")
    narrow = {
        "base_channels": 16,
        "f0_channels": 8,
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3]],
    }
    subject = resolve_subject(ModelSettings(family=family, hyperparameters=narrow), None, False, ComponentName.vocoder)
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
    samples = subject.hyperparameters["sampling_rate"] / subject.spec.frames_per_second
    assert profile["noise_len"][2] == profile["seq_len"][2] * samples
    assert record.metrics["unmet"] == []
