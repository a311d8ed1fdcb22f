"""Whole voices of the tiny model directories: the joint request, the reference, and the built parts as modules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch

from cosybuild.config.groups.component import ComponentName, ComponentSettings
from cosybuild.config.groups.model import ModelSettings
from cosybuild.config.groups.precision import PrecisionSettings, Target
from cosybuild.config.groups.trt_profile import ProfileSettings, RangeSettings
from cosybuild.config.groups.verify import VerifyMode, VerifySettings
from cosybuild.request import Request
from cosybuild.run.prepare import request_from_settings
from cosybuild.runtime.voice.arrays import Part
from cosybuild.verification.cases import Case
from cosybuild.verification.voice_cases import PARTS, Utterance, utterance, voice_cases, voice_facts
from cosybuild.verification.voice_comparison import Compared, Form, compare_form, limits_of, yardstick
from cosybuild.verification.voice_runs import Compose, Reference, Spoken, load_reference, serving_voice, speak
from tests.models.fixtures import DATA
from tests.runtime.voice.voices import part
from tests.stages.building import request

FP32 = Form("fp32", dict.fromkeys(PARTS, "graph"))


def joint(
    version: int, *, target: Target = Target.fp32, sizes: tuple[int, int, int] = (4, 16, 24), **verify: Any
) -> Request:
    """Return the joint request of a tiny directory."""
    directory = DATA / f"token2wav{version}_tiny"
    settings = replace(
        request(ModelSettings(), directory).settings,
        component=ComponentSettings(ComponentName.token2wav),
        precision=PrecisionSettings(target=target),
        trt_profile=ProfileSettings("narrow", profiles=({"seq_len": RangeSettings(*sizes)},)),
        verify=VerifySettings(**{"mode": VerifyMode.upstream, "solver": None, **verify}),
    )
    return request_from_settings(settings)


@dataclass(frozen=True)
class Truth:
    """The reference of one utterance, and the gates that follow from it."""

    request: Request
    case: Case
    given: Utterance
    reference: Reference
    exact: Spoken
    gates: Mapping[Any, Any]

    def compare(self, spoken: Spoken, form: Form = FP32) -> Compared:
        limits = limits_of(form, self.gates, self.request)
        return compare_form(form, spoken, self.reference, self.exact, self.given, self.case, limits)


@cache
def truth(version: int, target: Target = Target.fp32) -> Truth:
    asked = joint(version, target=target)
    (case,) = voice_cases(asked)
    given = utterance(case, asked)
    subjects = {name: asked.of(name).subject for name in PARTS}
    reference = load_reference(subjects, {name: one.weights for name, one in subjects.items()})
    float32 = reference.speak(given)
    reference.widen()
    exact = reference.speak(given)
    gates = yardstick(float32, exact, reference.with_f0(exact, given, float32.f0))
    return Truth(asked, case, given, reference, exact, gates)


def parts(version: int) -> dict[str, Part]:
    """Return the three parts as float32 modules, called as graphs are."""
    return {name: part(version, ComponentName(name), False, torch.float32)[0] for name in PARTS}


def spoken(version: int, given: Utterance, compose: Compose = serving_voice, **changed: Part) -> Spoken:
    """Compute an utterance in the composition that serves, with some parts replaced."""
    facts = voice_facts(truth(version).request)
    return speak({**parts(version), **changed}, facts, given, streaming=False, compose=compose)
