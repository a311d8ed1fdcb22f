"""The verdicts of `certify` as text, made from their JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cosybuild.figure import number


def lines(verdict: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines for one file: its verdict, the reason, the known mistakes that it matches, and the notes.

    Args:
        verdict: the facts of the verdict, as `certify --json` prints them.
    """
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
    """Return the outcome, the reason, the mistakes and the notes of a verdict as one paragraph."""
    outcome = sentence(f"{verdict['outcome']}{_network(verdict)}{_figures(verdict)}")
    reason = [sentence(verdict["reason"])] if verdict["reason"] else []
    return " ".join([outcome, *reason, *mistakes(verdict), *verdict["notes"]])


def sentence(text: str) -> str:
    """Return the text with a full stop at its end."""
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
