"""The lines of `certify` for the console, from the JSON of its verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cosybuild.figure import number


def lines(verdict: Mapping[str, Any]) -> Iterator[str]:
    """Yield the line of one file, then its reason, the mistakes that it matches, and notes."""
    yield f"{verdict['outcome']}: {verdict['file']}{_network(verdict)}{_figures(verdict)}"
    if verdict["reason"]:
        yield f"  {sentence(verdict['reason'])}"
    yield from (f"  {line}" for line in mistakes(verdict))
    yield from (f"  {note}" for note in verdict["notes"])


def mistakes(verdict: Mapping[str, Any]) -> Iterator[str]:
    """Yield one line for each known mistake that the file matches."""
    for known in verdict["mistakes"]:
        yield f"It looks like this mistake: {known['says']}. {known['remedy']}"


def message(verdict: Mapping[str, Any]) -> str:
    """Return outcome, reason, mistakes and notes as one paragraph."""
    outcome = sentence(f"{verdict['outcome']}{_network(verdict)}{_figures(verdict)}")
    reason = [sentence(verdict["reason"])] if verdict["reason"] else []
    return " ".join([outcome, *reason, *mistakes(verdict), *verdict["notes"]])


def sentence(text: str) -> str:
    """Return the text with a full stop."""
    return text if text.endswith(".") else f"{text}."


def _network(verdict: Mapping[str, Any]) -> str:
    if not verdict["component"]:
        return ""
    variant = {None: "", True: ", streaming mask", False: ", full attention"}[verdict["streaming"]]
    names = "" if verdict["by_name"] else ", inputs by position"
    family = f" of {verdict['family']}" if verdict["family"] else ""
    dtype = f", {verdict['dtype']}" if verdict["dtype"] else ""
    return f" ({verdict['component']}{family}{variant}{dtype}{names})"


def _figures(verdict: Mapping[str, Any]) -> str:
    ratio = number(verdict["figures"].get("snr_db"))
    if ratio is None:
        return ""
    cases = verdict["figures"].get("cases")
    return f", {f'{cases} cases, ' if cases else ''}at least {ratio:.1f} dB"
