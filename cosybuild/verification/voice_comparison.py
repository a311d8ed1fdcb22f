"""The comparison of a whole voice with its float64 reference: mel, f0 and waveform under the limits of each form.

The rounding of f0 becomes a phase that grows with time, so the waveforms of two correct computations drift apart. The
reference's waveform is therefore computed with the f0 that the form itself has (`Spoken.f0`). That removes the drift,
and the signal-to-noise ratio then judges everything else; f0 has its own gate. A lowered estimator or front end
changes the mel within its gate, so the waveform of such a form is judged by spectral distances.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cosybuild import figure
from cosybuild.config.groups.precision import Target
from cosybuild.numerics.gates import LOWERED_SOLVER, OF_KIND, RESOLUTION, Gate, plain_gate
from cosybuild.numerics.metrics import METRICS, Kind, measure
from cosybuild.request import Request
from cosybuild.verification.cases import Case
from cosybuild.verification.judge import Advice, Judged, Limits, judge
from cosybuild.verification.lowered import of_kind
from cosybuild.verification.solver_comparison import bounds_of
from cosybuild.verification.voice_cases import PARTS, Utterance
from cosybuild.verification.voice_runs import Reference, Spoken

FACTOR = 8.0
"""Permitted factor between the error of a float32 form and that of the float32 modules, both against float64. It was at
most 2 between PyTorch, ONNX Runtime and upstream's recorded values. Half precision anywhere gives 20 or more."""

KINDS = {"mel": Kind.mel, "waveform": Kind.waveform, "f0": Kind.f0}
"""Output of a voice -> kind of its values."""

_MEASURED = {
    Kind.mel: ("snr_db", "lsd_db"),
    Kind.waveform: ("snr_db", "log_mel_db", "multi_resolution"),
    Kind.f0: ("f0_cents", "voicing_flips"),
}
"""Kind -> metrics whose bound is a multiple of the float32 modules' own error."""

_LEAST = {"f0_cents": 1200 * math.log2(1 + 2 * RESOLUTION[Target.fp32]), "voicing_flips": 0.0}
"""Metric -> smallest yardstick: two units in the last place of float32. Others: the resolution of float32 itself."""

_SPECTRAL = "the mel comes from lowered parts, so the spectral distances judge the waveform"
_SAMPLES = "the reference has the form's own f0, so the signal-to-noise ratio judges the waveform"


@dataclass(frozen=True)
class Form:
    """One form of a voice: the artifacts that compute its parts, e.g. all in float32, or one of them lowered.

    Attributes:
        name: the name for people, e.g. `fp16 estimator`.
        slots: part -> slot of the artifact that it uses.
        lowered: the parts in the lowered form.
        target: number type of the lowered parts; fp32 if there are none.
    """

    name: str
    slots: Mapping[str, str]
    lowered: tuple[str, ...] = ()
    target: Target = Target.fp32

    @property
    def flow_is_lowered(self) -> bool:
        """True if a part that the mel depends on is lowered."""
        return bool({PARTS[0], PARTS[1]} & set(self.lowered))


@dataclass(frozen=True)
class Compared:
    """The comparison of one form on one utterance.

    Attributes:
        form: the form.
        judged: mel, waveform and f0 with the verdict; the waveform's reference has the form's f0.
        limits: the limits of each output.
        drifted: every metric of the waveform against the reference with the reference's own f0; None if the lengths
            differ. It is recorded, not judged.
        why: the metric that judges the waveform, and the reason.
        frames, samples: length of mel and waveform.
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
        """`output.metric` of each bound that is not met; `output.shape` for another length."""
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
    """Return the gates of a voice in float32: `FACTOR` times the error that the float32 modules have in this run.

    Metrics that are not measured here keep their fixed bounds.

    Args:
        float32: results of the modules in float32.
        exact: results of the modules in float64.
        handed: results in float64 with the f0 of `float32`, the reference of the waveform.
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
        float32: result of `yardstick`.
        request: the joint request; the gates of its precision are those of the single parts.
    """
    gates = dict(float32)
    if form.lowered:
        sound = dict(of_kind(request.of(PARTS[2]))[Kind.waveform])
        if form.flow_is_lowered:
            del sound["snr_db"]
            gates[Kind.mel] = mel_gate(request, form.target)
            gates[Kind.f0] = {}  # f0 follows from the mel
        else:
            gates[Kind.f0] = OF_KIND[Kind.f0]
        gates[Kind.waveform] = sound
    return Limits({}, target=form.target, kinds=KINDS, of_kind=gates)


def mel_gate(request: Request, target: Target) -> Gate:
    """Return the gate of a mel from lowered parts: that of a solver run, also if `verify.solver` is null."""
    bounds = bounds_of(request.of(PARTS[1]), target)
    return LOWERED_SOLVER[target] if bounds is None else bounds.gate


def compare_form(
    form: Form, spoken: Spoken, reference: Reference, exact: Spoken, given: Utterance, case: Case, limits: Limits
) -> Compared:
    """Compare one form on one utterance.

    Args:
        form: the form.
        spoken: what it computed.
        reference: the reference, in float64.
        exact: the reference's result.
        given: the inputs of the utterance.
        case: the case of which they are drawn.
        limits: result of `limits_of`.
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
    """The loss of accuracy by one lowered part while all other parts are float32.

    Attributes:
        part: the part.
        case: the utterance's name.
        mel_db, waveform_db: signal-to-noise ratio against float64, the waveform's with the form's own f0.
        log_mel_db: distance of the waveforms.
        mel_share, waveform_share: its share of the sum of the noise powers of all parts.
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
    """Return the loss of each part, computed from the forms with exactly one lowered part.

    Args:
        compared: all forms of the utterance.
        float32: the form in which every part is float32; its noise is not that of a lowered part.
    """
    alone = {one.form.lowered[0]: one for one in compared if len(one.form.lowered) == 1}

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
    """Return the noise as a share of the signal's power; 1 if the ratio is minus infinity."""
    return 1.0 if snr_db == -math.inf else 10 ** (-snr_db / 10)


def describe_loss(compared: Compared, lost: Sequence[Loss]) -> str:
    """Return a clause that names the lowered part with the largest loss at the failing output, or an empty text."""
    fault = compared.judged.fault
    if fault is None or not compared.form.lowered or not lost:
        return ""
    at_mel = fault.output == "mel"
    shares = {one.part: one.mel_share if at_mel else one.waveform_share for one in lost}
    part = max(shares, key=lambda name: shares[name])
    where = "mel" if at_mel else "waveform"
    return f"of the noise that lowered parts add to the {where}, {shares[part]:.0%} is of the {part}"


def advice(compared: Compared) -> Advice:
    """Return the next step for a form that does not pass."""
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
