"""Voices of directories in service: upstream's results, many threads, and the directories that are refused."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cosybuild.errors import ArtifactRefused, PoolExhausted, ServingError
from cosybuild.manifest import manifest_path
from cosybuild.runtime import load_voice
from tests.exact import exact_beside
from tests.runtime.voice.services import edit
from tests.runtime.voice.voices import forms, golden, golden_mel, module_voice, prompt, tokens

Services = Callable[[int], Path]
FRONT_END, ESTIMATOR, VOCODER = "flow.frontend.fp32.onnx", "flow.decoder.estimator.fp32.onnx", "hift.fp32.onnx"


def check_mel(version: int, form: str, service: Path) -> None:
    """Compare with upstream's values, which are stored in float32: that is finer than any float32 computation."""
    voice = load_voice(service, threads=1)
    assert voice.facts == module_voice(version).facts
    narrow = golden_mel(module_voice(version, torch.float32), version, form)
    exact_beside(golden(version)[form].astype(np.float64), narrow).check(golden_mel(voice, version, form))


def check_waveform(version: int, service: Path) -> None:
    mel = golden(version)["full"]
    wide, narrow = (module_voice(version, dtype).vocode(mel, noise=3) for dtype in (torch.float64, torch.float32))
    exact_beside(wide, narrow).check(load_voice(service, threads=1).vocode(mel, noise=3))


@pytest.mark.arithmetic
@pytest.mark.parametrize("form", forms(2))
def test_graphs_give_upstreams_mel(form: str, services: Services) -> None:
    check_mel(2, form, services(2))


@pytest.mark.arithmetic
def test_graphs_give_the_waveform(services: Services) -> None:
    check_waveform(2, services(2))


@pytest.mark.arithmetic
@pytest.mark.parametrize("version", [1, 3])
def test_graphs_of_other_versions_give_upstreams_mel_and_the_waveform(version: int, services: Services) -> None:
    for form in forms(version):
        check_mel(version, form, services(version))
    check_waveform(version, services(version))


@pytest.mark.arithmetic
@pytest.mark.parametrize("chunk", [1, 7])
def test_a_stream_of_graphs_is_the_whole(chunk: int, services: Services) -> None:
    voice, row = load_voice(services(2), threads=1), tokens(2, 26)
    wide, narrow = (
        module_voice(2, dtype)(row, *prompt(2), noise=3, streaming=True) for dtype in (torch.float64, torch.float32)
    )
    pieces = list(voice.stream(iter(row.tolist()), *prompt(2), noise=3, chunk=chunk))
    assert len(pieces) > 1
    exact_beside(wide, narrow).check(np.concatenate(pieces))


def test_eight_threads_get_the_results_of_one(services: Services) -> None:
    voice = load_voice(services(2), concurrency=2, timeout=None, threads=1)
    rows = [tokens(2, 6 + seed, seed) for seed in range(8)]

    def speak(seed: int) -> np.ndarray:
        if seed % 2:
            return voice(rows[seed], *prompt(2), noise=seed)
        return np.concatenate(list(voice.stream(rows[seed], *prompt(2), noise=seed, chunk=1)))

    alone = [speak(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(speak, range(8)))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


def test_a_caller_waits_for_a_slot_until_the_timeout(services: Services) -> None:
    voice = load_voice(services(2), timeout=0.05, threads=1)
    begun, go = threading.Event(), threading.Event()
    vocoder = voice.vocoder

    def slow(**given: Any) -> Any:
        begun.set()
        go.wait(10)
        return vocoder(**given)

    voice.vocoder = slow
    mel = golden(2)["full"]
    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(voice.vocode, mel)
        begun.wait(10)
        with pytest.raises(PoolExhausted, match="all 1 execution contexts of the voice in service were busy"):
            voice.vocode(mel)
        go.set()
        assert busy.result().size
    assert voice.vocode(mel).size


def test_a_stream_that_waits_for_tokens_holds_no_slot(services: Services) -> None:
    voice = load_voice(services(2), timeout=0.05, threads=1)
    stream = voice.stream(iter(range(20)), *prompt(2), chunk=1)
    next(stream)
    assert voice([1, 2, 3], *prompt(2)).size
    assert sum(piece.size for piece in stream)


def test_an_id_outside_the_vocabulary_is_refused(services: Services) -> None:
    voice = load_voice(services(2), threads=1)
    with pytest.raises(ServingError, match=r"tokens\[0, 1\] is 40; whole numbers from 0 to 39 are expected"):
        voice([1, 40], *prompt(2))
    with pytest.raises(ServingError, match=r"lookahead\[0, 0\] is -1"):
        list(voice.stream([1, 2, 3, 4, 5, -1, 1, 1], *prompt(2), chunk=1))


@pytest.mark.parametrize(
    "change",
    [
        {"concurrency": 0},
        {"concurrency": 10**9},
        {"threads": -1},
        {"threads": 10**9},
        {"timeout": "soon"},
        {"timeout": float("inf")},
        {"forms": [1]},
    ],
)
def test_invalid_arguments_are_refused(change: dict[str, Any], services: Services) -> None:
    with pytest.raises(ServingError, match=f"{next(iter(change))}="):
        load_voice(services(2), **change)


def test_a_part_of_another_version_is_refused(service: Path) -> None:
    edit(service / VOCODER, lambda manifest: manifest["model"].update(family="cosyvoice3"))
    with pytest.raises(ArtifactRefused, match=r"two versions: flow.* comes from cosyvoice2 .*hift.* from cosyvoice3"):
        load_voice(service)


def test_a_front_end_of_another_flow_model_is_refused(service: Path) -> None:
    for name in (FRONT_END, "flow.frontend.streaming.fp32.onnx"):
        edit(service / name, lambda manifest: manifest["model"].update(weights_digest="a" * 64))
    with pytest.raises(ArtifactRefused, match=r"of two flow models: flow\.decoder.*sha256 aaa"):
        load_voice(service)


def test_two_builds_of_one_part_are_refused(service: Path) -> None:
    edit(service / ESTIMATOR, lambda manifest: manifest["model"]["hyperparameters"].update(n_blocks=7))
    with pytest.raises(ArtifactRefused, match=r"the estimator of 2 builds: flow.* comes from .*streaming.* from"):
        load_voice(service)


def test_variants_with_other_facts_are_refused(service: Path) -> None:
    edit(service / ESTIMATOR, lambda manifest: manifest["model"]["solver"].update(guidance=0.5))
    with pytest.raises(ArtifactRefused, match=r"state different facts.*guidance=0\.5.*guidance=0\.7"):
        load_voice(service)


CHANGES: dict[str, tuple[str, Callable[[dict[str, Any]], object], str]] = {
    "an earlier manifest": (VOCODER, lambda m: m["model"].pop("context_frames"), "does not state context_frames"),
    "no solver": (ESTIMATOR, lambda m: m["model"].pop("solver"), "does not state solver"),
    "nonsense": (VOCODER, lambda m: m["model"]["hyperparameters"].update(hop_len=[1]), "a manifest is malformed"),
    "no samples": (VOCODER, lambda m: m["model"]["hyperparameters"].update(hop_len=0), "a frame of 0 samples"),
    "another source": (
        VOCODER,
        lambda m: m["model"]["hyperparameters"].update(interpolation="cubic"),
        "interpolation is 'cubic', and one of exact, linear, nearest is expected",
    ),
    "a negative context": (
        VOCODER,
        lambda m: m["model"].update(context_frames=[3, -1]),
        r"context_frames are \(3, -1\)",
    ),
    "no tokens": (
        "flow.frontend",
        lambda m: m["model"]["hyperparameters"].update(vocab_size=0),
        "vocabulary is 0, and at least 1 is expected",
    ),
    "endless steps": (
        ESTIMATOR,
        lambda m: m["model"]["solver"].update(steps=10**9),
        "steps is 1000000000, and at most 1000 is expected",
    ),
    "another rate": (
        VOCODER,
        lambda m: m["model"]["hyperparameters"].update(hop_len=5),
        "has 50.0 mel frames a second, and hift.fp32.onnx 40",
    ),
    "another mel": (
        VOCODER,
        lambda m: m["model"]["hyperparameters"].update(in_channels=100),
        "the front end has 80 mel bins and the vocoder 100",
    ),
    "not verified": (VOCODER, lambda m: m.update(verified=None), "hift.fp32.onnx is refused: it was not verified"),
    "bfloat16": (
        VOCODER,
        lambda m: m["interface"]["inputs"][0].update(dtype="bfloat16"),
        "its tensors are bfloat16, which numpy does not have",
    ),
    "spectra": (
        VOCODER,
        lambda m: m["interface"]["outputs"][0].update(name="spectrum"),
        "a voice needs a vocoder with a waveform",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_directory_whose_manifests_do_not_make_a_voice_is_refused(name: str, service: Path) -> None:
    file, change, message = CHANGES[name]
    for path in service.glob(f"{file}*.onnx" if file == "flow.frontend" else file):
        edit(path, change)
    with pytest.raises(ArtifactRefused, match=message) as caught:
        load_voice(service)
    assert caught.value.hint is not None


def test_trust_loads_a_part_that_was_not_verified(service: Path) -> None:
    edit(service / VOCODER, lambda manifest: manifest.update(verified=None))
    assert load_voice(service, trust=True, threads=1)([1, 2], *prompt(2)).size


def test_a_missing_part_is_named_with_what_is_there(service: Path) -> None:
    (service / VOCODER).unlink()
    with pytest.raises(ArtifactRefused, match=r"are expected; it has .*fp32\.onnx \(estimator\)") as caught:
        load_voice(service)
    assert "component=token2wav" in str(caught.value.hint)


def test_a_part_without_a_manifest_is_refused(service: Path) -> None:
    manifest_path(service / VOCODER).unlink()
    with pytest.raises(ArtifactRefused, match=r"hift\.fp32\.onnx is refused: it has no manifest"):
        load_voice(service, trust=True)


@pytest.mark.attack("forge", "the voice is refused")
def test_an_edited_graph_or_manifest_is_refused(service: Path, services: Services) -> None:
    content = bytearray((service / VOCODER).read_bytes())
    content[len(content) // 2] ^= 1
    (service / VOCODER).write_bytes(content)
    with pytest.raises(ArtifactRefused, match="is not the file that its manifest describes"):
        load_voice(service, trust=True)
    shutil.copy(services(2) / VOCODER, service)
    path = manifest_path(service / VOCODER)
    manifest = json.loads(path.read_text())
    manifest["model"]["context_frames"] = [0, 0]
    path.write_text(json.dumps(manifest))
    with pytest.raises(ArtifactRefused, match="does not match its seal"):
        load_voice(service, trust=True)


def test_an_empty_or_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactRefused, match="it has none of them"):
        load_voice(tmp_path)
    with pytest.raises(ArtifactRefused, match="it is not a directory"):
        load_voice(tmp_path / "nowhere")


def test_a_vocoder_with_f0_in_float64_is_preferred(service: Path) -> None:
    shutil.copy(service / VOCODER, service / "z.onnx")
    shutil.copy(manifest_path(service / VOCODER), manifest_path(service / "z.onnx"))
    edit(service / "z.onnx", lambda manifest: manifest["model"].update(form=["f0_float64"]))
    assert getattr(load_voice(service, threads=1).vocoder, "name", None) == "z.onnx"


def test_a_lowered_graph_is_used_only_if_there_is_no_other(service: Path) -> None:
    shutil.copy(service / VOCODER, service / "a.onnx")
    shutil.copy(manifest_path(service / VOCODER), manifest_path(service / "a.onnx"))
    edit(service / "a.onnx", lambda manifest: manifest.update(slot="lowered"))
    voice = load_voice(service, threads=1)
    assert getattr(voice.vocoder, "name", None) == VOCODER
    (service / VOCODER).unlink()
    assert getattr(load_voice(service, threads=1).vocoder, "name", None) == "a.onnx"
