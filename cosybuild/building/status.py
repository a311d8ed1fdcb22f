"""The verdicts of a plan on its steps, each with its reason.

They are structures of msgspec, not dataclasses, because records state the class by the field `verdict`.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from cosybuild.store.key import Reason

_SHOWN = 3


class Hit(Struct, frozen=True, tag_field="verdict", tag="hit"):
    """The verdict on a step that was built before: its entry is complete in the store."""

    verdict: ClassVar[str] = "hit"

    def explain(self) -> str:
        return "already built"


class Stale(Struct, frozen=True, tag_field="verdict", tag="stale"):
    """The verdict on a step that must run.

    Attributes:
        reasons: the differences of its key from the nearest stored key.
        note: another reason, as a phrase; empty if there is none.
    """

    reasons: tuple[Reason, ...] = ()
    note: str = ""
    verdict: ClassVar[str] = "stale"

    def explain(self) -> str:
        """Return the first few reasons in words. `explain RUN` lists all reasons, of which there can be dozens."""
        first = [str(reason) for reason in self.reasons[:_SHOWN]]
        rest = len(self.reasons) - len(first)
        return "; ".join([*first, *([f"{rest} more"] if rest else []), *([self.note] if self.note else [])])


class Unknown(Struct, frozen=True, tag_field="verdict", tag="unknown"):
    """The verdict on a step whose key is not known yet.

    Attributes:
        waits_for: the slots that must be built first, because their content is part of the key.
    """

    waits_for: tuple[str, ...]
    verdict: ClassVar[str] = "unknown"

    def explain(self) -> str:
        return f"waits for the content of {', '.join(self.waits_for)}"


class Blocked(Struct, frozen=True, tag_field="verdict", tag="blocked"):
    """The verdict on a step that cannot run here.

    Attributes:
        lacks: phrases on what this machine lacks, or on inputs that a blocked step would make.
    """

    lacks: tuple[str, ...]
    verdict: ClassVar[str] = "blocked"

    def explain(self) -> str:
        return f"needs {'; '.join(self.lacks)}"


Status = Hit | Stale | Unknown | Blocked
