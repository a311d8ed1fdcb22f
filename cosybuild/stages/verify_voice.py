"""The stage of a joint build that compares the whole voice, from tokens to a waveform, with a float64 reference."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cosybuild import figure
from cosybuild.backends.openvino.requirements import OPENVINO
from cosybuild.building.stage import RunContext, Stage
from cosybuild.building.wiring import in_part
from cosybuild.config.groups.precision import Target
from cosybuild.config.groups.vocoder import Cut
from cosybuild.models.variant import CACHED
from cosybuild.numerics.gates import plain_gate
from cosybuild.request import Request
from cosybuild.stages.openvino import expand_openvino_stages, ov_settings
from cosybuild.store.result import StageResult
from cosybuild.system.typed_json import to_json
from cosybuild.verification.lowered_gates import of_kind
from cosybuild.verification.scope import is_lowered, verify_settings
from cosybuild.verification.voice_cases import PARTS, parts_without_profile, utterance, voice_cases, voice_facts
from cosybuild.verification.voice_comparison import (
    Compared,
    Form,
    Loss,
    advice,
    compare_form,
    describe_loss,
    limits_of,
    losses,
    mel_gate,
    yardstick,
)
from cosybuild.verification.voice_media import media_of
from cosybuild.verification.voice_runs import Spoken, composition, load_reference, open_graph, open_ir, speak

if TYPE_CHECKING:
    from cosybuild.runtime.voice.arrays import Part

SCHEMA = 1
IR_ESTIMATOR = in_part(PARTS[1], OPENVINO)
"""The slot of the estimator's OpenVINO IR, which a service may use with the other parts as graphs."""

MEDIA = "voice_media"
"""The slot with the sounds and pictures that the report's page shows."""


class VerifyVoiceStage(Stage[Request]):
    """The stage that compares every form of the voice with float64. It fills `voice_verification` and `voice_media`.

    A form of a voice is a choice of artifacts for its parts, such as all in float32, or one of them lowered.
    """

    name = "verify_voice"
    label = "verify voice"
    does = "compares the whole voice, from tokens to a waveform, with the model"
    version = 2  # since version 2 it also makes sounds and pictures
    needs: tuple[str, ...] = tuple(in_part(part, slot) for part in PARTS for slot in ("graph", "weights?", "lowered?"))
    makes = ("voice_verification", MEDIA)
    packages: tuple[str, ...] = ("torch", "numpy", "onnxruntime", "onnxruntime-gpu")
    # Rounding errors differ between CPUs.
    deterministic = False

    def __init__(self, *, runs_ir: bool = False) -> None:
        if runs_ir:
            self.needs = (*self.needs, IR_ESTIMATOR)
            self.packages = (*self.packages, "openvino")

    def settings(self, request: Request) -> Mapping[str, Any]:
        """Return the settings that change the result. The contents of graphs and weights are in the key as inputs."""
        verify, target = verify_settings(request), request.settings.precision.target
        cases = voice_cases(request)
        return {
            "cases": [case.facts() for case in cases],
            "notes": list(_notes(request)),
            "threads": verify.threads,
            "provider": verify.provider.value,
            "parts": {part: _subject(request.of(part)) for part in PARTS},
            "target": target.value,
            "gates": _lowered_gates(request),
            **({"openvino": ov_settings(request).precision.value} if IR_ESTIMATOR in self.needs else {}),
        }

    def run(self, context: RunContext) -> StageResult:
        request: Request = context.request
        with tempfile.TemporaryDirectory(dir=context.workdir) as place:
            proof = _Proof(context, Path(place))
            rows, lost = proof.run()
        metrics = {
            "cases": [case.name for case in voice_cases(request)],
            "rows": [row.facts() for row in rows],
            "losses": [one.facts() for one in lost],
            "notes": list(_notes(request)),
            "warnings": [line for row in rows for line in row.judged.warnings],
        }
        path = context.workdir / "voice_verification.json"
        path.write_text(figure.dumps({"schema": SCHEMA, **metrics}, indent=1) + "\n", encoding="utf-8")
        sounds = write_media(context.workdir, proof.media)
        return StageResult({"voice_verification": [path], MEDIA: [sounds]}, metrics)


def write_media(directory: Path, media: Mapping[str, Any]) -> Path:
    """Write the file with sounds and pictures, also for a voice that fails; return its path."""
    path = directory / f"{MEDIA}.json"
    path.write_text(json.dumps(media) + "\n", encoding="utf-8")
    return path


def expand_verify_voice_stages(request: Request) -> tuple[VerifyVoiceStage, ...]:
    """Return the step that verifies the voice.

    There is none without verification, or if the vocoder computes no waveform (`vocoder.cut=spectrum`).
    """
    if request.settings.verify is None or request.settings.vocoder.cut is not Cut.none:
        return ()
    estimator = request.of(PARTS[1])
    steps = expand_openvino_stages(estimator)
    runs_ir = bool(steps) and not any(step.missing(estimator, request.environment) for step in steps)
    return (VerifyVoiceStage(runs_ir=runs_ir),)


def _subject(request: Request) -> dict[str, Any]:
    subject = request.subject
    return {
        "family": subject.family.value,
        "hyperparameters": dict(subject.hyperparameters),
        "streaming": subject.streaming,
        "form": list(subject.form),
        "seed": subject.seed if subject.weights is None else None,
        "solver": None if subject.solver is None else to_json(subject.solver),
    }


def _lowered_gates(request: Request) -> dict[str, Any] | None:
    if not is_lowered(request):
        return None
    gates = of_kind(request.of(PARTS[2]))
    return {
        "mel": plain_gate(mel_gate(request, request.settings.precision.target)),
        "sound": {kind.value: plain_gate(gate) for kind, gate in gates.items() if kind.value in ("waveform", "f0")},
    }


def _notes(request: Request) -> Iterator[str]:
    """Yield one sentence for each utterance whose sizes are outside all profiles of some part."""
    facts = voice_facts(request)
    for case in voice_cases(request):
        if parts := parts_without_profile(request, case.draw.sizes, facts):
            yield f"{case.name} is outside the profiles of {', '.join(parts)}; graphs take it, engines do not"


def forms(
    inputs: Mapping[str, object], target: Target, *, cached: bool = False, ir: Target = Target.fp32
) -> list[Form]:
    """Return the forms to compare: float32, each lowered part alone, and all lowered parts.

    Args:
        inputs: the filled slots, named `part.slot`.
        target: the precision of the lowered graphs.
        cached: True if the estimator has caches; the first and the last form are then compared in chunks, too.
        ir: the precision of the estimator's OpenVINO IR, which is compared with the other parts in float32.
    """
    plain = dict.fromkeys(PARTS, "graph")
    lowered = tuple(part for part in PARTS if in_part(part, "lowered") in inputs)
    irs: list[Form] = []
    if IR_ESTIMATOR in inputs:
        slots = {**plain, PARTS[1]: OPENVINO}
        irs.append(Form(f"openvino {ir.value} estimator", slots, (PARTS[1],) if ir is not Target.fp32 else (), ir))
    found = [Form("fp32", plain)]
    if cached:
        found.append(Form("fp32 in chunks", plain, in_chunks=True))
    for part in lowered:
        found.append(Form(f"{target.value} {part}", {**plain, part: "lowered"}, (part,), target))
    if len(lowered) > 1:
        found.append(Form(target.value, {**plain, **dict.fromkeys(lowered, "lowered")}, lowered, target))
    if lowered and cached:
        last = found[-1]
        found.append(replace(last, name=f"{last.name} in chunks", in_chunks=True))
    return found + irs


@dataclass
class _Proof:
    """The comparison of all forms on all utterances.

    Attributes:
        context: the step's context.
        place: directory in which emulated graphs are written.
        media: sounds and pictures of the longest utterance, set by `run`; see `media_of`.
    """

    context: RunContext
    place: Path
    media: dict[str, Any] = field(default_factory=dict)

    def run(self) -> tuple[list[Compared], list[Loss]]:
        """Compare every form on every utterance; return all comparisons, and the noise that each lowered part adds.

        Raises:
            VerificationError: a form does not meet a gate; the message names the form, the output and the metric.
        """
        context, request = self.context, self.context.request
        facts, cases = voice_facts(request), voice_cases(request)
        files = {part: context.inputs.get(in_part(part, "weights")) for part in PARTS}
        reference = load_reference(
            {part: request.of(part).subject for part in PARTS},
            {part: None if one is None else one.path for part, one in files.items()},
        )
        given = {case.name: utterance(case, request) for case in cases}
        narrow = {}
        for case in cases:
            context.emit("progress", what=f"float32 modules, {case.name}")
            narrow[case.name] = reference.speak(given[case.name])
        reference.widen()
        streaming = request.of(PARTS[1]).subject.streaming
        subjects = {part: request.of(part).subject for part in PARTS}
        compose, cached = composition(subjects), CACHED in subjects[PARTS[1]].form
        ir = Target.fp32 if request.settings.ov is None else Target(request.settings.ov.precision.value)
        asked = forms(context.inputs, request.settings.precision.target, cached=cached, ir=ir)
        parts = self._parts(asked)
        rows: list[Compared] = []
        lost: list[Loss] = []
        for case in cases:
            own = given[case.name]
            context.emit("progress", what=f"float64 modules, {case.name}")
            exact = reference.speak(own)
            float32 = narrow[case.name]
            gates = yardstick(float32, exact, reference.with_f0(exact, own, float32.f0))
            here = []
            spoken_by: dict[str, Spoken] = {}
            for form in asked:
                context.emit("progress", what=f"{form.name}, {case.name}")
                chosen = {part: parts[part, slot] for part, slot in form.slots.items()}
                spoken = speak(chosen, facts, own, streaming=streaming, compose=compose, in_chunks=form.in_chunks)
                spoken_by[form.name] = spoken
                here.append(compare_form(form, spoken, reference, exact, own, case, limits_of(form, gates, request)))
            found = losses(here, here[0])
            rows += here
            lost += found
            # Those of the last, longest utterance remain, or those of the first utterance that fails.
            self.media = {"case": case.name, **media_of(exact, spoken_by, facts)}
            self._check(here, found, rows)
        return rows, lost

    def _parts(self, asked: list[Form]) -> dict[tuple[str, str], Part]:
        context, verify = self.context, verify_settings(self.context.request)
        emulated = self.context.request.settings.precision.target is Target.bf16
        used = sorted({(part, slot) for form in asked for part, slot in form.slots.items()} - {(PARTS[1], OPENVINO)})
        irs = {}
        if IR_ESTIMATOR in context.inputs:
            precision = ov_settings(self.context.request).precision.value
            irs[PARTS[1], OPENVINO] = open_ir(context.inputs[IR_ESTIMATOR].path, precision, verify.threads)
        return irs | {
            (part, slot): open_graph(
                context.inputs[in_part(part, slot)].path,
                verify,
                emulated=emulated and slot == "lowered",
                workdir=self.place / part,
            )
            for part, slot in used
        }

    def _check(self, here: list[Compared], lost: list[Loss], rows: list[Compared]) -> None:
        for one in here:
            if one.judged.fault is None:
                continue
            self.context.emit(
                "note",
                message=f"the form that fails: {one.form.name}",
                rows=[row.facts() for row in rows],
                losses=[loss.facts() for loss in lost],
            )
            self.context.emit("evidence", path=str(write_media(self.context.workdir, self.media)))
            one.judged.check(advice(one), describe_loss(one, lost))
