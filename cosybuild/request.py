"""The request that every stage reads: the configuration and the model to build."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cosybuild.config.settings import Settings
from cosybuild.models.lengths import Histogram, read_lengths
from cosybuild.models.subject import Subject


@dataclass(frozen=True)
class Request:
    """One requested build."""

    settings: Settings
    subject: Subject

    @cached_property
    def served(self) -> Histogram:
        """The histogram of lengths in the file that `verify.lengths` names; empty if none is named.

        The file is read once, so that keys and cases use the same lengths even if the file changes during the build.

        Raises:
            ConfigurationError: the file cannot be read or parsed.
        """
        verify = self.settings.verify
        if verify is None or verify.lengths is None:
            return {}
        return read_lengths(Path(verify.lengths).expanduser(), self.subject.spec.frames_per_second)
