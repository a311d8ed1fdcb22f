"""Streams of a directory with a cached estimator: the samples of the uncached stream, at the cost of a chunk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosybuild.config.groups.component import ComponentName
from cosybuild.deploy.inspect import STALE, inspect
from cosybuild.errors import ArtifactRefused
from cosybuild.manifest import manifest_path
from cosybuild.numerics.metrics import snr_db
from cosybuild.runtime import load_voice
from cosybuild.runtime.voice import Voice
from cosybuild.runtime.voice.arrays import Array, Part
from cosybuild.system.environment import Environment
from tests.models.fixtures import DATA
from tests.runtime.voice.services import add_part, edit
from tests.runtime.voice.voices import prompt, tokens

COUNT = 70
CACHED = "flow.decoder.estimator.cached.fp32.onnx"
Services = Callable[[int], Path]


def with_cache(services: Services, version: int, root: Path, cache_frames: int | None = None) -> Path:
    """Return a copy of a directory in service, with the cached estimator, and in version 2 the front end's, added."""
    service = Path(shutil.copytree(services(version), root / "service"))
    directory = DATA / f"token2wav{version}_tiny"
    add_part(service, directory, ComponentName.estimator, True, root / "work", cache_frames, cached=True)
    if version == 2:
        add_part(service, directory, ComponentName.frontend, True, root / "front", cache_frames, cached=True)
    return service


def tokens_seen(voice: Voice, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return a list that gets the tokens, prompt included, and the history of each call of the stream's front end."""
    assert voice._streaming is not None
    flow, seen = voice._streaming, []

    def listening(part: Part) -> Part:
        def call(**inputs: Array) -> Mapping[str, Array]:
            count = inputs["prompt_token"].shape[1] + inputs["token"].shape[1]
            seen.append((count, len(inputs.get("att_cache", ()))))
            return part(**inputs)

        return call

    cached = flow.cached_frontend
    replaced = replace(
        flow,
        frontend=listening(flow.frontend),
        cached_frontend=None if cached is None else replace(cached, part=listening(cached.part)),
    )
    monkeypatch.setattr(voice, "_streaming", replaced)
    return seen


def lengths_seen(voice: Voice) -> tuple[Voice, list[tuple[int, int]]]:
    """Return the voice, and a list that gets new frames and history of each call of its cached estimator."""
    assert voice._streaming is not None
    assert voice._streaming.cached is not None
    cached, seen = voice._streaming.cached, []

    def part(**inputs: Array) -> dict[str, Array]:
        seen.append((inputs["x"].shape[2], inputs["att_cache"].shape[0]))
        return dict(cached.part(**inputs))

    voice._streaming = replace(voice._streaming, cached=replace(cached, part=part))
    return voice, seen


def joined(voice: Voice, version: int, chunk: int = 5) -> Array:
    row = tokens(version, COUNT)
    return np.concatenate(list(voice.stream(iter(row.tolist()), *prompt(version), noise=3, chunk=chunk)))


def streamed_mel(voice: Voice, version: int, monkeypatch: pytest.MonkeyPatch) -> Array:
    """Return the mel of a stream, whose calls give the new frames only."""
    pieces: list[Array] = []
    original = voice._mel

    def kept(*given: Any) -> Array:
        pieces.append(original(*given))
        return pieces[-1]

    monkeypatch.setattr(voice, "_mel", kept)
    joined(voice, version)
    monkeypatch.undo()
    return np.concatenate(pieces, axis=2)


def whole_mel(voice: Voice, version: int) -> Array:
    return voice.mel(tokens(version, COUNT), *prompt(version), noise=3, streaming=True)


@pytest.mark.parametrize("version", [2, 3])
def test_the_stream_is_the_uncached_one_and_each_call_computes_its_own_frames(
    version: int, services: Services, tmp_path: Path
) -> None:
    plain = load_voice(services(version), threads=1)
    voice, seen = lengths_seen(load_voice(with_cache(services, version, tmp_path), threads=1))
    expected, found = joined(plain, version), joined(voice, version)
    assert expected.shape == found.shape
    # A rounding of the mel changes f0, and f0 becomes phase, so the waveforms agree less well than the mels below.
    assert snr_db(found, expected) > 60
    steps = voice.facts.steps
    frames = [new for new, _ in seen[::steps]]
    assert len(frames) > 3
    assert [history for _, history in seen[::steps]] == [sum(frames[:index]) for index in range(len(frames))]
    assert len(seen) == steps * len(frames)
    ratio, chunk = voice.facts.frames_per_token, voice.facts.chunk
    assert all(new == ratio * chunk for new in frames[1:-1])


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("chunk", [1, 7, 25])
def test_the_front_end_computes_the_new_tokens_only(
    version: int, chunk: int, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call of version 3 reads two more tokens; one of version 2 has the caches of all earlier tokens, or of ten."""
    voice = load_voice(with_cache(services, version, tmp_path), threads=1)
    capped = load_voice(with_cache(services, version, tmp_path / "capped", 20), threads=1)
    before = prompt(version)[0].shape[1]
    for one, most in ((voice, 10**6), (capped, 10)):
        seen = tokens_seen(one, monkeypatch)
        found = joined(one, version, chunk)
        assert found.size == COUNT * voice.facts.frames_per_token * voice.facts.hop
        assert len(seen) > 2
        context = 2 if version == 3 else 0
        added = [count - (context if index else 0) for index, (count, _) in enumerate(seen)]
        assert sum(added) == before + COUNT
        assert all(count < before + chunk + 2 * voice.facts.chunk for count in added[1:])
        ends = np.cumsum(added)
        expected = [0, *(min(most, int(end)) for end in ends[:-1])] if version == 2 else [0] * len(seen)
        assert [history for _, history in seen] == expected


@pytest.mark.parametrize("version", [2, 3])
def test_a_directory_of_an_earlier_release_streams_with_the_whole_prefix(
    version: int, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the fact or the cached front end, the front end computes all tokens, and the samples are the same."""
    service = with_cache(services, version, tmp_path)
    expected = joined(load_voice(service, threads=1), version)
    front = service / "flow.frontend.streaming.fp32.onnx"
    if version == 3:
        edit(front, lambda facts: facts["model"].pop("context_tokens"))
    else:
        cached = service / "flow.frontend.cached.fp32.onnx"
        cached.unlink()
        manifest_path(cached).unlink()
    voice = load_voice(service, threads=1)
    seen = tokens_seen(voice, monkeypatch)
    found = joined(voice, version)
    assert seen[-1] == (prompt(version)[0].shape[1] + COUNT, 0)
    assert snr_db(found, expected) > 60


@pytest.mark.attack("malformed", "the directory is refused, and no call fails later")
@pytest.mark.parametrize("value", [-1, 1.5, "2", True])
def test_a_manifest_with_a_wrong_window_is_refused(value: object, services: Services, tmp_path: Path) -> None:
    service = with_cache(services, 3, tmp_path)
    edit(service / "flow.frontend.streaming.fp32.onnx", lambda facts: facts["model"].update(context_tokens=value))
    with pytest.raises(ArtifactRefused, match=r"context_tokens=.* a whole number of at least 0 is expected"):
        load_voice(service)


@pytest.mark.parametrize("version", [2, 3])
def test_streams_in_threads_own_their_caches(version: int, services: Services, tmp_path: Path) -> None:
    voice = load_voice(with_cache(services, version, tmp_path), threads=1, concurrency=3)
    alone = joined(voice, version)
    with ThreadPoolExecutor(3) as pool:
        several = list(pool.map(lambda _: joined(voice, version), range(3)))
    assert all((one == alone).all() for one in several)


@pytest.mark.parametrize("version", [2, 3])
def test_a_cap_bounds_the_history_and_the_mel_stays_near(
    version: int, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice, seen = lengths_seen(load_voice(with_cache(services, version, tmp_path / "capped", 20), threads=1))
    exact = load_voice(with_cache(services, version, tmp_path / "exact"), threads=1)
    expected = whole_mel(exact, version)
    assert snr_db(streamed_mel(exact, version, monkeypatch), expected) > 100
    found = streamed_mel(voice, version, monkeypatch)
    assert max(history for _, history in seen) == 20
    assert found.shape == expected.shape
    assert 5 < snr_db(found, expected) < 80


def test_a_cached_front_end_of_other_weights_is_refused(services: Services, tmp_path: Path) -> None:
    service = with_cache(services, 2, tmp_path)
    cached = service / "flow.frontend.cached.fp32.onnx"
    edit(cached, lambda facts: facts["model"].update(weights="tuned.pt", weights_digest="0" * 64))
    with pytest.raises(ArtifactRefused, match="the front end of 2 builds"):
        load_voice(service)
    states = {finding.name: finding.state for finding in inspect(service, Environment(gpu_list=()))}
    assert states[cached.name] == states["flow.frontend.streaming.fp32.onnx"] == STALE


def test_a_cached_estimator_of_other_weights_is_refused(services: Services, tmp_path: Path) -> None:
    service = with_cache(services, 2, tmp_path)
    edit(service / CACHED, lambda facts: facts["model"].update(weights_digest="0" * 64))
    with pytest.raises(ArtifactRefused, match="the estimator of 2 builds"):
        load_voice(service)


@pytest.mark.attack("stale", "the directory is refused, and check reports both files")
def test_a_cached_estimator_is_compared_if_the_weights_have_a_file_of_their_own(
    services: Services, tmp_path: Path
) -> None:
    """Nothing else shows the difference: no flow model is known, and the parts were built alone."""
    service = with_cache(services, 2, tmp_path)
    edit(service / CACHED, lambda facts: facts["model"].update(weights="tuned.pt", weights_digest="0" * 64))
    with pytest.raises(ArtifactRefused, match="the estimator of 2 builds"):
        load_voice(service)
    states = {finding.name: finding.state for finding in inspect(service, Environment(gpu_list=()))}
    assert states[CACHED] == states["flow.decoder.estimator.streaming.fp32.onnx"] == STALE


@pytest.mark.attack("malformed", "the directory is refused, and no call fails later")
@pytest.mark.parametrize("value", [0, -5, 1.5, "20", True])
def test_a_manifest_with_a_wrong_length_of_the_history_is_refused(
    value: object, services: Services, tmp_path: Path
) -> None:
    service = with_cache(services, 2, tmp_path)
    edit(service / CACHED, lambda facts: facts["model"].update(cache_frames=value))
    with pytest.raises(ArtifactRefused, match=r"does not describe its caches.*a whole number of at least 1"):
        load_voice(service)


def test_a_manifest_without_the_caches_is_refused(services: Services, tmp_path: Path) -> None:
    service = with_cache(services, 2, tmp_path)
    edit(service / CACHED, lambda facts: facts["model"].pop("cache_frames"))
    with pytest.raises(ArtifactRefused, match="does not describe its caches"):
        load_voice(service)
