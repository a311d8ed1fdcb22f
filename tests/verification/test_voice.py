"""The gates of a whole voice: a correct one passes, and mistakes of known ports are caught."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cosybuild.config.groups.precision import Target
from cosybuild.config.groups.verify import VerifyMode
from cosybuild.errors import VerificationError
from cosybuild.numerics.inputs import Array
from cosybuild.runtime.voice.arrays import Part
from cosybuild.runtime.voice.facts import Facts
from cosybuild.runtime.voice.voice import Voice
from cosybuild.verification.voice_cases import PARTS, Utterance, parts_without_profile, voice_cases, voice_facts
from cosybuild.verification.voice_comparison import Form, advice, describe_loss, losses
from cosybuild.verification.voice_runs import Compose, serving_voice
from tests.verification.voices import FP32, joint, parts, spoken, truth

pytestmark = pytest.mark.arithmetic

VERSIONS = (1, 2, 3)
MEL = "mel.snr_db"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_served_composition_in_float32_passes(version: int) -> None:
    own = truth(version)
    compared = own.compare(spoken(version, own.given))
    assert compared.judged.fault is None
    assert compared.missed == []
    assert compared.samples == compared.frames * voice_facts(own.request).hop
    # Without the form's own f0 in the reference, the phase drifts.
    assert compared.drifted is not None
    assert compared.drifted["snr_db"] < compared.judged.outputs["waveform"].figures["snr_db"]


def uniform_steps(parts: Mapping[str, Part], facts: Facts, streaming: bool) -> Voice:
    return serving_voice(parts, replace(facts, schedule="linear"), streaming)


def changed(call: Part, change: Callable[[dict[str, Array]], dict[str, Array]]) -> Part:
    """Return a part whose inputs are changed."""
    return lambda **inputs: call(**change(dict(inputs)))


def _both_rows(inputs: dict[str, Array]) -> dict[str, Array]:
    return {**inputs, **{name: np.repeat(inputs[name][:1], 2, axis=0) for name in ("mu", "spks", "cond")}}


def _without_prompt(inputs: dict[str, Array]) -> dict[str, Array]:
    return {**inputs, "cond": np.zeros_like(inputs["cond"])}


def _stretched(inputs: dict[str, Array]) -> dict[str, Array]:
    """Return the prompt's mel with frames of 256 samples in place of 480, cut to the same length."""
    mel = inputs["prompt_feat"]
    return {**inputs, "prompt_feat": mel[:, (np.arange(mel.shape[1]) * 256 // 480)]}


def _swapped(inputs: dict[str, Array]) -> dict[str, Array]:
    return {**inputs, "token": inputs["prompt_token"], "prompt_token": inputs["token"]}


def _untrimmed(call: Part) -> Part:
    """Return a vocoder that leaves out the trimming of its inverse transform: eight samples more at both ends."""

    def vocoder(**inputs: Array) -> dict[str, Array]:
        made = dict(call(**inputs))
        return {**made, "waveform": np.pad(made["waveform"], [(0, 0), (8, 8)])}

    return vocoder


def _clipping(call: Part) -> Part:
    def vocoder(**inputs: Array) -> dict[str, Array]:
        made = dict(call(**inputs))
        return {**made, "waveform": np.clip(50 * made["waveform"], -0.99, 0.99)}

    return vocoder


def _off_pitch(call: Part) -> Part:
    """Return a vocoder that states f0 a cent above the one that its waveform has."""

    def vocoder(**inputs: Array) -> dict[str, Array]:
        made = dict(call(**inputs))
        return {**made, "f0": made["f0"] * np.float32(2 ** (1 / 1200))}

    return vocoder


Plant = Callable[[Mapping[str, Part]], dict[str, Part]]
FAULTS: dict[str, tuple[str, Plant]] = {
    "guidance on both rows": (MEL, lambda p: {"estimator": changed(p["estimator"], _both_rows)}),
    "conditioning dropped": (MEL, lambda p: {"estimator": changed(p["estimator"], _without_prompt)}),
    "prompt mel stretched": (MEL, lambda p: {"frontend": changed(p["frontend"], _stretched)}),
    "prompt and target swapped": (MEL, lambda p: {"frontend": changed(p["frontend"], _swapped)}),
    "inverse transform not trimmed": ("waveform.snr_db", lambda p: {"vocoder": _untrimmed(p["vocoder"])}),
    "clipped": ("waveform.clipped", lambda p: {"vocoder": _clipping(p["vocoder"])}),
    "another f0": ("f0.f0_cents", lambda p: {"vocoder": _off_pitch(p["vocoder"])}),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_mistake_of_a_part_is_caught_by_a_gate(version: int, fault: str) -> None:
    gate, plant = FAULTS[fault]
    own = truth(version)
    compared = own.compare(spoken(version, own.given, **plant(parts(version))))
    assert gate in compared.missed, compared.missed
    with pytest.raises(VerificationError, match=rf"^Case tokens=.*, fp32: {gate.partition('.')[0]} has|fp32: mel has"):
        compared.judged.check(advice(compared))


Composed: dict[str, tuple[Compose, Callable[[Utterance], Utterance]]] = {
    "uniform steps": (uniform_steps, lambda given: given),
    "another draw": (serving_voice, lambda given: replace(given, flow=given.flow[..., ::-1].copy())),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("fault", Composed)
def test_a_mistake_of_the_composition_is_caught_by_the_mels_gate(version: int, fault: str) -> None:
    compose, drawn = Composed[fault]
    own = truth(version)
    compared = own.compare(spoken(version, drawn(own.given), compose))
    assert MEL in compared.missed


def test_a_waveform_of_another_length_is_a_fault_of_its_shape() -> None:
    own = truth(2)
    found = spoken(2, own.given)
    compared = own.compare(replace(found, waveform=found.waveform[:, 8:]))
    assert compared.missed == ["waveform.shape"]
    assert compared.drifted is None
    with pytest.raises(VerificationError, match=r"waveform has shape \(1, \d+\), the reference"):
        compared.judged.check(advice(compared))


def rounded(call: Part, noise: float) -> Part:
    """Return a part whose first output has relative noise of that size."""

    def part(**inputs: Array) -> dict[str, Array]:
        made = dict(call(**inputs))
        name = next(iter(made))
        drawn = np.random.default_rng(3).standard_normal(made[name].shape)
        size = np.sqrt(np.mean(made[name] ** 2))
        return {**made, name: (made[name] + noise * size * drawn).astype(np.float32)}

    return part


def lowered_forms(version: int, noise: Mapping[str, float]) -> tuple[list[Any], list[Any]]:
    """Return the forms with each part noisy alone and with all noisy parts, compared; and the losses."""
    own, plain = truth(version, Target.fp16), parts(version)
    noisy = {name: rounded(plain[name], noise[name]) for name in PARTS}
    compared = [own.compare(spoken(version, own.given))]
    for lowered in (*((name,) for name in PARTS), PARTS):
        form = Form(f"fp16 {' '.join(lowered)}", FP32.slots, lowered, Target.fp16)
        compared.append(own.compare(spoken(version, own.given, **{name: noisy[name] for name in lowered}), form))
    return compared, losses(compared, compared[0])


def test_the_part_that_loses_most_is_blamed_at_the_output_that_fails() -> None:
    compared, lost = lowered_forms(2, {"frontend": 1e-3, "estimator": 3e-1, "vocoder": 1e-3})
    shares = {one.part: one.mel_share for one in lost}
    assert shares["estimator"] > 0.9
    assert shares["vocoder"] == 0
    assert sum(shares.values()) == pytest.approx(1)
    whole = compared[-1]
    assert MEL in whole.missed
    assert "is of the estimator" in describe_loss(whole, lost)
    assert describe_loss(compared[0], lost) == ""
    assert whole.judged.outputs["f0"].fault is None, "f0 follows from the mel"


def test_a_noisy_vocoder_is_judged_by_samples_and_a_noisy_mel_by_spectra() -> None:
    compared, _ = lowered_forms(1, {"frontend": 1e-3, "estimator": 1e-3, "vocoder": 0.3})
    _, frontend, _, vocoder, _ = compared
    assert vocoder.missed[0] == "waveform.snr_db"
    assert "signal-to-noise ratio judges" in vocoder.why
    assert "spectral distances judge" in frontend.why
    assert "snr_db" not in frontend.limits.of("waveform").gate
    assert frontend.judged.fault is None


@pytest.mark.parametrize("version", VERSIONS)
def test_utterances_are_within_the_profiles_of_all_parts(version: int) -> None:
    asked = joint(version, sizes=(8, 100, 150), mode=VerifyMode.strict)
    facts = voice_facts(asked)
    short, long = voice_cases(asked)
    assert (short.why, long.why) == ("short", "long")
    for case in (short, long):
        assert parts_without_profile(asked, case.draw.sizes, facts) == ()
    total = [c.draw.sizes["prompt_frames"] + facts.frames_of(c.draw.sizes["tokens"]) for c in (short, long)]
    assert abs(total[0] - 64) <= 4
    assert 146 <= total[1] <= 150


def test_profiles_that_no_utterance_fits_are_named() -> None:
    asked = joint(2, sizes=(100, 100, 110))
    (case,) = voice_cases(asked)
    assert parts_without_profile(asked, case.draw.sizes, voice_facts(asked)) == ("vocoder",)
