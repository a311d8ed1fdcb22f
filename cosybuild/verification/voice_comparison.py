"""The comparison of a whole voice with its float64 reference: mel, f0 and waveform, under the limits of each form.

A form of a voice is a choice of artifacts for its parts. A rounding error of f0 becomes a phase error that grows with
time, so the waveforms of two correct computations drift apart. Therefore the waveform of the reference is computed
again with the f0 that the form computed (`Spoken.f0`). Without the drift, the signal-to-noise ratio shows all other
errors; f0 has a gate of its own. A lowered estimator or front end changes the mel within its gate. The waveform of such
a form is judged by spectral distances instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cosybuild import figure
from cosybuild.config.groups.precision import Target
from cosybuild.numerics.gates import LOWERED_SOLVER, OF_KIND, RESOLUTION, Gate, gates_of_kinds, plain_gate
from cosybuild.numerics.metrics import METRICS, Kind, measure
from cosybuild.request import Request
from cosybuild.verification.cases import Case
from cosybuild.verification.judge import Advice, Judged, Limits, judge
from cosybuild.verification.lowered_gates import of_kind
from cosybuild.verification.solver_comparison import bounds_of
from cosybuild.verification.voice_cases import PARTS, Utterance
from cosybuild.verification.voice_runs import Reference, Spoken

FACTOR = 8.0
"""Permitted ratio between the error of a float32 form and the error of the float32 modules, both against float64.
Measured between PyTorch, ONNX Runtime and upstream's recorded values, it was at most 2. Half precision in any part
gives 20 or more.
"""

_IR = "openvino"
"""The slot of an estimator that is an OpenVINO IR."""

KINDS = {"mel": Kind.mel, "waveform": Kind.waveform, "f0": Kind.f0}
"""Output of a voice -> kind of its values."""

_MEASURED = {
    Kind.mel: ("snr_db", "lsd_db"),
    Kind.waveform: ("snr_db", "log_mel_db", "multi_resolution"),
    Kind.f0: ("f0_cents", "voicing_flips"),
}
"""Kind -> metrics whose bound is `FACTOR` times the error of the float32 modules."""

_LEAST = {"f0_cents": 1200 * math.log2(1 + 2 * RESOLUTION[Target.fp32]), "voicing_flips": 0.0}
"""Metric -> smallest error to which `FACTOR` is applied; for f0, two units in the last place of float32. For metrics
that are not listed, it is the resolution of float32.
"""

_SPECTRAL = "the mel comes from lowered parts, so the spectral distances judge the waveform"
_SAMPLES = "the reference has the form's own f0, so the signal-to-noise ratio judges the waveform"


@dataclass(frozen=True)
class Form:
    """One form of a voice: the artifacts that compute its parts, e.g. all in float32, or one of them lowered.

    Attributes:
        name: the name in messages and reports, e.g. `fp16 estimator`.
        slots: part -> slot of the artifact that computes it.
        lowered: the parts that a lowered artifact computes.
        target: number type of the lowered parts; fp32 if there are none.
        in_chunks: True if the utterance is streamed, with caches.
    """

    name: str
    slots: Mapping[str, str]
    lowered: tuple[str, ...] = ()
    target: Target = Target.fp32
    in_chunks: bool = False

    @property
    def flow_is_lowered(self) -> bool:
        """True if the front end or the estimator is lowered, so that the mel changes."""
        return bool({PARTS[0], PARTS[1]} & set(self.lowered))


@dataclass(frozen=True)
class Compared:
    """The comparison of one form with the reference on one utterance.

    Attributes:
        form: the form.
        judged: the comparison of mel, waveform and f0; the waveform's reference has the form's f0.
        limits: the limits of each output.
        drifted: every metric of the waveform against the reference with the reference's own f0; None if the lengths
            differ. It is recorded and has no bound.
        why: the metric that judges the waveform, and the reason.
        frames: number of mel frames.
        samples: number of samples of the waveform.
    """

    form: Form
    judged: Judged
    limits: Limits
    drifted: Mapping[str, float] | None
    why: str
    frames: int
    samples: int

    @property
    def missed(self) -> list[str]:
        """The bounds that are not met, as `output.metric`; `output.shape` for an output of another length."""
        found = []
        for name, one in self.judged.outputs.items():
            if one.fault is not None and "shapes" in one.fault.facts:
                found.append(f"{name}.shape")
            else:
                found += [f"{name}.{miss.metric}" for miss in one.missed]
        return found

    def facts(self) -> dict[str, Any]:
        """Return the comparison as JSON data."""
        outputs = self.judged.outputs
        return {
            "form": self.form.name,
            "parts": dict(self.form.slots),
            "lowered": list(self.form.lowered),
            **({"in_chunks": True} if self.form.in_chunks else {}),
            **self.judged.facts(),
            "bounds": {name: plain_gate(self.limits.of(name).gate) for name in outputs},
            "missed": self.missed,
            "passed": self.judged.fault is None,
            "judged_by": self.why,
            "drifted": None if self.drifted is None else figure.plain(self.drifted),
            "frames": self.frames,
            "samples": self.samples,
        }


def yardstick(float32: Spoken, exact: Spoken, handed: Spoken) -> dict[Kind, Gate]:
    """Return the gates of a voice in float32: `FACTOR` times the error that the float32 modules have on this utterance.

    Metrics that are not in `_MEASURED` keep their fixed bounds.

    Args:
        float32: results of the PyTorch modules in float32.
        exact: results of the same modules in float64.
        handed: results in float64 with the f0 of `float32`; the reference of the waveform.
    """
    pairs = {Kind.mel: (float32.mel, exact.mel), Kind.f0: (float32.f0, exact.f0)}
    pairs[Kind.waveform] = (float32.waveform, handed.waveform)
    gates: dict[Kind, Gate] = {}
    for kind, (values, truth) in pairs.items():
        figures = measure(values, truth, kind)
        fixed = {name: bound for name, bound in OF_KIND.get(kind, {}).items() if name not in _MEASURED[kind]}
        gates[kind] = {**{name: _bound(name, figures[name]) for name in _MEASURED[kind]}, **fixed}
    return gates


def _bound(metric: str, own: float) -> float:
    resolution = RESOLUTION[Target.fp32]
    if METRICS[metric].higher_is_better:
        return min(own, -20 * math.log10(resolution)) - 20 * math.log10(FACTOR)
    return FACTOR * max(own, _LEAST.get(metric, resolution))


def limits_of(form: Form, float32: Mapping[Kind, Gate], request: Request) -> Limits:
    """Return the limits of a form's outputs.

    Args:
        form: the form.
        float32: the gates of a voice in float32, from `yardstick`.
        request: the joint request; a lowered form has the gates of its single parts.
    """
    gates = dict(float32)
    if form.lowered:
        is_ir = form.slots[PARTS[1]] == _IR
        kinds = gates_of_kinds(form.target, None) if is_ir else of_kind(request.of(PARTS[2]))
        sound = dict(kinds[Kind.waveform])
        if form.flow_is_lowered:
            del sound["snr_db"]
            gates[Kind.mel] = mel_gate(request, form.target)
            gates[Kind.f0] = {}  # no gate: f0 is computed from the mel, which has a gate
        else:
            gates[Kind.f0] = OF_KIND[Kind.f0]
        gates[Kind.waveform] = sound
    return Limits({}, target=form.target, kinds=KINDS, of_kind=gates)


def mel_gate(request: Request, target: Target) -> Gate:
    """Return the gate of a mel that was computed by lowered parts.

    This is the gate of the solver runs of lowered graphs: the one that `verify.solver` sets, or the default if
    `verify.solver` is null.
    """
    bounds = bounds_of(request.of(PARTS[1]), target)
    return LOWERED_SOLVER[target] if bounds is None else bounds.gate


def compare_form(
    form: Form, spoken: Spoken, reference: Reference, exact: Spoken, given: Utterance, case: Case, limits: Limits
) -> Compared:
    """Compare one form with the reference on one utterance.

    Args:
        form: the form.
        spoken: the result of the form.
        reference: the networks in float64.
        exact: the result of `reference`.
        given: the inputs of the utterance.
        case: the case from which the inputs were drawn.
        limits: the limits, from `limits_of`.
    """
    has_f0 = spoken.f0.shape == exact.f0.shape
    handed = reference.with_f0(exact, given, spoken.f0) if has_f0 else exact
    actual = {"mel": spoken.mel, "f0": spoken.f0, "waveform": spoken.waveform}
    expected = {"mel": exact.mel, "f0": exact.f0, "waveform": handed.waveform}
    judged = judge(case, form.name, actual, expected, limits)
    same = spoken.waveform.shape == exact.waveform.shape
    return Compared(
        form=form,
        judged=judged,
        limits=limits,
        drifted=measure(spoken.waveform, exact.waveform, Kind.waveform) if same else None,
        why=_SPECTRAL if form.flow_is_lowered else _SAMPLES,
        frames=spoken.mel.shape[-1],
        samples=spoken.waveform.shape[-1],
    )


@dataclass(frozen=True)
class Loss:
    """The noise that one part adds if it is lowered and all other parts are float32.

    Attributes:
        part: the part.
        case: the utterance's name.
        mel_db, waveform_db: signal-to-noise ratios against float64, in dB; for the waveform, with the form's own f0.
        log_mel_db: distance of the log-mel spectra of the waveforms, in dB.
        mel_share, waveform_share: the part's share of the noise power that all lowered parts add.
    """

    part: str
    case: str
    mel_db: float
    waveform_db: float
    log_mel_db: float
    mel_share: float
    waveform_share: float

    def facts(self) -> dict[str, Any]:
        """Return the loss as JSON data."""
        return {"part": self.part, "case": self.case, "mel": figure.plain({"snr_db": self.mel_db}),
                "waveform": figure.plain({"snr_db": self.waveform_db, "log_mel_db": self.log_mel_db}),
                "mel_share": self.mel_share, "waveform_share": self.waveform_share}  # fmt: skip


def losses(compared: Sequence[Compared], float32: Compared) -> list[Loss]:
    """Return the loss of each part, from the forms in which exactly one part is lowered.

    Args:
        compared: all forms of one utterance.
        float32: the form in which every part is float32. Its noise is subtracted, because no lowered part causes it.
    """
    alone = {one.form.lowered[0]: one for one in compared if len(one.form.lowered) == 1 and not one.form.in_chunks
             and one.form.slots[one.form.lowered[0]] != _IR}  # fmt: skip

    def noise(one: Compared, output: str) -> float:
        found, own = (_power(each.judged.outputs[output].figures["snr_db"]) for each in (one, float32))
        return max(0.0, found - own)

    total = {output: sum(noise(one, output) for one in alone.values()) for output in ("mel", "waveform")}
    found = []
    for part, one in alone.items():
        mel, waveform = (one.judged.outputs[output].figures for output in ("mel", "waveform"))
        shares = [noise(one, output) / total[output] if total[output] else 0.0 for output in ("mel", "waveform")]
        distance = waveform.get("log_mel_db", math.inf)
        found.append(Loss(part, one.judged.case.name, mel["snr_db"], waveform["snr_db"], distance, *shares))
    return found


def _power(snr_db: float) -> float:
    """Return the noise power divided by the signal power, for a ratio in dB; 1 for minus infinity."""
    return 1.0 if snr_db == -math.inf else 10 ** (-snr_db / 10)


def _has_ir(compared: Compared) -> bool:
    return compared.form.slots[PARTS[1]] == _IR


def describe_loss(compared: Compared, lost: Sequence[Loss]) -> str:
    """Return a clause that names the lowered part that adds most noise to the output that fails.

    The text is empty if no output fails or no part is lowered.
    """
    fault = compared.judged.fault
    if fault is None or not compared.form.lowered or not lost or _has_ir(compared):
        return ""
    at_mel = fault.output == "mel"
    shares = {one.part: one.mel_share if at_mel else one.waveform_share for one in lost}
    part = max(shares, key=lambda name: shares[name])
    where = "mel" if at_mel else "waveform"
    return f"of the noise that lowered parts add to the {where}, {shares[part]:.0%} is of the {part}"


def advice(compared: Compared) -> Advice:
    """Return the hint for a form that does not pass."""
    if _has_ir(compared):
        text = "Next: ov=fp32, or keep more operators of the IR in float32 (ov.keep_fp32)."
        return Advice(text, text)
    if compared.form.lowered:
        text = (
            "Next: keep more of that part in float32: build it alone with precision=auto (component=PART), or set "
            "precision.snr_db lower if a larger loss is acceptable. report.md has the loss of every part."
        )
        return Advice(text, text)
    text = (
        "Next: do not serve this voice. Every part passed alone, so compare what joins them: the steps and the "
        "guidance of the solver, its noise, the prompt's mel, and the length of the waveform. docs/verification.md "
        "explains the gates."
    )
    return Advice(text, text)
