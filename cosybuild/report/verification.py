"""The figures of verification for people: what each hop loses, the solver's runs, what is served."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

HOPS = ("hop", "against", "SNR by itself", "SNR in all", "largest error", "asked for", "worst case")
RUNS = ("run", "by", "SNR after step 1", "after the last", "mel: SNR", "mean error", "largest", "log-spectral", "seam")

_DIGITS = {"snr_db": "{:.1f} dB", "lsd_db": "{:.2g} dB"}


def hop_rows(steps: Iterable[Mapping[str, Any]]) -> Iterator[Sequence[str]]:
    """One row a hop, from exact arithmetic on; the hop that loses most in bold."""
    hops = [hop for step in steps for hop in (step.get("metrics") or {}).get("hops") or []]
    known = [hop["own"]["snr_db"] for hop in hops if hop["own"].get("snr_db") is not None]
    for hop in hops:
        own, total = hop["own"], hop["total"]
        worst = own.get("snr_db") is not None and own["snr_db"] == min(known)
        yield (
            f"**{hop['hop']}**" if worst else str(hop["hop"]),
            str(hop["against"]),
            figure("snr_db", own.get("snr_db")),
            figure("snr_db", total.get("snr_db")),
            figure("max_abs", own.get("max_abs")),
            ", ".join(f"{name} {bound:g}" for name, bound in hop["gate"].items()) or "-",
            str(hop["case"]),
        )


def run_rows(steps: Iterable[Mapping[str, Any]]) -> Iterator[Sequence[str]]:
    """One row a run of the solver."""
    for step in steps:
        for run in (step.get("metrics") or {}).get("solver") or []:
            by_step, mel = run["steps_snr_db"], run["mel"]
            yield (
                str(run["run"]),
                str(step["label"]),
                figure("snr_db", by_step[0]),
                figure("snr_db", by_step[-1]),
                *(figure(name, mel.get(name)) for name in ("snr_db", "mean_abs", "max_abs", "lsd_db")),
                "-" if run["seam"] is None else figure("max_abs", run["seam"]),
            )


def coverage_line(steps: Iterable[Mapping[str, Any]]) -> str:
    """What share of the lengths seen in service the profiles serve; empty where none were given."""
    for step in steps:
        found = (step.get("metrics") or {}).get("coverage")
        if found:
            outside = found["outside"]
            share = f"The profiles serve {found['served']:,} of {found['calls']:,} calls seen in service"
            if not outside["calls"]:
                return f"{share}."
            return f"{share}; the others have {outside['shortest']} to {outside['longest']} frames."
    return ""


def figure(name: str, value: float | None) -> str:
    """A metric with its unit; what is not finite is an equality (no error at all) or a loss of everything."""
    return "exact" if value is None else _DIGITS.get(name, "{:.2g}").format(value)
