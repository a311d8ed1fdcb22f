"""The verdicts of a plan on its steps, each with its reason.

They are structures of msgspec, not dataclasses, because the field `verdict` distinguishes them in records.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cosybuild.store.key import Reason

_SHOWN = 3


class Hit(Struct, frozen=True, tag_field="verdict", tag="hit"):
    """The step was built before, and its entry is complete in the store."""

    verdict: ClassVar[str] = "hit"

    def explain(self) -> str:
        return "already built"


class Stale(Struct, frozen=True, tag_field="verdict", tag="stale"):
    """The step must run: `reasons` are the differences from the nearest earlier build; `note` is another reason."""

    reasons: tuple[Reason, ...] = ()
    note: str = ""
    verdict: ClassVar[str] = "stale"

    def explain(self) -> str:
        """Return the first few reasons in words. `explain RUN` lists all of them, which can be dozens."""
        first = [str(reason) for reason in self.reasons[:_SHOWN]]
        rest = len(self.reasons) - len(first)
        return "; ".join([*first, *([f"{rest} more"] if rest else []), *([self.note] if self.note else [])])


class Unknown(Struct, frozen=True, tag_field="verdict", tag="unknown"):
    """The verdict is open until the named slots are built, because their content is part of the key."""

    waits_for: tuple[str, ...]
    verdict: ClassVar[str] = "unknown"

    def explain(self) -> str:
        return f"waits for the content of {', '.join(self.waits_for)}"


class Blocked(Struct, frozen=True, tag_field="verdict", tag="blocked"):
    """The step cannot run here: this machine lacks the named things, or a step that it needs is blocked."""

    lacks: tuple[str, ...]
    verdict: ClassVar[str] = "blocked"

    def explain(self) -> str:
        return f"needs {'; '.join(self.lacks)}"


Status = Hit | Stale | Unknown | Blocked
