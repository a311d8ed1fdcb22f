"""The verdicts a plan gives on its steps, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass

from cosybuild.core.key import Reason

_SHOWN = 3


@dataclass(frozen=True)
class Hit:
    """Built before, complete in the store."""

    verdict = "hit"

    def explain(self) -> str:
        return "already built"


@dataclass(frozen=True)
class Stale:
    """Must run. `reasons` compare with the nearest earlier build of this stage; without one, `note`."""

    reasons: tuple[Reason, ...] = ()
    note: str = ""
    verdict = "stale"

    def explain(self) -> str:
        """The first few, in words; another model altogether differs in dozens, which `explain RUN` lists."""
        first = [str(reason) for reason in self.reasons[:_SHOWN]]
        rest = len(self.reasons) - len(first)
        return "; ".join([*first, *([f"{rest} more"] if rest else []), *([self.note] if self.note else [])])


@dataclass(frozen=True)
class Unknown:
    """Cannot be known before the named slots are built: their content is part of the key."""

    waits_for: tuple[str, ...]
    verdict = "unknown"

    def explain(self) -> str:
        return f"waits for the content of {', '.join(self.waits_for)}"


@dataclass(frozen=True)
class Blocked:
    """Cannot run here: the machine lacks what is named, or a step it needs is blocked itself."""

    lacks: tuple[str, ...]
    verdict = "blocked"

    def explain(self) -> str:
        return f"needs {'; '.join(self.lacks)}"


Status = Hit | Stale | Unknown | Blocked
