"""The whole voice with cached networks: its stream is compared with a computation of all frames in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import pytest
import torch

from cosybuild.config.groups.component import ComponentName
from cosybuild.config.groups.model import ModelSettings
from cosybuild.config.groups.precision import Target
from cosybuild.models.load import load_module
from cosybuild.models.subject import Subject
from cosybuild.models.variant import CACHED
from cosybuild.numerics.gates import LOWERED_SOLVER, gates_of_kinds
from cosybuild.numerics.metrics import Kind
from cosybuild.request import Request
from cosybuild.run.prepare import request_from_settings
from cosybuild.runtime.voice.arrays import Array, Part
from cosybuild.stages.verify_voice import forms
from cosybuild.verification.voice_cases import PARTS, utterance, voice_cases, voice_facts
from cosybuild.verification.voice_comparison import Compared, Form, compare_form, limits_of, yardstick
from cosybuild.verification.voice_runs import composition, load_reference, speak
from tests.verification.voices import joint

IN_CHUNKS = Form("fp32 in chunks", dict.fromkeys(PARTS, "graph"), in_chunks=True)
Change = Callable[[dict[str, Array]], dict[str, Array]]


@cache
def asked(version: int) -> Request:
    """Return the joint request with a cap that is shorter than the utterance."""
    settings = joint(version, sizes=(4, 40, 80)).settings
    model = ModelSettings(streaming=True, cache=True, cache_frames=10)
    return request_from_settings(replace(settings, model=model))


def module(subject: Subject) -> Part:
    network = load_module(subject, subject.weights)
    names = [[tensor.name for tensor in side] for side in (subject.spec.inputs, subject.spec.outputs)]

    def call(**given: Array) -> dict[str, Array]:
        with torch.no_grad():
            made = network(*(torch.from_numpy(given[name].copy()) for name in names[0]))
        return {name: values.numpy() for name, values in zip(names[1], made, strict=True)}

    return call


@cache
def subjects(version: int) -> Mapping[str, Subject]:
    return {part: asked(version).of(part).subject for part in PARTS}


def compared(version: int, form: Form, **changes: Change) -> Compared:
    """Compare the voice of cached float32 modules; `changes` changes the inputs of a part."""
    request = asked(version)
    (case,) = voice_cases(request)
    given, facts = utterance(case, request), voice_facts(request)
    reference = load_reference(subjects(version), {part: one.weights for part, one in subjects(version).items()})
    float32 = reference.speak(given)
    reference.widen()
    exact = reference.speak(given)
    gates = yardstick(float32, exact, reference.with_f0(exact, given, float32.f0))
    parts = {name: changed(module(one), changes.get(name, dict)) for name, one in subjects(version).items()}
    spoken = speak(
        parts, facts, given, streaming=True, compose=composition(subjects(version)), in_chunks=form.in_chunks
    )
    return compare_form(form, spoken, reference, exact, given, case, limits_of(form, gates, request))


def changed(part: Part, change: Change) -> Part:
    def call(**given: Array) -> Mapping[str, Array]:
        return part(**change(given))

    return call


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("in_chunks", [False, True])
def test_a_cached_voice_passes_whole_and_in_chunks(version: int, in_chunks: bool) -> None:
    found = [part for part, one in subjects(version).items() if CACHED in one.form]
    assert found == (["frontend", "estimator"] if version == 2 else ["estimator"])
    one = compared(version, replace(IN_CHUNKS, in_chunks=in_chunks))
    assert one.judged.fault is None
    assert one.facts().get("in_chunks") == (True if in_chunks else None)


def no_history(given: dict[str, Array]) -> dict[str, Array]:
    return {**given, "att_cache": given["att_cache"][:0]}


def no_context(given: dict[str, Array]) -> dict[str, Array]:
    return {**given, "conv_cache": 0 * given["conv_cache"]}


@pytest.mark.parametrize(
    ("version", "part", "change"),
    [
        (2, "frontend", no_history),
        (2, "frontend", no_context),
        (2, "estimator", no_history),
        (3, "estimator", no_context),
    ],
)
def test_a_lost_cache_fails_at_the_mel_and_only_in_chunks(version: int, part: str, change: Change) -> None:
    assert compared(version, replace(IN_CHUNKS, in_chunks=False), **{part: change}).judged.fault is None
    assert "mel.snr_db" in compared(version, IN_CHUNKS, **{part: change}).missed


def test_the_forms_in_chunks_are_those_with_no_and_with_all_parts_lowered() -> None:
    slots = {f"{part}.{slot}" for part in PARTS for slot in ("graph", "lowered")}
    found = forms(dict.fromkeys(slots), Target.fp16, cached=True)
    assert [form.name for form in found if form.in_chunks] == ["fp32 in chunks", "fp16 in chunks"]
    assert len(found) == len(forms(dict.fromkeys(slots), Target.fp16)) + 2


def test_the_vocoder_and_the_front_end_of_version_3_are_built_without_caches() -> None:
    names = {part: subjects(3)[part].form for part in PARTS}
    assert names == {"frontend": (), "estimator": (CACHED,), "vocoder": ()}
    assert asked(3).of(ComponentName.vocoder.value).settings.model.cache_frames is None


def test_an_ir_of_the_estimator_is_one_more_form_beside_graphs() -> None:
    slots = dict.fromkeys([*(f"{part}.graph" for part in PARTS), "estimator.openvino"])
    narrow, wide = (forms(slots, Target.fp32, ir=ir)[-1] for ir in (Target.bf16, Target.fp32))
    assert narrow.slots == wide.slots == {"frontend": "graph", "estimator": "openvino", "vocoder": "graph"}
    assert (narrow.name, narrow.lowered, narrow.target) == ("openvino bf16 estimator", ("estimator",), Target.bf16)
    assert (wide.name, wide.lowered, wide.target) == ("openvino fp32 estimator", (), Target.fp32)
    assert len(forms(dict.fromkeys(f"{part}.graph" for part in PARTS), Target.fp32)) == 1


def test_an_ir_has_the_gates_of_its_own_precision_and_not_those_of_the_lowered_graphs() -> None:
    slots = {**dict.fromkeys(PARTS, "graph"), "estimator": "openvino"}
    form = Form("openvino bf16 estimator", slots, ("estimator",), Target.bf16)
    found = limits_of(form, {}, joint(3, target=Target.fp32))
    assert found.of_kind[Kind.mel] == LOWERED_SOLVER[Target.bf16]
    assert found.of_kind[Kind.f0] == {}
    expected = dict(gates_of_kinds(Target.bf16)[Kind.waveform])
    del expected["snr_db"]
    assert found.of_kind[Kind.waveform] == expected
