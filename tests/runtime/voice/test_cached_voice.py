"""Directories whose only networks with streaming attention have caches: they serve whole utterances and streams."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cosybuild.errors import ArtifactRefused
from cosybuild.manifest import manifest_path
from cosybuild.numerics.metrics import snr_db
from cosybuild.runtime import load_voice
from tests.runtime.voice.test_artifact_choice import add_form
from tests.runtime.voice.test_cached_stream import CACHED, COUNT, joined, lengths_seen, whole_mel, with_cache
from tests.runtime.voice.voices import prompt, tokens

Services = Callable[[int], Path]
STREAMING = "flow.decoder.estimator.streaming.fp32.onnx"


def without(service: Path, *names: str) -> Path:
    for name in names:
        (service / name).unlink()
        manifest_path(service / name).unlink()
    return service


def cached_only(services: Services, version: int, root: Path) -> Path:
    """Return a directory without the uncached networks with streaming attention that have a cached form."""
    service = with_cache(services, version, root)
    return without(service, STREAMING, *(["flow.frontend.streaming.fp32.onnx"] if version == 2 else []))


@pytest.mark.parametrize("version", [2, 3])
def test_cached_networks_take_the_place_of_the_uncached_ones(version: int, services: Services, tmp_path: Path) -> None:
    plain = load_voice(services(version), threads=1)
    voice, seen = lengths_seen(load_voice(cached_only(services, version, tmp_path), threads=1))
    expected = whole_mel(plain, version)
    assert snr_db(whole_mel(voice, version), expected) > 100
    assert not seen, "a whole utterance has no history"
    whole = voice(tokens(version, COUNT), *prompt(version), noise=3, streaming=True)
    assert snr_db(joined(voice, version), whole) > 60
    assert max(history for _, history in seen) > 0
    full = [one(tokens(version, 9), *prompt(version)) for one in (voice, plain)]
    assert np.array_equal(*full), "full attention has no caches"


def test_the_chosen_form_of_the_estimator_decides_if_streams_have_caches(services: Services, tmp_path: Path) -> None:
    service = with_cache(services, 2, tmp_path)
    for name in ("flow.decoder.estimator.fp32.onnx", STREAMING):
        add_form(service, name, name.replace("fp32", "fp16"))

    def is_cached(form: str) -> bool:
        flow = load_voice(service, threads=1, forms={"estimator": form})._streaming
        assert flow is not None
        return flow.cached is not None

    asked = ("graph", "lowered", STREAMING, CACHED)
    assert [is_cached(form) for form in asked] == [True, False, False, True]
    add_form(service, CACHED, CACHED.replace("fp32", "fp16"))
    assert is_cached("lowered")
    without(service, STREAMING, STREAMING.replace("fp32", "fp16"), CACHED.replace("fp32", "fp16"))
    with pytest.raises(ArtifactRefused, match="has no cached estimator with streaming attention of the form 'lowered'"):
        load_voice(service, forms={"estimator": "lowered"})


def test_a_cached_estimator_without_a_front_end_is_no_voice(services: Services, tmp_path: Path) -> None:
    service = Path(shutil.copytree(cached_only(services, 3, tmp_path), tmp_path / "less"))
    without(service, "flow.frontend.streaming.fp32.onnx", "flow.frontend.fp32.onnx")
    with pytest.raises(ArtifactRefused, match=r"no complete voice.*flow.decoder.estimator.cached.fp32.onnx"):
        load_voice(service)
