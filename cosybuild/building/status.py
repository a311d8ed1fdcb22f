"""The verdicts a plan gives on its steps, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass

from cosybuild.store.key import Reason

_SHOWN = 3


@dataclass(frozen=True)
class Hit:
    """The step was built before, and its entry is complete in the store."""

    verdict = "hit"

    def explain(self) -> str:
        return "already built"


@dataclass(frozen=True)
class Stale:
    """The step must run: `reasons` are the differences from the nearest earlier build; `note` says any other reason."""

    reasons: tuple[Reason, ...] = ()
    note: str = ""
    verdict = "stale"

    def explain(self) -> str:
        """Return the first few reasons in words; another model differs in dozens, which `explain RUN` lists."""
        first = [str(reason) for reason in self.reasons[:_SHOWN]]
        rest = len(self.reasons) - len(first)
        return "; ".join([*first, *([f"{rest} more"] if rest else []), *([self.note] if self.note else [])])


@dataclass(frozen=True)
class Unknown:
    """The verdict is open until the named slots are built, because their content is part of the key."""

    waits_for: tuple[str, ...]
    verdict = "unknown"

    def explain(self) -> str:
        return f"waits for the content of {', '.join(self.waits_for)}"


@dataclass(frozen=True)
class Blocked:
    """The step cannot run here: this machine lacks the named things, or a step that it needs is blocked."""

    lacks: tuple[str, ...]
    verdict = "blocked"

    def explain(self) -> str:
        return f"needs {'; '.join(self.lacks)}"


Status = Hit | Stale | Unknown | Blocked
