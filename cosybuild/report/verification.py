"""The verification section of a report: the loss of each conversion, the solver runs, and the lengths served."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from cosybuild.figure import measured, number
from cosybuild.printable import Markdown, text

HOPS = ("hop", "against", "SNR of the hop", "SNR in all", "largest error", "asked for", "worst case")
RUNS = ("run", "by", "SNR after step 1", "after the last", "mel: SNR", "mean error", "largest", "log-spectral", "seam")

_DIGITS = {"snr_db": "{:.1f} dB", "lsd_db": "{:.2g} dB"}


def hop_rows(steps: Iterable[Mapping[str, Any]]) -> Iterator[Sequence[str]]:
    """Yield one table row for each hop, with the columns of `HOPS`.

    A hop is one conversion between exact arithmetic and the artifact, such as export or lowering. The name of the hop
    that loses most is bold.

    Args:
        steps: the steps of report.json.
    """
    hops = [hop for step in steps for hop in (step.get("metrics") or {}).get("hops") or []]
    ratios = [measured(hop["own"], "snr_db") for hop in hops]
    least = min((ratio for ratio in ratios if ratio is not None), default=math.inf)
    for hop, ratio in zip(hops, ratios, strict=True):
        own, total = hop["own"], hop["total"]
        worst = ratio == least and ratio != math.inf
        yield (
            Markdown(f"**{text(hop['hop'])}**") if worst else str(hop["hop"]),
            str(hop["against"]),
            figure_text("snr_db", ratio),
            figure_text("snr_db", measured(total, "snr_db")),
            figure_text("max_abs", measured(own, "max_abs")),
            ", ".join(f"{name} {bound:g}" for name, bound in hop["gate"].items()) or "-",
            str(hop["case"]),
        )


def run_rows(steps: Iterable[Mapping[str, Any]]) -> Iterator[Sequence[str]]:
    """Yield one table row for each run of the solver, with the columns of `RUNS`."""
    for step in steps:
        for run in (step.get("metrics") or {}).get("solver") or []:
            by_step, mel = [_step(value) for value in run["steps_snr_db"]], run["mel"]
            yield (
                str(run["run"]),
                str(step["label"]),
                figure_text("snr_db", by_step[0]),
                figure_text("snr_db", by_step[-1]),
                *(figure_text(name, measured(mel, name)) for name in ("snr_db", "mean_abs", "max_abs", "lsd_db")),
                figure_text("max_abs", number(run["seam"])),
            )


def coverage_line(steps: Iterable[Mapping[str, Any]]) -> str:
    """Return a sentence with the share of calls, recorded in production, whose lengths the profiles serve.

    The text is empty if no recorded lengths were given.
    """
    for step in steps:
        found = (step.get("metrics") or {}).get("coverage")
        if found:
            outside = found["outside"]
            share = f"The profiles serve {found['served']:,} of {found['calls']:,} calls seen in service"
            if not outside["calls"]:
                return f"{share}."
            return f"{share}; the others have {outside['shortest']} to {outside['longest']} frames."
    return ""


def sizes_left_out(steps: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield one line for each verification that did not run some sizes of the profiles."""
    for step in steps:
        if found := (step.get("metrics") or {}).get("left_out"):
            yield f"{step['label']}, not run: {', '.join(found)} (a run with emulated storage keeps every tensor)"


def figure_text(name: str, value: float | None) -> str:
    """Return a metric as text with its unit.

    Args:
        name: the name of the metric, such as `snr_db`.
        value: its value. None gives `-`, and an infinite signal-to-noise ratio gives `exact`.
    """
    if value is None:
        return "-"
    return "exact" if name == "snr_db" and value == math.inf else _DIGITS.get(name, "{:.2g}").format(value)


def _step(value: Any) -> float:
    """Return the signal-to-noise ratio after one solver step. In older records, null stands for an infinite ratio."""
    ratio = number(value)
    return math.inf if ratio is None else ratio
