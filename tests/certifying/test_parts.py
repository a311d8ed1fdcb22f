"""Verdicts on front ends and vocoders that other people could have made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cosybuild.certifying.verdict import Outcome
from cosybuild.config.groups.component import ComponentName
from cosybuild.models.cosyvoice.frontend import attention
from cosybuild.models.cosyvoice.vocoder.hift import Hift
from tests.certifying.foreign import Wrapped, copied, subject_of, verdict_on, with_other_weights, write

FRONT_END, VOCODER = ComponentName.frontend, ComponentName.vocoder
SHORT = {
    FRONT_END: "trt_profile.profiles=[{seq_len: {min: 16, opt: 20, max: 24}}]",
    VOCODER: "trt_profile.profiles=[{seq_len: {min: 4, opt: 6, max: 8}}]",
}


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    base = tmp_path_factory.mktemp("models")
    return {version: copied(version, base / f"model{version}", "token2wav") for version in (1, 2, 3)}


def test_a_right_vocoder_is_right(directories: dict[int, Path], tmp_path: Path) -> None:
    hold_right(3, VOCODER, directories, tmp_path)


@pytest.mark.parametrize("version", [1, 3])
def test_a_further_right_part_is_right(version: int, directories: dict[int, Path], tmp_path: Path) -> None:
    hold_right(version, FRONT_END, directories, tmp_path)


def hold_right(version: int, component: ComponentName, directories: dict[int, Path], tmp_path: Path) -> None:
    path = write(tmp_path / "p.onnx", subject_of(directories[version], component))
    verdict = verdict_on(path, directories[version], SHORT[component])
    assert (verdict.outcome, verdict.component, verdict.streaming) == (Outcome.right, component.value, None)


def off_by_one(_: Any, patch: pytest.MonkeyPatch) -> None:
    right = attention.relative_shift
    patch.setattr(
        attention, "relative_shift", lambda scores, _=None: right(torch.cat((scores[..., 1:], scores[..., :1]), dim=-1))
    )


def without_look_ahead(module: Any, _: Any) -> Any:
    return Wrapped(module, lambda token, prompt, feat, voice, ahead: (token, prompt, feat, voice, ahead[:, :0]))


def large_epsilon(module: Any, _: Any) -> None:
    for part in module.modules():
        if isinstance(part, torch.nn.LayerNorm):
            part.eps = 1e-5


def exchanged(module: Any, _: Any) -> Any:
    return Wrapped(module, lambda token, prompt, *rest: (prompt, token, *rest))


def no_envelope(module: Hift, _: Any) -> None:
    own = module.synthesis
    own.forward = lambda spectra: torch.nn.functional.conv_transpose1d(  # type: ignore[method-assign]
        spectra, own.kernel, stride=own.hop, padding=own.n_fft // 2
    )


def steep(module: Hift, _: Any) -> None:
    module.last_slope = 0.1


def behind(_: Any, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Hift, "longer", lambda _, x: torch.cat([x, x[:, :, -2:-1]], dim=2))


def half_f0(module: Hift, _: Any) -> None:
    right = module.f0_predictor.forward
    module.f0_predictor.forward = lambda mel: right(mel).half().float()  # type: ignore[method-assign]


Planted = tuple[int, ComponentName, Any, str]
"""Version, part, change of the module or of its code, and the name of the mistake."""


@pytest.fixture
def check_named(
    directories: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Planted], None]:
    """Return a check that `certify` names the planted mistake, and no other."""

    def check(planted: Planted) -> None:
        version, component, change, name = planted
        subject = subject_of(directories[version], component)
        path = write(tmp_path / "p.onnx", subject, lambda module: change(module, monkeypatch))
        monkeypatch.undo()
        verdict = verdict_on(path, directories[version], SHORT[component])
        assert (verdict.outcome, [known.name for known in verdict.mistakes]) == (Outcome.wrong, [name]), verdict.reason

    return check


@pytest.mark.parametrize(
    "planted",
    [
        (2, FRONT_END, off_by_one, "relative shift"),
        (3, FRONT_END, without_look_ahead, "look-ahead dropped"),
        (1, FRONT_END, large_epsilon, "epsilon"),
        (3, VOCODER, half_f0, "f0 in float16"),
    ],
    ids=lambda planted: planted[3],
)
def test_a_planted_mistake_is_named(planted: Planted, check_named: Callable[[Planted], None]) -> None:
    check_named(planted)


@pytest.mark.parametrize(
    "planted",
    [
        (1, FRONT_END, exchanged, "prompt and target exchanged"),
        (3, VOCODER, no_envelope, "envelope missing"),
        (3, VOCODER, steep, "last slope"),
        (3, VOCODER, behind, "reflection at the end"),
    ],
    ids=lambda planted: planted[3],
)
def test_a_further_mistake_is_named(planted: Planted, check_named: Callable[[Planted], None]) -> None:
    check_named(planted)


@pytest.mark.parametrize(("version", "component", "file"), [(2, FRONT_END, "flow.pt"), (3, VOCODER, "hift.pt")])
def test_other_weights_of_a_part_are_recognised(
    version: int, component: ComponentName, file: str, directories: dict[int, Path], tmp_path: Path
) -> None:
    tuned = with_other_weights(version, tmp_path / "tuned", "token2wav", file)
    path = write(tmp_path / "p.onnx", subject_of(directories[version], component))
    verdict = verdict_on(path, tuned, SHORT[component])
    assert (verdict.outcome, verdict.mistakes) == (Outcome.other_weights, ()), verdict.reason
