"""Verdicts on recorded runs of whole pipelines; upstream's own data are the right ones."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cosybuild.certifying.verdict import Outcome, Verdict
from cosybuild.config.groups.component import ComponentName
from cosybuild.models.cosyvoice.solver import solve
from cosybuild.models.load import load_module
from tests.certifying.foreign import subject_of, verdict_on
from tests.models.fixtures import DATA

Arrays = dict[str, Any]


def recorded(version: int, form: str = "full") -> Arrays:
    """Return upstream's run: the mel of the golden data, with its inputs."""
    directory = DATA / f"token2wav{version}_tiny"
    with np.load(directory / "frontend.npz") as front, np.load(directory / "mel.npz") as flow:
        names = ("token", "prompt_token", "prompt_feat", "embedding")
        return {**{name: front[name] for name in names}, "z": flow["z"], "mel": flow[f"{form}/mel64"]}


def verdict_of(arrays: Arrays, version: int, path: Path, **others: Any) -> Verdict:
    np.savez(path, **arrays)
    return verdict_on(path, DATA / f"token2wav{version}_tiny", **others)


@pytest.mark.parametrize(("version", "form"), [(1, "full"), (3, "streaming")])
def test_upstreams_mel_is_right(version: int, form: str, tmp_path: Path) -> None:
    verdict = verdict_of(recorded(version, form), version, tmp_path / "r.npz")
    assert (verdict.outcome, verdict.component) == (Outcome.right, "voice"), verdict.reason
    assert verdict.streaming is (None if version == 1 else form == "streaming")


def solved(arrays: Arrays, **changes: Any) -> Arrays:
    """Compute the mel of version 3 in float32 with another solver."""
    directory = DATA / "token2wav3_tiny"
    front_end = subject_of(directory, ComponentName.frontend)
    estimator = subject_of(directory)
    assert estimator.solver is not None
    token = torch.from_numpy(arrays["token"])
    given = [torch.from_numpy(arrays[name]) for name in ("prompt_token", "prompt_feat", "embedding")]
    with torch.no_grad():
        mu, spks, cond = load_module(front_end, front_end.weights)(token, *given, token[:, :0])
        start = torch.from_numpy(arrays["z"])[:, :, : mu.shape[2]]
        module = load_module(estimator, estimator.weights)
        mel = solve(module, start, mu, spks, cond, torch.ones_like(mu[:, :1]), replace(estimator.solver, **changes))
    return {**arrays, "mel": mel[:, :, arrays["prompt_feat"].shape[1] :].numpy()}


def another_draw(arrays: Arrays) -> Arrays:
    """Return a run from upstream's table of seed 0 that states another initial state."""
    drawn = torch.randn(1, 80, 15000, generator=torch.Generator().manual_seed(0)).numpy()
    return {**solved({**arrays, "z": drawn}), "z": arrays["z"]}


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda arrays: solved(arrays, schedule="linear", guidance=0.0), ["schedule", "no guidance"]),
        (another_draw, ["noise draw"]),
    ],
)
def test_mistakes_of_the_loop_are_named(change: Callable[[Arrays], Arrays], names: list[str], tmp_path: Path) -> None:
    hold_named(change, names, tmp_path)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda arrays: solved(arrays, schedule="linear"), ["schedule"]),
        (lambda arrays: solved(arrays, guidance=0.0), ["no guidance"]),
        (lambda arrays: solved(arrays, guidance=-0.3), ["guidance formula"]),
        (lambda arrays: solved(arrays, steps=5), ["steps"]),
    ],
)
def test_a_further_mistake_of_the_loop_is_named(
    change: Callable[[Arrays], Arrays], names: list[str], tmp_path: Path
) -> None:
    hold_named(change, names, tmp_path)


def hold_named(change: Callable[[Arrays], Arrays], names: list[str], tmp_path: Path) -> None:
    verdict = verdict_of(change(recorded(3)), 3, tmp_path / "r.npz", streaming=False)
    assert (verdict.outcome, [known.name for known in verdict.mistakes]) == (Outcome.wrong, names), verdict.reason


def test_the_waveform_is_compared_and_its_mistake_named(tmp_path: Path) -> None:
    directory = DATA / "token2wav3_tiny"
    subject = subject_of(directory, ComponentName.vocoder)
    arrays = recorded(3)
    noise = np.random.default_rng(0).random((1, 2000, 9), np.float32)
    module: Any = load_module(subject, subject.weights)

    def spoken() -> Any:
        zero, end = torch.tensor([0]), torch.tensor([arrays["mel"].shape[2]])
        with torch.no_grad():
            return module(torch.from_numpy(arrays["mel"]), torch.from_numpy(noise), zero, torch.zeros(1, 9), zero, end)

    right = verdict_of({**arrays, "noise": noise, "waveform": spoken()[0].numpy()}, 3, tmp_path / "a.npz")
    assert right.outcome is Outcome.right, right.reason
    assert set(right.figures) == {"mel_snr_db", "waveform_snr_db", "snr_db"}
    own = module.synthesis
    own.forward = lambda spectra: (
        torch.nn.functional.conv_transpose1d(spectra, own.kernel, stride=own.hop)
        / (torch.nn.functional.conv_transpose1d(torch.ones_like(spectra[:, :1]), own.envelope, stride=own.hop) + 1e-11)
    )
    wrong = verdict_of({**arrays, "noise": noise, "waveform": spoken()[0].numpy()}, 3, tmp_path / "b.npz")
    assert (wrong.outcome, [known.name for known in wrong.mistakes]) == (Outcome.wrong, ["synthesis not trimmed"])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda arrays: arrays.pop("mel"), "it has no array mel"),
        (lambda arrays: arrays.update(token=arrays["token"][0]), "token has shape (17,)"),
        (lambda arrays: arrays.update(token=np.array([[{}]])), "Object arrays cannot be loaded"),
        (lambda arrays: arrays.update(token=arrays["token"][:, :0]), "there is nothing to compare"),
    ],
)
def test_a_recording_that_cannot_be_read_is_unreadable(
    spoil: Callable[[Arrays], Any], words: str, tmp_path: Path
) -> None:
    arrays = recorded(3)
    spoil(arrays)
    verdict = verdict_of(arrays, 3, tmp_path / "r.npz")
    assert verdict.outcome is Outcome.unreadable
    assert words in verdict.reason


@pytest.mark.attack("forge", "the recording is unreadable: nothing can be compared with such a result")
@pytest.mark.parametrize("name", ["prompt_feat", "z", "embedding"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38, 1e300])
def test_a_recording_whose_inputs_no_network_can_compute_is_not_right(name: str, value: float, tmp_path: Path) -> None:
    arrays = recorded(2)
    arrays |= {name: np.full(arrays[name].shape, value), "mel": np.zeros_like(arrays["mel"])}
    verdict = verdict_of(arrays, 2, tmp_path / "r.npz", streaming=False)
    assert (verdict.outcome, verdict.outcome.exit_code) == (Outcome.unreadable, 3)
    assert "finite" in verdict.reason or "cannot be compared" in verdict.reason


@pytest.mark.attack("forge", "the recording is unreadable: nothing can be compared with such a result")
def test_a_waveform_that_no_vocoder_can_compute_is_not_right(tmp_path: Path) -> None:
    arrays = recorded(3)
    samples = arrays["mel"].shape[2] * 480
    noise = np.full((1, 2000, 9), 3e38, np.float32)
    given = {**arrays, "noise": noise, "waveform": np.full((1, samples), np.nan, np.float32)}
    verdict = verdict_of(given, 3, tmp_path / "r.npz")
    assert verdict.outcome in (Outcome.unreadable, Outcome.wrong)


def _changed(content: bytes, offset: int, value: int) -> bytes:
    """Change one byte of the first member's header in both places; offsets are those of the local header."""
    changed = bytearray(content)
    changed[offset] = value
    changed[content.index(b"PK\x01\x02") + offset + 2] = value
    return bytes(changed)


@pytest.mark.attack("malformed", "the recording is unreadable, with a reason")
@pytest.mark.parametrize(
    ("member", "change"),
    [
        (("token", b"no array"), None),
        (("token.npy", b"no array"), None),
        (("token.npy", b"\x93NUMPY\x01\x00\x28\x00" + b"(" * 39 + b"\n"), None),
        (None, lambda content: _changed(content, 6, 1)),
        (None, lambda content: _changed(content, 8, 99)),
    ],
    ids=["no suffix", "no array", "a header that does not end", "encrypted", "a method of compression"],
)
def test_a_damaged_member_of_a_recording_is_unreadable(
    member: tuple[str, bytes] | None, change: Callable[[bytes], bytes] | None, tmp_path: Path
) -> None:
    arrays, path = recorded(3), tmp_path / "r.npz"
    if member is not None:
        arrays.pop("token")
    np.savez(path, **arrays)
    if member is not None:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(*member)
    if change is not None:
        path.write_bytes(change(path.read_bytes()))
    verdict = verdict_on(path, DATA / "token2wav3_tiny")
    assert verdict.outcome is Outcome.unreadable
    assert verdict.reason
