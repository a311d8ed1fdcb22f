"""Tables on the verification of a whole voice: the figures of each form, and the loss that each lowered part causes.

A form is a choice of artifacts for the parts of the voice, such as all in float32, or one of them lowered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from cosybuild.figure import measured
from cosybuild.report.figures import counted
from cosybuild.report.verification import figure_text

FORMS = ("form", "mel SNR", "waveform SNR", "log-mel", "spectral", "samples", "clipped", "verdict", "utterance")
LOSSES = ("lowered alone", "mel SNR", "waveform SNR", "log-mel", "noise of the mel", "of the waveform", "utterance")


def metrics_of(report: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the metrics of the step `verify voice`, also if the step failed.

    If it failed, the report has the metrics among the facts of the failure archive.
    """
    for step in report["steps"]:
        if step["stage"] == "verify_voice" and step.get("metrics"):
            yield step["metrics"]
    if found := (report.get("capsule") or {}).get("voice"):
        yield found


def form_rows(metrics: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    """Yield one table row for each form and utterance, with the columns of `FORMS`.

    Args:
        metrics: a result of `metrics_of`.
    """
    for row in metrics["rows"]:
        mel, waveform = row["outputs"]["mel"], row["outputs"]["waveform"]
        share = measured(waveform, "clipped")
        yield (
            str(row["form"]),
            figure_text("snr_db", measured(mel, "snr_db")),
            figure_text("snr_db", measured(waveform, "snr_db")),
            figure_text("lsd_db", measured(waveform, "log_mel_db")),
            figure_text("", measured(waveform, "multi_resolution")),
            f"{row['samples']:,}",
            "-" if share is None else f"{round(share * row['samples']):,}",
            "passes" if row["passed"] else f"fails {', '.join(row['missed'])}",
            str(row["case"]),
        )


def loss_rows(metrics: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    """Yield one table row for each lowered part and utterance, with the columns of `LOSSES`."""
    for loss in metrics["losses"]:
        yield (
            str(loss["part"]),
            figure_text("snr_db", measured(loss["mel"], "snr_db")),
            figure_text("snr_db", measured(loss["waveform"], "snr_db")),
            figure_text("lsd_db", measured(loss["waveform"], "log_mel_db")),
            f"{loss['mel_share']:.1%}",
            f"{loss['waveform_share']:.1%}",
            str(loss["case"]),
        )


def judged_by(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Yield one sentence for each kind of metric that decides whether a waveform passes: the forms, and the reason."""
    forms: dict[str, dict[str, None]] = {}
    for row in metrics["rows"]:
        forms.setdefault(row["judged_by"], {})[row["form"]] = None
    yield from (f"{', '.join(names)}: {why}." for why, names in forms.items())


def engines_left_out(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence with the engines and IRs that the whole voice was not computed with.

    Only graphs compute the whole voice. Engines and IRs are verified or inspected alone.
    """
    stages = ("engine", "openvino")
    engines = [step["label"] for step in report["steps"] if step["stage"] in stages and step.get("part")]
    if engines:
        yield f"Only graphs compute the whole voice; verified or inspected alone: {', '.join(engines)}."


def headline(metrics: Mapping[str, Any]) -> str:
    """Return the worst figures of the first form (float32) and of the last form, over all utterances.

    An example is `2 utterances; fp32: mel 126.6 dB, waveform 60.2 dB`.
    """
    forms: dict[str, list[Mapping[str, Any]]] = {}
    for row in metrics["rows"]:
        forms.setdefault(row["form"], []).append(row["outputs"])
    shown = dict.fromkeys([next(iter(forms)), list(forms)[-1]])
    return "; ".join([counted(len(metrics["cases"]), "utterance"), *(f"{n}: {_worst(forms[n])}" for n in shown)])


def _worst(outputs: Iterable[Mapping[str, Any]]) -> str:
    rows = list(outputs)

    def least(output: str) -> str:
        found = [ratio for one in rows if (ratio := measured(one[output], "snr_db")) is not None]
        return figure_text("snr_db", min(found, default=None))

    return f"mel {least('mel')}, waveform {least('waveform')}"
