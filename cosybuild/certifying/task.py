"""One file to certify."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cosybuild.config.settings import Settings

_STREAMING = ".streaming."
"""The word in the name of an artifact that has the streaming mask."""


@dataclass(frozen=True)
class Task:
    """One file to certify.

    Attributes:
        path: the file.
        shown: its name for people.
        settings: the settings of a build from the directory; see `match.locate_model`.
        streaming: the attention variant that the user states; None if the file's name decides, or either is right.
    """

    path: Path
    shown: str
    settings: Settings
    streaming: bool | None = None

    @property
    def expected(self) -> bool | None:
        """The attention variant that the file must have; None if either is right."""
        return True if self.streaming is None and _STREAMING in self.path.name else self.streaming
